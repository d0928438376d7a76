//! The ceiling over rights as they are stored.
//!
//! Each grant of a permission from one provenance is weighed against those of the same. A permission
//! set counts for what is in it. Where the admin holds all of a set, a user gets the set; where not,
//! the user gets what is left of it as grants of their own, and not the set (S4.16): a set is given
//! whole or not at all, and one that is changed later goes to those alone who were given it. Likewise
//! what the admin lacks of a set that is taken stays as grants (S4.17).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::held::OF_ONE;
use super::{Ceiling, Held, Origin, Reach, Right, settle};
use crate::authz::graph::AccountGraph;
use crate::authz::model::{
    Grant, Id, Level, Membership, MembershipOf, ObjectGrant, PermissionKey, PermissionSet,
    Provenance, ResourceKey, Timestamp, User,
};

/// More rights of one permission than are weighed against each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "more than {} grants of one permission change at once",
    super::RIGHTS_MAX
)]
pub struct TooMany;

/// What was wanted and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled<T> {
    /// What the subject is to be.
    pub is: T,
    pub kept: Vec<Note>,
    pub withheld: Vec<Note>,
}

/// A right that stays although it was to go, or that is not given whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    pub what: Subject,
    /// Until when it stays, or was wanted; `None`: without an end.
    pub expires_at: Option<Timestamp>,
    /// The permission set that it was to come or to go with.
    pub permission_set: Option<Id>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Permission {
        key: PermissionKey,
        level: Level,
        include_unassigned: bool,
    },
    Object {
        resource: ResourceKey,
        action: Id,
    },
    /// `super_admin`, `account_owner` or `partner_admin`.
    Role(&'static str),
}

/// `email.edit at team`, `view on email/e1` or `super_admin`.
impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permission {
                key,
                level,
                include_unassigned,
            } => {
                let unassigned = match include_unassigned {
                    true => "+unassigned",
                    false => "",
                };
                write!(formatter, "{key} at {level}{unassigned}")
            }
            Self::Object { resource, action } => write!(formatter, "{action} on {resource}"),
            Self::Role(role) => formatter.write_str(role),
        }
    }
}

/// The permission sets of an account before and after what else is changed with the user.
pub struct PermissionSets<'a> {
    graph: &'a AccountGraph,
    after: BTreeMap<&'a Id, Option<&'a PermissionSet>>,
}

impl<'a> PermissionSets<'a> {
    /// No set changes.
    pub fn of(graph: &'a AccountGraph) -> Self {
        Self {
            graph,
            after: BTreeMap::new(),
        }
    }

    /// The set is something else afterwards, or with `None` gone.
    pub fn becomes(&mut self, set: &'a Id, after: Option<&'a PermissionSet>) {
        self.after.insert(set, after);
    }

    fn before(&self, set: &Id) -> Option<&'a PermissionSet> {
        self.graph.permission_set(set.as_str())
    }

    fn after(&self, set: &Id) -> Option<&'a PermissionSet> {
        match self.after.get(set) {
            Some(after) => *after,
            None => self.before(set),
        }
    }
}

/// By which way rights come that are weighed together.
type Way<'a> = (&'a PermissionKey, &'a Provenance);

/// How a user holds a permission set.
type Holding<'a> = (&'a Id, Option<&'a Provenance>);

/// A set as it is held: by a membership until its end, or plainly.
#[derive(Clone, Copy)]
struct HeldSet<'a> {
    set: &'a Id,
    until: Option<Timestamp>,
    membership: Option<&'a Membership>,
}

