//! The dtype of a model's weights in training.

use serde::{Deserialize, Serialize};

/// The dtype of weights, matrix products and activations. Norms, softmax, log-probabilities, losses,
/// sums of gradients and the optimiser's state are always f32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DType {
    /// 32 bits: the default, and on a CPU the only fast one.
    #[default]
    F32,
    /// The upper 16 bits of an f32. The optimiser keeps an f32 master of each trainable weight and
    /// rounds the weight from it after every step (Micikevicius et al., arXiv 1710.03740, section 3.1):
    /// most updates are smaller than 1/256 of the weight, which is the resolution of bf16, and would be
    /// lost.
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

    /// Bytes of one number.
    pub fn bytes(self) -> usize {
        self.candle().size_in_bytes()
    }
}
