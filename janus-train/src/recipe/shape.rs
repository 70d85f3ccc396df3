//! Model shapes that recipes refer to by name.

use janus_infer::{ModelConfig, ModelSizes};
use serde::{Deserialize, Serialize};

/// A model's shape, by its name in recipes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Shape {
    /// 7.2 B parameters: Mistral 7B v0.2
    #[serde(rename = "mistral-7b-v0.2")]
    Mistral7b,
    /// 135 M parameters: SmolLM2-135M's architecture
    #[serde(rename = "smollm2-135m")]
    Smollm2,
    /// 5.8 M parameters: vocabulary 2048, width 256, 6 layers, 8 heads, 4 key/value heads, MLP 768
    #[serde(rename = "m6m")]
    M6m,
    /// 0.4 M parameters, for trying out a recipe
    #[serde(rename = "tiny")]
    Tiny,
}

impl Shape {
    /// Its model configuration.
    pub fn config(self) -> ModelConfig {
        let mistral = ModelSizes {
            vocab_size: 32_000,
            hidden_size: 4096,
            intermediate_size: 14_336,
            num_hidden_layers: 32,
            num_attention_heads: 32,
            num_key_value_heads: 8,
            max_position_embeddings: 32_768,
        };
        let smollm2 = ModelSizes {
            vocab_size: 49_152,
            hidden_size: 576,
            intermediate_size: 1536,
            num_hidden_layers: 30,
            num_attention_heads: 9,
            num_key_value_heads: 3,
            max_position_embeddings: 8192,
        };
        let m6m = ModelSizes {
            vocab_size: 2048,
            hidden_size: 256,
            intermediate_size: 768,
            num_hidden_layers: 6,
            num_attention_heads: 8,
            num_key_value_heads: 4,
            max_position_embeddings: 2048,
        };
        let tiny = ModelSizes {
            vocab_size: 2048,
            hidden_size: 96,
            intermediate_size: 256,
            num_hidden_layers: 2,
            num_attention_heads: 3,
            num_key_value_heads: 3,
            max_position_embeddings: 1024,
        };
        let (mut config, rope_theta, tied) = match self {
            Shape::Mistral7b => (ModelConfig::mistral(mistral), 1e6, false),
            Shape::Smollm2 => (ModelConfig::llama(smollm2), 1e5, true),
            Shape::M6m => (ModelConfig::mistral(m6m), 1e4, false),
            Shape::Tiny => (ModelConfig::mistral(tiny), 1e4, true),
        };
        config.rms_norm_eps = 1e-5;
        config.rope_theta = rope_theta;
        config.tie_word_embeddings = tied;
        config
    }
}
