//! Memory for blocks: the host's, or numbers of places in a device's memory.

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
    /// Blocks that are in use, each counted once however many sequences share it.
    live: AtomicUsize,
    /// Blocks that will be in use, at most.
    expected: AtomicUsize,
    memory: Memory,
}

enum Memory {
    /// Memory of freed blocks, for new ones.
    Host(Mutex<Vec<Box<[Lanes]>>>),
    Device(Mutex<Numbers>),
}

/// Which places of a device's memory are in use.
struct Numbers {
    free: BinaryHeap<Reverse<u32>>,
    /// The first that was never in use.
    next: u32,
}

/// The memory of one block.
pub(super) enum Slot {
    /// See [`Layout::lanes`].
    Host(Box<[Lanes]>),
    /// The number of its place.
    Device(u32),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl BlockStore {
    /// The place on a device that holds zeros and is never allocated. It stands in for blocks that a shorter sequence does not have,
    /// and new blocks begin as copies of it: a masked position has the weight 0, which turns any finite value into 0, but not an
    /// infinity that another sequence has left.
    pub(crate) const ZEROS: u32 = 0;

    /// Blocks in this process' memory.
    pub(crate) fn on_host(config: &ModelConfig) -> Self {
        let layout = Layout::of(config);
        Self::with_memory(layout, layout.host_bytes(), Memory::Host(Mutex::default()))
    }

    /// Blocks in a device's memory, of elements of so many bytes.
    pub(crate) fn on_device(config: &ModelConfig, element_bytes: usize) -> Self {
        let layout = Layout::of(config);
        let numbers = Numbers { free: BinaryHeap::new(), next: Self::ZEROS + 1 };
        Self::with_memory(layout, layout.elements() * element_bytes, Memory::Device(Mutex::new(numbers)))
    }

    fn with_memory(layout: Layout, block_bytes: usize, memory: Memory) -> Self {
        Self { layout, block_bytes, live: AtomicUsize::new(0), expected: AtomicUsize::new(usize::MAX), memory }
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

    /// Sets how many blocks will be in use, at most: a device's memory grows further only if more are.
    pub(crate) fn expect(&self, blocks: usize) {
        self.expected.store(blocks, Ordering::Relaxed);
    }

    /// Places that a device's memory needs, and those that it will need at most; both with [`BlockStore::ZEROS`].
    pub(crate) fn places(&self) -> (usize, usize) {
        let needed = match &self.memory {
            Memory::Host(_) => 0,
            Memory::Device(numbers) => lock(numbers).next as usize,
        };
        (needed, self.expected.load(Ordering::Relaxed).saturating_add(1))
    }

    /// Memory for a block, whose content is whatever a freed block has left. On a device it is the free place with the lowest
    /// number: neighbours in a sequence are then mostly neighbours in memory.
    pub(super) fn allocate(&self) -> Slot {
        self.live.fetch_add(1, Ordering::Relaxed);
        match &self.memory {
            Memory::Host(freed) => {
                let freed = lock(freed).pop();
                Slot::Host(freed.unwrap_or_else(|| vec![[0.0; LANES]; self.layout.lanes()].into_boxed_slice()))
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

    /// Takes memory back.
    pub(super) fn free(&self, slot: &mut Slot) {
        self.live.fetch_sub(1, Ordering::Relaxed);
        match (&self.memory, slot) {
            (Memory::Host(freed), Slot::Host(lanes)) => lock(freed).push(std::mem::take(lanes)),
            (Memory::Device(numbers), Slot::Device(number)) => lock(numbers).free.push(Reverse(*number)),
            // A slot is of the kind of the store that it came from.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_number_that_is_free_is_taken() {
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
