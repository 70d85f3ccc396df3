//! The reward model at work: on held-out pairs, and on the answers of which the best is chosen.

use std::path::{Path, PathBuf};

use candle_core::Device;
use janus_core::{BenchRecord, Message, PairRecord};
use janus_data::{Tokenizer, read_all, write_all};
use janus_eval::bench::best_of_n::Candidates;
use janus_eval::{Response, VerifiableJudge, score_responses};
use janus_train::{Batch, Decoder};
use serde::Deserialize;
use serde_json::json;

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

/// Scores and rewards every sampled answer of a stage, into `rewards.jsonl`: [`Candidates`]. Returns the stage's folder.
pub fn reward_answers(
    run: &mut RunFolder,
    records: &[BenchRecord],
    records_file: &Path,
    answers: &Path,
    model: &Path,
) -> Result<PathBuf, CommandError> {
    let identity = json!({ "judge": "mini", "reward": "last token" });
    run.stage("reward-answers", &identity, &[("answers", answers), ("model", model), ("records", records_file)], |stage| {
        let drawn = drawn(records, answers)?;
        let conversation = |(record, answer): (&BenchRecord, &Drawn)| {
            let mut messages = record.prompt_messages();
            messages.push(Message::assistant(answer.text.clone()));
            messages
        };
        let all = records.iter().zip(&drawn).flat_map(|(record, answers)| answers.iter().map(move |answer| (record, answer)));
        let mut rewards = RewardModel::load(model)?.rewards(&all.map(conversation).collect::<Vec<_>>())?.into_iter();
        let candidates = |(record, answers): (&BenchRecord, &Vec<Drawn>)| {
            let mut row = Candidates { id: record.id.clone().unwrap_or_default(), rewards: Vec::new(), scores: Vec::new() };
            let mut in_order: Vec<(usize, f64, &Drawn)> = Vec::new();
            for (answer, reward) in answers.iter().zip(rewards.by_ref()) {
                in_order.extend(answer.draws.iter().map(|&draw| (draw, f64::from(reward), answer)));
            }
            in_order.sort_by_key(|(draw, ..)| *draw);
            for (_, reward, answer) in in_order {
                row.rewards.push(reward);
                row.scores.push(answer.scores.clone());
            }
            row
        };
        let rows: Vec<Candidates> = records.iter().zip(&drawn).map(candidates).collect();
        write_all(stage.folder().join("rewards.jsonl"), &rows).failure()
    })
}

/// An answer that was drawn, once or more often, and its scores.
struct Drawn {
    text: String,
    /// Which of the draws.
    draws: Vec<usize>,
    scores: Vec<Option<u8>>,
}

/// The different answers to each record in a stage's folder, scored.
fn drawn(records: &[BenchRecord], answers: &Path) -> Result<Vec<Vec<Drawn>>, CommandError> {
    let sampled: Vec<Sampled> = read_all(answers.join("responses.jsonl")).failure()?;
    let judge = VerifiableJudge::mini();
    let of = |(record, sampled): (&BenchRecord, &Sampled)| -> Result<Vec<Drawn>, CommandError> {
        let mut different: Vec<Drawn> = Vec::new();
        for (draw, answer) in sampled.responses.iter().enumerate() {
            match different.iter_mut().find(|drawn| drawn.text == answer.response) {
                Some(drawn) => drawn.draws.push(draw),
                None => {
                    let response = Response { id: sampled.id.clone(), response: answer.response.clone() };
                    let scored = score_responses(std::slice::from_ref(record), &[response], &judge).failure()?;
                    let scores = scored.rows.into_iter().next().map(|row| row.scores).unwrap_or_default();
                    different.push(Drawn { text: answer.response.clone(), draws: vec![draw], scores });
                }
            }
        }
        Ok(different)
    };
    records.iter().zip(&sampled).map(of).collect()
}
