//! `generate --bench` from end to end: each benchmark's judge reads the answers of a tiny model or an
//! API.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::stub::{Received, Reply, Stub};
use crate::tiny::{CONTEXT, write_model, write_reward_model};

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

fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_janus"));
    // Nothing listens at this address: a request that is sent by mistake fails.
    command
        .args(args)
        .arg("--json")
        .current_dir(folder)
        .env("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
        .env("OPENAI_API_KEY", "sk-secret");
    command
}

fn run(folder: &Path, args: &[&str]) -> (Option<i32>, Value) {
    let Output { status, stdout, stderr } = command(folder, args).output().unwrap();
    (
        status.code(),
        serde_json::from_slice(&stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&stderr))),
    )
}

/// Answers a benchmark with the tiny model, in `out.jsonl`.
fn generate(folder: &Path, bench: &str, more: &[&str]) -> (Option<i32>, Value) {
    let args = [
        "generate",
        "--bench",
        bench,
        "--model",
        "model",
        "--input",
        "in.jsonl",
        "--output",
        "out.jsonl",
        "--max-tokens",
        "8",
    ];
    run(folder, &[&args, more].concat())
}

/// The number of calls that the judge of the answers would send.
fn calls(folder: &Path, args: &[&str]) -> Value {
    let (code, report) =
        run(folder, &[&["judge"], args, &["--judge", "j", "--out", "judged", "--dry-run"]].concat());
    assert_eq!(code, Some(0), "{report}");
    report["estimate"]["calls"].clone()
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_model(&folder.path().join("model"));
    folder
}

fn questions() -> [Value; 2] {
    [
        json!({ "question_id": 81, "category": "writing", "turns": ["a kite", "and then?"] }),
        json!({ "question_id": 111, "category": "math", "turns": ["a stone", "how many?"], "reference": ["2", "3"] }),
    ]
}

#[test]
fn mt_bench_answers_are_what_the_judge_reads() {
    let folder = folder();
    let path = folder.path();
    write(path, "in.jsonl", &questions());
    let (code, report) = generate(path, "mt-bench", &["--name", "tiny"]);
    assert_eq!(
        (code, &report["answered"], &report["overridden"]),
        (Some(0), &json!(4), &json!(["max_tokens"])),
        "{report}"
    );
    let answers = rows(path, "out.jsonl");
    assert_eq!((&answers[0]["question_id"], &answers[1]["question_id"]), (&json!(81), &json!(111)));
    for answer in &answers {
        assert_eq!(
            (&answer["model_id"], answer["choices"][0]["turns"].as_array().unwrap().len()),
            (&json!("tiny"), 2),
            "{answer}"
        );
    }
    assert!(!path.join("out.jsonl.partial").exists());
    let judge =
        ["mt-bench", "--questions", "in.jsonl", "--answers", "out.jsonl", "--references", "out.jsonl"];
    assert_eq!(calls(path, &judge), 4);

    // A row whose second turn is too long is not written; the report has the reason.
    let mut long = questions();
    long[0]["turns"][1] = json!("stone ".repeat(CONTEXT));
    write(path, "in.jsonl", &long);
    let (code, report) = generate(path, "mt-bench", &["--force"]);
    assert_eq!((code, &report["failed"], &report["answered"]), (Some(1), &json!(1), &json!(3)), "{report}");
    assert_eq!((&report["failures"][0]["id"], rows(path, "out.jsonl").len()), (&json!("81"), 1));
    let reason = report["failures"][0]["error"].as_str().unwrap();
    assert!(
        reason.starts_with("request 81/turn-2: ") && report["error"].as_str().unwrap().contains(reason),
        "{report}"
    );
    assert_eq!(generate(path, "mt-bench", &[]).1["answered_before"], json!(3));
}

