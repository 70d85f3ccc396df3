//! Invariants of training: gradient accumulation, packing, resuming, and inputs that are refused.
use std::ops::ControlFlow;
use std::path::Path;

use candle_core::{Device, Tensor};
use janus_core::{ChatTemplate, SftRecord};
use janus_data::Tokenizer;
use janus_data::mini::Mini;
use janus_infer::{ModelConfig, ModelSizes};
use janus_train::{
    Batch, Checkpoint, Decoder, Dpo, DpoConfig, EarlyStop, Error, Gradients, Length, LoraConfig,
    LossDenominator, LossOutput, MicroBatch, Objective, Quantity, Reference, ReferenceLogprobs, Result,
    Reward, Schedule, Sft, StepMetrics, TokenRow, TrainConfig, Trainer,
};
use rand::Rng;

fn decoder(seed: u64) -> Decoder {
    let mut config = ModelConfig::mistral(ModelSizes {
        vocab_size: 50,
        hidden_size: 24,
        intermediate_size: 40,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        max_position_embeddings: 64,
    });
    config.sliding_window = Some(9);
    config.initializer_range = 0.1;
    config.tie_word_embeddings = true;
    Decoder::init(&config, seed, &Device::Cpu).unwrap()
}

fn rows(n: usize) -> Vec<TokenRow> {
    let mut rng = janus_core::stream(5, "rows");
    (0..n)
        .map(|_| {
            let len = rng.random_range(4..30);
            TokenRow {
                ids: (0..len).map(|_| rng.random_range(0..50)).collect(),
                loss_mask: (0..len).map(|i| i >= len / 2).collect(),
            }
        })
        .collect()
}

fn config(steps: u64) -> TrainConfig {
    TrainConfig::new(Length::Steps(steps), 64, 1e-2, 3).with(|config| {
        config.gradient_accumulation_steps = 2;
        config.warmup_steps = 2;
        config.weight_decay = 0.1;
        config.clip_norm = Some(0.5);
        config.checkpoint_every = Some(3);
    })
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn gradients(decoder: &Decoder, micro_batches: &[Vec<&TokenRow>]) -> (f64, Gradients) {
    let batches: Vec<Batch> = micro_batches.iter().map(|rows| Batch::concat(rows)).collect();
    let denominator = batches.iter().map(|batch| Sft.denominator(batch)).sum();
    let (mut loss, gradients) = (0.0, Gradients::new(decoder));
    let recording = decoder.recording(&gradients);
    for batch in batches {
        let part = Sft.loss(&recording, &MicroBatch { batch, rows: vec![] }, denominator).unwrap();
        loss += f64::from(part.loss.to_scalar::<f32>().unwrap());
        gradients.backward(&part.loss).unwrap();
    }
    (loss, gradients)
}

#[test]
fn loss_and_gradients_of_a_step_do_not_depend_on_its_micro_batches() {
    let (decoder, rows) = (decoder(1), rows(12));
    let all: Vec<&TokenRow> = rows.iter().collect();
    let (loss, whole) = gradients(&decoder, std::slice::from_ref(&all));
    for size in [1, 5, 7] {
        let (split_loss, split) =
            gradients(&decoder, &all.chunks(size).map(<[_]>::to_vec).collect::<Vec<_>>());
        assert!(
            (loss - split_loss).abs() < 2e-6,
            "{size} rows per micro-batch: {split_loss}, expected {loss}"
        );
        for name in decoder.parameters().keys() {
            let (a, b) = (flat(&whole.get(name).unwrap()), flat(&split.get(name).unwrap()));
            let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 2e-7, "{size} rows per micro-batch, {name}: {worst:e}");
        }
    }
}

#[test]
fn a_document_has_the_same_logprobs_whatever_it_is_packed_with() {
    let (decoder, rows) = (decoder(2), rows(9));
    let packed = decoder
        .logprobs(&Batch::concat(&rows.iter().collect::<Vec<_>>()))
        .unwrap()
        .values
        .to_vec1::<f32>()
        .unwrap();
    let alone: Vec<f32> = rows
        .iter()
        .flat_map(|row| decoder.logprobs(&Batch::concat(&[row])).unwrap().values.to_vec1::<f32>().unwrap())
        .collect();
    assert_eq!(packed.len(), alone.len());
    for (i, (packed, alone)) in packed.iter().zip(&alone).enumerate() {
        assert!((packed - alone).abs() < 1e-5, "{i}: {packed} packed, {alone} alone");
    }
}

/// All files except the one with the durations.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|(tail, bytes)| (format!("{name}/{tail}"), bytes)));
        } else if name != "timing.jsonl" {
            found.push((name, std::fs::read(path).unwrap()));
        }
    }
    found.sort();
    found
}

