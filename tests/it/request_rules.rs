//! The rules of access requests on random accounts, against what the rule book alone says: every
//! question of an account asked before and after, by the oracle, which knows nothing of bitmaps,
//! plans or requests.

use std::collections::{BTreeMap, BTreeSet};

use ambit::authz::access_request::{
    AccessRequest, Filing, GrantOffer, RequestTarget, Resolution, Wish, file,
};
use ambit::authz::access_set;
use ambit::authz::decision::{Requestable, Target};
use ambit::authz::graph::AccountGraph;
use ambit::authz::model::{
    Assignment, DEFAULT_KEY, Entity, Grant, Id, Level, ObjectGrant, PartitionMode, PermissionKey,
    Principal, Provenance, Resource, ResourceKey, Timestamp, User,
};

use crate::oracle::World;
use crate::oracle::suite::Suite;
use crate::properties::worlds::{Dice, Maker, RESOURCES, id, tick};

mod ceiling;
mod minimal;

/// A question and its answer: user, action, type, and the resource unless it is the tool.
type Question = (String, String, String, Option<String>);

/// A super admin of whom the alphabets know nothing.
const ADMIN: &str = "zz-admin";

fn now() -> Timestamp {
    tick(0)
}

fn with_admin(mut entities: Vec<Entity>) -> Vec<Entity> {
    let mut admin = User::new(id(ADMIN));
    admin.super_admin = true;
    entities.push(Entity::User(admin));
    entities
}

fn target_of(resource: Option<&str>) -> Target<'_> {
    resource.map_or(Target::Tool, Target::Resource)
}

/// Every question about every user, type and action of the catalog that is answered with ALLOW.
fn allowed(suite: &Suite, entities: &[Entity], at: Timestamp) -> BTreeSet<Question> {
    let world = World::new(suite, entities);
    let mut allowed = BTreeSet::new();
    each_question(suite, &world, |user, action, of, resource| {
        if world
            .check(user, of, action, target_of(resource), at)
            .allows()
        {
            allowed.insert(question(user, action, of, resource));
        }
    });
    allowed
}

/// The same as the core answers them.
fn allowed_by_core(
    suite: &Suite,
    entities: &[Entity],
    graph: &AccountGraph,
    at: Timestamp,
) -> BTreeSet<Question> {
    let world = World::new(suite, entities);
    let mut allowed = BTreeSet::new();
    each_question(suite, &world, |user, action, of, resource| {
        let decision = access_set::check(graph, user, of, action, target_of(resource), at);
        if decision.expect("known names").is_allow() {
            allowed.insert(question(user, action, of, resource));
        }
    });
    allowed
}

fn question(user: &str, action: &str, of: &str, resource: Option<&str>) -> Question {
    (
        user.to_owned(),
        action.to_owned(),
        of.to_owned(),
        resource.map(str::to_owned),
    )
}

fn each_question(
    suite: &Suite,
    world: &World<'_>,
    mut ask: impl FnMut(&str, &str, &str, Option<&str>),
) {
    for user in world.users.keys() {
        for (of, kind) in &suite.types {
            let ids = world
                .resources
                .keys()
                .filter(|(resource_type, _)| resource_type == of)
                .map(|(_, id)| Some(*id));
            let targets: Vec<Option<&str>> = ids.chain([None]).collect();
            for action in &kind.actions {
                for resource in &targets {
                    ask(user, action, of, *resource);
                }
            }
        }
    }
}

/// A request that a random user of the account can file, if some tries find one.
fn random_request(
    maker: &mut Maker<'_>,
    graph: &AccountGraph,
    wanted: Requestable,
    users: &[&str],
) -> Option<AccessRequest> {
    for _ in 0..200 {
        let of = maker.a_type();
        let action = maker.dice.pick(&maker.catalog.suite.types[&of].actions);
        let action = action.clone();
        let resource = match wanted {
            Requestable::Object => Some(id(maker.dice.pick::<&str>(&RESOURCES))),
            _ => None,
        };
        let wish = Wish {
            user: id(maker.dice.pick::<&str>(users)),
            target: RequestTarget {
                resource_type: id(&of),
                action: id(&action),
                resource_id: resource,
            },
            reason: "because".to_owned(),
            wanted_seconds: None,
            origin_url: None,
        };
        if let Ok(Filing::New { request, .. }) = file(graph, &wish, id("r1"), None, now()) {
            return Some(request);
        }
    }
    None
}

