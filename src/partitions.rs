//! Use cases on partitions: assigning resources to teams, users and access groups, opening them, and
//! taking either back (P1-P4); and forms, whose settings assign what is submitted (P8).
//!
//! Assigning is done in bulks, of one resource or of a million: see [`bulk`]. Each part of a bulk is
//! planned and written like any other list of changes ([`crate::directory`]), so every rule holds.

use std::sync::Arc;

use crate::clock::Clock;
use crate::directory::Directory;
use crate::randomness::Randomness;
use crate::store::Store;
use crate::store::batches::BatchStore;
use crate::store::forms::FormStore;

pub mod bulk;
mod form;
mod part;
pub mod segments;

pub use bulk::{Bulk, BulkError, BulkRequest, Selection, Told, Work};
pub use form::{FormError, FormSettings, Submission, Submitted, WithheldTarget};

/// Cheap to clone; all clones work on the same store and cache.
#[derive(Clone)]
pub struct Partitions {
    directory: Directory,
    store: Arc<dyn Store>,
    batches: Arc<dyn BatchStore>,
    forms: Arc<dyn FormStore>,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
}

impl Partitions {
    pub fn new(
        directory: Directory,
        store: Arc<dyn Store>,
        batches: Arc<dyn BatchStore>,
        forms: Arc<dyn FormStore>,
        clock: Arc<dyn Clock>,
        randomness: Arc<dyn Randomness>,
    ) -> Self {
        Self {
            directory,
            store,
            batches,
            forms,
            clock,
            randomness,
        }
    }

    pub fn directory(&self) -> &Directory {
        &self.directory
    }
}