/// Trains in `dir`. Fails after `stop_at` steps, to simulate a killed process.
fn train(
    dir: &Path,
    rows: Vec<TokenRow>,
    config: TrainConfig,
    stop_at: Option<u64>,
) -> Result<Vec<StepMetrics>> {
    struct Stop(Option<u64>, std::cell::Cell<u64>);
    impl Objective for Stop {
        fn denominator(&self, batch: &Batch) -> LossDenominator {
            Sft.denominator(batch)
        }
        fn loss(
            &self,
            decoder: &Decoder,
            micro_batch: &MicroBatch,
            denominator: LossDenominator,
        ) -> Result<LossOutput> {
            // Every step has two micro-batches.
            let done = self.1.replace(self.1.get() + 1) / 2;
            if self.0.is_some_and(|stop| done >= stop) {
                return Err(Error::Caller("the power went out".into()));
            }
            Sft.loss(decoder, micro_batch, denominator)
        }
        fn identity(&self) -> Result<serde_json::Value> {
            Sft.identity()
        }
    }
    let mut steps = Vec::new();
    let objective = Stop(stop_at, std::cell::Cell::new(0));
    let mut trainer = Trainer::new(decoder(1), objective, rows, config)?;
    trainer.fit(dir, &mut |metrics: &StepMetrics| {
        steps.push(metrics.clone());
    })?;
    Ok(steps)
}

#[test]
fn an_interrupted_run_resumes_and_ends_with_the_same_bytes() {
    let (straight, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let steps = train(straight.path(), rows(20), config(8), None).unwrap();
    assert_eq!(steps.len(), 8);
    assert!(steps[7].epoch > 0, "the run reaches a second epoch: {:?}", steps[7]);

    // Interrupted after step 5: the newest checkpoint is of step 3, and the metrics have lines of later
    // steps.
    let dir = broken.path();
    {
        let mut trainer = Trainer::new(decoder(1), Sft, rows(20), config(8)).unwrap();
        let halt = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            trainer.fit(dir, &mut |metrics: &StepMetrics| assert!(metrics.step < 5, "the power went out"))
        }));
        assert!(halt.is_err());
    }
    assert_eq!(std::fs::read_to_string(dir.join("metrics.jsonl")).unwrap().lines().count(), 5);
    assert_eq!(
        Checkpoint::list(dir).unwrap().iter().map(|checkpoint| checkpoint.step).collect::<Vec<_>>(),
        [3]
    );
    // The leftover of a crash while a checkpoint was written is not a checkpoint.
    std::fs::create_dir_all(dir.join("checkpoints/.step-000006.77-0.tmp")).unwrap();

    // The fresh weights have another seed, which shows that the weights come from the checkpoint.
    let mut resumed = Trainer::new(decoder(99), Sft, rows(20), config(8)).unwrap();
    let mut seen = Vec::new();
    resumed.fit(dir, &mut |metrics: &StepMetrics| seen.push(metrics.step)).unwrap();
    assert_eq!(seen, [4, 5, 6, 7, 8]);
    let (a, b) = (files(straight.path()), files(dir));
    assert_eq!(a.iter().map(|f| &f.0).collect::<Vec<_>>(), b.iter().map(|f| &f.0).collect::<Vec<_>>());
    for ((name, a), (_, b)) in a.iter().zip(&b) {
        assert!(a == b, "{name} differs");
    }
    assert!(a.iter().any(|(name, _)| name == "model/config.json"));
    assert_eq!(
        Checkpoint::list(dir).unwrap().iter().map(|checkpoint| checkpoint.step).collect::<Vec<_>>(),
        [6, 8]
    );
}

