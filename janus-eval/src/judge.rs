//! Judges.
//!
//! * [`JudgeClient`]: a model with a journal, which judges by any
//!   [`Protocol`](crate::protocol::Protocol). Answers are written to a [`janus_data::CallJournal`]
//!   before they are used, so that an interrupted run continues with the calls that are missing. A
//!   failed call is never counted as a score, and the next run repeats it.
//! * [`PromptTemplate`]: the judge's prompt, one of this crate's or an official one from a file.
//! * [`read`]: parses the judge's text.
//! * [`ReplayJudge`]: reads recorded answers instead of calling a model.
//! * [`VerifiableJudge`]: computes the verdicts with a function.

mod client;
pub(crate) mod prompt;
pub mod read;
mod replay;
mod verifiable;

pub use client::{Counts, Estimate, JudgeCall, JudgeClient, NoVerdict, Reply, Retry};
pub use prompt::{PromptTemplate, TemplateId};
pub use replay::{Recorded, ReplayJudge};
pub use verifiable::VerifiableJudge;
