//! The client against a server that misbehave.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use janus_core::{ChatModel, ChatRequest, Message, ModelError, SamplingParams};
use janus_data::{CallJournal, Journaled};
use janus_infer::remote::{ApiKey, Backoff, Extensions, Prices, RemoteModel, RemoteOptions};

use crate::example;
use crate::stub::{Received, Reply, Stub};

fn request(id: usize) -> ChatRequest {
    ChatRequest::new(id.to_string(), [Message::user(format!("question {id}"))])
        .with_sampling(SamplingParams::greedy(100))
}

/// Many quick retries.
fn options(stub: &Stub) -> RemoteOptions {
    RemoteOptions::new(stub.url()).with(|options| {
        options.concurrency = 16;
        options.attempts = 20;
        options.timeout = Duration::from_secs(2);
        options.backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(20));
    })
}

fn model(options: RemoteOptions) -> RemoteModel {
    RemoteModel::new("judge", options).unwrap()
}

/// Three of ten requests get a bad response, of all kinds in turn.
fn misbehave(received: &Received) -> Reply {
    let good = Reply::text(&format!("answer to {}", received.last_message()));
    match received.number % 20 {
        1 => Reply {
            headers: vec![("retry-after", "0.01".into())],
            ..Reply::status(429, r#"{"error": {"message": "slow down"}}"#)
        },
        4 => Reply::status(500, "<html>oops</html>"),
        7 => Reply { cut: Some(0), ..good },
        9 => Reply { cut: Some(150), ..good },
        12 => Reply::status(200, &good.body[..good.body.len() / 2]),
        16 => Reply { slowly: Duration::from_millis(1), ..good },
        18 => Reply { twice: true, ..good },
        _ => good,
    }
}

#[test]
fn every_answer_arrives_once_although_three_of_ten_responses_are_bad() {
    let stub = Stub::start(misbehave);
    let model = model(options(&stub));
    let requests: Vec<_> = (0..1000).map(request).collect();
    let mut answered = HashSet::new();
    model.generate_each(&requests, &mut |index, answer| {
        assert_eq!(answer.unwrap()[0].text, format!("answer to question {index}"), "answers are mixed up");
        assert!(answered.insert(index), "{index} came twice");
    });
    assert_eq!(answered.len(), 1000);
    assert_eq!(model.usage().requests as usize, stub.received());
    assert!(stub.received() > 1200, "the server did not misbehave: {}", stub.received());
}

#[test]
fn a_killed_run_sends_only_the_missing_requests_when_restarted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.jsonl");
    let answered = std::sync::Arc::new(Mutex::new(Vec::new()));
    let log = answered.clone();
    let stub = Stub::start(move |received| {
        let reply = misbehave(received);
        if reply.status == 200 && reply.cut.is_none() && reply.body.ends_with(b"}") {
            log.lock().unwrap().push(received.last_message().to_string());
        }
        reply
    });
    let requests: Vec<_> = (0..300).map(request).collect();
    let mut seen = 0;
    catch_unwind(AssertUnwindSafe(|| {
        let journal = CallJournal::open(&path).unwrap();
        Journaled::new(model(options(&stub)), &journal).generate_each(&requests, &mut |_, answer| {
            answer.unwrap();
            seen += 1;
            assert!(seen < 120, "killed");
        });
    }))
    .unwrap_err();
    let journal = CallJournal::open(&path).unwrap();
    let kept = journal.len();
    assert!((120..300).contains(&kept), "{kept}");
    answered.lock().unwrap().clear();
    let answers = Journaled::new(model(options(&stub)), &journal).generate(&requests);
    for (index, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.unwrap()[0].text, format!("answer to question {index}"));
    }
    let sent: HashSet<String> = answered.lock().unwrap().iter().cloned().collect();
    assert_eq!(
        (sent.len(), answered.lock().unwrap().len()),
        (300 - kept, 300 - kept),
        "each missing one was answered once"
    );
}

#[test]
fn the_example_never_pays_for_an_answer_twice() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("calls.jsonl");
    let stub = Stub::start(|received| Reply::text(&format!("answer to {}", received.last_message())));
    let ask = |questions: &[&str]| {
        let questions: Vec<String> = questions.iter().map(|question| question.to_string()).collect();
        example::ask("judge", options(&stub), &journal, &questions).unwrap()
    };
    assert_eq!(ask(&["a", "b"]), ["answer to a", "answer to b"]);
    assert_eq!(ask(&["b", "c", "a"]), ["answer to b", "answer to c", "answer to a"]);
    assert_eq!(stub.received(), 3);
}

