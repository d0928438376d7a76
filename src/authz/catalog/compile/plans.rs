//! Plans: what each makes available, and what it lets be partitioned.

use super::{Dots, Draft, Names, snake, wrong};
use crate::authz::catalog::source::{CatalogSource, PlanSource};
use crate::authz::catalog::{ActionSet, CatalogError, Plan};
use crate::authz::yaml::{At, shown};

impl Names {
    pub(super) fn plans(
        &self,
        source: &CatalogSource,
        drafts: &[Draft<'_>],
    ) -> Result<Vec<Plan>, CatalogError> {
        if source.plans.0.is_empty() {
            return Err(CatalogError::at(
                source.catalog.place,
                "the catalog has no plans",
            ));
        }
        let mut plans: Vec<Plan> = Vec::new();
        for (name, about) in &source.plans.0 {
            let plan = self.plan(name, about, &plans, drafts)?;
            plans.push(plan);
        }
        Ok(plans)
    }

    fn plan(
        &self,
        name: &At<String>,
        about: &PlanSource,
        above: &[Plan],
        drafts: &[Draft<'_>],
    ) -> Result<Plan, CatalogError> {
        let id = snake(name, Dots::None, "plan")?;
        let mut plan = match &about.extends {
            None => Plan {
                name: id,
                nested_teams: false,
                object_access_requests: false,
                entitled: drafts.iter().map(|draft| draft.actions).collect(),
                partitionable: vec![false; drafts.len()],
            },
            Some(base) => match above.iter().find(|plan| plan.name.as_str() == base.value) {
                Some(base) => Plan {
                    name: id,
                    ..base.clone()
                },
                None => {
                    return wrong(
                        base,
                        format!(
                            "the plan `{}` extends `{}`, which is no plan above it",
                            name.value,
                            shown(&base.value)
                        ),
                    );
                }
            },
        };
        plan.nested_teams = about.nested_teams.unwrap_or(plan.nested_teams);
        plan.object_access_requests = about
            .object_access_requests
            .unwrap_or(plan.object_access_requests);
        for partitioned in &about.partitions {
            let ix = self.type_ix(partitioned)?;
            if let Some(slot) = plan.partitionable.get_mut(usize::from(ix.0)) {
                *slot = true;
            }
        }
        for lacking in &about.without {
            self.take_out(&mut plan, lacking, drafts)?;
        }
        self.refuse_missing_partitions(about, &plan)?;
        for (entitled, partitionable) in plan.entitled.iter().zip(&mut plan.partitionable) {
            *partitionable &= !entitled.is_empty();
        }
        Ok(plan)
    }

    /// Takes a type or one of its actions out of a plan.
    fn take_out(
        &self,
        plan: &mut Plan,
        lacking: &At<String>,
        drafts: &[Draft<'_>],
    ) -> Result<(), CatalogError> {
        if let Some(ix) = self.type_index.get(lacking.value.as_str()) {
            if let Some(entitled) = plan.entitled.get_mut(usize::from(ix.0)) {
                *entitled = ActionSet::EMPTY;
            }
            return Ok(());
        }
        let split = lacking.value.rsplit_once('.').and_then(|(name, action)| {
            let ix = self.type_index.get(name)?;
            Some((*ix, drafts.get(usize::from(ix.0))?, action))
        });
        let Some((ix, draft, action)) = split else {
            return wrong(
                lacking,
                format!("the catalog has no type `{}`", shown(&lacking.value)),
            );
        };
        let action = self.canonical_action(
            draft,
            &At {
                value: action.to_owned(),
                place: lacking.place,
            },
        )?;
        let gone = draft
            .actions
            .iter()
            .filter(|named| draft.canonical_of(*named) == Some(action))
            .collect();
        if let Some(entitled) = plan.entitled.get_mut(usize::from(ix.0)) {
            *entitled = entitled.without(gone);
        }
        Ok(())
    }

    fn refuse_missing_partitions(
        &self,
        about: &PlanSource,
        plan: &Plan,
    ) -> Result<(), CatalogError> {
        for partitioned in &about.partitions {
            let ix = self.type_ix(partitioned)?;
            if plan
                .entitled
                .get(usize::from(ix.0))
                .is_some_and(|set| set.is_empty())
            {
                return wrong(
                    partitioned,
                    format!(
                        "the plan `{}` partitions the type `{}`, which it is without",
                        plan.name, partitioned.value
                    ),
                );
            }
        }
        Ok(())
    }
}
