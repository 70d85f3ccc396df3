//! A whole training step at the size of the embedded default, and the rate of matrix products of the
//! layer's own shape. The ratio of the two is meaningful even on a machine with other load.
#![allow(missing_docs, reason = "criterion's macros write undocumented functions")]

use candle_core::Device;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use janus_infer::ModelConfig;
use janus_train::{Decoder, FreedMemory, Length, ModelSizes, Sft, TokenRow, TrainConfig, Trainer, ops};
use rand::Rng;
use std::time::Duration;

const TOKENS: usize = 4096;

fn model() -> ModelConfig {
    let mut config = ModelConfig::llama(ModelSizes {
        vocab_size: 1536,
        hidden_size: 160,
        intermediate_size: 432,
        num_hidden_layers: 4,
        num_attention_heads: 5,
        num_key_value_heads: 5,
        max_position_embeddings: 512,
    });
    config.tie_word_embeddings = true;
    config
}

/// Documents of 100 to 160 tokens; the last 40 % of the tokens are in the loss.
fn rows(vocab: u32) -> Vec<TokenRow> {
    let mut rng = janus_core::stream(1, "bench rows");
    (0..400)
        .map(|_| {
            let len = rng.random_range(100..160);
            TokenRow {
                ids: (0..len).map(|_| rng.random_range(0..vocab)).collect(),
                loss_mask: (0..len).map(|i| i >= len * 6 / 10).collect(),
            }
        })
        .collect()
}

fn step(c: &mut Criterion) {
    FreedMemory::Keep.apply_to_process();
    let config = model();
    let decoder = Decoder::init(&config, 1, &Device::Cpu).expect("fresh weights");
    let settings = TrainConfig::new(Length::Steps(1_000_000), TOKENS, 1e-3, 1)
        .with(|config| config.clip_norm = Some(1.0));
    let mut trainer = Trainer::new(decoder, Sft, rows(1536), settings).expect("a trainer");

    let mut group = c.benchmark_group("step");
    group.sample_size(10).measurement_time(Duration::from_secs(8));
    group.throughput(Throughput::Elements(TOKENS as u64));
    group.bench_function("tokens", |b| b.iter(|| trainer.step().expect("a step")));
    group.finish();

    // Measured right after the steps: x[4096, 160] times the joined gate and up projections.
    let (x, w) = (
        candle_core::Tensor::ones((TOKENS, 160), candle_core::DType::F32, &Device::Cpu).expect("x"),
        candle_core::Tensor::ones((864, 160), candle_core::DType::F32, &Device::Cpu).expect("w"),
    );
    let mut group = c.benchmark_group("product");
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    group.throughput(Throughput::Elements((2 * TOKENS * 160 * 864) as u64));
    group.bench_function("flop", |b| b.iter(|| ops::linear(&x, &w).expect("a product")));
    group.finish();
}

criterion_group!(benches, step);
criterion_main!(benches);
