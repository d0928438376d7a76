//! The comparison of one type: every action of it, by every user.

use std::borrow::Cow;
use std::cell::OnceCell;

use hashbrown::{HashMap, HashSet};
use roaring::RoaringBitmap;

use super::names::{ActionPair, TypePair};
use super::people::{Ground, Lists, Member, People, Person, Side};
use super::reached::{Any, Reached};
use super::{AccessFound, Alignment, Findings, Halted, Scope, ToolFound, Work};
use crate::authz::access_set::{AccessSet, Footing, LiveIndex};
use crate::authz::catalog::{ActionIx, TypeIx};
use crate::authz::decision::{Decision, Target};
use crate::authz::graph::{AssignmentFact, TypeIndex, TypeMode};

pub(super) struct TypeComparison<'c, 'g> {
    pub people: &'c mut People<'g>,
    pub pair: TypePair<'g>,
    pub before: TypeSide<'g>,
    pub after: TypeSide<'g>,
    is_whole_account: bool,
    /// A question asks as a list would, also for an action that ignores resources.
    is_question: bool,
}

/// The type on one side.
pub(super) struct TypeSide<'g> {
    pub type_ix: Option<TypeIx>,
    index: Option<&'g TypeIndex>,
    live: OnceCell<LiveIndex<'g>>,
    mode: TypeMode,
}

/// One user and one action, by their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Item {
    pub person: usize,
    pub action: usize,
}

/// Where users differ whose ground is the same.
struct Candidates {
    /// Rows that were touched, or whose assignments began to count or ended.
    touched: RoaringBitmap,
    /// Rows of owners who are in other teams: they matter to levels that count on owners.
    lent: RoaringBitmap,
}

/// A bitmap of what a ground reaches on each side, and how they differ.
struct Common {
    before: RoaringBitmap,
    after: RoaringBitmap,
    gained: RoaringBitmap,
    lost: RoaringBitmap,
}

/// What is to be looked at, and how.
#[derive(Default)]
struct Sorted {
    /// By grounds before and after.
    whole: HashMap<(Ground, Ground), Vec<Item>>,
    /// On candidates alone.
    partial: Vec<(Item, Ground)>,
}

/// Who is told, and in which ordinals.
struct Telling<'t> {
    alignment: &'t Alignment<'t>,
    reached: &'t mut Reached,
    findings: &'t mut dyn Findings,
}

/// What a user has on each side beside the ground, and what that comes to.
struct Own {
    before: RoaringBitmap,
    after: RoaringBitmap,
    gained: RoaringBitmap,
    lost: RoaringBitmap,
}

impl<'g> TypeSide<'g> {
    fn of(side: Option<&Side<'g>>, type_ix: Option<TypeIx>) -> Self {
        let known = side.zip(type_ix);
        Self {
            type_ix,
            index: known.and_then(|(side, type_ix)| side.graph.index(type_ix)),
            live: OnceCell::new(),
            mode: known.map_or_else(TypeMode::default, |(side, type_ix)| {
                side.graph.directory.mode(type_ix)
            }),
        }
    }

