//! P2: what a dry run says of access is what checks say before and after it is really done, rules of
//! segments included.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use ambit::authz::access_set::check;
use ambit::authz::assignment::AssignMode;
use ambit::authz::decision::Target;
use ambit::authz::model::{Attributes, Segment};
use ambit::clock::SystemClock;
use ambit::directory::{Foreseen, PreviewChanges};
use ambit::imports::{Import, ImportRequest, Mode, Row, RowContent};
use ambit::partitions::{BulkRequest, Partitions, Selection, Work as Bulk};
use ambit::randomness::SystemRandomness;
use ambit::store::audit::Author;
use ambit::store::batches::BatchCounts;

use super::*;
use crate::database::Database;
use crate::directory::{fresh_graph, request};
use crate::partitions::{order, request as bulk, run};
use crate::properties::seeds;
use crate::segments::{Working, record, rule, switched};

const USERS: [&str; 6] = ["u0", "u1", "u2", "u3", "u4", "sa"];
const PRINCIPALS: [&str; 8] = [
    "team:eu",
    "team:de",
    "team:us",
    "group:vip",
    "group:news",
    "user:u0",
    "user:u1",
    "user:u2",
];
/// All that a resource is asked about; to create is a question of the tool.
const ACTIONS: [&str; 8] = [
    "view",
    "edit",
    "delete",
    "communicate",
    "bulk_delete",
    "import",
    "export",
    "assign",
];
const CONTACTS: u64 = 14;

