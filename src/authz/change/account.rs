//! The account entity, its catalog and its plan: settled before all other changes, since these are
//! checked against the catalog that stands at the end.

use std::sync::Arc;

use super::super::catalog::Catalog;
use super::super::graph::AccountGraph;
use super::super::model::{
    Account, CatalogRef, DEFAULT_KEY, Id, PartnerProgram, PerType, Settings,
};
use super::{AccountPatch, Change, ChangeError, ChangeProblem, SETTING_SECONDS_MAX};

pub(super) struct Terms {
    pub account: Account,
    pub catalog: Arc<Catalog>,
    /// By type: whether the plan lets it be partitioned.
    pub partitionable: Vec<bool>,
    /// Plans that the list names before the one that stands at its end.
    passing: Vec<PassingPlan>,
    /// The change that gave an existing account another catalog: everything is to be revalidated.
    pub catalog_changed_by: Option<usize>,
}

/// A plan that one change of the list names and a later one replaces.
struct PassingPlan {
    from: usize,
    until: usize,
    /// By type: whether it lets it be partitioned.
    partitionable: Vec<bool>,
}

/// The fields of the account as the patches say, and which change said what.
#[derive(Default)]
struct Wish {
    catalog: Option<(usize, CatalogRef)>,
    plan: Option<(usize, Id)>,
    /// Plans that a later change of the list replaces: from which change until which.
    passing_plans: Vec<(usize, usize, Id)>,
    /// The first change that puts the account.
    first: Option<usize>,
}

impl Terms {
    pub fn settle(
        account: &Id,
        graph: Option<&AccountGraph>,
        changes: &[Change],
    ) -> Result<Self, ChangeError> {
        let mut partner_program = graph.map_or(PartnerProgram::None, |graph| {
            graph.account().partner_program
        });
        let mut payment_method_valid =
            graph.is_none_or(|graph| graph.account().payment_method_valid);
        let mut settings =
            graph.map_or_else(Settings::default, |graph| graph.account().settings.clone());
        let mut wish = Wish::default();
        for (index, change) in changes.iter().enumerate() {
            let Change::PutAccount(patch) = change else {
                continue;
            };
            wish.note(index, patch);
            partner_program = patch.partner_program.unwrap_or(partner_program);
            payment_method_valid = patch.payment_method_valid.unwrap_or(payment_method_valid);
            patch_settings(&mut settings, index, patch)?;
        }
        if graph.is_none() && wish.first.is_none() {
            return Err(error(0, "account", ChangeProblem::NoAccount));
        }
        let (catalog_ref, catalog, catalog_changed_by) = wish.catalog(graph)?;
        let plan = wish.plan(graph, &catalog)?;
        let partitionable = match catalog.plan(plan.as_str()) {
            Some(plan) => plan.partitionable.clone(),
            None => Vec::new(),
        };
        let passing = wish
            .passing_plans
            .iter()
            .filter_map(|(from, until, plan)| {
                Some(PassingPlan {
                    from: *from,
                    until: *until,
                    partitionable: catalog.plan(plan.as_str())?.partitionable.clone(),
                })
            })
            .collect();
        let terms = Self {
            account: Account {
                id: account.clone(),
                catalog: catalog_ref,
                plan,
                partner_program,
                payment_method_valid,
                settings,
            },
            catalog,
            partitionable,
            passing,
            catalog_changed_by,
        };
        terms.check_settings(changes)?;
        Ok(terms)
    }

    /// Whether the plan lets resources of a type be partitioned (S2.4, S2.5).
    pub fn may_be_partitioned(&self, resource_type: &Id) -> bool {
        self.lets(&self.partitionable, resource_type)
    }

    /// Whether a plan that the list named before a change, and replaced after it, let resources of
    /// a type be partitioned. So the export of a downgraded account (C12), which raises its walls
    /// under a larger plan and takes the present one at the end, can be made in one list.
    pub fn could_be_partitioned_at(&self, index: usize, resource_type: &Id) -> bool {
        self.passing
            .iter()
            .find(|plan| plan.from < index && index < plan.until)
            .is_some_and(|plan| self.lets(&plan.partitionable, resource_type))
    }

    fn lets(&self, partitionable: &[bool], resource_type: &Id) -> bool {
        self.catalog
            .type_ix(resource_type.as_str())
            .and_then(|ix| partitionable.get(usize::from(ix.0)))
            .copied()
            .unwrap_or(false)
    }

    /// Every key of the per-type settings is `default` or a type of the catalog.
    fn check_settings(&self, changes: &[Change]) -> Result<(), ChangeError> {
        let Some((field, key)) = unknown_type(
            "partition_mode",
            &self.account.settings.partition_mode,
            &self.catalog,
        )
        .or_else(|| {
            unknown_type(
                "unpartitioned",
                &self.account.settings.unpartitioned,
                &self.catalog,
            )
        }) else {
            return Ok(());
        };
        let named = changes.iter().rposition(|change| match change {
            Change::PutAccount(patch) => names_setting(patch, field, key),
            _ => false,
        });
        let Some(index) = named.or(self.catalog_changed_by) else {
            // Stored so, and not touched by these changes.
            return Ok(());
        };
        Err(error(
            index,
            &format!("account.settings.{field}"),
            ChangeProblem::Invalid(format!(
                "the catalog has no resource type `{key}`; name one of its types or `{DEFAULT_KEY}`"
            )),
        ))
    }
}

