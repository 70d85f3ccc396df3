//! Requests as JSON.

use janus_core::{ChatRequest, Message, SamplingParams};
use serde_json::{Value, json};

use super::budget::Tokens;
use super::{Endpoint, RemoteOptions, RequestProblem};

/// The body of a request, or the reason why the endpoint does not support it. Neutral parameters (those
/// whose value has no effect) are left out, since some APIs refuse unknown fields. If the server supports
/// top-k, min-p and the repetition penalty (`extended`), these are always sent, since the server's
/// defaults may not be neutral.
pub(super) fn body(
    model: &str,
    request: &ChatRequest,
    options: &RemoteOptions,
    extended: bool,
) -> Result<Value, RequestProblem> {
    let SamplingParams {
        temperature,
        top_p,
        top_k,
        min_p,
        repetition_penalty,
        max_tokens,
        n,
        seed,
        stop,
        logprobs,
        top_logprobs,
        min_tokens,
        stop_token_ids,
        ignore_eos,
        logit_bias,
        presence_penalty,
        frequency_penalty,
    } = &request.sampling;
    let (input, content) = match (options.endpoint, &request.messages[..]) {
        (Endpoint::Chat, messages) => ("messages", json!(messages)),
        (Endpoint::Completions, _) if *logprobs => return Err(RequestProblem::Logprobs),
        (Endpoint::Completions, [text]) => ("prompt", json!(text.content)),
        (Endpoint::Completions, messages) => return Err(RequestProblem::Messages { got: messages.len() }),
    };
    let new_name = options.max_completion_tokens && options.endpoint == Endpoint::Chat;
    let limit = if new_name { "max_completion_tokens" } else { "max_tokens" };
    let mut body = json!({ "model": model, input: content, "temperature": temperature, "top_p": top_p, limit: max_tokens });
    let mut set = |name: &str, value: Value, neutral: bool| {
        if !neutral {
            body[name] = value;
        }
    };
    set("n", json!(n), *n == 1);
    // The API takes seeds of 63 bits.
    set("seed", json!(seed & (u64::MAX >> 1)), !options.send_seed);
    set("stop", json!(stop), stop.is_empty());
    set("logprobs", json!(true), !logprobs);
    set("top_logprobs", json!(top_logprobs), *top_logprobs == 0);
    // All servers that support the field accept -1 for no limit; some refuse 0.
    set("top_k", if *top_k == 0 { json!(-1) } else { json!(top_k) }, !extended && *top_k == 0);
    set("min_p", json!(min_p), !extended && *min_p == 0.0);
    set("repetition_penalty", json!(repetition_penalty), !extended && *repetition_penalty == 1.0);
    set("min_tokens", json!(min_tokens), *min_tokens == 0);
    set("stop_token_ids", json!(stop_token_ids), stop_token_ids.is_empty());
    set("ignore_eos", json!(true), !ignore_eos);
    set("logit_bias", json!(logit_bias), logit_bias.is_empty());
    set("presence_penalty", json!(presence_penalty), *presence_penalty == 0.0);
    set("frequency_penalty", json!(frequency_penalty), *frequency_penalty == 0.0);
    Ok(body)
}

/// The most tokens that a request can use: each token has at least one byte, and each message adds a few
/// special tokens.
pub(super) fn most_tokens(request: &ChatRequest) -> Tokens {
    let prompt: usize = request.messages.iter().map(|Message { content, .. }| content.len() + 16).sum();
    Tokens {
        prompt: prompt as u64 + 16,
        completion: (request.sampling.max_tokens * request.sampling.n) as u64,
    }
}

/// An estimate of the tokens of a request, as rate limits count them.
pub(super) fn likely_tokens(request: &ChatRequest) -> u64 {
    let Tokens { prompt, completion } = most_tokens(request);
    prompt / 4 + completion
}

