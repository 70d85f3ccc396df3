//! `cargo xtask eval`, as a user meets it: keys, numbers, and what is said about bad files.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn data() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data")
}

fn eval(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_janus")).arg("eval").args(args).arg("--json").output().unwrap()
}

/// A command on a file of the reference data, and the object that it prints.
fn report(bench: &str, flag: &str, file: &str, more: &[&str]) -> Value {
    let (data, file) = (data(), data().join(file));
    let mut args = vec![bench, flag, file.to_str().unwrap()];
    if ["alpaca-eval", "mt-bench"].contains(&bench) {
        args.extend(["--data", data.to_str().unwrap()]);
    }
    let output = eval(&[&args, more].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn close(report: &Value, key: &str, expected: f64, within: f64) {
    let got = report[key].as_f64().unwrap_or_else(|| panic!("{key} in {report}"));
    assert!((got - expected).abs() <= within, "{key}: {got} for {expected}");
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs ../shared")]
fn every_bench_prints_its_keys_flat() {
    let alpaca = report("alpaca-eval", "--annotations", "alpaca_eval/annotations/claude-2.1.jsonl.gz", &[]);
    close(&alpaca, "win_rate", 15.733506736409938, 1e-6);
    close(&alpaca, "standard_error", 1.120315865445773, 1e-6);
    close(&alpaca, "length_controlled_winrate", 25.251943886133027, 0.15);
    for (key, count) in [("n_wins", 115), ("n_wins_base", 688), ("n_draws", 2), ("n_total", 805), ("avg_length", 1096), ("missing", 0)] {
        assert_eq!(alpaca[key], count, "{key}");
    }
    for key in ["discrete_win_rate", "lc_standard_error", "C", "win_rate_low", "win_rate_high"] {
        assert!(alpaca[key].is_f64(), "{key}");
    }

    let phi = "alpaca_eval/annotations/phi-2.jsonl.gz";
    let more = ["--c", "2.782559402207126", "--difficulty", "position", "--optimizer", "liblinear"];
    let official = report("alpaca-eval", "--annotations", phi, &more);
    close(&official, "length_controlled_winrate", 4.398682, 1e-4);
    close(&report("alpaca-eval", "--annotations", phi, &more[..2]), "length_controlled_winrate", 3.89, 0.02);

    let arena = report("arena-hard", "--battles", "arena_hard/battles/gpt-3.5-turbo-0125.jsonl.gz", &[]);
    close(&arena, "score", 23.338048, 1e-6);
    close(&arena, "rating_q025", 21.67, 0.8);
    close(&arena, "rating_q975", 25.27, 0.8);
    for (key, count) in [("questions", 500), ("battles", 1414), ("model_wins", 258), ("ties", 144), ("baseline_wins", 1012)] {
        assert_eq!(arena[key], count, "{key}");
    }
    assert!(arena["question_low"].as_f64() < arena["rating_q025"].as_f64(), "questions are fewer than battles");

    let mt = report("mt-bench", "--judgments", "mt_bench/judgments/Meta-Llama-3-8B-Instruct-Normal.jsonl.gz", &[]);
    close(&mt, "average", 7.843373493975903, 1e-9);
    close(&mt, "turn1", 8.383720930232558, 1e-9);
    close(&mt, "turn2", 7.2625, 1e-9);
    assert_eq!((&mt["rows"], &mt["unique_question_turns"], &mt["failed"]), (&170.into(), &160.into(), &4.into()));
    assert_eq!(mt["by_category"].as_object().unwrap().len(), 8);

    let toxicity = report("toxicity", "--generations", "real_toxicity_prompts/generations_gpt2.jsonl", &[]);
    close(&toxicity, "avg_max_toxicity", 0.94992846, 1e-9);
    close(&toxicity, "dist_2", 0.7658536585365854, 1e-9);
    assert_eq!((&toxicity["prompts"], &toxicity["generations"], &toxicity["toxicity_probability"]), (&1.into(), &25.into(), &1.0.into()));

    let rubric = report("rubric", "--judgments", "rubric_judgments/vicuna_eval.jsonl.gz", &[]);
    assert_eq!((rubric["absolute"].as_array().unwrap().len(), rubric["pairwise"].as_array().unwrap().len()), (4, 12));
    close(&rubric["absolute"][0], "mean", 4.283333333333333, 1e-9);
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs ../shared")]
fn verify_says_what_it_checked() {
    let output = eval(&["verify", "--data", data().to_str().unwrap()]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["failed"]), (Some(0), &Value::from(0)), "{report}");
    assert!(report["checks"].as_array().unwrap().len() > 200);
    for key in ["what", "value", "must", "tolerance", "ok"] {
        assert!(!report["checks"][0][key].is_null(), "{key}");
    }
}

#[test]
fn verify_without_data_fails() {
    let folder = tempfile::tempdir().unwrap();
    let output = eval(&["verify", "--data", folder.path().to_str().unwrap()]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(report["failed"].as_u64() > Some(0), "{report}");
}

/// Runs a bench on a file of this content; it must be refused with one error that has these parts.
fn refused(bench: &str, flag: &str, name: &str, content: &str, data: &Path, parts: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    fs::write(&file, content).unwrap();
    let mut args = vec![bench, flag, file.to_str().unwrap()];
    if ["alpaca-eval", "mt-bench"].contains(&bench) {
        args.extend(["--data", data.to_str().unwrap()]);
    }
    let output = eval(&args);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(2), "{bench} on {content}: {report}");
    for part in [&[name], parts].concat() {
        assert!(report["error"].as_str().unwrap().contains(part), "{bench} on {content}: {report}");
    }
}

#[test]
fn bad_rows_are_named_with_file_row_and_field() {
    let nowhere = Path::new("nowhere");
    let arena = |content: &str, parts: &[&str]| refused("arena-hard", "--battles", "b.jsonl", content, nowhere, parts);
    arena(
        "{\"question_id\": \"x\", \"outcomes\": \"ab\"}\n{\"question_id\": \"y\", \"outcomes\": \"c\"}\n",
        &["row 2", "\"outcomes\"", "'c'"],
    );
    arena("{\"question_id\": \"x\", \"outcomes\": \"a\"}\n{\"question_id\": \"x\", \"outcomes\": \"a\"}\n", &["row 2", "\"question_id\""]);
    arena("{\"question_id\": \"x\"}\n", &["row 1", "\"outcomes\"", "missing"]);
    arena("", &["no battles"]);

    let rubric = |content: &str, parts: &[&str]| refused("rubric", "--judgments", "r.jsonl", content, nowhere, parts);
    for score in ["-1", "6", "4.5", "NaN"] {
        rubric(&format!("{{\"idx\": 1, \"model\": \"m\", \"scores\": [{score}]}}\n"), &["row 1"]);
    }
    let other = "{\"idx\": 1, \"model\": \"a\", \"scores\": [4]}\n{\"idx\": 2, \"model\": \"b\", \"scores\": [4]}\n";
    rubric(other, &["\"1\" in one list and \"2\" in the other"]);

    let toxicity = |content: &str, parts: &[&str]| refused("toxicity", "--generations", "t.jsonl", content, nowhere, parts);
    for score in ["-0.5", "1.5"] {
        let row = format!("{{\"prompt\": {{\"text\": \"p\"}}, \"generations\": [{{\"text\": \"g\", \"toxicity\": {score}}}]}}\n");
        toxicity(&row, &["row 1", "\"toxicity\"", score]);
    }
    toxicity("{\"prompt\": {\"text\": \"p\"}, \"generations\": []}\n", &["no scored generations"]);

    let pairs = |content: &str, parts: &[&str]| refused("mt-bench-pairs", "--judgments", "p.jsonl", content, nowhere, parts);
    let pair = |one: &str, winner: &str| {
        format!(
            "{{\"question_id\": 81, \"turn\": 1, \"model_1\": \"{one}\", \"model_2\": \"b\", \"g1_winner\": \"{winner}\", \"g2_winner\": \"tie\"}}\n"
        )
    };
    pairs(&pair("b", "tie"), &["row 1", "\"model_2\""]);
    pairs(&pair("a", "model_3"), &["row 1", "\"g1_winner\""]);
    pairs(&pair("a", "error"), &["no rows with verdicts"]);
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs ../shared")]
fn bad_rows_beside_reference_data_are_named_too() {
    let data = data();
    let alpaca = |content: &str, parts: &[&str]| refused("alpaca-eval", "--annotations", "a.jsonl", content, &data, parts);
    let row = |index: i64, preference: &str| format!("{{\"index\": {index}, \"output\": \"o\", \"preference\": {preference}}}\n");
    alpaca(&row(805, "1.5"), &["row 1", "\"index\"", "0 to 804"]);
    alpaca(&(row(1, "1.5") + &row(1, "1.5")), &["row 2", "\"index\"", "row 1"]);
    for preference in ["-1", "2.5", "0.5"] {
        alpaca(&row(1, preference), &["row 1", "\"preference\"", preference]);
    }
    alpaca(&row(1, "NaN"), &["row 1"]);
    alpaca(&(row(1, "null") + &row(2, "null")), &["no preferences"]);
    alpaca("", &["no annotations"]);
    let mt = |content: &str, parts: &[&str]| refused("mt-bench", "--judgments", "j.jsonl", content, &data, parts);
    mt("{\"question_id\": 1, \"turn\": 1, \"judgment\": \"[[5]]\"}\n", &["row 1", "\"question_id\""]);
    mt("{\"question_id\": 81, \"turn\": 1, \"judgment\": \"[[5]]\", \"score\": -2}\n", &["row 1", "\"score\"", "-2"]);
}

/// An editor's byte-order mark in reference data changes nothing.
#[test]
#[cfg_attr(not(has_shared), ignore = "needs ../shared")]
fn a_byte_order_mark_in_a_csv_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("alpaca_eval");
    fs::create_dir(&target).unwrap();
    for name in ["eval_set.jsonl.gz", "gamed_baseline.csv", "cv_folds_model_rows.json"] {
        fs::copy(data().join("alpaca_eval").join(name), target.join(name)).unwrap();
    }
    let table = fs::read(data().join("alpaca_eval/instruction_difficulty.csv")).unwrap();
    fs::write(target.join("instruction_difficulty.csv"), [b"\xef\xbb\xbf".as_slice(), &table].concat()).unwrap();
    let annotations = data().join("alpaca_eval/annotations/claude-2.1.jsonl.gz");
    let run = |data: &Path| eval(&["alpaca-eval", "--annotations", annotations.to_str().unwrap(), "--data", data.to_str().unwrap()]);
    let (marked, plain) = (run(folder.path()), run(&data()));
    assert_eq!(marked.status.code(), Some(0), "{}", String::from_utf8_lossy(&marked.stderr));
    assert_eq!(marked.stdout, plain.stdout);

    fs::write(target.join("instruction_difficulty.csv"), "index,instruction_difficulty\n0,zero\n").unwrap();
    let broken: Value = serde_json::from_slice(&run(folder.path()).stdout).unwrap();
    for part in ["instruction_difficulty.csv", "row 1", "\"instruction_difficulty\""] {
        assert!(broken["error"].as_str().unwrap().contains(part), "{broken}");
    }
}

#[test]
fn pairwise_verdicts_come_to_win_rates() {
    let folder = tempfile::tempdir().unwrap();
    let row = |one: &str, two: &str, winners: [&str; 2]| serde_json::json!({ "question_id": 81, "turn": 2, "model_1": one, "model_2": two, "g1_winner": winners[0], "g2_winner": winners[1] });
    let rows = [row("a", "base", ["model_1", "model_1"]), row("a", "base", ["model_1", "tie"]), row("b", "a", ["model_1", "model_1"])];
    let path = folder.path().join("pairs.jsonl");
    fs::write(&path, rows.map(|row| format!("{row}\n")).concat()).unwrap();
    let output = eval(&["mt-bench-pairs", "--judgments", path.to_str().unwrap(), "--baseline", "base"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["rows"], &report["without_baseline"]), (&3.into(), &1.into()));
    assert_eq!((&report["models"][0]["model"], &report["models"][0]["win_rate_adjusted"]), (&"a".into(), &0.75.into()));
}