#[test]
fn the_delay_that_the_server_requests_is_waited_for() {
    let times = std::sync::Arc::new(Mutex::new(Vec::new()));
    let log = times.clone();
    let stub = Stub::start(move |received| {
        log.lock().unwrap().push(Instant::now());
        let busy = Reply { headers: vec![("retry-after-ms", "300".into())], ..Reply::status(429, "") };
        if received.number == 0 { busy } else { Reply::text("ok") }
    });
    let backoff = Backoff::new(Duration::from_millis(1), Duration::from_secs(5));
    model(options(&stub).with(|options| options.backoff = backoff)).generate(&[request(0)])[0]
        .as_ref()
        .unwrap();
    let times = times.lock().unwrap();
    assert!(times[1] - times[0] >= Duration::from_millis(300));

    // A delay of an hour is an error at once.
    let stub = Stub::start(|_| Reply {
        headers: vec![("retry-after", "3600".into())],
        ..Reply::status(503, "closed for today")
    });
    let error = model(options(&stub)).generate(&[request(0)]).remove(0).unwrap_err();
    assert_eq!(stub.received(), 1);
    assert!(
        source(&error).contains("gave up after 1 attempts: the server answered 503: closed for today"),
        "{error:?}"
    );
}

#[test]
fn a_very_long_delay_for_one_request_fails_the_others_at_once() {
    for pause in ["3600", "1000000000"] {
        let stub = Stub::start(move |_| Reply {
            headers: vec![("retry-after", pause.into())],
            ..Reply::status(429, "")
        });
        let model = model(options(&stub).with(|options| options.concurrency = 8));
        let (start, requests) = (Instant::now(), (0..100).map(request).collect::<Vec<_>>());
        let errors: Vec<String> =
            model.generate(&requests).into_iter().map(|answer| source(&answer.unwrap_err())).collect();
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
        assert!((1..=8).contains(&stub.received()), "only those in flight were sent: {}", stub.received());
        let paused =
            errors.iter().filter(|error| error.starts_with("not sent: the server asked us to wait")).count();
        assert_eq!(
            (paused, model.usage().requests as usize),
            (100 - stub.received(), stub.received()),
            "{errors:?}"
        );
    }
}

#[test]
fn a_refusal_is_not_retried_and_its_usage_counts() {
    let refusal = r#"{"choices": [{"index": 0, "message": {"content": null, "refusal": "no"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 1}}"#;
    let stub = Stub::start(move |_| Reply::status(200, refusal));
    let refusing = model(options(&stub));
    let error = refusing.generate(&[request(3)]).remove(0).unwrap_err();
    assert_eq!(error.to_string(), "request 3: the response has no answer: the model refused: no");
    assert_eq!((stub.received(), refusing.usage().prompt_tokens), (1, 7));

    // A server that ignores `n`.
    let stub = Stub::start(|_| Reply::text("one"));
    let two = request(0).with_sampling(SamplingParams { n: 2, ..SamplingParams::greedy(4) });
    let error = model(options(&stub)).generate(&[two]).remove(0).unwrap_err();
    assert!(error.to_string().contains("expected 2 choices, got 1 (0)"), "{error}");
    assert_eq!(stub.received(), 1);
}

/// Answers with the extended parameters that were sent.
fn extensions_sent(received: &Received) -> Reply {
    Reply::text(
        &serde_json::json!([
            received.body["top_k"],
            received.body["min_p"],
            received.body["repetition_penalty"]
        ])
        .to_string(),
    )
}

