//! A client of OpenAI-compatible APIs, as a [`ChatModel`].
//!
//! * [`RemoteModel`]: sends requests, several at a time, within rate limits and a budget.
//! * [`batch`]: writes the input files of the Batch API and reads its output files.
//! * [`ApiKey`], [`Prices`]: a key that is never printed, and the prices of tokens.
//!
//! Requests are retried where that can help: after 408, 409, 425, 429 and 5xx, a lost connection, a
//! timeout, or a response that is not valid JSON, with the delay that the server requests or exponential
//! backoff with jitter. Other complete error responses (4xx) are not retried. Wrap the model in a
//! [`janus_data::Journaled`] to store every response, so that it is never paid for again, in this run or
//! a later one (`examples/remote.rs`).
//!
//! ```no_run
//! use janus_core::{ChatModel, ChatRequest, Message};
//! use janus_infer::remote::{RemoteModel, RemoteOptions};
//!
//! // Reads OPENAI_BASE_URL and OPENAI_API_KEY, as the official clients do.
//! let model = RemoteModel::new("gpt-4-0125-preview", RemoteOptions::from_env()?)?;
//! let request = ChatRequest::new("1", [Message::user("Hi")]);
//! println!("{:?}", model.generate(&[request])[0]);
//! # Ok::<(), janus_infer::remote::RemoteError>(())
//! ```

pub mod batch;
mod budget;
mod error;
mod request;
mod response;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use janus_core::{ChatModel, ChatRequest, Generation, ModelError};
use janus_data::http::{Client, ClientOptions, Failed, HttpError, each, helps_status};

pub use budget::{Prices, Usage};
pub use error::{BatchProblem, NoAnswer, RemoteError, RequestProblem};
pub use janus_data::http::{ApiKey, Backoff};

use budget::Budget;
use response::Answer;

/// The endpoint that requests go to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Endpoint {
    /// `/chat/completions`: a response to a conversation.
    #[default]
    Chat,
    /// `/completions`: the continuation of a plain text, without a chat template. The request must have
    /// one message, the text, and no log-probabilities. Tag the journal with the endpoint using
    /// [`CallJournal::of_endpoint`](janus_data::CallJournal::of_endpoint).
    Completions,
}

impl Endpoint {
    /// Its path below the base URL.
    fn path(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Completions => "/completions",
        }
    }
}

/// Whether a server supports `top_k`, `min_p` and `repetition_penalty`, which are not in OpenAI's API. A
/// server that supports them may have other defaults (vLLM uses those of the model's
/// `generation_config.json`), so every request states them. A server that does not may refuse unknown
/// fields, so a request states only those whose value has an effect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Extensions {
    /// Detect it with one `GET /models` before the first request: a server whose models are `owned_by`
    /// `janus`, `vllm`, `sglang` or `llamacpp` supports them. (llama.cpp ignores the penalty, and by
    /// default applies none.) A server that refuses does not.
    #[default]
    Ask,
    /// It supports them.
    Known,
    /// It does not.
    Unknown,
}

/// How a [`RemoteModel`] sends requests.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RemoteOptions {
    /// The base URL, including the version: `https://api.openai.com/v1`.
    pub base_url: String,
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The API key, sent as a bearer token; a local server needs none.
    pub key: Option<ApiKey>,
    /// The most requests in flight at a time.
    pub concurrency: usize,
    /// Rate limit in requests per minute; they are spread evenly.
    pub requests_per_minute: Option<u32>,
    /// Rate limit in tokens per minute, estimated from the length of the texts and `max_tokens`.
    pub tokens_per_minute: Option<u32>,
    /// The most attempts for each request, including the first.
    pub attempts: usize,
    /// Time for one attempt, from connecting to the last byte.
    pub timeout: Duration,
    /// Delays between attempts.
    pub backoff: Backoff,
    /// Prices of tokens; needed for a budget.
    pub prices: Option<Prices>,
    /// The most to spend, in the currency of `prices`. No request is sent whose worst case would exceed it.
    pub budget: Option<f64>,
    /// Whether the seed is sent; a server that does not support the field may refuse it.
    pub send_seed: bool,
    /// Whether the limit of new tokens is sent as `max_completion_tokens`, which reasoning models
    /// require, instead of `max_tokens`.
    pub max_completion_tokens: bool,
    /// Whether the server supports sampling parameters beyond OpenAI's.
    pub extensions: Extensions,
}

