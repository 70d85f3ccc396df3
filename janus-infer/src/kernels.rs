//! The arithmetic that inference and training share, on slices of `f32` on the CPU.
//!
//! Each function exists once, so that a model gives the same numbers in training and in inference, but for the order of sums in some
//! matrix products (`janus-train/tests/inference.rs`). Functions marked `#[inline(always)]` are parts of loops: call them in a
//! [`vectorised!`](simd::vectorised) closure.
//!
//! Hidden from the documentation: public for janus-train alone, and free to change in any release. Sizes that do not fit panic.

mod attention_shape;
pub(crate) mod crew;
pub mod exp;
pub(crate) mod linear;
pub(crate) mod matmul;
pub mod norm;
pub(crate) mod packed;
mod prefetch;
pub mod reduce;
pub mod rope;
pub mod simd;
pub mod softmax;
pub mod swiglu;

pub use attention_shape::AttentionShape;
