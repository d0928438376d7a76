//! What the rules say, in the language of the reader: reasons, levels, resolutions, refusals.

use super::language::{Language, Sentence, Value};
use super::pages::Moment;
use crate::authz::access_request::{
    AccessRequest, GrantOffer, RequestRefusal, RequestState, RequestTarget, Resolution,
};
use crate::authz::decision::ReasonCode;
use crate::authz::explain::PathElement;
use crate::authz::model::{Level, Timestamp};

impl Language {
    /// Why a check is allowed or denied, as the end of a sentence.
    pub fn reason(&self, reason: ReasonCode) -> String {
        self.text(&format!("reason.{reason}")).to_owned()
    }

    pub fn state(&self, state: RequestState) -> String {
        self.text(&format!("state.{state}")).to_owned()
    }

    pub fn level(&self, level: Level, include_unassigned: bool) -> String {
        let level = self.text(level_key(level)).to_owned();
        if include_unassigned {
            self.plain("level.unassigned", &[("level", Value::Plain(&level))])
        } else {
            level
        }
    }

    /// A time for people and for programs.
    pub fn when(&self, at: Timestamp) -> Moment {
        Moment {
            words: self.moment(at),
            machine: at.to_string(),
        }
    }

    /// What a request is about, with `key` as the sentence that has `action` and `what`.
    pub fn about(&self, key: &str, user: &str, target: &RequestTarget) -> Sentence {
        let (what, is_tool) = self.target(target);
        let what = if is_tool {
            Value::Plain(&what)
        } else {
            Value::Name(&what)
        };
        self.say(
            key,
            &[
                ("user", Value::Name(user)),
                ("action", Value::Name(target.action.as_str())),
                ("what", what),
            ],
        )
    }

    /// The same as bare text.
    pub fn about_plain(&self, key: &str, user: &str, target: &RequestTarget) -> String {
        let (what, _) = self.target(target);
        self.plain(
            key,
            &[
                ("user", Value::Plain(user)),
                ("action", Value::Plain(target.action.as_str())),
                ("what", Value::Plain(&what)),
            ],
        )
    }

    fn target(&self, target: &RequestTarget) -> (String, bool) {
        match target.resource() {
            Some(resource) => (resource.to_string(), false),
            None => {
                let resource_type = Value::Plain(target.resource_type.as_str());
                let what = self.plain("request.type_as_tool", &[("type", resource_type)]);
                (what, true)
            }
        }
    }

    /// What a resolution does to a request's account.
    pub fn resolution(&self, request: &AccessRequest, resolution: &Resolution) -> Sentence {
        let resource = request.target.resource().map(|key| key.to_string());
        let resource = Value::Name(resource.as_deref().unwrap_or_default());
        let user = Value::Name(request.user.as_str());
        let key = format!("resolution.{}", resolution.kind());
        match resolution {
            Resolution::ObjectGrant => {
                let action = Value::Name(request.target.action.as_str());
                self.say(&key, &[("action", action), ("resource", resource)])
            }
            Resolution::AssignToUser => self.say(&key, &[("resource", resource), ("user", user)]),
            Resolution::AssignToTeam(team) => {
                let team = Value::Name(team.as_str());
                self.say(&key, &[("resource", resource), ("team", team)])
            }
            Resolution::PermissionSet(set) => self.say(&key, &[("set", Value::Name(set.as_str()))]),
            Resolution::AddToTeam(team) => {
                let team = Value::Name(team.as_str());
                self.say(&key, &[("user", user), ("team", team)])
            }
            Resolution::DirectGrant(offer) | Resolution::RaiseLevel(offer) => {
                self.offer(&key, offer)
            }
        }
    }

    fn offer(&self, key: &str, offer: &GrantOffer) -> Sentence {
        let permission = offer.key.to_string();
        let level = self.level(offer.level, offer.include_unassigned);
        self.say(
            key,
            &[
                ("permission", Value::Name(&permission)),
                ("level", Value::Plain(&level)),
            ],
        )
    }

