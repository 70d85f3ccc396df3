//! Causal attention within packed documents.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, D, DType, Layout, Result, Shape, Tensor, bail};
use janus_infer::kernels::AttentionShape;
use janus_infer::kernels::reduce::dot;
use janus_infer::kernels::simd::{LANES, vectorised};
use janus_infer::kernels::softmax::exp_minus_max;
use rayon::prelude::*;

use super::blocks;
use super::dispatch::is_fused;
use super::storage::{Values, output, slice, tensor_like};
use super::weights::documents;
use crate::matrix::{Mat, MatMut, matmul};
use crate::scratch::Scratch;

/// Queries whose scores are in memory at a time: `TILE · length` scores for each thread. The causal mask
/// discards half of the diagonal tile.
const TILE: usize = 64;

/// Softmax attention: q `[tokens, heads · head_dim]`, k and v `[tokens, kv_heads · head_dim]`; returns
/// `[tokens, heads · head_dim]`. A token attends to itself and to earlier tokens of its own document,
/// which is `cu_seqlens[d]..cu_seqlens[d+1]`.
///
/// Scores are computed tile by tile, and again in the backward pass (Dao et al., arXiv 2205.14135,
/// section 3, without the online softmax, because a tile has whole rows of scores).
///
/// # Errors
/// If the shapes do not fit.
pub fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    shape: AttentionShape,
    cu_seqlens: &[u32],
) -> Result<Tensor> {
    let tokens = cu_seqlens.last().map_or(0, |&end| end as usize);
    let (q_width, kv_width) = (shape.width(), shape.kv_width());
    if q.dims() != [tokens, q_width] || k.dims() != [tokens, kv_width] || v.dims() != [tokens, kv_width] {
        bail!(
            "attention: q {:?}, k {:?}, v {:?} do not fit {shape:?} and {tokens} tokens",
            q.dims(),
            k.dims(),
            v.dims()
        );
    }
    if !cu_seqlens.is_sorted()
        || cu_seqlens.first() != Some(&0)
        || !shape.heads.is_multiple_of(shape.kv_heads)
    {
        bail!("attention: cu_seqlens must rise from 0, and kv_heads divide heads, got {shape:?}");
    }
    if !is_fused(q) {
        return blocks::attention(q, k, v, shape, cu_seqlens);
    }
    q.contiguous()?.apply_op3(
        &k.contiguous()?,
        &v.contiguous()?,
        Attention { shape, cu_seqlens: cu_seqlens.into() },
    )
}

/// [`attention`] in plain candle ops, with the softmax in f32. It keeps all `[heads, tokens, tokens]`
/// scores in memory.
pub fn naive(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    shape: AttentionShape,
    cu_seqlens: &[u32],
) -> Result<Tensor> {
    let (tokens, width) = q.dims2()?;
    let group = shape.group();
    let heads = |x: &Tensor| x.reshape((tokens, (), shape.head_dim))?.transpose(0, 1)?.contiguous();
    let shared = |x: &Tensor| {
        let one = heads(x)?.unsqueeze(1)?;
        one.broadcast_as((shape.kv_heads, group, tokens, shape.head_dim))?.reshape((
            shape.heads,
            tokens,
            shape.head_dim,
        ))
    };
    let mut mask = vec![f32::NEG_INFINITY; tokens * tokens];
    for document in documents(cu_seqlens) {
        for i in document.clone() {
            let seen = document.start + shape.first_seen(i - document.start);
            mask[i * tokens + seen..=i * tokens + i].fill(0.0);
        }
    }
    let mask = Tensor::from_vec(mask, (1, tokens, tokens), q.device())?;
    let scores =
        (heads(q)?.matmul(&shared(k)?.t()?)?.to_dtype(DType::F32)? * (1.0 / (shape.head_dim as f64).sqrt()))?;
    let weights = candle_nn::ops::softmax(&scores.broadcast_add(&mask)?, D::Minus1)?.to_dtype(v.dtype())?;
    weights.matmul(&shared(v)?)?.transpose(0, 1)?.reshape((tokens, width))
}

