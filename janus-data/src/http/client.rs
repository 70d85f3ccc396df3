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
    /// The most requests to start in a minute, evenly spaced.
    pub requests_per_minute: Option<u32>,
    /// The most tokens, as given to [`Client::wait`], in a minute.
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

impl ClientOptions {
    /// These options after `set` changed some of them, for an expression: `options.with(|options| options.attempts = 2)`.
    #[must_use]
    pub fn with(mut self, set: impl FnOnce(&mut Self)) -> Self {
        set(&mut self);
        self
    }
}

/// A response of a server: status, pause asked for, body.
#[derive(Debug, Clone)]
pub struct HttpResponse {
    /// The HTTP status.
    pub status: u16,
    /// The pause that the server asks for.
    pub retry_after: Option<Duration>,
    /// The body.
    pub text: String,
}

impl HttpResponse {
    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The error's message in one line, with the key redacted.
    pub fn message(&self, key: Option<&ApiKey>) -> String {
        let body: Value = serde_json::from_str(&self.text).unwrap_or_default();
        let message = body["error"]["message"].as_str().or_else(|| body["message"].as_str()).or_else(|| body["error"].as_str());
        let line = message.unwrap_or(&self.text).split_whitespace().collect::<Vec<_>>().join(" ");
        let line = key.map_or_else(|| line.clone(), |key| key.redact(&line));
        if line.is_empty() { "nothing".into() } else { line.chars().take(300).collect() }
    }

    /// The error that this response is. A refused key closes the client.
    pub fn failed<E: From<HttpError>>(&self, key: Option<&ApiKey>) -> Failed<E> {
        let status = self.status;
        if matches!(status, 401 | 403) {
            // Servers repeat parts of the key in this message, so it is not shown.
            let message = if key.is_some() { "the key is refused" } else { "a key is needed" };
            return Failed::Closes(HttpError::Status { status, message: message.into() });
        }
        let error = HttpError::Status { status, message: self.message(key) };
        if helps_status(status) { Failed::Again(error, self.retry_after) } else { Failed::Final(error.into()) }
    }
}

/// Why an attempt failed, and whether another one may help.
#[derive(Debug)]
pub enum Failed<E> {
    /// Another attempt cannot help.
    Final(E),
    /// No other request would be answered either: a refused key, no quota left.
    Closes(HttpError),
    /// Another attempt may help, after the pause that the server asks for.
    Again(HttpError, Option<Duration>),
}

/// A failed connection may recover.
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
    /// Why nothing is asked.
    state: Mutex<State>,
    /// Sets this client's pauses apart from those of others.
    seed: u64,
}

/// Why nothing is asked, if there is a reason.
#[derive(Debug, Default)]
struct State {
    /// For good: the error that said so.
    closed: Option<HttpError>,
    /// For a while: since when, and how long.
    paused: Option<(Instant, Duration)>,
}

