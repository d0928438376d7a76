//! Teams, access groups and segments: what gives reach to many at once.

use super::{Judge, Judged, object};
use crate::authz::change::{ActorRefusal, Change};
use crate::authz::model::{AccessGroup, Id, Principal, Provenance, Segment, Team};

impl Judge<'_> {
    pub(super) fn team(&self, team: &Team) -> Judged {
        const FIELD: &str = "team.parent";
        let before = self.graph.team(team.id.as_str());
        if let Some(before) = before {
            // P11: children of a team that is gone move to its parent.
            let moved = before.parent.as_ref();
            if moved == team.parent.as_ref()
                || moved.is_some_and(|parent| self.gone.has_team(parent))
            {
                return Ok(());
            }
        }
        self.edits("team", "team")?;
        // A new team reaches nothing yet. One that moves takes all that it reaches along: it is taken
        // from those above it, and given to those that come above it (P1).
        let Some(before) = before else {
            return Ok(());
        };
        for reached in [Some(&before.id), team.parent.as_ref()]
            .into_iter()
            .flatten()
        {
            if !self.authority.reaches(&Principal::Team(reached.clone())) {
                return object(FIELD, unreached(reached));
            }
        }
        match before.parent.is_some() && !self.authority.is_unlimited() {
            true => object(FIELD, only_with_assign()),
            false => Ok(()),
        }
    }

    pub(super) fn deleted_team(&self, team: &Id) -> Judged {
        self.edits("delete_team", "team")?;
        if !self.authority.is_unlimited() {
            let why = format!(
                "with team `{team}` go its assignments, and what takes somebody's access needs `partition.assign` (P1)"
            );
            return object("delete_team", ActorRefusal::NoAuthority(why));
        }
        Ok(())
    }

    pub(super) fn access_group(&self, group: &AccessGroup) -> Judged {
        let before = self.graph.access_group(group.id.as_str());
        let before = before.map(|before| self.gone.group(before));
        match before {
            Some(before) if before == *group => Ok(()),
            Some(_) => self.places("access_group"),
            // One without members gives nobody anything.
            None if group.members.is_empty() => self.edits_partitions("access_group"),
            None => self.places("access_group"),
        }
    }

    pub(super) fn segment(&self, segment: &Segment) -> Judged {
        let before = self.graph.segment(segment.id.as_str());
        match before.map(|before| self.gone.segment(before)) {
            Some(before) if before == *segment => Ok(()),
            Some(_) | None => self.places("segment"),
        }
    }

    /// A group or a rule speaks of resources of anybody's, so it needs the right to assign any of
    /// them to anybody (P1).
    pub(super) fn places(&self, field: &'static str) -> Judged {
        self.edits_partitions(field)?;
        match self.authority.is_unlimited() {
            true => Ok(()),
            false => object(field, only_with_assign()),
        }
    }

    fn edits_partitions(&self, field: &'static str) -> Judged {
        match self.graph.catalog().resolve("partition", "edit") {
            Ok(_) => self.needs(
                field,
                "partition",
                &["edit"],
                crate::authz::decision::Target::Tool,
            ),
            Err(_) => Ok(()),
        }
    }

    /// Rows that say that they are a rule's, an import's or a form's are not for a user to write.
    pub(super) fn judge_channels(&self) -> Result<(), crate::authz::change::ChangeError> {
        if self.authority.is_unlimited() {
            return Ok(());
        }
        for change in self.changes {
            let (key, provenance, field) = match change {
                Change::PutAssignment {
                    resource,
                    provenance,
                    ..
                } => (resource, provenance, "assignment"),
                Change::DeleteAssignment {
                    resource,
                    provenance,
                    ..
                } => (resource, provenance, "delete_assignment"),
                _ => continue,
            };
            if *provenance != Provenance::Manual {
                let problem = super::Objection {
                    field,
                    why: only_with_assign(),
                };
                let key = crate::authz::model::EntityKey::Resource(key.clone());
                return Err(self.blame(&key, problem.into()));
            }
        }
        Ok(())
    }
}

pub(super) fn only_with_assign() -> ActorRefusal {
    ActorRefusal::NoAuthority("this needs `partition.assign` (P1)".to_owned())
}

pub(super) fn unreached(team: &Id) -> ActorRefusal {
    ActorRefusal::NoAuthority(format!(
        "the user is not in a team from which `{team}` is reached, and does not hold `partition.assign`"
    ))
}
