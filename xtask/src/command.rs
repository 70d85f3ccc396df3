//! What a command returns, and how it is printed: an exit code, one line, one JSON object.
//!
//! Exit codes: 0 success; 1 the work or a check failed; 2 wrong usage or bad input.

use std::error::Error;
use std::fmt;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use janus_core::error_chain;
use serde::Serialize;
use serde_json::{Value, json};

/// The program's name when `cargo` runs it. Help texts are written with this name.
const IN_WORKSPACE: &str = "cargo xtask";

/// The program's name: `cargo xtask` if cargo runs it in the workspace, `janus` otherwise.
pub fn program() -> &'static str {
    // Cargo sets this variable for the programs that it runs.
    let by_cargo =
        std::env::var_os("CARGO_MANIFEST_DIR").is_some_and(|folder| folder == env!("CARGO_MANIFEST_DIR"));
    if by_cargo { IN_WORKSPACE } else { "janus" }
}

/// The command that builds the program with a feature that it lacks.
pub(crate) fn build_with(feature: &str) -> String {
    match program() {
        IN_WORKSPACE => format!("repeat it as cargo run --package xtask --features {feature} -- ..."),
        _ => format!("install it again with cargo install --path xtask --features {feature}"),
    }
}

/// Puts the program's name into the usage lines and examples of a command.
pub fn named(command: clap::Command) -> clap::Command {
    let program = program();
    examples_of(command.name(program).bin_name(program), program)
}

fn examples_of(command: clap::Command, program: &'static str) -> clap::Command {
    let about = command.get_long_about().map(|about| about.to_string().replace(IN_WORKSPACE, program));
    let command = if let Some(about) = about { command.long_about(about) } else { command };
    command.mut_subcommands(|subcommand| examples_of(subcommand, program))
}

/// Any error, boxed: it is only printed.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The result of a command that ran to its end, as text and as JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    text: String,
    report: Value,
    failed: bool,
    /// Text that a failed command still prints on stdout.
    shown: Option<String>,
}

impl Outcome {
    /// Success (exit code 0). `text` goes to stdout, or with `--json` the object `report` instead.
    pub fn done(text: impl Into<String>, report: Value) -> Self {
        Self { text: text.into(), report, failed: false, shown: None }
    }

    /// The command ran, but what it checks or computes failed (exit code 1), such as a check that does
    /// not hold or rows without an answer. `text` is one sentence; `report` still holds the results.
    pub fn failed(text: impl Into<String>, report: Value) -> Self {
        Self { text: text.into(), report, failed: true, shown: None }
    }

    /// Prints `text` on stdout, before the sentence on stderr.
    pub fn showing(self, text: impl Into<String>) -> Self {
        Self { shown: Some(text.into()), ..self }
    }
}

/// Why a command stopped before its end.
///
/// There is deliberately no `From`: each place that returns an error chooses its exit code, with
/// [`Blame`] or a constructor.
#[derive(Debug)]
pub struct CommandError {
    bad_input: bool,
    source: BoxError,
}

impl CommandError {
    /// Wrong usage or bad input (exit code 2): the user can correct it.
    pub fn bad_input(source: impl Into<BoxError>) -> Self {
        Self { bad_input: true, source: source.into() }
    }

    /// The work itself failed (exit code 1).
    pub fn failure(source: impl Into<BoxError>) -> Self {
        Self { bad_input: false, source: source.into() }
    }

    /// The process' exit code.
    pub fn exit_code(&self) -> u8 {
        if self.bad_input { 2 } else { 1 }
    }

    /// Prefixes the error with the place where it happened.
    pub fn at(self, place: impl fmt::Display) -> Self {
        let text = format!("{place}: {self}");
        Self { bad_input: self.bad_input, source: text.into() }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&error_chain(&*self.source))
    }
}

impl Error for CommandError {}

/// Chooses the exit code of an error: `read(path).bad_input()?`, `write(path).failure()?`.
pub trait Blame<T> {
    /// The input is at fault: exit code 2.
    ///
    /// # Errors
    /// The result's own error, as [`CommandError::bad_input`].
    fn bad_input(self) -> Result<T, CommandError>;

