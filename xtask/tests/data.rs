//! `cargo xtask data`: the built program on files of records.

use std::fs;
use std::path::Path;
use std::process::Command;

use janus_core::PairRecord;
use janus_data::mini::{Mini, Split};
use janus_data::{Tokenizer, read_all, write_all};
use serde_json::{Value, json};

use crate::stub::{Reply, Stub};

/// Runs `data` in a folder. Returns its exit code, its JSON object and its stderr.
fn data(folder: &Path, arguments: &[&str]) -> (i32, Value, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_janus"))
        .arg("data")
        .args(arguments)
        .arg("--json")
        .current_dir(folder)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let object = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{stderr}"));
    (output.status.code().unwrap(), object, stderr)
}

fn done(folder: &Path, arguments: &[&str]) -> Value {
    let (code, object, stderr) = data(folder, arguments);
    assert_eq!(code, 0, "{arguments:?}: {stderr}");
    object
}

#[test]
fn dialogues_become_pairs_that_are_valid() {
    let folder = tempfile::tempdir().unwrap();
    let dialogue = |answer: &str| format!("\n\nHuman: Why is the sky blue?\n\nAssistant: {answer}");
    let rows = [json!({ "chosen": dialogue("Blue light scatters most."), "rejected": dialogue("Because.") })];
    write_all(folder.path().join("hh.jsonl.gz"), &rows).unwrap();

    let converted = done(
        folder.path(),
        &["convert", "--from", "hh-rlhf", "--to", "pairs", "--out", "pairs.parquet", "hh.jsonl.gz"],
    );
    assert_eq!((&converted["read"], &converted["written"]), (&json!(1), &json!(1)));
    let pairs: Vec<PairRecord> = read_all(folder.path().join("pairs.parquet")).unwrap();
    assert_eq!(
        (pairs[0].prompt.as_str(), pairs[0].chosen[1].content.as_str()),
        ("Why is the sky blue?", "Blue light scatters most.")
    );
    let validated = done(folder.path(), &["validate", "pairs.parquet"]);
    assert_eq!((&validated["rows"], &validated["valid"]), (&json!(1), &json!(true)));
}

/// Only the fields of the first row were looked at.
#[test]
fn fields_that_a_change_of_format_loses_are_counted_in_every_row() {
    let folder = tempfile::tempdir().unwrap();
    let rows = [
        json!({ "system": "", "prompt": "Hi", "output": "Ho" }),
        json!({ "system": "", "prompt": "Hi", "output": "Ho", "grade": 3 }),
        json!({ "system": "", "prompt": "Hi", "output": "Ho", "grade": 4, "note": "a" }),
    ];
    write_all(folder.path().join("rows.jsonl"), &rows).unwrap();
    let convert = |limit: &str| {
        let arguments = [
            "convert",
            "--from",
            "sft",
            "--to",
            "sft",
            "--out",
            "out.parquet",
            "--limit",
            limit,
            "rows.jsonl",
        ];
        done(folder.path(), &arguments)["unread"].clone()
    };
    assert_eq!(convert("3"), json!({ "grade": 2, "note": 1 }));
    assert_eq!(convert("1"), json!(null), "of the rows that are converted");
}

