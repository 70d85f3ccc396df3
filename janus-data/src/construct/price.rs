//! Estimates the cost of a construction before any request is sent.

use std::fmt;

use serde::Serialize;

use super::run::usable;
use super::{Construction, Step, Summary, prompt, split};
use crate::instructions::Instruction;
use janus_core::Dimension;

/// Estimated requests and tokens of a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StepEstimate {
    /// The step.
    pub step: Step,
    /// Number of requests, if the earlier steps accept everything.
    pub requests: u64,
    /// Tokens of all prompts.
    pub prompt_tokens: u64,
    /// Tokens of all answers.
    pub completion_tokens: u64,
}

/// Estimated requests and tokens of a construction, if every first answer is usable and no answer is
/// journalled yet. With `retries`, the worst case is `1 + retries` times as much, plus a little for the
/// corrections.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CostEstimate {
    /// Instructions that would be used.
    pub instructions: u64,
    /// The estimates of the steps.
    pub steps: Vec<StepEstimate>,
    /// Requests of all steps.
    pub requests: u64,
    /// Prompt tokens of all steps.
    pub prompt_tokens: u64,
    /// Completion tokens of all steps.
    pub completion_tokens: u64,
}

impl CostEstimate {
    /// The cost, given the prices of a million prompt tokens and of a million completion tokens.
    pub fn cost(&self, prompt_price: f64, completion_price: f64) -> f64 {
        (self.prompt_tokens as f64 * prompt_price + self.completion_tokens as f64 * completion_price) / 1e6
    }
}

impl fmt::Display for CostEstimate {
    /// A table of the steps and their sum.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { steps, requests, prompt_tokens, completion_tokens, .. } = self;
        writeln!(f, "{:12} {:>10} {:>14} {:>17}", "step", "requests", "prompt tokens", "completion tokens")?;
        for StepEstimate { step, requests, prompt_tokens, completion_tokens } in steps {
            writeln!(f, "{:12} {requests:>10} {prompt_tokens:>14} {completion_tokens:>17}", step.as_str())?;
        }
        write!(f, "{:12} {requests:>10} {prompt_tokens:>14} {completion_tokens:>17}", "all")
    }
}

/// Characters of English text for each token, roughly, in current vocabularies.
const CHARACTERS_PER_TOKEN: usize = 4;
/// Characters of a usable description, system message and response: means over a collection made with a large
/// model.
const DESCRIPTION: usize = 150;
const SYSTEM: usize = 1000;
const RESPONSE: usize = 2000;
/// Tokens of three preferences and of a rubric.
const PREFERENCES_TOKENS: usize = 200;
const RUBRIC_TOKENS: usize = 220;

impl Construction {
    /// Estimates the cost of a construction without sending any request. Prompts of the first step are
    /// counted exactly. The contents of later prompts are not known yet, so typical lengths are assumed. A
    /// token counts as four characters.
    pub fn price(&self, instructions: &[Instruction]) -> CostEstimate {
        let mut summary = Summary::default();
        let instructions = usable(instructions, &mut summary);
        let bench = split::bench(&instructions, self).len() as u64;
        let length = |instruction: &Instruction| instruction.prompt.chars().count();
        let all: usize = instructions.iter().map(|instruction| length(instruction)).sum();
        let count = instructions.len() as u64;
        let (dimensions, sets) = (Dimension::ALL.len() as u64, self.sets as u64);

        let tokens = |characters: usize| characters.div_ceil(CHARACTERS_PER_TOKEN) as u64;
        let first: u64 = instructions
            .iter()
            .flat_map(|i| {
                Dimension::ALL
                    .map(|dimension| prompt::preferences(&self.tree, dimension, &i.id, &i.prompt, self.seed))
            })
            .map(|prompt| tokens(prompt.chars().count()))
            .sum();
        let empty = prompt::Prompt::SYSTEM.fill(&[]).chars().count();
        let rubric = prompt::Prompt::RUBRIC.fill(&[]).chars().count() + DESCRIPTION;
        let answer =
            |step: Step, typical: usize| typical.min(step.token_limit()).min(self.sampling.max_tokens) as u64;
        let row = |step, requests: u64, prompt_tokens, typical: usize| StepEstimate {
            step,
            requests,
            prompt_tokens,
            completion_tokens: requests * answer(step, typical),
        };
        let systems = count * sets;
        let steps = vec![
            row(Step::Preferences, count * dimensions, first, PREFERENCES_TOKENS),
            row(
                Step::System,
                systems,
                systems * tokens(empty + 4 * DESCRIPTION) + sets * tokens(all),
                SYSTEM / CHARACTERS_PER_TOKEN,
            ),
            row(
                Step::Response,
                systems,
                systems * tokens(SYSTEM) + sets * tokens(all),
                RESPONSE / CHARACTERS_PER_TOKEN,
            ),
            row(
                Step::Rubric,
                bench * sets * dimensions,
                bench * sets * dimensions * tokens(rubric),
                RUBRIC_TOKENS,
            ),
        ];
        let sum = |get: fn(&StepEstimate) -> u64| steps.iter().map(get).sum();
        CostEstimate {
            instructions: count,
            requests: sum(|step| step.requests),
            prompt_tokens: sum(|step| step.prompt_tokens),
            completion_tokens: sum(|step| step.completion_tokens),
            steps,
        }
    }
}
