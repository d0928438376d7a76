//! What differs between two states of one index, found by what they do not share.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::{PAGE_ROWS, TypeIndex};

impl TypeIndex {
    /// Whether an ordinal of an earlier state of this index means the same resource here. It does
    /// until the index is built anew, and every state has its base in common with those that come of
    /// it by changes alone.
    ///
    /// Of two states one must come of the other: such as both come of a third may have given the same
    /// ordinal to different resources.
    pub(in crate::authz) fn continues(&self, earlier: &Self) -> bool {
        Arc::ptr_eq(&self.base, &earlier.base)
    }

    /// Ordinals of the rows that are not as in the earlier state that this one continues: new, gone or
    /// changed. Costs what was touched, not what there is.
    pub(in crate::authz) fn touched_since(&self, earlier: &Self) -> RoaringBitmap {
        let mut touched = RoaringBitmap::new();
        for page_at in self.pages.unshared(&earlier.pages) {
            let now = self.pages.get(page_at);
            let before = earlier.pages.get(page_at);
            let is_same = now
                .zip(before)
                .is_some_and(|(now, before)| Arc::ptr_eq(now, before));
            if is_same {
                continue;
            }
            let first = page_at * PAGE_ROWS;
            let end = (first + PAGE_ROWS).min(self.len as usize);
            let ordinals = (first..end).filter_map(|ordinal| u32::try_from(ordinal).ok());
            touched.extend(ordinals.filter(|ordinal| {
                *ordinal >= earlier.len
                    || self.row(*ordinal).bytes() != earlier.row(*ordinal).bytes()
            }));
        }
        touched
    }

    /// Ordinals that this state gives out, those of deleted rows included, are below this.
    pub(in crate::authz) fn end(&self) -> u32 {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::IndexBuilder;
    use super::*;
    use crate::authz::graph::Facts;
    use crate::authz::model::Id;

    fn owned_by(owner: u32) -> Facts {
        Facts {
            owners: [owner].into_iter().collect(),
            ..Facts::default()
        }
    }

    fn rows(index: &TypeIndex) -> BTreeMap<String, Option<u32>> {
        let row = |ordinal: u32| {
            let row = index.row(ordinal);
            let owner = row.is_alive().then(|| row.facts().owners.first().copied());
            (row.id().to_owned(), owner.flatten())
        };
        (0..index.len).map(row).collect()
    }

    /// Random changes over several pages; seed 11.
    #[test]
    fn what_was_touched_is_just_what_differs() {
        let mut builder = IndexBuilder::default();
        for number in 0..20_000 {
            builder.push(&format!("c{number:05}"), &owned_by(1));
        }
        let first = builder.finish(Id::parse("contact").unwrap()).unwrap();
        let mut dice = 11u64;
        let mut roll = |sides: u64| {
            dice = dice
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) % sides
        };
        for round in 0..40 {
            let mut index = first.clone();
            for _ in 0..roll(30) {
                let id = format!("c{:05}", roll(20_200));
                match roll(3) {
                    0 => index.delete(&id),
                    owner => {
                        let owner = u32::try_from(owner).unwrap();
                        index.put(&id, &owned_by(owner)).unwrap();
                    }
                }
            }
            assert!(index.continues(&first));
            let (before, now) = (rows(&first), rows(&index));
            let differing: Vec<&String> = now
                .iter()
                .filter(|(id, owner)| before.get(*id) != Some(owner))
                .map(|(id, _)| id)
                .collect();
            let mut touched: Vec<String> = index
                .touched_since(&first)
                .iter()
                .map(|ordinal| index.row(ordinal).id().to_owned())
                .collect();
            touched.sort_unstable();
            assert!(touched.iter().eq(differing), "round {round}");
        }
        // The control: one that was built anew continues none.
        assert!(!first.rebuilt().unwrap().continues(&first));
    }
}
