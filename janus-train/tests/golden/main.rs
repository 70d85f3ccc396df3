//! Compares the decoder, its gradients and the optimiser with transformers and torch
//! (`goldens/README.md`).
//!
//! Tolerances: the float32 error of the reference against float64 is up to 3e-5 in logits of size 10 and
//! 1.1e-6 in gradients of size 1 (`*_f32_vs_f64` in `cases.json`). This crate sums in another order, so
//! a correct implementation may differ by a few times that.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod cases;

use candle_core::Device;
use cases::Golden;
use janus_train::{
    Batch, Decoder, Dpo, DpoConfig, Gradients, Length, LoraConfig, LossDenominator, Metrics, MicroBatch,
    NllSpan, Objective, Orpo, Reference, ReferenceLogprobs, Reward, Sft, TokenRow,
};

/// Tolerance for log-probabilities down to -20, of models whose logits differ by 1e-5 between float32
/// and float64.
const LOGPROB: f64 = 3e-5;
/// Tolerance for gradients of size up to 0.8.
const GRADIENT: f64 = 6e-6;

#[test]
fn logprobs_of_padded_and_packed_rows() {
    for golden in Golden::all() {
        let model = golden.name.as_str();
        let decoder = golden.decoder();
        let mut compared = 0;
        for case in ["right_pad", "left_pad", "long", "packed"] {
            let ids = golden.ints(&format!("{case}.input_ids"));
            let segments: Vec<Vec<i64>> = match case {
                "packed" => golden.ints("packed.segment_ids"),
                _ => golden
                    .ints(&format!("{case}.attention_mask"))
                    .iter()
                    .map(|row| row.iter().map(|mask| mask - 1).collect())
                    .collect(),
            };
            let expected = golden.floats(&format!("{case}.logprobs"));
            let mut here = 0;
            for row in 0..ids.len() {
                let (batch, places) = cases::documents(&ids[row], &segments[row], |_| true);
                let logprobs = decoder.logprobs(&batch).unwrap();
                let values = logprobs.values.to_vec1::<f32>().unwrap();
                for (&token, value) in logprobs.tokens.iter().zip(values) {
                    let want = expected[row][places[token as usize] - 1];
                    assert!(
                        (f64::from(value) - want).abs() < LOGPROB,
                        "{model} {case} row {row} token {token}: {value}, expected {want}"
                    );
                    here += 1;
                }
            }
            assert_eq!(
                expected.iter().flatten().filter(|logprob| **logprob != 0.0).count(),
                here,
                "{model} {case}: 0 elsewhere"
            );
            compared += here;
        }
        assert!(compared > 130, "{model}: only {compared} compared");
    }
}

/// Loss, metrics and gradients of one step with these micro-batches.
fn loss_and_gradients(
    objective: &dyn Objective,
    decoder: &Decoder,
    batches: &[Batch],
) -> (f64, Metrics, Gradients) {
    let denominator = batches.iter().map(|batch| objective.denominator(batch)).sum();
    let (mut loss, mut metrics, gradients) = (0.0, Metrics::new(), Gradients::new(decoder));
    let recording = decoder.recording(&gradients);
    let mut row = 0;
    for batch in batches {
        let rows = (row..row + batch.documents()).collect();
        row += batch.documents();
        let part =
            objective.loss(&recording, &MicroBatch { batch: batch.clone(), rows }, denominator).unwrap();
        loss += f64::from(part.loss.to_scalar::<f32>().unwrap());
        part.metrics.into_iter().for_each(|(name, value)| *metrics.entry(name).or_insert(0.0) += value);
        gradients.backward(&part.loss).unwrap();
    }
    (loss, metrics, gradients)
}

/// max(10 · stated, 1e-5 + 1e-5 · |x|), where `stated` is the difference between float32 and float64 in
/// the file.
fn tolerance(stated: f64, x: f64) -> f64 {
    (10.0 * stated).max(1e-5 + 1e-5 * x.abs())
}