impl Ceiling<'_> {
    /// What becomes of a user who is `before`, or new, and is wanted so. Roles stay as they are, and
    /// of teams, status and all else the answer is what is wanted: they are no rights of this kind.
    ///
    /// # Errors
    /// Where too many rights change at once.
    pub fn settle_user(
        &self,
        before: Option<&User>,
        wanted: &User,
        sets: &PermissionSets<'_>,
    ) -> Result<Settled<User>, TooMany> {
        let new = User::new(wanted.id.clone());
        let before = before.unwrap_or(&new);
        let mut settled = Settled {
            is: wanted.clone(),
            kept: Vec::new(),
            withheld: Vec::new(),
        };
        settle_roles(before, &mut settled);
        let mut notes = Notes::default();
        settled.is.grants = self.settle_grants(&before.grants, &wanted.grants, None, &mut notes)?;
        self.settle_sets(before, &mut settled.is, sets, &mut notes)?;
        self.settle_objects(before, &mut settled.is, &mut notes)?;
        settled.kept.extend(notes.kept);
        settled.withheld.extend(notes.withheld);
        settled.kept.sort();
        settled.withheld.sort();
        Ok(settled)
    }

    /// What becomes of a permission set: what comes to all who hold it, or goes from them.
    ///
    /// # Errors
    /// Where too many rights change at once.
    pub fn settle_set(
        &self,
        before: Option<&PermissionSet>,
        wanted: &PermissionSet,
    ) -> Result<Settled<PermissionSet>, TooMany> {
        let none = BTreeSet::new();
        let old = before.map_or(&none, |before| &before.grants);
        let mut notes = Notes::default();
        let grants = self.settle_grants(old, &wanted.grants, Some(&wanted.id), &mut notes)?;
        Ok(Settled {
            is: PermissionSet {
                id: wanted.id.clone(),
                grants,
            },
            kept: notes.kept,
            withheld: notes.withheld,
        })
    }

    /// The first of some rights that the admin does not hold as far and as long.
    pub fn lacks<'a>(&self, grants: impl IntoIterator<Item = &'a Grant>) -> Option<&'a Grant> {
        grants.into_iter().find(|grant| {
            let right = right_of(grant);
            !right.is_nothing(self.now())
                && !self.held(&grant.key).reaches(right.reach, right.until)
        })
    }

    fn settle_grants(
        &self,
        old: &BTreeSet<Grant>,
        wanted: &BTreeSet<Grant>,
        set: Option<&Id>,
        notes: &mut Notes,
    ) -> Result<BTreeSet<Grant>, TooMany> {
        let old_by = by_way(old);
        let wanted_by = by_way(wanted);
        let ways: BTreeSet<Way<'_>> = old_by.keys().chain(wanted_by.keys()).copied().collect();
        let mut grants = BTreeSet::new();
        for way in ways {
            let old = old_by.get(&way).map_or(&[][..], Vec::as_slice);
            let wanted = wanted_by.get(&way).map_or(&[][..], Vec::as_slice);
            if old == wanted {
                grants.extend(old.iter().map(|grant| (*grant).clone()));
                continue;
            }
            let rights = |grants: &[&Grant]| -> Vec<Right> {
                grants.iter().map(|grant| right_of(grant)).collect()
            };
            let (key, _) = way;
            let outcome = settle(&self.held(key), &rights(old), &rights(wanted))?;
            notes.take(key, set, &outcome.kept, &outcome.withheld);
            for (right, origin) in &outcome.rights {
                grants.extend(match origin {
                    Origin::Old(at) => old.get(*at).map(|grant| shaped(grant, right)),
                    Origin::Wanted(at) => wanted.get(*at).map(|grant| Grant {
                        granted_by: self.admin().cloned(),
                        ..shaped(grant, right)
                    }),
                });
            }
        }
        Ok(grants)
    }

    fn settle_sets(
        &self,
        before: &User,
        is: &mut User,
        sets: &PermissionSets<'_>,
        notes: &mut Notes,
    ) -> Result<(), TooMany> {
        let wanted = is.clone();
        let old_holdings = holdings(before);
        let new_holdings = holdings(&wanted);
        let ways: BTreeSet<Holding<'_>> = old_holdings
            .keys()
            .chain(new_holdings.keys())
            .copied()
            .collect();
        for way in ways {
            let (old, new) = (old_holdings.get(&way), new_holdings.get(&way));
            if old.map(|held| held.until) == new.map(|held| held.until) {
                // Held as before: what is in it was given already, by whomever.
                if let (Some(old), Some(new)) = (old, new)
                    && let (Some(was), Some(stays)) = (old.membership, new.membership)
                    && was != stays
                {
                    is.memberships.remove(stays);
                    is.memberships.insert(was.clone());
                }
                continue;
            }
            self.settle_holding(old, new, is, sets, notes)?;
        }
        Ok(())
    }

    /// One way by which a user holds a set, which begins, ends, or ends at another time.
    fn settle_holding(
        &self,
        old: Option<&HeldSet<'_>>,
        new: Option<&HeldSet<'_>>,
        is: &mut User,
        sets: &PermissionSets<'_>,
        notes: &mut Notes,
    ) -> Result<(), TooMany> {
        let old_set = old.and_then(|held| sets.before(held.set));
        let new_set = new.and_then(|held| sets.after(held.set));
        let old_until = old.and_then(|held| held.until);
        let new_until = new.and_then(|held| held.until);
        let old_by = by_permission(old_set, old_until);
        let new_by = by_permission(new_set, new_until);
        let keys: BTreeSet<&PermissionKey> = old_by.keys().chain(new_by.keys()).copied().collect();
        let set = old.or(new).map(|held| held.set);
        let (mut whole, mut gives) = (true, false);
        let mut pieces: Vec<(Grant, bool)> = Vec::new();
        let none = Vec::new();
        for key in keys {
            let (old_grants, new_grants) = (
                old_by.get(key).unwrap_or(&none),
                new_by.get(key).unwrap_or(&none),
            );
            let rights = |grants: &[(&Grant, Right)]| -> Vec<Right> {
                grants.iter().map(|(_, right)| *right).collect()
            };
            let wanted = rights(new_grants);
            let outcome = settle(&self.held(key), &rights(old_grants), &wanted)?;
            notes.take(key, set, &outcome.kept, &outcome.withheld);
            whole &= outcome.withheld.is_empty();
            for (right, origin) in &outcome.rights {
                if right.is_nothing(self.now()) {
                    continue;
                }
                let comes_with_set = right.is_covered(&wanted, self.now());
                gives |= matches!(origin, Origin::Wanted(_));
                let piece = match origin {
                    Origin::Old(at) => old_grants.get(*at).map(|(grant, _)| Grant {
                        granted_by: old
                            .and_then(|held| held.membership?.granted_by.clone())
                            .or_else(|| grant.granted_by.clone()),
                        ..shaped(grant, right)
                    }),
                    Origin::Wanted(at) => new_grants.get(*at).map(|(grant, _)| Grant {
                        granted_by: self.admin().cloned(),
                        ..shaped(grant, right)
                    }),
                };
                pieces.extend(piece.map(|piece| (piece, comes_with_set)));
            }
        }
        if let Some(new) = new {
            match new.membership {
                Some(membership) => {
                    is.memberships.remove(membership);
                    if whole {
                        let giver = old.and_then(|held| held.membership?.granted_by.as_ref());
                        is.memberships.insert(Membership {
                            granted_by: giver.filter(|_| !gives).or(self.admin()).cloned(),
                            ..membership.clone()
                        });
                    }
                }
                None if !whole => drop(is.permission_sets.remove(new.set)),
                None => {}
            }
        }
        let provenance = old
            .or(new)
            .and_then(|held| held.membership)
            .map_or(Provenance::Manual, |membership| {
                membership.provenance.clone()
            });
        for (piece, comes_with_set) in pieces {
            if whole && comes_with_set {
                continue;
            }
            add(
                &mut is.grants,
                Grant {
                    provenance: provenance.clone(),
                    ..piece
                },
            );
        }
        Ok(())
    }

    fn settle_objects(
        &self,
        before: &User,
        is: &mut User,
        notes: &mut Notes,
    ) -> Result<(), TooMany> {
        type Of<'a> = (&'a ResourceKey, &'a Id, &'a Provenance);
        fn by(grants: &BTreeSet<ObjectGrant>) -> BTreeMap<Of<'_>, Vec<&ObjectGrant>> {
            let mut by: BTreeMap<Of<'_>, Vec<&ObjectGrant>> = BTreeMap::new();
            for grant in grants {
                by.entry((&grant.resource, &grant.action, &grant.provenance))
                    .or_default()
                    .push(grant);
            }
            by
        }
        let (old_by, wanted_by) = (by(&before.object_grants), by(&is.object_grants));
        let ways: BTreeSet<Of<'_>> = old_by.keys().chain(wanted_by.keys()).copied().collect();
        let mut grants = BTreeSet::new();
        for way in ways {
            let old = old_by.get(&way).map_or(&[][..], Vec::as_slice);
            let wanted = wanted_by.get(&way).map_or(&[][..], Vec::as_slice);
            if old == wanted {
                grants.extend(old.iter().map(|grant| (*grant).clone()));
                continue;
            }
            let rights = |grants: &[&ObjectGrant]| -> Vec<Right> {
                grants.iter().map(|grant| right_on(grant)).collect()
            };
            let (resource, action, _) = way;
            let held: Held = self.held_on(resource, action);
            let outcome = settle(&held, &rights(old), &rights(wanted))?;
            let note = |right: &Right| Note {
                what: Subject::Object {
                    resource: resource.clone(),
                    action: action.clone(),
                },
                expires_at: right.until,
                permission_set: None,
            };
            notes.kept.extend(outcome.kept.iter().map(note));
            notes.withheld.extend(outcome.withheld.iter().map(note));
            // There is one of a kind: of several pieces with a gap between them the old one stays.
            let of_old = |(_, origin): &&(Right, Origin)| matches!(origin, Origin::Old(_));
            let right = outcome
                .rights
                .iter()
                .find(of_old)
                .or(outcome.rights.first());
            grants.extend(right.and_then(|(right, origin)| match origin {
                Origin::Old(at) => old.get(*at).map(|grant| shaped_on(grant, right)),
                Origin::Wanted(at) => wanted.get(*at).map(|grant| ObjectGrant {
                    granted_by: self.admin().cloned(),
                    ..shaped_on(grant, right)
                }),
            }));
        }
        is.object_grants = grants;
        Ok(())
    }
}

