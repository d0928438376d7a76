//! One space of ordinals for the resources of a type on both sides.

use std::borrow::Cow;

use roaring::RoaringBitmap;

use super::{Halted, Work};
use crate::authz::graph::TypeIndex;

/// The ordinals of the later index, and after them numbers for what only the earlier one has.
pub(in crate::authz) struct Alignment<'g> {
    before: Option<&'g TypeIndex>,
    after: Option<&'g TypeIndex>,
    /// `None`: an ordinal of the earlier index means the same in the later one.
    moved: Option<Moved>,
}

struct Moved {
    /// By ordinal of the earlier index.
    to: Vec<u32>,
    /// The first number of those that only the earlier index has.
    gone_from: u32,
    /// Their ordinals there.
    gone: Vec<u32>,
}

impl<'g> Alignment<'g> {
    pub(super) fn new(
        before: Option<&'g TypeIndex>,
        after: Option<&'g TypeIndex>,
        work: &mut Work<'_>,
    ) -> Result<Self, Halted> {
        let moved = match (before, after) {
            (Some(before), Some(after)) if !after.continues(before) => {
                Some(Moved::between(before, after, work)?)
            }
            _ => None,
        };
        Ok(Self {
            before,
            after,
            moved,
        })
    }

    /// Ordinals of the earlier index in the common space.
    pub(super) fn join<'b>(&self, before: Cow<'b, RoaringBitmap>) -> Cow<'b, RoaringBitmap> {
        let Some(moved) = &self.moved else {
            return before;
        };
        let joined = before
            .iter()
            .filter_map(|ordinal| moved.to.get(ordinal as usize));
        Cow::Owned(joined.copied().collect())
    }

    /// The id of a resource in the common space.
    pub(in crate::authz) fn id(&self, ordinal: u32) -> &'g str {
        let gone = self.moved.as_ref().and_then(|moved| {
            let at = ordinal.checked_sub(moved.gone_from)?;
            moved.gone.get(at as usize).copied()
        });
        let (index, ordinal) = match gone {
            Some(gone) => (self.before, gone),
            None => (self.after.or(self.before), ordinal),
        };
        index.map_or("", |index| index.row(ordinal).id())
    }
}

impl Moved {
    fn between(before: &TypeIndex, after: &TypeIndex, work: &mut Work<'_>) -> Result<Self, Halted> {
        let (gone_from, mut gone) = (after.end(), Vec::new());
        let mut to = Vec::with_capacity(before.end() as usize);
        for ordinal in 0..before.end() {
            if ordinal % 1_024 == 0 {
                work.spend(1_024)?;
            }
            let moved = after.find(before.row(ordinal).id()).unwrap_or_else(|| {
                let number = u32::try_from(gone.len()).unwrap_or(u32::MAX);
                gone.push(ordinal);
                gone_from.saturating_add(number)
            });
            to.push(moved);
        }
        Ok(Self {
            to,
            gone_from,
            gone,
        })
    }
}
