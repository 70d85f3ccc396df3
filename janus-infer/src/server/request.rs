//! Requests as JSON: what a client asks, read and checked.
//!
//! Fields that are not known are passed over, as OpenAI does; a known field of a wrong type or value is an error that
//! names it. What would change the answer and is not offered here is refused rather than passed over.

use std::fmt;

use hyper::StatusCode;
use janus_core::{Composer, Error, Message, PreferenceSet, Role, SamplingParams};
use serde::Deserialize;
use serde::de::{self, DeserializeOwned, Deserializer, IgnoredAny, SeqAccess, Visitor};

use serde_json::{Map, Value};

use super::error::ApiError;

/// Samples of a request at the most.
const MOST_SAMPLES: usize = 128;
/// Stop texts of a request, and bytes of each, at the most: they are looked for after every token.
const MOST_STOPS: usize = 16;
const LONGEST_STOP: usize = 1024;
/// OpenAI's default for `/v1/completions`.
const COMPLETION_TOKENS: usize = 16;

/// A request, read and in range.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    pub prompt: Prompt,
    /// With `n` candidates if a best of them is asked for.
    pub sampling: SamplingParams,
    /// Whether the request has a seed of its own.
    pub seeded: bool,
    pub delivery: Delivery,
    /// The system message that was composed of preferences.
    pub system: Option<String>,
}

/// What a model is given.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Prompt {
    Chat(Vec<Message>),
    Text(String),
    Ids(Vec<u32>),
}

/// How an answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    Whole,
    /// As it is written, with a last chunk that counts tokens if `usage`.
    Stream {
        usage: bool,
    },
    /// The `keep` best of all candidates by the reward model.
    Best {
        keep: usize,
    },
}

/// What the server has, which decides what can be asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer<'a> {
    pub model: &'a str,
    pub context: usize,
    pub has_reward: bool,
    /// What fields that are not given stand for.
    pub defaults: &'a SamplingParams,
}

