//! The path of an ALLOW by name, or the failed step of a DENY and what would mend it.
//!
//! An explanation reads the same [`AccessSet`] as the decision that it explains, and carries that
//! decision: it finds the names behind it and never decides anew.

use super::access_set::{AccessSet, Gate, Liveness, Standing, liveness};
use super::decision::{Decision, ReasonCode, Target, UnknownName};
use super::graph::{AccountGraph, CompiledUser, Facts};
use super::model::{Level, Timestamp, worded};

mod path;
mod remedy;

worded! {
    /// The step of `domain.md` 3.2 that ended the decision.
    Step {
        UserStatus = "user_status",
        Entitlement = "entitlement",
        Reserved = "reserved",
        Resource = "resource",
        OwnerOrSuperAdmin = "owner_or_super_admin",
        Grants = "grants",
        Tool = "tool",
        Wall = "wall",
        Level = "level",
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    pub decision: Decision,
    pub step: Step,
    /// One sentence.
    pub summary: String,
    /// ALLOW: everything that the answer rests on, by name, from the user to the resource. DENY:
    /// what was there and did not suffice.
    pub path: Vec<PathElement>,
    /// DENY: the smallest change at the failed step that would turn the decision, if one exists.
    pub remedy: Option<String>,
}

/// One link of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathElement {
    /// One of a closed vocabulary: user, role, plan, seat, always, membership, grant,
    /// object_grant, owner, assignment, team_chain, owning_team, access_group, unassigned.
    pub kind: &'static str,
    /// A phrase for people.
    pub text: String,
    /// The names in it, for programs.
    pub fields: Vec<(&'static str, String)>,
}

/// What an explanation is about.
pub(super) struct Question<'g> {
    pub(super) set: AccessSet<'g>,
    pub(super) user: &'g str,
    pub(super) resource_type: &'g str,
    pub(super) action: &'g str,
    /// The resource's id and facts, where it exists and the step got that far.
    pub(super) resource: Option<(&'g str, Facts)>,
    pub(super) decision: Decision,
}

/// Explains one check: the same question gives the same decision as [`super::access_set::check`].
pub fn explain(
    graph: &AccountGraph,
    user: &str,
    resource_type: &str,
    action: &str,
    target: Target<'_>,
    at: Timestamp,
) -> Result<Explanation, UnknownName> {
    let set = AccessSet::new(graph, user, resource_type, action, at)?;
    let decision = set.decide(target);
    let resource = match target {
        Target::Tool => None,
        _ if set.rule.tool_level => None,
        Target::Described(id, facts) => Some((id, set.described(facts))),
        Target::Resource(id) => set.stored(id).map(|facts| (id, facts)),
    };
    let question = Question {
        set,
        user,
        resource_type,
        action,
        resource,
        decision,
    };
    let step = question.step();
    Ok(Explanation {
        decision,
        step,
        summary: question.summary(target),
        path: if decision.is_allow() {
            question.allow_path()
        } else {
            question.deny_path()
        },
        remedy: if decision.is_allow() {
            None
        } else {
            question.remedy()
        },
    })
}

impl Question<'_> {
    fn step(&self) -> Step {
        use ReasonCode as Code;
        match self.decision.reason {
            Code::UserUnknown
            | Code::UserPending
            | Code::UserDeactivated
            | Code::PartnershipInactive => Step::UserStatus,
            Code::NotEntitled
            | Code::SeatRequired
            | Code::SeatReadOnly
            | Code::PaymentMethodInvalid => Step::Entitlement,
            Code::ReservedHolder | Code::OwnerOnly | Code::PartnerForbidden | Code::Reserved => {
                Step::Reserved
            }
            Code::ResourceNotFound => Step::Resource,
            Code::AccountOwner | Code::SuperAdmin => Step::OwnerOrSuperAdmin,
            Code::GrantExpired | Code::MissingPrerequisite | Code::NoPermission => Step::Grants,
            Code::Tool => Step::Tool,
            Code::Always if self.resource.is_none() => Step::Tool,
            Code::NotInPartition
            | Code::Orphaned
            | Code::UnpartitionedRestricted
            | Code::ActionNotInGroup => Step::Wall,
            Code::Always
            | Code::Owner
            | Code::AssignedUser
            | Code::ObjectGrant
            | Code::Team
            | Code::ParentTeam
            | Code::AccessGroup
            | Code::Unassigned
            | Code::Everything
            | Code::NotOwner
            | Code::NotInTeam
            | Code::UnassignedNotIncluded => Step::Level,
        }
    }

    fn summary(&self, target: Target<'_>) -> String {
        let what = match target {
            Target::Resource(id) | Target::Described(id, _) if !self.set.rule.tool_level => {
                format!("{} {}/{id}", self.action, self.resource_type)
            }
            _ => format!("{} {} as a tool", self.action, self.resource_type),
        };
        let may = if self.decision.is_allow() {
            "may"
        } else {
            "may not"
        };
        format!(
            "`{}` {may} {what}: {}",
            self.user,
            meaning(self.decision.reason)
        )
    }

    pub(super) fn compiled_user(&self) -> Option<&CompiledUser> {
        self.set.user
    }

    pub(super) fn standing(&self) -> Option<Standing> {
        let (id, facts) = self.resource.as_ref()?;
        let live = |grant: &super::graph::CompiledObjectGrant| {
            liveness(grant.not_before, grant.expires_at, self.set.at, &mut None) == Liveness::Live
        };
        Some(
            self.set
                .standing(facts, self.set.object_grants(id).any(live)),
        )
    }

    pub(super) fn is_open(&self) -> bool {
        self.set.gate == Gate::Open
    }

    /// The lowest level at which a grant of this type can be given.
    pub(super) fn lowest_level(&self) -> Level {
        if self.set.resource_type.flag {
            Level::Everything
        } else {
            Level::Owned
        }
    }
}

