//! Judges.
//!
//! * [`JudgeClient`]: a model with its journal. It judges by any [`Protocol`](crate::protocol::Protocol): answers go into a
//!   [`janus_data::CallJournal`] before they are used, so judging that was cut off asks only what is missing; a failure is never final
//!   and never a score.
//! * [`PromptTemplate`]: what is asked: our own texts, or an official one from a file.
//! * [`read`]: what a judge's text says.
//! * [`ReplayJudge`]: recorded answers, read again.

mod client;
pub(crate) mod prompt;
pub mod read;
mod replay;
mod verifiable;

pub use client::{Counts, Estimate, JudgeCall, JudgeClient, NoVerdict, Reply, Retry};
pub use prompt::{PromptTemplate, TemplateId};
pub use replay::{Recorded, ReplayJudge};
pub use verifiable::VerifiableJudge;
