//! A run that is interrupted at any point and started again ends with the same bytes, for every
//! objective.
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use janus_data::{TokenFile, TokenWriter};
use janus_train::{
    Checkpoint, DType, Decoder, Dpo, DpoConfig, EarlyStop, Error, Evaluation, KeepBest, Length, LoraConfig,
    ModelConfig, ModelSizes, NllSpan, Objective, Observer, Orpo, Reference, ReferenceLogprobs, Result,
    Reward, Sft, StepMetrics, StopReason, TokenRow, TrainConfig, Trainer,
};
use rand::Rng;

const STEPS: u64 = 6;

fn decoder(seed: u64) -> Decoder {
    let mut config = ModelConfig::mistral(ModelSizes {
        vocab_size: 30,
        hidden_size: 16,
        intermediate_size: 24,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        max_position_embeddings: 64,
    });
    config.sliding_window = Some(9);
    config.initializer_range = 0.1;
    Decoder::init(&config, seed, &Device::Cpu).unwrap()
}

/// Documents; each two consecutive ones are a pair.
fn rows(n: usize, seed: u64) -> Vec<TokenRow> {
    let mut rng = janus_core::stream(seed, "rows");
    (0..n)
        .map(|_| {
            let len = rng.random_range(4..12);
            TokenRow {
                ids: (0..len).map(|_| rng.random_range(0..30)).collect(),
                loss_mask: (0..len).map(|i| i >= len / 2).collect(),
            }
        })
        .collect()
}

fn settings() -> TrainConfig {
    TrainConfig::new(Length::Steps(STEPS), 40, 3e-2, 3).with(|config| {
        config.gradient_accumulation_steps = 2;
        config.warmup_steps = 1;
        config.weight_decay = 0.1;
        config.clip_norm = Some(0.5);
        config.checkpoint_every = Some(2);
        config.keep_last = 2;
        config.evaluate_every = Some(3);
    })
}

/// All files except the one with the durations.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|(tail, bytes)| (format!("{name}/{tail}"), bytes)));
        } else if name != "timing.jsonl" {
            found.insert(name, std::fs::read(path).unwrap());
        }
    }
    found
}

/// Where a run is interrupted or stopped.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Cut {
    /// By a panic after this step.
    Step(u64),
    /// By an error when the held-out rows were evaluated for the n-th time.
    Evaluation(u64),
    /// By an error when a model folder was filled for the n-th time.
    Saved(u64),
    /// By the observer, after this step.
    Stop(u64),
    /// By the observer, when the held-out rows were evaluated for the n-th time.
    StopAtEvaluation(u64),
    Never,
}

struct Cutting {
    cut: Cut,
    evaluations: u64,
    saves: u64,
}

impl Cutting {
    fn at(cut: Cut) -> Self {
        Self { cut, evaluations: 0, saves: 0 }
    }

    fn check(&self, here: Cut) -> Result<()> {
        if self.cut == here { Err(Error::Caller("the power went out".into())) } else { Ok(()) }
    }
}

