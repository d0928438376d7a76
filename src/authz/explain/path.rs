//! The links between a user and a resource, by name.

use super::{PathElement, Question};
use crate::authz::access_set::{Gate, Liveness, Via, Wall, held_until, liveness};
use crate::authz::catalog::ActionSet;
use crate::authz::decision::ReasonCode;
use crate::authz::graph::{
    AssignmentFact, CompiledGrant, CompiledObjectGrant, CompiledUser, Holding,
};
use crate::authz::model::{Id, Level, MembershipOf, PrincipalKind, Timestamp};

impl Question<'_> {
    pub(super) fn allow_path(&self) -> Vec<PathElement> {
        let mut path = vec![self.user_element()];
        match (self.set.gate, self.decision.reason) {
            (Gate::Holder, _) => path.extend(self.holder_elements()),
            (_, ReasonCode::AccountOwner) => {
                path.push(role("account_owner", "is the account owner"))
            }
            (_, ReasonCode::SuperAdmin) => path.push(role("super_admin", "is a super admin")),
            (_, ReasonCode::Always) => path.push(self.always_element()),
            (_, reason) => {
                path.extend(self.set.rule.always.then(|| self.always_element()));
                path.extend(self.best_grant());
                path.extend(self.link(reason));
            }
        }
        path
    }

    /// What was there and did not suffice: the user, the grants that count, where the resource
    /// belongs.
    pub(super) fn deny_path(&self) -> Vec<PathElement> {
        let mut path = vec![self.user_element()];
        if !self.is_open() {
            return path;
        }
        if self.decision.reason == ReasonCode::ResourceNotFound {
            return path;
        }
        path.extend(
            self.set
                .counting_grants()
                .flat_map(|(holding, grant)| self.grant_elements(holding, grant)),
        );
        let Some((id, facts)) = &self.resource else {
            return path;
        };
        path.extend(
            self.set
                .object_grants(id)
                .map(|grant| self.object_grant_element(grant)),
        );
        if matches!(
            self.decision.reason,
            ReasonCode::GrantExpired | ReasonCode::MissingPrerequisite | ReasonCode::NoPermission
        ) {
            return path;
        }
        path.extend(self.ended_team_elements());
        path.extend(
            facts
                .owners
                .iter()
                .filter_map(|owner| self.owner_element(*owner)),
        );
        path.extend(
            facts
                .owning_team
                .and_then(|team| self.owning_team_element(team)),
        );
        path.extend(
            facts
                .assignments
                .iter()
                .filter_map(|assignment| self.assignment_element(assignment)),
        );
        path
    }

    fn user_element(&self) -> PathElement {
        let mut fields = vec![("user", self.user.to_owned())];
        let Some(user) = self.compiled_user() else {
            return PathElement {
                kind: "user",
                text: format!("`{}` is not a user of the account", self.user),
                fields,
            };
        };
        fields.push(("status", user.user.status.to_string()));
        let mut teams: Vec<&str> = Vec::new();
        for team in user.user.teams_at(self.set.at).map(Id::as_str) {
            if !teams.contains(&team) {
                teams.push(team);
            }
        }
        let teams = if teams.is_empty() {
            "no team".to_owned()
        } else {
            format!("teams {}", teams.join(", "))
        };
        PathElement {
            kind: "user",
            text: format!("user `{}`, {}, {teams}", self.user, user.user.status),
            fields,
        }
    }

    fn holder_elements(&self) -> Vec<PathElement> {
        let (Some(user), Some(reserved)) = (self.compiled_user(), self.set.rule.reserved) else {
            return Vec::new();
        };
        if reserved.account_owner && user.user.account_owner {
            return vec![role(
                "account_owner",
                "is the account owner, who holds the reserved action",
            )];
        }
        if reserved.super_admin && user.user.super_admin {
            return vec![role(
                "super_admin",
                "is a super admin, who holds the reserved action",
            )];
        }
        if reserved.partner_admin && user.user.partner_admin {
            return vec![role(
                "partner_admin",
                "is a partner admin, who holds the reserved action",
            )];
        }
        self.best_grant()
    }

    fn always_element(&self) -> PathElement {
        let (resource_type, action) = (self.resource_type, self.action);
        PathElement {
            kind: "always",
            text: format!("the catalog allows {resource_type}.{action} without a permission"),
            fields: vec![("action", format!("{resource_type}.{action}"))],
        }
    }

    fn is_live(&self, not_before: Option<Timestamp>, expires_at: Option<Timestamp>) -> bool {
        liveness(not_before, expires_at, self.set.at, &mut None) == Liveness::Live
    }

    /// The highest of the live grants that count: at the level that the decision reports, but for
    /// what passes at EVERYTHING whatever the grant's level (a holder, an always-allowed action).
    fn best_grant(&self) -> Vec<PathElement> {
        let at_any_level = self.set.gate == Gate::Holder || self.set.rule.always;
        self.set
            .counting_grants()
            .filter(|(holding, grant)| self.is_live(grant.not_before, held_until(holding, grant)))
            .filter(|(_, grant)| {
                at_any_level
                    || (grant.level == self.decision.level
                        && grant.include_unassigned >= self.decision.include_unassigned)
            })
            .max_by_key(|(_, grant)| (grant.level, grant.include_unassigned))
            .map(|(holding, grant)| self.grant_elements(holding, grant))
            .unwrap_or_default()
    }

    /// A grant behind the membership by which the user holds its set, if it is one.
    fn grant_elements(&self, holding: &Holding, grant: &CompiledGrant) -> Vec<PathElement> {
        let set = holding.set.as_ref();
        let membership = set.and_then(|set| {
            let plain = |user: &CompiledUser| user.user.permission_sets.contains(set);
            match self.compiled_user().is_some_and(plain) {
                true => None,
                false => self.membership_element(&MembershipOf::PermissionSet(set.clone())),
            }
        });
        membership
            .into_iter()
            .chain([self.grant_element(set, grant)])
            .collect()
    }

    /// Of the user's memberships of a team or set the one that lasts longest.
    fn membership_element(&self, of: &MembershipOf) -> Option<PathElement> {
        let user = self.compiled_user()?;
        let memberships = user.user.memberships.iter();
        let lasting = memberships
            .filter(|membership| membership.of == *of)
            .max_by_key(|membership| (membership.expires_at.is_none(), membership.expires_at))?;
        let (verb, what) = match (of, lasting.is_live(self.set.at)) {
            (MembershipOf::Team(_), true) => ("is in", "team"),
            (MembershipOf::Team(_), false) => ("was in", "team"),
            (MembershipOf::PermissionSet(_), true) => ("holds", "permission set"),
            (MembershipOf::PermissionSet(_), false) => ("held", "permission set"),
        };
        let provenance = lasting.provenance.to_string();
        let mut text = format!("`{}` {verb} {what} `{}` ({provenance})", self.user, of.id());
        let mut fields = vec![(of.kind(), of.id().to_string()), ("provenance", provenance)];
        self.add_terms(
            &mut text,
            &mut fields,
            None,
            lasting.expires_at,
            lasting.granted_by.as_ref(),
        );
        Some(PathElement {
            kind: "membership",
            text,
            fields,
        })
    }

    /// The membership by which the user is in a team, where it is not a main or additional one.
    fn team_membership(&self, team: &Id) -> Option<PathElement> {
        let user = &self.compiled_user()?.user;
        match user.all_teams().any(|plain| plain == team) {
            true => None,
            false => self.membership_element(&MembershipOf::Team(team.clone())),
        }
    }

    /// Teams that the user has left because a membership ended.
    fn ended_team_elements(&self) -> Vec<PathElement> {
        let Some(user) = self.compiled_user() else {
            return Vec::new();
        };
        let mut ended: Vec<&MembershipOf> = Vec::new();
        for membership in &user.user.memberships {
            let MembershipOf::Team(team) = &membership.of else {
                continue;
            };
            let left = user.user.teams_at(self.set.at).all(|other| other != team);
            if left && !ended.contains(&&membership.of) {
                ended.push(&membership.of);
            }
        }
        let elements = ended.into_iter();
        elements
            .filter_map(|of| self.membership_element(of))
            .collect()
    }

    /// How the resource is linked to the user, for a code of step 8.
    fn link(&self, reason: ReasonCode) -> Vec<PathElement> {
        let (Some(user), Some((id, facts))) = (self.compiled_user(), &self.resource) else {
            return Vec::new();
        };
        let live = || {
            facts
                .assignments
                .iter()
                .filter(|assignment| assignment.is_live(self.set.at))
        };
        match reason {
            ReasonCode::Owner => self.owner_element(user.number).into_iter().collect(),
            ReasonCode::AssignedUser => live()
                .filter(|assignment| {
                    assignment.kind == PrincipalKind::User && assignment.principal == user.number
                })
                .filter_map(|assignment| self.assignment_element(assignment))
                .collect(),
            ReasonCode::ObjectGrant => {
                let grants = self.set.object_grants(id);
                grants
                    .filter(|grant| self.is_live(grant.not_before, grant.expires_at))
                    .map(|grant| self.object_grant_element(grant))
                    .collect()
            }
            ReasonCode::Team => self.team_link(user, Via::OwnTeam),
            ReasonCode::ParentTeam => self.team_link(user, Via::Descendant),
            ReasonCode::AccessGroup => live()
                .filter(|assignment| assignment.kind == PrincipalKind::Group)
                .filter(|assignment| {
                    self.set
                        .mask(user, assignment.principal)
                        .is_some_and(|mask| mask.contains(self.set.action))
                })
                .flat_map(|assignment| {
                    self.assignment_element(assignment)
                        .into_iter()
                        .chain(self.group_element(user, assignment))
                })
                .collect(),
            ReasonCode::Unassigned => vec![PathElement {
                kind: "unassigned",
                text: format!("{}/{id} has no owner and no partition", self.resource_type),
                fields: vec![("resource", format!("{}/{id}", self.resource_type))],
            }],
            _ => Vec::new(),
        }
    }

    fn team_link(&self, user: &CompiledUser, via: Via) -> Vec<PathElement> {
        let Some((_, facts)) = &self.resource else {
            return Vec::new();
        };
        let live = facts
            .assignments
            .iter()
            .filter(|assignment| assignment.is_live(self.set.at));
        for assignment in live.filter(|assignment| assignment.kind == PrincipalKind::Team) {
            if self.set.via(user, assignment.principal) == Some(via) {
                let chain = self.team_chain(user, assignment.principal);
                return self
                    .assignment_element(assignment)
                    .into_iter()
                    .chain(chain)
                    .collect();
            }
        }
        if self
            .standing()
            .is_some_and(|standing| standing.wall != Wall::None)
        {
            return Vec::new();
        }
        if let Some(team) = facts.owning_team {
            return self
                .owning_team_element(team)
                .into_iter()
                .chain(self.team_chain(user, team))
                .collect();
        }
        let directory = &self.set.graph.directory;
        for owner in facts
            .owners
            .iter()
            .filter_map(|owner| directory.user_by_number(*owner))
        {
            if let Some(team) = owner
                .teams(self.set.at)
                .find(|team| self.set.via(user, *team) == Some(via))
            {
                return self
                    .owner_element(owner.number)
                    .into_iter()
                    .chain(self.team_chain(user, team))
                    .collect();
            }
        }
        Vec::new()
    }

    /// From a team of the user down to the team that the resource belongs to.
    /// Behind it the membership of the topmost, if it is one.
    fn team_chain(&self, user: &CompiledUser, team: u32) -> Vec<PathElement> {
        let Some(chain) = self.chain_down_to(user, team) else {
            return Vec::new();
        };
        let membership = chain.first().and_then(|top| self.team_membership(top));
        let text = chain.iter().map(Id::as_str).collect::<Vec<_>>().join(" > ");
        let chain = PathElement {
            kind: "team_chain",
            text: format!("`{}` is in team {text}", self.user),
            fields: vec![("teams", text)],
        };
        [chain].into_iter().chain(membership).collect()
    }

    fn chain_down_to(&self, user: &CompiledUser, team: u32) -> Option<Vec<Id>> {
        let graph = self.set.graph;
        let mut chain = vec![graph.names.teams.name(team)?.clone()];
        let mut number = team;
        // A planted cycle can't make this endless: a chain is no longer than there are teams.
        for _ in 0..graph.names.teams.len() {
            if user.is_member(number, self.set.at) {
                break;
            }
            let Some(parent) = graph
                .team(chain.last()?.as_str())
                .and_then(|team| team.parent.clone())
            else {
                break;
            };
            number = graph.names.teams.find(parent.as_str())?;
            chain.push(parent);
        }
        chain.reverse();
        Some(chain)
    }

    fn group_element(
        &self,
        user: &CompiledUser,
        assignment: &AssignmentFact,
    ) -> Option<PathElement> {
        let graph = self.set.graph;
        let group = graph.names.groups.name(assignment.principal)?;
        let through: Vec<String> = graph
            .access_group(group.as_str())?
            .members
            .keys()
            .filter(|member| match member.kind() {
                PrincipalKind::User => member.id().as_str() == self.user,
                PrincipalKind::Team => graph
                    .names
                    .teams
                    .find(member.id().as_str())
                    .is_some_and(|team| self.set.via(user, team).is_some()),
                PrincipalKind::Group => false,
            })
            .map(ToString::to_string)
            .collect();
        let mask = self
            .set
            .mask(user, assignment.principal)
            .unwrap_or(ActionSet::EMPTY);
        let actions: Vec<&str> = mask
            .iter()
            .filter_map(|action| graph.catalog().action_name(action))
            .map(Id::as_str)
            .collect();
        let (through, actions) = (through.join(", "), actions.join(", "));
        Some(PathElement {
            kind: "access_group",
            text: format!("access group `{group}` gives {through} {actions}"),
            fields: vec![
                ("group", group.to_string()),
                ("members", through),
                ("actions", actions),
            ],
        })
    }

    fn grant_element(&self, set: Option<&Id>, compiled: &CompiledGrant) -> PathElement {
        let grant = &compiled.grant;
        let level = level_text(compiled.level, compiled.include_unassigned);
        let mut fields = vec![
            ("permission", grant.key.to_string()),
            ("level", level.clone()),
        ];
        let by = match set {
            Some(set) => {
                fields.push(("permission_set", set.to_string()));
                format!("permission set `{set}`")
            }
            None => "a direct grant".to_owned(),
        };
        let mut text = format!("{by} gives {} at {level}", grant.key);
        self.add_terms(
            &mut text,
            &mut fields,
            grant.not_before,
            grant.expires_at,
            grant.granted_by.as_ref(),
        );
        fields.push(("provenance", grant.provenance.to_string()));
        PathElement {
            kind: "grant",
            text,
            fields,
        }
    }

    fn object_grant_element(&self, compiled: &CompiledObjectGrant) -> PathElement {
        let grant = &compiled.grant;
        let mut fields = vec![
            ("resource", grant.resource.to_string()),
            ("action", grant.action.to_string()),
        ];
        let mut text = format!(
            "an object grant gives {} on {}",
            grant.action, grant.resource
        );
        self.add_terms(
            &mut text,
            &mut fields,
            grant.not_before,
            grant.expires_at,
            grant.granted_by.as_ref(),
        );
        fields.push(("provenance", grant.provenance.to_string()));
        PathElement {
            kind: "object_grant",
            text,
            fields,
        }
    }

    fn add_terms(
        &self,
        text: &mut String,
        fields: &mut Vec<(&'static str, String)>,
        not_before: Option<Timestamp>,
        expires_at: Option<Timestamp>,
        granted_by: Option<&Id>,
    ) {
        if let Some(not_before) = not_before {
            let verb = if not_before > self.set.at {
                "begins"
            } else {
                "began"
            };
            text.push_str(&format!(", {verb} {not_before}"));
            fields.push(("not_before", not_before.to_string()));
        }
        if let Some(expires_at) = expires_at {
            let verb = if expires_at > self.set.at {
                "expires"
            } else {
                "expired"
            };
            text.push_str(&format!(", {verb} {expires_at}"));
            fields.push(("expires_at", expires_at.to_string()));
        }
        if let Some(granted_by) = granted_by {
            text.push_str(&format!(", granted by `{granted_by}`"));
            fields.push(("granted_by", granted_by.to_string()));
        }
    }

    fn owner_element(&self, owner: u32) -> Option<PathElement> {
        let owner = self.set.graph.names.users.name(owner)?;
        Some(PathElement {
            kind: "owner",
            text: format!("`{owner}` owns it"),
            fields: vec![("owner", owner.to_string())],
        })
    }

    fn owning_team_element(&self, team: u32) -> Option<PathElement> {
        let team = self.set.graph.names.teams.name(team)?;
        Some(PathElement {
            kind: "owning_team",
            text: format!("it is stamped with team `{team}`"),
            fields: vec![("team", team.to_string())],
        })
    }

    fn assignment_element(&self, assignment: &AssignmentFact) -> Option<PathElement> {
        let graph = self.set.graph;
        let principal = graph
            .names
            .principals(assignment.kind)
            .name(assignment.principal)?;
        let principal = format!("{}:{principal}", assignment.kind);
        let provenance = graph.provenance_of(assignment);
        let mut text = format!("it is assigned to {principal} ({provenance})");
        let mut fields = vec![("principal", principal), ("provenance", provenance)];
        self.add_terms(&mut text, &mut fields, None, assignment.expires_at, None);
        Some(PathElement {
            kind: "assignment",
            text,
            fields,
        })
    }
}

fn role(role: &str, text: &str) -> PathElement {
    PathElement {
        kind: "role",
        text: text.to_owned(),
        fields: vec![("role", role.to_owned())],
    }
}

/// A level as documents write it.
pub(super) fn level_text(level: Level, include_unassigned: bool) -> String {
    format!(
        "{level}{}",
        if include_unassigned {
            "+unassigned"
        } else {
            ""
        }
    )
}
