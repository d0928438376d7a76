//! A resource as bytes: its id and facts side by side, so that a check touches one place in memory.
//!
//! ```text
//! flags u8 | id length varint | id | [owning team varint] | [owners: count varint, varint each]
//!          | [assignments: count varint, each: number << 2 | kind varint,
//!             and in a detailed row: mask u8 | [expires_at i64 LE] | [provenance varint]]
//! ```

use smallvec::SmallVec;

use super::names::Names;
use crate::authz::model::{
    Assignment, Id, Principal, PrincipalKind, Provenance, Resource, ResourceKey, Timestamp,
};

const ALIVE: u8 = 1;
const PARTITIONED: u8 = 1 << 1;
const STAMPED: u8 = 1 << 2;
const OWNED: u8 = 1 << 3;
const ASSIGNED: u8 = 1 << 4;
const DETAILED: u8 = 1 << 5;

const HAS_EXPIRY: u8 = 1;
const HAS_PROVENANCE: u8 = 1 << 1;

/// Most owners of one resource, and most assignments of one: with these a page of rows stays far
/// below the 4 GiB that its offsets can say.
pub(super) const REFERENCES_MAX: usize = 65_536;

/// The facts of a resource that a decision reads, as numbers.
#[derive(Debug, Clone, Default)]
pub(in crate::authz) struct Facts {
    pub(in crate::authz) owners: SmallVec<[u32; 2]>,
    pub(in crate::authz) owning_team: Option<u32>,
    pub(in crate::authz) partitioned: bool,
    pub(in crate::authz) assignments: SmallVec<[AssignmentFact; 4]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::authz) struct AssignmentFact {
    pub(in crate::authz) kind: PrincipalKind,
    pub(in crate::authz) principal: u32,
    pub(in crate::authz) expires_at: Option<Timestamp>,
    /// Number of a provenance, `None` for MANUAL.
    pub(super) provenance: Option<u32>,
}

impl AssignmentFact {
    pub(in crate::authz) fn described(
        kind: PrincipalKind,
        principal: u32,
        expires_at: Option<Timestamp>,
    ) -> Self {
        Self {
            kind,
            principal,
            expires_at,
            provenance: None,
        }
    }
    /// By whom or what it was made.
    pub(super) fn provenance(&self, names: &Names) -> Option<Provenance> {
        match self.provenance {
            None => Some(Provenance::Manual),
            Some(number) => names.provenance_of(number).cloned(),
        }
    }
    /// The number of its provenance, `None` for MANUAL.
    pub(super) fn made_by(&self) -> Option<u32> {
        self.provenance
    }
    pub(in crate::authz) fn is_live(&self, at: Timestamp) -> bool {
        self.expires_at.is_none_or(|expires_at| at < expires_at)
    }
}

impl Facts {
    pub(super) fn of(resource: &Resource, names: &mut Names) -> Self {
        Self {
            owners: resource
                .owners
                .iter()
                .map(|owner| names.user(owner))
                .collect(),
            owning_team: resource.owning_team.as_ref().map(|team| names.team(team)),
            // 3.5 holds here whatever the store says: an assigned resource is a partitioned one.
            partitioned: resource.partitioned || !resource.assignments.is_empty(),
            assignments: resource
                .assignments
                .iter()
                .map(|assignment| AssignmentFact {
                    kind: assignment.principal.kind(),
                    principal: names
                        .principal(assignment.principal.kind(), assignment.principal.id()),
                    expires_at: assignment.expires_at,
                    provenance: match &assignment.provenance {
                        Provenance::Manual => None,
                        other => Some(names.provenance(other)),
                    },
                })
                .collect(),
        }
    }

    /// Back to the model; numbers that no name has (there are none) are left out.
    pub(super) fn to_resource(&self, key: ResourceKey, names: &Names) -> Resource {
        let assignment = |fact: &AssignmentFact| {
            Some(Assignment {
                principal: Principal::new(
                    fact.kind,
                    names.principals(fact.kind).name(fact.principal)?.clone(),
                ),
                provenance: fact.provenance(names)?,
                expires_at: fact.expires_at,
            })
        };
        Resource {
            key,
            owners: self
                .owners
                .iter()
                .filter_map(|owner| names.users.name(*owner).cloned())
                .collect(),
            owning_team: self
                .owning_team
                .and_then(|team| names.teams.name(team).cloned()),
            partitioned: self.partitioned,
            assignments: self.assignments.iter().filter_map(assignment).collect(),
        }
    }

    /// Principals of the assignments that don't end by themselves.
    pub(super) fn lasting(&self) -> impl Iterator<Item = (PrincipalKind, u32)> {
        let lasting = self
            .assignments
            .iter()
            .filter(|assignment| assignment.expires_at.is_none());
        lasting.map(|assignment| (assignment.kind, assignment.principal))
    }

    /// Whether any assignment ends by itself.
    pub(super) fn is_timed(&self) -> bool {
        self.assignments
            .iter()
            .any(|assignment| assignment.expires_at.is_some())
    }
}

