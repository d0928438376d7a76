//! Everything of an account but its resources: small, and compiled for deciding.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::GraphError;
use super::names::Names;
use super::teams::{Reach, TeamTree};
use super::timed::TimedTeams;
use crate::authz::catalog::{ActionSet, Catalog, Plan, SeatSet, TypeIx};
use crate::authz::model::{
    AccessGroup, Account, DEFAULT_KEY, Entity, EntityChange, EntityKey, Grant, Id, Level,
    MembershipOf, ObjectGrant, PartitionMode, PermissionSet, PrincipalKind, Team, Timestamp,
    UnpartitionedDefault, User,
};
use crate::authz::segment::Rule;

/// The entities as they are stored, in id byte order.
#[derive(Debug, Clone, Default)]
pub(super) struct Entities {
    pub(super) account: Option<Arc<Account>>,
    pub(super) teams: BTreeMap<Id, Arc<Team>>,
    pub(super) permission_sets: BTreeMap<Id, Arc<PermissionSet>>,
    pub(super) users: BTreeMap<Id, Arc<User>>,
    pub(super) access_groups: BTreeMap<Id, Arc<AccessGroup>>,
    pub(super) segments: BTreeMap<Id, Arc<Rule>>,
}

impl Entities {
    /// Takes over an entity that belongs to the directory.
    pub(super) fn put(&mut self, entity: Entity) {
        match entity {
            Entity::Account(account) => self.account = Some(Arc::new(account)),
            Entity::Team(team) => drop(self.teams.insert(team.id.clone(), Arc::new(team))),
            Entity::PermissionSet(set) => {
                drop(self.permission_sets.insert(set.id.clone(), Arc::new(set)))
            }
            Entity::User(user) => drop(self.users.insert(user.id.clone(), Arc::new(user))),
            Entity::AccessGroup(group) => {
                drop(self.access_groups.insert(group.id.clone(), Arc::new(group)))
            }
            Entity::Segment(segment) => {
                let id = segment.id.clone();
                drop(self.segments.insert(id, Arc::new(Rule::new(segment))))
            }
            Entity::Resource(..) | Entity::AccessRequest(_) => {}
        }
    }

    fn delete(&mut self, key: &EntityKey) {
        match key {
            EntityKey::Account => self.account = None,
            EntityKey::Team(id) => drop(self.teams.remove(id)),
            EntityKey::PermissionSet(id) => drop(self.permission_sets.remove(id)),
            EntityKey::User(id) => drop(self.users.remove(id)),
            EntityKey::AccessGroup(id) => drop(self.access_groups.remove(id)),
            EntityKey::Segment(id) => drop(self.segments.remove(id)),
            EntityKey::Resource(_) | EntityKey::AccessRequest(_) => {}
        }
    }
}

/// The compiled directory. Immutable; a change of a few users copies only pointers.
#[derive(Debug, Clone)]
pub(in crate::authz) struct Directory {
    pub(super) entities: Entities,
    pub(super) account: Arc<Account>,
    pub(super) catalog: Arc<Catalog>,
    plan: Arc<Plan>,
    pub(in crate::authz) tree: TeamTree,
    /// By user number.
    people: Vec<Option<Arc<CompiledUser>>>,
    /// By group number.
    groups: Vec<Option<CompiledGroup>>,
    /// By [`TypeIx`].
    modes: Vec<TypeMode>,
    sets: HashMap<Id, Arc<GrantTable>>,
    /// Whether anybody is, or was at an earlier revision, in a team for a time.
    pub(in crate::authz) has_timed_teams: bool,
    pub(super) anomalies: Vec<String>,
}

/// How resources of a type are walled in this account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::authz) struct TypeMode {
    /// C1: no wall at all.
    pub(in crate::authz) share: bool,
    /// P10: unpartitioned resources are walled too.
    pub(in crate::authz) no_one: bool,
}

#[derive(Debug)]
pub(in crate::authz) struct CompiledUser {
    pub(in crate::authz) user: Arc<User>,
    pub(in crate::authz) number: u32,
    pub(in crate::authz) seats: SeatSet,
    /// The teams that the user is in for good, sorted numbers.
    teams: SmallVec<[u32; 4]>,
    reach: Reach,
    /// The teams that the user is in for a time.
    timed: Option<Box<TimedTeams>>,
    pub(in crate::authz) holdings: SmallVec<[Holding; 2]>,
    object_grants: HashMap<TypeIx, HashMap<Id, Vec<CompiledObjectGrant>>>,
}

