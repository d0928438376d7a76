//! The resources of one type: rows by ordinal, ids to ordinals, and postings by principal.
//!
//! Ordinals below `sorted` are in id byte order, as they were at the last rebuild; newer ids follow
//! in the *tail*, in the order of their arrival. So a page in id order is a binary search and a walk,
//! and a tail that has grown past an eighth of the whole is merged by building the index anew.
//!
//! INVARIANT (postings): the postings hold an ordinal for exactly the facts of its living row, but
//! for assignments that expire: rows with any of those are in `timed` and are judged one by one.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashTable;
use roaring::RoaringBitmap;
use smallvec::SmallVec;

use super::GraphError;
use super::cow::CowVec;
use super::row::{self, Facts, Row};
use crate::authz::model::{Id, PrincipalKind};

mod touched;

const PAGE_ROWS: usize = 128;
/// Shards of the tail's id table: an insertion copies one of them.
const TAIL_SHARDS: usize = 64;
/// A tail up to this size is never worth a rebuild.
const TAIL_MIN: usize = 8_192;
/// Ordinals are 32 bits; the limit leaves room for a tail.
const ROWS_MAX: u32 = 2_000_000_000;

type Hasher = foldhash::quality::RandomState;

/// 128 rows: where each starts, then their bytes, in one allocation.
#[derive(Debug, Clone)]
struct Page {
    starts: [u32; PAGE_ROWS + 1],
    rows: Box<[u8]>,
}

/// For each number of a kind of principal, the ordinals that refer to it.
#[derive(Debug, Clone, Default)]
pub(in crate::authz) struct Postings(CowVec<Option<Arc<RoaringBitmap>>>);

impl Postings {
    pub(in crate::authz) fn get(&self, number: u32) -> Option<&RoaringBitmap> {
        self.0.get(number as usize)?.as_deref()
    }

    pub(in crate::authz) fn iter(&self) -> impl Iterator<Item = (u32, &RoaringBitmap)> {
        (0u32..)
            .zip(self.0.iter())
            .filter_map(|(number, bitmap)| Some((number, bitmap.as_deref()?)))
    }

    fn edit(&mut self, number: u32, edit: impl FnOnce(&mut RoaringBitmap)) {
        while self.0.len() <= number as usize {
            self.0.push(None);
        }
        if let Some(slot) = self.0.get_mut(number as usize) {
            edit(Arc::make_mut(slot.get_or_insert_with(Arc::default)));
        }
    }

    fn bytes(&self) -> usize {
        self.0.len() * 8
            + self
                .0
                .iter()
                .flatten()
                .map(|bitmap| bitmap_bytes(bitmap))
                .sum::<usize>()
    }
}

fn bitmap_bytes(bitmap: &RoaringBitmap) -> usize {
    // Each container takes a header and a vector beside its serialized form.
    bitmap.serialized_size() + 48 * bitmap.statistics().n_containers as usize
}

#[derive(Debug, Clone, Default)]
pub(in crate::authz) struct AllPostings {
    pub(in crate::authz) alive: Arc<RoaringBitmap>,
    pub(in crate::authz) partitioned: Arc<RoaringBitmap>,
    pub(in crate::authz) has_owner: Arc<RoaringBitmap>,
    pub(in crate::authz) has_owning_team: Arc<RoaringBitmap>,
    /// Rows with an assignment that expires.
    pub(in crate::authz) timed: Arc<RoaringBitmap>,
    pub(in crate::authz) owners: Postings,
    pub(in crate::authz) owning_teams: Postings,
    pub(in crate::authz) assigned_users: Postings,
    pub(in crate::authz) assigned_teams: Postings,
    pub(in crate::authz) assigned_groups: Postings,
}

impl AllPostings {
    fn assigned(&mut self, kind: PrincipalKind) -> &mut Postings {
        match kind {
            PrincipalKind::User => &mut self.assigned_users,
            PrincipalKind::Team => &mut self.assigned_teams,
            PrincipalKind::Group => &mut self.assigned_groups,
        }
    }

