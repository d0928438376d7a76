//! Who this client says that it is: a bearer token, which may be exchanged while the service runs.

use std::fmt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::{Clock, SystemClock};

/// Where the bearer token of each call comes from.
#[async_trait]
pub trait Credential: fmt::Debug + Send + Sync + 'static {
    /// The token of the next call, without `Bearer`.
    ///
    /// # Errors
    /// Why there is none, for people; never a part of a token.
    async fn token(&self) -> Result<String, String>;

    /// The server refused the token that was given last: a held one should be forgotten.
    fn refused(&self) {}
}

/// A token that stays as it is.
#[derive(Clone)]
pub struct StaticToken(String);

impl StaticToken {
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }
}

impl fmt::Debug for StaticToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("StaticToken(..)")
    }
}

#[async_trait]
impl Credential for StaticToken {
    async fn token(&self) -> Result<String, String> {
        Ok(self.0.clone())
    }
}

/// A token in a file, as Kubernetes mounts secrets: read again when what was read is some seconds
/// old, and at once after a refusal.
pub struct FileToken {
    path: PathBuf,
    held_for: Duration,
    clock: SystemClock,
    /// What was read, and when.
    held: Mutex<Option<(Duration, String)>>,
}

/// How long a token is used before its file is read again.
const HELD_FOR: Duration = Duration::from_secs(10);

impl FileToken {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            held_for: HELD_FOR,
            clock: SystemClock::new(),
            held: Mutex::new(None),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Duration, String)>> {
        // A plain value is whole whatever happened to a thread that held the lock.
        self.held
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn held(&self) -> Option<String> {
        let (read_at, token) = self.lock().clone()?;
        let age = self.clock.monotonic().saturating_sub(read_at);
        (age < self.held_for).then_some(token)
    }
}

impl fmt::Debug for FileToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("FileToken")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Credential for FileToken {
    async fn token(&self) -> Result<String, String> {
        if let Some(held) = self.held() {
            return Ok(held);
        }
        let read_at = self.clock.monotonic();
        let text = tokio::fs::read_to_string(&self.path)
            .await
            .map_err(|error| format!("the token file {}: {error}", self.path.display()))?;
        let token = text.trim().to_owned();
        if token.is_empty() {
            return Err(format!("the token file {} is empty", self.path.display()));
        }
        *self.lock() = Some((read_at, token.clone()));
        Ok(token)
    }

    fn refused(&self) {
        *self.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_of_a_file_is_held_until_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let token = FileToken::new(&path);
        assert!(token.token().await.unwrap_err().contains("token"));
        std::fs::write(&path, "one\n").unwrap();
        assert_eq!(token.token().await.unwrap(), "one");
        std::fs::write(&path, "two\n").unwrap();
        assert_eq!(token.token().await.unwrap(), "one", "still held");
        token.refused();
        assert_eq!(token.token().await.unwrap(), "two");
        token.refused();
        std::fs::write(&path, " \n").unwrap();
        assert!(token.token().await.unwrap_err().ends_with("is empty"));
    }

    #[test]
    fn a_token_is_never_printed() {
        let token = StaticToken::new("secret");
        assert!(!format!("{token:?}").contains("secret"));
    }
}
