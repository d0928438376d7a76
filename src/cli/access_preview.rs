//! What changes do to access, as commands print it.

use serde::Serialize;

use crate::grpc::wire;

use super::connection::from_wire_time;
use super::error::{CliError, one_line};
use super::output::{Colour, Output};

/// Lines of one list that are printed for people unless all are asked for.
const LINES_MAX: usize = 40;

/// A preview in the wire's field names.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ShownPreview {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    pub actions: Vec<ShownAction>,
    pub differences_total: u64,
    pub tool_differences_total: u64,
    pub orphaned_total: u64,
    pub orphaned_with_owner_total: u64,
    pub locked_in_total: u64,
    pub locked_out_total: u64,
    pub differences: Vec<ShownDifference>,
    pub tool_differences: Vec<ShownTool>,
    pub orphaned: Vec<ShownOrphan>,
    pub locked_in: Vec<ShownUserOfType>,
    pub locked_out: Vec<ShownUserOfType>,
}

/// What a dry run says of access: a preview, or why there is none. Of another run neither.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ShownAccess {
    #[serde(skip_serializing_if = "Option::is_none")]
    preview: Option<ShownPreview>,
    #[serde(skip_serializing_if = "String::is_empty")]
    preview_refused: String,
}

impl ShownAccess {
    /// Takes over what an answer, or the next part of one, has of it.
    pub fn add(&mut self, preview: Option<wire::AccessPreview>, refused: String) {
        if let Some(part) = preview {
            self.preview.get_or_insert_default().add(part);
        }
        if !refused.is_empty() {
            self.preview_refused = refused;
        }
    }

