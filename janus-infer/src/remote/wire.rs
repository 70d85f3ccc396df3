//! Requests and responses as JSON.

use janus_core::{ChatRequest, FinishReason, Generation, Message, SamplingParams, TokenLogprob, TopLogprob};
use serde::Deserialize;
use serde_json::{Value, json};

use janus_data::http::{AnswerProblem, ApiKey, Failed, HttpError, HttpResponse};

use super::budget::Tokens;
use super::{Endpoint, NoAnswer, RemoteError, RemoteOptions, RequestProblem};

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

/// A response.
pub(super) struct Answer {
    pub generations: Vec<Generation>,
    /// `None` if the response states no usage.
    pub usage: Option<Tokens>,
}

/// A response. What surrounds the text is read leniently: servers differ in it, and the text is paid for.
#[derive(Deserialize)]
struct Completion {
    choices: Option<Vec<WireChoice>>,
    error: Option<Value>,
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct WireUsage {
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

#[derive(Deserialize)]
struct WireChoice {
    #[serde(default)]
    index: usize,
    /// Of `/chat/completions`.
    message: Option<WireMessage>,
    /// Of `/completions`.
    text: Option<String>,
    finish_reason: Option<Value>,
    logprobs: Option<Value>,
}

#[derive(Deserialize)]
struct WireMessage {
    content: Option<Content>,
    refusal: Option<String>,
}

/// The content of a message: a text, or parts of which some are texts.
#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    text: Option<String>,
}

impl Content {
    fn text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Parts(parts) => parts
                .into_iter()
                .map(|part| part.text)
                .collect::<Option<Vec<_>>>()
                .map(|texts| texts.concat()),
        }
    }
}

/// Reads a `finish_reason`. Servers have names of their own for an answer that is complete ("eos", an empty
/// text), so an unknown one is.
fn finish_reason(reason: Option<&Value>) -> Result<FinishReason, String> {
    let reason = reason.and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    match reason.as_str() {
        "content_filter" | "tool_calls" | "function_call" | "error" => Err(reason),
        reason if reason.contains("length") || reason.contains("max_") => Ok(FinishReason::Length),
        _ => Ok(FinishReason::Stop),
    }
}

#[derive(Deserialize)]
struct WireLogprobs {
    content: Option<Vec<WireToken>>,
}

#[derive(Deserialize)]
struct WireToken {
    logprob: f64,
    #[serde(default)]
    top_logprobs: Vec<TopLogprob>,
}

/// The usage of a response whose other fields cannot be read.
pub(super) fn usage(text: &str) -> Option<Tokens> {
    let mut body: Value = serde_json::from_str(text).ok()?;
    tokens(body["usage"].take())
}

