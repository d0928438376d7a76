//! The path of an ALLOW by name, or the failed step of a DENY and what would mend it.
use super::decision::{Decision, Target, UnknownName};
use super::graph::AccountGraph;
use super::model::{Timestamp, worded};

worded! {
    /// The step of `domain.md` 3.2 that ended the decision.
    Step {
        UserStatus = "user_status", Entitlement = "entitlement", Reserved = "reserved", Resource = "resource",
        OwnerOrSuperAdmin = "owner_or_super_admin", Grants = "grants", Tool = "tool", Wall = "wall", Level = "level",
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

/// One link of the path: `kind` is a closed vocabulary (user, grant, permission_set, object_grant,
/// owner, assignment, team_chain, access_group, owning_team, unassigned, entitlement, role, always),
/// `text` a phrase for people, `fields` the names in it for programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathElement {
    pub kind: &'static str,
    pub text: String,
    pub fields: Vec<(&'static str, String)>,
}

pub fn explain(
    _graph: &AccountGraph,
    _user: &str,
    _resource_type: &str,
    _action: &str,
    _target: Target<'_>,
    _at: Timestamp,
) -> Result<Explanation, UnknownName> {
    todo!()
}
