//! The console: the page of a request behind a link, and the list of what is pending (R3, S1.5).
//!
//! Who asks is known by a link or by a session, and by nothing else. A link shows its page and
//! changes nothing, since mail scanners follow links; the first form of such a page spends the link,
//! once among all replicas, and begins a session. What the approver may do is asked of the account
//! with every request, and judged once more where it is done. What is refused shows nothing of an
//! account.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use url::form_urlencoded;

use crate::access_requests::{AccessRequests, RequestWrite};
use crate::authz::access_request::{AccessRequest, RequestState};
use crate::authz::model::{Id, Timestamp};
use crate::clock::Clock;
use crate::graph_cache::{Consistency, GraphCache};
use crate::revision::RevisionToken;
use crate::store::Store;
use crate::store::audit::Author;

mod acts;
mod answer;
mod caller;
mod decision_form;
mod language;
mod list_page;
mod pages;
mod permissions;
mod request_page;
mod session;
mod visit;
mod words;

use acts::{act_of, read_form, refused_with, unreadable};
use answer::{Headers, Refused, with_cookie};
use caller::{Caller, Found};
use decision_form::FormError;
pub use language::LanguageError;
use language::{Language, Languages, Sentence, Value};
use list_page::list_of;
use pages::{FormFields, Frame, LanguageLink, MessagePage, STYLE, Visitor};
use request_page::Matter;
use session::Sessions;
use visit::{Address, Fields, Site, accepted_languages, is_form};

/// What the console works on; cheap to clone.
#[derive(Clone)]
pub struct Console {
    parts: Arc<Parts>,
}

struct Parts {
    requests: AccessRequests,
    graphs: GraphCache,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    site: Site,
    languages: Languages,
    headers: Headers,
}

/// One request of a browser.
struct Visit {
    address: Address,
    /// Of the address.
    query: Fields,
    headers: HeaderMap,
    t: Language,
    now: Timestamp,
    token_key: [u8; 32],
}

impl Visit {
    fn sessions(&self) -> Sessions<'_> {
        Sessions::new(self.token_key, &self.address.account)
    }
}

/// What a request's page says besides.
#[derive(Default)]
struct Told {
    done: Option<Sentence>,
    refused: Option<Sentence>,
    filled: Option<Fields>,
}

impl Console {
    /// `console_url` is where people reach the console.
    ///
    /// # Errors
    /// A language catalog that can't be read.
    pub fn new(
        requests: AccessRequests,
        graphs: GraphCache,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        console_url: &str,
    ) -> Result<Self, LanguageError> {
        Ok(Self {
            parts: Arc::new(Parts {
                requests,
                graphs,
                store,
                clock,
                site: Site::of(console_url),
                languages: Languages::load()?,
                headers: Headers::new(),
            }),
        })
    }

