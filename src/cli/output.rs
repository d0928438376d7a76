//! What a command prints: buffered, coloured only for people, and quiet once the reader is gone.

use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::time::Duration;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::error::CliError;

/// `--output` of the commands that answer in one of two forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people; may change from version to version.
    Human,
    /// For programs: the field names of the wire, the values as account documents write them.
    Json,
}

/// `--output`, which every command takes.
#[derive(Debug, Clone, clap::Args)]
pub struct FormatArgs {
    /// How to print the answer
    #[arg(
        long = "output",
        value_name = "FORMAT",
        value_enum,
        default_value = "human"
    )]
    pub format: Format,
}

#[derive(Debug, Clone, Copy)]
pub enum Colour {
    Green,
    Red,
    Yellow,
    Dim,
    Bold,
}

impl Colour {
    fn code(self) -> &'static str {
        match self {
            Self::Green => "32",
            Self::Red => "31",
            Self::Yellow => "33",
            Self::Dim => "2",
            Self::Bold => "1",
        }
    }
}

/// Standard output. A reader that goes away (`| head`) is no error: from then on nothing is
/// written, [`Output::closed`] tells loops to stop, and the command ends with the status of its
/// answer. Any other failure to write is an error, since a cut answer must not look whole.
pub struct Output {
    writer: BufWriter<Box<dyn Write + Send>>,
    colours: bool,
    closed: bool,
}

impl Output {
    pub fn stdout() -> Self {
        let stdout = io::stdout();
        let colours = stdout.is_terminal() && colours_wanted();
        Self {
            writer: BufWriter::with_capacity(64 * 1024, Box::new(stdout)),
            colours,
            closed: false,
        }
    }

    pub fn closed(&self) -> bool {
        self.closed
    }

    pub fn text(&mut self, text: &str) -> Result<(), CliError> {
        if self.closed {
            return Ok(());
        }
        let written = self.writer.write_all(text.as_bytes());
        self.settle(written)
    }

    pub fn line(&mut self, line: &str) -> Result<(), CliError> {
        self.text(line)?;
        self.text("\n")
    }

    /// One JSON value on a line of its own.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string(value)
            .map_err(|error| CliError::usage(format!("the answer can't be written: {error}")))?;
        self.line(&text)
    }

    pub fn flush(&mut self) -> Result<(), CliError> {
        if self.closed {
            return Ok(());
        }
        let flushed = self.writer.flush();
        self.settle(flushed)
    }

    pub fn painted(&self, colour: Colour, text: &str) -> String {
        paint(self.colours, colour, text)
    }

    fn settle(&mut self, written: io::Result<()>) -> Result<(), CliError> {
        match written {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            Err(error) => Err(CliError::usage(format!(
                "cannot write to standard output: {error}"
            ))),
        }
    }
}

/// A note for people on standard error, beside an answer that programs may read.
pub fn note(text: &str) {
    // Nobody can be told that standard error is gone.
    let _ = writeln!(io::stderr(), "{text}");
}

/// The line of a failed command, on standard error.
pub fn complain(text: &str) {
    let colours = io::stderr().is_terminal() && colours_wanted();
    note(&format!(
        "{} {}",
        paint(colours, Colour::Red, "error:"),
        super::error::one_line(text)
    ));
}

/// A bar over work of a known length, or a counter where `length` is unknown; on standard error,
/// and only where that is a terminal.
pub fn progress(what: &'static str, length: Option<u64>) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match length {
        Some(length) => (
            ProgressBar::new(length),
            "{msg} {bar:32} {human_pos}/{human_len} {per_sec} {eta}",
        ),
        None => (ProgressBar::no_length(), "{msg} {human_pos} {per_sec}"),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// <https://no-color.org>: any value that is not empty switches colours off.
fn colours_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

fn paint(colours: bool, colour: Colour, text: &str) -> String {
    if colours {
        format!("\u{1b}[{}m{text}\u{1b}[0m", colour.code())
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(io::Error::from(self.0))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn writing_to(kind: ErrorKind) -> Output {
        Output {
            writer: BufWriter::with_capacity(0, Box::new(Broken(kind))),
            colours: false,
            closed: false,
        }
    }

    #[test]
    fn a_reader_that_went_away_ends_the_output_without_an_error() {
        let mut output = writing_to(ErrorKind::BrokenPipe);
        assert!(output.line("a").is_ok());
        assert!(output.closed());
        assert!(output.line("b").is_ok());
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let mut output = writing_to(ErrorKind::StorageFull);
        assert!(output.line("a").is_err());
        assert!(!output.closed());
    }
}
