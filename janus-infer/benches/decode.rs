//! Prefill, decoding and sampling of 64 sequences with a small random model: vocabulary 1,536, width
//! 160, 4 layers, 5 heads, MLP 432.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use janus_core::SamplingParams;
use janus_infer::{KvCache, LogitsWanted, Model, ModelConfig, ModelSizes, Sampler, SequenceInput};
use rand::Rng;
use rayon::prelude::*;

const SEQUENCES: usize = 64;
const PROMPT: usize = 96;
const VOCAB: usize = 1536;

fn small_model() -> Model {
    let mut config = ModelConfig::mistral(ModelSizes {
        vocab_size: 1536,
        hidden_size: 160,
        intermediate_size: 432,
        num_hidden_layers: 4,
        num_attention_heads: 5,
        num_key_value_heads: 5,
        max_position_embeddings: 1024,
    });
    config.tie_word_embeddings = true;
    Model::from_weights(config, |name, shape| {
        let mut rng = janus_core::stream(1, name);
        let norm = shape.len() == 1;
        Ok((0..shape.iter().product())
            .map(|_| if norm { 1.0 } else { rng.random_range(-0.1..0.1) })
            .collect())
    })
    .expect("a model")
}

fn prompts() -> Vec<Vec<u32>> {
    let mut rng = janus_core::stream(2, "prompts");
    (0..SEQUENCES).map(|_| (0..PROMPT).map(|_| rng.random_range(0..VOCAB as u32)).collect()).collect()
}

fn prefill(model: &Model, prompts: &[Vec<u32>], logits: &mut Vec<f32>) -> Vec<KvCache> {
    let mut caches: Vec<_> = prompts.iter().map(|_| model.cache()).collect();
    let mut inputs: Vec<_> = prompts
        .iter()
        .zip(&mut caches)
        .map(|(tokens, cache)| SequenceInput::new(tokens, cache, LogitsWanted::Last))
        .collect();
    model.forward(&mut inputs, logits).expect("ids of the vocabulary");
    caches
}

fn bench(c: &mut Criterion) {
    let (model, prompts) = (small_model(), prompts());
    let mut logits = Vec::new();

    let mut group = c.benchmark_group("small model, 64 sequences");
    group.sample_size(20);
    group.throughput(Throughput::Elements((SEQUENCES * PROMPT) as u64));
    group.bench_function("prefill, 96 tokens each", |b| {
        b.iter(|| black_box(prefill(&model, &prompts, &mut logits)))
    });

    // One step at a time, from 96 tokens on; the prompts are prefilled again when the caches have 160 tokens.
    let mut caches = prefill(&model, &prompts, &mut logits);
    group.throughput(Throughput::Elements(SEQUENCES as u64));
    group.bench_function("decode, one step after 96 to 160 tokens", |b| {
        b.iter_custom(|steps| {
            let mut elapsed = Duration::ZERO;
            for step in 0..steps {
                if caches[0].len() >= 160 {
                    caches = prefill(&model, &prompts, &mut logits);
                }
                let token = [step as u32 % VOCAB as u32];
                let start = Instant::now();
                let mut inputs: Vec<_> = caches
                    .iter_mut()
                    .map(|cache| SequenceInput::new(&token, cache, LogitsWanted::Last))
                    .collect();
                model.forward(&mut inputs, &mut logits).expect("ids of the vocabulary");
                elapsed += start.elapsed();
            }
            elapsed
        });
    });

    group.throughput(Throughput::Elements(SEQUENCES as u64));
    let mut samplers: Vec<_> =
        prompts.iter().map(|prompt| Sampler::new(&SamplingParams::paper(), "bench", 0, prompt)).collect();
    group.bench_function("sampling, the paper's parameters", |b| {
        b.iter_batched_ref(
            || logits.clone(),
            |logits| {
                samplers.par_iter_mut().zip(logits.par_chunks_exact_mut(VOCAB)).for_each(
                    |(sampler, logits)| {
                        let _ = black_box(sampler.next(logits));
                    },
                );
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