struct Attention {
    shape: AttentionShape,
    cu_seqlens: Arc<[u32]>,
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((tokens, q_width), (_, kv_width)) = (l1.shape().dims2()?, l2.shape().dims2()?);
        let mut y = vec![0.0; tokens * q_width];
        let inputs = Inputs {
            q: Mat::new(slice(s1, l1)?, tokens, q_width),
            k: Mat::new(slice(s2, l2)?, tokens, kv_width),
            v: Mat::new(slice(s3, l3)?, tokens, kv_width),
        };
        forward(self.shape, &self.cu_seqlens, inputs, MatMut::new(&mut y, tokens, q_width));
        output(y, (tokens, q_width))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let ((tokens, q_width), (_, kv_width)) = (q.dims2()?, k.dims2()?);
        let dy = dy.contiguous()?;
        let (q_values, k_values, v_values, dy) =
            (Values::of(q)?, Values::of(k)?, Values::of(v)?, Values::of(&dy)?);
        let inputs = Inputs {
            q: Mat::new(&q_values, tokens, q_width),
            k: Mat::new(&k_values, tokens, kv_width),
            v: Mat::new(&v_values, tokens, kv_width),
        };
        let (mut dq, mut dk, mut dv) =
            (vec![0.0; tokens * q_width], vec![0.0; tokens * kv_width], vec![0.0; tokens * kv_width]);
        let gradients = Gradients {
            dq: MatMut::new(&mut dq, tokens, q_width),
            dk: MatMut::new(&mut dk, tokens, kv_width),
            dv: MatMut::new(&mut dv, tokens, kv_width),
        };
        backward(self.shape, &self.cu_seqlens, inputs, Mat::new(&dy, tokens, q_width), gradients);
        Ok((Some(tensor_like(dq, q)?), Some(tensor_like(dk, k)?), Some(tensor_like(dv, v)?)))
    }
}

/// Queries, keys and values of all tokens, or of one document and key/value head.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub(crate) q: Mat<'a>,
    pub(crate) k: Mat<'a>,
    pub(crate) v: Mat<'a>,
}

/// Where the gradients of [`Inputs`] are written.
pub(crate) struct Gradients<'a> {
    pub(crate) dq: MatMut<'a>,
    pub(crate) dk: MatMut<'a>,
    pub(crate) dv: MatMut<'a>,
}

/// The part of one document and one key/value head. Parts have the same order as the pieces of
/// [`split`].
struct Part {
    tokens: Range<usize>,
    q_cols: Range<usize>,
    kv_cols: Range<usize>,
}

fn parts(shape: AttentionShape, cu_seqlens: &[u32]) -> Vec<Part> {
    let (d, group) = (shape.head_dim, shape.group());
    let of_document = |tokens: Range<usize>| {
        (0..shape.kv_heads).map(move |head| Part {
            tokens: tokens.clone(),
            q_cols: head * group * d..(head + 1) * group * d,
            kv_cols: head * d..(head + 1) * d,
        })
    };
    documents(cu_seqlens).flat_map(of_document).collect()
}

/// Splits a matrix by documents, and each document into `heads` column blocks of `width`.
fn split<'a>(matrix: MatMut<'a>, cu_seqlens: &[u32], heads: usize, width: usize) -> Vec<MatMut<'a>> {
    let mut pieces = Vec::with_capacity(cu_seqlens.len() * heads);
    let mut below = matrix;
    for document in documents(cu_seqlens) {
        let (mut rest, next) = below.split_rows(document.len());
        for _ in 0..heads {
            let (piece, right) = rest.split_cols(width);
            pieces.push(piece);
            rest = right;
        }
        below = next;
    }
    pieces
}

impl<'a> Inputs<'a> {
    fn part(&self, part: &Part) -> Self {
        let of = |m: Mat<'a>, cols: &Range<usize>| m.rows(part.tokens.clone()).cols(cols.clone());
        Self { q: of(self.q, &part.q_cols), k: of(self.k, &part.kv_cols), v: of(self.v, &part.kv_cols) }
    }
}

/// Writes the output of the attention to `y`.
pub(crate) fn forward(shape: AttentionShape, cu_seqlens: &[u32], inputs: Inputs<'_>, y: MatMut<'_>) {
    let group_width = shape.group() * shape.head_dim;
    let y = split(y, cu_seqlens, shape.kv_heads, group_width);
    parts(shape, cu_seqlens)
        .into_par_iter()
        .zip(y)
        .for_each(|(part, y)| forward_part(shape, inputs.part(&part), y));
}

