//! A server that speaks the OpenAI protocol over a local [`Engine`].
//!
//! * `POST /v1/chat/completions` and `POST /v1/completions`, whole or as server-sent events; `GET /v1/models`, `/health`,
//!   `/metrics` (Prometheus' text format).
//! * Beyond the protocol: `top_k`, `min_p` and `repetition_penalty`; `preferences`, a
//!   [`PreferenceSet`](janus_core::PreferenceSet) of which the system message is composed (and told as
//!   `system_message`); `best_of` with a [`RewardModel`]: all candidates are scored, the `n` best are the choices, each
//!   with its `reward` and `candidate`, and `rewards` has those of all candidates in their order.
//! * Parameters that are not given are [`ServerOptions::sampling`]. With a `seed`, one request has one answer,
//!   streamed or not, alone or beside others; without one, each is drawn anew.
//! * A completion's prompt is taken as it is: special tokens may be spelt out in it, and none is added. It may be a list: choice
//!   `p · n + s` is sample s of prompt p, the same as if the prompt were asked alone.
//!
//! One thread runs the engine, another all connections. What waits or runs is bounded by a queue, and so are bodies,
//! connections, and the time that a client may take to send or to read; the engine waits for no client, and a client that goes
//! away cancels its request.
//!
//! ```no_run
//! use candle_core::Device;
//! use janus_infer::server::{Server, ServerOptions};
//! use janus_infer::{Engine, EngineOptions};
//!
//! let engine = Engine::load("smollm2.gguf", &Device::Cpu, EngineOptions::default())?;
//! let server = Server::bind(([127, 0, 0, 1], 8000).into(), engine, None, ServerOptions::default())?;
//! println!("http://{}/v1", server.address());
//! server.run_until_signal()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answer;
mod best_of;
mod connection;
mod error;
mod metrics;
mod reply;
mod request;
mod routes;
mod token;
mod worker;

use std::future::{Future, poll_fn};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use hyper_util::server::graceful::GracefulShutdown;
use janus_core::{RewardModel, SamplingParams};
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::sync::{Notify, Semaphore};

pub use error::ServerError;
pub use token::BearerToken;

use crate::Engine;
use best_of::Scorer;
use connection::Patient;
use metrics::Metrics;
use routes::State;

/// Bytes that a connection holds of what its client has not read, beside the system's own buffers.
const WRITE_BUFFER: usize = 64 << 10;
/// Threads that encode prompts; one of them may be scoring candidates.
const BLOCKING_THREADS: usize = 4;
/// Pause when the system has no more connections to give.
const NO_CONNECTION: Duration = Duration::from_millis(100);

/// How a [`Server`] treats its clients.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// What clients must show; `/health` alone is told to anybody. Without one, a server on a loopback address answers to
    /// `localhost` and loopback addresses only, so that no page in a browser reaches it by a name of its own.
    pub token: Option<BearerToken>,
    /// Requests that wait or run at the most; one more is answered 429.
    pub queue: usize,
    /// Connections at the most; others wait to be accepted.
    pub connections: usize,
    /// Bytes of a request's body at the most; more is answered 413.
    pub body_bytes: usize,
    /// Time to send a request's head, and to stay silent between two requests.
    pub header_timeout: Duration,
    /// Time to send a request's body.
    pub body_timeout: Duration,
    /// Time in which a client must read something of what there is to read.
    pub write_timeout: Duration,
    /// What parameters that a request does not give stand for. Of a chat's: `/v1/completions` generates 16 tokens unless
    /// asked for more. `n`, `seed` and log-probabilities are the request's alone.
    pub sampling: SamplingParams,
}

impl Default for ServerOptions {
    /// No token, 256 requests, 512 connections, bodies of 1 MiB, 30 seconds for each thing that a client does, the
    /// paper's sampling parameters.
    fn default() -> Self {
        let patience = Duration::from_secs(30);
        Self {
            token: None,
            queue: 256,
            connections: 512,
            body_bytes: 1 << 20,
            header_timeout: patience,
            body_timeout: patience,
            write_timeout: patience,
            sampling: SamplingParams::paper(),
        }
    }
}

impl ServerOptions {
    fn validate(&self) -> Result<(), ServerError> {
        let wrong = |field, got: String, expected| Err(ServerError::Setting { field, got, expected });
        for (field, value) in [("queue", self.queue), ("connections", self.connections), ("body_bytes", self.body_bytes)] {
            if value == 0 || value > Semaphore::MAX_PERMITS {
                return wrong(field, value.to_string(), "at least 1, and not beyond what can be counted");
            }
        }
        let times = [("header_timeout", self.header_timeout), ("body_timeout", self.body_timeout), ("write_timeout", self.write_timeout)];
        for (field, value) in times {
            if value.is_zero() {
                return wrong(field, "0".into(), "some time");
            }
        }
        match self.sampling.validate() {
            Ok(()) => Ok(()),
            Err(error) => wrong("sampling", error.to_string(), "parameters in range"),
        }
    }
}

/// Stops a [`Server`] from another thread.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Notify>);

impl Stop {
    /// Nothing new is accepted from now on, and what was accepted is answered; then [`Server::run`] returns.
    pub fn stop(&self) {
        self.0.notify_one();
    }
}

/// What a [`Server`] did until it was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Requests that the engine answered.
    pub answered: u64,
    /// All of them; otherwise a second signal cut off those that ran.
    pub all: bool,
}

