//! The account document: one account in YAML or JSON, and the decisions that it must give.
//!
//! `docs/account-document.md` describes the format. A file is read in two steps. [`parse_file`]
//! judges shape, ids, times and every name of the catalog. What one entity says about another is
//! judged when it is known where the document goes: [`Document::to_account`] takes it as an account
//! of its own, where every reference must be met inside it; [`Document::to_changes`] makes changes
//! to an account that may have more, and leaves references to
//! [`plan`](super::change::plan).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::catalog::{Catalog, CatalogError};
use super::change::Change;
use super::model::{CatalogRef, Entity, Id};
use super::yaml::{self, At, Field, Place, YamlError, one_line, shown};
use changes::Removal;
use part::Parts;
use read::{Lists, Reader};
use source::DocumentSource;

pub mod case;
mod changes;
mod export;
mod part;
mod read;
mod reference;
mod source;
mod trial;

pub use case::{Case, CaseResult, Cases, run_case};
pub use export::{ExportError, export};

/// Longest file of account documents, in bytes of UTF-8.
pub const FILE_BYTES_MAX: usize = 512 << 20;

/// Why a file is no account document: one line, with the place where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentError {
    pub place: Option<Place>,
    pub problem: String,
}

impl DocumentError {
    pub(crate) fn at(place: Place, problem: impl Into<String>) -> Self {
        Self {
            place: Some(place),
            problem: problem.into(),
        }
    }

    /// An error of the file as a whole.
    pub(crate) fn whole(problem: impl Into<String>) -> Self {
        Self {
            place: None,
            problem: problem.into(),
        }
    }
}

impl fmt::Display for DocumentError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some(place) => write!(formatter, "{place}: {}", self.problem),
            None => formatter.write_str(&self.problem),
        }
    }
}

impl std::error::Error for DocumentError {}

impl From<YamlError> for DocumentError {
    fn from(error: YamlError) -> Self {
        Self {
            place: error.place,
            problem: error.problem,
        }
    }
}

/// One account document, checked by itself. A document that only changes an account may leave out
/// its catalog and plan.
#[derive(Debug, Clone)]
pub struct Document {
    account: At<Id>,
    catalog: Option<(CatalogRef, Arc<Catalog>)>,
    parts: Parts,
    cases: Vec<Case>,
}

/// Reads every document of a file. `load_catalog` gives the text of a catalog file by the path that
/// a document names; it is asked once for each path.
///
/// # Errors
/// The first thing that is wrong, in one line with line and column.
pub fn parse_file(
    text: &str,
    load_catalog: &mut dyn FnMut(&str) -> Result<String, String>,
) -> Result<Vec<Document>, DocumentError> {
    if text.len() > FILE_BYTES_MAX {
        return Err(DocumentError::whole(format!(
            "a file has at most {FILE_BYTES_MAX} bytes, this one has {}; split it",
            text.len()
        )));
    }
    let sources = yaml::parse::<At<DocumentSource>>(text)?;
    if sources.is_empty() {
        return Err(DocumentError::whole(
            "there is no account document in the file",
        ));
    }
    let mut catalogs = HashMap::new();
    let mut documents = Vec::with_capacity(sources.len());
    for At { value, place } in sources {
        let catalog = match &value.catalog {
            None => None,
            Some(named) => Some(match catalogs.get(&named.value) {
                Some(known) => Clone::clone(known),
                None => {
                    let found = find_catalog(named, load_catalog)?;
                    catalogs.insert(named.value.clone(), found.clone());
                    found
                }
            }),
        };
        documents.push(Document::read(&value, place, catalog)?);
    }
    Ok(documents)
}

/// A built-in catalog by its name, the text of one (it has several lines or a brace), or a file.
fn find_catalog(
    named: &At<String>,
    load_catalog: &mut dyn FnMut(&str) -> Result<String, String>,
) -> Result<(CatalogRef, Arc<Catalog>), DocumentError> {
    let unusable = |problem: String| Err(DocumentError::at(named.place, problem));
    if let Some(catalog) = Catalog::built_in(&named.value) {
        return Ok((CatalogRef::BuiltIn(catalog.name.clone()), catalog));
    }
    let (text, origin) = if named.value.contains(['\n', '{']) {
        (named.value.clone(), "the catalog".to_owned())
    } else {
        let origin = format!("the catalog `{}`", shown(&named.value));
        match load_catalog(&named.value) {
            Ok(text) => (text, origin),
            Err(problem) => {
                let names: Vec<&str> = Catalog::built_in_names().collect();
                return unusable(format!(
                    "{origin} is not built in ({}), and as a file: {}",
                    names.join(", "),
                    one_line(&problem)
                ));
            }
        }
    };
    match Catalog::parse(&text) {
        Ok(catalog) => Ok((CatalogRef::Custom(Arc::from(text)), Arc::new(catalog))),
        Err(CatalogError { place, problem }) => match place {
            Some(place) => unusable(format!("{origin}, at its {place}: {problem}")),
            None => unusable(format!("{origin}: {problem}")),
        },
    }
}

