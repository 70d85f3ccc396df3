//! Rotary position embedding in the half-split layout of Hugging Face checkpoints: element i is paired
//! with element i + head_dim/2 (Su et al., arXiv 2104.09864, equation 34).

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, D, DType, Device, Layout, Result, Shape, Tensor, bail};
use janus_infer::RopeScaling;
use janus_infer::kernels::rope;
use janus_infer::kernels::simd::vectorised;
use rayon::prelude::*;

use super::ROWS_PER_TASK;
use super::dispatch::is_fused;
use super::storage::{Values, output, slice, tensor_like};

/// Cosines and sines of every token's angles. Positions restart at 0 in each document.
#[derive(Clone)]
pub struct RopeTable {
    head_dim: usize,
    /// Position of each token within its document.
    positions: Arc<[u32]>,
    /// `[longest document, cosines | sines]`.
    angles: Arc<[f32]>,
}

impl RopeTable {
    /// The table for documents `cu_seqlens[d]..cu_seqlens[d+1]`. The angle is
    /// `position · theta^(-2i / head_dim)`, with both factors in f32 as in transformers, and with the
    /// frequency scaled if `scaling` is set.
    pub fn new(head_dim: usize, theta: f64, scaling: Option<&RopeScaling>, cu_seqlens: &[u32]) -> Self {
        let frequencies = rope::frequencies(theta, head_dim, scaling);
        let lengths = cu_seqlens.windows(2).map(|ends| ends[1].saturating_sub(ends[0]));
        let longest = lengths.clone().max().unwrap_or(0) as usize;
        let head_dim = 2 * frequencies.len();
        let mut angles = Vec::with_capacity(longest * head_dim);
        (0..longest).for_each(|position| rope::push_angles(position, &frequencies, &mut angles));
        Self { head_dim, positions: lengths.flat_map(|length| 0..length).collect(), angles: angles.into() }
    }

    /// Number of tokens of the table.
    pub fn tokens(&self) -> usize {
        self.positions.len()
    }

    /// Width of a head.
    pub fn head_dim(&self) -> usize {
        self.head_dim
    }

    /// Rotates the heads in the row of token `token`, by the inverse rotation if `inverse`.
    #[inline(always)]
    pub(crate) fn rotate(&self, token: usize, row: &mut [f32], inverse: bool) {
        let angles = &self.angles[self.positions[token] as usize * self.head_dim..][..self.head_dim];
        rope::rotate(row, angles, inverse);
    }
}

/// Rotates each head of x `[tokens, heads · head_dim]` by its token's position.
///
/// # Errors
/// If the numbers of tokens of x and the table differ, or the width is not a multiple of the table's
/// `head_dim`.
pub fn rope(x: &Tensor, table: &RopeTable) -> Result<Tensor> {
    check(x, table)?;
    if !is_fused(x) {
        return naive(x, table);
    }
    x.contiguous()?.apply_op1(Rope { table: table.clone() })
}

/// [`rope`] in plain candle ops, computed in f32.
pub fn naive(x: &Tensor, table: &RopeTable) -> Result<Tensor> {
    check(x, table)?;
    RopeAngles::new(table, x.device())?.rotate(x)
}

/// The cosines and sines of a [`RopeTable`], `[tokens, 1, half]` each, on the device of the tensors to
/// rotate.
pub(super) struct RopeAngles {
    half: usize,
    cos: Tensor,
    sin: Tensor,
}

impl RopeAngles {
    pub(super) fn new(table: &RopeTable, device: &Device) -> Result<Self> {
        let (head_dim, half) = (table.head_dim, table.head_dim / 2);
        let positions = Tensor::from_slice(&table.positions, table.tokens(), device)?;
        let rows =
            Tensor::from_slice(&table.angles, (table.angles.len() / head_dim.max(1), head_dim), device)?;
        let angles = rows.index_select(&positions, 0)?.unsqueeze(1)?;
        Ok(Self { half, cos: angles.narrow(D::Minus1, 0, half)?, sin: angles.narrow(D::Minus1, half, half)? })
    }

    /// Rotates each head of `[tokens, heads · head_dim]`, computed in f32.
    pub(super) fn rotate(&self, x: &Tensor) -> Result<Tensor> {
        let (dtype, (tokens, width), half) = (x.dtype(), x.dims2()?, self.half);
        let heads = x.to_dtype(DType::F32)?.reshape((tokens, width / (2 * half), 2 * half))?;
        let (a, b) = (heads.narrow(D::Minus1, 0, half)?, heads.narrow(D::Minus1, half, half)?);
        let low = (a.broadcast_mul(&self.cos)? - b.broadcast_mul(&self.sin)?)?;
        let high = (b.broadcast_mul(&self.cos)? + a.broadcast_mul(&self.sin)?)?;
        Tensor::cat(&[low, high], D::Minus1)?.reshape((tokens, width))?.to_dtype(dtype)
    }
}

fn check(x: &Tensor, table: &RopeTable) -> Result<()> {
    let (tokens, width) = x.dims2()?;
    if tokens != table.tokens() || !width.is_multiple_of(table.head_dim()) {
        bail!(
            "rope: x has shape {:?}, expected [{}, a multiple of {}]",
            x.dims(),
            table.tokens(),
            table.head_dim()
        );
    }
    Ok(())
}

struct Rope {
    table: RopeTable,
}

impl Rope {
    fn apply(&self, mut x: Vec<f32>, inverse: bool) -> Vec<f32> {
        let width = x.len() / self.table.tokens().max(1);
        x.par_chunks_mut((ROWS_PER_TASK * width).max(1)).enumerate().for_each(|(task, rows)| {
            vectorised!(|| {
                for i in 0..rows.len() / width.max(1) {
                    self.table.rotate(task * ROWS_PER_TASK + i, &mut rows[i * width..][..width], inverse);
                }
            });
        });
        x
    }
}

impl CustomOp1 for Rope {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        output(self.apply(slice(storage, layout)?.to_vec(), false), layout.shape().clone())
    }

    /// The gradient of a rotation is the inverse rotation.
    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dy = Values::of(&dy.contiguous()?)?.to_vec();
        Ok(Some(tensor_like(self.apply(dy, true), x)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_gradients, assert_same, random};

    #[test]
    fn agrees_with_the_naive_version_and_with_finite_differences() {
        let table = RopeTable::new(8, 10_000.0, None, &[0, 250, 251, 300]);
        assert_same(&[&random(&[300, 24], 1)], |t| rope(&t[0], &table), |t| naive(&t[0], &table), 2e-6);
        let table = RopeTable::new(4, 100.0, None, &[0, 3, 5]);
        assert_gradients(&[&random(&[5, 8], 2)], |t| rope(&t[0], &table));
    }

    #[test]
    fn positions_restart_in_each_document() {
        let document = random(&[7, 8], 3);
        let alone = rope(&document, &RopeTable::new(8, 500.0, None, &[0, 7])).unwrap();
        let twice = Tensor::cat(&[&document, &document], 0).unwrap();
        let packed = rope(&twice, &RopeTable::new(8, 500.0, None, &[0, 7, 14])).unwrap();
        let second = packed.narrow(0, 7, 7).unwrap();
        assert_eq!(second.to_vec2::<f32>().unwrap(), alone.to_vec2::<f32>().unwrap());
    }
}
