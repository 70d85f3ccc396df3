//! A judged run of cases: pairs, ratings, battles, preferences.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use janus_data::{read_all, write_all};
use serde::{Deserialize, Serialize};

use super::{RESULT_FILE, RUN_FORMAT, RUN_VERSION, RunHead, content, read_result, write_result};
use crate::join::{Missing, unique};
use crate::protocol::{JudgedCase, Judgement, PairOutcome, ProtocolInfo, Scale, Side};
use crate::stats::{Bootstrap, Interval, mean_in_order};
use crate::{Error, Result};

const ROWS_FILE: &str = "rows.jsonl";

/// The result of judging one model's answers, alone or against an opponent's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseResult {
    /// The judged model, the judge and the counts.
    #[serde(flatten)]
    pub head: RunHead,
    /// The score over all rows; `None` if there is no verdict.
    pub all: Option<CaseScore>,
    /// The score by judged turn, if turns are judged separately.
    pub turns: BTreeMap<usize, CaseScore>,
    /// The score by category, if there are several.
    pub categories: BTreeMap<String, CaseScore>,
    /// Of the rows with verdicts in both orders, the share whose verdicts differ; `None` if there are no
    /// such rows.
    pub flip_rate: Option<f64>,
    /// Of the calls that are not ties, the share won by the answer shown first: 0.5 for a judge without
    /// position bias.
    pub first_position_share: Option<f64>,
}

/// The score over some rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseScore {
    /// Mean of the verdicts' values: the mean rating, or the win rate with ties as half.
    pub mean: f64,
    /// Its 95% interval, by bootstrap over questions; `None` for a single question.
    pub interval: Option<Interval>,
    /// Rows with a verdict.
    pub n: usize,
    /// Rows without a verdict.
    pub missing: usize,
    /// Counts of wins, ties and losses over all values; `None` for ratings.
    pub outcomes: Option<PairTally>,
}

/// Wins, ties and losses of a model. A verdict of weight 3 counts three times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairTally {
    /// Wins of the model.
    pub win: usize,
    /// Ties.
    pub tie: usize,
    /// Wins of its opponent.
    pub loss: usize,
}

impl PairTally {
    /// Counts outcomes.
    pub(crate) fn of(outcomes: impl IntoIterator<Item = PairOutcome>) -> Self {
        let mut tally = Self::default();
        outcomes.into_iter().for_each(|outcome| tally.count(outcome));
        tally
    }

    pub(crate) fn count(&mut self, outcome: PairOutcome) {
        *match outcome {
            PairOutcome::Win => &mut self.win,
            PairOutcome::Tie => &mut self.tie,
            PairOutcome::Loss => &mut self.loss,
        } += 1;
    }

    /// The sum of wins, ties and losses.
    pub fn n(self) -> usize {
        self.win + self.tie + self.loss
    }

    /// (wins + ties / 2) / n, MT-Bench's adjusted win rate; `None` if n is 0.
    pub fn win_rate_ties_half(self) -> Option<f64> {
        (self.n() > 0).then(|| (2 * self.win + self.tie) as f64 / (2 * self.n()) as f64)
    }

    /// (wins + ties) / n; `None` if n is 0. This is not the paper's tie+win, which counts only ties of
    /// two good answers: a pairwise verdict does not say whether both answers are good or both are bad.
    pub fn tie_win_all(self) -> Option<f64> {
        (self.n() > 0).then(|| (self.win + self.tie) as f64 / self.n() as f64)
    }
}

impl fmt::Display for PairTally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} wins, {} ties, {} losses", self.win, self.tie, self.loss)
    }
}

/// A judged run: its result and its rows.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseRun {
    /// The result.
    pub result: CaseResult,
    /// The rows.
    pub rows: Vec<JudgedCase>,
}

impl CaseRun {
    /// A run of a model from judged cases. `seed` is the bootstrap's seed.
    ///
    /// # Errors
    /// [`Error::DoubledId`], [`Error::NotFinite`]; [`Error::Row`] for a value outside the protocol's
    /// scale: a win rate must be between 0 and 1, a rating may be any number.
    pub fn new(
        protocol: ProtocolInfo,
        model: impl Into<String>,
        judgement: Judgement<JudgedCase>,
        seed: u64,
    ) -> Result<Self> {
        let Judgement { settings, rows, counts } = judgement;
        unique("rows", rows.iter().map(|row| row.case.id.as_str()))?;
        if let Some((index, value)) = off_scale(protocol.scale, &rows) {
            return Err(Error::row(index, "values", "0 to 1", value));
        }
        let bootstrap = Bootstrap { seed, ..Bootstrap::default() };
        let score = |keep: &dyn Fn(&JudgedCase) -> bool| {
            score(protocol.scale, rows.iter().filter(|row| keep(row)), &bootstrap)
        };
        let mut turns = BTreeMap::new();
        for turn in rows.iter().filter_map(|row| row.case.turn).collect::<BTreeSet<_>>() {
            turns.extend(score(&|row| row.case.turn == Some(turn))?.map(|score| (turn, score)));
        }
        let names: BTreeSet<&str> = rows.iter().map(|row| row.case.category.as_str()).collect();
        let mut categories = BTreeMap::new();
        for category in names.iter().filter(|_| names.len() > 1) {
            categories.extend(
                score(&|row| row.case.category == *category)?.map(|score| (category.to_string(), score)),
            );
        }
        let all = score(&|_| true)?;
        let head = RunHead {
            format: RUN_FORMAT.into(),
            version: RUN_VERSION,
            protocol,
            model: model.into(),
            opponent: None,
            settings,
            counts,
            rows: rows.len(),
            missing: Missing::default(),
        };
        let (flip_rate, first_position_share) = (flip_rate(&rows), first_position_share(&rows));
        Ok(Self {
            result: CaseResult { head, all, turns, categories, flip_rate, first_position_share },
            rows,
        })
    }

