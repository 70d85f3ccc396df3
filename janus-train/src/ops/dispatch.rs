//! The choice between the implementations of an op.

use candle_core::{DType, Tensor};

/// Whether the fused ops, which are for f32 on the CPU, can be used for this tensor. Others run in
/// candle's own ops.
pub(super) fn is_fused(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32
}