/// Appends the row of a resource to `out`.
pub(super) fn encode(id: &str, facts: &Facts, out: &mut Vec<u8>) {
    let detailed = facts
        .assignments
        .iter()
        .any(|fact| fact.expires_at.is_some() || fact.provenance.is_some());
    let flag = |condition: bool, bit: u8| if condition { bit } else { 0 };
    out.push(
        ALIVE
            | flag(facts.partitioned, PARTITIONED)
            | flag(facts.owning_team.is_some(), STAMPED)
            | flag(!facts.owners.is_empty(), OWNED)
            | flag(!facts.assignments.is_empty(), ASSIGNED)
            | flag(detailed, DETAILED),
    );
    put_varint(id.len() as u64, out);
    out.extend_from_slice(id.as_bytes());
    if let Some(team) = facts.owning_team {
        put_varint(u64::from(team), out);
    }
    if !facts.owners.is_empty() {
        put_varint(facts.owners.len() as u64, out);
        facts
            .owners
            .iter()
            .for_each(|owner| put_varint(u64::from(*owner), out));
    }
    if facts.assignments.is_empty() {
        return;
    }
    put_varint(facts.assignments.len() as u64, out);
    for fact in &facts.assignments {
        let kind = match fact.kind {
            PrincipalKind::User => 0,
            PrincipalKind::Team => 1,
            PrincipalKind::Group => 2,
        };
        put_varint(u64::from(fact.principal) << 2 | kind, out);
        if detailed {
            out.push(
                flag(fact.expires_at.is_some(), HAS_EXPIRY)
                    | flag(fact.provenance.is_some(), HAS_PROVENANCE),
            );
            if let Some(expires_at) = fact.expires_at {
                out.extend_from_slice(&expires_at.unix_micros().to_le_bytes());
            }
            if let Some(provenance) = fact.provenance {
                put_varint(u64::from(provenance), out);
            }
        }
    }
}

/// An encoded row. Rows are only ever made by [`encode`], so a read past the end can't happen; it
/// would give zeroes, never a panic.
#[derive(Debug, Clone, Copy)]
pub(in crate::authz) struct Row<'a>(&'a [u8]);

impl<'a> Row<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// The same row marked as deleted; its id stays, since the order of ids is searched by it.
    pub(super) fn tombstone(self, out: &mut Vec<u8>) {
        let mut reader = self.reader();
        reader.byte();
        let id = reader.take_id();
        out.push(0);
        put_varint(id.len() as u64, out);
        out.extend_from_slice(id);
    }

    pub(super) fn is_alive(self) -> bool {
        self.reader().byte() & ALIVE != 0
    }

    pub(in crate::authz) fn id(self) -> &'a str {
        std::str::from_utf8(self.id_bytes()).unwrap_or_default()
    }

    /// The id where it is only compared: ids order and equal bytewise.
    pub(super) fn id_bytes(self) -> &'a [u8] {
        let mut reader = self.reader();
        reader.byte();
        reader.take_id()
    }

    pub(in crate::authz) fn facts(self) -> Facts {
        let mut reader = self.reader();
        let flags = reader.byte();
        reader.take_id();
        let owning_team = (flags & STAMPED != 0).then(|| reader.number());
        let mut facts = Facts {
            owning_team,
            partitioned: flags & PARTITIONED != 0,
            owners: SmallVec::new(),
            assignments: SmallVec::new(),
        };
        if flags & OWNED != 0 {
            let count = reader.varint();
            facts.owners.extend((0..count).map(|_| reader.number()));
        }
        if flags & ASSIGNED != 0 {
            let count = reader.varint();
            facts
                .assignments
                .extend((0..count).map(|_| reader.assignment(flags & DETAILED != 0)));
        }
        facts
    }

    fn reader(self) -> Reader<'a> {
        Reader(self.0)
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((byte, rest)) => {
                self.0 = rest;
                *byte
            }
            None => 0,
        }
    }

    fn varint(&mut self) -> u64 {
        let mut value = u64::from(self.byte());
        if value < 0x80 {
            return value;
        }
        value &= 0x7f;
        for shift in (7..64).step_by(7) {
            let byte = self.byte();
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }

    fn number(&mut self) -> u32 {
        u32::try_from(self.varint()).unwrap_or(u32::MAX)
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at_checked(len).unwrap_or((&[], &[]));
        self.0 = rest;
        taken
    }

    fn take_id(&mut self) -> &'a [u8] {
        let len = usize::try_from(self.varint()).unwrap_or(usize::MAX);
        self.take(len)
    }

    fn assignment(&mut self, detailed: bool) -> AssignmentFact {
        let tagged = self.varint();
        let kind = match tagged & 3 {
            0 => PrincipalKind::User,
            1 => PrincipalKind::Team,
            _ => PrincipalKind::Group,
        };
        let mut fact =
            AssignmentFact::described(kind, u32::try_from(tagged >> 2).unwrap_or(u32::MAX), None);
        if detailed {
            let mask = self.byte();
            if mask & HAS_EXPIRY != 0 {
                let bytes: [u8; 8] = self.take(8).try_into().unwrap_or_default();
                fact.expires_at = Timestamp::from_unix_micros(i64::from_le_bytes(bytes));
            }
            if mask & HAS_PROVENANCE != 0 {
                fact.provenance = Some(self.number());
            }
        }
        fact
    }
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}

/// The key of a row of a type.
pub(super) fn key_of(resource_type: &Id, id: &str) -> Option<ResourceKey> {
    Some(ResourceKey {
        resource_type: resource_type.clone(),
        id: Id::parse(id).ok()?,
    })
}
