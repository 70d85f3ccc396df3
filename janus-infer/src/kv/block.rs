//! Handles to blocks of the KV cache: shared ones, which are read-only, and owned ones, which can be written.

use std::sync::Arc;

use super::store::{BlockStore, Slot};
use crate::kernels::matmul::Lanes;

/// A block that any number of sequences may share. It is read-only.
#[derive(Clone)]
pub(crate) struct Block(Arc<OwnedBlock>);

/// A block of a single sequence, which may write it. Dropping it frees its memory.
pub(crate) struct OwnedBlock {
    slot: Slot,
    store: Arc<BlockStore>,
}

impl Block {
    /// Whether another sequence, or the prefix cache, shares it.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// The block for writing; the block unchanged if it is shared.
    pub fn into_owned(self) -> Result<OwnedBlock, Self> {
        Arc::try_unwrap(self.0).map_err(Self)
    }

    #[inline(always)]
    pub fn lanes(&self) -> &[Lanes] {
        self.0.lanes()
    }

    pub fn number(&self) -> u32 {
        self.0.number()
    }

    /// Equal for all handles to one block.
    #[cfg(test)]
    pub fn identity(&self) -> *const OwnedBlock {
        Arc::as_ptr(&self.0)
    }
}

impl OwnedBlock {
    /// A new block, with arbitrary content.
    pub fn allocate(store: &Arc<BlockStore>) -> Self {
        Self { slot: store.allocate(), store: Arc::clone(store) }
    }

    pub fn share(self) -> Block {
        Block(Arc::new(self))
    }

    /// Its memory on the host; empty on a device.
    #[inline(always)]
    pub fn lanes(&self) -> &[Lanes] {
        match &self.slot {
            Slot::Host(lanes) => lanes,
            Slot::Device(_) => &[],
        }
    }

    /// [`OwnedBlock::lanes`] for writing.
    pub fn lanes_mut(&mut self) -> &mut [Lanes] {
        match &mut self.slot {
            Slot::Host(lanes) => lanes,
            Slot::Device(_) => &mut [],
        }
    }

    /// Its number in a device's memory; on the host [`BlockStore::ZEROS`].
    pub fn number(&self) -> u32 {
        match self.slot {
            Slot::Host(_) => BlockStore::ZEROS,
            Slot::Device(number) => number,
        }
    }
}

impl Drop for OwnedBlock {
    fn drop(&mut self) {
        self.store.free(&mut self.slot);
    }
}