    /// Answers any request for a path of the console.
    pub async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let query = Fields::of_query(&head.uri);
        let chosen = self
            .parts
            .languages
            .choose(query.get("lang"), accepted_languages(&head.headers));
        let Ok(t) = chosen else {
            return Response::new(Body::empty());
        };
        let Some(address) = Address::of(&head.uri) else {
            return self.refuse(&t, Refused::NotFound, &query, None);
        };
        let mut visit = Visit {
            address,
            query,
            headers: head.headers,
            t,
            now: self.parts.clock.now(),
            token_key: self.parts.store.identity().token_key,
        };
        let answered = match head.method {
            Method::GET | Method::HEAD => self.show(&visit).await,
            Method::POST => self.act(&mut visit, body).await,
            _ => Err(Refused::NotFound),
        };
        answered.unwrap_or_else(|refused| {
            self.refuse(&visit.t, refused, &visit.query, Some(&visit.address))
        })
    }

    async fn show(&self, visit: &Visit) -> Result<Response<Body>, Refused> {
        if visit.address.user.is_none() {
            let session = self.session(visit)?;
            return self.show_list(visit, &Caller::Session(session)).await;
        }
        let request = visit.query.id("request").ok_or(Refused::Denied)?;
        let caller = match visit.query.get("token") {
            None => Caller::Session(self.session(visit)?),
            Some(token) => {
                let link = Self::link(visit, &request, token)?;
                // Whoever has begun a session with it goes on in that.
                if self
                    .session(visit)
                    .is_ok_and(|session| session.approver == link.approver)
                {
                    return Ok(self.parts.headers.see_other(&page_of(visit, &request, &[])));
                }
                self.refuse_spent(visit, &link).await?;
                Caller::Link {
                    token: token.to_owned(),
                    link,
                }
            }
        };
        let consistency = self.at_least(visit);
        let found = self.find(visit, &request, &caller, &consistency).await?;
        let told = Told {
            done: self.done(visit, &found.request),
            ..Told::default()
        };
        self.request_page(visit, StatusCode::OK, caller, found, told)
            .await
    }

    /// A revision in the address is that of what was just done: it is waited for, so that the page
    /// shows it on any replica.
    fn at_least(&self, visit: &Visit) -> Consistency {
        let token = visit.query.get("at").map(RevisionToken::decode);
        match token {
            Some(Ok(token)) => Consistency::AtLeastAsFresh(token),
            Some(Err(_)) | None => Consistency::MinimizeLatency,
        }
    }

    async fn act(&self, visit: &mut Visit, body: Body) -> Result<Response<Body>, Refused> {
        if !self.parts.site.sent_from_here(&visit.headers) || !is_form(&visit.headers) {
            return Err(Refused::Forged);
        }
        let form = read_form(body).await?;
        if let Ok(t) = self.parts.languages.choose(form.get("lang"), None) {
            visit.t = t;
        }
        let visit = &*visit;
        let request = form.id("request");
        let caller = match (form.get("token"), &request) {
            (Some(token), Some(request)) => {
                let link = Self::link(visit, request, token)?;
                self.refuse_spent(visit, &link).await?;
                Caller::Link {
                    token: token.to_owned(),
                    link,
                }
            }
            (Some(_), None) => return Err(Refused::LinkInvalid),
            (None, _) => Caller::Session(self.session(visit)?),
        };
        let mark = form.get("mark").unwrap_or_default();
        if !visit.sessions().is_mark(caller.bearer(), mark) {
            return Err(Refused::Forged);
        }
        match (&visit.address.user, form.get("do"), request) {
            (None, Some("leave"), _) => {
                let left = self.message(
                    &visit.t,
                    StatusCode::OK,
                    "message.left",
                    &Fields::default(),
                    None,
                );
                let gone = self.parts.site.set_cookie(&visit.address, "", 0);
                Ok(with_cookie(left, &gone))
            }
            (None, Some("open"), _) => {
                self.active(visit, caller.approver()).await?;
                let (_, cookie) = self.spend(visit, caller).await?;
                let list = format!("requests?lang={}", visit.t.code());
                let there = self.parts.headers.see_other(&list);
                Ok(with_cookie_if_any(there, cookie.as_deref()))
            }
            (Some(_), Some(_), Some(request)) => self.resolve(visit, caller, &request, form).await,
            _ => Err(Refused::NotFound),
        }
    }

    /// Does what a form of a request's page says, and spends the link that the page was opened by.
    async fn resolve(
        &self,
        visit: &Visit,
        caller: Caller,
        id: &Id,
        form: Fields,
    ) -> Result<Response<Body>, Refused> {
        // Before the link is spent: who may not resolve it any more keeps nothing, and whose
        // database is away may try again.
        let consistency = Consistency::FullyConsistent;
        let found = self.find(visit, id, &caller, &consistency).await?;
        let (caller, cookie) = self.spend(visit, caller).await?;
        let answer = match act_of(&form, caller.approver(), visit.now) {
            Ok(Some((act, word))) => {
                let author = Author::named("console", act.method())
                    .for_actor(Some(caller.approver().clone()));
                let write = RequestWrite::of(visit.address.account.clone(), author);
                match self.parts.requests.resolve(write, id, act).await {
                    Ok(resolved) => {
                        let at = self
                            .parts
                            .graphs
                            .token(&visit.address.account, resolved.head);
                        let more = [("done", word), ("at", &at.encode())];
                        let there = page_of(visit, id, &more);
                        Ok(self.parts.headers.see_other(&there))
                    }
                    Err(error) => {
                        let (status, refused) = refused_with(&visit.t, error)?;
                        self.again(visit, caller, id, form, status, refused).await
                    }
                }
            }
            Ok(None) => Err(Refused::NotFound),
            Err(error) => {
                let refused = match error {
                    FormError::NoWay => visit.t.say("refusal.no_way", &[]),
                    FormError::Refusal(refusal) => visit.t.refusal(&refusal),
                };
                let told = Told {
                    done: None,
                    refused: Some(refused),
                    filled: Some(form),
                };
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                self.request_page(visit, status, caller, found, told).await
            }
        };
        // The link is spent, so its bearer gets the session whatever came of the form.
        let answer = answer.unwrap_or_else(|refused| {
            self.refuse(&visit.t, refused, &visit.query, Some(&visit.address))
        });
        Ok(with_cookie_if_any(answer, cookie.as_deref()))
    }

    /// The page once more, as things stand now, with why nothing was done.
    async fn again(
        &self,
        visit: &Visit,
        caller: Caller,
        id: &Id,
        form: Fields,
        status: StatusCode,
        refused: Sentence,
    ) -> Result<Response<Body>, Refused> {
        let consistency = Consistency::FullyConsistent;
        let found = self.find(visit, id, &caller, &consistency).await?;
        let told = Told {
            done: None,
            refused: Some(refused),
            filled: Some(form),
        };
        self.request_page(visit, status, caller, found, told).await
    }

    /// What an address says was done, if the request shows it.
    fn done(&self, visit: &Visit, request: &AccessRequest) -> Option<Sentence> {
        let key = match (visit.query.get("done")?, request.state) {
            ("approved", RequestState::Approved) => "done.approved",
            ("denied", RequestState::Denied) => "done.denied",
            ("revoked", RequestState::Approved) => "done.revoked",
            _ => return None,
        };
        let user = Value::Name(request.user.as_str());
        Some(visit.t.say(key, &[("user", user)]))
    }

    async fn request_page(
        &self,
        visit: &Visit,
        status: StatusCode,
        caller: Caller,
        found: Found,
        told: Told,
    ) -> Result<Response<Body>, Refused> {
        let form = caller.form(visit, Some(&found.request.id));
        let title = visit.t.about_plain(
            "request.title",
            found.request.user.as_str(),
            &found.request.target,
        );
        let query = language_query(visit, &caller, &found.request.id);
        let visitor = visitor(visit, &caller, form.clone(), "../../requests");
        let languages = self.language_links(&visit.t, &query);
        let (t, now, headers) = (visit.t.clone(), visit.now, self.parts.headers.clone());
        // Suggestions try candidates on the whole account.
        let account = found.read.graph.account().id.clone();
        let show = move || {
            let frame = Frame {
                t: &t,
                title,
                style: STYLE,
                visitor: Some(visitor),
                languages,
            };
            let matter = Matter {
                t: &t,
                graph: &found.read.graph,
                request: &found.request,
                events: &found.events,
                approver: caller.approver(),
                now,
                filled: told.filled.as_ref(),
            };
            let action = format!("?{}", encoded(&[("request", found.request.id.as_str())]));
            let page = matter.page(frame, form, action, told.done, told.refused);
            headers.page(status, &page)
        };
        let shown = self.parts.graphs.compute(&account, show).await;
        shown.map_err(|error| unreadable(&error))
    }

    async fn show_list(&self, visit: &Visit, caller: &Caller) -> Result<Response<Body>, Refused> {
        let read = self.active(visit, caller.approver()).await?;
        let form = caller.form(visit, None);
        let visitor = visitor(visit, caller, form, "requests");
        let languages = self.language_links(&visit.t, &[]);
        let (t, now, headers) = (visit.t.clone(), visit.now, self.parts.headers.clone());
        let (after, approver) = (visit.query.id("after"), caller.approver().clone());
        let account = read.graph.account().id.clone();
        let show = move || {
            let frame = Frame {
                title: t.text("list.title").to_owned(),
                t: &t,
                style: STYLE,
                visitor: Some(visitor),
                languages,
            };
            let page = list_of(frame, &read.graph, &approver, after.as_ref(), now);
            headers.page(StatusCode::OK, &page)
        };
        let shown = self.parts.graphs.compute(&account, show).await;
        shown.map_err(|error| unreadable(&error))
    }

    /// A page that shows nothing of an account.
    fn refuse(
        &self,
        t: &Language,
        refused: Refused,
        query: &Fields,
        address: Option<&Address>,
    ) -> Response<Body> {
        let list = match address {
            // Who has just used the link may have a session.
            Some(address) if refused == Refused::LinkUsed => Some(list_from(address)),
            Some(_) | None => None,
        };
        self.message(t, refused.status(), refused.key(), query, list)
    }

    fn message(
        &self,
        t: &Language,
        status: StatusCode,
        key: &str,
        query: &Fields,
        list: Option<String>,
    ) -> Response<Body> {
        let fields = ["request", "token"].into_iter();
        let query: Vec<(&str, &str)> = fields
            .filter_map(|name| Some((name, query.get(name)?)))
            .collect();
        let page = MessagePage {
            frame: Frame {
                t,
                title: t.text(&format!("{key}_title")).to_owned(),
                style: STYLE,
                visitor: None,
                languages: self.language_links(t, &query),
            },
            text: t.text(key),
            list,
        };
        self.parts.headers.page(status, &page)
    }

    fn language_links(&self, t: &Language, query: &[(&str, &str)]) -> Vec<LanguageLink> {
        let languages = self.parts.languages.iter();
        languages
            .map(|language| {
                let lang = [("lang", language.code())];
                let query: Vec<_> = query.iter().chain(&lang).copied().collect();
                let is_other = language.code() != t.code();
                LanguageLink {
                    code: language.code().to_owned(),
                    name: language.text("language.name").to_owned(),
                    link: is_other.then(|| format!("?{}", encoded(&query))),
                }
            })
            .collect()
    }
}

