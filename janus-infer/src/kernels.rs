//! The arithmetic of models on the CPU, on slices of `f32`.

pub(crate) mod crew;
pub(crate) mod elementwise;
pub(crate) mod linear;
pub(crate) mod matmul;
pub(crate) mod packed;
mod prefetch;
