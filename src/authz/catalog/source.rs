//! The YAML form of a catalog, key by key as `docs/catalogs.md` describes it.

use serde::Deserialize;

use super::{Catalog, CatalogError};
use crate::authz::yaml::{self, At, Entries};

/// Longest catalog, in bytes of UTF-8.
pub const CATALOG_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CatalogSource {
    pub catalog: At<String>,
    pub version: At<u32>,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub implications: Entries<Vec<At<String>>>,
    #[serde(default)]
    pub tool_level_actions: Vec<At<String>>,
    #[serde(default)]
    pub read_only_actions: Vec<At<String>>,
    #[serde(default)]
    pub owner_may_stand_alone: bool,
    #[serde(default)]
    pub no_view: NoView,
    #[serde(default)]
    pub seats: Entries<SeatSource>,
    pub plans: Entries<PlanSource>,
    pub types: Vec<At<TypeSource>>,
}

/// How a user is shown a tool that they may not view (3.4).
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum NoView {
    #[default]
    BlockedPage,
    Lock,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SeatSource {
    #[serde(default)]
    pub read_only: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanSource {
    /// A plan further up, all of which holds here too unless said otherwise.
    pub extends: Option<At<String>>,
    pub nested_teams: Option<bool>,
    pub object_access_requests: Option<bool>,
    #[serde(default)]
    pub without: Vec<At<String>>,
    #[serde(default)]
    pub partitions: Vec<At<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Levels {
    #[default]
    All,
    Flag,
}

/// One entry of `types`; what it says holds for each type that it names.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TypeSource {
    pub names: Vec<At<String>>,
    #[serde(default)]
    pub levels: Levels,
    pub actions: Vec<At<String>>,
    #[serde(default)]
    pub permissions: Entries<Vec<At<String>>>,
    #[serde(default)]
    pub always: Vec<At<String>>,
    #[serde(default)]
    pub derived: Entries<DerivedSource>,
    #[serde(default)]
    pub same_as: Entries<At<String>>,
    pub reserved: Option<At<ReservedSource>>,
    #[serde(default = "yes")]
    pub grantable: bool,
    #[serde(default)]
    pub seats: Vec<At<String>>,
    #[serde(default)]
    pub requires_payment_method: Vec<At<String>>,
    pub no_view: Option<NoView>,
    #[serde(default = "yes")]
    pub requestable: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DerivedSource {
    pub any_of: Vec<At<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReservedSource {
    pub holders: Vec<At<Holder>>,
    #[serde(default)]
    pub except_partner_users: bool,
    /// All actions of the type where absent.
    pub actions: Option<Vec<At<String>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Holder {
    AccountOwner,
    SuperAdmin,
    PartnerAdmin,
    ExplicitGrant,
}

impl Catalog {
    /// Reads, checks and compiles the YAML text of one catalog.
    ///
    /// # Errors
    /// The first thing that is wrong, in one line with its place: YAML that can't be read, an
    /// unknown or duplicate key, a name that nothing defines, or a contradiction.
    pub fn parse(text: &str) -> Result<Self, CatalogError> {
        if text.len() > CATALOG_BYTES_MAX {
            return Err(CatalogError::whole(format!(
                "a catalog has at most {CATALOG_BYTES_MAX} bytes, this one has {}",
                text.len()
            )));
        }
        let mut sources = yaml::parse::<CatalogSource>(text)?;
        match (sources.pop(), sources.len()) {
            (Some(source), 0) => super::compile::compile(&source),
            (None, _) => Err(CatalogError::whole("there is no catalog in the text")),
            (Some(_), _) => Err(CatalogError::whole(
                "a file holds one catalog, this one has several YAML documents",
            )),
        }
    }
}