/// The same numbers for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    fn of<T: Copy>(&mut self, some: &[T]) -> T {
        let sides = u64::try_from(some.len()).unwrap();
        some[usize::try_from(self.roll(sides)).unwrap()]
    }

    fn some(&mut self, of: &[&'static str]) -> Vec<&'static str> {
        let first = self.of(of);
        let mut some: BTreeSet<&str> = [first].into();
        while self.roll(3) == 0 {
            some.insert(self.of(of));
        }
        some.into_iter().collect()
    }

    fn contact(&mut self) -> String {
        format!("c{:02}", self.roll(CONTACTS))
    }

    fn contacts(&mut self) -> BTreeSet<String> {
        (0..self.roll(7) + 1).map(|_| self.contact()).collect()
    }

    fn attributes(&mut self) -> String {
        let tags: Vec<&str> = ["gold", "news"]
            .into_iter()
            .filter(|_| self.roll(2) == 0)
            .collect();
        format!(r#"{{"tags": {tags:?}, "score": {}}}"#, self.roll(4))
    }

    fn document(&mut self) -> String {
        let mut text = "catalog: hubspot
plan: enterprise
teams: [{id: eu}, {id: de, parent: eu}, {id: us}]
"
        .to_owned();
        let level = |dice: &mut Self| dice.of(&["owned", "team", "team", "everything"]);
        text.push_str("users:\n  - {id: sa, super_admin: true}\n");
        for user in &USERS[..5] {
            let team = self.of(&["eu", "de", "us"]);
            let grants = format!("contact.view: {}", level(self));
            let more = match self.roll(3) {
                0 => String::new(),
                _ => format!(", contact.edit: {}", level(self)),
            };
            writeln!(
                text,
                "  - {{id: {user}, main_team: {team}, grants: {{{grants}{more}, contact.communicate: team}}}}"
            )
            .unwrap();
        }
        text.push_str(
            "access_groups:
  - {id: vip, members: [{user: u3, actions: [view, edit]}, {team: us, actions: [view]}]}
  - {id: news, members: [{user: u4, actions: [view, communicate]}]}
resources:
",
        );
        for number in 0..CONTACTS {
            let attributes = self.attributes();
            let owner = match self.roll(2) {
                0 => String::new(),
                _ => format!(", owners: [{}]", self.of(&USERS)),
            };
            let to = match self.roll(3) {
                0 => format!(", assigned_to: {:?}", self.some(&PRINCIPALS)),
                _ => String::new(),
            };
            writeln!(
                text,
                "  - {{type: contact, id: c{number:02}, attributes: {attributes}{owner}{to}}}"
            )
            .unwrap();
        }
        text
    }

    fn rule(&mut self, segment: &str) -> Change {
        let when = self.of(&[
            "'gold' in resource.tags",
            "resource.score > 1",
            "'news' in resource.tags && resource.score < 3",
            "true",
        ]);
        let to = self.some(&PRINCIPALS[..4]);
        let Change::PutSegment(mut patch) = rule(segment, when, &to) else {
            panic!("it puts a segment");
        };
        patch.may_partition = Some(self.roll(2) == 0);
        Change::PutSegment(patch)
    }
}

/// Whom each action of each user reaches, and what is left to nobody.
#[derive(Debug, PartialEq)]
struct Checked {
    allowed: BTreeMap<(String, String), BTreeSet<String>>,
    orphaned: BTreeSet<String>,
}

struct Account {
    /// Kept as long as the rest.
    _database: Database,
    working: Working,
    partitions: Partitions,
    dice: Dice,
    batches: Vec<Id>,
    imports: u64,
    differences: usize,
}

impl Account {
    async fn new(seed: u64) -> Self {
        let database = Database::new();
        let working = Working::open(&database).await;
        let partitions = Partitions::new(
            working.replica.directory.clone(),
            Arc::clone(&working.replica.store),
            database.open_batches().await,
            database.open_forms().await,
            Arc::new(SystemClock::new()),
            Arc::new(SystemRandomness),
        );
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut made = changes(&dice.document());
        made.extend([dice.rule("one"), dice.rule("two")]);
        let directory = &working.replica.directory;
        directory.create_with(request("acme", made)).await.unwrap();
        working.settle().await;
        Self {
            _database: database,
            working,
            partitions,
            dice,
            batches: Vec::new(),
            imports: 0,
            differences: 0,
        }
    }

    async fn checked(&self) -> Checked {
        let (graph, _) = fresh_graph(&self.working.replica.store, "acme").await;
        let ids = graph.resource_page("contact", None, usize::MAX);
        let mut allowed = BTreeMap::new();
        for user in USERS {
            for action in ACTIONS {
                let allows = |id: &&Id| {
                    let target = Target::Resource(id.as_str());
                    check(&graph, user, "contact", action, target, at(NOW))
                        .unwrap()
                        .is_allow()
                };
                let key = (user.to_owned(), action.to_owned());
                let reached = ids.iter().filter(allows).map(Id::to_string).collect();
                allowed.insert(key, reached);
            }
        }
        let is_left = |id: &&Id| {
            let resource = graph.resource(&contact(id.as_str())).unwrap();
            resource.partitioned && resource.assignments.is_empty()
        };
        Checked {
            allowed,
            orphaned: ids.iter().filter(is_left).map(Id::to_string).collect(),
        }
    }

    /// The preview says what differs between the two, and nothing else.
    fn assert_told(&mut self, foreseen: &Foreseen, before: &Checked, after: &Checked, what: &str) {
        let preview = &foreseen.preview;
        let mut expected = Vec::new();
        for (key, is) in &after.allowed {
            let was = &before.allowed[key];
            let gained: Vec<_> = is.difference(was).cloned().collect();
            let lost: Vec<_> = was.difference(is).cloned().collect();
            if !(gained.is_empty() && lost.is_empty()) {
                expected.push((key.clone(), gained.len(), lost.len()));
            }
        }
        let count = |number: u64| usize::try_from(number).unwrap();
        let told: Vec<_> = preview
            .differences
            .iter()
            .map(|one| {
                assert_eq!(one.resource_type.as_str(), "contact");
                let key = (one.user.to_string(), one.action.to_string());
                (key, count(one.gained), count(one.lost))
            })
            .collect();
        // Both are ordered by user, then by action.
        let mut expected_in_order = expected;
        expected_in_order.sort();
        assert_eq!(told, expected_in_order, "{what}");
        for one in &preview.differences {
            let key = (one.user.to_string(), one.action.to_string());
            let (was, is) = (&before.allowed[&key], &after.allowed[&key]);
            let sampled = |sample: &[Id], all: Vec<&String>| {
                assert!(
                    sample
                        .iter()
                        .all(|id| all.iter().any(|one| *one == id.as_str())),
                    "{what}: {one:?}"
                );
            };
            sampled(&one.gained_sample, is.difference(was).collect());
            sampled(&one.lost_sample, was.difference(is).collect());
        }
        let orphaned: BTreeSet<String> = preview
            .orphans(&foreseen.after)
            .map(|orphan| orphan.id.to_owned())
            .collect();
        let left: BTreeSet<String> = after
            .orphaned
            .difference(&before.orphaned)
            .cloned()
            .collect();
        assert_eq!(orphaned, left, "{what}");
        let reaches = |of: &Checked, user: &str| {
            of.allowed
                .iter()
                .any(|((who, _), ids)| who == user && !ids.is_empty())
        };
        for (told, was, is) in [
            (&preview.locked_in, false, true),
            (&preview.locked_out, true, false),
        ] {
            let told: BTreeSet<&str> = told.iter().map(|one| one.user.as_str()).collect();
            let expected: BTreeSet<&str> = USERS
                .into_iter()
                .filter(|user| reaches(before, user) == was && reaches(after, user) == is)
                .collect();
            assert_eq!(told, expected, "{what}");
        }
        self.differences += preview.differences.len();
    }

    /// Tries a bulk, does it, and compares.
    async fn bulk(&mut self, work: Bulk) {
        let what = format!("{work:?}");
        let before = self.checked().await;
        let revision = self.working.revision().await;
        let asked = |dry_run| BulkRequest {
            dry_run,
            ..bulk(work.clone())
        };
        let mut tried = self.partitions.begin(asked(true)).await.unwrap();
        let mut counts = BatchCounts::default();
        while let Some(told) = tried.next().await.unwrap() {
            counts = told.counts;
        }
        let foreseen = tried.foresee().await.unwrap().unwrap().unwrap();
        assert_eq!(self.working.revision().await, revision, "{what}");
        let mut done = self.partitions.begin(asked(false)).await.unwrap();
        assert!(done.foresee().await.unwrap().is_none(), "it is no dry run");
        self.batches.push(done.batch_id().clone());
        let ran = run(done).await.unwrap();
        assert_eq!(ran.counts, counts, "{what}");
        self.working.settle().await;
        let after = self.checked().await;
        self.assert_told(&foreseen, &before, &after, &what);
    }

    async fn assign(&mut self) {
        let mode = self
            .dice
            .of(&[AssignMode::Add, AssignMode::Remove, AssignMode::Replace]);
        let targets = self.dice.some(&PRINCIPALS);
        let on = self.selection();
        let order = order(mode, &targets);
        self.bulk(Bulk::Order { order, on }).await;
    }

    fn selection(&mut self) -> Selection {
        match self.dice.roll(4) {
            0 => Selection::Filter(ambit::authz::assignment::ResourceFilter {
                attributes: Attributes::from_iter([("score".to_owned(), self.dice.roll(4).into())]),
                ..crate::partitions::all_contacts()
            }),
            _ => Selection::Keys(self.dice.contacts().iter().map(|id| contact(id)).collect()),
        }
    }

    async fn import(&mut self) {
        self.imports += 1;
        let rows: Vec<Row> = (1..)
            .zip(self.dice.contacts())
            .map(|(line, name)| {
                let name = match self.dice.roll(4) {
                    0 => format!("new-{}-{line}", self.imports),
                    _ => name,
                };
                let attributes = self.dice.attributes();
                let Change::PutResource(mut resource) = record(&name, &attributes) else {
                    panic!("it puts a resource");
                };
                if self.dice.roll(3) == 0 {
                    resource.attributes = None;
                }
                let assigned_to = Vec::new();
                Row::new(
                    line,
                    Ok(RowContent {
                        resource,
                        assigned_to,
                    }),
                )
            })
            .collect();
        let targets = self.dice.some(&PRINCIPALS);
        let key = format!("i{}", self.imports);
        let asked = |dry_run| ImportRequest {
            account: id("acme"),
            key: id(&key),
            job: id("j"),
            mode: Mode::Merge,
            targets: targets.iter().map(|to| to.parse().unwrap()).collect(),
            actor: None,
            // Several batches, that stand on one another.
            batch_rows: 3,
            errors_max: 0,
            dry_run,
            author: Author::anyone("ImportResources"),
        };
        let before = self.checked().await;
        let revision = self.working.revision().await;
        let mut tried = imported(&self.working, asked(true), &rows).await;
        let foreseen = tried.foresee().await.unwrap().unwrap().unwrap();
        assert_eq!(self.working.revision().await, revision);
        let done = imported(&self.working, asked(false), &rows).await;
        assert_eq!(tried.progress(), done.progress());
        self.working.settle().await;
        let after = self.checked().await;
        let what = format!("{rows:?} to {targets:?}");
        self.assert_told(&foreseen, &before, &after, &what);
    }

    async fn change(&mut self, list: Vec<Change>) {
        let what = format!("{list:?}");
        let before = self.checked().await;
        let directory = &self.working.replica.directory;
        let looked_at = PreviewChanges {
            account: id("acme"),
            actor: None,
            changes: list.clone(),
            expected: None,
            at: None,
        };
        let mut supposed = directory.suppose(looked_at).await.unwrap();
        let foreseen = directory.preview(&mut supposed).await.unwrap().unwrap();
        self.working.apply(list).await;
        self.working.settle().await;
        let after = self.checked().await;
        self.assert_told(&foreseen, &before, &after, &what);
    }

    /// A rule that is tried by itself tells what its change would do.
    async fn trial(&mut self) {
        let segment = self.dice.of(&["one", "two"]);
        let put = self.dice.rule(segment);
        let Change::PutSegment(patch) = &put else {
            panic!("it puts a segment");
        };
        let instead = Segment {
            id: patch.id.clone(),
            resource_type: patch.resource_type.clone().unwrap(),
            when: patch.when.clone().unwrap(),
            assign_to: patch.assign_to.clone().unwrap(),
            enabled: true,
            may_partition: patch.may_partition.unwrap(),
        };
        let what = format!("{instead:?}");
        let before = self.checked().await;
        let (account, segment) = (id("acme"), id(segment));
        let trial = self
            .working
            .segments
            .trial(&account, &segment, Some(instead));
        let foreseen = trial.await.unwrap().foreseen.unwrap();
        let on = switched(segment.as_str(), true);
        self.working.apply(vec![put, on]).await;
        self.working.settle().await;
        let after = self.checked().await;
        self.assert_told(&foreseen, &before, &after, &what);
    }

    async fn step(&mut self) {
        match self.dice.roll(9) {
            0..3 => self.assign().await,
            3 => {
                let order = ambit::authz::assignment::Order::Unpartition;
                let on = self.selection();
                self.bulk(Bulk::Order { order, on }).await;
            }
            4 => match self.batches.pop() {
                Some(batch) => self.bulk(Bulk::UndoBatch(batch)).await,
                None => self.assign().await,
            },
            5 => self.import().await,
            6 => self.bulk(Bulk::UndoImport(id("j"))).await,
            7 => {
                let mut list = vec![match self.dice.roll(4) {
                    0 => switched("one", false),
                    1 => switched("two", true),
                    _ => self.dice.rule("one"),
                }];
                // Records of the same list are judged by what it gives them.
                if self.dice.roll(2) == 0 {
                    list.push(record(&self.dice.contact(), &self.dice.attributes()));
                }
                self.change(list).await;
            }
            _ => self.trial().await,
        }
    }
}

async fn imported(working: &Working, request: ImportRequest, rows: &[Row]) -> Import {
    let begun = Import::begin(working.replica.directory.clone(), request).await;
    let mut import = begun.unwrap();
    let mut batches: Vec<_> = rows
        .iter()
        .filter_map(|row| import.add(row.clone()))
        .collect();
    batches.extend(import.rest());
    for batch in batches {
        assert_eq!(import.write(batch).await.unwrap(), []);
    }
    import
}

#[tokio::test]
async fn p2_every_dry_run_tells_what_checks_say_before_and_after_it_is_done() {
    let mut differences = 0;
    for seed in seeds(61_000, 12) {
        println!("seed {seed}");
        let mut account = Account::new(seed).await;
        for _ in 0..14 {
            account.step().await;
        }
        // A rule that is deleted lets go of what it made.
        let delete = Change::DeleteSegment(id("one"));
        account.change(vec![switched("one", true)]).await;
        account.change(vec![delete]).await;
        differences += account.differences;
    }
    assert!(differences > 100, "the accounts say little: {differences}");
}
