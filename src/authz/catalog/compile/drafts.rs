//! One draft a type: what its entry says of actions, aliases and permissions, checked by itself.

use hashbrown::HashMap;

use super::{Dots, Draft, Names, VIEW, snake, wrong};
use crate::authz::catalog::source::{CatalogSource, TypeSource};
use crate::authz::catalog::{ActionIx, ActionSet, CatalogError};
use crate::authz::yaml::{At, shown};

impl Names {
    pub(super) fn drafts<'s>(
        &self,
        source: &'s CatalogSource,
    ) -> Result<Vec<Draft<'s>>, CatalogError> {
        let mut drafts = Vec::new();
        for entry in &source.types {
            for name in &entry.value.names {
                drafts.push(self.draft(name, &entry.value)?);
            }
        }
        Ok(drafts)
    }

    fn draft<'s>(
        &self,
        name: &At<String>,
        source: &'s TypeSource,
    ) -> Result<Draft<'s>, CatalogError> {
        let mut draft = Draft {
            name: snake(name, Dots::One, "type")?,
            source,
            actions: ActionSet::EMPTY,
            canonical: vec![None; self.actions.len()],
            derived: ActionSet::EMPTY,
            always: ActionSet::EMPTY,
            grantable: HashMap::new(),
        };
        for action in &source.actions {
            let ix = self.action(action)?;
            if draft.actions.contains(ix) {
                return wrong(
                    action,
                    format!("the action `{}` is there twice", action.value),
                );
            }
            draft.actions.insert(ix);
            if let Some(slot) = draft.canonical.get_mut(usize::from(ix.0)) {
                *slot = Some(ix);
            }
        }
        let view = self.action_index.get(VIEW);
        if !view.is_some_and(|view| draft.actions.contains(*view)) {
            return wrong(
                name,
                format!(
                    "the type `{}` has no action `view`, which every type has",
                    name.value
                ),
            );
        }
        self.set_aliases(&mut draft)?;
        self.set_derived_and_always(&mut draft)?;
        self.set_grantable(name, &mut draft)?;
        Ok(draft)
    }

    /// An action of this type, by a name in one of its own lists.
    fn own_action(&self, draft: &Draft<'_>, name: &At<String>) -> Result<ActionIx, CatalogError> {
        self.action_index
            .get(name.value.as_str())
            .copied()
            .filter(|ix| draft.actions.contains(*ix))
            .ok_or_else(|| {
                CatalogError::at(
                    name.place,
                    format!(
                        "the type `{}` has no action `{}`",
                        draft.name,
                        shown(&name.value)
                    ),
                )
            })
    }

    /// As [`Names::own_action`], refusing an action that stands for another one.
    pub(super) fn canonical_action(
        &self,
        draft: &Draft<'_>,
        name: &At<String>,
    ) -> Result<ActionIx, CatalogError> {
        let ix = self.own_action(draft, name)?;
        if draft.canonical_of(ix) == Some(ix) {
            return Ok(ix);
        }
        wrong(
            name,
            format!(
                "the action `{}` of the type `{}` is the same as another one, name that",
                name.value, draft.name
            ),
        )
    }

    fn set_aliases(&self, draft: &mut Draft<'_>) -> Result<(), CatalogError> {
        let pairs = &draft.source.same_as.0;
        for (alias, target) in pairs {
            let alias_ix = self.own_action(draft, alias)?;
            let target_ix = self.own_action(draft, target)?;
            if alias_ix == target_ix {
                return wrong(
                    alias,
                    format!("the action `{}` can't be the same as itself", alias.value),
                );
            }
            if alias.value == VIEW {
                return wrong(alias, "`view` can't be the same as another action");
            }
            if pairs.iter().any(|(other, _)| other.value == target.value) {
                return wrong(
                    target,
                    format!(
                        "the action `{}` is itself the same as another one, name that",
                        target.value
                    ),
                );
            }
            if self.tool_level.contains(alias_ix) != self.tool_level.contains(target_ix) {
                return wrong(
                    alias,
                    format!(
                        "one of `{}` and `{}` is in tool_level_actions, so they are not the same",
                        alias.value, target.value
                    ),
                );
            }
            if let Some(slot) = draft.canonical.get_mut(usize::from(alias_ix.0)) {
                *slot = Some(target_ix);
            }
        }
        Ok(())
    }

    fn set_derived_and_always(&self, draft: &mut Draft<'_>) -> Result<(), CatalogError> {
        for (action, derived) in &draft.source.derived.0 {
            let ix = self.canonical_action(draft, action)?;
            if derived.any_of.is_empty() {
                return wrong(
                    action,
                    format!("the derived action `{}` has an empty any_of", action.value),
                );
            }
            draft.derived.insert(ix);
        }
        for action in &draft.source.always {
            let ix = self.canonical_action(draft, action)?;
            if draft.derived.contains(ix) {
                return wrong(
                    action,
                    format!(
                        "the action `{}` is both always allowed and derived",
                        action.value
                    ),
                );
            }
            draft.always.insert(ix);
        }
        Ok(())
    }

    fn set_grantable(&self, name: &At<String>, draft: &mut Draft<'_>) -> Result<(), CatalogError> {
        let source = draft.source;
        if !source.grantable {
            return match source.permissions.0.first() {
                None => Ok(()),
                Some((permission, _)) => wrong(
                    permission,
                    format!(
                        "the type `{}` has the permission `{}`, but is not grantable",
                        name.value,
                        shown(&permission.value)
                    ),
                ),
            };
        }
        for action in draft.plain().iter() {
            if let Some(id) = self.actions.get(usize::from(action.0)) {
                draft.grantable.insert(id.clone(), ActionSet::of(action));
            }
        }
        for (permission, actions) in &source.permissions.0 {
            let id = snake(permission, Dots::None, "permission")?;
            let mut set = ActionSet::EMPTY;
            for action in actions {
                let ix = self.canonical_action(draft, action)?;
                if draft.derived.contains(ix) {
                    return wrong(
                        action,
                        format!(
                            "the action `{}` is both derived and granted by the permission `{id}`",
                            action.value
                        ),
                    );
                }
                set.insert(ix);
            }
            if set.is_empty() {
                return wrong(
                    permission,
                    format!("the permission `{id}` grants no action"),
                );
            }
            let namesake = self
                .action_index
                .get(&id)
                .filter(|ix| draft.actions.contains(**ix));
            if namesake.is_some_and(|ix| !set.contains(*ix)) {
                return wrong(
                    permission,
                    format!("the permission `{id}` is named as an action that it does not grant"),
                );
            }
            draft.grantable.insert(id, set);
        }
        Ok(())
    }
}
