//! From the errors of the layers below to what a caller is told. Each error has one place here, and
//! the match arms are closed: a new error asks for its reason.

use std::error::Error;

use super::{Failure, Reason};
use crate::authz::change::{ActorRefusal, ChangeError, ChangeProblem};
use crate::authz::difference::Halted;
use crate::authz::on_behalf::ACTOR_FIELD;
use crate::directory::DirectoryError;
use crate::graph_cache::ReadError;
use crate::revision::RevisionError;
use crate::store::StoreError;

impl From<RevisionError> for Failure {
    fn from(error: RevisionError) -> Self {
        let reason = match error {
            RevisionError::Malformed => Reason::RevisionMalformed,
            RevisionError::OtherAccount => Reason::RevisionOfAnotherAccount,
            RevisionError::OtherHistory => Reason::RevisionOfAnotherHistory,
            RevisionError::BeyondHead => Reason::RevisionNotReached,
        };
        Self::new(reason, error.to_string())
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::UnknownAccount(_) => {
                Self::field(Reason::AccountNotFound, "account_id", &error)
            }
            ReadError::Revision(error) => error.into(),
            ReadError::Store(error) => store_failure(&error),
            ReadError::Graph(_) => {
                tracing::error!(error = %error, "an account can't be decided on");
                Self::new(Reason::AccountUnusable, error.to_string())
            }
            ReadError::Timeout { .. } => Self::new(Reason::Timeout, error.to_string()),
            ReadError::Stale { .. } => Self::new(Reason::Stale, error.to_string()),
            ReadError::Internal => Self::internal(),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        store_failure(&error)
    }
}

impl From<DirectoryError> for Failure {
    fn from(error: DirectoryError) -> Self {
        match error {
            DirectoryError::Read(error) => error.into(),
            DirectoryError::AlreadyExists(_) => {
                Self::field(Reason::AccountExists, "account_id", &error)
            }
            DirectoryError::Change(error) => change_failure(&error),
            DirectoryError::Unusable(_) => Self::invalid("changes", &error),
            DirectoryError::ExpectedRevision => {
                Self::field(Reason::RevisionMismatch, "expected_revision", &error)
            }
            DirectoryError::IdempotencyKeyReused(_) => {
                Self::field(Reason::IdempotencyKeyReused, "idempotency_key", &error)
            }
            DirectoryError::Contended => Self::new(Reason::WriteConflict, error.to_string()),
            DirectoryError::Store(error) => store_failure(&error),
        }
    }
}

impl From<Halted> for Failure {
    fn from(halted: Halted) -> Self {
        let reason = match halted {
            Halted::TooMuchWork { .. } | Halted::TooManyFindings { .. } => Reason::TooMuchWork,
            // Whoever would be told has gone.
            Halted::Stopped => Reason::Timeout,
        };
        Self::new(reason, halted.to_string())
    }
}

/// Only the display of a store error is for callers; what the driver said stays in the log.
fn store_failure(error: &StoreError) -> Failure {
    let reason = match error {
        StoreError::Conflict => Reason::WriteConflict,
        StoreError::Constraint { .. } => Reason::StoreRule,
        StoreError::Inconsistent { .. } => Reason::StoreInconsistent,
        StoreError::Full => Reason::StoreFull,
        StoreError::Unavailable(_) | StoreError::Schema(_) => Reason::StoreUnavailable,
    };
    let source = error.source().map(ToString::to_string).unwrap_or_default();
    match reason {
        Reason::WriteConflict => {}
        _ => tracing::error!(error = %error, source, "the store failed a call"),
    }
    Failure::new(reason, error.to_string())
}

impl Reason {
    /// Why a change can't be made.
    pub fn of_change(problem: &ChangeProblem) -> Self {
        match problem {
            ChangeProblem::NoAccount => Self::AccountNotFound,
            ChangeProblem::Dangling { .. } => Self::UnknownReference,
            ChangeProblem::Invalid(_) => Self::InvalidField,
            ChangeProblem::TeamCycle(_) => Self::TeamCycle,
            ChangeProblem::NotEntitled(_) => Self::NotEntitled,
            ChangeProblem::LastSuperAdmin => Self::LastSuperAdmin,
            ChangeProblem::Forbidden(_) => Self::ActorMayNot,
            ChangeProblem::Refused(refusal) => Self::of_actor(refusal),
            ChangeProblem::TooMany { .. } => Self::TooManyChanges,
        }
    }

