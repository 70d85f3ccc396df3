//! Responses as JSON: whole ones, and the chunks of a stream.

use janus_core::{FinishReason, Generation, TokenLogprob, TopLogprob};
use serde_json::{Value, json};

use crate::Engine;
use crate::engine::token_text::{self, Offset};

/// The endpoint, which determines the form of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Chat,
    Completion,
}

/// What all chunks of a response have in common.
pub(super) struct Answer {
    pub protocol: Protocol,
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    pub model: String,
    /// Tokens of all prompts.
    pub prompt_tokens: usize,
    /// The system message that was composed from preferences.
    pub system: Option<String>,
    /// The text that each sample begins with; empty without `echo`.
    pub echoes: Vec<String>,
}

impl Answer {
    /// The whole response. `choices` are the generations with extra fields for each; `used` are all
    /// generations, for the usage.
    pub fn whole<'a>(
        &self,
        choices: impl Iterator<Item = (&'a Generation, Value)>,
        used: &[Generation],
        engine: &Engine,
    ) -> Value {
        let choice = |(index, (generation, extra)): (usize, (&Generation, Value))| {
            let Generation { text, finish_reason, logprobs, .. } = generation;
            let logprobs =
                logprobs.as_deref().map(|logprobs| self.logprobs(logprobs, &mut Offset::default(), engine));
            let reason = finish_reason.as_str();
            let mut choice = match self.protocol {
                Protocol::Chat => json!({
                    "index": index,
                    "message": { "role": "assistant", "content": text, "refusal": null },
                    "logprobs": logprobs,
                    "finish_reason": reason,
                }),
                Protocol::Completion => {
                    let text = self.echo(index).to_string() + text;
                    json!({ "index": index, "text": text, "logprobs": logprobs, "finish_reason": reason })
                }
            };
            merge(&mut choice, extra);
            choice
        };
        let choices: Vec<Value> = choices.enumerate().map(choice).collect();
        let object = match self.protocol {
            Protocol::Chat => "chat.completion",
            Protocol::Completion => "text_completion",
        };
        let mut whole = self.envelope(object, choices);
        whole["usage"] = self.count(used);
        self.add_system(&mut whole);
        whole
    }

    /// The prompt of a sample that begins with it.
    fn echo(&self, sample: usize) -> &str {
        self.echoes.get(sample).map_or("", String::as_str)
    }

    /// The first chunk of a choice; `None` for completions without `echo`.
    pub fn begin(&self, sample: usize) -> Option<Value> {
        if self.protocol == Protocol::Completion {
            let echo = self.echo(sample);
            return (!echo.is_empty())
                .then(|| self.chunk(sample, json!({ "content": echo }), Value::Null, None));
        }
        let mut chunk = self.chunk(sample, json!({ "role": "assistant", "content": "" }), Value::Null, None);
        if sample == 0 {
            self.add_system(&mut chunk);
        }
        Some(chunk)
    }

    /// A chunk with new text; `offset` is the offset of the sample's next token.
    pub fn text(
        &self,
        sample: usize,
        text: String,
        logprobs: &[TokenLogprob],
        offset: &mut Offset,
        engine: &Engine,
    ) -> Value {
        let logprobs =
            if logprobs.is_empty() { Value::Null } else { self.logprobs(logprobs, offset, engine) };
        self.chunk(sample, json!({ "content": text }), logprobs, None)
    }

    /// The last chunk of a choice.
    pub fn finish(&self, sample: usize, finish_reason: FinishReason) -> Value {
        self.chunk(sample, json!({}), Value::Null, Some(finish_reason))
    }

    /// The last chunk of a stream, with the usage.
    pub fn usage(&self, used: &[Generation]) -> Value {
        let mut chunk = self.envelope(self.chunk_object(), Vec::new());
        chunk["usage"] = self.count(used);
        chunk
    }

    /// The usage; a prompt counts once, whatever the number of its samples.
    fn count(&self, used: &[Generation]) -> Value {
        let prompt = self.prompt_tokens;
        let completion: usize = used.iter().map(|generation| generation.completion_tokens).sum();
        json!({ "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion })
    }

    fn chunk_object(&self) -> &'static str {
        match self.protocol {
            Protocol::Chat => "chat.completion.chunk",
            Protocol::Completion => "text_completion",
        }
    }

    fn chunk(
        &self,
        sample: usize,
        delta: Value,
        logprobs: Value,
        finish_reason: Option<FinishReason>,
    ) -> Value {
        let finish_reason = finish_reason.map(FinishReason::as_str);
        let choice = match self.protocol {
            Protocol::Chat => {
                json!({ "index": sample, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason })
            }
            Protocol::Completion => {
                let text = delta["content"].as_str().unwrap_or_default();
                json!({ "index": sample, "text": text, "logprobs": logprobs, "finish_reason": finish_reason })
            }
        };
        self.envelope(self.chunk_object(), vec![choice])
    }

    fn envelope(&self, object: &str, choices: Vec<Value>) -> Value {
        json!({ "id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices })
    }

    fn add_system(&self, value: &mut Value) {
        if let Some(system) = &self.system {
            value["system_message"] = json!(system);
        }
    }

    fn logprobs(&self, logprobs: &[TokenLogprob], offset: &mut Offset, engine: &Engine) -> Value {
        let text = |id| engine.token_text(id).unwrap_or_default();
        let texts = logprobs.iter().map(|token| token.id.map(text).unwrap_or_default());
        match self.protocol {
            Protocol::Chat => {
                let content: Vec<Value> = texts
                    .zip(logprobs)
                    .map(|(text, token)| {
                        let top: Vec<Value> =
                            token.top.iter().map(|top| chat_token(&top.token, top.logprob)).collect();
                        let mut entry = chat_token(&text, token.logprob);
                        entry["top_logprobs"] = json!(top);
                        entry
                    })
                    .collect();
                json!({ "content": content, "refusal": null })
            }
            Protocol::Completion => {
                let tokens: Vec<String> = texts.collect();
                let offsets: Vec<usize> = tokens
                    .iter()
                    .zip(logprobs)
                    .map(|(text, token)| offset.next(token.id, text, engine.tokenizer()))
                    .collect();
                let values: Vec<f64> = logprobs.iter().map(|token| token.logprob).collect();
                let top = |token: &TokenLogprob| -> Value {
                    token
                        .top
                        .iter()
                        .map(|TopLogprob { token, logprob, .. }| (token.clone(), json!(logprob)))
                        .collect()
                };
                let top: Vec<Value> = logprobs.iter().map(top).collect();
                json!({ "tokens": tokens, "token_logprobs": values, "top_logprobs": top, "text_offset": offsets })
            }
        }
    }
}

/// A token with its bytes.
fn chat_token(text: &str, logprob: f64) -> Value {
    json!({ "token": text, "logprob": logprob, "bytes": token_text::bytes(text) })
}

fn merge(value: &mut Value, extra: Value) {
    if let (Value::Object(value), Value::Object(extra)) = (value, extra) {
        value.extend(extra);
    }
}