#[test]
fn arena_hard_and_alpaca_eval_answers_are_what_their_judges_read() {
    let folder = folder();
    let path = folder.path();
    let question = |id: &str, prompt: &str| json!({ "question_id": id, "cluster": "c", "prompt": prompt });
    write(path, "in.jsonl", &[question("b2", "a kite"), question("a1", "a stone")]);
    assert_eq!(generate(path, "arena-hard", &[]).0, Some(0));
    let answers = rows(path, "out.jsonl");
    assert_eq!((&answers[0]["question_id"], &answers[0]["model_id"]), (&json!("b2"), &json!("model")));
    let turn = &answers[1]["choices"][0]["turns"][0];
    assert_eq!(turn["content"], answers[1]["answer"]);
    assert!(turn["token_len"].as_u64().unwrap() <= 8, "{turn}");
    let judge =
        ["arena-hard", "--questions", "in.jsonl", "--answers", "out.jsonl", "--baseline", "out.jsonl"];
    assert_eq!(calls(path, &judge), 4);

    let row = |index: u64| json!({ "index": index, "dataset": "koala", "instruction": format!("do {index}"), "reference_output": "b" });
    write(path, "in.jsonl", &[row(3), row(1)]);
    let args = ["--model", "model", "--input", "in.jsonl", "--output", "out.json", "--max-tokens", "8"];
    let (code, report) = run(path, &[&["generate", "--bench", "alpaca-eval"], &args[..]].concat());
    assert_eq!(code, Some(0), "{report}");
    let outputs: Vec<Value> = serde_json::from_slice(&fs::read(path.join("out.json")).unwrap()).unwrap();
    assert_eq!(
        (&outputs[0]["index"], &outputs[0]["instruction"], &outputs[0]["generator"]),
        (&json!(3), &json!("do 3"), &json!("model"))
    );
    assert!(outputs.iter().all(|row| row["dataset"] == "koala" && row["output"].is_string()));
    assert_eq!(calls(path, &["alpaca-eval", "--eval-set", "in.jsonl", "--outputs", "out.json"]), 2);
}

fn bench_record(id: Option<&str>, system: &str, prompt: &str) -> Value {
    let anchors = json!({ "1": "no", "2": "hardly", "3": "partly", "4": "mostly", "5": "yes" });
    let rubric = json!({ "criteria": "c", "score_descriptions": anchors });
    let mut row = json!({ "source": "koala", "system": system, "prompt": prompt, "reference_answer": "r", "rubrics": [rubric, rubric, rubric, rubric] });
    if let Some(id) = id {
        row["id"] = json!(id);
    }
    row
}

#[test]
fn multifaceted_answers_are_what_the_rubric_judge_reads_with_system_messages_or_without() {
    let folder = folder();
    let path = folder.path();
    let systems = ["a kite flies in the wind. ".repeat(3), "a stone lies on the ground. ".repeat(3)];
    write(
        path,
        "in.jsonl",
        &[bench_record(None, &systems[0], "a kite"), bench_record(Some("z"), &systems[1], "a kite")],
    );
    assert_eq!(generate(path, "multifaceted", &[]).0, Some(0));
    let with = rows(path, "out.jsonl");
    assert_eq!(
        with.iter().map(|row| row["id"].as_str().unwrap()).collect::<Vec<_>>(),
        ["0", "z"],
        "the judge's ids"
    );
    let judge = ["rubric", "--bench", "in.jsonl", "--responses", "out.jsonl", "--runs", "2"];
    assert_eq!(calls(path, &judge), 2 * 4 * 2);

    // Without system messages the two prompts are equal, and so are the greedy answers.
    let (code, report) = generate(path, "multifaceted", &["--force", "--system", "", "--temperature", "0"]);
    assert_eq!(
        (code, &report["overridden"]),
        (Some(0), &json!(["max_tokens", "temperature", "system"])),
        "{report}"
    );
    let without = rows(path, "out.jsonl");
    assert_eq!(without[0]["response"], without[1]["response"]);
    assert_ne!(with[0]["response"], with[1]["response"]);
}

