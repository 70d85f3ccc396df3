//! Causal attention of one sequence over its own keys and values.

use crate::elementwise::exp_and_sum;
use crate::kernel::{LANES, Lanes, Rows, product, vectorised};

/// Keys and values of one key/value head in one block, in the panels that [`product`] reads.
#[derive(Clone, Default)]
pub(crate) struct HeadCache {
    /// `[position / LANES][head_dim]`, lanes are positions: scores are `q` times these panels.
    keys: Vec<Lanes>,
    /// `[head_dim / LANES][position]`, lanes are elements of the head: outputs are weights times these.
    values: Vec<Vec<Lanes>>,
}

impl HeadCache {
    fn clear(&mut self) {
        self.keys.clear();
        self.values.iter_mut().for_each(Vec::clear);
    }

    /// Appends the key and the value, `[head_dim]` each, of the token at `position`.
    pub(crate) fn push(&mut self, position: usize, key: &[f32], value: &[f32]) {
        let head_dim = key.len();
        if position.is_multiple_of(LANES) {
            // Zeros, not whatever was there: masked scores must be numbers.
            self.keys.resize(self.keys.len() + head_dim, [0.0; LANES]);
        }
        let start = position / LANES * head_dim;
        for (lanes, key) in self.keys[start..start + head_dim].iter_mut().zip(key) {
            lanes[position % LANES] = *key;
        }
        self.values.resize_with(head_dim.div_ceil(LANES), Vec::new);
        for (panel, value) in self.values.iter_mut().zip(value.chunks(LANES)) {
            let mut lanes = [0.0; LANES];
            lanes[..value.len()].copy_from_slice(value);
            panel.push(lanes);
        }
    }
}

/// The keys and values of one sequence: what the model remembers of the tokens it was fed.
///
/// Made by [`Model::cache`](crate::Model::cache), extended by [`Model::forward`](crate::Model::forward). A clone continues on its own:
/// several answers to one prompt share the work of reading it.
#[derive(Clone)]
pub struct KvCache {
    /// `[layer][key/value head]`.
    pub(crate) layers: Vec<Vec<HeadCache>>,
    pub(crate) len: usize,
}

impl KvCache {
    pub(crate) fn new(layers: usize, heads: usize) -> Self {
        Self { layers: vec![vec![HeadCache::default(); heads]; layers], len: 0 }
    }

    /// Tokens that were fed so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No token was fed yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets all tokens and keeps the memory for others.
    pub fn clear(&mut self) {
        self.layers.iter_mut().flatten().for_each(HeadCache::clear);
        self.len = 0;
    }
}

/// The sizes that attention needs.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub window: Option<usize>,
}

impl Shape {
    /// Width of a row of queries, and of attention's output.
    pub(crate) fn width(self) -> usize {
        self.heads * self.head_dim
    }
}

/// Some heads of some neighbouring tokens of a sequence: the unit of work.
pub(crate) struct Task<'a> {
    /// The caches of one layer.
    pub caches: &'a [HeadCache],
    /// The first token's query row, `[heads * head_dim]`, rotated.
    pub queries: &'a [f32],
    /// Distance from one token's query row to the next one's.
    pub stride: usize,
    /// Position of the first token.
    pub position: usize,
    /// Key/value heads to do.
    pub kv_heads: std::ops::Range<usize>,
    /// `[tokens, kv_heads.len() * group * head_dim]`.
    pub out: &'a mut [f32],
}

/// Memory that tasks use one after the other.
#[derive(Default)]
pub(crate) struct Scratch {
    queries: Vec<f32>,
    scores: Vec<f32>,
    sums: Vec<f32>,
}

vectorised! {
    /// Attention (Vaswani et al., arXiv 1706.03762) with grouped queries: query head `h` reads key/value head
    /// `h / (heads / kv_heads)`, a token sees itself and those before it, at most `window` of them.
    pub(crate) fn attend<'a>(simd, shape: Shape, task: Task<'a>, scratch: &'a mut Scratch) -> () {
        let Shape { heads, kv_heads, head_dim, window } = shape;
        let group = heads / kv_heads;
        let out_width = task.kv_heads.len() * group * head_dim;
        let tokens = task.out.len() / out_width;
        let rows = tokens * group;
        let end = task.position + tokens;
        // First position that any of the tokens sees, rounded down to a whole panel of keys.
        let begin = window.map_or(0, |window| (task.position + 1).saturating_sub(window)) / LANES * LANES;
        let panels = (end - begin).div_ceil(LANES);
        let width = panels * LANES;
        let scale = 1.0 / (head_dim as f32).sqrt();
        let Scratch { queries, scores, sums } = scratch;
        scores.resize(rows * width, 0.0);
        sums.resize(rows, 0.0);

        for (local, head) in task.kv_heads.enumerate() {
            let HeadCache { keys, values } = &task.caches[head];
            queries.clear();
            for token in 0..tokens {
                let row = &task.queries[token * task.stride + head * group * head_dim..][..group * head_dim];
                queries.extend(row.iter().map(|q| q * scale));
            }
            let keys = &keys[begin / LANES * head_dim..];
            let q = Rows { data: queries, stride: head_dim, rows, depth: head_dim };
            product(simd, q, panels, |p| &keys[p * head_dim..][..head_dim], |row, p, lanes| {
                scores[row * width + p * LANES..][..LANES].copy_from_slice(lanes);
            });
            for (row, (scores, sum)) in scores.chunks_exact_mut(width).zip(sums.iter_mut()).enumerate() {
                let position = task.position + row / group;
                let from = window.map_or(0, |window| (position + 1).saturating_sub(window));
                *sum = exp_and_sum(scores, from.saturating_sub(begin), position + 1 - begin);
            }
            let weights = Rows { data: scores, stride: width, rows, depth: end - begin };
            product(simd, weights, values.len(), |p| &values[p][begin..end], |row, p, lanes| {
                let (token, member) = (row / group, row % group);
                let at = token * out_width + (local * group + member) * head_dim + p * LANES;
                let inverse = 1.0 / sums[row];
                let cut = (head_dim - p * LANES).min(LANES);
                for (out, lane) in task.out[at..at + cut].iter_mut().zip(lanes) {
                    *out = lane * inverse;
                }
            });
        }
    }
}
