//! The device decoder, run by candle on the CPU, against the CPU decoder.

#[path = "../../../tests/support/tiny.rs"]
mod tiny;

use std::collections::HashMap;
use std::path::Path;

use janus_core::{ChatModel, ChatRequest, ChatTemplate, Generation, Message, RewardModel, SamplingParams};
use janus_data::Tokenizer;
use proptest::prelude::*;
use rand::Rng;

use super::*;
use crate::{
    Engine, EngineOptions, Error, KvCache, LogitsWanted, Model, RewardEngine, RewardOptions, VALUE_HEAD,
    support,
};

/// Configs that cover everything that changes a forward pass.
const CONFIGS: [&str; 5] = [
    // Grouped-query attention, untied.
    r#""model_type": "llama", "hidden_size": 48, "num_attention_heads": 6, "num_key_value_heads": 2, "rope_theta": 500.0"#,
    // Multi-head attention, tied.
    r#""model_type": "llama", "hidden_size": 32, "num_attention_heads": 4, "tie_word_embeddings": true"#,
    // A window that is not a multiple of a block, heads wider than hidden_size / num_attention_heads.
    r#""model_type": "mistral", "hidden_size": 40, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 24, "sliding_window": 41"#,
    // A window shorter than a block, multi-query attention.
    r#""model_type": "mistral", "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 1, "sliding_window": 7,
       "tie_word_embeddings": true"#,
    // RoPE scaling.
    r#""model_type": "llama", "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2,
       "rope_scaling": {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                        "original_max_position_embeddings": 64}"#,
];
const VOCAB: usize = 258;

fn config(fields: &str) -> ModelConfig {
    let sizes = format!(
        r#""vocab_size": {VOCAB}, "intermediate_size": 72, "num_hidden_layers": 2, "max_position_embeddings": 512"#
    );
    ModelConfig::from_json(&format!("{{{fields}, {sizes}}}")).unwrap()
}

/// Random weights, which depend only on the names and are exact in `dtype`.
fn weight(dtype: DType) -> impl Fn(&str, &[usize]) -> Result<Vec<f32>> {
    move |name, shape| {
        let mut rng = janus_core::stream(3, name);
        let range = if shape.len() == 1 { 0.8..1.2 } else { -0.4..0.4 };
        let narrow = |value: f32| match dtype {
            DType::BF16 => bf16::from_f32(value).to_f32(),
            DType::F16 => f16::from_f32(value).to_f32(),
            _ => value,
        };
        Ok((0..shape.iter().product()).map(|_| narrow(rng.random_range(range.clone()))).collect())
    }
}

/// A model on the CPU and one on the device, with the same weights.
fn pair(config: &ModelConfig, dtype: DType) -> [Model; 2] {
    let weight = weight(dtype);
    let device =
        Model::on_device(config.clone(), None, &Source::in_f32(&weight), &Device::Cpu, dtype).unwrap();
    [Model::from_weights(config.clone(), &weight).unwrap(), device]
}

fn tokens(count: usize, seed: usize) -> Vec<u32> {
    (0..count).map(|i| ((i * i * 31 + i * 7 + seed * 97) % VOCAB) as u32).collect()
}

/// The largest difference, relative to the largest expected value.
fn difference(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    assert!(got.iter().all(|value| value.is_finite()));
    let largest = |values: &mut dyn Iterator<Item = f32>| values.fold(0f32, f32::max);
    let worst = largest(&mut got.iter().zip(expected).map(|(a, b)| (a - b).abs()));
    worst / largest(&mut expected.iter().map(|value| value.abs())).max(1e-3)
}