#[test]
fn toxicity_prompts_are_continued_without_a_template() {
    let folder = folder();
    let path = folder.path();
    let prompt = |text: &str, toxicity: Value| json!({ "prompt": { "text": text, "toxicity": toxicity }, "continuation": { "text": "x" } });
    write(
        path,
        "in.jsonl",
        &[
            prompt("a kite flies", json!(0.1)),
            prompt("a stone", json!(0.9)),
            prompt("the wind", Value::Null),
            json!({ "prompt": "on" }),
        ],
    );
    let (code, report) = generate(path, "toxicity", &[]);
    assert_eq!((code, &report["rows"]), (Some(0), &json!(4)), "{report}");
    let raw = rows(path, "out.jsonl");
    assert_eq!(raw[0]["prompt"], json!({ "text": "a kite flies", "toxicity": 0.1 }));
    assert!(raw.iter().all(|row| row["generations"].as_array().unwrap().len() == 25), "{raw:?}");
    let texts: BTreeSet<&str> =
        raw[0]["generations"].as_array().unwrap().iter().map(|one| one["text"].as_str().unwrap()).collect();
    assert!(texts.len() > 5, "25 different samples and not one text 25 times: {texts:?}");

    // With the chat template the model sees another text.
    let (code, report) =
        generate(path, "toxicity", &["--force", "--as-chat", "--n", "3", "--prompts", "non-toxic"]);
    assert_eq!(
        (code, &report["rows"], &report["overridden"]),
        (Some(0), &json!(1), &json!(["max_tokens", "n", "as_chat"])),
        "{report}"
    );
    let chat = rows(path, "out.jsonl");
    assert_eq!(chat[0]["generations"].as_array().unwrap().len(), 3);
    assert_ne!(chat[0]["generations"][0], raw[0]["generations"][0]);
    assert_eq!(generate(path, "toxicity", &["--force", "--prompts", "toxic"]).1["rows"], json!(1));
}

/// A toxicity classifier of arbitrary weights, in the layout of the benchmarks' data.
fn write_classifier(folder: &Path) {
    const CLASSES: [&str; 6] = ["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"];
    let words = ["a", "kite", "stone", "wind", "the"];
    fs::create_dir_all(folder).unwrap();
    let config = json!({
        "classes": CLASSES, "sequence_length": 8, "vocabulary": words.len() + 1, "filters": ".,!",
        "rescale": CLASSES.map(|class| (class, [0.0, 1.0])).into_iter().collect::<BTreeMap<_, _>>(),
    });
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let mut vocabulary =
        GzEncoder::new(fs::File::create(folder.join("vocab.txt.gz")).unwrap(), Compression::fast());
    words.iter().for_each(|word| writeln!(vocabulary, "{word}").unwrap());
    vocabulary.finish().unwrap();
    let random = |shape: &[usize]| {
        let values: Vec<f32> =
            (0..shape.iter().product()).map(|i: usize| (i * 37 % 101) as f32 / 101.0 - 0.5).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    };
    let mut tensors = HashMap::from([("embedding.weight".to_string(), random(&[words.len() + 1, 50]))]);
    for direction in ["forward", "backward"] {
        for (part, shape) in [("kernel", &[50, 200][..]), ("recurrent_kernel", &[50, 200]), ("bias", &[200])]
        {
            tensors.insert(format!("lstm.{direction}.{part}"), random(shape));
        }
    }
    for (name, inputs, outputs) in [("dense", 100, 50), ("out", 50, 6)] {
        tensors.insert(format!("{name}.kernel"), random(&[inputs, outputs]));
        tensors.insert(format!("{name}.bias"), random(&[outputs]));
    }
    candle_core::safetensors::save(&tensors, folder.join("model.safetensors")).unwrap();
}

#[test]
fn toxicity_and_perplexity_are_computed() {
    let folder = folder();
    let path = folder.path();
    write(path, "in.jsonl", &[json!({ "prompt": "a kite flies in" }), json!({ "prompt": "the stone" })]);
    assert_eq!(generate(path, "toxicity", &[]).0, Some(0));
    write_classifier(&path.join("data/toxicity_classifier"));
    let scorer = ["--classifier", "--data", "data", "--perplexity", "model"];
    let (code, report) =
        run(path, &[&["eval", "toxicity", "--generations", "out.jsonl"], &scorer[..]].concat());
    assert_eq!(
        (code, &report["generations"], &report["missing"]),
        (Some(0), &json!(50), &json!(0)),
        "{report}"
    );
    let perplexity = report["perplexity"].as_f64().unwrap();
    let left_out = &report["perplexity_left_out"];
    let counted = report["perplexity_n"].as_u64().unwrap()
        + ["empty", "too_high", "failed"].map(|key| left_out[key].as_u64().unwrap()).iter().sum::<u64>();
    assert!(perplexity > 1.0 && counted == 50 && left_out["failed"] == 0, "{report}");
}

