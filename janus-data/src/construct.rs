//! A Multifaceted Collection from any chat model (paper, section 3): preferences for each instruction, three preference
//! sets of them, a system message for each set, the gold response, and for the bench a rubric for each preference.
//!
//! ```text
//! instruction ─▶ 4 × preferences ─▶ 3 sets ─▶ system message ─▶ response ─▶ SFT, SFT small, DPO, ORPO, RM
//!                                                                     └───▶ 4 × rubric ─▶ bench
//! ```
//!
//! Prompts are files with versioned ids ([`prompt_ids`]). Every answer is checked; one that cannot be used is asked for
//! again with what was wrong, and after that rejected and counted. Every answer stands in a journal before it is used,
//! under everything that it depends on (model, messages, sampling), so a run that is cut off asks only for what it lacks,
//! and a run over more instructions only for what is new.

mod answer;
mod ask;
mod check;
mod collection;
mod draft;
mod price;
mod prompt;
mod quality;
mod run;
mod sets;
mod split;
pub(crate) mod words;

use std::path::Path;

use janus_core::{ChatModel, SamplingParams, Taxonomy};
use serde::Serialize;

use crate::Result;
use crate::instructions::Instruction;
use run::Run;

pub use ask::StepTally;
pub use collection::{Constructed, OutputFormat, Summary};
pub use price::{CostEstimate, StepEstimate};
pub use quality::{Coverage, Lengths, Likeness, Quality};

/// A step that asks the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Three preferences of one dimension for an instruction.
    Preferences,
    /// The system message of a preference set.
    System,
    /// The gold response to a system message and an instruction.
    Response,
    /// The rubric of a preference of a bench row.
    Rubric,
}

impl Step {
    /// In the order in which they run.
    pub const ALL: [Step; 4] = [Step::Preferences, Step::System, Step::Response, Step::Rubric];

    /// The step's name in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Step::Preferences => "preferences",
            Step::System => "system",
            Step::Response => "response",
            Step::Rubric => "rubric",
        }
    }

    /// What an accepted answer of the step can need; more is never paid for.
    fn most_tokens(self) -> usize {
        match self {
            Step::Preferences => 512,
            Step::System => 640,
            Step::Response => usize::MAX,
            Step::Rubric => 768,
        }
    }
}

/// The ids of the prompts, with their versions: `preferences/1`.
pub fn prompt_ids() -> Vec<&'static str> {
    prompt::Prompt::ALL.iter().map(|prompt| prompt.id).collect()
}

/// How a collection is made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Construction {
    /// Seed of the examples in prompts, the sets, the bench's share, the pairs, and the model's sampling.
    pub seed: u64,
    /// How often an answer that cannot be used is asked for again.
    pub retries: usize,
    /// How to sample; `max_tokens` bounds every step, `seed` and `n` are set by the construction. The default is the
    /// reference's for its rubrics: temperature 1, top-p 0.9.
    pub sampling: SamplingParams,
    /// Share of the instructions that become bench rows, 0 to 1; the others are trained on.
    pub bench_share: f64,
    /// Where the examples in prompts come from.
    pub tree: Taxonomy,
}

impl Default for Construction {
    fn default() -> Self {
        let sampling = SamplingParams { repetition_penalty: 1.0, ..SamplingParams::paper() };
        Self { seed: 0, retries: 2, sampling, bench_share: 0.1, tree: seed_tree() }
    }
}

/// The written tree that examples are drawn from: five preferences for each of the twenty published subdimensions, all in
/// our own words. Two of them are those of [`Taxonomy::seed`].
pub fn seed_tree() -> Taxonomy {
    let mut tree = Taxonomy::seed();
    match Taxonomy::from_json(include_str!("construct/seed.json")) {
        Ok(written) => tree.merge(written),
        // The file is part of the program.
        Err(error) => unreachable!("construct/seed.json: {error}"),
    };
    tree
}

/// Called after each answer with the step, how many of its requests are settled, and how many there are.
pub type OnProgress<'a> = &'a mut dyn FnMut(Step, usize, usize);

impl Construction {
    /// Makes a collection. Journals lie in `folder`, one for each step, and are used again by the next run there, with
    /// whatever instructions and settings.
    ///
    /// # Errors
    /// [`Error::Journal`](crate::Error::Journal) or [`Error::Io`](crate::Error::Io) of the journals,
    /// [`Error::Domain`](crate::Error::Domain) for sampling parameters out of range. A model that fails is no error: its
    /// answers are counted as missing, and asked for by the next run.
    pub fn run(&self, model: &dyn ChatModel, instructions: &[Instruction], folder: &Path, progress: OnProgress<'_>) -> Result<Constructed> {
        Run::begin(self, model, folder, progress)?.over(instructions)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use janus_core::PUBLISHED_SUBDIMENSIONS;

    use super::*;

    #[test]
    fn the_seed_tree_has_five_preferences_of_each_published_subdimension() {
        let tree = seed_tree();
        assert_eq!(tree.len(), 100);
        for (dimension, names) in PUBLISHED_SUBDIMENSIONS {
            for name in names {
                assert_eq!(tree.preferences(dimension, name).len(), 5, "{name}");
            }
        }
        let descriptions: HashSet<&str> = tree.iter().map(|preference| preference.description.as_str()).collect();
        assert_eq!(descriptions.len(), 100);
        assert!(descriptions.iter().all(|description| description.ends_with('.')));
    }
}
