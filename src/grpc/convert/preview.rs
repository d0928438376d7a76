//! What changes do to access, on the wire.

use super::{effect_to_wire, level_to_wire, timestamp_to_wire};
use crate::authz::decision::Decision;
use crate::authz::graph::AccountGraph;
use crate::authz::model::Id;
use crate::authz::preview::{
    AccessDifference, ActionTotals, Orphan, Preview, ToolDifference, UserAndType,
};
use crate::grpc::wire;

/// Of each list the most that an answer holds beside others.
const SAMPLE_MAX: usize = 1_000;

/// A preview with the first of each list.
pub fn preview_sample_to_wire(preview: &Preview, after: &AccountGraph) -> wire::AccessPreview {
    let differences = preview.differences.iter().take(SAMPLE_MAX);
    let tools = preview.tools.iter().take(SAMPLE_MAX);
    let orphans = preview.orphans(after).take(SAMPLE_MAX);
    let locked_in = preview.locked_in.iter().take(SAMPLE_MAX);
    let locked_out = preview.locked_out.iter().take(SAMPLE_MAX);
    wire::AccessPreview {
        summary: Some(access_summary_to_wire(preview)),
        differences: differences.map(access_difference_to_wire).collect(),
        tool_differences: tools.map(tool_difference_to_wire).collect(),
        orphaned: orphans.map(|orphan| orphan_to_wire(&orphan)).collect(),
        locked_in: locked_in.map(user_of_type_to_wire).collect(),
        locked_out: locked_out.map(user_of_type_to_wire).collect(),
    }
}

pub fn access_summary_to_wire(preview: &Preview) -> wire::AccessSummary {
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

pub fn access_difference_to_wire(difference: &AccessDifference) -> wire::AccessDifference {
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

pub fn tool_difference_to_wire(difference: &ToolDifference) -> wire::ToolDifference {
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

pub fn orphan_to_wire(orphan: &Orphan<'_>) -> wire::OrphanedResource {
    wire::OrphanedResource {
        resource_type: orphan.resource_type.to_string(),
        resource_id: orphan.id.to_owned(),
        owner_ids: orphan.owners.iter().map(ToString::to_string).collect(),
    }
}

pub fn user_of_type_to_wire(locked: &UserAndType) -> wire::UserOfType {
    wire::UserOfType {
        user_id: locked.user.to_string(),
        resource_type: locked.resource_type.to_string(),
    }
}