fn with_cookie_if_any(answer: Response<Body>, cookie: Option<&str>) -> Response<Body> {
    match cookie {
        Some(cookie) => with_cookie(answer, cookie),
        None => answer,
    }
}

/// A query.
fn encoded(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

/// The page of a request without a token, from its own address.
fn page_of(visit: &Visit, request: &Id, more: &[(&str, &str)]) -> String {
    let own = [("request", request.as_str()), ("lang", visit.t.code())];
    let fields: Vec<_> = own.iter().chain(more).copied().collect();
    format!("permissions?{}", encoded(&fields))
}

/// The list, from an address of the same account.
fn list_from(address: &Address) -> String {
    match address.user {
        Some(_) => "../../requests".to_owned(),
        None => "requests".to_owned(),
    }
}

fn visitor(visit: &Visit, caller: &Caller, form: FormFields, list: &str) -> Visitor {
    let user = Value::Name(caller.approver().as_str());
    Visitor {
        account: visit.address.account.to_string(),
        you: visit.t.say("page.you", &[("user", user)]),
        list: list.to_owned(),
        form,
    }
}

/// What stays in the address where a page is read in another language.
fn language_query<'a>(
    visit: &'a Visit,
    caller: &'a Caller,
    request: &'a Id,
) -> Vec<(&'static str, &'a str)> {
    let mut query = vec![("request", request.as_str())];
    match caller {
        Caller::Link { token, .. } => query.push(("token", token)),
        Caller::Session(_) => query.extend(visit.query.get("at").map(|at| ("at", at))),
    }
    query
}
