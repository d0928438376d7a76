//! What an admin holds, and until when.

use std::cell::RefCell;
use std::collections::HashMap;

use super::{Reach, Right};
use crate::authz::access_set::{AccessSet, barred};
use crate::authz::catalog::{ActionIx, ActionSet, TypeIx};
use crate::authz::decision::{ReasonCode, Target};
use crate::authz::graph::{AccountGraph, CompiledUser};
use crate::authz::model::{Id, PermissionKey, ResourceKey, Timestamp};

/// Most moments at which rights are looked at anew; what is held beyond them counts as ended.
const MOMENTS_MAX: usize = 1_000;

/// What a grant of each type gives: by the type of its key, the actions that give and what they
/// give, implied and derived actions included.
pub(in crate::authz) type Gifts = hashbrown::HashMap<TypeIx, Vec<(ActionSet, TypeIx, ActionIx)>>;

pub(in crate::authz) fn gifts(graph: &AccountGraph) -> Gifts {
    let mut gifts = Gifts::new();
    for (type_ix, resource_type) in (0u16..).map(TypeIx).zip(&graph.catalog().types) {
        for (action, rule) in (0u8..).map(ActionIx).zip(&resource_type.rules) {
            for (source, actions) in rule.iter().flat_map(|rule| &rule.sources) {
                let entry = gifts.entry(*source).or_default();
                entry.push((*actions, type_ix, action));
            }
        }
    }
    gifts
}

/// What somebody holds of one permission, or on one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    now: Timestamp,
    /// From now on; what ends later reaches less far.
    gives: Vec<Right>,
    takes: Reach,
}

impl Held {
    pub fn nothing(now: Timestamp) -> Self {
        Self {
            now,
            gives: Vec::new(),
            takes: Reach::NOTHING,
        }
    }

    /// `reach_at` answers what is held at a moment, and the next one at which that may change.
    pub fn followed(
        now: Timestamp,
        reach_at: impl Fn(Timestamp) -> (Reach, Option<Timestamp>),
    ) -> Self {
        let (takes, mut next) = reach_at(now);
        let mut gives = Vec::new();
        // What is held without a gap up to some moment.
        let mut held = takes;
        for _ in 0..MOMENTS_MAX {
            let Some(moment) = next.filter(|_| !held.is_nothing()) else {
                break;
            };
            let (reach, after) = reach_at(moment);
            let less = held.meet(reach);
            if less != held {
                gives.push(Right {
                    reach: held,
                    from: None,
                    until: Some(moment),
                });
                held = less;
            }
            next = after.filter(|after| moment < *after);
        }
        if !held.is_nothing() {
            gives.push(Right {
                reach: held,
                from: None,
                until: next,
            });
        }
        Self { now, gives, takes }
    }

    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// What may be given, each as far as it is held and until it ends.
    pub fn gives(&self) -> &[Right] {
        &self.gives
    }

    /// How far what others have may be taken.
    pub fn takes(&self) -> Reach {
        self.takes
    }

    /// Whether as much is held now and until the moment.
    pub fn reaches(&self, reach: Reach, until: Option<Timestamp>) -> bool {
        let right = Right {
            reach,
            from: None,
            until,
        };
        let ahead = until.is_none_or(|until| self.now < until);
        match ahead {
            true => right.is_covered(&self.gives, self.now),
            false => reach.is_within(self.takes),
        }
    }
}

/// What one admin holds of an account at one snapshot and moment.
pub struct Ceiling<'g> {
    graph: &'g AccountGraph,
    /// `None`: nobody who holds anything.
    admin: Option<&'g CompiledUser>,
    now: Timestamp,
    gifts: Gifts,
    takes_all: bool,
    of_permissions: RefCell<HashMap<PermissionKey, Held>>,
    of_actions: RefCell<HashMap<(TypeIx, ActionIx), Held>>,
}

impl<'g> Ceiling<'g> {
    /// `None` for those who are above it: account owner and super admin (R4). Who is no active user
    /// of the account holds nothing.
    pub fn of(graph: &'g AccountGraph, admin: &Id, now: Timestamp) -> Option<Self> {
        let admin = graph
            .compiled_user(admin.as_str())
            .filter(|admin| barred(admin).is_none());
        let above = admin.is_some_and(|admin| admin.user.account_owner || admin.user.super_admin);
        (!above).then(|| Self {
            graph,
            admin,
            now,
            gifts: gifts(graph),
            takes_all: false,
            of_permissions: RefCell::default(),
            of_actions: RefCell::default(),
        })
    }

    /// Taking knows no ceiling, as of a client's own admins against partner users (D11); giving does.
    #[must_use]
    pub fn taking_all(self) -> Self {
        Self {
            takes_all: true,
            of_permissions: RefCell::default(),
            ..self
        }
    }

