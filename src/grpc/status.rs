//! What goes wrong, as callers are told: one closed list of reasons, and one table from a reason to
//! its gRPC code and HTTP status. `docs/api.md` shows the same table, and a test keeps them equal.
//!
//! Everything that a caller is told passes through [`Failure`], whose text is made here or comes
//! from an error whose display is safe to show. What is not, such as the source of a store error,
//! is logged here and goes no further.

use std::fmt;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::wire;
use crate::authz::decision::UnknownName;
use crate::callers::Role;

mod from_errors;
mod from_refusals;

/// The domain of every reason in an `ErrorInfo`.
pub const DOMAIN: &str = "ambit";

/// Longest text that a caller is told, in bytes: status and details travel as HTTP/2 headers, of
/// which a client takes 16 KiB.
const MESSAGE_BYTES_MAX: usize = 1_024;

/// What a refused caller is asked to wait; who spreads it is the caller.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_millis(250);

/// A row of the table: how a reason is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub reason: Reason,
    pub name: &'static str,
    pub code: Code,
    pub http: u16,
    /// When it is given, in a sentence.
    pub meaning: &'static str,
}

/// Why a call failed. Closed: a new case is added here, to the table and to the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    InvalidField,
    MalformedMessage,
    MessageTooLarge,
    TooManyItems,
    TooManyChanges,
    UnknownResourceType,
    UnknownAction,
    UnknownReference,
    TeamCycle,
    PageTokenInvalid,
    RevisionMalformed,
    RevisionOfAnotherAccount,
    RevisionOfAnotherHistory,
    RevisionNotReached,
    RevisionMismatch,
    WriteConflict,
    AccountNotFound,
    UserNotFound,
    ResourceNotFound,
    AccountExists,
    IdempotencyKeyReused,
    NotEntitled,
    LastSuperAdmin,
    StoreRule,
    AccountUnusable,
    AccessRequestNotFound,
    NotificationNotFound,
    SegmentNotFound,
    SegmentJobNotFound,
    AlreadyAllowed,
    NotRequestable,
    RequestCoolingDown,
    TooManyPendingRequests,
    RequestNotPending,
    SelfApproval,
    SamePerson,
    RightFromRequester,
    NotAnApprover,
    BeyondOwnRights,
    NoAssignAuthority,
    ActorMayNot,
    OwnRights,
    ProtectedUser,
    ReservedChange,
    NotTheRequester,
    RequesterInactive,
    ResourceGone,
    NoLongerDenied,
    InsufficientResolution,
    WouldTakeAway,
    NothingToRevoke,
    TooMuchWork,
    BatchNotFound,
    BatchUnfinished,
    FormNotFound,
    ChangedSince,
    NotAPartner,
    NoPartnerManagement,
    NotPartnerAdmin,
    AccessLinkNotFound,
    AccessLinkExpired,
    AccessLinkRevoked,
    AccessLinkUsed,
    NoPartnership,
    StaffNotFound,
    StaffNotChangeable,
    StaffDeactivated,
    ContractorNotDeactivatable,
    SuperAdminNotRemovable,
    PreviewStale,
    SelfOnly,
    NotSuperAdmin,
    Unauthenticated,
    RoleMissing,
    ActorRequired,
    UnknownMethod,
    UnsupportedEncoding,
    Stale,
    StoreUnavailable,
    StoreFull,
    StoreInconsistent,
    Timeout,
    SlowReader,
    Overloaded,
    AccountOverloaded,
    ShuttingDown,
    Internal,
}

const fn row(
    reason: Reason,
    name: &'static str,
    code: Code,
    http: u16,
    meaning: &'static str,
) -> Row {
    Row {
        reason,
        name,
        code,
        http,
        meaning,
    }
}

