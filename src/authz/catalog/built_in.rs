//! The catalogs that come with Ambit: files like any other, compiled once.

use std::sync::{Arc, OnceLock};

use super::{Catalog, CatalogError};
use crate::authz::model::CatalogRef;

struct BuiltIn {
    name: &'static str,
    text: &'static str,
    /// `None` would mean a broken file of ours; a test parses each.
    compiled: OnceLock<Option<Arc<Catalog>>>,
}

impl BuiltIn {
    const fn new(name: &'static str, text: &'static str) -> Self {
        Self {
            name,
            text,
            compiled: OnceLock::new(),
        }
    }
}

static BUILT_IN: [BuiltIn; 3] = [
    BuiltIn::new("brevo", include_str!("../../../catalogs/brevo.yaml")),
    BuiltIn::new("hubspot", include_str!("../../../catalogs/hubspot.yaml")),
    BuiltIn::new("ipresso", include_str!("../../../catalogs/ipresso.yaml")),
];

impl Catalog {
    /// Names of the built-in catalogs, in byte order.
    pub fn built_in_names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|built_in| built_in.name)
    }

    /// The YAML text of a built-in catalog.
    pub fn built_in_text(name: &str) -> Option<&'static str> {
        BUILT_IN
            .iter()
            .find(|built_in| built_in.name == name)
            .map(|built_in| built_in.text)
    }

    /// A built-in catalog by its name.
    pub fn built_in(name: &str) -> Option<Arc<Self>> {
        let built_in = BUILT_IN.iter().find(|built_in| built_in.name == name)?;
        built_in
            .compiled
            .get_or_init(|| parsed(built_in.text))
            .clone()
    }

    /// The catalog that an account names or carries.
    ///
    /// # Errors
    /// A name that no built-in catalog has, or a text that is no catalog.
    pub fn resolve_ref(reference: &CatalogRef) -> Result<Arc<Self>, CatalogError> {
        match reference {
            CatalogRef::BuiltIn(name) => Self::built_in(name.as_str()).ok_or_else(|| {
                CatalogError::whole(format!(
                    "there is no built-in catalog `{name}`; built in are {}",
                    Self::built_in_names().collect::<Vec<_>>().join(", ")
                ))
            }),
            CatalogRef::Custom(text) => Self::parse(text).map(Arc::new),
        }
    }
}

fn parsed(text: &str) -> Option<Arc<Catalog>> {
    Catalog::parse(text).ok().map(Arc::new)
}
