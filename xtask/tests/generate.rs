//! `generate` from end to end: the built program and a tiny model with random weights.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::tiny::{CONTEXT, write_model, write_reward_model};

/// A folder with the model and an input of four rows. The third is longer than the model's context.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_model(&folder.path().join("model"));
    let rows = [
        json!({ "question_id": 81, "turns": ["a kite", "and then?"] }),
        json!({ "question_id": "stone", "turns": "a stone" }),
        json!({ "question_id": "long", "turns": "stone ".repeat(CONTEXT) }),
        json!({ "question_id": 83, "turns": ["wind"] }),
    ];
    fs::write(folder.path().join("in.jsonl"), rows.map(|row| format!("{row}\n")).concat()).unwrap();
    folder
}

fn generate(folder: &Path, output: &str, more: &[&str]) -> Output {
    let args = [
        "generate",
        "--json",
        "--model",
        "model",
        "--input",
        "in.jsonl",
        "--user-key",
        "turns",
        "--max-tokens",
        "12",
        "--output",
    ];
    Command::new(env!("CARGO_BIN_EXE_janus"))
        .args(args)
        .arg(output)
        .args(more)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

fn rows(folder: &Path, output: &str) -> Vec<Value> {
    fs::read_to_string(folder.join(output))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn answers_are_in_the_order_of_the_input_and_a_row_that_fails_is_reported() {
    let folder = folder();
    let output = generate(folder.path(), "out.jsonl", &[]);
    assert_eq!(output.status.code(), Some(1), "{}", report(&output));
    assert_eq!((&report(&output)["answered"], &report(&output)["failed"]), (&json!(3), &json!(1)));
    let rows = rows(folder.path(), "out.jsonl");
    assert_eq!(
        rows.iter().map(|row| row["id"].as_str().unwrap()).collect::<Vec<_>>(),
        ["81", "stone", "long", "83"]
    );
    assert!(
        rows[2]["error"].as_str().unwrap().contains(&format!("the model's context is {CONTEXT}")),
        "{}",
        rows[2]
    );
    for row in [&rows[0], &rows[1], &rows[3]] {
        assert!(row["completion_tokens"].as_u64().unwrap() <= 12 && row["response"].is_string(), "{row}");
    }
}

#[test]
fn an_interrupted_run_continues_to_the_same_bytes_with_any_batch() {
    let folder = folder();
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    generate(folder.path(), "whole.jsonl", &[]);
    // The journal stays, since one row has no answer: a header and three rows. Keep one row and a part
    // of the next.
    let journal = read("whole.jsonl.partial");
    assert_eq!(journal.lines().count(), 4);
    let cut: usize = journal.split_inclusive('\n').take(2).map(str::len).sum();
    fs::write(folder.path().join("cut.jsonl.partial"), &journal[..cut + 9]).unwrap();
    let continued = generate(folder.path(), "cut.jsonl", &["--batch", "1"]);
    assert_eq!(
        (&report(&continued)["answered_before"], &report(&continued)["answered"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(read("cut.jsonl"), read("whole.jsonl"));

    let other = generate(folder.path(), "cut.jsonl", &["--seed", "1"]);
    assert_eq!(other.status.code(), Some(2));
    assert!(
        report(&other)["error"].as_str().unwrap().contains("an unfinished run with another sampling"),
        "{}",
        report(&other)
    );
}

#[test]
fn the_context_is_a_limit_and_the_size_of_the_cache_changes_no_answer() {
    let folder = folder();
    let one = |output: &str, more: &[&str]| {
        let ran = generate(folder.path(), output, &[&["--limit", "1"], more].concat());
        (ran.status.code(), rows(folder.path(), output).remove(0))
    };
    let (done, free) = one("free.jsonl", &[]);
    let prompt = free["prompt_tokens"].as_u64().unwrap();
    assert!(done == Some(0) && free["completion_tokens"].as_u64().unwrap() > 2, "{free}");
    let (done, ended) = one("ended.jsonl", &["--context", &(prompt + 2).to_string()]);
    assert_eq!(
        (done, &ended["completion_tokens"], &ended["finish_reason"]),
        (Some(0), &json!(2), &json!("length"))
    );
    let (failed, refused) = one("refused.jsonl", &["--context", &(prompt - 1).to_string()]);
    assert!(failed == Some(1) && refused["error"].as_str().unwrap().contains("context"), "{refused}");
    // With another limit it is another run.
    let other = generate(folder.path(), "ended.jsonl", &["--limit", "1"]);
    assert_eq!(other.status.code(), Some(2), "{}", report(&other));
    // The cache's size changes no answer.
    assert_eq!(one("small.jsonl", &["--cache-mb", "1"]), (Some(0), free));
}

#[test]
fn the_best_of_n_is_written_with_all_candidates_and_their_rewards() {
    let folder = folder();
    write_reward_model(&folder.path().join("reward"));
    let best = ["--limit", "2", "--best-of", "4", "--reward-model", "reward"];
    let output = generate(folder.path(), "best.jsonl", &best);
    assert_eq!(output.status.code(), Some(0), "{}", report(&output));
    generate(folder.path(), "all.jsonl", &["--limit", "2", "--n", "4"]);
    for (row, all) in rows(folder.path(), "best.jsonl").iter().zip(rows(folder.path(), "all.jsonl")) {
        let responses = row["responses"].as_array().unwrap();
        let rewards: Vec<f64> =
            responses.iter().map(|response| response["reward"].as_f64().unwrap()).collect();
        let highest = rewards.iter().copied().fold(f64::MIN, f64::max);
        let best = rewards.iter().position(|reward| *reward == highest).unwrap();
        assert!(rewards.iter().any(|reward| *reward < highest), "{rewards:?}");
        assert_eq!((row["best"].as_u64(), row["reward"].as_f64()), (Some(best as u64), Some(highest)));
        assert_eq!(row["response"], responses[best]["response"]);
        // The same answers as without a choice.
        let texts = |row: &Value| {
            row["responses"].as_array().unwrap().iter().map(|r| r["response"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(texts(row), texts(&all));
    }
    let alone = generate(folder.path(), "x.jsonl", &["--best-of", "4"]);
    assert_eq!(alone.status.code(), Some(2));
    assert!(report(&alone)["error"].as_str().unwrap().contains("--reward-model"));
    let wrong = generate(folder.path(), "x.jsonl", &["--best-of", "4", "--reward-model", "model"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(report(&wrong)["error"].as_str().unwrap().contains("value_head.weight"), "{}", report(&wrong));
}

#[test]
fn a_finished_run_removes_its_journal_and_is_left_alone_unless_forced() {
    let folder = folder();
    let limited = |more: &[&str]| {
        generate(
            folder.path(),
            "out.jsonl",
            &[&["--limit", "2", "--compose-system", "--n", "2"], more].concat(),
        )
    };
    assert_eq!(limited(&[]).status.code(), Some(0));
    let first = rows(folder.path(), "out.jsonl");
    assert!(!folder.path().join("out.jsonl.partial").exists());
    assert_eq!((first.len(), first[1]["responses"].as_array().unwrap().len()), (2, 2));
    assert!(first[0]["system"].as_str().is_some_and(|system| !system.is_empty()));
    assert_eq!(report(&limited(&[]))["left_alone"], true);
    assert_eq!(rows(folder.path(), "out.jsonl"), first);
    assert_eq!(limited(&["--seed", "1", "--force"]).status.code(), Some(0));
    assert_ne!(rows(folder.path(), "out.jsonl"), first);
}

#[test]
fn a_finished_output_of_other_settings_is_refused() {
    let folder = folder();
    let answered = |more: &[&str]| generate(folder.path(), "out.jsonl", &[&["--limit", "2"], more].concat());
    assert_eq!(answered(&[]).status.code(), Some(0));
    let first = rows(folder.path(), "out.jsonl");
    for (more, part) in [
        (&["--seed", "1"][..], "differs in sampling"),
        (&["--compose-system"], "differs in rows"),
        (&["--template", "mistral-instruct"], "differs in template"),
    ] {
        let output = answered(more);
        assert_eq!(output.status.code(), Some(2), "{more:?}");
        let error = report(&output)["error"].as_str().unwrap().to_string();
        assert!(
            error.starts_with("out.jsonl holds ") && error.contains(part) && error.contains("--force"),
            "{error}"
        );
    }
    assert_eq!(
        (report(&answered(&[]))["left_alone"].clone(), rows(folder.path(), "out.jsonl")),
        (json!(true), first)
    );
    let dry = answered(&["--dry-run"]);
    assert!(
        dry.status.code() == Some(2)
            && report(&dry)["error"].as_str().unwrap().contains("--dry-run is for an API")
    );
}