/// What the rule book says a resolution does, on the entities themselves; `None` where it can't be
/// made.
fn apply_naively(
    suite: &Suite,
    entities: &[Entity],
    request: &AccessRequest,
    resolution: &Resolution,
) -> Option<Vec<Entity>> {
    let world = World::new(suite, entities);
    let user = *world.users.get(request.user.as_str())?;
    let (of, action) = (&request.target.resource_type, &request.target.action);
    let kind = &suite.types[of.as_str()];
    let mut user_now = user.clone();
    let mut resource_now = None;
    let provenance = Provenance::Request(request.id.clone());
    match resolution {
        Resolution::ObjectGrant => {
            if !kind.grantable || kind.derived.contains_key(action.as_str()) {
                return None;
            }
            user_now.object_grants.insert(ObjectGrant {
                resource: ResourceKey {
                    resource_type: of.clone(),
                    id: request.target.resource_id.clone()?,
                },
                action: action.clone(),
                not_before: None,
                expires_at: None,
                provenance,
                granted_by: None,
            });
        }
        Resolution::DirectGrant(offer) => {
            user_now.grants.insert(grant_of(suite, offer, provenance)?);
        }
        Resolution::RaiseLevel(offer) => {
            let held = held_naively(&world, user, &offer.key);
            if held.is_empty() || covers(&held, offer) {
                return None;
            }
            user_now.grants.insert(grant_of(suite, offer, provenance)?);
        }
        Resolution::PermissionSet(set) => {
            world.sets.get(set.as_str())?;
            if !user_now.permission_sets.insert(set.clone()) {
                return None;
            }
        }
        Resolution::AddToTeam(team) => {
            world.teams.get(team.as_str())?;
            request.target.resource_id.as_ref()?;
            if user.teams_at(now()).any(|own| own == team) {
                return None;
            }
            user_now.teams.insert(team.clone());
        }
        Resolution::AssignToUser => {
            let to = Principal::User(request.user.clone());
            resource_now = Some(assigned(&world, request, to, provenance)?);
        }
        Resolution::AssignToTeam(team) => {
            world.teams.get(team.as_str())?;
            if !user.teams_at(now()).any(|own| own == team) {
                return None;
            }
            let to = Principal::Team(team.clone());
            resource_now = Some(assigned(&world, request, to, provenance)?);
        }
    }
    let replaced = entities.iter().map(|entity| match entity {
        Entity::User(other) if other.id == user_now.id => Entity::User(user_now.clone()),
        Entity::Resource(other, attributes) => match &resource_now {
            Some(resource) if resource.key == other.key => {
                Entity::Resource(resource.clone(), attributes.clone())
            }
            _ => entity.clone(),
        },
        _ => entity.clone(),
    });
    Some(replaced.collect())
}

fn grant_of(suite: &Suite, offer: &GrantOffer, provenance: Provenance) -> Option<Grant> {
    let kind = &suite.types[offer.key.resource_type.as_str()];
    let known = kind.grant_keys().contains(&offer.key.permission.as_str());
    let fits = !kind.flag || offer.level == Level::Everything;
    (known && fits).then(|| Grant {
        key: offer.key.clone(),
        level: offer.level,
        include_unassigned: offer.include_unassigned,
        not_before: None,
        expires_at: None,
        provenance,
        granted_by: None,
    })
}

/// Levels of the user's live grants of just this key.
fn held_naively(world: &World<'_>, user: &User, key: &PermissionKey) -> Vec<(Level, bool)> {
    let sets = user
        .permission_sets_at(now())
        .filter_map(|set| world.sets.get(set.as_str()))
        .flat_map(|set| &set.grants);
    user.grants
        .iter()
        .chain(sets)
        .filter(|grant| grant.key == *key && grant.level > Level::None)
        .filter(|grant| grant.not_before.is_none_or(|start| start <= now()))
        .filter(|grant| grant.expires_at.is_none_or(|end| now() < end))
        .map(|grant| (grant.level, grant.include_unassigned))
        .collect()
}

fn covers(held: &[(Level, bool)], offer: &GrantOffer) -> bool {
    let level = held.iter().map(|(level, _)| *level).max();
    let unassigned = held.iter().any(|(_, unassigned)| *unassigned);
    level >= Some(offer.level)
        && (!offer.include_unassigned || unassigned || level == Some(Level::Everything))
}

fn assigned(
    world: &World<'_>,
    request: &AccessRequest,
    to: Principal,
    provenance: Provenance,
) -> Option<Resource> {
    let of = request.target.resource_type.as_str();
    let resource_id = request.target.resource_id.as_ref()?;
    let resource = *world.resources.get(&(of, resource_id.as_str()))?;
    let settings = &world.account.settings.partition_mode;
    let mode = settings.get(of).or_else(|| settings.get(DEFAULT_KEY));
    let partitioned = resource.partitioned || !resource.assignments.is_empty();
    let plan = &world.suite.plans[world.account.plan.as_str()];
    if !plan.partitions.contains(of) || !(partitioned || mode == Some(&PartitionMode::Share)) {
        return None;
    }
    let mut resource = resource.clone();
    resource.partitioned = true;
    resource.assignments.insert(Assignment {
        principal: to,
        provenance,
        expires_at: None,
    });
    Some(resource)
}

/// All that a grant of a key can say, fitting or not.
fn offers(of: &str, permission: &str) -> Vec<GrantOffer> {
    [
        (Level::Owned, false),
        (Level::Owned, true),
        (Level::Team, false),
        (Level::Team, true),
        (Level::Everything, false),
    ]
    .map(|(level, include_unassigned)| GrantOffer {
        key: PermissionKey {
            resource_type: id(of),
            permission: id(permission),
        },
        level,
        include_unassigned,
    })
    .into()
}

/// The users and resources of an account, to compare.
fn stored(graph: &AccountGraph) -> (Vec<User>, BTreeMap<ResourceKey, Resource>) {
    let mut resources = BTreeMap::new();
    for of in &graph.catalog().types {
        for resource in graph.resource_page(of.name.as_str(), None, usize::MAX) {
            let key = ResourceKey {
                resource_type: of.name.clone(),
                id: resource,
            };
            resources.insert(key.clone(), graph.resource(&key).expect("it is listed"));
        }
    }
    (graph.users().cloned().collect(), resources)
}

fn all_ids(dice: &mut Dice, alphabet: &[&str]) -> Vec<Id> {
    let mut ids: Vec<Id> = alphabet.iter().map(|name| id(name)).collect();
    dice.shuffle(&mut ids);
    ids
}
