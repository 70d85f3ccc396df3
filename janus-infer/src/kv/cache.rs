//! The KV cache of one sequence.

use std::sync::Arc;

use pulp::Simd;

use super::block::{Block, OwnedBlock};
use super::layout::{BLOCK, Layout};
use super::store::BlockStore;
use crate::kernels::matmul::{Lanes, Panels};
use crate::kernels::simd::LANES;

/// The paged KV cache of one sequence: keys and values of its tokens, in blocks of 32 positions.
///
/// [`Model::cache`](crate::Model::cache) makes it, and [`Model::forward`](crate::Model::forward) extends
/// it. Cloning shares blocks copy-on-write: only the last block is copied, when it is extended. So
/// several samples of one prompt share its prefill and its memory.
#[derive(Clone)]
pub struct KvCache {
    /// The blocks of `len` positions; the last one may be partly filled.
    blocks: Vec<Block>,
    len: usize,
    store: Arc<BlockStore>,
}

impl KvCache {
    pub(crate) fn new(store: &Arc<BlockStore>) -> Self {
        Self { blocks: Vec::new(), len: 0, store: Arc::clone(store) }
    }

    /// The cache of a sequence that begins with whole blocks of another one.
    pub(crate) fn from_blocks(store: &Arc<BlockStore>, blocks: Vec<Block>) -> Self {
        Self { len: blocks.len() * BLOCK, blocks, store: Arc::clone(store) }
    }

    /// Number of positions in the cache.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no positions.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Whether the next token needs a new block, or a copy of a shared one.
    pub(crate) fn needs_block(&self) -> bool {
        self.blocks.get(self.len / BLOCK).is_none_or(Block::is_shared)
    }

    /// Frees all blocks.
    pub(crate) fn clear(&mut self) {
        self.blocks.clear();
        self.len = 0;
    }

    /// Whether the cache belongs to the model of this store.
    pub(crate) fn is_of(&self, store: &Arc<BlockStore>) -> bool {
        Arc::ptr_eq(&self.store, store)
    }

    /// Allocates the blocks for `tokens` more tokens. The cache is empty until [`CacheWriter::commit`].
    pub(crate) fn reserve(&mut self, tokens: usize) -> Reservation<'_> {
        let (mut shared, len) = (std::mem::take(&mut self.blocks), std::mem::take(&mut self.len));
        let new = |store| OwnedBlock::allocate(store);
        let (mut owned, mut source) = (Vec::new(), None);
        if !len.is_multiple_of(BLOCK)
            && let Some(last) = shared.pop()
        {
            owned.push(last.into_owned().unwrap_or_else(|last| {
                source = Some(last);
                new(&self.store)
            }));
        }
        let fresh = owned.len();
        while (shared.len() + owned.len()) * BLOCK < len + tokens {
            owned.push(new(&self.store));
        }
        Reservation {
            writer: CacheWriter { layout: self.store.layout(), cache: self, shared, owned, len, tokens },
            source,
            fresh,
        }
    }
}

/// The blocks for new tokens, before shared content is copied into them.
#[must_use = "dropping it empties the cache"]
pub(crate) struct Reservation<'a> {
    writer: CacheWriter<'a>,
    /// The block that the first owned block must become a copy of. It stays allocated until the copy is made.
    source: Option<Block>,
    /// Index of the first owned block that is new.
    fresh: usize,
}

impl<'a> Reservation<'a> {
    /// Makes the copy in host memory.
    pub(crate) fn on_host(mut self) -> CacheWriter<'a> {
        if let (Some(source), Some(copy)) = (&self.source, self.writer.owned.first_mut()) {
            copy.lanes_mut().copy_from_slice(source.lanes());
        }
        self.writer
    }

    /// The copies that a device must make, as (from, to) block numbers.
    pub(crate) fn copies(&self) -> impl Iterator<Item = (u32, u32)> {
        let owned = &self.writer.owned;
        let copied = self.source.iter().zip(owned).map(|(source, copy)| (source.number(), copy.number()));
        copied.chain(owned[self.fresh..].iter().map(|block| (BlockStore::ZEROS, block.number())))
    }

    /// The writer, once the device has made [`Reservation::copies`].
    pub(crate) fn copied(self) -> CacheWriter<'a> {
        self.writer
    }
}

/// A cache during a forward pass: all blocks are read, and the owned ones are written. Dropping it without
/// [`CacheWriter::commit`] leaves the cache empty.
pub(crate) struct CacheWriter<'a> {
    cache: &'a mut KvCache,
    layout: Layout,
    shared: Vec<Block>,
    /// The blocks after the shared ones.
    owned: Vec<OwnedBlock>,
    len: usize,
    tokens: usize,
}

