//! Cases 36 and 37 on random sequences of calls: no set of users who manage users, none of them
//! owner or super admin, gives one of its own more than the set holds, and nobody helps themselves.

use std::collections::BTreeMap;

use ambit::authz::access_request::{
    AccessRequest, Approval, Resolution, approve, approvers, suggest_for,
};
use ambit::authz::decision::{ReasonCode, Requestable, Target};
use ambit::authz::graph::AccountGraph;
use ambit::authz::model::{
    Entity, Grant, Id, Level, MembershipOf, Partnership, PermissionKey, Provenance, Timestamp,
    User, UserStatus,
};

use super::{allowed_by_core, now, offers, random_request};
use crate::oracle::World;
use crate::oracle::suite::Suite;
use crate::properties::worlds::{CatalogCase, Maker, SETS, TEAMS, changed, id, tick};
use crate::properties::{build, for_each_account};

/// Moments at which holdings are compared: all boundaries of a random account, and far beyond them.
const MOMENTS: [i64; 7] = [0, 1, 2, 3, 4, 5, 1_000_000];

/// How far users hold each (type, action) at each moment.
type Holdings = BTreeMap<(String, String, i64), (Level, bool)>;

/// What one user holds: the tool-level check is ALLOW, and how far the live grants reach, level and
/// unassigned resources each for itself.
fn holdings(suite: &Suite, entities: &[Entity], types: &[String], user: &str) -> Holdings {
    let mut holdings = Holdings::new();
    let world = World::new(suite, entities);
    for moment in MOMENTS {
        let at = tick(moment);
        for of in types {
            for action in &suite.types[of].actions {
                let answer = world.check(user, of, action, Target::Tool, at);
                if !answer.allows() {
                    continue;
                }
                let everything = matches!(
                    answer.reason,
                    ReasonCode::Always | ReasonCode::ReservedHolder
                );
                let held = match everything {
                    true => (Level::Everything, true),
                    false => reach(&world, user, of, action, at),
                };
                holdings.insert((of.clone(), action.clone(), moment), held);
            }
        }
    }
    holdings
}

fn reach(world: &World<'_>, user: &str, of: &str, action: &str, at: Timestamp) -> (Level, bool) {
    let user = world.users[user];
    let action = world.suite.types[of].canonical(action);
    let sets = user
        .permission_sets_at(at)
        .filter_map(|set| world.sets.get(set.as_str()))
        .flat_map(|set| &set.grants);
    let live = user.grants.iter().chain(sets).filter(|grant| {
        let key = &grant.key;
        grant.level > Level::None
            && grant.not_before.is_none_or(|start| start <= at)
            && grant.expires_at.is_none_or(|end| at < end)
            && world.suite.counts(
                key.resource_type.as_str(),
                key.permission.as_str(),
                of,
                action,
            )
    });
    live.fold((Level::None, false), |(level, unassigned), grant| {
        let all = grant.level == Level::Everything;
        (
            level.max(grant.level),
            unassigned || grant.include_unassigned || all,
        )
    })
}

/// Managers: most users, with a right that came from somewhere, some of it from each other.
fn with_managers(maker: &mut Maker<'_>, entities: &mut [Entity]) -> Vec<String> {
    let suite = &maker.catalog.suite;
    let manages = ["user_management", "partition"];
    let known: Vec<&str> = manages
        .into_iter()
        .filter(|of| suite.types.contains_key(*of))
        .collect();
    let mut managers = Vec::new();
    let names: Vec<Id> = entities.iter().filter_map(user_of).collect();
    for entity in entities.iter_mut() {
        let Entity::User(user) = entity else { continue };
        if user.account_owner || user.super_admin {
            continue;
        }
        managers.push(user.id.to_string());
        for of in &known {
            let action = if *of == "partition" { "assign" } else { "edit" };
            if maker.dice.chance(90) {
                let giver = maker.dice.chance(30);
                user.grants.insert(Grant {
                    key: PermissionKey {
                        resource_type: id(of),
                        permission: id(action),
                    },
                    level: Level::Everything,
                    include_unassigned: false,
                    not_before: None,
                    expires_at: maker.dice.chance(10).then(|| maker.dice.moment(0)),
                    provenance: Provenance::Manual,
                    granted_by: giver.then(|| maker.dice.pick(&names).clone()),
                });
            }
        }
        user.person = maker.dice.chance(25).then(|| id("ada"));
        for _ in 0..6 {
            let mut grant = maker.grant();
            if let Some(grant) = grant.as_mut().filter(|_| maker.dice.chance(60)) {
                (grant.not_before, grant.expires_at) = (None, None);
            }
            user.grants.extend(grant);
        }
    }
    managers
}

fn user_of(entity: &Entity) -> Option<Id> {
    match entity {
        Entity::User(user) => Some(user.id.clone()),
        _ => None,
    }
}

