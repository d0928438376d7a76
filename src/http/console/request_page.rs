//! The page of one request: what an approver needs to know, and the forms to decide with.

use super::decision_form::{after, written};
use super::language::{Language, Sentence, Unit, Value};
use super::pages::{
    Decide, Denial, Event, FormFields, Frame, RequestFacts, RequestPage, ResourceFacts, UnitChoice,
    Way,
};
use super::visit::Fields;
use crate::authz::access_request::{
    AccessRequest, Opened, RequestEvent, RequestEventKind, RequestState, Suggestion, suggest_for,
};
use crate::authz::explain::explain;
use crate::authz::graph::AccountGraph;
use crate::authz::model::{Id, Timestamp};

/// What else a resolution opens is shown up to here; the count is exact.
const OPENED_SHOWN: usize = 20;

/// Suggestions that are shown, of those that the approver can give and of the others. There may be
/// hundreds (one for each permission set), and what comes late opens most.
const GIVEN_SHOWN: usize = 15;
const WITHHELD_SHOWN: usize = 5;

/// Links of an explanation that are shown.
const PATH_SHOWN: usize = 30;

/// What a page is made from.
pub struct Matter<'a> {
    pub t: &'a Language,
    pub graph: &'a AccountGraph,
    pub request: &'a AccessRequest,
    pub events: &'a [RequestEvent],
    pub approver: &'a Id,
    pub now: Timestamp,
    /// What the forms were filled with, where one was refused.
    pub filled: Option<&'a Fields>,
}

