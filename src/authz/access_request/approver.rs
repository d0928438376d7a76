//! Who resolves a request (R4): account owner, super admins and holders of `user_management.edit`,
//! while they are active; never the requester, in no disguise.
//!
//! A right to manage users that comes from the requester does not count against the requester. It
//! is traced by `granted_by` through any number of hands, and through permission sets: such a right
//! comes from whoever wrote the grant into the set and from whoever gave the set. A right that also
//! stems from elsewhere counts. Where the trace breaks off (who gave it is gone, or has no such right
//! on record any more) a loss of rights does not cascade (D5); only against a requester who could
//! have given rights does it count as unproven, for then it may be theirs.

use std::collections::{BTreeMap, BTreeSet};

use smallvec::SmallVec;

use super::{AccessRequest, RequestRefusal};
use crate::authz::access_set::{AccessSet, Liveness, barred, liveness};
use crate::authz::catalog::{ActionSet, TypeIx};
use crate::authz::decision::{ReasonCode, Target};
use crate::authz::graph::AccountGraph;
use crate::authz::model::{Grant, Id, Level, MembershipOf, Timestamp, User};

/// The permission that makes an approver, by the names of the rule book. A catalog without it has
/// account owner and super admins for approvers.
const MANAGED_TYPE: &str = "user_management";
const MANAGING_ACTION: &str = "edit";

/// Whether the approver may resolve the request now, whatever the resolution.
///
/// # Errors
/// Why not.
pub fn may_resolve(
    graph: &AccountGraph,
    request: &AccessRequest,
    approver: &Id,
    now: Timestamp,
) -> Result<(), RequestRefusal> {
    if *approver == request.user {
        return Err(RequestRefusal::SelfApproval);
    }
    let Some(approver) = graph.user(approver.as_str()) else {
        return Err(RequestRefusal::NotAnApprover);
    };
    // Few need the trace, which may look at every user.
    match standing(graph, request, approver, now)? {
        Standing::Free => Ok(()),
        Standing::ByRight => {
            Lineage::new(graph, &request.user, std::iter::once(approver)).judge(approver, now)
        }
    }
}

/// Everybody who may resolve the request now, in id order.
pub fn approvers(graph: &AccountGraph, request: &AccessRequest, now: Timestamp) -> Vec<Id> {
    let lineage = Lineage::new(graph, &request.user, graph.users());
    graph
        .users()
        .filter(|user| user.id != request.user)
        .filter(|user| match standing(graph, request, user, now) {
            Ok(Standing::Free) => true,
            Ok(Standing::ByRight) => lineage.judge(user, now).is_ok(),
            Err(_refusal) => false,
        })
        .map(|user| user.id.clone())
        .collect()
}

/// Owner and super admin are above the grant ceiling.
pub(super) fn is_above_ceiling(user: &User) -> bool {
    user.account_owner || user.super_admin
}

/// A user of the account who gets past step 1 of every check.
pub(super) fn is_active(graph: &AccountGraph, user: &Id) -> bool {
    graph
        .compiled_user(user.as_str())
        .is_some_and(|user| barred(user).is_none())
}

/// Whether two users are one human: of one `person`, or on the partner side one user of one agency.
pub(in crate::authz) fn same_human(one: &User, other: &User) -> bool {
    let same_person = one.person.is_some() && one.person == other.person;
    let partner = |user: &User| {
        let partner = user.partner.as_ref()?;
        Some((partner.account.clone(), partner.user.clone()))
    };
    one.id == other.id || same_person || (one.partner.is_some() && partner(one) == partner(other))
}

/// On what somebody may resolve a request.
enum Standing {
    /// A role, which nobody gives by a grant.
    Free,
    /// The right to manage users, which must not come from the requester.
    ByRight,
}

fn standing(
    graph: &AccountGraph,
    request: &AccessRequest,
    approver: &User,
    now: Timestamp,
) -> Result<Standing, RequestRefusal> {
    let requester = graph.user(request.user.as_str());
    if requester.is_some_and(|requester| same_human(requester, approver)) {
        return Err(RequestRefusal::SamePerson);
    }
    if !is_active(graph, &approver.id) {
        return Err(RequestRefusal::NotAnApprover);
    }
    if is_above_ceiling(approver) {
        return Ok(Standing::Free);
    }
    let user = approver.id.as_str();
    let Ok(managing) = AccessSet::new(graph, user, MANAGED_TYPE, MANAGING_ACTION, now) else {
        return Err(RequestRefusal::NotAnApprover);
    };
    let decision = managing.decide(Target::Tool);
    // What everybody may do is nobody's right to hold.
    if !decision.is_allow() || decision.reason == ReasonCode::Always {
        return Err(RequestRefusal::NotAnApprover);
    }
    Ok(Standing::ByRight)
}

/// One way by which a user has the right to manage users: its time, and who had to act for it.
struct Way<'g> {
    not_before: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    /// `None` stands for no user of the account: a document, an import, an integration.
    givers: SmallVec<[&'g Id; 2]>,
}

/// Where rights to manage users come from, as far as it matters for some approvers.
struct Lineage<'g> {
    ways: BTreeMap<&'g Id, Vec<Way<'g>>>,
    /// Users whose right stems from somewhere else than the requester.
    independent: BTreeSet<&'g Id>,
}

