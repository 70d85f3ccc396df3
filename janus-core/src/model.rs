//! The traits of chat models, reward models and judges, with what they take and return.

use serde::{Deserialize, Serialize};

use crate::{BenchRecord, Error, Message, SamplingParams, Score};

/// A request to a chat model.
///
/// ```
/// use janus_core::{ChatRequest, Message, SamplingParams};
/// let request = ChatRequest::new("q1", [Message::system("Be brief."), Message::user("What is a kite?")])
///     .with_sampling(SamplingParams { seed: 1, ..SamplingParams::paper() });
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ChatRequest {
    /// Identifies the request in results and journals. With the seed it determines the random stream, so
    /// two requests with the same id, messages and sampling have the same answers.
    pub id: String,
    /// The conversation so far; its last message is the user's.
    pub messages: Vec<Message>,
    /// How to sample.
    pub sampling: SamplingParams,
}

impl ChatRequest {
    /// A request with the default sampling parameters.
    pub fn new(id: impl Into<String>, messages: impl Into<Vec<Message>>) -> Self {
        Self { id: id.into(), messages: messages.into(), sampling: SamplingParams::default() }
    }

    /// The request with these sampling parameters.
    pub fn with_sampling(self, sampling: SamplingParams) -> Self {
        Self { sampling, ..self }
    }
}

/// Why a generation ended.
///
/// An answer that ended for another reason, such as an API's content filter, is reported as the request's
/// error instead of a generation, so that nothing scores it by mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FinishReason {
    /// The model ended its turn, or generated a stop text.
    Stop,
    /// The limit of new tokens, or of the model's context, was reached.
    Length,
}

impl FinishReason {
    /// The reason's name in data, which is OpenAI's: `stop` or `length`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// A generated token's log-probability under the model, before any sampling filter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TokenLogprob {
    /// The token's id; `None` from an API that returns only texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    /// Natural logarithm of its probability.
    pub logprob: f64,
    /// The most likely tokens at this position, most likely first: up to [`SamplingParams::top_logprobs`] of
    /// them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<TopLogprob>,
}

impl TokenLogprob {
    /// The log-probability of a token whose id is not known.
    pub fn new(logprob: f64) -> Self {
        Self { id: None, logprob, top: Vec::new() }
    }

    /// Sets the token's id.
    pub fn with_id(self, id: u32) -> Self {
        Self { id: Some(id), ..self }
    }

    /// Sets the most likely tokens at this position, most likely first.
    pub fn with_top(self, top: Vec<TopLogprob>) -> Self {
        Self { top, ..self }
    }
}

/// One of the most likely tokens at a position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TopLogprob {
    /// The token's text.
    pub token: String,
    /// Natural logarithm of its probability.
    pub logprob: f64,
}

impl TopLogprob {
    /// A token and its log-probability.
    pub fn new(token: impl Into<String>, logprob: f64) -> Self {
        Self { token: token.into(), logprob }
    }
}

/// One answer that a model generated.
///
/// ```
/// use janus_core::{FinishReason, Generation};
/// let whole = Generation::new("A toy.").with_tokens(12, 4);
/// let cut = Generation::new("A toy that").with_finish_reason(FinishReason::Length);
/// assert_eq!((whole.finish_reason, whole.completion_tokens), (FinishReason::Stop, 4));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Generation {
    /// The text, without special tokens.
    pub text: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Tokens of the rendered prompt; 0 if they are not counted.
    pub prompt_tokens: usize,
    /// Tokens generated, the end of turn included; 0 if they are not counted.
    pub completion_tokens: usize,
    /// One entry for each generated token, if requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Vec<TokenLogprob>>,
}

impl Generation {
    /// The text without the reasoning before it, which some models emit between `<think>` and `</think>`. A
    /// reasoning that does not end leaves no answer.
    ///
    /// ```
    /// use janus_core::Generation;
    /// assert_eq!(Generation::new("<think>Perhaps [[3]]?</think>\n[[7]]").answer(), "[[7]]");
    /// assert_eq!(Generation::new("<think>Perhaps [[3]]").answer(), "");
    /// assert_eq!(Generation::new("[[7]]").answer(), "[[7]]");
    /// ```
    pub fn answer(&self) -> &str {
        without_reasoning(&self.text)
    }

