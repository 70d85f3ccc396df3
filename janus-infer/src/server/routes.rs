//! Requests to paths, and paths to answers.

use std::collections::hash_map::RandomState;
use std::convert::Infallible;
use std::future::poll_fn;
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant, SystemTime};

use hyper::body::{Body as _, Incoming};
use hyper::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, EXPECT, HOST, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode};
use janus_core::{ChatModel as _, ChatRequest, Generation, Message, SamplingParams};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::ServerOptions;
use super::answer::{Answer, Protocol};
use super::best_of::{Scorer, ranking};
use super::error::ApiError;
use super::metrics::Metrics;
use super::reply::{Events, Reply};
use super::request::{self, Asked, Delivery, Offer, Prompt, PromptField};
use super::worker::{Job, REQUEST_ID, Update};
use crate::Engine;

/// Bytes of a refused body that are read and forgotten, so that the client, who is still sending, comes to read why.
const FORGOTTEN: usize = 16 << 20;
/// Time for that.
const FORGETTING: Duration = Duration::from_secs(5);

/// What all connections share.
pub(super) struct State {
    engine: Arc<Engine>,
    reward: Option<Scorer>,
    options: ServerOptions,
    /// Only for this machine's own names: a web page may have its name resolved to a loopback address, and would then be let in by
    /// browsers. A token keeps it out, and on a network the server has names that it does not know.
    local_only: bool,
    jobs: Sender<Job>,
    metrics: Arc<Metrics>,
    /// Places for requests that wait or run.
    places: Arc<Semaphore>,
    /// Where ids and seeds come from.
    random: RandomState,
    drawn: AtomicU64,
    /// When the server began, in seconds since 1970.
    created: u64,
}

impl State {
    pub fn new(
        engine: Arc<Engine>,
        reward: Option<Scorer>,
        options: ServerOptions,
        local_only: bool,
        jobs: Sender<Job>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let places = Arc::new(Semaphore::new(options.queue));
        let (random, drawn) = (RandomState::new(), AtomicU64::new(0));
        Self { engine, reward, options, local_only, jobs, metrics, places, random, drawn, created: now() }
    }

    pub fn options(&self) -> &ServerOptions {
        &self.options
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Another number each time, that nobody can foretell.
    fn draw(&self) -> u64 {
        self.random.hash_one(self.drawn.fetch_add(1, Ordering::Relaxed))
    }

    fn offer(&self) -> Offer<'_> {
        Offer {
            model: self.engine.name(),
            context: self.engine.context(),
            has_reward: self.reward.is_some(),
            defaults: &self.options.sampling,
        }
    }

    fn model(&self) -> Value {
        json!({
            "id": self.engine.name(),
            "object": "model",
            "created": self.created,
            "owned_by": "janus",
            "max_model_len": self.engine.context(),
            "reward_model": self.reward.as_ref().map(Scorer::name),
        })
    }
}

fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs())
}

/// What a path stands for.
#[derive(Debug, Clone, PartialEq)]
enum Route {
    Generate(Protocol),
    Models,
    Model(String),
    Health,
    Metrics,
    Unknown,
}

impl Route {
    fn of(path: &str) -> Self {
        match path {
            "/v1/chat/completions" => Route::Generate(Protocol::Chat),
            "/v1/completions" => Route::Generate(Protocol::Completion),
            "/v1/models" => Route::Models,
            "/health" => Route::Health,
            "/metrics" => Route::Metrics,
            path => path.strip_prefix("/v1/models/").map_or(Route::Unknown, |name| Route::Model(percent_decoded(name))),
        }
    }

    /// The path in metrics.
    fn label(&self) -> &'static str {
        match self {
            Route::Generate(Protocol::Chat) => "/v1/chat/completions",
            Route::Generate(Protocol::Completion) => "/v1/completions",
            Route::Models => "/v1/models",
            Route::Model(_) => "/v1/models/{model}",
            Route::Health => "/health",
            Route::Metrics => "/metrics",
            Route::Unknown => "other",
        }
    }

    fn method(&self) -> Method {
        if matches!(self, Route::Generate(_)) { Method::POST } else { Method::GET }
    }
}