    /// Sets the opponent's name.
    pub fn against(mut self, opponent: impl Into<String>) -> Self {
        self.result.head.opponent = Some(opponent.into());
        self
    }

    /// Sets the rows of the bench that were not judged because a model has no answer to them.
    pub fn missing(mut self, missing: Missing) -> Self {
        self.result.head.missing = missing;
        self
    }

    /// Writes `judged.json` and `rows.jsonl` into a folder, for [`Run::read`](super::Run::read).
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write(&self, folder: &Path) -> Result<()> {
        write_all(folder.join(ROWS_FILE), &self.rows)?;
        write_result(folder, &self.result)
    }

    /// Reads a folder written by [`write`](Self::write), of this or an earlier version.
    ///
    /// # Errors
    /// [`Error::RunFile`], [`Error::File`] for a file that cannot be read, has another format or
    /// version, or is inconsistent with the other file.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(ROWS_FILE);
        let result: CaseResult = read_result(folder)?;
        let rows: Vec<JudgedCase> = read_all(&path)?;
        if rows.len() != result.head.rows {
            return Err(content(
                &path,
                format!("it has {} rows, {RESULT_FILE} says {}", rows.len(), result.head.rows),
            ));
        }
        if let Some((index, value)) = off_scale(result.head.protocol.scale, &rows) {
            return Err(content(
                &path,
                format!("row {}, field \"values\": expected 0 to 1, got {value}", index + 1),
            ));
        }
        Ok(Self { result, rows })
    }
}

/// The first win rate outside 0 to 1, with its row. Ratings are not checked: a judge may give ratings
/// outside the requested range.
fn off_scale(scale: Scale, rows: &[JudgedCase]) -> Option<(usize, f64)> {
    let values =
        rows.iter().enumerate().flat_map(|(index, row)| row.values.iter().map(move |value| (index, *value)));
    values.filter(|_| scale == Scale::WinRate).find(|(_, value)| !(0.0..=1.0).contains(value))
}

/// The score over rows; `None` if no row has a verdict.
fn score<'r>(
    scale: Scale,
    rows: impl Iterator<Item = &'r JudgedCase> + Clone,
    bootstrap: &Bootstrap,
) -> Result<Option<CaseScore>> {
    let values: Vec<f64> = rows.clone().flat_map(|row| row.values.iter().copied()).collect();
    let outcomes =
        (scale == Scale::WinRate).then(|| PairTally::of(values.iter().copied().map(PairOutcome::of_value)));
    let Some(mean) = mean_in_order(values) else { return Ok(None) };
    let by_question =
        rows.clone().flat_map(|row| row.values.iter().map(|value| (row.case.question.as_str(), *value)));
    let interval = super::interval(bootstrap, by_question)?;
    let missing = rows.clone().filter(|row| row.values.is_empty()).count();
    Ok(Some(CaseScore { mean, interval, n: rows.count() - missing, missing, outcomes }))
}

fn flip_rate(rows: &[JudgedCase]) -> Option<f64> {
    let both = rows.iter().filter_map(|row| match row.calls.as_slice() {
        [first, second] => Some((first.outcome?, second.outcome?)),
        _ => None,
    });
    let (n, flipped) =
        both.fold((0, 0), |(n, flipped), (first, second)| (n + 1, flipped + usize::from(first != second)));
    (n > 0).then(|| flipped as f64 / f64::from(n))
}

fn first_position_share(rows: &[JudgedCase]) -> Option<f64> {
    let decided = rows.iter().flat_map(|row| &row.calls).filter_map(|call| match call.outcome? {
        PairOutcome::Tie => None,
        outcome => Some((call.first? == Side::Model) == (outcome == PairOutcome::Win)),
    });
    let (n, first) = decided.fold((0, 0), |(n, first), won| (n + 1, first + usize::from(won)));
    (n > 0).then(|| first as f64 / f64::from(n))
}
