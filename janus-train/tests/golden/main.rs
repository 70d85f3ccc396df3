//! The decoder, its gradients and the optimiser against transformers and torch (`shared/goldens/README.md`).
//!
//! Tolerances: the goldens' own float32 error against float64 is up to 1.5e-5 in logits of size 10 and 1.5e-6 in
//! gradients of size 1 (`*_f32_vs_f64` in `cases.json`). Ours has another order of summation, so a few times
//! that is what a right implementation may differ by.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod cases;

use candle_core::Device;
use cases::Golden;
use janus_train::{Batch, Decoder, Gradients, MicroBatch, Objective, Sft};

const MODELS: [&str; 3] = ["mistral_tiny", "mistral_sw16_tied", "llama_tied"];
/// Of log-probabilities down to -20 of models whose logits differ by 1e-5 between float32 and float64.
const LOGPROB: f64 = 3e-5;
/// Of gradients of size up to 0.8.
const GRADIENT: f64 = 6e-6;

#[cfg_attr(not(has_shared), ignore = "needs ../shared")]
#[test]
fn logprobs_of_padded_and_packed_rows() {
    for model in MODELS {
        let golden = Golden::read(model);
        let decoder = golden.decoder();
        let mut compared = 0;
        for case in ["right_pad", "left_pad", "long", "packed"] {
            let (ids, mask) = (golden.ints(&format!("{case}.input_ids")), golden.ints(&format!("{case}.attention_mask")));
            let expected = golden.floats(&format!("{case}.logprobs"));
            for row in 0..ids.len() {
                let segments = if case == "packed" {
                    golden.ints("packed.segment_ids")[row].clone()
                } else {
                    mask[row].iter().map(|m| m - 1).collect()
                };
                let (batch, places) = cases::documents(&ids[row], &segments, |_| true);
                let logprobs = decoder.logprobs(&batch).unwrap();
                let values = logprobs.values.to_vec1::<f32>().unwrap();
                for (&token, value) in logprobs.tokens.iter().zip(values) {
                    let want = expected[row][places[token as usize] - 1];
                    assert!((f64::from(value) - want).abs() < LOGPROB, "{model} {case} row {row} token {token}: {value}, expected {want}");
                    compared += 1;
                }
            }
        }
        assert!(compared > 200, "{model}: only {compared} compared");
    }
}

/// Loss, gradients and gradient norm of one optimiser batch that is cut into these micro-batches.
fn loss_and_gradients(decoder: &Decoder, batches: &[Batch]) -> (f64, Gradients) {
    let weight = batches.iter().map(|batch| Sft.weight(batch)).sum();
    let (mut loss, mut gradients) = (0.0, Gradients::default());
    for batch in batches {
        let part = Sft.loss(decoder, &MicroBatch { batch: batch.clone(), rows: vec![] }, weight).unwrap();
        loss += f64::from(part.to_scalar::<f32>().unwrap());
        gradients.add(decoder, part.backward().unwrap()).unwrap();
    }
    (loss, gradients)
}

#[cfg_attr(not(has_shared), ignore = "needs ../shared")]
#[test]
fn sft_loss_and_every_gradient() {
    for model in MODELS {
        let golden = Golden::read(model);
        let decoder = golden.decoder();
        for case in ["sft", "sft_packed"] {
            let batches = golden.sft_batches(case);
            let expected = &golden.json[case];
            // All rows at once, and one row at a time.
            for micro_batches in [vec![cases::join(&batches)], batches] {
                assert_eq!(
                    micro_batches.iter().map(|batch| Sft.weight(batch)).sum::<usize>() as u64,
                    expected["n_tokens"].as_u64().unwrap()
                );
                let (loss, gradients) = loss_and_gradients(&decoder, &micro_batches);
                assert!((loss - expected["loss_f64"].as_f64().unwrap()).abs() < 3e-6, "{model} {case}: loss {loss}");
                let norm = gradients.norm().unwrap();
                assert!((norm / expected["grad_norm"].as_f64().unwrap() - 1.0).abs() < 2e-6, "{model} {case}: grad_norm {norm}");
                let reference = golden.tensors(&format!("grads_{case}.safetensors"));
                assert_eq!(reference.len(), decoder.parameters().len());
                for (name, want) in &reference {
                    let apart = cases::max_difference(gradients.get(name).unwrap(), want);
                    assert!(apart < GRADIENT, "{model} {case} {name}: {apart:e}");
                }
            }
        }
    }
}

#[cfg_attr(not(has_shared), ignore = "needs ../shared")]
#[test]
fn adamw_with_clipping_warm_up_and_cosine() {
    for model in MODELS {
        let golden = Golden::read(model);
        let decoder = golden.decoder();
        let settings = &golden.json["adamw"];
        let number = |name: &str| settings[name].as_f64().unwrap();
        let config = janus_train::TrainConfig {
            warmup_steps: number("warmup") as u64,
            weight_decay: number("weight_decay"),
            betas: (settings["betas"][0].as_f64().unwrap(), settings["betas"][1].as_f64().unwrap()),
            eps: number("eps"),
            ..janus_train::TrainConfig::new(number("total") as u64, 96, number("lr"), 0)
        };
        let mut optimizer = janus_train::AdamW::new(config.adamw());
        let batches = golden.adamw_batches();
        assert_eq!(batches.len(), settings["steps"].as_array().unwrap().len());
        for (step, (batch, expected)) in batches.iter().zip(settings["steps"].as_array().unwrap()).enumerate() {
            let (loss, gradients) = loss_and_gradients(&decoder, std::slice::from_ref(batch));
            let norm = gradients.norm().unwrap();
            let lr = config.lr_at(step as u64);
            // Steps build on each other: rounding of one is carried into the next.
            assert!((loss - expected["loss"].as_f64().unwrap()).abs() < 2e-5, "{model} step {step}: loss {loss}");
            assert!((norm / expected["grad_norm"].as_f64().unwrap() - 1.0).abs() < 2e-5, "{model} step {step}: grad_norm {norm}");
            assert!((lr - expected["lr"].as_f64().unwrap()).abs() < 1e-15, "{model} step {step}: lr {lr}");
            let scale = (number("clip") / (norm + 1e-6)).min(1.0);
            optimizer.step(&decoder, &gradients, lr, scale, |_| true).unwrap();
        }
        for (name, want) in &golden.tensors("adamw_final.safetensors") {
            let apart = cases::max_difference(decoder.parameters()[name].as_tensor(), want);
            // Twenty steps of 2e-3 at most; parameters are of size 1.
            assert!(apart < 1e-5, "{model} {name}: {apart:e}");
        }
    }
}

#[cfg_attr(not(has_shared), ignore = "needs ../shared")]
#[test]
fn what_is_saved_is_loaded_and_both_spellings_of_the_config_are_read() {
    for model in MODELS {
        let golden = Golden::read(model);
        let folder = tempfile::tempdir().unwrap();
        let decoder = golden.decoder();
        decoder.save(folder.path()).unwrap();
        let again = Decoder::load(folder.path(), &Device::Cpu).unwrap();
        assert_eq!(again.config(), decoder.config());
        for (name, var) in decoder.parameters() {
            assert_eq!(cases::max_difference(var, again.parameters()[name].as_tensor()), 0.0, "{name}");
        }
        let v5 = janus_infer::ModelConfig::read(golden.folder.join("config.v5.json")).unwrap();
        assert_eq!(&v5, decoder.config());
    }
}
