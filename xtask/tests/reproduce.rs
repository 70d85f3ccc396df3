//! `reproduce` and `eval mini`: the built program on a profile that takes seconds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

/// A profile smaller than `smoke`, since these tests run it several times.
const TINY: &str = r#"
[data]
documents = 120
rows = 120
instructions = 5
plain_every = 8
distinct = [4, 16, 64]
[tokenizer]
vocab_size = 600
[model]
hidden_size = 32
intermediate_size = 64
num_hidden_layers = 1
num_attention_heads = 2
num_key_value_heads = 1
max_position_embeddings = 512
[pretrain]
steps = 6
tokens_per_micro_batch = 512
lr = 3e-3
warmup_steps = 1
checkpoint_every = 2
[sft]
steps = 6
tokens_per_micro_batch = 512
lr = 3e-3
warmup_steps = 1
checkpoint_every = 2
[pairs]
count = 40
helpful = 20
again = 10
held_out = 4
beta = 0.1
lambda = 0.1
imitation = 0.5
[dpo]
steps = 4
tokens_per_micro_batch = 512
lr = 1e-4
warmup_steps = 1
checkpoint_every = 2
[orpo]
steps = 4
tokens_per_micro_batch = 512
lr = 3e-3
warmup_steps = 1
checkpoint_every = 2
[reward]
steps = 4
tokens_per_micro_batch = 512
lr = 5e-4
warmup_steps = 1
checkpoint_every = 2
[helpful]
steps = 2
tokens_per_micro_batch = 512
lr = 1e-4
warmup_steps = 1
[graded]
instructions = 4
n = 2
temperature = 1.0
top_p = 1.0
[best_of_n]
n = [1, 2, 3]
temperature = 1.0
top_p = 0.9
[answer]
max_tokens = 12
max_sequences = 4
[statistics]
resamples = 200
level = 0.95
"#;

fn xtask() -> Command {
    Command::new(env!("CARGO_BIN_EXE_janus"))
}

fn profile(folder: &Path) -> PathBuf {
    let path = folder.join("tiny.toml");
    fs::write(&path, TINY).unwrap();
    path
}

fn reproduce(profile: &Path, out: &Path) -> Command {
    let mut command = xtask();
    command.args(["reproduce", "--seed", "5", "--profile"]).arg(profile).arg("--out").arg(out);
    command
}

