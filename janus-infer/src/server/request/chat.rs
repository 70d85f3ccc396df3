//! The request of `/v1/chat/completions`.

use std::fmt;

use janus_core::{Composer, Message, PreferenceSet, Role, SamplingParams};
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::Value;

use super::fields::{Count, Name, Object};
use super::sampling::Shared;
use super::unsupported::{is_empty, refuse_in_chat};
use super::{Delivery, GenerationRequest, Prompt, ServedModel, read, refuse};
use crate::server::error::ApiError;

#[derive(Deserialize)]
struct Chat {
    messages: Vec<Object<WireMessage>>,
    max_completion_tokens: Option<Count>,
    logprobs: Option<bool>,
    top_logprobs: Option<Count>,
    preferences: Option<PreferenceSet>,
    /// vLLM's: whether the model answers (the default) or continues the last message.
    add_generation_prompt: Option<bool>,
    continue_final_message: Option<bool>,
    tool_choice: Option<Value>,
}

#[derive(Deserialize)]
struct WireMessage {
    role: WireRole,
    content: Option<Content>,
    tool_calls: Option<Value>,
    function_call: Option<Value>,
    /// Continues the message, in the APIs of DeepSeek and Mistral.
    prefix: Option<bool>,
}

struct WireRole(Role);

impl<'de> Deserialize<'de> for WireRole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Name {
            expected: "system, developer, user or assistant",
            find: |name| match name {
                // OpenAI's newer name for the system role.
                "system" | "developer" => Some(WireRole(Role::System)),
                "user" => Some(WireRole(Role::User)),
                "assistant" => Some(WireRole(Role::Assistant)),
                _ => None,
            },
        })
    }
}

/// The text of a message, which the request states as a string or as a list of text parts. Parts are joined
/// by line breaks, as by vLLM and llama.cpp.
struct Content(String);

/// Parses a request to `/v1/chat/completions`.
pub(in crate::server) fn chat(body: &[u8], served: &ServedModel<'_>) -> Result<GenerationRequest, ApiError> {
    let shared: Shared = read(body)?;
    shared.check_model(served)?;
    let chat: Chat = read(body)?;
    refuse_in_chat(body)?;
    refuse("tool_choice", chat.tool_choice.is_some_and(|choice| choice != "auto" && choice != "none"))?;
    let max_tokens = match (chat.max_completion_tokens, shared.max_tokens) {
        (Some(new), _) => ("max_completion_tokens", Some(new.0)),
        (None, old) => ("max_tokens", old.map(|old| old.0)),
    };
    let logprobs = chat.logprobs.unwrap_or(false);
    let top_logprobs = chat.top_logprobs.map_or(0, |count| count.0);
    let sampling = SamplingParams {
        logprobs,
        top_logprobs,
        ..shared.sampling(served, max_tokens, served.defaults.max_tokens)?
    };
    let (delivery, sampling) = shared.delivery(sampling, shared.best_of, served)?;

    let continues = chat.continue_final_message == Some(true);
    if continues && chat.add_generation_prompt == Some(true) {
        let message = "continue_final_message and add_generation_prompt exclude each other: set one of them";
        return Err(ApiError::field("continue_final_message", message));
    }
    if continues && matches!(delivery, Delivery::Best { .. }) {
        let message = "the reward model scores whole answers: leave out continue_final_message or best_of";
        return Err(ApiError::field("continue_final_message", message));
    }
    if !continues && chat.add_generation_prompt == Some(false) {
        let message = "add_generation_prompt false leaves the last message open: set continue_final_message to continue it";
        return Err(ApiError::field("add_generation_prompt", message));
    }
    let mut messages = Vec::with_capacity(chat.messages.len());
    for (at, Object(message)) in chat.messages.into_iter().enumerate() {
        messages.push(message.into_message(at)?);
    }
    let mut system = None;
    if let Some(set) = &chat.preferences {
        if messages.first().is_some_and(|first| first.role == Role::System) {
            return Err(ApiError::field(
                "preferences",
                "preferences replace the system message: send only one of them",
            ));
        }
        // Without a seed, the same preferences always give the same system message.
        let text = Composer::standard().compose_set(set, shared.seed.map_or(0, i64::cast_unsigned));
        messages.insert(0, Message::system(text.as_str()));
        system = Some(text);
    }
    let prompt = if continues { Prompt::Unfinished(messages) } else { Prompt::Chat(messages) };
    let (prompts, seeded) = (vec![prompt], shared.seed.is_some());
    Ok(GenerationRequest { prompts, seeded, sampling, delivery, system, echo: false })
}

impl WireMessage {
    /// The message at an index of the request.
    fn into_message(self, at: usize) -> Result<Message, ApiError> {
        let field = |name: &str| format!("messages[{at}].{name}");
        refuse(&field("tool_calls"), self.tool_calls.is_some_and(|calls| !is_empty(&calls)))?;
        refuse(&field("function_call"), self.function_call.is_some_and(|call| !is_empty(&call)))?;
        refuse(&field("prefix"), self.prefix == Some(true))?;
        let Some(Content(content)) = self.content else {
            let content = field("content");
            let message = format!("{content}: expected a string or a list of text parts");
            return Err(ApiError::field(content.as_str(), message));
        };
        Ok(Message { role: self.role.0, content })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Part {
            r#type: TextOnly,
            text: String,
        }
        struct TextOnly;
        impl<'de> Deserialize<'de> for TextOnly {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let find = |name: &str| (name == "text").then_some(TextOnly);
                deserializer.deserialize_any(Name { expected: "text", find })
            }
        }
        struct TextOrParts;
        impl<'de> Visitor<'de> for TextOrParts {
            type Value = Content;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of text parts")
            }
            fn visit_str<E>(self, text: &str) -> Result<Content, E> {
                Ok(Content(text.into()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Content, A::Error> {
                let mut texts = Vec::new();
                while let Some(Object(Part { r#type: TextOnly, text })) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Content(texts.join("\n")))
            }
        }
        deserializer.deserialize_any(TextOrParts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_in_the_place_of_an_object_is_refused_by_name() {
        let defaults = SamplingParams::default();
        let served =
            ServedModel { model: "m", context: 64, vocab: 300, has_reward: false, defaults: &defaults };
        let refused = |body: &str| format!("{:?}", chat(body.as_bytes(), &served).unwrap_err());
        for (body, field) in [
            (r#"{"messages": [["user", "Hi"]]}"#, "messages[0]"),
            (r#"{"messages": [{"role": "user", "content": [["text", "Hi"]]}]}"#, "messages[0].content[0]"),
            (
                r#"{"messages": [{"role": "user", "content": "Hi"}], "stream_options": [true]}"#,
                "stream_options",
            ),
        ] {
            let error = refused(body);
            assert!(error.contains(field) && error.contains("expected an object"), "{error}");
        }
        assert!(refused(r#"[[{"role": "user", "content": "Hi"}]]"#).contains("expected an object"));
        let list = r#"{"messages": [{"role": "user", "content": "Hi"}], "response_format": ["text"]}"#;
        assert!(refused(list).contains("response_format is not supported"), "{}", refused(list));
    }
}
