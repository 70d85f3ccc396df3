//! The server: requests, responses, refusals, and clients that disconnect.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use janus_core::{
    ChatModel, ChatRequest, Composer, Message, ModelError, PreferenceSet, RewardModel, SamplingParams,
};
use janus_infer::EngineOptions;
use janus_infer::server::{BearerToken, ServerError, ServerOptions};
use serde_json::{Value, json};

use crate::http::{Running, TIMEOUT, connect, exchange, post, response};
use crate::tiny;

pub(crate) fn engine() -> janus_infer::Engine {
    tiny::engine(EngineOptions::default()).with_name("tiny")
}

pub(crate) fn start(options: ServerOptions) -> Running {
    Running::start(engine(), None, options)
}

pub(crate) fn hello(fields: Value) -> Value {
    let mut body = json!({ "model": "tiny", "messages": [{ "role": "user", "content": "hello" }], "max_tokens": 24, "seed": 7 });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

/// Prefers short answers.
pub(crate) struct Short;

impl RewardModel for Short {
    fn name(&self) -> &str {
        "short"
    }

    fn rewards(&self, conversations: &[Vec<Message>]) -> Vec<Result<f32, ModelError>> {
        conversations.iter().map(|messages| Ok(-(messages.last().unwrap().content.len() as f32))).collect()
    }
}

/// A reward model that waits until it is opened, and tells the test when a request waits.
#[derive(Default, Clone)]
struct Gate(Arc<(Mutex<(usize, bool)>, Condvar)>);

impl Gate {
    fn open(&self) {
        self.0.0.lock().unwrap().1 = true;
        self.0.1.notify_all();
    }

    fn wait_for_request(&self) {
        let guard = self.0.0.lock().unwrap();
        let (_guard, timeout) =
            self.0.1.wait_timeout_while(guard, TIMEOUT, |(waiting, _)| *waiting == 0).unwrap();
        assert!(!timeout.timed_out());
    }
}

impl RewardModel for Gate {
    fn name(&self) -> &str {
        "gate"
    }

    fn rewards(&self, conversations: &[Vec<Message>]) -> Vec<Result<f32, ModelError>> {
        let mut guard = self.0.0.lock().unwrap();
        guard.0 += 1;
        self.0.1.notify_all();
        let _guard = self.0.1.wait_timeout_while(guard, TIMEOUT, |(_, open)| !*open).unwrap();
        Short.rewards(conversations)
    }
}

#[test]
fn models_health_and_metrics() {
    let server = start(ServerOptions::default());
    let models = server.get("/v1/models").json();
    assert_eq!(
        (&models["object"], &models["data"][0]["id"], &models["data"][0]["object"]),
        (&json!("list"), &json!("tiny"), &json!("model"))
    );
    assert_eq!(server.get("/v1/models/tiny").json(), models["data"][0]);
    assert_eq!(
        server.get("/v1/models/other").error(),
        (404, "not_found_error".into(), Some("model".into()), Some("model_not_found".into()))
    );
    assert_eq!(server.get("/health").json(), json!({ "status": "ok" }));
    assert_eq!(server.chat(&hello(json!({}))).status, 200);
    let metrics = server.get("/metrics");
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    for line in [
        "janus_responses_total{path=\"/v1/chat/completions\",status=\"200\"} 1",
        "janus_responses_total{path=\"/v1/models/{model}\",status=\"404\"} 1",
        "janus_answer_seconds_count 1",
        "janus_first_text_seconds_count 1",
        "janus_queue_places_taken 0",
    ] {
        assert!(metrics.body.lines().any(|found| found == line), "{line} is not in\n{}", metrics.body);
    }
    // The engine updates its metrics after each step.
    server.wait_until("janus_generated_tokens_total", |tokens| tokens > 0.0);
    server.wait_until("janus_prompt_tokens_total", |tokens| tokens > 0.0);
}

#[test]
fn an_answer_equals_the_engines() {
    let server = start(ServerOptions::default());
    let body = json!({ "messages": [{ "role": "developer", "content": "be" }, { "role": "user", "content": [{ "type": "text", "text": "hel" }, { "type": "text", "text": "lo" }] }],
        "max_completion_tokens": 30, "seed": 3, "n": 2, "temperature": 0.8, "top_p": 0.95, "top_k": 40, "min_p": 0.01, "repetition_penalty": 1.1,
        "unknown": { "is": ["ignored"] }, "user": "u", "stop": null });
    let answer = server.chat(&body).json();
    let sampling = SamplingParams {
        temperature: 0.8,
        top_p: 0.95,
        top_k: 40,
        min_p: 0.01,
        repetition_penalty: 1.1,
        max_tokens: 30,
        n: 2,
        seed: 3,
        ..SamplingParams::default()
    };
    let request =
        ChatRequest::new("api", [Message::system("be"), Message::user("hel\nlo")]).with_sampling(sampling);
    let expected = engine().generate(&[request]).remove(0).unwrap();
    assert_eq!((&answer["object"], &answer["model"]), (&json!("chat.completion"), &json!("tiny")));
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    for (index, generation) in expected.iter().enumerate() {
        let choice = &answer["choices"][index];
        assert_eq!((&choice["index"], &choice["message"]["role"]), (&json!(index), &json!("assistant")));
        assert_eq!(
            (&choice["message"]["content"], &choice["logprobs"]),
            (&json!(generation.text), &Value::Null)
        );
        assert_eq!(choice["finish_reason"], json!(generation.finish_reason));
    }
    let completion: usize = expected.iter().map(|generation| generation.completion_tokens).sum();
    let prompt = expected[0].prompt_tokens;
    assert_eq!(
        answer["usage"],
        json!({ "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion })
    );
}

/// Joins the chunks of a stream by choice: text, logprobs, finish reason.
pub(crate) fn join_chunks(events: &[Value]) -> BTreeMap<u64, (String, Vec<Value>, Value)> {
    let mut choices: BTreeMap<u64, (String, Vec<Value>, Value)> = BTreeMap::new();
    for choice in events.iter().flat_map(|event| event["choices"].as_array().unwrap()) {
        let (text, logprobs, finish) = choices.entry(choice["index"].as_u64().unwrap()).or_default();
        assert!(finish.is_null(), "a chunk after the last one: {choice}");
        text.push_str(
            choice["delta"]["content"].as_str().or_else(|| choice["text"].as_str()).unwrap_or_default(),
        );
        logprobs.extend(choice["logprobs"]["content"].as_array().into_iter().flatten().cloned());
        *finish = choice["finish_reason"].clone();
    }
    choices
}

#[test]
fn a_stream_equals_the_whole_response() {
    let server = start(ServerOptions::default());
    for fields in [
        json!({}),
        json!({ "n": 3, "max_tokens": 60 }),
        json!({ "n": 2, "logprobs": true, "top_logprobs": 3 }),
        json!({ "n": 4, "max_tokens": 80, "stop": ["e", "~~"] }),
        json!({ "temperature": 0, "max_tokens": 1 }),
    ] {
        let whole = server.chat(&hello(fields.clone())).json();
        let mut streamed = hello(fields.clone());
        streamed["stream"] = json!(true);
        streamed["stream_options"] = json!({ "include_usage": true });
        let events = server.chat(&streamed).events();
        let (usage, chunks) = events.split_last().unwrap();
        assert_eq!((&usage["usage"], &usage["choices"]), (&whole["usage"], &json!([])));
        assert!(chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk"
            && chunk["id"] == usage["id"]
            && chunk["usage"].is_null()));
        let choices = join_chunks(chunks);
        let expected = whole["choices"].as_array().unwrap();
        assert_eq!(choices.len(), expected.len());
        for ((text, logprobs, finish), whole) in choices.values().zip(expected) {
            assert_eq!(
                (&json!(text), finish),
                (&whole["message"]["content"], &whole["finish_reason"]),
                "{fields}"
            );
            assert_eq!(&json!(logprobs), whole["logprobs"].get("content").unwrap_or(&json!([])), "{fields}");
        }
        assert_eq!(chunks[0]["choices"][0]["delta"], json!({ "role": "assistant", "content": "" }));
    }
}

#[test]
fn logprobs_have_tokens_and_bytes() {
    let server = start(ServerOptions::default());
    let answer = server
        .chat(&hello(
            json!({ "logprobs": true, "top_logprobs": 2, "temperature": 0, "repetition_penalty": 1 }),
        ))
        .json();
    let content = answer["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(content.len() as u64, answer["usage"]["completion_tokens"].as_u64().unwrap());
    for entry in content {
        let top = entry["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 2);
        // With greedy decoding, the chosen token is the most likely one.
        assert_eq!(top[0]["token"], entry["token"]);
        assert!((top[0]["logprob"].as_f64().unwrap() - entry["logprob"].as_f64().unwrap()).abs() < 1e-5);
        assert!(top[0]["logprob"].as_f64() >= top[1]["logprob"].as_f64());
        let token = entry["token"].as_str().unwrap();
        let bytes: Vec<u8> = serde_json::from_value(entry["bytes"].clone()).unwrap();
        let written = token.strip_prefix("bytes:\\x").map(|code| vec![u8::from_str_radix(code, 16).unwrap()]);
        assert_eq!(bytes, written.unwrap_or_else(|| token.into()));
    }
}

#[test]
fn stop_texts_end_an_answer() {
    let server = start(ServerOptions::default());
    let text = |stop: Value| {
        server.chat(&hello(json!({ "max_tokens": 60, "stop": stop }))).json()["choices"][0].clone()
    };
    let whole = text(Value::Null)["message"]["content"].as_str().unwrap().to_string();
    let stop: String = whole.chars().skip(5).take(2).collect();
    let before = &whole[..whole.find(&stop).unwrap()];
    for one in [json!(stop), json!(["never generated", stop])] {
        let choice = text(one);
        assert_eq!(
            (&choice["message"]["content"], &choice["finish_reason"]),
            (&json!(before), &json!("stop"))
        );
    }
}

#[test]
fn requests_without_a_seed_differ() {
    let server = start(ServerOptions::default());
    let text = |body: &Value| server.chat(body).json()["choices"][0]["message"]["content"].clone();
    let mut body = hello(json!({}));
    assert_eq!(text(&body), text(&body));
    body.as_object_mut().unwrap().remove("seed");
    assert_ne!(text(&body), text(&body));
}

#[test]
fn paths_methods_and_types() {
    let server = start(ServerOptions::default());
    assert_eq!(server.get("/v2").error(), (404, "not_found_error".into(), None, Some("unknown_url".into())));
    let response = server.get("/v1/chat/completions");
    assert_eq!((response.error().0, response.header("allow")), (405, Some("post")));
    let response = server.post("/health", &json!({}));
    assert_eq!((response.error().0, response.header("allow")), (405, Some("get")));
    let plain =
        post("/v1/chat/completions", &hello(json!({})).to_string()).replace("application/json", "text/plain");
    assert_eq!(exchange(server.address, &plain).unwrap().error().0, 415);
    let charset = post("/v1/chat/completions", &hello(json!({})).to_string())
        .replace("application/json", "Application/JSON; charset=utf-8");
    assert_eq!(exchange(server.address, &charset).unwrap().status, 200);
}

#[test]
fn the_system_message_is_composed_from_preferences() {
    let server = start(ServerOptions::default());
    let short: PreferenceSet = serde_json::from_value(json!([
        { "dimension": "style", "subdimension": "a", "preference": "b", "description": "Be brief." },
        { "dimension": "background_knowledge", "subdimension": "a", "preference": "b", "description": "Be plain." },
        { "dimension": "informativeness", "subdimension": "a", "preference": "b", "description": "Be deep." },
        { "dimension": "harmlessness", "subdimension": "a", "preference": "b", "description": "Be kind." },
    ]))
    .unwrap();
    // A seed that gives a short system message, which fits into the context.
    let seed = (0..100).find(|&seed| Composer::standard().compose_set(&short, seed).len() < 60).unwrap();
    let system = Composer::standard().compose_set(&short, seed);
    let answer = server.chat(&hello(json!({ "preferences": short, "seed": seed })));
    let answer = answer.json();
    assert_eq!(answer["system_message"], json!(system));
    let messages = json!([{ "role": "system", "content": system }, { "role": "user", "content": "hello" }]);
    let explicit = server.chat(&hello(json!({ "messages": messages, "seed": seed }))).json();
    assert_eq!((&explicit["choices"], &explicit["usage"]), (&answer["choices"], &answer["usage"]));
    assert!(explicit.get("system_message").is_none());
    let events = server.chat(&hello(json!({ "preferences": short, "seed": seed, "stream": true }))).events();
    assert_eq!(events[0]["system_message"], json!(system));
    let one =
        json!([{ "dimension": "style", "subdimension": "a", "preference": "b", "description": "Be brief." }]);
    assert_eq!(
        server.chat(&hello(json!({ "preferences": one, "seed": 1 }))).json()["system_message"],
        json!("Be brief.")
    );
    for (preferences, problem) in
        [(json!([]), "the preference set is empty"), (json!([one[0], one[0]]), "two style preferences")]
    {
        let refused = server.chat(&hello(json!({ "preferences": preferences })));
        assert!(refused.status == 400 && refused.body.contains(problem), "{refused:?}");
    }
    let both = server.chat(&hello(json!({ "messages": messages, "preferences": short })));
    assert_eq!(both.error().2.as_deref(), Some("preferences"));
}

#[test]
fn the_candidates_with_the_highest_rewards_are_returned() {
    let server = Running::start(engine(), Some(Box::new(Short)), ServerOptions::default());
    assert_eq!(server.get("/v1/models").json()["data"][0]["reward_model"], "short");
    let fields = |extra: Value| {
        let mut body = hello(json!({ "max_tokens": 12, "logprobs": true }));
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        body
    };
    let all = server.chat(&fields(json!({ "n": 6 }))).json();
    let lengths: Vec<f64> = all["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|choice| -(choice["message"]["content"].as_str().unwrap().len() as f64))
        .collect();
    let best = server.chat(&fields(json!({ "best_of": 6, "n": 2 }))).json();
    assert_eq!(
        (&best["rewards"], &best["usage"], &best["reward_model"]),
        (&json!(lengths), &all["usage"], &json!("short"))
    );
    let choices = best["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 2);
    let mut order: Vec<usize> = (0..6).collect();
    order.sort_by(|&a, &b| lengths[b].total_cmp(&lengths[a]));
    for (index, choice) in choices.iter().enumerate() {
        let candidate = order[index];
        assert_eq!(
            (&choice["candidate"], &choice["reward"], &choice["index"]),
            (&json!(candidate), &json!(lengths[candidate]), &json!(index))
        );
        let whole = &all["choices"][candidate];
        assert_eq!((&choice["message"], &choice["logprobs"]), (&whole["message"], &whole["logprobs"]));
    }
    let param = |fields: Value| server.chat(&hello(fields)).error().2.unwrap();
    assert_eq!(param(json!({ "best_of": 2, "n": 3 })), "best_of");
    assert_eq!(param(json!({ "best_of": 129 })), "best_of");
    assert_eq!(param(json!({ "best_of": 2, "stream": true })), "stream");
}

#[test]
fn a_failure_of_the_reward_model_fails_only_its_request() {
    struct Broken;
    impl RewardModel for Broken {
        fn name(&self) -> &str {
            "broken"
        }
        fn rewards(&self, conversations: &[Vec<Message>]) -> Vec<Result<f32, ModelError>> {
            match conversations.len() {
                2 => conversations.iter().map(|_| Ok(f32::NAN)).collect(),
                3 => vec![Ok(1.0)],
                4 => conversations
                    .iter()
                    .map(|_| Err(ModelError::TooLong { id: "x".into(), prompt_tokens: 9, context: 8 }))
                    .collect(),
                _ => panic!("too many candidates"),
            }
        }
    }
    let server = Running::start(engine(), Some(Box::new(Broken)), ServerOptions::default());
    let error = |best_of: usize| {
        let response = server.chat(&hello(json!({ "best_of": best_of })));
        (response.error().0, response.message())
    };
    assert_eq!(error(2), (500, "the reward model failed: the reward of candidate 0 is NaN".into()));
    assert_eq!(error(3), (500, "the reward model failed: it returned 1 rewards for 3 candidates".into()));
    assert_eq!(error(4).0, 400);
    assert_eq!(error(5), (500, "the reward model failed: it panicked".into()));
    assert_eq!(server.chat(&hello(json!({}))).status, 200);
    server.wait_for("janus_queue_places_taken", 0.0);
}

#[test]
fn every_path_but_health_needs_the_token() {
    let server = start(
        ServerOptions::default().with(|options| options.token = Some(BearerToken::new("sesame").unwrap())),
    );
    let get = |path: &str, header: &str| {
        exchange(
            server.address,
            &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{header}\r\n"),
        )
        .unwrap()
    };
    assert_eq!(get("/health", "").status, 200);
    for path in ["/v1/models", "/metrics", "/v1/chat/completions", "/nowhere"] {
        for header in ["", "authorization: Bearer open\r\n", "authorization: Basic sesame\r\n"] {
            let response = get(path, header);
            assert_eq!(
                response.error(),
                (401, "authentication_error".into(), None, Some("invalid_api_key".into()))
            );
            assert_eq!(response.header("www-authenticate"), Some("bearer"));
            assert!(!response.body.contains("sesame"));
        }
    }
    assert_eq!(get("/v1/models", "authorization: Bearer sesame\r\n").status, 200);
    // The body is dropped, and the client still gets the response.
    let chat = exchange(server.address, &post("/v1/chat/completions", &"x".repeat(900_000))).unwrap();
    assert_eq!(chat.status, 401);
}

#[test]
fn a_request_with_a_foreign_host_is_refused_without_a_token() {
    let get = |server: &Running, host: &str| {
        exchange(server.address, &format!("GET /v1/models HTTP/1.1\r\n{host}connection: close\r\n\r\n"))
            .unwrap()
    };
    let server = start(ServerOptions::default());
    let refused = get(&server, "host: page.example:8000\r\n");
    assert_eq!(refused.error(), (403, "permission_error".into(), None, Some("unknown_host".into())));
    assert!(
        refused.message().contains("page.example") && refused.message().contains("token"),
        "{}",
        refused.message()
    );
    assert_eq!(get(&server, "host: 127.0.0.1:8000\r\n").status, 200);
    // With a token, any host is accepted, for instance that of a proxy.
    let server = start(
        ServerOptions::default().with(|options| options.token = Some(BearerToken::new("sesame").unwrap())),
    );
    assert_eq!(get(&server, "host: page.example\r\nauthorization: Bearer sesame\r\n").status, 200);
}

#[test]
fn scoring_for_a_disconnected_client_keeps_its_place_until_the_current_call_ends() {
    let gate = Gate::default();
    let server = Running::start(
        engine(),
        Some(Box::new(gate.clone())),
        ServerOptions::default().with(|options| options.queue = 1),
    );
    let mut stream = connect(server.address).unwrap();
    stream
        .write_all(
            post("/v1/chat/completions", &hello(json!({ "best_of": 40, "max_tokens": 2 })).to_string())
                .as_bytes(),
        )
        .unwrap();
    gate.wait_for_request();
    drop(stream);
    server.wait_for("janus_connections", 1.0);
    assert_eq!(server.chat(&hello(json!({}))).status, 429);
    gate.open();
    server.wait_for("janus_queue_places_taken", 0.0);
    // The first of three calls of the reward model ran, and the others were skipped.
    assert_eq!(gate.0.0.lock().unwrap().0, 1);
    assert_eq!(server.chat(&hello(json!({}))).status, 200);
}

#[test]
fn a_full_queue_answers_with_retry_after() {
    let gate = Gate::default();
    let server = Running::start(
        engine(),
        Some(Box::new(gate.clone())),
        ServerOptions::default().with(|options| options.queue = 1),
    );
    let address = server.address;
    let first = thread::spawn(move || {
        exchange(address, &post("/v1/chat/completions", &hello(json!({ "best_of": 2 })).to_string())).unwrap()
    });
    gate.wait_for_request();
    let refused = server.chat(&hello(json!({})));
    assert_eq!(refused.error(), (429, "rate_limit_error".into(), None, Some("rate_limit_exceeded".into())));
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    // An invalid request is refused for its fault even if the queue is full.
    assert_eq!(server.chat(&hello(json!({ "n": 0 }))).status, 400);
    gate.open();
    assert_eq!(first.join().unwrap().status, 200);
    server.wait_for("janus_queue_places_taken", 0.0);
    assert_eq!(server.chat(&hello(json!({}))).status, 200);
}

#[test]
fn bodies_have_a_limit() {
    let server = start(ServerOptions::default().with(|options| options.body_bytes = 1000));
    let body = hello(json!({ "user": "x".repeat(2000) })).to_string();
    let expected = (413, "invalid_request_error".to_string(), None, Some("request_too_large".to_string()));
    assert_eq!(exchange(server.address, &post("/v1/chat/completions", &body)).unwrap().error(), expected);
    let chunked = |size: usize, count: usize| {
        let chunk = format!("{size:x}\r\n{}\r\n", " ".repeat(size)).repeat(count);
        let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ntransfer-encoding: chunked";
        exchange(server.address, &format!("{head}\r\n\r\n{chunk}0\r\n\r\n"))
    };
    assert_eq!(chunked(100, 11).unwrap().error(), expected);
    // More megabytes than are drained: the response arrives before all is sent, or the connection is closed.
    if let Ok(response) = chunked(10_000, 3000) {
        assert_eq!(response.error(), expected);
    }
    // A client that expects "100 Continue" is refused before it sends the body.
    let expecting = format!(
        "{}expect: 100-continue\r\n\r\n",
        post("/v1/chat/completions", &body).split_once("\r\n\r\n").unwrap().0.to_owned() + "\r\n"
    );
    assert_eq!(exchange(server.address, &expecting).unwrap().error(), expected);
    assert_eq!(server.chat(&hello(json!({}))).status, 200);
}

#[test]
fn clients_that_do_not_send_time_out() {
    let short = Duration::from_millis(200);
    let server = start(ServerOptions::default().with(|options| {
        options.header_timeout = short;
        options.body_timeout = short;
    }));
    let start = Instant::now();
    for sent in ["", "GET /health HTTP/1.1\r\nho", "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"] {
        let mut stream = connect(server.address).unwrap();
        stream.write_all(sent.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        assert_eq!(response(&bytes).is_ok(), sent.ends_with("\r\n\r\n"));
    }
    let body = hello(json!({})).to_string();
    let (head, _) = post("/v1/chat/completions", &body)
        .split_once("\r\n\r\n")
        .map(|(head, body)| (head.to_string(), body.to_string()))
        .unwrap();
    let late = exchange(server.address, &format!("{head}\r\n\r\n{}", &body[..10])).unwrap();
    assert_eq!(late.error(), (408, "invalid_request_error".into(), None, Some("request_timeout".into())));
    assert!(start.elapsed() < TIMEOUT / 2);
}

#[test]
fn a_client_that_disconnects_cancels_its_request() {
    // With one sequence at a time, 128 samples take a while.
    let slow =
        tiny::engine(EngineOptions::default().with(|options| options.max_sequences = 1)).with_name("tiny");
    let server = Running::start(slow, None, ServerOptions::default());
    let body = |stream: bool| {
        hello(json!({ "n": 128, "max_tokens": 200, "stream": stream, "repetition_penalty": 1 })).to_string()
    };
    for (stream, cancelled) in [(false, 1.0), (true, 2.0)] {
        let mut connection = connect(server.address).unwrap();
        connection.write_all(post("/v1/chat/completions", &body(stream)).as_bytes()).unwrap();
        // The request runs.
        server.wait_for("janus_sequences_running", 1.0);
        if stream {
            connection.read_exact(&mut [0; 400]).unwrap();
        }
        drop(connection);
        server.wait_for("janus_requests_cancelled_total", cancelled);
    }
    server.wait_for("janus_queue_places_taken", 0.0);
    server.wait_for("janus_requests_waiting", 0.0);
    server.wait_for("janus_sequences_running", 0.0);
    assert_eq!(server.chat(&hello(json!({}))).status, 200);
}

#[test]
fn a_stopped_server_answers_all_accepted_requests() {
    let gate = Gate::default();
    let server = Running::start(engine(), Some(Box::new(gate.clone())), ServerOptions::default());
    let address = server.address;
    let ask = |fields: Value| {
        let body = hello(fields).to_string();
        thread::spawn(move || exchange(address, &post("/v1/chat/completions", &body)).unwrap())
    };
    let scored = ask(json!({ "best_of": 3 }));
    gate.wait_for_request();
    let mut streamed = connect(address).unwrap();
    let body = hello(json!({ "stream": true, "n": 64, "max_tokens": 150 })).to_string();
    streamed.write_all(post("/v1/chat/completions", &body).as_bytes()).unwrap();
    let mut bytes = vec![0; 300];
    streamed.read_exact(&mut bytes).unwrap();
    let mut idle = connect(address).unwrap();
    idle.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    idle.read_exact(&mut [0; 10]).unwrap();

    server.stop();
    streamed.read_to_end(&mut bytes).unwrap();
    let choices = join_chunks(&response(&bytes).unwrap().events());
    assert!(choices.len() == 64 && choices.values().all(|(_, _, finish)| finish.is_string()));
    // An idle connection is closed, and a new one is refused.
    idle.read_to_end(&mut Vec::new()).unwrap();
    assert!(exchange(address, "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").is_err());
    assert!(!scored.is_finished());
    gate.open();
    let scored = scored.join().unwrap();
    assert_eq!((scored.status, scored.json()["rewards"].as_array().unwrap().len()), (200, 3));
    let served = server.wait().unwrap();
    assert!(served.all && served.answered == 2, "{served:?}");
}

#[test]
fn options_that_cannot_be_used_are_named() {
    let bind = |options| {
        janus_infer::server::Server::bind(([127, 0, 0, 1], 0).into(), engine(), None, options).err().unwrap()
    };
    let named = |options| match bind(options) {
        ServerError::Setting { field, .. } => field,
        other => panic!("{other}"),
    };
    let base = ServerOptions::default;
    assert_eq!(named(base().with(|options| options.queue = 0)), "queue");
    assert_eq!(named(base().with(|options| options.connections = usize::MAX)), "connections");
    assert_eq!(named(base().with(|options| options.body_timeout = Duration::ZERO)), "body_timeout");
    let sampling = SamplingParams { top_p: 2.0, ..SamplingParams::default() };
    assert_eq!(named(base().with(|options| options.sampling = sampling)), "sampling");
    let running = start(base());
    let taken = janus_infer::server::Server::bind(running.address, engine(), None, base()).err().unwrap();
    assert!(matches!(taken, ServerError::Listen { address, .. } if address == running.address));
}

/// This crate's client against this crate's server.
#[cfg(feature = "remote")]
#[test]
fn a_remote_model_answers_as_the_local_one() {
    use janus_infer::remote::{RemoteModel, RemoteOptions};
    let server = start(ServerOptions::default());
    let remote =
        RemoteModel::new("tiny", RemoteOptions::new(format!("http://{}/v1", server.address))).unwrap();
    let sampling = SamplingParams {
        n: 3,
        max_tokens: 20,
        seed: 9,
        logprobs: true,
        top_logprobs: 2,
        ..SamplingParams::paper()
    };
    let request = |i: usize| {
        ChatRequest::new("api", [Message::user("na ".repeat(i + 1))]).with_sampling(sampling.clone())
    };
    let requests: Vec<_> = (0..6).map(request).collect();
    for (remote, local) in remote.generate(&requests).into_iter().zip(engine().generate(&requests)) {
        let (remote, local) = (remote.unwrap(), local.unwrap());
        let total = |generations: &[janus_core::Generation]| {
            generations.iter().map(|g| g.completion_tokens).sum::<usize>()
        };
        assert_eq!(total(&remote), total(&local));
        for (remote, local) in remote.iter().zip(&local) {
            assert_eq!(
                (&remote.text, remote.finish_reason, remote.prompt_tokens),
                (&local.text, local.finish_reason, local.prompt_tokens)
            );
            let logprobs = |generation: &janus_core::Generation| -> Vec<f64> {
                generation.logprobs.as_ref().unwrap().iter().map(|token| token.logprob).collect()
            };
            assert_eq!(logprobs(remote), logprobs(local));
        }
    }
}
