//! The judges without rubrics from end to end: the built program, HTTP, whole run folders.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::stub::{Received, Reply, Stub};

const NASTY: &str = "<script>document.title = 'owned'</script>";

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

/// Runs a command of `judge` against a stub.
fn judge(folder: &Path, stub: &Stub, args: &[&str]) -> (Option<i32>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_janus"))
        .arg("judge")
        .args(args)
        .args(["--judge", "stub", "--longest-pause", "0.02", "--json"])
        .current_dir(folder)
        .env("OPENAI_BASE_URL", stub.url())
        .env("OPENAI_API_KEY", "sk-very-secret")
        .output()
        .unwrap();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), report)
}

fn write(folder: &Path, name: &str, rows: &[Value]) {
    fs::write(folder.join(name), rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
}

fn read(folder: &Path, name: &str) -> Vec<Value> {
    fs::read_to_string(folder.join(name))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Whether the request has the text of `mine` before that of `other`.
fn mine_first(received: &Received) -> bool {
    let text = received.last_message();
    text.find("mine says").unwrap() < text.find("other says").unwrap()
}

/// Four questions of MT-Bench, with the answers of two models and references.
fn write_mt_bench(folder: &Path) {
    let questions = [(81, "writing"), (91, "roleplay"), (101, "reasoning"), (111, "math")];
    let ask = |(id, category): (u32, &str)| json!({ "question_id": id, "category": category, "turns": [format!("first of {id}"), format!("second of {id}")] });
    write(folder, "q.jsonl", &questions.map(ask));
    let answers = |name: &str| {
        questions.map(|(id, _)| json!({ "question_id": id, "choices": [{ "index": 0, "turns": [format!("{name} says one to {id} {NASTY}"), format!("{name} says two to {id}")] }] }))
    };
    write(folder, "mine.jsonl", &answers("mine"));
    write(folder, "other.jsonl", &answers("other"));
    write(folder, "r.jsonl", &answers("reference")[2..]);
}

const PAIRS: [&str; 13] = [
    "mt-bench",
    "--questions",
    "q.jsonl",
    "--answers",
    "mine.jsonl",
    "--opponent",
    "other.jsonl",
    "--references",
    "r.jsonl",
    "--out",
    "pairs",
    "--name",
    "janus",
];

/// Checks that a run folder is complete, and that repeating its command sends nothing and writes the
/// same bytes.
fn assert_whole(folder: &Path, stub: &Stub, args: &[&str], out: &str, inputs: &[&str]) {
    let results = ["judged.json", "rows.jsonl", "report.html", "report.md", "report.json"]
        .map(|name| folder.join(out).join(name));
    let before =
        results.each_ref().map(|path| fs::read(path).unwrap_or_else(|_| panic!("{}", path.display())));
    let received = stub.received();
    judge(folder, stub, args);
    assert_eq!(stub.received(), received, "a request is sent twice");
    assert_eq!(results.each_ref().map(|path| fs::read(path).unwrap()), before, "{out}");

    let result: Value = serde_json::from_slice(&before[0]).unwrap();
    assert_eq!((&result["format"], &result["version"]), (&json!("janus-run"), &json!(2)));
    assert_eq!(result["settings"]["judge"], "stub");
    assert_eq!(result["settings"]["prompts"][0]["fingerprint"].as_str().unwrap().len(), 16);
    for count in ["calls", "answered", "parsed", "failed"] {
        assert!(result["counts"][count].is_u64(), "{count} in {result}");
    }
    let text = String::from_utf8_lossy(&before[0]).into_owned();
    assert!(
        !text.contains(folder.to_str().unwrap()) && !text.contains("127.0.0.1"),
        "a result contains a path or an address: {text}"
    );
    let page = String::from_utf8_lossy(&before[2]).into_owned();
    assert_eq!(page.matches("<script").count(), 1, "the page's own");

    let record: Value =
        serde_json::from_slice(&fs::read(folder.join(out).join("run.json")).unwrap()).unwrap();
    for key in ["program", "folder", "begun", "ended", "service"] {
        assert!(!record[key].is_null(), "{key} in {record}");
    }
    assert_eq!(
        (&record["config"]["service"]["judge"], &record["asked_now"]["requests"]),
        (&json!("stub"), &json!(0))
    );
    assert_eq!(
        (&record["config"]["service"]["extensions"], &record["extensions_known"]),
        (&json!("ask"), &Value::Null)
    );
    for name in inputs {
        assert_eq!(record["inputs"][name]["blake3"].as_str().unwrap().len(), 64, "{name}");
    }
    for path in walk(&folder.join(out)) {
        assert!(!fs::read_to_string(&path).unwrap().contains("sk-very-secret"), "{}", path.display());
    }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn mt_bench_pairs_are_judged_in_both_orders_and_eval_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_mt_bench(folder);
    // 81 wins in both orders; 91 depends on the order; 101 and 111 lose, and the second turn of 111 has
    // no verdict.
    let decided = Arc::new(AtomicBool::new(false));
    let is_decided = decided.clone();
    let stub = Stub::start(move |received| {
        let (text, first) = (received.last_message(), mine_first(received));
        let label = |mine_is_better: bool| if mine_is_better == first { "[[A]]" } else { "[[B]]" };
        Reply::text(&match () {
            () if is_decided.load(Ordering::Relaxed) => "[[C]]".into(),
            () if text.contains("to 81") => format!("{} {NASTY}", label(true)),
            () if text.contains("to 91") => "[[A]]".into(),
            () if text.contains("two to 111") => "I cannot say.".into(),
            () => label(false).into(),
        })
    });
    let (code, dry) = judge(folder, &stub, &[&PAIRS[..], &["--dry-run"]].concat());
    assert_eq!((code, &dry["estimate"]["calls"], stub.received()), (Some(0), &json!(16), 0), "{dry}");

    let (code, report) = judge(folder, &stub, &PAIRS);
    assert_eq!(
        (code, &report["counts"]["calls"], &report["counts"]["failed"]),
        (Some(1), &json!(16), &json!(2)),
        "{report}"
    );
    let score = &report["score"];
    assert_eq!((&score["win"], &score["tie"], &score["loss"]), (&json!(2), &json!(2), &json!(3)), "{report}");
    let all = &report["result"]["all"];
    assert_eq!(
        (&all["outcomes"], &all["n"], &all["missing"]),
        (&json!({ "win": 2, "tie": 2, "loss": 3 }), &json!(7), &json!(1))
    );
    assert_eq!((&all["mean"], &score["win_rate_adjusted"]), (&json!(3.0 / 7.0), &json!(3.0 / 7.0)));
    assert_eq!(report["result"]["flip_rate"], report["flip_rate"]);
    assert_eq!(report["result"]["first_position_share"], report["first_position_share"]);

    let pairs = read(folder, "pairs/pairs.jsonl");
    assert_eq!(pairs.len(), 8);
    assert_eq!(
        (&pairs[0]["model_1"], &pairs[0]["model_2"], &pairs[7]["g1_winner"]),
        (&json!("janus"), &json!("other"), &json!("error"))
    );
    assert_eq!((&pairs[2]["g1_winner"], &pairs[2]["g2_winner"]), (&json!("model_1"), &json!("model_2")));
    let prompt = |row: usize| pairs[row]["judge"][1].as_str().unwrap();
    assert_eq!(
        [prompt(0), prompt(1), prompt(6), prompt(7)].map(|id| id.split('/').next().unwrap()),
        ["janus-pair", "janus-pair-turns", "janus-pair-reference", "janus-pair-turns-reference"]
    );
    let (code, table) =
        xtask(folder, &["eval", "mt-bench-pairs", "--judgments", "pairs/pairs.jsonl", "--baseline", "other"]);
    assert_eq!((code, &table["rows"], &table["failed"]), (Some(0), &json!(8), &json!(1)), "{table}");
    assert_eq!(
        (&table["models"][0]["model"], &table["models"][0]["win_rate_adjusted"]),
        (&json!("janus"), &json!(3.0 / 7.0))
    );

    // Missing verdicts are requested again, and then the folder is complete.
    decided.store(true, Ordering::Relaxed);
    let before = stub.received();
    assert_eq!((judge(folder, &stub, &PAIRS).0, stub.received() - before), (Some(0), 2));
    assert_whole(folder, &stub, &PAIRS, "pairs", &["questions", "answers", "references", "opponent"]);
    let markdown = fs::read_to_string(folder.join("pairs/report.md")).unwrap();
    for part in [
        "janus against other",
        "MT-Bench pairs by category",
        "other shown first",
        "reference answer",
        "| math |",
    ] {
        assert!(markdown.contains(part), "{part}: {markdown}");
    }

    // Answers that do not fit the questions.
    let mut short = read(folder, "other.jsonl");
    short[1]["choices"][0]["turns"] = json!(["one"]);
    write(folder, "other.jsonl", &short);
    let (code, report) = judge(folder, &stub, &PAIRS);
    assert_eq!(code, Some(2));
    assert!(report["error"].as_str().unwrap().contains("question 91: 2 turns, 2 and 1 answers"), "{report}");
    write(folder, "other.jsonl", &short[2..]);
    assert!(
        judge(folder, &stub, &PAIRS).1["error"]
            .as_str()
            .unwrap()
            .contains("other.jsonl: no answer to question 81")
    );
    let (code, report) = judge(folder, &stub, &[&PAIRS[..], &["--opponent-name", "janus"]].concat());
    assert_eq!(code, Some(2));
    assert!(report["error"].as_str().unwrap().contains("both models are named janus"), "{report}");
    assert_eq!(stub.received(), before + 2);
}

#[test]
fn grades_are_averaged_by_turn() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_mt_bench(folder);
    // First turns get 9, 7, 5, 3, second ones half of that, rounded up.
    let grade = |text: &str| {
        let first = [(81, 9), (91, 7), (101, 5), (111, 3)]
            .into_iter()
            .find(|(id, _)| text.contains(&format!("of {id}")))
            .unwrap()
            .1;
        if text.contains("second of") { (first + 1) / 2 } else { first }
    };
    let stub = Stub::start(move |received| {
        Reply::text(&format!("Fine. Rating: [[{}]]", grade(received.last_message())))
    });
    let args = [
        "mt-bench",
        "--questions",
        "q.jsonl",
        "--answers",
        "mine.jsonl",
        "--references",
        "r.jsonl",
        "--out",
        "run",
        "--name",
        "janus",
    ];
    let (code, report) = judge(folder, &stub, &args);
    assert_eq!((code, &report["counts"]["parsed"]), (Some(0), &json!(8)), "{report}");
    let result = &report["result"];
    assert_eq!(
        (&result["turns"]["1"]["mean"], &result["turns"]["2"]["mean"], &result["all"]["mean"]),
        (&json!(6.0), &json!(3.5), &json!(4.75))
    );
    assert_eq!(result["model"], "janus");
    let markdown = fs::read_to_string(folder.join("run/report.md")).unwrap();
    assert!(markdown.contains("not comparable with the paper's Table 3"), "{}", &markdown[..2000]);
    assert_eq!(markdown.matches("### Example").count(), 4, "the turns of a question are one example");
}

#[test]
fn mt_bench_pairs_go_through_a_batch() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_mt_bench(folder);
    let stub = Stub::start(|_| Reply::text("not to be sent"));
    let (code, report) = judge(folder, &stub, &[&PAIRS[..], &["--batch-out", "batch.jsonl"]].concat());
    assert_eq!((code, &report["calls"]), (Some(0), &json!(16)), "{report}");
    let answer = |request: &Value| {
        let body = json!({ "choices": [{ "index": 0, "message": { "content": "[[C]]" }, "finish_reason": "stop" }] });
        json!({ "custom_id": request["custom_id"], "response": { "status_code": 200, "body": body }, "error": null })
    };
    write(folder, "answers.jsonl", &read(folder, "batch.jsonl").iter().map(answer).collect::<Vec<_>>());
    let (code, report) = judge(folder, &stub, &[&PAIRS[..], &["--batch-in", "answers.jsonl"]].concat());
    assert_eq!((code, &report["score"]["tie"], stub.received()), (Some(0), &json!(8), 0), "{report}");
    // The same file once more: it was refused as the answers to another batch.
    let (code, again) = judge(folder, &stub, &[&PAIRS[..], &["--batch-in", "answers.jsonl"]].concat());
    assert_eq!((code, &again["score"], stub.received()), (Some(0), &report["score"], 0), "{again}");
}