impl Client {
    /// A client for the server at an address. Nothing is sent yet.
    ///
    /// # Errors
    /// [`HttpError::Setting`] names the option that cannot be used.
    pub fn new(address: &str, options: ClientOptions, user_agent: &str) -> Result<Self, HttpError> {
        let wrong = |field, got: String, expected| Err(HttpError::Setting { field, got, expected });
        let rest = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"));
        // A key in an address would be shown in errors.
        if !rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['@', '?', '#', ' '])) {
            let shown = without_secrets(address);
            let got = if shown == address { shown } else { format!("{shown} with more than that in it") };
            return wrong("base_url", got, "http(s)://host[:port]/path, without user, query or fragment");
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
        let seed = RandomState::new().build_hasher().finish();
        Ok(Self { agent: config.build().new_agent(), options, limiter, state: Mutex::default(), seed })
    }

    /// Waits until a request of so many tokens may start.
    ///
    /// # Errors
    /// [`HttpError::Closed`] or [`HttpError::Paused`], as final errors.
    pub fn wait<E: From<HttpError>>(&self, tokens: u64) -> Result<(), Failed<E>> {
        /// The longest time until a waiting request notices that the client is closed.
        const NOTICED: Duration = Duration::from_millis(500);
        loop {
            self.check().map_err(|error| Failed::Final(error.into()))?;
            let pause = self.limiter.start(Instant::now(), tokens);
            if pause.is_zero() {
                return Ok(());
            }
            thread::sleep(pause.min(NOTICED));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anything may be asked.
    fn check(&self) -> Result<(), HttpError> {
        let state = self.state();
        if let Some(error) = &state.closed {
            return Err(HttpError::Closed { because: Box::new(error.clone()) });
        }
        match state.paused.map(|(since, pause)| pause.saturating_sub(since.elapsed())) {
            Some(left) if !left.is_zero() => Err(HttpError::Paused { left, limit: self.options.backoff.longest }),
            _ => Ok(()),
        }
    }

    /// Retries until there is an answer, or an error that another attempt cannot help. While a server's pause longer than
    /// [`Backoff::longest`] lasts, nothing is sent, for this request or any other.
    ///
    /// # Errors
    /// What `once` calls final; [`HttpError::GaveUp`] after the last attempt, or for such a pause; [`HttpError::Paused`] while
    /// it lasts; [`HttpError::Closed`] if an earlier answer closed the client.
    pub fn attempts<T, E: From<HttpError>>(&self, id: &str, mut once: impl FnMut() -> Result<T, Failed<E>>) -> Result<T, E> {
        let backoff = &self.options.backoff;
        let mut attempt = 0;
        loop {
            self.check()?;
            attempt += 1;
            let (error, asked) = match once() {
                Ok(answer) => return Ok(answer),
                Err(Failed::Final(error)) => return Err(error),
                Err(Failed::Closes(error)) => {
                    self.state().closed = Some(error.clone());
                    return Err(error.into());
                }
                Err(Failed::Again(error, asked)) => (error, asked),
            };
            let jitter = janus_core::derive_seed(self.seed.wrapping_add(attempt as u64), id) as f64 / u64::MAX as f64;
            let too_long = asked.is_some_and(|asked| asked > backoff.longest);
            // The server asks every request to wait, not this one alone.
            match asked {
                Some(asked) if too_long => self.state().paused = Some((Instant::now(), asked)),
                Some(asked) => self.limiter.hold(backoff.pause(jitter, 1, Some(asked))),
                None => {}
            }
            if attempt >= self.options.attempts || too_long {
                return Err(HttpError::GaveUp { attempts: attempt, last: Box::new(error) }.into());
            }
            thread::sleep(backoff.pause(jitter, attempt, asked));
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

    /// Sends a GET or HEAD request once; the body is still to be read.
    pub(crate) fn open(&self, head: bool, url: &str, headers: &[(&str, &str)]) -> Result<Response<Body>, HttpError> {
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

/// A whole response.
pub(crate) fn reply(response: &mut Response<Body>) -> Result<HttpResponse, HttpError> {
    /// No response is longer; a server that sends without end is cut off.
    const MOST_BYTES: u64 = 64 << 20;
    let retry_after = retry::retry_after(header(response, "retry-after-ms"), header(response, "retry-after"));
    let status = response.status().as_u16();
    let text = response.body_mut().with_config().limit(MOST_BYTES).read_to_string().map_err(HttpError::transport)?;
    Ok(HttpResponse { status, retry_after, text })
}

/// Calls `work` for each of `0..count` on several threads, and `on_result` with each result as it arrives.
pub fn each<T: Send>(count: usize, threads: usize, work: impl Fn(usize) -> T + Sync, on_result: &mut dyn FnMut(usize, T)) {
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads.min(count) {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    // The receiver is gone: the caller gave up.
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

/// An address that can be shown: without user, password, query and fragment, which may hold keys.
///
/// ```
/// use janus_data::http::without_secrets;
///
/// assert_eq!(without_secrets("https://me:secret@host:8/v1?key=secret"), "https://host:8/v1");
/// ```
pub fn without_secrets(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").map_or(("", address), |(scheme, rest)| (&address[..scheme.len() + 3], rest));
    // A password may hold any character, so all in front of the last @ counts as one.
    let rest = rest.rsplit('@').next().unwrap_or_default();
    format!("{scheme}{}", rest.split(['?', '#', ' ']).next().unwrap_or_default())
}

/// Whether an address is this machine's, to which no proxy leads.
fn is_loopback(address: &str) -> bool {
    let host = address.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let host = if host.starts_with('[') {
        host.split(']').next().unwrap_or(host).trim_start_matches('[')
    } else {
        host.split(':').next().unwrap_or(host)
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        for address in ["https://me:sk-1@host:8/v1?key=sk-2#sk-3", "https://host:8/v1", "https://me:s/k?-#1@host:8/v1 sk-4"] {
            assert_eq!(without_secrets(address), "https://host:8/v1");
        }
        assert_eq!(without_secrets("http://a@b@c"), "http://c");
        assert_eq!(without_secrets("me:sk-1@host:8"), "host:8");
        for address in ["https://h/v1?key=sk-1", "https://h/v1#sk-1", "https://sk-1@h/v1", "h/v1?sk-1"] {
            let error = Client::new(address, ClientOptions::default(), "test").unwrap_err().to_string();
            assert!(error.starts_with("base_url is ") && error.contains("h/v1") && !error.contains("sk-1"), "{error}");
        }
    }

    /// A client that waits for a fifth of a second at the most.
    fn client() -> Client {
        let backoff = Backoff { first: Duration::from_millis(1), longest: Duration::from_millis(200) };
        Client::new("http://localhost", ClientOptions { backoff, ..ClientOptions::default() }, "test").unwrap()
    }

    fn busy(pause: Duration) -> Failed<HttpError> {
        Failed::Again(HttpError::Status { status: 429, message: "busy".into() }, Some(pause))
    }

    #[test]
    fn a_pause_that_is_too_long_keeps_nobody_waiting() {
        for pause in [Duration::from_secs(3600), Duration::MAX] {
            let (client, begin) = (client(), Instant::now());
            let error = client.attempts("a", || Err::<(), _>(busy(pause))).unwrap_err();
            assert!(matches!(error, HttpError::GaveUp { attempts: 1, .. }), "{error}");
            let error = client.attempts("b", || -> Result<(), Failed<HttpError>> { panic!("asked") }).unwrap_err();
            assert!(matches!(&error, HttpError::Paused { left, .. } if *left > Duration::from_secs(3500)), "{error}");
            assert!(matches!(client.wait::<HttpError>(0), Err(Failed::Final(HttpError::Paused { .. }))));
            assert!(begin.elapsed() < Duration::from_secs(5));
        }
        assert_eq!(
            HttpError::Paused { left: Duration::from_millis(3_599_900), limit: Duration::from_secs(60) }.to_string(),
            "not asked: the server asked us to wait 3600 s; the limit is 60 s"
        );
    }

    #[test]
    fn after_a_long_pause_the_service_is_asked_again() {
        let (client, pause) = (client(), Duration::from_millis(400));
        client.attempts("a", || Err::<(), _>(busy(pause))).unwrap_err();
        thread::sleep(pause);
        assert_eq!(client.attempts("b", || Ok::<_, Failed<HttpError>>(1)).unwrap(), 1);
    }

    #[test]
    fn who_waits_for_the_limit_notices_that_nothing_more_is_asked() {
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
    fn two_clients_do_not_come_back_at_the_same_moment() {
        assert_ne!(client().seed, client().seed);
    }
}
