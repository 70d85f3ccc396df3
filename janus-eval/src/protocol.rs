//! How answers are judged: one trait, and one driver for everything that follows from it.
//!
//! | protocol | what the judge says | calls |
//! |---|---|---|
//! | [`Rubrics`] | a score from 1 to 5 for each rubric | one for each rubric and run |
//! | [`Pairwise`] | which of two answers is better; MT-Bench's pairs too | two, one in each order |
//! | [`MtBench`] | a rating from 1 to 10 | one for each turn |
//! | [`ArenaHard`] | one of five labels | two games |
//! | [`AlpacaEval`] | the probabilities of two tokens | one |
//!
//! A [`Protocol`] turns a case into calls, reads an answer, and makes a row of the replies. The rest is the same for all of them:
//! [`JudgeClient::estimate`] says what the calls take, [`JudgeClient::pending`] which the journal does not settle (what goes into a batch
//! file), [`JudgeClient::record`] takes a batch's answers, [`JudgeClient::judge`] asks; [`CaseRun`](crate::run::CaseRun) keeps the rows in a folder and reports
//! them. A benchmark of your own is one such type: see `examples/own_benchmark.rs`.

mod alpaca_eval;
mod arena_hard;
mod case;
mod driver;
mod mt_bench;
mod pairwise;
mod rubric;

use janus_core::{Generation, SamplingParams};
use serde::{Deserialize, Serialize};

pub use alpaca_eval::AlpacaEval;
pub(crate) use alpaca_eval::is_swapped;
pub use arena_hard::ArenaHard;
pub use case::{Case, JudgedCall, JudgedCase, PairOutcome, Side, Turn};
pub use mt_bench::{GradePrompts, MtBench};
pub use pairwise::{PairPrompts, Pairwise, bench_pairs};
pub(crate) use rubric::scored_runs;
pub use rubric::{JudgedResponse, RubricCase, RubricJudge, RubricReply, Rubrics, rubric_cases};

use crate::Result;
#[cfg(doc)]
use crate::judge::JudgeClient;
use crate::judge::read::Unreadable;
use crate::judge::{Counts, JudgeCall, Reply, Retry, TemplateId};

/// How cases are judged. The fields of a protocol of this crate are its options.
///
/// ```
/// use janus_core::{ChatModel, ChatRequest, Generation, ModelError, SamplingParams};
/// use janus_eval::judge::read::{Unreadable, rating};
/// use janus_eval::judge::{JudgeCall, JudgeClient, PromptTemplate, Reply};
/// use janus_eval::protocol::{Case, JudgedCase, Protocol, ProtocolInfo, Scale, Turn};
///
/// /// Rates the answer's politeness.
/// struct Polite {
///     prompt: PromptTemplate,
///     sampling: SamplingParams,
/// }
///
/// impl Protocol for Polite {
///     type Case = Case;
///     type Reply = f64;
///     type Row = JudgedCase;
///
///     fn info(&self) -> ProtocolInfo {
///         ProtocolInfo::new("polite", "Politeness", Scale::Rating { low: 1.0, high: 10.0 })
///     }
///     fn sampling(&self) -> &SamplingParams {
///         &self.sampling
///     }
///     fn id<'c>(&self, case: &'c Case) -> &'c str {
///         &case.id
///     }
///     fn calls(&self, case: &Case) -> janus_eval::Result<Vec<JudgeCall>> {
///         let slots = [("question", case.turns[0].prompt.as_str()), ("answer", case.turns[0].model.as_str())];
///         Ok(vec![JudgeCall::new(&case.id, &self.prompt, &slots, &self.sampling)?])
///     }
///     fn read(&self, answer: &Generation) -> Result<f64, Unreadable> {
///         rating(&answer.text).ok_or(Unreadable::NoRating)
///     }
///     fn row(&self, case: &Case, replies: Vec<Reply<f64>>) -> JudgedCase {
///         JudgedCase::rated(case, &replies)
///     }
/// }
///
/// /// A judge that says the same of everything.
/// struct Scripted;
/// impl ChatModel for Scripted {
///     fn name(&self) -> &str {
///         "scripted"
///     }
///     fn generate_each(&self, requests: &[ChatRequest], on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>)) {
///         for index in 0..requests.len() {
///             on_answer(index, Ok(vec![Generation::new("Rating: [[9]]")]));
///         }
///     }
/// }
///
/// let prompt = PromptTemplate::new("polite/1", "", "How polite, from 1 to 10, is \"{answer}\" to \"{question}\"? End with [[rating]].");
/// let polite = Polite { prompt, sampling: SamplingParams::greedy(256) };
/// let cases = [Case::new("1", vec![Turn::new("Hello", "Good morning!")])];
/// let judge = JudgeClient::new(&Scripted);
/// assert_eq!(judge.estimate(&polite, &cases)?.calls, 1);
/// let judgement = judge.judge(&polite, &cases, &mut |_done, _calls| ())?;
/// assert_eq!(judgement.rows[0].values, [9.0]);
/// # Ok::<(), janus_eval::Error>(())
/// ```
pub trait Protocol {
    /// What is judged.
    type Case;
    /// What one answer of the judge says.
    type Reply;
    /// What the replies to a case come to.
    type Row;