#[test]
fn the_same_run_twice_gives_the_same_bytes_and_a_finished_run_does_not_change() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    train(first.path(), rows(20), config(4), None).unwrap();
    train(second.path(), rows(20), config(4), None).unwrap();
    assert!(files(first.path()) == files(second.path()));
    assert_eq!(train(first.path(), rows(20), config(4), None).unwrap(), []);
    assert!(files(first.path()) == files(second.path()));
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    // Wide and long enough that every kernel splits its work into several pieces.
    let config = ModelConfig::llama(ModelSizes {
        vocab_size: 700,
        hidden_size: 48,
        intermediate_size: 96,
        num_hidden_layers: 2,
        num_attention_heads: 3,
        num_key_value_heads: 1,
        max_position_embeddings: 64,
    });
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let settings =
                TrainConfig::new(Length::Steps(3), 2000, 1e-2, 1).with(|config| config.clip_norm = Some(0.5));
            let mut trainer =
                Trainer::new(Decoder::init(&config, 1, &Device::Cpu).unwrap(), Sft, rows(150), settings)
                    .unwrap();
            let metrics: Vec<(f64, f64)> =
                (0..3).map(|_| trainer.step().unwrap()).map(|m| (m.loss, m.grad_norm)).collect();
            (metrics, trainer.decoder().parameters().values().map(|var| flat(var)).collect::<Vec<_>>())
        })
    };
    let one = run(1);
    assert!(one == run(2) && one == run(3));
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path(), rows(20), config(3), None).unwrap();
    let other_lr = config(3).with(|config| config.lr = 2e-2);
    assert!(matches!(
        train(dir.path(), rows(20), other_lr, None),
        Err(Error::OtherRun { what: "config", .. })
    ));
    let mut other_rows = rows(20);
    other_rows[3].loss_mask[2] ^= true;
    assert!(matches!(
        train(dir.path(), other_rows, config(3), None),
        Err(Error::OtherRun { what: "data", .. })
    ));
    let more_checkpoints = config(3).with(|config| config.checkpoint_every = Some(1));
    assert!(
        train(dir.path(), rows(20), more_checkpoints, None).is_ok(),
        "the interval of checkpoints does not change the result"
    );
}

#[test]
fn a_failed_step_leaves_the_model_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(train(dir.path(), rows(20), config(3), Some(0)), Err(Error::Caller(_))));
    assert!(Checkpoint::list(dir.path()).unwrap().is_empty());
}

/// [`Sft`], except that one call of its loss fails.
struct FailsAt {
    call: usize,
    calls: std::cell::Cell<usize>,
}

impl Objective for FailsAt {
    fn denominator(&self, batch: &Batch) -> LossDenominator {
        Sft.denominator(batch)
    }
    fn loss(
        &self,
        decoder: &Decoder,
        micro_batch: &MicroBatch,
        denominator: LossDenominator,
    ) -> Result<LossOutput> {
        let call = self.calls.replace(self.calls.get() + 1);
        if call == self.call {
            return Err(Error::Caller("this call fails".into()));
        }
        Sft.loss(decoder, micro_batch, denominator)
    }
    fn identity(&self) -> Result<serde_json::Value> {
        Ok("fails once".into())
    }
}

#[test]
fn a_step_that_failed_after_a_backward_pass_leaves_no_gradient_for_the_next() {
    let weights = |trainer: Trainer<FailsAt>| {
        trainer.into_decoder().unwrap().weights().values().map(flat).collect::<Vec<_>>()
    };
    let trainer = |call| {
        Trainer::new(decoder(1), FailsAt { call, calls: Default::default() }, rows(20), config(3)).unwrap()
    };
    let (mut fresh, mut again) = (trainer(usize::MAX), trainer(1));
    assert!(matches!(again.step(), Err(Error::Caller(_))));
    let metrics = |metrics: StepMetrics| (metrics.loss, metrics.grad_norm);
    assert_eq!(metrics(again.step().unwrap()), metrics(fresh.step().unwrap()));
    assert!(weights(again) == weights(fresh));
}

/// A loss that does not depend on the layers: it leaves them out, or multiplies them by zero.
struct Cut {
    by_zero: bool,
}

impl Objective for Cut {
    fn denominator(&self, batch: &Batch) -> LossDenominator {
        Sft.denominator(batch)
    }
    fn loss(&self, decoder: &Decoder, micro_batch: &MicroBatch, _: LossDenominator) -> Result<LossOutput> {
        // A loss of the embedding only: no gradient reaches the layers.
        let table = decoder.parameters()["model.embed_tokens.weight"].as_tensor();
        let loss = table.sum_all()?;
        if self.by_zero {
            return Ok((loss + (decoder.logprobs(&micro_batch.batch)?.values.sum_all()? * 0.0)?)?.into());
        }
        Ok(loss.into())
    }
    fn identity(&self) -> Result<serde_json::Value> {
        Ok(format!("cut {}", self.by_zero).into())
    }
}

#[test]
fn a_parameter_that_the_loss_does_not_reach_is_named_in_the_first_step() {
    let step = |by_zero| Trainer::new(decoder(1), Cut { by_zero }, rows(20), config(3)).unwrap().step();
    assert!(
        matches!(step(false), Err(Error::NoGradient { name, .. }) if name == "model.layers.0.input_layernorm.weight")
    );
    // candle drops a branch that is multiplied by 0, so that is a missing gradient as well.
    assert!(step(true).is_err());
}