impl RemoteOptions {
    /// The environment variable with the base URL.
    pub const BASE_URL_VARIABLE: &'static str = "OPENAI_BASE_URL";
    /// The environment variable with the API key.
    pub const KEY_VARIABLE: &'static str = "OPENAI_API_KEY";

    /// Conservative defaults for a base URL: 8 requests at a time, 6 attempts, 2 minutes each.
    pub fn new(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            endpoint: Endpoint::Chat,
            key: None,
            concurrency: 8,
            requests_per_minute: None,
            tokens_per_minute: None,
            attempts: 6,
            timeout: Duration::from_secs(120),
            backoff: Backoff::default(),
            prices: None,
            budget: None,
            send_seed: true,
            max_completion_tokens: false,
            extensions: Extensions::Ask,
        }
    }

    /// Base URL and key from the environment; the base URL defaults to OpenAI's.
    ///
    /// # Errors
    /// [`HttpError::Setting`] for a variable that is not UTF-8, or a key that cannot be sent in a header.
    pub fn from_env() -> Result<Self, RemoteError> {
        let variable = |name: &'static str| match std::env::var(name) {
            Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(HttpError::Setting {
                field: name,
                got: "bytes that are not UTF-8".into(),
                expected: "text",
            }),
        };
        let base_url =
            variable(Self::BASE_URL_VARIABLE)?.unwrap_or_else(|| "https://api.openai.com/v1".into());
        let key = variable(Self::KEY_VARIABLE)?.map(ApiKey::new).transpose()?;
        Ok(Self { key, ..Self::new(base_url) })
    }

    /// These options with the changes that `set` makes, as one expression:
    /// `options.with(|options| options.concurrency = 2)`.
    #[must_use]
    pub fn with(mut self, set: impl FnOnce(&mut Self)) -> Self {
        set(&mut self);
        self
    }

    fn validate(&self) -> Result<(), RemoteError> {
        let wrong = |field, got: String, expected| Err(HttpError::Setting { field, got, expected }.into());
        if self.concurrency == 0 {
            return wrong("concurrency", "0".into(), "at least 1");
        }
        if let Some(budget) = self.budget {
            if !(budget.is_finite() && budget >= 0.0) {
                return wrong("budget", budget.to_string(), "a finite number, 0 or more");
            }
            if self.prices.is_none() {
                return wrong("budget", budget.to_string(), "prices too: without them the cost is unknown");
            }
        }
        if let Some(Prices { prompt, completion }) = self.prices
            && !(prompt.is_finite() && completion.is_finite() && prompt >= 0.0 && completion >= 0.0)
        {
            return wrong("prices", format!("{prompt} and {completion}"), "finite numbers, 0 or more");
        }
        Ok(())
    }
}

/// A model behind an API.
#[derive(Debug)]
pub struct RemoteModel {
    name: String,
    options: RemoteOptions,
    client: Client,
    budget: Budget,
    /// Whether the server supports the extensions, once that is known.
    supports_extensions: OnceLock<bool>,
}

impl RemoteModel {
    /// A model of the API, by its name there. Nothing is sent yet.
    ///
    /// # Errors
    /// [`HttpError::Setting`] names the option that cannot be used.
    pub fn new(name: impl Into<String>, options: RemoteOptions) -> Result<Self, RemoteError> {
        options.validate()?;
        let limits = ClientOptions::default().with(|limits| {
            limits.requests_per_minute = options.requests_per_minute;
            limits.tokens_per_minute = options.tokens_per_minute;
            limits.attempts = options.attempts;
            limits.timeout = options.timeout;
            limits.backoff = options.backoff.clone();
        });
        let client =
            Client::new(&options.base_url, limits, concat!("janus-infer/", env!("CARGO_PKG_VERSION")))?;
        let budget = Budget::new(options.prices, options.budget);
        let supports_extensions = match options.extensions {
            Extensions::Ask => OnceLock::new(),
            known => OnceLock::from(known == Extensions::Known),
        };
        Ok(Self { name: name.into(), options, client, budget, supports_extensions })
    }

    /// The URL that its requests go to.
    pub fn address(&self) -> String {
        self.url(self.options.endpoint.path())
    }

    /// Requests, tokens and cost so far.
    pub fn usage(&self) -> Usage {
        self.budget.usage()
    }

    /// Whether every request states `top_k`, `min_p` and `repetition_penalty`; `None` until that is detected.
    pub fn knows_extensions(&self) -> Option<bool> {
        self.supports_extensions.get().copied()
    }

