//! A small model with random weights whose tokens are bytes.
#![allow(dead_code, reason = "each test file and example uses a part of it")]
#![allow(clippy::unwrap_used, reason = "its sizes and texts are constants that work")]

use janus_core::{ChatRequest, ChatTemplate, Message, SamplingParams};
use janus_data::Tokenizer;
use janus_infer::{Engine, EngineOptions, Model, ModelConfig, ModelSizes};
use rand::Rng;

/// One token for each byte, and the two special tokens of ChatML.
pub fn tokenizer_json() -> String {
    let mut vocab = serde_json::Map::new();
    for (id, character) in tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet()
        .into_iter()
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .enumerate()
    {
        vocab.insert(character.to_string(), id.into());
    }
    let special = |id: usize, content: &str| serde_json::json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
    let level = serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [special(256, "<|im_start|>"), special(257, "<|im_end|>")],
        "pre_tokenizer": level, "decoder": level,
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    })
    .to_string()
}

pub fn model(layers: usize, window: Option<usize>) -> Model {
    model_ending_at(layers, window, &[])
}

fn model_ending_at(layers: usize, window: Option<usize>, ends: &[u32]) -> Model {
    let mut config = ModelConfig::mistral(ModelSizes {
        vocab_size: 258,
        hidden_size: 40,
        intermediate_size: 72,
        num_hidden_layers: layers,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        max_position_embeddings: 256,
    });
    config.sliding_window = window;
    config.eos_token_ids = ends.into();
    Model::from_weights(config, |name, shape| {
        let mut rng = janus_core::stream(3, name);
        let norm = shape.len() == 1;
        Ok((0..shape.iter().product())
            .map(|_| if norm { 1.0 } else { rng.random_range(-0.4..0.4) })
            .collect())
    })
    .unwrap()
}

pub fn engine(options: EngineOptions) -> Engine {
    let inner = tokenizer_json().parse::<tokenizers::Tokenizer>().unwrap();
    Engine::new(model(2, Some(24)), Tokenizer::from_tokenizers(inner), ChatTemplate::ChatMl, options)
}

/// An [`engine`] whose config has these end-of-sequence tokens.
pub fn engine_ending_at(ends: &[u32]) -> Engine {
    let inner = tokenizer_json().parse::<tokenizers::Tokenizer>().unwrap();
    Engine::new(
        model_ending_at(2, Some(24), ends),
        Tokenizer::from_tokenizers(inner),
        ChatTemplate::ChatMl,
        options(4),
    )
}

pub fn options(max_sequences: usize) -> EngineOptions {
    EngineOptions::default().with(|options| {
        options.max_sequences = max_sequences;
        options.prefill_tokens = 128;
    })
}

pub fn request(id: &str, user: &str, sampling: SamplingParams) -> ChatRequest {
    ChatRequest::new(id, [Message::user(user)]).with_sampling(sampling)
}