/// Answers a request, whatever it is.
pub(super) async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Reply>, Infallible> {
    let (parts, mut body) = request.into_parts();
    let route = Route::of(parts.uri.path());
    let response = match respond(&state, &route, &parts, &mut body).await {
        Ok(response) => response,
        Err(error) => {
            // A client that waits for "100 Continue" has not begun to send, and is not asked to; one that was late is not
            // waited for any more.
            if !parts.headers.contains_key(EXPECT) && error.status != StatusCode::REQUEST_TIMEOUT {
                let _ = tokio::time::timeout(FORGETTING, read_up_to(&mut body, FORGOTTEN, |_| {})).await;
            }
            let mut response = Reply::error(&error);
            if error.status == StatusCode::METHOD_NOT_ALLOWED {
                let method = if route.method() == Method::POST { "POST" } else { "GET" };
                response.headers_mut().insert(ALLOW, HeaderValue::from_static(method));
            }
            response
        }
    };
    state.metrics.responded(route.label(), response.status().as_u16());
    Ok(response)
}

async fn respond(state: &State, route: &Route, parts: &Parts, body: &mut Incoming) -> Result<Response<Reply>, ApiError> {
    if let Some(host) = parts.headers.get(HOST).filter(|host| state.local_only && !is_local(host.as_bytes())) {
        let host: String = String::from_utf8_lossy(host.as_bytes()).chars().take(200).collect();
        let message =
            format!("this server has no token and answers to localhost only, not to \"{host}\": ask it at localhost, or give it a token");
        return Err(ApiError::new(StatusCode::FORBIDDEN, message).code("unknown_host"));
    }
    let shown = parts.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
    if *route != Route::Health && state.options.token.as_ref().is_some_and(|token| !token.admits(shown)) {
        let message = if shown.is_none() { "a bearer token is needed, and none was sent" } else { "the bearer token is not the server's" };
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, message).code("invalid_api_key"));
    }
    if *route == Route::Unknown {
        let message =
            format!("there is nothing at {}: see /v1/models, /v1/chat/completions, /v1/completions, /health, /metrics", path(parts));
        return Err(ApiError::new(StatusCode::NOT_FOUND, message).code("unknown_url"));
    }
    if parts.method != route.method() {
        let message = format!("{} answers {}, not {}", path(parts), route.method(), parts.method);
        return Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message).code("method_not_allowed"));
    }
    Ok(match route {
        Route::Generate(protocol) => return generate(state, *protocol, parts, body).await,
        Route::Models => Reply::json(&json!({ "object": "list", "data": [state.model()] })),
        Route::Model(name) if name == state.engine.name() => Reply::json(&state.model()),
        Route::Model(name) => return Err(request::no_model(name, state.engine.name())),
        Route::Health => Reply::json(&json!({ "status": "ok" })),
        Route::Metrics | Route::Unknown => {
            let taken = state.options.queue - state.places.available_permits();
            Reply::text(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", state.metrics.text(state.options.queue, taken))
        }
    })
}

