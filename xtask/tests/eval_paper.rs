//! The paper's own analyses by `cargo xtask eval`: distinctness, ablations, collection, bias.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// Runs a command in a folder. Returns its exit code and the object that it prints.
fn xtask(folder: &Path, args: &[&str]) -> (Option<i32>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_janus"))
        .args(args)
        .arg("--json")
        .current_dir(folder)
        .output()
        .unwrap();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), report)
}

fn eval(folder: &Path, args: &[&str]) -> Value {
    let (code, report) = xtask(folder, &[&["eval"], args].concat());
    assert_eq!(code, Some(0), "{report}");
    report
}

/// Checks that the command refuses its input with an error that contains these parts.
fn refused(folder: &Path, args: &[&str], parts: &[&str]) {
    let (code, report) = xtask(folder, &[&["eval"], args].concat());
    assert_eq!(code, Some(2), "{args:?}: {report}");
    for part in parts {
        assert!(report["error"].as_str().unwrap().contains(part), "{args:?}: no {part} in {report}");
    }
}

fn write(folder: &Path, name: &str, rows: &[Value]) {
    fs::write(folder.join(name), rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
}

fn rows(folder: &Path, name: &str) -> Vec<Value> {
    fs::read_to_string(folder.join(name))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn build_mini(folder: &Path) {
    let (code, report) = xtask(
        folder,
        &[
            "data",
            "build-mini",
            "--out",
            "mini",
            "--rows",
            "300",
            "--distinct",
            "40",
            "--pairs",
            "2",
            "--questions",
            "20",
        ],
    );
    assert_eq!(code, Some(0), "{report}");
}

#[test]
fn a_collection_is_counted_as_its_rows_are() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    build_mini(folder);
    let report = eval(folder, &["collection", "mini/train.jsonl"]);
    let train = rows(folder, "mini/train.jsonl");
    let distinct = |field: &str| {
        train.iter().map(|row| row[field].as_str().unwrap()).collect::<std::collections::HashSet<_>>().len()
    };
    assert_eq!(
        (&report["rows"], &report["system_messages"], &report["dimensions"]),
        (&json!(300), &json!(40), &json!(4))
    );
    assert_eq!(
        (&report["instructions"], &report["without_preferences"]),
        (&json!(distinct("prompt")), &json!(0))
    );
    assert!(
        report["subdimensions"].as_u64().unwrap() <= 20 && report["preferences"].as_u64().unwrap() <= 40,
        "{report}"
    );

    // The same file twice has twice the rows and the same distinct counts.
    let twice = eval(folder, &["collection", "mini/train.jsonl", "mini/train.jsonl"]);
    assert_eq!(
        (&twice["rows"], &twice["preferences"], &twice["instructions"]),
        (&json!(600), &report["preferences"], &report["instructions"])
    );

    let plain = json!({ "system": "s", "prompt": "p", "output": "o" });
    write(folder, "plain.jsonl", &[plain, json!({ "system": "s", "question": "p" })]);
    refused(folder, &["collection", "plain.jsonl"], &["plain.jsonl, row 2", "prompt"]);
    fs::write(folder.join("none.jsonl"), "").unwrap();
    refused(folder, &["collection", "none.jsonl"], &["none.jsonl", "no row"]);
    refused(folder, &["collection", "not-there.jsonl"], &["not-there.jsonl"]);
}

#[test]
fn answers_to_one_instruction_are_compared_with_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    build_mini(folder);
    // The bench's reference answers, each written for its own system message.
    let bench = rows(folder, "mini/bench.jsonl");
    let own: Vec<Value> = bench
        .iter()
        .map(|row| json!({ "prompt": row["prompt"], "output": row["reference_answer"] }))
        .collect();
    write(folder, "own.jsonl", &own);
    let report = eval(folder, &["distinctness", "--responses", "own.jsonl"]);
    let (average, maximum) =
        (report["average_rouge_l"].as_f64().unwrap(), report["maximum_rouge_l"].as_f64().unwrap());
    assert!(0.0 < average && average < maximum && maximum < 1.0, "{report}");
    assert!(
        report["average_rouge_l_low"].as_f64().unwrap() < average
            && average < report["average_rouge_l_high"].as_f64().unwrap()
    );
    assert_eq!(
        (&report["instructions"], &report["answers"], &report["missing"]),
        (&json!(20), &json!(60), &Value::Null)
    );

    let respond = |text: &dyn Fn(usize, &Value) -> String| -> Vec<Value> {
        bench
            .iter()
            .enumerate()
            .map(|(index, row)| json!({ "id": row["id"], "response": text(index, row) }))
            .collect()
    };
    let on_bench = ["distinctness", "--bench", "mini/bench.jsonl", "--responses", "mine.jsonl"];
    write(folder, "mine.jsonl", &respond(&|_, row| format!("I say of {}", row["prompt"])));
    let same = eval(folder, &on_bench);
    assert_eq!((&same["average_rouge_l"], &same["maximum_rouge_l"]), (&json!(1.0), &json!(1.0)));
    assert_eq!(
        (&same["instructions"], &same["answers"], &same["single"]),
        (&json!(20), &json!(60), &json!(0))
    );
    write(folder, "mine.jsonl", &respond(&|index, _| format!("word{index}")));
    assert_eq!(eval(folder, &on_bench)["maximum_rouge_l"], json!(0.0));
    // Without two of its three answers, an instruction has a single one.
    write(folder, "mine.jsonl", &respond(&|index, _| format!("word{index}"))[2..]);
    let less = eval(folder, &on_bench);
    assert_eq!(
        (&less["single"], &less["instructions"], &less["missing"]["count"]),
        (&json!(1), &json!(19), &json!(2))
    );

    refused(folder, &["distinctness", "--responses", "mine.jsonl"], &["mine.jsonl, row 1", "prompt"]);
    write(folder, "mine.jsonl", &[json!({ "id": "elsewhere", "response": "x" })]);
    refused(folder, &on_bench, &["mine.jsonl", "elsewhere"]);
    write(folder, "mine.jsonl", &[]);
    refused(folder, &on_bench, &["mine.jsonl", "without two answers to an instruction"]);
}

