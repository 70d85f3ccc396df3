//! The API as a service, without a socket.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use hyper::body::Body;
use hyper::{Request, Response};
use janus_core::RewardModel;

use super::best_of::Scorer;
use super::metrics::Metrics;
use super::reply::ResponseBody;
use super::state::State;
use super::{ServerError, ServerOptions, routes, worker};
use crate::Engine;

/// The API as a [`hyper::service::Service`], which maps a request to a response and owns no socket.
///
/// A [`Server`](super::Server) runs it on its own connections. A program that already has an HTTP server
/// can mount it beside other routes, and a test can call it without a port. Clones share one engine,
/// whose thread ends when the last clone and the last response are dropped.
///
/// It must be called within a tokio runtime with time enabled (`enable_time`). The limits on
/// connections, heads and slow readers in [`ServerOptions`] apply only to a [`Server`](super::Server);
/// here they are up to the program that owns the connections.
///
/// ```no_run
/// use candle_core::Device;
/// use http_body_util::{BodyExt, Full};
/// use hyper::Request;
/// use hyper::body::Bytes;
/// use janus_infer::server::{ServerOptions, Service};
/// use janus_infer::{Engine, EngineOptions};
///
/// # async fn test() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Engine::load("smollm2.gguf", &Device::Cpu, EngineOptions::default())?;
/// let service = Service::new(engine, None, ServerOptions::default())?;
/// let body = r#"{"messages": [{"role": "user", "content": "What is a kite?"}]}"#;
/// let request = Request::post("/v1/chat/completions").header("content-type", "application/json");
/// let response = service.handle(request.body(Full::new(Bytes::from(body)))?).await;
/// println!("{:?}", response.into_body().collect().await?.to_bytes());
/// # Ok(())
/// # }
/// ```
///
/// With hyper, pass it to `serve_connection`, as in `examples/embedded_server.rs`. With axum, use it as
/// a fallback: `Router::new().fallback(move |request| async move { service.handle(request).await })`.
#[derive(Clone)]
pub struct Service {
    state: Arc<State>,
    local_only: bool,
}

impl Service {
    /// Starts the engine's thread. A reward model enables the field `best_of`.
    ///
    /// # Errors
    /// [`ServerError::Setting`] names the option that cannot be used; [`ServerError::Run`] if no thread
    /// can be started.
    pub fn new(
        engine: Engine,
        reward: Option<Box<dyn RewardModel + Send + Sync>>,
        options: ServerOptions,
    ) -> Result<Self, ServerError> {
        options.validate()?;
        let (service, _) = Self::start(engine, reward, options, || ())?;
        Ok(service)
    }

    /// Accepts requests for any host. Without this and without a token, a request whose `Host` is not
    /// `localhost` or a loopback address is refused, since it may come from a web page whose name
    /// resolves to this machine (DNS rebinding).
    #[must_use]
    pub fn with_any_host(self) -> Self {
        Self { local_only: false, ..self }
    }

    /// Answers any request.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<ResponseBody>
    where
        B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send,
    {
        routes::answer(&self.state, self.local_only, request).await
    }

    /// A service and its engine's thread, which calls `at_end` when it ends, even by a panic.
    pub(super) fn start(
        engine: Engine,
        reward: Option<Box<dyn RewardModel + Send + Sync>>,
        options: ServerOptions,
        at_end: impl FnOnce() + Send + 'static,
    ) -> Result<(Self, JoinHandle<()>), ServerError> {
        let (engine, metrics) = (Arc::new(engine), Arc::new(Metrics::default()));
        let (jobs, queued) = mpsc::channel();
        let work = {
            let (engine, metrics, at_end) = (Arc::clone(&engine), Arc::clone(&metrics), AtEnd(Some(at_end)));
            move || {
                let _at_end = at_end;
                worker::work(&engine, &queued, &metrics);
            }
        };
        let thread = thread::Builder::new().name("engine".into()).spawn(work).map_err(ServerError::Run)?;
        let local_only = options.token.is_none();
        let state = State::new(engine, reward.map(Scorer::new), options, jobs, metrics);
        Ok((Self { state: Arc::new(state), local_only }, thread))
    }

    pub(super) fn options(&self) -> &ServerOptions {
        &self.state.options
    }

    pub(super) fn metrics(&self) -> &Arc<Metrics> {
        &self.state.metrics
    }
}

impl<B> hyper::service::Service<Request<B>> for Service
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.handle(request).await) })
    }
}

/// Calls a function on drop, and so after a panic too.
struct AtEnd<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        if let Some(at_end) = self.0.take() {
            at_end();
        }
    }
}
