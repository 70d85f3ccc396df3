//! The forward pass and the sampler against numbers made with transformers.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod support;

use candle_core::Device;
use janus_core::SamplingParams;
use janus_infer::{LogitsWanted, Model, ModelConfig, Sampler, SequenceInput};
use support::{Tensors, argmax, goldens, json};

const MODELS: [&str; 3] = ["mistral_tiny", "mistral_sw16_tied", "llama_tied"];

fn model(name: &str) -> Model {
    Model::load(goldens().join(name), &Device::Cpu).unwrap()
}

/// Logits of one document, read in one go.
fn forward(model: &Model, tokens: &[u32]) -> Vec<f32> {
    let mut logits = Vec::new();
    model.forward(&mut [SequenceInput::new(tokens, &mut model.cache(), LogitsWanted::All)], &mut logits).unwrap();
    logits
}

/// Runs of real tokens of one row: `(first, end)`.
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
#[cfg_attr(not(has_shared), ignore = "needs ../shared")]
fn logits_are_those_of_transformers() {
    for name in MODELS {
        let model = model(name);
        let cases = Tensors::read(goldens().join(name).join("cases.safetensors"));
        let vocab = model.config().vocab_size;
        for case in ["right_pad", "left_pad", "long", "packed"] {
            let ids = cases.i64(&format!("{case}.input_ids"));
            let width = cases.shape(&format!("{case}.input_ids"))[1];
            let segments: Vec<i64> = match case {
                "packed" => cases.i64("packed.segment_ids"),
                _ => cases.i64(&format!("{case}.attention_mask")).iter().map(|mask| mask - 1).collect(),
            };
            let expected = cases.f32(&format!("{case}.logits"));
            let (mut compared, mut worst) = (0, 0f32);
            for row in 0..ids.len() / width {
                for (first, end) in documents(&segments[row * width..][..width]) {
                    let tokens: Vec<u32> = ids[row * width + first..row * width + end].iter().map(|id| *id as u32).collect();
                    let got = forward(&model, &tokens);
                    let expected = &expected[(row * width + first) * vocab..(row * width + end) * vocab];
                    worst = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(worst, f32::max);
                    compared += got.len();
                }
            }
            println!("{name} {case}: {compared} logits, largest difference {worst:e}");
            assert!(compared >= 50 * vocab && worst < 3e-5, "{name} {case}: {compared} logits, largest difference {worst:e}");
        }
    }
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs ../shared")]
fn greedy_continuations_are_those_of_transformers() {
    for name in MODELS {
        let model = model(name);
        let cases = Tensors::read(goldens().join(name).join("cases.safetensors"));
        let mut ids = cases.ids("greedy.prompt_ids");
        let expected = cases.ids("greedy.output_ids");
        let (mut cache, mut logits) = (model.cache(), Vec::new());
        let mut fed = 0;
        while ids.len() < expected.len() {
            model.forward(&mut [SequenceInput::new(&ids[fed..], &mut cache, LogitsWanted::Last)], &mut logits).unwrap();
            fed = ids.len();
            ids.push(argmax(&logits));
        }
        assert_eq!(ids, expected, "{name}");
    }
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs ../shared")]
fn both_spellings_of_a_config_say_the_same() {
    for name in MODELS {
        let read = |file: &str| ModelConfig::read(goldens().join(name).join(file)).unwrap();
        assert_eq!(read("config.json"), read("config.v5.json"), "{name}");
    }
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs ../shared")]
fn sampling_filters_are_those_of_transformers() {
    let tensors = Tensors::read(goldens().join("sampling.safetensors"));
    let (logits, previous) = (tensors.f32("logits"), tensors.ids("prev_ids"));
    let [rows, vocab] = tensors.shape("logits")[..] else { panic!() };
    let cases = json(goldens().join("sampling.json"));
    let cases = cases["sampling"].as_array().unwrap();
    assert_eq!(cases.len(), 9);
    for case in cases {
        let params = SamplingParams {
            repetition_penalty: case["repetition_penalty"].as_f64().unwrap(),
            temperature: case["temperature"].as_f64().unwrap(),
            top_k: case["top_k"].as_u64().unwrap() as usize,
            top_p: case["top_p"].as_f64().unwrap(),
            ..SamplingParams::default()
        };
        let expected = tensors.f32(&format!("probs_{}", case["index"]));
        for row in 0..rows {
            let seen = &previous[row * previous.len() / rows..][..previous.len() / rows];
            let mut sampler = Sampler::new(&params, "request", 0, seen);
            let kept = sampler.candidates(&mut logits[row * vocab..][..vocab].to_vec());
            assert_eq!(kept.len() as u64, case["kept"][row].as_u64().unwrap(), "row {row} of {case}");
            let mut probabilities = vec![0f32; vocab];
            kept.iter().for_each(|candidate| probabilities[candidate.id as usize] = candidate.probability as f32);
            let expected = &expected[row * vocab..][..vocab];
            let worst = probabilities.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
            assert!(worst < 1e-6, "row {row} of {case}: {worst:e}");
        }
    }
}
