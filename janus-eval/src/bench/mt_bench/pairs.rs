//! MT-Bench's pairwise modes: every model against a baseline, or against all others.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use janus_data::{read_all, write_all};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::bench::evaluation::{Evaluation, Numbers, flat, in_file, part};
use crate::join::text_or_number;
use crate::protocol::{JudgedCase, PairOutcome};
use crate::run::CaseRun;
use crate::{Error, Result};

/// One row of a file of pairwise judgments: a turn of a question, judged in both orders.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct MtBenchPairJudgment {
    /// The question's number.
    #[serde(deserialize_with = "text_or_number")]
    pub question_id: String,
    /// 1 or 2.
    pub turn: usize,
    /// The model shown first in the first game.
    pub model_1: String,
    /// The model shown second in the first game.
    pub model_2: String,
    /// The winner of the first game.
    pub g1_winner: GameWinner,
    /// The winner of the second game, in which `model_2` was shown first.
    pub g2_winner: GameWinner,
    /// The judge's model and its prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<[String; 2]>,
    /// The judge's text in the first game.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub g1_judgment: Option<String>,
    /// The judge's text in the second game.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub g2_judgment: Option<String>,
}

impl MtBenchPairJudgment {
    /// The row of a judged case; `models` are the model and its opponent.
    fn of(judged: &JudgedCase, models: [&str; 2], judge: &str) -> Self {
        let winner = |game: usize| match judged.calls.get(game).and_then(|call| call.outcome) {
            Some(PairOutcome::Win) => GameWinner::Model1,
            Some(PairOutcome::Loss) => GameWinner::Model2,
            Some(PairOutcome::Tie) => GameWinner::Tie,
            None => GameWinner::Error,
        };
        let text = |game: usize| judged.calls.get(game).and_then(|call| call.text.clone());
        Self {
            question_id: judged.case.question.clone(),
            turn: judged.case.turn.unwrap_or(1),
            model_1: models[0].into(),
            model_2: models[1].into(),
            g1_winner: winner(0),
            g2_winner: winner(1),
            judge: Some([judge.into(), judged.prompt()]),
            g1_judgment: text(0),
            g2_judgment: text(1),
        }
    }
}

/// Writes the file of pairwise judgments of a run that
/// [`Pairwise::mt_bench`](crate::protocol::Pairwise::mt_bench) judged, in any format of [`write_all`].
///
/// # Errors
/// [`Error::File`].
pub fn write_pairs(run: &CaseRun, path: impl AsRef<Path>) -> Result<()> {
    let head = &run.result.head;
    let models = [head.model.as_str(), head.opponent.as_deref().unwrap_or_default()];
    Ok(write_all(
        path,
        &run.rows
            .iter()
            .map(|row| MtBenchPairJudgment::of(row, models, &head.settings.judge))
            .collect::<Vec<_>>(),
    )?)
}

/// The scores of all models in a file of pairwise judgments. A row is
/// `{question_id, turn, model_1, model_2, g1_winner, g2_winner}`, where a winner is `model_1`,
/// `model_2`, `tie` or `error`. With a `baseline`, only rows against that model count. A model wins a
/// row if it wins in both orders; if the orders disagree, the row is a tie.
///
/// # Errors
/// [`Error::File`]; with the file's path [`Error::Row`] for a turn that is not 1 or 2, or a model
/// against itself; [`Error::Empty`] if no row counts.
pub fn evaluate_pairs(judgments: impl AsRef<Path>, baseline: Option<&str>) -> Result<Evaluation> {
    let path = judgments.as_ref();
    let judgments: Vec<MtBenchPairJudgment> = read_all(path)?;
    in_file(path, PairScores::of(&judgments, baseline))?.evaluation()
}

/// The winner of a game.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum GameWinner {
    /// The row's `model_1`, in whatever order the models were shown.
    #[serde(rename = "model_1")]
    Model1,
    /// The row's `model_2`.
    #[serde(rename = "model_2")]
    Model2,
    /// Neither.
    Tie,
    /// The judge's text has no verdict.
    Error,
}