    /// Why something was not done.
    pub fn refusal(&self, refusal: &RequestRefusal) -> Sentence {
        use RequestRefusal as R;
        let with_reason = |key: &str, reason: &ReasonCode| {
            let reason = self.reason(*reason);
            self.say(key, &[("reason", Value::Plain(&reason))])
        };
        let one = |key: &str, name: &str, value: &str| self.say(key, &[(name, Value::Name(value))]);
        match refusal {
            R::AlreadyAllowed { reason } => with_reason("refusal.already_allowed", reason),
            R::NotRequestable { reason, .. } => with_reason("refusal.not_requestable", reason),
            R::NoLongerDenied { reason } => with_reason("refusal.no_longer_denied", reason),
            R::InsufficientResolution { reason } => {
                with_reason("refusal.insufficient_resolution", reason)
            }
            R::CoolingDown { until } => one("refusal.cooling_down", "until", &self.moment(*until)),
            R::TooManyPending { limit } => {
                one("refusal.too_many_pending", "limit", &limit.to_string())
            }
            R::UnknownName(unknown) => one("refusal.unknown_name", "what", &unknown.to_string()),
            R::InvalidField { field: "note", .. } => self.say("refusal.note", &[]),
            R::InvalidField {
                field: "expires_at",
                ..
            } => self.say("refusal.expires_at", &[]),
            R::InvalidField { field, problem } => self.say(
                "refusal.field",
                &[
                    ("field", Value::Plain(field)),
                    ("problem", Value::Name(problem)),
                ],
            ),
            R::NotPending { state } => one("refusal.not_pending", "state", &self.state(*state)),
            R::SelfApproval => self.say("refusal.self_approval", &[]),
            R::SamePerson => self.say("refusal.same_person", &[]),
            R::RightFromRequester => self.say("refusal.right_from_requester", &[]),
            R::NotAnApprover => self.say("refusal.not_an_approver", &[]),
            R::BeyondOwnRights { what } => one("refusal.beyond_own_rights", "what", what),
            R::NoAssignAuthority { target } => one("refusal.no_assign_authority", "target", target),
            R::NotEntitled => self.say("refusal.not_entitled", &[]),
            R::RequesterInactive => self.say("refusal.requester_inactive", &[]),
            R::ResourceGone => self.say("refusal.resource_gone", &[]),
            R::WouldTakeAway => self.say("refusal.would_take_away", &[]),
            R::NotTheRequester => self.say("refusal.not_the_requester", &[]),
            R::NothingToRevoke => self.say("refusal.nothing_to_revoke", &[]),
            R::TooMuch { what, limit } => self.say(
                "refusal.too_much",
                &[
                    ("what", Value::Plain(what)),
                    ("limit", Value::Plain(&limit.to_string())),
                ],
            ),
            R::NotPlannable { problem, .. } => one("refusal.not_plannable", "problem", problem),
        }
    }

    /// One link of an explanation's path. The kinds that no denial has, in the words of the core.
    pub fn path_element(&self, element: &PathElement, now: Timestamp) -> Sentence {
        let field = |name: &str| {
            let found = element.fields.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.as_str())
        };
        let key = match (element.kind, field("permission_set"), field("status")) {
            ("user", _, None) => "path.user_unknown",
            ("user", _, Some(_)) => "path.user",
            ("grant", Some(_), _) => "path.grant_of_set",
            ("grant", None, _) => "path.grant",
            ("object_grant", ..) => "path.object_grant",
            ("owner", ..) => "path.owner",
            ("owning_team", ..) => "path.owning_team",
            ("assignment", ..) => "path.assignment",
            _ => return self.say("path.other_kind", &[("text", Value::Plain(&element.text))]),
        };
        let level = field("level").map(|level| self.written_level(level));
        let status =
            field("status").map(|status| self.text(&format!("status.{status}")).to_owned());
        let mut values = Vec::new();
        for (name, value) in &element.fields {
            values.push(match *name {
                "level" => ("level", Value::Plain(level.as_deref().unwrap_or_default())),
                "status" => (
                    "status",
                    Value::Plain(status.as_deref().unwrap_or_default()),
                ),
                name => (name, Value::Name(value)),
            });
        }
        let sentence = self.say(key, &values);
        let moment = |name| field(name).and_then(|text| Timestamp::parse(text).ok());
        let mut terms = Vec::new();
        if let Some(begins) = moment("not_before") {
            terms.push(self.term("path.begins", begins));
        }
        if let Some(ends) = moment("expires_at") {
            let key = if ends > now {
                "path.expires"
            } else {
                "path.expired"
            };
            terms.push(self.term(key, ends));
        }
        sentence.with_terms(&terms)
    }

    fn term(&self, key: &str, at: Timestamp) -> String {
        self.plain(key, &[("at", Value::Plain(&self.moment(at)))])
    }

    /// A level as explanations write it: `team+unassigned`.
    fn written_level(&self, written: &str) -> String {
        let (level, unassigned) = match written.strip_suffix("+unassigned") {
            Some(level) => (level, true),
            None => (written, false),
        };
        match Level::from_word(level) {
            Some(level) => self.level(level, unassigned),
            None => written.to_owned(),
        }
    }
}

fn level_key(level: Level) -> &'static str {
    match level {
        Level::None => "level.none",
        Level::Owned => "level.owned",
        Level::Team => "level.team",
        Level::Everything => "level.everything",
    }
}
