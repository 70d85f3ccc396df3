//! What a model scores on the judged rows.

use janus_data::mini::SYSTEMS_PER_INSTRUCTION;
use janus_eval::stats::ClusteredScores;
use janus_eval::{Bootstrap, Interval, ScoredRow};

use crate::command::{Blame as _, CommandError};

/// A model's scores on the judged rows.
#[derive(Debug, Clone)]
pub struct Scores {
    /// The model's name.
    pub model: String,
    /// One row for each record, in the bench's order.
    pub rows: Vec<ScoredRow>,
}

/// The scores of a model trained on some number of different system messages.
#[derive(Debug, Clone, Copy)]
pub struct Diversity<'a> {
    /// Number of different system messages.
    pub distinct: usize,
    /// The model's scores.
    pub scores: &'a Scores,
}

impl Scores {
    /// Rows of one instruction are resampled together.
    fn by_instruction(&self) -> Result<ClusteredScores, CommandError> {
        let scores = ClusteredScores::of(&self.rows, |row| row / SYSTEMS_PER_INSTRUCTION).failure();
        scores.map_err(|error| error.at(&self.model))
    }

    /// Mean score with its interval.
    pub fn mean(&self, bootstrap: &Bootstrap) -> Result<Interval, CommandError> {
        self.by_instruction()?.mean(bootstrap).failure()
    }

    /// Mean of the paired differences to another model.
    pub fn minus(&self, other: &Scores, bootstrap: &Bootstrap) -> Result<Interval, CommandError> {
        self.by_instruction()?.minus(&other.by_instruction()?, bootstrap).failure()
    }
}
