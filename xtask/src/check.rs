//! `cargo xtask check`: the checks that a change must pass, cheapest first.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use clap::builder::PossibleValuesParser;
use janus_data::progress::duration;
use serde_json::json;

use crate::command::{self, Blame as _, CommandError, Outcome};
use crate::fetch;

/// Check a change to this workspace
///
/// Runs formatting, lints, documentation, tests and a tiny reproduction, cheapest
/// first; CI runs the same command. Each step prints how long it took. The first
/// step that fails ends the check and prints what to do. A step whose model or
/// browser is missing is skipped with a notice; if you give it as STEP, that is an
/// error.
///
/// Reads:   the workspace that the program was built in; for the step `model`
///          SmolLM2 (`fetch smollm2`), for `browser` the program chromium.
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
    /// What it needs that is not in the repository.
    needs: Option<Need>,
}

/// What a step needs that is not in the repository.
struct Need {
    is_there: fn() -> bool,
    /// How to get it.
    hint: &'static str,
}

const SMOLLM2: Need = Need { is_there: || fetch::present().is_ok(), hint: "needs SmolLM2: fetch smollm2" };
const CHROMIUM: Need = Need { is_there: || on_path("chromium"), hint: "needs the program chromium" };

const STEPS: [Step; 9] = [
    Step {
        name: "format",
        about: "rustfmt",
        commands: &["fmt --all --check"],
        advice: "run cargo fmt --all",
        needs: None,
    },
    Step {
        name: "clippy",
        about: "lints of everything, warnings denied",
        commands: &["clippy --workspace --all-targets -- -D warnings"],
        advice: "fix what the lint names; where it is wrong, #[expect(LINT, reason = \"...\")] on the smallest item",
        needs: None,
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
        needs: None,
    },
    Step {
        name: "docs",
        about: "the API's documentation, broken links denied",
        commands: &["doc --workspace --no-deps"],
        advice: "fix the link or the example that rustdoc names",
        needs: None,
    },
    Step {
        name: "tidy",
        about: "pages, words, crate metadata, licences, dependencies between crates",
        commands: &["test -p xtask --test tests -- architecture:: pages::"],
        advice: "each failed test names the file and what it expects there",
        needs: None,
    },
    Step {
        name: "test",
        about: "all tests, including the numerical core against PyTorch's numbers",
        commands: &["test --workspace"],
        advice: "repeat one test with cargo test -p CRATE NAME",
        needs: None,
    },
    Step {
        name: "model",
        about: "tests of SmolLM2, against transformers on the same weights",
        commands: &["test --workspace --lib --tests -- --ignored smollm2"],
        advice: "repeat one test with cargo test -p CRATE NAME -- --ignored",
        needs: Some(SMOLLM2),
    },
    Step {
        name: "browser",
        about: "tests of the pages in a browser",
        commands: &["test -p xtask --test tests -- --ignored browser::"],
        advice: "repeat one test with cargo test -p xtask NAME -- --ignored",
        needs: Some(CHROMIUM),
    },
    Step {
        name: "reproduce",
        about: "the whole experiment on toy sizes, then again with every stage skipped",
        commands: &[
            "run --quiet --package xtask -- reproduce --profile smoke --out target/check-smoke",
            "run --quiet --package xtask -- reproduce --profile smoke --out target/check-smoke",
        ],
        advice: "the error names the stage; delete target/check-smoke to start again from nothing",
        needs: None,
    },
];

pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let chosen: Vec<&Step> = STEPS
        .iter()
        .filter(|step| args.steps.is_empty() || args.steps.iter().any(|name| name == step.name))
        .collect();
    if args.list {
        return Ok(list(&chosen));
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    if !workspace.join("Cargo.lock").is_file() {
        return Err(CommandError::bad_input(format!(
            "{} does not exist any more: run this in a checkout of janus",
            workspace.display()
        )));
    }
    let mut seconds: Vec<(&str, f64)> = Vec::new();
    let mut left_out: Vec<(&str, &str)> = Vec::new();
    for step in chosen {
        if let Some(need) = step.needs.as_ref().filter(|need| !(need.is_there)()) {
            if !args.steps.is_empty() {
                return Err(CommandError::bad_input(format!("the step {} {}", step.name, need.hint)));
            }
            eprintln!("== {}: left out, {}", step.name, need.hint);
            left_out.push((step.name, need.hint));
            continue;
        }
        let begun = Instant::now();
        for arguments in step.commands {
            eprintln!("== {}: cargo {arguments}", step.name);
            if !cargo(&workspace, arguments)? {
                let program = command::program();
                let text =
                    format!("{} failed: {}; then {program} check {}", step.name, step.advice, step.name);
                return Ok(Outcome::failed(text, report(&seconds, &left_out, Some(step.name))));
            }
        }
        seconds.push((step.name, begun.elapsed().as_secs_f64()));
        eprintln!("== {}: passed in {}", step.name, duration(begun.elapsed().as_secs_f64()));
    }
    let passed = seconds.iter().map(|(name, seconds)| format!("{name:<10} {seconds:>7.1} s"));
    let lines: Vec<String> =
        passed.chain(left_out.iter().map(|(name, hint)| format!("{name:<10} left out, {hint}"))).collect();
    Ok(Outcome::done(lines.join("\n"), report(&seconds, &left_out, None)))
}

fn list(steps: &[&Step]) -> Outcome {
    let commands = |step: &Step| {
        step.commands.iter().map(|arguments| format!("\n             cargo {arguments}")).collect::<String>()
    };
    let lines: Vec<String> =
        steps.iter().map(|step| format!("{:<10}   {}{}", step.name, step.about, commands(step))).collect();
    let all: Vec<_> = steps
        .iter()
        .map(|step| json!({ "step": step.name, "about": step.about, "cargo": step.commands }))
        .collect();
    Outcome::done(lines.join("\n"), json!({ "command": "check", "steps": all }))
}

fn report(seconds: &[(&str, f64)], left_out: &[(&str, &str)], failed: Option<&str>) -> serde_json::Value {
    let passed: Vec<_> =
        seconds.iter().map(|(step, seconds)| json!({ "step": step, "seconds": seconds })).collect();
    let left_out: Vec<_> =
        left_out.iter().map(|(step, hint)| json!({ "step": step, "hint": hint })).collect();
    json!({ "command": "check", "passed": passed, "left_out": left_out, "failed": failed })
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
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
            assert!(
                !step.about.is_empty() && !step.advice.is_empty() && !step.commands.is_empty(),
                "{}",
                step.name
            );
            assert!(
                step.commands
                    .iter()
                    .all(|arguments| arguments.split(' ').all(|argument| !argument.is_empty())),
                "{}",
                step.name
            );
            assert_eq!(STEPS.iter().filter(|other| other.name == step.name).count(), 1);
        }
    }
}
