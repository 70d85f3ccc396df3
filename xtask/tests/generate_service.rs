//! `generate` with an API: the requests, the budget, and that no answer is paid for twice.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::stub::{Received, Reply, Stub};

/// A folder with an input of this many rows.
fn folder(rows: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), rows);
    folder
}

fn write(folder: &Path, rows: usize) {
    let row =
        |row: usize| format!("{}\n", json!({ "id": format!("q{row}"), "prompt": format!("question {row}") }));
    fs::write(folder.join("in.jsonl"), (0..rows).map(row).collect::<String>()).unwrap();
}

fn generate(folder: &Path, stub: &Stub, more: &[&str]) -> (Option<i32>, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_janus"));
    let name = if more.contains(&"--model-name") { &[][..] } else { &["--model-name", "far"] };
    command.args([
        "generate",
        "--json",
        "--model",
        &stub.url(),
        "--input",
        "in.jsonl",
        "--output",
        "out.jsonl",
        "--attempts",
        "1",
    ]);
    let output = command
        .args(name)
        .args(more)
        .current_dir(folder)
        .env("OPENAI_API_KEY", "sk-secret")
        .output()
        .unwrap();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), report)
}

fn rows(folder: &Path) -> Vec<Value> {
    fs::read_to_string(folder.join("out.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn echo(received: &Received) -> Reply {
    Reply::text(&format!("to {}", received.last_message()))
}

#[test]
fn no_penalty_is_sent_to_an_api_that_refuses_unknown_fields() {
    let (folder, known) = (folder(1), ["model", "messages", "temperature", "top_p", "max_tokens", "seed"]);
    let strict = Stub::start(move |received| {
        match received.body.as_object().unwrap().keys().find(|key| !known.contains(&key.as_str())) {
            None => echo(received),
            Some(unknown) => Reply::status(
                400,
                format!(r#"{{"error": {{"message": "Unrecognized request argument: {unknown}"}}}}"#),
            ),
        }
    });
    let (code, report) = generate(folder.path(), &strict, &[]);
    assert_eq!((code, &rows(folder.path())[0]["response"]), (Some(0), &json!("to question 0")), "{report}");
    // A penalty that the user sets is sent.
    let (code, _) = generate(folder.path(), &strict, &["--repetition-penalty", "1.1", "--force"]);
    assert!(
        code == Some(1) && rows(folder.path())[0]["error"].as_str().unwrap().contains("repetition_penalty")
    );

    let models = || Reply::status(200, r#"{"data": [{"id": "far", "owned_by": "vllm"}]}"#);
    let vllm = Stub::start_with(models, |received| Reply::text(&received.body.to_string()));
    let more = ["--no-seed", "--max-completion-tokens", "--max-tokens", "7", "--force"];
    assert_eq!(generate(folder.path(), &vllm, &more).0, Some(0));
    let body: Value = serde_json::from_str(rows(folder.path())[0]["response"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&body["repetition_penalty"], &body["top_k"], &body["min_p"]),
        (&json!(1.0), &json!(-1), &json!(0.0))
    );
    assert_eq!(
        (body.get("seed"), body.get("max_tokens"), &body["max_completion_tokens"]),
        (None, None, &json!(7))
    );
}

#[test]
fn more_rows_or_another_limit_request_only_what_is_new() {
    let folder = folder(3);
    // The first request for the second row fails.
    let stub =
        Stub::start(|received| if received.number == 1 { Reply::status(500, "") } else { echo(received) });
    let (code, report) = generate(folder.path(), &stub, &["--concurrency", "1"]);
    assert_eq!((code, &report["failed"], stub.received()), (Some(1), &json!(1), 3), "{report}");
    assert_eq!(report["asked_now"]["requests"], 3);
    let (code, report) = generate(folder.path(), &stub, &["--limit", "1"]);
    assert_eq!(
        (code, &report["answered_before"], &report["answered"], stub.received()),
        (Some(0), &json!(1), &json!(0), 3),
        "{report}"
    );
    write(folder.path(), 5);
    // The output is finished, but it has fewer rows than the input now.
    let (code, report) = generate(folder.path(), &stub, &[]);
    assert!(code == Some(2) && report["error"].as_str().unwrap().contains("differs in rows"), "{report}");
    let (code, report) = generate(folder.path(), &stub, &["--force"]);
    assert_eq!(
        (code, &report["answered_before"], &report["answered"], stub.received()),
        (Some(0), &json!(2), &json!(3), 6),
        "{report}"
    );
    let texts: Vec<Value> = rows(folder.path()).iter().map(|row| row["response"].clone()).collect();
    assert_eq!(texts, (0..5).map(|row| json!(format!("to question {row}"))).collect::<Vec<_>>());
    // A repeated command leaves it alone; with --force it is written again from the stored answers.
    assert_eq!(generate(folder.path(), &stub, &[]).1["left_alone"], true);
    let before = fs::read(folder.path().join("out.jsonl")).unwrap();
    assert_eq!(generate(folder.path(), &stub, &["--force"]).1["answered"], 0);
    assert_eq!((fs::read(folder.path().join("out.jsonl")).unwrap(), stub.received()), (before, 6));
    fs::remove_file(folder.path().join("out.jsonl.calls")).unwrap();
    assert_eq!(generate(folder.path(), &stub, &["--force"]).1["answered"], 5);
}

#[test]
fn a_finished_output_of_another_api_model_or_seed_is_refused() {
    let folder = folder(1);
    let stub = Stub::start(echo);
    assert_eq!(generate(folder.path(), &stub, &[]).0, Some(0));
    let refused = |stub: &Stub, more: &[&str], part: &str| {
        let (code, report) = generate(folder.path(), stub, more);
        let error = report["error"].as_str().unwrap_or_default();
        assert!(
            code == Some(2) && error.starts_with("out.jsonl holds ") && error.contains(part),
            "{more:?}: {report}"
        );
    };
    refused(&stub, &["--model-name", "other"], "differs in model");
    refused(&stub, &["--seed", "1"], "differs in sampling");
    let elsewhere = Stub::start(|_| Reply::text("elsewhere"));
    refused(&elsewhere, &[], "differs in model");
    // With --force, the answer is the other API's.
    assert_eq!(generate(folder.path(), &elsewhere, &["--force"]).0, Some(0));
    assert_eq!((&rows(folder.path())[0]["response"], stub.received()), (&json!("elsewhere"), 1));
    // The unfinished run of a local model is not overwritten.
    fs::remove_file(folder.path().join("out.jsonl")).unwrap();
    fs::write(folder.path().join("out.jsonl.partial"), "{}\n").unwrap();
    let (code, report) = generate(folder.path(), &stub, &[]);
    assert!(
        code == Some(2) && report["error"].as_str().unwrap().contains("an unfinished run of a local model"),
        "{report}"
    );
}

#[test]
fn a_dry_run_estimates_the_cost_and_the_budget_is_a_limit() {
    let folder = folder(10);
    let stub = Stub::start(echo);
    let prices = ["--price-prompt", "10", "--price-completion", "30", "--max-tokens", "100"];
    let (code, report) = generate(folder.path(), &stub, &[&prices[..], &["--dry-run"]].concat());
    let estimate = &report["estimate"];
    assert_eq!(
        (code, &estimate["calls"], &estimate["answered_before"], stub.received()),
        (Some(0), &json!(10), &json!(0), 0),
        "{report}"
    );
    assert_eq!((&estimate["prompt_tokens"], &estimate["most_completion_tokens"]), (&json!(70), &json!(1000)));
    assert_eq!(estimate["most_cost"], json!((70.0 * 10.0 + 1000.0 * 30.0) / 1e6));
    assert_eq!(
        (stub.model_queries(), fs::read_dir(folder.path()).unwrap().count()),
        (0, 1),
        "a dry run leaves nothing behind"
    );

    // A request may cost up to 0.0034, and costs 0.00025.
    let (code, report) = generate(
        folder.path(),
        &stub,
        &[&prices[..], &["--budget", "0.0045", "--concurrency", "1"]].concat(),
    );
    let (spent, sent) = (report["asked_now"]["cost"].as_f64().unwrap(), stub.received());
    assert!(code == Some(1) && (1..10).contains(&sent) && spent <= 0.0045, "{report}");
    assert!(rows(folder.path())[9]["error"].as_str().unwrap().contains("of the budget of 0.0045 is spent"));
    let (code, report) = generate(folder.path(), &stub, &[&prices[..], &["--budget", "1"]].concat());
    assert_eq!((code, &report["answered_before"], stub.received()), (Some(0), &json!(sent), 10));
    let (code, report) = generate(folder.path(), &stub, &["--budget", "1"]);
    assert!(code == Some(2) && report["error"].as_str().unwrap().contains("--price-prompt"), "{report}");
}

#[test]
fn a_construction_has_the_same_limits() {
    let folder = folder(1);
    let stub = Stub::start(|received| {
        assert!(received.body.get("seed").is_none() && received.body.get("max_completion_tokens").is_some());
        Reply::text("nothing of use")
    });
    let (url, prices) = (stub.url(), ["--price-prompt", "10", "--price-completion", "30"]);
    let run = |more: &[&str]| {
        let args = [
            "data",
            "construct",
            "--json",
            "--instructions",
            "in.jsonl",
            "--model",
            &url,
            "--model-name",
            "far",
            "--out",
            "made",
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_janus"));
        let service = ["--no-seed", "--max-completion-tokens", "--retries", "0"];
        let output = command
            .args(args)
            .args(service)
            .args(prices)
            .args(more)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        (serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|_| panic!("{stderr}")), stderr)
    };
    let (report, stderr) = run(&["--budget", "0.000001"]);
    assert!(stderr.contains("10 calls") && stderr.contains("; cost 0.") && stub.received() == 0, "{stderr}");
    assert_eq!((&report["accepted"], &report["asked_now"]["requests"]), (&json!(0), &json!(0)), "{report}");
    let (report, _) = run(&["--budget", "10"]);
    assert_eq!((stub.received(), &report["asked_now"]["requests"]), (4, &json!(4)), "{report}");
}