/// Grants that come to a user together: the direct ones, or those of a permission set.
#[derive(Debug, Clone)]
pub(in crate::authz) struct Holding {
    pub(in crate::authz) set: Option<Id>,
    /// When the user stops holding the set; `None`: never.
    pub(in crate::authz) until: Option<Timestamp>,
    pub(in crate::authz) table: Arc<GrantTable>,
}

/// Grants sorted by type. The table of a permission set is shared by all who hold it.
#[derive(Debug, Default)]
pub(in crate::authz) struct GrantTable(Vec<CompiledGrant>);

#[derive(Debug)]
pub(in crate::authz) struct CompiledGrant {
    type_ix: TypeIx,
    /// What it grants, before implication: the rule of an action says what implies it.
    pub(in crate::authz) actions: ActionSet,
    pub(in crate::authz) level: Level,
    pub(in crate::authz) include_unassigned: bool,
    pub(in crate::authz) not_before: Option<Timestamp>,
    pub(in crate::authz) expires_at: Option<Timestamp>,
    pub(in crate::authz) grant: Grant,
}

#[derive(Debug)]
pub(in crate::authz) struct CompiledObjectGrant {
    pub(in crate::authz) actions: ActionSet,
    pub(in crate::authz) not_before: Option<Timestamp>,
    pub(in crate::authz) expires_at: Option<Timestamp>,
    pub(in crate::authz) grant: ObjectGrant,
}

#[derive(Debug, Clone)]
pub(in crate::authz) struct CompiledGroup {
    users: HashMap<u32, ActionSet>,
    teams: Vec<(u32, ActionSet)>,
}

impl GrantTable {
    fn compile<'a>(
        grants: impl Iterator<Item = &'a Grant>,
        catalog: &Catalog,
        holder: &str,
        anomalies: &mut Vec<String>,
    ) -> Self {
        let mut table = Vec::new();
        for grant in grants {
            match catalog.granted_actions(&grant.key) {
                // A grant at NONE gives nothing, now or later.
                Ok(_) if grant.level == Level::None => {}
                Ok((type_ix, actions)) => table.push(CompiledGrant {
                    type_ix,
                    actions,
                    level: grant.level,
                    include_unassigned: grant.include_unassigned
                        && grant.level != Level::Everything,
                    not_before: grant.not_before,
                    expires_at: grant.expires_at,
                    grant: grant.clone(),
                }),
                Err(error) => anomalies.push(format!("a grant of {holder} is ignored: {error}")),
            }
        }
        table.sort_by_key(|grant| grant.type_ix);
        Self(table)
    }

    /// All grants, whatever the time.
    pub(in crate::authz) fn all(&self) -> impl Iterator<Item = &CompiledGrant> {
        self.0.iter()
    }

    /// Grants of one type that give any of these actions, whatever the time.
    pub(in crate::authz) fn of(
        &self,
        type_ix: TypeIx,
        actions: ActionSet,
    ) -> impl Iterator<Item = &CompiledGrant> {
        let start = self.0.partition_point(|grant| grant.type_ix < type_ix);
        self.0
            .get(start..)
            .into_iter()
            .flatten()
            .take_while(move |grant| grant.type_ix == type_ix)
            .filter(move |grant| grant.actions.intersects(actions))
    }
}

impl CompiledUser {
    pub(in crate::authz) fn object_grants(
        &self,
        type_ix: TypeIx,
        id: &str,
    ) -> &[CompiledObjectGrant] {
        self.object_grants
            .get(&type_ix)
            .and_then(|by_id| by_id.get(id))
            .map_or(&[], Vec::as_slice)
    }

    pub(in crate::authz) fn object_grants_of(
        &self,
        type_ix: TypeIx,
    ) -> impl Iterator<Item = (&Id, &CompiledObjectGrant)> {
        self.object_grants
            .get(&type_ix)
            .into_iter()
            .flatten()
            .flat_map(|(id, grants)| grants.iter().map(move |grant| (id, grant)))
    }

    pub(in crate::authz) fn is_member(&self, team: u32, at: Timestamp) -> bool {
        let timed = self.timed.as_ref();
        self.teams.binary_search(&team).is_ok()
            || timed.is_some_and(|timed| timed.contain(team, at))
    }

