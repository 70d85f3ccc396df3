//! The type of a model's weights in training.

use serde::{Deserialize, Serialize};

/// What weights, products and activations are made of. Norms, softmax, log-probabilities, losses, sums of gradients and the
/// optimiser's state are f32 either way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DType {
    /// 32 bits: the default, and on a CPU the only fast one.
    #[default]
    F32,
    /// The upper 16 bits of an f32. The optimiser keeps an f32 master of each weight that trains and rounds the weight from
    /// it after every step (Micikevicius et al., arXiv 1710.03740, section 3.1): most updates are smaller than the 1/256 of a
    /// weight that bf16 can tell apart, and would be lost.
    Bf16,
}

impl DType {
    pub(crate) fn candle(self) -> candle_core::DType {
        match self {
            Self::F32 => candle_core::DType::F32,
            Self::Bf16 => candle_core::DType::BF16,
        }
    }

    /// Its name as `torch_dtype` in `config.json`.
    pub(crate) fn torch(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::Bf16 => "bfloat16",
        }
    }

    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        self.candle().size_in_bytes()
    }
}