impl CacheWriter<'_> {
    /// Number of positions before the new tokens.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Number of new tokens.
    pub(crate) fn tokens(&self) -> usize {
        self.tokens
    }

    /// Adds the new tokens to the cache, once their keys and values are stored in every layer.
    pub(crate) fn commit(self) {
        let Self { cache, mut shared, owned, len, tokens, .. } = self;
        shared.extend(owned.into_iter().map(OwnedBlock::share));
        (cache.blocks, cache.len) = (shared, len + tokens);
    }

    /// The numbers of all blocks in a device's memory.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.shared.iter().map(Block::number).chain(self.owned.iter().map(OwnedBlock::number))
    }

    /// The number, in a device's memory, of the block that the new token at `position` is written to.
    pub(crate) fn number_for_writing(&self, position: usize) -> u32 {
        self.owned[position / BLOCK - self.shared.len()].number()
    }

    #[inline(always)]
    fn lanes(&self, block: usize) -> &[Lanes] {
        match self.shared.get(block) {
            Some(block) => block.lanes(),
            None => self.owned[block - self.shared.len()].lanes(),
        }
    }

    /// Stores the keys and values of a new token, `[heads, head_dim]` each, in host memory.
    pub(crate) fn push(&mut self, layer: usize, position: usize, keys: &[f32], values: &[f32]) {
        let (layout, head_dim) = (self.layout, self.layout.head_dim);
        let block = self.owned[position / BLOCK - self.shared.len()].lanes_mut();
        let row = position % BLOCK;
        for (head, (key, value)) in keys.chunks_exact(head_dim).zip(values.chunks_exact(head_dim)).enumerate()
        {
            let start = layout.keys(layer, head) + row / LANES * head_dim;
            for (lanes, key) in block[start..][..head_dim].iter_mut().zip(key) {
                lanes[row % LANES] = *key;
            }
            let panels = block[layout.values(layer, head)..].chunks_exact_mut(BLOCK);
            for (panel, value) in panels.zip(value.chunks(LANES)) {
                panel[row][..value.len()].copy_from_slice(value);
            }
        }
    }

    /// The keys from position `begin` on, a multiple of [`LANES`]: `count` panels of [`LANES`]
    /// positions, `[head_dim]` deep.
    pub(crate) fn keys(&self, layer: usize, head: usize, begin: usize, count: usize) -> Keys<'_> {
        Keys { cache: self, start: self.layout.keys(layer, head), first: begin / LANES, count }
    }

    /// The values from position `begin` on: panels of [`LANES`] elements of the head, one row for each
    /// position.
    pub(crate) fn values(&self, layer: usize, head: usize, begin: usize) -> Values<'_> {
        Values { cache: self, start: self.layout.values(layer, head), begin }
    }
}

/// See [`CacheWriter::keys`].
#[derive(Clone, Copy)]
pub(crate) struct Keys<'a> {
    cache: &'a CacheWriter<'a>,
    start: usize,
    first: usize,
    count: usize,
}

impl Panels for Keys<'_> {
    #[inline(always)]
    fn count(self) -> usize {
        self.count
    }

    #[inline(always)]
    fn rows<'a, S: Simd>(self, _simd: S, panel: usize, from: usize, buffer: &'a mut [Lanes]) -> &'a [Lanes]
    where
        Self: 'a,
    {
        let panel = self.first + panel;
        let (block, part) = (panel / (BLOCK / LANES), panel % (BLOCK / LANES));
        &self.cache.lanes(block)[self.start + part * self.cache.layout.head_dim + from..][..buffer.len()]
    }
}

/// See [`CacheWriter::values`].
#[derive(Clone, Copy)]
pub(crate) struct Values<'a> {
    cache: &'a CacheWriter<'a>,
    start: usize,
    begin: usize,
}

impl Panels for Values<'_> {
    #[inline(always)]
    fn count(self) -> usize {
        self.cache.layout.value_panels()
    }

    #[inline(always)]
    fn contiguous(self, row: usize) -> usize {
        BLOCK - (self.begin + row) % BLOCK
    }

    #[inline(always)]
    fn rows<'a, S: Simd>(self, _simd: S, panel: usize, from: usize, buffer: &'a mut [Lanes]) -> &'a [Lanes]
    where
        Self: 'a,
    {
        let position = self.begin + from;
        &self.cache.lanes(position / BLOCK)[self.start + panel * BLOCK + position % BLOCK..][..buffer.len()]
    }
}