/// Fields that both kinds of request have.
#[derive(Deserialize)]
struct Shared {
    model: Option<String>,
    n: Option<Count>,
    best_of: Option<Count>,
    seed: Option<i64>,
    stop: Option<Texts>,
    max_tokens: Option<Count>,
    temperature: Option<Number>,
    top_p: Option<Number>,
    top_k: Option<i64>,
    min_p: Option<Number>,
    repetition_penalty: Option<Number>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    frequency_penalty: Option<Number>,
    presence_penalty: Option<Number>,
    logit_bias: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
struct Chat {
    messages: Vec<WireMessage>,
    max_completion_tokens: Option<Count>,
    logprobs: Option<bool>,
    top_logprobs: Option<Count>,
    preferences: Option<PreferenceSet>,
    tools: Option<Vec<IgnoredAny>>,
    functions: Option<Vec<IgnoredAny>>,
    response_format: Option<ResponseFormat>,
}

#[derive(Deserialize)]
struct ResponseFormat {
    r#type: String,
}

#[derive(Deserialize)]
struct WireMessage {
    role: WireRole,
    content: Content,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum WireRole {
    System,
    /// OpenAI's newer name for the system's.
    Developer,
    User,
    Assistant,
}

#[derive(Deserialize)]
struct Completion {
    prompt: WirePrompt,
    logprobs: Option<Count>,
    echo: Option<bool>,
    suffix: Option<String>,
}

/// The request of `/v1/chat/completions`.
pub(super) fn chat(body: &[u8], offer: &Offer<'_>) -> Result<Asked, ApiError> {
    let shared: Shared = read(body)?;
    shared.check_model(offer)?;
    let chat: Chat = read(body)?;
    refuse("tools", chat.tools.is_some_and(|tools| !tools.is_empty()))?;
    refuse("functions", chat.functions.is_some_and(|functions| !functions.is_empty()))?;
    refuse("response_format", chat.response_format.is_some_and(|format| format.r#type != "text"))?;
    let max_tokens = match (chat.max_completion_tokens, shared.max_tokens) {
        (Some(new), _) => ("max_completion_tokens", Some(new.0)),
        (None, old) => ("max_tokens", old.map(|old| old.0)),
    };
    let logprobs = chat.logprobs.unwrap_or(false);
    let top_logprobs = chat.top_logprobs.map_or(0, |count| count.0);
    let sampling = SamplingParams { logprobs, top_logprobs, ..shared.sampling(offer, max_tokens, offer.defaults.max_tokens)? };
    let (delivery, sampling) = shared.delivery(sampling, shared.best_of, offer)?;

    let mut messages: Vec<Message> = chat.messages.into_iter().map(Message::from).collect();
    let mut system = None;
    if let Some(set) = &chat.preferences {
        if messages.first().is_some_and(|first| first.role == Role::System) {
            return Err(ApiError::field("preferences", "preferences make the system message, and there is one already: give one of them"));
        }
        // Without a seed the same preferences are worded the same way in every call.
        let text = Composer::standard().compose_set(set, shared.seed.map_or(0, i64::cast_unsigned));
        messages.insert(0, Message::system(text.as_str()));
        system = Some(text);
    }
    Ok(Asked { prompt: Prompt::Chat(messages), seeded: shared.seed.is_some(), sampling, delivery, system })
}

/// The request of `/v1/completions`.
pub(super) fn completion(body: &[u8], offer: &Offer<'_>) -> Result<Asked, ApiError> {
    let shared: Shared = read(body)?;
    shared.check_model(offer)?;
    let completion: Completion = read(body)?;
    refuse("echo", completion.echo == Some(true))?;
    refuse("suffix", completion.suffix.is_some_and(|suffix| !suffix.is_empty()))?;
    let max_tokens = ("max_tokens", shared.max_tokens.map(|max| max.0));
    let top_logprobs = completion.logprobs.map_or(0, |count| count.0);
    let sampling =
        SamplingParams { logprobs: completion.logprobs.is_some(), top_logprobs, ..shared.sampling(offer, max_tokens, COMPLETION_TOKENS)? };
    if shared.best_of.is_some_and(|best_of| best_of.0 != sampling.n) {
        let message = "a completion has no conversation that the reward model could score: ask /v1/chat/completions for a best_of";
        return Err(ApiError::field("best_of", message));
    }
    let (delivery, sampling) = shared.delivery(sampling, None, offer)?;
    Ok(Asked { prompt: completion.prompt.into(), seeded: shared.seed.is_some(), sampling, delivery, system: None })
}

impl Shared {
    /// There is one model; a request may leave its name out.
    fn check_model(&self, offer: &Offer<'_>) -> Result<(), ApiError> {
        match &self.model {
            Some(model) if model != offer.model => Err(no_model(model, offer.model)),
            _ => Ok(()),
        }
    }

    fn sampling(
        &self,
        offer: &Offer<'_>,
        (limit, max_tokens): (&'static str, Option<usize>),
        most: usize,
    ) -> Result<SamplingParams, ApiError> {
        let zero = |number: Option<Number>| number.is_none_or(|number| number.0 == 0.0);
        refuse("frequency_penalty", !zero(self.frequency_penalty))?;
        refuse("presence_penalty", !zero(self.presence_penalty))?;
        refuse("logit_bias", self.logit_bias.as_ref().is_some_and(|bias| !bias.is_empty()))?;
        let defaults = offer.defaults;
        let or = |given: Option<Number>, default: f64| given.map_or(default, |number| number.0);
        let top_k = match self.top_k {
            // vLLM's "all".
            Some(-1) => 0,
            Some(k) => usize::try_from(k).map_err(|_| out_of_range("top_k", k, "-1, or a whole number, 0 or more"))?,
            None => defaults.top_k,
        };
        let stop = self.stop.as_ref().map_or_else(|| defaults.stop.clone(), |stop| stop.0.clone());
        if stop.len() > MOST_STOPS || stop.iter().any(|text| text.len() > LONGEST_STOP) {
            return Err(ApiError::field("stop", format!("stop: expected at most {MOST_STOPS} texts of at most {LONGEST_STOP} bytes")));
        }
        if max_tokens == Some(0) {
            return Err(out_of_range(limit, 0, "at least 1"));
        }
        Ok(SamplingParams {
            temperature: or(self.temperature, defaults.temperature),
            top_p: or(self.top_p, defaults.top_p),
            top_k,
            min_p: or(self.min_p, defaults.min_p),
            repetition_penalty: or(self.repetition_penalty, defaults.repetition_penalty),
            // More than the context holds is never generated.
            max_tokens: max_tokens.unwrap_or(most).min(offer.context.max(1)),
            n: self.n.map_or(1, |n| n.0),
            seed: self.seed.map_or(0, i64::cast_unsigned),
            stop,
            logprobs: false,
            top_logprobs: 0,
        })
    }

    /// How the answer is sent, and the parameters with the number of candidates for `n`.
    fn delivery(
        &self,
        sampling: SamplingParams,
        best_of: Option<Count>,
        offer: &Offer<'_>,
    ) -> Result<(Delivery, SamplingParams), ApiError> {
        sampling.validate().map_err(|error| match error {
            Error::Sampling { field, .. } => ApiError::field(field, error.to_string()),
            error => ApiError::new(StatusCode::BAD_REQUEST, error.to_string()),
        })?;
        let most = |field, got| out_of_range(field, got, &format!("at most {MOST_SAMPLES}"));
        if sampling.n > MOST_SAMPLES {
            return Err(most("n", sampling.n));
        }
        let stream = self.stream.unwrap_or(false);
        let Some(best_of) = best_of else {
            let usage = self.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false);
            return Ok((if stream { Delivery::Stream { usage } } else { Delivery::Whole }, sampling));
        };
        if !offer.has_reward {
            let message = "best_of needs a reward model, and the server was started without one (--reward-model)";
            return Err(ApiError::field("best_of", message).code("no_reward_model"));
        }
        if best_of.0 > MOST_SAMPLES {
            return Err(most("best_of", best_of.0));
        }
        if best_of.0 < sampling.n {
            return Err(out_of_range("best_of", best_of.0, &format!("at least n, which is {}", sampling.n)));
        }
        if stream {
            let message = "the best is known when all candidates are finished, so best_of cannot be streamed: leave out one of them";
            return Err(ApiError::field("stream", message));
        }
        Ok((Delivery::Best { keep: sampling.n }, SamplingParams { n: best_of.0, ..sampling }))
    }
}

/// Another model than the one there is (404).
pub(super) fn no_model(asked: &str, model: &str) -> ApiError {
    let asked: String = asked.chars().take(200).collect();
    let message = format!("there is no model \"{asked}\" here: this server has \"{model}\"");
    ApiError::field("model", message).status(StatusCode::NOT_FOUND).code("model_not_found")
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        // serde_json says where it stopped, which is of use for broken JSON only.
        let place = format!(" at line {} column {}", inner.line(), inner.column());
        let said = inner.to_string();
        if !inner.is_data() {
            return ApiError::new(StatusCode::BAD_REQUEST, format!("the body is not JSON: {said}")).code("invalid_json");
        }
        let said = said.strip_suffix(&place).unwrap_or(&said);
        if let Some(missing) = said.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
            let whole = if path == "." { missing.to_string() } else { format!("{path}.{missing}") };
            return ApiError::field(whole.as_str(), format!("{whole} is missing")).code("missing_required_parameter");
        }
        if path == "." {
            return ApiError::new(StatusCode::BAD_REQUEST, format!("the body cannot be read: {said}"));
        }
        ApiError::field(path.as_str(), format!("{path}: {said}"))
    })?;
    json.end().map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, format!("the body is not JSON: {error}")).code("invalid_json"))?;
    Ok(value)
}

