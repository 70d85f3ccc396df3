//! The command line: arguments, printing, and the stages of `reproduce`. Each command is a module with
//! its `Args` and a `run` that returns an [`Outcome`](command::Outcome) or a
//! [`CommandError`](command::CommandError). What a library user could need is in the other crates.
//!
//! * [`command`]: exit codes, the error line, `--json`.
//! * [`stage`]: the stages of a run: progress lines and exit codes.
//! * [`model`], [`device`], [`service`]: loads a model by path or address, the device that it runs on,
//!   and the limits of requests to an API.
#![forbid(unsafe_code)]

mod annotate;
mod bench;
mod chat;
mod check;
pub mod command;
mod data;
mod device;
mod eval;
pub mod fetch;
mod generate;
mod judge;
mod model;
mod report;
mod reproduce;
mod serve;
mod service;
mod stage;
mod train;
mod verify_goldens;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

/// Builds preference data, trains, runs and judges language models, and reproduces the claims of Janus
/// (arXiv 2405.17977).
///
/// Exit codes: 0 success; 1 the work or a check failed; 2 wrong usage or bad input.
/// Results go to stdout, progress and errors to stderr.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    /// Print exactly one JSON object on stdout instead of text
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Reproduce(reproduce::Args),
    Data(Box<data::Args>),
    Eval(eval::Args),
    Bench(bench::Args),
    Fetch(fetch::Args),
    Generate(Box<generate::Args>),
    Chat(Box<chat::Args>),
    Serve(serve::Args),
    Judge(judge::Args),
    Report(report::Args),
    Annotate(annotate::Args),
    Train(train::Args),
    VerifyGoldens(verify_goldens::Args),
    Check(check::Args),
}

/// Runs the command of this process' arguments.
pub fn main() -> ExitCode {
    let parsed =
        command::named(Cli::command()).try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return command::tell_usage(&error, std::env::args().any(|arg| arg == "--json")),
    };
    let result = match &cli.command {
        Command::Reproduce(args) => reproduce::run(args),
        Command::Data(args) => data::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Fetch(args) => fetch::run(args),
        Command::Generate(args) => generate::run(args),
        Command::Chat(args) => chat::run(args, cli.json),
        Command::Serve(args) => serve::run(args),
        Command::Judge(args) => judge::run(args),
        Command::Report(args) => report::run(args),
        Command::Annotate(args) => annotate::run(args),
        Command::Train(args) => train::run(args),
        Command::VerifyGoldens(args) => verify_goldens::run(args),
        Command::Check(args) => check::run(args),
    };
    command::tell(result, cli.json)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    fn check(command: &clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        let about =
            command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
        for line in about.lines() {
            assert!(
                line.chars().count() <= 80,
                "{path} --help: a line of more than 80 columns would be wrapped twice: {line}"
            );
        }
        command.get_subcommands().for_each(|command| check(command, &path));
    }

    #[test]
    fn no_line_of_a_help_text_is_wrapped_twice() {
        // The text of the program itself is not verbatim: only clap wraps it.
        Cli::command().get_subcommands().for_each(|command| check(command, "janus"));
    }
}