/// Prompts in MT-Bench's own layout: each turn and category uses its prompt, filled exactly.
#[test]
fn pair_prompts_of_a_file_are_filled_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_mt_bench(folder);
    let prompt = |name: &str, template: &str| json!({ "name": name, "type": "pairwise", "system_prompt": format!("{name}: be fair"), "prompt_template": template });
    let prompts = [
        prompt("pair-v2", "Q {question}\nA {answer_a}\nB {answer_b}"),
        prompt("pair-math-v1", "Q {question}\nR {ref_answer_1}\nA {answer_a}\nB {answer_b}"),
        prompt(
            "pair-v2-multi-turn",
            "A: {question_1} {answer_a_1} {question_2} {answer_a_2}\nB: {question_1} {answer_b_1} {question_2} {answer_b_2}",
        ),
        prompt(
            "pair-math-v1-multi-turn",
            "R: {question_1} {ref_answer_1} {question_2} {ref_answer_2}\nA: {answer_a_1} {answer_a_2}\nB: {answer_b_1} {answer_b_2}",
        ),
    ];
    write(folder, "prompts.jsonl", &prompts);
    let stub = Stub::start(|_| Reply::text("[[C]]"));
    let more = ["--judge-prompt", "prompts.jsonl", "--batch-out", "batch.jsonl"];
    assert_eq!(judge(folder, &stub, &[&PAIRS[..], &more].concat()).0, Some(0));
    let requests = read(folder, "batch.jsonl");
    let text = |name: &str, turn: usize, id: usize| match name {
        "question" => format!("{} of {id}", ["first", "second"][turn]),
        "ref" if turn == 0 => format!("reference says one to {id} {NASTY}"),
        _ if turn == 0 => format!("{name} says one to {id} {NASTY}"),
        "ref" => format!("reference says two to {id}"),
        _ => format!("{name} says two to {id}"),
    };
    for (at, id, turn, name) in [
        (0, 81, 0, "pair-v2"),
        (2, 81, 1, "pair-v2-multi-turn"),
        (8, 101, 0, "pair-math-v1"),
        (10, 101, 1, "pair-math-v1-multi-turn"),
    ] {
        let template = prompts.iter().find(|prompt| prompt["name"] == name).unwrap();
        for (swapped, [a, b]) in [["mine", "other"], ["other", "mine"]].into_iter().enumerate() {
            let mut filled = template["prompt_template"].as_str().unwrap().to_string();
            if turn == 0 {
                for (slot, value) in [
                    ("{question}", text("question", 0, id)),
                    ("{answer_a}", text(a, 0, id)),
                    ("{answer_b}", text(b, 0, id)),
                    ("{ref_answer_1}", text("ref", 0, id)),
                ] {
                    filled = filled.replace(slot, &value);
                }
            } else {
                for turn in 0..2 {
                    for (slot, value) in
                        [("question", "question"), ("answer_a", a), ("answer_b", b), ("ref_answer", "ref")]
                    {
                        filled = filled.replace(&format!("{{{slot}_{}}}", turn + 1), &text(value, turn, id));
                    }
                }
            }
            let messages = &requests[at + swapped]["body"]["messages"];
            assert_eq!(
                (messages[0]["content"].as_str(), &messages[1]["content"]),
                (template["system_prompt"].as_str(), &json!(filled)),
                "{name}"
            );
        }
    }
}