    /// What it is called, and what its values mean.
    fn info(&self) -> ProtocolInfo;

    /// Checks the protocol itself, once before the first call.
    ///
    /// # Errors
    /// A prompt or a setting that cannot be used: [`Error::Prompt`](crate::Error::Prompt) for a prompt that lacks an answer or has a slot that
    /// nothing fills, [`Error::Setting`](crate::Error::Setting).
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// How the judge samples, for results.
    fn sampling(&self) -> &SamplingParams;

    /// Whether the judge sees the system message, for results.
    fn shows_system(&self) -> bool {
        false
    }

    /// Whether the judge sees the reference answer where a case has one, for results.
    fn shows_reference(&self) -> bool {
        false
    }

    /// The name of a case; no two cases of a run have the same.
    fn id<'c>(&self, case: &'c Self::Case) -> &'c str;

    /// The calls that judge a case; there may be none.
    ///
    /// # Errors
    /// A case or a prompt that cannot be used.
    fn calls(&self, case: &Self::Case) -> Result<Vec<JudgeCall>>;

    /// What an answer says.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn read(&self, answer: &Generation) -> Result<Self::Reply, Unreadable>;

    /// What to do about an answer that cannot be read.
    fn retry(&self, _why: &Unreadable) -> Retry {
        Retry::Again
    }

    /// How often a call is made in one run while its answers cannot be read.
    fn attempts(&self) -> usize {
        1
    }

    /// The row of a case; `replies` belong to its calls, in their order.
    fn row(&self, case: &Self::Case, replies: Vec<Reply<Self::Reply>>) -> Self::Row;
}

/// What a protocol is called, and what its values mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProtocolInfo {
    /// Its name in files: `mt-bench`.
    pub name: String,
    /// Its name in reports: "MT-Bench".
    pub title: String,
    /// What a row's values mean.
    pub scale: Scale,
}

impl ProtocolInfo {
    /// A protocol's names and scale.
    pub fn new(name: impl Into<String>, title: impl Into<String>, scale: Scale) -> Self {
        Self { name: name.into(), title: title.into(), scale }
    }
}

/// What a row's values mean.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Against an opponent: 0 for a loss, 0.5 for a tie, 1 for a win.
    WinRate,
    /// A rating between these numbers, of either sign; a judge may leave the range.
    Rating {
        /// The worst.
        low: f64,
        /// The best.
        high: f64,
    },
}

/// What a result was made with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgeSettings {
    /// The judge's model.
    pub judge: String,
    /// The prompts that were used.
    pub prompts: Vec<TemplateId>,
    /// How the judge sampled.
    pub sampling: SamplingParams,
    /// Whether the judge saw the system message.
    pub system_shown: bool,
    /// Whether the judge saw the reference answer, where a case has one.
    pub reference_shown: bool,
}

/// What a judge made of cases.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement<R> {
    /// What it was made with.
    pub settings: JudgeSettings,
    /// One row for each case, in their order.
    pub rows: Vec<R>,
    /// How many calls had which result.
    pub counts: Counts,
}
