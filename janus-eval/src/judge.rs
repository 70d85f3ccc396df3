//! Judges that are language models, over any [`janus_core::ChatModel`].
//!
//! * [`RubricJudge`]: a score from 1 to 5 for each rubric, several runs.
//! * [`PairwiseJudge`]: which of two answers is better, asked in both orders.
//! * [`GradeJudge`]: a rating from 1 to 10 for each turn (MT-Bench).
//! * [`ArenaJudge`]: one of five labels, two games (Arena-Hard-Auto).
//! * [`LogprobJudge`]: a preference from the probabilities of one token (AlpacaEval 2.0).
//! * [`ReplayJudge`]: recorded answers, read again.
//!
//! All of them ask through an [`Asker`]: answers go into a [`janus_data::CallJournal`] before they are used, so a
//! judgement that was cut off asks only what is missing; a failure is never final and never a score.
//! [`PromptTemplate`] holds what is asked: our own texts, or an official one from a file.

mod arena;
mod ask;
mod grade;
mod label;
mod logprob;
mod pairwise;
mod prompt;
mod replay;
mod rubric;

pub use arena::{ArenaBattle, ArenaGame, ArenaJudge, ArenaJudgement, ArenaOptions, ArenaRow};
pub use ask::{Asker, Counts, Estimate, Reply};
pub use grade::{Conversation, GradeJudge, GradeJudgement, GradeOptions, GradePrompts, GradeRow};
pub use label::{ArenaLabel, PairLabel, arena_labels, feedback, pair_label, rating};
pub use logprob::{LogprobJudge, LogprobJudgement, LogprobOptions, LogprobRow, LogprobTask, preference};
pub use pairwise::{Pair, PairOutcome, PairPrompts, PairRow, PairTurn, PairwiseJudge, PairwiseJudgement, PairwiseOptions};
pub use prompt::{PromptTemplate, TemplateId};
pub use replay::{Recorded, ReplayJudge};
pub use rubric::{JudgedRow, RubricJudge, RubricJudgement, RubricOptions, RubricReply, RubricSettings, ScoreReader, rubric_json};
