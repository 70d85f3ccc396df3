//! A server with an OpenAI-compatible API for a local [`Engine`].
//!
//! * `POST /v1/chat/completions` and `POST /v1/completions`, whole or as server-sent events;
//!   `GET /v1/models`, `/health`, `/metrics` (Prometheus' text format).
//! * vLLM's fields: `top_k`, `min_p`, `repetition_penalty`, `min_tokens`, `stop_token_ids`, `ignore_eos`,
//!   `continue_final_message`, `echo`. A field of OpenAI or vLLM that would change an answer and is not
//!   supported is refused by name.
//! * Extensions: `preferences`, a
//!   [`PreferenceSet`](janus_core::PreferenceSet) from which the system message is composed (and
//!   returned as `system_message`); `best_of` with a [`RewardModel`]: all candidates are scored, and the
//!   `n` best are the choices, each with its `reward` and its index as `candidate`. `rewards` has the
//!   rewards of all candidates in order.
//! * Missing parameters default to [`ServerOptions::sampling`]. With a `seed`, a request always has the
//!   same answer, streamed or not and whatever else is in the batch; without one, each request is
//!   sampled anew.
//! * Special tokens may be written in a completion's prompt. The only one that is added is the one that the
//!   model was trained with before every text, such as `<s>`. The prompt may be a list: choice `p · n + s` is
//!   sample s of prompt p, the same as if the prompt were sent alone.
//!
//! One thread runs the engine, another all connections. Limits apply to the number of requests that wait
//! or run, to the size of bodies, to the number of connections, and to the time that a client may take
//! to send or to read. The engine waits for no client, and a client that disconnects cancels its
//! request.
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
mod body;
mod connection;
mod error;
mod generate;
mod metrics;
mod options;
mod reply;
mod request;
mod routes;
mod service;
mod state;
mod token;
mod worker;

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use hyper_util::server::graceful::GracefulShutdown;
use janus_core::RewardModel;
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::sync::{Notify, Semaphore};

pub use error::ServerError;
pub use options::ServerOptions;
pub use reply::ResponseBody;
pub use service::Service;
pub use token::BearerToken;

use crate::Engine;
use connection::WriteTimeout;

/// The most bytes that a connection buffers for its client, in addition to the system's buffers.
const WRITE_BUFFER: usize = 64 << 10;
/// Threads that encode prompts and, at most one of them, score candidates.
const BLOCKING_THREADS: usize = 4;
/// Pause after a connection that could not be accepted.
const NO_CONNECTION: Duration = Duration::from_millis(100);

/// Stops a [`Server`] from another thread.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Notify>);

impl Stop {
    /// Stops accepting requests. [`Server::run`] returns when those that were accepted are answered.
    pub fn stop(&self) {
        self.0.notify_one();
    }
}

/// The result of a [`Server`] that was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Served {
    /// Number of requests that the engine answered.
    pub answered: u64,
    /// Whether all accepted requests were answered; otherwise a second signal cut off those that ran.
    pub all: bool,
}

/// A [`Service`] with a listening socket. It answers once it [runs](Self::run).
pub struct Server {
    listener: StdListener,
    address: SocketAddr,
    service: Service,
    engine: JoinHandle<()>,
    stop: Stop,
}

impl Server {
    /// Listens on an address; with port 0, on a port that the system chooses. A reward model enables the
    /// field `best_of`.
    ///
    /// # Errors
    /// [`ServerError::Setting`] names the option that cannot be used; [`ServerError::Listen`];
    /// [`ServerError::Run`].
    pub fn bind(
        address: SocketAddr,
        engine: Engine,
        reward: Option<Box<dyn RewardModel + Send + Sync>>,
        options: ServerOptions,
    ) -> Result<Self, ServerError> {
        options.validate()?;
        let failed = |cause| ServerError::Listen { address, cause };
        let listener = StdListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let stop = Stop::default();
        let at_end = stop.clone();
        let (service, engine) = Service::start(engine, reward, options, move || at_end.stop())?;
        // In a network the server does not know all names under which clients reach it.
        let service = if address.ip().is_loopback() { service } else { service.with_any_host() };
        Ok(Self { listener, address, service, engine, stop })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A handle to stop the server from another thread.
    pub fn stop_handle(&self) -> Stop {
        self.stop.clone()
    }

    /// Serves until it is stopped and all accepted requests are answered.
    ///
    /// # Errors
    /// [`ServerError::Run`]; [`ServerError::Engine`] if the engine panicked, which stops it too.
    pub fn run(self) -> Result<Served, ServerError> {
        self.serve(false)
    }

    /// [`Server::run`], which SIGINT (Ctrl-C) and SIGTERM stop too. A second signal cuts off the
    /// requests that still run.
    ///
    /// # Errors
    /// Those of [`Server::run`].
    pub fn run_until_signal(self) -> Result<Served, ServerError> {
        self.serve(true)
    }

    fn serve(self, signals: bool) -> Result<Served, ServerError> {
        let Self { listener, service, engine, stop, .. } = self;
        let metrics = Arc::clone(service.metrics());
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .build()
            .map_err(ServerError::Run)?;
        let all = runtime.block_on(async {
            let listener = TcpListener::from_std(listener).map_err(ServerError::Run)?;
            let mut signals = if signals { Some(Signals::new().map_err(ServerError::Run)?) } else { None };
            let connections = GracefulShutdown::new();
            tokio::select! {
                biased;
                () = accept(listener, service, &connections) => {}
                () = stop.0.notified() => {}
                () = Signals::next(signals.as_mut()) => {}
            }
            // The listener is closed. Each connection ends after the response that it waits for, or at
            // once if it waits for none.
            Ok(tokio::select! {
                biased;
                () = connections.shutdown() => true,
                () = Signals::next(signals.as_mut()) => false,
            })
        });
        // The connections had the last handles to the engine's thread, which ends when all requests are
        // answered. Work for clients that have disconnected is not waited for.
        runtime.shutdown_background();
        engine.join().map_err(|_| ServerError::Engine)?;
        Ok(Served { answered: metrics.answers(), all: all? })
    }
}

/// Accepts connections in an endless loop.
async fn accept(listener: TcpListener, service: Service, connections: &GracefulShutdown) {
    let options = service.options();
    let permits = Arc::new(Semaphore::new(options.connections));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(options.header_timeout).max_buf_size(WRITE_BUFFER);
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, or the client has already disconnected.
            tokio::time::sleep(NO_CONNECTION).await;
            continue;
        };
        // No small packet with a token should wait for the next one.
        let _ = stream.set_nodelay(true);
        let stream = WriteTimeout::new(stream, options.write_timeout);
        let connection = connections.watch(http.serve_connection(stream, service.clone()));
        let counted = service.metrics().connection();
        tokio::spawn(async move {
            // A failed connection concerns only its client.
            let _ = connection.await;
            drop((permit, counted));
        });
    }
}

/// SIGINT and SIGTERM; on other systems than Unix, Ctrl-C.
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

    /// Waits for the next signal; never returns without `signals`.
    async fn next(signals: Option<&mut Self>) {
        match signals {
            #[cfg(unix)]
            Some(Self { both: [interrupt, terminate] }) => {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            }
            #[cfg(not(unix))]
            Some(Self {}) => drop(tokio::signal::ctrl_c().await),
            None => std::future::pending().await,
        }
    }
}
