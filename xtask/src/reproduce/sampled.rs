//! Answers sampled from a model, to train the reward model on or to choose the best of N with it.

use std::path::{Path, PathBuf};

use candle_core::Device;
use janus_core::{BenchRecord, FinishReason, Generation, PairRecord, SamplingParams};
use janus_data::mini::Mini;
use janus_data::progress::{Progress, Unit};
use janus_data::stage::RunFolder;
use janus_data::{read_all, write_all};
use janus_eval::answer::read_answers;
use janus_eval::bench::best_of_n::{candidates, prefers_chosen};
use janus_eval::judge::VerifiableJudge;
use janus_infer::{RewardEngine, RewardOptions};
use serde_json::json;

use super::judged::{answers, record_tasks};
use super::profile::Answer;
use crate::command::{Blame as _, CommandError};
use crate::stage::Staged as _;

/// How `n` answers to each record are sampled from a model.
pub struct Draw {
    /// Number of answers to each record.
    pub n: usize,
    /// Temperature of sampling.
    pub temperature: f64,
    /// Top-p of sampling.
    pub top_p: f64,
    /// Seed of sampling.
    pub seed: u64,
}

impl Draw {
    /// Samples answers to the records, each with its system message. Returns the stage's folder.
    pub fn answers(
        &self,
        run: &mut RunFolder,
        settings: &Answer,
        stage: &str,
        model: &Path,
        records: &[BenchRecord],
    ) -> Result<PathBuf, CommandError> {
        let sampling = SamplingParams {
            temperature: self.temperature,
            top_p: self.top_p,
            max_tokens: settings.max_tokens,
            n: self.n,
            seed: self.seed,
            ..SamplingParams::default()
        };
        answers(run, settings, stage, model, &record_tasks(records, &sampling))
    }
}

/// Pairs the answers in a stage's folder by their grades ([`Mini::graded_pairs`]). An answer that was
/// cut off at the maximum length is left out.
pub fn graded_pairs(
    run: &mut RunFolder,
    mini: &Mini,
    records: &[BenchRecord],
    answers: &Path,
) -> Result<Vec<PairRecord>, CommandError> {
    let folder = run
        .stage("graded-pairs", &json!({ "judge": "mini" }), &[("answers", answers)], |stage| {
            let finished = |sampled: Vec<Generation>| -> Vec<String> {
                sampled
                    .into_iter()
                    .filter(|answer| answer.finish_reason == FinishReason::Stop)
                    .map(|answer| answer.text)
                    .collect()
            };
            let sampled = read_answers(answers.join("responses.jsonl")).failure()?;
            let texts: Vec<Vec<String>> = sampled.into_iter().map(finished).collect();
            let pairs = mini.graded_pairs(records.iter().zip(texts.iter().map(Vec::as_slice))).failure()?;
            write_all(stage.folder().join("pairs.jsonl"), &pairs).failure()
        })
        .staged()?;
    read_all(folder.join("pairs.jsonl")).failure()
}

/// Loads the reward model of a stage.
fn load(stage: &Path) -> Result<RewardEngine, CommandError> {
    RewardEngine::load(stage.join("model"), &Device::Cpu, RewardOptions::default()).failure()
}

/// Runs `work`, which computes rewards, and shows its progress.
fn with_progress<T>(
    work: impl FnOnce(&mut dyn FnMut(usize, usize)) -> janus_eval::Result<T>,
) -> Result<T, CommandError> {
    let mut progress: Option<Progress> = None;
    let result = work(&mut |done, all| {
        let progress =
            progress.get_or_insert_with(|| Progress::new("reward", Unit::Count("answers"), all as u64));
        progress.reach(done as u64);
    });
    if let Some(progress) = progress {
        progress.finish();
    }
    result.failure()
}

/// For each pair, 1 if a stage's reward model gives the chosen response the higher reward, else 0.
pub fn accuracy(stage: &Path, pairs: &[PairRecord]) -> Result<Vec<f64>, CommandError> {
    let model = load(stage)?;
    let hits = with_progress(|progress| prefers_chosen(&model, pairs, progress))?;
    Ok(hits.into_iter().map(f64::from).collect())
}

/// Computes the scores and the reward of every sampled answer of a stage, into `rewards.jsonl` (rows of
/// [`Candidates`](janus_eval::bench::best_of_n::Candidates)). Returns the stage's folder.
pub fn reward_answers(
    run: &mut RunFolder,
    records: &[BenchRecord],
    records_file: &Path,
    answers: &Path,
    model: &Path,
) -> Result<PathBuf, CommandError> {
    let identity = json!({ "judge": "mini", "reward": "of the model's scale" });
    run.stage(
        "reward-answers",
        &identity,
        &[("answers", answers), ("model", model), ("records", records_file)],
        |stage| {
            let texts = |sampled: Vec<Generation>| sampled.into_iter().map(|answer| answer.text).collect();
            let answers = read_answers(answers.join("responses.jsonl")).failure()?;
            let answers: Vec<Vec<String>> = answers.into_iter().map(texts).collect();
            let model = load(model)?;
            let rows = with_progress(|progress| {
                candidates(records, &answers, &model, &VerifiableJudge::mini(), progress)
            })?;
            write_all(stage.folder().join("rewards.jsonl"), &rows).failure()
        },
    )
    .staged()
}