#[test]
fn every_problem_of_a_file_is_listed_with_exit_1() {
    let folder = tempfile::tempdir().unwrap();
    let good = serde_json::to_value(&Mini::new(0).train(1, None)[0]).unwrap();
    let (mut empty, mut missing) = (good.clone(), good.clone());
    empty["prompt"] = json!("");
    missing.as_object_mut().unwrap().remove("output");
    write_all(folder.path().join("rows.jsonl"), &[good, empty, missing]).unwrap();

    let (code, object, _) = data(folder.path(), &["validate", "--kind", "sft", "rows.jsonl"]);
    assert_eq!((code, &object["valid"], &object["problems"]), (1, &json!(false), &json!(2)));
    let places: Vec<(u64, &str)> = object["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|at| (at["row"].as_u64().unwrap(), at["field"].as_str().unwrap()))
        .collect();
    assert_eq!(places, [(2, "prompt"), (3, "output")]);

    let (code, object, stderr) = data(folder.path(), &["validate", "nowhere.jsonl"]);
    assert!(
        code == 2 && stderr.contains("nowhere.jsonl") && object["error"].is_string(),
        "{object} {stderr}"
    );
}

#[test]
fn copies_are_dropped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let texts = [
        "Explain how a tide comes about, in a few plain sentences.",
        "Name three rivers of Africa and where each of them ends.",
    ];
    let rows: Vec<Value> = texts
        .iter()
        .chain([&texts[0]])
        .enumerate()
        .map(|(id, text)| json!({ "id": id, "prompt": text }))
        .collect();
    write_all(folder.path().join("instructions.jsonl"), &rows).unwrap();
    let cleaned = done(folder.path(), &["dedup", "instructions.jsonl", "--out", "clean.jsonl"]);
    assert_eq!((&cleaned["read"], &cleaned["kept"]), (&json!(3), &json!(2)));
    assert_eq!(
        (&cleaned["steps"][0]["step"], &cleaned["steps"][0]["dropped"]),
        (&json!("exact copies"), &json!(1))
    );
    assert_eq!(read_all::<Value>(folder.path().join("clean.jsonl")).unwrap().len(), 2);
}

#[test]
fn a_bench_text_that_is_trained_on_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (mut rows, bench) = (Mini::new(0).train(20, None), Mini::new(0).eval(Split::Bench, 5));
    write_all(folder.path().join("bench.jsonl"), &bench).unwrap();
    rows[7].system = bench[3].system.clone();
    write_all(folder.path().join("train.jsonl"), &rows).unwrap();
    let (code, object, stderr) =
        data(folder.path(), &["contamination", "--train", "train.jsonl", "--bench", "bench.jsonl"]);
    assert_eq!(code, 1, "{stderr}");
    let systems = &object["system_messages"];
    assert_eq!((&systems["contaminated"], &systems["bench_found"]), (&json!(1), &json!(1)), "{object}");
    assert_eq!(object["instructions"]["contaminated"], json!(0));
}

#[test]
fn rows_are_packed_once_and_reused_while_nothing_changed() {
    let folder = tempfile::tempdir().unwrap();
    let rows = Mini::new(0).train(50, None);
    write_all(folder.path().join("train.jsonl"), &rows).unwrap();
    let texts = rows.iter().flat_map(|row| [row.system.as_str(), row.output.as_str()]);
    Tokenizer::train(texts, 400, &["<s>", "</s>"])
        .unwrap()
        .save(folder.path().join("tokenizer.json"))
        .unwrap();

    let pack =
        ["pack", "train.jsonl", "--tokenizer", "tokenizer.json", "--out", "tokens", "--capacity", "512"];
    let (first, again) = (done(folder.path(), &pack), done(folder.path(), &pack));
    assert_eq!(
        (&first["rows"], &first["reused"], &again["reused"]),
        (&json!(50), &json!(false), &json!(true))
    );
    assert_eq!((&first["tokens"], &first["fingerprint"]), (&again["tokens"], &again["fingerprint"]));
    write_all(folder.path().join("train.jsonl"), &rows[1..]).unwrap();
    let changed = done(folder.path(), &pack);
    assert_eq!((&changed["rows"], &changed["reused"]), (&json!(49), &json!(false)));
    assert_ne!(changed["fingerprint"], first["fingerprint"]);
}

