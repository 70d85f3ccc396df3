//! HTTP responses: a whole body, or server-sent events.

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

/// Bytes from which no more events are added to a frame.
const FRAME_BYTES: usize = 16 << 10;

/// The body of a response: whole, or server-sent events.
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

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.get_mut().0 {
            Content::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Events(events) => {
                events.poll_data(cx).map(|data| data.map(|data| Ok(Frame::data(data))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Content::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Events(_) => SizeHint::default(),
        }
    }
}

/// A response as server-sent events. When it is dropped with its connection, the channel closes, which
/// cancels the request.
pub(super) struct Events {
    updates: UnboundedReceiver<Update>,
    answer: Answer,
    engine: Arc<Engine>,
    prompt: PromptField,
    /// The finished samples without their texts, for the usage at the end; `None` if it is not requested.
    usage: Option<Vec<Generation>>,
    /// The offset of each sample's next token.
    offsets: Vec<Offset>,
    /// Events that are not sent yet.
    pending: String,
    ended: bool,
}

impl Events {
    /// The response for `samples` samples; `prompt` is the field that errors of the prompt name.
    pub fn new(
        updates: UnboundedReceiver<Update>,
        answer: Answer,
        engine: Arc<Engine>,
        samples: usize,
        usage: bool,
        prompt: PromptField,
    ) -> Self {
        let usage = usage.then(Vec::new);
        let mut events = Self {
            updates,
            answer,
            engine,
            prompt,
            usage,
            offsets: vec![Offset::default(); samples],
            pending: String::new(),
            ended: false,
        };
        for sample in 0..samples {
            if let Some(chunk) = events.answer.begin(sample) {
                events.push(chunk);
            }
        }
        events
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        while !self.ended && self.pending.len() < FRAME_BYTES {
            match self.updates.poll_recv(cx) {
                Poll::Ready(update) => self.take(update),
                Poll::Pending if self.pending.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        let pending = std::mem::take(&mut self.pending);
        Poll::Ready((!pending.is_empty()).then(|| pending.into()))
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
                    used.push(
                        Generation::new("")
                            .with_tokens(generation.prompt_tokens, generation.completion_tokens),
                    );
                }
            }
            Some(Update::Done) => {
                if let Some(used) = self.usage.take() {
                    self.push(self.answer.usage(&used));
                }
                self.end();
            }
            Some(Update::Failed { prompt, error }) => {
                // The status has been sent, so the error is sent as an event.
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
        if self.usage.is_some()
            && self.answer.protocol == Protocol::Chat
            && chunk.get("usage").is_none()
            && chunk.get("id").is_some()
        {
            chunk["usage"] = Value::Null;
        }
        // The JSON has no line break, which would end the event.
        self.pending.push_str(&format!("data: {chunk}\n\n"));
    }

    fn end(&mut self) {
        self.pending.push_str("data: [DONE]\n\n");
        self.ended = true;
    }
}