/// A model's score against its opponents.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct PairScore {
    /// The model.
    pub model: String,
    /// Rows that it won in both orders.
    pub win: usize,
    /// Rows that it lost in both orders.
    pub loss: usize,
    /// All other rows: a tie, or orders that disagree.
    pub tie: usize,
    /// win / n.
    pub win_rate: f64,
    /// loss / n.
    pub loss_rate: f64,
    /// (win + tie / 2) / n.
    pub win_rate_adjusted: f64,
}

/// The scores of all models in a file of pairwise judgments.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct PairScores {
    /// Rows.
    pub rows: usize,
    /// Rows in which a game has no verdict; no score counts them.
    pub failed: usize,
    /// Rows without the baseline, if there is one; no score counts them.
    pub without_baseline: usize,
    /// The models, the best adjusted win rate first.
    pub models: Vec<PairScore>,
}

impl PairScores {
    /// The scores over the rows with the baseline, or over all rows without one.
    fn of(judgments: &[MtBenchPairJudgment], baseline: Option<&str>) -> Result<Self> {
        let (mut failed, mut without_baseline) = (0, 0);
        // Wins, losses, ties.
        let mut tallies: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
        for (index, row) in judgments.iter().enumerate() {
            if !(1..=2).contains(&row.turn) {
                return Err(Error::row(index, "turn", "1 or 2", row.turn));
            }
            if row.model_1 == row.model_2 {
                return Err(Error::row(index, "model_2", "a model other than model_1", &row.model_2));
            }
            if row.g1_winner == GameWinner::Error || row.g2_winner == GameWinner::Error {
                failed += 1;
                continue;
            }
            if baseline.is_some_and(|baseline| row.model_1 != baseline && row.model_2 != baseline) {
                without_baseline += 1;
                continue;
            }
            let places = match (row.g1_winner, row.g2_winner) {
                (GameWinner::Model1, GameWinner::Model1) => [0, 1],
                (GameWinner::Model2, GameWinner::Model2) => [1, 0],
                _ => [2, 2],
            };
            for (model, place) in [&row.model_1, &row.model_2].into_iter().zip(places) {
                tallies.entry(model).or_default()[place] += 1;
            }
        }
        if tallies.is_empty() {
            return Err(Error::Empty { what: "a pairwise score without verdicts" });
        }
        let score = |(model, [win, loss, tie]): (&str, [usize; 3])| {
            let n = (win + loss + tie) as f64;
            PairScore {
                model: model.into(),
                win,
                loss,
                tie,
                win_rate: win as f64 / n,
                loss_rate: loss as f64 / n,
                win_rate_adjusted: (win as f64 + 0.5 * tie as f64) / n,
            }
        };
        let mut models: Vec<PairScore> =
            tallies.into_iter().filter(|(model, _)| baseline != Some(model)).map(score).collect();
        // The sort is stable: models with equal rates stay in the order of their names.
        models.sort_by(|a, b| b.win_rate_adjusted.total_cmp(&a.win_rate_adjusted));
        Ok(Self { rows: judgments.len(), failed, without_baseline, models })
    }
}

impl Numbers for PairScores {
    fn numbers(&self) -> Result<Map<String, Value>> {
        flat([part(self)])
    }
}

