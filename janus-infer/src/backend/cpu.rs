//! The decoder on the CPU: weights in memory and one forward pass with a KV cache.
//!
//! It works on `f32` slices rather than candle tensors, for three reasons. When many short sequences of
//! a small model are decoded, an operation takes a few microseconds, less than a tensor library's
//! allocation and dispatch. Sequences of different lengths attend to their own caches, without padding.
//! And every sum has a fixed order ([`crate::kernels::matmul`]), so that a sequence's logits do not
//! depend on what else is in the batch, on how its tokens were split into calls, or on the number of
//! threads.
//!
//! Work is spread over threads in one of two ways. With many sequences, each thread takes some of them
//! through the whole model, and no thread waits for another. With few, each matrix product is split by
//! columns, so that the weights are read once.

mod attention;

use std::cell::RefCell;
use std::sync::Arc;

use rayon::prelude::*;

use super::weights::{DecoderWeights, Source};
use crate::batch::SequenceInput;
use crate::files::Matrix;
use crate::kernels::AttentionShape;
use crate::kernels::crew::Crew;
use crate::kernels::linear::{Accumulate, Linear};
use crate::kernels::norm::rms_norm;
use crate::kernels::rope;
use crate::kernels::simd::vectorised;
use crate::kernels::swiglu::swiglu;
use crate::kv::CacheWriter;
use crate::{ModelConfig, Result};
use attention::{Scratch, Task, attend};

/// Tokens of one sequence that attend in one task, which reads their keys once.
const ATTENTION_TOKENS: usize = 16;

/// Rows per thread from which a thread works on its own sequences rather than on its own columns; eight
/// times as many for a model that does not fit into the shared cache, since each thread would read the
/// weights from memory.
const ROWS_PER_THREAD: usize = 8;

/// Rows that go through an MLP at a time, to bound the memory of its wide inner activations.
const MLP_ROWS: usize = 192;

/// Bytes of weights that fit into the cache that all cores share.
const CACHED_WEIGHTS: usize = 16 << 20;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// A model on the CPU: arithmetic in `f32`, weights in the type of their file.
pub(crate) struct CpuDecoder {
    config: Arc<ModelConfig>,
    weights: DecoderWeights<Linear, Vec<f32>>,
    frequencies: Vec<f32>,
    /// Rows of the head: the vocabulary, or 1 for a value head.
    outputs: usize,
    /// Rows per thread from which a thread works on its own sequences.
    rows_per_thread: usize,
}

impl CpuDecoder {
    pub(crate) fn build(
        config: &Arc<ModelConfig>,
        value_head: Option<Matrix<'_>>,
        source: &Source<'_, '_>,
    ) -> Result<Self> {
        let outputs = value_head.as_ref().map_or(config.vocab_size, |head| head.rows);
        let value_head = value_head.map(|head| Linear::pack(&[head]));
        let weights =
            DecoderWeights::build(config, value_head, source, Ok, |matrices| Ok(Linear::pack(matrices)))?;
        let cached = config.num_parameters() * size_of::<f32>() <= CACHED_WEIGHTS;
        let rows_per_thread = if cached { ROWS_PER_THREAD } else { 8 * ROWS_PER_THREAD };
        let frequencies = rope::frequencies(config.rope_theta, config.head_dim, config.rope_scaling.as_ref());
        Ok(Self { config: Arc::clone(config), weights, frequencies, outputs, rows_per_thread })
    }

