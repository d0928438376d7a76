//! Who is locked in or out of a type: reached nothing of it before, or reaches nothing now.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::of_type::{Item, TypeComparison, ground_of, set_of};
use super::people::{Ground, People};
use super::{Findings, Halted, Lock, Work};

/// What is known of the users who gain or lose anything, by their places.
#[derive(Default)]
pub(super) struct Reached(BTreeMap<usize, Known>);

/// Whether an action reaches anything, before and after, where that is known.
pub(super) type Any = (Option<bool>, Option<bool>);

#[derive(Default)]
struct Known {
    had_any: bool,
    has_any: bool,
    gains: bool,
    loses: bool,
    /// By place of an action.
    told: Vec<(usize, Any)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Before,
    After,
}

/// What is known of grounds on one side: whether anybody who stands on them reaches anything.
type Grounds = HashMap<Ground, bool>;

impl Reached {
    pub(super) fn note(&mut self, item: Item, any: Any, gains: bool, loses: bool) {
        let known = self.0.entry(item.person).or_default();
        known.had_any |= any.0 == Some(true) || loses;
        known.has_any |= any.1 == Some(true) || gains;
        known.gains |= gains;
        known.loses |= loses;
        known.told.push((item.action, any));
    }

    /// Asks of those who may be locked in or out what is not known yet.
    pub(super) fn tell(
        self,
        comparison: &mut TypeComparison<'_, '_>,
        work: &mut Work<'_>,
        findings: &mut dyn Findings,
    ) -> Result<(), Halted> {
        let (mut grounds_before, mut grounds_after) = (Grounds::new(), Grounds::new());
        for (person, known) in self.0 {
            let may_be_out = known.loses && !known.has_any;
            let may_be_in = known.gains && !known.had_any;
            let lock = if may_be_out
                && !known.reaches(When::After, person, comparison, &mut grounds_after, work)?
            {
                Lock::Out
            } else if may_be_in
                && !known.reaches(When::Before, person, comparison, &mut grounds_before, work)?
            {
                Lock::In
            } else {
                continue;
            };
            if let Some(person) = comparison.people.persons.get(person) {
                findings.locked(person.id, comparison.pair.name, lock)?;
            }
        }
        Ok(())
    }
}

impl Known {
    /// Whether the user reaches anything of the type by any action that looks at resources.
    fn reaches(
        &self,
        when: When,
        person: usize,
        comparison: &mut TypeComparison<'_, '_>,
        grounds: &mut Grounds,
        work: &mut Work<'_>,
    ) -> Result<bool, Halted> {
        for action in 0..comparison.pair.actions.len() {
            let told = self.told.iter().find(|(told, _)| *told == action);
            let told = told.and_then(|(_, (before, after))| match when {
                When::Before => *before,
                When::After => *after,
            });
            let reaches = match told {
                Some(reaches) => reaches,
                None => comparison.reaches(when, Item { person, action }, grounds, work)?,
            };
            if reaches {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl TypeComparison<'_, '_> {
    fn reaches(
        &mut self,
        when: When,
        item: Item,
        grounds: &mut Grounds,
        work: &mut Work<'_>,
    ) -> Result<bool, Halted> {
        work.spend(1)?;
        let People {
            before,
            after,
            lists,
            persons,
            ..
        } = &mut *self.people;
        let named = persons
            .get(item.person)
            .zip(self.pair.actions.get(item.action));
        let Some((person, action)) = named.filter(|(_, action)| !action.tool_level) else {
            return Ok(false);
        };
        let (of_type, side, member, action) = match when {
            When::Before => (&self.before, before, person.before, action.before),
            When::After => (&self.after, after, person.after, action.after),
        };
        let set = set_of(of_type, side.as_ref(), member, action);
        let ground = ground_of(side, member, set.as_ref(), lists, work)?;
        let reaches = match grounds.get(&ground) {
            Some(reaches) => *reaches,
            None => {
                let (teams, groups) = (lists.get(ground.teams), lists.get(ground.groups));
                let reached = of_type.bitmap(side.as_ref(), ground, &teams, &groups, work)?;
                grounds.insert(ground, !reached.is_empty());
                !reached.is_empty()
            }
        };
        Ok(reaches || !of_type.own(side.as_ref(), member, action, work)?.is_empty())
    }
}
