//! Requests as JSON: what a client asks, read and checked.
//!
//! Fields that are not known are passed over, as OpenAI does; a known field of a wrong type or value is an error that
//! names it. What would change the answer and is not offered here is refused rather than passed over.

mod chat;
mod completion;
mod fields;
mod sampling;

use std::fmt;

use hyper::StatusCode;
use janus_core::{Message, SamplingParams};
use serde::de::DeserializeOwned;

use super::error::ApiError;

pub(super) use chat::chat;
pub(super) use completion::completion;

/// A request, read and in range.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    /// One, or several of a completion.
    pub prompts: Vec<Prompt>,
    /// Of each prompt; with `n` candidates if a best of them is asked for.
    pub sampling: SamplingParams,
    /// Whether the request has a seed of its own.
    pub seeded: bool,
    pub delivery: Delivery,
    /// The system message that was composed of preferences.
    pub system: Option<String>,
}

/// What a model is given.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Prompt {
    Chat(Vec<Message>),
    Text(String),
    Ids(Vec<u32>),
}

/// The field that prompts stand in.
#[derive(Debug, Clone, Copy)]
pub(super) struct PromptField {
    pub name: &'static str,
    /// Whether there are several of them.
    pub several: bool,
}

impl PromptField {
    /// The field of one prompt.
    pub fn at(self, prompt: usize) -> String {
        if self.several { format!("{}[{prompt}]", self.name) } else { self.name.into() }
    }
}

/// How an answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    Whole,
    /// As it is written, with a last chunk that counts tokens if `usage`.
    Stream {
        usage: bool,
    },
    /// The `keep` best of all candidates by the reward model.
    Best {
        keep: usize,
    },
}

/// What the server has, which decides what can be asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer<'a> {
    pub model: &'a str,
    pub context: usize,
    pub has_reward: bool,
    /// What fields that are not given stand for.
    pub defaults: &'a SamplingParams,
}

/// Another model than the one there is (404).
pub(super) fn no_model(asked: &str, model: &str) -> ApiError {
    let asked: String = asked.chars().take(200).collect();
    let message = format!("there is no model \"{asked}\" here: this server has \"{model}\"");
    ApiError::field("model", message).status(StatusCode::NOT_FOUND).code("model_not_found")
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        // serde_json says where it stopped, which is of use for broken JSON only.
        let place = format!(" at line {} column {}", inner.line(), inner.column());
        let said = inner.to_string();
        if !inner.is_data() {
            return ApiError::new(StatusCode::BAD_REQUEST, format!("the body is not JSON: {said}")).code("invalid_json");
        }
        let said = said.strip_suffix(&place).unwrap_or(&said);
        if let Some(missing) = said.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
            let whole = if path == "." { missing.to_string() } else { format!("{path}.{missing}") };
            return ApiError::field(whole.as_str(), format!("{whole} is missing")).code("missing_required_parameter");
        }
        if path == "." {
            return ApiError::new(StatusCode::BAD_REQUEST, format!("the body cannot be read: {said}"));
        }
        ApiError::field(path.as_str(), format!("{path}: {said}"))
    })?;
    json.end().map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, format!("the body is not JSON: {error}")).code("invalid_json"))?;
    Ok(value)
}

fn out_of_range(field: &str, got: impl fmt::Display, expected: &str) -> ApiError {
    ApiError::field(field, format!("{field} is {got}: expected {expected}"))
}

/// An OpenAI parameter that is asked for and not offered.
fn refuse(field: &str, asked: bool) -> Result<(), ApiError> {
    let error = || ApiError::field(field, format!("{field} is not offered by this server: leave it out")).code("unsupported_parameter");
    if asked { Err(error()) } else { Ok(()) }
}
