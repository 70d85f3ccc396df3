//! Shapes of models that are known by name.

use janus_infer::{Architecture, ModelConfig};
use serde::{Deserialize, Serialize};

/// A model's shape, by the name that recipes and `bench train` have for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum Shape {
    /// 7.2 B parameters: Mistral 7B v0.2
    #[serde(rename = "mistral-7b-v0.2")]
    #[value(skip)]
    Mistral7b,
    /// 135 M parameters: SmolLM2-135M's architecture
    #[serde(rename = "smollm2-135m")]
    Smollm2,
    /// 5.8 M parameters: vocabulary 2048, width 256, 6 layers, 8 heads, 4 key/value heads, MLP 768
    #[serde(rename = "m6m")]
    M6m,
    /// 0.4 M parameters, to try a recipe out
    #[serde(rename = "tiny")]
    Tiny,
}

impl Shape {
    /// Its `config.json`.
    pub fn config(self) -> ModelConfig {
        let mistral = ModelConfig {
            architecture: Architecture::Mistral,
            vocab_size: 32_000,
            hidden_size: 4096,
            intermediate_size: 14_336,
            num_hidden_layers: 32,
            num_attention_heads: 32,
            num_key_value_heads: 8,
            head_dim: 128,
            rms_norm_eps: 1e-5,
            rope_theta: 1e6,
            rope_scaling: None,
            max_position_embeddings: 32_768,
            sliding_window: None,
            tie_word_embeddings: false,
            initializer_range: 0.02,
            bos_token_id: Some(1),
            eos_token_ids: vec![2],
        };
        match self {
            Shape::Mistral7b => mistral,
            Shape::Smollm2 => ModelConfig {
                architecture: Architecture::Llama,
                vocab_size: 49_152,
                hidden_size: 576,
                intermediate_size: 1536,
                num_hidden_layers: 30,
                num_attention_heads: 9,
                num_key_value_heads: 3,
                head_dim: 64,
                rope_theta: 1e5,
                max_position_embeddings: 8192,
                tie_word_embeddings: true,
                ..mistral
            },
            Shape::M6m => ModelConfig {
                vocab_size: 2048,
                hidden_size: 256,
                intermediate_size: 768,
                num_hidden_layers: 6,
                num_attention_heads: 8,
                num_key_value_heads: 4,
                head_dim: 32,
                rope_theta: 1e4,
                max_position_embeddings: 2048,
                ..mistral
            },
            Shape::Tiny => ModelConfig {
                vocab_size: 2048,
                hidden_size: 96,
                intermediate_size: 256,
                num_hidden_layers: 2,
                num_attention_heads: 3,
                num_key_value_heads: 3,
                head_dim: 32,
                rope_theta: 1e4,
                max_position_embeddings: 1024,
                tie_word_embeddings: true,
                ..mistral
            },
        }
    }
}
