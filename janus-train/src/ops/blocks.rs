//! The decoder in candle's own ops, for weights in bf16, for other devices than the CPU, and for dropout.
//!
//! Work is cut into blocks (a layer, a tile of queries, a part of the head's rows), each of which is one node of candle's
//! graph: its forward pass runs without one, its backward pass runs it again with one, and gradients of weights go to their
//! [`GradAccumulator`]s in f32 as soon as they are there. Products and activations have the weights' type; norms, softmax,
//! log-softmax and sums of gradients are f32.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp2, D, DType, Device, Layout, MetalStorage, Result, Shape, Storage, Tensor, Var, bail};

use super::attention::{AttentionShape, documents, first_seen};
use super::decoder::DecoderWeights;
use super::grad_accumulator::GradAccumulator;
use super::join_inputs::GradAccumulators;
use super::layer::{BatchShape, LowRank, PROJECTIONS};
use super::rope::RopeAngles;
use super::{Dropout, embedding, linear_logprobs as head, rms_norm, swiglu};

/// Queries whose scores exist at a time, of each head, where the decoder runs in blocks.
pub const BLOCK_QUERIES: usize = 512;
/// Logits that [`linear_logprobs`](super::linear_logprobs()) computes at a time where it runs in blocks. About six tensors of
/// that size exist in its backward pass.
pub const BLOCK_LOGITS: usize = 1 << 25;

type Forward = dyn Fn(&Tensor, &[Tensor]) -> Result<Tensor> + Send + Sync;
type Backward = dyn Fn(&Tensor) -> Result<Option<Tensor>> + Send + Sync;

/// A node whose forward pass has run: its value, and how the gradient of its first input follows from its own.
struct Computed {
    name: &'static str,
    value: Mutex<Option<Tensor>>,
    backward: Box<Backward>,
}

impl Computed {
    /// A node that depends on `x` and on `anchor`, which may be the same. The anchor gets no gradient: what is tracked
    /// and no variable must be `x`.
    fn node(name: &'static str, x: &Tensor, anchor: &Tensor, value: &Tensor, backward: Box<Backward>) -> Result<Tensor> {
        let value = value.detach().contiguous()?;
        let value = if value.layout().start_offset() == 0 { value } else { value.copy()? };
        x.apply_op2(anchor, Self { name, value: Mutex::new(Some(value)), backward })
    }

    /// Takes the value, so that it is not held beside the node's own copy.
    fn take<S: BackendStorage>(&self, of: impl Fn(&Storage) -> Option<&S>) -> Result<(S, Shape)> {
        let Some(value) = self.value.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            bail!("{}: forward ran already", self.name)
        };
        let (storage, layout) = value.storage_and_layout();
        match of(&storage) {
            Some(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
            None => bail!("{}: the value is on another device than the inputs", self.name),
        }
    }
}

impl CustomOp2 for Computed {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.take(|storage| if let Storage::Cpu(storage) = storage { Some(storage) } else { None })
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.take(|storage| if let Storage::Cuda(storage) = storage { Some(storage) } else { None })
    }

    fn metal_fwd(&self, _: &MetalStorage, _: &Layout, _: &MetalStorage, _: &Layout) -> Result<(MetalStorage, Shape)> {
        self.take(|storage| if let Storage::Metal(storage) = storage { Some(storage) } else { None })
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok(((self.backward)(&dy.detach())?, None))
    }
}

/// `f` of `x` and of weights, as one node; gradients of weights go to their accumulators. With `recompute` nothing but `x` is kept
/// for the backward pass.
fn block(
    name: &'static str,
    x: &Tensor,
    weights: &[&Tensor],
    accumulators: &[Option<GradAccumulator>],
    recompute: bool,
    f: Arc<Forward>,
) -> Result<Tensor> {
    let weights: Vec<Tensor> = weights.iter().map(|&weight| weight.clone()).collect();
    let anchor = weights.iter().find(|weight| weight.track_op()).cloned();
    let tracked = x.track_op();
    let Some(anchor) = anchor.or_else(|| tracked.then(|| x.clone())) else {
        return f(x, &weights);
    };
    let input = x.detach();
    let (value, kept) = if recompute {
        let weights: Vec<Tensor> = weights.iter().map(Tensor::detach).collect();
        (f(&input, &weights)?, None)
    } else {
        let input = Var::from_tensor(&input)?;
        let value = f(&input, &weights)?;
        (value.clone(), Some((input, value)))
    };
    let (kept, accumulators) = (Mutex::new(kept), accumulators.to_vec());
    let backward = move |dy: &Tensor| {
        let kept = kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (input, value) = match kept {
            Some(kept) => kept,
            None => {
                let input = Var::from_tensor(&input)?;
                let value = f(&input, &weights)?;
                (input, value)
            }
        };
        let mut gradients = value.mul(dy)?.sum_all()?.backward()?;
        for (weight, accumulator) in weights.iter().zip(&accumulators) {
            if let (Some(accumulator), Some(gradient)) = (accumulator, gradients.remove(weight)) {
                accumulator.add_tensor(&gradient)?;
            }
        }
        Ok(gradients.remove(&input).filter(|_| tracked))
    };
    Computed::node(name, x, &anchor, &value, Box::new(backward))
}