/// Whether the value of a `Host` header is a name of this machine's own: `localhost` or a loopback address, with a port or without.
fn is_local(host: &[u8]) -> bool {
    let Ok(authority) = std::str::from_utf8(host).unwrap_or_default().parse::<Authority>() else { return false };
    let name = authority.host();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// The path as it may be told: a client can send very long ones.
fn path(parts: &Parts) -> String {
    parts.uri.path().chars().take(200).collect()
}

async fn generate(state: &State, protocol: Protocol, parts: &Parts, body: &mut Incoming) -> Result<Response<Reply>, ApiError> {
    let arrived = Instant::now();
    // A page in a browser cannot send this type to another origin without being allowed to, which no answer of ours does; one that
    // makes its own name mean this machine is refused by that name (`is_local`).
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let message = "the body must be sent with \"Content-Type: application/json\"";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message).code("unsupported_media_type"));
    }
    let bytes = read(state, body).await?;
    let offer = state.offer();
    let (asked, name) = match protocol {
        Protocol::Chat => (request::chat(&bytes, &offer)?, "messages"),
        Protocol::Completion => (request::completion(&bytes, &offer)?, "prompt"),
    };
    drop(bytes);
    let Asked { prompts, sampling, seeded, delivery, system } = asked;
    let field = PromptField { name, several: prompts.len() > 1 };
    let Ok(place) = Arc::clone(&state.places).try_acquire_owned() else {
        return Err(ApiError::busy(state.options.queue, state.metrics.retry_after(state.options.queue)));
    };
    let place = Arc::new(place);
    let samples = prompts.len() * sampling.n;
    let (ids, messages) = encode(state, prompts, field, sampling.clone()).await?;
    let prompt_tokens = ids.iter().map(Vec::len).sum();
    let (updates, mut receiver) = unbounded_channel();
    let drawn = |ids| (ids, SamplingParams { seed: if seeded { sampling.seed } else { state.draw() }, ..sampling.clone() });
    let job = Job { prompts: ids.into_iter().map(drawn).collect(), updates, place: Arc::clone(&place), arrived };
    state.jobs.send(job).map_err(|_| ApiError::gone())?;
    match receiver.recv().await {
        Some(Update::Failed { prompt, error }) => return Err(ApiError::model(&error, field.at(prompt))),
        None => return Err(ApiError::gone()),
        Some(_) => {}
    }
    let prefix = if protocol == Protocol::Chat { "chatcmpl" } else { "cmpl" };
    let id = format!("{prefix}-{:016x}{:016x}", state.draw(), state.draw());
    let answer = Answer { protocol, id, created: now(), model: state.engine.name().into(), prompt_tokens, system };
    match delivery {
        Delivery::Stream { usage } => {
            let events = Events::new(receiver, answer, Arc::clone(&state.engine), samples, usage, field);
            Ok(Reply::events(events))
        }
        Delivery::Whole => {
            let generations = collect(receiver, samples, field).await?;
            let choices = generations.iter().map(|generation| (generation, Value::Null));
            Ok(Reply::json(&answer.whole(choices, &generations, &state.engine)))
        }
        Delivery::Best { keep } => {
            let generations = collect(receiver, samples, field).await?;
            let scorer = state.reward.as_ref().ok_or_else(ApiError::gone)?;
            let rewards = scorer.rewards(&messages, &generations, place).await?;
            let best = ranking(&rewards).into_iter().take(keep);
            let choices = best.map(|index| (&generations[index], json!({ "candidate": index, "reward": rewards[index] })));
            let mut whole = answer.whole(choices, &generations, &state.engine);
            whole["rewards"] = json!(rewards);
            whole["reward_model"] = json!(scorer.name());
            Ok(Reply::json(&whole))
        }
    }
}