    /// Whether a team is one of the user's, or below one where the plan has nested teams.
    pub(in crate::authz) fn reaches(&self, tree: &TeamTree, team: u32, at: Timestamp) -> bool {
        let Some((position, _)) = tree.span(team) else {
            return false;
        };
        let timed = self.timed.as_ref();
        self.reach.contains(position) || timed.is_some_and(|timed| timed.reach(position, at))
    }

    /// Numbers of the user's teams.
    pub(in crate::authz) fn teams(&self, at: Timestamp) -> impl Iterator<Item = u32> {
        let timed = self.timed.iter().flat_map(move |timed| timed.live(at));
        self.teams.iter().copied().chain(timed)
    }

    /// Numbers of all teams in reach; one may come twice.
    pub(in crate::authz) fn teams_in_reach<'a>(
        &'a self,
        tree: &'a TeamTree,
        at: Timestamp,
    ) -> impl Iterator<Item = u32> + 'a {
        let timed = self.timed.iter().flat_map(move |timed| timed.stretches(at));
        let intervals = self.reach.intervals().chain(timed);
        intervals.flat_map(|(start, end)| tree.teams_between(start, end))
    }

    /// The next moment at which the user leaves a team.
    pub(in crate::authz) fn next_leave(&self, at: Timestamp) -> Option<Timestamp> {
        self.timed.as_ref()?.next_end(at)
    }
}

impl CompiledGroup {
    /// Members that are users, by number, with their masks.
    pub(in crate::authz) fn users(&self) -> impl Iterator<Item = (u32, ActionSet)> {
        self.users.iter().map(|(user, mask)| (*user, *mask))
    }

    /// Members that are teams, by number, with their masks.
    pub(in crate::authz) fn teams(&self) -> impl Iterator<Item = (u32, ActionSet)> {
        self.teams.iter().copied()
    }

    /// The masks of this user in the group, directly and by teams in reach: `None` if the user is
    /// no member at all.
    pub(in crate::authz) fn mask(
        &self,
        user: &CompiledUser,
        tree: &TeamTree,
        at: Timestamp,
    ) -> Option<ActionSet> {
        let own = self.users.get(&user.number).copied();
        self.teams
            .iter()
            .filter(|(team, _)| user.reaches(tree, *team, at))
            .map(|(_, mask)| *mask)
            .chain(own)
            .reduce(ActionSet::union)
    }
}

impl Directory {
    /// `before` lends its compiled catalog where the account still uses it.
    pub(super) fn build(
        entities: Entities,
        names: &mut Names,
        before: Option<&Self>,
    ) -> Result<Self, GraphError> {
        let account = entities.account.clone().ok_or(GraphError::NoAccount)?;
        let catalog = match before.filter(|before| before.account.catalog == account.catalog) {
            Some(before) => Arc::clone(&before.catalog),
            None => Catalog::resolve_ref(&account.catalog)
                .map_err(|error| GraphError::Catalog(error.to_string()))?,
        };
        let plan = catalog
            .plan(account.plan.as_str())
            .cloned()
            .map(Arc::new)
            .ok_or_else(|| GraphError::UnknownPlan(account.plan.to_string()))?;
        let mut anomalies = Vec::new();
        let tree = TeamTree::build(&entities.teams, names, &mut anomalies);
        let modes = catalog
            .types
            .iter()
            .map(|resource_type| type_mode(&account, &resource_type.name))
            .collect();
        let sets = entities
            .permission_sets
            .values()
            .map(|set| {
                let holder = format!("permission set `{}`", set.id);
                (
                    set.id.clone(),
                    Arc::new(GrantTable::compile(
                        set.grants.iter(),
                        &catalog,
                        &holder,
                        &mut anomalies,
                    )),
                )
            })
            .collect();
        let mut directory = Self {
            account,
            catalog,
            plan,
            tree,
            people: Vec::new(),
            groups: Vec::new(),
            modes,
            sets,
            has_timed_teams: false,
            anomalies,
            entities: Entities::default(),
        };
        for user in entities.users.values() {
            directory.compile_user(user, names);
        }
        for group in entities.access_groups.values() {
            let number = names.group(&group.id);
            let compiled = directory.compile_group(group, names);
            *slot(&mut directory.groups, number) = Some(compiled);
        }
        directory.entities = entities;
        Ok(directory)
    }