/// The table. Its order is that of [`Reason`].
#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    row(Reason::InvalidField, "INVALID_FIELD", Code::InvalidArgument, 400, "A field of the request is missing or malformed; `BadRequest` names it."),
    row(Reason::MalformedMessage, "MALFORMED_MESSAGE", Code::InvalidArgument, 400, "The message is no valid protobuf of its type, e.g. a string that is not UTF-8."),
    row(Reason::MessageTooLarge, "MESSAGE_TOO_LARGE", Code::ResourceExhausted, 413, "A message is larger than its limit, before or after decompression."),
    row(Reason::TooManyItems, "TOO_MANY_ITEMS", Code::InvalidArgument, 400, "A batch has more than 10,000 items."),
    row(Reason::TooManyChanges, "TOO_MANY_CHANGES", Code::ResourceExhausted, 413, "A write has more than 1,000,000 changes or 64 MiB, or more of something than one entity may have."),
    row(Reason::UnknownResourceType, "UNKNOWN_RESOURCE_TYPE", Code::InvalidArgument, 400, "The account's catalog has no such resource type."),
    row(Reason::UnknownAction, "UNKNOWN_ACTION", Code::InvalidArgument, 400, "The resource type has no such action in the account's catalog."),
    row(Reason::UnknownReference, "UNKNOWN_REFERENCE", Code::InvalidArgument, 400, "A change names something that the account does not have."),
    row(Reason::TeamCycle, "TEAM_CYCLE", Code::InvalidArgument, 400, "A change would make a team its own ancestor."),
    row(Reason::PageTokenInvalid, "PAGE_TOKEN_INVALID", Code::InvalidArgument, 400, "The page token is forged, cut off, or was given for another request."),
    row(Reason::RevisionMalformed, "REVISION_MALFORMED", Code::InvalidArgument, 400, "The revision is no token that this server gave."),
    row(Reason::RevisionOfAnotherAccount, "REVISION_OF_ANOTHER_ACCOUNT", Code::InvalidArgument, 400, "The revision was given for another account."),
    row(Reason::RevisionOfAnotherHistory, "REVISION_OF_ANOTHER_HISTORY", Code::FailedPrecondition, 400, "The revision is of another database, or of one that was restored or forked since."),
    row(Reason::RevisionNotReached, "REVISION_NOT_REACHED", Code::FailedPrecondition, 400, "The account never stood at the revision: it is of a lost history, or forged."),
    row(Reason::RevisionMismatch, "REVISION_MISMATCH", Code::Aborted, 409, "The account does not stand at `expected_revision`."),
    row(Reason::WriteConflict, "WRITE_CONFLICT", Code::Aborted, 409, "Other writers were faster each time that the write was tried: try again."),
    row(Reason::AccountNotFound, "ACCOUNT_NOT_FOUND", Code::NotFound, 404, "There is no such account."),
    row(Reason::UserNotFound, "USER_NOT_FOUND", Code::NotFound, 404, "The account has no such user."),
    row(Reason::ResourceNotFound, "RESOURCE_NOT_FOUND", Code::NotFound, 404, "The account has no such resource."),
    row(Reason::AccountExists, "ACCOUNT_EXISTS", Code::AlreadyExists, 409, "There already is such an account."),
    row(Reason::IdempotencyKeyReused, "IDEMPOTENCY_KEY_REUSED", Code::AlreadyExists, 409, "The idempotency key was used for another request."),
    row(Reason::NotEntitled, "NOT_ENTITLED", Code::FailedPrecondition, 400, "The account's plan does not include what is asked for."),
    row(Reason::LastSuperAdmin, "LAST_SUPER_ADMIN", Code::FailedPrecondition, 400, "The change would leave the account without an active super admin."),
    row(Reason::StoreRule, "STORE_RULE", Code::FailedPrecondition, 400, "The change breaks a rule that the database itself keeps."),
    row(Reason::AccountUnusable, "ACCOUNT_UNUSABLE", Code::FailedPrecondition, 400, "What is stored of the account can't be decided on, e.g. after a plain SQL write: mend it."),
    row(Reason::AccessRequestNotFound, "ACCESS_REQUEST_NOT_FOUND", Code::NotFound, 404, "The account has no such access request."),
    row(Reason::NotificationNotFound, "NOTIFICATION_NOT_FOUND", Code::NotFound, 404, "The account has no such notification that is settled."),
    row(Reason::SegmentNotFound, "SEGMENT_NOT_FOUND", Code::NotFound, 404, "The account has no such segment."),
    row(Reason::SegmentJobNotFound, "SEGMENT_JOB_NOT_FOUND", Code::NotFound, 404, "The segment was not run over the records at this revision, or that is no longer remembered."),
    row(Reason::AlreadyAllowed, "ALREADY_ALLOWED", Code::FailedPrecondition, 400, "The check is ALLOW, so there is nothing to request."),
    row(Reason::NotRequestable, "NOT_REQUESTABLE", Code::FailedPrecondition, 400, "No access request could turn the denial, or not one of this kind."),
    row(Reason::RequestCoolingDown, "REQUEST_COOLING_DOWN", Code::ResourceExhausted, 429, "The same access request was denied lately."),
    row(Reason::TooManyPendingRequests, "TOO_MANY_PENDING_REQUESTS", Code::ResourceExhausted, 429, "The user has as many pending access requests as the account allows."),
    row(Reason::RequestNotPending, "REQUEST_NOT_PENDING", Code::Aborted, 409, "The access request has ended, perhaps a moment ago: read it."),
    row(Reason::SelfApproval, "SELF_APPROVAL", Code::PermissionDenied, 403, "Nobody resolves an access request of their own."),
    row(Reason::SamePerson, "SAME_PERSON", Code::PermissionDenied, 403, "Approver and requester are users of one person."),
    row(Reason::RightFromRequester, "RIGHT_FROM_REQUESTER", Code::PermissionDenied, 403, "The approver's right to manage users comes from the requester."),
    row(Reason::NotAnApprover, "NOT_AN_APPROVER", Code::PermissionDenied, 403, "The user is no active account owner, super admin or user who may edit users; or a partner user, where partners are let in."),
    row(Reason::BeyondOwnRights, "BEYOND_OWN_RIGHTS", Code::PermissionDenied, 403, "The approver, or the user in whose name it is written, does not hold what is given or taken."),
    row(Reason::NoAssignAuthority, "NO_ASSIGN_AUTHORITY", Code::PermissionDenied, 403, "The user may not assign the resource, or not to whom it is to go."),
    row(Reason::ActorMayNot, "ACTOR_MAY_NOT", Code::PermissionDenied, 403, "The user in whose name it is written may not do it."),
    row(Reason::OwnRights, "OWN_RIGHTS", Code::PermissionDenied, 403, "Nobody below account owner and super admin changes their own rights, nor those of another user of the same person."),
    row(Reason::ProtectedUser, "PROTECTED_USER", Code::PermissionDenied, 403, "Only account owner and super admins change an account owner, a super admin or a partner admin."),
    row(Reason::ReservedChange, "RESERVED_CHANGE", Code::PermissionDenied, 403, "Only account owner and super admins change this; the account owner alone hands the account on."),
    row(Reason::NotTheRequester, "NOT_THE_REQUESTER", Code::PermissionDenied, 403, "Only the requester cancels an access request."),
    row(Reason::RequesterInactive, "REQUESTER_INACTIVE", Code::FailedPrecondition, 400, "The requester is no active user of the account."),
    row(Reason::ResourceGone, "RESOURCE_GONE", Code::FailedPrecondition, 400, "The resource of the access request is gone."),
    row(Reason::NoLongerDenied, "NO_LONGER_DENIED", Code::FailedPrecondition, 400, "The check of the access request is ALLOW by now."),
    row(Reason::InsufficientResolution, "INSUFFICIENT_RESOLUTION", Code::FailedPrecondition, 400, "With the resolution the check would still be DENY."),
    row(Reason::WouldTakeAway, "WOULD_TAKE_AWAY", Code::FailedPrecondition, 400, "The resolution would take access from others."),
    row(Reason::NothingToRevoke, "NOTHING_TO_REVOKE", Code::FailedPrecondition, 400, "Nothing of what the access request gave is left."),
    row(Reason::TooMuchWork, "TOO_MUCH_WORK", Code::ResourceExhausted, 413, "The account is too large for the answer to be computed."),
    row(Reason::BatchNotFound, "BATCH_NOT_FOUND", Code::NotFound, 404, "The account has no such batch of assignments, or not any more."),
    row(Reason::BatchUnfinished, "BATCH_UNFINISHED", Code::FailedPrecondition, 400, "The batch is not finished: take it up, then undo it."),
    row(Reason::FormNotFound, "FORM_NOT_FOUND", Code::NotFound, 404, "The account has no such form."),
    row(Reason::ChangedSince, "CHANGED_SINCE", Code::FailedPrecondition, 400, "What a batch did has been changed since, so it is not taken back."),
    row(Reason::NotAPartner, "NOT_A_PARTNER", Code::FailedPrecondition, 400, "The account is neither a solutions partner nor a provider."),
    row(Reason::NoPartnerManagement, "NO_PARTNER_MANAGEMENT", Code::PermissionDenied, 403, "The user is no super admin of the agency's account, and may not view and edit `partner_management` there."),
    row(Reason::NotPartnerAdmin, "NOT_PARTNER_ADMIN", Code::PermissionDenied, 403, "The user is no active partner admin in the client."),
    row(Reason::AccessLinkNotFound, "ACCESS_LINK_NOT_FOUND", Code::NotFound, 404, "There is no such access link."),
    row(Reason::AccessLinkExpired, "ACCESS_LINK_EXPIRED", Code::FailedPrecondition, 400, "The access link is older than 30 days."),
    row(Reason::AccessLinkRevoked, "ACCESS_LINK_REVOKED", Code::FailedPrecondition, 400, "The access link was revoked."),
    row(Reason::AccessLinkUsed, "ACCESS_LINK_USED", Code::FailedPrecondition, 400, "The client approved the access link before, and what it gave was taken back since."),
    row(Reason::NoPartnership, "NO_PARTNERSHIP", Code::NotFound, 404, "The client has no users of that agency."),
    row(Reason::StaffNotFound, "STAFF_NOT_FOUND", Code::NotFound, 404, "No user of the client stands for that person of the agency."),
    row(Reason::StaffNotChangeable, "STAFF_NOT_CHANGEABLE", Code::PermissionDenied, 403, "No partner admin changes themselves, another partner admin or a super admin."),
    row(Reason::StaffDeactivated, "STAFF_DEACTIVATED", Code::FailedPrecondition, 400, "The person is deactivated in the client: reactivate them first."),
    row(Reason::ContractorNotDeactivatable, "CONTRACTOR_NOT_DEACTIVATABLE", Code::FailedPrecondition, 400, "A contractor is removed from clients, and not deactivated."),
    row(Reason::SuperAdminNotRemovable, "SUPER_ADMIN_NOT_REMOVABLE", Code::FailedPrecondition, 400, "The person is a super admin of the client, whom no partner admin removes."),
    row(Reason::PreviewStale, "PREVIEW_STALE", Code::Aborted, 409, "What was previewed has changed since, or was not previewed so: preview it again."),
    row(Reason::SelfOnly, "SELF_ONLY", Code::PermissionDenied, 403, "Nobody but oneself becomes a partner admin in place of a super admin."),
    row(Reason::NotSuperAdmin, "NOT_SUPER_ADMIN", Code::FailedPrecondition, 400, "The user is no active super admin of the account."),
    row(Reason::Unauthenticated, "UNAUTHENTICATED", Code::Unauthenticated, 401, "The call has no credential, or one that is not good: wrong, expired, revoked, or of nobody who is known here."),
    row(Reason::RoleMissing, "ROLE_MISSING", Code::PermissionDenied, 403, "The caller does not have the role that the method, or what is asked of it, needs."),
    row(Reason::ActorRequired, "ACTOR_REQUIRED", Code::PermissionDenied, 403, "A caller with the role `write` must name the user that it writes for; one with `admin` need not."),
    row(Reason::UnknownMethod, "UNKNOWN_METHOD", Code::Unimplemented, 501, "The server has no such service or method."),
    row(Reason::UnsupportedEncoding, "UNSUPPORTED_ENCODING", Code::Unimplemented, 501, "The message is compressed in a way that the server does not take."),
    row(Reason::Stale, "STALE", Code::Unavailable, 503, "The server can't tell that its picture is within the staleness bound."),
    row(Reason::StoreUnavailable, "STORE_UNAVAILABLE", Code::Unavailable, 503, "The database can't be reached."),
    row(Reason::StoreFull, "STORE_FULL", Code::ResourceExhausted, 507, "The database is full; nothing was written."),
    row(Reason::StoreInconsistent, "STORE_INCONSISTENT", Code::DataLoss, 500, "What is stored can't be read as what it should be."),
    row(Reason::Timeout, "TIMEOUT", Code::DeadlineExceeded, 504, "The call took longer than the server or the caller allows."),
    row(Reason::SlowReader, "SLOW_READER", Code::Aborted, 408, "The caller read nothing of a stream for as long as the server allows, 30 seconds by default."),
    row(Reason::Overloaded, "OVERLOADED", Code::ResourceExhausted, 429, "The server has as many calls as it takes at a time; `RetryInfo` says when to try again."),
    row(Reason::AccountOverloaded, "ACCOUNT_OVERLOADED", Code::ResourceExhausted, 429, "The account has as many calls as it may have at a time beside other accounts; `RetryInfo` says when to try again."),
    row(Reason::ShuttingDown, "SHUTTING_DOWN", Code::Unavailable, 503, "The server is shutting down: go on at another one."),
    row(Reason::Internal, "INTERNAL", Code::Internal, 500, "A defect of the server, which has logged it."),
];

