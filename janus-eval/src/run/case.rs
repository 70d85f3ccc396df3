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
    /// Who was judged, and how.
    #[serde(flatten)]
    pub head: RunHead,
    /// Over all rows; `None` if there is no verdict at all.
    pub all: Option<CaseScore>,
    /// By judged turn, where turns are judged one by one.
    pub turns: BTreeMap<usize, CaseScore>,
    /// By group of questions, where there are several.
    pub categories: BTreeMap<String, CaseScore>,
    /// Of the rows with verdicts in both orders, the share in which they differ; `None` where a row has one order only.
    pub flip_rate: Option<f64>,
    /// Of the calls that are no ties, the share won by the answer shown first: one half for a judge that does not look at the order.
    pub first_position_share: Option<f64>,
}

/// The score over some rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseScore {
    /// Mean of the verdicts' values: a rating, or the share of wins with ties as half.
    pub mean: f64,
    /// Its 95% interval, by bootstrap over questions; `None` for a single one.
    pub interval: Option<Interval>,
    /// Rows with a verdict.
    pub n: usize,
    /// Rows without one.
    pub missing: usize,
    /// Wins, ties and losses, one for each value; `None` for ratings.
    pub outcomes: Option<PairTally>,
}

/// How often a model won. A verdict that weighs three times counts three times.
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

    /// All of them.
    pub fn n(self) -> usize {
        self.win + self.tie + self.loss
    }

    /// (wins + half the ties) / n: MT-Bench's adjusted win rate; `None` if nothing was counted.
    pub fn win_rate_ties_half(self) -> Option<f64> {
        (self.n() > 0).then(|| (2 * self.win + self.tie) as f64 / (2 * self.n()) as f64)
    }

    /// (wins + ties) / n; `None` if nothing was counted. A judge that only says which is better does not tell good ties from bad
    /// ones, so this is not the paper's tie+win.
    pub fn tie_win_all(self) -> Option<f64> {
        (self.n() > 0).then(|| (self.win + self.tie) as f64 / self.n() as f64)
    }
}

impl fmt::Display for PairTally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} wins, {} ties, {} losses", self.win, self.tie, self.loss)
    }
}

/// A judged run with everything behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseRun {
    /// The result.
    pub result: CaseResult,
    /// The rows.
    pub rows: Vec<JudgedCase>,
}

impl CaseRun {
    /// A run of a model from judged cases; `seed` is that of the intervals.
    ///
    /// # Errors
    /// [`Error::DoubledId`], [`Error::NotFinite`]; [`Error::Row`] for a value that is not on the protocol's scale: a win rate lies between
    /// 0 and 1, a rating is any number.
    pub fn new(protocol: ProtocolInfo, model: impl Into<String>, judgement: Judgement<JudgedCase>, seed: u64) -> Result<Self> {
        let Judgement { settings, rows, counts } = judgement;
        unique("rows", rows.iter().map(|row| row.case.id.as_str()))?;
        if let Some((index, value)) = off_scale(protocol.scale, &rows) {
            return Err(Error::row(index, "values", "0 to 1", value));
        }
        let bootstrap = Bootstrap { seed, ..Bootstrap::default() };
        let score = |keep: &dyn Fn(&JudgedCase) -> bool| score(protocol.scale, rows.iter().filter(|row| keep(row)), &bootstrap);
        let mut turns = BTreeMap::new();
        for turn in rows.iter().filter_map(|row| row.case.turn).collect::<BTreeSet<_>>() {
            turns.extend(score(&|row| row.case.turn == Some(turn))?.map(|score| (turn, score)));
        }
        let names: BTreeSet<&str> = rows.iter().map(|row| row.case.category.as_str()).collect();
        let mut categories = BTreeMap::new();
        for category in names.iter().filter(|_| names.len() > 1) {
            categories.extend(score(&|row| row.case.category == *category)?.map(|score| (category.to_string(), score)));
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
        Ok(Self { result: CaseResult { head, all, turns, categories, flip_rate, first_position_share }, rows })
    }

    /// The same against an opponent of this name.
    pub fn against(mut self, opponent: impl Into<String>) -> Self {
        self.result.head.opponent = Some(opponent.into());
        self
    }

    /// The same with the rows of the bench that were not judged, as a model did not answer them.
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

    /// Reads a folder that [`write`](Self::write) wrote, this version's or an earlier one's.
    ///
    /// # Errors
    /// [`Error::RunFile`], [`Error::File`] for a file that cannot be read, is of another format or version, or does not fit the other.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(ROWS_FILE);
        let result: CaseResult = read_result(folder)?;
        let rows: Vec<JudgedCase> = read_all(&path)?;
        if rows.len() != result.head.rows {
            return Err(content(&path, format!("it has {} rows, {RESULT_FILE} says {}", rows.len(), result.head.rows)));
        }
        if let Some((index, value)) = off_scale(result.head.protocol.scale, &rows) {
            return Err(content(&path, format!("row {}, field \"values\": expected 0 to 1, got {value}", index + 1)));
        }
        Ok(Self { result, rows })
    }
}

/// The first value that is not on the scale, with its row. A rating is what the judge said, which may be outside of what it was asked for.
fn off_scale(scale: Scale, rows: &[JudgedCase]) -> Option<(usize, f64)> {
    let values = rows.iter().enumerate().flat_map(|(index, row)| row.values.iter().map(move |value| (index, *value)));
    values.filter(|_| scale == Scale::WinRate).find(|(_, value)| !(0.0..=1.0).contains(value))
}

/// The score over rows; `None` if none has a verdict.
fn score<'r>(scale: Scale, rows: impl Iterator<Item = &'r JudgedCase> + Clone, bootstrap: &Bootstrap) -> Result<Option<CaseScore>> {
    let values: Vec<f64> = rows.clone().flat_map(|row| row.values.iter().copied()).collect();
    let outcomes = (scale == Scale::WinRate).then(|| PairTally::of(values.iter().copied().map(PairOutcome::of_value)));
    let Some(mean) = mean_in_order(values) else { return Ok(None) };
    let by_question = rows.clone().flat_map(|row| row.values.iter().map(|value| (row.case.question.as_str(), *value)));
    let interval = super::interval(bootstrap, by_question)?;
    let missing = rows.clone().filter(|row| row.values.is_empty()).count();
    Ok(Some(CaseScore { mean, interval, n: rows.count() - missing, missing, outcomes }))
}

fn flip_rate(rows: &[JudgedCase]) -> Option<f64> {
    let both = rows.iter().filter_map(|row| match row.calls.as_slice() {
        [first, second] => Some((first.outcome?, second.outcome?)),
        _ => None,
    });
    let (n, flipped) = both.fold((0, 0), |(n, flipped), (first, second)| (n + 1, flipped + usize::from(first != second)));
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
