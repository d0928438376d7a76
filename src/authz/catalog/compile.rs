//! From the YAML form to dense tables; everything that a catalog may contradict is refused here.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::source::{CatalogSource, Holder, Levels, NoView, ReservedSource, TypeSource};
use super::{
    ACTIONS_MAX, ActionIx, ActionRule, ActionSet, Catalog, CatalogError, Reserved, ResourceType,
    SEATS_MAX, Seat, SeatIx, SeatSet, TYPES_MAX, TypeIx,
};
use crate::authz::decision::Presentation;
use crate::authz::model::{DEFAULT_KEY, Id};
use crate::authz::yaml::{At, shown};

mod drafts;
mod plans;

/// The action that every type has (`domain.md` 4).
const VIEW: &str = "view";

pub(super) fn compile(source: &CatalogSource) -> Result<Catalog, CatalogError> {
    let name = snake(&source.catalog, Dots::None, "catalog")?;
    if source.version.value == 0 {
        return Err(CatalogError::at(
            source.version.place,
            "versions count from 1",
        ));
    }
    let names = Names::collect(source)?;
    let drafts = names.drafts(source)?;
    let mut types = Vec::with_capacity(drafts.len());
    for draft in &drafts {
        types.push(names.resource_type(source, draft, &drafts)?);
    }
    let plans = names.plans(source, &drafts)?;
    for (ix, resource_type) in types.iter_mut().enumerate() {
        resource_type.partitionable = plans
            .iter()
            .any(|plan| plan.partitionable.get(ix) == Some(&true));
    }
    let mut seats = Vec::new();
    let mut read_only_seats = SeatSet::EMPTY;
    for (ix, (seat, about)) in (0u8..).zip(&source.seats.0) {
        if about.read_only {
            read_only_seats = read_only_seats.union(SeatSet::of(SeatIx(ix)));
        }
        seats.push(Seat {
            name: snake(seat, Dots::None, "seat")?,
            read_only: about.read_only,
        });
    }
    Ok(Catalog {
        name,
        version: source.version.value,
        description: source.description.clone(),
        types,
        actions: names.actions,
        seats,
        plans,
        read_only_seats,
        owner_may_stand_alone: source.owner_may_stand_alone,
        type_index: names.type_index,
        action_index: names.action_index,
        seat_index: names.seat_index,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dots {
    None,
    /// Types may be grouped, as `account.billing`.
    One,
}

fn snake(name: &At<String>, dots: Dots, what: &str) -> Result<Id, CatalogError> {
    let word = |word: &str| {
        word.starts_with(|first: char| first.is_ascii_lowercase())
            && word
                .chars()
                .all(|rest| rest.is_ascii_lowercase() || rest.is_ascii_digit() || rest == '_')
    };
    let fits = match (name.value.split_once('.'), dots) {
        (None, _) => word(&name.value),
        (Some((group, rest)), Dots::One) => word(group) && word(rest),
        (Some(_), Dots::None) => false,
    };
    let parsed = if fits {
        Id::parse(&name.value).ok()
    } else {
        None
    };
    parsed.ok_or_else(|| {
        let dot = match dots {
            Dots::None => "without a dot",
            Dots::One => "with at most one dot",
        };
        CatalogError::at(
            name.place,
            format!(
                "the {what} name `{}` must be lower_snake {dot}, at most 256 bytes",
                shown(&name.value)
            ),
        )
    })
}

fn wrong<T>(at: &At<String>, problem: impl Into<String>) -> Result<T, CatalogError> {
    Err(CatalogError::at(at.place, problem))
}

/// The names of a catalog, numbered, and what holds for an action whatever its type.
struct Names {
    actions: Vec<Id>,
    type_index: HashMap<Id, TypeIx>,
    action_index: HashMap<Id, ActionIx>,
    seat_index: HashMap<Id, SeatIx>,
    /// By [`ActionIx`]: all that a grant of the action gives, itself included.
    closure: Vec<ActionSet>,
    tool_level: ActionSet,
    read_only: ActionSet,
}

/// One resource type while it is compiled.
struct Draft<'s> {
    name: Id,
    source: &'s TypeSource,
    actions: ActionSet,
    /// By [`ActionIx`]: the canonical action of each action of the type.
    canonical: Vec<Option<ActionIx>>,
    derived: ActionSet,
    always: ActionSet,
    grantable: HashMap<Id, ActionSet>,
}

impl Draft<'_> {
    fn canonical_of(&self, action: ActionIx) -> Option<ActionIx> {
        self.canonical.get(usize::from(action.0)).copied().flatten()
    }

    /// Actions that have a permission of their own, whether or not it can be given.
    fn plain(&self) -> ActionSet {
        let aliases = self
            .actions
            .iter()
            .filter(|action| self.canonical_of(*action) != Some(*action))
            .collect();
        self.actions.without(self.derived).without(aliases)
    }
}

impl Names {
    fn collect(source: &CatalogSource) -> Result<Self, CatalogError> {
        let mut names = Self {
            actions: Vec::new(),
            type_index: HashMap::new(),
            action_index: HashMap::new(),
            seat_index: HashMap::new(),
            closure: Vec::new(),
            tool_level: ActionSet::EMPTY,
            read_only: ActionSet::EMPTY,
        };
        if source.types.is_empty() {
            return Err(CatalogError::at(
                source.catalog.place,
                "the catalog has no types",
            ));
        }
        let mut types = 0u16;
        for entry in &source.types {
            if entry.value.names.is_empty() {
                return Err(CatalogError::at(
                    entry.place,
                    "the entry of `types` names no type",
                ));
            }
            for name in &entry.value.names {
                names.add_type(name, types)?;
                types = types.saturating_add(1);
            }
            for action in &entry.value.actions {
                names.add_action(action)?;
            }
        }
        for (ix, (seat, _)) in source.seats.0.iter().enumerate() {
            let ix = u8::try_from(ix)
                .ok()
                .filter(|ix| usize::from(*ix) < SEATS_MAX);
            let Some(ix) = ix else {
                return wrong(seat, format!("a catalog has at most {SEATS_MAX} seats"));
            };
            names
                .seat_index
                .insert(snake(seat, Dots::None, "seat")?, SeatIx(ix));
        }
        names.tool_level = names.action_set(&source.tool_level_actions)?;
        names.read_only = names.action_set(&source.read_only_actions)?;
        names.close(source)?;
        Ok(names)
    }

    fn add_type(&mut self, name: &At<String>, ix: u16) -> Result<(), CatalogError> {
        let id = snake(name, Dots::One, "type")?;
        if id.as_str() == DEFAULT_KEY {
            return wrong(
                name,
                "no type can be named `default`, settings use the word for all types",
            );
        }
        if usize::from(ix) >= TYPES_MAX {
            return wrong(name, format!("a catalog has at most {TYPES_MAX} types"));
        }
        match self.type_index.insert(id, TypeIx(ix)) {
            None => Ok(()),
            Some(_) => wrong(name, format!("the type `{}` is there twice", name.value)),
        }
    }

    fn add_action(&mut self, name: &At<String>) -> Result<(), CatalogError> {
        let id = snake(name, Dots::None, "action")?;
        if self.action_index.contains_key(&id) {
            return Ok(());
        }
        let ix = u8::try_from(self.actions.len())
            .ok()
            .filter(|ix| usize::from(*ix) < ACTIONS_MAX);
        let Some(ix) = ix else {
            return wrong(
                name,
                format!("a catalog has at most {ACTIONS_MAX} action names"),
            );
        };
        self.action_index.insert(id.clone(), ActionIx(ix));
        self.actions.push(id);
        Ok(())
    }

    fn action(&self, name: &At<String>) -> Result<ActionIx, CatalogError> {
        match self.action_index.get(name.value.as_str()) {
            Some(ix) => Ok(*ix),
            None => wrong(
                name,
                format!("no type has an action `{}`", shown(&name.value)),
            ),
        }
    }

    fn action_set(&self, names: &[At<String>]) -> Result<ActionSet, CatalogError> {
        names.iter().map(|name| self.action(name)).collect()
    }

    fn type_ix(&self, name: &At<String>) -> Result<TypeIx, CatalogError> {
        match self.type_index.get(name.value.as_str()) {
            Some(ix) => Ok(*ix),
            None => wrong(
                name,
                format!("the catalog has no type `{}`", shown(&name.value)),
            ),
        }
    }

    /// Closes the implications transitively; a cycle makes its actions imply each other.
    fn close(&mut self, source: &CatalogSource) -> Result<(), CatalogError> {
        let mut closure: Vec<ActionSet> = (0u8..)
            .zip(&self.actions)
            .map(|(ix, _)| ActionSet::of(ActionIx(ix)))
            .collect();
        for (action, implied) in &source.implications.0 {
            let ix = self.action(action)?;
            let implied = self.action_set(implied)?;
            if let Some(set) = closure.get_mut(usize::from(ix.0)) {
                *set = set.union(implied);
            }
        }
        loop {
            let next: Vec<ActionSet> = closure
                .iter()
                .map(|set| {
                    set.iter()
                        .filter_map(|action| closure.get(usize::from(action.0)).copied())
                        .fold(*set, ActionSet::union)
                })
                .collect();
            if next == closure {
                break;
            }
            closure = next;
        }
        self.closure = closure;
        Ok(())
    }

    fn resource_type(
        &self,
        source: &CatalogSource,
        draft: &Draft<'_>,
        drafts: &[Draft<'_>],
    ) -> Result<ResourceType, CatalogError> {
        let reserved = self.reserved(draft)?;
        let mut payment = ActionSet::EMPTY;
        for action in &draft.source.requires_payment_method {
            payment.insert(self.canonical_action(draft, action)?);
        }
        let mut rules = vec![None; self.actions.len()];
        for (ix, slot) in (0u8..).map(ActionIx).zip(&mut rules) {
            if draft.canonical_of(ix) != Some(ix) {
                continue;
            }
            let derived = draft.derived.contains(ix);
            *slot = Some(ActionRule {
                tool_level: self.tool_level.contains(ix),
                read_only: self.read_only.contains(ix),
                needs_payment_method: payment.contains(ix),
                always: draft.always.contains(ix),
                derived,
                sources: if derived {
                    self.derived_sources(draft, ix, drafts)?
                } else {
                    let own = self.type_index.get(&draft.name);
                    own.map(|own| (*own, self.implying(draft, ix)))
                        .into_iter()
                        .collect()
                },
                reserved: reserved
                    .filter(|(_, actions)| actions.contains(ix))
                    .map(|(reserved, _)| reserved),
            });
        }
        let mut seats = SeatSet::EMPTY;
        for seat in &draft.source.seats {
            match self.seat_index.get(seat.value.as_str()) {
                Some(ix) => seats = seats.union(SeatSet::of(*ix)),
                None => {
                    return wrong(
                        seat,
                        format!("the catalog has no seat `{}`", shown(&seat.value)),
                    );
                }
            }
        }
        Ok(ResourceType {
            name: draft.name.clone(),
            flag: draft.source.levels == Levels::Flag,
            actions: draft.actions,
            view: self.action_index.get(VIEW).copied().unwrap_or(ActionIx(0)),
            rules,
            canonical: draft.canonical.clone(),
            grantable: draft.grantable.clone(),
            seats,
            no_view: match draft.source.no_view.unwrap_or(source.no_view) {
                NoView::BlockedPage => Presentation::BlockedPage,
                NoView::Lock => Presentation::Lock,
            },
            requestable: draft.source.requestable,
            partitionable: false,
        })
    }

    /// Actions of the type of which a grant gives this one: itself and those that imply it.
    fn implying(&self, draft: &Draft<'_>, action: ActionIx) -> ActionSet {
        let gives = |granted: &ActionIx| {
            let closed = self.closure.get(usize::from(granted.0));
            closed.is_some_and(|closed| {
                closed
                    .iter()
                    .any(|implied| draft.canonical_of(implied) == Some(action))
            })
        };
        draft.plain().iter().filter(gives).collect()
    }

    fn derived_sources(
        &self,
        draft: &Draft<'_>,
        action: ActionIx,
        drafts: &[Draft<'_>],
    ) -> Result<Vec<(TypeIx, ActionSet)>, CatalogError> {
        let name = self.actions.get(usize::from(action.0));
        let mut sources: BTreeMap<TypeIx, ActionSet> = BTreeMap::new();
        for (derived, about) in &draft.source.derived.0 {
            if Some(derived.value.as_str()) != name.map(Id::as_str) {
                continue;
            }
            for key in &about.any_of {
                let (type_ix, granted) = self.any_of(key, drafts)?;
                let entry = sources.entry(type_ix).or_default();
                *entry = entry.union(granted);
            }
        }
        Ok(sources.into_iter().collect())
    }

    /// What one `TYPE.KEY` or `TYPE.*` of an any_of stands for.
    fn any_of(
        &self,
        key: &At<String>,
        drafts: &[Draft<'_>],
    ) -> Result<(TypeIx, ActionSet), CatalogError> {
        let Some((type_name, permission)) = key.value.rsplit_once('.') else {
            return wrong(
                key,
                format!(
                    "an any_of names TYPE.ACTION, TYPE.PERMISSION or TYPE.*, this is `{}`",
                    shown(&key.value)
                ),
            );
        };
        let type_ix = self.type_ix(&At {
            value: type_name.to_owned(),
            place: key.place,
        })?;
        let Some(draft) = drafts.get(usize::from(type_ix.0)) else {
            return wrong(key, format!("the catalog has no type `{type_name}`"));
        };
        if permission == "*" {
            let granted = draft
                .grantable
                .values()
                .fold(ActionSet::EMPTY, |all, one| all.union(*one))
                .without(draft.always);
            if granted.is_empty() {
                return wrong(key, format!("the type `{type_name}` has nothing to grant"));
            }
            return Ok((type_ix, granted));
        }
        let Some(actions) = draft.grantable.get(permission) else {
            return wrong(
                key,
                format!(
                    "`{}` is not a permission that can be granted; an any_of can't name derived actions",
                    shown(&key.value)
                ),
            );
        };
        let granted = actions
            .iter()
            .map(|action| self.implying(draft, action))
            .fold(ActionSet::EMPTY, ActionSet::union);
        Ok((type_ix, granted))
    }

    fn reserved(&self, draft: &Draft<'_>) -> Result<Option<(Reserved, ActionSet)>, CatalogError> {
        let Some(at) = &draft.source.reserved else {
            return Ok(None);
        };
        let ReservedSource {
            holders,
            except_partner_users,
            actions,
        } = &at.value;
        let holds = |holder| holders.iter().any(|listed| listed.value == holder);
        let reserved = Reserved {
            account_owner: holds(Holder::AccountOwner),
            super_admin: holds(Holder::SuperAdmin),
            partner_admin: holds(Holder::PartnerAdmin),
            explicit_grant: holds(Holder::ExplicitGrant),
            except_partner_users: *except_partner_users,
        };
        let refuse = |problem: &str| {
            Err(CatalogError::at(
                at.place,
                format!("the type `{}`: {problem}", draft.name),
            ))
        };
        if holders.is_empty() {
            return refuse("`reserved` names no holders");
        }
        if reserved.explicit_grant && !draft.source.grantable {
            return refuse("it is reserved to an explicit grant, but is not grantable");
        }
        if *except_partner_users && !reserved.explicit_grant {
            return refuse(
                "except_partner_users narrows the holder explicit_grant, which is not there",
            );
        }
        let mut covered = ActionSet::EMPTY;
        match actions {
            None => covered = draft.actions,
            Some(listed) => {
                for action in listed {
                    covered.insert(self.canonical_action(draft, action)?);
                }
            }
        }
        if covered.intersects(draft.always.union(draft.derived)) {
            return refuse("a reserved action can't be always allowed or derived too");
        }
        Ok(Some((reserved, covered)))
    }
}
