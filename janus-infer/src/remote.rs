//! Models behind an OpenAI-compatible service, over HTTP, as a [`ChatModel`].
//!
//! * [`RemoteModel`]: asks the service, several requests at a time, within limits and a budget.
//! * [`batch`]: the files of the Batch API, written and read back.
//! * [`ApiKey`], [`Prices`]: a key that is never shown; what tokens cost.
//!
//! Each request is tried again when that can help (a busy or broken service, a cut connection, a late or
//! broken answer), after the time that the service asks for or an exponential back-off with jitter.
//! Whoever asks much puts a [`janus_data::Journaled`] around the model: what was answered is then never asked
//! again, in this run or the next.
//!
//! ```no_run
//! use janus_core::{ChatModel, ChatRequest, Message, SamplingParams};
//! use janus_infer::remote::{RemoteModel, RemoteOptions};
//!
//! // OPENAI_BASE_URL and OPENAI_API_KEY, as the official clients read them.
//! let model = RemoteModel::new("gpt-4-0125-preview", RemoteOptions::from_env()?)?;
//! let sampling = SamplingParams { repetition_penalty: 1.0, ..SamplingParams::default() };
//! let request = ChatRequest { id: "1".into(), messages: vec![Message::user("Hi")], sampling };
//! println!("{:?}", model.generate(&[request])[0]);
//! # Ok::<(), janus_infer::remote::RemoteError>(())
//! ```

pub mod batch;
mod budget;
mod error;
mod key;
mod limit;
mod retry;
mod wire;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use janus_core::{ChatModel, ChatRequest, Generation, ModelError};
use ureq::Agent;

pub use budget::{Prices, Usage};
pub use error::RemoteError;
pub use key::ApiKey;
pub use retry::Backoff;

use budget::Budget;
use limit::Limiter;
use wire::Answer;

/// How a service is asked.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// Where the service is, up to and with its version: `https://api.openai.com/v1`.
    pub base_url: String,
    /// The key, sent as a bearer token; a local service needs none.
    pub key: Option<ApiKey>,
    /// Requests under way at once.
    pub concurrency: usize,
    /// Requests started in a minute at the most; they are spread evenly.
    pub requests_per_minute: Option<u32>,
    /// Tokens in a minute at the most, by an estimate from the texts' lengths and the limit of new tokens.
    pub tokens_per_minute: Option<u32>,
    /// Attempts for each request, the first one included.
    pub attempts: usize,
    /// Time for one attempt, from connecting to the last byte.
    pub timeout: Duration,
    /// Pauses between attempts.
    pub backoff: Backoff,
    /// What tokens cost; needed for a budget.
    pub prices: Option<Prices>,
    /// Spend at the most, in the currency of `prices`. No request is sent whose worst case goes beyond it.
    pub budget: Option<f64>,
    /// Whether the seed is sent; a service that does not know the field may refuse it.
    pub send_seed: bool,
    /// Whether the limit of new tokens is sent as `max_completion_tokens`, which reasoning models want, in
    /// place of `max_tokens`.
    pub max_completion_tokens: bool,
}

impl RemoteOptions {
    /// The environment variable with the service's address.
    pub const BASE_URL_VARIABLE: &'static str = "OPENAI_BASE_URL";
    /// The environment variable with the key.
    pub const KEY_VARIABLE: &'static str = "OPENAI_API_KEY";

