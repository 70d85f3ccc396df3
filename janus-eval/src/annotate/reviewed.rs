//! Results of reviewing the rows of a bench.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use janus_core::BenchRecord;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::compared::agreement;
use super::{AnnotationKey, AnnotationMode, Annotations, check};
use crate::bench::Numbers;
use crate::stats::{LevelOfMeasurement, krippendorff_alpha};
use crate::{Error, Result, record_id};

/// The difficulty of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Difficulty {
    /// Easy.
    Easy,
    /// Intermediate.
    Intermediate,
    /// Hard.
    Hard,
}

/// A row with the counts of its annotations.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct ReviewedRow {
    /// The row's id.
    id: String,
    /// Number of annotators who accept it.
    accepted: usize,
    /// Number of annotators who reject it.
    rejected: usize,
    /// Whether more annotators accept than reject it; `None` if the numbers are equal.
    verdict: Option<bool>,
    /// The median difficulty, the harder one of two middle values; `None` without an annotation.
    difficulty: Option<Difficulty>,
}

/// The results of reviewing a bench.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Reviewed {
    /// The rows, in the bench's order.
    rows: Vec<ReviewedRow>,
    /// The annotators' names.
    annotators: Vec<String>,
    /// Of the pairs of verdicts on one row, the share that are equal; `None` without such a pair.
    verdict_agreement: Option<f64>,
    /// Krippendorff's alpha of the verdicts; `None` if it is undefined.
    verdict_alpha: Option<f64>,
    /// Krippendorff's alpha of the difficulties, as ordinal data; `None` if it is undefined.
    difficulty_alpha: Option<f64>,
}

impl fmt::Display for Reviewed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([accepted, rejected, undecided], [easy, intermediate, hard]) =
            (self.counts(), self.difficulties());
        write!(f, "{accepted} rows accepted, {rejected} rejected, {undecided} undecided; ")?;
        write!(f, "{easy} easy, {intermediate} intermediate, {hard} hard")
    }
}

impl Numbers for Reviewed {
    fn numbers(&self) -> Result<Map<String, Value>> {
        let ([accepted, rejected, undecided], [easy, intermediate, hard]) =
            (self.counts(), self.difficulties());
        let counts = json!({
            "accepted": accepted, "rejected": rejected, "undecided": undecided, "easy": easy, "intermediate": intermediate, "hard": hard,
        });
        Ok(Map::from_iter([("reviewed".to_string(), json!(self)), ("counts".to_string(), counts)]))
    }
}

impl Reviewed {
    /// The records that more annotators accept than reject, each with its id. `bench` is the path of the
    /// records, for errors.
    pub(super) fn accepted(&self, bench: &Path, records: Vec<BenchRecord>) -> Result<Vec<BenchRecord>> {
        let verdicts: BTreeMap<&str, Option<bool>> =
            self.rows.iter().map(|row| (row.id.as_str(), row.verdict)).collect();
        let ids: Vec<String> =
            records.iter().enumerate().map(|(index, record)| record_id(record, index)).collect();
        if let Some(row) = self.rows.iter().find(|row| !ids.contains(&row.id)) {
            return Err(Error::reference(
                bench.display().to_string(),
                format!("the row \"{}\", which was reviewed", row.id),
                "none",
            ));
        }
        let kept =
            ids.into_iter().zip(records).filter(|(id, _)| verdicts.get(id.as_str()) == Some(&Some(true)));
        Ok(kept.map(|(id, record)| BenchRecord { id: Some(id), ..record }).collect())
    }

    /// Evaluates the results of one or more annotators.
    pub(super) fn of(key: &AnnotationKey, results: &[(&Path, Annotations)]) -> Result<Self> {
        let questions: [(&str, &[&str]); 2] =
            [("accept", &["yes", "no"]), ("difficulty", &["easy", "intermediate", "hard"])];
        check(results, key, AnnotationMode::Review, &questions)?;
        let mut votes: BTreeMap<&str, Vec<(bool, Difficulty)>> = BTreeMap::new();
        for answer in results.iter().flat_map(|(_, result)| &result.answers) {
            let value = |question: &str| answer.values.get(question).map_or("", String::as_str);
            let difficulty = match value("difficulty") {
                "easy" => Difficulty::Easy,
                "hard" => Difficulty::Hard,
                _ => Difficulty::Intermediate,
            };
            votes.entry(&answer.id).or_default().push((value("accept") == "yes", difficulty));
        }
        let row = |item: &super::KeyItem| {
            let votes = votes.get(item.id.as_str()).map_or(&[][..], Vec::as_slice);
            let accepted = votes.iter().filter(|(accept, _)| *accept).count();
            let rejected = votes.len() - accepted;
            let mut difficulties: Vec<Difficulty> = votes.iter().map(|(_, difficulty)| *difficulty).collect();
            difficulties.sort_unstable();
            ReviewedRow {
                id: item.id.clone(),
                accepted,
                rejected,
                verdict: (accepted != rejected).then_some(accepted > rejected),
                difficulty: difficulties.get(votes.len() / 2).copied(),
            }
        };
        let verdicts: Vec<Vec<f64>> = votes
            .values()
            .map(|votes| votes.iter().map(|(accept, _)| f64::from(u8::from(*accept))).collect())
            .collect();
        let ranks: Vec<Vec<f64>> = votes
            .values()
            .map(|votes| votes.iter().map(|(_, difficulty)| f64::from(*difficulty as u8)).collect())
            .collect();
        Ok(Self {
            rows: key.items.iter().map(row).collect(),
            annotators: results.iter().map(|(_, result)| result.annotator.trim().into()).collect(),
            verdict_agreement: agreement(&verdicts),
            verdict_alpha: krippendorff_alpha(&verdicts, LevelOfMeasurement::Nominal).ok(),
            difficulty_alpha: krippendorff_alpha(&ranks, LevelOfMeasurement::Ordinal).ok(),
        })
    }

    /// Numbers of accepted, rejected and undecided rows.
    fn counts(&self) -> [usize; 3] {
        let count = |verdict| self.rows.iter().filter(|row| row.verdict == verdict).count();
        [count(Some(true)), count(Some(false)), count(None)]
    }

    /// Numbers of easy, intermediate and hard rows.
    fn difficulties(&self) -> [usize; 3] {
        [Difficulty::Easy, Difficulty::Intermediate, Difficulty::Hard]
            .map(|difficulty| self.rows.iter().filter(|row| row.difficulty == Some(difficulty)).count())
    }
}
