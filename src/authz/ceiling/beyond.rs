//! Grants above their grantor's present ceiling (D5): what somebody gave who does not hold as much
//! any more, or is gone. It stays, since a loss of rights does not cascade; the audit lists it.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::held::OF_ONE;
use super::stored::{permission_note, right_of};
use super::{Ceiling, Note, Reach, Subject};
use crate::authz::graph::AccountGraph;
use crate::authz::model::{EntityKey, Grant, Id, MembershipOf, PermissionSet, Timestamp, User};

/// A grant that its grantor could not give now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeyondCeiling {
    /// The user or the permission set that has it.
    pub of: EntityKey,
    pub grant: Note,
    pub granted_by: Id,
    /// What the grantor holds of it now.
    pub held: Reach,
}

/// Those of the users and sets after `after`, users first and each in id order, until there are
/// `enough`; all of one holder come together. And the last holder that was looked at, where there are
/// more.
pub fn beyond_ceiling(
    graph: &AccountGraph,
    after: Option<&EntityKey>,
    enough: usize,
    now: Timestamp,
) -> (Vec<BeyondCeiling>, Option<EntityKey>) {
    let mut found = Vec::new();
    let mut grantors = Grantors {
        graph,
        now,
        ceilings: BTreeMap::new(),
    };
    let users_after = match after {
        None => Some(Bound::Unbounded),
        Some(EntityKey::User(id)) => Some(Bound::Excluded(id)),
        Some(_) => None,
    };
    let is_after = |bound: &Bound<&Id>, id: &Id| match bound {
        Bound::Excluded(after) => id > *after,
        Bound::Unbounded | Bound::Included(_) => true,
    };
    if let Some(bound) = users_after {
        for user in graph.users().filter(|user| is_after(&bound, &user.id)) {
            grantors.of_user(user, &mut found);
            if found.len() >= enough {
                return (found, Some(EntityKey::User(user.id.clone())));
            }
        }
    }
    let bound = match after {
        Some(EntityKey::PermissionSet(id)) => Bound::Excluded(id),
        _ => Bound::Unbounded,
    };
    for set in graph
        .permission_sets()
        .filter(|set| is_after(&bound, &set.id))
    {
        grantors.of_set(set, &mut found);
        if found.len() >= enough {
            return (found, Some(EntityKey::PermissionSet(set.id.clone())));
        }
    }
    (found, None)
}

/// Who gave something, and what they hold now; `None` are those above the ceiling.
struct Grantors<'g> {
    graph: &'g AccountGraph,
    now: Timestamp,
    ceilings: BTreeMap<Id, Option<Ceiling<'g>>>,
}

impl<'g> Grantors<'g> {
    fn ceiling(&mut self, grantor: &Id) -> Option<&Ceiling<'g>> {
        let (graph, now) = (self.graph, self.now);
        self.ceilings
            .entry(grantor.clone())
            .or_insert_with(|| Ceiling::of(graph, grantor, now))
            .as_ref()
    }

    fn of_user(&mut self, user: &User, found: &mut Vec<BeyondCeiling>) {
        let of = EntityKey::User(user.id.clone());
        self.grants(&of, &user.grants, found);
        for grant in &user.object_grants {
            let (Some(grantor), now) = (&grant.granted_by, self.now) else {
                continue;
            };
            if grant.expires_at.is_some_and(|end| end <= now) {
                continue;
            }
            let Some(ceiling) = self.ceiling(grantor) else {
                continue;
            };
            let held = ceiling.held_on(&grant.resource, &grant.action);
            if !held.reaches(OF_ONE, grant.expires_at) {
                found.push(BeyondCeiling {
                    of: of.clone(),
                    grant: Note {
                        what: Subject::Object {
                            resource: grant.resource.clone(),
                            action: grant.action.clone(),
                        },
                        expires_at: grant.expires_at,
                        permission_set: None,
                    },
                    granted_by: grantor.clone(),
                    held: held.takes(),
                });
            }
        }
        for (set, grantor) in &user.set_givers {
            self.of_given_set(&of, set, grantor, None, found);
        }
        for membership in &user.memberships {
            let (MembershipOf::PermissionSet(set), Some(grantor)) =
                (&membership.of, &membership.granted_by)
            else {
                continue;
            };
            self.of_given_set(&of, set, grantor, membership.expires_at, found);
        }
    }

    /// What comes with a set that somebody gave to a user, perhaps until a moment.
    fn of_given_set(
        &mut self,
        of: &EntityKey,
        set: &Id,
        grantor: &Id,
        until: Option<Timestamp>,
        found: &mut Vec<BeyondCeiling>,
    ) {
        let graph = self.graph;
        let grants = graph.permission_set(set.as_str());
        for grant in grants.into_iter().flat_map(|set| &set.grants) {
            let ends = [grant.expires_at, until];
            let grant = Grant {
                expires_at: ends.into_iter().flatten().min(),
                ..grant.clone()
            };
            self.grant(of, (&grant, grantor), Some(set), found);
        }
    }

    fn of_set(&mut self, set: &PermissionSet, found: &mut Vec<BeyondCeiling>) {
        let of = EntityKey::PermissionSet(set.id.clone());
        self.grants(&of, &set.grants, found);
    }

    fn grants<'a>(
        &mut self,
        of: &EntityKey,
        grants: impl IntoIterator<Item = &'a Grant>,
        found: &mut Vec<BeyondCeiling>,
    ) {
        for grant in grants {
            if let Some(grantor) = &grant.granted_by {
                self.grant(of, (grant, grantor), None, found);
            }
        }
    }

    fn grant(
        &mut self,
        of: &EntityKey,
        (grant, grantor): (&Grant, &Id),
        set: Option<&Id>,
        found: &mut Vec<BeyondCeiling>,
    ) {
        let right = right_of(grant);
        if right.is_nothing(self.now) {
            return;
        }
        let Some(ceiling) = self.ceiling(grantor) else {
            return;
        };
        let held = ceiling.held(&grant.key);
        if !held.reaches(right.reach, right.until) {
            found.push(BeyondCeiling {
                of: of.clone(),
                grant: permission_note(&grant.key, &right, set),
                granted_by: grantor.clone(),
                held: held.takes(),
            });
        }
    }
}
