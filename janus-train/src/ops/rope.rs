//! Rotary positions in the half-split form (Su et al., arXiv 2104.09864, equation 34, with the pairs laid out
//! as in Hugging Face checkpoints: element i rotates with element i + head_dim/2).

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, D, DType, Device, Layout, Result, Shape, Tensor, bail};
use janus_infer::RopeScaling;
use rayon::prelude::*;

use super::ROWS_PER_TASK;
use super::dispatch::is_fused;
use super::storage::{Values, output, slice, tensor_like};
use crate::simd::vectorised;

/// Cosines and sines of every token's angles; positions start again at 0 in each document.
#[derive(Clone)]
pub struct RopeTable {
    half: usize,
    /// Position of each token within its document.
    positions: Arc<[u32]>,
    /// `[longest document, half]`.
    cos: Arc<[f32]>,
    sin: Arc<[f32]>,
}

impl RopeTable {
    /// The table for documents `cu_seqlens[d]..cu_seqlens[d+1]`. The angle is
    /// `position · theta^(-2i/head_dim)`, both in f32 as in transformers, the frequency scaled if the model's is.
    pub fn new(head_dim: usize, theta: f64, scaling: Option<&RopeScaling>, cu_seqlens: &[u32]) -> Self {
        let half = head_dim / 2;
        let mut frequencies: Vec<f32> = (0..half).map(|i| theta.powf(-2.0 * i as f64 / head_dim as f64) as f32).collect();
        scaling.into_iter().for_each(|scaling| scaling.scale(&mut frequencies));
        let lengths = cu_seqlens.windows(2).map(|ends| ends[1].saturating_sub(ends[0]));
        let longest = lengths.clone().max().unwrap_or(0);
        let angles = (0..longest).flat_map(|position| frequencies.iter().map(move |f| position as f32 * f));
        let (cos, sin): (Vec<f32>, Vec<f32>) = angles.map(|angle| (angle.cos(), angle.sin())).unzip();
        Self { half, positions: lengths.flat_map(|length| 0..length).collect(), cos: cos.into(), sin: sin.into() }
    }

    /// Tokens that the table is for.
    pub fn tokens(&self) -> usize {
        self.positions.len()
    }

    /// Width of the heads that the table is for.
    pub fn head_dim(&self) -> usize {
        2 * self.half
    }

    /// Rotates the heads of token `token`'s row, back again if `inverse`.
    #[inline(always)]
    pub(crate) fn rotate(&self, token: usize, row: &mut [f32], inverse: bool) {
        let at = self.positions[token] as usize * self.half;
        let (cos, sin) = (&self.cos[at..at + self.half], &self.sin[at..at + self.half]);
        let sign = if inverse { -1.0 } else { 1.0 };
        for head in row.chunks_exact_mut(2 * self.half) {
            let (low, high) = head.split_at_mut(self.half);
            // Eight at a time through arrays, as the compiler does not see that low and high are apart.
            let ((lows, low), (highs, high)) = (low.as_chunks_mut::<8>(), high.as_chunks_mut::<8>());
            let ((coss, cos), (sins, sin)) = (cos.as_chunks::<8>(), sin.as_chunks::<8>());
            for (((lows, highs), cos), sin) in lows.iter_mut().zip(highs).zip(coss).zip(sins) {
                let (mut a, mut b) = (*lows, *highs);
                for i in 0..8 {
                    (a[i], b[i]) = rotated(a[i], b[i], cos[i], sin[i] * sign);
                }
                (*lows, *highs) = (a, b);
            }
            for (((a, b), &cos), &sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                (*a, *b) = rotated(*a, *b, cos, sin * sign);
            }
        }
    }
}

#[inline(always)]
fn rotated(a: f32, b: f32, cos: f32, sin: f32) -> (f32, f32) {
    (a * cos - b * sin, b * cos + a * sin)
}

/// Rotates each head of x `[tokens, heads · head_dim]` by its token's position.
///
/// # Errors
/// If x has other tokens than the table, or a width that is no multiple of the table's `head_dim`.
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

/// The cosines and sines of a [`RopeTable`], `[tokens, 1, half]` each, where the tensors are that they rotate.
pub(super) struct RopeAngles {
    half: usize,
    cos: Tensor,
    sin: Tensor,
}

impl RopeAngles {
    pub(super) fn new(table: &RopeTable, device: &Device) -> Result<Self> {
        let positions = Tensor::from_slice(&table.positions, table.tokens(), device)?;
        let of_tokens = |values: &[f32]| {
            let rows = Tensor::from_slice(values, (values.len() / table.half.max(1), table.half), device)?;
            rows.index_select(&positions, 0)?.unsqueeze(1)
        };
        Ok(Self { half: table.half, cos: of_tokens(&table.cos)?, sin: of_tokens(&table.sin)? })
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
        bail!("rope: x has shape {:?}, expected [{}, a multiple of {}]", x.dims(), table.tokens(), table.head_dim());
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
            vectorised(
                #[inline(always)]
                || {
                    for (i, row) in rows.chunks_exact_mut(width).enumerate() {
                        self.table.rotate(task * ROWS_PER_TASK + i, row, inverse);
                    }
                },
            );
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

    /// The gradient of a rotation is the rotation back.
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
    fn agrees_with_its_twin_and_with_finite_differences() {
        let table = RopeTable::new(8, 10_000.0, None, &[0, 250, 251, 300]);
        assert_same(&[&random(&[300, 24], 1)], |t| rope(&t[0], &table), |t| naive(&t[0], &table), 2e-6);
        let table = RopeTable::new(4, 100.0, None, &[0, 3, 5]);
        assert_gradients(&[&random(&[5, 8], 2)], |t| rope(&t[0], &table));
    }

    #[test]
    fn positions_start_again_in_each_document() {
        let document = random(&[7, 8], 3);
        let alone = rope(&document, &RopeTable::new(8, 500.0, None, &[0, 7])).unwrap();
        let twice = Tensor::cat(&[&document, &document], 0).unwrap();
        let packed = rope(&twice, &RopeTable::new(8, 500.0, None, &[0, 7, 14])).unwrap();
        let second = packed.narrow(0, 7, 7).unwrap();
        assert_eq!(second.to_vec2::<f32>().unwrap(), alone.to_vec2::<f32>().unwrap());
    }
}