#[test]
fn a_dead_parameter_is_named_in_the_first_step() {
    let decoder = decoder(1);
    // If o_proj is zero, no gradient flows back into the attention of this layer. The first parameter
    // there is its norm.
    let o_proj = &decoder.parameters()["model.layers.1.self_attn.o_proj.weight"];
    o_proj.set(&o_proj.zeros_like().unwrap()).unwrap();
    let error = Trainer::new(decoder, Sft, rows(20), config(3)).unwrap().step().unwrap_err();
    assert!(
        matches!(&error, Error::ZeroGradient { name } if name == "model.layers.1.input_layernorm.weight"),
        "{error}"
    );
}

#[test]
fn a_loss_that_is_not_finite_is_an_error_with_the_step_and_its_rows() {
    let decoder = decoder(1);
    let norm = &decoder.parameters()["model.norm.weight"];
    norm.set(&norm.affine(0.0, f64::NAN).unwrap()).unwrap();
    match Trainer::new(decoder, Sft, rows(20), config(3)).unwrap().step() {
        Err(Error::NotFinite { step: 0, what, rows, .. }) => {
            assert!(what == Quantity::Loss && !rows.is_empty())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn rows_that_cannot_be_trained_on_are_named() {
    let mut bad = rows(4);
    bad[2].loss_mask.fill(false);
    bad[2].loss_mask[0] = true;
    assert!(matches!(Trainer::new(decoder(1), Sft, bad, config(3)), Err(Error::NothingTrained { row: 2 })));
    let mut bad = rows(4);
    bad[1].ids[0] = 50;
    let error = Trainer::new(decoder(1), Sft, bad, config(3)).err().unwrap().to_string();
    assert!(error.contains("row 1") && error.contains("id 50"), "{error}");
    let short = config(3).with(|config| config.tokens_per_micro_batch = 3);
    assert!(matches!(Trainer::new(decoder(1), Sft, rows(4), short), Err(Error::TooLong { row: 0, .. })));
}

#[test]
fn a_model_without_trainable_weights_is_refused() {
    let frozen = || decoder(1).frozen(|_| true);
    assert!(matches!(Trainer::new(frozen(), Sft, rows(4), config(3)), Err(Error::NothingTrains)));
    // A head that only another objective trains does not help.
    let head = frozen().with_value_head(1).unwrap();
    assert!(matches!(Trainer::new(head, Sft, rows(4), config(3)), Err(Error::NothingTrains)));
}

#[test]
fn held_out_pairs_that_the_reference_lacks_are_refused_before_training() {
    let folder = tempfile::tempdir().unwrap();
    let (rows, mut held_out) = (pairs(4), pairs(2));
    held_out[2].ids[0] ^= 1;
    let stored = ReferenceLogprobs::compute(
        folder.path().join("r.jsonl"),
        &decoder(1),
        "t",
        &rows,
        100,
        &mut |_, _| {},
    )
    .unwrap();
    let dpo = Dpo::new(DpoConfig::default(), Reference::Stored(stored), &rows).unwrap();
    let trainer =
        Trainer::new(decoder(1), dpo, rows, TrainConfig::new(Length::Steps(3), 1000, 1e-3, 1)).unwrap();
    assert!(matches!(trainer.with_held_out(held_out.clone()), Err(Error::NoReference { row: 2 })));
}

/// Pairs of rows with the same prompt; the responses differ in their last tokens.
fn pairs(n: usize) -> Vec<TokenRow> {
    let row = |row: &TokenRow, id: u32| {
        let (mut ids, mut loss_mask) = (row.ids.clone(), row.loss_mask.clone());
        ids.extend([id; 3]);
        loss_mask.extend([true; 3]);
        TokenRow { ids, loss_mask }
    };
    rows(n).iter().flat_map(|prompt| [row(prompt, 3), row(prompt, 4)]).collect()
}

#[test]
fn eight_bit_moments_reach_the_loss_of_f32_on_mini_with_a_third_of_the_state() {
    let records = Mini::new(1).train(600, None);
    let texts = records.iter().flat_map(|record| [record.system.as_str(), &record.prompt, &record.output]);
    let template = ChatTemplate::MistralInstruct;
    let tokenizer = Tokenizer::train(texts, 700, template.special_tokens()).unwrap();
    let rows = tokenizer.conversations(template, records.iter().map(SftRecord::messages)).unwrap();
    let config = ModelConfig::from_json(&format!(
        r#"{{"model_type": "mistral", "vocab_size": {}, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 512, "initializer_range": 0.05,
            "tie_word_embeddings": true}}"#,
        tokenizer.vocab_size()
    ))
    .unwrap();
    let run = |quantized_state_block| {
        let settings = TrainConfig::new(Length::Steps(120), 1024, 3e-3, 1).with(|config| {
            config.warmup_steps = 10;
            config.clip_norm = Some(1.0);
            config.quantized_state_block = quantized_state_block;
        });
        let mut trainer =
            Trainer::new(Decoder::init(&config, 1, &Device::Cpu).unwrap(), Sft, rows.clone(), settings)
                .unwrap();
        let losses: Vec<f64> = (0..120).map(|_| trainer.step().unwrap().loss).collect();
        (losses[100..].iter().sum::<f64>() / 20.0, losses[0], trainer.optimizer().state_bytes())
    };
    let (exact, first, exact_bytes) = run(None);
    assert!(exact < 0.6 * first, "{first} to {exact}: the loss falls enough for a comparison");
    for block in [256, 2048] {
        let (loss, _, bytes) = run(Some(block));
        assert!((loss / exact - 1.0).abs() < 0.01, "block {block}: {loss}, f32 {exact}");
        assert!(3 * bytes < exact_bytes, "block {block}: {bytes} bytes, f32 {exact_bytes}");
    }
}

#[test]
fn a_run_with_eight_bit_moments_and_activation_checkpointing_resumes_and_ends_with_the_same_bytes() {
    let settings = config(6).with(|config| {
        config.quantized_state_block = Some(256);
        config.activation_checkpointing = true;
    });
    let (straight, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    train(straight.path(), rows(20), settings.clone(), None).unwrap();
    assert!(train(broken.path(), rows(20), settings.clone(), Some(4)).is_err());
    train(broken.path(), rows(20), settings, None).unwrap();
    assert!(files(straight.path()) == files(broken.path()));
}

#[test]
fn lora_trains_only_the_adapters_and_merging_gives_the_same_model() {
    let base = decoder(1);
    let before = flat(&base.weights()["model.layers.0.mlp.up_proj.weight"]);
    let targets = vec!["q_proj".into(), "up_proj".into(), "down_proj".into()];
    let low_rank = LoraConfig::new(2, 4.0).with(|config| config.targets = targets);
    let lora = base.with_lora(low_rank, 7).unwrap();
    assert_eq!(lora.parameters().len(), 2 * 2 * 3);
    let all = rows(6);
    let batch = Batch::concat(&all.iter().collect::<Vec<_>>());
    let fresh = flat(&lora.logprobs(&batch).unwrap().values);
    assert_eq!(fresh, flat(&decoder(1).logprobs(&batch).unwrap().values), "a fresh adapter changes nothing");

    let settings =
        TrainConfig::new(Length::Steps(5), 256, 1e-2, 1).with(|config| config.schedule = Schedule::Constant);
    let mut trainer = Trainer::new(lora, Sft, rows(6), settings).unwrap();
    let losses: Vec<f64> = (0..5).map(|_| trainer.step().unwrap().loss).collect();
    assert!(losses[4] < losses[0], "{losses:?}");
    let trained = trainer.into_decoder().unwrap();
    assert_eq!(
        flat(&trained.weights()["model.layers.0.mlp.up_proj.weight"]),
        before,
        "a frozen weight does not change"
    );
    let unmerged = flat(&trained.logprobs(&batch).unwrap().values);
    let folder = tempfile::tempdir().unwrap();
    trained.save(folder.path()).unwrap();
    for merged in [trained.merged().unwrap(), Decoder::load(folder.path(), &Device::Cpu).unwrap()] {
        assert!(merged.lora().is_none());
        let worst = flat(&merged.logprobs(&batch).unwrap().values)
            .iter()
            .zip(&unmerged)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(worst < 2e-5, "{worst:e}");
    }
    let unknown = LoraConfig::new(2, 4.0).with(|config| config.targets = vec!["qproj".into()]);
    assert!(decoder(1).with_lora(unknown, 1).err().unwrap().to_string().contains("qproj"));
}

fn with_dropout() -> Decoder {
    decoder(1).with_lora(LoraConfig::new(2, 4.0).with(|config| config.dropout = 0.3), 7).unwrap()
}

#[test]
fn lora_dropout_is_the_same_recomputed_and_resumed_and_changes_with_the_step() {
    let run = |dir: &Path, steps: &[u64], settings: &TrainConfig| {
        for &steps in steps {
            // Each attempt but the last is interrupted, and resumes from the last checkpoint.
            let trainer = Trainer::new(with_dropout(), Sft, rows(20), settings.clone()).unwrap();
            let mut trainer = trainer.with_held_out(rows(3)).unwrap();
            let result = trainer.fit(dir, &mut FailsAfter(steps, 0));
            assert_eq!(result.is_ok(), steps == 6);
        }
    };
    let settings = config(6).with(|config| config.evaluate_every = Some(2));
    let (straight, broken, recomputed) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(straight.path(), &[6], &settings);
    run(broken.path(), &[4, 6], &settings);
    assert!(files(straight.path()) == files(broken.path()), "resumed");
    run(recomputed.path(), &[6], &settings.with(|config| config.activation_checkpointing = true));
    assert!(files(straight.path()) == files(recomputed.path()), "recomputed");

    let mut trainer = Trainer::new(with_dropout(), Sft, rows(20), config(6)).unwrap();
    (0..3).for_each(|_| drop(trainer.step().unwrap()));
    let trained = trainer.into_decoder().unwrap();
    let all = rows(6);
    let batch = Batch::concat(&all.iter().collect::<Vec<_>>());
    let logprobs = |decoder: &Decoder| flat(&decoder.logprobs(&batch).unwrap().values);
    let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 2e-5);
    let gradients = Gradients::new(&trained);
    let at = |step, micro_batch| logprobs(&trained.in_training(&gradients, 1, step, micro_batch));
    assert_eq!(at(0, 0), at(0, 0));
    for other in [at(1, 0), at(0, 1), logprobs(&trained)] {
        assert!(!near(&at(0, 0), &other));
    }
    // Evaluation, reference model and inference have no dropout.
    assert!(near(&logprobs(&trained.detached().unwrap()), &logprobs(&trained)));
    let (plain, merged) =
        (logprobs(&trained), logprobs(&trained.in_training(&gradients, 1, 0, 0).merged().unwrap()));
    assert!(near(&plain, &merged));
}

/// Fails at the evaluation after the first field's number of steps, unless that is the last step, to
/// simulate a kill. The second field is the number of steps so far.
struct FailsAfter(u64, u64);

impl janus_train::Observer for FailsAfter {
    fn step(&mut self, metrics: &StepMetrics) -> ControlFlow<()> {
        self.1 = metrics.step;
        ControlFlow::Continue(())
    }

    fn evaluated(&mut self, _: &janus_train::Evaluation, _: &Decoder) -> Result<ControlFlow<()>> {
        if self.1 == self.0 && self.0 < 6 { Err(Error::NoRows) } else { Ok(ControlFlow::Continue(())) }
    }
}

#[test]
fn a_value_head_stays_trainable_with_lora_whichever_is_added_first() {
    let headed = || decoder(1).with_value_head(3).unwrap();
    let first = headed().with_lora(LoraConfig::new(2, 4.0), 7).unwrap();
    let second = decoder(1).with_lora(LoraConfig::new(2, 4.0), 7).unwrap().with_value_head(3).unwrap();
    let names = |decoder: &Decoder| decoder.parameters().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&first), names(&second));
    let before = flat(&first.weights()[janus_train::VALUE_HEAD]);
    let mut trainer =
        Trainer::new(first, Reward::default(), pairs(6), TrainConfig::new(Length::Steps(2), 256, 1e-2, 1))
            .unwrap();
    trainer.step().unwrap();
    assert_ne!(flat(&trainer.decoder().weights()[janus_train::VALUE_HEAD]), before);
    let frozen = headed().with_lora(LoraConfig::new(2, 4.0), 7).unwrap();
    let mut trainer =
        Trainer::new(frozen, Sft, rows(6), TrainConfig::new(Length::Steps(2), 256, 1e-2, 1)).unwrap();
    trainer.step().unwrap();
    assert_eq!(
        flat(&trainer.decoder().weights()[janus_train::VALUE_HEAD]),
        before,
        "SFT does not train the value head"
    );
}