/// Asserts that the gradients are exactly those of the file.
fn assert_gradients(golden: &Golden, case: &str, decoder: &Decoder, gradients: &Gradients) {
    let expected = &golden.json[case];
    let norm = gradients.norm().unwrap();
    assert!((norm / expected["grad_norm"].as_f64().unwrap() - 1.0).abs() < 2e-6, "{case}: grad_norm {norm}");
    let reference = golden.tensors(&format!("grads_{case}.safetensors"));
    for name in decoder.parameters().keys() {
        assert_eq!(gradients.get(name).is_some(), reference.contains_key(name), "{case} {name}");
    }
    for (name, want) in &reference {
        let apart = cases::max_difference(&gradients.get(name).unwrap(), want);
        assert!(apart < GRADIENT, "{case} {name}: {apart:e}");
    }
}

fn assert_near(what: &str, got: &[f64], want: &[f64], stated: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() <= tolerance(stated, *want), "{what}: {got}, expected {want}");
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// All documents in one micro-batch, and the given batches as micro-batches.
fn ways(batches: Vec<Batch>) -> [Vec<Batch>; 2] {
    [vec![cases::join(&batches)], batches]
}

#[test]
fn dpo_with_a_stored_reference_and_with_a_reference_model() {
    for golden in Golden::with("dpo") {
        let model = golden.name.as_str();
        let decoder = golden.decoder();
        let reference = golden.reference_decoder();
        let batches = golden.pair_batches();
        let rows: Vec<TokenRow> = batches.iter().flat_map(cases::rows).collect();
        let folder = tempfile::tempdir().unwrap();
        let stored = ReferenceLogprobs::compute(
            folder.path().join("ref.jsonl"),
            &reference,
            "golden",
            &rows,
            40,
            &mut |_, _| {},
        )
        .unwrap();
        let (chosen, rejected) =
            (golden.vector("dpo.ref_chosen_logps"), golden.vector("dpo.ref_rejected_logps"));
        let want: Vec<f64> = chosen.into_iter().zip(rejected).flat_map(|(c, r)| [c, r]).collect();
        assert_near("reference", &stored.of_rows(&rows).unwrap(), &want, 0.0);

        let config = DpoConfig::new(golden.json["dpo"]["beta"].as_f64().unwrap());
        for reference in [Reference::Stored(stored), Reference::Model(Box::new(reference))] {
            let dpo = Dpo::new(config, reference, &rows).unwrap();
            for micro_batches in ways(batches.clone()) {
                let (loss, metrics, gradients) = loss_and_gradients(&dpo, &decoder, &micro_batches);
                assert_near(model, &[loss], &[golden.json["dpo"]["loss_f64"].as_f64().unwrap()], 0.0);
                let (chosen, rejected) =
                    (golden.vector("dpo.chosen_rewards"), golden.vector("dpo.rejected_rewards"));
                assert_near("chosen", &[metrics["reward_chosen"]], &[mean(&chosen)], 0.0);
                assert_near("rejected", &[metrics["reward_rejected"]], &[mean(&rejected)], 0.0);
                assert_near(
                    "margin",
                    &[metrics["margin"]],
                    &[golden.json["dpo"]["margin"].as_f64().unwrap()],
                    0.0,
                );
                assert_near(
                    "accuracy",
                    &[metrics["accuracy"]],
                    &[golden.json["dpo"]["accuracy"].as_f64().unwrap()],
                    0.0,
                );
                assert_gradients(&golden, "dpo", &decoder, &gradients);
            }
        }
        let mut smoothed = config;
        smoothed.label_smoothing = golden.json["dpo"]["label_smoothing"].as_f64().unwrap();
        let dpo = Dpo::new(smoothed, Reference::Model(Box::new(golden.reference_decoder())), &rows).unwrap();
        let (loss, ..) = loss_and_gradients(&dpo, &decoder, &[cases::join(&batches)]);
        assert_near("smoothed", &[loss], &[golden.json["dpo"]["smoothed_loss_f64"].as_f64().unwrap()], 0.0);
    }
}

