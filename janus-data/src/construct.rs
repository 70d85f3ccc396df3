//! Constructs a Multifaceted Collection with any chat model (paper, section 3): preferences for each
//! instruction, three preference sets from them, a system message for each set, the gold response, and for
//! the bench a rubric for each preference.
//!
//! ```text
//! instruction ─▶ 4 × preferences ─▶ 3 sets ─▶ system message ─▶ response ─▶ SFT, SFT small, DPO, ORPO, RM
//!                                                                     └───▶ 4 × rubric ─▶ bench
//! ```
//!
//! Prompts are files with versioned ids ([`prompt_ids`]). Every answer is checked. An unusable answer is
//! requested again, with a note on what was wrong; after the last retry it is rejected and counted. Every
//! answer is journalled before it is used, keyed by everything that it depends on (model, messages,
//! sampling). So a run that was interrupted requests only what is missing, and a run over more instructions
//! only what is new.

mod answer;
mod check;
mod collection;
mod draft;
mod price;
mod prompt;
mod quality;
mod request;
mod run;
mod sets;
mod split;
pub(crate) mod words;

use std::collections::HashSet;
use std::path::Path;

use janus_core::{ChatModel, SamplingParams, Taxonomy};
use serde::Serialize;

use crate::Result;
use crate::instructions::Instruction;
use run::Run;

pub use collection::{Constructed, OutputFormat, Summary};
pub use price::{CostEstimate, StepEstimate};
pub use quality::{Coverage, Lengths, Likeness, Quality};
pub use request::StepTally;

/// A step of the construction. Each sends requests to the model.
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
    /// All steps, in the order in which they run.
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

    /// Limit of the tokens of an answer: no accepted answer of the step needs more.
    fn token_limit(self) -> usize {
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

/// The settings of a construction.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Construction {
    /// Seeds the examples in prompts, the sets, the bench's share, the pairs, and the model's sampling.
    pub seed: u64,
    /// How often an unusable answer is requested again.
    pub retries: usize,
    /// How to sample; `max_tokens` bounds every step, `seed` and `n` are set by the construction. The default
    /// is the authors' for their rubrics: temperature 1, top-p 0.9.
    pub sampling: SamplingParams,
    /// Preference sets, and so system messages and responses, for each instruction: 1 to
    /// [`Construction::MOST_SETS`].
    pub sets: usize,
    /// Share of the instructions that become bench rows, 0 to 1; the others become training rows.
    pub bench_share: f64,
    /// Ids of instructions that become bench rows too, such as those of other benchmarks.
    pub bench_ids: HashSet<String>,
    /// The address of the API that answers, if one does: two APIs with one model's name share no answers.
    pub endpoint: Option<String>,
    /// Where the examples in prompts come from.
    pub tree: Taxonomy,
}

impl Default for Construction {
    fn default() -> Self {
        let sampling = SamplingParams { repetition_penalty: 1.0, ..SamplingParams::paper() };
        Self {
            seed: 0,
            retries: 2,
            sampling,
            sets: Self::MOST_SETS,
            bench_share: 0.1,
            bench_ids: HashSet::new(),
            endpoint: None,
            tree: seed_tree(),
        }
    }
}

/// The built-in tree from which the examples in prompts are drawn: five preferences for each of the twenty
/// published subdimensions, all written for this crate. Two of the five are those of [`Taxonomy::seed`].
pub fn seed_tree() -> Taxonomy {
    let mut tree = Taxonomy::seed();
    match Taxonomy::from_json(include_str!("construct/seed.json")) {
        Ok(written) => tree.merge(written),
        // The file is part of the program.
        Err(error) => unreachable!("construct/seed.json: {error}"),
    };
    tree
}

/// Called after each answer with the step, how many of its requests are finished, and how many there are in
/// all.
pub type OnProgress<'a> = &'a mut dyn FnMut(Step, usize, usize);

impl Construction {
    /// The paper's number of preference sets for each instruction, which is the most.
    pub const MOST_SETS: usize = check::SETS;

    /// Constructs a collection. The journals are in `folder`, one for each step. A later run in the same
    /// folder reuses them, even with other instructions and settings.
    ///
    /// # Errors
    /// [`Error::Journal`](crate::Error::Journal) or [`Error::Io`](crate::Error::Io) of the journals,
    /// [`Error::Domain`](crate::Error::Domain) for sampling parameters out of range. A model failure is not
    /// an error: the request is counted as rejected, and the next run sends it again.
    pub fn run(
        &self,
        model: &dyn ChatModel,
        instructions: &[Instruction],
        folder: &Path,
        progress: OnProgress<'_>,
    ) -> Result<Constructed> {
        Run::begin(self, model, folder, progress)?.over(instructions)
    }
}

#[cfg(test)]
mod tests {
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
        let descriptions: HashSet<&str> =
            tree.iter().map(|preference| preference.description.as_str()).collect();
        assert_eq!(descriptions.len(), 100);
        assert!(descriptions.iter().all(|description| description.ends_with('.')));
    }
}
