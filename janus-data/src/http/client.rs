//! Sends requests, within limits, again and again while that can help.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use ureq::{Agent, Body, http::Response};

use super::limit::Limiter;
use super::{ApiKey, Backoff, HttpError, helps_status, retry};

/// Within which limits a service is asked.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Requests started in a minute at the most; they are spread evenly.
    pub requests_per_minute: Option<u32>,
    /// What [`Client::wait`] is given, tokens for instance, in a minute at the most.
    pub tokens_per_minute: Option<u32>,
    /// Attempts for each request, the first one included.
    pub attempts: usize,
    /// Time for one attempt, from connecting to the last byte.
    pub timeout: Duration,
    /// Pauses between attempts.
    pub backoff: Backoff,
}

impl Default for ClientOptions {
    /// No limits, 6 attempts of 2 minutes each.
    fn default() -> Self {
        Self {
            requests_per_minute: None,
            tokens_per_minute: None,
            attempts: 6,
            timeout: Duration::from_secs(120),
            backoff: Backoff::default(),
        }
    }
}

/// An answer as it came.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The pause that the service asks for.
    pub retry_after: Option<Duration>,
    /// The body.
    pub text: String,
}

impl Reply {
    /// Whether the status says that all is well.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What the service says of its error, in one line, with the key blotted out.
    pub fn said(&self, key: Option<&ApiKey>) -> String {
        let body: Value = serde_json::from_str(&self.text).unwrap_or_default();
        let said = body["error"]["message"].as_str().or_else(|| body["message"].as_str()).or_else(|| body["error"].as_str());
        let line = said.unwrap_or(&self.text).split_whitespace().collect::<Vec<_>>().join(" ");
        let line = key.map_or_else(|| line.clone(), |key| key.blot(&line));
        if line.is_empty() { "nothing".into() } else { line.chars().take(300).collect() }
    }

    /// The error that this answer is. A refused key closes the client.
    pub fn failed<E: From<HttpError>>(&self, key: Option<&ApiKey>) -> Failed<E> {
        let status = self.status;
        if matches!(status, 401 | 403) {
            // Services repeat parts of the key here, so their words are not.
            let message = if key.is_some() { "the key is refused" } else { "a key is needed" };
            return Failed::Closes(HttpError::Status { status, message: message.into() });
        }
        let error = HttpError::Status { status, message: self.said(key) };
        if helps_status(status) { Failed::Again(error, self.retry_after) } else { Failed::Final(error.into()) }
    }
}

/// Why an attempt came to nothing, and what that means for the next.
#[derive(Debug)]
pub enum Failed<E> {
    /// Another attempt cannot help.
    Final(E),
    /// Nor would any other request be answered: a refused key, no quota left.
    Closes(HttpError),
    /// Another attempt may help, after the pause that the service asks for.
    Again(HttpError, Option<Duration>),
}

/// What kept a request from being sent or its answer from coming may pass.
impl<E> From<HttpError> for Failed<E> {
    fn from(error: HttpError) -> Self {
        Self::Again(error, None)
    }
}

/// Asks one service. Several threads may share it.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    options: ClientOptions,
    limiter: Limiter,
    /// Why nothing more is asked.
    closed: Mutex<Option<String>>,
}

