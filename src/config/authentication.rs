//! How callers are known.

use std::path::PathBuf;

use super::{ConfigError, Layers, Origin};

/// Whether callers must be known, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthenticationSettings {
    /// Whether every call needs a credential; without it whoever reaches the port may do all.
    pub is_required: bool,
    /// Tokens as hashes, beside those in the database.
    pub tokens_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Auto,
    Required,
    None,
}

impl Layers<'_> {
    pub(super) fn authentication(&self) -> Result<AuthenticationSettings, ConfigError> {
        let asked =
            self.parse(
                "authentication",
                "must be auto, required or none",
                |text| match text {
                    "auto" => Some(Asked::Auto),
                    "required" => Some(Asked::Required),
                    "none" => Some(Asked::None),
                    _ => None,
                },
            )?;
        let tokens_file = self.text("tokens_file");
        // Any of these says that callers are to be known.
        let configured: Option<Origin> = tokens_file.as_ref().map(|(origin, _)| origin.clone());
        if let (Asked::None, Some(other)) = (asked, &configured) {
            return Err(ConfigError::Contradiction {
                one: self.find("authentication").0,
                other: other.clone(),
            });
        }
        Ok(AuthenticationSettings {
            is_required: asked == Asked::Required || configured.is_some(),
            tokens_file: tokens_file.map(|(_, path)| PathBuf::from(path)),
        })
    }
}
