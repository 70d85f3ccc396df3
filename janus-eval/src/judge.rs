//! What judges that are language models are asked, and what is read in their answers.

mod label;
mod prompt;

pub use label::{ArenaLabel, PairLabel, arena_label, arena_labels, feedback, pair_label, rating};
pub use prompt::{PromptTemplate, TemplateId};
