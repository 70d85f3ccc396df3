//! Differentiable operations with their own backward pass.
//!
//! candle's fused `rms_norm`, `rope`, `softmax_last_dim` and `sdpa` record no backward pass: gradients stop
//! at them without a word. These do not, and they are fused as far as it pays:
//!
//! | op | in place of |
//! | --- | --- |
//! | [`rms_norm`], [`rope`], [`swiglu`], [`embedding`] | 4 to 8 full-size temporaries each |
//! | [`linear`] | matmul with a transposed view; gradients only where one is asked for |
//! | [`attention`] | `[heads, tokens, tokens]` scores: tiles that are recomputed in the backward pass |
//! | [`linear_logprobs`] | `[tokens, vocab]` logits: chunks of supervised rows that are recomputed |
//! | [`log_sigmoid`], [`log1mexp`], [`segment_sum`] | compositions that lose digits or overflow |
//! | [`decoder`] | all layers as one node of candle's graph, so that no gradient between them is cleared, copied and added |
//!
//! Each has a twin in plain candle ops under [`naive`], which tests compare with. Weights in bf16 and other devices than
//! the CPU take those ops too, in blocks that are computed again in the backward pass; so do LoRA updates with [`Dropout`]. On the CPU, results do not depend on the number of threads: work is cut into pieces
//! of fixed size and partial sums are added in a fixed order.

mod attention;
pub(crate) mod blocks;
mod decoder;
mod dispatch;
mod dropout;
mod embedding;
pub(crate) mod gradient;
mod join_inputs;
mod layer;
mod linear;
mod linear_logprobs;
mod log_prob;
mod rms_norm;
mod rope;
mod segment_sum;
pub(crate) mod storage;
mod swiglu;
#[cfg(test)]
pub(crate) mod testing;
mod weights;

pub use attention::attention;
pub use blocks::{BLOCK_LOGITS, BLOCK_QUERIES};
pub use decoder::decoder;
pub(crate) use decoder::decoder_into;
pub use dropout::Dropout;
pub use embedding::embedding;
#[doc(inline)]
pub use janus_infer::kernels::AttentionShape;
pub(crate) use layer::SavedActivations;
pub use linear::linear;
pub(crate) use linear_logprobs::linear_logprobs_into;
pub use linear_logprobs::{LOGITS_HELD, linear_logprobs};
pub use log_prob::{log_sigmoid, log1mexp};
pub use rms_norm::rms_norm;
pub use rope::{RopeTable, rope};
pub use segment_sum::segment_sum;
pub use swiglu::swiglu;
pub use weights::{BatchShape, DecoderWeights, LayerWeights, LowRank, ProjectionWeights};

/// The same functions in plain candle ops: slow, and obviously right.
pub mod naive {
    pub use super::attention::naive as attention;
    pub use super::decoder::naive as decoder;
    pub use super::embedding::naive as embedding;
    pub use super::layer::naive as layer;
    pub use super::linear::naive as linear;
    pub use super::linear_logprobs::naive as linear_logprobs;
    pub use super::log_prob::{naive_log_sigmoid as log_sigmoid, naive_log1mexp as log1mexp};
    pub use super::rms_norm::naive as rms_norm;
    pub use super::rope::naive as rope;
    pub use super::segment_sum::naive as segment_sum;
    pub use super::swiglu::naive as swiglu;
}

/// Rows that one task works on: a few hundred keep activations in the core's own cache and products large.
pub(crate) const ROWS_PER_TASK: usize = 256;
