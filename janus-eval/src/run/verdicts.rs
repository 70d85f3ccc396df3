//! A judged run of any protocol but rubrics: pairs, grades, battles, preferences.

mod report;
mod row;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use janus_core::SamplingParams;
use janus_data::{read_all, write_all};
use serde::{Deserialize, Serialize};

pub use report::compare_verdicts;
pub use row::{Side, VerdictCall, VerdictRow, VerdictTurn, Verdicts};

use super::{RESULT_FILE, RunError, content, read_result, write_result};
use crate::join::{Missing, unique};
use crate::judge::{Counts, PairOutcome, TemplateId};
use crate::stats::mean_in_order;
use crate::{Bootstrap, Interval, Result};

/// What `format` says in the file of a [`VerdictResult`].
pub const VERDICTS_FORMAT: &str = "janus-verdicts";

/// What `version` says. It changes whenever a reader of the last version would misread the new one.
pub const VERDICTS_VERSION: u32 = 1;

/// The files of a folder that [`VerdictRun::read`] needs: the result, the rows.
pub const VERDICT_FILES: [&str; 2] = [RESULT_FILE, "rows.jsonl"];

/// How answers were judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Pairs of answers to a bench's records, each in both orders.
    Pairwise,
    /// MT-Bench's grades from 1 to 10.
    MtBench,
    /// MT-Bench's pairs, each in both orders.
    MtBenchPairs,
    /// Arena-Hard-Auto's battles, two games for each question.
    ArenaHard,
    /// AlpacaEval's preferences.
    AlpacaEval,
}

impl Protocol {
    /// Its name in reports.
    pub fn title(self) -> &'static str {
        match self {
            Self::Pairwise => "Pairs",
            Self::MtBench => "MT-Bench",
            Self::MtBenchPairs => "MT-Bench pairs",
            Self::ArenaHard => "Arena-Hard",
            Self::AlpacaEval => "AlpacaEval",
        }
    }

    /// Whether a verdict is a grade from 1 to 10; else it is what the answer is worth against another one's, 0 to 1.
    pub fn is_graded(self) -> bool {
        self == Self::MtBench
    }
}

/// What a result was made with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerdictSettings {
    /// The judge's model.
    pub judge: String,
    /// The prompts that were used.
    pub prompts: Vec<TemplateId>,
    /// How the judge sampled.
    pub sampling: SamplingParams,
    /// Whether the judge saw the system message.
    pub system_shown: bool,
    /// Whether the judge saw the reference answer, where a row has one.
    pub reference_shown: bool,
}

/// The result of judging one model's answers, alone or against an opponent's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerdictResult {
    /// [`VERDICTS_FORMAT`].
    pub format: String,
    /// [`VERDICTS_VERSION`].
    pub version: u32,
    /// How it was judged.
    pub protocol: Protocol,
    /// The judged model's name.
    pub model: String,
    /// Its opponent's or the baseline's.
    pub opponent: Option<String>,
    /// What it was judged with.
    pub settings: VerdictSettings,
    /// How many calls came to what.
    pub counts: Counts,
    /// Judged rows.
    pub rows: usize,
    /// Rows of the bench that are not judged, as a model did not answer them.
    pub missing: Missing,
    /// Over all rows; none if there is no verdict at all.
    pub all: Option<VerdictScore>,
    /// By judged turn, where turns are judged one by one.
    pub turns: BTreeMap<usize, VerdictScore>,
    /// By group of questions, where there are several.
    pub categories: BTreeMap<String, VerdictScore>,
    /// Of the rows with verdicts in both orders, the share in which they differ; none where a row has one order only.
    pub flip_rate: Option<f64>,
    /// Of the calls that are no ties, the share won by the answer shown first: one half for a judge that does not look at the order.
    pub first_position_share: Option<f64>,
}

/// What verdicts come to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerdictScore {
    /// Mean of the verdicts' values: a grade from 1 to 10, or the share of wins with ties as half.
    pub mean: f64,
    /// Its 95% interval, by bootstrap over questions; none for a single one.
    pub interval: Option<Interval>,
    /// Rows with a verdict.
    pub n: usize,
    /// Rows without one.
    pub missing: usize,
    /// Wins, ties and losses, one for each value; none of grades.
    pub outcomes: Option<Outcomes>,
}

/// How often a model won. A verdict that weighs three times stands three times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    /// Wins of the model.
    pub win: usize,
    /// Ties.
    pub tie: usize,
    /// Wins of its opponent.
    pub loss: usize,
}

/// A judged run with everything behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct VerdictRun {
    /// The result.
    pub result: VerdictResult,
    /// The rows.
    pub rows: Vec<VerdictRow>,
}

/// Who was judged, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The protocol.
    pub protocol: Protocol,
    /// The model's name.
    pub model: String,
    /// Its opponent's.
    pub opponent: Option<String>,
    /// What it was judged with.
    pub settings: VerdictSettings,
    /// How many calls came to what.
    pub counts: Counts,
    /// Rows that are not there, as a model did not answer them.
    pub missing: Missing,
}