    fn live(&self, side: &Side<'g>, work: &mut Work<'_>) -> Result<Option<&LiveIndex<'g>>, Halted> {
        let Some(index) = self.index else {
            return Ok(None);
        };
        if self.live.get().is_none() {
            work.spend(index.postings.timed.len())?;
        }
        Ok(Some(
            self.live.get_or_init(|| LiveIndex::new(index, side.at)),
        ))
    }

    /// What a bitmap of the type costs, in checks.
    fn cost(&self, side: Option<&Side<'_>>) -> u64 {
        let rows = self.index.map_or(0, |index| index.postings.alive.len());
        let owners = side.map_or(0, |side| side.graph.names.users.len() as u64);
        // A bitmap looks at each owner's teams, and at the words of the others' bitmaps.
        16 + rows / 256 + owners / 4
    }

    fn holds(&self, row: u32) -> bool {
        self.index
            .is_some_and(|index| index.postings.alive.contains(row))
    }

    /// What all who stand on a ground reach.
    pub(super) fn bitmap(
        &self,
        side: Option<&Side<'g>>,
        ground: Ground,
        teams: &[u32],
        groups: &[u32],
        work: &mut Work<'_>,
    ) -> Result<RoaringBitmap, Halted> {
        let Some((side, index)) = side.zip(self.index) else {
            return Ok(RoaringBitmap::new());
        };
        match ground.footing {
            Footing::Nothing | Footing::Named => Ok(RoaringBitmap::new()),
            Footing::All => Ok((*index.postings.alive).clone()),
            Footing::Reaching(_) => {
                work.spend(self.cost(Some(side)))?;
                let live = self.live(side, work)?;
                let connections = ground.connections(teams, groups);
                Ok(live
                    .zip(connections)
                    .map_or_else(RoaringBitmap::new, |(live, connections)| {
                        connections.resources(&side.graph.directory, self.mode, live)
                    }))
            }
        }
    }

    /// What a user reaches beside the ground.
    pub(super) fn own(
        &self,
        side: Option<&Side<'g>>,
        member: Option<Member<'g>>,
        action: Option<ActionIx>,
        work: &mut Work<'_>,
    ) -> Result<RoaringBitmap, Halted> {
        let (Some(side), Some(member), Some(action)) = (side, member, action) else {
            return Ok(RoaringBitmap::new());
        };
        let Some(set) = self.set(side, member, action) else {
            return Ok(RoaringBitmap::new());
        };
        if matches!(set.footing(), Footing::Nothing | Footing::All) {
            return Ok(RoaringBitmap::new());
        }
        work.spend(8)?;
        let groups = side.own_groups(member.user.number, action);
        let live = self.live(side, work)?;
        Ok(live.map_or_else(RoaringBitmap::new, |live| {
            set.own(live, member.user, &groups)
        }))
    }

    pub(super) fn set(
        &self,
        side: &Side<'g>,
        member: Member<'g>,
        action: ActionIx,
    ) -> Option<AccessSet<'g>> {
        AccessSet::resolved(
            side.graph,
            Some(member.user),
            self.type_ix?,
            action,
            side.at,
        )
    }

    fn orphaned(
        &self,
        side: Option<&Side<'g>>,
        work: &mut Work<'_>,
    ) -> Result<RoaringBitmap, Halted> {
        let Some(side) = side else {
            return Ok(RoaringBitmap::new());
        };
        work.spend(self.cost(Some(side)))?;
        let live = self.live(side, work)?;
        Ok(live.map_or_else(RoaringBitmap::new, |live| live.orphaned(self.mode)))
    }
}

impl<'c, 'g> TypeComparison<'c, 'g> {
    pub(super) fn new(people: &'c mut People<'g>, pair: TypePair<'g>, scope: Scope<'_>) -> Self {
        let before = TypeSide::of(people.before.as_ref(), pair.before);
        let after = TypeSide::of(people.after.as_ref(), pair.after);
        Self {
            people,
            pair,
            before,
            after,
            is_whole_account: scope.user.is_none() && scope.question.is_none(),
            is_question: scope.question.is_some(),
        }
    }

    pub(super) fn run(
        &mut self,
        work: &mut Work<'_>,
        findings: &mut dyn Findings,
    ) -> Result<(), Halted> {
        let candidates = self.candidates(work)?;
        let is_untouched = candidates
            .as_ref()
            .is_some_and(|candidates| candidates.touched.is_empty());
        let nothing_lent = candidates
            .as_ref()
            .is_some_and(|candidates| candidates.lent.is_empty());
        if is_untouched && nothing_lent && self.people.persons.iter().all(|one| one.is_same) {
            return Ok(());
        }
        let alignment = Alignment::new(self.before.index, self.after.index, work)?;
        let mut reached = Reached::default();
        let mut telling = Telling {
            alignment: &alignment,
            reached: &mut reached,
            findings,
        };
        let mut sorted = self.sort_out(candidates.as_ref(), work, &mut telling)?;
        if let Some(candidates) = &candidates {
            self.look_at_rows(candidates, &mut sorted, work, &mut telling)?;
        }
        for (grounds, items) in sorted.whole {
            self.compare_bitmaps(grounds, &items, work, &mut telling)?;
        }
        if !self.is_whole_account {
            return Ok(());
        }
        if !is_untouched {
            let before = self.before.orphaned(self.people.before.as_ref(), work)?;
            let after = self.after.orphaned(self.people.after.as_ref(), work)?;
            let orphaned = after - &*alignment.join(Cow::Owned(before));
            if !orphaned.is_empty() {
                findings.orphaned(self.pair.name, orphaned)?;
            }
        }
        reached.tell(self, work, findings)
    }