    /// The directory after changes. Users alone are compiled one by one; anything that others
    /// depend on compiles the whole anew.
    pub(super) fn apply(
        &self,
        changes: &[&EntityChange],
        names: &mut Names,
    ) -> Result<Self, GraphError> {
        let mut entities = self.entities.clone();
        for change in changes {
            match change {
                EntityChange::Put(entity) => entities.put(entity.clone()),
                EntityChange::Delete(key) => entities.delete(key),
            }
        }
        let only_users = changes.iter().all(|change| {
            matches!(
                change,
                EntityChange::Put(Entity::User(_)) | EntityChange::Delete(EntityKey::User(_))
            )
        });
        if !only_users || !self.anomalies.is_empty() {
            return Self::build(entities, names, Some(self));
        }
        let mut directory = self.clone();
        for change in changes {
            match change {
                EntityChange::Put(Entity::User(user)) => {
                    directory.compile_user(&Arc::new(user.clone()), names)
                }
                EntityChange::Delete(EntityKey::User(id)) => {
                    *slot(&mut directory.people, names.user(id)) = None
                }
                _ => {}
            }
        }
        directory.entities = entities;
        Ok(directory)
    }

    fn compile_user(&mut self, user: &Arc<User>, names: &mut Names) {
        let number = names.user(&user.id);
        let holder = format!("user `{}`", user.id);
        let (teams, timed) = compile_teams(user, names);
        let nested = self.plan().nested_teams;
        let timed = TimedTeams::new(timed, &self.tree, nested);
        self.has_timed_teams |= timed.is_some();
        let holdings = self.compile_holdings(user, &holder);
        let mut seats = SeatSet::EMPTY;
        for seat in &user.seats {
            match self.catalog.seat_ix(seat.as_str()) {
                Some(seat) => seats = seats.union(SeatSet::of(seat)),
                None => self.anomalies.push(format!(
                    "{holder} has the seat `{seat}`, which the catalog does not have"
                )),
            }
        }
        let object_grants = self.compile_object_grants(user);
        let compiled = CompiledUser {
            user: Arc::clone(user),
            number,
            seats,
            reach: self.tree.reach(&teams, nested),
            teams,
            timed,
            holdings,
            object_grants,
        };
        *slot(&mut self.people, number) = Some(Arc::new(compiled));
    }

    /// What the user is granted directly, and each permission set with the time for which the user
    /// holds it.
    fn compile_holdings(&mut self, user: &User, holder: &str) -> SmallVec<[Holding; 2]> {
        let mut holdings: SmallVec<[Holding; 2]> = SmallVec::new();
        if !user.grants.is_empty() {
            let table = GrantTable::compile(
                user.grants.iter(),
                &self.catalog,
                holder,
                &mut self.anomalies,
            );
            holdings.push(Holding {
                set: None,
                until: None,
                table: Arc::new(table),
            });
        }
        for (set, until) in sets_held(user) {
            match self.sets.get(set) {
                Some(table) => holdings.push(Holding {
                    set: Some(set.clone()),
                    until,
                    table: Arc::clone(table),
                }),
                None => self.anomalies.push(format!(
                    "{holder} holds the permission set `{set}`, which does not exist"
                )),
            }
        }
        holdings
    }

    fn compile_object_grants(
        &mut self,
        user: &User,
    ) -> HashMap<TypeIx, HashMap<Id, Vec<CompiledObjectGrant>>> {
        let mut compiled: HashMap<TypeIx, HashMap<Id, Vec<CompiledObjectGrant>>> = HashMap::new();
        for grant in &user.object_grants {
            let (resource_type, action) =
                (grant.resource.resource_type.as_str(), grant.action.as_str());
            let Ok((type_ix, action)) = self.catalog.resolve(resource_type, action) else {
                self.anomalies.push(format!(
                    "an object grant of user `{}` is ignored: the catalog has no `{resource_type}.{action}`",
                    user.id
                ));
                continue;
            };
            compiled
                .entry(type_ix)
                .or_default()
                .entry(grant.resource.id.clone())
                .or_default()
                .push(CompiledObjectGrant {
                    actions: ActionSet::of(action),
                    not_before: grant.not_before,
                    expires_at: grant.expires_at,
                    grant: grant.clone(),
                });
        }
        compiled
    }