/// `x · weightᵀ` in the inputs' type, with gradients only where one is asked for.
pub(super) fn linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op2(&weight.contiguous()?, Product)
}

struct Product;

impl Product {
    fn forward<S: BackendStorage>(s1: &S, l1: &Layout, s2: &S, l2: &Layout) -> Result<(S, Shape)> {
        let ((rows, input), (out, _)) = (l1.shape().dims2()?, l2.shape().dims2()?);
        Ok((s1.matmul(s2, (1, rows, out, input), l1, &l2.transpose(0, 1)?)?, (rows, out).into()))
    }
}

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "product"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        Self::forward(s1, l1, s2, l2)
    }

    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout, s2: &CudaStorage, l2: &Layout) -> Result<(CudaStorage, Shape)> {
        Self::forward(s1, l1, s2, l2)
    }

    fn metal_fwd(&self, s1: &MetalStorage, l1: &Layout, s2: &MetalStorage, l2: &Layout) -> Result<(MetalStorage, Shape)> {
        Self::forward(s1, l1, s2, l2)
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, _: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dx = if x.track_op() { Some(dy.matmul(&weight.detach())?) } else { None };
        let dweight = if weight.track_op() { Some(dy.t()?.matmul(&x.detach())?) } else { None };
        Ok((dx, dweight))
    }
}

/// Hidden states after the final norm; see [`decoder`](super::decoder()).
pub(super) fn decoder(ids: &[u32], weights: DecoderWeights<'_>, shape: &BatchShape, accumulators: &GradAccumulators) -> Result<Tensor> {
    let mut x = embed(weights.embed_tokens, ids, &accumulators.accumulators[0])?;
    let angles = Arc::new(RopeAngles::new(&shape.rope, x.device())?);
    let mut at = 1;
    for weights in weights.layers {
        let all = weights.with_lora();
        let accumulators = &accumulators.accumulators[at..at + all.len()];
        at += all.len();
        let updates = weights.lora.map(|lora| lora.map(|lora| (lora.scale, lora.dropout)));
        let (shape, angles) = (shape.clone(), angles.clone());
        let recompute = shape.recompute;
        x = block("layer", &x, &all, accumulators, recompute, Arc::new(move |x, w| layer(x, w, updates, &shape, &angles)))?;
    }
    let eps = shape.rms_norm_eps;
    block("norm", &x, &[weights.norm], &accumulators.accumulators[at..], false, Arc::new(move |x, w| rms_norm::naive(x, &w[0], eps)))
}

/// Rows of the table; their gradients are summed in f32.
fn embed(table: &Tensor, ids: &[u32], accumulator: &Option<GradAccumulator>) -> Result<Tensor> {
    let value = embedding::naive(&table.detach(), ids)?;
    let Some(accumulator) = accumulator.clone() else { return Ok(value) };
    let (shape, device) = (table.dims2()?, table.device().clone());
    let ids = Tensor::from_slice(ids, ids.len(), &device)?;
    let backward = move |dy: &Tensor| {
        accumulator.add_tensor(&Tensor::zeros(shape, DType::F32, &device)?.index_add(&ids, &dy.to_dtype(DType::F32)?, 0)?)?;
        Ok(None)
    };
    Computed::node("embed", table, table, &value, Box::new(backward))
}

/// Scale and dropout of the low-rank updates that there are.
type Updates = [Option<(f64, Option<Dropout>)>; PROJECTIONS.len()];

