//! The files of the Batch API, which answers many requests in one file within a day at a lower price.
//!
//! [`write()`] writes the input file to upload; [`read()`] reads the output file, whose lines may be in
//! any order.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use janus_core::{ChatRequest, Generation, ModelError};
use serde::Deserialize;
use serde_json::{Value, json};

use janus_data::http::{AnswerProblem, Failed, HttpError, HttpResponse};

use super::{BatchProblem, Extensions, RemoteError, RemoteOptions, request, response};

/// Writes requests as a batch input file, atomically: one line each, with the request's id as
/// `custom_id`. Nothing is sent, so [`Extensions::Ask`] is treated as [`Extensions::Unknown`].
///
/// # Errors
/// [`RemoteError::DoubledId`] if two requests share an id, [`RemoteError::Request`] if the endpoint does
/// not support one, [`RemoteError::File`] if the file cannot be written.
pub fn write(
    path: impl AsRef<Path>,
    model: &str,
    requests: &[ChatRequest],
    options: &RemoteOptions,
) -> Result<(), RemoteError> {
    index_by_id(requests)?;
    let mut text = String::new();
    for request in requests {
        let unfit = |problem| RemoteError::Request { id: request.id.clone(), problem };
        let body =
            request::body(model, request, options, options.extensions == Extensions::Known).map_err(unfit)?;
        let url = format!("/v1{}", options.endpoint.path());
        let line = json!({ "custom_id": request.id, "method": "POST", "url": url, "body": body });
        let _ = writeln!(text, "{line}");
    }
    Ok(janus_data::write_file(path, text.as_bytes())?)
}

#[derive(Deserialize)]
struct Line {
    custom_id: String,
    response: Option<Response>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Response {
    status_code: u16,
    body: Value,
}

/// Reads a batch output file (or its error file): a result for each request, in the order of the
/// requests. The result is an error if the file does not have the request, or the request failed. Lines
/// with an id of `answered`, the requests that have their answer from before, are passed over.
///
/// # Errors
/// [`RemoteError::File`] for a file that cannot be read, [`RemoteError::BatchLine`] for a line that is
/// not a batch response, or whose id is unknown or repeated, [`RemoteError::DoubledId`] if two requests
/// share an id.
pub fn read(
    path: impl AsRef<Path>,
    requests: &[ChatRequest],
    answered: &HashSet<String>,
) -> Result<Vec<Result<Vec<Generation>, ModelError>>, RemoteError> {
    let path = path.as_ref();
    let cannot_read = |cause| janus_data::Error::Io { path: path.into(), doing: "read the file", cause };
    let text = fs::read_to_string(path).map_err(cannot_read)?;
    let indices = index_by_id(requests)?;
    let mut answers: Vec<Option<Result<Vec<Generation>, ModelError>>> =
        requests.iter().map(|_| None).collect();
    for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        let wrong = |problem| RemoteError::BatchLine { path: path.into(), line, problem };
        let unreadable =
            |error: serde_json::Error| wrong(BatchProblem::NotAResponse { message: error.to_string() });
        let Line { custom_id, response, error } = serde_json::from_str(text).map_err(unreadable)?;
        let Some(&index) = indices.get(custom_id.as_str()) else {
            if answered.contains(&custom_id) {
                continue;
            }
            return Err(wrong(BatchProblem::UnknownId { id: custom_id }));
        };
        if answers[index].is_some() {
            return Err(wrong(BatchProblem::DoubledId { id: custom_id }));
        }
        let request = &requests[index];
        let answer = match response {
            Some(Response { status_code: 200, body }) => response::read(&body.to_string(), request, None)
                .map(|answer| answer.generations)
                .map_err(error_of),
            Some(Response { status_code: status, body }) => Err(error_of(response::refusal(
                &HttpResponse { status, retry_after: None, text: body.to_string() },
                None,
            ))),
            None => {
                let problem = error.map_or(AnswerProblem::Nothing, |error| AnswerProblem::Error {
                    message: error.to_string(),
                });
                Err(HttpError::Answer { problem }.into())
            }
        };
        answers[index] = Some(
            answer.map_err(|source| ModelError::Failed { id: request.id.clone(), source: Box::new(source) }),
        );
    }
    let missing = |id: &str| ModelError::NoAnswer { id: id.into() };
    Ok(answers
        .into_iter()
        .zip(requests)
        .map(|(answer, request)| answer.unwrap_or_else(|| Err(missing(&request.id))))
        .collect())
}

