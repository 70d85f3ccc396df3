//! The kernels that inference and training share, on slices of `f32` on the CPU.
//!
//! Each function exists once, so that a model gives the same numbers in training and in inference,
//! except for the summation order of some matrix products (`janus-train/tests/inference.rs`). Functions
//! marked `#[inline(always)]` are parts of loops: call them in a [`vectorised!`](simd::vectorised)
//! closure.
//!
//! The module is hidden from the documentation: it is public only for janus-train, and may change in any
//! release. Functions panic if the sizes of their arguments do not match.

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