    /// Detects whether the server supports the extensions. The request costs nothing and is not counted
    /// as usage.
    fn detect_extensions(&self) -> Result<bool, RemoteError> {
        if let Some(known) = self.supports_extensions.get() {
            return Ok(*known);
        }
        let (url, bearer) = (self.url("/models"), self.bearer());
        let models = self.client.attempts("models", || {
            let reply = self.client.get(&url, &headers(bearer.as_ref()))?;
            if reply.is_success() || !helps_status(reply.status) {
                Ok(reply)
            } else {
                Err(response::refusal(&reply, self.options.key.as_ref()))
            }
        });
        let known = match models {
            // A refusal is no error here: a key may be valid for the model but not for this endpoint.
            Ok(reply) => reply.is_success() && request::is_extended(&reply.text, &self.name),
            // The server may still answer the requests that follow.
            Err(RemoteError::Http(HttpError::GaveUp { last, .. }))
                if matches!(*last, HttpError::Status { .. }) =>
            {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        Ok(*self.supports_extensions.get_or_init(|| known))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.options.base_url.trim_end_matches('/'))
    }

    fn bearer(&self) -> Option<String> {
        self.options.key.as_ref().map(|key| format!("Bearer {}", key.secret()))
    }

    fn send(&self, request: &ChatRequest, extended: bool) -> Result<Vec<Generation>, ModelError> {
        let invalid = |reason: String| ModelError::Request { id: request.id.clone(), reason };
        request.sampling.validate().map_err(|rule| ModelError::Invalid { id: request.id.clone(), rule })?;
        let body = request::body(&self.name, request, &self.options, extended)
            .map_err(|problem| invalid(problem.to_string()))?
            .to_string();
        self.send_body(request, &body).map_err(|error| match error {
            // The request itself is at fault, not the model.
            RemoteError::Http(HttpError::Status { status, message })
                if status < 500 && !helps_status(status) =>
            {
                invalid(format!("the server answered {status}: {message}"))
            }
            error @ RemoteError::NoAnswer(_) => invalid(error.to_string()),
            error => ModelError::Failed { id: request.id.clone(), source: Box::new(error) },
        })
    }

    /// Retries until there is a response, or an error that another attempt cannot fix.
    fn send_body(&self, request: &ChatRequest, body: &str) -> Result<Vec<Generation>, RemoteError> {
        let (url, bearer, key) = (self.address(), self.bearer(), self.options.key.as_ref());
        let most = request::most_tokens(request);
        self.client.attempts(&request.id, || {
            let reserved = self.budget.reserve(&most).map_err(Failed::Final)?;
            if let Err(failed) = self.client.wait(request::likely_tokens(request)) {
                reserved.withdraw();
                return Err(failed);
            }
            match self.client.post(&url, &headers(bearer.as_ref()), body) {
                Ok(reply) if reply.is_success() => match response::read(&reply.text, request, key) {
                    Ok(Answer { generations, usage }) => {
                        reserved.settle(usage.as_ref());
                        Ok(generations)
                    }
                    Err(failed) => {
                        // The response is paid for, even if it cannot be read.
                        reserved.settle(response::usage(&reply.text).as_ref());
                        Err(failed)
                    }
                },
                Ok(reply) => {
                    reserved.release();
                    Err(response::refusal(&reply, key))
                }
                Err(error) => {
                    // If it is unknown whether the request was processed, the most that it can cost is
                    // counted.
                    if error.may_be_paid() {
                        reserved.settle(None)
                    } else {
                        reserved.release()
                    }
                    Err(error.into())
                }
            }
        })
    }
}

/// The authorization header, if there is a key.
fn headers(bearer: Option<&String>) -> Vec<(&str, &str)> {
    bearer.into_iter().map(|bearer| ("authorization", bearer.as_str())).collect()
}

impl ChatModel for RemoteModel {
    fn name(&self) -> &str {
        &self.name
    }

    fn generate_each(
        &self,
        requests: &[ChatRequest],
        on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>),
    ) {
        if requests.is_empty() {
            return;
        }
        match self.detect_extensions() {
            Ok(extended) => each(
                requests.len(),
                self.options.concurrency,
                |index| self.send(&requests[index], extended),
                on_answer,
            ),
            // The server cannot be reached, so no request can be sent.
            Err(error) => {
                let error = Arc::new(error);
                for (index, request) in requests.iter().enumerate() {
                    on_answer(
                        index,
                        Err(ModelError::Failed {
                            id: request.id.clone(),
                            source: Box::new(Arc::clone(&error)),
                        }),
                    );
                }
            }
        }
    }
}
