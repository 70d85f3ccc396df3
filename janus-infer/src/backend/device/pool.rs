//! Keys and values of all sequences on a device: one pool of blocks, of which a sequence has some.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Result, Tensor};

use super::plan::Writes;
use crate::ModelConfig;
use crate::kv::cache::BLOCK;

/// Blocks that there is room for at first.
const FIRST: usize = 16;

/// A pool of blocks of [`BLOCK`] positions. It grows as blocks are taken, at least to twice its size as long as that is
/// not more than are expected, and does not shrink.
pub(crate) struct Pool {
    device: Device,
    dtype: DType,
    layers: usize,
    heads: usize,
    head_dim: usize,
    most: AtomicUsize,
    numbers: Mutex<Numbers>,
    slabs: Mutex<Slabs>,
}

/// Which blocks are in use.
struct Numbers {
    /// Of blocks that were given back.
    free: BinaryHeap<Reverse<u32>>,
    /// The first that was never taken.
    next: u32,
}

/// The pool's memory.
pub(crate) struct Slabs {
    /// Of each layer, `[kv_heads, blocks, BLOCK * head_dim]`: a head's keys, then its values.
    layers: Vec<[Tensor; 2]>,
    blocks: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// A block that holds zeros and is nobody's: what stands in for blocks that a shorter sequence lacks, and what new ones
    /// begin as. A masked position has the weight 0, which makes a number of its value 0, but not an infinity that another
    /// sequence has left.
    pub(crate) const ZEROS: u32 = 0;

    pub(super) fn new(config: &ModelConfig, device: &Device, dtype: DType) -> Self {
        let ModelConfig { num_hidden_layers: layers, num_key_value_heads: heads, head_dim, .. } = *config;
        let numbers = Numbers { free: BinaryHeap::new(), next: Self::ZEROS + 1 };
        let slabs = Slabs { layers: Vec::new(), blocks: 0 };
        Self {
            device: device.clone(),
            dtype,
            layers,
            heads,
            head_dim,
            most: AtomicUsize::new(usize::MAX),
            numbers: Mutex::new(numbers),
            slabs: Mutex::new(slabs),
        }
    }

    /// Bytes of a block: keys and values of all layers.
    pub(crate) fn block_bytes(&self) -> usize {
        2 * self.layers * self.heads * BLOCK * self.head_dim * self.dtype.size_in_bytes()
    }

    /// Tells how many blocks will be in use at the most; room for more is made only as they are taken.
    pub(crate) fn expect_blocks(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// The lowest number that is free: neighbours in a sequence are then mostly neighbours in memory.
    pub(crate) fn take(&self) -> u32 {
        let mut numbers = lock(&self.numbers);
        if let Some(Reverse(number)) = numbers.free.pop() {
            return number;
        }
        numbers.next += 1;
        numbers.next - 1
    }

    pub(crate) fn give_back(&self, number: u32) {
        lock(&self.numbers).free.push(Reverse(number));
    }

    /// The memory, for one forward pass: from before blocks are taken for it until after the last write. Nobody else can then write
    /// to a block that is about to be copied.
    pub(super) fn lock(&self) -> MutexGuard<'_, Slabs> {
        lock(&self.slabs)
    }

    /// Makes room for all blocks that are taken, and copies some, `(from, to)`.
    pub(super) fn prepare(&self, slabs: &mut Slabs, copies: &[(u32, u32)]) -> Result<()> {
        let taken = lock(&self.numbers).next as usize;
        if slabs.blocks < taken {
            // And the zeros.
            let most = self.most.load(Ordering::Relaxed).saturating_add(1);
            self.grow(slabs, taken.max((2 * slabs.blocks).max(FIRST).min(most)))?;
        }
        if copies.is_empty() {
            return Ok(());
        }
        let (from, to): (Vec<u32>, Vec<u32>) = copies.iter().copied().unzip();
        let width = BLOCK * self.head_dim;
        let from = Tensor::from_vec(from, copies.len(), &self.device)?;
        let to = Tensor::from_vec(to, (1, copies.len(), 1), &self.device)?;
        let to = to.broadcast_as((self.heads, copies.len(), width))?.contiguous()?;
        for slab in slabs.layers.iter().flatten() {
            slab.scatter_set(&to, &slab.index_select(&from, 1)?, 1)?;
        }
        Ok(())
    }

