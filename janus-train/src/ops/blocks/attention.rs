//! Attention in candle's ops, one tile of queries at a time.

use candle_core::{D, DType, Device, Result, Tensor, Var};
use janus_infer::kernels::AttentionShape;

use super::BLOCK_QUERIES;
use super::node::Computed;
use crate::ops::product::product;
use crate::ops::weights::documents;

/// The same as [`ops::attention`](crate::ops::attention()), one tile of queries at a time in both
/// passes. Gradients of keys and values are summed over the tiles in f32.
pub(in crate::ops) fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    shape: AttentionShape,
    cu_seqlens: &[u32],
) -> Result<Tensor> {
    let qkv = Tensor::cat(&[q, k, v], 1)?;
    let mut tiles = Vec::new();
    for document in documents(cu_seqlens) {
        for start in document.clone().step_by(BLOCK_QUERIES) {
            let queries = start..(start + BLOCK_QUERIES).min(document.end);
            let first_seen = document.start + shape.first_seen(start - document.start);
            tiles.push((first_seen..queries.end, queries.len()));
        }
    }
    let input = qkv.detach();
    let rows = move |(keys, _): &(std::ops::Range<usize>, usize)| input.narrow(0, keys.start, keys.len());
    let values = tiles.iter().map(|of| tile(&rows(of)?, of.1, shape)).collect::<Result<Vec<_>>>()?;
    let value = if values.is_empty() { q.detach() } else { Tensor::cat(&values, 0)? };
    if !qkv.track_op() {
        return Ok(value);
    }
    let (dims, device) = (qkv.dims2()?, qkv.device().clone());
    let backward = move |dy: &Tensor| {
        let sums = Tensor::zeros(dims, DType::F32, &device)?;
        let mut done = 0;
        for of in &tiles {
            let (keys, queries) = of;
            let rows = Var::from_tensor(&rows(of)?.contiguous()?)?;
            let y = tile(&rows, *queries, shape)?;
            let mut gradients = y.mul(&dy.narrow(0, done, *queries)?)?.sum_all()?.backward()?;
            done += queries;
            if let Some(part) = gradients.remove(&rows) {
                let sum = sums.narrow(0, keys.start, keys.len())?.add(&part.to_dtype(DType::F32)?)?;
                sums.slice_set(&sum, 0, keys.start)?;
            }
        }
        Ok(Some(sums.to_dtype(dy.dtype())?))
    };
    Computed::node("attention", &qkv, &qkv, &value, Box::new(backward))
}

/// The attention of the last `queries` rows. Each row has query, key and value concatenated; all are of
/// one document.
fn tile(rows: &Tensor, queries: usize, shape: AttentionShape) -> Result<Tensor> {
    let AttentionShape { heads, kv_heads, head_dim, sliding_window } = shape;
    let (n, group, kv) = (rows.dim(0)?, shape.group(), shape.kv_width());
    let q = rows.narrow(0, n - queries, queries)?.narrow(1, 0, heads * head_dim)?.contiguous()?;
    // Stacks the queries of the heads that share keys.
    let q = q.reshape((queries, kv_heads, group, head_dim))?.permute((1, 2, 0, 3))?.contiguous()?;
    let q = q.reshape((kv_heads, group * queries, head_dim))?;
    let of_heads = |from: usize| {
        rows.narrow(1, from, kv)?
            .contiguous()?
            .reshape((n, kv_heads, head_dim))?
            .transpose(0, 1)?
            .contiguous()
    };
    let (k, v) = (of_heads(heads * head_dim)?, of_heads(heads * head_dim + kv)?);
    let mask = mask(queries, n, sliding_window, rows.device())?;
    let scores = (product(&q, &k.t()?)?.to_dtype(DType::F32)? * f64::from(shape.scale()))?;
    let scores = scores.reshape((kv_heads, group, queries, n))?.broadcast_add(&mask)?;
    let weights = candle_nn::ops::softmax(&scores, D::Minus1)?.to_dtype(rows.dtype())?.reshape((
        kv_heads,
        group * queries,
        n,
    ))?;
    let mixed = product(&weights, &v)?.reshape((kv_heads, group, queries, head_dim))?;
    mixed.permute((2, 0, 1, 3))?.contiguous()?.reshape((queries, heads * head_dim))
}

/// The mask that is added to the scores of the last `queries` of `n` tokens: 0 where a query attends to
/// a key, else -∞. It is as large as a head's scores, so it is created on the device.
fn mask(queries: usize, n: usize, window: Option<usize>, device: &Device) -> Result<Tensor> {
    let range = |from: usize, to: usize| Tensor::arange(from as u32, to as u32, device);
    let (query, key) = (range(n - queries, n)?.unsqueeze(1)?, range(0, n)?.unsqueeze(0)?);
    let unseen = Tensor::full(f32::NEG_INFINITY, (queries, n), device)?;
    let mut mask = key.broadcast_gt(&query)?.where_cond(&unseen, &unseen.zeros_like()?)?;
    if let Some(window) = window.filter(|&window| window < n) {
        // For each key the first query that no longer attends to it.
        let end = range(window, window + n)?.unsqueeze(0)?;
        mask = end.broadcast_le(&query)?.where_cond(&unseen, &mask)?;
    }
    mask.reshape((1, 1, queries, n))
}
