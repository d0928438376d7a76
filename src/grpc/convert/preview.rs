//! What changes do to access, on the wire.

use prost::Message;

use super::{effect_to_wire, level_to_wire, timestamp_to_wire};
use crate::authz::decision::Decision;
use crate::authz::difference::Halted;
use crate::authz::model::Id;
use crate::authz::preview::{
    AccessDifference, ActionTotals, Orphan, Preview, ToolDifference, UserAndType,
};
use crate::directory::Foreseen;
use crate::grpc::chunks::CHUNK_BYTES;
use crate::grpc::wire;

/// Of each list the most that an answer holds beside others.
const SAMPLE_MAX: usize = 1_000;

/// About the most bytes of a list in such an answer, so that it fits a message whatever ids are like.
const SAMPLE_BYTES: usize = 512 * 1_024;

/// What a dry run says of access in one answer: a preview with the first of each list, or why there
/// is none. What is too much to compare can be written all the same, so that is told beside the rest.
pub fn foreseen_to_wire(
    foreseen: &Result<Foreseen, Halted>,
) -> (Option<wire::AccessPreview>, String) {
    match foreseen {
        Ok(foreseen) => (Some(sample(foreseen)), String::new()),
        Err(halted) => (None, halted.to_string()),
    }
}

fn sample(foreseen: &Foreseen) -> wire::AccessPreview {
    let Foreseen { preview, after } = foreseen;
    wire::AccessPreview {
        summary: Some(access_summary_to_wire(preview)),
        differences: first(preview.differences.iter().map(access_difference_to_wire)),
        tool_differences: first(preview.tools.iter().map(tool_difference_to_wire)),
        orphaned: first(preview.orphans(after).map(|orphan| orphan_to_wire(&orphan))),
        locked_in: first(preview.locked_in.iter().map(user_of_type_to_wire)),
        locked_out: first(preview.locked_out.iter().map(user_of_type_to_wire)),
    }
}

fn first<T: Message>(list: impl Iterator<Item = T>) -> Vec<T> {
    let mut bytes = 0;
    list.take(SAMPLE_MAX)
        .take_while(|item| {
            bytes += item.encoded_len();
            bytes <= SAMPLE_BYTES
        })
        .collect()
}

/// A whole preview in parts of about a chunk, each list after the other; at least one part.
pub fn preview_parts(foreseen: &Foreseen) -> impl Iterator<Item = wire::AccessPreview> + Send {
    let Foreseen { preview, after } = foreseen;
    let differences = preview.differences.iter();
    let tools = preview.tools.iter();
    let locked_in = preview.locked_in.iter();
    let locked_out = preview.locked_out.iter();
    let orphaned = preview.orphans(after);
    let mut items = differences
        .map(|one| Item::Difference(access_difference_to_wire(one)))
        .chain(tools.map(|one| Item::Tool(tool_difference_to_wire(one))))
        .chain(locked_in.map(|one| Item::LockedIn(user_of_type_to_wire(one))))
        .chain(locked_out.map(|one| Item::LockedOut(user_of_type_to_wire(one))))
        .chain(orphaned.map(|one| Item::Orphaned(orphan_to_wire(&one))))
        .peekable();
    let mut summary = Some(access_summary_to_wire(preview));
    std::iter::from_fn(move || {
        if summary.is_none() && items.peek().is_none() {
            return None;
        }
        let mut part = wire::AccessPreview {
            summary: summary.take(),
            ..wire::AccessPreview::default()
        };
        let mut bytes = 0;
        while bytes < CHUNK_BYTES
            && let Some(item) = items.next()
        {
            bytes += item.add_to(&mut part);
        }
        Some(part)
    })
}

/// An element of one of the lists.
enum Item {
    Difference(wire::AccessDifference),
    Tool(wire::ToolDifference),
    LockedIn(wire::UserOfType),
    LockedOut(wire::UserOfType),
    Orphaned(wire::OrphanedResource),
}

impl Item {
    /// Answers its bytes.
    fn add_to(self, part: &mut wire::AccessPreview) -> usize {
        fn push<T: Message>(list: &mut Vec<T>, item: T) -> usize {
            let bytes = item.encoded_len();
            list.push(item);
            bytes
        }
        match self {
            Self::Difference(item) => push(&mut part.differences, item),
            Self::Tool(item) => push(&mut part.tool_differences, item),
            Self::LockedIn(item) => push(&mut part.locked_in, item),
            Self::LockedOut(item) => push(&mut part.locked_out, item),
            Self::Orphaned(item) => push(&mut part.orphaned, item),
        }
    }
}

fn access_summary_to_wire(preview: &Preview) -> wire::AccessSummary {
    let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    wire::AccessSummary {
        at: Some(timestamp_to_wire(preview.at)),
        actions: preview.totals.iter().map(action_summary_to_wire).collect(),
        differences_total: count(preview.differences.len()),
        tool_differences_total: count(preview.tools.len()),
        orphaned_total: preview.orphaned_total(),
        orphaned_with_owner_total: preview.orphaned_with_owner_total(),
        locked_in_total: count(preview.locked_in.len()),
        locked_out_total: count(preview.locked_out.len()),
    }
}

fn action_summary_to_wire(totals: &ActionTotals) -> wire::ActionSummary {
    wire::ActionSummary {
        resource_type: totals.resource_type.to_string(),
        action: totals.action.to_string(),
        users_gaining: totals.users_gaining,
        users_losing: totals.users_losing,
        gained: totals.gained,
        lost: totals.lost,
    }
}

fn access_difference_to_wire(difference: &AccessDifference) -> wire::AccessDifference {
    let ids = |sample: &[Id]| sample.iter().map(Id::to_string).collect();
    wire::AccessDifference {
        user_id: difference.user.to_string(),
        resource_type: difference.resource_type.to_string(),
        action: difference.action.to_string(),
        gained: difference.gained,
        lost: difference.lost,
        gained_sample_ids: ids(&difference.gained_sample),
        lost_sample_ids: ids(&difference.lost_sample),
    }
}

fn tool_difference_to_wire(difference: &ToolDifference) -> wire::ToolDifference {
    let decision = |decision: &Decision| wire::ToolDecision {
        decision: effect_to_wire(decision.effect).into(),
        reason: decision.reason.as_str().to_owned(),
        level: level_to_wire(decision.level).into(),
        include_unassigned: decision.include_unassigned,
    };
    wire::ToolDifference {
        user_id: difference.user.to_string(),
        resource_type: difference.resource_type.to_string(),
        action: difference.action.to_string(),
        before: difference.before.as_ref().map(decision),
        after: difference.after.as_ref().map(decision),
    }
}

fn orphan_to_wire(orphan: &Orphan<'_>) -> wire::OrphanedResource {
    wire::OrphanedResource {
        resource_type: orphan.resource_type.to_string(),
        resource_id: orphan.id.to_owned(),
        owner_ids: orphan.owners.iter().map(ToString::to_string).collect(),
    }
}

fn user_of_type_to_wire(locked: &UserAndType) -> wire::UserOfType {
    wire::UserOfType {
        user_id: locked.user.to_string(),
        resource_type: locked.resource_type.to_string(),
    }
}
