//! Answering: a model is asked tasks, whatever happens in between, and each answer is paid for once.
//!
//! * [`Task`] is the user's side of a conversation: a row of a benchmark ([`Questions`](crate::bench::Questions)), or of any file
//!   ([`tasks_of_rows`]). [`answer`] has a model answer tasks.
//! * [`Answering`] does so through an [`AnswerStore`], from which a run that was cut off continues, to the same bytes.
//! * [`AnswerFile`] is the finished file with its record beside it: what the answers depend on, and which rows have none.

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