#[test]
fn orpo_over_the_row_and_over_the_response() {
    for golden in Golden::with("orpo") {
        let model = golden.name.as_str();
        let decoder = golden.decoder();
        let expected = &golden.json["orpo"];
        let number = |name: &str| expected[name].as_f64().unwrap();
        for micro_batches in ways(golden.pair_batches()) {
            let orpo = Orpo::new(number("lambda"), NllSpan::Row).unwrap();
            let (loss, metrics, gradients) = loss_and_gradients(&orpo, &decoder, &micro_batches);
            assert_near(model, &[loss], &[number("loss_f64")], 0.0);
            assert_near("nll", &[metrics["nll"]], &[number("nll")], 0.0);
            assert_near("log odds", &[metrics["log_odds"]], &[number("log_odds_mean")], 0.0);
            let (chosen, rejected) =
                (golden.vector("orpo.chosen_avg_logps"), golden.vector("orpo.rejected_avg_logps"));
            assert_near("chosen", &[metrics["reward_chosen"]], &[mean(&chosen) * number("lambda")], 0.0);
            assert_near(
                "rejected",
                &[metrics["reward_rejected"]],
                &[mean(&rejected) * number("lambda")],
                0.0,
            );
            assert_gradients(&golden, "orpo", &decoder, &gradients);

            let orpo = Orpo::new(number("lambda"), NllSpan::Response).unwrap();
            let (loss, metrics, _) = loss_and_gradients(&orpo, &decoder, &micro_batches);
            assert_near("nll of the response", &[metrics["nll"]], &[number("nll_response_only")], 0.0);
            assert_near(model, &[loss], &[number("nll_response_only") + number("or_loss")], 0.0);
        }
    }
}

#[test]
fn reward_model() {
    for golden in Golden::with("reward") {
        let model = golden.name.as_str();
        let decoder = golden.decoder();
        let (chosen, rejected) = (golden.vector("rm.chosen_rewards"), golden.vector("rm.rejected_rewards"));
        for micro_batches in ways(golden.pair_batches()) {
            let (loss, metrics, gradients) = loss_and_gradients(&Reward::default(), &decoder, &micro_batches);
            assert_near(model, &[loss], &[golden.json["reward"]["loss_f64"].as_f64().unwrap()], 0.0);
            assert_near(
                "accuracy",
                &[metrics["accuracy"]],
                &[golden.json["reward"]["accuracy"].as_f64().unwrap()],
                0.0,
            );
            assert_near("chosen", &[metrics["reward_chosen"]], &[mean(&chosen)], 0.0);
            assert_near("rejected", &[metrics["reward_rejected"]], &[mean(&rejected)], 0.0);
            assert_gradients(&golden, "reward", &decoder, &gradients);
        }
        let values = decoder.values(&cases::join(&golden.pair_batches())).unwrap().to_vec1::<f32>().unwrap();
        let want: Vec<f64> = chosen.iter().zip(&rejected).flat_map(|(&c, &r)| [c, r]).collect();
        assert_near("rewards", &values.into_iter().map(f64::from).collect::<Vec<_>>(), &want, 0.0);
    }
}

#[test]
fn sft_loss_and_every_gradient() {
    for case in ["sft", "sft_packed"] {
        for golden in Golden::with(case) {
            let (model, decoder, expected) = (&golden.name, golden.decoder(), &golden.json[case]);
            for micro_batches in ways(golden.sft_batches(case)) {
                assert_eq!(
                    micro_batches.iter().map(|batch| Sft.denominator(batch)).sum::<LossDenominator>().tokens
                        as u64,
                    expected["n_tokens"].as_u64().unwrap()
                );
                let (loss, _, gradients) = loss_and_gradients(&Sft, &decoder, &micro_batches);
                assert!(
                    (loss - expected["loss_f64"].as_f64().unwrap()).abs() < 3e-6,
                    "{model} {case}: loss {loss}"
                );
                assert_gradients(&golden, case, &decoder, &gradients);
            }
        }
    }
}

#[test]
fn lora_loss_and_the_gradients_of_the_adapters() {
    for golden in Golden::with("lora") {
        let number = |name: &str| golden.json["lora"][name].as_f64().unwrap();
        let config = LoraConfig::new(number("rank") as usize, number("alpha"));
        let decoder =
            golden.decoder().with_lora(config, 0).unwrap().frozen(|name| name == janus_train::VALUE_HEAD);
        let updates = golden.tensors("lora.safetensors");
        assert!(decoder.parameters().keys().eq(updates.keys()), "{:?}", decoder.parameters().keys());
        updates.iter().for_each(|(name, value)| decoder.parameters()[name].set(value).unwrap());
        let predicted: usize =
            golden.sft_batches("sft").iter().map(|batch| batch.tokens() - batch.documents()).sum();
        let logprobs = golden.floats("lora.logprobs");
        assert_eq!(
            logprobs.iter().flatten().filter(|logprob| **logprob != 0.0).count(),
            predicted,
            "{}: 0 at padding",
            golden.name
        );
        for micro_batches in ways(golden.sft_batches("sft")) {
            let (loss, _, gradients) = loss_and_gradients(&Sft, &decoder, &micro_batches);
            assert!((loss - number("loss_f64")).abs() < 3e-6, "{}: loss {loss}", golden.name);
            assert_gradients(&golden, "lora", &decoder, &gradients);
        }
    }
}

