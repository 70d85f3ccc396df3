//! The memory of the KV cache on a device: the blocks of all sequences.

use candle_core::{DType, Device, Result, Tensor};

use super::plan::Writes;
use crate::kv::{BLOCK, Layout};

/// Blocks in the first allocation.
const FIRST: usize = 16;

/// Keys and values, indexed by block number. The memory grows with the highest number, each time at
/// least to twice its size unless that exceeds the expected limit. It does not shrink.
pub(super) struct Slabs {
    layout: Layout,
    dtype: DType,
    device: Device,
    /// Keys and values of each layer, `[kv_heads, blocks, BLOCK * head_dim]` each.
    layers: Vec<[Tensor; 2]>,
    blocks: usize,
}

impl Slabs {
    pub fn new(layout: Layout, dtype: DType, device: &Device) -> Self {
        Self { layout, dtype, device: device.clone(), layers: Vec::new(), blocks: 0 }
    }

    /// Makes room for `needed` blocks, and for more, up to `limit`, so that growing is rare.
    pub fn make_room(&mut self, needed: usize, limit: usize) -> Result<()> {
        if self.blocks >= needed {
            return Ok(());
        }
        let blocks = needed.max((2 * self.blocks).max(FIRST).min(limit));
        let Layout { layers, heads, head_dim } = self.layout;
        let zeros = || Tensor::zeros((heads, blocks, BLOCK * head_dim), self.dtype, &self.device);
        if self.layers.is_empty() {
            self.layers = (0..layers).map(|_| Ok([zeros()?, zeros()?])).collect::<Result<_>>()?;
        }
        // One slab at a time, so that memory holds only one of them twice.
        for slab in self.layers.iter_mut().flatten().filter(|slab| slab.dims()[1] < blocks) {
            let grown = zeros()?;
            grown.slice_set(slab, 1, 0)?;
            *slab = grown;
        }
        self.blocks = blocks;
        Ok(())
    }

    /// Copies whole blocks, `(from, to)`.
    pub fn copy(&self, copies: &[(u32, u32)]) -> Result<()> {
        if copies.is_empty() {
            return Ok(());
        }
        let (from, to): (Vec<u32>, Vec<u32>) = copies.iter().copied().unzip();
        let Layout { heads, head_dim, .. } = self.layout;
        let from = Tensor::from_vec(from, copies.len(), &self.device)?;
        let to = Tensor::from_vec(to, (1, copies.len(), 1), &self.device)?;
        let to = to.broadcast_as((heads, copies.len(), BLOCK * head_dim))?.contiguous()?;
        for slab in self.layers.iter().flatten() {
            slab.scatter_set(&to, &slab.index_select(&from, 1)?, 1)?;
        }
        Ok(())
    }

    /// Stores the keys and values of a call's rows in a layer, `[kv_heads, rows, head_dim]` each.
    pub fn write(&self, layer: usize, writes: &Writes, new: [&Tensor; 2]) -> Result<()> {
        for (slab, new) in self.layers[layer].iter().zip(new) {
            let (heads, _, head_dim) = new.dims3()?;
            let positions = slab.reshape((heads, self.blocks * BLOCK, head_dim))?;
            for run in &writes.runs {
                let rows = new.narrow(1, run.row, run.len)?.contiguous()?;
                positions.slice_set(&rows, 1, run.slot)?;
            }
            if let Some((rows, slots)) = &writes.single {
                let new = if rows.dim(0)? == new.dim(1)? { new.clone() } else { new.index_select(rows, 1)? };
                positions.scatter_set(slots, &new, 1)?;
            }
        }
        Ok(())
    }

    /// Gathers the keys and values of some blocks of a layer, `[kv_heads, blocks, BLOCK * head_dim]` each.
    pub fn read(&self, layer: usize, blocks: &Tensor) -> Result<[Tensor; 2]> {
        let [keys, values] = &self.layers[layer];
        Ok([keys.index_select(blocks, 1)?, values.index_select(blocks, 1)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelConfig;

    #[test]
    fn growing_keeps_the_content_and_doubles_only_up_to_the_limit() {
        let config = ModelConfig::from_json(
            r#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 6, "num_hidden_layers": 2,
                "num_attention_heads": 2, "max_position_embeddings": 16}"#,
        );
        let mut slabs = Slabs::new(Layout::of(&config.unwrap()), DType::F32, &Device::Cpu);
        let limit = 41;
        slabs.make_room(FIRST, limit).unwrap();
        assert_eq!(slabs.blocks, FIRST);
        let ones = Tensor::ones((2, 1, BLOCK * 4), DType::F32, &Device::Cpu).unwrap();
        slabs.layers[1][0].slice_set(&ones, 1, 3).unwrap();
        let mut sizes = Vec::new();
        for new in FIRST..60 {
            slabs.make_room(new + 1, limit).unwrap();
            slabs.copy(&[(3, new as u32)]).unwrap();
            sizes.push(slabs.blocks);
        }
        sizes.dedup();
        assert_eq!(sizes, [32, 41].into_iter().chain(42..=60).collect::<Vec<_>>());
        let sums = |layer: usize, which: usize| {
            slabs.layers[layer][which].sum((0, 2)).unwrap().to_vec1::<f32>().unwrap()
        };
        // Only block 3 and its copies are not zero.
        let expected: Vec<f32> = (0..60)
            .map(|block| if block == 3 || block >= FIRST { 2.0 * BLOCK as f32 * 4.0 } else { 0.0 })
            .collect();
        assert_eq!(sums(1, 0), expected);
        assert_eq!((sums(1, 1), sums(0, 0)), (vec![0.0; 60], vec![0.0; 60]));
    }
}