impl Wish {
    fn note(&mut self, index: usize, patch: &AccountPatch) {
        self.first.get_or_insert(index);
        if let Some(catalog) = &patch.catalog {
            self.catalog = Some((index, catalog.clone()));
        }
        if let Some(plan) = &patch.plan {
            if let Some((from, replaced)) = self.plan.take() {
                self.passing_plans.push((from, index, replaced));
            }
            self.plan = Some((index, plan.clone()));
        }
    }

    /// The catalog after the list, and the change that replaced the one of an existing account.
    fn catalog(
        &self,
        graph: Option<&AccountGraph>,
    ) -> Result<(CatalogRef, Arc<Catalog>, Option<usize>), ChangeError> {
        let (index, wanted) = match (&self.catalog, graph) {
            (Some((index, wanted)), Some(graph)) if *wanted != graph.account().catalog => {
                (*index, wanted)
            }
            (Some((index, wanted)), None) => (*index, wanted),
            (_, Some(graph)) => {
                return Ok((
                    graph.account().catalog.clone(),
                    Arc::clone(graph.catalog()),
                    None,
                ));
            }
            (None, None) => {
                return Err(error(
                    self.first.unwrap_or(0),
                    "account.catalog",
                    ChangeProblem::Invalid("a new account needs a catalog".to_owned()),
                ));
            }
        };
        let catalog = Catalog::resolve_ref(wanted).map_err(|problem| {
            error(
                index,
                "account.catalog",
                ChangeProblem::Invalid(problem.to_string()),
            )
        })?;
        Ok((wanted.clone(), catalog, graph.map(|_| index)))
    }

    /// The plan after the list; it must be one of the catalog's.
    fn plan(&self, graph: Option<&AccountGraph>, catalog: &Catalog) -> Result<Id, ChangeError> {
        let stored = graph.map(|graph| &graph.account().plan);
        let Some(plan) = self.plan.as_ref().map(|(_, plan)| plan).or(stored) else {
            return Err(error(
                self.first.unwrap_or(0),
                "account.plan",
                ChangeProblem::Invalid("a new account needs a plan".to_owned()),
            ));
        };
        if catalog.plan(plan.as_str()).is_none() {
            let by_catalog = self.catalog.as_ref().map(|(index, _)| *index);
            let index = self.plan.as_ref().map(|(index, _)| *index).or(by_catalog);
            return Err(error(
                index.unwrap_or(0),
                "account.plan",
                ChangeProblem::Invalid(format!(
                    "the catalog `{}` has no plan `{plan}`",
                    catalog.name
                )),
            ));
        }
        Ok(plan.clone())
    }
}

fn patch_settings(
    settings: &mut Settings,
    index: usize,
    patch: &AccountPatch,
) -> Result<(), ChangeError> {
    patch_per_type(&mut settings.partition_mode, &patch.partition_mode);
    patch_per_type(&mut settings.unpartitioned, &patch.unpartitioned);
    if let Some(seconds) = patch.request_ttl_seconds {
        if seconds == Some(0) {
            return Err(error(
                index,
                "account.settings.request_ttl",
                ChangeProblem::Invalid("a request must live for at least a second".to_owned()),
            ));
        }
        check_seconds(index, "account.settings.request_ttl", seconds)?;
        settings.request_ttl_seconds = seconds;
    }
    if let Some(seconds) = patch.request_cool_down_seconds {
        check_seconds(index, "account.settings.request_cool_down", seconds)?;
        settings.request_cool_down_seconds = seconds;
    }
    if let Some(limit) = patch.request_limit_per_user {
        settings.request_limit_per_user = limit;
    }
    Ok(())
}

fn check_seconds(index: usize, field: &str, seconds: Option<u64>) -> Result<(), ChangeError> {
    if seconds.is_some_and(|seconds| seconds > SETTING_SECONDS_MAX) {
        return Err(error(
            index,
            field,
            ChangeProblem::Invalid(format!("at most {SETTING_SECONDS_MAX} seconds")),
        ));
    }
    Ok(())
}

fn patch_per_type<T: Copy>(settings: &mut PerType<T>, patch: &[(Id, Option<T>)]) {
    for (key, value) in patch {
        match value {
            Some(value) => settings.insert(key.clone(), *value),
            None => settings.remove(key),
        };
    }
}

fn unknown_type<'s, T>(
    field: &'static str,
    settings: &'s PerType<T>,
    catalog: &Catalog,
) -> Option<(&'static str, &'s Id)> {
    settings
        .keys()
        .find(|key| key.as_str() != DEFAULT_KEY && catalog.type_ix(key.as_str()).is_none())
        .map(|key| (field, key))
}

fn names_setting(patch: &AccountPatch, field: &str, key: &Id) -> bool {
    match field {
        "partition_mode" => patch.partition_mode.iter().any(|(named, _)| named == key),
        _ => patch.unpartitioned.iter().any(|(named, _)| named == key),
    }
}

fn error(index: usize, field: &str, problem: ChangeProblem) -> ChangeError {
    ChangeError {
        index,
        field: field.to_owned(),
        problem,
    }
}
