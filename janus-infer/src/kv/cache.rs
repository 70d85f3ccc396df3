//! Keys and values in blocks that sequences share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use pulp::Simd;

use crate::ModelConfig;
use crate::backend::device::Pool;
use crate::kernels::matmul::{LANES, Lanes, Panels};

/// Positions of a block.
pub(crate) const BLOCK: usize = 2 * LANES;

/// Where things are in a block, and how many blocks there are.
pub(crate) struct Layout {
    layers: usize,
    heads: usize,
    head_dim: usize,
    live: AtomicUsize,
    memory: Memory,
}

/// Where keys and values are.
enum Memory {
    /// In the blocks; and memory of blocks that are gone, for those to come.
    Blocks(Mutex<Vec<Box<[Lanes]>>>),
    /// In a pool on a device, of which blocks are numbers.
    Pool(Arc<Pool>),
}

impl Layout {
    pub(crate) fn new(config: &ModelConfig) -> Self {
        Self::with_memory(config, Memory::Blocks(Mutex::default()))
    }

    /// Of caches on a device.
    pub(crate) fn on_device(config: &ModelConfig, pool: Arc<Pool>) -> Self {
        Self::with_memory(config, Memory::Pool(pool))
    }

    fn with_memory(config: &ModelConfig, memory: Memory) -> Self {
        let ModelConfig { num_hidden_layers: layers, num_key_value_heads: heads, head_dim, .. } = *config;
        Self { layers, heads, head_dim, live: AtomicUsize::new(0), memory }
    }

    /// Tells how many blocks there will be at the most.
    pub(crate) fn expect_blocks(&self, most: usize) {
        if let Memory::Pool(pool) = &self.memory {
            pool.expect_blocks(most);
        }
    }

    /// Rows of lanes that a head of a layer has: two panels of keys, whose lanes are positions, and panels of values, whose
    /// lanes are elements of the head.
    fn head_lanes(&self) -> usize {
        BLOCK / LANES * self.head_dim + self.value_panels() * BLOCK
    }

    fn value_panels(&self) -> usize {
        self.head_dim.div_ceil(LANES)
    }

    /// Where a head of a layer begins.
    fn head(&self, layer: usize, head: usize) -> usize {
        (layer * self.heads + head) * self.head_lanes()
    }

    /// Where its values begin.
    fn values(&self, layer: usize, head: usize) -> usize {
        self.head(layer, head) + BLOCK / LANES * self.head_dim
    }

    /// Bytes of a block.
    pub(crate) fn block_bytes(&self) -> usize {
        match &self.memory {
            Memory::Blocks(_) => self.layers * self.heads * self.head_lanes() * size_of::<Lanes>(),
            Memory::Pool(pool) => pool.block_bytes(),
        }
    }

    /// Blocks in memory, each counted once however many sequences share it.
    pub(crate) fn live_blocks(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }
}

/// Keys and values of [`BLOCK`] positions in all layers.
pub(crate) struct Block {
    /// In the panels that [`product`](crate::kernels::matmul::product) reads; empty if they are on a device.
    lanes: Box<[Lanes]>,
    /// The number of the block in a device's pool.
    index: u32,
    layout: Arc<Layout>,
}

impl Block {
    fn new(layout: &Arc<Layout>) -> Self {
        layout.live.fetch_add(1, Ordering::Relaxed);
        let (lanes, index) = match &layout.memory {
            Memory::Blocks(spare) => {
                let spare = spare.lock().ok().and_then(|mut spare| spare.pop());
                // Masked scores must be numbers: those of a former sequence are as good as zeros.
                let fresh = || vec![[0.0; LANES]; layout.layers * layout.heads * layout.head_lanes()].into_boxed_slice();
                (spare.unwrap_or_else(fresh), 0)
            }
            Memory::Pool(pool) => (Box::default(), pool.take()),
        };
        Self { lanes, index, layout: Arc::clone(layout) }
    }
}

impl Clone for Block {
    /// On a device the copy's content is what [`KvCache::reserve_on_device`] has copied.
    fn clone(&self) -> Self {
        let mut block = Self::new(&self.layout);
        block.lanes.copy_from_slice(&self.lanes);
        block
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.layout.live.fetch_sub(1, Ordering::Relaxed);
        match &self.layout.memory {
            Memory::Blocks(spare) => {
                if let Ok(mut spare) = spare.lock() {
                    spare.push(std::mem::take(&mut self.lanes));
                }
            }
            Memory::Pool(pool) => pool.give_back(self.index),
        }
    }
}

/// The keys and values of one sequence: what the model remembers of the tokens it was fed.
///
/// Made by [`Model::cache`](crate::Model::cache), extended by [`Model::forward`](crate::Model::forward). It consists of blocks of 32
/// positions. A clone shares them, and copies only the last one when it continues on its own: several answers to
/// one prompt share the work of reading it, and the memory.
#[derive(Clone)]
pub struct KvCache {
    blocks: Vec<Arc<Block>>,
    len: usize,
    layout: Arc<Layout>,
}

impl KvCache {
    pub(crate) fn new(layout: &Arc<Layout>) -> Self {
        Self { blocks: Vec::new(), len: 0, layout: Arc::clone(layout) }
    }