fn finished(mut command: Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Every result file of a run, with its bytes.
fn results(out: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = vec![PathBuf::from("report.json"), "report.md".into(), "report.html".into()];
    for folder in ["mini", "responses", "scores", "plain/responses", "plain/scores"] {
        let mut names: Vec<_> =
            fs::read_dir(out.join(folder)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        files.extend(names.into_iter().map(|name| Path::new(folder).join(name)));
    }
    files.into_iter().map(|file| (file.clone(), fs::read(out.join(&file)).unwrap())).collect()
}

/// Starts the run and kills it as soon as `stages` contains a path that ends in `mark`.
fn killed_at(profile: &Path, out: &Path, mark: &str) -> bool {
    let mut child = reproduce(profile, out).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    loop {
        if contains_path(&out.join("stages"), mark) {
            child.kill().unwrap();
            // The run may have ended just before.
            return !child.wait().unwrap().success();
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn contains_path(folder: &Path, mark: &str) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let path = entry.path();
        path.to_string_lossy().ends_with(mark) || (path.is_dir() && contains_path(&path, mark))
    })
}

#[test]
fn killed_at_any_moment_and_started_again_it_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let profile = profile(folder.path());
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
    finished(reproduce(&profile, &whole));
    let marks = [
        "01-mini/train.jsonl",
        "02-tokenizer/config.json",
        "03-base/checkpoints",
        "checkpoints/step-000004",
        "04-uniform/config.json",
        "05-janus-4/checkpoints/step-000002",
        "07-janus-64/model",
        "08-janus/checkpoints",
        "responses.partial",
        "10-janus-dpo/checkpoints",
        "12-reward-mini/checkpoints/step-000002",
        "15-judge-base/config.json",
        "20-answer-janus-16/responses.partial",
        "33-plain-janus/config.json",
        "34-sample-janus-star/responses.partial",
    ];
    let mut kills = 0;
    for mark in marks {
        // Marks of earlier runs stay, so kill only at a new one.
        if !contains_path(&cut.join("stages"), mark) {
            kills += usize::from(killed_at(&profile, &cut, mark));
        }
    }
    assert!(kills >= 6, "only {kills} of the kills hit a running process");
    finished(reproduce(&profile, &cut));
    for ((file, expected), (other, got)) in results(&whole).into_iter().zip(results(&cut)) {
        assert_eq!(file, other);
        assert!(expected == got, "{} differs", file.display());
    }
    let data = |out: &Path| -> Value {
        let record: Value = serde_json::from_slice(&fs::read(out.join("run.json")).unwrap()).unwrap();
        record["data_fingerprint"].clone()
    };
    assert!(data(&whole).is_string() && data(&whole) == data(&cut), "the fingerprint of equal data differs");
}

#[test]
fn a_run_reports_its_claims_and_skips_finished_stages() {
    let folder = tempfile::tempdir().unwrap();
    let profile = profile(folder.path());
    let out = folder.path().join("run");
    let mut command = reproduce(&profile, &out);
    command.arg("--json");
    let first = finished(command);
    let printed: Value = serde_json::from_slice(&first.stdout).unwrap();
    let report: Value = serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap();
    assert_eq!(printed["claims"], report["claims"]);
    let claims = report["claims"].as_array().unwrap();
    let ids: Vec<&str> = claims.iter().map(|claim| claim["id"].as_str().unwrap()).collect();
    assert_eq!(
        ids,
        ["order", "tie_win", "generalisation", "no_tax", "dpo", "orpo", "reward_accuracy", "best_of_n"]
    );
    for claim in claims {
        let number = |key: &str| claim[key].as_f64().unwrap();
        assert!(number("ci_low") <= number("estimate") && number("estimate") <= number("ci_high"), "{claim}");
        let directed = !["dpo", "orpo"].contains(&claim["id"].as_str().unwrap());
        assert!(claim["holds"].is_boolean() == directed && claim["n"].as_u64().unwrap() > 0);
    }
    assert_eq!(claims[2]["values"].as_array().unwrap().len(), 4);
    // With one candidate both choices are equal, and no choice beats the oracle's.
    let curve = claims[7]["values"].as_array().unwrap();
    let at = |point: &Value, choice: &str| point[choice]["estimate"].as_f64().unwrap();
    assert_eq!((curve.len(), at(&curve[0], "reward")), (3, at(&curve[0], "oracle")));
    assert!(curve.iter().all(|point| at(point, "reward") <= at(point, "oracle")));
    let text = fs::read_to_string(out.join("report.json")).unwrap();
    assert!(!text.contains(&*folder.path().to_string_lossy()), "the report contains a path");

    // The numbers of the report are those of the score files.
    let rows = fs::read_to_string(out.join("scores/janus.jsonl")).unwrap();
    let rows: Vec<Value> = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let all: Vec<f64> = rows
        .iter()
        .flat_map(|row| row["scores"].as_array().unwrap())
        .map(|score| score.as_f64().unwrap())
        .collect();
    assert_eq!((rows.len(), all.len()), (15, 60));
    let mean = all.iter().sum::<f64>() / 60.0;
    assert!((claims[0]["values"]["janus"]["estimate"].as_f64().unwrap() - mean).abs() < 1e-12);

    let again = finished(reproduce(&profile, &out));
    let stderr = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(stderr.contains("skipped") && !stderr.contains("starts"), "{stderr}");
    assert_eq!(fs::read_to_string(out.join("report.json")).unwrap(), text);

    // `eval mini` finds the same scores in the same responses.
    let mut command = xtask();
    command.args(["eval", "mini", "--json", "--bench"]).arg(out.join("mini/bench.jsonl"));
    command.arg("--responses").arg(out.join("responses/janus.jsonl"));
    let evaluated: Value = serde_json::from_slice(&finished(command).stdout).unwrap();
    assert!((evaluated["mean"].as_f64().unwrap() - mean).abs() < 1e-12);
    assert_eq!(evaluated["rows"][7]["scores"], rows[7]["scores"]);
}

fn refused(arguments: &[&str]) -> String {
    let output = xtask().args(arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert_eq!(stderr.trim_end().lines().count(), 1, "{stderr}");
    assert!(output.stdout.is_empty());
    stderr
}

#[test]
fn bad_input_to_eval_is_reported_with_file_row_and_field() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    };
    let record = janus_data::mini::Mini::new(1).eval(janus_data::mini::Split::Bench, 1).swap_remove(0);
    let good = serde_json::to_string(&record).unwrap();
    let bench = file("bench.jsonl", format!("{good}\n").as_bytes());
    let responses = file(
        "responses.jsonl",
        format!("{{\"id\": {:?}, \"response\": \"x\"}}\n", record.id.as_ref().unwrap()).as_bytes(),
    );
    finished({
        let mut command = xtask();
        command.args(["eval", "mini", "--bench", &bench, "--responses", &responses]);
        command
    });

    let score =
        |bench: &str, responses: &str| refused(&["eval", "mini", "--bench", bench, "--responses", responses]);
    assert!(score("nowhere.jsonl", &responses).contains("nowhere.jsonl"));
    let stderr =
        score(&bench, &file("field.jsonl", b"{\"id\": \"a\", \"response\": \"x\"}\n{\"id\": \"b\"}\n"));
    assert!(
        stderr.contains("field.jsonl") && stderr.contains('2') && stderr.contains("response"),
        "{stderr}"
    );
    let stderr = score(&bench, &file("utf8.jsonl", b"{\"id\": \"a\", \"response\": \"\xff\"}\n"));
    assert!(stderr.contains("utf8.jsonl") && stderr.contains("UTF-8"), "{stderr}");
    let six = good.replacen("\"5\":", "\"6\":\"six\",\"5\":", 1);
    let stderr = score(&file("six.jsonl", format!("{good}\n{six}\n").as_bytes()), &responses);
    assert!(
        stderr.contains("six.jsonl")
            && stderr.contains('2')
            && stderr.contains("\"6\"")
            && stderr.contains("rubrics"),
        "{stderr}"
    );
    let two_styles = good.replacen("\"dimension\":\"harmlessness\"", "\"dimension\":\"style\"", 1);
    let stderr = score(&file("styles.jsonl", two_styles.as_bytes()), &responses);
    assert!(stderr.contains("styles.jsonl") && stderr.contains("two style preferences"), "{stderr}");
    let stderr = score(&bench, &file("unknown.jsonl", b"{\"id\": \"nobody\", \"response\": \"x\"}\n"));
    assert!(stderr.contains("nobody"), "{stderr}");
}

#[test]
fn a_bad_profile_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.toml");
    fs::write(&path, TINY.replace("vocab_size", "vocab_sice")).unwrap();
    let out = folder.path().join("run");
    let stderr =
        refused(&["reproduce", "--profile", &path.to_string_lossy(), "--out", &out.to_string_lossy()]);
    assert!(stderr.contains("odd.toml") && stderr.contains("vocab_sice"), "{stderr}");
    assert!(!out.exists());
    assert!(refused(&["reproduce", "--profile", "gigantic"]).contains("gigantic"));
}
