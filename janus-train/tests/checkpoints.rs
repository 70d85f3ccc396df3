//! The folder of a run: models that load, one run at a time, and no NaN or infinity.
use std::ops::ControlFlow;
use std::path::Path;

use candle_core::Device;
use janus_train::{
    Batch, Checkpoint, DType, Decoder, Error, Evaluation, KeepBest, Length, LoraConfig, LossDenominator,
    LossOutput, Metrics, MicroBatch, ModelConfig, ModelSizes, NllSpan, Objective, Observer, Orpo, Quantity,
    Result, Reward, Sft, StepMetrics, StopReason, TokenRow, TrainConfig, Trainer,
};

fn decoder(seed: u64) -> Decoder {
    let mut config = ModelConfig::llama(ModelSizes {
        vocab_size: 30,
        hidden_size: 16,
        intermediate_size: 24,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        num_key_value_heads: 2,
        max_position_embeddings: 64,
    });
    config.initializer_range = 0.1;
    Decoder::init(&config, seed, &Device::Cpu).unwrap()
}

fn rows(n: u32) -> Vec<TokenRow> {
    let row = |i: u32| TokenRow {
        ids: (0..6).map(|j| (i * 7 + j * j) % 30).collect(),
        loss_mask: (0..6).map(|j| j > 2).collect(),
    };
    (0..n).map(row).collect()
}

fn settings(steps: u64) -> TrainConfig {
    TrainConfig::new(Length::Steps(steps), 24, 1e-2, 3).with(|config| config.checkpoint_every = Some(1))
}

fn logprobs(decoder: &Decoder) -> Vec<f32> {
    let all = rows(4);
    decoder.logprobs(&Batch::concat(&all.iter().collect::<Vec<_>>())).unwrap().values.to_vec1().unwrap()
}

/// Records the log-probabilities at each evaluation, and adds a file to each model folder.
#[derive(Default)]
struct Recorder {
    evaluated: Vec<Vec<f32>>,
    saved: usize,
}

impl Observer for Recorder {
    fn evaluated(&mut self, _: &Evaluation, decoder: &Decoder) -> Result<ControlFlow<()>> {
        self.evaluated.push(logprobs(&decoder.detached()?));
        Ok(ControlFlow::Continue(()))
    }

    fn saved(&mut self, folder: &Path) -> Result<()> {
        assert!(folder.join("config.json").exists() && folder.join("model.safetensors").exists());
        std::fs::write(folder.join("tokenizer.json"), "{}").unwrap();
        self.saved += 1;
        Ok(())
    }
}

#[test]
fn every_checkpoint_and_the_best_are_models_that_load() {
    for (lora, dtype) in [(false, DType::F32), (true, DType::F32), (false, DType::Bf16), (true, DType::Bf16)]
    {
        let folder = tempfile::tempdir().unwrap();
        let start = if lora { decoder(1).with_lora(LoraConfig::new(2, 4.0), 7).unwrap() } else { decoder(1) };
        let keep_best = Some(KeepBest::new("loss", false));
        let settings = settings(3).with(|config| {
            config.dtype = dtype;
            config.keep_best = keep_best;
            config.evaluate_every = Some(1);
        });
        let mut recorder = Recorder::default();
        let trainer = Trainer::new(start, Sft, rows(8), settings).unwrap();
        trainer.with_held_out(rows(4)).unwrap().fit(folder.path(), &mut recorder).unwrap();
        for (place, step) in
            [("checkpoints/step-000002", 2), ("checkpoints/step-000003", 3), ("model", 3), ("best", 3)]
        {
            let path = folder.path().join(place);
            let loaded = logprobs(&Decoder::load_as(&path, dtype, &Device::Cpu).unwrap());
            let tolerance = if dtype == DType::F32 { 2e-5 } else { 5e-2 };
            for (loaded, trained) in loaded.iter().zip(&recorder.evaluated[step - 1]) {
                assert!(
                    (loaded - trained).abs() < tolerance,
                    "{place}, LoRA {lora}: {loaded}, trained {trained}"
                );
            }
            janus_infer::Model::load(&path, &Device::Cpu).unwrap();
            assert!(path.join("tokenizer.json").exists());
            // vLLM loads every safetensors file next to config.json as weights.
            let mut files: Vec<_> = std::fs::read_dir(&path)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            files.retain(|name| name.ends_with(".safetensors"));
            assert_eq!(files, ["model.safetensors"]);
        }
        // No tensor is stored twice: the adapters are apart from the merged weights.
        let training = folder.path().join("checkpoints/step-000003/training");
        assert_eq!(training.join("low_rank.safetensors").exists(), lora);
        let weights = candle_core::safetensors::load(
            folder.path().join("checkpoints/step-000003/model.safetensors"),
            &Device::Cpu,
        )
        .unwrap();
        assert_eq!(weights.keys().filter(|name| name.contains("lora")).count(), 0);
    }
}

