//! Generates a model's answers to tasks. An interrupted run can be resumed, and no answer is generated
//! twice.
//!
//! * [`Task`] is the user's side of a conversation: a row of a benchmark
//!   ([`Questions`](crate::bench::Questions)), or of any file ([`tasks_of_rows`]). [`answer`] sends
//!   tasks to a model.
//! * [`Answering`] does the same through an [`AnswerStore`]. An interrupted run continues from the store
//!   and ends with the same bytes.
//! * [`AnswerFile`] is the finished file and its record, `OUTPUT.run.json`: the settings that the
//!   answers depend on, and the rows without an answer.

mod file;
mod prompts;
mod row;
mod run;
mod store;
mod task;

pub use file::{AnswerFile, AnswerFileProblem};
pub use prompts::{PromptFields, PromptProblem, tasks_of_rows};
pub use row::{read_answers, rewarded};
pub use run::{AnswerProgress, Answered, Answering};
pub use store::AnswerStore;
pub use task::{Answers, Task, answer};

pub(crate) use task::checked;
