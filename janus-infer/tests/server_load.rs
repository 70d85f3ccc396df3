//! Five hundred clients at once, many of which misbehave.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/http.rs"]
mod http;
#[path = "support/tiny.rs"]
mod tiny;

use std::io::{Read as _, Write as _};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use http::{Response, Running, TIMEOUT, connect, exchange, post, response};
use janus_infer::EngineOptions;
use janus_infer::server::ServerOptions;
use serde_json::{Value, json};

const CLIENTS: usize = 500;
/// Kinds of valid requests, each of which always has the same answer.
const KINDS: usize = 5;
const BODY_BYTES: usize = 64 << 10;

fn body(kind: usize, stream: bool) -> Value {
    let content = "na ".repeat(1 + kind);
    json!({ "messages": [{ "role": "user", "content": content }], "seed": kind, "n": 1 + kind % 2, "max_tokens": 40 + 10 * kind, "stream": stream })
}

/// The texts of a response, whole or streamed.
fn texts(response: &Response) -> Vec<String> {
    let mut texts = vec![String::new(); 2];
    let whole = response.header("content-type") == Some("application/json");
    let parts = if whole { vec![response.json()] } else { response.events() };
    for choice in parts.iter().flat_map(|part| part["choices"].as_array().unwrap()) {
        let text = choice["message"]["content"]
            .as_str()
            .or_else(|| choice["delta"]["content"].as_str())
            .unwrap_or_default();
        texts[choice["index"].as_u64().unwrap() as usize].push_str(text);
    }
    texts
}

/// Sends a request until the queue has a place, and reads the response, with a `pause` after each piece
/// of `piece` bytes.
fn ask(server: &Running, request: &str, piece: usize, pause: Duration) -> (Response, usize) {
    let start = Instant::now();
    for refused in 0.. {
        assert!(start.elapsed() < TIMEOUT, "no place in the queue");
        let mut stream = connect(server.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let (mut bytes, mut buffer) = (Vec::new(), vec![0; piece]);
        loop {
            match stream.read(&mut buffer).unwrap() {
                0 => break,
                count => bytes.extend_from_slice(&buffer[..count]),
            }
            thread::sleep(pause);
        }
        let response = response(&bytes).unwrap();
        if response.status != 429 {
            return (response, refused);
        }
        assert!(response.header("retry-after").is_some() && response.error().0 == 429);
        thread::sleep(Duration::from_millis(20 + refused as u64 % 50));
    }
    unreachable!()
}

/// Sends something that is not a request, or a request that is refused.
fn misbehave(server: &Running, kind: usize) {
    let oversized = || post("/v1/chat/completions", &" ".repeat(4 * BODY_BYTES));
    match kind % 6 {
        // Either the response arrives, or the connection is closed while the body is sent.
        0 => {
            assert!(exchange(server.address, &oversized()).map_or(true, |response| response.error().0 == 413))
        }
        1 => assert_eq!(
            exchange(server.address, &post("/v1/chat/completions", "{\"messages\": [")).unwrap().error().0,
            400
        ),
        2 => {
            let garbage: Vec<u8> =
                (0..3000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
            let mut stream = connect(server.address).unwrap();
            let _ = stream.write_all(&garbage);
            let _ = stream.read_to_end(&mut Vec::new());
        }
        // A part of a head, and a part of a body.
        3 => drop(connect(server.address).unwrap().write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost")),
        4 => {
            let request = post("/v1/chat/completions", &body(0, false).to_string());
            drop(connect(server.address).unwrap().write_all(&request.as_bytes()[..request.len() - 20]));
        }
        _ => {
            let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n";
            drop(exchange(server.address, head));
        }
    }
}

/// The resident memory of this process in bytes.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<usize>().ok().map(|kilobytes| kilobytes << 10)
}

#[test]
fn five_hundred_clients_at_once() {
    let engine = tiny::engine(EngineOptions::default().with(|options| options.max_sequences = 32));
    let body_timeout = Duration::from_secs(5);
    let options = ServerOptions::default().with(|options| {
        options.queue = 48;
        options.connections = 200;
        options.body_bytes = BODY_BYTES;
        options.body_timeout = body_timeout;
    });
    let server = Running::start(engine, None, options);
    let expected: Vec<_> = (0..KINDS).map(|kind| texts(&server.chat(&body(kind, false)))).collect();
    let before = resident();
    let (begin, answered, refused, gone) =
        (Barrier::new(CLIENTS), AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let client = |index: usize| {
        let kind = index / 5 % KINDS;
        let request = |stream| post("/v1/chat/completions", &body(kind, stream).to_string());
        begin.wait();
        let (response, refusals) = match index % 5 {
            0 => ask(&server, &request(false), 4096, Duration::ZERO),
            1 => ask(&server, &request(true), 4096, Duration::ZERO),
            2 => ask(&server, &request(true), 256, Duration::from_millis(2)),
            3 => {
                // Disconnects after the first bytes, or without waiting for them.
                let mut stream = connect(server.address).unwrap();
                stream.write_all(request(true).as_bytes()).unwrap();
                if index.is_multiple_of(2) {
                    let _ = stream.read(&mut [0; 64]);
                }
                gone.fetch_add(1, Ordering::Relaxed);
                return;
            }
            _ => return misbehave(&server, index / 5),
        };
        assert_eq!(response.status, 200, "{response:?}");
        assert_eq!(texts(&response), expected[kind], "an answer depends only on its request");
        answered.fetch_add(1, Ordering::Relaxed);
        refused.fetch_add(refusals, Ordering::Relaxed);
    };
    let mut most = 0;
    thread::scope(|scope| {
        let client = &client;
        let spawn = |index| {
            thread::Builder::new().stack_size(512 << 10).spawn_scoped(scope, move || client(index)).unwrap()
        };
        let clients: Vec<_> = (0..CLIENTS).map(spawn).collect();
        let start = Instant::now();
        while !clients.iter().all(|client| client.is_finished()) {
            assert!(start.elapsed() < 3 * TIMEOUT, "the clients do not finish");
            most = most.max(resident().unwrap_or(0));
            thread::sleep(Duration::from_millis(20));
        }
    });
    assert_eq!((answered.into_inner(), gone.into_inner()), (CLIENTS / 5 * 3, CLIENTS / 5));
    // Everything is as before: all places are free, the only open connection is that of this query, and
    // nothing waits or runs.
    server.wait_for("janus_queue_places_taken", 0.0);
    server.wait_for("janus_connections", 1.0);
    server.wait_for("janus_requests_waiting", 0.0);
    server.wait_for("janus_sequences_running", 0.0);
    assert_eq!(texts(&server.chat(&body(1, true))), expected[1]);
    if let Some(before) = before {
        assert!(most - before < 256 << 20, "grew by {} MB", (most - before) >> 20);
        println!(
            "{} refused with 429 on the way; grew by at most {} MB",
            refused.into_inner(),
            (most - before) >> 20
        );
    }
    assert!(server.wait().unwrap().all);
}