    /// For people, after what would be written; `whole` prints all lines that are here.
    pub fn print(&self, whole: bool, output: &mut Output) -> Result<(), CliError> {
        if let Some(preview) = &self.preview {
            output.line("access:")?;
            preview.print(whole, output)?;
        }
        if !self.preview_refused.is_empty() {
            let why = one_line(&self.preview_refused);
            output.line(&format!("access is not told: {why}"))?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct ShownAction {
    resource_type: String,
    action: String,
    users_gaining: u64,
    users_losing: u64,
    gained: u64,
    lost: u64,
}

#[derive(Debug, Clone, Serialize)]
pub struct ShownDifference {
    user_id: String,
    resource_type: String,
    action: String,
    gained: u64,
    lost: u64,
    gained_sample_ids: Vec<String>,
    lost_sample_ids: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct ShownTool {
    user_id: String,
    resource_type: String,
    action: String,
    before: Option<ShownDecision>,
    after: Option<ShownDecision>,
}

#[derive(Debug, Clone, Serialize)]
pub struct ShownDecision {
    decision: &'static str,
    reason: String,
    level: &'static str,
    include_unassigned: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct ShownOrphan {
    resource_type: String,
    resource_id: String,
    owner_ids: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct ShownUserOfType {
    user_id: String,
    resource_type: String,
}

impl ShownPreview {
    /// Takes over the next part of a preview.
    pub fn add(&mut self, part: wire::AccessPreview) {
        if let Some(summary) = part.summary {
            self.at = from_wire_time(summary.at.as_ref()).map(|at| at.to_string());
            self.differences_total = summary.differences_total;
            self.tool_differences_total = summary.tool_differences_total;
            self.orphaned_total = summary.orphaned_total;
            self.orphaned_with_owner_total = summary.orphaned_with_owner_total;
            self.locked_in_total = summary.locked_in_total;
            self.locked_out_total = summary.locked_out_total;
            self.actions = summary.actions.into_iter().map(ShownAction::of).collect();
        }
        let differences = part.differences.into_iter();
        self.differences
            .extend(differences.map(ShownDifference::of));
        let tools = part.tool_differences.into_iter();
        self.tool_differences.extend(tools.map(ShownTool::of));
        self.orphaned
            .extend(part.orphaned.into_iter().map(ShownOrphan::of));
        self.locked_in
            .extend(part.locked_in.into_iter().map(ShownUserOfType::of));
        self.locked_out
            .extend(part.locked_out.into_iter().map(ShownUserOfType::of));
    }

    fn is_empty(&self) -> bool {
        self.differences_total == 0 && self.tool_differences_total == 0 && self.orphaned_total == 0
    }

    /// For people; `whole` prints all lines that are here.
    pub fn print(&self, whole: bool, output: &mut Output) -> Result<(), CliError> {
        if self.is_empty() {
            return output.line("  nobody gains or loses access");
        }
        for action in &self.actions {
            output.line(&format!("  {action}"))?;
        }
        let lines: Vec<String> = self
            .differences
            .iter()
            .flat_map(|difference| difference.lines(output))
            .collect();
        // A difference has one line or two, so what is not here is told by differences.
        let hidden = self
            .differences_total
            .saturating_sub(count(self.differences.len()));
        print_list("users and actions", &lines, hidden, whole, output)?;
        let lines: Vec<String> = self
            .tool_differences
            .iter()
            .map(ToString::to_string)
            .collect();
        let hidden = self
            .tool_differences_total
            .saturating_sub(count(lines.len()));
        print_list("tools", &lines, hidden, whole, output)?;
        let locked = |locked: &[ShownUserOfType], how: &str| -> Vec<String> {
            let of = locked.iter();
            of.map(|one| format!("{} is locked {how} of {}", one.user_id, one.resource_type))
                .collect()
        };
        let lines = locked(&self.locked_out, "out");
        let hidden = self.locked_out_total.saturating_sub(count(lines.len()));
        print_list("users locked out", &lines, hidden, whole, output)?;
        let lines: Vec<String> = self
            .locked_in
            .iter()
            .map(|one| format!("{} reaches a first {}", one.user_id, one.resource_type))
            .collect();
        let hidden = self.locked_in_total.saturating_sub(count(lines.len()));
        print_list("users locked in", &lines, hidden, whole, output)?;
        let lines: Vec<String> = self.orphaned.iter().map(ToString::to_string).collect();
        let hidden = self.orphaned_total.saturating_sub(count(lines.len()));
        print_list("orphaned resources", &lines, hidden, whole, output)
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// The first lines of a list, and how many more there are.
fn print_list(
    what: &str,
    lines: &[String],
    hidden: u64,
    whole: bool,
    output: &mut Output,
) -> Result<(), CliError> {
    let shown = if whole { lines.len() } else { LINES_MAX };
    for line in lines.iter().take(shown) {
        output.line(&format!("  {line}"))?;
    }
    let more = count(lines.len().saturating_sub(shown)) + hidden;
    if more > 0 {
        let more = format!("  and {more} more: {what}; `--output json` has the lists");
        output.line(&output.painted(Colour::Dim, &more))?;
    }
    Ok(())
}

impl ShownAction {
    fn of(action: wire::ActionSummary) -> Self {
        Self {
            resource_type: action.resource_type,
            action: action.action,
            users_gaining: action.users_gaining,
            users_losing: action.users_losing,
            gained: action.gained,
            lost: action.lost,
        }
    }
}

/// `contact.view: 2 users gain 14, 1 user loses 3`
impl std::fmt::Display for ShownAction {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{}:", self.resource_type, self.action)?;
        if self.users_gaining > 0 {
            let verb = if self.users_gaining == 1 {
                "user gains"
            } else {
                "users gain"
            };
            write!(formatter, " {} {verb} {}", self.users_gaining, self.gained)?;
        }
        if self.users_losing > 0 {
            let comma = if self.users_gaining > 0 { "," } else { "" };
            let verb = if self.users_losing == 1 {
                "user loses"
            } else {
                "users lose"
            };
            write!(
                formatter,
                "{comma} {} {verb} {}",
                self.users_losing, self.lost
            )?;
        }
        Ok(())
    }
}

impl ShownDifference {
    fn of(difference: wire::AccessDifference) -> Self {
        Self {
            user_id: difference.user_id,
            resource_type: difference.resource_type,
            action: difference.action,
            gained: difference.gained,
            lost: difference.lost,
            gained_sample_ids: difference.gained_sample_ids,
            lost_sample_ids: difference.lost_sample_ids,
        }
    }

    /// `+ pierre email.view 2: spring-dach, summer`
    fn lines(&self, output: &Output) -> Vec<String> {
        let line = |sign: &str, colour, total: u64, sample: &[String]| {
            let more = if total > count(sample.len()) {
                ", ..."
            } else {
                ""
            };
            let text = format!(
                "{sign} {} {}.{} {total}: {}{more}",
                self.user_id,
                self.resource_type,
                self.action,
                sample.join(", ")
            );
            (total > 0).then(|| output.painted(colour, &text))
        };
        let gained = line("+", Colour::Green, self.gained, &self.gained_sample_ids);
        let lost = line("-", Colour::Red, self.lost, &self.lost_sample_ids);
        gained.into_iter().chain(lost).collect()
    }
}

impl ShownTool {
    fn of(tool: wire::ToolDifference) -> Self {
        Self {
            user_id: tool.user_id,
            resource_type: tool.resource_type,
            action: tool.action,
            before: tool.before.map(ShownDecision::of),
            after: tool.after.map(ShownDecision::of),
        }
    }
}

/// `lena contact.edit: none before, team now`
impl std::fmt::Display for ShownTool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let level = |decision: &Option<ShownDecision>| {
            let unassigned = decision.as_ref().is_some_and(|one| one.include_unassigned);
            let level = decision.as_ref().map_or("none", |one| one.level);
            let more = if unassigned { " with unassigned" } else { "" };
            format!("{level}{more}")
        };
        write!(
            formatter,
            "{} {}.{}: level {} before, {} now",
            self.user_id,
            self.resource_type,
            self.action,
            level(&self.before),
            level(&self.after)
        )
    }
}

impl ShownDecision {
    /// Whatever is not plainly an allow is shown as a denial.
    fn of(decision: wire::ToolDecision) -> Self {
        let allows = decision.decision() == wire::Decision::Allow;
        Self {
            decision: if allows { "allow" } else { "deny" },
            level: match decision.level() {
                wire::Level::Everything if allows => "everything",
                wire::Level::Team if allows => "team",
                wire::Level::Owned if allows => "owned",
                wire::Level::Everything
                | wire::Level::Team
                | wire::Level::Owned
                | wire::Level::None
                | wire::Level::Unspecified => "none",
            },
            include_unassigned: decision.include_unassigned,
            reason: decision.reason,
        }
    }
}

impl ShownOrphan {
    fn of(orphan: wire::OrphanedResource) -> Self {
        Self {
            resource_type: orphan.resource_type,
            resource_id: orphan.resource_id,
            owner_ids: orphan.owner_ids,
        }
    }
}

/// `email/spring is orphaned, left to mara`
impl std::fmt::Display for ShownOrphan {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let left = match self.owner_ids.as_slice() {
            [] => "super admins".to_owned(),
            owners => owners.join(", "),
        };
        let (of, id) = (&self.resource_type, &self.resource_id);
        write!(formatter, "{of}/{id} is orphaned, left to {left}")
    }
}

impl ShownUserOfType {
    fn of(locked: wire::UserOfType) -> Self {
        Self {
            user_id: locked.user_id,
            resource_type: locked.resource_type,
        }
    }
}
