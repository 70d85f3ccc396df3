//! Causal attention of one sequence over its own keys and values.

#![expect(clippy::manual_memcpy, reason = "a copy or an adaptor stays a call (simd.rs)")]

use crate::kernels::AttentionShape;
use crate::kernels::matmul::{Rows, Work, product};
use crate::kernels::simd::{LANES, simd_fn};
use crate::kernels::softmax::exp_minus_max;
use crate::kv::CacheWriter;

/// The unit of work: some heads of some consecutive tokens of a sequence.
pub(crate) struct Task<'a> {
    pub cache: &'a CacheWriter<'a>,
    pub layer: usize,
    /// The first token's queries, `[heads * head_dim]`, with rotary embedding applied.
    pub queries: &'a [f32],
    /// Distance from one token's queries to the next one's.
    pub stride: usize,
    /// Position of the first token.
    pub position: usize,
    /// The key/value heads of this task.
    pub kv_heads: std::ops::Range<usize>,
    /// `[tokens, kv_heads.len() * group * head_dim]`.
    pub out: &'a mut [f32],
}

/// Scratch space that tasks of a thread use one after the other.
#[derive(Default)]
pub(crate) struct Scratch {
    queries: Vec<f32>,
    scores: Vec<f32>,
    sums: Vec<f32>,
    work: Work,
}

simd_fn! {
    /// Grouped-query attention (Ainslie et al., arXiv 2305.13245): query head `h` reads key/value head
    /// `h / (heads / kv_heads)`. A token attends to itself and the tokens before it, at most
    /// `sliding_window` of them.
    pub(crate) fn attend<'a>(simd, shape: AttentionShape, task: Task<'a>, scratch: &'a mut Scratch) {
        let (group, head_dim) = (shape.group(), shape.head_dim);
        let out_width = task.kv_heads.len() * group * head_dim;
        let tokens = task.out.len() / out_width;
        let rows = tokens * group;
        let end = task.position + tokens;
        // The first position that any of the tokens attends to, rounded down to a whole panel of keys.
        let begin = shape.first_seen(task.position) / LANES * LANES;
        let panels = (end - begin).div_ceil(LANES);
        let width = panels * LANES;
        let scale = shape.scale();
        let Scratch { queries, scores, sums, work } = scratch;
        scores.resize(rows * width, 0.0);
        sums.resize(rows, 0.0);

        for (local, head) in task.kv_heads.enumerate() {
            queries.clear();
            for token in 0..tokens {
                let row = &task.queries[token * task.stride + head * group * head_dim..][..group * head_dim];
                queries.extend_from_slice(row);
            }
            let q = Rows { data: queries, stride: head_dim, rows, depth: head_dim };
            product(simd, q, task.cache.keys(task.layer, head, begin, panels), work, |row, p, lanes| {
                let out = &mut scores[row * width + p * LANES..][..LANES];
                for i in 0..LANES {
                    out[i] = lanes[i];
                }
            });
            for row in 0..rows {
                let position = task.position + row / group;
                let scores = &mut scores[row * width..][..width];
                let seen = shape.first_seen(position) - begin..position + 1 - begin;
                sums[row] = exp_minus_max(scores, seen, scale);
            }
            let weights = Rows { data: scores, stride: width, rows, depth: end - begin };
            product(simd, weights, task.cache.values(task.layer, head, begin), work, |row, p, lanes| {
                let (token, member) = (row / group, row % group);
                let at = token * out_width + (local * group + member) * head_dim + p * LANES;
                let inverse = 1.0 / sums[row];
                let cut = (head_dim - p * LANES).min(LANES);
                let out = &mut task.out[at..at + cut];
                for i in 0..cut {
                    out[i] = lanes[i] * inverse;
                }
            });
        }
    }
}
