//! Random accounts behind a running server: every rpc of the decision service is asked, all of them
//! at the same time, and each answer is the oracle's. The accounts are written by another handle on
//! the same file, as another process would.

use std::collections::BTreeMap;
use std::sync::Arc;

use ambit::app::App;
use ambit::authz::access_set::{self, Narrowing};
use ambit::authz::decision::{Decision, ResourceFacts, Target};
use ambit::authz::graph::AccountGraph;
use ambit::authz::model::{Entity, EntityChange, Id, Level, Principal, Timestamp};
use ambit::clock::SystemClock;
use ambit::config::Config;
use ambit::grpc::wire::{self, consistency::Requirement};
use ambit::shutdown::Shutdown;
use ambit::store::audit::Author;
use ambit::store::{Store, Write};
use prost_types::Timestamp as WireTime;
use tonic::transport::Channel;

use super::storable::{difference, storable};
use super::worlds::{CatalogCase, Maker, RESOURCES, USERS, catalog_of, id};
use super::{build, catalogs, described, seeds, targets};
use crate::database::Database;
use crate::oracle::{Answer, World};

type Client = wire::decision_service_client::DecisionServiceClient<Channel>;

/// One question of every user, action and target.
#[derive(Clone)]
struct Question<'q> {
    user: &'q str,
    of: &'q str,
    action: &'q str,
    target: Target<'q>,
}

impl Question<'_> {
    fn resource_id(&self) -> String {
        match self.target {
            Target::Tool => String::new(),
            Target::Resource(id) | Target::Described(id, _) => id.to_owned(),
        }
    }
}

/// An account as the server has it, and what it must answer.
struct Served<'s> {
    account: String,
    types: &'s [String],
    world: World<'s>,
    /// The account in this process, for what the oracle does not say: `valid_until`.
    graph: &'s AccountGraph,
    described: &'s [(&'s str, ResourceFacts)],
    at: Timestamp,
    consistency: Option<wire::Consistency>,
}

fn wire_time(at: Timestamp) -> WireTime {
    let micros = at.unix_micros();
    WireTime {
        seconds: micros.div_euclid(1_000_000),
        nanos: i32::try_from(micros.rem_euclid(1_000_000) * 1_000).expect("below a second"),
    }
}

fn wire_facts(target: Target<'_>) -> Option<wire::ResourceFacts> {
    let Target::Described(_, facts) = target else {
        return None;
    };
    let principal = |principal: &Principal| {
        use wire::principal::Principal as Kind;
        let id = principal.id().to_string();
        wire::Principal {
            principal: Some(match principal {
                Principal::User(_) => Kind::UserId(id),
                Principal::Team(_) => Kind::TeamId(id),
                Principal::Group(_) => Kind::AccessGroupId(id),
            }),
        }
    };
    Some(wire::ResourceFacts {
        owners: facts.owners.iter().map(Id::to_string).collect(),
        owning_team: facts
            .owning_team
            .as_ref()
            .map(Id::to_string)
            .unwrap_or_default(),
        // False together with assignments is refused.
        partitioned: (facts.partitioned || facts.assigned_to.is_empty())
            .then_some(facts.partitioned),
        assigned_to: facts
            .assigned_to
            .iter()
            .map(|assignment| wire::DescribedAssignment {
                principal: Some(principal(&assignment.principal)),
                expires_at: assignment.expires_at.map(wire_time),
            })
            .collect(),
    })
}

/// The words of an answer, as the names of the wire end: `ALLOW NOT_OWNER OBJECT BLOCKED_PAGE`.
fn words(answer: Answer) -> String {
    format!(
        "{} {} {} {} {} {}",
        answer.effect,
        answer.reason,
        answer.level,
        answer.include_unassigned,
        answer.requestable,
        answer.presentation
    )
    .to_uppercase()
}

fn level_word(level: i32) -> String {
    let name = wire::Level::try_from(level).expect("a level").as_str_name();
    name.trim_start_matches("LEVEL_").to_owned()
}

fn result_words(result: &wire::BatchCheckResult) -> String {
    let decision = wire::Decision::try_from(result.decision).expect("a decision");
    let requestable = wire::Requestable::try_from(result.requestable).expect("a requestable");
    let presentation = wire::Presentation::try_from(result.presentation).expect("a presentation");
    format!(
        "{} {} {} {} {} {}",
        decision.as_str_name().trim_start_matches("DECISION_"),
        result.reason,
        level_word(result.level),
        result.include_unassigned.to_string().to_uppercase(),
        requestable.as_str_name().trim_start_matches("REQUESTABLE_"),
        presentation
            .as_str_name()
            .trim_start_matches("PRESENTATION_")
    )
}

