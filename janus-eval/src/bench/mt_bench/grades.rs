//! The MT-Bench scores of a model: mean ratings per turn, per category and overall.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use janus_data::{read_all, write_all};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::MtBenchQuestion;
use crate::bench::evaluation::{Evaluation, Numbers, ends, flat, in_file, interval, part, shown};
use crate::join::text_or_number;
use crate::judge::read::rating;
use crate::protocol::JudgedCase;
use crate::run::CaseRun;
use crate::stats::{Interval, Sample, mean_in_order};
use crate::{Error, Result};

/// One row of a judgment file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct MtBenchJudgment {
    /// The question's number.
    #[serde(deserialize_with = "text_or_number")]
    pub question_id: String,
    /// 1 or 2.
    pub turn: usize,
    /// The judge's model and its prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<[String; 2]>,
    /// The judge's text, which contains the rating; `None` if the judge did not answer.
    pub judgment: Option<String>,
    /// A stored rating, -1 for none. It is only checked and compared: the rating that counts is the one
    /// in the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Why there is no rating.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl MtBenchJudgment {
    /// The row of a judge's text on a turn.
    pub(crate) fn new(question_id: impl Into<String>, turn: usize, judgment: Option<String>) -> Self {
        Self { question_id: question_id.into(), turn, judge: None, judgment, score: None, problem: None }
    }

    /// The row of a judged case.
    fn of(judged: &JudgedCase, judge: &str) -> Self {
        let call = judged.calls.first();
        Self {
            judge: Some([judge.into(), judged.prompt()]),
            score: judged.values.first().copied(),
            problem: call.and_then(|call| call.problem.clone()),
            ..Self::new(
                &judged.case.question,
                judged.case.turn.unwrap_or(1),
                call.and_then(|call| call.text.clone()),
            )
        }
    }
}

/// Writes the file of judgments of a run that [`MtBench`](crate::protocol::MtBench) judged, in any
/// format of [`write_all`].
///
/// # Errors
/// [`Error::File`].
pub fn write(run: &CaseRun, path: impl AsRef<Path>) -> Result<()> {
    let judge = &run.result.head.settings.judge;
    Ok(write_all(path, &run.rows.iter().map(|row| MtBenchJudgment::of(row, judge)).collect::<Vec<_>>())?)
}

/// Computes the scores from a judgment file (rows of `{question_id, turn, judgment}`) and the question
/// file that it refers to. The rating is parsed from the judge's text. `seed` is the seed of the
/// interval.
///
/// # Errors
/// [`Error::File`]; with the judgments' path [`Error::Row`] for a question that is not in the file of
/// questions, a turn other than 1 and 2, or a stored score that is neither -1 nor 0 or more, and
/// [`Error::Empty`] if no text has a rating.
pub fn evaluate(judgments: impl AsRef<Path>, questions: impl AsRef<Path>, seed: u64) -> Result<Evaluation> {
    let path = judgments.as_ref();
    let judgments: Vec<MtBenchJudgment> = read_all(path)?;
    in_file(path, Grades::of(&judgments, &read_all::<MtBenchQuestion>(questions)?, seed))?.evaluation()
}

/// The scores of a model: means of the judge's ratings.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Grades {
    /// Number of judgment rows. It can exceed `unique_question_turns`, since a turn may be judged
    /// several times.
    pub rows: usize,
    /// Distinct pairs of question and turn.
    pub unique_question_turns: usize,
    /// Rows without a rating; no mean counts them.
    pub failed: usize,
    /// Mean over the ratings of first turns; `None` without a rating.
    pub turn1: Option<f64>,
    /// The same for second turns.
    pub turn2: Option<f64>,
    /// Mean over all ratings. It is not the mean of the two turns' means if ratings are missing.
    pub average: f64,
    /// Mean over the ratings of each category that has one.
    pub by_category: BTreeMap<String, f64>,
    /// The average's interval over questions; `None` for a single question.
    #[serde(skip)]
    pub interval: Option<Interval>,
}

impl Grades {
    pub(crate) fn of(
        judgments: &[MtBenchJudgment],
        questions: &[MtBenchQuestion],
        seed: u64,
    ) -> Result<Self> {
        let rated = rated(judgments, questions)?;
        let mean = |keep: &dyn Fn(&Rated<'_>) -> bool| {
            mean_in_order(rated.iter().filter(|row| keep(row)).filter_map(|row| row.rating).collect())
        };
        let categories: BTreeSet<&str> = rated.iter().map(|row| row.category).collect();
        let average = mean(&|_| true).ok_or(Error::Empty { what: "an MT-Bench score without ratings" })?;
        Ok(Self {
            rows: rated.len(),
            unique_question_turns: rated
                .iter()
                .map(|row| (row.question, row.turn))
                .collect::<BTreeSet<_>>()
                .len(),
            failed: rated.iter().filter(|row| row.rating.is_none()).count(),
            turn1: mean(&|row| row.turn == 1),
            turn2: mean(&|row| row.turn == 2),
            average,
            by_category: categories
                .into_iter()
                .filter_map(|category| Some((category.to_string(), mean(&|row| row.category == category)?)))
                .collect(),
            interval: interval(&sample(judgments, questions)?, seed)?,
        })
    }
}