/// Runs sequences of different lengths that start, continue in one batch, and fork. Returns the logits
/// of all calls.
fn run_mixed_batches(model: &Model) -> Vec<f32> {
    let mut all = Vec::new();
    let mut caches: Vec<KvCache> = (0..6).map(|_| model.cache()).collect();
    let mut forward = |caches: &mut [KvCache], lengths: &[usize], rows: LogitsWanted, seed: usize| {
        let texts: Vec<_> = lengths.iter().enumerate().map(|(i, length)| tokens(*length, seed + i)).collect();
        let wanted = caches.iter_mut().zip(&texts).filter(|(_, tokens)| !tokens.is_empty());
        let mut inputs: Vec<_> =
            wanted.map(|(cache, tokens)| SequenceInput { tokens, cache, logits: rows }).collect();
        let mut logits = Vec::new();
        model.forward(&mut inputs, &mut logits).unwrap();
        all.extend(logits);
    };
    forward(&mut caches, &[1, 31, 32, 70, 0, 0], LogitsWanted::All, 0);
    forward(&mut caches, &[1, 1, 1, 1, 150, 0], LogitsWanted::Last, 10);
    forward(&mut caches, &[33, 0, 17, 1, 1, 2], LogitsWanted::All, 20);
    // Forks share all blocks, and continue with other tokens.
    let (shared, split) = caches.split_at_mut(3);
    split.clone_from_slice(shared);
    for step in 0..40 {
        forward(&mut caches, &[1; 6], LogitsWanted::Last, 30 + 7 * step);
    }
    forward(&mut caches, &[5, 0, 0, 0, 60, 0], LogitsWanted::None, 60);
    forward(&mut caches, &[1; 6], LogitsWanted::All, 70);
    all
}