    /// `None`: all rows are, since the type itself is not as it was.
    fn candidates(&self, work: &mut Work<'_>) -> Result<Option<Candidates>, Halted> {
        let people = &*self.people;
        let (Some(before), Some(after)) = (&people.before, &people.after) else {
            return Ok(None);
        };
        let (Some(was), Some(is)) = (self.before.index, self.after.index) else {
            return Ok(None);
        };
        let has_same_rules = std::sync::Arc::ptr_eq(before.graph.catalog(), after.graph.catalog())
            && self.before.mode == self.after.mode;
        if !(people.are_related && has_same_rules && is.continues(was)) {
            return Ok(None);
        }
        let mut touched = is.touched_since(was);
        work.spend(1 + touched.len())?;
        if before.at != after.at {
            work.spend(is.postings.timed.len())?;
            touched.extend(is.postings.timed.iter().filter(|ordinal| {
                let turns =
                    |fact: &AssignmentFact| fact.is_live(before.at) != fact.is_live(after.at);
                is.row(*ordinal).facts().assignments.iter().any(turns)
            }));
        }
        let mut lent = RoaringBitmap::new();
        for owner in &people.moved {
            work.spend(1)?;
            let owned = [was, is].map(|index| index.postings.owners.get(*owner));
            owned.into_iter().flatten().for_each(|owned| lent |= owned);
        }
        Ok(Some(Candidates { touched, lent }))
    }

