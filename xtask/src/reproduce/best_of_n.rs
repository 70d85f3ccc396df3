//! The best of many answers, as the reward model has it.

use std::path::{Path, PathBuf};

use candle_core::Device;
use janus_core::{BenchRecord, Message, PairRecord};
use janus_data::{Tokenizer, read_all, write_all};
use janus_eval::{Response, ScoredRow, VerifiableJudge, score_responses};
use janus_train::{Batch, Decoder};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::claims::Scores;
use super::train::{TEMPLATE, TOKENS_AT_ONCE};
use crate::command::{Blame as _, CommandError};
use crate::progress::{Progress, Unit};
use crate::stage::RunFolder;

/// The answers to one record, in the order in which they were drawn.
#[derive(Deserialize)]
struct Sampled {
    id: String,
    responses: Vec<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    response: String,
}

/// What is known of the answers to one record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rewarded {
    /// The record's id.
    pub id: String,
    /// The reward of each answer.
    pub rewards: Vec<f32>,
    /// The four scores of each answer.
    pub scores: Vec<Vec<Option<u8>>>,
}

/// A reward model and its tokenizer.
pub struct RewardModel {
    decoder: Decoder,
    tokenizer: Tokenizer,
}

impl RewardModel {
    /// The model of a stage's folder.
    pub fn load(stage: &Path) -> Result<Self, CommandError> {
        let folder = stage.join("model");
        let decoder = Decoder::load(&folder, &Device::Cpu).and_then(|decoder| decoder.detached()).failure()?;
        Ok(Self { decoder, tokenizer: Tokenizer::read(folder.join("tokenizer.json")).failure()? })
    }

    /// The reward of each conversation, at its last token.
    fn rewards(&self, conversations: &[Vec<Message>]) -> Result<Vec<f32>, CommandError> {
        let rows = self.tokenizer.conversations(TEMPLATE, conversations).failure()?;
        let mut rewards = Vec::with_capacity(rows.len());
        let mut progress = Progress::new("reward", Unit::Count("answers"), rows.len() as u64);
        let mut rest = &rows[..];
        while !rest.is_empty() {
            let mut tokens = 0;
            let fits = rest.iter().take_while(|row| {
                tokens += row.ids.len();
                tokens <= TOKENS_AT_ONCE
            });
            let (now, later) = rest.split_at(fits.count().max(1));
            let batch = Batch::concat(&now.iter().collect::<Vec<_>>());
            let values = self.decoder.values(&batch).failure()?;
            rewards.extend(values.to_vec1::<f32>().failure()?);
            progress.advance(now.len() as u64);
            rest = later;
        }
        progress.finish();
        Ok(rewards)
    }

    /// Whether the chosen response of each pair has the higher reward: 1, or 0.
    pub fn accuracy(&self, pairs: &[PairRecord]) -> Result<Vec<f64>, CommandError> {
        let (chosen, rejected): (Vec<_>, Vec<_>) = pairs.iter().map(PairRecord::conversations).unzip();
        let (chosen, rejected) = (self.rewards(&chosen)?, self.rewards(&rejected)?);
        Ok(chosen.iter().zip(rejected).map(|(&chosen, rejected)| f64::from(u8::from(chosen > rejected))).collect())
    }
}

