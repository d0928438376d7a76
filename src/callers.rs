//! Who calls: services and batch jobs, never the end users that they ask about.
//!
//! The transport makes a [`Caller`] of a credential and puts it into the extensions of the request;
//! where no authentication is configured there is none, and whoever reaches the port may do all.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::authz::model::Id;

/// What a caller may do, on the accounts that it may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Ask: checks, lists, explanations, and reads of the directory.
    Check,
    /// File, list and resolve access requests.
    Request,
    /// Change an account in the name of one of its users, who is named.
    Write,
    /// Change accounts as an operator does, create and delete them, and send inline facts.
    Admin,
}

/// The accounts that a caller may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accounts {
    All,
    Only(BTreeSet<Id>),
}

/// One caller, as its credential says; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// How logs and the audit name it, e.g. `token:crm-backend`; never a credential.
    pub name: Arc<str>,
    pub roles: BTreeSet<Role>,
    pub accounts: Arc<Accounts>,
}

impl Accounts {
    pub fn contains(&self, account: &Id) -> bool {
        match self {
            Self::All => true,
            Self::Only(accounts) => accounts.contains(account),
        }
    }
}
