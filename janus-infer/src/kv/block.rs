//! Handles to blocks: shared ones, which are read, and owned ones, which alone can be written.

use std::sync::Arc;

use super::store::{BlockStore, Slot};
use crate::kernels::matmul::Lanes;

/// A block that any number of sequences may have. It cannot be written.
#[derive(Clone)]
pub(crate) struct Block(Arc<OwnedBlock>);

/// A block that one sequence alone has. Its memory is free again when it is dropped.
pub(crate) struct OwnedBlock {
    slot: Slot,
    store: Arc<BlockStore>,
}

impl Block {
    /// Whether another sequence, or the prefix cache, has it too.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// The block for writing, or itself if it is shared.
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

    /// The same for all handles to one block.
    #[cfg(test)]
    pub fn identity(&self) -> *const OwnedBlock {
        Arc::as_ptr(&self.0)
    }
}

impl OwnedBlock {
    /// A new block; what it holds is undefined.
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

    /// Its place on a device; on the host [`BlockStore::ZEROS`].
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