    /// Runs inputs that were checked; `logits` has the size of the rows that are wanted.
    pub(crate) fn forward(&self, inputs: &mut [SequenceInput<'_>], logits: &mut [f32]) {
        let rows: usize = inputs.iter().map(|input| input.tokens.len()).sum();
        let workers = rayon::current_num_threads();
        if workers > 1 && inputs.len() >= workers && rows >= self.rows_per_thread * workers {
            split(inputs, logits, self.outputs, rows.div_ceil(workers)).into_par_iter().for_each(
                |(inputs, logits)| {
                    self.forward_rows(inputs, logits, &Crew::alone());
                },
            );
        } else {
            Crew::of_all(|crew| self.forward_rows(inputs, logits, crew));
        }
    }

    fn forward_rows(&self, inputs: &mut [SequenceInput<'_>], logits: &mut [f32], crew: &Crew) {
        let (config, weights) = (&self.config, &self.weights);
        let (hidden, head_dim) = (config.hidden_size, config.head_dim);
        let eps = config.rms_norm_eps as f32;
        let shape = AttentionShape::of(config);
        let (q_width, kv_width) = (shape.width(), shape.kv_width());
        let qkv_width = q_width + 2 * kv_width;
        let logit_rows: Vec<usize> = inputs.iter().map(SequenceInput::logit_rows).collect();
        let tokens: Vec<usize> =
            inputs.iter().flat_map(|input| input.tokens).map(|&id| id as usize).collect();
        let mut caches: Vec<CacheWriter<'_>> =
            inputs.iter_mut().map(|input| input.cache.reserve(input.tokens.len()).on_host()).collect();
        let rows = tokens.len();

        let mut x = vec![0f32; rows * hidden];
        let mut angles = Vec::with_capacity(rows * head_dim);
        let positions = caches.iter().flat_map(|cache| cache.len()..cache.len() + cache.tokens());
        let table = weights.embedding.as_ref().unwrap_or(&weights.head);
        for ((position, id), x) in positions.zip(&tokens).zip(x.chunks_exact_mut(hidden)) {
            table.copy_row(*id, x);
            rope::push_angles(position, &self.frequencies, &mut angles);
        }

        let mut normed = vec![0f32; rows * hidden];
        let mut qkv = vec![0f32; rows * qkv_width];
        let mut attended = vec![0f32; rows * q_width];
        let mlp_rows = rows.min(MLP_ROWS);
        let mut gate_up = vec![0f32; mlp_rows * 2 * config.intermediate_size];
        let mut inner = vec![0f32; mlp_rows * config.intermediate_size];
        for (index, layer) in weights.layers.iter().enumerate() {
            rms_norm(&x, &layer.attention_norm, eps, &mut normed);
            layer.qkv.apply(&normed, &mut qkv, Accumulate::Replace, crew);
            let mut rows = qkv.chunks_exact_mut(qkv_width).zip(angles.chunks_exact(head_dim));
            for cache in &mut caches {
                let start = cache.len();
                for (i, (row, angles)) in rows.by_ref().take(cache.tokens()).enumerate() {
                    let (rotated, values) = row.split_at_mut(q_width + kv_width);
                    vectorised!(|| rope::rotate(rotated, angles, false));
                    cache.push(index, start + i, &rotated[q_width..], values);
                }
            }
            let tasks = tasks(shape, &caches, index, &qkv, qkv_width, &mut attended);
            if worth_splitting(&caches) {
                crew.for_each(tasks, |task| SCRATCH.with_borrow_mut(|scratch| attend(shape, task, scratch)));
            } else {
                SCRATCH.with_borrow_mut(|scratch| {
                    tasks.into_iter().for_each(|task| attend(shape, task, scratch))
                });
            }
            layer.attention_out.apply(&attended, &mut x, Accumulate::Add, crew);
            rms_norm(&x, &layer.mlp_norm, eps, &mut normed);
            for (normed, x) in normed.chunks(MLP_ROWS * hidden).zip(x.chunks_mut(MLP_ROWS * hidden)) {
                let rows = x.len() / hidden;
                let gate_up = &mut gate_up[..rows * 2 * config.intermediate_size];
                let inner = &mut inner[..rows * config.intermediate_size];
                layer.gate_up.apply(normed, gate_up, Accumulate::Replace, crew);
                swiglu(gate_up, config.intermediate_size, inner);
                layer.down.apply(inner, x, Accumulate::Add, crew);
            }
        }

        let mut wanted = Vec::with_capacity(logit_rows.iter().sum::<usize>() * hidden);
        let mut end = 0;
        for (cache, logit_rows) in caches.into_iter().zip(logit_rows) {
            end += cache.tokens();
            wanted.extend_from_slice(&x[(end - logit_rows) * hidden..end * hidden]);
            cache.commit();
        }
        if wanted.is_empty() {
            return;
        }
        let normed = &mut normed[..wanted.len()];
        rms_norm(&wanted, &weights.final_norm, eps, normed);
        weights.head.apply(normed, logits, Accumulate::Replace, crew);
    }
}

/// Whether attention has enough query-key pairs for a second thread to pay off.
fn worth_splitting(caches: &[CacheWriter<'_>]) -> bool {
    caches.iter().map(|cache| cache.tokens() * (cache.len() + cache.tokens())).sum::<usize>() >= 128
}

/// Splits the attention of one layer into tasks: [`ATTENTION_TOKENS`] tokens of a sequence with all
/// heads, or one key/value head of a single token.
fn tasks<'a>(
    shape: AttentionShape,
    caches: &'a [CacheWriter<'_>],
    layer: usize,
    qkv: &'a [f32],
    qkv_width: usize,
    mut attended: &'a mut [f32],
) -> Vec<Task<'a>> {
    let mut tasks = Vec::new();
    let mut row = 0;
    for cache in caches {
        let len = cache.tokens();
        let heads_each = if len == 1 { 1 } else { shape.kv_heads };
        for token in (0..len).step_by(ATTENTION_TOKENS) {
            let tokens = (len - token).min(ATTENTION_TOKENS);
            for head in (0..shape.kv_heads).step_by(heads_each) {
                let width = heads_each * shape.width() / shape.kv_heads;
                let (out, rest) = std::mem::take(&mut attended).split_at_mut(tokens * width);
                attended = rest;
                let queries = &qkv[(row + token) * qkv_width..];
                let position = cache.len() + token;
                tasks.push(Task {
                    cache,
                    layer,
                    queries,
                    stride: qkv_width,
                    position,
                    kv_heads: head..head + heads_each,
                    out,
                });
            }
        }
        row += len;
    }
    tasks
}

/// Splits the sequences into runs of about `share` rows, each with its part of the logits.
fn split<'s, 'f>(
    mut inputs: &'s mut [SequenceInput<'f>],
    mut logits: &'s mut [f32],
    vocab_size: usize,
    share: usize,
) -> Vec<(&'s mut [SequenceInput<'f>], &'s mut [f32])> {
    let mut parts = Vec::new();
    while !inputs.is_empty() {
        let (mut count, mut rows, mut rows_out) = (0, 0, 0);
        while count < inputs.len() && rows < share {
            rows += inputs[count].tokens.len();
            rows_out += inputs[count].logit_rows();
            count += 1;
        }
        let (part, rest) = std::mem::take(&mut inputs).split_at_mut(count);
        let (part_logits, rest_logits) = std::mem::take(&mut logits).split_at_mut(rows_out * vocab_size);
        parts.push((part, part_logits));
        (inputs, logits) = (rest, rest_logits);
    }
    parts
}
