//! Who calls: services and batch jobs, never the end users that they ask about.
//!
//! The transport makes a [`Caller`] of a credential and puts it into the extensions of the request;
//! where no authentication is configured there is none, and whoever reaches the port may do all.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::authz::model::{Id, worded};

mod certificate;
mod token;

pub use certificate::SubjectName;
pub use token::{BearerToken, SecretHash, TokenId};

worded! {
    /// What a caller may do, on the accounts that it may name.
    Role {
        /// Ask: checks, lists, explanations, and reads of the directory.
        Check = "check",
        /// File, list and resolve access requests.
        Request = "request",
        /// Change an account in the name of one of its users, who is named.
        Write = "write",
        /// Change accounts as an operator does, create and delete them, and send inline facts.
        Admin = "admin",
    }
}

/// A set of roles.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// Whether a caller with these may do what the role is for; an admin may do everything.
    pub fn allow(self, role: Role) -> bool {
        self.contains(role) || self.contains(Role::Admin)
    }

    pub fn contains(self, role: Role) -> bool {
        self.0 & Self::bit(role) != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL
            .iter()
            .copied()
            .filter(move |role| self.contains(*role))
    }

    fn bit(role: Role) -> u8 {
        match role {
            Role::Check => 1,
            Role::Request => 2,
            Role::Write => 4,
            Role::Admin => 8,
        }
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(
            roles
                .into_iter()
                .fold(0, |bits, role| bits | Self::bit(role)),
        )
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.iter()).finish()
    }
}

/// As `check,request`.
impl fmt::Display for Roles {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.iter().map(Role::as_str).collect();
        formatter.write_str(&words.join(","))
    }
}

/// The accounts that a caller may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accounts {
    All,
    Only(BTreeSet<Id>),
}

impl Accounts {
    pub fn contains(&self, account: &Id) -> bool {
        match self {
            Self::All => true,
            Self::Only(accounts) => accounts.contains(account),
        }
    }
}

/// One caller, as its credential says; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// How logs and the audit name it, e.g. `token:crm-backend`; never a credential.
    pub name: Arc<str>,
    pub roles: Roles,
    pub accounts: Arc<Accounts>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_may_do_everything_and_nobody_else_more_than_their_roles() {
        let of = |roles: &[Role]| roles.iter().copied().collect::<Roles>();
        for role in Role::ALL {
            assert!(of(&[Role::Admin]).allow(*role));
            assert!(of(&[*role]).allow(*role));
            assert!(!Roles::default().allow(*role));
            for other in Role::ALL.iter().filter(|other| *other != role) {
                assert_eq!(of(&[*other]).allow(*role), *other == Role::Admin);
            }
        }
        assert_eq!(of(&[Role::Write, Role::Check]).to_string(), "check,write");
    }

    #[test]
    fn a_list_of_accounts_holds_those_and_no_pattern_of_others() {
        let id = |text: &str| Id::parse(text).unwrap();
        let some = Accounts::Only([id("acme"), id("*")].into());
        assert!(some.contains(&id("acme")) && some.contains(&id("*")));
        assert!(!some.contains(&id("acm")) && !some.contains(&id("Acme")));
        assert!(!Accounts::Only(BTreeSet::new()).contains(&id("acme")));
        assert!(Accounts::All.contains(&id("acme")));
    }
}