#[test]
fn reference_logprobs_of_other_weight_dtypes_and_rows_have_their_own_files() {
    let folder = tempfile::tempdir().unwrap();
    let compute = |decoder: &Decoder, template: &str, rows: &[TokenRow]| {
        let mut progress = Vec::new();
        let all = ReferenceLogprobs::compute_in(
            folder.path(),
            "pairs",
            decoder,
            template,
            &rows,
            100,
            &mut |done, _| progress.push(done),
        );
        (all.unwrap(), progress)
    };
    let rows = pairs(6);
    let rounded = decoder(1).to_dtype(janus_train::DType::Bf16).unwrap();
    // The same values in f32: the model's hash is the same, its log-probabilities are not.
    let widened =
        decoder(1).to_dtype(janus_train::DType::Bf16).unwrap().to_dtype(janus_train::DType::F32).unwrap();
    assert_eq!(rounded.fingerprint().unwrap(), widened.fingerprint().unwrap());
    let (narrow, wide) = (compute(&rounded, "t", &rows).0, compute(&widened, "t", &rows).0);
    assert_ne!(narrow.path(), wide.path());
    assert_ne!(narrow.of_rows(&rows).unwrap(), wide.of_rows(&rows).unwrap());
    let others = [
        compute(&widened, "u", &rows).0,
        compute(&widened, "t", &rows[2..]).0,
        compute(&decoder(2), "t", &rows).0,
    ];
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2 + others.len());
    let (again, progress) = compute(&rounded, "t", &rows);
    assert_eq!((again, progress), (narrow, vec![rows.len()]), "nothing is computed twice");
    let path = wide.path();
    let bf16 = ReferenceLogprobs::compute(path, &rounded, "t", &rows, 100, &mut |_, _| {});
    assert!(matches!(bf16, Err(Error::OtherReference { what: "weight dtype", .. })));
}

