//! The allocator of blocks: host memory, or block numbers in a device's memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::layout::Layout;
use crate::ModelConfig;
use crate::kernels::matmul::Lanes;
use crate::kernels::simd::LANES;

/// Allocates the blocks of all caches of a model.
pub(crate) struct BlockStore {
    layout: Layout,
    block_bytes: usize,
    /// Blocks in use, each counted once however many sequences share it.
    live: AtomicUsize,
    /// The most blocks that will be in use.
    limit: AtomicUsize,
    memory: Memory,
}

enum Memory {
    /// Memory of freed blocks, to be reused.
    Host(Mutex<Vec<Box<[Lanes]>>>),
    Device(Mutex<Numbers>),
}

/// The block numbers of a device's memory that are not in use.
struct Numbers {
    free: BinaryHeap<Reverse<u32>>,
    /// The lowest number that was never in use.
    next: u32,
}

/// The memory of one block.
pub(super) enum Slot {
    /// See [`Layout::lanes`].
    Host(Box<[Lanes]>),
    /// Its number in the device's memory.
    Device(u32),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl BlockStore {
    /// The number of a block on a device that holds zeros and is never allocated. It pads shorter
    /// sequences, and new blocks begin as copies of it. A masked position has the weight 0, which
    /// cancels any finite value, but not an infinity left there by another sequence.
    pub(crate) const ZEROS: u32 = 0;

    /// An allocator of blocks in host memory.
    pub(crate) fn on_host(config: &ModelConfig) -> Self {
        let layout = Layout::of(config);
        Self::with_memory(layout, layout.host_bytes(), Memory::Host(Mutex::default()))
    }

    /// An allocator of blocks in a device's memory, whose elements have this many bytes.
    pub(crate) fn on_device(config: &ModelConfig, element_bytes: usize) -> Self {
        let layout = Layout::of(config);
        let numbers = Numbers { free: BinaryHeap::new(), next: Self::ZEROS + 1 };
        Self::with_memory(layout, layout.elements() * element_bytes, Memory::Device(Mutex::new(numbers)))
    }

    fn with_memory(layout: Layout, block_bytes: usize, memory: Memory) -> Self {
        Self { layout, block_bytes, live: AtomicUsize::new(0), limit: AtomicUsize::new(usize::MAX), memory }
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// Bytes of a block.
    pub(crate) fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// Blocks in use, each counted once however many sequences share it.
    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Sets the most blocks that will be in use: a device's memory grows beyond it only if more are.
    pub(crate) fn set_limit(&self, blocks: usize) {
        self.limit.store(blocks, Ordering::Relaxed);
    }

    /// The number of blocks that a device's memory needs now, and the most that it will need; both
    /// include [`BlockStore::ZEROS`].
    pub(crate) fn capacity(&self) -> (usize, usize) {
        let needed = match &self.memory {
            Memory::Host(_) => 0,
            Memory::Device(numbers) => lock(numbers).next as usize,
        };
        (needed, self.limit.load(Ordering::Relaxed).saturating_add(1))
    }

    /// Memory for a block, with the content that a freed block left there. On a device it is the lowest
    /// free number, so that neighbours in a sequence are mostly neighbours in memory.
    pub(super) fn allocate(&self) -> Slot {
        self.live.fetch_add(1, Ordering::Relaxed);
        match &self.memory {
            Memory::Host(freed) => {
                let freed = lock(freed).pop();
                Slot::Host(
                    freed.unwrap_or_else(|| vec![[0.0; LANES]; self.layout.lanes()].into_boxed_slice()),
                )
            }
            Memory::Device(numbers) => {
                let mut numbers = lock(numbers);
                let Numbers { free, next } = &mut *numbers;
                Slot::Device(free.pop().map_or_else(
                    || {
                        *next += 1;
                        *next - 1
                    },
                    |Reverse(number)| number,
                ))
            }
        }
    }

    /// Takes back the memory of a block.
    pub(super) fn free(&self, slot: &mut Slot) {
        self.live.fetch_sub(1, Ordering::Relaxed);
        match (&self.memory, slot) {
            (Memory::Host(freed), Slot::Host(lanes)) => lock(freed).push(std::mem::take(lanes)),
            (Memory::Device(numbers), Slot::Device(number)) => lock(numbers).free.push(Reverse(*number)),
            // A slot always has the kind of its store's memory.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_number_is_allocated_first() {
        let config = ModelConfig::from_json(
            r#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 6, "num_hidden_layers": 2,
                "num_attention_heads": 2, "max_position_embeddings": 16}"#,
        );
        let store = BlockStore::on_device(&config.unwrap(), 4);
        let take = || match store.allocate() {
            Slot::Device(number) => number,
            Slot::Host(_) => panic!("a device's store has no memory of the host"),
        };
        assert_eq!([take(), take(), take()], [1, 2, 3]);
        store.free(&mut Slot::Device(2));
        store.free(&mut Slot::Device(1));
        assert_eq!([take(), take(), take()], [1, 2, 4]);
    }
}
