//! A judge: a model with its journal. Its calls, replies and counts.

use janus_core::{ChatModel, ChatRequest, Generation, ModelError, SamplingParams};
use janus_data::CallJournal;
use serde::{Deserialize, Serialize};

use super::read::Unreadable;
use super::{PromptTemplate, TemplateId};
use crate::Result;

/// A language model that judges, with the journal of its answers. One client serves estimates, batch
/// files and judging, by any [`Protocol`](crate::protocol::Protocol).
///
/// Every answer is written to the journal before it is parsed, including those that cannot be parsed. An
/// error of the model is not retried in the same run: retrying is the task of the model's client.
#[derive(Clone, Copy)]
pub struct JudgeClient<'a> {
    pub(crate) model: &'a dyn ChatModel,
    pub(crate) journal: Option<&'a CallJournal>,
    pub(crate) attempts: Option<usize>,
}

impl std::fmt::Debug for JudgeClient<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JudgeClient")
            .field("model", &self.model.name())
            .field("journal", &self.journal.is_some())
            .finish_non_exhaustive()
    }
}

impl<'a> JudgeClient<'a> {
    /// A judge that calls this model, without a journal.
    pub fn new(model: &'a dyn ChatModel) -> Self {
        Self { model, journal: None, attempts: None }
    }

    /// Writes the answers to a journal, and takes them from there if they exist. Open the journal of an
    /// API with its address: [`CallJournal::of_endpoint`].
    pub fn journal(mut self, journal: &'a CallJournal) -> Self {
        self.journal = Some(journal);
        self
    }

    /// Overrides the protocol's maximum number of attempts per call in one run; at least 1.
    pub fn attempts(mut self, attempts: usize) -> Self {
        self.attempts = Some(attempts.max(1));
        self
    }

    /// The model's name.
    pub(crate) fn name(&self) -> &str {
        self.model.name()
    }

    /// Writes a batch's answers to [`pending`](Self::pending) requests to the journal and returns their
    /// number. A failed request stays pending.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) if the journal cannot be written.
    pub fn record(
        &self,
        pending: &[ChatRequest],
        answers: Vec<Result<Vec<Generation>, ModelError>>,
    ) -> Result<usize> {
        let Some(journal) = self.journal else { return Ok(0) };
        let mut recorded = 0;
        for (request, generations) in
            pending.iter().zip(answers).filter_map(|(request, answer)| Some((request, answer.ok()?)))
        {
            journal.put(self.name(), request, &generations)?;
            recorded += 1;
        }
        Ok(recorded)
    }
}

/// One call of a judge.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgeCall {
    /// The request that is sent.
    pub request: ChatRequest,
    /// The template of its prompt.
    pub prompt: TemplateId,
}

impl JudgeCall {
    /// A call with a filled template. `slots` has the name and the text of each slot.
    ///
    /// # Errors
    /// [`Error::Prompt`](crate::Error::Prompt) for a slot without text.
    pub fn new(
        id: impl Into<String>,
        template: &PromptTemplate,
        slots: &[(&str, &str)],
        sampling: &SamplingParams,
    ) -> Result<Self> {
        let request = ChatRequest::new(id, template.fill(slots)?).with_sampling(sampling.clone());
        Ok(Self { request, prompt: template.version() })
    }
}

/// The result of one call.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply<T> {
    /// The parsed verdict, or why the judge gave no verdict.
    pub verdict: Result<T, NoVerdict>,
    /// The last answer. If the conversation was continued, the texts of both answers are joined by a
    /// line break.
    pub answer: Option<Generation>,
    /// Number of answers that could not be parsed.
    pub unreadable: usize,
    /// Id of the prompt.
    pub prompt: String,
}

impl<T> Reply<T> {
    /// The last answer's text.
    pub fn text(&self) -> Option<&str> {
        self.answer.as_ref().map(|answer| answer.text.as_str())
    }

    /// Why there is no verdict, as text.
    pub(crate) fn problem(&self) -> Option<String> {
        self.verdict.as_ref().err().map(ToString::to_string)
    }
}

/// Why a call has no verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoVerdict {
    /// No answer could be parsed; this is the reason for the last one.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The model failed; its error and the sources of that error, as text.
    #[error("{0}")]
    Failed(String),
    /// The model did not answer the request at all.
    #[error("the model gave no answer")]
    NoAnswer,
}

/// What to do about an answer that cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retry {
    /// Send the same request with the next seed, up to [`attempts`](crate::protocol::Protocol::attempts)
    /// requests in one run.
    Again,
    /// Continue the conversation with this message, once, and parse both answers as one text.
    Continue(String),
    /// Accept it as final: no run sends the request again.
    Never,
}

/// How many calls had which result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// All calls.
    pub calls: usize,
    /// Answers to them, including those that could not be parsed.
    pub answered: usize,
    /// Calls with a parsed answer.
    pub parsed: usize,
    /// Answers that could not be parsed.
    pub unreadable: usize,
    /// Calls without a parsed answer.
    pub failed: usize,
}

impl Counts {
    /// The counts of these replies.
    pub(crate) fn of<'r, T: 'r>(replies: impl IntoIterator<Item = &'r Reply<T>>) -> Self {
        let mut counts = Self::default();
        for reply in replies {
            let parsed = usize::from(reply.verdict.is_ok());
            counts.calls += 1;
            counts.parsed += parsed;
            counts.failed += 1 - parsed;
            counts.unreadable += reply.unreadable;
            counts.answered += parsed + reply.unreadable;
        }
        counts
    }

    /// The share of answers that could be parsed; `None` without an answer.
    pub(crate) fn parse_rate(&self) -> Option<f64> {
        (self.answered > 0).then(|| self.parsed as f64 / self.answered as f64)
    }
}

/// The calls and tokens that a run needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// All calls.
    pub calls: usize,
    /// Calls whose result is already in the journal.
    pub answered: usize,
    /// Prompt tokens of the other calls, estimated at four characters per token.
    pub prompt_tokens: u64,
    /// Maximum number of tokens that the other calls generate.
    pub completion_tokens: u64,
}

impl Estimate {
    /// The maximum cost of the other calls, given the prices per million prompt tokens and per million
    /// completion tokens.
    pub fn cost(&self, prompt: f64, completion: f64) -> f64 {
        (self.prompt_tokens as f64 * prompt + self.completion_tokens as f64 * completion) / 1e6
    }
}
