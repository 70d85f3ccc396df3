//! `cargo xtask check`: the checks that a change must pass, cheapest first.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use clap::builder::PossibleValuesParser;
use janus_data::progress::duration;
use serde_json::json;

use crate::command::{self, Blame as _, CommandError, Outcome};

/// Check a change to this workspace
///
/// Runs formatting, lints, documentation, tests and a tiny reproduction, cheapest
/// first; CI runs the same command. Each step prints how long it took. The first
/// step that fails ends the check and says what to do.
///
/// Reads:   the workspace that the program was built in.
/// Writes:  target/.
/// Example: cargo xtask check
///          cargo xtask check --list
///          cargo xtask check format clippy
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The steps to run [default: all]
    #[arg(value_name = "STEP", value_parser = PossibleValuesParser::new(STEPS.map(|step| step.name)))]
    steps: Vec<String>,
    /// List the steps with their commands, and run none
    #[arg(long)]
    list: bool,
}

/// A step of the check.
struct Step {
    name: &'static str,
    /// What it checks.
    about: &'static str,
    /// Arguments of cargo, one command each, run in this order.
    commands: &'static [&'static str],
    /// What to do when it fails.
    advice: &'static str,
}

const STEPS: [Step; 7] = [
    Step { name: "format", about: "rustfmt", commands: &["fmt --all --check"], advice: "run cargo fmt --all" },
    Step {
        name: "clippy",
        about: "lints of everything, warnings denied",
        commands: &["clippy --workspace --all-targets -- -D warnings"],
        advice: "fix what the lint names; where it is wrong, #[expect(LINT, reason = \"...\")] on the smallest item",
    },
    Step {
        name: "features",
        about: "the crates with fewer features",
        commands: &[
            "clippy -p janus-data -- -D warnings",
            "clippy -p janus-infer -- -D warnings",
            "clippy -p janus-data --no-default-features --features http -- -D warnings",
            "clippy -p janus-eval --no-default-features --features remote -- -D warnings",
            "clippy -p janus-infer --no-default-features --features remote -- -D warnings",
        ],
        advice: "put what needs a feature behind #[cfg(feature = \"...\")]",
    },
    Step {
        name: "docs",
        about: "the API's documentation, broken links denied",
        commands: &["doc --workspace --no-deps"],
        advice: "fix the link or the example that rustdoc names",
    },
    Step {
        name: "tidy",
        about: "pages, words, crate metadata, licences, dependencies between crates",
        commands: &["test -p xtask --test tests -- architecture:: pages::"],
        advice: "each failed test names the file and what it expects there",
    },
    Step {
        name: "test",
        about: "all tests, including the numerical core against PyTorch's numbers",
        commands: &["test --workspace"],
        advice: "repeat one test with cargo test -p CRATE NAME",
    },
    Step {
        name: "reproduce",
        about: "the whole experiment on toy sizes, then again with every stage skipped",
        commands: &[
            "run --quiet --package xtask -- reproduce --profile smoke --out target/check-smoke",
            "run --quiet --package xtask -- reproduce --profile smoke --out target/check-smoke",
        ],
        advice: "the error names the stage; delete target/check-smoke to start again from nothing",
    },
];

pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let chosen: Vec<&Step> = STEPS.iter().filter(|step| args.steps.is_empty() || args.steps.iter().any(|name| name == step.name)).collect();
    if args.list {
        return Ok(list(&chosen));
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    if !workspace.join("Cargo.lock").is_file() {
        return Err(CommandError::bad_input(format!("{} does not exist any more: run this in a checkout of janus", workspace.display())));
    }
    let mut seconds: Vec<(&str, f64)> = Vec::new();
    for step in chosen {
        let begun = Instant::now();
        for arguments in step.commands {
            eprintln!("== {}: cargo {arguments}", step.name);
            if !cargo(&workspace, arguments)? {
                let program = command::program();
                let text = format!("{} failed: {}; then {program} check {}", step.name, step.advice, step.name);
                return Ok(Outcome::failed(text, report(&seconds, Some(step.name))));
            }
        }
        seconds.push((step.name, begun.elapsed().as_secs_f64()));
        eprintln!("== {}: passed in {}", step.name, duration(begun.elapsed().as_secs_f64()));
    }
    let lines: Vec<String> = seconds.iter().map(|(name, seconds)| format!("{name:<10} {seconds:>7.1} s")).collect();
    Ok(Outcome::done(lines.join("\n"), report(&seconds, None)))
}

fn list(steps: &[&Step]) -> Outcome {
    let commands = |step: &Step| step.commands.iter().map(|arguments| format!("\n             cargo {arguments}")).collect::<String>();
    let lines: Vec<String> = steps.iter().map(|step| format!("{:<10}   {}{}", step.name, step.about, commands(step))).collect();
    let all: Vec<_> = steps.iter().map(|step| json!({ "step": step.name, "about": step.about, "cargo": step.commands })).collect();
    Outcome::done(lines.join("\n"), json!({ "command": "check", "steps": all }))
}

fn report(seconds: &[(&str, f64)], failed: Option<&str>) -> serde_json::Value {
    let passed: Vec<_> = seconds.iter().map(|(step, seconds)| json!({ "step": step, "seconds": seconds })).collect();
    json!({ "command": "check", "passed": passed, "failed": failed })
}

/// Runs cargo in the workspace, with its whole output on stderr. Returns whether it succeeded.
fn cargo(workspace: &Path, arguments: &str) -> Result<bool, CommandError> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.args(arguments.split(' ')).current_dir(workspace).stdout(Stdio::from(std::io::stderr()));
    if arguments.starts_with("doc ") {
        command.env("RUSTDOCFLAGS", "-D warnings");
    }
    let status = command.status().map_err(|error| format!("cannot run cargo: {error}")).failure()?;
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_says_what_it_checks_and_what_to_do_and_runs_cargo() {
        for step in &STEPS {
            assert!(!step.about.is_empty() && !step.advice.is_empty() && !step.commands.is_empty(), "{}", step.name);
            assert!(step.commands.iter().all(|arguments| arguments.split(' ').all(|argument| !argument.is_empty())), "{}", step.name);
            assert_eq!(STEPS.iter().filter(|other| other.name == step.name).count(), 1);
        }
    }
}