impl Document {
    fn read(
        source: &DocumentSource,
        start: Place,
        catalog: Option<(CatalogRef, Arc<Catalog>)>,
    ) -> Result<Self, DocumentError> {
        let reader = Reader {
            catalog: catalog.as_ref().map(|(_, catalog)| &**catalog),
        };
        let Some(named) = &source.account else {
            return Err(DocumentError::at(start, "the key `account` is missing"));
        };
        let account = At {
            value: read::id(named, "account")?,
            place: named.place,
        };
        let about = part::AccountPart {
            plan: source
                .plan
                .as_ref()
                .map(|plan| reader.plan(plan))
                .transpose()?,
            partner_program: source.partner_program,
            payment_method_valid: source.payment_method_valid,
            settings: reader.settings(source.settings.as_ref())?,
        };
        let parts = reader.parts(
            about,
            &Lists {
                teams: &source.teams,
                permission_sets: &source.permission_sets,
                users: &source.users,
                access_groups: &source.access_groups,
                resources: &source.resources,
                segments: &source.segments,
            },
        )?;
        let cases = match &source.cases {
            Field::Given(cases) => cases
                .iter()
                .map(|case| reader.case(&case.value))
                .collect::<Result<Vec<_>, _>>()?,
            Field::Absent | Field::Empty => Vec::new(),
        };
        Ok(Self {
            account,
            catalog,
            parts,
            cases,
        })
    }

    pub fn account_id(&self) -> &Id {
        &self.account.value
    }

    /// Where the document names its account: the start of the document for a message about it.
    pub fn place(&self) -> Place {
        self.account.place
    }

    /// The catalog that the document names, compiled.
    pub fn catalog(&self) -> Option<&Arc<Catalog>> {
        self.catalog.as_ref().map(|(_, catalog)| catalog)
    }

    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// The document as an account of its own: defaults filled in, all references met inside it, and
    /// its cases' `given` likewise. The account entity comes first.
    ///
    /// # Errors
    /// A missing catalog or plan, a dangling id, a team cycle, a second account owner, or a
    /// partition that no plan of the catalog allows.
    pub fn to_account(&self) -> Result<Vec<Entity>, DocumentError> {
        let account = reference::check(self)?;
        let parts = &self.parts;
        let mut entities = vec![Entity::Account(account)];
        entities.extend(parts.teams.iter().map(|team| Entity::Team(team.entity())));
        entities.extend(
            parts
                .permission_sets
                .iter()
                .map(|set| Entity::PermissionSet(set.entity())),
        );
        entities.extend(parts.users.iter().map(|user| Entity::User(user.entity())));
        entities.extend(
            parts
                .access_groups
                .iter()
                .map(|group| Entity::AccessGroup(group.entity())),
        );
        entities.extend(
            parts
                .resources
                .iter()
                .map(|resource| Entity::Resource(resource.entity(), resource.attributes.clone())),
        );
        entities.extend(
            parts
                .segments
                .iter()
                .filter_map(|segment| segment.entity().map(Entity::Segment)),
        );
        Ok(entities)
    }

    /// The changes that write the document to an account: what it names is added or replaced, and
    /// what it leaves out stays. With `prune`, what `current` (the present entities of the account)
    /// has and the document doesn't name is removed: entities, and inside the named ones grants,
    /// memberships, members and assignments. Without `prune`, only a list that is given as empty is emptied.
    ///
    /// Without `current` there is nothing to remove: it is a new account.
    ///
    /// # Errors
    /// A team cycle or a second account owner in the document itself. References to what the
    /// account may already have are judged by [`plan`](super::change::plan).
    pub fn to_changes(
        &self,
        current: Option<&[Entity]>,
        prune: bool,
    ) -> Result<Vec<Change>, DocumentError> {
        let placed = self.to_placed_changes(current, prune)?;
        Ok(placed.into_iter().map(|at| at.value).collect())
    }

    /// As [`Document::to_changes`], each change with the place that asks for it, so that an error
    /// of the change with an index can name its line.
    ///
    /// # Errors
    /// As [`Document::to_changes`].
    pub fn to_placed_changes(
        &self,
        current: Option<&[Entity]>,
        prune: bool,
    ) -> Result<Vec<At<Change>>, DocumentError> {
        let mut changes = changes::upserts(self)?;
        if let Some(current) = current {
            let removal = if prune {
                Removal::Unnamed
            } else {
                Removal::Emptied
            };
            changes::remove(self, current, removal, &mut changes);
        }
        Ok(changes)
    }

    /// Whether [`Document::to_changes`] needs the present entities even without `prune`: a list of
    /// grants, object grants, memberships, members or assignments is given as empty.
    pub fn empties_a_list(&self) -> bool {
        changes::empties(self)
    }
}
