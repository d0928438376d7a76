//! An index built of all its rows.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashTable;

use super::super::GraphError;
use super::super::cow::CowVec;
use super::super::row::{self, Facts, Row};
use super::{AllPostings, PAGE_ROWS, Page, ROWS_MAX, TypeIndex, too_many};
use crate::authz::model::Id;

/// Collects the rows of an index. While ids come in their order, as they do in a load, each row goes
/// where it stays at once, so that little is left to do at the end.
#[derive(Debug, Default)]
pub(in crate::authz::graph) struct IndexBuilder {
    pages: CowVec<Arc<Page>>,
    postings: AllPostings,
    row_bytes: usize,
    /// The rows after those of the pages: the next page's, or all once an id came out of order.
    rows: Vec<u8>,
    starts: Vec<usize>,
    unsorted: bool,
}

impl IndexBuilder {
    pub(in crate::authz::graph) fn push(&mut self, id: &str, facts: &Facts) {
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

    pub(in crate::authz::graph) fn finish(
        mut self,
        resource_type: Id,
    ) -> Result<TypeIndex, GraphError> {
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