    /// A complete answer ([`FinishReason::Stop`]) whose tokens are not counted.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            finish_reason: FinishReason::Stop,
            prompt_tokens: 0,
            completion_tokens: 0,
            logprobs: None,
        }
    }

    /// Sets why the generation ended.
    pub fn with_finish_reason(self, finish_reason: FinishReason) -> Self {
        Self { finish_reason, ..self }
    }

    /// Sets the number of tokens of the prompt and of the answer.
    pub fn with_tokens(self, prompt_tokens: usize, completion_tokens: usize) -> Self {
        Self { prompt_tokens, completion_tokens, ..self }
    }

    /// Sets the log-probabilities of the generated tokens.
    pub fn with_logprobs(self, logprobs: impl Into<Option<Vec<TokenLogprob>>>) -> Self {
        Self { logprobs: logprobs.into(), ..self }
    }
}

/// Why a model, or a judge that uses one, did not answer a request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The request breaks a rule that holds for every model, such as a sampling parameter out of range.
    #[error("request {id}: {rule}")]
    Invalid {
        /// The request's id.
        id: String,
        /// The rule that it breaks.
        rule: Error,
    },
    /// This model cannot answer the request as it stands.
    #[error("request {id}: {reason}")]
    Request {
        /// The request's id.
        id: String,
        /// What is wrong with it, as a message for people.
        reason: String,
    },
    /// The prompt does not leave room for a single new token.
    #[error(
        "request {id}: the prompt has {prompt_tokens} tokens and the model's context is {context}: shorten it"
    )]
    TooLong {
        /// The request's id.
        id: String,
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Length of the model's context, in tokens.
        context: usize,
    },
    /// The model finished without answering the request.
    #[error("request {id}: the model gave no answer")]
    NoAnswer {
        /// The request's id.
        id: String,
    },
    /// The model itself failed; its own error is the source.
    #[error("request {id}: the model failed")]
    Failed {
        /// The request's id.
        id: String,
        /// The model's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ModelError {
    /// The id of the request.
    pub fn id(&self) -> &str {
        match self {
            Self::Invalid { id, .. }
            | Self::Request { id, .. }
            | Self::TooLong { id, .. }
            | Self::NoAnswer { id }
            | Self::Failed { id, .. } => id,
        }
    }

    /// Whether the request itself is at fault, so that sending it again cannot help.
    pub fn is_of_request(&self) -> bool {
        matches!(self, Self::Invalid { .. } | Self::Request { .. } | Self::TooLong { .. })
    }
}

/// A model that answers conversations. It may be local, remote, or a table of recorded answers.
///
/// ```
/// use janus_core::{ChatModel, ChatRequest, Generation, Message, ModelError};
///
/// /// Answers with the last message.
/// struct Echo;
///
/// impl ChatModel for Echo {
///     fn name(&self) -> &str {
///         "echo"
///     }
///
///     fn generate_each(
///         &self,
///         requests: &[ChatRequest],
///         on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>),
///     ) {
///         for (index, request) in requests.iter().enumerate() {
///             let text = request.messages.last().map(|m| m.content.clone()).unwrap_or_default();
///             on_answer(index, Ok(vec![Generation::new(text)]));
///         }
///     }
/// }
///
/// let answers = Echo.generate(&[ChatRequest::new("1", [Message::user("Hi")])]);
/// assert_eq!(answers[0].as_ref().unwrap()[0].text, "Hi");
/// ```
pub trait ChatModel {
    /// The model's name in results.
    fn name(&self) -> &str;