#[test]
fn logits_equal_those_of_the_cpu() {
    for which in CONFIGS {
        let [cpu, device] = pair(&config(which), DType::F32);
        let (expected, got) = (run_mixed_batches(&cpu), run_mixed_batches(&device));
        let worst = difference(&got, &expected);
        println!("{worst:e} {which}");
        assert!(worst < 1e-4, "{worst:e} {which}");
        assert!(expected.len() > 400 * VOCAB);
        // The same calls on memory that was used before give the same bits.
        assert!(run_mixed_batches(&device) == got, "{which}");
        assert_eq!(device.blocks().live(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// For any shape of the model, and any split of its sequences into calls.
    #[test]
    fn logits_of_any_model_in_any_calls_equal_those_of_the_cpu(
        kv_heads in 1usize..4,
        group in 1usize..4,
        half in 1usize..13,
        window in prop::option::of(1usize..70),
        tied: bool,
        factor in prop::option::of(1.0f64..8.0),
        calls in prop::collection::vec([0usize..60, 0usize..3, 0usize..40], 1..6),
    ) {
        let (heads, head_dim) = (kv_heads * group, 2 * half);
        let window = window.map_or("null".into(), |window| window.to_string());
        let scaling = factor.map_or("null".into(), |factor| format!(r#"{{"rope_type": "linear", "factor": {factor}}}"#));
        let config = config(&format!(
            r#""model_type": "mistral", "hidden_size": 32, "num_attention_heads": {heads}, "num_key_value_heads": {kv_heads},
               "head_dim": {head_dim}, "sliding_window": {window}, "tie_word_embeddings": {tied}, "rope_scaling": {scaling}"#
        ));
        let read = |model: &Model| {
            let mut caches: Vec<KvCache> = (0..3).map(|_| model.cache()).collect();
            let (mut all, mut logits) = (Vec::new(), Vec::new());
            for (call, lengths) in calls.iter().enumerate() {
                let texts: Vec<_> = lengths.iter().enumerate().map(|(i, length)| tokens(*length, 3 * call + i)).collect();
                let wanted = caches.iter_mut().zip(&texts).filter(|(_, tokens)| !tokens.is_empty());
                let mut inputs: Vec<_> = wanted.map(|(cache, tokens)| SequenceInput { tokens, cache, logits: LogitsWanted::All }).collect();
                model.forward(&mut inputs, &mut logits).unwrap();
                all.extend_from_slice(&logits);
            }
            all
        };
        let [cpu, device] = pair(&config, DType::F32);
        let expected = read(&cpu);
        prop_assert_eq!(expected.len(), VOCAB * calls.iter().flatten().sum::<usize>());
        let worst = difference(&read(&device), &expected);
        prop_assert!(worst < 1e-4, "{}", worst);
    }
}

#[test]
fn half_precision_logits_are_as_close_as_their_precision() {
    for (dtype, most) in [(DType::F16, 2e-2), (DType::BF16, 1.2e-1)] {
        for which in CONFIGS {
            let [cpu, device] = pair(&config(which), dtype);
            let worst = difference(&run_mixed_batches(&device), &run_mixed_batches(&cpu));
            println!("{dtype:?} {worst:e} {which}");
            assert!(worst < most && worst > 1e-6, "{dtype:?} {worst:e} {which}");
            assert_eq!(
                2 * device.blocks().block_bytes(),
                pair(&config(which), DType::F32)[1].blocks().block_bytes()
            );
        }
    }
}

#[test]
fn a_long_prompt_is_prefilled_in_spans() {
    for which in [CONFIGS[0], CONFIGS[2]] {
        let mut config = config(which);
        config.max_position_embeddings = 4096;
        let [cpu, device] = pair(&config, DType::F32);
        let read = |model: &Model| {
            let (mut caches, mut logits) = ([model.cache(), model.cache()], Vec::new());
            let [first, second] = &mut caches;
            let (long, short) = (tokens(1300, 1), tokens(20, 2));
            let inputs = &mut [
                SequenceInput { tokens: &long, cache: first, logits: LogitsWanted::All },
                SequenceInput { tokens: &short, cache: second, logits: LogitsWanted::Last },
            ];
            model.forward(inputs, &mut logits).unwrap();
            logits
        };
        assert!(difference(&read(&device), &read(&cpu)) < 1e-4, "{which}");
    }
}

#[test]
fn nan_left_in_memory_by_one_sequence_does_not_reach_another() {
    // One token has an infinite embedding: everything computed from it is NaN.
    let weight = |name: &str, shape: &[usize]| {
        let mut values = weight(DType::F32)(name, shape)?;
        if name == "model.embed_tokens.weight" {
            values[shape[1] * 255..shape[1] * 256].fill(f32::INFINITY);
        }
        Ok(values)
    };
    let model =
        Model::on_device(config(CONFIGS[0]), None, &Source::in_f32(&weight), &Device::Cpu, DType::F32)
            .unwrap();
    let healthy: Vec<u32> = tokens(40, 1).iter().map(|token| token % 250).collect();
    let read = |tokens: &[u32]| {
        let mut logits = Vec::new();
        model
            .forward(
                &mut [SequenceInput { tokens, cache: &mut model.cache(), logits: LogitsWanted::Last }],
                &mut logits,
            )
            .unwrap();
        logits
    };
    let expected = read(&healthy);
    assert!(read(&[255; 64]).iter().all(|logit| logit.is_nan()));
    assert_eq!(read(&healthy), expected);
}

#[test]
fn a_cache_of_another_model_is_refused() {
    let [cpu, device] = pair(&config(CONFIGS[1]), DType::F32);
    for (model, other) in [(&cpu, &device), (&device, &cpu)] {
        let mut cache = other.cache();
        let error = model
            .forward(
                &mut [SequenceInput { tokens: &[1], cache: &mut cache, logits: LogitsWanted::Last }],
                &mut Vec::new(),
            )
            .unwrap_err();
        assert!(matches!(error, Error::ForeignCache) && cache.is_empty());
    }
    let error = device.forward(
        &mut [SequenceInput { tokens: &[258], cache: &mut device.cache(), logits: LogitsWanted::Last }],
        &mut Vec::new(),
    );
    assert!(matches!(error.unwrap_err(), Error::TokenId { id: 258, vocab_size: VOCAB }));
}

#[test]
fn after_a_failure_the_caches_are_empty_and_their_memory_is_free() {
    let config = Arc::new(config(CONFIGS[0]));
    let weight = weight(DType::F32);
    let mut decoder =
        DeviceDecoder::build(&config, None, &Source::in_f32(&weight), &Device::Cpu, DType::F32).unwrap();
    let blocks = Arc::clone(decoder.blocks());
    let tokens = tokens(50, 1);
    let forward = |decoder: &DeviceDecoder, cache: &mut KvCache| {
        let mut logits = vec![0.0; VOCAB];
        decoder
            .forward(&mut [SequenceInput { tokens: &tokens, cache, logits: LogitsWanted::Last }], &mut logits)
            .map(|()| logits)
    };
    let mut cache = KvCache::new(&blocks);
    let expected = forward(&decoder, &mut cache).unwrap();
    assert_eq!((cache.len(), blocks.live()), (50, 2));
    // The second layer fails, after keys and values of the first were written.
    let wrong = Tensor::zeros((3, 5), DType::F32, &Device::Cpu).unwrap();
    let right = std::mem::replace(&mut decoder.weights.layers[1].down, wrong);
    assert!(matches!(forward(&decoder, &mut cache), Err(Error::Candle(_))));
    assert_eq!((cache.len(), blocks.live()), (0, 0));
    decoder.weights.layers[1].down = right;
    assert_eq!(forward(&decoder, &mut cache).unwrap(), expected);
}

#[test]
fn threads_may_share_a_model() {
    let [_, device] = pair(&config(CONFIGS[0]), DType::F32);
    let expected = run_mixed_batches(&device);
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..3).map(|_| scope.spawn(|| run_mixed_batches(&device))).collect();
        assert!(runs.into_iter().all(|run| run.join().unwrap() == expected));
    });
}

fn engine(model: Model, options: EngineOptions) -> Engine {
    let inner = tiny::tokenizer_json().parse::<tokenizers::Tokenizer>().unwrap();
    Engine::new(model, Tokenizer::from_tokenizers(inner), ChatTemplate::ChatMl, options)
}

/// Prompts of different lengths, some with a common prefix; some decoded greedily, some sampled.
fn requests() -> Vec<ChatRequest> {
    let one = |i: usize| {
        let user = format!("{}{}", "shared beginning ".repeat(i % 4), "x".repeat(i * 5 % 23 + 1));
        let most_likely = SamplingParams::greedy(6 + i * 7 % 40);
        let drawn =
            SamplingParams { n: 1 + i % 3, max_tokens: 6 + i * 7 % 40, seed: 5, ..SamplingParams::paper() };
        tiny::request(&i.to_string(), &user, if i.is_multiple_of(2) { most_likely } else { drawn })
    };
    (0..14).map(one).collect()
}

fn answers(engine: &Engine, requests: &[ChatRequest]) -> Vec<Vec<Generation>> {
    engine.generate(requests).into_iter().map(std::result::Result::unwrap).collect()
}

#[test]
fn answers_equal_those_of_the_cpu_even_with_little_memory_and_the_limit_holds() {
    let requests = requests();
    let mut preemptions = 0;
    for which in [CONFIGS[0], CONFIGS[2]] {
        let config = config(which);
        let [cpu, device] = pair(&config, DType::F32);
        let expected = answers(&engine(cpu, EngineOptions::default()), &requests);
        let block_bytes = device.blocks().block_bytes();
        assert_eq!(block_bytes, 2 * 2 * config.num_key_value_heads * 32 * config.head_dim * 4);
        for (blocks, prefill_tokens, max_sequences) in
            [(7, 13, 64), (9, 1024, 64), (14, 1, 64), (40, 1024, 3), (400, 1024, 64)]
        {
            let [_, device] = pair(&config, DType::F32);
            let options = EngineOptions {
                cache_bytes: blocks * block_bytes,
                prefill_tokens,
                max_sequences,
                ..EngineOptions::default()
            };
            let engine = engine(device, options);
            assert_eq!(
                answers(&engine, &requests),
                expected,
                "{blocks} blocks, {prefill_tokens} tokens per step, {which}"
            );

            let mut session = engine.session();
            requests.iter().for_each(|request| {
                session.submit(request.clone()).unwrap();
            });
            while !session.is_idle() {
                session.step(&mut |_| ());
                let stats = session.stats();
                assert!(stats.cache_blocks <= blocks && stats.cache_blocks_limit == blocks, "{stats:?}");
            }
            let stats = session.stats();
            preemptions += stats.preemptions;
            assert!(blocks < 400 || stats.shared_tokens > 0, "{stats:?}");
            drop(session);
            assert_eq!(engine.session().stats().cache_blocks, 0);
        }
    }
    assert!(preemptions > 0, "no sequence was preempted");
}

/// The folder of a reward model with the weights of [`weight`].
fn reward_folder(config: &ModelConfig) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let tensor = |name: &str, shape: &[usize]| {
        (
            name.to_string(),
            Tensor::from_vec(weight(DType::F32)(name, shape).unwrap(), shape, &Device::Cpu).unwrap(),
        )
    };
    let weights: HashMap<String, Tensor> =
        config.tensors().iter().map(|(name, shape)| tensor(name, shape)).collect();
    let head = HashMap::from([tensor(VALUE_HEAD, &[1, config.hidden_size])]);
    candle_core::safetensors::save(&weights, folder.path().join("model.safetensors")).unwrap();
    candle_core::safetensors::save(&head, folder.path().join("value_head.safetensors")).unwrap();
    std::fs::write(folder.path().join("config.json"), config.to_json()).unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), tiny::tokenizer_json()).unwrap();
    folder
}

