//! The means of a judge's ratings.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Question;
use crate::join::text_or_number;
use crate::judge::read::rating;
use crate::protocol::JudgedCase;
use crate::stats::mean_in_order;
use crate::{Error, Result, Sample};

/// One row of a judgment file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgment {
    /// The question's number.
    #[serde(deserialize_with = "text_or_number")]
    pub question_id: String,
    /// 1 or 2.
    pub turn: usize,
    /// The judge's model and its prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<[String; 2]>,
    /// The judge's text, in which the rating is read; none if the judge did not answer.
    pub judgment: Option<String>,
    /// The rating as someone stored it, -1 for none; only to be compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Why there is no rating.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Judgment {
    /// A judge's text on a turn.
    pub fn new(question_id: impl Into<String>, turn: usize, judgment: Option<String>) -> Self {
        Self { question_id: question_id.into(), turn, judge: None, judgment, score: None, problem: None }
    }

    /// A case as [`MtBench`](crate::protocol::MtBench) judged it.
    pub fn of(judged: &JudgedCase, judge: &str) -> Self {
        let call = judged.calls.first();
        Self {
            judge: Some([judge.into(), judged.prompt()]),
            score: judged.values.first().copied(),
            problem: call.and_then(|call| call.problem.clone()),
            ..Self::new(&judged.case.question, judged.case.turn.unwrap_or(1), call.and_then(|call| call.text.clone()))
        }
    }
}

/// The scores of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grades {
    /// Rows: a question's turn stands as often as it was judged.
    pub rows: usize,
    /// Different pairs of question and turn.
    pub unique_question_turns: usize,
    /// Rows without a rating; they are in no mean.
    pub failed: usize,
    /// Mean over the ratings of first turns; none if there is none.
    pub turn1: Option<f64>,
    /// The same of second turns.
    pub turn2: Option<f64>,
    /// Mean over all ratings, which is not the mean of the two when some are missing.
    pub average: f64,
    /// Mean over the ratings of each category that has one.
    pub by_category: BTreeMap<String, f64>,
}

impl Grades {
    /// The scores in a judge's texts.
    ///
    /// # Errors
    /// [`Error::Row`] for a question that is not among `questions`, another turn than 1 and 2, or a stored score that
    /// is neither -1 nor 0 to 10; [`Error::Empty`] if no text has a rating.
    pub fn of(judgments: &[Judgment], questions: &[Question]) -> Result<Self> {
        let rated = rated(judgments, questions)?;
        let mean =
            |keep: &dyn Fn(&Rated<'_>) -> bool| mean_in_order(rated.iter().filter(|row| keep(row)).filter_map(|row| row.rating).collect());
        let categories: BTreeSet<&str> = rated.iter().map(|row| row.category).collect();
        Ok(Self {
            rows: rated.len(),
            unique_question_turns: rated.iter().map(|row| (row.question, row.turn)).collect::<BTreeSet<_>>().len(),
            failed: rated.iter().filter(|row| row.rating.is_none()).count(),
            turn1: mean(&|row| row.turn == 1),
            turn2: mean(&|row| row.turn == 2),
            average: mean(&|_| true).ok_or(Error::Empty { what: "an MT-Bench score over no ratings" })?,
            by_category: categories
                .into_iter()
                .filter_map(|category| Some((category.to_string(), mean(&|row| row.category == category)?)))
                .collect(),
        })
    }

    /// The ratings as a sample whose units are questions, for an interval of the average.
    ///
    /// # Errors
    /// As [`Grades::of`].
    pub fn sample(judgments: &[Judgment], questions: &[Question]) -> Result<Sample> {
        let mut rated = rated(judgments, questions)?;
        rated.sort_by(|a, b| a.rating.unwrap_or(-1.0).total_cmp(&b.rating.unwrap_or(-1.0)));
        Sample::clustered(rated.iter().filter_map(|row| Some((row.question, row.rating?))))
    }
}

struct Rated<'a> {
    question: &'a str,
    turn: usize,
    category: &'a str,
    rating: Option<f64>,
}