fn out_of_range(field: &str, got: impl fmt::Display, expected: &str) -> ApiError {
    ApiError::field(field, format!("{field} is {got}: expected {expected}"))
}

/// An OpenAI parameter that is asked for and not offered.
fn refuse(field: &str, asked: bool) -> Result<(), ApiError> {
    let error = || ApiError::field(field, format!("{field} is not offered by this server: leave it out")).code("unsupported_parameter");
    if asked { Err(error()) } else { Ok(()) }
}

impl From<WireMessage> for Message {
    fn from(WireMessage { role, content }: WireMessage) -> Self {
        let role = match role {
            WireRole::System | WireRole::Developer => Role::System,
            WireRole::User => Role::User,
            WireRole::Assistant => Role::Assistant,
        };
        Self { role, content: content.0 }
    }
}

impl From<WirePrompt> for Prompt {
    fn from(prompt: WirePrompt) -> Self {
        match prompt {
            WirePrompt::Text(text) => Prompt::Text(text),
            WirePrompt::Ids(ids) => Prompt::Ids(ids),
        }
    }
}

/// A whole number, 0 or more.
#[derive(Clone, Copy)]
struct Count(usize);

/// A number.
#[derive(Clone, Copy)]
struct Number(f64);

/// One text or a list of them.
struct Texts(Vec<String>);