/// Writes the gradients of the attention's inputs, given the gradient of its output.
pub(crate) fn backward(
    shape: AttentionShape,
    cu_seqlens: &[u32],
    inputs: Inputs<'_>,
    dy: Mat<'_>,
    gradients: Gradients<'_>,
) {
    let group_width = shape.group() * shape.head_dim;
    let dq = split(gradients.dq, cu_seqlens, shape.kv_heads, group_width);
    let dk = split(gradients.dk, cu_seqlens, shape.kv_heads, shape.head_dim);
    let dv = split(gradients.dv, cu_seqlens, shape.kv_heads, shape.head_dim);
    parts(shape, cu_seqlens).into_par_iter().zip(dq).zip(dk.into_par_iter().zip(dv)).for_each(
        |((part, dq), (dk, dv))| {
            let dy = dy.rows(part.tokens.clone()).cols(part.q_cols.clone());
            backward_part(shape, inputs.part(&part), dy, Gradients { dq, dk, dv });
        },
    );
}

/// A tile of queries of one head, and the keys that any of them attends to.
struct Tile {
    queries: Range<usize>,
    keys: Range<usize>,
    head_cols: Range<usize>,
}

fn tiles(shape: AttentionShape, tokens: usize) -> impl Iterator<Item = Tile> {
    (0..shape.group()).flat_map(move |head| {
        (0..tokens).step_by(TILE).map(move |start| {
            let end = (start + TILE).min(tokens);
            Tile {
                queries: start..end,
                // Starts at a multiple of LANES as in inference, so that sums over keys have the same
                // order.
                keys: shape.first_seen(start) / LANES * LANES..end,
                head_cols: head * shape.head_dim..(head + 1) * shape.head_dim,
            }
        })
    })
}

impl Tile {
    /// Writes to `scores` e^(score - row maximum) where a query attends to a key and 0 elsewhere, and to
    /// `sums` the sum of each row.
    fn weights(&self, shape: AttentionShape, inputs: &Inputs<'_>, scores: &mut [f32], sums: &mut [f32]) {
        let n = self.keys.len();
        let q = inputs.q.rows(self.queries.clone()).cols(self.head_cols.clone());
        matmul(MatMut::new(scores, self.queries.len(), n), false, q, inputs.k.rows(self.keys.clone()).t());
        let scale = shape.scale();
        vectorised!(|| {
            for row in 0..self.queries.len() {
                let scores = &mut scores[row * n..][..n];
                sums[row] = exp_minus_max(scores, self.seen(shape, self.queries.start + row), scale);
            }
        });
    }

    /// The keys that query `i` attends to, relative to the tile's first key.
    #[inline(always)]
    fn seen(&self, shape: AttentionShape, i: usize) -> Range<usize> {
        shape.first_seen(i) - self.keys.start..i + 1 - self.keys.start
    }
}

fn forward_part(shape: AttentionShape, inputs: Inputs<'_>, mut y: MatMut<'_>) {
    let tokens = y.height();
    let (mut scores, mut sums) = (Scratch::new(TILE * tokens), [0.0; TILE]);
    for tile in tiles(shape, tokens) {
        let (m, n) = (tile.queries.len(), tile.keys.len());
        let scores = &mut scores[..m * n];
        tile.weights(shape, &inputs, scores, &mut sums);
        let y = y.rows(tile.queries.clone());
        let (_, y) = y.split_cols(tile.head_cols.start);
        let (mut y, _) = y.split_cols(shape.head_dim);
        matmul(y.reborrow(), false, Mat::new(scores, m, n), inputs.v.rows(tile.keys.clone()));
        for (i, sum) in sums[..m].iter().enumerate() {
            let inverse = 1.0 / sum;
            y.row(i).iter_mut().for_each(|y| *y *= inverse);
        }
    }
}