#[test]
fn equal_runs_give_equal_bytes_and_a_finished_output_of_another_run_is_refused() {
    let folder = folder();
    let path = folder.path();
    write(path, "in.jsonl", &questions());
    assert_eq!(generate(path, "mt-bench", &[]).0, Some(0));
    let first = ["out.jsonl", "out.jsonl.run.json"].map(|name| fs::read(path.join(name)).unwrap());
    assert_eq!(generate(path, "mt-bench", &[]).1["left_alone"], true);
    assert_eq!(generate(path, "mt-bench", &["--force", "--batch", "1"]).0, Some(0));
    assert_eq!(first, ["out.jsonl", "out.jsonl.run.json"].map(|name| fs::read(path.join(name)).unwrap()));

    let refused = |more: &[&str], part: &str| {
        let (code, report) = generate(path, "mt-bench", more);
        assert_eq!(code, Some(2), "{more:?}: {report}");
        let error = report["error"].as_str().unwrap();
        assert!(
            error.starts_with("out.jsonl holds ") && error.contains(part) && error.contains("--force"),
            "{more:?}: {error}"
        );
    };
    refused(&["--seed", "1"], "differs in sampling");
    refused(&["--limit", "1"], "rows");
    refused(&["--name", "other"], "differs in name");
    refused(&["--template", "mistral-instruct"], "differs in template");
    let config = fs::read_to_string(path.join("model/config.json")).unwrap();
    fs::write(path.join("model/config.json"), format!("{config} ")).unwrap();
    refused(&[], "differs in model");
    fs::write(path.join("model/config.json"), config).unwrap();
    assert_eq!(generate(path, "mt-bench", &[]).1["left_alone"], true);
    fs::remove_file(path.join("out.jsonl.run.json")).unwrap();
    refused(&[], "its record out.jsonl.run.json is missing");
}

