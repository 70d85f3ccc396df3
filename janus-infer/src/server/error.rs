//! The errors of a server, and those of its requests.

use std::net::SocketAddr;
use std::path::PathBuf;

use hyper::StatusCode;
use janus_core::ModelError;
use serde_json::{Value, json};

/// Why a server does not start, or ended without being stopped. No variant holds a token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// An option that cannot be used.
    #[error("{field} is {got}: expected {expected}")]
    Setting {
        /// The option's name.
        field: &'static str,
        /// Its value; for a token, only a description.
        got: String,
        /// The values that can be used.
        expected: &'static str,
    },
    /// A file that cannot be read.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        cause: std::io::Error,
    },
    /// An address that cannot be listened on.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        cause: std::io::Error,
    },
    /// The system could not provide a thread, timer or signal handler.
    #[error("the server cannot run: {0}")]
    Run(std::io::Error),
    /// The engine's thread panicked.
    #[error("the engine's thread panicked, which is a bug; all running requests were answered with an error")]
    Engine,
}

/// An error response: a status and `{"error": {message, type, param, code}}`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ApiError {
    pub status: StatusCode,
    message: String,
    param: Option<String>,
    code: Option<&'static str>,
    /// Seconds after which the client may retry.
    pub retry_after: Option<u64>,
}

impl ApiError {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code: None, retry_after: None }
    }

    /// A field that has the wrong type or value (400).
    pub fn field(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..Self::new(StatusCode::BAD_REQUEST, message) }
    }

    pub fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    pub fn status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// The queue is full (429).
    pub fn busy(limit: usize, retry_after: u64) -> Self {
        let message = format!("the queue is full with {limit} requests: try again in {retry_after} s");
        Self {
            retry_after: Some(retry_after),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, message).code("rate_limit_exceeded")
        }
    }

    /// The engine's thread is gone (503).
    pub fn gone() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the engine has stopped").code("engine_stopped")
    }

    /// The error of a model, for the field of the prompt. The request's id is internal and left out.
    pub fn model(error: &ModelError, prompt: impl Into<String>) -> Self {
        match error {
            ModelError::Invalid { rule, .. } => Self::field(prompt, rule.to_string()),
            ModelError::Request { reason, .. } => Self::field(prompt, reason.as_str()),
            ModelError::TooLong { prompt_tokens, context, .. } => {
                let message = format!(
                    "the prompt has {prompt_tokens} tokens and the model's context is {context}: shorten it"
                );
                Self::field(prompt, message).code("context_length_exceeded")
            }
            error => {
                let mut message = "the model failed".to_string();
                let mut next = std::error::Error::source(error);
                while let Some(source) = next {
                    message = format!("{message}: {source}");
                    next = source.source();
                }
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
            }
        }
    }

    /// OpenAI's name for the kind of error.
    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        }
    }

    pub fn body(&self) -> Value {
        json!({ "error": { "message": self.message, "type": self.kind(), "param": self.param, "code": self.code } })
    }
}