impl fmt::Display for PairScores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} rows, {} without a verdict, {} without the baseline",
            self.rows, self.failed, self.without_baseline
        )?;
        write!(
            f,
            "{:32} {:>5} {:>5} {:>5} {:>8}  (win + half a tie)",
            "model", "win", "loss", "tie", "adjusted"
        )?;
        self.models.iter().try_for_each(|score| {
            write!(
                f,
                "\n{:32} {:5} {:5} {:5} {:8.4}",
                score.model, score.win, score.loss, score.tie, score.win_rate_adjusted
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::protocol::{Case, JudgedCall};

    use super::*;

    fn row(models: [&str; 2], winners: [&str; 2]) -> MtBenchPairJudgment {
        let text = serde_json::json!({
            "question_id": 81, "turn": 2, "model_1": models[0], "model_2": models[1], "g1_winner": winners[0], "g2_winner": winners[1],
            "judge": ["gpt-4", "pair-v2"],
        });
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn orders_that_disagree_are_a_tie() {
        let rows = [row(["a", "b"], ["model_1", "model_1"]), row(["a", "b"], ["model_1", "model_2"])];
        let scores = PairScores::of(&rows, None).unwrap();
        assert_eq!((scores.models[0].model.as_str(), scores.models[0].win_rate_adjusted), ("a", 0.75));
    }

    #[test]
    fn a_baseline_selects_its_rows_and_is_not_listed_itself() {
        let rows = [
            row(["a", "base"], ["model_1", "model_1"]),
            row(["base", "a"], ["model_1", "model_1"]),
            row(["a", "base"], ["tie", "model_1"]),
            row(["a", "b"], ["model_2", "model_2"]),
            row(["b", "base"], ["error", "model_1"]),
            row(["base", "b"], ["model_2", "model_2"]),
        ];
        let scores = PairScores::of(&rows, Some("base")).unwrap();
        let fields = |score: &PairScore| {
            (score.model.clone(), score.win, score.loss, score.tie, score.win_rate_adjusted)
        };
        assert_eq!((scores.rows, scores.failed, scores.without_baseline), (6, 1, 1));
        assert_eq!(
            scores.models.iter().map(fields).collect::<Vec<_>>(),
            [("b".into(), 1, 0, 0, 1.0), ("a".into(), 1, 1, 1, 0.5)]
        );
        let all = PairScores::of(&rows, None).unwrap();
        assert_eq!(all.models.iter().map(fields).collect::<Vec<_>>()[0], ("b".into(), 2, 0, 0, 1.0));
        assert_eq!(all.models.len(), 3);
    }

    #[test]
    fn winners_are_named_independently_of_the_order() {
        let judged = |outcomes: [Option<PairOutcome>; 2]| {
            let call = |outcome, text: Option<&str>| JudgedCall {
                outcome,
                text: text.map(Into::into),
                prompt: Some("pair-v2-multi-turn".into()),
                ..JudgedCall::default()
            };
            let case = Case { question: "81".into(), turn: Some(2), ..Case::new("81/turn-2", Vec::new()) };
            JudgedCase {
                case,
                values: Vec::new(),
                calls: vec![call(outcomes[0], Some("first")), call(outcomes[1], None)],
            }
        };
        let of = |outcomes| MtBenchPairJudgment::of(&judged(outcomes), ["a", "b"], "gpt-4");
        let won = of([Some(PairOutcome::Win), Some(PairOutcome::Win)]);
        assert_eq!((won.g1_winner, won.g2_winner), (GameWinner::Model1, GameWinner::Model1));
        assert_eq!(
            (won.g1_judgment.as_deref(), won.judge),
            (Some("first"), Some(["gpt-4".into(), "pair-v2-multi-turn".into()]))
        );
        let first = of([Some(PairOutcome::Win), Some(PairOutcome::Loss)]);
        assert_eq!((first.g1_winner, first.g2_winner), (GameWinner::Model1, GameWinner::Model2));
        let none = of([Some(PairOutcome::Tie), None]);
        assert_eq!((none.g1_winner, none.g2_winner), (GameWinner::Tie, GameWinner::Error));
        let text = serde_json::to_string(&none).unwrap();
        assert!(
            text.contains(r#""g1_winner":"tie","g2_winner":"error","judge":["gpt-4","pair-v2-multi-turn"],"g1_judgment":"first"}"#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<MtBenchPairJudgment>(&text).unwrap(), none);
    }

    #[test]
    fn rows_that_cannot_be_counted_are_named() {
        let same = PairScores::of(&[row(["a", "a"], ["tie", "tie"])], None);
        assert!(matches!(same, Err(Error::Row { row: 1, field: "model_2", .. })), "{same:?}");
        let third =
            PairScores::of(&[MtBenchPairJudgment { turn: 3, ..row(["a", "b"], ["tie", "tie"]) }], None);
        assert!(matches!(third, Err(Error::Row { field: "turn", .. })), "{third:?}");
        assert!(matches!(
            PairScores::of(&[row(["a", "b"], ["tie", "error"])], None),
            Err(Error::Empty { .. })
        ));
        assert!(matches!(
            PairScores::of(&[row(["a", "b"], ["tie", "tie"])], Some("c")),
            Err(Error::Empty { .. })
        ));
    }
}
