//! Answers and unfinished runs that revision 0a1c55a wrote are read and continued: no answer is
//! generated twice.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// A copy of the old files, except those in `without`.
fn old(without: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/generate");
    fs::create_dir(folder.path().join("model")).unwrap();
    for below in ["", "model"] {
        for entry in fs::read_dir(fixtures.join(below)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_file() && !without.contains(&name) {
                fs::copy(&path, folder.path().join(below).join(name)).unwrap();
            }
        }
    }
    folder
}

/// Exit code and report of a repeated command.
fn generate(folder: &Path, input: &str, output: &str, more: &[&str]) -> (Option<i32>, Value) {
    let args = [
        "generate",
        "--json",
        "--device",
        "cpu",
        "--model",
        "model",
        "--max-tokens",
        "12",
        "--input",
        input,
        "--output",
        output,
    ];
    let output =
        Command::new(env!("CARGO_BIN_EXE_janus")).args(args).args(more).current_dir(folder).output().unwrap();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), report)
}

#[test]
fn a_finished_output_is_left_alone_if_its_settings_are_the_same() {
    let folder = old(&[]);
    let bytes = |name: &str| fs::read(folder.path().join(name)).unwrap();
    for (input, output, more) in [
        ("in.jsonl", "answers.jsonl", &["--seed", "5"][..]),
        ("question.jsonl", "mt-bench.jsonl", &["--bench", "mt-bench"]),
    ] {
        let before = bytes(output);
        let (code, report) = generate(folder.path(), input, output, more);
        assert_eq!((code, &report["left_alone"]), (Some(0), &json!(true)), "{report}");
        assert_eq!(bytes(output), before);
    }
    let (code, report) = generate(folder.path(), "in.jsonl", "answers.jsonl", &["--seed", "6"]);
    assert_eq!(code, Some(2));
    let error = "answers.jsonl holds the answers of another run, which differs in sampling: give another --output, or pass --force";
    assert!(report["error"].as_str().unwrap().starts_with(error), "{report}");
}

#[test]
fn an_unfinished_run_generates_only_the_missing_answers() {
    let journal = fs::read_to_string(old(&[]).path().join("cut.jsonl.partial")).unwrap();
    let answered: Vec<&str> = journal.lines().skip(1).collect();
    for kept in 0..=answered.len() {
        let folder = old(&["cut.jsonl"]);
        let lines: String = journal.split_inclusive('\n').take(1 + kept).collect();
        fs::write(folder.path().join("cut.jsonl.partial"), lines).unwrap();
        let (code, report) =
            generate(folder.path(), "cut-in.jsonl", "cut.jsonl", &["--seed", "5", "--n", "2"]);
        // The row that is too long for the model has no answer in either run.
        assert_eq!((code, &report["failed"]), (Some(1), &json!(1)), "{report}");
        assert_eq!(
            (&report["answered_before"], &report["answered"]),
            (&json!(kept), &json!(answered.len() - kept)),
            "{report}"
        );
        let rows = fs::read_to_string(folder.path().join("cut.jsonl")).unwrap();
        assert_eq!(rows.lines().take(kept.min(2)).collect::<Vec<_>>(), answered[..kept.min(2)]);
    }
}
