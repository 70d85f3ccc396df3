//! The seams: what a chat model, a reward model and a judge are to the rest of the workspace.

use serde::{Deserialize, Serialize};

use crate::{BenchRecord, Message, SamplingParams, Score};

/// A request to a chat model.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// Names the request in results, journals and random streams.
    pub id: String,
    /// The conversation so far; its last message is the user's.
    pub messages: Vec<Message>,
    /// How to sample.
    pub sampling: SamplingParams,
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// The model ended its turn, or a stop text was met.
    Stop,
    /// The limit of new tokens, or of the model's context, was reached.
    Length,
}

/// A generated token's log-probability under the model, before any sampling filter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The token's id; none from a service that tells texts only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// The most likely tokens at this place, most likely first: as many as
    /// [`SamplingParams::top_logprobs`] asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<TopLogprob>,
}

/// One of the most likely tokens at a place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopLogprob {
    /// The token's text.
    pub token: String,
    /// Natural logarithm of its probability.
    pub logprob: f64,
}

/// What a model wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// The text, without special tokens.
    pub text: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Tokens of the rendered prompt.
    pub prompt_tokens: usize,
    /// Tokens generated, the end of turn included.
    pub completion_tokens: usize,
    /// One entry for each generated token, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Vec<TokenLogprob>>,
}

/// Why a model, or a judge that asks one, gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The request cannot be answered by this model as it stands.
    #[error("request {id}: {reason}")]
    Request {
        /// The request's id.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The prompt does not leave room for a single new token.
    #[error("request {id}: the prompt has {prompt_tokens} tokens and the model's context is {context}: shorten it")]
    TooLong {
        /// The request's id.
        id: String,
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Tokens that the model can see.
        context: usize,
    },
    /// The model itself failed; its own error is the source.
    #[error("request {id}: the model failed")]
    Failed {
        /// The request's id.
        id: String,
        /// What the model says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A model that answers conversations. It may be local, remote, or a table of recorded answers.
///
/// ```
/// use janus_core::{ChatModel, ChatRequest, FinishReason, Generation, Message, ModelError, SamplingParams};
///
/// /// Says back what it was asked.
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
///             let generation = Generation {
///                 text, finish_reason: FinishReason::Stop, prompt_tokens: 0, completion_tokens: 0, logprobs: None,
///             };
///             on_answer(index, Ok(vec![generation]));
///         }
///     }
/// }
///
/// let request = ChatRequest { id: "1".into(), messages: vec![Message::user("Hi")], sampling: SamplingParams::default() };
/// let answers = Echo.generate(&[request]);
/// assert_eq!(answers[0].as_ref().unwrap()[0].text, "Hi");
/// ```
pub trait ChatModel {
    /// The model's name in results.
    fn name(&self) -> &str;

    /// Answers every request, in whatever order answers come: `on_answer(index, answer)` is called
    /// exactly once for each index of `requests`, with `sampling.n` generations or the request's own error.
    fn generate_each(&self, requests: &[ChatRequest], on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>));

    /// Answers every request and returns the answers in the order of the requests.
    fn generate(&self, requests: &[ChatRequest]) -> Vec<Result<Vec<Generation>, ModelError>> {
        let mut answers: Vec<Option<_>> = requests.iter().map(|_| None).collect();
        self.generate_each(requests, &mut |index, answer| answers[index] = Some(answer));
        let unanswered = |id: &str| ModelError::Request { id: id.into(), reason: "the model gave no answer".into() };
        answers.into_iter().zip(requests).map(|(answer, request)| answer.unwrap_or_else(|| Err(unanswered(&request.id)))).collect()
    }
}

impl<M: ChatModel + ?Sized> ChatModel for &M {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn generate_each(&self, requests: &[ChatRequest], on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>)) {
        (**self).generate_each(requests, on_answer);
    }
}

/// A model that says how good a response is.
pub trait RewardModel {
    /// The model's name in results.
    fn name(&self) -> &str;

    /// A reward for each conversation; each ends with the assistant's message that is scored. Higher is better.
    fn rewards(&self, conversations: &[Vec<Message>]) -> Vec<Result<f32, ModelError>>;
}

/// What a judge is asked: one response to one bench record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct JudgeRequest<'a> {
    /// The record that was answered.
    pub record: &'a BenchRecord,
    /// The response.
    pub response: &'a str,
}

/// A judge's answer for one rubric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RubricVerdict {
    /// The score.
    pub score: Score,
    /// Why, in the judge's words.
    pub feedback: String,
}

/// A judge's answer for one response: one entry for each rubric of the record, in its order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// One verdict for each of [`BenchRecord::rubrics`].
    pub rubrics: Vec<RubricVerdict>,
}

impl Verdict {
    /// Mean over the rubrics, 1 to 5; none if there is no rubric.
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