#[test]
fn adamw_with_clipping_warm_up_and_cosine() {
    for golden in Golden::with("adamw") {
        let model = golden.name.as_str();
        // The loss does not use the value head.
        let decoder = golden.decoder().frozen(|name| name == janus_train::VALUE_HEAD);
        let settings = &golden.json["adamw"];
        let number = |name: &str| settings[name].as_f64().unwrap();
        let config =
            janus_train::TrainConfig::new(Length::Steps(number("total") as u64), 96, number("lr"), 0).with(
                |config| {
                    config.warmup_steps = number("warmup") as u64;
                    config.weight_decay = number("weight_decay");
                    config.betas =
                        (settings["betas"][0].as_f64().unwrap(), settings["betas"][1].as_f64().unwrap());
                    config.eps = number("eps");
                },
            );
        let mut optimizer = janus_train::AdamW::new(config.adamw()).unwrap();
        let batches = golden.adamw_batches();
        assert_eq!(batches.len(), settings["steps"].as_array().unwrap().len());
        for (step, (batch, expected)) in batches.iter().zip(settings["steps"].as_array().unwrap()).enumerate()
        {
            let (loss, _, gradients) = loss_and_gradients(&Sft, &decoder, std::slice::from_ref(batch));
            let norm = gradients.norm().unwrap();
            let lr = config.lr_at(step as u64, number("total") as u64);
            // Rounding errors accumulate from step to step.
            assert!(
                (loss - expected["loss"].as_f64().unwrap()).abs() < 2e-5,
                "{model} step {step}: loss {loss}"
            );
            assert!(
                (norm / expected["grad_norm"].as_f64().unwrap() - 1.0).abs() < 2e-5,
                "{model} step {step}: grad_norm {norm}"
            );
            assert!((lr - expected["lr"].as_f64().unwrap()).abs() < 1e-15, "{model} step {step}: lr {lr}");
            let scale = (number("clip") / (norm + 1e-6)).min(1.0);
            optimizer.step(&decoder, &gradients, lr, scale).unwrap();
        }
        for (name, want) in &golden.tensors("adamw_final.safetensors") {
            let apart = cases::max_difference(decoder.parameters()[name].as_tensor(), want);
            // Twenty steps of 2e-3 at most; parameters are of size 1.
            assert!(apart < 1e-5, "{model} {name}: {apart:e}");
        }
    }
}

#[test]
fn a_saved_model_is_loaded_and_both_formats_of_the_config_are_read() {
    for golden in Golden::all() {
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

/// The rounding errors that the files state widen the tolerances, so they must be small.
#[test]
fn stated_rounding_errors_are_small() {
    fn stated(value: &serde_json::Value, found: &mut Vec<f64>) {
        for (key, value) in value.as_object().into_iter().flatten() {
            if key.contains("f32_vs_f64") {
                found.push(value.as_f64().unwrap());
            }
            stated(value, found);
        }
    }
    for golden in Golden::all() {
        let mut found = Vec::new();
        stated(&golden.json, &mut found);
        assert!(
            found.len() >= 4 && found.iter().all(|stated| (1e-9..3e-5).contains(stated)),
            "{}: {found:?}",
            golden.name
        );
    }
}

#[test]
fn every_reference_number_is_recomputed() {
    let folder = cases::goldens();
    let checks = janus_train::goldens::verify(&folder, &folder.join("none.json"));
    let wrong: Vec<String> = checks.iter().filter(|check| !check.ok()).map(ToString::to_string).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checks.len() > 250, "{} checks", checks.len());
}
