//! An account as it would become, on snapshots that nobody else sees: lists of changes planned one on
//! top of the other and never made, and what the rules of segments then make of it in the background.
//!
//! What is supposed is the account once everything has come to rest: a record that changed is judged
//! by all rules of its type, and a rule that changed is run over all records, as after a write
//! ([`crate::partitions::segments`]). So a look at it tells of what a rule will do within moments too.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{Directory, DirectoryError, Intent, plan};
use crate::authz::change::ChangeLine;
use crate::authz::difference::Halted;
use crate::authz::graph::AccountGraph;
use crate::authz::model::{
    Attributes, Entity, EntityChange, EntityKey, Id, Resource, ResourceKey, Segment, Timestamp,
};
use crate::authz::on_behalf::CeilingReport;
use crate::authz::preview::WORK_MAX;
use crate::authz::segment::{Outcome, Rules, run, strays};
use crate::graph_cache::{ReadError, ReadGraph};
use crate::store::Head;

/// Records that may be supposed to change: each costs memory for as long as anybody looks.
pub const RECORDS_MAX: usize = 2_000_000;

/// Records that rules judge at a time.
const PAGE: usize = 1_000;

/// What it costs to read the attributes of a record and to ask rules of it, in checks.
const RECORD_CHECKS: u64 = 100;

/// An account as it stands, and as changes would make it.
#[derive(Debug, Clone)]
pub struct Supposed {
    pub(super) account: Id,
    pub(super) present: Option<Arc<ReadGraph>>,
    pub(super) after: Arc<AccountGraph>,
    pub(super) at: Timestamp,
    /// What the changes do to entities, a line an entity.
    pub lines: Vec<ChangeLine>,
    /// What the grant ceiling makes of them.
    pub ceiling: CeilingReport,
    /// What rules have not looked at yet.
    due: Due,
    records: usize,
    /// Work done by rules, in checks.
    pub(super) checks: u64,
    /// Why no more is supposed. Further lists are then planned on the account as it stands.
    pub(super) halted: Option<Halted>,
}

/// What rules have to look at after changes.
#[derive(Debug, Clone, Default)]
struct Due {
    segments: BTreeSet<Id>,
    /// The plan, the catalog or a setting: every rule is run.
    of_account: bool,
    records: Vec<ResourceKey>,
    /// What the changes give records; others have what is stored.
    attributes: HashMap<ResourceKey, Attributes>,
}

impl Due {
    fn note(&mut self, changes: &[EntityChange]) {
        for change in changes {
            match change {
                EntityChange::Put(Entity::Segment(segment)) => {
                    self.segments.insert(segment.id.clone());
                }
                EntityChange::Delete(EntityKey::Segment(id)) => {
                    self.segments.insert(id.clone());
                }
                EntityChange::Put(Entity::Account(_)) => self.of_account = true,
                EntityChange::Put(Entity::Resource(resource, attributes)) => {
                    self.records.push(resource.key.clone());
                    if let Some(attributes) = attributes {
                        self.attributes
                            .insert(resource.key.clone(), attributes.clone());
                    }
                }
                EntityChange::Put(_) | EntityChange::Delete(_) => {}
            }
        }
    }
}

impl Supposed {
    pub(super) fn new(
        account: Id,
        present: Option<Arc<ReadGraph>>,
        after: Arc<AccountGraph>,
        at: Timestamp,
    ) -> Self {
        Self {
            account,
            present,
            after,
            at,
            lines: Vec::new(),
            ceiling: CeilingReport::default(),
            due: Due::default(),
            records: 0,
            checks: 0,
            halted: None,
        }
    }

    /// Where the account stands; `None`: there is none yet.
    pub fn head(&self) -> Option<Head> {
        self.present.as_ref().map(|present| present.head)
    }

    /// What the account would become, as far as it is supposed.
    pub fn after(&self) -> &Arc<AccountGraph> {
        &self.after
    }

    /// Takes over what planned changes make of the account.
    pub(super) fn become_of(&mut self, changes: &[EntityChange], after: Arc<AccountGraph>) {
        if self.halted.is_some() {
            return;
        }
        self.due.note(changes);
        self.after = after;
        self.count(changes.len());
    }

    fn count(&mut self, records: usize) {
        self.records = self.records.saturating_add(records);
        if self.records > RECORDS_MAX {
            self.halt(Halted::TooManyFindings {
                what: "records that would change",
                limit: RECORDS_MAX,
            });
        }
    }

