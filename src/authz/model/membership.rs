//! What a user belongs to with a reason: memberships of teams and permission sets that say where
//! they come from and when they end, beside the plain `teams` and `permission_sets`.

use super::{Id, Provenance, Timestamp, User};

/// A team or a permission set that a user belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MembershipOf {
    /// Counts like an additional team.
    Team(Id),
    /// Counts like a permission set that the user holds.
    PermissionSet(Id),
}

impl MembershipOf {
    pub fn id(&self) -> &Id {
        match self {
            Self::Team(id) | Self::PermissionSet(id) => id,
        }
    }

    /// `team` or `permission_set`: the key of a document and the kind of a row.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Team(_) => "team",
            Self::PermissionSet(_) => "permission_set",
        }
    }

    /// `None` for a word that is no kind.
    pub fn from_kind(kind: &str, id: Id) -> Option<Self> {
        match kind {
            "team" => Some(Self::Team(id)),
            "permission_set" => Some(Self::PermissionSet(id)),
            _ => None,
        }
    }
}

/// A membership that says why. A user may have several of one team or set, one for each provenance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Membership {
    pub of: MembershipOf,
    pub provenance: Provenance,
    /// It counts while t < expires_at.
    pub expires_at: Option<Timestamp>,
    /// Who gave it. Kept after that user is gone, so it is not a reference.
    pub granted_by: Option<Id>,
}

impl Membership {
    pub fn is_live(&self, at: Timestamp) -> bool {
        self.expires_at.is_none_or(|expires_at| at < expires_at)
    }

    /// Whether it is the one of this team or set and provenance, which a user has once at most.
    pub fn is_of(&self, of: &MembershipOf, provenance: &Provenance) -> bool {
        self.of == *of && self.provenance == *provenance
    }
}

impl User {
    /// Teams that the user is in at a moment: main and additional ones, and those by a membership
    /// that is live then. One may come twice.
    pub fn teams_at(&self, at: Timestamp) -> impl Iterator<Item = &Id> {
        let live = self.memberships.iter().filter(move |one| one.is_live(at));
        let live = live.filter_map(|one| match &one.of {
            MembershipOf::Team(team) => Some(team),
            MembershipOf::PermissionSet(_) => None,
        });
        self.all_teams().chain(live)
    }

    /// Permission sets that the user holds at a moment, plainly or by a membership that is live
    /// then. One may come twice.
    pub fn permission_sets_at(&self, at: Timestamp) -> impl Iterator<Item = &Id> {
        let live = self.memberships.iter().filter(move |one| one.is_live(at));
        let live = live.filter_map(|one| match &one.of {
            MembershipOf::PermissionSet(set) => Some(set),
            MembershipOf::Team(_) => None,
        });
        self.permission_sets.iter().chain(live)
    }

    /// Names the giver of each plain permission set that the user did not have before, and of the
    /// others who it was.
    pub fn set_given(&mut self, before: &Self, giver: Option<&Id>) {
        let of = |set: &Id| match before.permission_sets.contains(set) {
            true => before.set_givers.get(set),
            false => giver,
        };
        let sets = self.permission_sets.iter();
        self.set_givers = sets
            .filter_map(|set| Some((set.clone(), of(set)?.clone())))
            .collect();
    }
}

/// Shortest and longest mail address, in bytes.
pub const EMAIL_BYTES: std::ops::RangeInclusive<usize> = 3..=254;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmailError {
    #[error(
        "a mail address has {} to {} bytes, this one has {bytes}",
        EMAIL_BYTES.start(),
        EMAIL_BYTES.end()
    )]
    Length { bytes: usize },
    #[error("a mail address is NAME@HOST with one `@`, without spaces and control characters")]
    Form,
}

/// Whether mail can be sent to an address: its shape, not whether anybody reads it.
///
/// # Errors
/// What is wrong with it.
pub fn check_email(text: &str) -> Result<(), EmailError> {
    if !EMAIL_BYTES.contains(&text.len()) {
        return Err(EmailError::Length { bytes: text.len() });
    }
    let sides = text.split_once('@');
    let is_plain = |side: &str| {
        !side.is_empty()
            && !side.contains(|character: char| {
                character == '@' || character == ' ' || character.is_control()
            })
    };
    match sides {
        Some((name, host)) if is_plain(name) && is_plain(host) => Ok(()),
        _ => Err(EmailError::Form),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_at_and_nothing_that_breaks_a_header() {
        for good in ["a@b", "ana.o'neil+x@example.org", "ä@ö.example"] {
            assert_eq!(check_email(good), Ok(()), "{good}");
        }
        for bad in [
            "a@@b",
            "@ab",
            "ab@",
            "abc",
            "a b@c",
            "a@b\r\nBcc: c",
            "a@b\u{85}",
        ] {
            assert_eq!(check_email(bad), Err(EmailError::Form), "{bad}");
        }
        let at_most = format!("{}@b", "a".repeat(252));
        assert_eq!(check_email(&at_most), Ok(()));
        for bad in ["@b", &format!("a{at_most}")] {
            assert!(matches!(check_email(bad), Err(EmailError::Length { .. })));
        }
    }
}