    fn compile_group(&mut self, group: &AccessGroup, names: &mut Names) -> CompiledGroup {
        let mut compiled = CompiledGroup {
            users: HashMap::new(),
            teams: Vec::new(),
        };
        for (principal, actions) in &group.members {
            let mut mask = ActionSet::EMPTY;
            for action in actions {
                match self.catalog.action_ix(action.as_str()) {
                    Some(action) => mask.insert(action),
                    None => self.anomalies.push(format!(
                        "access group `{}` names the unknown action `{action}`",
                        group.id
                    )),
                }
            }
            match principal.kind() {
                PrincipalKind::User => {
                    compiled.users.insert(names.user(principal.id()), mask);
                }
                PrincipalKind::Team => compiled.teams.push((names.team(principal.id()), mask)),
                PrincipalKind::Group => self.anomalies.push(format!(
                    "access group `{}` has a group as a member",
                    group.id
                )),
            }
        }
        compiled
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(in crate::authz) fn user_by_number(&self, number: u32) -> Option<&CompiledUser> {
        self.people.get(number as usize)?.as_deref()
    }

    pub(in crate::authz) fn group(&self, number: u32) -> Option<&CompiledGroup> {
        self.groups.get(number as usize)?.as_ref()
    }

    /// Groups by their numbers.
    pub(in crate::authz) fn groups(&self) -> impl Iterator<Item = (u32, &CompiledGroup)> {
        (0u32..)
            .zip(&self.groups)
            .filter_map(|(number, group)| Some((number, group.as_ref()?)))
    }

    pub(in crate::authz) fn mode(&self, type_ix: TypeIx) -> TypeMode {
        self.modes
            .get(usize::from(type_ix.0))
            .copied()
            .unwrap_or_default()
    }

    /// A rough size: what a directory of this many entities takes.
    pub(super) fn bytes(&self) -> usize {
        const USER: usize = 1_200;
        const GRANT: usize = 300;
        const OTHER: usize = 400;
        let grants: usize = self
            .entities
            .users
            .values()
            .map(|user| user.grants.len() + user.object_grants.len() + user.memberships.len())
            .sum();
        let set_grants: usize = self
            .entities
            .permission_sets
            .values()
            .map(|set| set.grants.len())
            .sum();
        let members: usize = self
            .entities
            .access_groups
            .values()
            .map(|group| group.members.len())
            .sum();
        let others = self.entities.teams.len() + self.entities.segments.len() + members;
        self.entities.users.len() * USER + (grants + set_grants) * GRANT + others * OTHER
    }
}

/// The teams that the user is in for good, sorted, and those for a time with their ends.
fn compile_teams(user: &User, names: &mut Names) -> (SmallVec<[u32; 4]>, Vec<(u32, Timestamp)>) {
    let mut teams: SmallVec<[u32; 4]> = user.all_teams().map(|team| names.team(team)).collect();
    let mut timed = Vec::new();
    for membership in &user.memberships {
        let MembershipOf::Team(team) = &membership.of else {
            continue;
        };
        match membership.expires_at {
            Some(expires_at) => timed.push((names.team(team), expires_at)),
            None => teams.push(names.team(team)),
        }
    }
    teams.sort_unstable();
    teams.dedup();
    timed.retain(|(team, _)| teams.binary_search(team).is_err());
    (teams, timed)
}

/// Each permission set that the user holds, once, with the end of the longest holding of it.
fn sets_held(user: &User) -> BTreeMap<&Id, Option<Timestamp>> {
    let mut held: BTreeMap<&Id, Option<Timestamp>> = BTreeMap::new();
    for membership in &user.memberships {
        let MembershipOf::PermissionSet(set) = &membership.of else {
            continue;
        };
        held.entry(set)
            .and_modify(|until| {
                let both = until.zip(membership.expires_at);
                *until = both.map(|(one, other)| one.max(other));
            })
            .or_insert(membership.expires_at);
    }
    held.extend(user.permission_sets.iter().map(|set| (set, None)));
    held
}

fn type_mode(account: &Account, resource_type: &Id) -> TypeMode {
    let settings = &account.settings;
    let mode = settings
        .partition_mode
        .get(resource_type)
        .or_else(|| settings.partition_mode.get(DEFAULT_KEY));
    let unpartitioned = settings
        .unpartitioned
        .get(resource_type)
        .or_else(|| settings.unpartitioned.get(DEFAULT_KEY));
    TypeMode {
        share: mode == Some(&PartitionMode::Share),
        no_one: unpartitioned == Some(&UnpartitionedDefault::NoOne),
    }
}

/// The slot of a number, made where the vector is too short.
fn slot<T>(slots: &mut Vec<Option<T>>, number: u32) -> &mut Option<T> {
    let at = number as usize;
    if slots.len() <= at {
        slots.resize_with(at + 1, || None);
    }
    #[expect(
        clippy::indexing_slicing,
        reason = "the vector was just made long enough"
    )]
    &mut slots[at]
}
