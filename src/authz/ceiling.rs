//! The grant ceiling (D3, D4): whoever hands on rights neither gives nor takes what they don't hold.
//!
//! The heart is [`settle`], a formula over rights to one permission. With `p` what the admin holds,
//! `o` what the subject has and `n` what is wanted, the subject gets
//!
//! ```text
//! (n ∧ (o ∨ p)) ∨ (o ∖ p)
//! ```
//!
//! at each moment, for the level and for unassigned resources each on its own. That is D3: where
//! `o > p` the old right stays (`kept`), else the subject gets the lesser of `n` and `p` (`withheld`
//! where `n` was more). Its algebra is D4: `old ∖ admin's ⊆ new`, `new ∖ old ⊆ admin's`, and twice is
//! once.
//!
//! - **What the admin holds** of a permission is the least of what the admin holds of each action
//!   that comes with it, implied and derived ones included, and to hold an action is: the tool-level
//!   check of it is ALLOW (R4). Reserved actions and roles are nobody's to hand on.
//! - **Time.** What is given ends when the admin stops holding it. What is taken goes by what the
//!   admin holds at this moment, so that what was taken doesn't come back by itself.
//! - **Rights as they are stored** come to a user by several ways: grants of one permission and
//!   provenance, and each permission set that the user holds, plainly or by a membership. The
//!   formula is applied to each way by itself, which comes to the same as applying it to all of
//!   them together, and lets nobody repeat a right of somebody else's by a second way that would
//!   outlive its revocation. [`stored`] says what becomes of sets.

mod beyond;
mod held;
mod stored;
#[cfg(test)]
mod tests;

pub use beyond::{BeyondCeiling, beyond_ceiling};
pub use held::{Ceiling, Held};
pub use stored::{Note, PermissionSets, Settled, Subject, TooMany};

pub(in crate::authz) use held::{Gifts, OF_ONE, gifts};

use super::model::{Level, Timestamp};

/// How far a right reaches. Level and unassigned resources each count for themselves (D3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    level: Level,
    unassigned: bool,
}

impl Reach {
    pub const NOTHING: Self = Self {
        level: Level::None,
        unassigned: false,
    };
    pub const EVERYTHING: Self = Self {
        level: Level::Everything,
        unassigned: true,
    };

    /// Everything includes unassigned resources, and nothing includes none.
    pub fn new(level: Level, include_unassigned: bool) -> Self {
        Self {
            level,
            unassigned: match level {
                Level::None => false,
                Level::Owned | Level::Team => include_unassigned,
                Level::Everything => true,
            },
        }
    }

    pub fn level(self) -> Level {
        self.level
    }

    /// As a grant says it: at everything it says nothing.
    pub fn include_unassigned(self) -> bool {
        self.unassigned && self.level != Level::Everything
    }

    pub fn is_nothing(self) -> bool {
        self.level == Level::None
    }

    pub fn is_within(self, other: Self) -> bool {
        self.level <= other.level && (!self.unassigned || other.unassigned)
    }

    #[must_use]
    pub fn meet(self, other: Self) -> Self {
        Self::new(
            self.level.min(other.level),
            self.unassigned && other.unassigned,
        )
    }

    #[must_use]
    pub fn join(self, other: Self) -> Self {
        Self::new(
            self.level.max(other.level),
            self.unassigned || other.unassigned,
        )
    }

    /// What of it the ceiling does not reach: a level above it whole, and unassigned resources.
    #[must_use]
    pub fn beyond(self, ceiling: Self) -> Self {
        let level = match self.level > ceiling.level {
            true => self.level,
            false => Level::None,
        };
        match self.unassigned && !ceiling.unassigned {
            // They stand on a level, and the least is enough.
            true => Self::new(level.max(Level::Owned), true),
            false => Self::new(level, false),
        }
    }
}

/// A right to one permission for a time: `from <= t < until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Right {
    pub reach: Reach,
    pub from: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

impl Right {
    fn begins(&self) -> Timestamp {
        self.from.unwrap_or(Timestamp::MIN)
    }

    /// Whether it gives nothing, now or later.
    fn is_nothing(&self, now: Timestamp) -> bool {
        self.reach.is_nothing()
            || self
                .until
                .is_some_and(|until| until <= now || until <= self.begins())
    }

    fn is_live(&self, at: Timestamp) -> bool {
        self.begins() <= at && self.until.is_none_or(|until| at < until)
    }

