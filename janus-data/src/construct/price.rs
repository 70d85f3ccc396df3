//! What a construction would ask, before it asks.

use std::fmt;

use serde::Serialize;

use super::run::usable;
use super::{Construction, Step, Summary, check, prompt, split};
use crate::instructions::Instruction;
use janus_core::Dimension;

/// What a step would ask.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StepEstimate {
    /// The step.
    pub step: Step,
    /// Things asked for, if everything before is accepted.
    pub requests: u64,
    /// Tokens of the prompts.
    pub prompt_tokens: u64,
    /// Tokens of the answers.
    pub completion_tokens: u64,
}

/// What a construction would ask if every first answer could be used, and no journal held any. With `retries`, the worst
/// case is `1 + retries` times as much, and a little more for the corrections.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CostEstimate {
    /// Instructions that would be worked on.
    pub instructions: u64,
    /// By step.
    pub steps: Vec<StepEstimate>,
    /// Sum of the steps.
    pub requests: u64,
    /// Sum of the steps.
    pub prompt_tokens: u64,
    /// Sum of the steps.
    pub completion_tokens: u64,
}

impl CostEstimate {
    /// The price in the currency of the prices, which are for a million tokens.
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

/// Characters to a token of English, roughly, in the vocabularies of today.
const CHARACTERS_A_TOKEN: usize = 4;
/// Characters of a usable description, system message and response: the means of a collection made with a large model.
const DESCRIPTION: usize = 150;
const SYSTEM: usize = 1000;
const RESPONSE: usize = 2000;
/// Tokens of three preferences and of a rubric.
const PREFERENCES_TOKENS: usize = 200;
const RUBRIC_TOKENS: usize = 220;

impl Construction {
    /// Prices a construction without asking anything. Prompts of the first step are counted as they are; what later ones
    /// hold is not known yet and taken from usual lengths. Tokens are characters by four.
    pub fn price(&self, instructions: &[Instruction]) -> CostEstimate {
        let mut summary = Summary::default();
        let instructions = usable(instructions, &mut summary);
        let bench = split::bench(&instructions, self.bench_share, self.seed).len() as u64;
        let length = |instruction: &Instruction| instruction.prompt.chars().count();
        let all: usize = instructions.iter().map(|instruction| length(instruction)).sum();
        let count = instructions.len() as u64;
        let (dimensions, sets) = (Dimension::ALL.len() as u64, check::SETS as u64);

        let tokens = |characters: usize| characters.div_ceil(CHARACTERS_A_TOKEN) as u64;
        let first: u64 = instructions
            .iter()
            .flat_map(|i| Dimension::ALL.map(|dimension| prompt::preferences(&self.tree, dimension, &i.id, &i.prompt, self.seed)))
            .map(|prompt| tokens(prompt.chars().count()))
            .sum();
        let empty = prompt::Prompt::SYSTEM.fill(&[]).chars().count();
        let rubric = prompt::Prompt::RUBRIC.fill(&[]).chars().count() + DESCRIPTION;
        let answer = |step: Step, usual: usize| usual.min(step.most_tokens()).min(self.sampling.max_tokens) as u64;
        let row = |step, requests: u64, prompt_tokens, usual: usize| StepEstimate {
            step,
            requests,
            prompt_tokens,
            completion_tokens: requests * answer(step, usual),
        };
        let systems = count * sets;
        let steps = vec![
            row(Step::Preferences, count * dimensions, first, PREFERENCES_TOKENS),
            row(Step::System, systems, systems * tokens(empty + 4 * DESCRIPTION) + sets * tokens(all), SYSTEM / CHARACTERS_A_TOKEN),
            row(Step::Response, systems, systems * tokens(SYSTEM) + sets * tokens(all), RESPONSE / CHARACTERS_A_TOKEN),
            row(Step::Rubric, bench * sets * dimensions, bench * sets * dimensions * tokens(rubric), RUBRIC_TOKENS),
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
