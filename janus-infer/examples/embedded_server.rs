//! The API in a program that has routes of its own:
//! `cargo run -p janus-infer --features server --example embedded_server -- [MODEL]`
//!
//! `MODEL` is a folder with `config.json`, safetensors and tokenizer, or a `.gguf` file; without it the
//! example uses a small model with random weights, whose answers are noise. To serve only the API, use
//! `Server`.
#![allow(clippy::print_stdout, reason = "an example prints its results")]

#[path = "../tests/support/tiny.rs"]
mod tiny;

use std::convert::Infallible;

use candle_core::Device;
use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use janus_infer::server::{ResponseBody, ServerOptions, Service};
use janus_infer::{Engine, EngineOptions};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = match std::env::args().nth(1) {
        Some(model) => Engine::load(model, &Device::Cpu, EngineOptions::default())?,
        None => tiny::engine(EngineOptions::default()),
    };
    let listener = TcpListener::bind("127.0.0.1:8000").await?;
    println!("http://{} and http://{}/v1", listener.local_addr()?, listener.local_addr()?);
    serve(listener, Service::new(engine, None, ServerOptions::default())?).await
}

async fn serve(listener: TcpListener, api: Service) -> Result<(), Box<dyn std::error::Error>> {
    loop {
        let (stream, _) = listener.accept().await?;
        let api = api.clone();
        let routes = service_fn(move |request| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(answer(&api, request).await) }
        });
        let connection =
            http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), routes);
        tokio::spawn(connection);
    }
}

/// `/` is a page of the program, and all other paths belong to the API.
async fn answer(api: &Service, request: Request<Incoming>) -> Response<Either<Full<Bytes>, ResponseBody>> {
    match request.uri().path() {
        "/" => Response::new(Either::Left(Full::from("The API is at /v1/chat/completions.\n"))),
        _ => api.handle(request).await.map(Either::Right),
    }
}

#[test]
fn the_page_and_the_api_are_served() {
    use std::io::{Read as _, Write as _};

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let api = Service::new(tiny::engine(EngineOptions::default()), None, ServerOptions::default()).unwrap();
        let client = tokio::task::spawn_blocking(move || {
            let body = r#"{"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}"#;
            let chat =
                format!("POST /v1/chat/completions HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n", body.len());
            [("GET / HTTP/1.1\r\n".to_string(), ""), (chat, body)].map(|(head, body)| {
                let mut stream = std::net::TcpStream::connect(address).unwrap();
                write!(stream, "{head}host: localhost\r\nconnection: close\r\n\r\n{body}").unwrap();
                let mut response = String::new();
                stream.read_to_string(&mut response).unwrap();
                response
            })
        });
        tokio::select! {
            served = serve(listener, api) => panic!("it stopped: {served:?}"),
            responses = client => {
                let [page, chat] = responses.unwrap();
                assert!(page.starts_with("HTTP/1.1 200") && page.ends_with("The API is at /v1/chat/completions.\n"), "{page}");
                assert!(chat.starts_with("HTTP/1.1 200") && chat.contains("\"chat.completion\""), "{chat}");
            }
        }
    });
}
