//! Each op forward and backward at the sizes of the embedded default: 4096 tokens in documents of 128,
//! width 160, 5 heads, MLP 432, vocabulary 1536, loss on 40 % of the tokens.
#![allow(missing_docs, reason = "criterion's macros write undocumented functions")]

use std::time::Duration;

use candle_core::{DType, Device, Result, Tensor, Var};
use criterion::{Criterion, criterion_group, criterion_main};
use janus_train::{FreedMemory, ops};
use rand::Rng;

const TOKENS: usize = 4096;
const HIDDEN: usize = 160;

fn random(shape: &[usize], seed: u64) -> Var {
    let mut rng = janus_core::stream(seed, "bench");
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-1.0..1.0)).collect();
    let tensor = Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor");
    Var::from_tensor(&tensor).expect("a variable")
}

fn all(c: &mut Criterion) {
    FreedMemory::Keep.apply_to_process();
    let cu_seqlens: Vec<u32> = (0..=TOKENS as u32).step_by(128).collect();
    let table = ops::RopeTable::new(32, 10_000.0, None, &cu_seqlens);
    let shape = ops::AttentionShape { heads: 5, kv_heads: 5, head_dim: 32, sliding_window: None };
    let supervised: Vec<u32> = (0..TOKENS as u32).filter(|i| i % 128 >= 77).collect();
    let targets: Vec<u32> = supervised.iter().map(|i| i * 7 % 1536).collect();
    let ids: Vec<u32> = (0..TOKENS as u32).map(|i| i * 13 % 1536).collect();

    let (x, y, z) =
        (random(&[TOKENS, HIDDEN], 1), random(&[TOKENS, HIDDEN], 2), random(&[TOKENS, HIDDEN], 3));
    let (gate, up) = (random(&[TOKENS, 432], 4), random(&[TOKENS, 432], 5));
    let (norm, weight, vocab) = (random(&[HIDDEN], 6), random(&[864, HIDDEN], 7), random(&[1536, HIDDEN], 8));

    let mut group = c.benchmark_group("forward and backward");
    group.sample_size(10).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    let mut bench = |name: &str, op: &dyn Fn() -> Result<Tensor>| {
        group.bench_function(name, |b| b.iter(|| op()?.sum_all()?.backward()));
    };
    bench("rms_norm", &|| ops::rms_norm(&x, &norm, 1e-5));
    bench("rms_norm, naive", &|| ops::naive::rms_norm(&x, &norm, 1e-5));
    bench("rope", &|| ops::rope(&x, &table));
    bench("rope, naive", &|| ops::naive::rope(&x, &table));
    bench("swiglu", &|| ops::swiglu(&gate, &up));
    bench("swiglu, naive", &|| ops::naive::swiglu(&gate, &up));
    bench("embedding", &|| ops::embedding(&vocab, &ids));
    bench("embedding, naive", &|| ops::naive::embedding(&vocab, &ids));
    bench("linear", &|| ops::linear(&x, &weight));
    bench("linear, naive", &|| ops::naive::linear(&x, &weight));
    // There is no naive attention here: its scores are [heads, tokens, tokens], 335 MB for each
    // intermediate tensor.
    bench("attention", &|| ops::attention(&x, &y, &z, shape, &cu_seqlens));
    // In blocks, as bf16 runs on every device.
    let rounded = |of: &Var| Var::from_tensor(&of.to_dtype(DType::BF16)?);
    let of_bf16 = || -> Result<_> { Ok((rounded(&x)?, rounded(&y)?, rounded(&z)?, rounded(&weight)?)) };
    let (xb, yb, zb, wb) = of_bf16().expect("tensors in bf16");
    bench("linear, bf16", &|| ops::linear(&xb, &wb));
    bench("linear, bf16, 8 rows", &|| ops::linear(&xb.narrow(0, 0, 8)?, &wb));
    bench("attention, bf16", &|| ops::attention(&xb, &yb, &zb, shape, &cu_seqlens));
    bench("linear_logprobs", &|| ops::linear_logprobs(&x, &vocab, &supervised, &targets));
    bench("linear_logprobs, naive", &|| ops::naive::linear_logprobs(&x, &vocab, &supervised, &targets));
    let (pairs, segment): (_, Vec<u32>) =
        (random(&[TOKENS], 9), (0..TOKENS as u32).map(|i| i / 128).collect());
    bench("log_sigmoid", &|| ops::log_sigmoid(&pairs));
    bench("log_sigmoid, naive", &|| ops::naive::log_sigmoid(&pairs));
    bench("log1mexp", &|| ops::log1mexp(&pairs));
    bench("log1mexp, naive", &|| ops::naive::log1mexp(&pairs));
    bench("segment_sum", &|| ops::segment_sum(&pairs, &segment, TOKENS / 128));
    bench("segment_sum, naive", &|| ops::naive::segment_sum(&pairs, &segment, TOKENS / 128));
    group.finish();
}

criterion_group!(benches, all);
criterion_main!(benches);