fn tokens(usage: Value) -> Option<Tokens> {
    let WireUsage { prompt_tokens, completion_tokens } = serde_json::from_value(usage).ok()?;
    Some(Tokens { prompt: prompt_tokens, completion: completion_tokens })
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

/// Reads the response to a request. A response that is not valid JSON may be retried; a valid one
/// without the requested completions is not. The API key is redacted in texts of the response that
/// errors quote.
pub(super) fn read(
    text: &str,
    request: &ChatRequest,
    key: Option<&ApiKey>,
) -> Result<Answer, Failed<RemoteError>> {
    let unreadable = |error: serde_json::Error| {
        let problem = AnswerProblem::Json { expected: "completion", message: error.to_string() };
        Failed::Again(HttpError::Answer { problem: problem.redacted(key) }, None)
    };
    let no_answer = |problem: NoAnswer| Failed::Final(RemoteError::NoAnswer(problem.redacted(key)));
    let Completion { choices, error, usage } =
        serde_json::from_str::<Completion>(text).map_err(unreadable)?;
    let mut choices = match (choices, error) {
        (Some(choices), _) => choices,
        (None, Some(error)) if !error.is_null() => return Err(error_in_success(text, &error, key)),
        (None, _) => return Err(unreadable(serde::de::Error::missing_field("choices"))),
    };
    let n = request.sampling.n;
    if choices.len() != n {
        let mut got: Vec<usize> = choices.iter().map(|choice| choice.index).collect();
        got.sort_unstable();
        return Err(no_answer(NoAnswer::Choices { expected: n, got }));
    }
    // Some servers leave the indices out; their choices are in order.
    choices.sort_by_key(|choice| choice.index);
    choices.iter_mut().enumerate().for_each(|(place, choice)| choice.index = place);
    let usage = usage.and_then(tokens);
    let (prompt_tokens, completion_tokens) =
        usage.as_ref().map_or((0, 0), |used| (used.prompt as usize, used.completion as usize));
    let generation = |choice: WireChoice| -> Result<Generation, Failed<RemoteError>> {
        let WireChoice { index, message, text, finish_reason, logprobs } = choice;
        let finish_reason = self::finish_reason(finish_reason.as_ref())
            .map_err(|reason| no_answer(NoAnswer::Ended { reason }))?;
        let (content, refusal) = message
            .map_or((text, None), |message| (message.content.and_then(Content::text), message.refusal));
        let text = content
            .ok_or_else(|| no_answer(refusal.map_or(NoAnswer::NoText, |text| NoAnswer::Refused { text })))?;
        let tokens =
            logprobs.and_then(|logprobs| serde_json::from_value::<WireLogprobs>(logprobs).ok()?.content);
        let token = |WireToken { logprob, top_logprobs }| TokenLogprob::new(logprob).with_top(top_logprobs);
        // The usage is the total of all samples, and is divided among them.
        let completion_tokens = completion_tokens / n + usize::from(index < completion_tokens % n);
        let logprobs = tokens.map(|tokens| tokens.into_iter().map(token).collect::<Vec<_>>());
        Ok(Generation::new(text)
            .with_finish_reason(finish_reason)
            .with_tokens(prompt_tokens, completion_tokens)
            .with_logprobs(logprobs))
    };
    Ok(Answer { generations: choices.into_iter().map(generation).collect::<Result<_, _>>()?, usage })
}

/// An error in a response whose status is a success, as gateways send it. A code that is an HTTP status
/// counts as the status; otherwise another attempt may help.
fn error_in_success(text: &str, error: &Value, key: Option<&ApiKey>) -> Failed<RemoteError> {
    let code = error["code"].as_u64().or_else(|| error["code"].as_str()?.parse().ok());
    let reply = HttpResponse { status: 200, retry_after: None, text: text.into() };
    match code.and_then(|code| u16::try_from(code).ok()).filter(|code| (400..600).contains(code)) {
        Some(status) => refusal(&HttpResponse { status, ..reply }, key),
        None => Failed::Again(
            HttpError::Answer { problem: AnswerProblem::Error { message: reply.message(key) } },
            None,
        ),
    }
}

/// The error of an error response, as for every API, except that an exhausted quota ends all requests.
pub(super) fn refusal(reply: &HttpResponse, key: Option<&ApiKey>) -> Failed<RemoteError> {
    let body: Value = serde_json::from_str(&reply.text).unwrap_or_default();
    match reply.failed(key) {
        Failed::Again(error, _) if body["error"]["code"] == "insufficient_quota" => Failed::Closes(error),
        failed => failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(sampling: SamplingParams) -> ChatRequest {
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
    fn a_plain_text_is_sent_verbatim_and_its_continuation_is_read() {
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
        let answer = r#"{"object": "text_completion", "choices": [{"index": 0, "text": "be it", "logprobs": null, "finish_reason": "length"}]}"#;
        let Answer { generations, .. } = read(answer, &text(SamplingParams::greedy(9)), None).unwrap();
        assert_eq!(
            (generations[0].text.as_str(), generations[0].finish_reason),
            ("be it", FinishReason::Length)
        );
    }

    #[test]
    fn answers_are_read_in_the_order_of_their_indices() {
        let text = r#"{"choices": [{"index": 1, "message": {"content": "b"}, "finish_reason": "length"},
            {"index": 0, "message": {"content": "a"}, "finish_reason": "stop",
             "logprobs": {"content": [{"token": "a", "logprob": -0.5, "top_logprobs": [{"token": "a", "logprob": -0.5, "bytes": [97]}]}]}}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}}"#;
        let two = request(SamplingParams { n: 2, ..SamplingParams::greedy(4) });
        let Answer { generations, usage } = read(text, &two, None).unwrap();
        assert_eq!((generations[0].text.as_str(), generations[0].completion_tokens), ("a", 3));
        assert_eq!(
            (generations[1].finish_reason, generations[1].completion_tokens),
            (FinishReason::Length, 2)
        );
        assert_eq!(generations[0].logprobs.as_ref().unwrap()[0].top, [TopLogprob::new("a", -0.5)]);
        assert_eq!(usage, Some(Tokens { prompt: 7, completion: 5 }));
        assert!(read(text, &request(SamplingParams::greedy(4)), None).is_err(), "one was requested");
    }

    #[test]
    fn a_paid_text_is_kept_whatever_surrounds_it() {
        let read_one = |choice: &str, rest: &str| {
            let text = format!(r#"{{"choices": [{choice}]{rest}}}"#);
            read(&text, &request(SamplingParams::greedy(4)), None)
                .map(|answer| (answer.generations[0].clone(), answer.usage))
                .ok()
        };
        for (reason, expected) in [
            (r#""eos""#, FinishReason::Stop),
            (r#""eos_token""#, FinishReason::Stop),
            (r#""""#, FinishReason::Stop),
            (r#""STOP""#, FinishReason::Stop),
            ("null", FinishReason::Stop),
            ("7", FinishReason::Stop),
            (r#""length""#, FinishReason::Length),
            (r#""MAX_TOKENS""#, FinishReason::Length),
            (r#""max_output_tokens""#, FinishReason::Length),
        ] {
            let (found, _) =
                read_one(&format!(r#"{{"message": {{"content": "x"}}, "finish_reason": {reason}}}"#), "")
                    .unwrap();
            assert_eq!((found.text.as_str(), found.finish_reason), ("x", expected), "{reason}");
        }
        let choice = r#"{"message": {"content": "x"}, "logprobs": {"content": 3}}"#;
        for usage in [r#"{"total_tokens": 5}"#, "[]", "null", r#"{"prompt_tokens": -1}"#] {
            let (found, used) = read_one(choice, &format!(r#", "usage": {usage}"#)).unwrap();
            assert_eq!((found.text.as_str(), found.logprobs, used), ("x", None, None), "{usage}");
        }
        let parts =
            r#"{"message": {"content": [{"type": "text", "text": "a "}, {"type": "text", "text": "kite"}]}}"#;
        assert_eq!(read_one(parts, "").unwrap().0.text, "a kite");
        let two = r#"{"choices": [{"message": {"content": "a"}}, {"message": {"content": "b"}}]}"#;
        let two = read(two, &request(SamplingParams { n: 2, ..SamplingParams::greedy(4) }), None)
            .unwrap()
            .generations;
        assert_eq!([two[0].text.as_str(), &two[1].text], ["a", "b"], "without indices");
    }

    #[test]
    fn an_error_in_a_response_of_status_200_has_the_server_s_words_and_decides_about_another_attempt() {
        let failed = |text: &str| match read(text, &request(SamplingParams::greedy(4)), None) {
            Err(Failed::Again(error, None)) => (error.to_string(), true),
            Err(Failed::Final(error)) => (error.to_string(), false),
            _ => panic!("{text}"),
        };
        let overloaded = failed(r#"{"error": {"message": "overloaded"}}"#);
        assert_eq!(overloaded, ("invalid response from the server: overloaded".into(), true));
        assert_eq!(
            failed(r#"{"error": {"message": "busy", "code": 502}}"#),
            ("the server answered 502: busy".into(), true)
        );
        assert_eq!(
            failed(r#"{"error": {"message": "flagged", "code": "403"}}"#),
            ("the server answered 403: flagged".into(), false)
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

    #[test]
    fn an_unreadable_response_is_retried_and_one_without_an_answer_is_not() {
        let again = |text: &str| match read(text, &request(SamplingParams::greedy(4)), None) {
            Err(Failed::Again(HttpError::Answer { .. }, None)) => true,
            Err(Failed::Final(RemoteError::NoAnswer(_))) => false,
            _ => panic!("{text}"),
        };
        for unreadable in [
            "",
            "<html>",
            "{}",
            r#"{"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}{"choices": []}"#,
        ] {
            assert!(again(unreadable), "{unreadable}");
        }
        for no_answer in [
            r#"{"choices": []}"#,
            r#"{"choices": [{"message": {"content": null}, "finish_reason": "stop"}]}"#,
            r#"{"choices": [{"message": {"content": null, "refusal": "no"}, "finish_reason": "stop"}]}"#,
            r#"{"choices": [{"message": {"content": "x"}, "finish_reason": "content_filter"}]}"#,
            r#"{"choices": [{"message": {"content": null}, "finish_reason": "tool_calls"}]}"#,
        ] {
            assert!(!again(no_answer), "{no_answer}");
        }
    }

    #[test]
    fn a_key_that_a_response_repeats_is_redacted() {
        let key = ApiKey::new("sk-123").unwrap();
        for text in [
            r#"{"choices": "sk-123"}"#,
            r#"{"choices": [{"message": {"content": null, "refusal": "not to sk-123"}, "finish_reason": "stop"}]}"#,
            r#"{"error": {"message": "no sk-123"}}"#,
        ] {
            let message = match read(text, &request(SamplingParams::greedy(4)), Some(&key)) {
                Err(Failed::Again(error, _)) => format!("{error} {error:?}"),
                Err(Failed::Final(error)) => format!("{error} {error:?}"),
                _ => panic!("{text}"),
            };
            assert!(message.contains("[key]") && !message.contains("sk-123"), "{message}");
        }
    }

    #[test]
    fn a_refusal_says_why_and_never_the_key() {
        let key = ApiKey::new("sk-123").unwrap();
        let message = |status, text: &str| match refusal(
            &HttpResponse { status, retry_after: None, text: text.into() },
            Some(&key),
        ) {
            Failed::Final(error) => (error.to_string(), false),
            Failed::Again(error, _) => (error.to_string(), false),
            Failed::Closes(error) => (error.to_string(), true),
        };
        assert_eq!(
            message(401, "wrong key sk-123"),
            ("the server answered 401: the key is refused".into(), true)
        );
        let flagged = message(403, r#"{"error": {"message": "the input was flagged"}}"#);
        assert_eq!(flagged, ("the server answered 403: the input was flagged".into(), false));
        let busy =
            message(429, r#"{"error": {"message": "slow\ndown, sk-123", "code": "rate_limit_exceeded"}}"#);
        assert_eq!(busy, ("the server answered 429: slow down, [key]".into(), false));
        assert!(message(429, r#"{"error": {"message": "pay", "code": "insufficient_quota"}}"#).1);
        assert_eq!(message(500, "").0, "the server answered 500: nothing");
    }
}
