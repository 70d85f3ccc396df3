//! A server on loopback, and a simple client.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use janus_core::RewardModel;
use janus_infer::Engine;
use janus_infer::server::{Served, Server, ServerError, ServerOptions, Stop};
use serde_json::Value;

/// Time after which a test that waits has failed.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// A running server, which stops when it is dropped.
pub struct Running {
    pub address: SocketAddr,
    stop: Stop,
    thread: Option<JoinHandle<Result<Served, ServerError>>>,
}

impl Running {
    pub fn start(
        engine: Engine,
        reward: Option<Box<dyn RewardModel + Send + Sync>>,
        options: ServerOptions,
    ) -> Self {
        let server = Server::bind(([127, 0, 0, 1], 0).into(), engine, reward, options).unwrap();
        let (address, stop) = (server.address(), server.stop_handle());
        Self { address, stop, thread: Some(thread::spawn(move || server.run())) }
    }

    pub fn stop(&self) {
        self.stop.stop();
    }

    /// Stops the server, and returns the result of `run`.
    pub fn wait(mut self) -> Result<Served, ServerError> {
        self.stop();
        self.thread.take().unwrap().join().unwrap()
    }

    pub fn get(&self, path: &str) -> Response {
        exchange(
            self.address,
            &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"),
        )
        .unwrap()
    }

    pub fn post(&self, path: &str, body: &Value) -> Response {
        exchange(self.address, &post(path, &body.to_string())).unwrap()
    }

    pub fn chat(&self, body: &Value) -> Response {
        self.post("/v1/chat/completions", body)
    }

    /// The value of a metric without labels.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").body;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse().unwrap()
    }

    /// Waits until a metric has a value.
    pub fn wait_for(&self, name: &str, value: f64) {
        self.wait_until(name, |metric| metric == value);
    }

    /// Waits until a metric satisfies a condition.
    pub fn wait_until(&self, name: &str, right: impl Fn(f64) -> bool) {
        let start = Instant::now();
        while !right(self.metric(name)) {
            assert!(start.elapsed() < TIMEOUT, "{name} stays {}", self.metric(name));
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A response.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    /// The body, without the framing of chunks.
    pub body: String,
}

impl Response {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The events of a stream, without the last one, `[DONE]`.
    pub fn events(&self) -> Vec<Value> {
        assert_eq!(
            (self.status, self.header("content-type")),
            (200, Some("text/event-stream; charset=utf-8")),
            "{self:?}"
        );
        let events: Vec<&str> =
            self.body.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").unwrap()).collect();
        let (done, events) = events.split_last().unwrap();
        assert_eq!(*done, "[DONE]");
        events.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
    }

    /// Checks the shape of an error response, and returns its status, type, param and code.
    pub fn error(&self) -> (u16, String, Option<String>, Option<String>) {
        let body = self.json();
        assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
        let error = body["error"].as_object().unwrap();
        assert_eq!(error.keys().collect::<Vec<_>>(), ["message", "type", "param", "code"], "{body}");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()));
        let text = |name: &str| error[name].as_str().map(String::from);
        assert!(
            ["param", "code"].iter().all(|name| error[*name].is_string() || error[*name].is_null()),
            "{body}"
        );
        (self.status, text("type").unwrap(), text("param"), text("code"))
    }

    pub fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap().into()
    }
}

/// A request with a JSON body.
pub fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// A connection with timeouts.
pub fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// Sends a request and reads the response to its end.
pub fn exchange(address: SocketAddr, request: &str) -> std::io::Result<Response> {
    let mut stream = connect(address)?;
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    response(&bytes)
}

/// Parses a complete response.
pub fn response(bytes: &[u8]) -> std::io::Result<Response> {
    let broken = || {
        std::io::Error::new(std::io::ErrorKind::UnexpectedEof, String::from_utf8_lossy(bytes).into_owned())
    };
    let text = std::str::from_utf8(bytes).map_err(|_| broken())?;
    let (head, mut rest) = text.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
    let head = head.to_ascii_lowercase();
    if !head.contains("transfer-encoding: chunked") {
        return Ok(Response { status, head, body: rest.into() });
    }
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n").ok_or_else(broken)?;
        let size = usize::from_str_radix(size, 16).map_err(|_| broken())?;
        body.push_str(after.get(..size).ok_or_else(broken)?);
        rest = after[size..].strip_prefix("\r\n").ok_or_else(broken)?;
        if size == 0 {
            return Ok(Response { status, head, body });
        }
    }
}
