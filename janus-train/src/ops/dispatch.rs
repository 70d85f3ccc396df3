//! Which implementation of an op a tensor takes.

use candle_core::{DType, Tensor};

/// Whether the fused ops, written for the CPU in f32, take this tensor. All others run in candle's own ops.
pub(super) fn is_fused(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32
}
