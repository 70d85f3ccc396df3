//! The decoder: weights in memory and one forward pass with a KV cache.
//!
//! Written on `f32` slices rather than candle tensors, for three reasons. Decoding many short sequences of
//! a small model is a few microseconds of arithmetic per operation: allocation and dispatch of a tensor library
//! would cost more than that. Sequences of different lengths attend to their own caches, without padding.
//! And every sum has an order of its own ([`crate::kernel`]), so that a sequence's logits do not depend on what
//! else is in the batch, on how its tokens were split into calls, or on the number of threads.
//!
//! Rows are spread over threads in one of two ways. Many sequences: each thread takes some of them through the
//! whole model, and no thread waits for another. Few: each product is split by columns, so that the weights are
//! read once.

use std::path::Path;

use candle_core::Device;
use rayon::prelude::*;

use crate::attention::{KvCache, Scratch, Shape, Task, attend};
use crate::elementwise::{rms_norm, rotary_angles, rotary_frequencies, rotate, swiglu};
use crate::linear::{Into, Linear, Threads};
use crate::{Error, ModelConfig, Result, Weights};

/// Tokens of one sequence that attend together: their keys are read once.
const ATTENTION_TOKENS: usize = 16;

/// Rows from which a thread works on its own sequences rather than on its own columns; eight times as many
/// where each thread would read the weights from memory.
const ROWS_PER_THREAD: usize = 8;

/// Bytes of weights that fit into the cache that cores share.
const CACHED_WEIGHTS: usize = 16 << 20;

/// A Llama or Mistral model, ready to run on the CPU in `f32`.
pub struct Model {
    config: ModelConfig,
    embedding: Embedding,
    blocks: Vec<Block>,
    final_norm: Vec<f32>,
    head: Linear,
    frequencies: Vec<f32>,
    /// Rows of the head: the vocabulary, or 1 for a value head.
    outputs: usize,
    /// Rows from which a thread works on its own sequences.
    rows_per_thread: usize,
}

enum Embedding {
    /// `[vocab, hidden]`.
    Own(Vec<f32>),
    /// The head's rows.
    Tied,
}

struct Block {
    attention_norm: Vec<f32>,
    /// Queries, keys and values of a token in one product.
    qkv: Linear,
    attention_out: Linear,
    mlp_norm: Vec<f32>,
    gate_up: Linear,
    down: Linear,
}

/// Which logits a call of [`Model::forward`] returns for a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logits {
    /// Those after the last token.
    Last,
    /// Those after every token.
    All,
}

/// The next tokens of one sequence.
pub struct Feed<'a> {
    /// Token ids; at least one.
    pub tokens: &'a [u32],
    /// What the sequence was fed before; the tokens are added to it.
    pub cache: &'a mut KvCache,
    /// The logits to return.
    pub logits: Logits,
}

impl Feed<'_> {
    fn rows_out(&self) -> usize {
        match self.logits {
            Logits::Last => 1,
            Logits::All => self.tokens.len(),
        }
    }
}