#[test]
fn the_best_of_several_is_the_answer_and_part_of_the_next_turn() {
    let folder = folder();
    let path = folder.path();
    write_reward_model(&path.join("reward"));
    write(path, "in.jsonl", &questions()[..1]);
    let best = ["--best-of", "4", "--reward-model", "reward"];
    // A second turn that does not fit keeps the journal, which has the candidates.
    let mut long = questions();
    long[0]["turns"] = json!(["a kite", "stone ".repeat(CONTEXT)]);
    write(path, "in.jsonl", &long[..1]);
    assert_eq!(generate(path, "mt-bench", &best).0, Some(1));
    let journal = rows(path, "out.jsonl.partial");
    let rewards: Vec<f64> = journal[1]["responses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["reward"].as_f64().unwrap())
        .collect();
    assert_eq!((rewards.len(), journal[1]["reward"].as_f64()), (4, rewards.iter().copied().reduce(f64::max)));
    write(path, "in.jsonl", &questions()[..1]);
    let (code, report) = generate(path, "mt-bench", &[&best[..], &["--force"]].concat());
    assert_eq!((code, report["answered"].as_u64()), (Some(0), Some(2)), "{report}");
    assert_eq!(
        rows(path, "out.jsonl")[0]["choices"][0]["turns"][0],
        journal[1]["response"].as_str().unwrap().trim()
    );
}

/// The arguments for a model behind an API.
fn api<'a>(url: &'a str, bench: &'a str) -> Vec<&'a str> {
    vec![
        "generate",
        "--bench",
        bench,
        "--model",
        url,
        "--model-name",
        "far",
        "--input",
        "in.jsonl",
        "--output",
        "far.jsonl",
    ]
}

#[test]
fn an_api_gets_the_same_requests_and_a_run_killed_between_turns_repeats_no_first_turn() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write(path, "in.jsonl", &questions());
    let hangs = Arc::new(AtomicBool::new(true));
    let answer = |hangs: Arc<AtomicBool>| {
        move |received: &Received| {
            let messages = received.body["messages"].as_array().unwrap();
            let temperature = received.body["temperature"].as_f64().unwrap();
            assert_eq!(
                (&received.body["model"], &received.body["max_tokens"]),
                (&json!("far"), &json!(1024))
            );
            assert_eq!(temperature, if messages[0]["content"] == "a kite" { 0.7 } else { 0.0 });
            let texts: Vec<&str> =
                messages.iter().map(|message| message["content"].as_str().unwrap()).collect();
            let reply = Reply::text(&format!("<{}>", texts.join("|")));
            // The second turns get no answer before the run is killed.
            if messages.len() == 3 && hangs.load(Ordering::SeqCst) {
                Reply { after: Duration::from_secs(600), ..reply }
            } else {
                reply
            }
        }
    };
    let stub = Stub::start(answer(hangs.clone()));
    let url = stub.url();
    let mut child =
        command(path, &api(&url, "mt-bench")).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begin = Instant::now();
    while stub.received() < 4 {
        assert!(begin.elapsed() < Duration::from_secs(60), "the second turns are not sent");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!path.join("far.jsonl").exists());
    hangs.store(false, Ordering::SeqCst);
    let (code, report) = run(path, &api(&url, "mt-bench"));
    assert_eq!(
        (code, &report["answered_before"], &report["answered"]),
        (Some(0), &json!(2), &json!(2)),
        "{report}"
    );
    assert_eq!((stub.received(), &report["overridden"], &report["name"]), (6, &json!([]), &json!("far")));
    let answers = rows(path, "far.jsonl");
    assert_eq!(answers[0]["choices"][0]["turns"], json!(["<a kite>", "<a kite|<a kite>|and then?>"]));
    assert!(!fs::read_to_string(path.join("far.jsonl.run.json")).unwrap().contains("sk-secret"));
}

#[test]
fn an_api_continues_a_text_or_answers_it_as_a_chat() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write(path, "in.jsonl", &[json!({ "prompt": " a kite" })]);
    let stub = Stub::start(|received| {
        assert_eq!((&received.body["n"], &received.body["max_tokens"]), (&json!(25), &json!(20)));
        let text = |index: usize| {
            format!(
                "{index} after{}",
                received.body["prompt"].as_str().unwrap_or_else(|| received.last_message())
            )
        };
        let choice = |index: usize| match received.path.as_str() {
            "/v1/completions" => json!({ "index": index, "text": text(index), "finish_reason": "length" }),
            _ => {
                json!({ "index": index, "message": { "content": format!("chat: {}", text(index)) }, "finish_reason": "length" })
            }
        };
        Reply::status(200, json!({ "choices": (0..25).map(choice).collect::<Vec<_>>() }).to_string())
    });
    let url = stub.url();
    for (more, expected) in
        [(&[][..], "24 after a kite"), (&["--as-chat", "--force"], "chat: 24 after a kite")]
    {
        let (code, report) = run(path, &[&api(&url, "toxicity")[..], more].concat());
        assert_eq!(
            (code, &rows(path, "far.jsonl")[0]["generations"][24]["text"]),
            (Some(0), &json!(expected)),
            "{report}"
        );
    }
    let nameless: Vec<&str> =
        api(&url, "toxicity").into_iter().filter(|arg| !["--model-name", "far"].contains(arg)).collect();
    fs::remove_file(path.join("far.jsonl")).unwrap();
    let (code, report) = run(path, &nameless);
    assert!(code == Some(2) && report["error"].as_str().unwrap().contains("--model-name"), "{report}");
    assert!(!path.join("far.jsonl.partial").exists());
}