impl Matter<'_> {
    pub fn page<'f>(
        &self,
        frame: Frame<'f>,
        form: FormFields,
        action: String,
        done: Option<Sentence>,
        refused: Option<Sentence>,
    ) -> RequestPage<'f> {
        let request = self.request;
        let is_open = request.state == RequestState::Pending && self.now < request.expires_at;
        RequestPage {
            frame,
            action,
            form,
            done,
            refused,
            state: (request.state.as_str(), self.t.state(request.state)),
            heading: self
                .t
                .about("request.title", request.user.as_str(), &request.target),
            facts: self.facts(),
            denial: self.denial(is_open),
            decide: is_open.then(|| self.decide()),
            revocable: self.is_revocable(),
            permissions: self.permissions(),
            resource: self.resource(),
            events: self.events.iter().map(|event| self.event(event)).collect(),
        }
    }

    fn facts(&self) -> RequestFacts {
        let (t, request) = (self.t, self.request);
        let user = self.graph.user(request.user.as_str());
        let mut teams: Vec<String> = user
            .map(|user| user.teams_at(self.now).map(ToString::to_string).collect())
            .unwrap_or_default();
        teams.sort_unstable();
        teams.dedup();
        let (label, ends) = match &request.closing {
            Some(closing) => ("request.closed", closing.at),
            None => ("request.expires", request.expires_at),
        };
        RequestFacts {
            requester: request.user.to_string(),
            teams,
            asked: t.about(
                "request.asked_value",
                request.user.as_str(),
                &request.target,
            ),
            reason: request.reason.clone(),
            wanted: match request.wanted_seconds {
                Some(seconds) => t.duration(seconds),
                None => t.text("request.wanted_open").to_owned(),
            },
            filed: t.when(request.filed_at),
            ends_label: t.text(label).to_owned(),
            ends: t.when(ends),
            origin: request.origin_url.clone(),
            id: request.id.to_string(),
        }
    }

    /// The denial in words. Of what has ended, as it was when it was asked.
    fn denial(&self, is_open: bool) -> Denial {
        let (t, request) = (self.t, self.request);
        let target = &request.target;
        let explained = explain(
            self.graph,
            request.user.as_str(),
            target.resource_type.as_str(),
            target.action.as_str(),
            target.asked(),
            self.now,
        );
        let with = |key: &str, reason| {
            let reason = t.reason(reason);
            t.say(key, &[("reason", Value::Plain(&reason))])
        };
        let then = || with("denial.then", request.denied_as);
        let Some(explained) = explained.ok().filter(|_| is_open) else {
            return Denial {
                sentences: vec![then()],
                path: Vec::new(),
            };
        };
        let reason = explained.decision.reason;
        let mut sentences = Vec::new();
        if explained.decision.is_allow() {
            sentences.extend([then(), with("denial.allowed_now", reason)]);
        } else {
            sentences.push(with("denial.now", reason));
            sentences.extend((reason != request.denied_as).then(then));
        }
        let path = explained.path.iter().take(PATH_SHOWN);
        Denial {
            sentences,
            path: path.map(|one| t.path_element(one, self.now)).collect(),
        }
    }

    fn filled(&self, field: &str) -> Option<&str> {
        self.filled.and_then(|form| form.get(field))
    }

    fn decide(&self) -> Decide {
        let t = self.t;
        let is_of = |what: &str| self.filled("do") == Some(what);
        let note = |what: &str| match is_of(what) {
            true => self.filled("note").unwrap_or_default().to_owned(),
            false => String::new(),
        };
        let wish = self.request.wanted_seconds.map(Unit::whole);
        let (amount, unit) = match (is_of("approve"), wish) {
            (true, _) => (
                self.filled("amount").unwrap_or_default().to_owned(),
                self.filled("unit").and_then(Unit::from_word),
            ),
            (false, Some((amount, unit))) => (amount.to_string(), Some(unit)),
            (false, None) => (String::new(), None),
        };
        let unit = unit.unwrap_or(Unit::Day);
        // Seconds are for those who named some.
        let units = Unit::ALL
            .into_iter()
            .filter(|one| *one != Unit::Second || unit == Unit::Second);
        let (ways, more, none) = match self.ways() {
            Ok((ways, more)) => (ways, more, None),
            Err(why) => (Vec::new(), Vec::new(), Some(why)),
        };
        Decide {
            ways,
            more,
            none,
            amount,
            units: units
                .map(|one| UnitChoice {
                    value: one.as_str(),
                    name: t.text(&format!("unit.{}", one.as_str())).to_owned(),
                    chosen: one == unit,
                })
                .collect(),
            approve_note: note("approve"),
            deny_note: note("deny"),
        }
    }

    /// The suggestions, the smallest first, and how many are not shown; the first that this approver
    /// can give is chosen. Else why there are none.
    fn ways(&self) -> Result<(Vec<Way>, Vec<String>), Sentence> {
        let wanted = self.request.wanted_seconds;
        let expires_at = wanted.and_then(|seconds| after(self.now, seconds));
        let (request, approver) = (self.request, self.approver);
        let suggestions = suggest_for(self.graph, request, approver, expires_at, self.now)
            .map_err(|refusal| self.t.refusal(&refusal))?;
        let (mut given, mut withheld) = (0_usize, 0_usize);
        let shown: Vec<(usize, &Suggestion)> = suggestions
            .iter()
            .enumerate()
            .filter(|(_, suggestion)| {
                let (count, most) = match suggestion.withheld {
                    None => (&mut given, GIVEN_SHOWN),
                    Some(_) => (&mut withheld, WITHHELD_SHOWN),
                };
                *count += 1;
                *count <= most
            })
            .collect();
        let filled = self.filled("resolution");
        let mut ways: Vec<Way> = shown
            .into_iter()
            .map(|(rank, suggestion)| self.way(rank == 0, suggestion))
            .collect();
        let can_give = |way: &Way| way.barred.is_none();
        let chosen = ways
            .iter()
            .position(|way| can_give(way) && Some(way.value.as_str()) == filled)
            .or_else(|| ways.iter().position(can_give));
        for (at, way) in ways.iter_mut().enumerate() {
            way.chosen = Some(at) == chosen;
        }
        if ways.is_empty() {
            return Err(self.t.say("resolve.none", &[]));
        }
        let more = [
            ("resolve.more_given", given, GIVEN_SHOWN),
            ("resolve.more_withheld", withheld, WITHHELD_SHOWN),
        ];
        let more = more.into_iter().filter_map(|(key, count, shown)| {
            let hidden = u64::try_from(count.checked_sub(shown)?).unwrap_or(u64::MAX);
            (hidden > 0).then(|| self.t.count(key, hidden))
        });
        Ok((ways, more.collect()))
    }

    fn way(&self, smallest: bool, suggestion: &Suggestion) -> Way {
        let (t, target) = (self.t, &self.request.target);
        let opens = &suggestion.opens;
        let is_asked = |opened: &&Opened| {
            opened.user == self.request.user
                && opened.resource_type == target.resource_type
                && opened.action == target.action
                && opened.resource_id == target.resource_id
        };
        let others = || opens.sample.iter().filter(|opened| !is_asked(opened));
        let opened: Vec<Sentence> = others()
            .take(OPENED_SHOWN)
            .map(|opened| {
                let resource = opened
                    .resource_id
                    .as_ref()
                    .map(|id| format!("{}/{id}", opened.resource_type));
                let key = match resource {
                    Some(_) => "resolve.opened",
                    None => "resolve.opened_tool",
                };
                t.say(
                    key,
                    &[
                        ("user", Value::Name(opened.user.as_str())),
                        ("action", Value::Name(opened.action.as_str())),
                        ("type", Value::Name(opened.resource_type.as_str())),
                        (
                            "resource",
                            Value::Name(resource.as_deref().unwrap_or_default()),
                        ),
                    ],
                )
            })
            .collect();
        // What was asked for is opened by every one of them, and is nothing else.
        let count = opens.count.saturating_sub(1);
        let shown = u64::try_from(opened.len()).unwrap_or(u64::MAX);
        let hidden = count.saturating_sub(shown);
        Way {
            value: written(&suggestion.resolution),
            what: t.resolution(self.request, &suggestion.resolution),
            smallest,
            chosen: false,
            barred: suggestion.withheld.as_ref().map(|refusal| {
                let why = t.refusal(refusal);
                t.say("resolve.not_yours", &[("why", Value::Sentence(&why))])
            }),
            effect: match count {
                0 => t.text("resolve.opens_nothing").to_owned(),
                count => {
                    let users = t.count("resolve.users", opens.users);
                    t.count("resolve.opens", count).replace("{users}", &users)
                }
            },
            opened,
            more: (hidden > 0).then(|| t.count("page.more", hidden)),
        }
    }

    fn is_revocable(&self) -> bool {
        let revoked = |event: &RequestEvent| event.kind == RequestEventKind::Revoked;
        self.request.state == RequestState::Approved && !self.events.iter().any(revoked)
    }

    /// Where the record stands, which only an approver is told.
    fn resource(&self) -> Option<ResourceFacts> {
        let resource = self.graph.resource(&self.request.target.resource()?)?;
        let mut assigned: Vec<String> = resource
            .assignments
            .iter()
            .filter(|one| one.expires_at.is_none_or(|end| self.now < end))
            .map(|one| one.principal.to_string())
            .collect();
        assigned.dedup();
        Some(ResourceFacts {
            owners: resource.owners.iter().map(ToString::to_string).collect(),
            owning_team: resource
                .owning_team
                .iter()
                .map(ToString::to_string)
                .collect(),
            assigned,
        })
    }

    fn event(&self, event: &RequestEvent) -> Event {
        let t = self.t;
        let actor = event.actor.as_ref().map(Id::as_str);
        let key = match (event.kind, actor) {
            (RequestEventKind::Cancelled, None) => "event.cancelled_by_ambit".to_owned(),
            (kind, _) => format!("event.{kind}"),
        };
        let name = actor.unwrap_or_else(|| t.text("page.ambit"));
        let (before, after) = (
            t.reason(event.before),
            event.after.map(|after| t.reason(after)),
        );
        let mut lines = vec![match &after {
            None => t.say("event.check", &[("before", Value::Plain(&before))]),
            Some(after) => t.say(
                "event.check_after",
                &[
                    ("before", Value::Plain(&before)),
                    ("after", Value::Plain(after)),
                ],
            ),
        }];
        if let Some(approval) = &event.approval {
            let what = t.resolution(self.request, &approval.resolution);
            lines.push(match (event.kind, approval.expires_at) {
                (RequestEventKind::Revoked, _) => {
                    t.say("event.taken", &[("what", Value::Sentence(&what))])
                }
                (_, None) => t.say("event.given", &[("what", Value::Sentence(&what))]),
                (_, Some(at)) => {
                    let at = t.moment(at);
                    t.say(
                        "event.given_until",
                        &[("what", Value::Sentence(&what)), ("at", Value::Plain(&at))],
                    )
                }
            });
        }
        // The filing's note is the reason, which stands above.
        let note = event.note.clone();
        Event {
            at: t.when(event.at),
            what: t.say(&key, &[("actor", Value::Name(name))]),
            lines,
            note: note.filter(|_| event.kind != RequestEventKind::Filed),
        }
    }
}