impl Numbers for Grades {
    fn numbers(&self) -> Result<Map<String, Value>> {
        flat([part(self), ends("average", self.interval.as_ref())])
    }
}

impl fmt::Display for Grades {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let turn = |turn: Option<f64>| turn.map_or("none".into(), |turn| format!("{turn:.3}"));
        write!(
            f,
            "average {:.3}{}, turn 1 {}, turn 2 {}; {} rows, {} without a rating",
            self.average,
            shown(self.interval.as_ref(), 3),
            turn(self.turn1),
            turn(self.turn2),
            self.rows,
            self.failed
        )?;
        self.by_category.iter().try_for_each(|(category, score)| write!(f, "\n  {category:12} {score:.3}"))
    }
}

/// The ratings as a sample clustered by question, for the interval of the average.
fn sample(judgments: &[MtBenchJudgment], questions: &[MtBenchQuestion]) -> Result<Sample> {
    let mut rated = rated(judgments, questions)?;
    rated.sort_by(|a, b| a.rating.unwrap_or(-1.0).total_cmp(&b.rating.unwrap_or(-1.0)));
    Sample::clustered(rated.iter().filter_map(|row| Some((row.question, row.rating?))))
}

struct Rated<'a> {
    question: &'a str,
    turn: usize,
    category: &'a str,
    rating: Option<f64>,
}

fn rated<'a>(judgments: &'a [MtBenchJudgment], questions: &'a [MtBenchQuestion]) -> Result<Vec<Rated<'a>>> {
    let categories: BTreeMap<&str, &str> = questions
        .iter()
        .map(|question| (question.question_id.as_str(), question.category.as_str()))
        .collect();
    let mut rated = Vec::with_capacity(judgments.len());
    for (row, judgment) in judgments.iter().enumerate() {
        let Some(category) = categories.get(judgment.question_id.as_str()) else {
            return Err(Error::row(row, "question_id", "a question of the benchmark", &judgment.question_id));
        };
        if !(1..=2).contains(&judgment.turn) {
            return Err(Error::row(row, "turn", "1 or 2", judgment.turn));
        }
        if let Some(score) = judgment.score.filter(|score| *score != -1.0 && !(0.0..).contains(score)) {
            return Err(Error::row(row, "score", "0 or more, or -1 for none", score));
        }
        let rating = judgment.judgment.as_deref().and_then(rating);
        rated.push(Rated { question: &judgment.question_id, turn: judgment.turn, category, rating });
    }
    Ok(rated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judgment(question_id: u32, turn: usize, text: &str) -> MtBenchJudgment {
        MtBenchJudgment::new(question_id.to_string(), turn, Some(text.into()))
    }

    fn questions() -> Vec<MtBenchQuestion> {
        [(81_u32, "writing"), (101, "reasoning")]
            .map(|(question_id, category)| MtBenchQuestion {
                question_id: question_id.to_string(),
                category: category.into(),
                turns: vec![],
            })
            .to_vec()
    }

    #[test]
    fn the_average_is_over_rows() {
        let rows = [
            judgment(81, 1, "[[9]]"),
            judgment(81, 1, "[[8]]"),
            judgment(81, 2, "$ERROR$"),
            judgment(101, 2, "Rating: [4.5]"),
        ];
        let grades = Grades::of(&rows, &questions(), 0).unwrap();
        assert_eq!((grades.rows, grades.unique_question_turns, grades.failed), (4, 3, 1));
        assert_eq!((grades.turn1, grades.turn2, grades.average), (Some(8.5), Some(4.5), 21.5 / 3.0));
        assert_eq!(grades.by_category, BTreeMap::from([("reasoning".into(), 4.5), ("writing".into(), 8.5)]));
        assert_eq!(sample(&rows, &questions()).unwrap().units(), 2);
    }

    #[test]
    fn a_rating_beyond_the_scale_is_missing_wherever_it_is_counted() {
        let rows = [
            judgment(81, 1, "[[7]]"),
            judgment(81, 2, "[[8]]"),
            MtBenchJudgment { score: Some(100.0), ..judgment(101, 1, "[[100]]") },
        ];
        let grades = Grades::of(&rows, &questions(), 0).unwrap();
        assert_eq!((grades.average, grades.rows, grades.failed), (7.5, 3, 1));
    }

    #[test]
    fn bad_rows_are_named() {
        let of =
            |row: MtBenchJudgment| Grades::of(&[judgment(81, 1, "[[9]]"), row], &questions(), 0).unwrap_err();
        assert!(matches!(of(judgment(1, 1, "[[9]]")), Error::Row { row: 2, field: "question_id", .. }));
        assert!(matches!(of(judgment(81, 3, "[[9]]")), Error::Row { row: 2, field: "turn", .. }));
        assert!(matches!(
            of(MtBenchJudgment { score: Some(-2.0), ..judgment(81, 1, "") }),
            Error::Row { row: 2, field: "score", .. }
        ));
        assert!(matches!(Grades::of(&[judgment(81, 1, "none")], &questions(), 0), Err(Error::Empty { .. })));
    }
}