#[test]
fn neutral_parameters_are_sent_to_a_server_that_may_have_other_defaults() {
    let models = |owner: &'static str| {
        move || Reply::status(200, format!(r#"{{"data": [{{"id": "judge", "owned_by": "{owner}"}}]}}"#))
    };
    let text =
        |model: &RemoteModel| model.generate(&[request(0), request(1)]).remove(1).unwrap()[0].text.clone();
    for (owner, expected) in [("janus", "[-1,0.0,1.0]"), ("openai", "[null,null,null]")] {
        let stub = Stub::start_with(models(owner), extensions_sent);
        let detecting = model(options(&stub));
        assert_eq!(detecting.knows_extensions(), None);
        assert_eq!((text(&detecting), text(&detecting)), (expected.to_string(), expected.to_string()));
        assert_eq!(
            (detecting.knows_extensions(), stub.model_queries()),
            (Some(owner == "janus"), 1),
            "detected once"
        );
        assert_eq!(detecting.usage().requests, 4);
    }
    let stub = Stub::start_with(models("janus"), extensions_sent);
    for (extensions, expected) in
        [(Extensions::Known, "[-1,0.0,1.0]"), (Extensions::Unknown, "[null,null,null]")]
    {
        assert_eq!(text(&model(options(&stub).with(|options| options.extensions = extensions))), expected);
    }
    assert_eq!(stub.model_queries(), 0);
}

#[test]
fn a_server_without_a_list_of_models_is_used_without_extensions() {
    for status in [403, 404, 500] {
        let stub = Stub::start_with(move || Reply::status(status, ""), extensions_sent);
        let model = model(options(&stub).with(|options| options.attempts = 2));
        assert_eq!(model.generate(&[request(0)]).remove(0).unwrap()[0].text, "[null,null,null]", "{status}");
    }
    // A busy server is queried again.
    let busy = std::sync::atomic::AtomicBool::new(true);
    let models = move || match busy.swap(false, std::sync::atomic::Ordering::SeqCst) {
        true => Reply::status(503, ""),
        false => Reply::status(200, r#"{"data": [{"id": "judge", "owned_by": "vllm"}]}"#),
    };
    let stub = Stub::start_with(models, extensions_sent);
    assert_eq!(model(options(&stub)).generate(&[request(0)]).remove(0).unwrap()[0].text, "[-1,0.0,1.0]");
    // If no server can be reached, every request fails with the reason.
    let unreachable = model(
        options(&stub)
            .with(|options| options.base_url = "http://127.0.0.1:9/v1".into())
            .with(|options| options.attempts = 2),
    );
    let errors: Vec<String> = unreachable
        .generate(&[request(0), request(1)])
        .into_iter()
        .map(|answer| source(&answer.unwrap_err()))
        .collect();
    assert!(
        errors.iter().all(|error| error.starts_with("gave up after 2 attempts: the connection failed")),
        "{errors:?}"
    );
}

#[test]
fn late_responses_time_out() {
    let stub = Stub::start(|_| Reply { after: Duration::from_secs(5), ..Reply::text("late") });
    let options = options(&stub).with(|options| {
        options.attempts = 2;
        options.timeout = Duration::from_millis(100);
    });
    let start = Instant::now();
    let error = model(options).generate(&[request(0)]).remove(0).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(4));
    assert!(
        source(&error).starts_with("gave up after 2 attempts: no complete response arrived in time"),
        "{}",
        source(&error)
    );
}

fn source(error: &ModelError) -> String {
    std::error::Error::source(error).map(ToString::to_string).unwrap_or_default()
}

#[test]
fn the_key_is_sent_in_its_header_and_printed_nowhere() {
    let stub = Stub::start(|received| match received.header("authorization") {
        Some("Bearer sk-secret-1") => Reply::text("ok"),
        Some(wrong) => Reply::status(401, format!(r#"{{"error": {{"message": "Incorrect key: {wrong}"}}}}"#)),
        None => Reply::status(401, ""),
    });
    let with = |key: Option<&str>| {
        model(options(&stub).with(|options| {
            options.key = key.map(|key| ApiKey::new(key).unwrap());
            options.concurrency = 1;
            options.attempts = 5;
        }))
    };
    let good = with(Some("sk-secret-1"));
    assert!(good.generate(&[request(0)])[0].is_ok());
    assert!(!format!("{good:?}").contains("secret"));
    let before = stub.received();
    let wrong = with(Some("sk-secret-2"));
    let answers = wrong.generate(&(0..50).map(request).collect::<Vec<_>>());
    assert_eq!(stub.received() - before, 1, "a refused key is not sent again");
    for error in answers.into_iter().map(Result::unwrap_err) {
        let message = format!("{error} {error:?} {}", source(&error));
        assert!(message.contains("the key is refused") && !message.contains("secret"), "{message}");
    }
    let none = with(None).generate(&[request(0)]).remove(0).unwrap_err();
    assert!(format!("{none:?}").contains("a key is needed"));
}

#[test]
fn one_flagged_input_is_one_failed_request() {
    let flagged = r#"{"error": {"code": 403, "message": "the input was flagged"}}"#;
    let stub = Stub::start(move |received| match received.body.to_string().contains("question 3") {
        true => Reply::status(403, flagged),
        false => Reply::text("ok"),
    });
    let answers = model(options(&stub)).generate(&(0..8).map(request).collect::<Vec<_>>());
    let failed: Vec<String> =
        answers.iter().filter_map(|answer| answer.as_ref().err()).map(ToString::to_string).collect();
    assert_eq!(failed, ["request 3: the server answered 403: the input was flagged"]);
    assert_eq!(stub.received(), 8, "nothing is sent twice");
}

#[test]
fn an_invalid_request_is_an_error_and_not_retried() {
    let stub = Stub::start(|received| match received.path.as_str() {
        "/v1/chat/completions" => Reply::status(400, r#"{"error": {"message": "temperature too high"}}"#),
        other => Reply::status(404, other),
    });
    let error = model(options(&stub)).generate(&[request(7)]).remove(0).unwrap_err();
    assert_eq!(error.to_string(), "request 7: the server answered 400: temperature too high");
    assert_eq!(stub.received(), 1);
    let invalid = request(1).with_sampling(SamplingParams { temperature: -1.0, ..SamplingParams::default() });
    assert!(matches!(model(options(&stub)).generate(&[invalid]).remove(0), Err(ModelError::Invalid { .. })));
    assert_eq!(stub.received(), 1);
}

#[test]
fn a_redirect_is_not_followed() {
    let other = Stub::start(|_| Reply::text("stolen"));
    let target = other.url();
    let stub = Stub::start(move |_| Reply {
        headers: vec![("location", format!("{target}/chat/completions"))],
        ..Reply::status(307, "")
    });
    let options = options(&stub).with(|options| options.key = Some(ApiKey::new("sk").unwrap()));
    assert!(model(options).generate(&[request(0)])[0].is_err());
    assert_eq!(other.received(), 0);
}

#[test]
fn the_budget_is_not_exceeded_by_concurrent_requests() {
    let stub = Stub::start(|_| Reply { after: Duration::from_millis(5), ..Reply::text("ok") });
    let prices = Prices::new(1000.0, 1000.0);
    // An answer uses 15 tokens, 0.015. Up to 10 + 16 + 16 + 100 tokens are reserved for a request, above
    // 0.14.
    let model = model(options(&stub).with(|options| {
        options.prices = Some(prices);
        options.budget = Some(1.0);
    }));
    let answers = model.generate(&(0..200).map(request).collect::<Vec<_>>());
    let answered = answers.iter().filter(|answer| answer.is_ok()).count();
    let usage = model.usage();
    assert!(usage.cost <= 1.0 && usage.cost > 0.8, "{usage:?}");
    assert_eq!((answered, stub.received()), (usage.requests as usize, usage.requests as usize));
    let error = answers.into_iter().find_map(Result::err).unwrap();
    assert!(source(&error).contains("of the budget of 1.0000 is spent"), "{}", source(&error));
}

#[test]
fn options_that_cannot_be_used_are_named() {
    let stub = Stub::start(|_| Reply::text("ok"));
    let error = |options: RemoteOptions| RemoteModel::new("m", options).unwrap_err().to_string();
    assert!(error(options(&stub).with(|options| options.concurrency = 0)).starts_with("concurrency is 0"));
    assert!(error(options(&stub).with(|options| options.budget = Some(1.0))).contains("expected prices too"));
    assert!(error(RemoteOptions::new("localhost:80")).starts_with("base_url is localhost:80"));
    let with_password = error(RemoteOptions::new("https://user:secret@host/v1"));
    assert!(!with_password.contains("secret"), "{with_password}");
    let with_key = error(RemoteOptions::new("https://host/v1?key=sk-1"));
    assert!(with_key.starts_with("base_url is https://host/v1") && !with_key.contains("sk-1"), "{with_key}");
}
