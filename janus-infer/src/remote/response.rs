//! Responses in JSON.

use janus_core::{ChatRequest, FinishReason, Generation, TokenLogprob, TopLogprob};
use janus_data::http::{AnswerProblem, ApiKey, Failed, HttpError, HttpResponse, error_message};
use serde::Deserialize;
use serde_json::{Value, json};

use super::budget::Tokens;
use super::{NoAnswer, RemoteError};

/// A response.
pub(super) struct Answer {
    pub generations: Vec<Generation>,
    /// `None` if the response states no usage.
    pub usage: Option<Tokens>,
}

#[derive(Deserialize)]
struct WireUsage {
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

/// A choice of a response. What surrounds the text is read leniently: servers differ in it, and the text is
/// paid for.
struct Choice<'a>(&'a Value);

impl Choice<'_> {
    fn index(&self) -> usize {
        self.0["index"].as_u64().unwrap_or_default() as usize
    }

    /// The text, or the refusal in its place.
    fn text(&self) -> Result<String, NoAnswer> {
        let message = &self.0["message"];
        // Of `/chat/completions`, of servers that leave out the object, of `/completions`.
        let content = [&message["content"], message, &self.0["text"]];
        let text = content.into_iter().find_map(content_text);
        let refusal = content_part(&message["content"], "refusal", "refusal");
        let refusal = message["refusal"].as_str().map(String::from).or(refusal);
        match (text, refusal) {
            (text, Some(refusal)) if text.as_deref().is_none_or(str::is_empty) && !refusal.is_empty() => {
                Err(NoAnswer::Refused { text: refusal })
            }
            (text, _) => text.ok_or(NoAnswer::NoText),
        }
    }
}

/// The text of a content: a text, or the texts of its parts. Parts of other types, such as the model's
/// thinking, are passed over.
fn content_text(content: &Value) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(_) => content_part(content, "text", "text"),
        _ => None,
    }
}

/// The texts in the field `field` of the parts of a type; `None` if there is no such part.
fn content_part(content: &Value, kind: &str, field: &str) -> Option<String> {
    let texts = content.as_array()?.iter().filter_map(|part| match part {
        Value::String(text) if kind == "text" => Some(text.as_str()),
        part => {
            let found = part["type"].as_str().map_or("text", |kind| kind.trim_start_matches("output_"));
            part[field].as_str().filter(|_| found == kind)
        }
    });
    let texts: Vec<&str> = texts.collect();
    (!texts.is_empty()).then(|| texts.concat())
}

