//! The API without a port: the service answers as the server does.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Bytes, Frame};
use hyper::service::Service as _;
use hyper::{Request, StatusCode};
use janus_core::{ChatModel, Message, ModelError, RewardModel, SamplingParams};
use janus_infer::EngineOptions;
use janus_infer::server::{BearerToken, ServerError, ServerOptions, Service};
use serde_json::{Value, json};

use crate::tiny;

fn service(options: ServerOptions) -> Service {
    Service::new(tiny::engine(EngineOptions::default()).with_name("tiny"), None, options).unwrap()
}

/// Runs a test on one thread.
fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).body(Full::default()).unwrap()
}

fn chat(fields: Value) -> Request<Full<Bytes>> {
    let mut body =
        json!({ "messages": [{ "role": "user", "content": "hello" }], "max_tokens": 24, "seed": 7 });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .body(body.to_string().into())
        .unwrap()
}

async fn text<B>(service: &Service, request: Request<B>) -> (StatusCode, String)
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send,
{
    let response = service.handle(request).await;
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn json<B>(service: &Service, request: Request<B>) -> (StatusCode, Value)
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send,
{
    let (status, body) = text(service, request).await;
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

#[test]
fn a_chat_has_the_engines_answer_whole_and_streamed() {
    run(async {
        let service = service(ServerOptions::default());
        let sampling = SamplingParams { max_tokens: 24, seed: 7, ..SamplingParams::default() };
        let expected = tiny::engine(EngineOptions::default())
            .generate(&[tiny::request("api", "hello", sampling)])
            .remove(0)
            .unwrap();
        let (status, whole) = json(&service, chat(json!({}))).await;
        assert_eq!(
            (status, &whole["choices"][0]["message"]["content"]),
            (StatusCode::OK, &json!(expected[0].text))
        );

        let (status, events) = text(&service, chat(json!({ "stream": true }))).await;
        let events: Vec<&str> =
            events.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").unwrap()).collect();
        assert_eq!((status, events.last()), (StatusCode::OK, Some(&"[DONE]")));
        let delta = |event: &&str| {
            serde_json::from_str::<Value>(event).unwrap()["choices"][0]["delta"]["content"].clone()
        };
        let deltas = events[..events.len() - 1].iter().map(delta);
        assert_eq!(
            deltas.filter_map(|delta| delta.as_str().map(String::from)).collect::<String>(),
            expected[0].text
        );
    });
}

#[test]
fn it_implements_hypers_service() {
    run(async {
        let service = service(ServerOptions::default());
        let response = service.call(get("/v1/models/tiny")).await.unwrap();
        let model: Value =
            serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
        assert_eq!(model["id"], "tiny");
    });
}

#[test]
fn best_of_is_chosen_by_the_reward_model() {
    struct Short;
    impl RewardModel for Short {
        fn name(&self) -> &str {
            "short"
        }

        fn rewards(&self, conversations: &[Vec<Message>]) -> Vec<Result<f32, ModelError>> {
            conversations
                .iter()
                .map(|messages| Ok(-(messages.last().unwrap().content.len() as f32)))
                .collect()
        }
    }
    run(async {
        let service = Service::new(
            tiny::engine(EngineOptions::default()),
            Some(Box::new(Short)),
            ServerOptions::default(),
        )
        .unwrap();
        let (_, answer) = json(&service, chat(json!({ "best_of": 4 }))).await;
        let rewards: Vec<f64> = serde_json::from_value(answer["rewards"].clone()).unwrap();
        assert_eq!((rewards.len(), answer["choices"].as_array().unwrap().len()), (4, 1));
        assert_eq!(answer["choices"][0]["reward"].as_f64(), rewards.iter().copied().reduce(f64::max));
    });
}

#[test]
fn requests_are_refused_as_by_the_server() {
    run(async {
        let service = service(ServerOptions::default().with(|options| options.body_bytes = 400));
        let code = async |request| {
            let (status, error) = json(&service, request).await;
            (status.as_u16(), error["error"]["code"].as_str().unwrap_or_default().to_string())
        };
        assert_eq!(code(get("/nowhere")).await, (404, "unknown_url".into()));
        assert_eq!(code(get("/v1/chat/completions")).await, (405, "method_not_allowed".into()));
        assert_eq!(code(chat(json!({ "user": "x".repeat(400) }))).await, (413, "request_too_large".into()));
        let mut other = get("/v1/models");
        other.headers_mut().insert("host", "evil.example".parse().unwrap());
        assert_eq!(code(other.clone()).await, (403, "unknown_host".into()));
        let open = service.clone().with_any_host();
        assert_eq!(json(&open, other).await.0, StatusCode::OK);
    });
}

#[test]
fn requests_without_the_token_are_refused() {
    run(async {
        let service = service(
            ServerOptions::default()
                .with(|options| options.token = Some(BearerToken::new("secret").unwrap())),
        );
        assert_eq!(json(&service, get("/v1/models")).await.0, StatusCode::UNAUTHORIZED);
        let mut authorized = get("/v1/models");
        authorized.headers_mut().insert("authorization", "Bearer secret".parse().unwrap());
        assert_eq!(json(&service, authorized).await.0, StatusCode::OK);
        assert_eq!(json(&service, get("/health")).await.0, StatusCode::OK);
    });
}

/// The length of a chunked body is not known before it is read.
#[test]
fn a_chunked_body_is_limited_too_and_a_broken_one_is_an_error() {
    run(async {
        let service = service(ServerOptions::default().with(|options| options.body_bytes = 100));
        let request = |chunks: Vec<io::Result<&'static str>>| {
            let body = Chunks(chunks.into_iter());
            Request::post("/v1/chat/completions")
                .header("content-type", "application/json")
                .body(body)
                .unwrap()
        };
        let (status, error) = json(&service, request((0..60).map(|_| Ok("1234")).collect())).await;
        assert_eq!(
            (status, &error["error"]["code"]),
            (StatusCode::PAYLOAD_TOO_LARGE, &json!("request_too_large"))
        );
        let (status, error) =
            json(&service, request(vec![Ok("{"), Err(io::Error::other("the cable is cut"))])).await;
        assert_eq!(
            (status, &error["error"]["message"]),
            (StatusCode::BAD_REQUEST, &json!("the body could not be read: the cable is cut"))
        );
    });
}

/// A body that is sent in chunks.
struct Chunks(std::vec::IntoIter<io::Result<&'static str>>);

impl Body for Chunks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(self.0.next().map(|chunk| chunk.map(|chunk| Frame::data(Bytes::from(chunk)))))
    }
}

#[test]
fn an_option_that_cannot_be_used_is_named() {
    let error = Service::new(
        tiny::engine(EngineOptions::default()),
        None,
        ServerOptions::default().with(|options| options.queue = 0),
    );
    assert!(matches!(error.err(), Some(ServerError::Setting { field: "queue", .. })));
}
