//! What a caller may do in a call, and to which account.
//!
//! Handlers meet accounts as [`AdmittedAccount`]s only, and those are made here: so no handler reads,
//! writes or even looks for an account that its caller may not name. A foreign account is answered
//! like one that is not there, before anything is asked of it, so that not even the time tells.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;

use tonic::Extensions;

use super::bounds::AccountShare;
use super::convert;
use super::status::{Failure, Reason};
use crate::authz::model::Id;
use crate::callers::{Accounts, Caller, Role};
use crate::graph_cache::ReadError;

/// Who calls, in the extensions of every request that reaches a handler.
#[derive(Debug, Clone)]
pub struct Admission {
    whom: Whom,
    /// `None` where nobody bounds how many calls there are.
    share: Option<AccountShare>,
}

#[derive(Debug, Clone)]
enum Whom {
    /// The server asks nobody who they are.
    Anybody,
    Known(Caller),
}

/// An account that the caller may name; whether it is there is another question.
#[derive(Debug, Clone)]
pub struct AdmittedAccount {
    id: Id,
    may_state_facts: bool,
}

impl Admission {
    /// Where the server has no authentication.
    pub fn of_anybody() -> Self {
        Self {
            whom: Whom::Anybody,
            share: None,
        }
    }

    pub fn of_caller(caller: Caller) -> Self {
        Self {
            whom: Whom::Known(caller),
            share: None,
        }
    }

    /// What the layers in front have found out. Without that nobody is known, whatever the settings.
    pub fn of(extensions: &Extensions) -> Result<Self, Failure> {
        let admission: &Self = extensions.get().ok_or_else(Failure::unauthenticated)?;
        Ok(Self {
            whom: admission.whom.clone(),
            share: extensions.get().cloned(),
        })
    }

    /// The caller, where there are any.
    pub fn caller(&self) -> Option<&Caller> {
        match &self.whom {
            Whom::Anybody => None,
            Whom::Known(caller) => Some(caller),
        }
    }

    fn may(&self, role: Role) -> bool {
        self.caller().is_none_or(|caller| caller.roles.allow(role))
    }

    /// The account that a request names in its `account_id`. The call is one of that account from
    /// here on, which may have only so many of them.
    pub fn account(&self, account_id: &str) -> Result<AdmittedAccount, Failure> {
        let id = convert::id(account_id, "account_id")?;
        if !self.may_name(&id) {
            // As a read of an account that is not there fails.
            return Err(ReadError::UnknownAccount(id).into());
        }
        if let Some(share) = &self.share {
            share.count(&id)?;
        }
        Ok(AdmittedAccount {
            id,
            may_state_facts: self.may(Role::Admin),
        })
    }

    /// The other account that a request names, in this field, beside the one in its `account_id`, of
    /// which the call is one.
    pub fn counterpart(&self, account: &str, field: &str) -> Result<AdmittedAccount, Failure> {
        let id = convert::id(account, field)?;
        if !self.may_name(&id) {
            return Err(Failure::field(
                Reason::AccountNotFound,
                field,
                ReadError::UnknownAccount(id),
            ));
        }
        Ok(AdmittedAccount {
            id,
            may_state_facts: self.may(Role::Admin),
        })
    }

    /// Whether the caller may name an account; one that it may not is answered as absent.
    pub fn may_name(&self, account: &Id) -> bool {
        self.caller()
            .is_none_or(|caller| caller.accounts.contains(account))
    }

    /// The accounts to choose a list from; `None`: all of them.
    pub fn listed(&self) -> Option<&BTreeSet<Id>> {
        match self.caller().map(|caller| Arc::as_ref(&caller.accounts)) {
            None | Some(Accounts::All) => None,
            Some(Accounts::Only(accounts)) => Some(accounts),
        }
    }

    /// Whether a role allows what a request asks besides what its method needs.
    pub fn needs(&self, role: Role, field: &str, what: &str) -> Result<(), Failure> {
        if self.may(role) {
            return Ok(());
        }
        Err(Failure::field(
            Reason::RoleMissing,
            field,
            format_args!("{what} need the role `{role}`, which the caller does not have"),
        ))
    }

    /// A write without an actor is an operator's: the rules of the account judge only what one of its
    /// users does.
    pub fn writes_as(&self, actor_user_id: &str) -> Result<(), Failure> {
        if !actor_user_id.is_empty() || self.may(Role::Admin) {
            return Ok(());
        }
        Err(Failure::field(
            Reason::ActorRequired,
            "actor_user_id",
            "a caller with the role `write` names the user whose rights the write is judged by; one with `admin` need not",
        ))
    }
}

impl AdmittedAccount {
    /// Whether the caller may say what a resource looks like, and so open a wall.
    pub fn may_state_facts(&self) -> bool {
        self.may_state_facts
    }

    #[cfg(test)]
    pub fn for_tests(id: &str, may_state_facts: bool) -> Self {
        Self {
            id: Id::parse(id).unwrap(),
            may_state_facts,
        }
    }
}

impl Deref for AdmittedAccount {
    type Target = Id;

    fn deref(&self) -> &Id {
        &self.id
    }
}
