//! The request of `/v1/completions`.

use std::fmt;

use janus_core::SamplingParams;
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use super::fields::Count;
use super::sampling::{MAX_SAMPLES, Shared};
use super::unsupported::refuse_in_completion;
use super::{GenerationRequest, Prompt, ServedModel, read};
use crate::server::error::ApiError;

/// OpenAI's default of `max_tokens`.
const COMPLETION_TOKENS: usize = 16;

#[derive(Deserialize)]
struct Completion {
    prompt: Prompts,
    logprobs: Option<Count>,
    echo: Option<bool>,
}

/// A string, a list of token ids, a list of strings, or a list of lists of token ids.
struct Prompts(Vec<Prompt>);

/// Parses a request to `/v1/completions`.
pub(in crate::server) fn completion(
    body: &[u8],
    served: &ServedModel<'_>,
) -> Result<GenerationRequest, ApiError> {
    let shared: Shared = read(body)?;
    shared.check_model(served)?;
    let completion: Completion = read(body)?;
    refuse_in_completion(body)?;
    let echo = completion.echo.unwrap_or(false);
    if echo && completion.logprobs.is_some() {
        let message = "echo has no log-probabilities of the prompt: leave out logprobs or echo";
        return Err(ApiError::field("echo", message).code("unsupported_parameter"));
    }
    let max_tokens = ("max_tokens", shared.max_tokens.map(|max| max.0));
    let top_logprobs = completion.logprobs.map_or(0, |count| count.0);
    let sampling = SamplingParams {
        logprobs: completion.logprobs.is_some(),
        top_logprobs,
        ..shared.sampling(served, max_tokens, COMPLETION_TOKENS)?
    };
    if shared.best_of.is_some_and(|best_of| best_of.0 != sampling.n) {
        let message = "a completion has no conversation that the reward model could score: use best_of with /v1/chat/completions";
        return Err(ApiError::field("best_of", message));
    }
    let (delivery, sampling) = shared.delivery(sampling, None, served)?;
    let Prompts(prompts) = completion.prompt;
    let samples = prompts.len().saturating_mul(sampling.n);
    if samples > MAX_SAMPLES {
        let message = format!(
            "{} prompts of {} samples make {samples}: expected at most {MAX_SAMPLES}",
            prompts.len(),
            sampling.n
        );
        return Err(ApiError::field("prompt", message));
    }
    let seeded = shared.seed.is_some();
    Ok(GenerationRequest { prompts, seeded, sampling, delivery, system: None, echo })
}

impl<'de> Deserialize<'de> for Prompts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PromptsVisitor;
        impl<'de> Visitor<'de> for PromptsVisitor {
            type Value = Prompts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a string, a list of token ids, a list of strings, or a list of lists of token ids",
                )
            }
            fn visit_str<E>(self, text: &str) -> Result<Prompts, E> {
                Ok(Prompts(vec![Prompt::Text(text.into())]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Prompts, A::Error> {
                let (mut ids, mut prompts, mut texts) = (Vec::new(), Vec::new(), 0);
                while let Some(item) = list.next_element()? {
                    match item {
                        Item::Id(id) => ids.push(id),
                        Item::Prompt(prompt) => {
                            texts += usize::from(matches!(prompt, Prompt::Text(_)));
                            prompts.push(prompt);
                        }
                    }
                    if (texts > 0 && texts < prompts.len()) || (!ids.is_empty() && !prompts.is_empty()) {
                        return Err(de::Error::custom(
                            "the list mixes texts, token ids and lists of token ids: use one kind",
                        ));
                    }
                    if prompts.len() > MAX_SAMPLES {
                        return Err(de::Error::custom(format!(
                            "more than {MAX_SAMPLES} prompts in one request"
                        )));
                    }
                }
                if prompts.is_empty() {
                    prompts.push(Prompt::Ids(ids));
                }
                Ok(Prompts(prompts))
            }
        }
        deserializer.deserialize_any(PromptsVisitor)
    }
}

/// An element of the list.
enum Item {
    Id(u32),
    Prompt(Prompt),
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdOrPrompt;
        impl<'de> Visitor<'de> for IdOrPrompt {
            type Value = Item;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a token id, a string or a list of token ids")
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Item, E> {
                u32::try_from(value)
                    .map(Item::Id)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(value), &self))
            }
            fn visit_str<E>(self, text: &str) -> Result<Item, E> {
                Ok(Item::Prompt(Prompt::Text(text.into())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Item, A::Error> {
                let mut ids = Vec::new();
                while let Some(id) = list.next_element()? {
                    ids.push(id);
                }
                Ok(Item::Prompt(Prompt::Ids(ids)))
            }
        }
        deserializer.deserialize_any(IdOrPrompt)
    }
}