impl VerdictRun {
    /// A run from judged rows; `seed` is that of the intervals.
    ///
    /// # Errors
    /// [`Error::DoubledId`](crate::Error::DoubledId), [`Error::NotFinite`](crate::Error::NotFinite).
    pub fn new(judged: Judged, rows: Vec<VerdictRow>, seed: u64) -> Result<Self> {
        unique("rows", rows.iter().map(|row| row.id.as_str()))?;
        let Judged { protocol, model, opponent, settings, counts, missing } = judged;
        let bootstrap = Bootstrap { seed, ..Bootstrap::default() };
        let score = |keep: &dyn Fn(&VerdictRow) -> bool| score(protocol, rows.iter().filter(|row| keep(row)), &bootstrap);
        let mut turns = BTreeMap::new();
        for turn in rows.iter().filter_map(|row| row.turn).collect::<BTreeSet<_>>() {
            turns.extend(score(&|row| row.turn == Some(turn))?.map(|score| (turn, score)));
        }
        let names: BTreeSet<&str> = rows.iter().map(|row| row.category.as_str()).collect();
        let mut categories = BTreeMap::new();
        for category in names.iter().filter(|_| names.len() > 1) {
            categories.extend(score(&|row| row.category == *category)?.map(|score| (category.to_string(), score)));
        }
        let result = VerdictResult {
            format: VERDICTS_FORMAT.into(),
            version: VERDICTS_VERSION,
            protocol,
            model,
            opponent,
            settings,
            counts,
            rows: rows.len(),
            missing,
            all: score(&|_| true)?,
            turns,
            categories,
            flip_rate: flip_rate(&rows),
            first_position_share: first_position_share(&rows),
        };
        Ok(Self { result, rows })
    }

    /// Writes [`VERDICT_FILES`] into a folder.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn write(&self, folder: &Path) -> Result<(), RunError> {
        let [result, rows] = VERDICT_FILES.map(|name| folder.join(name));
        write_all(rows, &self.rows)?;
        write_result(&result, &self.result)
    }

    /// Reads a folder that [`write`](Self::write) wrote.
    ///
    /// # Errors
    /// [`RunError`] for a file that cannot be read, is of another format or version, or does not fit the other.
    pub fn read(folder: &Path) -> Result<Self, RunError> {
        let [result, path] = VERDICT_FILES.map(|name| folder.join(name));
        let result: VerdictResult = read_result(&result, VERDICTS_FORMAT, VERDICTS_VERSION)?;
        let rows: Vec<VerdictRow> = read_all(&path)?;
        if rows.len() != result.rows {
            return Err(content(&path, format!("it has {} rows, {RESULT_FILE} says {}", rows.len(), result.rows)));
        }
        // A grade is what the judge said, which nothing keeps below 10.
        let (most, expected) = if result.protocol.is_graded() { (f64::MAX, "0 or more") } else { (1.0, "0 to 1") };
        let bad = |row: &VerdictRow| row.values.iter().any(|value| !(0.0..=most).contains(value));
        if let Some(index) = rows.iter().position(bad) {
            return Err(content(&path, format!("row {}, field \"values\": expected numbers, {expected}", index + 1)));
        }
        Ok(Self { result, rows })
    }
}

/// What rows come to; none if no one has a verdict.
fn score<'r>(
    protocol: Protocol,
    rows: impl Iterator<Item = &'r VerdictRow> + Clone,
    bootstrap: &Bootstrap,
) -> Result<Option<VerdictScore>> {
    let values: Vec<f64> = rows.clone().flat_map(|row| row.values.iter().copied()).collect();
    let mut outcomes = Outcomes::default();
    for value in &values {
        match row::outcome_of(*value) {
            PairOutcome::Win => outcomes.win += 1,
            PairOutcome::Tie => outcomes.tie += 1,
            PairOutcome::Loss => outcomes.loss += 1,
        }
    }
    let Some(mean) = mean_in_order(values) else { return Ok(None) };
    let by_question = rows.clone().flat_map(|row| row.values.iter().map(|value| (row.question.as_str(), *value)));
    let interval = super::interval(bootstrap, by_question)?;
    let missing = rows.clone().filter(|row| row.values.is_empty()).count();
    let outcomes = (!protocol.is_graded()).then_some(outcomes);
    Ok(Some(VerdictScore { mean, interval, n: rows.count() - missing, missing, outcomes }))
}

fn flip_rate(rows: &[VerdictRow]) -> Option<f64> {
    let both = rows.iter().filter_map(|row| match row.calls.as_slice() {
        [first, second] => Some((first.outcome?, second.outcome?)),
        _ => None,
    });
    let (n, flipped) = both.fold((0, 0), |(n, flipped), (first, second)| (n + 1, flipped + usize::from(first != second)));
    (n > 0).then(|| flipped as f64 / f64::from(n))
}

fn first_position_share(rows: &[VerdictRow]) -> Option<f64> {
    let decided = rows.iter().flat_map(|row| &row.calls).filter_map(|call| match call.outcome? {
        PairOutcome::Tie => None,
        outcome => Some((call.first? == Side::Model) == (outcome == PairOutcome::Win)),
    });
    let (n, first) = decided.fold((0, 0), |(n, first), won| (n + 1, first + usize::from(won)));
    (n > 0).then(|| first as f64 / f64::from(n))
}
