//! When what changed since a revision is known in steps, whatever store keeps the log.

use std::collections::BTreeSet;

use super::change_keys::{KEYS_MAX, puts_then_deletes};
use super::{Changes, Head};
use crate::authz::model::{Entity, EntityKey};

/// Rows of the log that a store reads at most: one more than there may be tells that there are too
/// many.
#[expect(clippy::cast_possible_wrap, reason = "a small constant")]
pub(super) const ROWS_READ: i64 = KEYS_MAX as i64 + 1;

/// What a store finds in its log in one transaction, for a reader that stands at a revision.
#[derive(Debug, Default)]
pub(super) struct Logged {
    /// Where the account stands.
    pub(super) head: Option<Head>,
    /// Revisions from the reader's on, in any order; of more than [`ROWS_READ`] only some.
    pub(super) history: Vec<Head>,
    /// How many of the revisions after the reader's have any row that says what they changed: where
    /// rows were taken out by hand, what they told is not known.
    pub(super) told: usize,
    /// What was changed after the reader's revision, each once; `None`: what is no key, which is
    /// one that can't be read, or that says to load the account anew.
    pub(super) keys: Vec<Option<EntityKey>>,
}

/// What comes of it.
#[derive(Debug, PartialEq)]
pub(super) enum Since {
    /// All that there is to say.
    Answer(Changes),
    Steps(Steps),
}

/// Changes whose present state is still to be read.
#[derive(Debug, PartialEq)]
pub(super) struct Steps {
    head: Head,
    history: Vec<Head>,
    keys: Vec<EntityKey>,
}

impl Logged {
    /// What changed for a reader that stands at `have`.
    pub(super) fn since(mut self, have: Head) -> Since {
        let Some(head) = self.head else {
            return Since::Answer(Changes::Gone);
        };
        if head == have {
            return Since::Answer(Changes::None);
        }
        self.history.sort_unstable_by_key(|logged| logged.revision);
        match self.keys() {
            Some(keys) if self.is_whole(have, head) => Since::Steps(Steps {
                head,
                history: self.history.split_off(1),
                keys,
            }),
            _ => Since::Answer(Changes::Reload),
        }
    }

    /// Whether the log leads from the reader to the head. It does not where the reader is ahead of
    /// the database, at the same number of another history, behind what was trimmed, or further
    /// behind than can be told.
    fn is_whole(&self, have: Head, head: Head) -> bool {
        let Some((first, after)) = self.history.split_first() else {
            return false;
        };
        let steps = head.revision.checked_sub(have.revision);
        *first == have
            && after.last() == Some(&head)
            && after.len() <= KEYS_MAX
            && steps == u64::try_from(after.len()).ok()
            && self.told == after.len()
    }

    fn keys(&self) -> Option<Vec<EntityKey>> {
        if self.keys.len() > KEYS_MAX {
            return None;
        }
        // A key that can't be read (an id that a plain SQL writer stored in no valid UTF-8) names
        // nothing: a load of the whole finds out whether what it belonged to is still there.
        let keys: Option<BTreeSet<EntityKey>> = self.keys.iter().cloned().collect();
        keys.map(Vec::from_iter)
    }
}

impl Steps {
    /// Whose present state is to be read, in the same transaction.
    pub(super) fn keys(&self) -> &[EntityKey] {
        &self.keys
    }

    pub(super) fn with(self, present: Vec<Entity>) -> Changes {
        Changes::Delta {
            head: self.head,
            history: self.history,
            changes: puts_then_deletes(present, &self.keys),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::model::{EntityChange, Id, Team};

    fn head(revision: u64) -> Head {
        Head {
            revision,
            nonce: revision.to_be_bytes(),
        }
    }

    fn team(number: usize) -> EntityKey {
        EntityKey::Team(Id::parse(&format!("t{number}")).unwrap())
    }

    /// A log that leads from revision 3 to 5.
    fn logged() -> Logged {
        Logged {
            head: Some(head(5)),
            history: [5, 3, 4].map(head).to_vec(),
            told: 2,
            keys: vec![Some(team(2)), Some(team(1)), Some(team(2))],
        }
    }

    fn steps(since: Since) -> Steps {
        match since {
            Since::Steps(steps) => steps,
            Since::Answer(answer) => panic!("{answer:?}"),
        }
    }

    #[test]
    fn a_log_that_leads_to_the_head_is_told_in_steps() {
        let steps = steps(logged().since(head(3)));
        assert_eq!(steps.keys(), [team(1), team(2)]);
        let present = Entity::Team(Team {
            id: Id::parse("t2").unwrap(),
            parent: None,
        });
        assert_eq!(
            steps.with(vec![present.clone()]),
            Changes::Delta {
                head: head(5),
                history: [4, 5].map(head).to_vec(),
                changes: vec![EntityChange::Put(present), EntityChange::Delete(team(1)),],
            }
        );
    }

    #[test]
    fn at_the_head_nothing_changed_and_without_one_the_account_is_gone() {
        assert_eq!(logged().since(head(5)), Since::Answer(Changes::None));
        let gone = Logged {
            head: None,
            ..logged()
        };
        assert_eq!(gone.since(head(5)), Since::Answer(Changes::Gone));
    }

    #[test]
    fn what_does_not_lead_to_the_head_is_loaded_anew() {
        let other = Head {
            nonce: [9; 8],
            ..head(3)
        };
        let cases: [(&str, Head, Logged); 9] = [
            ("ahead of the database", head(6), logged()),
            ("another history", other, logged()),
            (
                "another history at the head's number",
                Head {
                    revision: 5,
                    ..other
                },
                Logged {
                    history: vec![head(5)],
                    told: 0,
                    ..logged()
                },
            ),
            (
                "trimmed beyond the reader",
                head(3),
                Logged {
                    history: [4, 5].map(head).to_vec(),
                    ..logged()
                },
            ),
            (
                "a gap",
                head(3),
                Logged {
                    history: [3, 5].map(head).to_vec(),
                    told: 1,
                    ..logged()
                },
            ),
            (
                "it ends before the head",
                head(3),
                Logged {
                    history: [3, 4].map(head).to_vec(),
                    told: 1,
                    ..logged()
                },
            ),
            (
                "a revision that tells nothing",
                head(3),
                Logged {
                    told: 1,
                    ..logged()
                },
            ),
            (
                "what is no key",
                head(3),
                Logged {
                    keys: vec![Some(team(1)), None],
                    ..logged()
                },
            ),
            (
                "nothing at all",
                head(3),
                Logged {
                    head: Some(head(5)),
                    ..Logged::default()
                },
            ),
        ];
        for (case, have, logged) in cases {
            let since = logged.since(have);
            assert_eq!(since, Since::Answer(Changes::Reload), "{case}");
        }
    }

    #[test]
    fn so_many_that_a_load_is_faster_are_loaded_anew() {
        let keys = |count: usize| Logged {
            keys: (0..count).map(|number| Some(team(number))).collect(),
            ..logged()
        };
        assert_eq!(steps(keys(KEYS_MAX).since(head(3))).keys().len(), KEYS_MAX);
        assert_eq!(
            keys(KEYS_MAX + 1).since(head(3)),
            Since::Answer(Changes::Reload)
        );
        let revisions = |count: usize| {
            let last = 3 + u64::try_from(count).unwrap();
            Logged {
                head: Some(head(last)),
                history: (3..=last).map(head).collect(),
                told: count,
                ..logged()
            }
        };
        steps(revisions(KEYS_MAX).since(head(3)));
        assert_eq!(
            revisions(KEYS_MAX + 1).since(head(3)),
            Since::Answer(Changes::Reload)
        );
    }
}
