//! What a watch tells, applied to the first list, is every later list: whoever wrote in between,
//! whatever ended or began by itself, and wherever the caller lost and took up the watch again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ambit::authz::access_set::Narrowing;
use ambit::authz::model::{Entity, EntityChange, Id};
use ambit::authz::visibility::Question;
use ambit::clock::{Clock as _, ManualClock};
use ambit::directory::{AccessWatch, Directory, Due, VisibilityChange};
use ambit::graph_cache::{CacheLimits, GraphCache};
use ambit::store::audit::Author;
use ambit::store::{Head, Store, Write};
use tokio::sync::mpsc;

use super::storable::{difference, storable};
use super::worlds::{CatalogCase, Maker, USERS, catalog_of, changed, id, tick};
use super::{catalogs, seeds};
use crate::database::Database;
use crate::oracle::World;

/// A watch tells at once that nothing is due, so that a test never waits.
const AT_ONCE: Duration = Duration::ZERO;

/// An account on a store, with a clock that stands.
struct Scene {
    _database: Database,
    store: Arc<dyn Store>,
    directory: Directory,
    clock: Arc<ManualClock>,
    account: Id,
    entities: Vec<Entity>,
    head: Option<Head>,
}

impl Scene {
    async fn of(maker: &mut Maker<'_>) -> Self {
        let database = Database::new();
        let store = database.open().await;
        let clock = Arc::new(ManualClock::at(tick(-5)));
        // Nothing follows the store here; each write is followed by the test.
        let limits = CacheLimits {
            bytes_max: u64::MAX,
            staleness_bound: Duration::from_secs(3_600),
            load_timeout: Duration::from_secs(60),
        };
        let graphs = GraphCache::new(Arc::clone(&store), clock.clone(), limits);
        let directory = Directory::new(Arc::clone(&store), graphs, clock.clone());
        let mut scene = Self {
            _database: database,
            store,
            directory,
            clock,
            account: id("acme"),
            entities: Vec::new(),
            head: None,
        };
        scene.become_of(storable("acme", maker.account())).await;
        scene
    }

    async fn become_of(&mut self, entities: Vec<Entity>) {
        let changes = difference(&self.entities, &entities);
        if changes.is_empty() {
            return;
        }
        let write = Write {
            account: &self.account,
            expected: self.head,
            changes: &changes,
            events: &[],
            idempotency: None,
            batch: None,
            author: &Author::anyone("Test"),
        };
        self.head = Some(self.store.apply(write).await.expect("a store takes it"));
        self.entities = entities;
    }

    async fn write(&mut self, maker: &mut Maker<'_>) {
        let resources_only = maker.dice.chance(50);
        let changes: Vec<EntityChange> = (0..maker.dice.below(4) + 1)
            .map(|_| maker.change())
            .filter(|change| {
                let is_resource = matches!(change, EntityChange::Put(Entity::Resource(..)));
                is_resource || !resources_only
            })
            .collect();
        self.become_of(storable("acme", changed(&self.entities, &changes)))
            .await;
    }

    async fn follow(&self) {
        let graphs = self.directory.graphs();
        graphs
            .catch_up_cached(&self.account)
            .await
            .expect("it is followed");
    }
}

/// A caller with what it was told.
struct Caller {
    question: Question,
    watch: AccessWatch,
    lists: BTreeMap<String, BTreeSet<String>>,
    listings: usize,
}

impl Caller {
    async fn of(scene: &Scene, question: Question) -> Self {
        let watch = scene
            .directory
            .watch_access(&scene.account, question.clone(), None, AT_ONCE);
        Self {
            question,
            watch: watch.await.expect("a watch"),
            lists: BTreeMap::new(),
            listings: 0,
        }
    }

    /// Loses the watch, and goes on after what it was told last.
    async fn reconnect(&mut self, scene: &Scene) {
        let (head, at) = self.watch.position().expect("something was told");
        let token = scene.directory.graphs().token(&scene.account, head);
        let held = Some((token, at));
        let watch =
            scene
                .directory
                .watch_access(&scene.account, self.question.clone(), held, AT_ONCE);
        self.watch = watch.await.expect("a watch");
    }