/// A server that listens and does not answer yet.
pub struct Server {
    listener: StdListener,
    address: SocketAddr,
    engine: Arc<Engine>,
    reward: Option<Scorer>,
    options: ServerOptions,
    stop: Stop,
}

impl Server {
    /// Listens on an address; with port 0, on one that the system chooses. With a reward model, requests may ask for the best of
    /// several answers.
    ///
    /// # Errors
    /// [`ServerError::Setting`] names the option that cannot be used; [`ServerError::Listen`].
    pub fn bind(
        address: SocketAddr,
        engine: Engine,
        reward: Option<Box<dyn RewardModel + Send + Sync>>,
        options: ServerOptions,
    ) -> Result<Self, ServerError> {
        options.validate()?;
        let failed = |source| ServerError::Listen { address, source };
        let listener = StdListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (engine, reward, stop) = (Arc::new(engine), reward.map(Scorer::new), Stop::default());
        Ok(Self { listener, address, engine, reward, options, stop })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What stops it.
    pub fn stop_handle(&self) -> Stop {
        self.stop.clone()
    }

    /// Serves until it is stopped and all that was accepted is answered.
    ///
    /// # Errors
    /// [`ServerError::Run`]; [`ServerError::Engine`] if the engine panicked, which stops it too.
    pub fn run(self) -> Result<Served, ServerError> {
        self.serve(false)
    }

    /// [`Server::run`], stopped by SIGINT (Ctrl-C) or SIGTERM too. A second one cuts off what still runs.
    ///
    /// # Errors
    /// Those of [`Server::run`].
    pub fn run_until_signal(self) -> Result<Served, ServerError> {
        self.serve(true)
    }

    fn serve(self, signals: bool) -> Result<Served, ServerError> {
        let Self { listener, address, engine, reward, options, stop } = self;
        let local_only = address.ip().is_loopback() && options.token.is_none();
        let runtime =
            runtime::Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING_THREADS).build().map_err(ServerError::Run)?;
        let metrics = Arc::new(Metrics::default());
        let (jobs, queued) = mpsc::channel();
        let worker = {
            let (engine, metrics, stop) = (Arc::clone(&engine), Arc::clone(&metrics), StopAtEnd(stop.clone()));
            let work = move || {
                let _stop = stop;
                worker::work(&engine, &queued, &metrics);
            };
            thread::Builder::new().name("engine".into()).spawn(work).map_err(ServerError::Run)?
        };
        let state = Arc::new(State::new(engine, reward, options, local_only, jobs, Arc::clone(&metrics)));
        let all = runtime.block_on(async {
            let listener = TcpListener::from_std(listener).map_err(ServerError::Run)?;
            let mut signals = if signals { Some(Signals::new().map_err(ServerError::Run)?) } else { None };
            let connections = GracefulShutdown::new();
            let stopped = first(stop.0.notified(), Signals::next(signals.as_mut()));
            first(accept(listener, state, &connections), stopped).await;
            // The listener is closed. A connection ends with the answer that it waits for, or at once.
            Ok(first(connections.shutdown(), Signals::next(signals.as_mut())).await.is_some())
        });
        // With its connections, the last way to the engine goes: its thread ends when all is answered.
        // Nobody waits for what is encoded or scored for a client that is gone.
        runtime.shutdown_background();
        worker.join().map_err(|_| ServerError::Engine)?;
        Ok(Served { answered: metrics.answers(), all: all? })
    }
}

/// Stops the server when the engine's thread ends, of itself or by a panic.
struct StopAtEnd(Stop);

impl Drop for StopAtEnd {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Accepts connections for ever.
async fn accept(listener: TcpListener, state: Arc<State>, connections: &GracefulShutdown) {
    let options = state.options();
    let places = Arc::new(Semaphore::new(options.connections));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(options.header_timeout).max_buf_size(WRITE_BUFFER);
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, or the client is gone already.
            tokio::time::sleep(NO_CONNECTION).await;
            continue;
        };
        // Tokens are small; none of them should wait for the next.
        let _ = stream.set_nodelay(true);
        let (stream, answering) = (Patient::new(stream, options.write_timeout), Arc::clone(&state));
        let service = service_fn(move |request| routes::answer(Arc::clone(&answering), request));
        let connection = connections.watch(http.serve_connection(stream, service));
        let counted = state.metrics().connection();
        tokio::spawn(async move {
            // What goes wrong with a connection is its client's affair.
            let _ = connection.await;
            drop((place, counted));
        });
    }
}

/// SIGINT and SIGTERM; elsewhere than on Unix, Ctrl-C.
struct Signals {
    #[cfg(unix)]
    both: [tokio::signal::unix::Signal; 2],
}

impl Signals {
    #[cfg(unix)]
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { both: [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?] })
    }

    #[cfg(not(unix))]
    fn new() -> std::io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for the next one; for ever, if none is listened for.
    async fn next(signals: Option<&mut Self>) {
        match signals {
            #[cfg(unix)]
            Some(Self { both: [interrupt, terminate] }) => drop(first(interrupt.recv(), terminate.recv()).await),
            #[cfg(not(unix))]
            Some(Self {}) => drop(tokio::signal::ctrl_c().await),
            None => std::future::pending().await,
        }
    }
}

/// Waits for one of two futures; the first one's output, if it was that.
async fn first<T>(a: impl Future<Output = T>, b: impl Future) -> Option<T> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|cx| match a.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => b.as_mut().poll(cx).map(|_| None),
    })
    .await
}