/// One layer; `w` has the order of [`LayerWeights::with_lora`](super::LayerWeights::with_lora).
fn layer(x: &Tensor, w: &[Tensor], updates: Updates, shape: &BatchShape, angles: &RopeAngles) -> Result<Tensor> {
    let (w, mut pairs) = (&w[..9], w[9..].chunks_exact(2));
    let low_rank = updates.map(|update| {
        let (scale, dropout) = update?;
        pairs.next().map(|pair| LowRank { a: &pair[0], b: &pair[1], scale, dropout })
    });
    // The projection of the n-th place.
    let project = |x: &Tensor, n: usize| {
        let y = linear(x, &w[PROJECTIONS[n]])?;
        match low_rank[n] {
            Some(update) => y + update.of(x, linear)?,
            None => Ok(y),
        }
    };
    let normed = rms_norm::naive(x, &w[0], shape.rms_norm_eps)?;
    let (q, k) = (angles.apply(&project(&normed, 0)?)?, angles.apply(&project(&normed, 1)?)?);
    let mixed = attention(&q, &k, &project(&normed, 2)?, shape.attention, &shape.cu_seqlens)?;
    let middle = (x + project(&mixed, 3)?)?;
    let normed = rms_norm::naive(&middle, &w[5], shape.rms_norm_eps)?;
    let gated = swiglu::naive(&project(&normed, 4)?, &project(&normed, 5)?)?;
    middle + project(&gated, 6)?
}

