//! How answers are judged: the [`Protocol`] trait, its implementations, and the driver that runs any of
//! them.
//!
//! | protocol | the judge's verdict | calls per case |
//! |---|---|---|
//! | [`Rubrics`] | a score from 1 to 5 for each rubric | one for each rubric and run |
//! | [`Pairwise`] | which of two answers is better; MT-Bench's pairs too | two, one in each order |
//! | [`MtBench`] | a rating from 1 to 10 | one for each turn |
//! | [`ArenaHard`] | one of five labels | two games |
//! | [`AlpacaEval`] | the probabilities of two tokens | one |
//!
//! A [`Protocol`] makes the calls of a case, parses the answers, and makes a row of the replies. The
//! rest is the same for all protocols: [`JudgeClient::estimate`] computes the calls and tokens that a
//! run needs, [`JudgeClient::pending`] lists the requests that have no result in the journal (for a
//! batch file), [`JudgeClient::record`] stores a batch's answers, and [`JudgeClient::judge`] runs the
//! protocol. [`CaseRun`](crate::run::CaseRun) writes the rows to a folder and reports them. To add your
//! own benchmark, implement [`Protocol`]: see `examples/own_benchmark.rs`.

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

/// How cases are judged. The options of this crate's protocols are their public fields.
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
///         rating(answer.answer()).ok_or(Unreadable::NoRating)
///     }
///     fn row(&self, case: &Case, replies: Vec<Reply<f64>>) -> JudgedCase {
///         JudgedCase::rated(case, &replies)
///     }
/// }
///
/// /// A judge that always gives the same rating.
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
    /// One item to judge.
    type Case;
    /// The verdict parsed from one answer of the judge.
    type Reply;
    /// The result of a case, made from all its replies.
    type Row;

    /// The protocol's names, and the scale of its values.
    fn info(&self) -> ProtocolInfo;

    /// Checks the protocol's prompts and settings, once before the first call.
    ///
    /// # Errors
    /// [`Error::Prompt`](crate::Error::Prompt) for a prompt that lacks a needed slot or has an unknown
    /// one, [`Error::Setting`](crate::Error::Setting) for a setting outside its range.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// The judge's sampling parameters, recorded with the results.
    fn sampling(&self) -> &SamplingParams;

    /// Whether the judge sees the system message, recorded with the results.
    fn shows_system(&self) -> bool {
        false
    }

    /// Whether the judge sees the reference answers that cases have, recorded with the results.
    fn shows_reference(&self) -> bool {
        false
    }

    /// The id of a case, unique in a run.
    fn id<'c>(&self, case: &'c Self::Case) -> &'c str;

    /// The calls that judge a case. The list may be empty.
    ///
    /// # Errors
    /// A case or a prompt that cannot be used.
    fn calls(&self, case: &Self::Case) -> Result<Vec<JudgeCall>>;

    /// Parses an answer.
    ///
    /// # Errors
    /// Why it cannot be parsed.
    fn read(&self, answer: &Generation) -> Result<Self::Reply, Unreadable>;

    /// What to do about an answer that cannot be parsed.
    fn retry(&self, _why: &Unreadable) -> Retry {
        Retry::Again
    }

    /// The maximum number of attempts per call in one run, if answers cannot be parsed.
    fn attempts(&self) -> usize {
        1
    }

    /// The row of a case. `replies` are the replies to its calls, in the same order.
    fn row(&self, case: &Self::Case, replies: Vec<Reply<Self::Reply>>) -> Self::Row;
}

/// A protocol's names, and the scale of its values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProtocolInfo {
    /// Its name in files: `mt-bench`.
    pub name: String,
    /// Its name in reports: "MT-Bench".
    pub title: String,
    /// The scale of a row's values.
    pub scale: Scale,
}

impl ProtocolInfo {
    /// A protocol's names and scale.
    pub fn new(name: impl Into<String>, title: impl Into<String>, scale: Scale) -> Self {
        Self { name: name.into(), title: title.into(), scale }
    }
}

/// The scale of a row's values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Against an opponent: 0 for a loss, 0.5 for a tie, 1 for a win.
    WinRate,
    /// A rating between these numbers, which may be negative. A judge may give ratings outside the
    /// range; they are kept.
    Rating {
        /// The worst.
        low: f64,
        /// The best.
        high: f64,
    },
}

/// The settings of a judgement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgeSettings {
    /// The judge's model.
    pub judge: String,
    /// The prompts that were used.
    pub prompts: Vec<TemplateId>,
    /// The judge's sampling parameters.
    pub sampling: SamplingParams,
    /// Whether the judge saw the system message.
    pub system_shown: bool,
    /// Whether the judge saw the reference answers that cases have.
    pub reference_shown: bool,
}

/// The result of judging cases.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement<R> {
    /// The judge and its settings.
    pub settings: JudgeSettings,
    /// One row for each case, in the order of the cases.
    pub rows: Vec<R>,
    /// How many calls had which result.
    pub counts: Counts,
}