/// The error of the only attempt: a batch is not retried.
fn error_of(failed: Failed<RemoteError>) -> RemoteError {
    match failed {
        Failed::Final(error) => error,
        Failed::Closes(error) | Failed::Again(error, _) => error.into(),
    }
}

/// The index of each request by its id.
fn index_by_id(requests: &[ChatRequest]) -> Result<HashMap<&str, usize>, RemoteError> {
    let mut indices = HashMap::new();
    for (index, request) in requests.iter().enumerate() {
        if indices.insert(request.id.as_str(), index).is_some() {
            return Err(RemoteError::DoubledId { id: request.id.clone() });
        }
    }
    Ok(indices)
}

#[cfg(test)]
mod tests {
    use janus_core::{Message, SamplingParams};

    use super::*;

    fn request(id: &str) -> ChatRequest {
        ChatRequest::new(id, [Message::user(id)]).with_sampling(SamplingParams::greedy(4))
    }

    #[test]
    fn a_batch_is_written_and_read_back_in_any_order() {
        let folder = tempfile::tempdir().unwrap();
        let (input, output) = (folder.path().join("in.jsonl"), folder.path().join("out.jsonl"));
        let requests = [request("a"), request("b"), request("c"), request("d")];
        write(&input, "m", &requests, &RemoteOptions::new("http://localhost/v1")).unwrap();
        let lines: Vec<Value> = fs::read_to_string(&input)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(
            (&lines[1]["custom_id"], &lines[1]["body"]["messages"][0]["content"]),
            (&json!("b"), &json!("b"))
        );
        assert_eq!((&lines[0]["url"], &lines[0]["method"]), (&json!("/v1/chat/completions"), &json!("POST")));

        let good = |id: &str| {
            let body = json!({ "choices": [{ "index": 0, "message": { "content": format!("to {id}") }, "finish_reason": "stop" }] });
            json!({ "id": "x", "custom_id": id, "response": { "status_code": 200, "body": body }, "error": null }).to_string()
        };
        let bad = json!({ "custom_id": "b", "response": { "status_code": 400, "body": { "error": { "message": "too long" } } } });
        fs::write(&output, format!("{}\n{bad}\n\n{}\n", good("d"), good("a"))).unwrap();
        let answers = read(&output, &requests, &HashSet::new()).unwrap();
        let text =
            |index: usize| answers[index].as_ref().map(|generations| generations[0].text.as_str()).ok();
        assert_eq!([text(0), text(1), text(2), text(3)], [Some("to a"), None, None, Some("to d")]);
        assert!(matches!(&answers[2], Err(ModelError::NoAnswer { .. })));

        // The output of a batch whose first requests were answered before.
        let later = read(&output, &requests[1..], &HashSet::from(["a".to_string()])).unwrap();
        assert_eq!(later[2].as_ref().unwrap()[0].text, "to d");

        fs::write(&output, good("z")).unwrap();
        assert!(
            read(&output, &requests, &HashSet::new())
                .unwrap_err()
                .to_string()
                .contains("out.jsonl, line 1: no request has the id \"z\"")
        );
        fs::write(&output, format!("{}\n{}", good("a"), good("a"))).unwrap();
        assert!(
            read(&output, &requests, &HashSet::new())
                .unwrap_err()
                .to_string()
                .contains("out.jsonl, line 2: an earlier line has the id \"a\" too")
        );
        assert!(
            write(&input, "m", &[request("a"), request("a")], &RemoteOptions::new("http://localhost/v1"))
                .is_err()
        );
    }
}