#[test]
fn concurrent_computations_of_the_same_reference_leave_one_complete_file() {
    let folder = tempfile::tempdir().unwrap();
    let rows = pairs(12);
    let file = |name: &str| folder.path().join(name);
    ReferenceLogprobs::compute(file("alone"), &decoder(1), "t", &rows, 100, &mut |_, _| {}).unwrap();
    std::thread::scope(|scope| {
        let compute = || {
            ReferenceLogprobs::compute(file("both"), &decoder(1), "t", &rows, 100, &mut |_, _| {}).unwrap()
        };
        let threads = [scope.spawn(compute), scope.spawn(compute), scope.spawn(compute)];
        let results = threads.map(|thread| thread.join().unwrap());
        assert!(results.iter().all(|result| *result == results[0]));
    });
    assert_eq!(std::fs::read(file("both")).unwrap(), std::fs::read(file("alone")).unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "no other file is left");
}

#[test]
fn a_reward_model_learns_keeps_its_head_and_stores_its_scale() {
    let folder = tempfile::tempdir().unwrap();
    let settings = TrainConfig::new(Length::Steps(30), 256, 1e-2, 1).with(|config| {
        config.schedule = Schedule::Constant;
        config.evaluate_every = Some(10);
    });
    let stage = decoder(1).with_value_head(3).unwrap();
    let mut trainer = Trainer::new(stage, Reward::default(), pairs(12), settings.clone())
        .unwrap()
        .with_held_out(pairs(5))
        .unwrap();
    let mut last = None;
    trainer.fit(folder.path(), &mut |step: &StepMetrics| last = Some(step.metrics["accuracy"])).unwrap();
    assert_eq!(last, Some(1.0));
    let evaluations = std::fs::read_to_string(folder.path().join("evaluations.jsonl")).unwrap();
    assert_eq!(evaluations.lines().count(), 3, "{evaluations}");

    let again = Decoder::load(folder.path().join("model"), &Device::Cpu).unwrap();
    let held_out = pairs(5);
    let batch = Batch::concat(&held_out.iter().collect::<Vec<_>>());
    let rewards = again.values(&batch).unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(rewards, trainer.decoder().values(&batch).unwrap().to_vec1::<f32>().unwrap());
    let mean = rewards.iter().map(|&r| f64::from(r)).sum::<f64>() / rewards.len() as f64;
    let scale = again.reward_scale().unwrap();
    assert!((scale.mean - mean).abs() < 1e-5 && scale.std > 0.0, "{scale:?}, mean {mean}");
    // A second stage starts from the folder, including its head.
    let mut second = Trainer::new(again, Reward::default(), pairs(12), settings).unwrap();
    assert!(second.step().unwrap().metrics["accuracy"] > 0.9);
    assert!(matches!(
        Trainer::new(decoder(1), Reward::default(), pairs(2), config(3)),
        Err(Error::NoHead { .. })
    ));
}