    /// A sequence that begins with the positions of some whole blocks.
    pub(crate) fn from_blocks(layout: &Arc<Layout>, blocks: Vec<Arc<Block>>) -> Self {
        Self { len: blocks.len() * BLOCK, blocks, layout: Arc::clone(layout) }
    }

    /// Tokens that were fed so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No token was fed yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The blocks; the last one may be filled in part.
    pub(crate) fn blocks(&self) -> &[Arc<Block>] {
        &self.blocks
    }

    /// Whether the next token needs a new block, or a copy of one that is shared.
    pub(crate) fn needs_block(&self) -> bool {
        match self.blocks.get(self.len / BLOCK) {
            Some(block) => Arc::strong_count(block) > 1,
            None => true,
        }
    }

    /// Makes room for `tokens` more, in blocks that are this sequence's own.
    pub(crate) fn reserve(&mut self, tokens: usize) {
        while self.blocks.len() * BLOCK < self.len + tokens {
            self.blocks.push(Arc::new(Block::new(&self.layout)));
        }
        if !self.len.is_multiple_of(BLOCK) {
            Arc::make_mut(&mut self.blocks[self.len / BLOCK]);
        }
    }

    /// [`KvCache::reserve`] on a device, and what is to be copied there before anything is stored: from which block of the pool to
    /// which.
    pub(crate) fn reserve_on_device(&mut self, tokens: usize, copies: &mut Vec<(u32, u32)>) {
        let (count, last) = (self.blocks.len(), self.len / BLOCK);
        let shared = if self.len.is_multiple_of(BLOCK) { None } else { Some(self.blocks[last].index) };
        self.reserve(tokens);
        if let Some(from) = shared {
            let to = self.blocks[last].index;
            copies.extend((from != to).then_some((from, to)));
        }
        copies.extend(self.blocks[count..].iter().map(|block| (Pool::ZEROS, block.index)));
    }

    /// Numbers of the blocks in the device's pool.
    pub(crate) fn indices(&self) -> impl Iterator<Item = u32> {
        self.blocks.iter().map(|block| block.index)
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.blocks.clear();
        self.len = 0;
    }

    /// Whether the cache was made for models of a layout.
    pub(crate) fn has_layout(&self, layout: &Arc<Layout>) -> bool {
        Arc::ptr_eq(&self.layout, layout)
    }

    /// Stores key and value of a position, `[heads, head_dim]` each, after [`KvCache::reserve`].
    pub(crate) fn push(&mut self, layer: usize, position: usize, keys: &[f32], values: &[f32]) {
        let (layout, head_dim) = (&self.layout, self.layout.head_dim);
        let block = Arc::make_mut(&mut self.blocks[position / BLOCK]);
        let row = position % BLOCK;
        for (head, (key, value)) in keys.chunks_exact(head_dim).zip(values.chunks_exact(head_dim)).enumerate() {
            let start = layout.head(layer, head) + row / LANES * head_dim;
            for (lanes, key) in block.lanes[start..][..head_dim].iter_mut().zip(key) {
                lanes[row % LANES] = *key;
            }
            let panels = block.lanes[layout.values(layer, head)..].chunks_exact_mut(BLOCK);
            for (panel, value) in panels.zip(value.chunks(LANES)) {
                panel[row][..value.len()].copy_from_slice(value);
            }
        }
    }

    /// Counts the tokens that were stored in every layer.
    pub(crate) fn advance(&mut self, tokens: usize) {
        self.len += tokens;
    }

    /// Keys from position `begin`, a multiple of [`LANES`], on: `count` panels of as many positions, `[head_dim]` deep.
    pub(crate) fn keys(&self, layer: usize, head: usize, begin: usize, count: usize) -> Keys<'_> {
        Keys { cache: self, start: self.layout.head(layer, head), first: begin / LANES, count }
    }

    /// Values from position `begin` on: panels of elements of the head, one row for each position.
    pub(crate) fn values(&self, layer: usize, head: usize, begin: usize) -> Values<'_> {
        Values { cache: self, start: self.layout.values(layer, head), begin }
    }
}

/// See [`KvCache::keys`].
#[derive(Clone, Copy)]
pub(crate) struct Keys<'a> {
    cache: &'a KvCache,
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
        &self.cache.blocks[block].lanes[self.start + part * self.cache.layout.head_dim + from..][..buffer.len()]
    }
}

/// See [`KvCache::values`].
#[derive(Clone, Copy)]
pub(crate) struct Values<'a> {
    cache: &'a KvCache,
    start: usize,
    begin: usize,
}

impl Panels for Values<'_> {
    #[inline(always)]
    fn count(self) -> usize {
        self.cache.layout.value_panels()
    }

    #[inline(always)]
    fn together(self, row: usize) -> usize {
        BLOCK - (self.begin + row) % BLOCK
    }

    #[inline(always)]
    fn rows<'a, S: Simd>(self, _simd: S, panel: usize, from: usize, buffer: &'a mut [Lanes]) -> &'a [Lanes]
    where
        Self: 'a,
    {
        let position = self.begin + from;
        &self.cache.blocks[position / BLOCK].lanes[self.start + panel * BLOCK + position % BLOCK..][..buffer.len()]
    }
}