#[derive(Default)]
struct Notes {
    kept: Vec<Note>,
    withheld: Vec<Note>,
}

impl Notes {
    fn take(&mut self, key: &PermissionKey, set: Option<&Id>, kept: &[Right], withheld: &[Right]) {
        let note = |right: &Right| permission_note(key, right, set);
        self.kept.extend(kept.iter().map(note));
        self.withheld.extend(withheld.iter().map(note));
    }
}

pub(super) fn permission_note(key: &PermissionKey, right: &Right, set: Option<&Id>) -> Note {
    Note {
        what: Subject::Permission {
            key: key.clone(),
            level: right.reach.level(),
            include_unassigned: right.reach.include_unassigned(),
        },
        expires_at: right.until,
        permission_set: set.cloned(),
    }
}

/// Nobody under the ceiling hands on a role (D3).
fn settle_roles(before: &User, settled: &mut Settled<User>) {
    let roles: [(&'static str, bool, &mut bool); 3] = [
        (
            "super_admin",
            before.super_admin,
            &mut settled.is.super_admin,
        ),
        (
            "account_owner",
            before.account_owner,
            &mut settled.is.account_owner,
        ),
        (
            "partner_admin",
            before.partner_admin,
            &mut settled.is.partner_admin,
        ),
    ];
    for (role, was, is) in roles {
        if was == *is {
            continue;
        }
        let note = Note {
            what: Subject::Role(role),
            expires_at: None,
            permission_set: None,
        };
        match was {
            true => settled.kept.push(note),
            false => settled.withheld.push(note),
        }
        *is = was;
    }
}

pub(super) fn right_of(grant: &Grant) -> Right {
    Right {
        reach: Reach::new(grant.level, grant.include_unassigned),
        from: grant.not_before,
        until: grant.expires_at,
    }
}

fn right_on(grant: &ObjectGrant) -> Right {
    Right {
        reach: OF_ONE,
        from: grant.not_before,
        until: grant.expires_at,
    }
}

fn shaped(grant: &Grant, right: &Right) -> Grant {
    Grant {
        level: right.reach.level(),
        include_unassigned: right.reach.include_unassigned(),
        not_before: right.from,
        expires_at: right.until,
        ..grant.clone()
    }
}

fn shaped_on(grant: &ObjectGrant, right: &Right) -> ObjectGrant {
    ObjectGrant {
        not_before: right.from,
        expires_at: right.until,
        ..grant.clone()
    }
}

fn by_way(grants: &BTreeSet<Grant>) -> BTreeMap<Way<'_>, Vec<&Grant>> {
    let mut by: BTreeMap<Way<'_>, Vec<&Grant>> = BTreeMap::new();
    for grant in grants {
        let way = (&grant.key, &grant.provenance);
        by.entry(way).or_default().push(grant);
    }
    by
}

