//! `chat` from end to end: the built program, a tiny model with random weights, lines from a pipe.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::tiny::{CONTEXT, write_model, write_reward_model};

fn chat(folder: &Path, lines: &str, more: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_janus"))
        .args(["chat", "--model", "model", "--max-tokens", "6"])
        .args(more)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn lines_are_answered_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    write_model(&folder.path().join("model"));
    let lines = "a kite\n\nand then?\n/system Be brief.\n/system\n/reset\na kite\n/quit\nnever sent\n";
    let preferences =
        ["--preference", "style/format=bullet list", "--preference", "harmlessness/safety=name the risk"];
    let output = chat(folder.path(), lines, &[&["--json"][..], &preferences].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report = report(&output);
    let turns = report["turns"].as_array().unwrap();
    let sent: Vec<_> =
        turns.iter().map(|turn| (turn["system"].as_str().unwrap(), turn["user"].as_str().unwrap())).collect();
    let composed = "Write the answer as a bullet list. Name a risk and how to avoid it.";
    assert_eq!(sent, [(composed, "a kite"), (composed, "and then?"), ("Be brief.", "a kite")]);
    assert!(stderr(&output).contains("chat: system message: Be brief."), "{}", stderr(&output));

    // Without --json, stdout has only the answers.
    let plain = chat(folder.path(), lines, &preferences);
    let answers: String =
        turns.iter().map(|turn| format!("{}\n", turn["response"].as_str().unwrap())).collect();
    assert_eq!((plain.status.code(), String::from_utf8_lossy(&plain.stdout)), (Some(0), answers.into()));
    // Another seed draws other answers.
    let other = chat(folder.path(), lines, &[&["--json", "--seed", "1"][..], &preferences].concat());
    assert_ne!(self::report(&other)["turns"], report["turns"]);
}

#[test]
fn the_best_of_n_is_printed_and_all_are_in_the_report() {
    let folder = tempfile::tempdir().unwrap();
    write_model(&folder.path().join("model"));
    write_reward_model(&folder.path().join("reward"));
    let output = chat(
        folder.path(),
        "a kite\na stone\n",
        &["--json", "--system", "S", "--best-of", "3", "--reward-model", "reward"],
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report = report(&output);
    assert_eq!(report["turns"].as_array().unwrap().len(), 2);
    for turn in report["turns"].as_array().unwrap() {
        let responses = turn["responses"].as_array().unwrap();
        let best = &responses[turn["best"].as_u64().unwrap() as usize];
        assert_eq!((responses.len(), &best["reward"]), (3, &turn["reward"]));
        assert!(responses.iter().all(|response| response["reward"].as_f64() <= turn["reward"].as_f64()));
        assert_eq!(best["response"].as_str().unwrap().trim(), turn["response"].as_str().unwrap());
    }
}

#[test]
fn a_message_without_an_answer_is_reported_and_the_conversation_continues() {
    let folder = tempfile::tempdir().unwrap();
    write_model(&folder.path().join("model"));
    let lines = format!("{}\na kite\n", "stone ".repeat(CONTEXT));
    let output = chat(folder.path(), &lines, &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report = report(&output);
    assert!(report["error"].as_str().unwrap().starts_with("1 of 2 messages have no answer"), "{report}");
    assert!(report["turns"][0]["error"].as_str().unwrap().contains("context"), "{report}");
    assert!(
        report["turns"][1]["response"].is_string() && report["turns"][1]["system"] == json!(null),
        "{report}"
    );

    for (wrong, expected) in [
        (["--preference", "style/format=sonnet"], "style/format has no \"sonnet\", only \"bullet list\""),
        (["--preference", "style=warm"], "expected DIMENSION/SUBDIMENSION=NAME"),
        (["--best-of", "3"], "--reward-model"),
        (["--top-p", "2"], "top_p"),
    ] {
        let output = chat(folder.path(), "", &[&["--json"][..], &wrong].concat());
        assert_eq!(output.status.code(), Some(2));
        assert!(
            self::report(&output)["error"].as_str().unwrap().contains(expected),
            "{}",
            self::report(&output)
        );
    }
}
