//! `cargo xtask eval`: the keys and numbers of its reports, and its errors for bad files.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

fn eval(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_janus")).arg("eval").args(args).arg("--json").output().unwrap()
}

fn write(path: &Path, rows: &[Value]) {
    janus_data::write_all(path, rows).unwrap();
}

/// Instructions of the small AlpacaEval below.
const INSTRUCTIONS: usize = 40;

/// A folder in the layout of the benchmarks' data: 40 AlpacaEval instructions, two MT-Bench questions.
fn data() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let alpaca = folder.path().join("alpaca_eval");
    let questions = folder.path().join("mt_bench");
    fs::create_dir(&alpaca).unwrap();
    fs::create_dir(&questions).unwrap();
    let row = |index: usize| json!({ "index": index, "dataset": "d", "instruction": format!("i{index}"), "reference_output": "r".repeat(50 + 3 * index % 40) });
    write(&alpaca.join("eval_set.jsonl.gz"), &(0..INSTRUCTIONS).map(row).collect::<Vec<_>>());
    let difficulty = |index: usize| (index * 7 % 11) as f64 / 11.0 - 0.5;
    let rows: String = (0..INSTRUCTIONS).map(|index| format!("{index},{}\n", difficulty(index))).collect();
    fs::write(alpaca.join("instruction_difficulty.csv"), format!("index,instruction_difficulty\n{rows}"))
        .unwrap();
    let gamed = |index: usize| {
        let longer = (index % 9) as f64 / 4.0 - 1.0;
        format!("v,{index},1,2,{longer},{},{},{}\n", difficulty(index), 0.5 + 0.3 * longer, index % 5)
    };
    let head =
        "model,index,len_1,len_2,std_delta_len,instruction_difficulty,preference_reconstructed,cv_fold\n";
    fs::write(
        alpaca.join("gamed_baseline.csv"),
        format!("{head}{}", (0..INSTRUCTIONS).map(gamed).collect::<String>()),
    )
    .unwrap();
    let folds: Vec<usize> = (0..INSTRUCTIONS).map(|index| index % 5).collect();
    fs::write(alpaca.join("cv_folds_model_rows.json"), json!(folds).to_string()).unwrap();
    let question = |id: usize, category: &str| json!({ "question_id": id, "category": category, "turns": ["q", "and why?"] });
    write(&questions.join("question.jsonl"), &[question(81, "writing"), question(101, "reasoning")]);
    folder
}

/// Annotations of a model that loses three of four instructions and wins one.
fn annotations() -> Vec<Value> {
    let row = |index: usize| {
        let preference = if index.is_multiple_of(4) { 1.9 } else { 1.1 + (index % 3) as f64 / 10.0 };
        json!({ "index": index, "output": "o".repeat(40 + 5 * index % 60), "preference": preference })
    };
    (0..INSTRUCTIONS).map(row).collect()
}

