//! Multifaceted Mini, a bench with a rule-based grader. [`evaluate`] scores a model's responses.
//! [`Measurements`] of the trained models give the paper's claims with intervals, and the report on
//! them.

mod claims;
mod report;
mod score;

use janus_core::BenchRecord;
use janus_data::mini::SYSTEMS_PER_INSTRUCTION;

pub use report::Setup;
pub use score::evaluate;

use super::best_of_n::Curve;
use crate::judge::VerifiableJudge;
use crate::report::Example;
use crate::score::{self as scores, ScoredRow, score_responses};
use crate::stats::{Bootstrap, Interval};
use crate::{Error, Response, Result, record_id};

/// A model's scores on the judged rows.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelScores {
    /// The model's name.
    pub model: String,
    /// One row for each record, in the bench's order.
    pub rows: Vec<ScoredRow>,
}

/// The measurements on the models of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurements {
    /// Every model's scores on the judged rows, in the order of the report. `base`, `uniform`, `janus`,
    /// `janus-star`, `janus-dpo` and `janus-orpo` must be among them.
    pub scores: Vec<ModelScores>,
    /// The models by the number of distinct system messages that they were trained on, in ascending
    /// order.
    pub diversity: Vec<(usize, String)>,
    /// The truth score of each of the uniform model's answers under the plain system message, 1 to 5.
    pub plain_uniform: Vec<f64>,
    /// The same for janus.
    pub plain_janus: Vec<f64>,
    /// Whether the reward model prefers the chosen response of each held-out pair, 1 or 0. Pairs of one
    /// instruction are adjacent.
    pub reward_hits: Vec<f64>,
    /// The best-of-N curve of janus-star's answers.
    pub best_of_n: Curve,
    /// Sample answers for the report.
    pub examples: Vec<Example>,
}

/// The scores of a model trained on some number of distinct system messages.
#[derive(Debug, Clone, Copy)]
struct Diversity<'a> {
    distinct: usize,
    scores: &'a ModelScores,
}

impl ModelScores {
    /// Mean score with its interval. Rows of one instruction are resampled together.
    fn mean(&self, bootstrap: &Bootstrap) -> Result<Interval> {
        scores::mean(&self.rows, |row, _| row / SYSTEMS_PER_INSTRUCTION, bootstrap)
    }

    /// Mean of the paired differences to another model.
    fn minus(&self, other: &Self, bootstrap: &Bootstrap) -> Result<Interval> {
        scores::difference(&self.rows, &other.rows, |row, _| row / SYSTEMS_PER_INSTRUCTION, bootstrap)
    }
}

impl Measurements {
    fn scores_of(&self, name: &str) -> Result<&ModelScores> {
        let missing =
            || Error::Setting { field: "the model", got: name.into(), expected: "a model with scores" };
        self.scores.iter().find(|scores| scores.model == name).ok_or_else(missing)
    }

    /// The scores of the models in [`Measurements::diversity`].
    fn by_diversity(&self) -> Result<Vec<Diversity<'_>>> {
        self.diversity
            .iter()
            .map(|(distinct, model)| Ok(Diversity { distinct: *distinct, scores: self.scores_of(model)? }))
            .collect()
    }
}

/// A few judged rows with the answers of some models and their scores. They are not hand-picked: one row
/// of each of the first twelve instructions, cycling through its system messages.
///
/// # Errors
/// Those of [`score_responses`].
pub fn examples(records: &[BenchRecord], answers: &[(String, Vec<Response>)]) -> Result<Vec<Example>> {
    let judge = VerifiableJudge::mini();
    let judged = |(model, responses): &(String, Vec<Response>)| {
        Ok((model.clone(), score_responses(records, responses, &judge)?.verdicts))
    };
    let judged = answers.iter().map(judged).collect::<Result<Vec<_>>>()?;
    let instructions = (records.len() / SYSTEMS_PER_INSTRUCTION).min(12);
    let shown = (0..instructions).map(|i| SYSTEMS_PER_INSTRUCTION * i + i % SYSTEMS_PER_INSTRUCTION);
    Ok(shown
        .map(|row| {
            let example = Example::new(record_id(&records[row], row), &records[row]);
            judged.iter().zip(answers).fold(example, |example, ((model, verdicts), (_, responses))| {
                example.response(model.clone(), responses[row].response.clone(), verdicts[row].as_ref())
            })
        })
        .collect())
}
