//! Answers that are drawn from a model: some to learn from, some to choose among.

use std::path::{Path, PathBuf};

use janus_core::{BenchRecord, FinishReason, Generation, PairRecord, SamplingParams};
use janus_data::mini::Mini;
use janus_data::stage::RunFolder;
use janus_data::{read_all, write_all};
use janus_eval::answer::read_answers;
use serde_json::json;

use super::judged::{answers, asked};
use super::profile::Answer;
use crate::command::{Blame as _, CommandError};
use crate::stage::Staged as _;

/// How `n` answers to each record are drawn from a model.
pub struct Draw {
    /// Their number.
    pub n: usize,
    /// Temperature of sampling.
    pub temperature: f64,
    /// Keeps the smallest set of tokens whose probability reaches this.
    pub top_p: f64,
    /// Seed of the draws.
    pub seed: u64,
}

impl Draw {
    /// Draws answers to the records, each under its system message. Returns the stage's folder.
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
        answers(run, settings, stage, model, &asked(records, &sampling))
    }
}

/// Pairs of the answers in a stage's folder by their grades ([`Mini::graded_pairs`]). An answer that was cut off for its
/// length is left out.
pub fn graded_pairs(run: &mut RunFolder, mini: &Mini, records: &[BenchRecord], answers: &Path) -> Result<Vec<PairRecord>, CommandError> {
    let folder = run
        .stage("graded-pairs", &json!({ "judge": "mini" }), &[("answers", answers)], |stage| {
            let finished = |sampled: Vec<Generation>| -> Vec<String> {
                sampled.into_iter().filter(|answer| answer.finish_reason == FinishReason::Stop).map(|answer| answer.text).collect()
            };
            let sampled = read_answers(answers.join("responses.jsonl")).failure()?;
            let texts: Vec<Vec<String>> = sampled.into_iter().map(finished).collect();
            let pairs = mini.graded_pairs(records.iter().zip(texts.iter().map(Vec::as_slice))).failure()?;
            write_all(stage.folder().join("pairs.jsonl"), &pairs).failure()
        })
        .staged()?;
    read_all(folder.join("pairs.jsonl")).failure()
}
