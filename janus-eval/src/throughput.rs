//! How long it takes to compute the benchmarks' metrics from the published data.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use janus_data::read_all;
use serde::{Deserialize, Serialize};

use crate::bench::alpaca_eval::{AlpacaAnnotation, AlpacaReference, LengthControl, Optimizer, Preferences};
use crate::bench::arena_hard::{ArenaBattles, ArenaScore, Resampling};
use crate::bench::toxicity::{ScoredGenerations, ToxicityClassifier};
use crate::judge::read::ScoreReader;
use crate::{Error, Result};

/// Outputs of a rubric judge to parse.
const ANSWERS: usize = 100_000;
/// Resamples of Arena-Hard.
const ROUNDS: usize = 1_000;

/// Times in milliseconds, each the median of several runs with the data in memory.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Throughput {
    /// The length-controlled win rate of one model with cross-validation: 50 fits and the final one.
    pub lc_cv_ms: f64,
    /// The same with the optimiser that the published numbers were computed with.
    pub lc_cv_liblinear_ms: f64,
    /// Preferences from 805 annotations.
    pub preferences_ms: f64,
    /// 1,000 bootstrap rounds of Arena-Hard.
    pub arena_bootstrap_ms: f64,
    /// 100,000 outputs of a rubric judge parsed.
    pub rubric_parse_ms: f64,
    /// 240 generations scored by the toxicity classifier.
    pub classifier_ms: f64,
}

/// Feedback of a judge, each with its score.
#[derive(Deserialize)]
struct Judged {
    feedback: Vec<String>,
    scores: Vec<u8>,
}

impl Throughput {
    /// Runs each computation `runs` times, after one warm-up run. `data` is the folder that
    /// [`verify`](crate::verify::verify) takes.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Reference`] for data that is missing or not as published; those of the
    /// benchmarks.
    pub fn measure(data: &Path, runs: u32) -> Result<Self> {
        let folder = data.join("alpaca_eval");
        let annotations: Vec<AlpacaAnnotation> = read_all(folder.join("annotations/claude-2.1.jsonl.gz"))?;
        let reference = AlpacaReference::load(&folder)?;
        let preferences = Preferences::new(&annotations, &reference)?;
        let battles: Vec<ArenaBattles> =
            read_all(data.join("arena_hard/battles/gpt-3.5-turbo-0125.jsonl.gz"))?;
        let answers = answers(&data.join("rubric_judgments/vicuna_eval.jsonl.gz"))?;
        let classifier = ToxicityClassifier::load(data.join("toxicity_classifier"))?;
        let continued: Vec<ScoredGenerations> =
            read_all(data.join("real_toxicity_prompts/human_eval_generations_gpt_2.jsonl.gz"))?;
        let texts: Vec<&str> = continued
            .iter()
            .flat_map(|row| &row.generations)
            .map(|generation| generation.text.as_str())
            .collect();

        let exact = LengthControl::default();
        let liblinear = LengthControl { optimizer: Optimizer::Liblinear, ..exact };
        let fits =
            |control: LengthControl| median(runs, || control.win_rate(black_box(&preferences), &reference));
        Ok(Self {
            lc_cv_ms: fits(exact)?,
            lc_cv_liblinear_ms: fits(liblinear)?,
            preferences_ms: median(runs, || Preferences::new(black_box(&annotations), &reference))?,
            arena_bootstrap_ms: median(runs, || {
                ArenaScore::of(black_box(&battles), Resampling { rounds: ROUNDS, seed: 0 })
            })?,
            rubric_parse_ms: median(runs, || {
                Ok(black_box(&answers)
                    .iter()
                    .filter(|answer| ScoreReader::Strict.read(answer).is_ok())
                    .count())
            })?,
            classifier_ms: median(runs, || Ok(classifier.score_all(black_box(&texts))))?,
        })
    }
}

/// Outputs of a judge: feedback followed by its score, in the format that the judge's prompt demands.
fn answers(path: &Path) -> Result<Vec<String>> {
    let rows: Vec<Judged> = read_all(path)?;
    let answers = rows.iter().flat_map(|row| row.feedback.iter().zip(&row.scores));
    let answers: Vec<String> =
        answers.map(|(feedback, score)| format!("Feedback: {feedback} [RESULT] {score}")).collect();
    if answers.is_empty() {
        return Err(Error::reference(path.display().to_string(), "feedback of a judge", "none"));
    }
    Ok(answers.iter().cycle().take(ANSWERS).cloned().collect())
}

/// The median time of `work`, in milliseconds.
fn median<T>(runs: u32, work: impl Fn() -> Result<T>) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..=runs.max(1) {
        let start = Instant::now();
        black_box(work()?);
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    // The first run warms up.
    times.remove(0);
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
