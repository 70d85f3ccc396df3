//! A preference from the probabilities of one token: AlpacaEval 2.0's weighted annotator (Dubois et al.,
//! arXiv 2404.04475).

use janus_core::{Generation, SamplingParams};

use super::{Case, JudgedCall, JudgedCase, PairOutcome, Protocol, ProtocolInfo, Scale, Side};
use crate::judge::read::{Unreadable, likely_tokens, preference};
use crate::judge::{JudgeCall, PromptTemplate, Reply, Retry, prompt};
use crate::stats::Mt19937;
use crate::{Error, Result};

/// Whether the judge sees the model's answer before the baseline's: a random choice seeded by the
/// instruction, as in AlpacaEval, so that the order is reproducible.
pub(crate) fn is_swapped(instruction: &str) -> bool {
    let seed = format!("is_switched_outputs{instruction}0");
    Mt19937::from_python_str(&seed).unit() >= 0.5
}

/// Compares a model's outputs with those of a baseline (the opponent), by the probabilities of one
/// token. Equal outputs are a tie without a call.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AlpacaEval {
    /// The judge's prompt, with the slots `instruction`, `output_1` (called `m`) and `output_2` (called
    /// `M`).
    pub prompt: PromptTemplate,
    /// The judge's sampling parameters.
    pub sampling: SamplingParams,
    /// Whether the model's output is shown first, given the instruction. Default: AlpacaEval's seeded
    /// random choice.
    pub swapped: fn(&str) -> bool,
}

impl Default for AlpacaEval {
    /// The published protocol with this crate's prompt: one token, with the log-probabilities of the
    /// five likeliest tokens.
    fn default() -> Self {
        let sampling =
            SamplingParams { temperature: 1.0, logprobs: true, top_logprobs: 5, ..SamplingParams::greedy(1) };
        Self { prompt: prompt::prefer(), sampling, swapped: is_swapped }
    }
}

impl AlpacaEval {
    /// Changes some of the fields and returns the protocol, for use in an expression.
    #[must_use]
    pub fn with(mut self, set: impl FnOnce(&mut Self)) -> Self {
        set(&mut self);
        self
    }

    fn first(&self, case: &Case) -> Side {
        let instruction = case.turns.first().map_or("", |turn| turn.prompt.as_str());
        if (self.swapped)(instruction) { Side::Model } else { Side::Opponent }
    }
}

impl Protocol for AlpacaEval {
    type Case = Case;
    /// The preference for the output shown second, 1 to 2.
    type Reply = f64;
    type Row = JudgedCase;

    fn info(&self) -> ProtocolInfo {
        ProtocolInfo::new("alpaca-eval", "AlpacaEval", Scale::WinRate)
    }

    fn check(&self) -> Result<()> {
        self.prompt.check(&["instruction", "output_1", "output_2"], &[])?;
        if self.sampling.top_logprobs == 0 {
            let expected = "at least 1, as the preference is read from them";
            return Err(Error::Setting { field: "top_logprobs", got: "0".into(), expected });
        }
        Ok(())
    }

    fn sampling(&self) -> &SamplingParams {
        &self.sampling
    }

    fn id<'c>(&self, case: &'c Case) -> &'c str {
        &case.id
    }

    fn calls(&self, case: &Case) -> Result<Vec<JudgeCall>> {
        let [instruction, model, baseline] = case.one_pair()?;
        if model == baseline {
            return Ok(Vec::new());
        }
        let [one, two] = if self.first(case) == Side::Model { [model, baseline] } else { [baseline, model] };
        let slots = [("instruction", instruction), ("output_1", one), ("output_2", two)];
        Ok(vec![JudgeCall::new(&case.id, &self.prompt, &slots, &self.sampling)?])
    }

    fn read(&self, answer: &Generation) -> Result<f64, Unreadable> {
        preference(&likely_tokens(answer)?).ok_or(Unreadable::NoLikelyLabel)
    }

    fn retry(&self, why: &Unreadable) -> Retry {
        // The verdict depends on the probabilities only, which are the same for every sample.
        if *why == Unreadable::NoLikelyLabel { Retry::Never } else { Retry::Again }
    }

    fn row(&self, case: &Case, replies: Vec<Reply<f64>>) -> JudgedCase {
        let first = self.first(case);
        let Some(reply) = replies.into_iter().next() else {
            return JudgedCase {
                case: case.clone(),
                values: vec![PairOutcome::Tie.value()],
                calls: Vec::new(),
            };
        };
        let preferred = |second: &f64| if first == Side::Model { 3.0 - second } else { *second };
        let value = reply.verdict.as_ref().ok().map(|second| preferred(second) - 1.0);
        let likely = reply.answer.as_ref().and_then(|answer| likely_tokens(answer).ok()).unwrap_or_default();
        let call = JudgedCall::new(&reply, |second| format!("preference {:.4}", preferred(second)));
        let call = JudgedCall { likely, text: None, ..call.shown(first, value.map(PairOutcome::of_value)) };
        JudgedCase { case: case.clone(), values: value.into_iter().collect(), calls: vec![call] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_random_choice_swaps_the_first_instruction() {
        assert!(is_swapped(
            "What are the names of some famous actors that started their careers on Broadway?"
        ));
    }
}