    /// One slab after the other, so that only one of them is there twice.
    fn grow(&self, slabs: &mut Slabs, blocks: usize) -> Result<()> {
        let zeros = || Tensor::zeros((self.heads, blocks, BLOCK * self.head_dim), self.dtype, &self.device);
        if slabs.layers.is_empty() {
            slabs.layers = (0..self.layers).map(|_| Ok([zeros()?, zeros()?])).collect::<Result<_>>()?;
        }
        for slab in slabs.layers.iter_mut().flatten().filter(|slab| slab.dims()[1] < blocks) {
            let grown = zeros()?;
            grown.slice_set(slab, 1, 0)?;
            *slab = grown;
        }
        slabs.blocks = blocks;
        Ok(())
    }
}

impl Slabs {
    /// Stores keys and values of a call's rows in a layer, `[kv_heads, rows, head_dim]` each.
    pub(super) fn write(&self, layer: usize, writes: &Writes, new: [&Tensor; 2]) -> Result<()> {
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

    /// Keys and values of some blocks in a layer, `[kv_heads, blocks, BLOCK * head_dim]` each.
    pub(super) fn read(&self, layer: usize, blocks: &Tensor) -> Result<[Tensor; 2]> {
        let [keys, values] = &self.layers[layer];
        Ok([keys.index_select(blocks, 1)?, values.index_select(blocks, 1)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> Pool {
        let config = ModelConfig::from_json(
            r#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 6, "num_hidden_layers": 2,
                "num_attention_heads": 2, "max_position_embeddings": 16}"#,
        );
        Pool::new(&config.unwrap(), &Device::Cpu, DType::F32)
    }

    #[test]
    fn the_lowest_number_that_is_free_is_taken() {
        let pool = pool();
        assert_eq!([pool.take(), pool.take(), pool.take()], [1, 2, 3]);
        pool.give_back(2);
        pool.give_back(1);
        assert_eq!([pool.take(), pool.take(), pool.take()], [1, 2, 4]);
    }

    #[test]
    fn growing_keeps_what_is_there_and_stops_at_what_is_expected() {
        let pool = pool();
        pool.expect_blocks(40);
        let mut slabs = pool.lock();
        for _ in 0..FIRST - 1 {
            pool.take();
        }
        pool.prepare(&mut slabs, &[]).unwrap();
        assert_eq!(slabs.blocks, FIRST);
        let ones = Tensor::ones((2, 1, BLOCK * 4), DType::F32, &Device::Cpu).unwrap();
        slabs.layers[1][0].slice_set(&ones, 1, 3).unwrap();
        let mut sizes = Vec::new();
        for _ in FIRST..60 {
            let new = pool.take();
            pool.prepare(&mut slabs, &[(3, new)]).unwrap();
            sizes.push(slabs.blocks);
        }
        sizes.dedup();
        assert_eq!(sizes, [32, 41].into_iter().chain(42..=60).collect::<Vec<_>>());
        let sums = |layer: usize, which: usize| slabs.layers[layer][which].sum((0, 2)).unwrap().to_vec1::<f32>().unwrap();
        // Block 3, and its copies.
        let expected: Vec<f32> = (0..60).map(|block| if block == 3 || block >= FIRST { 2.0 * BLOCK as f32 * 4.0 } else { 0.0 }).collect();
        assert_eq!(sums(1, 0), expected);
        assert_eq!((sums(1, 1), sums(0, 0)), (vec![0.0; 60], vec![0.0; 60]));
    }
}
