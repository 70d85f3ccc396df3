//! Scaled rotary positions against numbers made with transformers (`interop/rope_scaling.py`).
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use janus_infer::{LogitsWanted, Model, ModelConfig, SequenceInput};
use serde_json::Value;

fn reference() -> Value {
    serde_json::from_str(include_str!("interop/rope_scaling.json")).unwrap()
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

/// The config of a case, the scaling spelt as transformers 5 does.
fn config(reference: &Value, case: &Value) -> ModelConfig {
    let mut config = reference["config"].clone();
    config["rope_parameters"] = case["rope_parameters"].clone();
    ModelConfig::from_json(&config.to_string()).unwrap()
}

/// The script's model.
fn model(config: ModelConfig) -> Model {
    let names: Vec<String> = config.tensors().into_iter().map(|(name, _)| name).collect();
    Model::from_weights(config, |name, shape| {
        let at = names.iter().position(|other| other == name).unwrap();
        let weight = |i: usize| if shape.len() == 1 { 1.0 } else { (((7 * i + 13 * at) % 31) as f32 - 15.0) / 64.0 };
        Ok((0..shape.iter().product()).map(weight).collect())
    })
    .unwrap()
}

#[test]
fn frequencies_and_logits_are_those_of_transformers() {
    let reference = reference();
    let tokens: Vec<u32> = (0..48).map(|i| (i * i + 3 * i) % 32).collect();
    let unscaled = floats(&reference["cases"]["none"]["frequencies"]);
    let cases = reference["cases"].as_object().unwrap();
    assert_eq!(cases.keys().collect::<Vec<_>>(), ["none", "linear", "llama3", "longrope"]);
    for (name, case) in cases {
        let config = config(&reference, case);
        assert_eq!(config.rope_scaling.is_some(), name != "none");
        let mut frequencies = unscaled.clone();
        config.rope_scaling.iter().for_each(|scaling| scaling.scale(&mut frequencies));
        for (got, expected) in frequencies.iter().zip(floats(&case["frequencies"])) {
            assert!((got / expected - 1.0).abs() < 3e-7, "{name}: frequency {got}, expected {expected}");
        }

        // What is written in the older spelling is the same model.
        let model = model(ModelConfig::from_json(&config.to_json()).unwrap());
        let mut logits = Vec::new();
        model.forward(&mut [SequenceInput::new(&tokens, &mut model.cache(), LogitsWanted::All)], &mut logits).unwrap();
        for (row, expected) in [11, 47].into_iter().zip(case["logits"].as_array().unwrap()) {
            for (got, expected) in logits[row * 32..].iter().zip(floats(expected)) {
                assert!((got - expected).abs() < 2e-5, "{name}: logit {got}, expected {expected}");
            }
        }
    }
}