/// Whether a server supports top-k, min-p and the repetition penalty, judged by its list of models.
pub(super) fn is_extended(models: &str, model: &str) -> bool {
    /// The `owned_by` of servers that support these fields. llama.cpp's penalty has another name, and it
    /// ignores this one.
    const EXTENDED: [&str; 4] = ["janus", "vllm", "sglang", "llamacpp"];
    let list: Value = serde_json::from_str(models).unwrap_or_default();
    let all = list["data"].as_array().map_or(&[][..], Vec::as_slice);
    let entry = all.iter().find(|entry| entry["id"] == model).or(all.first());
    entry.and_then(|entry| entry["owned_by"].as_str()).is_some_and(|owner| EXTENDED.contains(&owner))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::remote) fn request(sampling: SamplingParams) -> ChatRequest {
        ChatRequest::new("a", [Message::system("s"), Message::user("ü")]).with_sampling(sampling)
    }

    #[test]
    fn neutral_parameters_are_not_sent() {
        let options = RemoteOptions { send_seed: false, ..RemoteOptions::new("http://localhost/v1") };
        let plain = body("m", &request(SamplingParams::greedy(9)), &options, false).unwrap();
        let keys: Vec<&String> = plain.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["model", "messages", "temperature", "top_p", "max_tokens"]);
        assert_eq!(plain["messages"][1], json!({ "role": "user", "content": "ü" }));
        let all = SamplingParams {
            top_k: 3,
            min_p: 0.1,
            n: 2,
            seed: u64::MAX,
            stop: vec!["x".into()],
            logprobs: true,
            top_logprobs: 5,
            ..SamplingParams::paper()
        };
        let options = RemoteOptions { send_seed: true, max_completion_tokens: true, ..options };
        let sent = body("m", &request(all), &options, false).unwrap();
        assert_eq!(
            (&sent["seed"], &sent["top_logprobs"], &sent["repetition_penalty"]),
            (&json!(i64::MAX), &json!(5), &json!(1.03))
        );
        assert!(sent.get("max_tokens").is_none() && sent["max_completion_tokens"] == 1024);
    }

    #[test]
    fn a_plain_text_is_sent_verbatim() {
        let completions = RemoteOptions {
            endpoint: Endpoint::Completions,
            max_completion_tokens: true,
            send_seed: false,
            ..RemoteOptions::new("http://localhost/v1")
        };
        let text = |sampling| ChatRequest::new("a", [Message::user("so ")]).with_sampling(sampling);
        let sent = body("m", &text(SamplingParams::greedy(9)), &completions, false).unwrap();
        assert_eq!(
            sent,
            json!({ "model": "m", "prompt": "so ", "temperature": 0.0, "top_p": 1.0, "max_tokens": 9 })
        );
        assert!(
            body("m", &request(SamplingParams::greedy(9)), &completions, false).unwrap_err()
                == RequestProblem::Messages { got: 2 }
        );
        assert!(
            body(
                "m",
                &text(SamplingParams { logprobs: true, ..SamplingParams::greedy(9) }),
                &completions,
                false
            )
            .is_err()
        );
    }

    #[test]
    fn extended_parameters_are_always_sent_to_a_server_that_supports_them() {
        let options = RemoteOptions::new("http://localhost/v1");
        let sent = body("m", &request(SamplingParams::greedy(9)), &options, true).unwrap();
        assert_eq!(
            [&sent["top_k"], &sent["min_p"], &sent["repetition_penalty"]],
            [&json!(-1), &json!(0.0), &json!(1.0)]
        );
        let sent =
            body("m", &request(SamplingParams { top_k: 3, ..SamplingParams::greedy(9) }), &options, true)
                .unwrap();
        assert_eq!(sent["top_k"], 3);
        let models = |id: &str, owner: &str| {
            json!({ "object": "list", "data": [{ "id": id, "owned_by": owner }] }).to_string()
        };
        for (models, expected) in [
            (models("m", "janus"), true),
            (models("other", "vllm"), true),
            (models("m", "openai"), false),
            (
                r#"{"data": [{"id": "x", "owned_by": "vllm"}, {"id": "m", "owned_by": "someone"}]}"#.into(),
                false,
            ),
            (r#"{"data": []}"#.into(), false),
            ("<html>".into(), false),
        ] {
            assert_eq!(is_extended(&models, "m"), expected, "{models}");
        }
    }
}
