//! Grades of MT-Bench's two turns, and the table of its pairwise modes.

use std::fmt;
use std::path::Path;

use janus_data::read_all;
use serde_json::{Map, Value};

use super::{Evaluation, ends, flat, in_file, interval, part, shown};
use crate::bench::mt_bench::{Grades, Judgment, PairJudgment, PairScores, Question};
use crate::{Interval, Result};

/// The grades of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct MtBenchResult {
    /// The grades.
    pub grades: Grades,
    /// The average's interval over questions.
    pub interval: Option<Interval>,
}

impl MtBenchResult {
    /// The grades of a file of judgments on a file of questions.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File); those of [`Grades::of`], with the file's path.
    pub fn of_files(judgments: impl AsRef<Path>, questions: impl AsRef<Path>, seed: u64) -> Result<Self> {
        let path = judgments.as_ref();
        let judgments: Vec<Judgment> = read_all(path)?;
        let questions: Vec<Question> = read_all(questions)?;
        let of = || {
            let interval = interval(&Grades::sample(&judgments, &questions)?, seed)?;
            Ok(Self { grades: Grades::of(&judgments, &questions)?, interval })
        };
        in_file(path, of())
    }
}

impl Evaluation for MtBenchResult {
    fn to_json(&self) -> Result<Map<String, Value>> {
        flat([part(&self.grades), ends("average", self.interval.as_ref())])
    }
}

impl fmt::Display for MtBenchResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { grades, interval } = self;
        let turn = |turn: Option<f64>| turn.map_or("none".into(), |turn| format!("{turn:.3}"));
        write!(
            f,
            "average {:.3}{}, turn 1 {}, turn 2 {}; {} rows, {} without a rating",
            grades.average,
            shown(interval.as_ref(), 3),
            turn(grades.turn1),
            turn(grades.turn2),
            grades.rows,
            grades.failed
        )?;
        grades.by_category.iter().try_for_each(|(category, score)| write!(f, "\n  {category:12} {score:.3}"))
    }
}

/// The table of MT-Bench's pairwise modes.
#[derive(Debug, Clone, PartialEq)]
pub struct MtBenchPairsResult {
    /// The models' wins, ties and losses.
    pub scores: PairScores,
}

impl MtBenchPairsResult {
    /// The table of a file of verdicts; with a `baseline`, of the rows against that model only.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File); those of [`PairScores::of`], with the file's path.
    pub fn of_file(path: impl AsRef<Path>, baseline: Option<&str>) -> Result<Self> {
        let path = path.as_ref();
        let judgments: Vec<PairJudgment> = read_all(path)?;
        Ok(Self { scores: in_file(path, PairScores::of(&judgments, baseline))? })
    }
}

impl Evaluation for MtBenchPairsResult {
    fn to_json(&self) -> Result<Map<String, Value>> {
        flat([part(&self.scores)])
    }
}

impl fmt::Display for MtBenchPairsResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scores = &self.scores;
        writeln!(f, "{} rows, {} without a verdict, {} without the baseline", scores.rows, scores.failed, scores.without_baseline)?;
        write!(f, "{:32} {:>5} {:>5} {:>5} {:>8}  (win + half a tie)", "model", "win", "loss", "tie", "adjusted")?;
        scores.models.iter().try_for_each(|score| {
            write!(f, "\n{:32} {:5} {:5} {:5} {:8.4}", score.model, score.win, score.loss, score.tie, score.win_rate_adjusted)
        })
    }
}