    /// Follows a row from its facts before to those after; `None`: it is not alive. Only what
    /// differs is touched, since each touch may copy a bitmap that another snapshot shares.
    fn replace(&mut self, ordinal: u32, before: Option<&Facts>, after: Option<&Facts>) {
        type Flag<'a> = (&'a mut Arc<RoaringBitmap>, fn(&Facts) -> bool);
        let flags: [Flag<'_>; 5] = [
            (&mut self.alive, |_| true),
            (&mut self.partitioned, |facts| facts.partitioned),
            (&mut self.has_owner, |facts| !facts.owners.is_empty()),
            (&mut self.has_owning_team, |facts| {
                facts.owning_team.is_some()
            }),
            (&mut self.timed, Facts::is_timed),
        ];
        for (bitmap, holds) in flags {
            let add = after.is_some_and(holds);
            if before.is_some_and(holds) != add {
                flip(Arc::make_mut(bitmap), ordinal, add);
            }
        }
        let none = Facts::default();
        let (before, after) = (before.unwrap_or(&none), after.unwrap_or(&none));
        self.flip_missing(ordinal, before, after, false);
        self.flip_missing(ordinal, after, before, true);
    }

    /// Adds a row that was not there before.
    fn add(&mut self, ordinal: u32, facts: &Facts) {
        let flags = [
            (&mut self.alive, true),
            (&mut self.partitioned, facts.partitioned),
            (&mut self.has_owner, !facts.owners.is_empty()),
            (&mut self.has_owning_team, facts.owning_team.is_some()),
            (&mut self.timed, facts.is_timed()),
        ];
        for (bitmap, _) in flags.into_iter().filter(|(_, holds)| *holds) {
            Arc::make_mut(bitmap).insert(ordinal);
        }
        let add = |postings: &mut Postings, number| {
            postings.edit(number, |bitmap| flip(bitmap, ordinal, true));
        };
        for owner in &facts.owners {
            add(&mut self.owners, *owner);
        }
        if let Some(team) = facts.owning_team {
            add(&mut self.owning_teams, team);
        }
        for (kind, principal) in facts.lasting() {
            add(self.assigned(kind), principal);
        }
    }

    /// Adds or removes the ordinal for each principal of `of` that `other` does not have.
    fn flip_missing(&mut self, ordinal: u32, of: &Facts, other: &Facts, add: bool) {
        for owner in missing(of.owners.iter().copied(), other.owners.iter().copied()) {
            self.owners.edit(owner, |bitmap| flip(bitmap, ordinal, add));
        }
        if let Some(team) = of
            .owning_team
            .filter(|team| other.owning_team != Some(*team))
        {
            self.owning_teams
                .edit(team, |bitmap| flip(bitmap, ordinal, add));
        }
        for (kind, principal) in missing(of.lasting(), other.lasting()) {
            self.assigned(kind)
                .edit(principal, |bitmap| flip(bitmap, ordinal, add));
        }
    }

    fn bytes(&self) -> usize {
        let flags = [
            &self.alive,
            &self.partitioned,
            &self.has_owner,
            &self.has_owning_team,
            &self.timed,
        ];
        let postings = [
            &self.owners,
            &self.owning_teams,
            &self.assigned_users,
            &self.assigned_teams,
            &self.assigned_groups,
        ];
        flags
            .into_iter()
            .map(|bitmap| bitmap_bytes(bitmap))
            .sum::<usize>()
            + postings.into_iter().map(Postings::bytes).sum::<usize>()
    }
}

/// Items of `of` that `other` does not have.
fn missing<T: Ord + Copy>(
    of: impl Iterator<Item = T>,
    other: impl Iterator<Item = T>,
) -> impl Iterator<Item = T> {
    let mut other: SmallVec<[T; 8]> = other.collect();
    other.sort_unstable();
    of.filter(move |item| other.binary_search(item).is_err())
}

fn flip(bitmap: &mut RoaringBitmap, ordinal: u32, add: bool) {
    if add {
        bitmap.insert(ordinal);
    } else {
        bitmap.remove(ordinal);
    }
}

#[derive(Debug, Clone)]
pub(in crate::authz) struct TypeIndex {
    pub(super) resource_type: Id,
    hasher: Hasher,
    pages: CowVec<Arc<Page>>,
    len: u32,
    /// Ordinals below this are in id byte order, deleted ones included.
    sorted: u32,
    base: Arc<HashTable<u32>>,
    tail: Vec<Arc<HashTable<u32>>>,
    pub(in crate::authz) postings: AllPostings,
    row_bytes: usize,
}