#[test]
fn the_pairs_flag_packs_both_answers_and_counts_rows_without_a_pair() {
    let folder = tempfile::tempdir().unwrap();
    let pairs = Mini::new(0).pairs(20);
    let mut rows: Vec<Value> = pairs.iter().map(|pair| json!({ "messages": pair.chosen })).collect();
    rows.extend(pairs[..15].iter().map(|pair| {
        let (chosen, rejected) = (&pair.chosen[1..], &pair.rejected[1..]);
        json!({ "input": { "messages": &pair.chosen[..1] }, "preferred_output": chosen, "non_preferred_output": rejected })
    }));
    write_all(folder.path().join("rows.jsonl"), &rows).unwrap();
    let texts = pairs.iter().map(|pair| pair.chosen[1].content.as_str());
    Tokenizer::train(texts, 400, &["<s>", "</s>"])
        .unwrap()
        .save(folder.path().join("tokenizer.json"))
        .unwrap();
    let pack = ["pack", "rows.jsonl", "--from", "openai", "--tokenizer", "tokenizer.json", "--out", "tokens"];
    let with_pairs = [&pack[..], &["--pairs"]].concat();
    let better = done(folder.path(), &pack);
    assert_eq!(
        (&better["rows"], &better["pairs"], &better["left_out"]),
        (&json!(35), &json!(false), &json!(0))
    );
    let (both, again) = (done(folder.path(), &with_pairs), done(folder.path(), &with_pairs));
    assert_eq!((&both["rows"], &both["pairs"], &both["left_out"]), (&json!(30), &json!(true), &json!(20)));
    assert_eq!((&both["reused"], &again["reused"]), (&json!(false), &json!(true)));
}

#[test]
fn a_dry_run_of_construct_counts_the_requests() {
    let folder = tempfile::tempdir().unwrap();
    write_all(
        folder.path().join("instructions.jsonl"),
        &[json!({ "id": 0, "prompt": "Name three rivers of Africa." })],
    )
    .unwrap();
    let arguments = [
        "construct",
        "--instructions",
        "instructions.jsonl",
        "--model",
        "model.gguf",
        "--out",
        "collection",
        "--dry-run",
    ];
    let priced = done(folder.path(), &arguments);
    // Four lists of preferences, three system messages, three responses.
    assert_eq!((&priced["instructions"], &priced["requests"]), (&json!(1), &json!(10)));
    let one = done(folder.path(), &[&arguments[..], &["--sets", "1"]].concat());
    assert_eq!(one["requests"], json!(4 + 1 + 1));
    // The instruction of another benchmark has rubrics too: three for each of the four dimensions.
    write_all(folder.path().join("bench.jsonl"), &[json!({ "id": 0, "prompt": "Name a lake." })]).unwrap();
    let bench = ["--bench-instructions", "bench.jsonl", "--bench-share", "0"];
    let both = done(folder.path(), &[&arguments[..], &bench].concat());
    assert_eq!((&both["instructions"], &both["requests"]), (&json!(2), &json!(2 * 10 + 12)));
    assert!(!fs::exists(folder.path().join("collection")).unwrap());
}

#[test]
fn a_bench_pool_takes_an_instruction_from_the_first_set_that_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, rows: &[Value]| write_all(folder.path().join(name), rows).unwrap();
    write("koala.jsonl", &[json!({ "prompt": "Why is the sky blue?" }), json!({ "prompt": "What is tea?" })]);
    write(
        "mt.jsonl",
        &[
            json!({ "question_id": 1, "category": "a", "turns": ["why is  the sky blue?", "And?"] }),
            json!({ "question_id": 2, "category": "a", "turns": ["Name a lake.", "And?"] }),
        ],
    );
    let sets =
        ["bench-pool", "--set", "koala=koala.jsonl", "--set", "mt-bench=mt.jsonl", "--out", "pool.jsonl"];
    let report = done(folder.path(), &sets);
    assert_eq!((&report["rows"], &report["pool"]), (&json!(3), &json!(3)));
    assert_eq!(
        report["sets"][1],
        json!({ "set": "mt-bench", "counts": { "given": 2, "repeated": 0, "taken": 1, "kept": 1 } })
    );
    let rows: Vec<Value> = read_all(folder.path().join("pool.jsonl")).unwrap();
    let lake = rows.iter().find(|row| row["prompt"] == "Name a lake.").unwrap();
    assert_eq!(lake["main_source"], "mt-bench");
    assert_eq!(done(folder.path(), &[&sets[..], &["--limit", "2"]].concat())["rows"], 2);
    // A set outside the paper's five was counted as FLASK's.
    let other = ["bench-pool", "--set", "hh-rlhf=koala.jsonl", "--out", "pool.jsonl"];
    let (code, error, _) = data(folder.path(), &other);
    assert!(code == 2 && error["error"].as_str().unwrap().contains("expected one of alpaca-eval"), "{error}");
}