/// Reads a `finish_reason`. Servers have names of their own for a complete answer ("eos", an empty text), so an
/// unknown name counts as complete. A reason that says that the answer was cut off, other than by its length,
/// is an error.
fn finish_reason(reason: &Value) -> Result<FinishReason, String> {
    const CUT_OFF: [&str; 22] = [
        "abort",
        "cancel",
        "error",
        "fail",
        "filter",
        "insufficient",
        "interrupt",
        "timeout",
        "timed_out",
        "tool_call",
        "function_call",
        "tool_use",
        "refusal",
        "sensitive",
        "safety",
        "recitation",
        "blocklist",
        "prohibited",
        "spii",
        "malformed",
        "blocked",
        "image_",
    ];
    let reason = reason.as_str().unwrap_or_default().to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    if has(&CUT_OFF) {
        Err(reason)
    } else if has(&["length", "max_", "limit", "context_window"]) {
        Ok(FinishReason::Length)
    } else {
        Ok(FinishReason::Stop)
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
    let body: Value = serde_json::from_str(text).ok()?;
    tokens(body.get("usage")?)
}

fn tokens(usage: &Value) -> Option<Tokens> {
    let WireUsage { prompt_tokens, completion_tokens } = WireUsage::deserialize(usage).ok()?;
    Some(Tokens { prompt: prompt_tokens, completion: completion_tokens })
}

/// Reads the response to a request. A response that is not valid JSON may be retried; a valid one
/// without the requested completions is not. The API key is redacted in texts of the response that
/// errors quote.
pub(super) fn read(
    text: &str,
    request: &ChatRequest,
    key: Option<&ApiKey>,
) -> Result<Answer, Failed<RemoteError>> {
    let unreadable = |problem: &str| {
        let start: String = text.trim_start().chars().take(100).collect();
        let message = format!("{problem}; it begins \"{start}\"");
        let problem = AnswerProblem::Json { expected: "completion", message };
        Failed::Again(HttpError::Answer { problem: problem.redacted(key) }, None)
    };
    let no_answer = |problem: NoAnswer| Failed::Final(RemoteError::NoAnswer(problem.redacted(key)));
    let body: Value =
        serde_json::from_str(without_comments(text)).map_err(|error| unreadable(&error.to_string()))?;
    // Some servers enclose an error in a list.
    let object = body.as_array().and_then(|list| list.first()).unwrap_or(&body);
    let Some(choices) = body.get("choices").filter(|choices| !choices.is_null()) else {
        return Err(match object.get("error").filter(|error| !error.is_null()) {
            Some(error) => error_in_success(&body, error, key),
            None if error_message(&body).is_some() => error_in_success(&body, object, key),
            None => unreadable("it has no choices"),
        });
    };
    let Some(choices) = choices.as_array() else { return Err(unreadable("its choices are not a list")) };
    let mut choices: Vec<Choice<'_>> = choices.iter().map(Choice).collect();
    for choice in &choices {
        let fails = choice.0["finish_reason"] == "error";
        let error = [&choice.0["error"], &body["error"]].into_iter().find(|error| !error.is_null());
        if let Some(error) = error.filter(|_| fails || !choice.0["error"].is_null()) {
            return Err(error_in_success(&json!({ "error": error }), error, key));
        }
    }
    let n = request.sampling.n;
    if choices.len() != n {
        let mut got: Vec<usize> = choices.iter().map(Choice::index).collect();
        got.sort_unstable();
        return Err(no_answer(NoAnswer::Choices { expected: n, got }));
    }
    // Some servers leave the indices out; their choices are in order.
    choices.sort_by_key(Choice::index);
    let usage = body.get("usage").and_then(tokens);
    let (prompt_tokens, completion_tokens) =
        usage.as_ref().map_or((0, 0), |used| (used.prompt as usize, used.completion as usize));
    let generation = |(index, choice): (usize, &Choice<'_>)| -> Result<Generation, Failed<RemoteError>> {
        let finish_reason = finish_reason(&choice.0["finish_reason"])
            .map_err(|reason| no_answer(NoAnswer::Ended { reason }))?;
        let text = choice.text().map_err(no_answer)?;
        let tokens =
            WireLogprobs::deserialize(&choice.0["logprobs"]).ok().and_then(|logprobs| logprobs.content);
        let token = |WireToken { logprob, top_logprobs }| TokenLogprob::new(logprob).with_top(top_logprobs);
        // The usage is the total of all samples, and is divided among them.
        let completion_tokens = completion_tokens / n + usize::from(index < completion_tokens % n);
        let logprobs = tokens.map(|tokens| tokens.into_iter().map(token).collect::<Vec<_>>());
        Ok(Generation::new(text)
            .with_finish_reason(finish_reason)
            .with_tokens(prompt_tokens, completion_tokens)
            .with_logprobs(logprobs))
    };
    Ok(Answer { generations: choices.iter().enumerate().map(generation).collect::<Result<_, _>>()?, usage })
}

/// A response without what some gateways send before it: a byte order mark, and lines of comments, which keep
/// the connection open.
fn without_comments(text: &str) -> &str {
    let mut text = text.trim_start_matches('\u{feff}').trim_start();
    while let Some((_, rest)) = text.split_once('\n').filter(|_| text.starts_with(':')) {
        text = rest.trim_start();
    }
    text
}

/// An error in a response whose status is a success, as gateways send it. A code that is an HTTP status
/// counts as the status, but 404 fails its request alone, because the address is known to exist; without such
/// a code, another attempt may help.
fn error_in_success(body: &Value, error: &Value, key: Option<&ApiKey>) -> Failed<RemoteError> {
    let code = error["code"].as_u64().or_else(|| error["code"].as_str()?.parse().ok());
    let reply = HttpResponse { status: 200, retry_after: None, text: body.to_string() };
    match code.and_then(|code| u16::try_from(code).ok()).filter(|code| (400..600).contains(code)) {
        Some(404) => HttpResponse { status: 404, ..reply }.failed(key),
        Some(status) => refusal(&HttpResponse { status, ..reply }, key),
        None => Failed::Again(
            HttpError::Answer { problem: AnswerProblem::Error { message: reply.message(key) } },
            None,
        ),
    }
}

/// The error of an error response, as for every API, except that no credit, an exhausted quota, and an unknown
/// model or address end all requests.
pub(super) fn refusal(reply: &HttpResponse, key: Option<&ApiKey>) -> Failed<RemoteError> {
    let body: Value = serde_json::from_str(&reply.text).unwrap_or_default();
    let closes = matches!(reply.status, 402 | 404) || body["error"]["code"] == "insufficient_quota";
    match reply.failed(key) {
        Failed::Again(error, _) | Failed::Final(RemoteError::Http(error)) if closes => Failed::Closes(error),
        failed => failed,
    }
}

#[cfg(test)]
mod tests {
    use janus_core::SamplingParams;

    use super::super::request::tests::request;
    use super::*;

    #[test]
    fn the_continuation_of_a_plain_text_is_read() {
        let answer = r#"{"object": "text_completion", "choices": [{"index": 0, "text": "be it", "logprobs": null, "finish_reason": "length"}]}"#;
        let Answer { generations, .. } = read(answer, &request(SamplingParams::greedy(9)), None).unwrap();
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
            (r#""model_context_window_exceeded""#, FinishReason::Length),
            (r#""token_limit""#, FinishReason::Length),
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
        for content in [
            r#"[{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "x"}]"#,
            r#"[{"type": "reasoning", "text": "hm"}, {"type": "output_text", "text": "x"}]"#,
            r#"["x"]"#,
        ] {
            let message = format!(r#"{{"message": {{"content": {content}}}}}"#);
            assert_eq!(read_one(&message, "").unwrap().0.text, "x", "{content}");
        }
        assert_eq!(read_one(r#"{"message": "x"}"#, "").unwrap().0.text, "x");
        let beside = r#", "error": {"message": "late"}"#;
        assert_eq!(read_one(r#"{"message": {"content": "x"}}"#, beside).unwrap().0.text, "x");
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
        assert_eq!(
            failed(r#"{"error": {"message": "no provider for this text", "code": 404}}"#),
            ("the server answered 404: no provider for this text".into(), false),
            "and the other requests go on"
        );
        for (body, words) in [
            (r#"{"code": 1301, "msg": "sensitive"}"#, "sensitive"),
            (r#"{"detail": "too long"}"#, "too long"),
            (r#"{"detail": [{"loc": ["body"], "msg": "field required"}]}"#, "field required"),
            (r#"{"object": "error", "message": "no such model"}"#, "no such model"),
            (r#"{"errors": [{"message": "busy"}]}"#, "busy"),
            (r#"[{"error": {"message": "bad key"}}]"#, "bad key"),
            (
                r#"{"choices": [{"finish_reason": "error", "error": {"message": "upstream died"}}]}"#,
                "upstream died",
            ),
            (
                r#"{"choices": [{"message": {"content": "x"}, "finish_reason": null, "error": {"message": "upstream died"}}]}"#,
                "upstream died",
            ),
        ] {
            assert_eq!(failed(body), (format!("invalid response from the server: {words}"), true), "{body}");
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
            r#"[{"generated_text": "x"}]"#,
            "[]",
            "5",
            "true",
            r#""Paris""#,
            r#"{"choices": 5}"#,
        ] {
            assert!(again(unreadable), "{unreadable}");
            assert_eq!(usage(unreadable), None);
        }
        for no_answer in [
            r#"{"choices": []}"#,
            r#"{"choices": [{"message": {"content": null}, "finish_reason": "stop"}]}"#,
            r#"{"choices": [{"message": {"content": null, "refusal": "no"}, "finish_reason": "stop"}]}"#,
            r#"{"choices": [{"message": {"content": "x"}, "finish_reason": "content_filter"}]}"#,
            r#"{"choices": [{"message": {"content": null}, "finish_reason": "tool_calls"}]}"#,
            r#"{"choices": [{"message": {"content": "", "refusal": "no"}, "finish_reason": "stop"}]}"#,
            r#"{"choices": [{"message": {"content": [{"type": "refusal", "refusal": "no"}]}}]}"#,
            r#"{"choices": [{"message": {"content": 5}}]}"#,
            r#"{"choices": [{"message": {"content": "x"}, "finish_reason": "abort"}]}"#,
            r#"{"choices": [{"message": {"content": "x"}, "finish_reason": "SAFETY"}]}"#,
            r#"{"choices": [{"message": {"content": "x"}, "finish_reason": "insufficient_system_resource"}]}"#,
            r#"{"choices": [{"message": {"content": "x"}, "finish_reason": "network_error"}]}"#,
            r#"{"choices": [{"message": {"content": "x"}, "finish_reason": "rate_limit_error"}]}"#,
            r#"{"choices": [{"message": {"content": "x"}, "finish_reason": "max_retries_timeout"}]}"#,
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
        assert!(message(402, "").1 && message(404, "no such model").1, "the other rows would fail as well");
        assert_eq!(message(500, "").0, "the server answered 500: nothing");
    }
}