    fn spend(&mut self, records: usize) {
        let records = u64::try_from(records).unwrap_or(u64::MAX);
        self.checks = self
            .checks
            .saturating_add(records.saturating_mul(RECORD_CHECKS));
        if self.checks > WORK_MAX {
            self.halt(Halted::TooMuchWork { limit: WORK_MAX });
        }
    }

    /// Nothing more is supposed, and what was is let go.
    fn halt(&mut self, why: Halted) {
        if let Some(present) = &self.present {
            self.after = Arc::new(present.graph.clone());
        }
        self.due = Due::default();
        self.halted = Some(why);
    }
}

impl Directory {
    /// The account as it stands, and nothing supposed of it yet.
    pub(crate) async fn supposing(&self, account: &Id) -> Result<Supposed, DirectoryError> {
        let present = self.present(account).await?;
        let present = present.ok_or_else(|| ReadError::UnknownAccount(account.clone()))?;
        let after = Arc::new(present.graph.clone());
        Ok(Supposed::new(
            account.clone(),
            Some(present),
            after,
            self.clock.now(),
        ))
    }

    /// Supposes a rule, and nothing yet of what it makes of records.
    pub(crate) async fn suppose_rule(
        &self,
        supposed: &mut Supposed,
        rule: Segment,
    ) -> Result<(), DirectoryError> {
        let graph = Arc::clone(&supposed.after);
        let put = EntityChange::Put(Entity::Segment(rule));
        let work = move || graph.apply(&[put]);
        let after = self.graphs.compute(&supposed.account, work).await?;
        supposed.after = Arc::new(after.map_err(DirectoryError::Unusable)?);
        Ok(())
    }

    /// Supposes what an intent makes of an account on top of what is supposed already; a line an
    /// entity.
    pub(crate) async fn suppose_intent(
        &self,
        supposed: &mut Supposed,
        intent: Arc<dyn Intent>,
    ) -> Result<Vec<ChangeLine>, DirectoryError> {
        let graph = AccountGraph::clone(&supposed.after);
        let account = &supposed.account;
        // An intent that is judged by a user's rights judges them itself.
        let planned = plan::plan_in_steps(
            &self.graphs,
            account,
            (intent, None),
            Some(graph),
            |after| after,
        );
        let plan::Plan { mut set, made, .. } = planned.await?;
        let after = made.map_err(DirectoryError::Unusable)?;
        plan::settle_attributes(self.store.as_ref(), &supposed.account, &mut set).await?;
        self.suppose_changes(supposed, &set.changes, after).await?;
        Ok(set.summary)
    }

    /// Supposes planned changes, and what they make of the supposed account.
    pub(crate) async fn suppose_changes(
        &self,
        supposed: &mut Supposed,
        changes: &[EntityChange],
        after: AccountGraph,
    ) -> Result<(), DirectoryError> {
        supposed.become_of(changes, Arc::new(after));
        self.settle(supposed).await
    }

    /// Lets rules look at what they have not looked at yet. What they may not look at for its bounds
    /// halts the whole.
    pub(super) async fn settle(&self, supposed: &mut Supposed) -> Result<(), DirectoryError> {
        let due = std::mem::take(&mut supposed.due);
        let graph = Arc::clone(&supposed.after);
        let types: BTreeSet<&Id> = graph
            .rules()
            .map(|rule| &rule.segment().resource_type)
            .collect();
        let mut records = due.records;
        records.retain(|key| types.contains(&key.resource_type));
        for keys in records.chunks(PAGE) {
            self.judge(supposed, &Rules::All, keys.to_vec(), &due.attributes)
                .await?;
        }
        let mut segments = due.segments;
        if due.of_account {
            segments.extend(graph.rules().map(|rule| rule.id().clone()));
        }
        for segment in segments {
            self.run_rule(supposed, segment, &due.attributes).await?;
        }
        Ok(())
    }

    async fn run_rule(
        &self,
        supposed: &mut Supposed,
        segment: Id,
        attributes: &HashMap<ResourceKey, Attributes>,
    ) -> Result<(), DirectoryError> {
        let graph = Arc::clone(&supposed.after);
        let of_type = graph
            .rule(segment.as_str())
            .filter(|rule| rule.is_running())
            .map(|rule| rule.segment().resource_type.clone());
        let find = {
            let (graph, segment) = (Arc::clone(&graph), segment.clone());
            move || strays(&graph, &segment)
        };
        let others = self.graphs.compute(&supposed.account, find).await?;
        let rules = Rules::Segment(segment);
        for keys in others.chunks(PAGE) {
            self.judge(supposed, &rules, keys.to_vec(), attributes)
                .await?;
        }
        let Some(of_type) = of_type else {
            return Ok(());
        };
        let mut last: Option<Id> = None;
        while supposed.halted.is_none() {
            let after = last.as_ref().map(Id::as_str);
            let ids = graph.resource_page(of_type.as_str(), after, PAGE);
            let Some(id) = ids.last() else {
                break;
            };
            last = Some(id.clone());
            let key = |id| ResourceKey {
                resource_type: of_type.clone(),
                id,
            };
            let keys = ids.into_iter().map(key).collect();
            self.judge(supposed, &rules, keys, attributes).await?;
        }
        Ok(())
    }