/// Attention as [`attention`](super::attention()) has it, a tile of queries at a time in both passes; gradients of keys and
/// values are summed over the tiles in f32.
fn attention(q: &Tensor, k: &Tensor, v: &Tensor, shape: AttentionShape, cu_seqlens: &[u32]) -> Result<Tensor> {
    let qkv = Tensor::cat(&[q, k, v], 1)?;
    let mut tiles = Vec::new();
    for document in documents(cu_seqlens) {
        for start in document.clone().step_by(BLOCK_QUERIES) {
            let queries = start..(start + BLOCK_QUERIES).min(document.end);
            tiles.push((first_seen(start, document.start, shape.sliding_window)..queries.end, queries.len()));
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

/// The attention of the last `queries` of some rows of queries, keys and values side by side, all of one document.
fn tile(rows: &Tensor, queries: usize, shape: AttentionShape) -> Result<Tensor> {
    let AttentionShape { heads, kv_heads, head_dim, sliding_window } = shape;
    let (n, group, kv) = (rows.dim(0)?, heads / kv_heads, kv_heads * head_dim);
    let q = rows.narrow(0, n - queries, queries)?.narrow(1, 0, heads * head_dim)?.contiguous()?;
    // The queries of the heads that share keys stand below one another.
    let q = q.reshape((queries, kv_heads, group, head_dim))?.permute((1, 2, 0, 3))?.contiguous()?;
    let q = q.reshape((kv_heads, group * queries, head_dim))?;
    let of_heads = |from: usize| rows.narrow(1, from, kv)?.contiguous()?.reshape((n, kv_heads, head_dim))?.transpose(0, 1)?.contiguous();
    let (k, v) = (of_heads(heads * head_dim)?, of_heads(heads * head_dim + kv)?);
    let mask = mask(queries, n, sliding_window, rows.device())?;
    let scores = (q.matmul(&k.t()?)?.to_dtype(DType::F32)? * (1.0 / (head_dim as f64).sqrt()))?;
    let scores = scores.reshape((kv_heads, group, queries, n))?.broadcast_add(&mask)?;
    let weights = candle_nn::ops::softmax(&scores, D::Minus1)?.to_dtype(rows.dtype())?.reshape((kv_heads, group * queries, n))?;
    let mixed = weights.matmul(&v)?.reshape((kv_heads, group, queries, head_dim))?;
    mixed.permute((2, 0, 1, 3))?.contiguous()?.reshape((queries, heads * head_dim))
}

/// What is added to the scores of the last `queries` of `n` tokens: 0 where a query sees a key, else -∞. Made on the device:
/// it is as large as a head's scores.
fn mask(queries: usize, n: usize, window: Option<usize>, device: &Device) -> Result<Tensor> {
    let range = |from: usize, to: usize| Tensor::arange(from as u32, to as u32, device);
    let (query, key) = (range(n - queries, n)?.unsqueeze(1)?, range(0, n)?.unsqueeze(0)?);
    let unseen = Tensor::full(f32::NEG_INFINITY, (queries, n), device)?;
    let mut mask = key.broadcast_gt(&query)?.where_cond(&unseen, &unseen.zeros_like()?)?;
    if let Some(window) = window.filter(|&window| window < n) {
        // The first query that does not see a key any more.
        let end = range(window, window + n)?.unsqueeze(0)?;
        mask = end.broadcast_le(&query)?.where_cond(&unseen, &mask)?;
    }
    mask.reshape((1, 1, queries, n))
}

/// Log-probabilities in f32, a part of the rows at a time; see [`linear_logprobs`](super::linear_logprobs()).
pub(super) fn linear_logprobs(
    hidden: &Tensor,
    weight: &Tensor,
    rows: &[u32],
    targets: &[u32],
    accumulator: Option<GradAccumulator>,
) -> Result<Tensor> {
    let held = (BLOCK_LOGITS / weight.dim(0)?.max(1)).max(1);
    linear_logprobs_by(held, hidden, weight, rows, targets, accumulator)
}

/// [`linear_logprobs`], so many rows at a time.
fn linear_logprobs_by(
    held: usize,
    hidden: &Tensor,
    weight: &Tensor,
    rows: &[u32],
    targets: &[u32],
    accumulator: Option<GradAccumulator>,
) -> Result<Tensor> {
    let mut parts = Vec::with_capacity(rows.len().div_ceil(held));
    for (rows, targets) in rows.chunks(held).zip(targets.chunks(held)) {
        let rows = Tensor::from_slice(rows, rows.len(), hidden.device())?;
        let targets = Tensor::from_slice(targets, (targets.len(), 1), hidden.device())?;
        let part: Arc<Forward> = Arc::new(move |x, w| head::of_logits(&linear(x, &w[0])?, &targets));
        let x = hidden.index_select(&rows, 0)?;
        parts.push(match &accumulator {
            Some(_) => block("linear_logprobs", &x, &[weight], std::slice::from_ref(&accumulator), true, part)?,
            None if weight.track_op() => part(&x, std::slice::from_ref(weight))?,
            None => block("linear_logprobs", &x, &[weight], &[None], true, part)?,
        });
    }
    if parts.is_empty() { hidden.narrow(0, 0, 0)?.sum(1)?.to_dtype(DType::F32) } else { Tensor::cat(&parts, 0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops;
    use crate::ops::testing::{Case, random};

    fn flat(tensor: &Tensor) -> Vec<f32> {
        tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    /// The value, and the gradient of every weight in the order of [`DecoderWeights::all`].
    type Run = (Vec<f32>, Vec<Option<Vec<f32>>>);

    /// A decoder with low-rank updates of its first and last projection, behind the case's own tensors; `tracked` says which
    /// of these train.
    fn run(case: &Case, low_rank: &[Tensor], dtype: DType, recompute: bool, by_blocks: bool, tracked: impl Fn(usize) -> bool) -> Run {
        let tensors: Vec<Tensor> = case.tensors.iter().chain(low_rank).map(|t| t.to_dtype(dtype).unwrap().copy().unwrap()).collect();
        let own = |(i, t): (usize, &Tensor)| if tracked(i) { Var::from_tensor(t).unwrap().into_inner() } else { t.clone() };
        let tensors: Vec<Tensor> = tensors.iter().enumerate().map(own).collect();
        let (base, updates) = tensors.split_at(case.tensors.len());
        let shape = BatchShape { recompute, ..case.shape.clone() };
        let mut gradients = Vec::new();
        let y = case.run(base, |ids, weights, _| {
            let mut layers = weights.layers.to_vec();
            if let [a, b, c, d] = updates {
                layers[0].lora[0] = Some(LowRank { a, b, scale: 0.5, dropout: None });
                layers[0].lora[6] = Some(LowRank { a: c, b: d, scale: 0.5, dropout: None });
            }
            let weights = DecoderWeights { layers: &layers, ..weights };
            let all = weights.all();
            let cotangent = |y: &Tensor| random(y.dims(), 99).to_dtype(y.dtype()).unwrap();
            if !by_blocks {
                let y = ops::naive::decoder(ids, weights, &shape)?;
                let mut store = (&y * cotangent(&y))?.sum_all()?.backward()?;
                gradients.extend(all.iter().map(|weight| if weight.is_variable() { store.remove(weight).map(|g| flat(&g)) } else { None }));
                return Ok(y);
            }
            let accumulators: Vec<GradAccumulator> = all.iter().map(|_| GradAccumulator::default()).collect();
            let accumulators_of = GradAccumulators::new(&all, Some(&|i| Some(accumulators[i].clone())));
            let y = decoder(ids, weights, &shape, &accumulators_of)?;
            drop((&y * cotangent(&y))?.sum_all()?.backward()?);
            for (accumulator, weight) in accumulators.iter().zip(all) {
                let gradient = accumulator.take(weight.shape())?;
                assert!(gradient.as_ref().is_none_or(|gradient| gradient.dtype() == DType::F32));
                gradients.push(gradient.map(|gradient| flat(&gradient)));
            }
            Ok(y)
        });
        (flat(&y.unwrap()), gradients)
    }

    fn low_rank() -> [Tensor; 4] {
        [random(&[3, 12], 31), random(&[16, 3], 32), random(&[3, 20], 33), random(&[12, 3], 34)]
    }

    /// The largest distance of two vectors in units of the second's length.
    fn distance(a: &Run, b: &Run) -> f32 {
        let of = |a: &[f32], b: &[f32]| {
            let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|x| x * x).sum::<f32>().sqrt();
            norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied())
        };
        let mut worst = of(&a.0, &b.0);
        assert_eq!(a.1.len(), b.1.len());
        for (a, b) in a.1.iter().zip(&b.1) {
            assert_eq!(a.is_some(), b.is_some());
            if let (Some(a), Some(b)) = (a, b) {
                worst = worst.max(of(a, b));
            }
        }
        worst
    }

    /// Documents of one token, of several, and of more than a tile of queries.
    fn case(window: Option<usize>) -> Case {
        let mut case = Case::new(2, 12, (4, 2), 20, &[0, 90, 91, 91, 700]);
        case.shape.attention.sliding_window = window;
        case
    }

    #[test]
    fn in_f32_they_are_the_twin() {
        for window in [None, Some(40)] {
            let (case, low_rank) = (case(window), low_rank());
            let twin = run(&case, &low_rank, DType::F32, false, false, |_| true);
            let kept = run(&case, &low_rank, DType::F32, false, true, |_| true);
            assert!(distance(&kept, &twin) < 1e-5, "{}", distance(&kept, &twin));
            let again = run(&case, &low_rank, DType::F32, true, true, |_| true);
            assert!(again == kept, "what is computed again is the same to the bit");
        }
    }

    #[test]
    fn in_bf16_values_and_gradients_are_near_those_of_f32() {
        let (case, low_rank) = (case(Some(40)), low_rank());
        let exact = run(&case, &low_rank, DType::F32, false, true, |_| true);
        let rounded = run(&case, &low_rank, DType::BF16, true, true, |_| true);
        let apart = distance(&rounded, &exact);
        assert!((1e-4..6e-2).contains(&apart), "{apart}");
    }

    #[test]
    fn a_weight_that_does_not_train_has_no_gradient_and_those_behind_it_do() {
        let (case, low_rank) = (case(None), low_rank());
        let whole = run(&case, &low_rank, DType::F32, true, true, |_| true);
        let trained = |i: usize| i >= case.tensors.len();
        for recompute in [true, false] {
            let alone = run(&case, &low_rank, DType::F32, recompute, true, trained);
            assert_eq!(alone.1.iter().filter(|gradient| gradient.is_some()).count(), 4);
            for (alone, whole) in alone.1.iter().zip(&whole.1) {
                assert!(alone.is_none() || alone == whole);
            }
        }
    }

    #[test]
    fn the_head_is_its_twin_however_its_rows_are_cut() {
        let (hidden, weight) = (Var::from_tensor(&random(&[50, 16], 1)).unwrap(), Var::from_tensor(&random(&[70, 16], 2)).unwrap());
        let (rows, targets): (Vec<u32>, Vec<u32>) = (0..40).map(|r| (r + r / 4, (r * 31) % 70)).unzip();
        let cotangent = random(&[40], 3);
        let gradients = |y: Tensor| (y * &cotangent).unwrap().sum_all().unwrap().backward().unwrap();
        let twin = ops::naive::linear_logprobs(&hidden, &weight, &rows, &targets).unwrap();
        let expected = gradients(twin.clone());
        for held in [1, 7, 40, 1000] {
            let accumulator = GradAccumulator::default();
            let y = linear_logprobs_by(held, &hidden, &weight, &rows, &targets, Some(accumulator.clone())).unwrap();
            let got = gradients(y.clone());
            assert!(got.get(&weight).is_none());
            let dweight = accumulator.take(weight.shape()).unwrap().unwrap();
            for (got, expected) in
                [(&y, &twin), (got.get(&hidden).unwrap(), expected.get(&hidden).unwrap()), (&dweight, expected.get(&weight).unwrap())]
            {
                let worst = flat(got).iter().zip(flat(expected)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst < 2e-5, "{held} rows at a time: {worst:e}");
            }
        }
        let nothing = linear_logprobs_by(7, &hidden, &weight, &[], &[], None).unwrap();
        assert_eq!((nothing.dims(), nothing.dtype()), (&[0][..], DType::F32));
    }
}