/// Collects the rows of an index. While ids come in their order, as they do in a load, each row goes
/// where it stays at once, so that little is left to do at the end.
#[derive(Debug, Default)]
pub(super) struct IndexBuilder {
    pages: CowVec<Arc<Page>>,
    postings: AllPostings,
    row_bytes: usize,
    /// The rows after those of the pages: the next page's, or all once an id came out of order.
    rows: Vec<u8>,
    starts: Vec<usize>,
    unsorted: bool,
}

impl IndexBuilder {
    pub(super) fn push(&mut self, id: &str, facts: &Facts) {
        let follows = |last: Row<'_>| last.id_bytes() < id.as_bytes();
        if !self.unsorted && !self.last().is_none_or(follows) {
            self.give_up_order();
        }
        self.starts.push(self.rows.len());
        row::encode(id, facts, &mut self.rows);
        self.settle(facts);
    }

    /// Puts the row that was just added in its place.
    fn settle(&mut self, facts: &Facts) {
        if self.unsorted {
            return;
        }
        // More rows than ordinals are refused at the end.
        let ordinal = u32::try_from(self.len() - 1).unwrap_or(u32::MAX);
        self.postings.add(ordinal, facts);
        if self.starts.len() == PAGE_ROWS {
            self.turn_page();
        }
    }

    fn turn_page(&mut self) {
        let page = Page::of((0..self.starts.len()).map(|at| self.row(at)));
        self.row_bytes += page.bytes();
        self.pages.push(Arc::new(page));
        self.rows.clear();
        self.starts.clear();
    }

    fn give_up_order(&mut self) {
        let before = std::mem::take(self);
        self.unsorted = true;
        for at in 0..before.pages.len() * PAGE_ROWS {
            if let Some(page) = before.pages.get(at / PAGE_ROWS) {
                self.add(page.row(at % PAGE_ROWS));
            }
        }
        for at in 0..before.starts.len() {
            self.add(before.row(at));
        }
    }

    fn add(&mut self, row: Row<'_>) {
        self.starts.push(self.rows.len());
        self.rows.extend_from_slice(row.bytes());
    }

    fn len(&self) -> usize {
        self.pages.len() * PAGE_ROWS + self.starts.len()
    }

    fn last(&self) -> Option<Row<'_>> {
        match self.starts.len().checked_sub(1) {
            Some(at) => Some(self.row(at)),
            None => {
                let page = self.pages.get(self.pages.len().checked_sub(1)?)?;
                Some(page.row(PAGE_ROWS - 1))
            }
        }
    }

    /// Of those after the pages.
    fn row(&self, at: usize) -> Row<'_> {
        let start = self.starts.get(at).copied().unwrap_or_default();
        let end = self.starts.get(at + 1).copied().unwrap_or(self.rows.len());
        Row::new(self.rows.get(start..end).unwrap_or_default())
    }

    pub(super) fn finish(mut self, resource_type: Id) -> Result<TypeIndex, GraphError> {
        if self.unsorted {
            self = self.sorted();
        }
        let len = u32::try_from(self.len())
            .ok()
            .filter(|len| *len <= ROWS_MAX)
            .ok_or_else(too_many)?;
        if !self.starts.is_empty() {
            self.turn_page();
        }
        let mut index = TypeIndex::empty(resource_type);
        index.len = len;
        index.sorted = len;
        index.pages = self.pages;
        index.row_bytes = self.row_bytes;
        index.postings = self.postings;
        let mut base = HashTable::with_capacity(len as usize);
        for ordinal in 0..len {
            let hash = index.hasher.hash_one(index.row(ordinal).id_bytes());
            base.insert_unique(hash, ordinal, |_| 0);
        }
        index.base = Arc::new(base);
        Ok(index)
    }

    /// The same rows in the order of their ids. Of rows with one id the last is kept, as if it had
    /// overwritten the others.
    fn sorted(self) -> Self {
        let mut order: Vec<usize> = (0..self.starts.len()).collect();
        order.sort_by(|left, right| {
            self.row(*left)
                .id()
                .cmp(self.row(*right).id())
                .then(right.cmp(left))
        });
        order.dedup_by(|later, earlier| {
            self.row(*later).id_bytes() == self.row(*earlier).id_bytes()
        });
        let mut sorted = Self::default();
        for at in order {
            let row = self.row(at);
            sorted.add(row);
            sorted.settle(&row.facts());
        }
        sorted
    }
}

