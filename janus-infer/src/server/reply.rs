//! What is sent back: a whole body, or events as they come.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use janus_core::Generation;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;

use super::answer::{Answer, Protocol};
use super::error::ApiError;
use super::request::PromptField;
use super::worker::Update;
use crate::Engine;
use crate::engine::token_text::Offset;

/// Bytes of events that are sent in one piece.
const PIECE: usize = 16 << 10;

/// The body of a response: whole, or server-sent events as they come.
pub struct ResponseBody(Content);

enum Content {
    Whole(Option<Bytes>),
    Events(Box<Events>),
}

pub(super) fn text(status: StatusCode, content_type: &'static str, text: String) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody(Content::Whole(Some(text.into()))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

pub(super) fn json(value: &Value) -> Response<ResponseBody> {
    text(StatusCode::OK, "application/json", value.to_string())
}

pub(super) fn error(error: &ApiError) -> Response<ResponseBody> {
    let mut response = text(error.status, "application/json", error.body().to_string());
    if let Some(seconds) = error.retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    if error.status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

pub(super) fn events(events: Events) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody(Content::Events(Box::new(events))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.get_mut().0 {
            Content::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Events(events) => events.poll_piece(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Content::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Content::Events(_) => SizeHint::default(),
        }
    }
}

/// An answer as server-sent events. Dropped with its connection, it closes the channel, which cancels the request.
pub(super) struct Events {
    updates: UnboundedReceiver<Update>,
    answer: Answer,
    engine: Arc<Engine>,
    prompt: PromptField,
    /// Whether tokens are counted at the end; of every sample, its generation without the text.
    usage: Option<Vec<Generation>>,
    /// Where each sample's next token begins.
    offsets: Vec<Offset>,
    /// What is not sent yet.
    piece: String,
    ended: bool,
}

impl Events {
    /// The answer of `samples` samples; `prompt` is the field to blame for a prompt that does not do.
    pub fn new(
        updates: UnboundedReceiver<Update>,
        answer: Answer,
        engine: Arc<Engine>,
        samples: usize,
        usage: bool,
        prompt: PromptField,
    ) -> Self {
        let usage = usage.then(Vec::new);
        let mut events =
            Self { updates, answer, engine, prompt, usage, offsets: vec![Offset::default(); samples], piece: String::new(), ended: false };
        for sample in 0..samples {
            if let Some(chunk) = events.answer.begin(sample) {
                events.push(chunk);
            }
        }
        events
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        while !self.ended && self.piece.len() < PIECE {
            match self.updates.poll_recv(cx) {
                Poll::Ready(update) => self.take(update),
                Poll::Pending if self.piece.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        let piece = std::mem::take(&mut self.piece);
        Poll::Ready((!piece.is_empty()).then(|| piece.into()))
    }

    fn take(&mut self, update: Option<Update>) {
        match update {
            Some(Update::Accepted) => {}
            Some(Update::Text { sample, text, logprobs }) => {
                let offset = &mut self.offsets[sample];
                let chunk = self.answer.text(sample, text, &logprobs, offset, &self.engine);
                self.push(chunk);
            }
            Some(Update::Finished { sample, generation }) => {
                self.push(self.answer.finish(sample, generation.finish_reason));
                if let Some(used) = &mut self.usage {
                    used.push(Generation::new("").with_tokens(generation.prompt_tokens, generation.completion_tokens));
                }
            }
            Some(Update::Done) => {
                if let Some(used) = self.usage.take() {
                    self.push(self.answer.usage(&used));
                }
                self.end();
            }
            Some(Update::Failed { prompt, error }) => {
                // The status is sent already: the error is an event.
                self.push(ApiError::model(&error, self.prompt.at(prompt)).body());
                self.end();
            }
            None => {
                self.push(ApiError::gone().body());
                self.end();
            }
        }
    }

    fn push(&mut self, mut chunk: Value) {
        if self.usage.is_some() && self.answer.protocol == Protocol::Chat && chunk.get("usage").is_none() && chunk.get("id").is_some() {
            chunk["usage"] = Value::Null;
        }
        // JSON on one line has no line break that could end an event.
        self.piece.push_str(&format!("data: {chunk}\n\n"));
    }

    fn end(&mut self) {
        self.piece.push_str("data: [DONE]\n\n");
        self.ended = true;
    }
}
