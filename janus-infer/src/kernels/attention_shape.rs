//! The dimensions of a layer's attention.

use crate::ModelConfig;

/// Heads and sliding window of a layer's attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; divides `heads`. Query head `h` reads key/value head `h / (heads / kv_heads)`.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Positions that a token attends to, including its own; `None` for all up to its own.
    pub sliding_window: Option<usize>,
}

impl AttentionShape {
    /// The shape of every layer of a model.
    pub fn of(config: &ModelConfig) -> Self {
        Self {
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
            sliding_window: config.sliding_window,
        }
    }

    /// Query heads that share a key/value head.
    #[inline]
    pub fn group(self) -> usize {
        self.heads / self.kv_heads
    }

    /// Width of a row of queries, and of attention's output.
    #[inline]
    pub fn width(self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of a row of keys, or of values.
    #[inline]
    pub fn kv_width(self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// The factor of scores, `1 / sqrt(head_dim)`, computed in `f64` and rounded once, as transformers does.
    #[inline]
    pub fn scale(self) -> f32 {
        (1.0 / (self.head_dim as f64).sqrt()) as f32
    }

    /// The first position that the token at `position` attends to.
    #[inline]
    pub fn first_seen(self, position: usize) -> usize {
        self.sliding_window.map_or(0, |window| (position + 1).saturating_sub(window))
    }
}