    /// Careful defaults for a service at this address: 8 requests at a time, 6 attempts, 2 minutes each.
    pub fn new(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
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
        }
    }

    /// Address and key from the environment. Without an address, OpenAI's own.
    ///
    /// # Errors
    /// [`RemoteError::Setting`] for a variable that is not UTF-8, or a key that cannot stand in a header.
    pub fn from_env() -> Result<Self, RemoteError> {
        let variable = |name: &'static str| match std::env::var(name) {
            Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => {
                Err(RemoteError::Setting { field: name, got: "bytes that are not UTF-8".into(), expected: "text" })
            }
        };
        let base_url = variable(Self::BASE_URL_VARIABLE)?.unwrap_or_else(|| "https://api.openai.com/v1".into());
        let key = variable(Self::KEY_VARIABLE)?.map(ApiKey::new).transpose()?;
        Ok(Self { key, ..Self::new(base_url) })
    }

    fn validate(&self) -> Result<(), RemoteError> {
        let wrong = |field, got: String, expected| Err(RemoteError::Setting { field, got, expected });
        let address = self.base_url.strip_prefix("https://").or_else(|| self.base_url.strip_prefix("http://"));
        // An address with a password in it would be told in errors.
        if !address.is_some_and(|rest| !rest.is_empty() && !rest.contains(['@', '?', '#', ' '])) {
            let shown = if self.base_url.contains('@') { "an address with a user in it".into() } else { self.base_url.clone() };
            return wrong("base_url", shown, "http(s)://host[:port]/path, without user, query or fragment");
        }
        if self.concurrency == 0 {
            return wrong("concurrency", "0".into(), "at least 1");
        }
        if self.attempts == 0 {
            return wrong("attempts", "0".into(), "at least 1");
        }
        for (field, limit) in [("requests_per_minute", self.requests_per_minute), ("tokens_per_minute", self.tokens_per_minute)] {
            if limit == Some(0) {
                return wrong(field, "0".into(), "at least 1, or no limit");
            }
        }
        if let Some(budget) = self.budget {
            if !(budget.is_finite() && budget >= 0.0) {
                return wrong("budget", budget.to_string(), "a finite number, 0 or more");
            }
            if self.prices.is_none() {
                return wrong("budget", budget.to_string(), "prices beside it: without them no spend is known");
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

/// A model of a service.
#[derive(Debug)]
pub struct RemoteModel {
    name: String,
    options: RemoteOptions,
    agent: Agent,
    limiter: Limiter,
    budget: Budget,
    /// Why nothing more is asked: a refused key, no quota left.
    closed: Mutex<Option<String>>,
}

impl RemoteModel {
    /// The service's model of this name. Nothing is sent yet.
    ///
    /// # Errors
    /// [`RemoteError::Setting`] names the option that cannot be used.
    pub fn new(name: impl Into<String>, options: RemoteOptions) -> Result<Self, RemoteError> {
        options.validate()?;
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(options.timeout))
            .user_agent(concat!("janus-infer/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&options.base_url) {
            config = config.proxy(None);
        }
        let agent = config.build().new_agent();
        let limiter = Limiter::new(options.requests_per_minute, options.tokens_per_minute);
        let budget = Budget::new(options.prices, options.budget);
        Ok(Self { name: name.into(), options, agent, limiter, budget, closed: Mutex::new(None) })
    }

    /// What was used so far.
    pub fn usage(&self) -> Usage {
        self.budget.usage()
    }

    fn ask(&self, request: &ChatRequest) -> Result<Vec<Generation>, ModelError> {
        let invalid = |reason: String| ModelError::Request { id: request.id.clone(), reason };
        request.sampling.validate().map_err(|error| invalid(error.to_string()))?;
        let body = wire::body(&self.name, request, &self.options).to_string();
        self.ask_body(request, &body).map_err(|error| match error {
            // What the service says against the request itself is no failure of the model.
            RemoteError::Status { status, message } if status < 500 && !retry::helps_status(status) => {
                invalid(format!("the service answers {status}: {message}"))
            }
            error => ModelError::Failed { id: request.id.clone(), source: Box::new(error) },
        })
    }

    /// Tries until there is an answer, or an error that another attempt cannot help.
    fn ask_body(&self, request: &ChatRequest, body: &str) -> Result<Vec<Generation>, RemoteError> {
        let most = wire::most_tokens(request);
        let mut attempt = 0;
        loop {
            if let Some(reason) = self.closed.lock().unwrap_or_else(PoisonError::into_inner).clone() {
                return Err(RemoteError::Closed { reason });
            }
            let reserved = self.budget.reserve(&most)?;
            self.limiter.wait(wire::likely_tokens(request));
            attempt += 1;
            let (error, pause) = match self.send(body) {
                Ok((200..300, _, text)) => match wire::read(&text, request) {
                    Ok(Answer { generations, usage }) => {
                        reserved.settle(usage.as_ref());
                        return Ok(generations);
                    }
                    Err(error) => {
                        // It was answered, so it was paid, whatever came of it.
                        reserved.settle(wire::usage(&text).as_ref());
                        (error, None)
                    }
                },
                Ok((status, retry_after, text)) => {
                    reserved.release();
                    let refusal = wire::refusal(status, &text, self.options.key.as_ref());
                    if refusal.closes {
                        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal.error.to_string());
                    }
                    if refusal.closes || !retry::helps_status(status) {
                        return Err(refusal.error);
                    }
                    // The service asks everybody to wait, not this request alone.
                    if let Some(pause) = retry_after {
                        self.limiter.hold(pause);
                    }
                    (refusal.error, retry_after)
                }
                Err(error) => {
                    // Whether it arrived and was paid is not known: it counts as paid in full.
                    if error.may_be_paid() {
                        reserved.settle(None)
                    } else {
                        reserved.release()
                    }
                    (error, None)
                }
            };
            if attempt >= self.options.attempts {
                return Err(RemoteError::GaveUp { attempts: attempt, source: Box::new(error) });
            }
            if pause.is_some_and(|pause| pause > self.options.backoff.most) {
                return Err(RemoteError::GaveUp { attempts: attempt, source: Box::new(error) });
            }
            thread::sleep(pause.unwrap_or_default().max(self.options.backoff.pause(&request.id, attempt)));
        }
    }

    /// One attempt: status, the pause that the service asks for, body.
    fn send(&self, body: &str) -> Result<(u16, Option<Duration>, String), RemoteError> {
        /// No answer is longer; a service that sends without end is cut off.
        const MOST_BYTES: u64 = 64 << 20;
        let url = format!("{}/chat/completions", self.options.base_url.trim_end_matches('/'));
        let mut post = self.agent.post(url).content_type("application/json");
        if let Some(key) = &self.options.key {
            post = post.header("authorization", format!("Bearer {}", key.secret()));
        }
        let mut response = post.send(body).map_err(RemoteError::transport)?;
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let pause = retry::retry_after(header("retry-after-ms"), header("retry-after"));
        let status = response.status().as_u16();
        let text = response.body_mut().with_config().limit(MOST_BYTES).read_to_string().map_err(RemoteError::transport)?;
        Ok((status, pause, text))
    }
}

impl ChatModel for RemoteModel {
    fn name(&self) -> &str {
        &self.name
    }

    fn generate_each(&self, requests: &[ChatRequest], on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>)) {
        let next = AtomicUsize::new(0);
        let (sender, answers) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..self.options.concurrency.min(requests.len()) {
                let (sender, next) = (sender.clone(), &next);
                scope.spawn(move || {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(request) = requests.get(index) else { break };
                        // Nobody listens any more: the caller gave up.
                        if sender.send((index, self.ask(request))).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(sender);
            for (index, answer) in answers {
                on_answer(index, answer);
            }
        });
    }
}

/// A proxy is for the world outside.
fn is_loopback(base_url: &str) -> bool {
    let host = base_url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let host = if host.starts_with('[') {
        host.split(']').next().unwrap_or(host).trim_start_matches('[')
    } else {
        host.split(':').next().unwrap_or(host)
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