    /// Tells which tools change, and finds who may differ and where: on any row, with the grounds of
    /// both sides, or on candidates alone.
    fn sort_out(
        &mut self,
        candidates: Option<&Candidates>,
        work: &mut Work<'_>,
        telling: &mut Telling<'_>,
    ) -> Result<Sorted, Halted> {
        let mut sorted = Sorted::default();
        let has_candidates =
            candidates.is_none_or(|rows| !(rows.touched.is_empty() && rows.lent.is_empty()));
        let People {
            before: side_before,
            after: side_after,
            lists,
            persons,
            ..
        } = &mut *self.people;
        for (person_at, person) in persons.iter().enumerate() {
            let is_same = person.is_same && candidates.is_some();
            if is_same && !has_candidates {
                continue;
            }
            for (action_at, action) in self.pair.actions.iter().enumerate() {
                work.spend(2)?;
                let before = set_of(
                    &self.before,
                    side_before.as_ref(),
                    person.before,
                    action.before,
                );
                let after = set_of(&self.after, side_after.as_ref(), person.after, action.after);
                if self.is_whole_account && !is_same {
                    telling.tool(&self.pair, person, action, before.as_ref(), after.as_ref())?;
                }
                if action.tool_level && !self.is_question {
                    continue;
                }
                let was = ground_of(side_before, person.before, before.as_ref(), lists, work)?;
                let is = ground_of(side_after, person.after, after.as_ref(), lists, work)?;
                if is_nothing(was) && is_nothing(is) {
                    continue;
                }
                let item = Item {
                    person: person_at,
                    action: action_at,
                };
                let stays = was == is
                    && (is_same
                        || has_same_own(
                            (side_before.as_ref(), person.before, before.as_ref()),
                            (side_after.as_ref(), person.after, after.as_ref()),
                        ));
                match candidates.filter(|_| stays) {
                    None => sorted.whole.entry((was, is)).or_default().push(item),
                    Some(rows) if rows.for_ground(is).any(|rows| !rows.is_empty()) => {
                        sorted.partial.push((item, is));
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(sorted)
    }

    /// Looks at candidates one by one where they are few, else leaves them to bitmaps.
    fn look_at_rows(
        &self,
        candidates: &Candidates,
        sorted: &mut Sorted,
        work: &mut Work<'_>,
        telling: &mut Telling<'_>,
    ) -> Result<(), Halted> {
        let partial = std::mem::take(&mut sorted.partial);
        let grounds: HashSet<Ground> = partial.iter().map(|(_, ground)| *ground).collect();
        let cost = |side: &TypeSide<'g>, of: &Option<Side<'g>>| side.cost(of.as_ref());
        let of_ground =
            cost(&self.before, &self.people.before) + cost(&self.after, &self.people.after);
        let by_bitmaps = of_ground * grounds.len() as u64 + 64 * partial.len() as u64;
        let rows =
            |ground: Ground| -> u64 { candidates.for_ground(ground).map(RoaringBitmap::len).sum() };
        let by_rows: u64 = partial.iter().map(|(_, ground)| 2 * rows(*ground)).sum();
        if by_bitmaps < by_rows {
            for (item, ground) in partial {
                sorted.whole.entry((ground, ground)).or_default().push(item);
            }
            return Ok(());
        }
        for (item, ground) in partial {
            let Some((person, action)) = self.named(item) else {
                continue;
            };
            let before = set_of(
                &self.before,
                self.people.before.as_ref(),
                person.before,
                action.before,
            );
            let after = set_of(
                &self.after,
                self.people.after.as_ref(),
                person.after,
                action.after,
            );
            let (mut gained, mut lost) = (RoaringBitmap::new(), RoaringBitmap::new());
            let (mut had_any, mut has_any) = (false, false);
            for row in candidates.for_ground(ground).flatten() {
                work.spend(2)?;
                let target = Target::Resource(telling.alignment.id(row));
                let allows = |side: &TypeSide<'g>, set: &Option<AccessSet<'_>>| {
                    set.as_ref().is_some_and(|set| {
                        // Lists hold what is stored, also for actions that don't look.
                        side.holds(row) && set.decide(target).is_allow()
                    })
                };
                let (was, is) = (allows(&self.before, &before), allows(&self.after, &after));
                had_any |= was;
                has_any |= is;
                match (was, is) {
                    (false, true) => drop(gained.insert(row)),
                    (true, false) => drop(lost.insert(row)),
                    (true, true) | (false, false) => {}
                }
            }
            // Where none of these rows is open, others may be.
            let any = (had_any.then_some(true), has_any.then_some(true));
            telling.access(&self.pair, item, person, action, any, (&gained, &lost))?;
        }
        Ok(())
    }

    /// All users whose grounds are these, one after the other.
    fn compare_bitmaps(
        &self,
        (was, is): (Ground, Ground),
        items: &[Item],
        work: &mut Work<'_>,
        telling: &mut Telling<'_>,
    ) -> Result<(), Halted> {
        let common = self.common(was, is, telling.alignment, work)?;
        let mut known: Option<Own> = None;
        for item in items {
            let Some((person, action)) = self.named(*item) else {
                continue;
            };
            let side = self.people.before.as_ref();
            let own = self.before.own(side, person.before, action.before, work)?;
            let before = telling.alignment.join(Cow::Owned(own)).into_owned();
            let side = self.people.after.as_ref();
            let after = self.after.own(side, person.after, action.after, work)?;
            // Most actions of a user come to the same.
            let own = match known.take() {
                Some(own) if own.before == before && own.after == after => own,
                Some(_) | None => {
                    work.spend(self.after.cost(None) / 4)?;
                    common.with(before, after)
                }
            };
            let any = (
                Some(!common.before.is_empty() || !own.before.is_empty()),
                Some(!common.after.is_empty() || !own.after.is_empty()),
            );
            let found = (&own.gained, &own.lost);
            telling.access(&self.pair, *item, person, action, any, found)?;
            known = Some(own);
        }
        Ok(())
    }

    fn common(
        &self,
        was: Ground,
        is: Ground,
        alignment: &Alignment<'_>,
        work: &mut Work<'_>,
    ) -> Result<Common, Halted> {
        let lists = &self.people.lists;
        let bitmap =
            |side: &TypeSide<'g>, of: &Option<Side<'g>>, ground: Ground, work: &mut Work<'_>| {
                let (teams, groups) = (lists.get(ground.teams), lists.get(ground.groups));
                side.bitmap(of.as_ref(), ground, &teams, &groups, work)
            };
        let before = bitmap(&self.before, &self.people.before, was, work)?;
        let before = alignment.join(Cow::Owned(before)).into_owned();
        let after = bitmap(&self.after, &self.people.after, is, work)?;
        Ok(Common {
            gained: &after - &before,
            lost: &before - &after,
            before,
            after,
        })
    }

    pub(super) fn named(&self, item: Item) -> Option<(&Person<'g>, &ActionPair<'g>)> {
        let person = self.people.persons.get(item.person)?;
        Some((person, self.pair.actions.get(item.action)?))
    }
}

impl Candidates {
    /// Those that matter to a ground; the two may overlap.
    fn for_ground(&self, ground: Ground) -> impl Iterator<Item = &RoaringBitmap> {
        let lent = ground.counts_on_owners().then_some(&self.lent);
        std::iter::once(&self.touched).chain(lent)
    }
}

impl Common {
    /// Differences of a union with something of one's own on each side.
    fn with(&self, before: RoaringBitmap, after: RoaringBitmap) -> Own {
        let gained = (&self.gained - &before) | (&after - &before - &self.before);
        let lost = (&self.lost - &after) | (&before - &after - &self.after);
        Own {
            before,
            after,
            gained,
            lost,
        }
    }
}

impl Telling<'_> {
    fn tool(
        &mut self,
        pair: &TypePair<'_>,
        person: &Person<'_>,
        action: &ActionPair<'_>,
        before: Option<&AccessSet<'_>>,
        after: Option<&AccessSet<'_>>,
    ) -> Result<(), Halted> {
        let decide = |set: Option<&AccessSet<'_>>| set.map(|set| set.decide(Target::Tool));
        let (before, after) = (decide(before), decide(after));
        let reach = |decision: &Option<Decision>| {
            let allowed = decision.filter(Decision::is_allow);
            allowed.map(|allowed| (allowed.level, allowed.include_unassigned))
        };
        if reach(&before) == reach(&after) {
            return Ok(());
        }
        self.findings.tool(&ToolFound {
            user: person.id,
            resource_type: pair.name,
            actions: &action.names,
            before: before.as_ref(),
            after: after.as_ref(),
        })
    }

    /// `any`: whether the user reached and reaches anything by the action, where that is known.
    fn access(
        &mut self,
        pair: &TypePair<'_>,
        item: Item,
        person: &Person<'_>,
        action: &ActionPair<'_>,
        any: Any,
        (gained, lost): (&RoaringBitmap, &RoaringBitmap),
    ) -> Result<(), Halted> {
        if gained.is_empty() && lost.is_empty() {
            return Ok(());
        }
        self.reached
            .note(item, any, !gained.is_empty(), !lost.is_empty());
        self.findings.access(&AccessFound {
            user: person.id,
            resource_type: pair.name,
            actions: &action.names,
            gained,
            lost,
            alignment: self.alignment,
        })
    }
}

pub(super) fn set_of<'g>(
    side: &TypeSide<'g>,
    of: Option<&Side<'g>>,
    member: Option<Member<'g>>,
    action: Option<ActionIx>,
) -> Option<AccessSet<'g>> {
    side.set(of?, member?, action?)
}