impl Served<'_> {
    fn questions(&self) -> Vec<Question<'_>> {
        let mut questions = Vec::new();
        for of in self.types {
            for action in &self.world.suite.types[of].actions {
                for user in USERS {
                    questions.extend(targets(self.described).into_iter().map(|target| Question {
                        user,
                        of,
                        action,
                        target,
                    }));
                }
            }
        }
        questions
    }

    fn expected(&self, question: &Question<'_>) -> String {
        let Question {
            user,
            of,
            action,
            target,
        } = *question;
        words(self.world.check(user, of, action, target, self.at))
    }

    fn decision(&self, question: &Question<'_>) -> Decision {
        let Question {
            user,
            of,
            action,
            target,
        } = *question;
        access_set::check(self.graph, user, of, action, target, self.at)
            .expect("type and action are known")
    }

    fn told(&self, question: &Question<'_>) -> String {
        format!(
            "{} {} {}.{} {:?} at {}\n  account {:?}\n  user {:?}",
            self.account,
            question.user,
            question.of,
            question.action,
            question.target,
            self.at,
            self.world.account,
            self.world.users.get(question.user)
        )
    }

    async fn batch_check(&self, mut client: Client) {
        let questions = self.questions();
        for chunk in questions.chunks(5_000) {
            let items = chunk
                .iter()
                .map(|question| wire::BatchCheckItem {
                    user_id: question.user.to_owned(),
                    action: question.action.to_owned(),
                    resource_type: question.of.to_owned(),
                    resource_id: question.resource_id(),
                    resource_facts: wire_facts(question.target),
                    at: None,
                })
                .collect();
            let response = client
                .batch_check(wire::BatchCheckRequest {
                    account_id: self.account.clone(),
                    items,
                    at: Some(wire_time(self.at)),
                    consistency: self.consistency.clone(),
                })
                .await
                .expect("a batch is answered")
                .into_inner();
            assert_eq!(response.results.len(), chunk.len());
            for (question, result) in chunk.iter().zip(&response.results) {
                let told = || self.told(question);
                assert_eq!(result.error, None, "{}", told());
                assert_eq!(result_words(result), self.expected(question), "{}", told());
                let until = self.decision(question).valid_until.map(wire_time);
                assert_eq!(result.valid_until, until, "{}", told());
            }
        }
    }

    /// Single checks and explanations of every 17th question.
    async fn check_and_explain(&self, mut client: Client) {
        for question in self.questions().iter().step_by(17) {
            let told = || self.told(question);
            let request = wire::CheckRequest {
                account_id: self.account.clone(),
                user_id: question.user.to_owned(),
                action: question.action.to_owned(),
                resource_type: question.of.to_owned(),
                resource_id: question.resource_id(),
                resource_facts: wire_facts(question.target),
                at: Some(wire_time(self.at)),
                consistency: self.consistency.clone(),
                explain: true,
            };
            let explained = client
                .explain(wire::ExplainRequest {
                    account_id: request.account_id.clone(),
                    user_id: request.user_id.clone(),
                    action: request.action.clone(),
                    resource_type: request.resource_type.clone(),
                    resource_id: request.resource_id.clone(),
                    resource_facts: request.resource_facts.clone(),
                    at: request.at,
                    consistency: request.consistency.clone(),
                })
                .await
                .expect("an explanation")
                .into_inner();
            let checked = client.check(request).await.expect("a check").into_inner();
            let as_result = wire::BatchCheckResult {
                decision: checked.decision,
                reason: checked.reason,
                level: checked.level,
                include_unassigned: checked.include_unassigned,
                requestable: checked.requestable,
                presentation: checked.presentation,
                pending_access_request_id: checked.pending_access_request_id,
                valid_until: checked.valid_until,
                error: None,
            };
            assert_eq!(
                result_words(&as_result),
                self.expected(question),
                "{}",
                told()
            );
            assert_eq!(checked.explanation, explained.explanation, "{}", told());
            let explanation = explained.explanation.expect("it was asked for");
            assert!(!explanation.summary.is_empty(), "{}", told());
            let explained = wire::BatchCheckResult {
                decision: explained.decision,
                reason: explained.reason,
                level: explained.level,
                include_unassigned: explained.include_unassigned,
                requestable: explained.requestable,
                presentation: explained.presentation,
                pending_access_request_id: explained.pending_access_request_id,
                valid_until: explained.valid_until,
                error: None,
            };
            assert_eq!(explained, as_result, "{}", told());
        }
    }

    /// Whole and paged lists, and the filter of the same ids.
    async fn list_and_filter(&self, mut client: Client) {
        for of in self.types {
            for action in &self.world.suite.types[of].actions {
                for user in USERS {
                    let plain = Narrowing::default();
                    let expected = self.world.list(user, of, action, plain, self.at);
                    let request = wire::ListAccessibleRequest {
                        account_id: self.account.clone(),
                        user_id: user.to_owned(),
                        action: action.clone(),
                        resource_type: of.clone(),
                        at: Some(wire_time(self.at)),
                        consistency: self.consistency.clone(),
                        ..wire::ListAccessibleRequest::default()
                    };
                    let told = || format!("{} {user} {of}.{action} at {}", self.account, self.at);
                    let (mut all, total, _) = list(&mut client, request.clone()).await;
                    all.sort_unstable();
                    assert_eq!(all, expected, "{}", told());
                    assert_eq!(total, expected.len() as u64, "{}", told());
                    let mut pages: Vec<String> = Vec::new();
                    let mut page_token = String::new();
                    loop {
                        let page = wire::ListAccessibleRequest {
                            page_size: 2,
                            page_token,
                            ..request.clone()
                        };
                        let (ids, total, next) = list(&mut client, page).await;
                        assert!(ids.len() <= 2, "{}", told());
                        assert_eq!(total, expected.len() as u64, "{}", told());
                        pages.extend(ids);
                        if next.is_empty() {
                            break;
                        }
                        page_token = next;
                    }
                    assert_eq!(pages, expected, "pages, {}", told());

                    let asked: Vec<String> = RESOURCES
                        .iter()
                        .rev()
                        .chain(&["a"])
                        .map(|&id| id.to_owned())
                        .collect();
                    // By the single check: a reserved action and `create` allow an unknown id too.
                    let kept: Vec<String> = asked
                        .iter()
                        .filter(|id| {
                            let target = Target::Resource(id);
                            self.world.check(user, of, action, target, self.at).allows()
                        })
                        .cloned()
                        .collect();
                    let filtered = client
                        .filter_accessible(wire::FilterAccessibleRequest {
                            account_id: self.account.clone(),
                            user_id: user.to_owned(),
                            action: action.clone(),
                            resource_type: of.clone(),
                            resource_ids: asked,
                            at: Some(wire_time(self.at)),
                            consistency: self.consistency.clone(),
                        })
                        .await
                        .expect("a filter is answered")
                        .into_inner();
                    assert_eq!(filtered.ids, kept, "filter, {}", told());
                }
            }
        }
    }

    async fn who(&self, mut client: Client) {
        for of in self.types {
            for action in &self.world.suite.types[of].actions {
                for target in targets(self.described).into_iter().step_by(3) {
                    let question = Question {
                        user: "",
                        of,
                        action,
                        target,
                    };
                    let mut stream = client
                        .list_users_with_access(wire::ListUsersWithAccessRequest {
                            account_id: self.account.clone(),
                            action: action.clone(),
                            resource_type: of.clone(),
                            resource_id: question.resource_id(),
                            resource_facts: wire_facts(target),
                            at: Some(wire_time(self.at)),
                            consistency: self.consistency.clone(),
                        })
                        .await
                        .expect("a list is answered")
                        .into_inner();
                    let mut users = Vec::new();
                    let mut total = None;
                    while let Some(chunk) = stream.message().await.expect("a chunk") {
                        total = total.or(chunk.total);
                        users.extend(chunk.users.into_iter().map(|user| {
                            format!(
                                "{} {} {}",
                                user.user_id,
                                user.reason,
                                level_word(user.level)
                            )
                        }));
                    }
                    let expected: Vec<String> = self
                        .world
                        .who(of, action, target, self.at)
                        .iter()
                        .map(|(user, answer)| {
                            let level = answer.level.to_string().to_uppercase();
                            format!("{user} {} {level}", answer.reason)
                        })
                        .collect();
                    assert_eq!(
                        total,
                        Some(expected.len() as u64),
                        "{}",
                        self.told(&question)
                    );
                    assert_eq!(users, expected, "{}", self.told(&question));
                }
            }
        }
    }

    async fn actions(&self, mut client: Client) {
        for of in self.types {
            for user in USERS {
                for target in targets(self.described).into_iter().step_by(2) {
                    let question = Question {
                        user,
                        of,
                        action: "any",
                        target,
                    };
                    let response = client
                        .list_actions(wire::ListActionsRequest {
                            account_id: self.account.clone(),
                            user_id: user.to_owned(),
                            resource_type: of.clone(),
                            resource_id: question.resource_id(),
                            resource_facts: wire_facts(target),
                            at: Some(wire_time(self.at)),
                            consistency: self.consistency.clone(),
                        })
                        .await
                        .expect("actions are answered")
                        .into_inner();
                    let allowed: BTreeMap<String, String> = response
                        .actions
                        .into_iter()
                        .map(|action| (action.action, action.reason))
                        .collect();
                    let expected: BTreeMap<String, String> = self
                        .world
                        .actions(user, of, target, self.at)
                        .into_iter()
                        .map(|(action, answer)| (action.to_owned(), answer.reason.to_string()))
                        .collect();
                    assert_eq!(allowed, expected, "{}", self.told(&question));
                }
            }
        }
    }

    /// Advisory 2: all rpcs at the same time, on the same users and resources.
    async fn compare(&self, client: &Client) {
        tokio::join!(
            self.batch_check(client.clone()),
            self.check_and_explain(client.clone()),
            self.list_and_filter(client.clone()),
            self.who(client.clone()),
            self.actions(client.clone()),
        );
    }
}