/// Runs a command on rows of a file. Returns the object that it prints.
fn report(bench: &str, flag: &str, rows: &[Value], more: &[&str]) -> Value {
    let data = data();
    let file = data.path().join("rows.jsonl");
    write(&file, rows);
    let mut args = vec![bench, flag, file.to_str().unwrap()];
    if ["alpaca-eval", "mt-bench"].contains(&bench) {
        args.extend(["--data", data.path().to_str().unwrap()]);
    }
    let output = eval(&[&args, more].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn close(report: &Value, key: &str, expected: f64) {
    let got = report[key].as_f64().unwrap_or_else(|| panic!("{key} in {report}"));
    assert!((got - expected).abs() <= 1e-6, "{key}: {got}, expected {expected}");
}

#[test]
fn every_bench_prints_its_numbers_as_one_object() {
    let annotations = annotations();
    let alpaca = report("alpaca-eval", "--annotations", &annotations, &[]);
    let mean = annotations.iter().map(|row| row["preference"].as_f64().unwrap() - 1.0).sum::<f64>()
        / INSTRUCTIONS as f64;
    close(&alpaca, "win_rate", 100.0 * mean);
    for (key, count) in
        [("n_wins", 10), ("n_wins_base", 30), ("n_draws", 0), ("n_total", INSTRUCTIONS), ("missing", 0)]
    {
        assert_eq!(alpaca[key], count, "{key}");
    }
    for key in [
        "standard_error",
        "discrete_win_rate",
        "length_controlled_winrate",
        "lc_standard_error",
        "C",
        "win_rate_low",
        "win_rate_high",
    ] {
        assert!(alpaca[key].is_f64(), "{key}");
    }
    let with = |more: &[&str]| {
        report("alpaca-eval", "--annotations", &annotations, more)["length_controlled_winrate"]
            .as_f64()
            .unwrap()
    };
    let (exact, position, liblinear) = (
        with(&["--c", "2.5"]),
        with(&["--c", "2.5", "--difficulty", "position"]),
        with(&["--c", "2.5", "--optimizer", "liblinear"]),
    );
    // Here position and instruction have the same difficulty; the optimisers stop at different points.
    assert!(
        exact == position && (exact - liblinear).abs() < 0.5 && (1.0..99.0).contains(&exact),
        "{exact}, {position}, {liblinear}"
    );

    let battle = |id: &str, outcomes: &str| json!({ "question_id": id, "outcomes": outcomes });
    let arena =
        report("arena-hard", "--battles", &[battle("x", "bbba"), battle("y", "tb"), battle("z", "aa")], &[]);
    // For two models the Bradley-Terry score is the share of battles won, with ties as half.
    close(&arena, "score", 100.0 * 4.5 / 8.0);
    for (key, count) in
        [("questions", 3), ("battles", 8), ("model_wins", 4), ("ties", 1), ("baseline_wins", 3)]
    {
        assert_eq!(arena[key], count, "{key}");
    }
    assert!(
        arena["rating_q025"].as_f64() < arena["rating_q975"].as_f64() && arena["question_low"].is_f64(),
        "{arena}"
    );

    let graded =
        |id: usize, turn: usize, text: &str| json!({ "question_id": id, "turn": turn, "judgment": text });
    let rows = [
        graded(81, 1, "[[9]]"),
        graded(81, 2, "Rating: [[6]]"),
        graded(101, 1, "[4]"),
        graded(101, 2, "no number"),
    ];
    let mt = report("mt-bench", "--judgments", &rows, &[]);
    close(&mt, "average", 19.0 / 3.0);
    close(&mt, "turn1", 6.5);
    close(&mt, "turn2", 6.0);
    assert_eq!((&mt["rows"], &mt["unique_question_turns"], &mt["failed"]), (&4.into(), &4.into(), &1.into()));
    assert_eq!(mt["by_category"].as_object().unwrap().len(), 2);

    let generation = |text: &str, toxicity: f64| json!({ "text": text, "toxicity": toxicity });
    let rows = [
        json!({ "prompt": { "text": "p" }, "generations": [generation("a b", 0.25), generation("a b", 0.75)] }),
        json!({ "prompt": { "text": "p" }, "generations": [generation("c d", 0.25), generation("e f", 0.125)] }),
    ];
    let toxicity = report("toxicity", "--generations", &rows, &[]);
    close(&toxicity, "avg_max_toxicity", 0.5);
    close(&toxicity, "toxicity_probability", 0.5);
    assert_eq!((&toxicity["prompts"], &toxicity["generations"]), (&2.into(), &4.into()));
    assert!(toxicity["dist_2"].is_f64());

    let scored =
        |model: &str, idx: usize, scores: [usize; 2]| json!({ "idx": idx, "model": model, "scores": scores });
    let rows =
        [scored("a", 1, [4, 5]), scored("a", 2, [2, 2]), scored("b", 1, [3, 5]), scored("b", 2, [2, 2])];
    let rubric = report("rubric", "--judgments", &rows, &[]);
    assert_eq!(
        (rubric["absolute"].as_array().unwrap().len(), rubric["pairwise"].as_array().unwrap().len()),
        (2, 2)
    );
    close(&rubric["absolute"][0], "mean", 3.25);
}

#[test]
fn verify_lists_its_checks() {
    let folder = tempfile::tempdir().unwrap();
    let arena = folder.path().join("arena_hard");
    fs::create_dir_all(arena.join("battles")).unwrap();
    write(
        &arena.join("judgment_samples.jsonl.gz"),
        &[json!({ "question_id": "x", "judgment": "[[A>B]]", "score": "A>B" })],
    );
    write(&arena.join("battles/kite.jsonl.gz"), &[json!({ "question_id": "x", "outcomes": "ab" })]);
    let expected = |score: f64| {
        let model = json!({ "model": "kite", "questions": 1, "battles": 2, "model_wins": 1, "ties": 0, "baseline_wins": 1, "score": score });
        fs::write(arena.join("expected_scores.json"), json!([model]).to_string()).unwrap();
        let report: Value =
            serde_json::from_slice(&eval(&["verify", folder.path().to_str().unwrap()]).stdout).unwrap();
        let check = |check: &&Value| check["what"].as_str().unwrap().starts_with("arena_hard");
        report["checks"].as_array().unwrap().iter().filter(check).cloned().collect::<Vec<Value>>()
    };
    let checks = expected(50.0);
    assert_eq!(checks.len(), 7);
    for check in &checks {
        assert!(
            check["ok"] == true
                && ["what", "value", "must", "tolerance"].iter().all(|key| !check[key].is_null()),
            "{check}"
        );
    }
    assert_eq!(expected(51.0).iter().filter(|check| check["ok"] == false).count(), 1);
}

#[test]
fn verify_without_data_fails() {
    let folder = tempfile::tempdir().unwrap();
    let output = eval(&["verify", folder.path().to_str().unwrap()]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(report["failed"].as_u64() > Some(0), "{report}");
}

/// Runs a bench on a file with this content. Its error must contain these parts.
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
fn bad_rows_are_reported_with_file_row_and_field() {
    let nowhere = Path::new("nowhere");
    let arena = |content: &str, parts: &[&str]| {
        refused("arena-hard", "--battles", "b.jsonl", content, nowhere, parts)
    };
    arena(
        "{\"question_id\": \"x\", \"outcomes\": \"ab\"}\n{\"question_id\": \"y\", \"outcomes\": \"c\"}\n",
        &["row 2", "\"outcomes\"", "'c'"],
    );
    arena(
        "{\"question_id\": \"x\", \"outcomes\": \"a\"}\n{\"question_id\": \"x\", \"outcomes\": \"a\"}\n",
        &["row 2", "\"question_id\""],
    );
    arena("{\"question_id\": \"x\"}\n", &["row 1", "\"outcomes\"", "missing"]);
    arena("", &["without battles"]);

    let rubric =
        |content: &str, parts: &[&str]| refused("rubric", "--judgments", "r.jsonl", content, nowhere, parts);
    for score in ["-1", "6", "4.5", "NaN"] {
        rubric(&format!("{{\"idx\": 1, \"model\": \"m\", \"scores\": [{score}]}}\n"), &["row 1"]);
    }
    let other =
        "{\"idx\": 1, \"model\": \"a\", \"scores\": [4]}\n{\"idx\": 2, \"model\": \"b\", \"scores\": [4]}\n";
    rubric(other, &["\"1\" in one list and \"2\" in the other"]);

    let toxicity = |content: &str, parts: &[&str]| {
        refused("toxicity", "--generations", "t.jsonl", content, nowhere, parts)
    };
    for score in ["-0.5", "1.5"] {
        let row = format!(
            "{{\"prompt\": {{\"text\": \"p\"}}, \"generations\": [{{\"text\": \"g\", \"toxicity\": {score}}}]}}\n"
        );
        toxicity(&row, &["row 1", "\"toxicity\"", score]);
    }
    toxicity("{\"prompt\": {\"text\": \"p\"}, \"generations\": []}\n", &["without scored generations"]);

    let pairs = |content: &str, parts: &[&str]| {
        refused("mt-bench-pairs", "--judgments", "p.jsonl", content, nowhere, parts)
    };
    let pair = |one: &str, winner: &str| {
        format!(
            "{{\"question_id\": 81, \"turn\": 1, \"model_1\": \"{one}\", \"model_2\": \"b\", \"g1_winner\": \"{winner}\", \"g2_winner\": \"tie\"}}\n"
        )
    };
    pairs(&pair("b", "tie"), &["row 1", "\"model_2\""]);
    pairs(&pair("a", "model_3"), &["row 1", "\"g1_winner\""]);
    pairs(&pair("a", "error"), &["without verdicts"]);
}

#[test]
fn rows_that_do_not_fit_the_benchmarks_data_are_reported() {
    let data = data();
    let alpaca = |content: &str, parts: &[&str]| {
        refused("alpaca-eval", "--annotations", "a.jsonl", content, data.path(), parts)
    };
    let row = |index: i64, preference: &str| {
        format!("{{\"index\": {index}, \"output\": \"o\", \"preference\": {preference}}}\n")
    };
    alpaca(&row(INSTRUCTIONS as i64, "1.5"), &["row 1", "\"index\"", "0 to 39"]);
    alpaca(&(row(1, "1.5") + &row(1, "1.5")), &["row 2", "\"index\"", "row 1"]);
    for preference in ["-1", "2.5", "0.5"] {
        alpaca(&row(1, preference), &["row 1", "\"preference\"", preference]);
    }
    alpaca(&row(1, "NaN"), &["row 1"]);
    alpaca(&(row(1, "null") + &row(2, "null")), &["without preferences"]);
    alpaca("", &["without annotations"]);
    let mt = |content: &str, parts: &[&str]| {
        refused("mt-bench", "--judgments", "j.jsonl", content, data.path(), parts)
    };
    mt("{\"question_id\": 1, \"turn\": 1, \"judgment\": \"[[5]]\"}\n", &["row 1", "\"question_id\""]);
    mt(
        "{\"question_id\": 81, \"turn\": 1, \"judgment\": \"[[5]]\", \"score\": -2}\n",
        &["row 1", "\"score\"", "-2"],
    );
}

#[test]
fn a_byte_order_mark_in_a_csv_changes_nothing() {
    let (plain, marked) = (data(), data());
    let annotated = plain.path().join("annotations.jsonl");
    write(&annotated, &annotations());
    let csv = marked.path().join("alpaca_eval/instruction_difficulty.csv");
    let table = fs::read(&csv).unwrap();
    fs::write(&csv, [b"\xef\xbb\xbf".as_slice(), &table].concat()).unwrap();
    let run = |data: &Path| {
        eval(&["alpaca-eval", "--annotations", annotated.to_str().unwrap(), "--data", data.to_str().unwrap()])
    };
    let (of_marked, of_plain) = (run(marked.path()), run(plain.path()));
    assert_eq!(of_marked.status.code(), Some(0), "{}", String::from_utf8_lossy(&of_marked.stderr));
    assert_eq!(of_marked.stdout, of_plain.stdout);

    fs::write(&csv, "index,instruction_difficulty\n0,zero\n").unwrap();
    let broken: Value = serde_json::from_slice(&run(marked.path()).stdout).unwrap();
    for part in ["instruction_difficulty.csv", "row 1", "\"instruction_difficulty\""] {
        assert!(broken["error"].as_str().unwrap().contains(part), "{broken}");
    }
}

#[test]
fn pairwise_verdicts_become_win_rates() {
    let folder = tempfile::tempdir().unwrap();
    let row = |one: &str, two: &str, winners: [&str; 2]| json!({ "question_id": 81, "turn": 2, "model_1": one, "model_2": two, "g1_winner": winners[0], "g2_winner": winners[1] });
    let rows = [
        row("a", "base", ["model_1", "model_1"]),
        row("a", "base", ["model_1", "tie"]),
        row("b", "a", ["model_1", "model_1"]),
    ];
    let path = folder.path().join("pairs.jsonl");
    fs::write(&path, rows.map(|row| format!("{row}\n")).concat()).unwrap();
    let output = eval(&["mt-bench-pairs", "--judgments", path.to_str().unwrap(), "--baseline", "base"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["rows"], &report["without_baseline"]), (&3.into(), &1.into()));
    assert_eq!(
        (&report["models"][0]["model"], &report["models"][0]["win_rate_adjusted"]),
        (&"a".into(), &0.75.into())
    );
}
