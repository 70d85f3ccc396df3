//! The server's `/v1/completions`.

use janus_core::ChatTemplate;
use janus_data::Tokenizer;
use janus_infer::server::ServerOptions;
use janus_infer::{Engine, EngineOptions};
use serde_json::{Value, json};

use crate::http::Running;
use crate::server::{engine, join_chunks, start};
use crate::tiny;

#[test]
fn completions_of_text_and_of_ids() {
    let server = start(ServerOptions::default());
    let ask = |prompt: Value, fields: Value| {
        let mut body = json!({ "model": "tiny", "prompt": prompt, "seed": 2 });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        server.post("/v1/completions", &body)
    };
    let text = "<|im_start|>user\nhello";
    let ids = engine().tokenizer().encode_with_specials(text).unwrap();
    assert_eq!(ids[0], 256, "the text of a special token becomes the token");
    let fields = json!({ "logprobs": 2 });
    let answers: Vec<Value> = [json!(text), json!([text]), json!(ids), json!([ids])]
        .into_iter()
        .map(|prompt| ask(prompt, fields.clone()).json())
        .collect();
    for answer in &answers {
        assert_eq!((&answer["choices"], &answer["usage"]), (&answers[0]["choices"], &answers[0]["usage"]));
    }
    let (choice, usage) = (&answers[0]["choices"][0], &answers[0]["usage"]);
    assert_eq!(
        (&answers[0]["object"], &usage["prompt_tokens"]),
        (&json!("text_completion"), &json!(ids.len()))
    );
    // OpenAI's default is 16 tokens.
    assert!(choice["finish_reason"] == "stop" || usage["completion_tokens"] == 16, "{answers:?}");
    let logprobs = &choice["logprobs"];
    let count = usage["completion_tokens"].as_u64().unwrap() as usize;
    for name in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(logprobs[name].as_array().unwrap().len(), count, "{name}");
    }
    assert!(
        logprobs["top_logprobs"]
            .as_array()
            .unwrap()
            .iter()
            .all(|top| (1..=2).contains(&top.as_object().unwrap().len()))
    );

    let events = ask(json!(text), json!({ "logprobs": 2, "stream": true, "n": 2 })).events();
    let whole = ask(json!(text), json!({ "logprobs": 2, "n": 2 })).json();
    for (index, (streamed, _, finish)) in join_chunks(&events) {
        let expected = &whole["choices"][index as usize];
        assert_eq!((&json!(streamed), &finish), (&expected["text"], &expected["finish_reason"]));
        let joined = |name: &str| -> Vec<Value> {
            let choices =
                events.iter().map(|event| &event["choices"][0]).filter(|choice| choice["index"] == index);
            choices
                .flat_map(|choice| choice["logprobs"][name].as_array().cloned().unwrap_or_default())
                .collect()
        };
        for name in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
            assert_eq!(json!(joined(name)), expected["logprobs"][name], "{name}");
        }
    }

    let wrong = |prompt: Value, fields: Value| ask(prompt, fields).error();
    let param = |error: (u16, String, Option<String>, Option<String>)| (error.0, error.2.unwrap());
    assert_eq!(param(wrong(json!([1, 258]), json!({}))), (400, "prompt".into()));
    assert_eq!(param(wrong(json!([]), json!({}))), (400, "prompt".into()));
    assert_eq!(param(wrong(json!([1, "b"]), json!({}))), (400, "prompt".into()));
    assert_eq!(param(wrong(json!(["b", 1]), json!({}))), (400, "prompt".into()));
    assert_eq!(param(wrong(json!(["a", [1]]), json!({}))), (400, "prompt".into()));
    assert_eq!(param(wrong(json!([1, -1]), json!({}))), (400, "prompt[1]".into()));
    assert_eq!(param(wrong(json!({}), json!({}))), (400, "prompt".into()));
    assert_eq!(param(wrong(json!("a"), json!({ "echo": true, "logprobs": 0 }))), (400, "echo".into()));
    assert_eq!(param(wrong(json!("a"), json!({ "suffix": "b" }))), (400, "suffix".into()));
    assert_eq!(param(wrong(json!("a"), json!({ "best_of": 2 }))), (400, "best_of".into()));
    assert_eq!(ask(json!("a"), json!({ "best_of": 1, "echo": false, "suffix": null })).status, 200);
}