    /// The work itself failed: exit code 1.
    ///
    /// # Errors
    /// The result's own error, as [`CommandError::failure`].
    fn failure(self) -> Result<T, CommandError>;
}

impl<T, E: Into<BoxError>> Blame<T> for Result<T, E> {
    fn bad_input(self) -> Result<T, CommandError> {
        self.map_err(CommandError::bad_input)
    }

    fn failure(self) -> Result<T, CommandError> {
        self.map_err(CommandError::failure)
    }
}

/// Prints a result: the summary on stdout, or one JSON object with `json`; an error as one line on
/// stderr, and with `json` also as an object on stdout.
pub fn tell(result: Result<Outcome, CommandError>, json: bool) -> ExitCode {
    let (code, text, mut report, shown) = match result {
        Ok(outcome) => (u8::from(outcome.failed), outcome.text, outcome.report, outcome.shown),
        Err(error) => (error.exit_code(), error.to_string(), json!({}), None),
    };
    if let Some(shown) = shown.filter(|_| !json) {
        print_out(&shown);
    }
    let text = if code == 0 { text } else { one_line(&text) };
    if code != 0 {
        eprintln!("error: {text}");
        report["error"] = json!(text);
        report["exit_code"] = json!(code);
    }
    if json {
        print_out(&report.to_string());
    } else if code == 0 && !text.is_empty() {
        print_out(&text);
    }
    ExitCode::from(code)
}

/// Prints what clap returns instead of a parsed command: a help text unchanged, a usage error as one
/// line with exit code 2.
pub fn tell_usage(error: &clap::Error, json: bool) -> ExitCode {
    let text = error.render().to_string();
    if !error.use_stderr() {
        print_out(text.trim_end());
        return ExitCode::SUCCESS;
    }
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand && !json {
        eprintln!("{}", text.trim_end());
        return ExitCode::from(2);
    }
    let message = text.split("\nUsage:").next().unwrap_or_default().trim_start_matches("error: ");
    tell(Err(CommandError::bad_input(format!("{} (see --help)", one_line(message)))), json)
}

/// The JSON report of a command: its name, then the fields of an object.
pub(crate) fn report(command: &str, fields: impl Serialize) -> Result<Value, CommandError> {
    let mut report = json!({ "command": command });
    if let (Value::Object(report), Value::Object(fields)) =
        (&mut report, serde_json::to_value(fields).failure()?)
    {
        report.extend(fields);
    }
    Ok(report)
}

/// A parser for a flag with named values, each with its help.
pub(crate) fn one_of<T: Copy + Send + Sync + 'static, const N: usize>(
    values: [(&'static str, &'static str, T); N],
) -> impl TypedValueParser<Value = T> {
    let named = values.map(
        |(name, help, _)| if help.is_empty() { name.into() } else { PossibleValue::new(name).help(help) },
    );
    PossibleValuesParser::new(named).try_map(move |given| {
        let found = values.iter().find(|(name, ..)| *name == given);
        found.map(|(.., value)| *value).ok_or_else(|| format!("unknown value {given}"))
    })
}

/// Creates a folder for results.
pub(crate) fn make_folder(path: &Path) -> Result<(), CommandError> {
    std::fs::create_dir_all(path)
        .map_err(|error| CommandError::bad_input(format!("{}: {error}", path.display())))
}

/// Reads a text file.
pub(crate) fn read_text(path: &Path) -> Result<String, CommandError> {
    std::fs::read_to_string(path)
        .map_err(|error| CommandError::bad_input(format!("{}: {error}", path.display())))
}

/// Writes a part of a text to stdout and flushes it, for a command that streams.
pub(crate) fn print_now(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = write!(out, "{text}").and_then(|()| out.flush());
}

/// Prints a command's result on stdout. A closed pipe is not an error.
fn print_out(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_input_is_exit_2_and_a_failure_is_exit_1() {
        let failed: Result<(), &str> = Err("x");
        assert_eq!(failed.bad_input().unwrap_err().exit_code(), 2);
        let at = failed.failure().unwrap_err().at("stage 02-sft");
        assert_eq!((at.exit_code(), at.to_string().as_str()), (1, "stage 02-sft: x"));
    }
}