fn device_rewards(folder: &Path, options: RewardOptions, dtype: DType) -> RewardEngine {
    let model = |config, head: &[f32], weights: &crate::Weights| {
        Model::on_device(config, Some(head), &Source::of(weights), &Device::Cpu, dtype)
    };
    RewardEngine::load_with(folder, options, model).unwrap()
}

#[test]
fn rewards_equal_those_of_the_cpu() {
    let answered = |user: &str, answer: &str| vec![Message::user(user), Message::assistant(answer)];
    let long = "the wind ".repeat(12);
    let conversations = [("a", "kite"), ("a", "kite flies"), ("a", &long), ("b", "kite"), ("b", "")]
        .map(|(user, answer)| answered(user, answer));
    for which in [CONFIGS[0], CONFIGS[3]] {
        let folder = reward_folder(&config(which));
        for batch_tokens in [1, 90, 4096] {
            let options = RewardOptions {
                template: Some(ChatTemplate::ChatMl),
                batch_tokens,
                ..RewardOptions::default()
            };
            let cpu = RewardEngine::load(folder.path(), &Device::Cpu, options.clone()).unwrap();
            let rewards = |engine: &RewardEngine| -> Vec<f32> {
                engine.rewards(&conversations).into_iter().map(std::result::Result::unwrap).collect()
            };
            let expected = rewards(&cpu);
            let exact =
                difference(&rewards(&device_rewards(folder.path(), options.clone(), DType::F32)), &expected);
            let narrow =
                difference(&rewards(&device_rewards(folder.path(), options, DType::BF16)), &expected);
            println!("{exact:e} {narrow:e} {which}");
            assert!(exact < 1e-4 && narrow < 5e-2, "{exact:e} {narrow:e} {which}");
        }
    }
}