impl Reason {
    pub fn row(self) -> &'static Row {
        TABLE
            .iter()
            .find(|row| row.reason == self)
            .unwrap_or(&INTERNAL_ROW)
    }

    pub fn name(self) -> &'static str {
        self.row().name
    }

    pub fn code(self) -> Code {
        self.row().code
    }

    pub fn from_name(name: &str) -> Option<Self> {
        TABLE
            .iter()
            .find(|row| row.name == name)
            .map(|row| row.reason)
    }

    /// The reason that a status carries; `None` for a status of another origin.
    pub fn of(status: &Status) -> Option<Self> {
        let info = status.get_details_error_info()?;
        if info.domain == DOMAIN {
            Self::from_name(&info.reason)
        } else {
            None
        }
    }
}

/// A test holds the table whole, so this stands in for nothing; it only spares a panic.
const INTERNAL_ROW: Row = row(Reason::Internal, "INTERNAL", Code::Internal, 500, "");

/// A failure as a caller is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub reason: Reason,
    /// Safe to show; names the field in words, and what to do.
    pub message: String,
    /// Wire path of the field that is wrong.
    pub field: Option<String>,
}

impl Failure {
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            field: None,
        }
    }

    /// A failure of one field, named by its path on the wire.
    pub fn field(reason: Reason, field: impl fmt::Display, message: impl fmt::Display) -> Self {
        Self {
            reason,
            message: message.to_string(),
            field: Some(field.to_string()),
        }
    }

    /// [`Reason::InvalidField`] for one field.
    pub fn invalid(field: impl fmt::Display, message: impl fmt::Display) -> Self {
        Self::field(Reason::InvalidField, field, message)
    }

    pub fn internal() -> Self {
        Self::new(
            Reason::Internal,
            "the call failed because of a defect of the server, which has logged it",
        )
    }

    /// One text for every credential that is not good, so that nobody learns what is wrong with it.
    pub fn unauthenticated() -> Self {
        Self::new(
            Reason::Unauthenticated,
            "a good credential is needed: send a bearer token in the metadata key `authorization`, or use a client certificate that is known here",
        )
    }

    pub fn role_missing(role: Role) -> Self {
        Self::new(
            Reason::RoleMissing,
            format!("the method needs the role `{role}`, which the caller does not have"),
        )
    }

    /// A type or action that the catalog doesn't have, blamed on the field that names it.
    pub fn unknown_name(error: &UnknownName) -> Self {
        let (reason, field) = match error {
            UnknownName::ResourceType(_) => (Reason::UnknownResourceType, "resource_type"),
            UnknownName::Action { .. } => (Reason::UnknownAction, "action"),
        };
        Self::field(reason, field, error)
    }

    /// The sentence that the status carries: for a failure of a field, with the field before it.
    fn sentence(&self) -> String {
        let sentence = match &self.field {
            Some(field) => format!("{field}: {}", self.message),
            None => self.message.clone(),
        };
        truncated(&sentence)
    }

    /// The failure of one item of a batch.
    pub fn into_item_error(self) -> wire::ItemError {
        let row = self.reason.row();
        wire::ItemError {
            code: row.code.into(),
            reason: row.name.to_owned(),
            message: truncated(&self.message),
            field: self.field.unwrap_or_default(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.sentence())
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let row = failure.reason.row();
        let mut details =
            ErrorDetails::with_error_info(row.name, DOMAIN, std::collections::HashMap::new());
        if let Some(field) = &failure.field {
            details.add_bad_request_violation(truncated(field), truncated(&failure.message));
        }
        if matches!(
            failure.reason,
            Reason::Overloaded | Reason::AccountOverloaded
        ) {
            details.set_retry_info(Some(RETRY_AFTER));
        }
        Status::with_error_details(row.code, failure.sentence(), details)
    }
}

