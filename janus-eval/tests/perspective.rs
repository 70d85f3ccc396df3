//! Tests the Perspective client with a server that misbehaves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use janus_data::http::{ApiKey, Backoff, ClientOptions};
use janus_eval::bench::toxicity::{
    PerspectiveOptions, PerspectiveScorer, ScoredGenerations, ScoredText, score_generations,
};
use serde_json::json;

use crate::stub::{Received, Reply, Stub};

const KEY: &str = "AIza-secret";

fn options(stub: &Stub) -> PerspectiveOptions {
    let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(20));
    let client = ClientOptions::default().with(|options| {
        options.attempts = 20;
        options.timeout = Duration::from_secs(2);
        options.backoff = backoff;
    });
    PerspectiveOptions { key: Some(ApiKey::new(KEY).unwrap()), client, ..PerspectiveOptions::new(stub.url()) }
}

fn text(received: &Received) -> String {
    received.body["comment"]["text"].as_str().unwrap_or_default().into()
}

/// A score computed from the text.
fn toxicity(text: &str) -> f64 {
    text.len() as f64 / 100.0
}

fn scored(text: &str) -> Reply {
    let value = json!({ "value": toxicity(text), "type": "PROBABILITY" });
    let score = json!({ "spanScores": [{ "begin": 0, "end": 1, "score": value }], "summaryScore": value });
    Reply::status(200, json!({ "attributeScores": { "TOXICITY": score }, "languages": ["en"] }).to_string())
}

fn refused(message: &str, detail: serde_json::Value) -> Reply {
    let error = json!({ "code": 400, "message": message, "status": "INVALID_ARGUMENT", "details": [detail] });
    Reply::status(400, json!({ "error": error }).to_string())
}

fn rows(texts: impl Iterator<Item = String>) -> Vec<ScoredGenerations> {
    let generations: Vec<ScoredText> = texts.map(|text| ScoredText { text, toxicity: None }).collect();
    let prompt = ScoredText { text: "p".into(), toxicity: Some(0.2) };
    generations
        .chunks(25)
        .map(|generations| ScoredGenerations { prompt: prompt.clone(), generations: generations.to_vec() })
        .collect()
}

#[test]
fn scores_arrive_from_a_misbehaving_server_and_are_requested_once() {
    let answered: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let log = answered.clone();
    let stub = Stub::start(move |received| {
        assert_eq!(received.path, "/v1/comments:analyze", "the key is not in the address");
        assert_eq!(received.header("x-goog-api-key"), Some(KEY));
        assert_eq!(
            (&received.body["languages"], &received.body["doNotStore"]),
            (&json!(["en"]), &json!(true))
        );
        assert_eq!(received.body["requestedAttributes"], json!({ "TOXICITY": {} }));
        let text = text(received);
        match received.number % 10 {
            1 => Reply { headers: vec![("retry-after", "0.01".into())], ..Reply::status(429, "") },
            3 => Reply::status(503, "<html>"),
            5 => Reply { cut: Some(60), ..scored(&text) },
            7 => Reply::status(200, r#"{"attributeScores": {}}"#),
            _ if text.starts_with("xx") => {
                refused("unsupported", json!({ "errorType": "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE" }))
            }
            _ => {
                *log.lock().unwrap().entry(text.clone()).or_default() += 1;
                scored(&text)
            }
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("perspective.jsonl");
    let scorer = PerspectiveScorer::new(options(&stub)).unwrap();
    // 100 generations with 60 distinct texts; two are empty, and one is rejected.
    let mut given = rows((0..100).map(|i| match i {
        98 => String::new(),
        99 => " ".into(),
        97 => "xx".into(),
        i => "t".repeat(1 + i % 59),
    }));
    let scoring = score_generations(&mut given, &scorer, Some(&path), &mut |_, _| ()).unwrap();
    assert_eq!((scoring.texts, scoring.scored, scoring.empty, scoring.failed), (60, 59, 2, 1));
    assert!(
        scoring.problem.as_ref().unwrap().contains("the server answered 400: unsupported"),
        "{scoring:?}"
    );
    for generation in given.iter().flat_map(|row| &row.generations) {
        let expected = generation.text.starts_with('t').then(|| toxicity(&generation.text));
        assert_eq!(generation.toxicity, expected, "{:?}", generation.text);
    }
    assert!(answered.lock().unwrap().values().all(|count| *count == 1), "no score is requested twice");

    // Another run requests only the missing score.
    let before = answered.lock().unwrap().len();
    let again = score_generations(&mut given, &scorer, Some(&path), &mut |_, _| ()).unwrap();
    assert_eq!((again.known, again.scored, again.failed), (59, 0, 1));
    assert_eq!(answered.lock().unwrap().len(), before);
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(!kept.contains("secret") && kept.lines().count() == 60, "{kept}");
}

#[test]
fn the_key_is_never_shown_and_a_rejected_key_is_not_retried() {
    let wrong = || refused("API key not valid: AIza-secret", json!({ "reason": "API_KEY_INVALID" }));
    for (status, reply) in [(400, wrong()), (403, Reply::status(403, "AIza-secret is blocked"))] {
        let stub = Stub::start(move |_| reply.clone());
        let scorer = PerspectiveScorer::new(PerspectiveOptions { concurrency: 1, ..options(&stub) }).unwrap();
        let scoring =
            score_generations(&mut rows((0..40).map(|i| format!("text {i}"))), &scorer, None, &mut |_, _| ())
                .unwrap();
        assert_eq!((scoring.failed, stub.received()), (40, 1), "{status}");
        let said = format!("{scoring:?} {scorer:?}");
        assert!(said.contains("the key is refused") && !said.contains("secret"), "{said}");
    }
    // A response that has the key in place of a score.
    let stub = Stub::start(|_| {
        Reply::status(200, r#"{"attributeScores": {"TOXICITY": {"summaryScore": {"value": "AIza-secret"}}}}"#)
    });
    let scorer = PerspectiveScorer::new(PerspectiveOptions { concurrency: 1, ..options(&stub) }).unwrap();
    let scoring =
        score_generations(&mut rows(std::iter::once("text".into())), &scorer, None, &mut |_, _| ()).unwrap();
    let said = format!("{scoring:?}");
    assert!(scoring.failed == 1 && said.contains("[key]") && !said.contains("secret"), "{said}");
}

#[test]
fn the_rate_limit_is_respected() {
    let stub = Stub::start(|received| scored(&text(received)));
    let limited = |limit| options(&stub).client.with(|options| options.requests_per_minute = Some(limit));
    let scorer =
        PerspectiveScorer::new(PerspectiveOptions { client: limited(600), ..options(&stub) }).unwrap();
    let begin = Instant::now();
    score_generations(&mut rows((0..6).map(|i| format!("text {i}"))), &scorer, None, &mut |_, _| ()).unwrap();
    // Six requests, a tenth of a second between each.
    assert!(begin.elapsed() >= Duration::from_millis(500), "{:?}", begin.elapsed());

    for (wrong, field) in [
        (PerspectiveOptions { concurrency: 0, ..options(&stub) }, "concurrency"),
        (PerspectiveOptions { client: limited(0), ..options(&stub) }, "requests_per_minute"),
        (PerspectiveOptions { base_url: "ftp://x".into(), ..options(&stub) }, "base_url"),
    ] {
        assert!(PerspectiveScorer::new(wrong).unwrap_err().to_string().starts_with(field));
    }
}