    pub fn graph(&self) -> &'g AccountGraph {
        self.graph
    }

    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Who holds it, as what is given names its giver.
    pub fn admin(&self) -> Option<&'g Id> {
        self.admin.map(|admin| &admin.user.id)
    }

    /// What the admin holds of a permission: the least of what comes with a grant of it. Of one that
    /// the catalog does not have nobody holds anything.
    pub fn held(&self, key: &PermissionKey) -> Held {
        if let Some(held) = self.of_permissions.borrow().get(key) {
            return held.clone();
        }
        let held = match self.graph.catalog().granted_actions(key) {
            Ok((type_ix, actions)) => {
                let given = self.given(type_ix, actions);
                Held::followed(self.now, |at| self.least(&given, at))
            }
            Err(_unknown) => Held::nothing(self.now),
        };
        let held = self.widened(held);
        let mut known = self.of_permissions.borrow_mut();
        known.entry(key.clone()).or_insert(held).clone()
    }

    /// What the admin holds of one action of a tool.
    pub(in crate::authz) fn held_of(&self, type_ix: TypeIx, action: ActionIx) -> Held {
        let mut known = self.of_actions.borrow_mut();
        let held = known
            .entry((type_ix, action))
            .or_insert_with(|| Held::followed(self.now, |at| self.reach(type_ix, action, at)));
        held.clone()
    }

    /// What the admin holds of an object grant: their own check on the resource, for the action and
    /// all that follows from it (R4).
    pub fn held_on(&self, resource: &ResourceKey, action: &Id) -> Held {
        let catalog = self.graph.catalog();
        let (type_name, id) = (resource.resource_type.as_str(), resource.id.as_str());
        let Ok((type_ix, action)) = catalog.resolve(type_name, action.as_str()) else {
            return self.widened(Held::nothing(self.now));
        };
        let given: Vec<ActionIx> = self
            .given(type_ix, ActionSet::of(action))
            .into_iter()
            // An object grant counts on its own type only.
            .filter_map(|(of, action)| (of == type_ix).then_some(action))
            .collect();
        self.widened(Held::followed(self.now, |at| {
            let mut reach = OF_ONE;
            let mut next = None;
            for action in &given {
                let (allowed, until) = self.on(type_ix, *action, id, at);
                reach = if allowed { reach } else { Reach::NOTHING };
                next = earlier(next, until);
            }
            (reach, next)
        }))
    }

    /// The actions that a grant of these gives, with those that follow and are in the plan.
    pub(in crate::authz) fn given(
        &self,
        type_ix: TypeIx,
        actions: ActionSet,
    ) -> Vec<(TypeIx, ActionIx)> {
        let gifts = self.gifts.get(&type_ix).into_iter().flatten();
        gifts
            .filter(|(source, ..)| source.intersects(actions))
            .map(|(_, of, action)| (*of, *action))
            .filter(|(of, action)| {
                (*of == type_ix && actions.contains(*action)) || self.is_entitled(*of, *action)
            })
            .collect()
    }

    /// What follows from a grant but is in no plan of the account is given to nobody by it.
    fn is_entitled(&self, type_ix: TypeIx, action: ActionIx) -> bool {
        let entitled = self.graph.plan().entitled.get(usize::from(type_ix.0));
        entitled.is_some_and(|entitled| entitled.contains(action))
    }

    fn widened(&self, held: Held) -> Held {
        match self.takes_all {
            true => Held {
                takes: Reach::EVERYTHING,
                ..held
            },
            false => held,
        }
    }

    fn least(&self, given: &[(TypeIx, ActionIx)], at: Timestamp) -> (Reach, Option<Timestamp>) {
        // A permission of which the catalog lets nothing follow is nobody's.
        let none = (Reach::NOTHING, None);
        let each = given
            .iter()
            .map(|(type_ix, action)| self.reach(*type_ix, *action, at));
        each.reduce(|(all, next), (reach, until)| (all.meet(reach), earlier(next, until)))
            .unwrap_or(none)
    }

    /// How far the tool-level check is ALLOW. Reserved actions are nobody's to hand on (D3).
    fn reach(
        &self,
        type_ix: TypeIx,
        action: ActionIx,
        at: Timestamp,
    ) -> (Reach, Option<Timestamp>) {
        let Some(set) = AccessSet::resolved(self.graph, self.admin, type_ix, action, at) else {
            return (Reach::NOTHING, None);
        };
        let decision = set.decide(Target::Tool);
        let reach = if set.rule.reserved.is_some() || !decision.is_allow() {
            Reach::NOTHING
        } else if decision.reason == ReasonCode::Always {
            Reach::EVERYTHING
        } else {
            set.live_grants().iter().fold(Reach::NOTHING, |all, grant| {
                all.join(Reach::new(grant.level, grant.include_unassigned))
            })
        };
        (reach, decision.valid_until)
    }

    fn on(
        &self,
        type_ix: TypeIx,
        action: ActionIx,
        id: &str,
        at: Timestamp,
    ) -> (bool, Option<Timestamp>) {
        let Some(set) = AccessSet::resolved(self.graph, self.admin, type_ix, action, at) else {
            return (false, None);
        };
        let decision = set.decide(Target::Resource(id));
        let allowed = decision.is_allow() && set.rule.reserved.is_none();
        (allowed, decision.valid_until)
    }
}

/// The reach of an object grant: one resource, which is had or not.
pub(in crate::authz) const OF_ONE: Reach = Reach {
    level: crate::authz::model::Level::Owned,
    unassigned: false,
};

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    [one, other].into_iter().flatten().min()
}