impl Page {
    /// Of at most [`PAGE_ROWS`] rows.
    fn of<'a>(rows: impl Iterator<Item = Row<'a>>) -> Self {
        let mut starts = [0u32; PAGE_ROWS + 1];
        let mut bytes = Vec::new();
        let mut end = 0;
        for (row, start) in rows
            .map(Some)
            .chain(std::iter::repeat(None))
            .zip(&mut starts)
        {
            // Rows that aren't there yet are empty.
            *start = end;
            if let Some(row) = row {
                bytes.extend_from_slice(row.bytes());
                // `REFERENCES_MAX` keeps a page far below 4 GiB.
                end = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            }
        }
        Self {
            starts,
            rows: bytes.into_boxed_slice(),
        }
    }

    fn row(&self, at: usize) -> Row<'_> {
        let start = self.starts.get(at).copied().unwrap_or_default() as usize;
        let end = self.starts.get(at + 1).copied().unwrap_or_default() as usize;
        Row::new(self.rows.get(start..end).unwrap_or_default())
    }

    /// This page with one row replaced or, at its end, added.
    fn with(&self, at: usize, row: Row<'_>, count: usize) -> Self {
        Self::of((0..count).map(|other| if other == at { row } else { self.row(other) }))
    }

    fn bytes(&self) -> usize {
        std::mem::size_of::<Self>() + self.rows.len() + 32
    }
}

impl TypeIndex {
    pub(super) fn empty(resource_type: Id) -> Self {
        Self {
            resource_type,
            hasher: Hasher::default(),
            pages: CowVec::default(),
            len: 0,
            sorted: 0,
            base: Arc::default(),
            tail: vec![Arc::default(); TAIL_SHARDS],
            postings: AllPostings::default(),
            row_bytes: 0,
        }
    }

