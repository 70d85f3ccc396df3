//! Converts answers to rows of a journal or an output file, and back.

use std::path::Path;

use janus_core::{BestOfN, ChatRequest, Generation, Role};
use serde_json::{Value, json};

use crate::Result;
use crate::files::rule;

/// The samples generated for a request.
pub(super) enum Sampled {
    /// Every sample.
    All(Vec<Generation>),
    /// Every sample with its reward, and the index of the best.
    Best(BestOfN),
}

impl Sampled {
    pub(super) fn generations(&self) -> &[Generation] {
        match self {
            Self::All(generations) => generations,
            Self::Best(best) => &best.candidates,
        }
    }

    /// The samples that the conversation may continue with: all, or the best of N.
    pub(super) fn into_answers(self) -> Vec<Generation> {
        match self {
            Self::All(generations) => generations,
            Self::Best(best) => vec![best.best().clone()],
        }
    }
}

/// The output row of an answered request.
pub(super) fn row(request: &ChatRequest, with_system: bool, answer: &Sampled) -> Value {
    let mut row = json!({ "id": request.id });
    if let Some(system) = request.messages.first().filter(|first| with_system && first.role == Role::System) {
        row["system"] = json!(system.content);
    }
    match answer {
        Sampled::All(generations) if request.sampling.n == 1 => {
            generations.iter().for_each(|one| add(&mut row, one))
        }
        Sampled::All(generations) => row["responses"] = generations.iter().map(fields).collect(),
        Sampled::Best(best) => {
            add(&mut row, best.best());
            row["reward"] = json!(best.best_reward());
            row["best"] = json!(best.best);
            row["responses"] = rewarded(best);
        }
    }
    row
}

/// The generations in a row written by [`row`]. `None` for any other row, whose answer is then generated
/// again.
pub(super) fn generations(row: &str) -> Option<Vec<Generation>> {
    parsed(&serde_json::from_str(row).ok()?)
}

/// The answers in a file of rows ([`Answered::rows`](super::Answered::rows)): for each row its samples,
/// in the order in which they were generated. For a best-of-N row, only the best.
///
/// # Errors
/// [`Error::File`](crate::Error::File) for a file that cannot be read, or a row without an answer.
pub fn read_answers(path: impl AsRef<Path>) -> Result<Vec<Vec<Generation>>> {
    let path = path.as_ref();
    let rows: Vec<Value> = janus_data::read_all(path)?;
    let missing = |row: usize| {
        rule(path, row as u64 + 1, None, Some("response".into()), "the row has no answer".into())
    };
    rows.iter().enumerate().map(|(row, fields)| parsed(fields).ok_or_else(|| missing(row))).collect()
}

fn parsed(row: &Value) -> Option<Vec<Generation>> {
    let count = |value: &Value| value.as_u64().and_then(|count| usize::try_from(count).ok());
    let generation = |fields: &Value| {
        let (prompt_tokens, completion_tokens) =
            (count(&fields["prompt_tokens"])?, count(&fields["completion_tokens"])?);
        let finish_reason = serde_json::from_value(fields["finish_reason"].clone()).ok()?;
        Some(
            Generation::new(fields["response"].as_str()?)
                .with_finish_reason(finish_reason)
                .with_tokens(prompt_tokens, completion_tokens),
        )
    };
    match row["responses"].as_array() {
        Some(all) if row["best"].is_null() => all.iter().map(generation).collect(),
        _ => Some(vec![generation(row)?]),
    }
}

fn add(row: &mut Value, generation: &Generation) {
    for (key, value) in fields(generation).as_object().into_iter().flatten() {
        row[key] = value.clone();
    }
}

fn fields(generation: &Generation) -> Value {
    json!({
        "response": generation.text,
        "finish_reason": generation.finish_reason,
        "prompt_tokens": generation.prompt_tokens,
        "completion_tokens": generation.completion_tokens,
    })
}

/// All candidates with their rewards, as in a row's `responses`.
pub fn rewarded(best: &BestOfN) -> Value {
    let with_reward = |(generation, reward): (&Generation, &f32)| {
        let mut all = fields(generation);
        all["reward"] = json!(reward);
        all
    };
    best.candidates.iter().zip(&best.rewards).map(with_reward).collect()
}

#[cfg(test)]
mod tests {
    use janus_core::{Message, SamplingParams};

    use super::*;

    #[test]
    fn rows_round_trip_and_a_row_without_an_answer_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        let request = |id: &str, n| {
            ChatRequest::new(id, [Message::user("?")])
                .with_sampling(SamplingParams { n, ..SamplingParams::default() })
        };
        let one = vec![Generation::new("a").with_tokens(1, 2)];
        let two = vec![Generation::new("b"), Generation::new("c")];
        let rows = [
            row(&request("1", 1), false, &Sampled::All(one.clone())),
            row(&request("2", 2), false, &Sampled::All(two.clone())),
        ];
        janus_data::write_all(&path, &rows).unwrap();
        assert_eq!(read_answers(&path).unwrap(), [one, two]);
        janus_data::write_all(&path, &[json!({ "id": "1", "error": "no" })]).unwrap();
        assert!(
            read_answers(&path).unwrap_err().to_string().contains("rows.jsonl, row 1, field \"response\"")
        );
    }
}