    /// Answers every request, in any order: `on_answer(index, answer)` is called exactly once for each index
    /// of `requests`, with `sampling.n` generations or the request's own error.
    fn generate_each(
        &self,
        requests: &[ChatRequest],
        on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>),
    );

    /// Answers every request and returns the answers in the order of the requests.
    fn generate(&self, requests: &[ChatRequest]) -> Vec<Result<Vec<Generation>, ModelError>> {
        let mut answers: Vec<Option<_>> = requests.iter().map(|_| None).collect();
        self.generate_each(requests, &mut |index, answer| answers[index] = Some(answer));
        let unanswered = |request: &ChatRequest| Err(ModelError::NoAnswer { id: request.id.clone() });
        answers
            .into_iter()
            .zip(requests)
            .map(|(answer, request)| answer.unwrap_or_else(|| unanswered(request)))
            .collect()
    }
}

impl<M: ChatModel + ?Sized> ChatModel for &M {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn generate_each(
        &self,
        requests: &[ChatRequest],
        on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>),
    ) {
        (**self).generate_each(requests, on_answer);
    }
}

/// A model that scores responses.
pub trait RewardModel {
    /// The model's name in results.
    fn name(&self) -> &str;

    /// A reward for each conversation; each ends with the assistant's message that is scored. Higher is
    /// better.
    fn rewards(&self, conversations: &[Vec<Message>]) -> Vec<Result<f32, ModelError>>;
}

/// One response to one bench record, to be judged.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct JudgeRequest<'a> {
    /// The record that the response answers.
    pub record: &'a BenchRecord,
    /// The response.
    pub response: &'a str,
}

impl<'a> JudgeRequest<'a> {
    /// A response to a record.
    pub fn new(record: &'a BenchRecord, response: &'a str) -> Self {
        Self { record, response }
    }
}

/// A judge's verdict on one rubric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RubricVerdict {
    /// The score.
    pub score: Score,
    /// The judge's explanation of the score.
    pub feedback: String,
}

/// A judge's verdict on one response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// One verdict for each of [`BenchRecord::rubrics`], in the same order.
    pub rubrics: Vec<RubricVerdict>,
}

impl Verdict {
    /// Mean over the rubrics, 1 to 5; `None` if there are no rubrics.
    pub fn mean(&self) -> Option<f64> {
        let sum: u32 = self.rubrics.iter().map(|verdict| u32::from(verdict.score.get())).sum();
        (!self.rubrics.is_empty()).then(|| f64::from(sum) / self.rubrics.len() as f64)
    }
}

/// Scores responses against the rubrics of their records.
pub trait Judge {
    /// The judge's name in results.
    fn name(&self) -> &str;

    /// A verdict for each request, in order.
    fn judge(&self, requests: &[JudgeRequest<'_>]) -> Vec<Result<Verdict, ModelError>>;
}

/// A text without the reasoning before it: see [`Generation::answer`].
pub fn without_reasoning(text: &str) -> &str {
    // Some servers leave out the opening mark, which their chat template already wrote.
    match (text.rsplit_once("</think>"), text.trim_start().starts_with("<think>")) {
        (Some((_, answer)), _) => answer.trim_start(),
        (None, true) => "",
        (None, false) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of call journals written at revision 0a1c55a, which stored `logprob` as an f32 and those of `top`
    /// as f64.
    #[test]
    fn a_journalled_generation_is_read_and_written_again_unchanged() {
        let plain = r#"{"text":"A toy.","finish_reason":"stop","prompt_tokens":12,"completion_tokens":4}"#;
        let logprobs = concat!(
            r#"{"text":"m","finish_reason":"length","prompt_tokens":1,"completion_tokens":1,"logprobs":[{"id":7,"logprob":-0.12345679,"#,
            r#""top":[{"token":"m","logprob":-0.12345679104328156},{"token":"M","logprob":-2.1234567890123457}]},{"logprob":-1e-7}]}"#
        );
        for row in [plain, logprobs] {
            let read: Generation = serde_json::from_str(row).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), row);
        }
        let read: Generation = serde_json::from_str(logprobs).unwrap();
        assert_eq!(read.logprobs.unwrap()[0].logprob, -0.12345679);
    }

    #[test]
    fn as_str_is_the_serialized_finish_reason() {
        for reason in [FinishReason::Stop, FinishReason::Length] {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
