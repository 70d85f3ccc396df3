//! The sizes of attention.

use crate::ModelConfig;

/// The sizes of a layer's attention.
#[derive(Debug, Clone, Copy)]
pub(super) struct AttentionShape {
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    /// Positions that a token sees, itself included; `None` for all before it.
    pub window: Option<usize>,
}

impl AttentionShape {
    pub fn of(config: &ModelConfig) -> Self {
        Self {
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
            window: config.sliding_window,
        }
    }

    /// Width of a row of queries, and of attention's output.
    pub fn width(self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of a row of keys, or of values.
    pub fn kv_width(self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// The first position that the token at `position` sees.
    pub fn first_seen(self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }
}
