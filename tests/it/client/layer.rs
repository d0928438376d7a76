//! The example service over HTTP: who gets in, what a denial shows, what is read after a write, and
//! that nothing passes where nobody knows.

use std::net::Ipv4Addr;
use std::time::Duration;

use ambit::client::{Client, RetryPolicy};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::NORTHWIND;
use super::pair::{Pair, client};
use super::service::{Contacts, routes};
use crate::faults::replica::Replica;
use crate::postgres::cluster;

/// The service in this process, on a port of its own.
struct Service {
    url: String,
    http: reqwest::Client,
    serving: JoinHandle<()>,
}

struct Answer {
    status: StatusCode,
    kind: String,
    revision: Option<String>,
    body: Value,
}

impl Service {
    async fn start(contacts: Contacts) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            axum::serve(listener, routes(contacts)).await.unwrap();
        });
        Self {
            url,
            http: reqwest::Client::new(),
            serving,
        }
    }

    async fn call(&self, method: Method, path: &str, user: &str, body: Option<Value>) -> Answer {
        self.call_since(method, path, user, body, None).await
    }

    async fn call_since(
        &self,
        method: Method,
        path: &str,
        user: &str,
        body: Option<Value>,
        revision: Option<&str>,
    ) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if !user.is_empty() {
            request = request.header("x-user", user);
        }
        if let Some(revision) = revision {
            request = request.header("x-revision", revision);
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let header = |name: &str| {
            let value = answer.headers().get(name)?;
            Some(value.to_str().unwrap().to_owned())
        };
        Answer {
            status: answer.status(),
            kind: header("content-type").unwrap_or_default(),
            revision: header("x-revision"),
            body: serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null),
        }
    }

    async fn get(&self, path: &str, user: &str) -> Answer {
        self.call(Method::GET, path, user, None).await
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Contacts of the demo account.
fn northwind(client: Client) -> Contacts {
    let contacts = Contacts::new("northwind", client);
    for (id, name) in [
        ("bosch", "Bosch"),
        ("michelin", "Michelin"),
        ("siemens", "Siemens"),
    ] {
        contacts.keep(id, name);
    }
    contacts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_run_behind_their_check_and_never_without() {
    let database = cluster::Database::empty();
    let replica = Replica::start(database.url()).await;
    let asking = client(&replica.server);
    asking.apply_documents(NORTHWIND).await.unwrap();
    let service = Service::start(northwind(asking)).await;

    // Who may, may.
    let shown = service.get("/contacts/bosch", "lena").await;
    assert_eq!(shown.status, StatusCode::OK);
    assert_eq!(shown.body, json!({"id": "bosch", "name": "Bosch"}));
    let renamed = json!({"name": "Robert Bosch"});
    let put = service
        .call(Method::PUT, "/contacts/bosch", "lena", Some(renamed))
        .await;
    assert_eq!(put.status, StatusCode::OK);
    // The id is read once, also where it is written in a roundabout way.
    let shown = service.get("/contacts/b%6Fsch", "lena").await;
    assert_eq!(shown.body["name"], "Robert Bosch");

    // Who may not, sees how to show it.
    let defaced = json!({"name": "Defaced"});
    let put = service
        .call(
            Method::PUT,
            "/contacts/bosch",
            "sofia",
            Some(defaced.clone()),
        )
        .await;
    assert_eq!(put.status, StatusCode::FORBIDDEN);
    assert_eq!(put.kind, "application/problem+json");
    let expected = json!({
        "title": "Forbidden", "status": 403, "detail": "the user may not do this",
        "reason": "NOT_OWNER", "requestable": "object", "presentation": "blocked_page",
    });
    assert_eq!(put.body["reason"], expected["reason"]);
    assert_eq!(put.body["requestable"], expected["requestable"]);
    let deleted = service
        .call(Method::DELETE, "/contacts/bosch", "lena", None)
        .await;
    assert_eq!(deleted.status, StatusCode::FORBIDDEN);

    // What is no question is none.
    assert_eq!(
        service.get("/contacts/bosch", "").await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        service.get("/contacts/a%0Ab", "lena").await.status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        service.get("/contacts/%FF", "lena").await.status,
        StatusCode::BAD_REQUEST
    );

    // The list is what the checks allow.
    let listed = service.get("/contacts", "claire").await;
    let ids: Vec<&str> = listed
        .body
        .as_array()
        .unwrap()
        .iter()
        .map(|contact| contact["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["michelin", "siemens"]);
    for id in ["bosch", "michelin", "siemens"] {
        let status = service
            .get(&format!("/contacts/{id}"), "claire")
            .await
            .status;
        assert_eq!(status == StatusCode::OK, ids.contains(&id), "{id}");
    }

    // The server is killed, and nothing passes any more, whoever asks.
    drop(replica);
    for (method, path, body) in [
        (Method::GET, "/contacts/bosch", None),
        (Method::PUT, "/contacts/bosch", Some(defaced)),
        (Method::DELETE, "/contacts/bosch", None),
        (
            Method::POST,
            "/contacts",
            Some(json!({"id": "new", "name": "New"})),
        ),
        (Method::GET, "/contacts", None),
    ] {
        let answer = service.call(method.clone(), path, "ada", body).await;
        assert_eq!(
            answer.status,
            StatusCode::SERVICE_UNAVAILABLE,
            "{method} {path}"
        );
        assert_eq!(answer.kind, "application/problem+json");
        assert!(
            !answer.body.to_string().contains("127.0.0.1"),
            "{}",
            answer.body
        );
    }
    // The server is back: nothing of what could not be checked was done.
    let replica = Replica::start(database.url()).await;
    let again = Contacts::new("northwind", client(&replica.server));
    again.keep("bosch", "Robert Bosch");
    let service = Service::start(again).await;
    let listed = service.get("/contacts", "ada").await.body;
    assert_eq!(listed, json!([{"id": "bosch", "name": "Robert Bosch"}]));
}

/// Two instances of the service, each beside a replica of its own; the second one's is late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_is_read_on_another_replica() {
    let pair = Pair::start().await;
    pair.delay(Duration::from_millis(25));
    let one = Service::start(northwind(client(&pair.near.server))).await;
    let far_contacts = Contacts::new("northwind", client(&pair.far.server));
    far_contacts.keep("bosch", "Bosch");
    let other = Service::start(far_contacts.clone()).await;

    let mut late = 0;
    for round in 0..10 {
        let id = format!("new-{round}");
        let new = json!({"id": id, "name": "New"});
        let made = one.call(Method::POST, "/contacts", "lena", Some(new)).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        let revision = made.revision.unwrap();
        far_contacts.keep(&id, "New");
        let path = format!("/contacts/{id}");
        let (with, without) = tokio::join!(
            other.call_since(Method::GET, &path, "lena", None, Some(&revision)),
            other.get(&path, "lena")
        );
        assert_eq!(with.status, StatusCode::OK, "{}", with.body);
        if without.status != StatusCode::OK {
            assert_eq!(without.body["reason"], "RESOURCE_NOT_FOUND");
            late += 1;
        }
    }
    println!("without the revision {late} of 10 reads were from before the write");
    assert!(late > 0, "the control was never late: it tells nothing");

    // From a denial to a grant, across the two.
    let edit = json!({"name": "Bosch & Co"});
    let denied = other
        .call(Method::PUT, "/contacts/bosch", "sofia", Some(edit.clone()))
        .await;
    assert_eq!(denied.status, StatusCode::FORBIDDEN);
    let wish = json!({"action": "edit", "reason": "she is on leave"});
    let filed = one
        .call(
            Method::POST,
            "/contacts/bosch/access-requests",
            "sofia",
            Some(wish),
        )
        .await;
    assert_eq!(filed.status, StatusCode::ACCEPTED, "{}", filed.body);
    let id = filed.body["access_request_id"].as_str().unwrap();
    let revision = filed.revision.unwrap();
    let denied = other
        .call_since(
            Method::PUT,
            "/contacts/bosch",
            "sofia",
            Some(edit.clone()),
            Some(&revision),
        )
        .await;
    assert_eq!(denied.body["pending_access_request_id"], id);
    let approval = format!("/access-requests/{id}/approval");
    let own = one.call(Method::POST, &approval, "sofia", None).await;
    assert_eq!(own.status, StatusCode::FORBIDDEN);
    assert_eq!(own.body["reason"], "SELF_APPROVAL");
    let approved = one.call(Method::POST, &approval, "ada", None).await;
    assert_eq!(approved.status, StatusCode::NO_CONTENT, "{}", approved.body);
    let revision = approved.revision.unwrap();
    let edited = other
        .call_since(
            Method::PUT,
            "/contacts/bosch",
            "sofia",
            Some(edit),
            Some(&revision),
        )
        .await;
    assert_eq!(edited.status, StatusCode::OK, "{}", edited.body);
    let deleted = one
        .call(Method::DELETE, "/contacts/bosch", "ada", None)
        .await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT, "{}", deleted.body);
    let gone = other
        .call_since(
            Method::GET,
            "/contacts/bosch",
            "lena",
            None,
            deleted.revision.as_deref(),
        )
        .await;
    assert_eq!(gone.status, StatusCode::FORBIDDEN);
    assert_eq!(gone.body["reason"], "RESOURCE_NOT_FOUND");
    // A revision that is none is an error, and no pass.
    let forged = one
        .call_since(Method::GET, "/contacts/michelin", "ada", None, Some("x"))
        .await;
    assert_eq!(forged.status, StatusCode::SERVICE_UNAVAILABLE);
}

/// A client that never tries again says so at once; the service answers what it is told to.
#[tokio::test]
async fn nothing_passes_where_there_never_was_a_server() {
    let port = cluster::free_port();
    let client = Client::builder(format!("http://127.0.0.1:{port}"))
        .retries(RetryPolicy::never())
        .build()
        .unwrap();
    let contacts = Contacts::new("northwind", client);
    contacts.keep("bosch", "Bosch");
    let service = Service::start(contacts).await;
    for path in ["/contacts/bosch", "/contacts"] {
        let answer = service.get(path, "ada").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }
}
