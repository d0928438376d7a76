//! Why a user may not make a change.

use super::super::model::Id;

/// Of a write in the name of a user: what the rules of the account have against it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActorRefusal {
    #[error("`{0}` is no active user of the account")]
    Nobody(Id),
    /// The permission that it needs.
    #[error("the user does not hold `{0}`")]
    Lacks(String),
    #[error("{0}")]
    MayNot(&'static str),
    #[error("nobody changes their own rights, nor those of another user of the same person (D4)")]
    OwnRights,
    #[error(
        "it holds rights of `{0}`, who is account owner, super admin or partner admin: only account owner and super admins change those (D4)"
    )]
    Protected(Id),
    #[error("only account owner and super admins change this")]
    Reserved,
    #[error("only the account owner hands the account on")]
    OwnerOnly,
    #[error("{0}")]
    NoAuthority(String),
    #[error("the user does not hold {what}")]
    Beyond { what: String },
}
