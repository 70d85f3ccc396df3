//! A judge's model with its journal, and what it answers.

use janus_core::{ChatModel, ChatRequest, Generation, ModelError, SamplingParams};
use janus_data::CallJournal;
use serde::{Deserialize, Serialize};

use super::read::Unreadable;
use super::{PromptTemplate, TemplateId};
use crate::Result;

/// A language model that judges, with the journal of its answers. One client serves estimates, batch files and judging,
/// by any [`Protocol`](crate::protocol::Protocol).
///
/// Every answer is written to the journal before it is read, the unreadable ones too: they are evidence. An error of the model is
/// not retried in the same run: a model that is worth it retries by itself.
#[derive(Clone, Copy)]
pub struct JudgeClient<'a> {
    pub(crate) model: &'a dyn ChatModel,
    pub(crate) journal: Option<&'a CallJournal>,
    pub(crate) attempts: Option<usize>,
}

impl std::fmt::Debug for JudgeClient<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JudgeClient").field("model", &self.model.name()).field("journal", &self.journal.is_some()).finish_non_exhaustive()
    }
}

impl<'a> JudgeClient<'a> {
    /// Asks this model, with no journal.
    pub fn new(model: &'a dyn ChatModel) -> Self {
        Self { model, journal: None, attempts: None }
    }

    /// Keeps the answers in a journal, and takes them from there. The journal of a service has its address:
    /// [`CallJournal::of_endpoint`].
    pub fn journal(mut self, journal: &'a CallJournal) -> Self {
        self.journal = Some(journal);
        self
    }

    /// Asks for each answer at most this often in one run, instead of what the protocol says; at least once.
    pub fn attempts(mut self, attempts: usize) -> Self {
        self.attempts = Some(attempts.max(1));
        self
    }

    /// The model's name.
    pub(crate) fn name(&self) -> &str {
        self.model.name()
    }

    /// Keeps a batch's answers to [`pending`](Self::pending) requests in the journal; returns how many there are. A failed request stays
    /// pending.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) if the journal cannot be written.
    pub fn record(&self, pending: &[ChatRequest], answers: Vec<Result<Vec<Generation>, ModelError>>) -> Result<usize> {
        let Some(journal) = self.journal else { return Ok(0) };
        let mut recorded = 0;
        for (request, generations) in pending.iter().zip(answers).filter_map(|(request, answer)| Some((request, answer.ok()?))) {
            journal.put(self.name(), request, &generations)?;
            recorded += 1;
        }
        Ok(recorded)
    }
}

/// One call of a judge.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgeCall {
    /// What is sent.
    pub request: ChatRequest,
    /// The prompt that it was filled from.
    pub prompt: TemplateId,
}

impl JudgeCall {
    /// A call from a filled template: each slot's name with its text.
    ///
    /// # Errors
    /// [`Error::Prompt`](crate::Error::Prompt) for a slot without text.
    pub fn new(id: impl Into<String>, template: &PromptTemplate, slots: &[(&str, &str)], sampling: &SamplingParams) -> Result<Self> {
        let request = ChatRequest::new(id, template.fill(slots)?).with_sampling(sampling.clone());
        Ok(Self { request, prompt: template.version() })
    }
}

/// What became of one call.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply<T> {
    /// What was read, or why nothing was.
    pub verdict: Result<T, NoVerdict>,
    /// The last answer. A conversation that was continued is one answer: its texts, joined by a line break.
    pub answer: Option<Generation>,
    /// Answers that could not be read.
    pub unreadable: usize,
    /// Id of the prompt that was asked.
    pub prompt: String,
}

impl<T> Reply<T> {
    /// The last answer's text.
    pub fn text(&self) -> Option<&str> {
        self.answer.as_ref().map(|answer| answer.text.as_str())
    }

    /// Why there is no verdict, in words.
    pub(crate) fn problem(&self) -> Option<String> {
        self.verdict.as_ref().err().map(ToString::to_string)
    }
}

/// Why a call has no verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoVerdict {
    /// No answer could be read; this is the reason for the last one.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The model failed; its error and that error's sources, in words.
    #[error("{0}")]
    Failed(String),
    /// The model did not answer the request at all.
    #[error("the model gave no answer")]
    NoAnswer,
}

/// What to do about an answer that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retry {
    /// Ask the same with the next seed, as often as [`attempts`](crate::protocol::Protocol::attempts) allows in one run.
    Again,
    /// Continue the conversation with this message, once, and read both answers as one text.
    Continue(String),
    /// Take it as the judge's last word: it is never asked again.
    Never,
}

/// How many calls had which result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Calls to be made.
    pub calls: usize,
    /// Answers to them, the unreadable ones included.
    pub answered: usize,
    /// Calls whose answer was read.
    pub parsed: usize,
    /// Answers that could not be read.
    pub unreadable: usize,
    /// Calls without a readable answer.
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

    /// The share of answers that could be read; `None` without an answer.
    pub(crate) fn parse_rate(&self) -> Option<f64> {
        (self.answered > 0).then(|| self.parsed as f64 / self.answered as f64)
    }
}

/// What judging will take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// Calls in all.
    pub calls: usize,
    /// Calls that the journal settles.
    pub answered: usize,
    /// Prompt tokens of the other calls, estimated at four characters per token.
    pub prompt_tokens: u64,
    /// Tokens that they may generate at most.
    pub completion_tokens: u64,
}

impl Estimate {
    /// What the pending calls cost at most, at these prices per million tokens of prompts and of completions.
    pub fn cost(&self, prompt: f64, completion: f64) -> f64 {
        (self.prompt_tokens as f64 * prompt + self.completion_tokens as f64 * completion) / 1e6
    }
}