/// R4 once more, as a walk over who gave what to whom: whether a manager's right has a live way
/// that never passes the requester. Circles are no ways.
fn has_own_right(world: &World<'_>, requester: &User, user: &User, trail: &mut Vec<Id>) -> bool {
    let first = trail.is_empty();
    trail.push(user.id.clone());
    let ways = ways(world, user, first);
    let own = ways.iter().any(|givers| {
        givers
            .iter()
            .all(|giver| is_clean(world, requester, giver, trail))
    });
    trail.pop();
    own
}

fn is_clean(world: &World<'_>, requester: &User, giver: &Id, trail: &mut Vec<Id>) -> bool {
    if trail.contains(giver) || *giver == requester.id {
        return false;
    }
    match world.users.get(giver.as_str()) {
        Some(user) if is_same(user, requester) => false,
        Some(user) if user.account_owner || user.super_admin => true,
        Some(user) if !ways(world, user, false).is_empty() => {
            has_own_right(world, requester, user, trail)
        }
        // The trace breaks off: clean only if no hand of the requester's could be behind it.
        _ => !world.users.values().any(|user| {
            let could = user.account_owner || user.super_admin;
            is_same(user, requester) && (could || !ways(world, user, false).is_empty())
        }),
    }
}

/// By whom a user came to manage users, each way with all who had to act.
fn ways(world: &World<'_>, user: &User, live: bool) -> Vec<Vec<Id>> {
    let gives = |grant: &&Grant| {
        let key = &grant.key;
        let live = !live
            || (grant.not_before.is_none_or(|start| start <= now())
                && grant.expires_at.is_none_or(|end| now() < end));
        grant.level > Level::None
            && live
            && world.suite.counts(
                key.resource_type.as_str(),
                key.permission.as_str(),
                "user_management",
                "edit",
            )
    };
    let direct = user.grants.iter().filter(gives);
    let mut ways: Vec<Vec<Id>> = direct
        .map(|grant| grant.granted_by.iter().cloned().collect())
        .collect();
    let plain = user.permission_sets.iter().map(|set| (set, None));
    let timed = user.memberships.iter().filter_map(|membership| {
        let lasts = !live || membership.expires_at.is_none_or(|end| now() < end);
        match &membership.of {
            MembershipOf::PermissionSet(set) if lasts => Some((set, membership.granted_by.clone())),
            _ => None,
        }
    });
    for (set, giver) in plain.chain(timed) {
        let set = world.sets.get(set.as_str());
        for grant in set.iter().flat_map(|set| &set.grants).filter(gives) {
            ways.push(grant.granted_by.iter().chain(&giver).cloned().collect());
        }
    }
    ways
}

/// Everybody who may resolve the request, by the rule book alone.
fn approvers_naively(world: &World<'_>, requester: &User) -> Vec<Id> {
    let mut found = Vec::new();
    for user in world.users.values() {
        let same = is_same(user, requester);
        let ended = user
            .partner
            .as_ref()
            .is_some_and(|partner| partner.partnership == Partnership::Ended);
        let active = user.status == UserStatus::Active && !(user.is_partner_user() && ended);
        let above = user.account_owner || user.super_admin;
        let (of, action) = ("user_management", "edit");
        let holds = || {
            world.suite.types.contains_key(of)
                && world
                    .check(user.id.as_str(), of, action, Target::Tool, now())
                    .allows()
                && has_own_right(world, requester, user, &mut Vec::new())
        };
        if !same && active && (above || holds()) {
            found.push(user.id.clone());
        }
    }
    found
}

fn is_same(user: &User, requester: &User) -> bool {
    user.id == requester.id
        || (user.person.is_some() && user.person == requester.person)
        || (user.partner.is_some() && partner_of(user) == partner_of(requester))
}

fn partner_of(user: &User) -> Option<(&Id, &Id)> {
    let partner = user.partner.as_ref()?;
    Some((&partner.account, &partner.user))
}

fn one_of(maker: &mut Maker<'_>, alphabet: &[&str]) -> Id {
    id(maker.dice.pick::<&str>(alphabet))
}

/// Often something that helps, often something that this approver may give, sometimes anything.
fn random_resolution(
    maker: &mut Maker<'_>,
    graph: &AccountGraph,
    request: &AccessRequest,
    approver: &Id,
    end: Option<Timestamp>,
) -> Resolution {
    if maker.dice.chance(70)
        && let Ok(mut suggestions) = suggest_for(graph, request, approver, end, now())
    {
        if maker.dice.chance(60) {
            suggestions.retain(|one| one.withheld.is_none());
        }
        if !suggestions.is_empty() {
            return maker.dice.pick(&suggestions).resolution.clone();
        }
    }
    match maker.dice.below(6) {
        0 => Resolution::ObjectGrant,
        1 => Resolution::AssignToUser,
        2 => Resolution::AssignToTeam(one_of(maker, &TEAMS)),
        3 => Resolution::AddToTeam(one_of(maker, &TEAMS)),
        4 => Resolution::PermissionSet(one_of(maker, &SETS)),
        _ => {
            let of = maker.a_type();
            let keys = maker.catalog.suite.types[&of].grant_keys();
            let key = if keys.is_empty() {
                "view"
            } else {
                *maker.dice.pick(&keys)
            };
            Resolution::DirectGrant(maker.dice.pick(&offers(&of, key)).clone())
        }
    }
}