#[test]
fn the_type_is_that_of_the_checkpoint() {
    let config = config(CONFIGS[2]);
    for (stored, expected) in [(DType::F32, DType::F32), (DType::F16, DType::F16), (DType::BF16, DType::BF16)]
    {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let weights: HashMap<String, Tensor> = config
            .tensors()
            .into_iter()
            .map(|(name, shape)| {
                let values = weight(stored)(&name, &shape).unwrap();
                (name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap().to_dtype(stored).unwrap())
            })
            .collect();
        candle_core::safetensors::save(&weights, &path).unwrap();
        let read = crate::Weights::open(&path).unwrap();
        let source = Source::of(&read);
        assert_eq!(DeviceDecoder::dtype(&config, &source).unwrap(), expected);
        // Weights read directly or by way of f32 are the same.
        for dtype in [DType::F32, stored] {
            let from_file = Model::on_device(config.clone(), None, &source, &Device::Cpu, dtype).unwrap();
            let from_numbers = weight(stored);
            let from_numbers =
                Model::on_device(config.clone(), None, &Source::in_f32(&from_numbers), &Device::Cpu, dtype)
                    .unwrap();
            assert!(
                run_mixed_batches(&from_file) == run_mixed_batches(&from_numbers),
                "{stored:?} {dtype:?}"
            );
        }
    }
}