    /// Why a user may not make a change.
    fn of_actor(refusal: &ActorRefusal) -> Self {
        match refusal {
            ActorRefusal::Nobody(_) | ActorRefusal::Lacks(_) | ActorRefusal::MayNot(_) => {
                Self::ActorMayNot
            }
            ActorRefusal::OwnRights => Self::OwnRights,
            ActorRefusal::Protected(_) => Self::ProtectedUser,
            ActorRefusal::Reserved | ActorRefusal::OwnerOnly => Self::ReservedChange,
            ActorRefusal::NoAuthority(_) => Self::NoAssignAuthority,
            ActorRefusal::Beyond { .. } => Self::BeyondOwnRights,
        }
    }
}

fn change_failure(error: &ChangeError) -> Failure {
    let reason = Reason::of_change(&error.problem);
    if error.field == ACTOR_FIELD {
        return Failure::field(reason, ACTOR_FIELD, &error.problem);
    }
    let field = format!("changes[{}]{}", error.index, wire_field(&error.field));
    Failure::field(reason, field, &error.problem)
}

/// The core names fields by entity (`user.main_team`), the wire by change (`.put_user.main_team`).
fn wire_field(field: &str) -> String {
    let (entity, name) = field.split_once('.').unwrap_or((field, ""));
    let change = match entity {
        "" | "changes" => return String::new(),
        "account" => "put_account",
        "team" => "put_team",
        "permission_set" => "put_permission_set",
        "user" => "put_user",
        "grants" => "set_grants",
        "object_grant" => "set_object_grant",
        "access_group" => "put_access_group",
        "group_member" => "set_group_member",
        "resource" => "put_resource",
        "assignment" => "put_assignment",
        "membership" => "put_membership",
        "segment" => "put_segment",
        other => other,
    };
    // Settings lie flat in the patch of an account.
    let name = name.strip_prefix("settings.").unwrap_or(name);
    let name = match (entity, name) {
        ("resource" | "segment", "type") => "resource_type",
        ("resource", "creator") => "creator_user_id",
        ("grants" | "object_grant", "user") => "user_id",
        ("grants", "permission_set") => "permission_set_id",
        ("grants", "key") => "permission",
        ("grants", "level") => "terms",
        ("object_grant", "resource") => "resource_id",
        ("group_member", "group") => "access_group_id",
        (_, name) => name,
    };
    if name.is_empty() {
        format!(".{change}")
    } else {
        format!(".{change}.{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::model::Id;
    use std::sync::Arc;

    #[test]
    fn a_change_is_blamed_by_its_path_on_the_wire() {
        for (field, expected) in [
            ("user.main_team", "changes[4].put_user.main_team"),
            ("grants.key", "changes[4].set_grants.permission"),
            (
                "account.settings.request_ttl",
                "changes[4].put_account.request_ttl",
            ),
            (
                "object_grant.resource",
                "changes[4].set_object_grant.resource_id",
            ),
            ("changes", "changes[4]"),
        ] {
            let failure = Failure::from(DirectoryError::Change(ChangeError {
                index: 4,
                field: field.to_owned(),
                problem: ChangeProblem::TeamCycle("de".to_owned()),
            }));
            assert_eq!(failure.field.as_deref(), Some(expected));
            assert_eq!(failure.reason, Reason::TeamCycle);
        }
    }

    #[test]
    fn what_the_driver_said_stays_inside() {
        let secret = "SQLITE_IOERR at /var/lib/ambit/ambit.db";
        let error = StoreError::Unavailable(secret.into());
        let failure = Failure::from(ReadError::Store(Arc::new(error)));
        let status = tonic::Status::from(failure);
        assert_eq!(Reason::of(&status), Some(Reason::StoreUnavailable));
        let told = format!("{status:?}{}", String::from_utf8_lossy(status.details()));
        assert!(!told.contains("SQLITE") && !told.contains("/var"), "{told}");
    }

    #[test]
    fn an_unknown_account_is_the_same_wherever_it_shows() {
        let unknown = || ReadError::UnknownAccount(Id::parse("acme").unwrap());
        let read = Failure::from(unknown());
        let written = Failure::from(DirectoryError::Read(unknown()));
        assert_eq!(read, written);
        assert_eq!(read.reason, Reason::AccountNotFound);
    }
}