#[test]
fn other_config_keys_are_saved_with_the_fine_tuned_model() {
    let folder = tempfile::tempdir().unwrap();
    let (base, tuned) = (folder.path().join("base"), folder.path().join("tuned"));
    decoder(1).save(&base).unwrap();
    let read = |folder: &Path| -> serde_json::Map<String, serde_json::Value> {
        serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap()
    };
    let mut config = read(&base);
    let plain = config.clone();
    config.insert("pad_token_id".into(), 0.into());
    config.insert("quantization_config".into(), serde_json::json!({ "bits": 4 }));
    std::fs::write(base.join("config.json"), serde_json::to_string(&config).unwrap()).unwrap();

    let start = Decoder::load(&base, &Device::Cpu).unwrap().with_lora(LoraConfig::new(2, 4.0), 7).unwrap();
    Trainer::new(start, Sft, rows(8), settings(1)).unwrap().fit(&tuned, &mut ()).unwrap();
    config.remove("quantization_config");
    assert_eq!(read(&tuned.join("model")), config);
    assert_eq!(config.len(), plain.len() + 1);
}

#[test]
fn a_lora_run_is_not_resumed_with_another_config_or_on_another_model() {
    let folder = tempfile::tempdir().unwrap();
    let fit = |base: u64, config: LoraConfig, steps| {
        let decoder = decoder(base).with_lora(config, 7).unwrap();
        Trainer::new(decoder, Sft, rows(8), settings(steps)).unwrap().fit(folder.path(), &mut ())
    };
    fit(1, LoraConfig::new(2, 4.0), 2).unwrap();
    let what = |result: Result<StopReason>| match result {
        Err(Error::OtherRun { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(what(fit(1, LoraConfig::new(2, 8.0), 2)), "LoRA config");
    assert_eq!(what(fit(1, LoraConfig::new(2, 4.0).with(|config| config.dropout = 0.1), 2)), "LoRA config");
    assert_eq!(what(fit(2, LoraConfig::new(2, 4.0), 2)), "set of frozen weights");
    fit(1, LoraConfig::new(2, 4.0), 2).unwrap();
}

#[test]
fn a_run_is_not_resumed_with_other_held_out_rows() {
    let folder = tempfile::tempdir().unwrap();
    let fit = |n| {
        Trainer::new(decoder(1), Sft, rows(8), settings(2))
            .unwrap()
            .with_held_out(rows(n))
            .unwrap()
            .fit(folder.path(), &mut ())
    };
    fit(2).unwrap();
    assert!(matches!(fit(3), Err(Error::OtherRun { what: "data", .. })));
}

#[test]
fn a_second_run_in_the_same_folder_is_refused() {
    struct Second<'a>(&'a Path, Vec<String>);
    impl Observer for Second<'_> {
        fn step(&mut self, _: &StepMetrics) -> ControlFlow<()> {
            let error = Trainer::new(decoder(1), Sft, rows(8), settings(2))
                .unwrap()
                .fit(self.0, &mut ())
                .unwrap_err();
            assert!(
                matches!(&error, Error::Data(error) if matches!(&**error, janus_data::Error::Locked { process: Some(process), .. } if *process == std::process::id())),
                "{error}"
            );
            self.1.push(error.to_string());
            ControlFlow::Continue(())
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut second = Second(folder.path(), Vec::new());
    Trainer::new(decoder(1), Sft, rows(8), settings(2)).unwrap().fit(folder.path(), &mut second).unwrap();
    assert_eq!(second.1.len(), 2);
    assert!(
        second.1[0].contains("another run is using this folder (process ")
            && second.1[0].contains("wait for it"),
        "{}",
        second.1[0]
    );
    // After the run the folder is unlocked.
    Trainer::new(decoder(1), Sft, rows(8), settings(2)).unwrap().fit(folder.path(), &mut ()).unwrap();
    assert_eq!(std::fs::read(folder.path().join(".lock")).unwrap(), b"");
}

#[test]
fn old_checkpoints_and_temporary_folders_of_a_killed_run_are_deleted_on_resuming() {
    let folder = tempfile::tempdir().unwrap();
    let fit = || Trainer::new(decoder(1), Sft, rows(8), settings(4)).unwrap().fit(folder.path(), &mut ());
    fit().unwrap();
    let checkpoints = folder.path().join("checkpoints");
    let steps = || {
        Checkpoint::list(folder.path()).unwrap().iter().map(|checkpoint| checkpoint.step).collect::<Vec<_>>()
    };
    assert_eq!(steps(), [3, 4]);
    // An old checkpoint, and temporary folders of a checkpoint and of a model.
    std::fs::create_dir(checkpoints.join("step-000002")).unwrap();
    std::fs::create_dir(checkpoints.join(".step-000001.77-0.tmp")).unwrap();
    std::fs::create_dir(folder.path().join(".model.77-1.tmp")).unwrap();
    fit().unwrap();
    assert_eq!(steps(), [3, 4]);
    let left = |folder: &Path| {
        std::fs::read_dir(folder)
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".tmp"))
            .count()
    };
    assert_eq!((left(&checkpoints), left(folder.path())), (0, 0));
}

/// With this learning rate the first update makes weights infinite, while the loss of the step is still
/// finite.
#[test]
fn no_checkpoint_is_written_with_weights_that_the_last_update_made_infinite() {
    let folder = tempfile::tempdir().unwrap();
    let fit = |lr, steps| {
        let settings = settings(steps).with(|config| {
            config.lr = lr;
            config.schedule = janus_train::Schedule::Constant;
        });
        Trainer::new(decoder(1), Sft, rows(8), settings).unwrap().fit(folder.path(), &mut ())
    };
    match fit(1e39, 3) {
        Err(Error::NotFinite { step: 1, what, rows, checkpoint: None, .. }) => {
            assert!(
                matches!(&what, Quantity::Weight(name) if name.ends_with(".weight")) && !rows.is_empty(),
                "{what}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(Checkpoint::list(folder.path()).unwrap().is_empty() && !folder.path().join("model").exists());
}

/// A loss that is NaN from the n-th call on.
struct Diverging {
    nan_from: u64,
    calls: std::cell::Cell<u64>,
}

impl Objective for Diverging {
    fn denominator(&self, batch: &Batch) -> LossDenominator {
        Sft.denominator(batch)
    }
    fn loss(
        &self,
        decoder: &Decoder,
        micro_batch: &MicroBatch,
        denominator: LossDenominator,
    ) -> Result<LossOutput> {
        let part = Sft.loss(decoder, micro_batch, denominator)?;
        let call = self.calls.replace(self.calls.get() + 1);
        if call >= self.nan_from { Ok(((part.loss * f64::NAN)?).into()) } else { Ok(part) }
    }
    fn identity(&self) -> Result<serde_json::Value> {
        Ok("diverging".into())
    }
}

#[test]
fn the_advice_in_the_error_of_a_loss_that_is_not_finite_works() {
    let folder = tempfile::tempdir().unwrap();
    let objective = Diverging { nan_from: 2, calls: std::cell::Cell::new(0) };
    let error = Trainer::new(decoder(1), objective, rows(8), settings(4))
        .unwrap()
        .fit(folder.path(), &mut ())
        .unwrap_err();
    let Error::NotFinite { checkpoint: Some(path), step: 2, .. } = &error else { panic!("{error:?}") };
    assert!(
        error
            .to_string()
            .contains("start another run, in another folder, with a lower learning rate, from the model in"),
        "{error}"
    );
    // Follows the advice of the message.
    let other = tempfile::tempdir().unwrap();
    let lower = settings(2).with(|config| config.lr = 1e-3);
    let start = Decoder::load(path, &Device::Cpu).unwrap();
    Trainer::new(start, Sft, rows(8), lower).unwrap().fit(other.path(), &mut ()).unwrap();
}

/// Reports a metric that has the given value on held-out rows, and 1 on training rows.
struct BadMetric(f64);

impl Objective for BadMetric {
    fn denominator(&self, batch: &Batch) -> LossDenominator {
        Sft.denominator(batch)
    }
    fn loss(
        &self,
        decoder: &Decoder,
        micro_batch: &MicroBatch,
        denominator: LossDenominator,
    ) -> Result<LossOutput> {
        let part = Sft.loss(decoder, micro_batch, denominator)?;
        let held_out = decoder.parameters().is_empty();
        Ok(LossOutput { metrics: Metrics::from([("metric", if held_out { self.0 } else { 1.0 })]), ..part })
    }
    fn identity(&self) -> Result<serde_json::Value> {
        Ok("bad metric".into())
    }
}

#[test]
fn a_held_out_loss_or_metric_that_is_not_finite_stops_the_run_and_does_not_block_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(4).with(|config| config.evaluate_every = Some(2));
    let fit = |metric| {
        let trainer = Trainer::new(decoder(1), BadMetric(metric), rows(8), settings.clone()).unwrap();
        trainer.with_held_out(rows(3)).unwrap().fit(folder.path(), &mut ())
    };
    match fit(f64::INFINITY) {
        Err(Error::NotFinite { step: 2, what, rows, checkpoint: Some(_), .. }) => {
            assert_eq!((what, rows), (Quantity::HeldOut("metric".into()), vec![0, 1, 2]))
        }
        other => panic!("{other:?}"),
    }
    assert!(!folder.path().join("evaluations.jsonl").exists());
    fit(0.5).unwrap();
    let text = std::fs::read_to_string(folder.path().join("evaluations.jsonl")).unwrap();
    assert!(text.lines().count() == 2 && !text.contains("null"), "{text}");

    let decoder = decoder(1);
    let norm = &decoder.parameters()["model.norm.weight"];
    norm.set(&norm.affine(0.0, f64::NAN).unwrap()).unwrap();
    let mut trainer =
        Trainer::new(decoder, Sft, rows(8), settings.clone()).unwrap().with_held_out(rows(3)).unwrap();
    assert!(
        matches!(trainer.evaluate(), Err(Error::NotFinite { what, .. }) if what == Quantity::HeldOut("loss".into()))
    );
}

#[test]
fn keep_best_works_without_early_stop_and_is_refused_without_held_out_rows() {
    let folder = tempfile::tempdir().unwrap();
    let keep_best = |higher_is_better| Some(KeepBest::new("loss", higher_is_better));
    // The highest loss is the first.
    let settings = settings(5).with(|config| {
        config.evaluate_every = Some(1);
        config.keep_best = keep_best(true);
    });
    let mut recorder = Recorder::default();
    let trainer = Trainer::new(decoder(1), Sft, rows(8), settings.clone()).unwrap();
    trainer.with_held_out(rows(4)).unwrap().fit(folder.path(), &mut recorder).unwrap();
    assert_eq!(
        (recorder.evaluated.len(), recorder.saved),
        (5, 5 + 1 + 1),
        "the run continues to its last step"
    );
    let best = logprobs(&Decoder::load(folder.path().join("best"), &Device::Cpu).unwrap());
    assert_eq!(best, recorder.evaluated[0]);
    let other = tempfile::tempdir().unwrap();
    let error =
        Trainer::new(decoder(1), Sft, rows(8), settings).unwrap().fit(other.path(), &mut ()).unwrap_err();
    assert!(
        error.to_string().contains("keep_best") && error.to_string().contains("held-out rows"),
        "{error}"
    );
}

#[test]
fn the_duration_of_each_step_is_logged_once() {
    let folder = tempfile::tempdir().unwrap();
    let lines = || {
        let text = std::fs::read_to_string(folder.path().join("timing.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()).collect::<Vec<_>>()
    };
    let halt = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let settings = settings(4).with(|config| config.checkpoint_every = Some(2));
        Trainer::new(decoder(1), Sft, rows(8), settings)
            .unwrap()
            .fit(folder.path(), &mut |metrics: &StepMetrics| assert!(metrics.step < 3))
    }));
    assert!(halt.is_err() && lines().len() == 3);
    // TensorBoard already has the steps so far.
    let events = folder.path().join("tensorboard/events.out.tfevents.0.janus");
    let before = std::fs::read(&events).unwrap();
    let settings = settings(4).with(|config| config.checkpoint_every = Some(2));
    Trainer::new(decoder(1), Sft, rows(8), settings).unwrap().fit(folder.path(), &mut ()).unwrap();
    let steps: Vec<u64> = lines().iter().map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [1, 2, 3, 4]);
    assert!(
        lines().iter().all(|line| line["seconds"].as_f64().unwrap() > 0.0
            && line["tokens_per_second"].as_f64().unwrap() > 0.0)
    );
    let after = std::fs::read(&events).unwrap();
    assert!(after.starts_with(&before), "the first three steps are kept, and no step is there twice");
    assert_eq!((before.len() - 40) * 4, (after.len() - 40) * 3);
}

#[test]
fn a_pair_that_is_too_long_is_named_by_its_row() {
    let mut pairs = rows(6);
    pairs[5].ids.extend([1; 30]);
    pairs[5].loss_mask.extend([true; 30]);
    let orpo = Orpo::new(0.1, NllSpan::Response).unwrap();
    assert!(matches!(
        Trainer::new(decoder(1), orpo, pairs.clone(), settings(1)),
        Err(Error::TooLong { row: 4, .. })
    ));
    let trainer = Trainer::new(decoder(1), orpo, rows(4), settings(1)).unwrap();
    assert!(matches!(trainer.with_held_out(pairs), Err(Error::TooLong { row: 4, .. })));
}

#[test]
fn the_loss_mask_of_a_first_token_does_not_affect_objectives_over_pairs() {
    let mut pairs = rows(8);
    pairs.iter_mut().for_each(|row| row.loss_mask.fill(true));
    let mut masked = pairs.clone();
    masked.iter_mut().for_each(|row| row.loss_mask[0] = false);
    let orpo = || Orpo::new(0.1, NllSpan::Response).unwrap();
    let imitating = || Reward::with_imitation(0.5).unwrap();
    let reward = |pairs: &[TokenRow]| first_step(decoder(1).with_value_head(2).unwrap(), imitating(), pairs);
    assert_eq!(reward(&pairs), reward(&masked));
    assert_eq!(first_step(decoder(1), orpo(), &pairs), first_step(decoder(1), orpo(), &masked));
}

/// The loss and the number of supervised tokens of the first step.
fn first_step(decoder: Decoder, objective: impl Objective, rows: &[TokenRow]) -> (f64, usize) {
    let step = Trainer::new(decoder, objective, rows.to_vec(), settings(1)).unwrap().step().unwrap();
    (step.loss, step.supervised)
}

#[test]
fn a_missing_head_and_a_first_token_are_refused_before_the_forward_pass() {
    let all = rows(2);
    let batch = Batch::concat(&all.iter().collect::<Vec<_>>());
    for (tokens, reason) in [
        (vec![6], "token 6 is the first of its document"),
        (vec![3, 2], "must be ascending"),
        (vec![12], "below 12"),
    ] {
        let error = decoder(1).logprobs_at(&batch, tokens).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let decoder = decoder(1).with_value_head(2).unwrap();
    decoder.save(folder.path()).unwrap();
    let path = folder.path().join("model.safetensors");
    let mut weights = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    weights.remove("lm_head.weight").unwrap();
    candle_core::safetensors::save(&weights, &path).unwrap();
    let headless = || Decoder::load(folder.path(), &Device::Cpu).unwrap();
    assert!(matches!(headless().logprobs(&batch), Err(Error::NoHead { name: "lm_head.weight" })));
    let imitating = Trainer::new(headless(), Reward::with_imitation(0.5).unwrap(), rows(4), settings(1));
    assert!(matches!(imitating, Err(Error::NoHead { name: "lm_head.weight" })));
    assert!(Trainer::new(headless(), Reward::default(), rows(4), settings(1)).is_ok());
}
