//! Sends requests within rate limits, with retries.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::{Agent, Body, http::Response};

use super::limit::Limiter;
use super::{ApiKey, Backoff, HttpError, helps_status, retry};

/// Rate limits, attempts and time-outs of a [`Client`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClientOptions {
    /// Maximum number of requests that start per minute, evenly spaced; `None` for no limit.
    pub requests_per_minute: Option<u32>,
    /// Maximum number of tokens, as passed to [`Client::wait`], per minute; `None` for no limit.
    pub tokens_per_minute: Option<u32>,
    /// Attempts for each request, the first one included.
    pub attempts: usize,
    /// Time limit of one attempt, from connecting to the last byte.
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

impl ClientOptions {
    /// Applies `set` to the options and returns them: `options.with(|options| options.attempts = 2)`.
    #[must_use]
    pub fn with(mut self, set: impl FnOnce(&mut Self)) -> Self {
        set(&mut self);
        self
    }
}

/// The response of a server.
#[derive(Debug, Clone)]
pub struct HttpResponse {
    /// The HTTP status.
    pub status: u16,
    /// The pause that the server requests, from `retry-after` or `retry-after-ms`.
    pub retry_after: Option<Duration>,
    /// The body.
    pub text: String,
}

impl HttpResponse {
    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The message of an error response on one line, with the key redacted.
    pub fn message(&self, key: Option<&ApiKey>) -> String {
        let body: Value = serde_json::from_str(&self.text).unwrap_or_default();
        let line =
            error_message(&body).unwrap_or(&self.text).split_whitespace().collect::<Vec<_>>().join(" ");
        let line = key.map_or_else(|| line.clone(), |key| key.redact(&line));
        if line.is_empty() { "nothing".into() } else { line.chars().take(300).collect() }
    }

    /// This response as an error. A rejected key closes the client.
    pub fn failed<E: From<HttpError>>(&self, key: Option<&ApiKey>) -> Failed<E> {
        let status = self.status;
        if status == 401 {
            // Servers quote parts of the key in this message, so it is not shown.
            let message = if key.is_some() { "the key is refused" } else { "a key is needed" };
            return Failed::Closes(HttpError::Status { status, message: message.into() });
        }
        let error = HttpError::Status { status, message: self.message(key) };
        if helps_status(status) {
            Failed::Again(error, self.retry_after)
        } else {
            Failed::Final(error.into())
        }
    }
}

/// Why an attempt failed, and whether another one may help.
#[derive(Debug)]
pub enum Failed<E> {
    /// Another attempt cannot help.
    Final(E),
    /// No other request can succeed either: the key is rejected, or the quota is used up.
    Closes(HttpError),
    /// Another attempt may help, after the pause that the server requests, if any.
    Again(HttpError, Option<Duration>),
}

/// A failed connection may recover, so it is retried.
impl<E> From<HttpError> for Failed<E> {
    fn from(error: HttpError) -> Self {
        Self::Again(error, None)
    }
}

/// An HTTP client of one server, with rate limits and retries. Threads may share it.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    options: ClientOptions,
    limiter: Limiter,
    /// Why no request is sent at present.
    state: Mutex<State>,
    /// Seeds the jitter, so that clients do not retry in step.
    seed: u64,
}

/// Why no request is sent, if there is a reason.
#[derive(Debug, Default)]
struct State {
    /// Permanently: the error that closed the client.
    closed: Option<HttpError>,
    /// Temporarily: when the pause began, and its length.
    paused: Option<(Instant, Duration)>,
}