/// What a set gives to who holds it until a moment.
fn by_permission(
    set: Option<&PermissionSet>,
    until: Option<Timestamp>,
) -> BTreeMap<&PermissionKey, Vec<(&Grant, Right)>> {
    let mut by: BTreeMap<&PermissionKey, Vec<(&Grant, Right)>> = BTreeMap::new();
    for grant in set.into_iter().flat_map(|set| &set.grants) {
        let own = right_of(grant);
        let held = Right {
            until: [own.until, until].into_iter().flatten().min(),
            ..own
        };
        by.entry(&grant.key).or_default().push((grant, held));
    }
    by
}

fn holdings(user: &User) -> BTreeMap<Holding<'_>, HeldSet<'_>> {
    let plain = user.permission_sets.iter().map(|set| {
        let held = HeldSet {
            set,
            until: None,
            membership: None,
        };
        ((set, None), held)
    });
    let by_membership = user.memberships.iter().filter_map(|membership| {
        let MembershipOf::PermissionSet(set) = &membership.of else {
            return None;
        };
        let held = HeldSet {
            set,
            until: membership.expires_at,
            membership: Some(membership),
        };
        Some(((set, Some(&membership.provenance)), held))
    });
    plain.chain(by_membership).collect()
}

/// Adds a grant where none of its permission and provenance says as much already.
fn add(grants: &mut BTreeSet<Grant>, grant: Grant) {
    let right = right_of(&grant);
    let is_said = grants.iter().any(|other| {
        other.key == grant.key
            && other.provenance == grant.provenance
            && right.is_within(&right_of(other))
    });
    if !is_said {
        grants.insert(grant);
    }
}