/// What a reason code says, as the end of a sentence.
pub fn meaning(reason: ReasonCode) -> &'static str {
    use ReasonCode as Code;
    match reason {
        Code::ReservedHolder => "the action is reserved, and the user is one of its holders",
        Code::AccountOwner => "the user is the account owner",
        Code::SuperAdmin => "the user is a super admin",
        Code::Always => "the catalog allows the action to everyone",
        Code::Tool => "a live grant gives the action on the tool",
        Code::Owner => "the user owns the resource and has a grant",
        Code::AssignedUser => "the resource is assigned to the user, who has a grant",
        Code::ObjectGrant => "a grant gives the action on this very resource",
        Code::Team => "the resource belongs to a team of the user",
        Code::ParentTeam => "the resource belongs to a team below a team of the user",
        Code::AccessGroup => "the resource is in an access group that gives the user the action",
        Code::Unassigned => "nobody owns the resource, and the grant includes unassigned ones",
        Code::Everything => "the grant reaches everything, and no wall stands before the resource",
        Code::UserUnknown => "the account has no such user",
        Code::UserPending => "the user has not accepted the invitation yet",
        Code::UserDeactivated => "the user is deactivated or removed",
        Code::PartnershipInactive => "the partnership with the user's agency has ended",
        Code::NotEntitled => "the account's plan does not include it",
        Code::SeatRequired => "the user lacks a seat that opens it",
        Code::SeatReadOnly => "the user's only seat allows reading alone",
        Code::PaymentMethodInvalid => "the account has no valid payment method",
        Code::OwnerOnly => "only the account owner may",
        Code::PartnerForbidden => "it is closed to partner users",
        Code::Reserved => "the action is reserved, and the user is not one of its holders",
        Code::ResourceNotFound => "there is no such resource in the account",
        Code::GrantExpired => "the grant that gave it has expired",
        Code::MissingPrerequisite => "none of the permissions that it follows from is held",
        Code::NoPermission => "no grant gives the action",
        Code::NotInPartition => "the resource is limited to others",
        Code::Orphaned => "the resource is limited, and no assignment is left",
        Code::UnpartitionedRestricted => {
            "resources that are assigned to nobody are closed for this type"
        }
        Code::ActionNotInGroup => "the user's access group does not give this action",
        Code::NotOwner => "the grant reaches only what the user owns or is assigned",
        Code::NotInTeam => "the grant reaches only what belongs to the user's teams",
        Code::UnassignedNotIncluded => {
            "nobody owns the resource, and the grant does not include unassigned ones"
        }
    }
}