#[test]
fn every_judge_writes_a_complete_folder_and_a_report_compares_them_all() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_mt_bench(folder);
    let stub = Stub::start(|received| {
        if received.body["top_logprobs"] == 5 {
            let token = |token: &str, p: f64| json!({ "token": token, "logprob": p.ln(), "bytes": null });
            let top = if mine_first(received) {
                [token("m", 0.75), token("M", 0.25)]
            } else {
                [token("m", 0.25), token("M", 0.75)]
            };
            let choice = json!({ "index": 0, "message": { "content": "m" }, "finish_reason": "length",
                                 "logprobs": { "content": [{ "token": "m", "logprob": -0.1, "bytes": null, "top_logprobs": top }] } });
            return Reply::status(200, json!({ "choices": [choice] }).to_string());
        }
        let text = received.last_message();
        Reply::text(&match () {
            () if text.contains("###Response to evaluate") => "Feedback: well. [RESULT] 4".into(),
            () if text.contains("<|User Prompt|>") => {
                format!("{} {NASTY}", if mine_first(received) { "[[A>>B]]" } else { "[[A=B]]" })
            }
            () if text.contains("other says") => {
                format!("{} {NASTY}", if mine_first(received) { "[[A]]" } else { "[[B]]" })
            }
            () => format!("{NASTY} Rating: [[{}]]", if text.contains("two to") { 6.5 } else { 9.0 }),
        })
    });

    let grades = [
        "mt-bench",
        "--questions",
        "q.jsonl",
        "--answers",
        "mine.jsonl",
        "--references",
        "r.jsonl",
        "--out",
        "grades",
    ];
    let (code, report) = judge(folder, &stub, &grades);
    assert_eq!(
        (code, &report["result"]["all"]["mean"], &report["grades"]["average"]),
        (Some(0), &json!(7.75), &json!(7.75)),
        "{report}"
    );
    assert_eq!(
        (&report["result"]["turns"]["2"]["mean"], &report["result"]["categories"]["math"]["n"]),
        (&json!(6.5), &json!(2))
    );
    assert_whole(folder, &stub, &grades, "grades", &["questions", "answers", "references"]);

    let rows = |name: &str| -> Vec<Value> {
        let text = |id: usize| format!("{name} says {id} {NASTY}");
        (0..6)
            .map(|id| json!({ "question_id": id.to_string(), "cluster": (["a", "b"][id % 2]), "prompt": text(id), "answer": text(id) }))
            .collect()
    };
    write(folder, "aq.jsonl", &rows("question"));
    write(folder, "aa.jsonl", &rows("mine"));
    write(folder, "ab.jsonl", &rows("other"));
    let arena = [
        "arena-hard",
        "--questions",
        "aq.jsonl",
        "--answers",
        "aa.jsonl",
        "--baseline",
        "ab.jsonl",
        "--out",
        "arena",
    ];
    let (code, report) = judge(folder, &stub, &arena);
    assert_eq!((code, &report["model_wins"], &report["ties"]), (Some(0), &json!(18), &json!(6)), "{report}");
    assert_eq!((&report["result"]["all"]["mean"], &report["result"]["model"]), (&json!(0.875), &json!("aa")));
    assert_whole(folder, &stub, &arena, "arena", &["questions", "answers", "baseline"]);
    let (_, score) = xtask(folder, &["eval", "arena-hard", "--battles", "arena/battles.jsonl"]);
    assert_eq!(score["score"], json!(87.5));

    let row = |index: usize| json!({ "index": index, "instruction": format!("do {index}"), "reference_output": format!("other says {index}"), "output": if index == 0 { "other says 0".into() } else { format!("mine says {index} {NASTY}") } });
    write(folder, "set.jsonl", &(0..8).map(row).collect::<Vec<_>>());
    write(folder, "outputs.jsonl", &(0..7).map(row).collect::<Vec<_>>());
    let alpaca = ["alpaca-eval", "--eval-set", "set.jsonl", "--outputs", "outputs.jsonl", "--out", "alpaca"];
    let (code, report) = judge(folder, &stub, &alpaca);
    assert_eq!(
        (code, &report["n"], &report["result"]["missing"]["named"]),
        (Some(0), &json!(7), &json!(["7"])),
        "{report}"
    );
    assert!(
        (report["win_rate"].as_f64().unwrap() - 100.0 * report["result"]["all"]["mean"].as_f64().unwrap())
            .abs()
            < 1e-9
    );
    assert_eq!(report["result"]["all"]["outcomes"], json!({ "win": 6, "tie": 1, "loss": 0 }));
    assert_whole(folder, &stub, &alpaca, "alpaca", &["eval_set", "outputs"]);

    let anchors = json!({ "1": "no", "2": "hardly", "3": "partly", "4": "mostly", "5": "yes" });
    let record = |id: usize| {
        json!({ "id": id.to_string(), "source": (["koala", "flask"][id % 2]), "system": "s", "prompt": format!("p{}", id / 2),
                "reference_answer": "r", "rubrics": [{ "criteria": "c", "score_descriptions": anchors }] })
    };
    write(folder, "bench.jsonl", &(0..6).map(record).collect::<Vec<_>>());
    let responses = |name: &str| {
        (0..5)
            .map(|id| json!({ "id": id.to_string(), "response": format!("{name} says {id} {NASTY}") }))
            .collect::<Vec<_>>()
    };
    write(folder, "one.jsonl", &responses("mine"));
    write(folder, "two.jsonl", &responses("other"));
    let pairwise = [
        "pairwise",
        "--bench",
        "bench.jsonl",
        "--model",
        "one.jsonl",
        "--opponent",
        "two.jsonl",
        "--out",
        "pairwise",
    ];
    let (code, report) = judge(folder, &stub, &pairwise);
    assert_eq!(
        (code, &report["win"], &report["result"]["missing"]["count"]),
        (Some(0), &json!(5), &json!(1)),
        "{report}"
    );
    assert_eq!(report["result"]["categories"]["koala"]["outcomes"]["win"], json!(3));
    assert_whole(folder, &stub, &pairwise, "pairwise", &["bench", "model", "opponent"]);

    // All of them side by side, with a run against rubrics and a second run of one kind.
    let (code, _) = judge(
        folder,
        &stub,
        &["rubric", "--bench", "bench.jsonl", "--responses", "one.jsonl", "--runs", "1", "--out", "rubric"],
    );
    assert_eq!(code, Some(0), "a record without a response is missing, not failed");
    let record: Value =
        serde_json::from_str(&fs::read_to_string(folder.join("rubric/run.json")).unwrap()).unwrap();
    assert_eq!(
        (&record["config"]["protocol"]["runs"], &record["config"]["protocol"]["reader"]),
        (&json!(1), &json!("strict")),
        "{record}"
    );
    assert_eq!(record["inputs"]["responses"]["blake3"].as_str().unwrap().len(), 64);
    let again = [&pairwise[..7], &["--out", "again", "--name", "janus"]].concat();
    assert_eq!(judge(folder, &stub, &again).0, Some(0));
    let (code, report) = xtask(
        folder,
        &["report", "pairwise", "again", "grades", "arena", "alpaca", "rubric", "--out", "all"],
    );
    assert_eq!((code, report["runs"].as_array().unwrap().len()), (Some(0), 6), "{report}");
    let markdown = fs::read_to_string(folder.join("all/report.md")).unwrap();
    for part in [
        "# Judged runs",
        "## Scores",
        "## Pairs\n",
        "| one against two | 100.0 [",
        "| janus against two | 100.0 [",
        "## MT-Bench by category",
        "| mine | 7.750 [",
        "## Arena-Hard: how it was judged",
        "## AlpacaEval: answers",
    ] {
        assert!(markdown.contains(part), "{part}: {markdown}");
    }
    let (code, report) = xtask(folder, &["report", "pairwise", "--distinct", "16", "--out", "all"]);
    assert_eq!(code, Some(2));
    assert!(report["error"].as_str().unwrap().contains("--distinct"), "{report}");
    fs::write(folder.join("arena/rows.jsonl"), "").unwrap();
    let (code, report) = xtask(folder, &["report", "arena", "--out", "all"]);
    assert_eq!(code, Some(2));
    assert!(report["error"].as_str().unwrap().contains("rows.jsonl"), "{report}");
}

