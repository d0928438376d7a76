//! Contacts over HTTP, in memory, each call guarded by a check.
//!
//! | call | checked |
//! |---|---|
//! | `GET /contacts` | lists what the user may view |
//! | `POST /contacts` | `contact.create` on the tool |
//! | `GET`, `PUT`, `DELETE /contacts/ID` | `contact.view`, `.edit`, `.delete` on the contact |
//! | `POST /contacts/ID/access-requests` | nothing: Ambit judges who may ask for what |
//!
//! The user comes in the header `x-user`, as a gateway sets it that has authenticated the user and
//! lets no such header in from outside. The header `x-revision` goes to and fro: a front end that
//! sends back what it got reads its own writes, whichever replica of Ambit is asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ambit::authz::access_request::Resolution;
use ambit::authz::change::{Change, ResourcePatch};
use ambit::authz::model::{Id, ResourceKey};
use ambit::client::layer::{ProblemJson, Respond as _, Stopped, Unasked};
use ambit::client::{
    CheckLayer, Client, ClientError, Code, Filing, Narrowing, Permit, Question, Resolving, Session,
    Write,
};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, Router, routing};
use serde::{Deserialize, Serialize};

const USER: &str = "x-user";
const REVISION: &str = "x-revision";
/// Ids of one list; the front end pages through more.
const LIST_IDS: u32 = 1_000;

/// The contacts of one account. Cheap to clone.
#[derive(Clone)]
pub struct Contacts {
    account: Arc<str>,
    client: Client,
    /// Name by id.
    names: Arc<Mutex<BTreeMap<String, String>>>,
}

/// Who is signed in; the middleware below puts it there.
#[derive(Clone)]
struct SignedIn(String);

#[derive(Serialize)]
struct Contact {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct NewContact {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct NewName {
    name: String,
}

#[derive(Deserialize)]
struct Wish {
    action: String,
    reason: String,
}

pub fn routes(contacts: Contacts) -> Router {
    let check = |action: &'static str| {
        let account = Arc::clone(&contacts.account);
        let ask = move |request: &Request| contact_question(&account, action, request);
        CheckLayer::new(contacts.client.clone(), ask, ProblemJson)
    };
    let create = {
        let account = Arc::clone(&contacts.account);
        let ask = move |request: &Request| {
            let user = signed_in(request)?;
            Ok(Question::new(&*account, user, "contact", "create"))
        };
        CheckLayer::new(contacts.client.clone(), ask, ProblemJson)
    };
    let all = routing::get(list).merge(routing::post(add).layer(create));
    let one = routing::get(show)
        .layer(check("view"))
        .merge(routing::put(rename).layer(check("edit")))
        .merge(routing::delete(remove).layer(check("delete")));
    Router::new()
        .route("/contacts", all)
        .route("/contacts/{id}", one)
        .route(
            "/contacts/{id}/access-requests",
            routing::post(ask_for_access),
        )
        .route("/access-requests/{id}/approval", routing::post(approve))
        .layer(middleware::from_fn_with_state(contacts.clone(), sign_in))
        .with_state(contacts)
}

impl Contacts {
    pub fn new(account: &str, client: Client) -> Self {
        Self {
            account: account.into(),
            client,
            names: Arc::default(),
        }
    }

    /// Keeps a contact that Ambit knows already.
    pub fn keep(&self, id: &str, name: &str) {
        self.names().insert(id.to_owned(), name.to_owned());
    }