/// Ids, total and the token of the next page.
async fn list(
    client: &mut Client,
    request: wire::ListAccessibleRequest,
) -> (Vec<String>, u64, String) {
    let mut stream = client
        .list_accessible(request)
        .await
        .expect("a list is answered")
        .into_inner();
    let (mut ids, mut total, mut next) = (Vec::new(), None, String::new());
    while let Some(chunk) = stream.message().await.expect("a chunk") {
        total = total.or(chunk.total);
        ids.extend(chunk.ids);
        next = chunk.next_page_token;
    }
    (ids, total.expect("the first message has the total"), next)
}

/// A server on a directory of its own, with a client and a second writer on its file.
struct Running {
    client: Client,
    writer: Arc<dyn Store>,
    shutdown: Shutdown,
    ended: tokio::task::JoinHandle<()>,
    _database: Database,
}

impl Running {
    async fn start() -> Self {
        let database = Database::new();
        let (setting, place) = database.setting();
        let flags = BTreeMap::from([
            (setting.to_owned(), place.to_owned()),
            ("grpc_address".to_owned(), "127.0.0.1:0".to_owned()),
            ("http_address".to_owned(), "127.0.0.1:0".to_owned()),
        ]);
        let config = Config::load(&flags, [], None).expect("a configuration");
        let shutdown = Shutdown::new();
        let app = App::start(&config, Arc::new(SystemClock::new()), shutdown.clone())
            .await
            .expect("a server");
        let client = Client::connect(format!("http://{}", app.grpc_address()))
            .await
            .expect("a connection")
            .max_decoding_message_size(64 << 20);
        let writer = database.open().await;
        let ended = tokio::spawn(async move { app.run().await.expect("a clean end") });
        Self {
            client,
            writer,
            shutdown,
            ended,
            _database: database,
        }
    }