#[test]
fn mini_is_written_the_same_each_time_in_both_formats() {
    let folder = tempfile::tempdir().unwrap();
    let build = |out: &str, more: &[&str]| {
        done(
            folder.path(),
            &[
                &[
                    "build-mini",
                    "--out",
                    out,
                    "--rows",
                    "60",
                    "--pairs",
                    "20",
                    "--helpful",
                    "30",
                    "--questions",
                    "4",
                ][..],
                more,
            ]
            .concat(),
        )
    };
    let report = build("one", &[]);
    assert_eq!(report["rows"], json!({ "train": 60, "pairs": 20, "helpful": 30, "dev": 12, "bench": 12 }));
    build("two", &[]);
    build("other", &["--seed", "1", "--distinct", "3"]);
    build("parquet", &["--format", "parquet"]);
    for name in ["train", "pairs", "helpful", "dev", "bench"] {
        let bytes = |out: &str| fs::read(folder.path().join(out).join(format!("{name}.jsonl"))).unwrap();
        assert_eq!(bytes("one"), bytes("two"), "{name}");
        assert_ne!(bytes("one"), bytes("other"), "{name}");
        for file in [format!("parquet/{name}.parquet"), format!("one/{name}.jsonl")] {
            let validated = done(folder.path(), &["validate", &file]);
            assert_eq!(validated["valid"], json!(true), "{file}: {validated}");
        }
    }
    let rows: Vec<janus_core::SftRecord> = read_all(folder.path().join("other/train.jsonl")).unwrap();
    let systems: std::collections::BTreeSet<&str> = rows.iter().map(|row| row.system.as_str()).collect();
    assert_eq!(systems.len(), 3);
    assert_eq!(data(folder.path(), &["build-mini", "--out", "x", "--distinct", "0"]).0, 2);
}

#[test]
fn a_file_of_the_hub_is_fetched_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Stub::start(|received| {
        assert_eq!(received.header("authorization"), Some("Bearer hf_secret"));
        match received.path.as_str() {
            "/v1/datasets/owner/set/resolve/v2/data/rows.jsonl" => Reply {
                headers: vec![("etag", "\"9e26dfeeb6e641a33dae4961196235bdb965b21b\"".into())],
                ..Reply::status(200, "{}")
            },
            _ => Reply::status(404, ""),
        }
    });
    let fetch = |path: &str, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_janus"));
        command
            .args(["data", "fetch", "owner/set", path, "--revision", "v2", "--out", "rows.jsonl", "--json"])
            .args(more);
        let output = command
            .current_dir(folder.path())
            .env("HF_ENDPOINT", hub.url())
            .env("HF_TOKEN", "hf_secret")
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!stderr.contains("hf_secret"), "{stderr}");
        (output.status.code().unwrap(), serde_json::from_slice::<Value>(&output.stdout).unwrap(), stderr)
    };
    let other = "0".repeat(64);
    for (path, more, cause) in [
        ("data/none.jsonl", &[][..], "owner/set/data/none.jsonl: the server answered 404"),
        (
            "data/rows.jsonl",
            &["--sha256", &other],
            "SHA-256 44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a, expected 0000",
        ),
    ] {
        let (code, object, stderr) = fetch(path, more);
        assert!(code == 1 && stderr.contains(cause) && object["error"].is_string(), "{code} {stderr}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{path}");
    }
    let (code, object, stderr) = fetch("data/rows.jsonl", &[]);
    assert_eq!((code, &object["bytes"], &object["checked"]), (0, &json!(2), &json!(true)), "{stderr}");
    assert_eq!(fs::read_to_string(folder.path().join("rows.jsonl")).unwrap(), "{}");
}
