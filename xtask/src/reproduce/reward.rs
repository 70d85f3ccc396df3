//! The reward model at work: on held-out pairs, and on the answers of which the best is chosen.

use std::path::{Path, PathBuf};

use candle_core::Device;
use janus_core::{BenchRecord, Message, PairRecord, RewardModel};
use janus_data::stage::RunFolder;
use janus_data::write_all;
use janus_eval::bench::best_of_n::Candidates;
use janus_eval::{Response, VerifiableJudge, score_responses};
use janus_infer::{RewardEngine, RewardOptions};
use serde_json::json;

use super::sampled::{self, Sampled};
use crate::command::{Blame as _, CommandError};
use crate::progress::{Progress, Unit};
use crate::stage::Staged as _;

/// Conversations between two reports of progress.
const AT_ONCE: usize = 64;

/// The reward model of a stage's folder.
fn load(stage: &Path) -> Result<RewardEngine, CommandError> {
    RewardEngine::load(stage.join("model"), &Device::Cpu, RewardOptions::default()).failure()
}

/// The reward of each conversation.
fn rewards(model: &impl RewardModel, conversations: &[Vec<Message>]) -> Result<Vec<f32>, CommandError> {
    let mut rewards = Vec::with_capacity(conversations.len());
    let mut progress = Progress::new("reward", Unit::Count("answers"), conversations.len() as u64);
    for conversations in conversations.chunks(AT_ONCE) {
        for reward in model.rewards(conversations) {
            rewards.push(reward.failure()?);
        }
        progress.advance(conversations.len() as u64);
    }
    progress.finish();
    Ok(rewards)
}

/// Whether a stage's model gives the chosen response of each pair the higher reward: 1, or 0.
pub fn accuracy(stage: &Path, pairs: &[PairRecord]) -> Result<Vec<f64>, CommandError> {
    let model = load(stage)?;
    let (chosen, rejected): (Vec<_>, Vec<_>) = pairs.iter().map(PairRecord::conversations).unzip();
    let (chosen, rejected) = (rewards(&model, &chosen)?, rewards(&model, &rejected)?);
    Ok(chosen.iter().zip(rejected).map(|(&chosen, rejected)| f64::from(u8::from(chosen > rejected))).collect())
}

/// Scores and rewards every sampled answer of a stage, into `rewards.jsonl`: [`Candidates`]. Returns the stage's folder.
pub fn reward_answers(
    run: &mut RunFolder,
    records: &[BenchRecord],
    records_file: &Path,
    answers: &Path,
    model: &Path,
) -> Result<PathBuf, CommandError> {
    let identity = json!({ "judge": "mini", "reward": "of the model's scale" });
    run.stage("reward-answers", &identity, &[("answers", answers), ("model", model), ("records", records_file)], |stage| {
        let drawn = drawn(records, answers)?;
        let conversation = |(record, answer): (&BenchRecord, &Drawn)| {
            let mut messages = record.prompt_messages();
            messages.push(Message::assistant(answer.text.clone()));
            messages
        };
        let all = records.iter().zip(&drawn).flat_map(|(record, answers)| answers.iter().map(move |answer| (record, answer)));
        let mut rewards = rewards(&load(model)?, &all.map(conversation).collect::<Vec<_>>())?.into_iter();
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
    .staged()
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
    let sampled = sampled::read(answers)?;
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