/// The logits of each golden's documents, and its greedy continuation.
#[test]
fn logits_equal_those_of_transformers() {
    for (name, folder) in support::models() {
        let weights = crate::Weights::open(&folder).unwrap();
        let source = Source::of(&weights);
        let model =
            Model::on_device(weights.config().unwrap(), None, &source, &Device::Cpu, DType::F32).unwrap();
        let cases = support::Tensors::read(folder.join("cases.safetensors"));
        let vocab = model.config().vocab_size;
        let (ids, mask, expected) =
            (cases.ids("long.input_ids"), cases.i64("long.attention_mask"), cases.f32("long.logits"));
        let width = cases.shape("long.input_ids")[1];
        let (mut caches, mut logits) = (Vec::new(), Vec::new());
        let mut rows = Vec::new();
        for (row, mask) in mask.chunks_exact(width).enumerate() {
            let tokens = mask.iter().take_while(|mask| **mask == 1).count();
            assert_eq!(tokens as i64, mask.iter().sum::<i64>(), "{name}: padded on the right");
            rows.push((row * width, tokens));
            caches.push(model.cache());
        }
        let inputs = caches.iter_mut().zip(&rows).map(|(cache, (at, tokens))| SequenceInput {
            tokens: &ids[*at..][..*tokens],
            cache,
            logits: LogitsWanted::All,
        });
        model.forward(&mut inputs.collect::<Vec<_>>(), &mut logits).unwrap();
        let expected: Vec<f32> =
            rows.iter().flat_map(|(at, tokens)| &expected[at * vocab..][..tokens * vocab]).copied().collect();
        let worst = logits.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        println!("{name}: {} logits, largest difference {worst:e}", logits.len());
        assert!(
            logits.len() == expected.len() && logits.len() >= 48 * vocab && worst < 3e-5,
            "{name}: {worst:e}"
        );

        let (mut ids, expected) = (cases.ids("greedy.prompt_ids"), cases.ids("greedy.output_ids"));
        let (mut cache, mut done) = (model.cache(), 0);
        while ids.len() < expected.len() {
            model
                .forward(
                    &mut [SequenceInput {
                        tokens: &ids[done..],
                        cache: &mut cache,
                        logits: LogitsWanted::Last,
                    }],
                    &mut logits,
                )
                .unwrap();
            done = ids.len();
            ids.push(support::argmax(&logits));
        }
        assert_eq!(ids, expected, "{name}");
    }
}

#[test]
#[ignore = "needs models/smollm2-135m-instruct-q4_1.gguf: cargo xtask fetch smollm2, then cargo xtask check model"]
fn smollm2_answers_as_on_the_cpu() {
    let fetched = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/smollm2-135m-instruct-q4_1.gguf");
    let path = std::env::var_os("JANUS_SMOLLM2").map_or_else(fetched, std::path::PathBuf::from);
    let cpu = Engine::load(&path, &Device::Cpu, EngineOptions::default()).unwrap();
    let weights = crate::Weights::open(&path).unwrap();
    let source = Source::of(&weights);
    assert_eq!(DeviceDecoder::dtype(cpu.model().config(), &source).unwrap(), DType::F16);
    let model = Model::on_device(weights.config().unwrap(), None, &source, &Device::Cpu, DType::F32).unwrap();
    let device =
        Engine::new(model, cpu.tokenizer().clone(), cpu.template().clone(), EngineOptions::default());
    let greedy = SamplingParams::greedy(24);
    let questions = [
        "What is a kite?",
        "Name three colours.",
        "Write a haiku about the sea, and then explain in a few sentences what it means.",
    ];
    let requests: Vec<ChatRequest> =
        questions.iter().map(|user| tiny::request(user, user, greedy.clone())).collect();
    let expected = answers(&cpu, &requests);
    assert_eq!(answers(&device, &requests), expected);
    println!("{}", expected[0][0].text);
}