#[test]
fn reference_logprobs_resume_and_refuse_another_model_template_or_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reference.jsonl");
    let compute = |seed, template: &str, rows: &[TokenRow]| {
        let mut computed = Vec::new();
        let result =
            ReferenceLogprobs::compute(&path, &decoder(seed), template, &rows, 100, &mut |done, _| {
                computed.push(done)
            });
        result.map(|reference| (reference.of_rows(&rows).unwrap(), computed.len()))
    };
    let rows = pairs(6);
    let (whole, steps) = compute(1, "t", &rows).unwrap();
    assert!(steps > 2);
    // Truncated in the middle of a line: complete lines are kept, the rest is computed again.
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 30]).unwrap();
    let (again, steps) = compute(1, "t", &rows).unwrap();
    assert_eq!((again, steps), (whole, 2), "progress reports the stored rows, then the computed ones");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    assert_eq!(compute(1, "t", &rows).unwrap().1, 1);
    assert!(matches!(compute(2, "t", &rows), Err(Error::OtherReference { what: "model", .. })));
    assert!(matches!(compute(1, "u", &rows), Err(Error::OtherReference { what: "template", .. })));

    let stored = ReferenceLogprobs::compute(&path, &decoder(1), "t", &rows, 100, &mut |_, _| {}).unwrap();
    let mut other = rows.clone();
    other[3].ids[0] ^= 1;
    assert!(matches!(
        Dpo::new(DpoConfig::default(), Reference::Stored(stored.clone()), &other),
        Err(Error::NoReference { row: 3 })
    ));
    let dpo = Dpo::new(DpoConfig::default(), Reference::Stored(stored), &rows).unwrap();
    let mut trainer =
        Trainer::new(decoder(1), dpo, rows, TrainConfig::new(Length::Steps(3), 1000, 1e-3, 1)).unwrap();
    let first = trainer.step().unwrap();
    assert!(
        (first.loss - std::f64::consts::LN_2).abs() < 1e-6 && first.metrics["margin"].abs() < 1e-6,
        "{first:?}"
    );
}

