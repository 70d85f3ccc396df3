//! Tiny model folders with random weights, written for a test.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{Device, Tensor};
use janus_core::ChatTemplate;
use janus_data::Tokenizer;
use janus_infer::{ModelConfig, VALUE_HEAD};
use serde_json::json;

/// The tiny model's context.
pub const CONTEXT: usize = 2000;

/// Writes a model folder: one layer, random weights, equal in every call.
pub fn write_model(folder: &Path) {
    fs::create_dir(folder).unwrap();
    let words = ["a kite flies in the wind", "a stone lies on the ground"];
    let tokenizer = Tokenizer::train(words.into_iter(), 280, ChatTemplate::ChatMl.special_tokens()).unwrap();
    tokenizer.save(folder.join("tokenizer.json")).unwrap();
    fs::write(
        folder.join("tokenizer_config.json"),
        json!({ "chat_template": ChatTemplate::ChatMl.jinja() }).to_string(),
    )
    .unwrap();
    let config = json!({
        "model_type": "llama", "vocab_size": tokenizer.vocab_size(), "hidden_size": 16, "intermediate_size": 32,
        "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": CONTEXT,
    });
    let config = ModelConfig::from_json(&config.to_string()).unwrap();
    fs::write(folder.join("config.json"), config.to_json()).unwrap();
    let weights = config.tensors().into_iter().map(|(name, shape)| (name.clone(), random(&name, shape)));
    candle_core::safetensors::save(&weights.collect::<HashMap<_, _>>(), folder.join("model.safetensors"))
        .unwrap();
}

/// The same model with a value head.
pub fn write_reward_model(folder: &Path) {
    write_model(folder);
    let head = HashMap::from([(VALUE_HEAD, random(VALUE_HEAD, vec![1, 16]))]);
    candle_core::safetensors::save(&head, folder.join("value_head.safetensors")).unwrap();
}

fn random(name: &str, shape: Vec<usize>) -> Tensor {
    let mut state =
        name.bytes().fold(1u32, |state, byte| state.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 2f32.powi(24) - 0.5
        })
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}