impl Client {
    /// Creates a client for the server at an address. Nothing is sent yet.
    ///
    /// # Errors
    /// [`HttpError::Setting`] names the option that cannot be used.
    pub fn new(address: &str, options: ClientOptions, user_agent: &str) -> Result<Self, HttpError> {
        let wrong = |field, got: String, expected| Err(HttpError::Setting { field, got, expected });
        let rest = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"));
        // A key in an address would appear in errors.
        if !rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['@', '?', '#', ' '])) {
            let shown = without_secrets(address);
            let got = if shown == address { shown } else { format!("{shown} with parts that are not shown") };
            return wrong("base_url", got, "http(s)://host[:port]/path, without user, query or fragment");
        }
        if options.attempts == 0 {
            return wrong("attempts", "0".into(), "at least 1");
        }
        for (field, limit) in [
            ("requests_per_minute", options.requests_per_minute),
            ("tokens_per_minute", options.tokens_per_minute),
        ] {
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
        let seed = RandomState::new().build_hasher().finish();
        Ok(Self { agent: config.build().new_agent(), options, limiter, state: Mutex::default(), seed })
    }

    /// Waits until a request with this number of tokens may start.
    ///
    /// # Errors
    /// [`HttpError::Closed`] or [`HttpError::Paused`], as final errors.
    pub fn wait<E: From<HttpError>>(&self, tokens: u64) -> Result<(), Failed<E>> {
        /// The longest time until a waiting request notices that the client is closed.
        const POLL_INTERVAL: Duration = Duration::from_millis(500);
        loop {
            self.check().map_err(|error| Failed::Final(error.into()))?;
            let pause = self.limiter.start(Instant::now(), tokens);
            if pause.is_zero() {
                return Ok(());
            }
            thread::sleep(pause.min(POLL_INTERVAL));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails if no request may be sent.
    fn check(&self) -> Result<(), HttpError> {
        let state = self.state();
        if let Some(error) = &state.closed {
            return Err(HttpError::Closed { because: Box::new(error.clone()) });
        }
        match state.paused.map(|(since, pause)| pause.saturating_sub(since.elapsed())) {
            Some(left) if !left.is_zero() => {
                Err(HttpError::Paused { left, limit: self.options.backoff.longest })
            }
            _ => Ok(()),
        }
    }

    /// Calls `once` until it succeeds or fails with an error that another attempt cannot help. While a pause
    /// lasts that the server requested and that is longer than [`Backoff::longest`], nothing is sent, for
    /// this request or any other.
    ///
    /// # Errors
    /// A final error of `once`; [`HttpError::GaveUp`] after the last attempt, or when such a pause begins;
    /// [`HttpError::Paused`] while it lasts; [`HttpError::Closed`] if an earlier response closed the client.
    pub fn attempts<T, E: From<HttpError>>(
        &self,
        id: &str,
        mut once: impl FnMut() -> Result<T, Failed<E>>,
    ) -> Result<T, E> {
        let backoff = &self.options.backoff;
        let mut attempt = 0;
        loop {
            self.check()?;
            attempt += 1;
            let (error, retry_after) = match once() {
                Ok(answer) => return Ok(answer),
                Err(Failed::Final(error)) => return Err(error),
                Err(Failed::Closes(error)) => {
                    self.state().closed = Some(error.clone());
                    return Err(error.into());
                }
                Err(Failed::Again(error, retry_after)) => (error, retry_after),
            };
            let jitter =
                janus_core::derive_seed(self.seed.wrapping_add(attempt as u64), id) as f64 / u64::MAX as f64;
            let too_long = retry_after.is_some_and(|pause| pause > backoff.longest);
            // The pause is for all requests to the server, not only for this one.
            match retry_after {
                Some(pause) if too_long => self.state().paused = Some((Instant::now(), pause)),
                Some(pause) => self.limiter.hold(backoff.pause(jitter, 1, Some(pause))),
                None => {}
            }
            if attempt >= self.options.attempts || too_long {
                return Err(HttpError::GaveUp { attempts: attempt, last: Box::new(error) }.into());
            }
            thread::sleep(backoff.pause(jitter, attempt, retry_after));
        }
    }

    /// Sends a JSON body once.
    ///
    /// # Errors
    /// [`HttpError::Connection`], [`HttpError::TimedOut`].
    pub fn post(&self, url: &str, headers: &[(&str, &str)], body: &str) -> Result<HttpResponse, HttpError> {
        let mut post = self.agent.post(url).content_type("application/json");
        for (name, value) in headers {
            post = post.header(*name, *value);
        }
        reply(&mut post.send(body).map_err(HttpError::transport)?)
    }

    /// Sends a GET request once.
    ///
    /// # Errors
    /// [`HttpError::Connection`], [`HttpError::TimedOut`].
    pub fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<HttpResponse, HttpError> {
        reply(&mut self.open(false, url, headers)?)
    }

    /// Sends a GET or HEAD request once, without reading the body.
    pub(crate) fn open(
        &self,
        head: bool,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Result<Response<Body>, HttpError> {
        let mut get = if head { self.agent.head(url) } else { self.agent.get(url) };
        for (name, value) in headers {
            get = get.header(*name, *value);
        }
        get.call().map_err(HttpError::transport)
    }
}

/// The text of a header.
pub(crate) fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name).and_then(|value| value.to_str().ok())
}

/// Reads a whole response.
pub(crate) fn reply(response: &mut Response<Body>) -> Result<HttpResponse, HttpError> {
    /// The limit of a body, against servers that never stop sending.
    const MAX_BYTES: u64 = 64 << 20;
    let retry_after = retry::retry_after(header(response, "retry-after-ms"), header(response, "retry-after"));
    let status = response.status().as_u16();
    let text =
        response.body_mut().with_config().limit(MAX_BYTES).read_to_string().map_err(HttpError::transport)?;
    Ok(HttpResponse { status, retry_after, text })
}