/// The ids of each prompt, and the messages if there are any. In a completion's text, special tokens may be spelt out.
async fn encode(
    state: &State,
    prompts: Vec<Prompt>,
    field: PromptField,
    sampling: SamplingParams,
) -> Result<(Vec<Vec<u32>>, Vec<Message>), ApiError> {
    let engine = Arc::clone(&state.engine);
    // A long text takes its time: neither the engine nor other connections wait for it.
    let encoded = tokio::task::spawn_blocking(move || {
        let mut conversation = Vec::new();
        let mut ids_of = |(index, prompt): (usize, Prompt)| match prompt {
            Prompt::Ids(ids) => Ok(ids),
            Prompt::Text(text) => {
                engine.tokenizer().encode_with_specials(&text).map_err(|error| ApiError::field(field.at(index), error.to_string()))
            }
            Prompt::Chat(messages) => {
                let request = ChatRequest::new(REQUEST_ID, messages).with_sampling(sampling.clone());
                let ids = engine.prompt(&request).map_err(|error| ApiError::model(&error, field.at(index)))?;
                conversation = request.messages;
                Ok(ids)
            }
        };
        let ids = prompts.into_iter().enumerate().map(&mut ids_of).collect::<Result<Vec<_>, _>>()?;
        Ok((ids, conversation))
    });
    encoded.await.map_err(|_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the tokenizer panicked"))?
}

/// Waits for all samples.
async fn collect(mut updates: UnboundedReceiver<Update>, samples: usize, field: PromptField) -> Result<Vec<Generation>, ApiError> {
    let mut finished = vec![None; samples];
    while let Some(update) = updates.recv().await {
        match update {
            Update::Accepted | Update::Text { .. } => {}
            Update::Finished { sample, generation } => finished[sample] = Some(generation),
            Update::Failed { prompt, error } => return Err(ApiError::model(&error, field.at(prompt))),
            Update::Done => return finished.into_iter().collect::<Option<_>>().ok_or_else(ApiError::gone),
        }
    }
    Err(ApiError::gone())
}

/// The whole body, within the limits of size and time.
async fn read(state: &State, body: &mut Incoming) -> Result<Vec<u8>, ApiError> {
    let limit = state.options.body_bytes;
    let too_large = || {
        let message = format!("the body has more than {limit} bytes, which is the most that is read here");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message).code("request_too_large")
    };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let whole = read_up_to(body, limit, |piece| bytes.extend_from_slice(piece));
    match tokio::time::timeout(state.options.body_timeout, whole).await {
        Ok(Ok(true)) => Ok(bytes),
        Ok(Ok(false)) => Err(too_large()),
        Ok(Err(error)) => Err(ApiError::new(StatusCode::BAD_REQUEST, format!("the body broke off: {error}"))),
        Err(_) => {
            let message = format!("the body did not arrive within {:?}", state.options.body_timeout);
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, message).code("request_timeout"))
        }
    }
}

/// Reads a body until its end (true) or until it has more than `limit` bytes (false).
async fn read_up_to(body: &mut Incoming, limit: usize, mut take: impl FnMut(&[u8])) -> Result<bool, hyper::Error> {
    let mut left = limit;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
        let Ok(piece) = frame?.into_data() else { continue };
        if piece.len() > left {
            return Ok(false);
        }
        left -= piece.len();
        take(&piece);
    }
    Ok(true)
}

/// A part of a path with its `%2F` and the like read; what is no such thing stays.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = |byte: u8| char::from(byte).to_digit(16);
        let code = after.first_chunk().and_then(|&[high, low]| Some(hex(high)? * 16 + hex(low)?));
        match code.and_then(|code| u8::try_from(code).ok()) {
            Some(code) if byte == b'%' => {
                bytes.push(code);
                rest = &after[2..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_name_is_read_from_its_path() {
        assert_eq!(Route::of("/v1/models/a%2Fb%20c"), Route::Model("a/b c".into()));
        assert_eq!(Route::of("/v1/models/100%"), Route::Model("100%".into()));
        assert_eq!(Route::of("/v1/models/%zz%4"), Route::Model("%zz%4".into()));
        assert_eq!(Route::of("/v1/models/%ff"), Route::Model("\u{fffd}".into()));
        assert_eq!(Route::of("/v1"), Route::Unknown);
    }

    #[test]
    fn local_hosts_are_localhost_and_loopback_addresses() {
        for host in ["localhost", "LocalHost:8000", "127.0.0.1:8000", "127.8.9.1", "[::1]", "[::1]:80"] {
            assert!(is_local(host.as_bytes()), "{host}");
        }
        for host in
            ["", "x", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[::2]:80", "a b", "\u{ff}"]
        {
            assert!(!is_local(host.as_bytes()), "{host}");
        }
    }
}