    /// What rules make of records as they are supposed, which is supposed from then on.
    pub(crate) async fn judge(
        &self,
        supposed: &mut Supposed,
        rules: &Rules,
        keys: Vec<ResourceKey>,
        given: &HashMap<ResourceKey, Attributes>,
    ) -> Result<Judged, DirectoryError> {
        supposed.spend(keys.len());
        let mut attributes: HashMap<_, _> = keys
            .iter()
            .filter_map(|key| Some((key.clone(), given.get(key)?.clone())))
            .collect();
        if supposed.present.is_some() {
            let asked: Vec<ResourceKey> = keys
                .iter()
                .filter(|key| !given.contains_key(key))
                .cloned()
                .collect();
            attributes.extend(self.store.attributes(&supposed.account, &asked).await?);
        }
        let (before, rules) = (Arc::clone(&supposed.after), rules.clone());
        let is_halted = supposed.halted.is_some();
        let work = move || {
            let outcome = run(&before, &rules, &keys, &attributes);
            if outcome.changed.is_empty() || is_halted {
                return Ok((outcome, before.clone(), before));
            }
            let mut after = before.apply(&puts(&outcome.changed))?;
            // What one rule closes, others that may not close it assign then (P1), since a record
            // that a rule has changed is judged by all of them.
            if !matches!(rules, Rules::All) {
                let changed = outcome.changed.iter().map(|resource| resource.key.clone());
                let changed: Vec<ResourceKey> = changed.collect();
                let others = run(&after, &Rules::All, &changed, &attributes);
                if !others.changed.is_empty() {
                    after = after.apply(&puts(&others.changed))?;
                }
            }
            Ok((outcome, before, Arc::new(after)))
        };
        let judged = self.graphs.compute(&supposed.account, work).await?;
        let (outcome, before, after) = judged.map_err(DirectoryError::Unusable)?;
        if supposed.halted.is_none() {
            supposed.after = after;
            supposed.count(outcome.changed.len());
        }
        Ok(Judged { outcome, before })
    }
}

fn puts(changed: &[Resource]) -> Vec<EntityChange> {
    let put = |resource: &Resource| EntityChange::Put(Entity::Resource(resource.clone(), None));
    changed.iter().map(put).collect()
}

/// What rules made of records, and of what.
pub(crate) struct Judged {
    pub(crate) outcome: Outcome,
    pub(crate) before: Arc<AccountGraph>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::graph::GraphBuilder;
    use crate::authz::model::{Account, CatalogRef, PartnerProgram, Settings};

    fn supposed() -> Supposed {
        let id = |text| Id::parse(text).unwrap();
        let mut builder = GraphBuilder::default();
        builder.push(Entity::Account(Account {
            id: id("acme"),
            catalog: CatalogRef::BuiltIn(id("hubspot")),
            plan: id("enterprise"),
            partner_program: PartnerProgram::None,
            payment_method_valid: true,
            settings: Settings::default(),
        }));
        let graph = Arc::new(builder.finish().unwrap());
        let now = Timestamp::from_unix_micros(1).unwrap();
        Supposed::new(id("acme"), None, graph, now)
    }

    #[test]
    fn what_is_too_much_to_suppose_is_told_and_nothing_more_is_kept() {
        let mut supposed = supposed();
        supposed.count(RECORDS_MAX);
        assert_eq!(supposed.halted, None);
        supposed.count(1);
        let why = supposed.halted.clone().unwrap().to_string();
        assert!(why.contains("2000000 records that would change"), "{why}");
        let change = EntityChange::Delete(EntityKey::Segment(Id::parse("s").unwrap()));
        let after = Arc::clone(supposed.after());
        supposed.become_of(&[change], after);
        assert!(supposed.due.segments.is_empty());
    }

    #[test]
    fn records_that_rules_judge_are_work() {
        let mut supposed = supposed();
        let records = usize::try_from(WORK_MAX / RECORD_CHECKS).unwrap();
        supposed.spend(records);
        assert_eq!(supposed.halted, None);
        supposed.spend(1);
        assert_eq!(
            supposed.halted,
            Some(Halted::TooMuchWork { limit: WORK_MAX })
        );
    }
}
