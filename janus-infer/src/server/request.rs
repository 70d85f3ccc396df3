//! Parsing and validation of requests.
//!
//! Unknown fields are ignored, as vLLM does. A known field with a wrong type or value is an error that
//! names it. Fields of OpenAI and vLLM that would change the answer and are not supported are refused rather
//! than ignored.

mod chat;
mod completion;
mod fields;
mod sampling;
mod unsupported;

use std::fmt;

use hyper::StatusCode;
use janus_core::{Message, SamplingParams};
use serde::de::DeserializeOwned;

use super::error::ApiError;
use fields::Object;

pub(super) use chat::chat;
pub(super) use completion::completion;

/// A validated request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct GenerationRequest {
    /// One prompt; a completion may have several.
    pub prompts: Vec<Prompt>,
    /// The parameters for each prompt; for `best_of`, `n` is the number of candidates.
    pub sampling: SamplingParams,
    /// Whether the request states a seed.
    pub seeded: bool,
    pub delivery: Delivery,
    /// The system message that was composed from preferences.
    pub system: Option<String>,
    /// Whether a completion begins with its prompt.
    pub echo: bool,
}

/// The input of a generation.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Prompt {
    Chat(Vec<Message>),
    /// A conversation whose last message the model continues.
    Unfinished(Vec<Message>),
    Text(String),
    Ids(Vec<u32>),
}

/// The field with the prompts, for error responses.
#[derive(Debug, Clone, Copy)]
pub(super) struct PromptField {
    pub name: &'static str,
    /// Whether it is a list of prompts.
    pub several: bool,
}

impl PromptField {
    /// The name of one prompt's field.
    pub fn at(self, prompt: usize) -> String {
        if self.several { format!("{}[{prompt}]", self.name) } else { self.name.into() }
    }
}

/// How a response is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    Whole,
    /// As a stream of events, with the usage in the last chunk if `usage`.
    Stream {
        usage: bool,
    },
    /// The `keep` candidates with the highest rewards.
    Best {
        keep: usize,
    },
}

/// The server's model and defaults, against which requests are validated.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServedModel<'a> {
    pub model: &'a str,
    pub context: usize,
    /// Number of tokens of the model.
    pub vocab: usize,
    pub has_reward: bool,
    /// The values of missing fields.
    pub defaults: &'a SamplingParams,
}

/// The error of an unknown model (404).
pub(super) fn no_model(requested: &str, model: &str) -> ApiError {
    let requested: String = requested.chars().take(200).collect();
    let message = format!("unknown model \"{requested}\": this server has \"{model}\"");
    ApiError::field("model", message).status(StatusCode::NOT_FOUND).code("model_not_found")
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let Object(value) = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        // serde_json's message ends with the position, which is useful only for invalid JSON.
        let position = format!(" at line {} column {}", inner.line(), inner.column());
        let message = inner.to_string();
        if !inner.is_data() {
            return ApiError::new(StatusCode::BAD_REQUEST, format!("the body is not JSON: {message}"))
                .code("invalid_json");
        }
        let message = message.strip_suffix(&position).unwrap_or(&message);
        if let Some(missing) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'))
        {
            let whole = if path == "." { missing.to_string() } else { format!("{path}.{missing}") };
            return ApiError::field(whole.as_str(), format!("{whole} is missing"))
                .code("missing_required_parameter");
        }
        if path == "." {
            return ApiError::new(
                StatusCode::BAD_REQUEST,
                format!("the body is not a valid request: {message}"),
            );
        }
        ApiError::field(path.as_str(), format!("{path}: {message}"))
    })?;
    json.end().map_err(|error| {
        ApiError::new(StatusCode::BAD_REQUEST, format!("the body is not JSON: {error}")).code("invalid_json")
    })?;
    Ok(value)
}

fn out_of_range(field: &str, got: impl fmt::Display, expected: &str) -> ApiError {
    ApiError::field(field, format!("{field} is {got}: expected {expected}"))
}

/// Refuses a parameter of OpenAI that is not supported, if the request uses it.
fn refuse(field: &str, used: bool) -> Result<(), ApiError> {
    let error = || {
        ApiError::field(field, format!("{field} is not supported by this server: leave it out"))
            .code("unsupported_parameter")
    };
    if used { Err(error()) } else { Ok(()) }
}