/// Run folders of version 0.1: repeating their commands sends no request, and writes the benchmarks'
/// files with the same bytes.
#[test]
fn judging_continues_in_folders_of_the_first_version_and_sends_nothing_twice() {
    let old = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../janus-eval/tests/fixtures/judged-0.1");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for path in walk(&old) {
        let copy = folder.join(path.strip_prefix(&old).unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(&path, copy).unwrap();
    }
    let stub = Stub::start(|_| Reply::text("not to be sent"));
    let mt_bench = [
        "mt-bench",
        "--questions",
        "questions.jsonl",
        "--answers",
        "mine.jsonl",
        "--references",
        "references.jsonl",
    ];
    let pairs = ["--opponent", "other.jsonl", "--name", "janus", "--out", "mt-bench-pairs"];
    let arena = [
        "arena-hard",
        "--questions",
        "arena_questions.jsonl",
        "--answers",
        "arena_mine.jsonl",
        "--baseline",
        "arena_other.jsonl",
    ];
    let pairwise = [
        "pairwise",
        "--bench",
        "bench.jsonl",
        "--model",
        "responses.jsonl",
        "--opponent",
        "responses_other.jsonl",
    ];
    let commands: [(Vec<&str>, &[&str]); 6] = [
        ([&mt_bench[..], &["--out", "mt-bench"]].concat(), &["mt-bench/judgments.jsonl"]),
        ([&mt_bench[..], &pairs].concat(), &["mt-bench-pairs/pairs.jsonl"]),
        ([&arena[..], &["--out", "arena-hard"]].concat(), &["arena-hard/battles.jsonl"]),
        (
            vec![
                "alpaca-eval",
                "--eval-set",
                "eval_set.jsonl",
                "--outputs",
                "outputs.jsonl",
                "--out",
                "alpaca-eval",
            ],
            &["alpaca-eval/annotations.jsonl"],
        ),
        (
            vec![
                "rubric",
                "--bench",
                "bench.jsonl",
                "--responses",
                "responses.jsonl",
                "--runs",
                "2",
                "--out",
                "rubric",
            ],
            &["rubric/judgments.jsonl", "rubric/scores/run-0.jsonl", "rubric/scores/run-1.jsonl"],
        ),
        ([&pairwise[..], &["--show-system", "--show-reference", "--out", "pairwise"]].concat(), &[]),
    ];
    for (command, files) in commands {
        let out = command[command.iter().position(|argument| *argument == "--out").unwrap() + 1];
        let before: Value =
            serde_json::from_slice(&fs::read(folder.join(out).join("judged.json")).unwrap()).unwrap();
        let (code, report) = judge(folder, &stub, &command);
        assert_eq!(stub.received(), 0, "{report}");
        // Two games and one preference have no verdict, and are not requested again.
        assert_eq!(code, Some(i32::from(["arena-hard", "alpaca-eval"].contains(&out))), "{report}");
        for field in [
            "counts",
            "missing",
            "all",
            "turns",
            "categories",
            "flip_rate",
            "first_position_share",
            "summary",
            "interval",
            "dimensions",
        ] {
            assert_eq!(report["result"][field], before[field], "{out}: {field}");
        }
        for file in files.iter().map(|file| file.to_string()).chain([format!("{out}/calls.jsonl")]) {
            assert_eq!(fs::read(folder.join(&file)).unwrap(), fs::read(old.join(&file)).unwrap(), "{file}");
        }
    }
}