    fn ends_by(&self, other: &Self) -> bool {
        match (self.until, other.until) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(one), Some(other)) => one <= other,
        }
    }

    fn is_within(&self, other: &Self) -> bool {
        self.reach.is_within(other.reach) && other.begins() <= self.begins() && self.ends_by(other)
    }

    /// What both give.
    fn meet(&self, other: &Self) -> Self {
        Self {
            reach: self.reach.meet(other.reach),
            from: self.from.max(other.from),
            until: match (self.until, other.until) {
                (None, end) | (end, None) => end,
                (Some(one), Some(other)) => Some(one.min(other)),
            },
        }
    }

    /// Whether these together give all of it from now on.
    fn is_covered(&self, by: &[Self], now: Timestamp) -> bool {
        if by.iter().any(|right| self.is_within(right)) {
            return true;
        }
        // What they give changes at these moments only.
        let begins = self.begins().max(now);
        let moments = by
            .iter()
            .flat_map(|right| [right.from, right.until])
            .flatten()
            .filter(|moment| begins < *moment && self.is_live(*moment));
        std::iter::once(begins).chain(moments).all(|moment| {
            let live = by.iter().filter(|right| right.is_live(moment));
            let given = live.fold(Reach::NOTHING, |all, right| all.join(right.reach));
            self.reach.is_within(given)
        })
    }
}

/// Where a right of an outcome comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The old right at this index, whole or what is left of it.
    Old(usize),
    /// The wanted right at this index, whole or what the admin may give of it.
    Wanted(usize),
}

/// What becomes of the rights to one permission.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    pub rights: Vec<(Right, Origin)>,
    /// What was to go and stays, since the admin does not hold it.
    pub kept: Vec<Right>,
    /// What was wanted and is not given whole, since the admin does not hold it.
    pub withheld: Vec<Right>,
}

/// Most rights of one permission that are weighed against each other.
pub const RIGHTS_MAX: usize = 100;

/// The formula: what an admin who holds `held` makes of `old` where `wanted` is asked for.
///
/// # Errors
/// Where more than [`RIGHTS_MAX`] come or go, or some come to where there are more.
pub fn settle(held: &Held, old: &[Right], wanted: &[Right]) -> Result<Outcome, TooMany> {
    let now = held.now();
    let mut outcome = Outcome::default();
    // What stays just so needs no weighing, and there may be much of it.
    let mut stays = vec![false; old.len()];
    let mut new: Vec<(usize, &Right)> = Vec::new();
    for (index, right) in wanted.iter().enumerate() {
        let mut left = old.iter().zip(&mut stays).enumerate();
        match left.find(|(_, (o, stays))| !**stays && *o == right) {
            Some((at, (_, stays))) => {
                *stays = true;
                outcome.rights.push((*right, Origin::Old(at)));
            }
            // Gives nothing to anybody.
            None if right.is_nothing(now) => {
                outcome.rights.push((*right, Origin::Wanted(index)));
            }
            None => new.push((index, right)),
        }
    }
    let gone: Vec<(usize, &Right)> = old
        .iter()
        .enumerate()
        .zip(&stays)
        .filter(|((_, right), stays)| !**stays && !right.is_nothing(now))
        .map(|(gone, _)| gone)
        .collect();
    if new.len() + gone.len() > RIGHTS_MAX || (!new.is_empty() && old.len() > RIGHTS_MAX) {
        return Err(TooMany);
    }
    let mut pieces: Vec<(Right, Origin)> = Vec::new();
    for (at, right) in &gone {
        let rest = Right {
            reach: right.reach.beyond(held.takes()),
            ..**right
        };
        if rest.is_nothing(now) {
            continue;
        }
        pieces.push((rest, Origin::Old(*at)));
        if !rest.is_covered(wanted, now) {
            outcome.kept.push(rest);
        }
    }
    for (index, right) in new {
        let of_old = old.iter().map(|o| right.meet(o));
        let of_admin = held.gives().iter().map(|p| right.meet(p));
        let allowed: Vec<Right> = of_old
            .chain(of_admin.clone())
            .filter(|piece| !piece.is_nothing(now))
            .collect();
        if !right.is_covered(&allowed, now) {
            outcome.withheld.push(*right);
        }
        // What it has of a right that stays is in that.
        pieces.extend(gone.iter().map(|(at, o)| (right.meet(o), Origin::Old(*at))));
        pieces.extend(of_admin.map(|piece| (piece, Origin::Wanted(index))));
    }
    pieces.retain(|(piece, _)| !piece.is_nothing(now));
    // One that another one covers says nothing; of equals the old one stays.
    let mut found: Vec<(Right, Origin)> = Vec::new();
    for piece in pieces {
        let all = outcome.rights.iter().chain(&found);
        if all.into_iter().any(|(other, _)| piece.0.is_within(other)) {
            continue;
        }
        found.retain(|(other, _)| !other.is_within(&piece.0));
        found.push(piece);
    }
    outcome.rights.extend(found);
    Ok(outcome)
}