    fn names(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells Ambit of a change. The name is random, so that the client may repeat what got lost;
    /// one made of the contact's id would also swallow the second of two creations.
    async fn write(&self, session: &Session, change: Change) -> Result<(), ClientError> {
        let write = Write::of(&*self.account, vec![change]).keyed_at_random()?;
        self.client.in_session(session).apply(&write).await?;
        Ok(())
    }

    fn get(&self, id: &str) -> Option<Contact> {
        let name = self.names().get(id)?.clone();
        Some(Contact {
            id: id.to_owned(),
            name,
        })
    }
}

/// Knows the user, and carries the revision of what the user has seen.
async fn sign_in(State(contacts): State<Contacts>, mut request: Request, next: Next) -> Response {
    let (user, revision) = (header(&request, USER), header(&request, REVISION));
    let session = Session::new();
    if let Some(revision) = revision
        && let Err(error) = session.saw(&contacts.account, &revision)
    {
        return failure(error);
    }
    if let Some(user) = user {
        request.extensions_mut().insert(SignedIn(user));
    }
    request.extensions_mut().insert(session.clone());
    let mut response = next.run(request).await;
    if let Some(revision) = session.revision(&contacts.account)
        && let Ok(revision) = HeaderValue::from_str(&revision)
    {
        response.headers_mut().insert(REVISION, revision);
    }
    response
}

fn header(request: &Request, name: &str) -> Option<String> {
    let value = request.headers().get(name)?.to_str().ok()?;
    (!value.is_empty()).then(|| value.to_owned())
}

fn signed_in(request: &Request) -> Result<String, Unasked> {
    let user = request.extensions().get::<SignedIn>();
    user.map(|user| user.0.clone())
        .ok_or_else(Unasked::unauthenticated)
}

/// What is asked of a call about one contact. The handlers take the id from the permit, so that no
/// two ways of reading a path can differ.
fn contact_question(account: &str, action: &str, request: &Request) -> Result<Question, Unasked> {
    let user = signed_in(request)?;
    let id = request
        .uri()
        .path()
        .strip_prefix("/contacts/")
        .ok_or_else(Unasked::not_found)?;
    let id = percent_encoding::percent_decode_str(id)
        .decode_utf8()
        .map_err(|_not_text| Unasked::malformed("the id is not UTF-8"))?;
    Ok(Question::new(account, user, "contact", action).on(id))
}

async fn show(State(contacts): State<Contacts>, Extension(permit): Extension<Permit>) -> Response {
    found(contacts.get(id_of(&permit)))
}

async fn rename(
    State(contacts): State<Contacts>,
    Extension(permit): Extension<Permit>,
    Json(new): Json<NewName>,
) -> Response {
    let id = id_of(&permit);
    match contacts.names().get_mut(id) {
        Some(name) => *name = new.name,
        None => return found(None),
    }
    found(contacts.get(id))
}

async fn remove(
    State(contacts): State<Contacts>,
    Extension(session): Extension<Session>,
    Extension(permit): Extension<Permit>,
) -> Response {
    let id = id_of(&permit);
    let Ok(key) = contact_key(id) else {
        return found(None);
    };
    // First where it is decided, then here: what is half gone is a contact that nobody may see.
    if let Err(error) = contacts.write(&session, Change::DeleteResource(key)).await {
        return failure(error);
    }
    contacts.names().remove(id);
    StatusCode::NO_CONTENT.into_response()
}

async fn add(
    State(contacts): State<Contacts>,
    Extension(session): Extension<Session>,
    Extension(permit): Extension<Permit>,
    Json(new): Json<NewContact>,
) -> Response {
    let (Ok(key), Ok(owner)) = (contact_key(&new.id), Id::parse(permit.question().user())) else {
        return stopped(Unasked::malformed("the id is not one"));
    };
    if contacts.get(&new.id).is_some() {
        return StatusCode::CONFLICT.into_response();
    }
    let patch = ResourcePatch {
        key,
        owners: Some([owner].into()),
        owning_team: None,
        partitioned: None,
        attributes: None,
        creator: None,
    };
    if let Err(error) = contacts.write(&session, Change::PutResource(patch)).await {
        return failure(error);
    }
    contacts.keep(&new.id, &new.name);
    (StatusCode::CREATED, found(contacts.get(&new.id))).into_response()
}

/// No check of its own: what is listed is what a check would allow.
async fn list(
    State(contacts): State<Contacts>,
    Extension(session): Extension<Session>,
    user: Option<Extension<SignedIn>>,
) -> Response {
    let Some(Extension(SignedIn(user))) = user else {
        return stopped(Unasked::unauthenticated());
    };
    let question = Question::new(&*contacts.account, user, "contact", "view");
    let client = contacts.client.in_session(&session);
    let everywhere = Narrowing::default();
    let page = client.list_page(&question, &everywhere, LIST_IDS, None);
    match page.await {
        Ok(page) => {
            let seen: Vec<Contact> = page.ids.iter().filter_map(|id| contacts.get(id)).collect();
            Json(seen).into_response()
        }
        Err(error) => failure(error),
    }
}

async fn ask_for_access(
    State(contacts): State<Contacts>,
    Extension(session): Extension<Session>,
    Path(id): Path<String>,
    user: Option<Extension<SignedIn>>,
    Json(wish): Json<Wish>,
) -> Response {
    let Some(Extension(SignedIn(user))) = user else {
        return stopped(Unasked::unauthenticated());
    };
    let question = Question::new(&*contacts.account, user, "contact", wish.action).on(id);
    let filing = Filing::new(question, wish.reason);
    let client = contacts.client.in_session(&session);
    match client.file_access_request(&filing).await {
        Ok(filed) => {
            let id = filed.access_request.id;
            (
                StatusCode::ACCEPTED,
                Json(serde_json::json!({"access_request_id": id})),
            )
                .into_response()
        }
        Err(error) => failure(error),
    }
}

/// The approver gives the requested action on the requested contact, and nothing else.
async fn approve(
    State(contacts): State<Contacts>,
    Extension(session): Extension<Session>,
    Path(id): Path<String>,
    user: Option<Extension<SignedIn>>,
) -> Response {
    let Some(Extension(SignedIn(user))) = user else {
        return stopped(Unasked::unauthenticated());
    };
    let client = contacts.client.in_session(&session);
    // A request is approved once, so its id names the approval.
    let resolving = Resolving::new(&*contacts.account, &id, user).keyed(format!("approve:{id}"));
    let approved = client.approve_access_request(&resolving, &Resolution::ObjectGrant, None);
    match approved.await {
        Ok(_resolved) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => failure(error),
    }
}

fn id_of(permit: &Permit) -> &str {
    permit.question().resource().unwrap_or_default()
}

fn contact_key(id: &str) -> Result<ResourceKey, ambit::authz::model::IdError> {
    Ok(ResourceKey {
        resource_type: Id::parse("contact")?,
        id: Id::parse(id)?,
    })
}

fn found(contact: Option<Contact>) -> Response {
    match contact {
        Some(contact) => Json(contact).into_response(),
        None => stopped(Unasked::not_found()),
    }
}

fn stopped(unasked: Unasked) -> Response {
    ProblemJson.respond(Stopped::Unasked(unasked))
}

/// What the server refuses for good is the caller's to know; whatever else fails is 503, and never a
/// pass.
fn failure(error: ClientError) -> Response {
    if let ClientError::Refused(refusal) = &error {
        let status = match refusal.code {
            Code::InvalidArgument | Code::FailedPrecondition => StatusCode::BAD_REQUEST,
            Code::PermissionDenied => StatusCode::FORBIDDEN,
            Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
            _ => return ProblemJson.respond(Stopped::Failed(error)),
        };
        let problem = serde_json::json!({
            "status": status.as_u16(), "detail": refusal.message, "reason": refusal.reason,
        });
        return (status, Json(problem)).into_response();
    }
    ProblemJson.respond(Stopped::Failed(error))
}
