//! A server that speaks the OpenAI protocol over a local [`Engine`].
//!
//! * `POST /v1/chat/completions` and `POST /v1/completions`, whole or as server-sent events; `GET /v1/models`, `/health`,
//!   `/metrics` (Prometheus' text format).
//! * Beyond the protocol: `top_k`, `min_p` and `repetition_penalty`; `preferences`, a
//!   [`PreferenceSet`](janus_core::PreferenceSet) from which the system message is composed (and returned as
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
use connection::Patient;

/// Bytes that a connection holds of what its client has not read, beside the system's own buffers.
const WRITE_BUFFER: usize = 64 << 10;
/// Threads that encode prompts; one of them may be scoring candidates.
const BLOCKING_THREADS: usize = 4;
/// Pause when the system has no more connections to give.
const NO_CONNECTION: Duration = Duration::from_millis(100);

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
#[non_exhaustive]
pub struct Served {
    /// Requests that the engine answered.
    pub answered: u64,
    /// All of them; otherwise a second signal cut off those that ran.
    pub all: bool,
}

/// A server that listens and does not answer yet: a [`Service`] with a socket.
pub struct Server {
    listener: StdListener,
    address: SocketAddr,
    service: Service,
    engine: JoinHandle<()>,
    stop: Stop,
}

impl Server {
    /// Listens on an address; with port 0, on one that the system chooses. With a reward model, requests may ask for the best of
    /// several answers.
    ///
    /// # Errors
    /// [`ServerError::Setting`] names the option that cannot be used; [`ServerError::Listen`]; [`ServerError::Run`].
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
        // On a network, the server has names that it does not know.
        let service = if address.ip().is_loopback() { service } else { service.with_any_host() };
        Ok(Self { listener, address, service, engine, stop })
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
        let Self { listener, service, engine, stop, .. } = self;
        let metrics = Arc::clone(service.metrics());
        let runtime =
            runtime::Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING_THREADS).build().map_err(ServerError::Run)?;
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
            // The listener is closed. A connection ends with the answer that it waits for, or at once.
            Ok(tokio::select! {
                biased;
                () = connections.shutdown() => true,
                () = Signals::next(signals.as_mut()) => false,
            })
        });
        // With its connections, the last way to the engine goes: its thread ends when all is answered.
        // Nobody waits for what is encoded or scored for a client that is gone.
        runtime.shutdown_background();
        engine.join().map_err(|_| ServerError::Engine)?;
        Ok(Served { answered: metrics.answers(), all: all? })
    }
}

/// Accepts connections for ever.
async fn accept(listener: TcpListener, service: Service, connections: &GracefulShutdown) {
    let options = service.options();
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
        let stream = Patient::new(stream, options.write_timeout);
        let connection = connections.watch(http.serve_connection(stream, service.clone()));
        let counted = service.metrics().connection();
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

    /// Waits for the next one; for ever without signals.
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
