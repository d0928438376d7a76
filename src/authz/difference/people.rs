//! The users of both sides, each with the teams and groups by which they reach resources.

use std::rc::Rc;

use hashbrown::HashMap;

use super::{Halted, Standpoint, Work};
use crate::authz::access_set::{AccessSet, Connections, Footing};
use crate::authz::catalog::{ActionIx, ActionSet};
use crate::authz::graph::{AccountGraph, CompiledUser};
use crate::authz::model::{Id, Level, Timestamp};

/// A sorted list of numbers that many users may have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ListId(u32);

/// Lists of numbers, each once, so that equal ones are told by their ids.
pub(super) struct Lists {
    lists: Vec<Rc<[u32]>>,
    ids: HashMap<Rc<[u32]>, ListId>,
}

impl Lists {
    const EMPTY: ListId = ListId(0);

    fn new() -> Self {
        let mut lists = Self {
            lists: Vec::new(),
            ids: HashMap::new(),
        };
        lists.id_of(Vec::new());
        lists
    }

    fn id_of(&mut self, numbers: Vec<u32>) -> ListId {
        if let Some(id) = self.ids.get(numbers.as_slice()) {
            return *id;
        }
        let list: Rc<[u32]> = numbers.into();
        // There are fewer lists than users and actions together.
        let id = ListId(u32::try_from(self.lists.len()).unwrap_or(u32::MAX));
        self.lists.push(Rc::clone(&list));
        self.ids.insert(list, id);
        id
    }

    pub(super) fn get(&self, id: ListId) -> Rc<[u32]> {
        self.lists
            .get(id.0 as usize)
            .map_or_else(|| Rc::from([]), Rc::clone)
    }
}

/// What users stand on who reach the same resources, but for each one's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ground {
    pub footing: Footing,
    pub teams: ListId,
    /// Groups whose mask has the action for whoever reaches these teams.
    pub groups: ListId,
}

impl Ground {
    pub(super) const NOTHING: Self = Self {
        footing: Footing::Nothing,
        teams: Lists::EMPTY,
        groups: Lists::EMPTY,
    };

    /// Whether it matters which teams the owners of resources are in.
    pub(super) fn counts_on_owners(&self) -> bool {
        matches!(self.footing, Footing::Reaching(extent) if extent.level == Level::Team)
    }

    /// How far it reaches by teams and groups; `None` where that does not matter.
    pub(super) fn connections<'a>(
        &self,
        teams: &'a [u32],
        groups: &'a [u32],
    ) -> Option<Connections<'a>> {
        match self.footing {
            Footing::Reaching(extent) => Some(Connections {
                extent,
                teams,
                groups,
            }),
            Footing::Nothing | Footing::All | Footing::Named => None,
        }
    }
}

/// One state of the account.
pub(super) struct Side<'g> {
    pub graph: &'g AccountGraph,
    pub at: Timestamp,
    /// Masks that users have in groups by themselves.
    own_masks: HashMap<u32, Vec<(u32, ActionSet)>>,
    /// Masks in groups by reaching some teams.
    team_masks: HashMap<ListId, Rc<[(u32, ActionSet)]>>,
    groups: HashMap<(ListId, ActionIx), ListId>,
}

pub(super) struct Person<'g> {
    pub id: &'g Id,
    pub before: Option<Member<'g>>,
    pub after: Option<Member<'g>>,
    /// Nothing about the user or around them changed but, maybe, resources and their owners.
    pub is_same: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Member<'g> {
    pub user: &'g CompiledUser,
    teams: ListId,
}

pub(super) struct People<'g> {
    pub before: Option<Side<'g>>,
    pub after: Option<Side<'g>>,
    pub lists: Lists,
    pub persons: Vec<Person<'g>>,
    /// Numbers of names mean the same on both sides.
    pub are_related: bool,
    /// Where they are: users who are in other teams than before.
    pub moved: Vec<u32>,
}

impl<'g> People<'g> {
    pub(super) fn of(
        before: Standpoint<'g>,
        after: Standpoint<'g>,
        only: Option<&Id>,
        work: &mut Work<'_>,
    ) -> Result<Self, Halted> {
        let graphs = before.graph.zip(after.graph);
        let are_related = graphs.is_some_and(|(before, after)| after.shares_numbers(before));
        let mut people = Self {
            before: Side::of(before, work)?,
            after: Side::of(after, work)?,
            lists: Lists::new(),
            persons: Vec::new(),
            are_related,
            moved: Vec::new(),
        };
        let is_quiet = are_related
            && before.at == after.at
            && graphs.is_some_and(|(before, after)| {
                std::ptr::eq(before.directory.as_ref(), after.directory.as_ref())
            });
        if are_related && !is_quiet {
            people.find_moved(before, after, work)?;
        }
        match only {
            Some(id) => {
                // Borrowed from the side that has the user.
                let user = |side: Standpoint<'g>| side.graph?.user(id.as_str());
                if let Some(user) = user(after).or_else(|| user(before)) {
                    people.add(&user.id, work)?;
                }
            }
            None => {
                for id in all_users(before.graph, after.graph) {
                    people.add(id, work)?;
                }
            }
        }
        Ok(people)
    }

    fn add(&mut self, id: &'g Id, work: &mut Work<'_>) -> Result<(), Halted> {
        let before = member(self.before.as_ref(), id, &mut self.lists, work)?;
        let after = member(self.after.as_ref(), id, &mut self.lists, work)?;
        let moment = |side: &Option<Side<'_>>| side.as_ref().map(|side| side.at);
        let is_same = self.are_related
            && moment(&self.before) == moment(&self.after)
            && before
                .zip(after)
                .is_some_and(|(before, after)| std::ptr::eq(before.user, after.user));
        self.persons.push(Person {
            id,
            before,
            after,
            is_same,
        });
        Ok(())
    }

