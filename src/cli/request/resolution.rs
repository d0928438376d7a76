//! What answers a request: as an argument, in words and as JSON.

use clap::ValueEnum;
use serde::Serialize;

use crate::authz::model::Id;
use crate::cli::answer;
use crate::cli::error::CliError;
use crate::cli::question::TypeAction;
use crate::grpc::wire;
use wire::resolution::Kind;

/// The kinds of resolution, in the order that breaks ties between equally small ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum ResolutionKind {
    /// The action on the resource alone
    ObjectGrant,
    /// The resource is assigned to the requester
    AssignToUser,
    /// A grant of its own: --permission, --level, --include-unassigned
    DirectGrant,
    /// The resource is assigned to a team of the requester: --team
    AssignToTeam,
    /// A permission set: --set
    PermissionSet,
    /// Membership of an additional team: --team
    AddToTeam,
    /// A grant that the requester has, at a higher level: --permission, --level, --include-unassigned
    RaiseLevel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum LevelArg {
    Owned,
    Team,
    Everything,
}

#[derive(Debug, Clone, clap::Args)]
pub struct ResolutionArgs {
    /// What to give; without it the smallest that `ambit request suggest` names
    #[arg(long, value_name = "KIND", value_enum)]
    resolution: Option<ResolutionKind>,
    /// The permission of a grant, as contact.export
    #[arg(long, value_name = "TYPE.PERMISSION", requires = "resolution")]
    permission: Option<TypeAction>,
    /// How far a grant reaches
    #[arg(long, value_enum, requires = "resolution")]
    level: Option<LevelArg>,
    /// The grant also reaches resources without owner and partition
    #[arg(long, requires = "resolution")]
    include_unassigned: bool,
    /// The team
    #[arg(long, value_name = "TEAM", requires = "resolution")]
    team: Option<Id>,
    /// The permission set
    #[arg(long, value_name = "SET", requires = "resolution")]
    set: Option<Id>,
}

impl ResolutionArgs {
    /// `None`: the smallest is wanted.
    pub fn to_wire(&self) -> Result<Option<wire::Resolution>, CliError> {
        let Some(kind) = self.resolution else {
            return Ok(None);
        };
        let kind = match kind {
            ResolutionKind::ObjectGrant => Kind::ObjectGrant(wire::ObjectGrantResolution {}),
            ResolutionKind::AssignToUser => Kind::AssignToUser(wire::AssignToUserResolution {}),
            ResolutionKind::DirectGrant => Kind::DirectGrant(self.offer()?),
            ResolutionKind::RaiseLevel => Kind::RaiseLevel(self.offer()?),
            ResolutionKind::AssignToTeam => {
                Kind::AssignToTeamId(named(self.team.as_ref(), "--team")?)
            }
            ResolutionKind::AddToTeam => Kind::AddToTeamId(named(self.team.as_ref(), "--team")?),
            ResolutionKind::PermissionSet => {
                Kind::PermissionSetId(named(self.set.as_ref(), "--set")?)
            }
        };
        Ok(Some(wire::Resolution { kind: Some(kind) }))
    }

    fn offer(&self) -> Result<wire::GrantOffer, CliError> {
        let permission = self.permission.as_ref().ok_or_else(|| {
            CliError::usage("this kind of resolution takes --permission TYPE.PERMISSION")
        })?;
        let level = match self.level {
            Some(LevelArg::Owned) => wire::Level::Owned,
            Some(LevelArg::Team) => wire::Level::Team,
            Some(LevelArg::Everything) => wire::Level::Everything,
            None => {
                return Err(CliError::usage(
                    "this kind of resolution takes --level owned, team or everything",
                ));
            }
        };
        Ok(wire::GrantOffer {
            resource_type: permission.resource_type.to_string(),
            permission: permission.action.to_string(),
            level: level.into(),
            include_unassigned: self.include_unassigned,
        })
    }
}

fn named(id: Option<&Id>, option: &str) -> Result<String, CliError> {
    id.map(ToString::to_string)
        .ok_or_else(|| CliError::usage(format!("this kind of resolution takes {option}")))
}

/// A resolution with the names of the wire.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ShownResolution {
    ObjectGrant {},
    AssignToUser {},
    DirectGrant(ShownOffer),
    AssignToTeamId(String),
    PermissionSetId(String),
    AddToTeamId(String),
    RaiseLevel(ShownOffer),
    /// Of a server that knows more kinds than this command.
    Unknown {},
}

#[derive(Debug, Serialize)]
pub struct ShownOffer {
    resource_type: String,
    permission: String,
    level: &'static str,
    include_unassigned: bool,
}

impl From<&wire::GrantOffer> for ShownOffer {
    fn from(offer: &wire::GrantOffer) -> Self {
        Self {
            resource_type: offer.resource_type.clone(),
            permission: offer.permission.clone(),
            level: answer::level(offer.level),
            include_unassigned: offer.include_unassigned,
        }
    }
}

impl ShownResolution {
    pub fn of(resolution: Option<&wire::Resolution>) -> Self {
        match resolution.and_then(|resolution| resolution.kind.as_ref()) {
            None => Self::Unknown {},
            Some(Kind::ObjectGrant(_)) => Self::ObjectGrant {},
            Some(Kind::AssignToUser(_)) => Self::AssignToUser {},
            Some(Kind::DirectGrant(offer)) => Self::DirectGrant(offer.into()),
            Some(Kind::AssignToTeamId(team)) => Self::AssignToTeamId(team.clone()),
            Some(Kind::PermissionSetId(set)) => Self::PermissionSetId(set.clone()),
            Some(Kind::AddToTeamId(team)) => Self::AddToTeamId(team.clone()),
            Some(Kind::RaiseLevel(offer)) => Self::RaiseLevel(offer.into()),
        }
    }

    /// As arguments of `ambit request approve`, after `--resolution`.
    pub fn in_words(&self) -> String {
        let offer = |kind: &str, offer: &ShownOffer| {
            format!(
                "{kind} --permission {}.{} --level {}{}",
                offer.resource_type,
                offer.permission,
                offer.level,
                if offer.include_unassigned {
                    " --include-unassigned"
                } else {
                    ""
                }
            )
        };
        match self {
            Self::ObjectGrant {} => "object_grant".to_owned(),
            Self::AssignToUser {} => "assign_to_user".to_owned(),
            Self::DirectGrant(grant) => offer("direct_grant", grant),
            Self::AssignToTeamId(team) => format!("assign_to_team --team {}", quoted(team)),
            Self::PermissionSetId(set) => format!("permission_set --set {}", quoted(set)),
            Self::AddToTeamId(team) => format!("add_to_team --team {}", quoted(team)),
            Self::RaiseLevel(grant) => offer("raise_level", grant),
            Self::Unknown {} => "a kind that this command does not know".to_owned(),
        }
    }
}

/// An argument as a POSIX shell takes it.
pub fn quoted(text: &str) -> String {
    let plain = |character: char| {
        character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.' | ':' | '/' | '@')
    };
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_survives_the_shell() {
        assert_eq!(quoted("spring-dach"), "spring-dach");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted("$(rm)"), "'$(rm)'");
    }
}
