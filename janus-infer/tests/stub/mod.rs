//! A server on loopback that gives the responses that a test chooses, good or bad ones.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// A request that the server received.
#[allow(dead_code, reason = "each test reads what it needs")]
pub struct Received {
    /// Its number, from 0, over all connections.
    pub number: usize,
    /// The path in the request line.
    pub path: String,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Value,
}

#[allow(dead_code, reason = "each test reads what it needs")]
impl Received {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The text of the last message.
    pub fn last_message(&self) -> &str {
        self.body["messages"]
            .as_array()
            .and_then(|messages| messages.last())
            .and_then(|last| last["content"].as_str())
            .unwrap_or_default()
    }
}

/// A response.
#[derive(Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// Time before the first byte.
    pub after: Duration,
    /// Closes the connection after this many bytes of the whole response.
    pub cut: Option<usize>,
    /// Sends the whole response twice on the same connection.
    pub twice: bool,
    /// Time between chunks of 16 bytes.
    pub slowly: Duration,
}

impl Reply {
    /// A response with a status and a body.
    pub fn status(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let zero = Duration::ZERO;
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            after: zero,
            cut: None,
            twice: false,
            slowly: zero,
        }
    }

    /// A chat completion with this text.
    #[allow(dead_code, reason = "tests of other APIs do not use it")]
    pub fn text(text: &str) -> Self {
        let choice = json!({ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" });
        let usage = json!({ "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15 });
        Self::status(
            200,
            json!({ "id": "c", "object": "chat.completion", "choices": [choice], "usage": usage })
                .to_string(),
        )
    }
}

/// A running server, which stops when it is dropped.
#[allow(dead_code, reason = "each test reads what it needs")]
pub struct Stub {
    port: u16,
    received: Arc<AtomicUsize>,
    models: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl Stub {
    /// Starts a server that answers with `handle`. It answers `GET /v1/models` with 404, and does not
    /// count such requests.
    pub fn start(handle: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(|| Reply::status(404, ""), handle)
    }

    /// Starts a server that answers `GET /v1/models` with `models`, and all other requests with `handle`.
    pub fn start_with(
        models: impl Fn() -> Reply + Send + Sync + 'static,
        handle: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (received, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let queries = Arc::new(AtomicUsize::new(0));
        let (count, ended, handle) = (received.clone(), over.clone(), Arc::new(handle));
        let (model_queries, models) = (queries.clone(), Arc::new(models));
        thread::spawn(move || {
            for connection in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    break;
                }
                let (count, handle, model_queries, models) =
                    (count.clone(), handle.clone(), model_queries.clone(), models.clone());
                let models = move || {
                    model_queries.fetch_add(1, Ordering::SeqCst);
                    models()
                };
                // A client that has disconnected is no error here.
                thread::spawn(move || connection.map(|stream| serve(stream, &count, &models, &*handle)));
            }
        });
        Self { port, received, models: queries, over }
    }

    /// The base URL, including the version.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    /// Number of requests that were received.
    #[allow(dead_code, reason = "each test reads what it needs")]
    pub fn received(&self) -> usize {
        self.received.load(Ordering::SeqCst)
    }

    /// Number of requests to `GET /v1/models`.
    #[allow(dead_code, reason = "each test reads what it needs")]
    pub fn model_queries(&self) -> usize {
        self.models.load(Ordering::SeqCst)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(
    stream: TcpStream,
    count: &AtomicUsize,
    models: &dyn Fn() -> Reply,
    handle: &dyn Fn(&Received) -> Reply,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = (BufReader::new(stream.try_clone()?), stream);
    loop {
        let (mut line, mut length, mut headers) = (String::new(), 0, Vec::new());
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let head_only = line.starts_with("HEAD ");
        let is_model_query = line.starts_with("GET /v1/models ");
        let path = line.split(' ').nth(1).unwrap_or_default().to_string();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(": ") else { break };
            let name = name.to_ascii_lowercase();
            if name == "content-length" {
                length = value.parse().unwrap();
            }
            headers.push((name, value.to_string()));
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let reply = if is_model_query {
            models()
        } else {
            let number = count.fetch_add(1, Ordering::SeqCst);
            let body = serde_json::from_slice(&body).unwrap_or_default();
            handle(&Received { number, path, headers, body })
        };
        thread::sleep(reply.after);
        let headers: String =
            reply.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!(
            "HTTP/1.1 {} X\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
            reply.status,
            reply.body.len()
        );
        let mut bytes = if head_only { head.into_bytes() } else { [head.as_bytes(), &reply.body].concat() };
        if reply.twice {
            bytes.extend_from_within(..);
        }
        if let Some(cut) = reply.cut {
            writer.write_all(&bytes[..cut.min(bytes.len())])?;
            return Ok(());
        }
        if reply.slowly.is_zero() {
            writer.write_all(&bytes)?;
        } else {
            for chunk in bytes.chunks(16) {
                writer.write_all(chunk)?;
                thread::sleep(reply.slowly);
            }
        }
    }
}
