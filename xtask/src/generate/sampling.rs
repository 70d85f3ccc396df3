//! How answers are sampled.

use janus_core::SamplingParams;

use crate::command::{Blame as _, CommandError};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingArgs {
    /// New tokens at the most
    #[arg(long)]
    max_tokens: Option<usize>,
    /// Divides the logits; 0 takes the most likely token
    #[arg(long)]
    temperature: Option<f64>,
    /// Keep the smallest set of tokens whose probability reaches this; 1 keeps all
    #[arg(long)]
    top_p: Option<f64>,
    /// Keep the k most likely tokens; 0 keeps all
    #[arg(long)]
    top_k: Option<usize>,
    /// Makes tokens that occurred before less likely; 1 changes nothing
    #[arg(long)]
    repetition_penalty: Option<f64>,
    /// Seed of the run
    #[arg(long)]
    seed: Option<u64>,
}

impl SamplingArgs {
    /// The parameters, where not given the paper's, for `n` answers.
    pub(crate) fn resolve(&self, n: Option<usize>) -> Result<SamplingParams, CommandError> {
        self.over(&SamplingParams::paper(), n)
    }

    /// The given parameters over others.
    pub(super) fn over(&self, others: &SamplingParams, n: Option<usize>) -> Result<SamplingParams, CommandError> {
        let sampling = SamplingParams {
            n: n.unwrap_or(others.n),
            max_tokens: self.max_tokens.unwrap_or(others.max_tokens),
            temperature: self.temperature.unwrap_or(others.temperature),
            top_p: self.top_p.unwrap_or(others.top_p),
            top_k: self.top_k.unwrap_or(others.top_k),
            repetition_penalty: self.repetition_penalty.unwrap_or(others.repetition_penalty),
            seed: self.seed.unwrap_or(others.seed),
            ..others.clone()
        };
        sampling.validate().bad_input()?;
        Ok(sampling)
    }

    /// Names of the parameters that were given, the seed aside: it belongs to a run.
    pub(super) fn given(&self) -> Vec<&'static str> {
        let all = [
            ("max_tokens", self.max_tokens.is_some()),
            ("temperature", self.temperature.is_some()),
            ("top_p", self.top_p.is_some()),
            ("top_k", self.top_k.is_some()),
            ("repetition_penalty", self.repetition_penalty.is_some()),
        ];
        all.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
    }
}