    async fn write(&self, account: &str, changes: &[EntityChange]) {
        let account = id(account);
        let expected = self.writer.head(&account).await.expect("the head");
        self.writer
            .apply(Write {
                account: &account,
                expected,
                changes,
                events: &[],
                batch: None,
                idempotency: None,
                author: &Author::anyone("ApplyChanges"),
            })
            .await
            .expect("the changes are written");
    }

    async fn stop(self) {
        drop(self.client);
        self.shutdown.begin();
        self.ended.await.expect("the server ends");
    }
}

/// The states of one account, and its questions.
fn states<'c>(seed: u64, catalog: &'c CatalogCase, account: &str) -> (Maker<'c>, [Vec<Entity>; 2]) {
    let mut maker = Maker::new(seed, catalog);
    let states = [(), ()].map(|()| storable(account, maker.account()));
    (maker, states)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rpc_answers_as_the_rule_book_says() {
    let catalogs = catalogs();
    let running = Running::start().await;
    for seed in seeds(9_000, 4) {
        let catalog = catalog_of(seed, &catalogs);
        let account = format!("account-{seed}");
        let (mut maker, states) = states(seed, catalog, &account);
        let described = described(&mut maker);
        let mut before: Vec<Entity> = Vec::new();
        for state in &states {
            running.write(&account, &difference(&before, state)).await;
            let graph = build(state, &mut maker.dice);
            let served = Served {
                account: account.clone(),
                types: &maker.types,
                world: World::new(&catalog.suite, state),
                graph: &graph,
                described: &described,
                at: maker.dice.moment(1),
                // Another process wrote, so only this asks for what it wrote last.
                consistency: Some(wire::Consistency {
                    requirement: Some(Requirement::FullyConsistent(true)),
                }),
            };
            served.compare(&running.client).await;
            before.clone_from(state);
        }
    }
    running.stop().await;
}

#[test]
fn levels_have_the_names_of_the_wire() {
    for (level, word) in [
        (Level::None, wire::Level::None),
        (Level::Owned, wire::Level::Owned),
        (Level::Team, wire::Level::Team),
        (Level::Everything, wire::Level::Everything),
    ] {
        assert_eq!(level_word(word as i32), level.as_str().to_uppercase());
    }
}
