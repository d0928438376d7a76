//! How a command ends other than well: one line on stderr and an exit status of the documented list.

use std::fmt;
use std::process::ExitCode;

/// The exit statuses of every command (`api.md`, Command line).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// `check`: allow. Every other command: done.
    Success,
    /// `check`: deny. `test`: a case failed. `doctor`: something needs mending. `ready`: not ready.
    /// `segment test`: no match. `segment recalculate`: the rule can't be run.
    No,
    /// Wrong use, or an input that is not valid.
    Usage,
    /// No answer from the server.
    Unreachable,
    /// The server answered an error.
    Refused,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::No => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
            Exit::Refused => 4,
        })
    }
}

/// Why a command could not do its work. The text is one line that also says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Wrong use, bad input, or a file or a stream of this machine that can't be read or written.
    #[error("{0}")]
    Usage(String),
    /// The server can't be reached, or the connection broke before the answer was whole.
    #[error("{0}")]
    Unreachable(String),
    /// The server, or the store that is used in its place, refused.
    #[error("{0}")]
    Refused(String),
}

impl CliError {
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::Usage(message.to_string())
    }

    pub fn refused(message: impl fmt::Display) -> Self {
        Self::Refused(message.to_string())
    }

    /// The same error with what it is about in front, as `northwind: ...`.
    #[must_use]
    pub fn about(self, subject: impl fmt::Display) -> Self {
        match self {
            Self::Usage(text) => Self::Usage(format!("{subject}: {text}")),
            Self::Unreachable(text) => Self::Unreachable(format!("{subject}: {text}")),
            Self::Refused(text) => Self::Refused(format!("{subject}: {text}")),
        }
    }

    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Unreachable(_) => Exit::Unreachable,
            Self::Refused(_) => Exit::Refused,
        }
    }
}

/// The text of an error as one line that cannot move a terminal's cursor: what a file or a server
/// says is shown, never obeyed.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.trim_end().chars() {
        match character {
            '\n' => line.push_str("; "),
            character if character.is_control() => line.extend(character.escape_default()),
            character => line.push(character),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_without_control_characters() {
        assert_eq!(
            one_line("a\u{1b}[2Jb\nc\n"),
            "a\\u{1b}[2Jb; c",
            "escape sequences must be shown, not sent to the terminal"
        );
    }
}
