//! `generate` from end to end: the built program, a tiny model of random weights on disk.

#![expect(clippy::unwrap_used, reason = "a test may panic, and so may its helpers")]

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use candle_core::{Device, Tensor};
use janus_core::ChatTemplate;
use janus_data::Tokenizer;
use janus_infer::ModelConfig;
use serde_json::{Value, json};

/// Tokens that the tiny model can see.
const CONTEXT: usize = 2000;

/// Writes a model folder: one layer, random weights that the same call always writes the same.
fn write_model(folder: &Path) {
    fs::create_dir(folder).unwrap();
    let words = ["a kite flies in the wind", "a stone lies on the ground"];
    let tokenizer = Tokenizer::train(words.into_iter(), 280, ChatTemplate::ChatMl.special_tokens()).unwrap();
    tokenizer.save(folder.join("tokenizer.json")).unwrap();
    fs::write(folder.join("tokenizer_config.json"), json!({ "chat_template": "<|im_start|>" }).to_string()).unwrap();
    let config = json!({
        "model_type": "llama", "vocab_size": tokenizer.vocab_size(), "hidden_size": 16, "intermediate_size": 32,
        "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": CONTEXT,
    });
    let config = ModelConfig::from_json(&config.to_string()).unwrap();
    fs::write(folder.join("config.json"), config.to_json()).unwrap();
    let weight = |(name, shape): (String, Vec<usize>)| {
        let mut state = name.bytes().fold(1u32, |state, byte| state.wrapping_mul(31).wrapping_add(u32::from(byte)));
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / 2f32.powi(24) - 0.5
            })
            .collect();
        (name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
    };
    let weights: HashMap<String, Tensor> = config.tensors().into_iter().map(weight).collect();
    candle_core::safetensors::save(&weights, folder.join("model.safetensors")).unwrap();
}

/// A folder with the model and an input of four rows, the third of which does not fit the model.
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
    let args = ["generate", "--json", "--model", "model", "--input", "in.jsonl", "--user-key", "turns", "--max-tokens", "12", "--output"];
    Command::new(env!("CARGO_BIN_EXE_xtask")).args(args).arg(output).args(more).current_dir(folder).output().unwrap()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

fn rows(folder: &Path, output: &str) -> Vec<Value> {
    fs::read_to_string(folder.join(output)).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn answers_stand_in_the_order_of_the_input_and_a_row_that_fails_is_told() {
    let folder = folder();
    let output = generate(folder.path(), "out.jsonl", &[]);
    assert_eq!(output.status.code(), Some(1), "{}", report(&output));
    assert_eq!((&report(&output)["answered"], &report(&output)["failed"]), (&json!(3), &json!(1)));
    let rows = rows(folder.path(), "out.jsonl");
    assert_eq!(rows.iter().map(|row| row["id"].as_str().unwrap()).collect::<Vec<_>>(), ["81", "stone", "long", "83"]);
    assert!(rows[2]["error"].as_str().unwrap().contains(&format!("the model's context is {CONTEXT}")), "{}", rows[2]);
    for row in [&rows[0], &rows[1], &rows[3]] {
        assert!(row["completion_tokens"].as_u64().unwrap() <= 12 && row["response"].is_string(), "{row}");
    }
}

#[test]
fn a_run_that_was_cut_off_continues_to_the_same_bytes_whatever_the_batch() {
    let folder = folder();
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    generate(folder.path(), "whole.jsonl", &[]);
    // The journal stays, since one row has no answer: header and three rows. All but one row are cut off.
    let journal = read("whole.jsonl.partial");
    assert_eq!(journal.lines().count(), 4);
    let cut: usize = journal.split_inclusive('\n').take(2).map(str::len).sum();
    fs::write(folder.path().join("cut.jsonl.partial"), &journal[..cut + 9]).unwrap();
    let continued = generate(folder.path(), "cut.jsonl", &["--batch", "1"]);
    assert_eq!((&report(&continued)["answered_before"], &report(&continued)["answered"]), (&json!(1), &json!(2)));
    assert_eq!(read("cut.jsonl"), read("whole.jsonl"));

    let other = generate(folder.path(), "cut.jsonl", &["--seed", "1"]);
    assert_eq!(other.status.code(), Some(2));
    assert!(report(&other)["error"].as_str().unwrap().contains("with another sampling lies here"), "{}", report(&other));
}

#[test]
fn a_finished_run_removes_its_journal_and_is_left_alone_unless_forced() {
    let folder = folder();
    let limited = |more: &[&str]| generate(folder.path(), "out.jsonl", &[&["--limit", "2", "--compose-system", "--n", "2"], more].concat());
    assert_eq!(limited(&[]).status.code(), Some(0));
    let first = rows(folder.path(), "out.jsonl");
    assert!(!folder.path().join("out.jsonl.partial").exists());
    assert_eq!((first.len(), first[1]["responses"].as_array().unwrap().len()), (2, 2));
    assert!(first[0]["system"].as_str().is_some_and(|system| !system.is_empty()));
    assert_eq!(report(&limited(&["--seed", "1"]))["left_alone"], true);
    assert_eq!(rows(folder.path(), "out.jsonl"), first);
    assert_eq!(limited(&["--seed", "1", "--force"]).status.code(), Some(0));
    assert_ne!(rows(folder.path(), "out.jsonl"), first);
}
