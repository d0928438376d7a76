//! A vector that is cheap to clone and to change in few places.

use std::sync::Arc;

const CHUNK: usize = 64;

/// A two-level vector: a clone shares all chunks, a write copies one chunk of 64 items. A snapshot
/// of an account with a million contacts is so made in microseconds.
#[derive(Debug, Clone)]
pub(super) struct CowVec<T> {
    chunks: Vec<Arc<Vec<T>>>,
    len: usize,
}

impl<T> Default for CowVec<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            len: 0,
        }
    }
}

impl<T: Clone> CowVec<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, at: usize) -> Option<&T> {
        self.chunks.get(at / CHUNK)?.get(at % CHUNK)
    }

    /// The item for writing; its chunk is copied if another snapshot shares it.
    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        Arc::make_mut(self.chunks.get_mut(at / CHUNK)?).get_mut(at % CHUNK)
    }

    pub(super) fn push(&mut self, item: T) {
        match self.chunks.last_mut() {
            Some(chunk) if !self.len.is_multiple_of(CHUNK) => Arc::make_mut(chunk).push(item),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(item);
                self.chunks.push(Arc::new(chunk));
            }
        }
        self.len += 1;
    }

    /// Positions whose items an earlier state of this vector may have otherwise, or not at all: those
    /// of the chunks that the two do not share.
    pub(super) fn unshared<'a>(&'a self, earlier: &'a Self) -> impl Iterator<Item = usize> + 'a {
        let chunks = self.chunks.iter().enumerate();
        chunks
            .filter(|(at, chunk)| {
                let before = earlier.chunks.get(*at);
                before.is_none_or(|before| !Arc::ptr_eq(before, chunk))
            })
            .flat_map(|(at, chunk)| at * CHUNK..at * CHUNK + chunk.len())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }
}
