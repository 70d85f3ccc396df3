//! SmolLM2-135M-Instruct from its GGUF file: compared with transformers on the same weights and
//! tokenizer (`goldens/smollm2.py`), and on questions.
//!
//! The file is the one that `JANUS_SMOLLM2` names or that `cargo xtask fetch smollm2` writes. Because of
//! `fetch`, these tests are here and not in janus-infer.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use candle_core::Device;
use janus_core::{ChatModel, ChatRequest, ChatTemplate, FinishReason, Message, SamplingParams};
use janus_infer::{Engine, EngineOptions, LogitsWanted, SequenceInput, Template};
use serde_json::Value;

static MODEL: LazyLock<PathBuf> = LazyLock::new(|| xtask::fetch::obtain().unwrap());
static ENGINE: LazyLock<Engine> =
    LazyLock::new(|| Engine::load(&*MODEL, &Device::Cpu, EngineOptions::default()).unwrap());

fn reference() -> Value {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../goldens");
    let folder = std::env::var_os("JANUS_GOLDENS").map_or_else(own, PathBuf::from);
    serde_json::from_slice(&std::fs::read(folder.join("smollm2.json")).unwrap()).unwrap()
}

fn argmax(values: &[f32]) -> u32 {
    (0..values.len()).max_by(|&a, &b| values[a].total_cmp(&values[b]).then(b.cmp(&a))).unwrap() as u32
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
#[ignore = "needs models/smollm2-135m-instruct-q4_1.gguf: cargo xtask fetch smollm2, then cargo xtask check model"]
fn the_tokenizer_gives_transformers_ids() {
    // ChatML, with a default system message if there is none.
    let Template::Jinja(own) = ENGINE.template() else { panic!("{:?}", ENGINE.template()) };
    let text = |messages: &[Message]| own.render(messages).unwrap();
    let (system, user) = (Message::system("Be brief."), Message::user("What is a kite?"));
    let rest = ChatTemplate::ChatMl.render(std::slice::from_ref(&user)).unwrap().text();
    assert_eq!(
        text(&[system.clone(), user.clone()]),
        ChatTemplate::ChatMl.render(&[system, user.clone()]).unwrap().text()
    );
    let default = text(&[user]).strip_suffix(&rest).unwrap().to_string();
    assert!(
        default.starts_with("<|im_start|>system\nYou are") && default.ends_with("<|im_end|>\n"),
        "{default}"
    );
    let reference = reference();
    let strings = reference["strings"].as_array().unwrap();
    let prompts = reference["cases"].as_array().unwrap().iter().map(|case| (&case["prompt"], &case["ids"]));
    let all: Vec<_> = strings.iter().map(|string| (&string["text"], &string["ids"])).chain(prompts).collect();
    assert!(all.len() > 90);
    for (text, expected) in all {
        let text = text.as_str().unwrap();
        assert_eq!(ENGINE.tokenizer().encode_with_specials(text).unwrap(), ids(expected), "{text:?}");
    }
}

#[test]
#[ignore = "needs models/smollm2-135m-instruct-q4_1.gguf: cargo xtask fetch smollm2, then cargo xtask check model"]
fn prompts_continue_as_in_transformers() {
    let model = ENGINE.model();
    let reference = reference();
    let cases = reference["cases"].as_array().unwrap();
    let mut compared = 0;
    let mut worst = 0f64;
    for case in cases {
        let prompt = ids(&case["ids"]);
        let expected = ids(&case["greedy"]);
        let gaps = case["gaps"].as_array().unwrap();
        let (mut cache, mut logits) = (model.cache(), Vec::new());
        model
            .forward(&mut [SequenceInput::new(&prompt, &mut cache, LogitsWanted::Last)], &mut logits)
            .unwrap();
        for pair in case["top"].as_array().unwrap() {
            let (id, logit) = (pair[0].as_u64().unwrap(), pair[1].as_f64().unwrap());
            worst = worst.max((f64::from(logits[id as usize]) - logit).abs());
        }
        for (&id, gap) in expected.iter().zip(gaps) {
            // If the top two logits are this close, rounding may decide.
            if gap.as_f64().unwrap() < 0.05 {
                break;
            }
            assert_eq!(
                argmax(&logits),
                id,
                "token {} of the answer to {}",
                cache.len() - prompt.len(),
                case["prompt"]
            );
            compared += 1;
            model
                .forward(&mut [SequenceInput::new(&[id], &mut cache, LogitsWanted::Last)], &mut logits)
                .unwrap();
        }
    }
    println!(
        "{} prompts, {compared} tokens equal, largest difference of a top-10 logit {worst:e}",
        cases.len()
    );
    assert!(cases.len() == 12 && compared > 200, "{compared} tokens compared");
    assert!(worst < 2e-3, "largest difference of a top-10 logit {worst:e}");
}

#[test]
#[ignore = "needs models/smollm2-135m-instruct-q4_1.gguf: cargo xtask fetch smollm2, then cargo xtask check model"]
fn perplexity_is_that_of_transformers() {
    let reference = reference();
    let text = &reference["perplexity"];
    let tokens = ids(&text["ids"]);
    assert_eq!(ENGINE.tokenizer().encode(text["text"].as_str().unwrap()).unwrap(), tokens);
    let model = ENGINE.model();
    let mut logits = Vec::new();
    model
        .forward(&mut [SequenceInput::new(&tokens, &mut model.cache(), LogitsWanted::All)], &mut logits)
        .unwrap();
    let rows = logits.chunks(model.config().vocab_size).zip(&tokens[1..]);
    let nll = rows
        .map(|(row, &id)| {
            row.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln() - f64::from(row[id as usize])
        })
        .sum::<f64>()
        / (tokens.len() - 1) as f64;
    let expected = text["mean_nll"].as_f64().unwrap();
    println!("mean negative log-likelihood {nll:.5}, expected {expected:.5}");
    assert!((nll - expected).abs() < 1e-3, "{nll} is not {expected}");
}

#[test]
#[ignore = "needs models/smollm2-135m-instruct-q4_1.gguf: cargo xtask fetch smollm2, then cargo xtask check model"]
fn an_answer_ends_with_the_turn_or_the_limit() {
    let chat = |id: &str, user: &str, max_tokens| {
        ChatRequest::new(
            id,
            [
                Message::system("You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
                Message::user(user),
            ],
        )
        .with_sampling(SamplingParams::greedy(max_tokens))
    };
    let answers = ENGINE.generate(&[
        chat("a", "What is the capital of France? Answer in one short sentence.", 40),
        chat("b", "Tell me a long story.", 12),
    ]);
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().remove(0)).collect();
    assert!(
        answers[0].text.contains("Paris") && answers[0].finish_reason == FinishReason::Stop,
        "{:?}",
        answers[0]
    );
    assert!(
        answers[1].completion_tokens == 12 && answers[1].finish_reason == FinishReason::Length,
        "{:?}",
        answers[1]
    );
}

/// The share of an answer's words that consist of ASCII letters, as in English prose.
fn plain_words(text: &str) -> f64 {
    let words: Vec<&str> = text.split_whitespace().collect();
    let plain = |word: &&&str| {
        word.trim_matches(|c: char| !c.is_alphanumeric())
            .chars()
            .all(|c| c.is_ascii_alphabetic() || "-'’".contains(c))
    };
    words.iter().filter(plain).count() as f64 / words.len().max(1) as f64
}

#[test]
#[ignore = "needs models/smollm2-135m-instruct-q4_1.gguf: cargo xtask fetch smollm2, then cargo xtask check model"]
fn questions_are_answered_in_english_and_on_the_subject() {
    let folder = tempfile::tempdir().unwrap();
    let questions = [
        (
            "trip",
            ["Write three sentences about a trip to Hawaii.", "Now name one dish that people eat there."],
            "hawai",
        ),
        (
            "report",
            ["How do I write a short report about a meeting?", "Give me its first sentence."],
            "report",
        ),
        (
            "phone",
            ["What should I look at when I buy a smartphone?", "Which of these matters most?"],
            "phone",
        ),
        ("speech", ["How do I learn to speak in front of many people?", "Say it in one sentence."], "speak"),
    ];
    let input = folder.path().join("questions.jsonl");
    let lines = questions
        .map(|(id, turns, _)| format!("{}\n", serde_json::json!({ "question_id": id, "turns": turns })));
    std::fs::write(&input, lines.concat()).unwrap();
    let output = folder.path().join("answers.jsonl");
    let run = Command::new(env!("CARGO_BIN_EXE_janus"))
        .args([
            "generate",
            "--compose-system",
            "--user-key",
            "turns",
            "--limit",
            "4",
            "--max-tokens",
            "64",
            "--temperature",
            "0",
            "--json",
        ])
        .arg("--model")
        .arg(&*MODEL)
        .arg("--input")
        .arg(&input)
        .arg("--output")
        .arg(&output)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let report: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!((report["rows"].as_u64(), report["failed"].as_u64()), (Some(4), Some(0)));
    let text = std::fs::read_to_string(output).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), questions.len());
    for (row, (id, _, subject)) in rows.iter().zip(questions) {
        let response = row["response"].as_str().unwrap();
        assert_eq!(row["id"], id);
        assert!(row["system"].as_str().is_some_and(|system| system.len() > 60), "{row}");
        assert!(plain_words(response) > 0.8, "{response}");
        let found = response.to_lowercase().contains(subject);
        println!("{id}: {response}\n");
        assert!(found, "nothing about {subject}: {response}");
    }
}