impl Client {
    /// A client for the service at an address. Nothing is sent yet.
    ///
    /// # Errors
    /// [`HttpError::Setting`] names the option that cannot be used.
    pub fn new(address: &str, options: ClientOptions, user_agent: &str) -> Result<Self, HttpError> {
        let wrong = |field, got: String, expected| Err(HttpError::Setting { field, got, expected });
        let rest = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"));
        // An address with a password in it would be told in errors.
        if !rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['@', '?', '#', ' '])) {
            let shown = if address.contains('@') { "an address with a user in it".into() } else { address.into() };
            return wrong("base_url", shown, "http(s)://host[:port]/path, without user, query or fragment");
        }
        if options.attempts == 0 {
            return wrong("attempts", "0".into(), "at least 1");
        }
        for (field, limit) in [("requests_per_minute", options.requests_per_minute), ("tokens_per_minute", options.tokens_per_minute)] {
            if limit == Some(0) {
                return wrong(field, "0".into(), "at least 1, or no limit");
            }
        }
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(options.timeout))
            .user_agent(user_agent);
        if is_loopback(address) {
            config = config.proxy(None);
        }
        let limiter = Limiter::new(options.requests_per_minute, options.tokens_per_minute);
        Ok(Self { agent: config.build().new_agent(), options, limiter, closed: Mutex::new(None) })
    }

    /// Waits until a request of so many tokens may start.
    pub fn wait(&self, tokens: u64) {
        self.limiter.wait(tokens);
    }

    /// Tries until there is an answer, or an error that another attempt cannot help.
    ///
    /// # Errors
    /// What `once` calls final; [`HttpError::GaveUp`] after the last attempt, or for a longer pause than
    /// [`Backoff::most`]; [`HttpError::Closed`] if an earlier answer closed the client.
    pub fn attempts<T, E: From<HttpError>>(&self, id: &str, mut once: impl FnMut() -> Result<T, Failed<E>>) -> Result<T, E> {
        let mut attempt = 0;
        loop {
            if let Some(reason) = self.closed.lock().unwrap_or_else(PoisonError::into_inner).clone() {
                return Err(HttpError::Closed { reason }.into());
            }
            attempt += 1;
            let (error, pause) = match once() {
                Ok(answer) => return Ok(answer),
                Err(Failed::Final(error)) => return Err(error),
                Err(Failed::Closes(error)) => {
                    *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
                    return Err(error.into());
                }
                Err(Failed::Again(error, pause)) => (error, pause),
            };
            // The service asks everybody to wait, not this request alone.
            if let Some(pause) = pause {
                self.limiter.hold(pause);
            }
            if attempt >= self.options.attempts || pause.is_some_and(|pause| pause > self.options.backoff.most) {
                return Err(HttpError::GaveUp { attempts: attempt, source: Box::new(error) }.into());
            }
            thread::sleep(pause.unwrap_or_default().max(self.options.backoff.pause(id, attempt)));
        }
    }

    /// Sends a JSON body once.
    ///
    /// # Errors
    /// [`HttpError::Connection`], [`HttpError::TimedOut`].
    pub fn post(&self, url: &str, headers: &[(&str, &str)], body: &str) -> Result<Reply, HttpError> {
        let mut post = self.agent.post(url).content_type("application/json");
        for (name, value) in headers {
            post = post.header(*name, *value);
        }
        reply(&mut post.send(body).map_err(HttpError::transport)?)
    }

    /// Asks once for what lies at an address, or only for the headers of it; the body is still to be read.
    #[cfg(feature = "hub")]
    pub(crate) fn get(&self, head: bool, url: &str, headers: &[(&str, &str)]) -> Result<Response<Body>, HttpError> {
        let mut get = if head { self.agent.head(url) } else { self.agent.get(url) };
        for (name, value) in headers {
            get = get.header(*name, *value);
        }
        get.call().map_err(HttpError::transport)
    }
}

/// A header's text.
pub(crate) fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name).and_then(|value| value.to_str().ok())
}

/// A whole answer.
pub(crate) fn reply(response: &mut Response<Body>) -> Result<Reply, HttpError> {
    /// No answer is longer; a service that sends without end is cut off.
    const MOST_BYTES: u64 = 64 << 20;
    let retry_after = retry::retry_after(header(response, "retry-after-ms"), header(response, "retry-after"));
    let status = response.status().as_u16();
    let text = response.body_mut().with_config().limit(MOST_BYTES).read_to_string().map_err(HttpError::transport)?;
    Ok(Reply { status, retry_after, text })
}

/// Does `work` for 0, 1, … `count` on several threads, and hands over what comes as it comes.
pub fn each<T: Send>(count: usize, threads: usize, work: impl Fn(usize) -> T + Sync, on_result: &mut dyn FnMut(usize, T)) {
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads.min(count) {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    // Nobody listens any more: the caller gave up.
                    if index >= count || sender.send((index, work(index))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        for (index, result) in results {
            on_result(index, result);
        }
    });
}

/// A proxy is for the world outside.
fn is_loopback(address: &str) -> bool {
    let host = address.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let host = if host.starts_with('[') {
        host.split(']').next().unwrap_or(host).trim_start_matches('[')
    } else {
        host.split(':').next().unwrap_or(host)
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