/// Calls `work` for each of `0..count` on several threads, and `on_result` with each result as it arrives.
pub fn each<T: Send>(
    count: usize,
    threads: usize,
    work: impl Fn(usize) -> T + Sync,
    on_result: &mut dyn FnMut(usize, T),
) {
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads.min(count) {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    // The receiver is dropped if the caller stopped.
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

/// An address that is safe to print: without user, password, query and fragment, which may contain keys.
///
/// ```
/// use janus_data::http::without_secrets;
///
/// assert_eq!(without_secrets("https://me:secret@host:8/v1?key=secret"), "https://host:8/v1");
/// ```
pub fn without_secrets(address: &str) -> String {
    let (scheme, rest) = address
        .split_once("://")
        .map_or(("", address), |(scheme, rest)| (&address[..scheme.len() + 3], rest));
    // A password may contain any character, so everything before the last `@` is dropped.
    let rest = rest.rsplit('@').next().unwrap_or_default();
    format!("{scheme}{}", rest.split(['?', '#', ' ']).next().unwrap_or_default())
}

/// Whether an address is on this machine; such requests use no proxy.
fn is_loopback(address: &str) -> bool {
    let host = address.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let host = if host.starts_with('[') {
        host.split(']').next().unwrap_or(host).trim_start_matches('[')
    } else {
        host.split(':').next().unwrap_or(host)
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The words of an error in the body of a response, under the names that APIs have for it; `None` if it has
/// none of them.
pub fn error_message(body: &Value) -> Option<&str> {
    match body {
        Value::Array(list) => error_message(list.first()?),
        Value::Object(_) => ["error", "message", "msg", "detail", "errors"]
            .into_iter()
            .filter_map(|name| body.get(name))
            .find_map(|value| value.as_str().or_else(|| error_message(value))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_printed_without_its_secrets() {
        for address in [
            "https://me:sk-1@host:8/v1?key=sk-2#sk-3",
            "https://host:8/v1",
            "https://me:s/k?-#1@host:8/v1 sk-4",
        ] {
            assert_eq!(without_secrets(address), "https://host:8/v1");
        }
        assert_eq!(without_secrets("http://a@b@c"), "http://c");
        assert_eq!(without_secrets("me:sk-1@host:8"), "host:8");
        for address in ["https://h/v1?key=sk-1", "https://h/v1#sk-1", "https://sk-1@h/v1", "h/v1?sk-1"] {
            let error = Client::new(address, ClientOptions::default(), "test").unwrap_err().to_string();
            assert!(
                error.starts_with("base_url is ") && error.contains("h/v1") && !error.contains("sk-1"),
                "{error}"
            );
        }
    }

    /// A client whose longest pause is 0.2 seconds.
    fn client() -> Client {
        let backoff = Backoff { first: Duration::from_millis(1), longest: Duration::from_millis(200) };
        Client::new("http://localhost", ClientOptions { backoff, ..ClientOptions::default() }, "test")
            .unwrap()
    }

    fn busy(pause: Duration) -> Failed<HttpError> {
        Failed::Again(HttpError::Status { status: 429, message: "busy".into() }, Some(pause))
    }

    #[test]
    fn a_pause_that_is_too_long_fails_at_once() {
        for pause in [Duration::from_secs(3600), Duration::MAX] {
            let (client, begin) = (client(), Instant::now());
            let error = client.attempts("a", || Err::<(), _>(busy(pause))).unwrap_err();
            assert!(matches!(error, HttpError::GaveUp { attempts: 1, .. }), "{error}");
            let error =
                client.attempts("b", || -> Result<(), Failed<HttpError>> { panic!("sent") }).unwrap_err();
            assert!(
                matches!(&error, HttpError::Paused { left, .. } if *left > Duration::from_secs(3500)),
                "{error}"
            );
            assert!(matches!(client.wait::<HttpError>(0), Err(Failed::Final(HttpError::Paused { .. }))));
            assert!(begin.elapsed() < Duration::from_secs(5));
        }
        assert_eq!(
            HttpError::Paused { left: Duration::from_millis(3_599_900), limit: Duration::from_secs(60) }
                .to_string(),
            "not sent: the server asked us to wait 3600 s; the limit is 60 s"
        );
    }

    #[test]
    fn after_a_long_pause_requests_are_sent_again() {
        let (client, pause) = (client(), Duration::from_millis(400));
        client.attempts("a", || Err::<(), _>(busy(pause))).unwrap_err();
        thread::sleep(pause);
        assert_eq!(client.attempts("b", || Ok::<_, Failed<HttpError>>(1)).unwrap(), 1);
    }

    #[test]
    fn a_request_that_waits_for_the_limit_notices_that_the_client_is_closed() {
        let options = ClientOptions { requests_per_minute: Some(1), ..ClientOptions::default() };
        let client = Client::new("http://localhost", options, "test").unwrap();
        client.wait::<HttpError>(0).unwrap();
        let begin = Instant::now();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| client.wait::<HttpError>(0));
            let refused = || HttpError::Status { status: 401, message: "the key is refused".into() };
            client.attempts("a", || Err::<(), _>(Failed::<HttpError>::Closes(refused()))).unwrap_err();
            assert!(matches!(waiting.join().unwrap(), Err(Failed::Final(HttpError::Closed { .. }))));
        });
        assert!(begin.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn two_clients_do_not_retry_at_the_same_moment() {
        assert_ne!(client().seed, client().seed);
    }
}