/// A message's text: as it is, or in parts.
struct Content(String);

/// A completion's prompt: a text, ids, or a list with one of these.
enum WirePrompt {
    Text(String),
    Ids(Vec<u32>),
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;
        impl Visitor<'_> for Whole {
            type Value = Count;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, 0 or more")
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Count, E> {
                usize::try_from(value).map(Count).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(value), &self))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Count, E> {
                Err(E::invalid_value(de::Unexpected::Signed(value), &self))
            }
        }
        deserializer.deserialize_u64(Whole)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Number;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }
            fn visit_f64<E>(self, value: f64) -> Result<Number, E> {
                Ok(Number(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Number, E> {
                Ok(Number(value as f64))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Number, E> {
                Ok(Number(value as f64))
            }
        }
        deserializer.deserialize_f64(Any)
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrTexts;
        impl<'de> Visitor<'de> for TextOrTexts {
            type Value = Texts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Texts(vec![text.into()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_any(TextOrTexts)
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Part {
            r#type: TextOnly,
            text: String,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum TextOnly {
            Text,
        }
        struct TextOrParts;
        impl<'de> Visitor<'de> for TextOrParts {
            type Value = Content;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of text parts")
            }
            fn visit_str<E>(self, text: &str) -> Result<Content, E> {
                Ok(Content(text.into()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Content, A::Error> {
                let mut content = String::new();
                while let Some(Part { r#type: TextOnly::Text, text }) = list.next_element()? {
                    content.push_str(&text);
                }
                Ok(Content(content))
            }
        }
        deserializer.deserialize_any(TextOrParts)
    }
}

impl<'de> Deserialize<'de> for WirePrompt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// An element of the list.
        enum Item {
            Id(u32),
            Prompt(WirePrompt),
        }
        impl<'de> Deserialize<'de> for Item {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct IdOrPrompt;
                impl<'de> Visitor<'de> for IdOrPrompt {
                    type Value = Item;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a token id, a text or a list of token ids")
                    }
                    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Item, E> {
                        u32::try_from(value).map(Item::Id).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(value), &self))
                    }
                    fn visit_str<E>(self, text: &str) -> Result<Item, E> {
                        Ok(Item::Prompt(WirePrompt::Text(text.into())))
                    }
                    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Item, A::Error> {
                        let mut ids = Vec::new();
                        while let Some(id) = list.next_element()? {
                            ids.push(id);
                        }
                        Ok(Item::Prompt(WirePrompt::Ids(ids)))
                    }
                }
                deserializer.deserialize_any(IdOrPrompt)
            }
        }
        struct PromptVisitor;
        impl<'de> Visitor<'de> for PromptVisitor {
            type Value = WirePrompt;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one prompt: a text or a list of token ids")
            }
            fn visit_str<E>(self, text: &str) -> Result<WirePrompt, E> {
                Ok(WirePrompt::Text(text.into()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<WirePrompt, A::Error> {
                let mut ids = Vec::new();
                while let Some(item) = list.next_element()? {
                    match item {
                        Item::Id(id) => ids.push(id),
                        Item::Prompt(prompt) if ids.is_empty() => {
                            return match list.next_element::<IgnoredAny>()? {
                                None => Ok(prompt),
                                Some(_) => Err(de::Error::custom("several prompts in one request: ask for one at a time")),
                            };
                        }
                        Item::Prompt(_) => return Err(de::Error::custom("token ids and texts are mixed: give one of them")),
                    }
                }
                Ok(WirePrompt::Ids(ids))
            }
        }
        deserializer.deserialize_any(PromptVisitor)
    }
}
