//! Embedding lookup.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::dispatch::is_fused;
use super::storage::{Values, output, slice, tensor_like};

/// Row `ids[i]` of the table `[vocab, hidden]` for each i: `[tokens, hidden]`.
///
/// # Errors
/// If an id is not below vocab.
pub fn embedding(table: &Tensor, ids: &[u32]) -> Result<Tensor> {
    let (vocab, _) = table.dims2()?;
    if let Some((i, id)) = ids.iter().enumerate().find(|&(_, &id)| id as usize >= vocab) {
        bail!("embedding: id {id} at position {i} is not below the table's {vocab} rows");
    }
    if !is_fused(table) {
        return naive(table, ids);
    }
    table.contiguous()?.apply_op1(Embedding { ids: ids.into() })
}

/// [`embedding`] in plain candle ops.
pub fn naive(table: &Tensor, ids: &[u32]) -> Result<Tensor> {
    table.index_select(&Tensor::from_slice(ids, ids.len(), table.device())?, 0)
}

struct Embedding {
    ids: Arc<[u32]>,
}

impl CustomOp1 for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, hidden) = layout.shape().dims2()?;
        let mut y = vec![0.0; self.ids.len() * hidden];
        gather(slice(storage, layout)?, &self.ids, hidden, &mut y);
        output(y, (self.ids.len(), hidden))
    }

    fn bwd(&self, table: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (vocab, hidden) = table.dims2()?;
        let dy = dy.contiguous()?;
        let mut gradient = vec![0.0; vocab * hidden];
        scatter_add(&Values::of(&dy)?, &self.ids, hidden, &mut gradient);
        Ok(Some(tensor_like(gradient, table)?))
    }
}

/// Copies row `ids[i]` of the table to row i.
pub(crate) fn gather(table: &[f32], ids: &[u32], width: usize, rows: &mut [f32]) {
    for (&id, row) in ids.iter().zip(rows.chunks_exact_mut(width)) {
        row.copy_from_slice(&table[id as usize * width..][..width]);
    }
}

/// Adds row i to row `ids[i]` of the table. It runs on one thread, so that the order of the sums is
/// fixed.
pub(crate) fn scatter_add(rows: &[f32], ids: &[u32], width: usize, table: &mut [f32]) {
    for (&id, row) in ids.iter().zip(rows.chunks_exact(width)) {
        let sums = &mut table[id as usize * width..][..width];
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_gradients, assert_same, random};

    #[test]
    fn agrees_with_the_naive_version_and_with_finite_differences() {
        let ids = [3, 0, 3, 4, 3];
        assert_same(&[&random(&[5, 8], 1)], |t| embedding(&t[0], &ids), |t| naive(&t[0], &ids), 1e-6);
        assert_gradients(&[&random(&[5, 2], 2)], |t| embedding(&t[0], &ids));
        assert!(embedding(&random(&[5, 8], 1), &[5]).unwrap_err().to_string().contains("id 5 at position 0"));
    }
}