#[derive(Default)]
struct Tally {
    approved: usize,
    refused: usize,
}

fn sequence(seed: u64, catalog: &CatalogCase, tally: &std::cell::RefCell<Tally>) {
    let suite = &catalog.suite;
    if !suite.types.contains_key("user_management") {
        // Nobody but owner and super admins resolves anything here.
        return;
    }
    let mut maker = Maker::new(seed, catalog);
    let mut entities = maker.account();
    let managers = with_managers(&mut maker, &mut entities);
    let inside: Vec<String> = managers
        .iter()
        .filter(|_| maker.dice.chance(70))
        .cloned()
        .collect();
    if inside.is_empty() {
        return;
    }
    let mut types = maker.types.clone();
    types.extend(
        ["user_management", "partition"]
            .into_iter()
            .filter(|of| suite.types.contains_key(*of))
            .map(str::to_owned),
    );
    let mut initial = Holdings::new();
    for user in &inside {
        for (what, held) in holdings(suite, &entities, &types, user) {
            let most = initial.entry(what).or_insert((Level::None, false));
            *most = (most.0.max(held.0), most.1 || held.1);
        }
    }
    let mut graph = build(&entities, &mut maker.dice);
    for call in 0..10 {
        let wanted = match maker.dice.chance(60) {
            true => Requestable::Object,
            false => Requestable::Tool,
        };
        let names: Vec<&str> = inside.iter().map(String::as_str).collect();
        let Some(mut request) = random_request(&mut maker, &graph, wanted, &names) else {
            continue;
        };
        request.id = id(&format!("r{call}"));
        let world = World::new(suite, &entities);
        let requester = world.users[request.user.as_str()];
        let may = approvers(&graph, &request, now());
        let expected = approvers_naively(&world, requester);
        assert_eq!(may, expected, "seed {seed}, call {call}, {}", request.user);

        let insiders: Vec<&String> = inside
            .iter()
            .filter(|user| may.contains(&id(user)))
            .collect();
        let approver = match insiders.is_empty() || maker.dice.chance(15) {
            true => maker.dice.pick(&inside).clone(),
            false => (*maker.dice.pick(&insiders)).clone(),
        };
        let end = maker.dice.chance(50).then(|| tick(1 + call % 4));
        let by = id(&approver);
        let approval = Approval {
            resolution: random_resolution(&mut maker, &graph, &request, &by, end),
            expires_at: end,
        };
        let outcome = approve(&graph, &request, &by, &approval, None, 1, now());
        let Ok(transition) = outcome else {
            tally.borrow_mut().refused += 1;
            continue;
        };
        tally.borrow_mut().approved += 1;
        let told = format!(
            "seed {seed}, call {call}: {approver} gives {} {approval:?}",
            request.user
        );
        assert!(may.contains(&id(&approver)), "{told}");
        let before = allowed_by_core(suite, &entities, &graph, now());
        graph = graph.apply(&transition.changes).expect("a graph");
        entities = changed(&entities, &transition.changes);
        let after = allowed_by_core(suite, &entities, &graph, now());
        assert!(before.is_subset(&after), "something was taken: {told}");
        if opens_by_place(&approval.resolution) {
            // What anybody may do now, the approver could.
            for (_, action, of, resource) in after.difference(&before) {
                let own = (
                    approver.clone(),
                    action.clone(),
                    of.clone(),
                    resource.clone(),
                );
                assert!(before.contains(&own), "{own:?}: {told}");
            }
        }
        let gained = holdings(suite, &entities, &types, request.user.as_str());
        for (what, held) in gained {
            let most = initial.get(&what).copied().unwrap_or((Level::None, false));
            assert!(
                held.0 <= most.0 && (most.1 || !held.1),
                "{what:?} {held:?} beyond {most:?}: {told}"
            );
        }
    }
}

/// Kinds whose ceiling is what they open rather than a level.
fn opens_by_place(resolution: &Resolution) -> bool {
    match resolution {
        Resolution::ObjectGrant
        | Resolution::AssignToUser
        | Resolution::AssignToTeam(_)
        | Resolution::AddToTeam(_) => true,
        Resolution::DirectGrant(_) | Resolution::PermissionSet(_) | Resolution::RaiseLevel(_) => {
            false
        }
    }
}

#[test]
fn case_37_no_sequence_of_calls_gives_a_set_of_users_more_than_it_holds() {
    let tally = std::cell::RefCell::new(Tally::default());
    for_each_account(9_000, 160, |seed, catalog| sequence(seed, catalog, &tally));
    let tally = tally.into_inner();
    let replay = std::env::var("AMBIT_PROPERTY_SEED").is_ok();
    let told = format!("{} approved, {} refused", tally.approved, tally.refused);
    assert!(
        replay || (tally.approved > 40 && tally.refused > 40),
        "{told}"
    );
    println!("{told}");
}
