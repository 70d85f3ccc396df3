//! The forward pass and the sampler against reference numbers from transformers.

use candle_core::Device;
use janus_core::SamplingParams;
use janus_infer::{LogitsWanted, Model, ModelConfig, RopeScaling, Sampler, SequenceInput};

use crate::support::{Tensors, argmax, goldens, json, models};

/// Of logits up to 10, which float32 and float64 have apart by 3e-5 at most.
const LOGIT: f32 = 3e-5;

/// The logits of one document, in one forward pass.
fn forward(model: &Model, tokens: &[u32]) -> Vec<f32> {
    let mut logits = Vec::new();
    model
        .forward(&mut [SequenceInput::new(tokens, &mut model.cache(), LogitsWanted::All)], &mut logits)
        .unwrap();
    logits
}

/// The documents of a row, without padding: `(first, end)`.
fn documents(segments: &[i64]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (at, segment) in segments.iter().enumerate().filter(|(_, segment)| **segment >= 0) {
        match runs.last_mut() {
            Some((first, end)) if *end == at && segments[*first] == *segment => *end = at + 1,
            _ => runs.push((at, at + 1)),
        }
    }
    runs
}

#[test]
fn logits_are_those_of_transformers() {
    for (name, folder) in models() {
        let model = Model::load(&folder, &Device::Cpu).unwrap();
        let cases = Tensors::read(folder.join("cases.safetensors"));
        let vocab = model.config().vocab_size;
        let (mut compared, mut worst) = (0, 0f32);
        for case in ["right_pad", "left_pad", "long", "packed"] {
            let ids = cases.i64(&format!("{case}.input_ids"));
            let width = cases.shape(&format!("{case}.input_ids"))[1];
            let segments: Vec<i64> = match case {
                "packed" => cases.i64("packed.segment_ids"),
                _ => cases.i64(&format!("{case}.attention_mask")).iter().map(|mask| mask - 1).collect(),
            };
            let expected = cases.f32(&format!("{case}.logits"));
            for row in 0..ids.len() / width {
                for (first, end) in documents(&segments[row * width..][..width]) {
                    let tokens: Vec<u32> =
                        ids[row * width + first..row * width + end].iter().map(|id| *id as u32).collect();
                    let got = forward(&model, &tokens);
                    let expected = &expected[(row * width + first) * vocab..(row * width + end) * vocab];
                    worst = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(worst, f32::max);
                    compared += got.len();
                }
            }
            for place in (0..ids.len()).filter(|place| segments[*place] < 0) {
                assert!(
                    ids[place] == 0 && expected[place * vocab..][..vocab].iter().all(|logit| *logit == 0.0),
                    "{name} {case}: padding"
                );
            }
        }
        println!("{name}: {compared} logits, largest difference {worst:e}");
        assert!(
            compared >= 140 * vocab && worst < LOGIT,
            "{name}: {compared} logits, largest difference {worst:e}"
        );
    }
}

#[test]
fn greedy_continuations_are_those_of_transformers() {
    for (name, folder) in models() {
        let model = Model::load(&folder, &Device::Cpu).unwrap();
        let cases = Tensors::read(folder.join("cases.safetensors"));
        let mut ids = cases.ids("greedy.prompt_ids");
        let expected = cases.ids("greedy.output_ids");
        assert!(expected.starts_with(&ids) && expected.len() >= ids.len() + 30, "{name}");
        let (mut cache, mut logits) = (model.cache(), Vec::new());
        let mut done = 0;
        while ids.len() < expected.len() {
            model
                .forward(&mut [SequenceInput::new(&ids[done..], &mut cache, LogitsWanted::Last)], &mut logits)
                .unwrap();
            done = ids.len();
            ids.push(argmax(&logits));
        }
        assert_eq!(ids, expected, "{name}");
    }
}

#[test]
fn both_spellings_of_a_config_say_the_same() {
    let mut scalings = 0;
    for (name, folder) in models() {
        let read = |file: &str| ModelConfig::read(folder.join(file)).unwrap();
        let config = read("config.json");
        assert_eq!(config, read("config.v5.json"), "{name}");
        // So does what is written.
        assert_eq!(config, ModelConfig::from_json(&config.to_json()).unwrap(), "{name}");
        assert_eq!(config.rope_scaling.is_some(), name.contains("_rope_"), "{name}");
        scalings += usize::from(config.rope_scaling.is_some());
    }
    assert_eq!(scalings, 3);
}

#[test]
fn rotary_frequencies_are_those_of_transformers() {
    for (name, folder) in models() {
        let config = ModelConfig::read(folder.join("config.json")).unwrap();
        let exponent = |i: usize| -2.0 * i as f64 / config.head_dim as f64;
        let unscaled: Vec<f32> =
            (0..config.head_dim / 2).map(|i| config.rope_theta.powf(exponent(i)) as f32).collect();
        let mut frequencies = unscaled.clone();
        config.rope_scaling.iter().for_each(|scaling| scaling.scale(&mut frequencies));
        let expected = Tensors::read(folder.join("cases.safetensors")).f32("frequencies");
        assert_eq!(frequencies.len(), expected.len());
        for (got, expected) in frequencies.iter().zip(expected) {
            assert!((got / expected - 1.0).abs() < 3e-7, "{name}: frequency {got}, expected {expected}");
        }
        let scaled = !matches!(config.rope_scaling, None | Some(RopeScaling::Factors(_)));
        assert!(!scaled || frequencies != unscaled, "{name}: nothing is scaled");
    }
}

#[test]
fn sampling_filters_are_those_of_transformers() {
    let tensors = Tensors::read(goldens().join("sampling.safetensors"));
    let (logits, previous) = (tensors.f32("logits"), tensors.ids("prev_ids"));
    let [rows, vocab] = tensors.shape("logits")[..] else { panic!() };
    let cases = json(goldens().join("sampling.json"));
    let cases = cases["sampling"].as_array().unwrap();
    assert_eq!(cases.len(), 13);
    for case in cases {
        let params = SamplingParams {
            repetition_penalty: case["repetition_penalty"].as_f64().unwrap(),
            temperature: case["temperature"].as_f64().unwrap(),
            top_k: case["top_k"].as_u64().unwrap() as usize,
            top_p: case["top_p"].as_f64().unwrap(),
            min_p: case["min_p"].as_f64().unwrap(),
            ..SamplingParams::default()
        };
        let expected = tensors.f32(&format!("probs_{}", case["index"]));
        for row in 0..rows {
            let seen = &previous[row * previous.len() / rows..][..previous.len() / rows];
            let mut sampler = Sampler::new(&params, "request", 0, seen);
            let kept = sampler.candidates(&mut logits[row * vocab..][..vocab].to_vec());
            assert_eq!(kept.len() as u64, case["kept"][row].as_u64().unwrap(), "row {row} of {case}");
            let mut probabilities = vec![0f32; vocab];
            kept.iter()
                .for_each(|candidate| probabilities[candidate.id as usize] = candidate.probability as f32);
            let expected = &expected[row * vocab..][..vocab];
            let worst = probabilities.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
            assert!(worst < 1e-6, "row {row} of {case}: {worst:e}");
        }
    }
}