#[test]
fn several_prompts_are_answered_as_if_each_were_alone() {
    let server = start(ServerOptions::default());
    let ask = |prompt: Value, fields: Value| {
        let mut body = json!({ "model": "tiny", "prompt": prompt, "seed": 2, "max_tokens": 12, "n": 2 });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        server.post("/v1/completions", &body)
    };
    let texts = ["hello", "<|im_start|>user\nhello", "hello"];
    let ids: Vec<Vec<u32>> =
        texts.iter().map(|text| engine().tokenizer().encode_with_specials(text).unwrap()).collect();
    let alone: Vec<Value> = texts.iter().map(|text| ask(json!(text), json!({})).json()).collect();
    for prompts in [json!(texts), json!(ids)] {
        let answer = ask(prompts.clone(), json!({})).json();
        let choices = answer["choices"].as_array().unwrap();
        assert_eq!(choices.len(), 6);
        for (index, choice) in choices.iter().enumerate() {
            let expected = &alone[index / 2]["choices"][index % 2];
            assert_eq!(
                (&choice["index"], &choice["text"], &choice["finish_reason"]),
                (&json!(index), &expected["text"], &expected["finish_reason"])
            );
        }
        for count in ["prompt_tokens", "completion_tokens", "total_tokens"] {
            let sum: u64 = alone.iter().map(|answer| answer["usage"][count].as_u64().unwrap()).sum();
            assert_eq!(answer["usage"][count], json!(sum), "{count}");
        }
        let events =
            ask(prompts, json!({ "stream": true, "stream_options": { "include_usage": true } })).events();
        assert_eq!(events.last().unwrap()["usage"], answer["usage"]);
        let streamed = join_chunks(&events[..events.len() - 1]);
        assert_eq!(streamed.len(), 6);
        for (index, (text, _, finish)) in streamed {
            assert_eq!(
                (&json!(text), &finish),
                (&choices[index as usize]["text"], &choices[index as usize]["finish_reason"])
            );
        }
    }
    // Without a seed, equal prompts get different answers.
    let unseeded = ask(json!(["hello", "hello"]), json!({ "seed": null, "n": 1 })).json();
    assert_ne!(unseeded["choices"][0]["text"], unseeded["choices"][1]["text"]);

    for (prompt, field, message) in [
        (json!([[1, 2], [1, 258]]), "prompt[1]", "258"),
        (json!(vec!["a"; 65]), "prompt", "65 prompts of 2 samples"),
        (json!(vec!["a"; 200]), "prompt", "more than 128 prompts"),
    ] {
        let answer = ask(prompt, json!({}));
        let (status, _, param, _) = answer.error();
        assert_eq!((status, param.as_deref()), (400, Some(field)));
        assert!(answer.body.contains(message), "{}", answer.body);
    }
    // A failed request frees its place in the queue.
    assert_eq!(ask(json!(texts), json!({})).status, 200);
    server.wait_until("janus_queue_places_taken", |taken| taken == 0.0);
}

#[test]
fn an_echo_begins_with_the_prompt() {
    let server = start(ServerOptions::default());
    let ask = |prompt: &Value, fields: Value| {
        let mut body = json!({ "prompt": prompt, "seed": 2, "n": 2, "max_tokens": 8 });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        server.post("/v1/completions", &body)
    };
    let ids = |text| engine().tokenizer().encode_with_specials(text).unwrap();
    for prompts in [json!(["hello", "good day"]), json!([ids("hello"), ids("good day")])] {
        let alone = ask(&prompts, json!({ "echo": false })).json();
        let echoed = ask(&prompts, json!({ "echo": true })).json();
        let streamed = join_chunks(&ask(&prompts, json!({ "echo": true, "stream": true })).events());
        assert_eq!((echoed["usage"].clone(), streamed.len()), (alone["usage"].clone(), 4));
        for index in 0..4 {
            let prompt = ["hello", "good day"][index / 2];
            let expected = prompt.to_string() + alone["choices"][index]["text"].as_str().unwrap();
            assert_eq!(echoed["choices"][index]["text"], json!(expected));
            assert_eq!(streamed[&(index as u64)].0, expected);
        }
    }
}

/// A Mistral model got no `<s>` before the text of a completion, as its tokenizer's post-processor puts it.
#[test]
fn the_text_of_a_completion_begins_as_the_model_was_trained() {
    let json = tiny::tokenizer_json().replace("<|im_start|>", "<s>").replace("<|im_end|>", "</s>");
    let tokenizer = Tokenizer::from_tokenizers(json.parse().unwrap());
    let ids = tokenizer.encode("The capital").unwrap();
    let mistral =
        Engine::new(tiny::model(2, None), tokenizer, ChatTemplate::MistralInstruct, EngineOptions::default());
    let server = Running::start(mistral, None, ServerOptions::default());
    let ask = |prompt: Value| {
        server.post("/v1/completions", &json!({ "prompt": prompt, "seed": 1, "temperature": 0 })).json()
    };
    let answer = ask(json!("The capital"));
    assert_eq!(answer["usage"]["prompt_tokens"], json!(1 + ids.len()));
    for same in [json!("<s>The capital"), json!([&[256], &ids[..]].concat())] {
        assert_eq!(ask(same)["choices"], answer["choices"]);
    }
    // Ids are taken as they are.
    assert_eq!(ask(json!(ids))["usage"]["prompt_tokens"], json!(ids.len()));
}