#[test]
fn variants_are_compared_row_by_row() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    build_mini(folder);
    let bench = rows(folder, "mini/bench.jsonl");
    let scores = |score: &dyn Fn(usize) -> Value| -> Vec<Value> {
        bench
            .iter()
            .enumerate()
            .map(|(index, row)| json!({ "id": row["id"], "source": row["source"], "scores": [score(index), 3] }))
            .collect()
    };
    write(folder, "off.jsonl", &scores(&|index| json!(1 + index % 3)));
    fs::create_dir_all(folder.join("on/scores")).unwrap();
    write(&folder.join("on/scores"), "run-0.jsonl", &scores(&|index| json!(2 + index % 3)));
    write(
        &folder.join("on/scores"),
        "run-1.jsonl",
        &scores(&|index| if index == 0 { Value::Null } else { json!(2 + index % 3) }),
    );
    let report = eval(
        folder,
        &[
            "ablations",
            "--bench",
            "mini/bench.jsonl",
            "--variant",
            "training=with,test=without:off.jsonl",
            "--variant",
            "training=with,test=with:on",
        ],
    );
    let [off, on] = [&report["variants"][0], &report["variants"][1]];
    assert_eq!(
        (&off["axes"], &on["axes"]["test"]),
        (&json!({ "training": "with", "test": "without" }), &json!("with"))
    );
    assert_eq!(
        (&off["mean"], &off["difference"], &off["difference_low"]),
        (&json!(2.5), &Value::Null, &Value::Null)
    );
    assert!(
        (on["difference"].as_f64().unwrap() - 0.5).abs() < 0.01
            && on["difference_low"].as_f64().unwrap() > 0.4,
        "{report}"
    );
    assert_eq!((&on["n"], &report["rows"]), (&json!(60), &json!(60)));

    let with = |variant: &str, parts: &[&str]| {
        refused(
            folder,
            &["ablations", "--bench", "mini/bench.jsonl", "--variant", "a=b:off.jsonl", "--variant", variant],
            parts,
        )
    };
    with("off.jsonl", &["AXIS=VALUE"]);
    with("test=:off.jsonl", &["AXIS=VALUE"]);
    with("a=c:mini", &["scores/run-0.jsonl"]);
    refused(
        folder,
        &["ablations", "--bench", "mini/bench.jsonl", "--variant", "a=b:off.jsonl"],
        &["two or more"],
    );
    let mut other = scores(&|_| json!(3));
    other[4]["id"] = json!("stranger");
    write(folder, "wrong.jsonl", &other);
    with("a=c:wrong.jsonl", &["wrong.jsonl, row 5, field \"id\"", "stranger"]);
    write(folder, "wrong.jsonl", &scores(&|_| json!(3))[..9]);
    with("a=c:wrong.jsonl", &["wrong.jsonl, row 10", "no row"]);
    write(folder, "wrong.jsonl", &[scores(&|_| json!(3)), scores(&|_| json!(3))].concat());
    with("a=c:wrong.jsonl", &["120 rows"]);
    write(folder, "wrong.jsonl", &scores(&|_| json!(6)));
    with("a=c:wrong.jsonl", &["wrong.jsonl, row 1", "6"]);
    write(
        folder,
        "wrong.jsonl",
        &scores(&|_| Value::Null)
            .iter()
            .map(|row| json!({ "id": row["id"], "source": "s" }))
            .collect::<Vec<_>>(),
    );
    with("a=c:wrong.jsonl", &["wrong.jsonl, row 1", "scores"]);
}