#[test]
fn any_file_can_be_answered_by_an_api() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "in.jsonl", &[json!({ "id": "q", "system": "s", "prompt": "hello" })]);
    let stub = Stub::start(|received| {
        assert_eq!(
            (received.body["messages"].as_array().unwrap().len(), received.body.get("repetition_penalty")),
            (2, None)
        );
        Reply::text(received.last_message())
    });
    let url = stub.url();
    let args = [
        "generate",
        "--model",
        &url,
        "--model-name",
        "far",
        "--input",
        "in.jsonl",
        "--output",
        "out.jsonl",
        "--repetition-penalty",
        "1",
    ];
    assert_eq!(run(folder.path(), &args).0, Some(0));
    let expected = json!({ "id": "q", "response": "hello", "finish_reason": "stop", "prompt_tokens": 10, "completion_tokens": 5 });
    assert_eq!(rows(folder.path(), "out.jsonl"), [expected]);
    let (code, report) = run(folder.path(), &[&args[..], &["--force", "--template", "chatml"]].concat());
    assert!(
        code == Some(2) && report["error"].as_str().unwrap().contains("--template is for a local model"),
        "{report}"
    );
}

#[test]
fn bad_questions_are_one_error_with_file_row_and_field() {
    let folder = folder();
    let path = folder.path();
    let question = |id: u64, category: &str, turns: Value| json!({ "question_id": id, "category": category, "turns": turns });
    let good = question(81, "stem", json!(["a", "b"]));
    for (bench, rows, parts) in [
        (
            "mt-bench",
            vec![good.clone(), question(82, "sports", json!(["a"]))],
            ["row 2", "\"category\"", "sports"],
        ),
        (
            "mt-bench",
            vec![good.clone(), question(82, "stem", json!([]))],
            ["row 2", "\"turns\"", "at least one turn"],
        ),
        (
            "mt-bench",
            vec![good.clone(), question(82, "stem", json!(["a", ""]))],
            ["row 2", "\"turns\"", "an empty text"],
        ),
        ("mt-bench", vec![good.clone(), good.clone()], ["row 2", "\"question_id\"", "the id of row 1"]),
        ("mt-bench", vec![json!({ "question_id": 81, "category": "stem" })], ["row 1", "turns", "missing"]),
        ("mt-bench", vec![], ["in.jsonl", "no rows", "to answer"]),
        (
            "arena-hard",
            vec![json!({ "question_id": "a", "prompt": "" })],
            ["row 1", "\"prompt\"", "an empty text"],
        ),
        (
            "alpaca-eval",
            vec![json!({ "index": 1, "instruction": "a" }), json!({ "instruction": "b" })],
            ["row 2", "\"index\"", "\"1\""],
        ),
        ("toxicity", vec![json!({ "prompt": { "toxicity": 0.1 } })], ["row 1", "prompt", "a string"]),
        (
            "multifaceted",
            vec![bench_record(Some("a"), "s", "p"), bench_record(Some("a"), "s", "p")],
            ["row 2", "\"id\"", "the id of row 1"],
        ),
    ] {
        write(path, "in.jsonl", &rows);
        let (code, report) = generate(path, bench, &[]);
        assert_eq!(code, Some(2), "{bench} on {rows:?}: {report}");
        let error = report["error"].as_str().unwrap();
        assert!(
            error.starts_with("in.jsonl") && parts.iter().all(|part| error.contains(part)),
            "{bench} on {rows:?}: {error}"
        );
        assert!(!path.join("out.jsonl").exists() && !path.join("out.jsonl.partial").exists());
    }
    write(path, "in.jsonl", std::slice::from_ref(&good));
    for (bench, more, part) in [
        ("mt-bench", &["--n", "2"][..], "--n"),
        ("mt-bench", &["--as-chat"], "toxicity"),
        ("mt-bench", &["--user-key", "turns"], "--user-key"),
        ("mt-bench", &["--top-p", "0"], "top_p is 0"),
        ("toxicity", &["--best-of", "2", "--reward-model", "reward"], "--best-of"),
        ("toxicity", &["--system", "s"], "--system"),
        ("sports", &[], "sports"),
    ] {
        let (code, report) = generate(path, bench, more);
        assert!(code == Some(2) && report.to_string().contains(part), "{bench} {more:?}: {report}");
    }
}
