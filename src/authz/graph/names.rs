//! Dense numbers for the ids that rows and postings refer to.

use std::hash::Hash;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::authz::model::{Id, PrincipalKind, Provenance};

type Index<K> = HashMap<K, u32, foldhash::quality::RandomState>;

/// Numbers a kind of name. A number is never given twice, so rows of an older snapshot and of a
/// newer one mean the same by it; names that are gone keep theirs until the account is loaded anew.
#[derive(Debug, Clone)]
pub(in crate::authz) struct Interner<K> {
    names: Vec<K>,
    index: Index<K>,
}

impl<K> Default for Interner<K> {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            index: Index::default(),
        }
    }
}

impl<K: Clone + Eq + Hash> Interner<K> {
    pub(in crate::authz) fn find<Q>(&self, name: &Q) -> Option<u32>
    where
        Q: Hash + Eq + ?Sized,
        K: std::borrow::Borrow<Q>,
    {
        self.index.get(name).copied()
    }

    pub(in crate::authz) fn name(&self, number: u32) -> Option<&K> {
        self.names.get(number as usize)
    }

    pub(in crate::authz) fn len(&self) -> usize {
        self.names.len()
    }

    fn insert(&mut self, name: &K) -> u32 {
        // Numbers stay below 2^30 (rows keep two bits beside them); `AccountGraph` refuses more
        // names long before, so saturating here can't be reached.
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(name.clone());
        self.index.insert(name.clone(), number);
        number
    }
}

/// Finds or gives a number; the interner is copied only when the name is new and a snapshot
/// shares it.
fn intern<K: Clone + Eq + Hash>(interner: &mut Arc<Interner<K>>, name: &K) -> u32 {
    match interner.find(name) {
        Some(number) => number,
        None => Arc::make_mut(interner).insert(name),
    }
}

#[derive(Debug, Clone, Default)]
pub(in crate::authz) struct Names {
    pub(in crate::authz) users: Arc<Interner<Id>>,
    pub(in crate::authz) teams: Arc<Interner<Id>>,
    pub(in crate::authz) groups: Arc<Interner<Id>>,
    provenances: Arc<Interner<Provenance>>,
}

impl Names {
    pub(in crate::authz) fn user(&mut self, id: &Id) -> u32 {
        intern(&mut self.users, id)
    }
    pub(in crate::authz) fn team(&mut self, id: &Id) -> u32 {
        intern(&mut self.teams, id)
    }
    pub(in crate::authz) fn group(&mut self, id: &Id) -> u32 {
        intern(&mut self.groups, id)
    }
    pub(super) fn provenance(&mut self, provenance: &Provenance) -> u32 {
        intern(&mut self.provenances, provenance)
    }
    pub(super) fn principal(&mut self, kind: PrincipalKind, id: &Id) -> u32 {
        match kind {
            PrincipalKind::User => self.user(id),
            PrincipalKind::Team => self.team(id),
            PrincipalKind::Group => self.group(id),
        }
    }
    pub(super) fn provenance_of(&self, number: u32) -> Option<&Provenance> {
        self.provenances.name(number)
    }
    pub(in crate::authz) fn principals(&self, kind: PrincipalKind) -> &Interner<Id> {
        match kind {
            PrincipalKind::User => &self.users,
            PrincipalKind::Team => &self.teams,
            PrincipalKind::Group => &self.groups,
        }
    }
    /// Numbers given so far, of all kinds.
    pub(super) fn len(&self) -> usize {
        self.users.len() + self.teams.len() + self.groups.len() + self.provenances.len()
    }
}