fn rated<'a>(judgments: &'a [Judgment], questions: &'a [Question]) -> Result<Vec<Rated<'a>>> {
    let categories: BTreeMap<&str, &str> =
        questions.iter().map(|question| (question.question_id.as_str(), question.category.as_str())).collect();
    let mut rated = Vec::with_capacity(judgments.len());
    for (row, judgment) in judgments.iter().enumerate() {
        let Some(category) = categories.get(judgment.question_id.as_str()) else {
            return Err(Error::row(row, "question_id", "a question of the benchmark", &judgment.question_id));
        };
        if !(1..=2).contains(&judgment.turn) {
            return Err(Error::row(row, "turn", "1 or 2", judgment.turn));
        }
        if let Some(score) = judgment.score.filter(|score| *score != -1.0 && !(0.0..=10.0).contains(score)) {
            return Err(Error::row(row, "score", "0 to 10, or -1 for none", score));
        }
        let rating = judgment.judgment.as_deref().and_then(rating);
        rated.push(Rated { question: &judgment.question_id, turn: judgment.turn, category, rating });
    }
    Ok(rated)
}

/// The two scores of a judge that grades both answers of a pair at once, `[[7, 8.5]]`: the first such mark. They are a
/// tie if they differ by at most 0.1.
///
/// ```
/// use janus_eval::bench::mt_bench::two_scores;
/// assert_eq!(two_scores("So: [[7, 8.5]]"), Some((7.0, 8.5)));
/// assert_eq!(two_scores("So: [[7]]"), None);
/// ```
pub fn two_scores(text: &str) -> Option<(f64, f64)> {
    text.match_indices("[[").find_map(|(at, _)| {
        let inside = text[at + 2..].split_once("]]")?.0;
        let (first, second) = inside.split_once(',')?;
        let number = |part: &str| {
            let part = part.trim();
            let plain = part.starts_with(|c: char| c.is_ascii_digit()) && part.chars().all(|c| c.is_ascii_digit() || c == '.');
            if plain { part.parse::<f64>().ok() } else { None }
        };
        Some((number(first)?, number(second)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judgment(question_id: u32, turn: usize, text: &str) -> Judgment {
        Judgment::new(question_id.to_string(), turn, Some(text.into()))
    }

    fn questions() -> Vec<Question> {
        [(81_u32, "writing"), (101, "reasoning")]
            .map(|(question_id, category)| Question { question_id: question_id.to_string(), category: category.into(), turns: vec![] })
            .to_vec()
    }

    #[test]
    fn the_average_is_over_rows() {
        let rows = [judgment(81, 1, "[[9]]"), judgment(81, 1, "[[8]]"), judgment(81, 2, "$ERROR$"), judgment(101, 2, "Rating: [4.5]")];
        let grades = Grades::of(&rows, &questions()).unwrap();
        assert_eq!((grades.rows, grades.unique_question_turns, grades.failed), (4, 3, 1));
        assert_eq!((grades.turn1, grades.turn2, grades.average), (Some(8.5), Some(4.5), 21.5 / 3.0));
        assert_eq!(grades.by_category, BTreeMap::from([("reasoning".into(), 4.5), ("writing".into(), 8.5)]));
        assert_eq!(Grades::sample(&rows, &questions()).unwrap().units(), 2);
    }

    #[test]
    fn bad_rows_are_named() {
        let of = |row: Judgment| Grades::of(&[judgment(81, 1, "[[9]]"), row], &questions()).unwrap_err();
        assert!(matches!(of(judgment(1, 1, "[[9]]")), Error::Row { row: 2, field: "question_id", .. }));
        assert!(matches!(of(judgment(81, 3, "[[9]]")), Error::Row { row: 2, field: "turn", .. }));
        assert!(matches!(of(Judgment { score: Some(-2.0), ..judgment(81, 1, "") }), Error::Row { row: 2, field: "score", .. }));
        assert!(matches!(Grades::of(&[judgment(81, 1, "none")], &questions()), Err(Error::Empty { .. })));
    }
}
