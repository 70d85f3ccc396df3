//! The fields of requests: which are obeyed, and which are refused.

use janus_core::{ChatModel as _, ChatRequest, Message, SamplingParams};
use janus_infer::server::ServerOptions;
use serde_json::{Value, json};

use crate::http::{Running, exchange, post};
use crate::server::{Short, engine, hello, start};

#[test]
fn an_invalid_request_is_refused_with_the_field() {
    let server = start(ServerOptions::default());
    let cases = [
        (json!({ "temperature": "hot" }), "temperature"),
        (json!({ "temperature": -1 }), "temperature"),
        (json!({ "top_p": 0 }), "top_p"),
        (json!({ "top_p": 1.5 }), "top_p"),
        (json!({ "min_p": 1 }), "min_p"),
        (json!({ "top_k": -2 }), "top_k"),
        (json!({ "repetition_penalty": 0 }), "repetition_penalty"),
        (json!({ "n": 0 }), "n"),
        (json!({ "n": -1 }), "n"),
        (json!({ "n": 1.5 }), "n"),
        (json!({ "n": 129 }), "n"),
        (json!({ "max_tokens": 0 }), "max_tokens"),
        (json!({ "max_tokens": "many" }), "max_tokens"),
        (json!({ "max_completion_tokens": 0 }), "max_completion_tokens"),
        (json!({ "seed": 1.5 }), "seed"),
        (json!({ "stop": 5 }), "stop"),
        (json!({ "stop": [5] }), "stop[0]"),
        (json!({ "stop": [""] }), "stop"),
        (json!({ "stop": vec!["a"; 17] }), "stop"),
        (json!({ "stop": "a".repeat(2000) }), "stop"),
        (json!({ "stream": "yes" }), "stream"),
        (json!({ "logprobs": 5 }), "logprobs"),
        (json!({ "logprobs": true, "top_logprobs": 21 }), "top_logprobs"),
        (json!({ "top_logprobs": 2 }), "top_logprobs"),
        (json!({ "messages": "hello" }), "messages"),
        (json!({ "messages": [] }), "messages"),
        (json!({ "messages": [{ "role": "tool", "content": "a" }] }), "messages[0].role"),
        (json!({ "messages": [{ "role": "user", "content": null }] }), "messages[0].content"),
        (json!({ "messages": [{ "role": "user" }] }), "messages[0].content"),
        (json!({ "messages": [{ "role": null, "content": "a" }] }), "messages[0].role"),
        (json!({ "messages": [{ "role": 5, "content": "a" }] }), "messages[0].role"),
        (
            json!({ "messages": [{ "role": "user", "content": [{ "type": null, "text": "a" }] }] }),
            "messages[0].content[0].type",
        ),
        (
            json!({ "messages": [{ "role": "assistant", "content": "a", "tool_calls": [{ "id": "1" }] }] }),
            "messages[0].tool_calls",
        ),
        (
            json!({ "messages": [{ "role": "assistant", "content": null, "function_call": { "name": "f" } }] }),
            "messages[0].function_call",
        ),
        (
            json!({ "messages": [{ "role": "assistant", "content": "a", "prefix": true }] }),
            "messages[0].prefix",
        ),
        (json!({ "tool_choice": "required" }), "tool_choice"),
        (json!({ "grammar": "root ::= \"a\"" }), "grammar"),
        (
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url", "image_url": {} }] }] }),
            "messages[0].content[0].type",
        ),
        (json!({ "messages": [{ "role": "user", "content": "x".repeat(400) }] }), "messages"),
        (json!({ "tools": [{ "type": "function" }] }), "tools"),
        (json!({ "response_format": { "type": "json_object" } }), "response_format"),
        (json!({ "frequency_penalty": 2.5 }), "frequency_penalty"),
        (json!({ "presence_penalty": -3 }), "presence_penalty"),
        (json!({ "logit_bias": { "5": 101 } }), "logit_bias"),
        (json!({ "logit_bias": { "five": 1 } }), "logit_bias"),
        (json!({ "logit_bias": { "5": "much" } }), "logit_bias.5"),
        (json!({ "min_tokens": 25 }), "min_tokens"),
        (json!({ "stop_token_ids": [-1] }), "stop_token_ids[0]"),
        (json!({ "ignore_eos": "yes" }), "ignore_eos"),
        (json!({ "guided_json": { "type": "object" } }), "guided_json"),
        (json!({ "echo": true }), "echo"),
        (json!({ "continue_final_message": true, "add_generation_prompt": true }), "continue_final_message"),
        (json!({ "add_generation_prompt": false }), "add_generation_prompt"),
        (json!({ "best_of": 2 }), "best_of"),
        (json!({ "preferences": [] }), "preferences"),
        (
            json!({ "preferences": [{ "dimension": "colour", "subdimension": "a", "preference": "b", "description": "c" }] }),
            "preferences[0].dimension",
        ),
    ];
    for (fields, param) in cases {
        let response = server.chat(&hello(fields.clone()));
        let (status, kind, named, _) = response.error();
        assert_eq!(
            (status, kind.as_str(), named.as_deref()),
            (400, "invalid_request_error", Some(param)),
            "{fields} {response:?}"
        );
        assert!(
            response.message().contains(param) || param == "messages",
            "{fields}: {}",
            response.message()
        );
    }
    let neutral = json!({ "frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}, "tools": [], "response_format": { "type": "text" }, "top_k": -1, "logprobs": false });
    assert_eq!(server.chat(&hello(neutral)).status, 200);
    let too_long =
        server.chat(&hello(json!({ "messages": [{ "role": "user", "content": "x".repeat(400) }] })));
    assert_eq!(too_long.error().3.as_deref(), Some("context_length_exceeded"));
    assert!(server.chat(&hello(json!({ "best_of": 2 }))).message().contains("this server has none"));
    let all = server.chat(&hello(json!({ "best_of": 2, "n": 2 })));
    assert_eq!(all.json()["choices"].as_array().map(Vec::len), Some(2), "the best 2 of 2 are all: {all:?}");
    assert_eq!(
        server.chat(&hello(json!({ "model": "gpt" }))).error(),
        (404, "not_found_error".into(), Some("model".into()), Some("model_not_found".into()))
    );
    let missing = server.chat(&json!({ "model": "tiny" }));
    assert_eq!(
        (missing.message().as_str(), missing.error().2.as_deref()),
        ("messages is missing", Some("messages"))
    );
    for broken in
        ["", "{", "[]", "nonsense", "{} {}", "\u{0}", r#"{"messages": [{"role": "user", "content": "a"}]} x"#]
    {
        let response = exchange(server.address, &post("/v1/chat/completions", broken)).unwrap();
        assert_eq!((response.error().0, response.error().2), (400, None), "{broken}: {response:?}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(exchange(server.address, &post("/v1/chat/completions", &deep)).unwrap().status, 400);
}

/// They were refused, or ignored without a word.
#[test]
fn the_fields_of_vllm_are_obeyed() {
    let server = start(ServerOptions::default());
    let greedy = |fields: Value| {
        let mut body = hello(json!({ "temperature": 0, "max_tokens": 6 }));
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let answer = server.chat(&body).json();
        let choice = &answer["choices"][0];
        let text = choice["message"]["content"].as_str().unwrap().to_string();
        (text, choice["finish_reason"].clone(), answer["usage"]["completion_tokens"].as_u64().unwrap())
    };
    let id = |text: &str| engine().tokenizer().encode(text).unwrap()[0].to_string();
    let (a, end) = (id("a"), "257");
    let number = |id: &str| id.parse::<u32>().unwrap();
    // With the largest bias a token is always chosen.
    assert_eq!(greedy(json!({ "logit_bias": { &a: 100 } })), ("aaaaaa".into(), json!("length"), 6));
    let stop = json!([number(&a)]);
    assert_eq!(
        greedy(json!({ "logit_bias": { &a: 100 }, "stop_token_ids": stop })),
        (String::new(), json!("stop"), 1)
    );
    let (text, reason, tokens) =
        greedy(json!({ "logit_bias": { &a: 100 }, "stop_token_ids": stop, "min_tokens": 3 }));
    assert_eq!((text.contains('a'), reason, tokens), (false, json!("stop"), 4));
    assert_eq!(greedy(json!({ "logit_bias": { end: 100 } })), (String::new(), json!("stop"), 1));
    assert_eq!(
        greedy(json!({ "logit_bias": { end: 100 }, "ignore_eos": true })),
        (String::new(), json!("length"), 6)
    );
    // A stop text is searched for after the first tokens.
    assert_eq!(
        greedy(json!({ "logit_bias": { &a: 100 }, "stop": "a", "min_tokens": 3 })),
        ("aaa".into(), json!("stop"), 4)
    );
    // A frequency penalty of 2 lowers the logit of `a` until another token has a larger one.
    let fields = json!({ "logit_bias": { &a: 50, &id("b"): 50 }, "frequency_penalty": 2, "max_tokens": 24 });
    let (text, _, _) = greedy(fields);
    assert!(text.contains('a') && text.contains('b'), "{text}");
    for (fields, field) in [
        (json!({ "logit_bias": { "258": 1 } }), "logit_bias"),
        (json!({ "stop_token_ids": [300] }), "stop_token_ids"),
    ] {
        let answer = server.chat(&hello(fields));
        assert_eq!((answer.error().0, answer.error().2.as_deref()), (400, Some(field)));
        assert!(answer.message().contains("ids below 258"), "{}", answer.message());
    }
}

/// The tables of `docs/server.md`, each row sent with its value.
#[test]
fn every_field_in_the_documentation_is_treated_as_it_says() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/server.md");
    let page = std::fs::read_to_string(page).unwrap();
    let server = start(ServerOptions::default());
    let (mut heading, mut rows) = ("", 0);
    for line in page.lines() {
        heading = line.strip_prefix("## ").unwrap_or(heading);
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, field, value, effect, _] = cells[..] else { continue };
        let (Some(field), Some(value)) = (code(field), code(value)) else { continue };
        let value: Value = serde_json::from_str(value).unwrap_or_else(|error| panic!("{line}: {error}"));
        rows += 1;
        for chat in [true, false] {
            let base = if chat { hello(json!({})) } else { json!({ "prompt": "hello", "max_tokens": 4 }) };
            let other = if chat { "Completions" } else { "Chat completions" };
            if heading == other {
                continue;
            }
            let mut body = base;
            body[field] = value.clone();
            match field {
                "top_logprobs" => body["logprobs"] = json!(true),
                "continue_final_message" => body["messages"][0]["role"] = json!("assistant"),
                _ => {}
            }
            let path = if chat { "/v1/chat/completions" } else { "/v1/completions" };
            let answer = server.post(path, &body);
            if effect.starts_with("refused") {
                assert_eq!((answer.status, answer.error().2.as_deref()), (400, Some(field)), "{line}");
            } else {
                assert_eq!(answer.status, 200, "{line}: {answer:?}");
            }
        }
    }
    assert!(rows > 60, "{rows} rows");
}

/// The text of a cell between back quotes.
fn code(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.strip_suffix('`')
}

#[test]
fn penalties_of_a_request_are_those_of_the_engine() {
    let server = start(ServerOptions::default());
    let text = |fields: Value| server.chat(&hello(fields)).json()["choices"][0]["message"]["content"].clone();
    let fields = json!({ "presence_penalty": 1.5, "frequency_penalty": -1.5 });
    let sampling = SamplingParams {
        max_tokens: 24,
        seed: 7,
        presence_penalty: 1.5,
        frequency_penalty: -1.5,
        ..SamplingParams::default()
    };
    let request = ChatRequest::new("api", [Message::user("hello")]).with_sampling(sampling);
    let expected = engine().generate(&[request]).remove(0).unwrap().remove(0).text;
    assert_eq!(text(fields), json!(expected));
    assert_ne!(text(json!({})), json!(expected));
}

#[test]
fn the_last_message_is_continued_on_request() {
    let server = Running::start(engine(), Some(Box::new(Short)), ServerOptions::default());
    let messages = [Message::user("count"), Message::assistant("1, 2,")];
    let ids = engine().template().encode_unfinished(&messages, engine().tokenizer()).unwrap();
    let fields = |more: Value| {
        let mut body = hello(json!({ "messages": messages, "continue_final_message": true }));
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let continued = server.chat(&fields(json!({}))).json();
    assert_eq!(continued["usage"]["prompt_tokens"], json!(ids.len()));
    // As the completion of the same ids.
    let completion = json!({ "prompt": ids, "seed": 7, "max_tokens": 24 });
    let completion = server.post("/v1/completions", &completion).json();
    assert_eq!(continued["choices"][0]["message"]["content"], completion["choices"][0]["text"]);
    // A reward model would score two answers in a row.
    let refused = server.chat(&fields(json!({ "best_of": 2 })));
    assert_eq!((refused.error().0, refused.error().2.as_deref()), (400, Some("continue_final_message")));
}
