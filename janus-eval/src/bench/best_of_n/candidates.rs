//! Sampled answers as candidates: each is scored by a judge and by a reward model.

use std::collections::HashMap;

use janus_core::{BenchRecord, Judge, Message, PairRecord, RewardModel, error_chain};

use super::Candidates;
use crate::score::score_responses;
use crate::{Error, Response, Result};

/// Conversations in one call of the reward model.
const AT_ONCE: usize = 64;

/// Computes the judge's scores and the reward model's score (the reward) of each sampled answer of each
/// record, in sampling order. Equal answers to a record are scored once. `progress` is called with the
/// number of answers that the reward model has scored and the number of all answers.
///
/// # Errors
/// [`Error::Lengths`] if the numbers of records and of lists of answers differ; those of
/// [`score_responses`]; [`Error::Reward`] if the reward model fails.
pub fn candidates(
    records: &[BenchRecord],
    answers: &[Vec<String>],
    reward: &dyn RewardModel,
    judge: &dyn Judge,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Candidates>> {
    if records.len() != answers.len() {
        return Err(Error::Lengths { left: records.len(), right: answers.len() });
    }
    let drawn: Vec<Vec<Drawn<'_>>> = records
        .iter()
        .zip(answers)
        .map(|(record, answers)| distinct(record, answers, judge))
        .collect::<Result<_>>()?;
    let conversation = |(record, answer): (&BenchRecord, &Drawn<'_>)| {
        let mut messages = record.prompt_messages();
        messages.push(Message::assistant(answer.text));
        messages
    };
    let all = records
        .iter()
        .zip(&drawn)
        .flat_map(|(record, answers)| answers.iter().map(move |answer| (record, answer)));
    let mut rewards = rewards(reward, &all.map(conversation).collect::<Vec<_>>(), progress)?.into_iter();
    let row = |(record, drawn): (&BenchRecord, &Vec<Drawn<'_>>)| {
        let mut in_order: Vec<(usize, f64, &Drawn<'_>)> = Vec::new();
        for (answer, reward) in drawn.iter().zip(rewards.by_ref()) {
            in_order.extend(answer.draws.iter().map(|&draw| (draw, f64::from(reward), answer)));
        }
        in_order.sort_by_key(|(draw, ..)| *draw);
        Candidates {
            id: record.id.clone().unwrap_or_default(),
            rewards: in_order.iter().map(|(_, reward, _)| *reward).collect(),
            scores: in_order.iter().map(|(.., answer)| answer.scores.clone()).collect(),
        }
    };
    Ok(records.iter().zip(&drawn).map(row).collect())
}

/// Whether a reward model gives the chosen response of each pair the higher reward. `progress` is as in
/// [`candidates`].
///
/// # Errors
/// [`Error::Reward`] if the reward model fails.
pub fn prefers_chosen(
    reward: &dyn RewardModel,
    pairs: &[PairRecord],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<bool>> {
    let (chosen, rejected): (Vec<_>, Vec<_>) = pairs.iter().map(PairRecord::conversations).unzip();
    let rewards = rewards(reward, &[chosen, rejected].concat(), progress)?;
    let (chosen, rejected) = rewards.split_at(pairs.len());
    Ok(chosen.iter().zip(rejected).map(|(chosen, rejected)| chosen > rejected).collect())
}

/// A distinct answer and its scores.
struct Drawn<'a> {
    text: &'a str,
    /// Indices of the draws with this text.
    draws: Vec<usize>,
    scores: Vec<Option<u8>>,
}

/// Scores the distinct answers to a record, in the order of their first draw.
fn distinct<'a>(record: &BenchRecord, answers: &'a [String], judge: &dyn Judge) -> Result<Vec<Drawn<'a>>> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut distinct: Vec<Drawn<'a>> = Vec::new();
    for (draw, text) in answers.iter().enumerate() {
        if let Some(&place) = places.get(text.as_str()) {
            distinct[place].draws.push(draw);
            continue;
        }
        places.insert(text, distinct.len());
        let response = Response { id: record.id.clone().unwrap_or_default(), response: text.clone() };
        let scored = score_responses(std::slice::from_ref(record), &[response], judge)?;
        let scores = scored.rows.into_iter().next().map(|row| row.scores).unwrap_or_default();
        distinct.push(Drawn { text, draws: vec![draw], scores });
    }
    Ok(distinct)
}

fn rewards(
    model: &dyn RewardModel,
    conversations: &[Vec<Message>],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<f32>> {
    let mut rewards = Vec::with_capacity(conversations.len());
    for conversations_at_once in conversations.chunks(AT_ONCE) {
        for reward in model.rewards(conversations_at_once) {
            rewards.push(reward.map_err(|error| Error::Reward {
                model: model.name().into(),
                reason: error_chain(&error),
            })?);
        }
        progress(rewards.len(), conversations.len());
    }
    Ok(rewards)
}

#[cfg(test)]
mod tests {
    use janus_core::{JudgeRequest, ModelError, RubricVerdict, Score, Verdict};
    use janus_data::mini::{Mini, Split};

    use super::*;

    /// Rewards by length, and counts the conversations that it rewards.
    #[derive(Default)]
    struct Length(std::cell::Cell<usize>);

    impl RewardModel for Length {
        fn name(&self) -> &str {
            "length"
        }

        fn rewards(&self, conversations: &[Vec<Message>]) -> Vec<Result<f32, ModelError>> {
            self.0.set(self.0.get() + conversations.len());
            conversations
                .iter()
                .map(|messages| Ok(messages.last().map_or(0.0, |last| last.content.len() as f32)))
                .collect()
        }
    }

    /// Scores every rubric 3.
    struct Three;

    impl Judge for Three {
        fn name(&self) -> &str {
            "three"
        }

        fn judge(&self, requests: &[JudgeRequest<'_>]) -> Vec<Result<Verdict, ModelError>> {
            let rubric = |_| RubricVerdict { score: Score::nearest(3), feedback: String::new() };
            requests
                .iter()
                .map(|request| Ok(Verdict { rubrics: request.record.rubrics.iter().map(rubric).collect() }))
                .collect()
        }
    }

    #[test]
    fn equal_answers_are_rewarded_once_and_keep_the_order_of_their_draws() {
        let records = Mini::new(1).eval(Split::Dev, 1);
        let answers: Vec<Vec<String>> =
            records.iter().map(|_| ["bb", "a", "bb"].map(String::from).into()).collect();
        let (model, mut last) = (Length::default(), (0, 0));
        let rows =
            candidates(&records, &answers, &model, &Three, &mut |done, all| last = (done, all)).unwrap();
        assert_eq!((rows.len(), &rows[0].rewards[..]), (records.len(), &[2.0, 1.0, 2.0][..]));
        assert_eq!(rows[0].scores, vec![vec![Some(3); records[0].rubrics.len()]; 3]);
        assert_eq!((model.0.get(), last), (2 * records.len(), (2 * records.len(), 2 * records.len())));
        let error = candidates(&records, &answers[1..], &model, &Three, &mut |_, _| {}).unwrap_err();
        assert!(matches!(error, Error::Lengths { .. }));
    }
}
