//! What a resolution opens: the questions that turn from DENY to ALLOW, each a triple of user, action
//! and resource, or without a resource where it is the tool as a whole (R6).
//!
//! They are found as the difference of access sets before and after, on the snapshot: as bitmaps
//! where grants or memberships reach over many resources, as single checks where one resource is
//! touched. An action that is the same as another one is a question of its own and counts as one.

use std::collections::BTreeSet;
use std::rc::Rc;

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::resolution::resource_of;
use super::{AccessRequest, RequestRefusal, Resolution};
use crate::authz::access_set::{AccessSet, Gate, Reaching};
use crate::authz::catalog::{ActionIx, ActionSet, TypeIx};
use crate::authz::ceiling::{Gifts, gifts};
use crate::authz::decision::Target;
use crate::authz::graph::{AccountGraph, CompiledUser};
use crate::authz::model::{Id, Level, ResourceKey, Timestamp};

/// Most triples that an opening names.
pub const OPENED_MAX: usize = 100;
/// The work that one call may do, in checks; a bitmap costs as many as its size says. Some seconds.
const WORK_MAX: u64 = 10_000_000;
/// Up to so many rows are checked one by one rather than by the bitmaps of the whole type.
const SINGLE_ROWS_MAX: u64 = 1_024;

/// What a resolution newly allows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opening {
    /// Triples of user, action and resource; a tool as a whole counts as one without a resource.
    pub count: u64,
    /// Users among whom they are.
    pub users: u64,
    /// The first of them, ordered bytewise; at most [`OPENED_MAX`]. For approvers' eyes only: a
    /// requester learns nothing of resources that are closed to them (R3).
    pub sample: Vec<Opened>,
}

/// One triple.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Opened {
    pub user: Id,
    pub action: Id,
    pub resource_type: Id,
    pub resource_id: Option<Id>,
}

/// What one user may newly do by one action on one type.
#[derive(Debug, Clone)]
pub(super) struct Piece<'g> {
    pub user: &'g CompiledUser,
    pub type_ix: TypeIx,
    pub action: ActionIx,
    /// The tool as a whole.
    pub tool: bool,
    /// Rows of the type's index before the change.
    pub rows: Rc<RoaringBitmap>,
}

/// An access set as far as a bitmap depends on it while nobody moves: the gate, and what the grants
/// come to.
type Extent = (TypeIx, ActionIx, Gate, Option<Reaching>);

/// Compares the snapshot with what it would be after a resolution. Keeps what it has worked out,
/// since candidates are many and alike.
pub(super) struct Comparison<'g> {
    graph: &'g AccountGraph,
    requester: &'g CompiledUser,
    now: Timestamp,
    gifts: Gifts,
    before: HashMap<(TypeIx, ActionIx), Rc<RoaringBitmap>>,
    /// What the requester newly reaches by an access set of this extent.
    gained: HashMap<Extent, Rc<RoaringBitmap>>,
    work: u64,
}

impl<'g> Comparison<'g> {
    pub(super) fn new(
        graph: &'g AccountGraph,
        requester: &Id,
        now: Timestamp,
    ) -> Result<Self, RequestRefusal> {
        let Some(requester) = graph.compiled_user(requester.as_str()) else {
            return Err(RequestRefusal::RequesterInactive);
        };
        Ok(Self {
            graph,
            requester,
            now,
            gifts: gifts(graph),
            before: HashMap::new(),
            gained: HashMap::new(),
            work: 0,
        })
    }