/// At most [`MESSAGE_BYTES_MAX`] bytes, cut between two characters.
pub(super) fn truncated(text: &str) -> String {
    if text.len() <= MESSAGE_BYTES_MAX {
        return text.to_owned();
    }
    let mut shortened: String = text
        .char_indices()
        .take_while(|(at, character)| at + character.len_utf8() <= MESSAGE_BYTES_MAX - 3)
        .map(|(_at, character)| character)
        .collect();
    shortened.push_str("...");
    shortened
}

/// Gives a status that the stack below made itself (a message over its limit, an unknown method) a
/// reason of ours; one that has a reason is left as it is.
pub fn with_reason(status: Status) -> Status {
    if Reason::of(&status).is_some() {
        return status;
    }
    let failure = match status.code() {
        // tonic's decoder, for a message over the limit before and after decompression.
        Code::OutOfRange | Code::ResourceExhausted => {
            Failure::new(Reason::MessageTooLarge, status.message())
        }
        Code::Unimplemented if status.message().contains("compressed") => {
            Failure::new(Reason::UnsupportedEncoding, status.message())
        }
        Code::Unimplemented => Failure::new(
            Reason::UnknownMethod,
            "the server has no such service or method",
        ),
        Code::Cancelled | Code::DeadlineExceeded => Failure::new(
            Reason::Timeout,
            "the call was cancelled or took longer than is allowed",
        ),
        // A frame that is cut off, a compression flag that does not exist.
        Code::Internal | Code::Unknown | Code::InvalidArgument => Failure::new(
            Reason::MalformedMessage,
            "the request is not a valid gRPC message",
        ),
        Code::Ok
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => return status,
    };
    failure.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_one_row() {
        for (at, row) in TABLE.iter().enumerate() {
            assert_eq!(row.reason as usize, at, "{} is out of order", row.name);
            assert_eq!(row.reason.row(), row);
            assert_eq!(Reason::from_name(row.name), Some(row.reason));
            assert!(
                row.meaning.ends_with('.'),
                "{} has no sentence: {}",
                row.name,
                row.meaning
            );
        }
        // The last variant closes the list, so that none can be missing at its end.
        assert_eq!(TABLE.len(), Reason::Internal as usize + 1);
    }

    #[test]
    fn the_documentation_shows_the_table() {
        let docs = std::fs::read_to_string("docs/api.md").unwrap();
        let documented: Vec<&str> = docs
            .lines()
            .skip_while(|line| !line.starts_with("| reason |"))
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .collect();
        let expected: Vec<String> = TABLE
            .iter()
            .map(|row| {
                format!(
                    "| `{}` | {:?} | {} | {} |",
                    row.name, row.code, row.http, row.meaning
                )
            })
            .collect();
        assert_eq!(documented, expected);
    }

    #[test]
    fn a_failure_carries_reason_domain_and_field() {
        let status = Status::from(Failure::invalid(
            "items[3].user_id",
            "an id must not be empty",
        ));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(
            status.message(),
            "items[3].user_id: an id must not be empty"
        );
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            ("INVALID_FIELD", "ambit")
        );
        let violation = &details.bad_request().unwrap().field_violations[0];
        assert_eq!(violation.field, "items[3].user_id");
        assert_eq!(violation.description, "an id must not be empty");
        assert_eq!(Reason::of(&status), Some(Reason::InvalidField));
    }

    #[test]
    fn a_long_text_is_cut_between_two_characters() {
        let status = Status::from(Failure::invalid("changes[0]", "é".repeat(5_000)));
        assert!(status.message().len() <= MESSAGE_BYTES_MAX);
        assert!(status.message().ends_with("é..."));
    }

    #[test]
    fn what_the_stack_refuses_gets_a_reason() {
        for (status, reason) in [
            (Status::out_of_range("too large"), Reason::MessageTooLarge),
            (Status::resource_exhausted("bomb"), Reason::MessageTooLarge),
            (Status::unimplemented(""), Reason::UnknownMethod),
            (Status::internal("cut off"), Reason::MalformedMessage),
        ] {
            assert_eq!(Reason::of(&with_reason(status)), Some(reason));
        }
        let ours = Status::from(Failure::internal());
        assert_eq!(Reason::of(&with_reason(ours)), Some(Reason::Internal));
    }
}
