//! Differentiable operations with their own backward pass.
//!
//! candle's fused `rms_norm`, `rope`, `softmax_last_dim` and `sdpa` have no backward pass, and gradients
//! silently stop at them. The operations here have one, and they are fused where that is faster:
//!
//! | op | replaces |
//! | --- | --- |
//! | [`rms_norm`], [`rope`], [`swiglu`], [`embedding`] | 4 to 8 full-size temporaries each |
//! | [`linear`] | a matmul with a transposed view; gradients are computed only for tracked inputs |
//! | [`attention`] | `[heads, tokens, tokens]` scores by tiles that are recomputed in the backward pass |
//! | [`linear_logprobs`] | `[tokens, vocab]` logits by chunks of supervised rows that are recomputed |
//! | [`log_sigmoid`], [`log1mexp`], [`segment_sum`] | compositions that lose precision or overflow |
//! | [`decoder`] | many graph nodes by one, so that gradients between layers are not cleared, copied and added |
//!
//! Each operation has a reference version in plain candle ops in [`naive`], with which the tests
//! compare. bf16 weights, devices other than the CPU, and LoRA adapters with [`Dropout`] also run in
//! candle's ops, in blocks that can be recomputed in the backward pass. On the CPU, results do not
//! depend on the number of threads: work is split into pieces of fixed size, and partial sums are added
//! in a fixed order.

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
mod product;
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
pub(crate) use weights::documents;
pub use weights::{BatchShape, DecoderWeights, LayerWeights, LowRank, ProjectionWeights};

/// The same functions in plain candle ops: slow, simple reference versions.
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

/// Rows of one parallel task. With a few hundred, activations stay in the core's cache and matrix
/// products are large enough to be fast.
pub(crate) const ROWS_PER_TASK: usize = 256;
