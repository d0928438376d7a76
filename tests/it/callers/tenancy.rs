//! Case 35: an account that a caller may not name is answered like one that is not there, by every
//! rpc, and nothing is asked of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ambit::callers::Role;
use ambit::grpc::status::Reason;
use ambit::grpc::wire as messages;
use tonic::{Code, Status};
use tracing::span::{Attributes, Id};
use tracing_subscriber::layer::{Context, SubscriberExt as _};

use super::wire::{Method, call, methods, with};
use super::{FOREIGN, MINE, Scene, UNKNOWN, make, some_changes};
use crate::grpc::reason;
use crate::grpc::server::{at_least, check};

/// Counts the calls of the store on this thread, which every one of them opens a span for. The feed
/// and its kind run on another.
#[derive(Clone, Default)]
struct StoreCalls(Arc<AtomicU64>);

impl StoreCalls {
    fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for StoreCalls {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let name = attributes.metadata().name();
        if name == "store" || name.starts_with("store.") {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Texts that make most requests well-formed.
const TEXTS: &[(&str, &str)] = &[
    ("user_id", "u"),
    ("action", "view"),
    ("resource_type", "contact"),
    ("resource_id", "c"),
    ("access_request_id", "019a0000-0000-7000-8000-000000000000"),
    ("approver_user_id", "sa"),
    ("reason", "because"),
    ("plan", "enterprise"),
    ("import_key", "key"),
    ("destination", "webhook:crm"),
    ("batch_id", "batch"),
    ("job", "job"),
];

fn message(method: &Method, account: &str) -> Vec<u8> {
    let mut texts = vec![("account_id", account)];
    texts.extend(TEXTS);
    method.message(&texts)
}

/// All that a caller is told, bytes of the details included, but for the account that it named.
fn told(status: &Status, account: &str) -> (Code, String, Vec<u8>) {
    let mut details = status.details().to_vec();
    let name = account.as_bytes();
    for at in 0..details.len().saturating_sub(name.len() - 1) {
        if details[at..].starts_with(name) {
            details[at..at + name.len()].copy_from_slice(b"####");
        }
    }
    let message = status.message().replace(account, "####");
    (status.code(), message, details)
}

// One thread, so that all that answers a call is counted.
#[tokio::test]
async fn case_35_a_foreign_account_is_like_one_that_is_not_there_and_is_not_asked_about() {
    let calls = StoreCalls::default();
    let subscriber = tracing_subscriber::registry().with(calls.clone());
    let _counting = tracing::subscriber::set_default(subscriber);
    // A subscriber that is alone in the process is asked whether it wants a span by the thread that
    // comes to it first, which may be one without any, and then the answer holds for all threads.
    // Where there are two, both are asked.
    let _other = tracing::dispatcher::Dispatch::new(tracing_subscriber::registry());
    let mine = make(&[Role::Admin], &[MINE]);
    let all = make(&[Role::Admin], &[]);
    let scene = Scene::with(&[&mine, &all]).await;
    let channel = &scene.server.channel;
    let methods = methods(channel, Some(&mine.text)).await.unwrap();
    let named: Vec<&Method> = methods
        .iter()
        .filter(|method| method.names_an_account())
        .collect();
    assert!(named.len() >= 35, "only {} methods", named.len());
    let loads = scene.loads().await;
    let before = calls.count();
    let mut alike_to_all = 0;
    for method in &named {
        let ask = async |account: &str, token: &str| {
            call(
                channel,
                &method.path,
                &message(method, account),
                Some(token),
            )
            .await
        };
        let foreign = ask(FOREIGN, &mine.text).await.unwrap_err();
        let unknown = ask(UNKNOWN, &mine.text).await.unwrap_err();
        assert_eq!(
            told(&foreign, FOREIGN),
            told(&unknown, UNKNOWN),
            "{}",
            method.path
        );
        assert_eq!(
            Reason::of(&foreign),
            Some(Reason::AccountNotFound),
            "{}: {foreign:?}",
            method.path
        );
    }
    assert_eq!(calls.count(), before, "something was asked of the store");
    assert_eq!(scene.loads().await, loads, "an account was loaded");
    // Whoever may name every account is told just the same of one that is not there.
    for method in named
        .iter()
        .filter(|method| !method.path.ends_with("/CreateAccount"))
    {
        let (foreign, unknown) = (message(method, FOREIGN), message(method, UNKNOWN));
        let foreign = call(channel, &method.path, &foreign, Some(&mine.text)).await;
        let foreign = foreign.unwrap_err();
        let unknown = call(channel, &method.path, &unknown, Some(&all.text)).await;
        if let Err(status) = unknown
            && Reason::of(&status) == Some(Reason::AccountNotFound)
            && told(&status, UNKNOWN) == told(&foreign, FOREIGN)
        {
            alike_to_all += 1;
        }
    }
    assert!(alike_to_all >= 25, "only {alike_to_all} are alike");
    // The control: what is the caller's own is asked about, and counted.
    let path = "/ambit.v1.DecisionService/Check";
    let method = named.iter().find(|method| method.path == path).unwrap();
    let own = call(channel, path, &message(method, MINE), Some(&mine.text)).await;
    assert!(own.is_ok(), "{own:?}");
    assert!(calls.count() > before);
    assert!(scene.loads().await > loads);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_belongs_to_a_foreign_account_opens_nothing_and_is_not_listed() {
    let mine = make(&[Role::Admin], &[MINE, "gone"]);
    let all = make(&[Role::Admin], &[]);
    let scene = Scene::with(&[&mine, &all]).await;
    let (mine, all) = (Some(mine.text.as_str()), Some(all.text.as_str()));
    let mut directory = scene.server.directory();
    let list = messages::ListAccountsRequest::default();
    let listed = directory
        .list_accounts(with(list.clone(), mine))
        .await
        .unwrap();
    let names = |listed: messages::ListAccountsResponse| -> Vec<String> {
        let accounts = listed.accounts.into_iter();
        accounts.map(|account| account.account_id).collect()
    };
    assert_eq!(names(listed.into_inner()), [MINE]);
    // Nor does the page token of one who may see more carry there.
    let page = messages::ListAccountsRequest {
        page_size: 1,
        ..list.clone()
    };
    let first = directory
        .list_accounts(with(page, all))
        .await
        .unwrap()
        .into_inner();
    let next = messages::ListAccountsRequest {
        page_token: first.next_page_token,
        ..list.clone()
    };
    let second = directory
        .list_accounts(with(next.clone(), mine))
        .await
        .unwrap();
    assert_eq!(names(second.into_inner()), [""; 0]);
    let second = directory.list_accounts(with(next, all)).await.unwrap();
    assert_eq!(names(second.into_inner()), [FOREIGN]);
    // A deletion that may find nothing finds nothing.
    let delete = messages::DeleteAccountRequest {
        account_id: FOREIGN.to_owned(),
        allow_missing: true,
        ..messages::DeleteAccountRequest::default()
    };
    assert!(directory.delete_account(with(delete, mine)).await.is_ok());
    // A revision of the foreign account is no way to it, and none into the own.
    let mut decisions = scene.server.decisions();
    let carried = |account: &str| messages::CheckRequest {
        consistency: at_least(&scene.revision),
        ..check(account, "c")
    };
    let foreign = decisions.check(with(carried(FOREIGN), mine)).await;
    assert_eq!(reason(foreign), Reason::AccountNotFound);
    let own = decisions.check(with(carried(MINE), mine)).await;
    assert_eq!(reason(own), Reason::RevisionOfAnotherAccount);
    let control = decisions.check(with(carried(FOREIGN), all)).await;
    assert!(control.is_ok(), "the account is still there: {control:?}");
    // Writes are refused in the header of a stream.
    let write = |account: &str| messages::ApplyChangesRequest {
        account_id: account.to_owned(),
        changes: some_changes(),
        ..messages::ApplyChangesRequest::default()
    };
    let foreign = directory.apply_changes(with(tokio_stream::once(write(FOREIGN)), mine));
    assert_eq!(reason(foreign.await), Reason::AccountNotFound);
    let own = directory.apply_changes(with(tokio_stream::once(write(MINE)), mine));
    assert!(own.await.is_ok());
}

/// `write` alone writes for a user, who must be named; inline facts are for admins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_message_asks_for_needs_its_role_too() {
    let write = make(&[Role::Write, Role::Check], &[]);
    let admin = make(&[Role::Admin], &[]);
    let scene = Scene::with(&[&write, &admin]).await;
    let (write, admin) = (Some(write.text.as_str()), Some(admin.text.as_str()));
    let mut directory = scene.server.directory();
    let changes = |actor: &str| {
        tokio_stream::once(messages::ApplyChangesRequest {
            account_id: MINE.to_owned(),
            actor_user_id: actor.to_owned(),
            changes: some_changes(),
            ..messages::ApplyChangesRequest::default()
        })
    };
    let unnamed = directory.apply_changes(with(changes(""), write)).await;
    assert_eq!(reason(unnamed), Reason::ActorRequired);
    let named = directory.apply_changes(with(changes("sa"), write)).await;
    assert!(named.is_ok(), "{named:?}");
    assert!(
        directory
            .apply_changes(with(changes(""), admin))
            .await
            .is_ok()
    );

    let mut decisions = scene.server.decisions();
    let facts = Some(messages::ResourceFacts::default());
    let described = messages::CheckRequest {
        resource_facts: facts.clone(),
        ..check(MINE, "c")
    };
    let refused = decisions.check(with(described.clone(), write)).await;
    assert_eq!(reason(refused), Reason::RoleMissing);
    assert!(decisions.check(with(check(MINE, "c"), write)).await.is_ok());
    assert!(decisions.check(with(described, admin)).await.is_ok());
    // An item of a batch with facts spoils no other.
    let item = messages::BatchCheckItem {
        user_id: "u".to_owned(),
        action: "view".to_owned(),
        resource_type: "contact".to_owned(),
        resource_id: "c".to_owned(),
        ..messages::BatchCheckItem::default()
    };
    let batch = messages::BatchCheckRequest {
        account_id: MINE.to_owned(),
        items: vec![
            item.clone(),
            messages::BatchCheckItem {
                resource_facts: facts,
                ..item
            },
        ],
        ..messages::BatchCheckRequest::default()
    };
    let answered = decisions.batch_check(with(batch, write)).await.unwrap();
    let failed: Vec<bool> = answered
        .into_inner()
        .results
        .iter()
        .map(|result| {
            let error = result.error.as_ref();
            error.is_some_and(|error| error.reason == "ROLE_MISSING")
        })
        .collect();
    assert_eq!(failed, [false, true]);
}

impl Scene {
    /// Loads of whole accounts so far.
    async fn loads(&self) -> u64 {
        let text = crate::callers::tokens::get(self.server.http, "/metrics").await;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("ambit_graph_loads_total "))
            .unwrap_or_else(|| panic!("no loads in {text}"));
        line.parse().unwrap()
    }
}