    /// The row of an ordinal that this index gave out.
    pub(in crate::authz) fn row(&self, ordinal: u32) -> Row<'_> {
        let at = ordinal as usize;
        self.pages
            .get(at / PAGE_ROWS)
            .map_or(Row::new(&[]), |page| page.row(at % PAGE_ROWS))
    }

    /// The ordinal of a living resource.
    pub(in crate::authz) fn find(&self, id: &str) -> Option<u32> {
        self.find_any(id)
            .filter(|ordinal| self.row(*ordinal).is_alive())
    }

    fn find_any(&self, id: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(id.as_bytes());
        let same = |ordinal: &u32| self.row(*ordinal).id_bytes() == id.as_bytes();
        self.base
            .find(hash, same)
            .or_else(|| self.tail.get(shard_of(hash))?.find(hash, same))
            .copied()
    }

    pub(super) fn count(&self) -> u64 {
        self.postings.alive.len()
    }

    pub(super) fn put(&mut self, id: &str, facts: &Facts) -> Result<(), GraphError> {
        let mut bytes = Vec::with_capacity(id.len() + 32);
        row::encode(id, facts, &mut bytes);
        let (ordinal, before) = match self.find_any(id) {
            Some(ordinal) => {
                let before = self.living_facts(ordinal);
                self.write(ordinal, Row::new(&bytes));
                (ordinal, before)
            }
            None => (self.append(id, Row::new(&bytes))?, None),
        };
        self.postings.replace(ordinal, before.as_ref(), Some(facts));
        Ok(())
    }

    pub(super) fn delete(&mut self, id: &str) {
        let Some(ordinal) = self.find(id) else { return };
        let before = self.living_facts(ordinal);
        self.postings.replace(ordinal, before.as_ref(), None);
        let mut bytes = Vec::new();
        self.row(ordinal).tombstone(&mut bytes);
        self.write(ordinal, Row::new(&bytes));
    }

    fn living_facts(&self, ordinal: u32) -> Option<Facts> {
        Some(self.row(ordinal))
            .filter(|row| row.is_alive())
            .map(Row::facts)
    }

    fn append(&mut self, id: &str, row: Row<'_>) -> Result<u32, GraphError> {
        if self.len >= ROWS_MAX {
            return Err(too_many());
        }
        let ordinal = self.len;
        self.len += 1;
        self.write(ordinal, row);
        let hash = self.hasher.hash_one(id.as_bytes());
        // The shard is taken out while its rehasher reads rows of `self`.
        let mut shard = self
            .tail
            .get_mut(shard_of(hash))
            .map(std::mem::take)
            .unwrap_or_default();
        Arc::make_mut(&mut shard).insert_unique(hash, ordinal, |other| {
            self.hasher.hash_one(self.row(*other).id_bytes())
        });
        if let Some(slot) = self.tail.get_mut(shard_of(hash)) {
            *slot = shard;
        }
        Ok(ordinal)
    }

    fn write(&mut self, ordinal: u32, row: Row<'_>) {
        let (page_at, at) = (ordinal as usize / PAGE_ROWS, ordinal as usize % PAGE_ROWS);
        let count = (self.len as usize - page_at * PAGE_ROWS).min(PAGE_ROWS);
        match self.pages.get_mut(page_at) {
            Some(page) => {
                let next = page.with(at, row, count);
                self.row_bytes = (self.row_bytes + next.bytes()).saturating_sub(page.bytes());
                *page = Arc::new(next);
            }
            None => {
                let page = Page::of(std::iter::once(row));
                self.row_bytes += page.bytes();
                self.pages.push(Arc::new(page));
            }
        }
    }

    /// Whether so much was added or deleted since the last rebuild that it is due.
    pub(super) fn wants_rebuild(&self) -> bool {
        let tail = (self.len - self.sorted) as usize;
        let dead =
            self.len as usize - usize::try_from(self.postings.alive.len()).unwrap_or(usize::MAX);
        tail > TAIL_MIN.max(self.sorted as usize / 8) || dead > TAIL_MIN.max(self.len as usize / 2)
    }

    /// The same living rows, in id order, without a tail.
    pub(super) fn rebuilt(&self) -> Result<Self, GraphError> {
        let mut builder = IndexBuilder::default();
        for ordinal in self.ordered(&self.postings.alive, None, usize::MAX) {
            let row = self.row(ordinal);
            builder.push(row.id(), &row.facts());
        }
        builder.finish(self.resource_type.clone())
    }

    /// Of these living ordinals those whose ids follow `after`, in id byte order, at most `limit`.
    pub(in crate::authz) fn ordered(
        &self,
        of: &RoaringBitmap,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<u32> {
        let id = |ordinal: u32| self.row(ordinal).id_bytes();
        let after = after.map(str::as_bytes);
        let follows = |ordinal: u32| after.is_none_or(|after| id(ordinal) > after);
        let start = after.map_or(0, |after| {
            partition_point(self.sorted, |ordinal| id(ordinal) <= after)
        });
        let mut tail: Vec<u32> = of
            .range(self.sorted..)
            .filter(|ordinal| follows(*ordinal))
            .collect();
        if tail.len() > limit {
            tail.select_nth_unstable_by(limit, |left, right| id(*left).cmp(id(*right)));
            tail.truncate(limit);
        }
        tail.sort_unstable_by(|left, right| id(*left).cmp(id(*right)));
        let mut sorted = of.range(start..self.sorted.max(start)).peekable();
        let mut tail = tail.into_iter().peekable();
        let mut merged = Vec::new();
        while merged.len() < limit {
            let next = match (sorted.peek(), tail.peek()) {
                (Some(left), Some(right)) if id(*right) < id(*left) => tail.next(),
                (Some(_), _) => sorted.next(),
                (None, _) => tail.next(),
            };
            match next {
                Some(ordinal) => merged.push(ordinal),
                None => break,
            }
        }
        merged
    }

    pub(super) fn bytes(&self) -> usize {
        const SLOT: usize = std::mem::size_of::<u32>() + 1;
        let tail: usize = self.tail.iter().map(|shard| shard.capacity()).sum();
        self.row_bytes + (self.base.capacity() + tail) * SLOT * 8 / 7
    }

    /// The postings' share of the size: walks all bitmaps, so it is taken at builds only.
    pub(super) fn posting_bytes(&self) -> usize {
        self.postings.bytes()
    }
}