    fn find_moved(
        &mut self,
        before: Standpoint<'g>,
        after: Standpoint<'g>,
        work: &mut Work<'_>,
    ) -> Result<(), Halted> {
        for id in all_users(before.graph, after.graph) {
            work.spend(1)?;
            let user = |side: Standpoint<'g>| side.graph?.compiled_user(id.as_str());
            let teams = |side: Standpoint<'g>| {
                let mut teams: Vec<u32> =
                    user(side).map_or_else(Vec::new, |user| user.teams(side.at).collect());
                teams.sort_unstable();
                teams.dedup();
                teams
            };
            let (was, is) = (user(before), user(after));
            let is_same =
                before.at == after.at && was.zip(is).is_some_and(|(was, is)| std::ptr::eq(was, is));
            if !is_same && teams(before) != teams(after) {
                self.moved.extend(is.or(was).map(|user| user.number));
            }
        }
        Ok(())
    }
}

/// Users of either side, each once, in id order.
fn all_users<'g>(
    before: Option<&'g AccountGraph>,
    after: Option<&'g AccountGraph>,
) -> impl Iterator<Item = &'g Id> {
    let users = |graph: Option<&'g AccountGraph>| {
        let users = graph.map(AccountGraph::users);
        users.into_iter().flatten().map(|user| &user.id).peekable()
    };
    let (mut before, mut after) = (users(before), users(after));
    std::iter::from_fn(move || {
        let next = match (before.peek(), after.peek()) {
            (Some(was), Some(is)) => (*was).min(*is),
            (was, is) => was.or(is)?,
        };
        before.next_if(|id| *id == next);
        after.next_if(|id| *id == next);
        Some(next)
    })
}

fn member<'g>(
    side: Option<&Side<'g>>,
    id: &Id,
    lists: &mut Lists,
    work: &mut Work<'_>,
) -> Result<Option<Member<'g>>, Halted> {
    let Some((side, user)) =
        side.and_then(|side| Some((side, side.graph.compiled_user(id.as_str())?)))
    else {
        return Ok(None);
    };
    let mut teams: Vec<u32> = user
        .teams_in_reach(&side.graph.directory.tree, side.at)
        .collect();
    work.spend(1 + teams.len() as u64 / 16)?;
    teams.sort_unstable();
    teams.dedup();
    let teams = lists.id_of(teams);
    Ok(Some(Member { user, teams }))
}

impl<'g> Side<'g> {
    fn of(standpoint: Standpoint<'g>, work: &mut Work<'_>) -> Result<Option<Self>, Halted> {
        let Some(graph) = standpoint.graph else {
            return Ok(None);
        };
        let mut own_masks: HashMap<u32, Vec<(u32, ActionSet)>> = HashMap::new();
        for (group, compiled) in graph.directory.groups() {
            for (user, mask) in compiled.users() {
                own_masks.entry(user).or_default().push((group, mask));
            }
            work.spend(1 + compiled.users().count() as u64 / 4)?;
        }
        Ok(Some(Self {
            graph,
            at: standpoint.at,
            own_masks,
            team_masks: HashMap::new(),
            groups: HashMap::new(),
        }))
    }

    pub(super) fn ground(
        &mut self,
        member: Member<'g>,
        set: &AccessSet<'_>,
        lists: &mut Lists,
        work: &mut Work<'_>,
    ) -> Result<Ground, Halted> {
        let footing = set.footing();
        let by_teams = matches!(footing, Footing::Reaching(extent) if extent.level >= Level::Team);
        if !by_teams {
            return Ok(Ground {
                footing,
                ..Ground::NOTHING
            });
        }
        Ok(Ground {
            footing,
            teams: member.teams,
            groups: self.groups(member.teams, set.action, lists, work)?,
        })
    }

    /// Groups in which a user has a mask with the action without the help of teams.
    pub(super) fn own_groups(&self, user: u32, action: ActionIx) -> Vec<u32> {
        let masks = self.own_masks.get(&user).into_iter().flatten();
        masks
            .filter(|(_, mask)| mask.contains(action))
            .map(|(group, _)| *group)
            .collect()
    }

    fn groups(
        &mut self,
        teams: ListId,
        action: ActionIx,
        lists: &mut Lists,
        work: &mut Work<'_>,
    ) -> Result<ListId, Halted> {
        if let Some(groups) = self.groups.get(&(teams, action)) {
            return Ok(*groups);
        }
        let masks = match self.team_masks.get(&teams) {
            Some(masks) => Rc::clone(masks),
            None => {
                let masks = self.masks_by(&lists.get(teams), work)?;
                self.team_masks.insert(teams, Rc::clone(&masks));
                masks
            }
        };
        let with_action = masks.iter().filter(|(_, mask)| mask.contains(action));
        let groups = lists.id_of(with_action.map(|(group, _)| *group).collect());
        self.groups.insert((teams, action), groups);
        Ok(groups)
    }

    fn masks_by(
        &self,
        teams: &[u32],
        work: &mut Work<'_>,
    ) -> Result<Rc<[(u32, ActionSet)]>, Halted> {
        let mut masks = Vec::new();
        for (group, compiled) in self.graph.directory.groups() {
            work.spend(1 + compiled.teams().count() as u64 / 8)?;
            let reached = compiled
                .teams()
                .filter(|(team, _)| teams.binary_search(team).is_ok());
            let mask = reached.map(|(_, mask)| mask).reduce(ActionSet::union);
            masks.extend(mask.map(|mask| (group, mask)));
        }
        Ok(masks.into())
    }
}