    /// All that a resolution of the request opens, where `after` is the account with it.
    pub(super) fn pieces(
        &mut self,
        request: &AccessRequest,
        resolution: &Resolution,
        after: &AccountGraph,
    ) -> Result<Vec<Piece<'g>>, RequestRefusal> {
        match resolution {
            Resolution::ObjectGrant | Resolution::AssignToUser => {
                let key = resource_of(request)?;
                self.on_resource(after, &key, std::iter::once(self.requester))
            }
            Resolution::AssignToTeam(team) => {
                let key = resource_of(request)?;
                let reaching = self.reaching(after, team);
                self.on_resource(after, &key, reaching.into_iter())
            }
            Resolution::DirectGrant(offer) | Resolution::RaiseLevel(offer) => {
                let granted = self.graph.catalog().granted_actions(&offer.key);
                self.by_grants(after, granted.ok().into_iter())
            }
            Resolution::PermissionSet(set) => {
                let catalog = self.graph.catalog();
                let set = self.graph.permission_set(set.as_str());
                let grants = set.into_iter().flat_map(|set| &set.grants);
                let granted = grants.filter_map(|grant| catalog.granted_actions(&grant.key).ok());
                self.by_grants(after, granted)
            }
            Resolution::AddToTeam(team) => self.by_membership(after, team),
        }
    }

    /// The same comparison at a later moment, where so much work was done already.
    pub(super) fn at(&self, now: Timestamp, work: u64) -> Result<Self, RequestRefusal> {
        let later = Self::new(self.graph, &self.requester.user.id, now)?;
        Ok(Self { work, ..later })
    }

    /// The work that was done, in checks.
    pub(super) fn work(&self) -> u64 {
        self.work
    }

    /// Moments after now at which grants begin to count of those who reach what a resolution gives:
    /// by then it opens more than today.
    pub(super) fn beginnings(
        &self,
        resolution: &Resolution,
        after: &AccountGraph,
    ) -> BTreeSet<Timestamp> {
        let mut users = vec![self.requester];
        if let Resolution::AssignToTeam(team) | Resolution::AddToTeam(team) = resolution {
            users.extend(self.reaching(after, team));
        }
        let holdings = users.into_iter().flat_map(|user| &user.holdings);
        holdings
            .flat_map(|holding| holding.table.all())
            .filter_map(|grant| grant.not_before)
            .filter(|begin| self.now < *begin)
            .collect()
    }

    fn spend(&mut self, checks: u64) -> Result<(), RequestRefusal> {
        self.work = self.work.saturating_add(checks);
        if self.work > WORK_MAX {
            return Err(RequestRefusal::TooMuch {
                what: "comparing all that could be given",
                limit: WORK_MAX,
            });
        }
        Ok(())
    }

    /// What a bitmap of the type costs, in checks.
    fn cost(&self, type_ix: TypeIx) -> u64 {
        let rows = self
            .graph
            .index(type_ix)
            .map_or(0, |index| index.postings.alive.len());
        // A bitmap looks at each owner's teams, and at the words of the others' bitmaps.
        16 + rows / 512 + self.graph.names.users.len() as u64 / 4
    }

    fn access<'a>(
        &self,
        graph: &'a AccountGraph,
        user: &CompiledUser,
        type_ix: TypeIx,
        action: ActionIx,
    ) -> Option<AccessSet<'a>> {
        let user = graph.directory.user_by_number(user.number);
        AccessSet::resolved(graph, user, type_ix, action, self.now)
    }

    /// Grants of the requester: only what they give can change, and how far it reaches depends on
    /// nothing but the extent.
    fn by_grants(
        &mut self,
        after: &AccountGraph,
        granted: impl Iterator<Item = (TypeIx, ActionSet)>,
    ) -> Result<Vec<Piece<'g>>, RequestRefusal> {
        let mut touched: BTreeSet<(TypeIx, ActionIx)> = BTreeSet::new();
        for (type_ix, actions) in granted {
            let gifts = self.gifts.get(&type_ix).into_iter().flatten();
            let given = gifts.filter(|(source, ..)| source.intersects(actions));
            touched.extend(given.map(|(_, of, action)| (*of, *action)));
        }
        let mut pieces = Vec::new();
        for (type_ix, action) in touched {
            let sets = self
                .access(self.graph, self.requester, type_ix, action)
                .zip(self.access(after, self.requester, type_ix, action));
            let Some((before, now)) = sets else { continue };
            let extent = (type_ix, action, now.gate, now.extent());
            if (before.gate, before.extent()) == (now.gate, now.extent()) {
                continue;
            }
            let rows = match self.gained.get(&extent) {
                Some(rows) => Rc::clone(rows),
                None => {
                    self.spend(self.cost(type_ix))?;
                    let known = self.before_of(&before)?;
                    let rows = Rc::new(now.ordinals() - &*known);
                    self.gained.insert(extent, Rc::clone(&rows));
                    rows
                }
            };
            let tool = opens_tool(&before, &now);
            pieces.extend(piece(self.requester, type_ix, action, tool, rows));
        }
        Ok(pieces)
    }

    fn before_of(&mut self, set: &AccessSet<'_>) -> Result<Rc<RoaringBitmap>, RequestRefusal> {
        let key = (set.type_ix, set.action);
        if let Some(known) = self.before.get(&key) {
            return Ok(Rc::clone(known));
        }
        self.spend(self.cost(set.type_ix))?;
        let rows = Rc::new(set.ordinals());
        self.before.insert(key, Rc::clone(&rows));
        Ok(rows)
    }

    /// One resource, for some users: everything else stays as it is.
    fn on_resource(
        &mut self,
        after: &AccountGraph,
        key: &ResourceKey,
        users: impl Iterator<Item = &'g CompiledUser>,
    ) -> Result<Vec<Piece<'g>>, RequestRefusal> {
        let catalog = self.graph.catalog();
        let Some(type_ix) = catalog.type_ix(key.resource_type.as_str()) else {
            return Ok(Vec::new());
        };
        let row = self
            .graph
            .index(type_ix)
            .and_then(|index| index.find(key.id.as_str()));
        let rows: Rc<RoaringBitmap> = Rc::new(row.into_iter().collect());
        let target = Target::Resource(key.id.as_str());
        let actions = actions_of(self.graph, type_ix);
        let mut pieces = Vec::new();
        for user in users {
            self.spend(2 * actions.len() as u64)?;
            for action in &actions {
                let sets = self
                    .access(self.graph, user, type_ix, *action)
                    .zip(self.access(after, user, type_ix, *action));
                let opens = sets.is_some_and(|(before, now)| {
                    now.decide(target).is_allow() && !before.decide(target).is_allow()
                });
                if opens {
                    let rows = Rc::clone(&rows);
                    pieces.extend(piece(user, type_ix, *action, false, rows));
                }
            }
        }
        Ok(pieces)
    }

    /// Users who reach a team: who may gain where something comes to it.
    fn reaching(&self, after: &AccountGraph, team: &Id) -> Vec<&'g CompiledUser> {
        let Some(team) = self.graph.names.teams.find(team.as_str()) else {
            return Vec::new();
        };
        let tree = &after.directory.tree;
        self.graph
            .users()
            .filter_map(|user| self.graph.compiled_user(user.id.as_str()))
            .filter(|user| {
                let then = after.directory.user_by_number(user.number);
                then.is_some_and(|then| then.reaches(tree, team, self.now))
            })
            .collect()
    }

    /// A team gains a member: the requester reaches what the team reaches, and by the default rule of
    /// teams whoever reaches the team reaches what the requester owns (C8).
    fn by_membership(
        &mut self,
        after: &AccountGraph,
        team: &Id,
    ) -> Result<Vec<Piece<'g>>, RequestRefusal> {
        let mut pieces = Vec::new();
        let types = || (0u16..).map(TypeIx).zip(&self.graph.catalog().types);
        let types: Vec<TypeIx> = types().map(|(type_ix, _)| type_ix).collect();
        for type_ix in &types {
            for action in actions_of(self.graph, *type_ix) {
                let sets = self
                    .access(self.graph, self.requester, *type_ix, action)
                    .zip(self.access(after, self.requester, *type_ix, action));
                let Some((before, now)) = sets else { continue };
                if !reaches_by_teams(&now) {
                    continue;
                }
                self.spend(self.cost(*type_ix))?;
                let known = self.before_of(&before)?;
                let rows = Rc::new(now.ordinals() - &*known);
                let tool = opens_tool(&before, &now);
                pieces.extend(piece(self.requester, *type_ix, action, tool, rows));
            }
        }
        let others: Vec<&'g CompiledUser> = self
            .reaching(after, team)
            .into_iter()
            .filter(|user| user.number != self.requester.number)
            .collect();
        for type_ix in types {
            let lent = self.lent_by_requester(type_ix);
            if lent.is_empty() {
                continue;
            }
            for user in &others {
                pieces.extend(self.lent_to(after, user, type_ix, &lent)?);
            }
        }
        Ok(pieces)
    }

    /// What the requester owns and no stamp of a team keeps.
    fn lent_by_requester(&self, type_ix: TypeIx) -> RoaringBitmap {
        let Some(index) = self.graph.index(type_ix) else {
            return RoaringBitmap::new();
        };
        let postings = &index.postings;
        postings
            .owners
            .get(self.requester.number)
            .map_or_else(RoaringBitmap::new, |owned| {
                owned - &*postings.has_owning_team
            })
    }

    /// What another user gains of these rows.
    fn lent_to(
        &mut self,
        after: &AccountGraph,
        user: &'g CompiledUser,
        type_ix: TypeIx,
        lent: &RoaringBitmap,
    ) -> Result<Vec<Piece<'g>>, RequestRefusal> {
        let mut pieces = Vec::new();
        for action in actions_of(self.graph, type_ix) {
            let sets = self
                .access(self.graph, user, type_ix, action)
                .zip(self.access(after, user, type_ix, action));
            let Some((before, now)) = sets else { continue };
            if !reaches_by_teams(&now) {
                continue;
            }
            let rows: RoaringBitmap = if lent.len() <= SINGLE_ROWS_MAX {
                self.spend(2 * lent.len())?;
                let index = self.graph.index(type_ix);
                let opens = |row: &u32| {
                    index.is_some_and(|index| {
                        let target = Target::Resource(index.row(*row).id());
                        now.decide(target).is_allow() && !before.decide(target).is_allow()
                    })
                };
                lent.iter().filter(opens).collect()
            } else {
                self.spend(2 * self.cost(type_ix))?;
                (now.ordinals() & lent) - before.ordinals()
            };
            pieces.extend(piece(user, type_ix, action, false, Rc::new(rows)));
        }
        Ok(pieces)
    }

    /// Whether an assignment of a resource takes it from anybody. To one that is partitioned already
    /// it only adds; the first one makes it no unassigned resource any more.
    pub(super) fn takes_away(
        &mut self,
        after: &AccountGraph,
        key: &ResourceKey,
    ) -> Result<bool, RequestRefusal> {
        let Some(type_ix) = self.graph.catalog().type_ix(key.resource_type.as_str()) else {
            return Ok(false);
        };
        if self
            .graph
            .resource(key)
            .is_none_or(|resource| resource.partitioned)
        {
            return Ok(false);
        }
        let target = Target::Resource(key.id.as_str());
        let actions = actions_of(self.graph, type_ix);
        for user in self.graph.users() {
            let Some(user) = self.graph.compiled_user(user.id.as_str()) else {
                continue;
            };
            self.spend(2 * actions.len() as u64)?;
            for action in &actions {
                let sets = self
                    .access(self.graph, user, type_ix, *action)
                    .zip(self.access(after, user, type_ix, *action));
                if sets.is_some_and(|(before, now)| {
                    before.decide(target).is_allow() && !now.decide(target).is_allow()
                }) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The triples of some pieces, counted, and the first of them.
    pub(super) fn opening(&self, pieces: &[Piece<'g>]) -> Opening {
        let names = |piece: &Piece<'g>| names_of(self.graph, piece.type_ix, piece.action);
        let count = pieces
            .iter()
            .map(|piece| names(piece).len() as u64 * (piece.rows.len() + u64::from(piece.tool)))
            .sum();
        let users: BTreeSet<u32> = pieces.iter().map(|piece| piece.user.number).collect();
        let mut named: Vec<(&Id, &Id, &Id, &Piece<'g>)> = Vec::new();
        for piece in pieces {
            let Some(resource_type) = self.graph.catalog().resource_type(piece.type_ix) else {
                continue;
            };
            for action in names(piece) {
                named.push((&piece.user.user.id, action, &resource_type.name, piece));
            }
        }
        named.sort_by(|left, right| (left.0, left.1, left.2).cmp(&(right.0, right.1, right.2)));
        let mut sample = Vec::new();
        for (user, action, resource_type, piece) in named {
            let opened = |resource_id| Opened {
                user: user.clone(),
                action: action.clone(),
                resource_type: resource_type.clone(),
                resource_id,
            };
            if sample.len() >= OPENED_MAX {
                break;
            }
            sample.extend(piece.tool.then(|| opened(None)));
            let Some(index) = self.graph.index(piece.type_ix) else {
                continue;
            };
            let left = OPENED_MAX - sample.len();
            let rows = index.ordered(&piece.rows, None, left);
            sample.extend(
                rows.into_iter()
                    .filter_map(|row| Id::parse(index.row(row).id()).ok())
                    .map(|id| opened(Some(id))),
            );
        }
        Opening {
            count,
            users: users.len() as u64,
            sample,
        }
    }
}

/// `None` where nothing is opened.
fn piece<'g>(
    user: &'g CompiledUser,
    type_ix: TypeIx,
    action: ActionIx,
    tool: bool,
    rows: Rc<RoaringBitmap>,
) -> Option<Piece<'g>> {
    (tool || !rows.is_empty()).then_some(Piece {
        user,
        type_ix,
        action,
        tool,
        rows,
    })
}

fn opens_tool(before: &AccessSet<'_>, now: &AccessSet<'_>) -> bool {
    now.decide(Target::Tool).is_allow() && !before.decide(Target::Tool).is_allow()
}

/// Whether teams matter to an access set at all: to a grant below TEAM they don't (C3).
fn reaches_by_teams(set: &AccessSet<'_>) -> bool {
    set.gate == Gate::Open
        && (set.rule.always
            || set
                .extent()
                .is_some_and(|extent| extent.level >= Level::Team))
}

/// The actions of a type that have a rule of their own.
fn actions_of(graph: &AccountGraph, type_ix: TypeIx) -> Vec<ActionIx> {
    let Some(resource_type) = graph.catalog().resource_type(type_ix) else {
        return Vec::new();
    };
    (0u8..)
        .map(ActionIx)
        .zip(&resource_type.rules)
        .filter_map(|(action, rule)| rule.as_ref().map(|_| action))
        .collect()
}

/// The names by which an action can be asked for: its own, and those that are the same.
fn names_of(graph: &AccountGraph, type_ix: TypeIx, action: ActionIx) -> Vec<&Id> {
    let catalog = graph.catalog();
    let Some(resource_type) = catalog.resource_type(type_ix) else {
        return Vec::new();
    };
    resource_type
        .actions
        .iter()
        .filter(|name| {
            let canonical = resource_type.canonical.get(usize::from(name.0));
            canonical.copied().flatten() == Some(action)
        })
        .filter_map(|name| catalog.action_name(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{account_with, at, direct, filed, id};
    use super::*;
    use crate::authz::access_request::resolution::carry_out;
    use crate::authz::access_request::{Approval, suggest};

    /// A limit is an error, never a shortened answer: one that has no work left compares nothing.
    #[test]
    fn r6_a_comparison_ends_with_an_error_where_its_work_is_done() {
        let views = (
            "users",
            "- {id: q, main_team: us, grants: {email.view: team}}",
        );
        let graph = account_with(&[views]);
        let request = filed(&graph, "email.view e1");
        let limits = [
            direct("email.view everything"),
            Resolution::AssignToTeam(id("us")),
            Resolution::AddToTeam(id("de")),
        ];
        for resolution in limits {
            let approval = Approval {
                resolution,
                expires_at: None,
            };
            let outcome = carry_out(&graph, &request, &approval, None, at(1)).unwrap();
            let compared = |work| {
                let fresh = Comparison::new(&graph, &request.user, at(1)).unwrap();
                let mut comparison = Comparison { work, ..fresh };
                let pieces = comparison.pieces(&request, &approval.resolution, &outcome.graph);
                pieces.map(|pieces| (pieces.len(), comparison.work))
            };
            let (pieces, cost) = compared(0).unwrap();
            assert!(pieces > 0 && cost > 0);
            let exactly = compared(WORK_MAX - cost).unwrap();
            assert_eq!(exactly, (pieces, WORK_MAX));
            let too_much = RequestRefusal::TooMuch {
                what: "comparing all that could be given",
                limit: WORK_MAX,
            };
            assert_eq!(compared(WORK_MAX - cost + 1).unwrap_err(), too_much);
        }
        // All candidates of a request share one bound, and are far from it here.
        assert!(!suggest(&graph, &request, None, at(1)).unwrap().is_empty());
    }
}