/// With P the softmax of scale · QKᵀ: dV = PᵀdY, dP = dY·Vᵀ, dS = P ∘ (dP - rowsum(P ∘ dP)), dQ = scale ·
/// dS·K, dK = scale · dSᵀ·Q.
fn backward_part(shape: AttentionShape, inputs: Inputs<'_>, dy: Mat<'_>, gradients: Gradients<'_>) {
    let Gradients { mut dq, mut dk, mut dv } = gradients;
    let tokens = dq.height();
    let scale = shape.scale();
    for i in 0..tokens {
        dk.row(i).fill(0.0);
        dv.row(i).fill(0.0);
    }
    let (mut weights, mut dscores, mut sums) =
        (Scratch::new(TILE * tokens), Scratch::new(TILE * tokens), [0.0; TILE]);
    for tile in tiles(shape, tokens) {
        let (m, n) = (tile.queries.len(), tile.keys.len());
        let (weights, dscores) = (&mut weights[..m * n], &mut dscores[..m * n]);
        tile.weights(shape, &inputs, weights, &mut sums);
        let (k, v) = (inputs.k.rows(tile.keys.clone()), inputs.v.rows(tile.keys.clone()));
        let q = inputs.q.rows(tile.queries.clone()).cols(tile.head_cols.clone());
        let dy = dy.rows(tile.queries.clone()).cols(tile.head_cols.clone());
        matmul(MatMut::new(dscores, m, n), false, dy, v.t());
        vectorised!(|| {
            for row in 0..m {
                let seen = tile.seen(shape, tile.queries.start + row);
                let (p, ds) = (&mut weights[row * n..][..n], &mut dscores[row * n..][..n]);
                for ds in &mut ds[..seen.start] {
                    *ds = 0.0;
                }
                for ds in &mut ds[seen.end..] {
                    *ds = 0.0;
                }
                let (p, ds) = (&mut p[seen.start..seen.end], &mut ds[seen.start..seen.end]);
                let inverse = 1.0 / sums[row];
                for p in &mut *p {
                    *p *= inverse;
                }
                let mean = dot(p, ds);
                for i in 0..ds.len() {
                    ds[i] = p[i] * (ds[i] - mean) * scale;
                }
            }
        });
        let (weights, dscores) = (Mat::new(weights, m, n), Mat::new(dscores, m, n));
        matmul(dv.rows(tile.keys.clone()), true, weights.t(), dy);
        matmul(dk.rows(tile.keys.clone()), true, dscores.t(), q);
        let (_, dq) = dq.rows(tile.queries.clone()).split_cols(tile.head_cols.start);
        matmul(dq.split_cols(shape.head_dim).0, false, dscores, k);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_gradients, assert_same, random};

    #[test]
    fn agrees_with_the_naive_version_for_every_grouping_window_and_packing() {
        let cu_seqlens = [0, 1, 66, 66, 194, 200];
        for (heads, kv_heads, window) in [
            (2, 2, None),
            (4, 2, None),
            (3, 1, Some(1)),
            (2, 1, Some(20)),
            (2, 2, Some(64)),
            (2, 1, Some(1000)),
        ] {
            let shape = AttentionShape { heads, kv_heads, head_dim: 8, sliding_window: window };
            let (q, k, v) = (
                random(&[200, heads * 8], 1),
                random(&[200, kv_heads * 8], 2),
                random(&[200, kv_heads * 8], 3),
            );
            let q = (q * 3.0).unwrap();
            // The fused version, and the one in blocks, which runs for bf16 and on other devices.
            for attention in [attention, blocks::attention] {
                assert_same(
                    &[&q, &k, &v],
                    |t| attention(&t[0], &t[1], &t[2], shape, &cu_seqlens),
                    |t| naive(&t[0], &t[1], &t[2], shape, &cu_seqlens),
                    1e-5,
                );
            }
        }
    }

    #[test]
    fn gradients_are_finite_differences() {
        let shape = AttentionShape { heads: 2, kv_heads: 1, head_dim: 2, sliding_window: Some(3) };
        let (q, k, v) = (random(&[7, 4], 4), random(&[7, 2], 5), random(&[7, 2], 6));
        assert_gradients(&[&q, &k, &v], |t| attention(&t[0], &t[1], &t[2], shape, &[0, 5, 7]));
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let shape = AttentionShape { heads: 2, kv_heads: 1, head_dim: 2, sliding_window: None };
        let x = random(&[7, 4], 4);
        assert!(attention(&x, &x, &x, shape, &[0, 7]).is_err());
    }
}