/// Scores and rewards every sampled answer of a stage. Returns the stage's folder.
pub fn reward_answers(
    run: &mut RunFolder,
    records: &[BenchRecord],
    records_file: &Path,
    answers: &Path,
    model: &Path,
) -> Result<PathBuf, CommandError> {
    let identity = json!({ "judge": "mini", "reward": "last token" });
    run.stage("reward-answers", &identity, &[("answers", answers), ("model", model), ("records", records_file)], |stage| {
        let sampled: Vec<Sampled> = read_all(answers.join("responses.jsonl")).failure()?;
        let conversation = |(record, answer): (&BenchRecord, &Answer)| {
            let mut messages = record.prompt_messages();
            messages.push(Message::assistant(answer.response.clone()));
            messages
        };
        let conversations: Vec<Vec<Message>> = records
            .iter()
            .zip(&sampled)
            .flat_map(|(record, sampled)| sampled.responses.iter().map(move |answer| (record, answer)))
            .map(conversation)
            .collect();
        let rewards = RewardModel::load(model)?.rewards(&conversations)?;
        let mut rows: Vec<Rewarded> =
            sampled.iter().map(|s| Rewarded { id: s.id.clone(), rewards: Vec::new(), scores: Vec::new() }).collect();
        let mut rewards = rewards.into_iter();
        for (row, sampled) in rows.iter_mut().zip(&sampled) {
            row.rewards.extend(rewards.by_ref().take(sampled.responses.len()));
        }
        let most = sampled.iter().map(|sampled| sampled.responses.len()).max().unwrap_or(0);
        for draw in 0..most {
            let drawn = |sampled: &Sampled| Response { id: sampled.id.clone(), response: sampled.responses[draw].response.clone() };
            let responses: Vec<Response> = sampled.iter().map(drawn).collect();
            let scored = score_responses(records, &responses, &VerifiableJudge::mini()).failure()?;
            for (row, scored) in rows.iter_mut().zip(scored.rows) {
                row.scores.push(scored.scores);
            }
        }
        write_all(stage.folder().join("rewards.jsonl"), &rows).failure()
    })
}

/// How an answer is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chooser {
    /// The highest reward, the first of equals.
    Reward,
    /// The best score, the first of equals: no chooser can do better.
    Oracle,
}

/// The scores when the best of the first `n` answers is given.
pub fn best_of(rewarded: &[Rewarded], records: &[BenchRecord], n: usize, chooser: Chooser) -> Scores {
    let total = |scores: &[Option<u8>]| scores.iter().flatten().map(|&score| f64::from(score)).sum::<f64>();
    let best = |row: &Rewarded| {
        let merit = |draw: usize| match chooser {
            Chooser::Reward => f64::from(row.rewards[draw]),
            Chooser::Oracle => total(&row.scores[draw]),
        };
        (1..n.min(row.scores.len())).fold(0, |best, draw| if merit(draw) > merit(best) { draw } else { best })
    };
    let rows = rewarded.iter().zip(records).map(|(row, record)| {
        let scores: Vec<Option<u8>> = row.scores[best(row)].clone();
        ScoredRow::new(row.id.clone(), record.source.clone(), scores)
    });
    Scores { model: format!("best of {n}"), rows: rows.collect() }
}

#[cfg(test)]
mod tests {
    use janus_data::mini::{Mini, Split};

    use super::*;

    #[test]
    fn the_best_of_the_first_n_is_given_and_the_first_of_equals() {
        let records = Mini::new(0).eval(Split::Dev, 1);
        let row = |id: &str, rewards: [f32; 3], scores: [u8; 3]| Rewarded {
            id: id.into(),
            rewards: rewards.into(),
            scores: scores.map(|score| vec![Some(score); 4]).into(),
        };
        let rewarded = [row("a", [0.5, 0.5, 0.9], [1, 5, 3]), row("b", [0.1, 0.2, -1.0], [4, 2, 5]), row("c", [1.0, 0.0, 0.0], [5, 5, 1])];
        let first = |n, chooser| -> Vec<u8> {
            best_of(&rewarded, &records, n, chooser).rows.iter().map(|row| row.scores[0].unwrap()).collect()
        };
        assert_eq!(first(1, Chooser::Reward), [1, 4, 5]);
        assert_eq!(first(2, Chooser::Reward), [1, 2, 5]);
        assert_eq!(first(3, Chooser::Reward), [3, 2, 5]);
        assert_eq!(first(3, Chooser::Oracle), [5, 5, 5]);
        assert_eq!(first(9, Chooser::Oracle), [5, 5, 5]);
    }
}