    /// Applies all that is told until nothing is due.
    async fn catch_up(&mut self) {
        loop {
            let moment = match self.watch.next().await.expect("an event") {
                Due::Heartbeat => return,
                Due::List(moment) => {
                    self.lists.clear();
                    self.listings += 1;
                    moment
                }
                Due::Change(moment) => moment,
            };
            let (sender, mut parts) = mpsc::channel::<Vec<VisibilityChange>>(1);
            let apply = async {
                while let Some(part) = parts.recv().await {
                    for change in part {
                        let list = self.lists.entry(change.user.to_string()).or_default();
                        list.extend(change.visible.iter().map(str::to_owned));
                        for hidden in change.hidden.iter() {
                            list.remove(hidden);
                        }
                    }
                }
            };
            let (told, ()) = tokio::join!(self.watch.tell(moment, sender), apply);
            told.expect("it is told");
        }
    }

    fn check(&self, scene: &Scene, catalog: &CatalogCase) {
        let world = World::new(&catalog.suite, &scene.entities);
        let at = scene.clock.now();
        let (of, action) = (
            self.question.resource_type.as_str(),
            self.question.action.as_str(),
        );
        for user in USERS {
            let is_followed = self
                .question
                .user
                .as_ref()
                .is_none_or(|only| only.as_str() == user);
            let plain = Narrowing::default();
            let expected: BTreeSet<&str> = match is_followed {
                true => world
                    .list(user, of, action, plain, at)
                    .into_iter()
                    .collect(),
                false => BTreeSet::new(),
            };
            let told = self.lists.get(user).into_iter().flatten();
            let told: BTreeSet<&str> = told.map(String::as_str).collect();
            assert_eq!(told, expected, "{user} {of}.{action} at {at}");
        }
    }
}

async fn watched(maker: &mut Maker<'_>, catalog: &CatalogCase) -> (usize, usize) {
    let mut scene = Scene::of(maker).await;
    let mut callers = Vec::new();
    for everybody in [true, false, false] {
        let resource_type = maker.a_type();
        let action = maker
            .dice
            .pick(&catalog.suite.types[&resource_type].actions)
            .clone();
        let user = (!everybody).then(|| id(USERS[maker.dice.below(USERS.len())]));
        let question = Question {
            user,
            resource_type: id(&resource_type),
            action: id(&action),
        };
        callers.push(Caller::of(&scene, question).await);
    }
    let mut reconnected = 0;
    for _ in 0..12 {
        for caller in &mut callers {
            caller.catch_up().await;
            caller.check(&scene, catalog);
        }
        match maker.dice.below(3) {
            0 => scene.write(maker).await,
            1 => scene.clock.advance(Duration::from_micros(1)),
            _ => {
                scene.write(maker).await;
                scene.clock.advance(Duration::from_micros(1));
            }
        }
        scene.follow().await;
        for caller in &mut callers {
            if maker.dice.chance(30) {
                caller.reconnect(&scene).await;
                reconnected += 1;
            }
        }
    }
    let listings = callers.iter().map(|caller| caller.listings - 1).sum();
    (reconnected, listings)
}

#[tokio::test]
async fn what_a_watch_tells_over_the_first_list_is_every_later_list() {
    let catalogs = catalogs();
    let (mut reconnected, mut relisted) = (0, 0);
    for seed in seeds(24_000, 12) {
        let catalog = catalog_of(seed, &catalogs);
        println!(
            "catalog {}; replay with AMBIT_PROPERTY_SEED={seed}",
            catalog.name
        );
        let mut maker = Maker::new(seed, catalog);
        let (again, anew) = watched(&mut maker, catalog).await;
        reconnected += again;
        relisted += anew;
    }
    // Some are taken up where they ended, and some begin anew.
    println!("{reconnected} reconnected, {relisted} of them with a list");
    let is_replay = std::env::var_os("AMBIT_PROPERTY_SEED").is_some();
    assert!(is_replay || (relisted > 0 && relisted < reconnected));
}