impl Model {
    /// Loads a folder with `config.json` and safetensors, or a `.gguf` file.
    ///
    /// # Errors
    /// [`Error::Device`] for a device other than the CPU; else whatever is wrong with the files.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        if !device.is_cpu() {
            return Err(Error::Device { got: format!("{:?}", device.location()) });
        }
        let weights = Weights::open(path)?;
        let config = weights.config()?;
        Self::from_weights(config, |name, shape| weights.read(name, shape))
    }

    /// Builds a model from weights by their names and shapes ([`ModelConfig::tensors`]), row-major, in `f32`.
    ///
    /// # Errors
    /// Those of `weight`.
    pub fn from_weights(config: ModelConfig, weight: impl Fn(&str, &[usize]) -> Result<Vec<f32>>) -> Result<Self> {
        Self::with_head(config, None, weight)
    }

    /// [`Model::from_weights`] with a `value_head`, `[1, hidden]`, in place of the language-model head: a row of logits is then
    /// one number.
    pub(crate) fn with_head(
        config: ModelConfig,
        value_head: Option<&[f32]>,
        weight: impl Fn(&str, &[usize]) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        let (hidden, ffn, head_dim) = (config.hidden_size, config.intermediate_size, config.head_dim);
        let (q, kv) = (config.num_attention_heads * head_dim, config.num_key_value_heads * head_dim);
        let table = weight("model.embed_tokens.weight", &[config.vocab_size, hidden])?;
        let block = |layer: usize| -> Result<Block> {
            let get = |tail: &str, shape: &[usize]| weight(&format!("model.layers.{layer}.{tail}.weight"), shape);
            let qkv =
                [get("self_attn.q_proj", &[q, hidden])?, get("self_attn.k_proj", &[kv, hidden])?, get("self_attn.v_proj", &[kv, hidden])?];
            let gate_up = [get("mlp.gate_proj", &[ffn, hidden])?, get("mlp.up_proj", &[ffn, hidden])?];
            Ok(Block {
                attention_norm: get("input_layernorm", &[hidden])?,
                qkv: Linear::pack(hidden, &[&qkv[0], &qkv[1], &qkv[2]]),
                attention_out: Linear::pack(q, &[&get("self_attn.o_proj", &[hidden, q])?]),
                mlp_norm: get("post_attention_layernorm", &[hidden])?,
                gate_up: Linear::pack(hidden, &[&gate_up[0], &gate_up[1]]),
                down: Linear::pack(ffn, &[&get("mlp.down_proj", &[hidden, ffn])?]),
            })
        };
        let blocks = (0..config.num_hidden_layers).map(block).collect::<Result<_>>()?;
        let final_norm = weight("model.norm.weight", &[hidden])?;
        let (embedding, head) = if let Some(row) = value_head {
            (Embedding::Own(table), Linear::pack(hidden, &[row]))
        } else if config.tie_word_embeddings {
            (Embedding::Tied, Linear::pack(hidden, &[&table]))
        } else {
            let head = Linear::pack(hidden, &[&weight("lm_head.weight", &[config.vocab_size, hidden])?]);
            (Embedding::Own(table), head)
        };
        let mut frequencies = rotary_frequencies(config.rope_theta, head_dim);
        config.rope_scaling.iter().for_each(|scaling| scaling.scale(&mut frequencies));
        let cached = config.num_parameters() * size_of::<f32>() <= CACHED_WEIGHTS;
        let rows_per_thread = if cached { ROWS_PER_THREAD } else { 8 * ROWS_PER_THREAD };
        let outputs = value_head.map_or(config.vocab_size, |_| 1);
        Ok(Self { config, embedding, blocks, final_norm, head, frequencies, outputs, rows_per_thread })
    }

    /// Sizes and constants.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// An empty cache for a new sequence.
    pub fn cache(&self) -> KvCache {
        KvCache::new(self.config.num_hidden_layers, self.config.num_key_value_heads)
    }

    /// Feeds tokens to any number of sequences and writes their logits, `[rows, vocab]` in the order of
    /// `feeds`, to `logits`, whose former content is replaced.
    ///
    /// A sequence's logits are the same bits alone and beside others, and however its tokens are split into calls.
    ///
    /// ```no_run
    /// # use janus_infer::{Feed, Logits, Model};
    /// let model = Model::load("model", &candle_core::Device::Cpu)?;
    /// let (mut cache, mut logits) = (model.cache(), Vec::new());
    /// model.forward(&mut [Feed { tokens: &[1, 5, 9], cache: &mut cache, logits: Logits::Last }], &mut logits)?;
    /// assert_eq!(logits.len(), model.config().vocab_size);
    /// # Ok::<(), janus_infer::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TokenId`] if an id is outside the vocabulary, [`Error::NoTokens`] if a sequence is fed none; nothing was fed then.
    pub fn forward(&self, feeds: &mut [Feed<'_>], logits: &mut Vec<f32>) -> Result<()> {
        let vocab_size = self.config.vocab_size;
        for feed in feeds.iter() {
            if feed.tokens.is_empty() {
                return Err(Error::NoTokens);
            }
            if let Some(&id) = feed.tokens.iter().find(|&&id| id as usize >= vocab_size) {
                return Err(Error::TokenId { id, vocab_size });
            }
        }
        logits.resize(feeds.iter().map(Feed::rows_out).sum::<usize>() * self.outputs, 0.0);
        let rows: usize = feeds.iter().map(|feed| feed.tokens.len()).sum();
        let workers = rayon::current_num_threads();
        if workers > 1 && feeds.len() >= workers && rows >= self.rows_per_thread * workers {
            split(feeds, logits, self.outputs, rows.div_ceil(workers)).into_par_iter().for_each(|(feeds, logits)| {
                self.forward_rows(feeds, logits, Threads::One);
            });
        } else {
            self.forward_rows(feeds, logits, Threads::All);
        }
        Ok(())
    }

    fn forward_rows(&self, feeds: &mut [Feed<'_>], logits: &mut [f32], threads: Threads) {
        let config = &self.config;
        let (hidden, head_dim) = (config.hidden_size, config.head_dim);
        let eps = config.rms_norm_eps as f32;
        let shape =
            Shape { heads: config.num_attention_heads, kv_heads: config.num_key_value_heads, head_dim, window: config.sliding_window };
        let (q_width, kv_width) = (shape.width(), shape.kv_heads * head_dim);
        let qkv_width = q_width + 2 * kv_width;
        let rows: usize = feeds.iter().map(|feed| feed.tokens.len()).sum();

        let mut x = vec![0f32; rows * hidden];
        let mut angles = Vec::with_capacity(rows * head_dim);
        let tokens = feeds.iter().flat_map(|feed| feed.tokens.iter().enumerate().map(|(i, &id)| (feed.cache.len + i, id as usize)));
        for ((position, id), x) in tokens.zip(x.chunks_exact_mut(hidden)) {
            match &self.embedding {
                Embedding::Own(table) => x.copy_from_slice(&table[id * hidden..][..hidden]),
                Embedding::Tied => self.head.copy_row(id, x),
            }
            rotary_angles(position, &self.frequencies, &mut angles);
        }

        let mut normed = vec![0f32; rows * hidden];
        let mut qkv = vec![0f32; rows * qkv_width];
        let mut attended = vec![0f32; rows * q_width];
        let mut gate_up = vec![0f32; rows * 2 * config.intermediate_size];
        let mut inner = vec![0f32; rows * config.intermediate_size];
        for (layer, block) in self.blocks.iter().enumerate() {
            rms_norm(&x, &block.attention_norm, eps, &mut normed);
            block.qkv.apply(&normed, &mut qkv, Into::Replace, threads);
            let mut rows = qkv.chunks_exact_mut(qkv_width).zip(angles.chunks_exact(head_dim));
            for feed in feeds.iter_mut() {
                let start = feed.cache.len;
                for (i, (row, angles)) in rows.by_ref().take(feed.tokens.len()).enumerate() {
                    let (rotated, values) = row.split_at_mut(q_width + kv_width);
                    rotate(rotated, angles);
                    let keys = &rotated[q_width..];
                    for ((head, key), value) in
                        feed.cache.layers[layer].iter_mut().zip(keys.chunks_exact(head_dim)).zip(values.chunks_exact(head_dim))
                    {
                        head.push(start + i, key, value);
                    }
                }
            }
            let tasks = tasks(shape, feeds, layer, &qkv, qkv_width, &mut attended);
            if threads == Threads::All && (rows_worth_splitting(feeds)) {
                tasks.into_par_iter().for_each_init(Scratch::default, |scratch, task| attend(shape, task, scratch));
            } else {
                let mut scratch = Scratch::default();
                tasks.into_iter().for_each(|task| attend(shape, task, &mut scratch));
            }
            block.attention_out.apply(&attended, &mut x, Into::Add, threads);
            rms_norm(&x, &block.mlp_norm, eps, &mut normed);
            block.gate_up.apply(&normed, &mut gate_up, Into::Replace, threads);
            swiglu(&gate_up, config.intermediate_size, &mut inner);
            block.down.apply(&inner, &mut x, Into::Add, threads);
        }

        let mut wanted = Vec::with_capacity(feeds.iter().map(Feed::rows_out).sum::<usize>() * hidden);
        let mut end = 0;
        for feed in feeds.iter_mut() {
            feed.cache.len += feed.tokens.len();
            end += feed.tokens.len();
            wanted.extend_from_slice(&x[(end - feed.rows_out()) * hidden..end * hidden]);
        }
        let normed = &mut normed[..wanted.len()];
        rms_norm(&wanted, &self.final_norm, eps, normed);
        self.head.apply(normed, logits, Into::Replace, threads);
    }
}

/// Query-key pairs enough for a second thread to pay.
fn rows_worth_splitting(feeds: &[Feed<'_>]) -> bool {
    feeds.iter().map(|feed| feed.tokens.len() * (feed.cache.len + feed.tokens.len())).sum::<usize>() >= 128
}

/// Cuts the attention of one layer into pieces: [`ATTENTION_TOKENS`] tokens of a sequence with all heads, or, of
/// a single token, one key/value head.
fn tasks<'a>(
    shape: Shape,
    feeds: &'a [Feed<'_>],
    layer: usize,
    qkv: &'a [f32],
    qkv_width: usize,
    mut attended: &'a mut [f32],
) -> Vec<Task<'a>> {
    let mut tasks = Vec::new();
    let mut row = 0;
    for feed in feeds {
        let caches = &feed.cache.layers[layer][..];
        let len = feed.tokens.len();
        let heads_each = if len == 1 { 1 } else { shape.kv_heads };
        for token in (0..len).step_by(ATTENTION_TOKENS) {
            let tokens = (len - token).min(ATTENTION_TOKENS);
            for head in (0..shape.kv_heads).step_by(heads_each) {
                let width = heads_each * shape.width() / shape.kv_heads;
                let (out, rest) = std::mem::take(&mut attended).split_at_mut(tokens * width);
                attended = rest;
                let queries = &qkv[(row + token) * qkv_width..];
                let position = feed.cache.len + token;
                tasks.push(Task { caches, queries, stride: qkv_width, position, kv_heads: head..head + heads_each, out });
            }
        }
        row += len;
    }
    tasks
}

/// Cuts the sequences into runs of about `share` rows, each with its part of the logits.
fn split<'s, 'f>(
    mut feeds: &'s mut [Feed<'f>],
    mut logits: &'s mut [f32],
    vocab_size: usize,
    share: usize,
) -> Vec<(&'s mut [Feed<'f>], &'s mut [f32])> {
    let mut parts = Vec::new();
    while !feeds.is_empty() {
        let (mut count, mut rows, mut rows_out) = (0, 0, 0);
        while count < feeds.len() && rows < share {
            rows += feeds[count].tokens.len();
            rows_out += feeds[count].rows_out();
            count += 1;
        }
        let (part, rest) = std::mem::take(&mut feeds).split_at_mut(count);
        let (part_logits, rest_logits) = std::mem::take(&mut logits).split_at_mut(rows_out * vocab_size);
        parts.push((part, part_logits));
        (feeds, logits) = (rest, rest_logits);
    }
    parts
}