impl Observer for Cutting {
    fn step(&mut self, metrics: &StepMetrics) -> ControlFlow<()> {
        assert!(self.cut != Cut::Step(metrics.step), "the power went out");
        if self.cut == Cut::Stop(metrics.step) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn evaluated(&mut self, _: &Evaluation, _: &Decoder) -> Result<ControlFlow<()>> {
        self.evaluations += 1;
        self.check(Cut::Evaluation(self.evaluations))?;
        Ok(if self.cut == Cut::StopAtEvaluation(self.evaluations) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }

    fn saved(&mut self, folder: &Path) -> Result<()> {
        std::fs::write(folder.join("tokenizer.json"), "{}").unwrap();
        self.saves += 1;
        self.check(Cut::Saved(self.saves))
    }
}

/// Interrupts the run at every point, resumes it, and compares the files. `make` returns a trainer with
/// fresh weights for a seed.
fn assert_resumes_from_every_point<O: Objective>(
    name: &str,
    make: &dyn Fn(u64) -> Trainer<O>,
) -> BTreeMap<String, Vec<u8>> {
    let straight = tempfile::tempdir().unwrap();
    let mut whole = Cutting::at(Cut::Never);
    let mut trainer = make(1);
    trainer.fit(straight.path(), &mut whole).unwrap();
    let expected = files(straight.path());
    let last = trainer.steps();
    let steps = (1..=last).flat_map(|step| [Cut::Step(step), Cut::Stop(step)]);
    let evaluations = (1..=whole.evaluations).flat_map(|n| [Cut::Evaluation(n), Cut::StopAtEvaluation(n)]);
    let cuts: Vec<Cut> = steps.chain(evaluations).chain((1..=whole.saves).map(Cut::Saved)).collect();
    assert!(cuts.len() >= 8, "{name}: {cuts:?}");
    for cut in cuts.into_iter().chain([Cut::Never]) {
        let broken = tempfile::tempdir().unwrap();
        let mut observer = Cutting::at(cut);
        let ended = catch_unwind(AssertUnwindSafe(|| make(1).fit(broken.path(), &mut observer)));
        let stops = matches!(cut, Cut::Never | Cut::Stop(_) | Cut::StopAtEvaluation(_));
        assert_eq!(matches!(ended, Ok(Ok(_))), stops, "{name}, {cut:?}");
        if let Cut::Stop(step) = cut {
            let reason = ended.unwrap().unwrap();
            assert_eq!(reason == StopReason::Observer, step < last, "{name}, {cut:?}: {reason:?}");
            assert_eq!(Checkpoint::list(broken.path()).unwrap().last().unwrap().step, step);
            assert!(
                files(broken.path())["model/model.safetensors"]
                    == files(broken.path())[&format!("checkpoints/step-{step:06}/model.safetensors")]
            );
        }
        // Before the first checkpoint the run starts again, which needs the same fresh weights.
        let seed = if Checkpoint::list(broken.path()).unwrap().is_empty() { 1 } else { 2 };
        make(seed).fit(broken.path(), &mut Cutting::at(Cut::Never)).unwrap();
        let got = files(broken.path());
        assert_eq!(got.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{name}, {cut:?}");
        for (file, bytes) in &expected {
            assert!(*bytes == got[file], "{name}, {cut:?}: {file} differs");
        }
    }
    expected
}

fn sft(seed: u64, settings: TrainConfig) -> Trainer<Sft> {
    Trainer::new(decoder(seed), Sft, rows(20, 5), settings).unwrap().with_held_out(rows(6, 9)).unwrap()
}

#[test]
fn fine_tuning_resumes_from_every_step_and_every_save_with_the_same_bytes() {
    let files = assert_resumes_from_every_point("sft", &|seed| sft(seed, settings()));
    for folder in ["model", "checkpoints/step-000004", "checkpoints/step-000006"] {
        for file in ["config.json", "model.safetensors", "tokenizer.json"] {
            assert!(files.contains_key(&format!("{folder}/{file}")), "{folder}/{file}");
        }
    }
    assert!(!files.keys().any(|name| name.starts_with("checkpoints/step-000002")));
    let bf16 = settings().with(|config| {
        config.dtype = DType::Bf16;
        config.quantized_state_block = Some(64);
    });
    assert_resumes_from_every_point("bf16", &|seed| sft(seed, bf16.clone()));
}

#[test]
fn keeping_the_best_and_stopping_early_resume_with_the_same_bytes() {
    let keep_best = Some(KeepBest::new("loss", true));
    let files = assert_resumes_from_every_point("keep best", &|seed| {
        sft(
            seed,
            settings().with(|config| {
                config.evaluate_every = Some(1);
                config.keep_best = keep_best.clone();
            }),
        )
    });
    assert!(files.contains_key("best/config.json") && files.contains_key("best/tokenizer.json"));
    // Memorising the training rows increases the held-out loss.
    let early_stop = Some(EarlyStop::new("loss", false, 2));
    let stopping = settings().with(|config| {
        config.evaluate_every = Some(1);
        config.early_stop = early_stop;
        config.lr = 0.1;
    });
    let files = assert_resumes_from_every_point("early stop", &|seed| {
        sft(seed, stopping.clone().with(|config| config.length = Length::Steps(40)))
    });
    let metrics = String::from_utf8(files["metrics.jsonl"].clone()).unwrap();
    assert!(metrics.lines().count() < 40 && files.contains_key("best/model.safetensors"), "{metrics}");
}

#[test]
fn lora_resumes_with_the_same_bytes() {
    let low_rank = LoraConfig::new(2, 4.0).with(|config| config.dropout = 0.2);
    // Another seed gives other adapters of the same model.
    let make = |seed| {
        let decoder = decoder(1).with_lora(low_rank.clone(), seed).unwrap();
        Trainer::new(decoder, Sft, rows(20, 5), settings()).unwrap().with_held_out(rows(6, 9)).unwrap()
    };
    let files = assert_resumes_from_every_point("lora", &make);
    assert!(files.contains_key("checkpoints/step-000006/training/low_rank.safetensors"));
    assert!(files["checkpoints/step-000006/model.safetensors"] == files["model/model.safetensors"]);
}

#[test]
fn learning_from_pairs_resumes_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (train, held_out) = (rows(20, 5), rows(6, 9));
    let all: Vec<TokenRow> = train.iter().chain(&held_out).cloned().collect();
    let stored = ReferenceLogprobs::compute(
        folder.path().join("r.jsonl"),
        &decoder(1),
        "t",
        &all,
        100,
        &mut |_, _| {},
    )
    .unwrap();
    assert_resumes_from_every_point("dpo", &|seed| {
        let objective = Dpo::new(DpoConfig::default(), Reference::Stored(stored.clone()), &all).unwrap();
        Trainer::new(decoder(seed), objective, train.clone(), settings())
            .unwrap()
            .with_held_out(held_out.clone())
            .unwrap()
    });
    assert_resumes_from_every_point("orpo", &|seed| {
        let objective = Orpo::new(0.2, NllSpan::Row).unwrap();
        Trainer::new(decoder(seed), objective, train.clone(), settings())
            .unwrap()
            .with_held_out(held_out.clone())
            .unwrap()
    });
}

#[test]
fn a_reward_model_resumes_with_the_same_bytes_including_scale_and_head() {
    let make = |seed: u64, low_rank: bool| {
        let mut decoder = decoder(if low_rank { 1 } else { seed }).with_value_head(seed).unwrap();
        // The scale of a model from an earlier stage.
        decoder.set_reward_scale(janus_train::RewardScale { mean: 7.0, std: 3.0 });
        let decoder =
            if low_rank { decoder.with_lora(LoraConfig::new(2, 4.0), seed).unwrap() } else { decoder };
        Trainer::new(decoder, Reward::default(), rows(20, 5), settings()).unwrap()
    };
    let scale = |files: &BTreeMap<String, Vec<u8>>, folder: &str| {
        let config: serde_json::Value =
            serde_json::from_slice(&files[&format!("{folder}/config.json")]).unwrap();
        config.get("mean").and_then(serde_json::Value::as_f64)
    };
    for low_rank in [false, true] {
        let with = assert_resumes_from_every_point("reward", &|seed| {
            make(seed, low_rank).with_held_out(rows(6, 9)).unwrap()
        });
        let last = scale(&with, "model").unwrap();
        assert!(last != 7.0 && scale(&with, "checkpoints/step-000006") == Some(last));
        assert_eq!(scale(&with, "checkpoints/step-000004"), None, "there was no evaluation at this step");
        assert!(with.contains_key("checkpoints/step-000004/value_head.safetensors"));
        let without =
            assert_resumes_from_every_point("reward, nothing held out", &|seed| make(seed, low_rank));
        assert_eq!(
            scale(&without, "model"),
            None,
            "the scale of an earlier stage does not hold for the new weights"
        );
    }
}

#[test]
fn a_run_on_a_token_file_equals_the_run_on_its_rows_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, rows: &[TokenRow]| {
        let mut writer = TokenWriter::create(folder.path().join(name), "f").unwrap();
        rows.iter().for_each(|row| writer.write(row).unwrap());
        writer.finish().unwrap();
        Arc::new(TokenFile::open(folder.path().join(name)).unwrap())
    };
    let (train, held_out) = (file("train", &rows(20, 5)), file("held_out", &rows(6, 9)));
    let in_memory = assert_resumes_from_every_point("in memory", &|seed| sft(seed, settings()));
    let on_disk = assert_resumes_from_every_point("on disk", &|seed| {
        Trainer::new(decoder(seed), Sft, train.clone(), settings())
            .unwrap()
            .with_held_out(held_out.clone())
            .unwrap()
    });
    assert!(in_memory == on_disk);
}