impl<'g> Lineage<'g> {
    fn new(
        graph: &'g AccountGraph,
        requester: &Id,
        approvers: impl Iterator<Item = &'g User>,
    ) -> Self {
        let right = Right::of(graph);
        let mut lineage = Self {
            ways: BTreeMap::new(),
            independent: BTreeSet::new(),
        };
        let Some(right) = right else { return lineage };
        let requester_user = graph.user(requester.as_str());
        let is_requester = |user: &User| {
            user.id == *requester
                || requester_user.is_some_and(|requester| same_human(requester, user))
        };
        // Everybody in whose hands the rights have been, from the approvers back.
        let mut pending: Vec<&'g User> = approvers.collect();
        let mut broken: BTreeSet<&'g Id> = BTreeSet::new();
        while let Some(user) = pending.pop() {
            if lineage.ways.contains_key(&user.id) {
                continue;
            }
            let ways = right.ways(user);
            for giver in ways.iter().flat_map(|way| &way.givers) {
                match graph.user(giver.as_str()) {
                    Some(giver) => pending.push(giver),
                    None => drop(broken.insert(giver)),
                }
            }
            lineage.ways.insert(&user.id, ways);
        }
        for (id, ways) in &lineage.ways {
            let Some(user) = graph.user(id.as_str()) else {
                continue;
            };
            if is_requester(user) {
                continue;
            }
            if is_above_ceiling(user) {
                lineage.independent.insert(*id);
            } else if ways.is_empty() {
                broken.insert(*id);
            }
        }
        let could_give = || {
            graph
                .users()
                .filter(|user| is_requester(user))
                .any(|user| is_above_ceiling(user) || !right.ways(user).is_empty())
        };
        broken.remove(requester);
        if !broken.is_empty() && !could_give() {
            lineage.independent.extend(broken);
        }
        lineage.close(|id| graph.user(id.as_str()).is_some_and(is_requester));
        lineage
    }

    /// Adds whoever has a way on which all givers are independent, until there are no more.
    fn close(&mut self, is_requester: impl Fn(&Id) -> bool) {
        loop {
            let independent = &self.independent;
            let more: Vec<&'g Id> = self
                .ways
                .iter()
                .filter(|(id, _)| !independent.contains(*id) && !is_requester(id))
                .filter(|(_, ways)| {
                    ways.iter()
                        .any(|way| way.givers.iter().all(|giver| independent.contains(giver)))
                })
                .map(|(id, _)| *id)
                .collect();
            if more.is_empty() {
                return;
            }
            self.independent.extend(more);
        }
    }

    fn judge(&self, approver: &User, now: Timestamp) -> Result<(), RequestRefusal> {
        match self.counts(approver, now) {
            true => Ok(()),
            false => Err(RequestRefusal::RightFromRequester),
        }
    }

    /// Whether a holder's right counts now: by a live way that does not come from the requester, or
    /// by a role, which nobody gives by a grant.
    fn counts(&self, holder: &User, now: Timestamp) -> bool {
        let ways = self.ways.get(&holder.id).map_or(&[][..], Vec::as_slice);
        let mut live = ways
            .iter()
            .filter(|way| {
                liveness(way.not_before, way.expires_at, now, &mut None) == Liveness::Live
            })
            .peekable();
        live.peek().is_none()
            || live.any(|way| {
                way.givers
                    .iter()
                    .all(|giver| self.independent.contains(giver))
            })
    }
}

/// The right to manage users, as the catalog has it.
struct Right<'g> {
    graph: &'g AccountGraph,
    sources: SmallVec<[(&'g Id, ActionSet); 1]>,
}

impl<'g> Right<'g> {
    /// `None` where the catalog has no such action.
    fn of(graph: &'g AccountGraph) -> Option<Self> {
        let catalog = graph.catalog();
        let (type_ix, action) = catalog.resolve(MANAGED_TYPE, MANAGING_ACTION).ok()?;
        let rule = catalog.resource_type(type_ix)?.rule(action)?;
        let named = |(type_ix, actions): &(TypeIx, ActionSet)| {
            Some((&catalog.resource_type(*type_ix)?.name, *actions))
        };
        Some(Self {
            graph,
            sources: rule.sources.iter().filter_map(named).collect(),
        })
    }

    fn is_given_by(&self, grant: &Grant) -> bool {
        grant.level != Level::None
            && self.sources.iter().any(|(name, actions)| {
                **name == grant.key.resource_type
                    && self
                        .graph
                        .catalog()
                        .granted_actions(&grant.key)
                        .is_ok_and(|(_, granted)| granted.intersects(*actions))
            })
    }

    /// All ways by which the user has the right, whatever the time.
    fn ways(&self, user: &'g User) -> Vec<Way<'g>> {
        let way = |grant: &'g Grant| Way {
            not_before: grant.not_before,
            expires_at: grant.expires_at,
            givers: grant.granted_by.iter().collect(),
        };
        let direct = user.grants.iter().filter(|grant| self.is_given_by(grant));
        let mut ways: Vec<Way<'g>> = direct.map(way).collect();
        for set in &user.permission_sets {
            ways.extend(self.grants_of_set(set).map(way).map(|mut way| {
                way.givers.extend(user.set_givers.get(set));
                way
            }));
        }
        for membership in &user.memberships {
            let MembershipOf::PermissionSet(set) = &membership.of else {
                continue;
            };
            ways.extend(self.grants_of_set(set).map(way).map(|mut way| {
                let ends = [way.expires_at, membership.expires_at];
                way.expires_at = ends.into_iter().flatten().min();
                way.givers.extend(&membership.granted_by);
                way
            }));
        }
        ways
    }

    fn grants_of_set(&self, set: &Id) -> impl Iterator<Item = &'g Grant> {
        let set = self.graph.permission_set(set.as_str());
        let grants = set.into_iter().flat_map(|set| &set.grants);
        grants.filter(|grant| self.is_given_by(grant))
    }
}