fn too_many() -> GraphError {
    GraphError::TooMany {
        what: "resources of one type",
        limit: u64::from(ROWS_MAX),
    }
}

fn shard_of(hash: u64) -> usize {
    // The table uses the low bits and the top seven; the shard takes some from the middle.
    (hash >> 32) as usize % TAIL_SHARDS
}

/// First ordinal below `len` for which `before` is false, where it is true up to some point.
fn partition_point(len: u32, before: impl Fn(u32) -> bool) -> u32 {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// A small generator of its own keeps the runs equal: seed 7.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: u64) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % sides
        }
    }

    fn owned_by(owner: u32) -> Facts {
        Facts {
            owners: [owner].into_iter().collect(),
            ..Facts::default()
        }
    }

    fn check(index: &TypeIndex, model: &BTreeMap<String, u32>) {
        assert_eq!(index.count(), model.len() as u64);
        for (id, owner) in model {
            let ordinal = index.find(id).unwrap_or_else(|| panic!("`{id}` is lost"));
            assert_eq!(
                index.row(ordinal).facts().owners.as_slice(),
                [*owner],
                "facts of `{id}`"
            );
        }
        for owner in 0..5 {
            let expected: Vec<&str> = model
                .iter()
                .filter(|(_, of)| **of == owner)
                .map(|(id, _)| id.as_str())
                .collect();
            let none = RoaringBitmap::new();
            let bitmap = index.postings.owners.get(owner).unwrap_or(&none);
            let ids = |ordinals: Vec<u32>| {
                ordinals
                    .into_iter()
                    .map(|ordinal| index.row(ordinal).id().to_owned())
                    .collect::<Vec<_>>()
            };
            assert_eq!(
                ids(index.ordered(bitmap, None, usize::MAX)),
                expected,
                "list of owner {owner}"
            );
            let (mut paged, mut after) = (Vec::new(), None);
            loop {
                let page = ids(index.ordered(bitmap, after.as_deref(), 257));
                let Some(last) = page.last().cloned() else {
                    break;
                };
                paged.extend(page);
                after = Some(last);
            }
            assert_eq!(paged, expected, "pages of owner {owner}");
        }
    }

    /// Snapshots share pages, tables and bitmaps: what one does must never show in another, across
    /// tombstones, revived ids, a growing tail and rebuilds.
    #[test]
    fn snapshots_stay_as_they_were_through_changes_and_rebuilds() {
        let mut dice = Dice(7);
        let mut builder = IndexBuilder::default();
        let mut model = BTreeMap::new();
        // Pushed out of order on purpose.
        for number in (0..3_000u32).rev() {
            builder.push(&format!("c{number:05}"), &owned_by(number % 5));
            model.insert(format!("c{number:05}"), number % 5);
        }
        let mut index = builder.finish(Id::parse("contact").unwrap()).unwrap();
        let (mut kept, mut rebuilds) = (Vec::new(), 0);
        for step in 0..24_000 {
            let id = format!("c{:05}", dice.roll(20_000));
            if dice.roll(4) == 0 {
                index.delete(&id);
                model.remove(&id);
            } else {
                let owner = u32::try_from(dice.roll(5)).unwrap();
                index.put(&id, &owned_by(owner)).unwrap();
                model.insert(id, owner);
            }
            if index.wants_rebuild() {
                index = index.rebuilt().unwrap();
                rebuilds += 1;
            }
            if step % 6_000 == 0 {
                kept.push((index.clone(), model.clone()));
            }
        }
        kept.push((index, model));
        assert!(rebuilds > 0, "the tail never grew enough for a rebuild");
        kept.iter().for_each(|(index, model)| check(index, model));
    }

    #[test]
    fn of_rows_with_one_id_the_last_is_kept() {
        let mut builder = IndexBuilder::default();
        [("b", 1), ("a", 2), ("b", 3)]
            .into_iter()
            .for_each(|(id, owner)| builder.push(id, &owned_by(owner)));
        let index = builder.finish(Id::parse("contact").unwrap()).unwrap();
        check(
            &index,
            &BTreeMap::from([("a".to_owned(), 2), ("b".to_owned(), 3)]),
        );
    }
}