pub(super) fn ground_of<'g>(
    side: &mut Option<Side<'g>>,
    member: Option<Member<'g>>,
    set: Option<&AccessSet<'_>>,
    lists: &mut Lists,
    work: &mut Work<'_>,
) -> Result<Ground, Halted> {
    match (side, member, set) {
        (Some(side), Some(member), Some(set)) => side.ground(member, set, lists, work),
        _ => Ok(Ground::NOTHING),
    }
}

fn is_nothing(ground: Ground) -> bool {
    ground.footing == Footing::Nothing
}

type OnSide<'s, 'g> = (
    Option<&'s Side<'g>>,
    Option<Member<'g>>,
    Option<&'s AccessSet<'g>>,
);

/// Whether what users have beside their ground is the same on both sides, rows aside. Those who are
/// granted single resources are not looked into.
fn has_same_own(before: OnSide<'_, '_>, after: OnSide<'_, '_>) -> bool {
    let (Some(was_side), Some(was), Some(was_set)) = before else {
        return false;
    };
    let (Some(is_side), Some(is), Some(is_set)) = after else {
        return false;
    };
    let has_objects = |member: Member<'_>, set: &AccessSet<'_>| {
        let mut granted = member.user.object_grants_of(set.type_ix);
        granted.next().is_some()
    };
    let groups = |side: &Side<'_>, member: Member<'_>, set: &AccessSet<'_>| {
        side.own_groups(member.user.number, set.action)
    };
    !has_objects(was, was_set)
        && !has_objects(is, is_set)
        && groups(was_side, was, was_set) == groups(is_side, is, is_set)
}