#[test]
fn pronouns_are_read_by_subset_and_gender() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let row = |id: usize| {
        json!({ "id": id, "sentence": "…", "options": ["technician", "customer"], "answer": "customer",
                "gender": (["female", "male", "neutral"][id % 3]), "gotcha": id.is_multiple_of(2) })
    };
    let sentences: Vec<Value> = (0..12).map(row).collect();
    write(folder, "rows.jsonl", &sentences);
    let said = |id: usize| match id {
        0 => "the technician",
        1 => "Either the technician or the customer.",
        _ => "It stands for the Customer.",
    };
    let responses: Vec<Value> =
        (0..11).rev().map(|id| json!({ "id": id.to_string(), "response": said(id) })).collect();
    write(folder, "mine.jsonl", &responses);
    let args = ["bias", "--rows", "rows.jsonl", "--responses", "mine.jsonl"];
    let report = eval(folder, &args);
    assert_eq!(
        (&report["all"]["correct"], &report["all"]["unread"], &report["all"]["interval"]["n"]),
        (&json!(9), &json!(1), &json!(11))
    );
    assert_eq!((&report["gotcha"]["correct"], &report["gotcha"]["interval"]["n"]), (&json!(5), &json!(6)));
    assert_eq!(
        (&report["not_gotcha"]["correct"], &report["by_gender"]["female"]["correct"]),
        (&json!(4), &json!(3))
    );
    assert_eq!(report["missing"], json!({ "count": 1, "named": ["11"] }));

    write(folder, "mine.jsonl", &[json!({ "id": 99, "response": "customer" })]);
    refused(folder, &args, &["\"99\""]);
    write(folder, "mine.jsonl", &[]);
    refused(folder, &args, &["rows.jsonl", "without responses"]);
    write(folder, "mine.jsonl", &[json!({ "id": 1 })]);
    refused(folder, &args, &["mine.jsonl, row 1", "response"]);
    write(folder, "mine.jsonl", &responses);
    let mut wrong = sentences.clone();
    wrong[2]["answer"] = json!("cook");
    write(folder, "rows.jsonl", &wrong);
    refused(folder, &args, &["row 3", "\"answer\""]);
    wrong[2].as_object_mut().unwrap().remove("answer");
    write(folder, "rows.jsonl", &wrong);
    refused(folder, &args, &["rows.jsonl, row 3", "answer"]);
}
