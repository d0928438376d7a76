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

use super::GraphError;
use super::cow::CowVec;
use super::row::{self, Facts, Row};
use crate::authz::model::Id;

mod building;
mod postings;
mod touched;

pub(super) use building::IndexBuilder;
use postings::AllPostings;

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