#[test]
fn training_stops_early_and_keeps_the_best_model() {
    let folder = tempfile::tempdir().unwrap();
    // The held-out rows are not among the training rows, so memorising the training rows increases the
    // held-out loss.
    let early_stop = Some(EarlyStop::new("loss", false, 3));
    let settings = TrainConfig::new(Length::Steps(2000), 256, 1e-2, 1).with(|config| {
        config.schedule = Schedule::Constant;
        config.evaluate_every = Some(5);
        config.early_stop = early_stop;
    });
    let held_out: Vec<TokenRow> = rows(12).split_off(6);
    let run = || {
        let mut trainer = Trainer::new(decoder(1), Sft, rows(6), settings.clone())
            .unwrap()
            .with_held_out(held_out.clone())
            .unwrap();
        trainer.fit(folder.path(), &mut ()).unwrap();
        trainer.steps()
    };
    let steps = run();
    assert!(steps < 2000 && folder.path().join("best/model.safetensors").exists());
    let before = files(folder.path());
    assert_eq!(run(), steps, "a run that was stopped early is not resumed");
    assert!(files(folder.path()) == before);
}

#[test]
fn training_learns() {
    let settings =
        TrainConfig::new(Length::Steps(60), 256, 1e-2, 1).with(|config| config.schedule = Schedule::Constant);
    let mut trainer = Trainer::new(decoder(1), Sft, rows(6), settings).unwrap();
    let first = trainer.step().unwrap().loss;
    let last = (0..59).map(|_| trainer.step().unwrap().loss).last().unwrap();
    assert!(first > 3.0 && last < 0.5, "{first} to {last}");
}

/// Regression: `Decoder::detached` shares its weights, so a reference made with it changed during
/// training.
#[test]
fn a_reference_that_shares_weights_with_the_model_is_refused_and_a_copy_does_not_change() {
    let rows = pairs(6);
    let trainer = |decoder: Decoder, reference: Decoder| {
        let objective = Dpo::new(DpoConfig::default(), Reference::Model(Box::new(reference)), &rows).unwrap();
        Trainer::new(decoder, objective, rows.clone(), TrainConfig::new(Length::Steps(2), 256, 1e-2, 1))
    };
    let start = decoder(1);
    let shared = start.detached().unwrap();
    match trainer(start, shared).err() {
        Some(error @ Error::SharedReference { .. }) => {
            assert!(error.to_string().contains("Decoder::copy"), "{error}")
        }
        other => panic!("{other:?}"),
    }
    let start = decoder(1);
    let (copy, view) = (start.copy().unwrap(), start.detached().unwrap());
    let before = start.fingerprint().unwrap();
    assert!(copy.fingerprint().unwrap() == before && copy.parameters().is_empty());
    let mut trained =
        Trainer::new(start, Sft, rows.clone(), TrainConfig::new(Length::Steps(2), 256, 1e-2, 1)).unwrap();
    trained.step().unwrap();
    assert_eq!(copy.fingerprint().unwrap(), before);
    assert_ne!(view.fingerprint().unwrap(), before);
    let start = decoder(1);
    let copy = start.copy().unwrap();
    trainer(start, copy).unwrap().step().unwrap();
    // With LoRA the weights are frozen, and may be shared.
    let start = decoder(1);
    let shared = start.detached().unwrap();
    trainer(start.with_lora(LoraConfig::new(2, 4.0), 7).unwrap(), shared).unwrap().step().unwrap();
}

/// Regression: a missing folder was noticed only after the computation.
#[test]
fn a_missing_folder_for_reference_logprobs_is_created_before_the_computation() {
    let folder = tempfile::tempdir().unwrap();
    let (path, rows) = (folder.path().join("not/there/yet.jsonl"), pairs(2));
    let mut there = Vec::new();
    let mut look = |_, _| there.push(path.parent().unwrap().is_dir());
    ReferenceLogprobs::compute(&path, &decoder(1), "t", &rows, 100, &mut look).unwrap();
    assert!(path.exists() && there[0]);
}
