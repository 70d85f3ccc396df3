//! Arguments, limits and prices of requests to an API, shared by every command that sends some.

use std::time::Duration;

use clap::ValueEnum;
use janus_eval::judge::Estimate;
use janus_infer::remote::{Backoff, Endpoint, Extensions, Prices, RemoteModel, RemoteOptions};
use serde::Serialize;
use serde_json::json;

use crate::command::{Blame as _, CommandError, Outcome};

/// Limits and prices of requests to an API. A local model ignores them.
#[derive(Debug, clap::Args, Serialize)]
#[command(next_help_heading = "API")]
pub struct ServiceArgs {
    /// Concurrent requests
    #[arg(long, value_name = "N", default_value_t = 8)]
    concurrency: usize,
    /// Maximum requests per minute
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<u32>,
    /// Maximum tokens per minute
    #[arg(long, value_name = "N")]
    tokens_per_minute: Option<u32>,
    /// Attempts for each request while the API is busy or failing
    #[arg(long, value_name = "N", default_value_t = 6)]
    attempts: usize,
    /// Timeout of an attempt, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120.0)]
    timeout: f64,
    /// Longest pause between attempts, in seconds; if the API demands a longer one, the command stops
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    longest_pause: f64,
    /// Price of a million prompt tokens
    #[arg(long, value_name = "PRICE", requires = "price_completion")]
    price_prompt: Option<f64>,
    /// Price of a million generated tokens
    #[arg(long, value_name = "PRICE", requires = "price_prompt")]
    price_completion: Option<f64>,
    /// Spending limit, in the currency of the prices
    #[arg(long, value_name = "PRICE", requires = "price_prompt")]
    budget: Option<f64>,
    /// Send no seed, for an API that refuses the field
    #[arg(long)]
    no_seed: bool,
    /// Send the token limit as max_completion_tokens, which reasoning models require
    #[arg(long)]
    max_completion_tokens: bool,
    /// Whether the API supports top_k, min_p and repetition_penalty; if it does, they are always sent,
    /// so that its own defaults do not apply
    #[arg(long, value_enum, value_name = "KNOWN", default_value_t)]
    extensions: Known,
    /// Print the number of calls, the tokens and the cost, and send nothing
    #[arg(long)]
    #[serde(skip)]
    pub(crate) dry_run: bool,
}

/// Whether an API supports parameters that are not in OpenAI's protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Known {
    /// Detect by its /models endpoint: `serve`, vLLM, SGLang and llama.cpp support them
    #[default]
    Ask,
    /// It supports them
    Yes,
    /// It may reject them
    No,
}

impl ServiceArgs {
    /// Adds these limits to options with an address and a key.
    pub(crate) fn options(&self, base: RemoteOptions) -> Result<RemoteOptions, CommandError> {
        let seconds = |name: &str, seconds: f64| {
            let duration = Duration::try_from_secs_f64(seconds).ok().filter(|duration| !duration.is_zero());
            duration.ok_or_else(|| {
                CommandError::bad_input(format!("--{name} is {seconds}: expected seconds, more than 0"))
            })
        };
        let mut options = base;
        options.concurrency = self.concurrency;
        options.requests_per_minute = self.requests_per_minute;
        options.tokens_per_minute = self.tokens_per_minute;
        options.attempts = self.attempts;
        options.timeout = seconds("timeout", self.timeout)?;
        let most = seconds("longest-pause", self.longest_pause)?;
        options.backoff = Backoff::new(Backoff::default().first.min(most), most);
        options.prices = self.prices();
        options.budget = self.budget;
        options.send_seed = !self.no_seed;
        options.max_completion_tokens = self.max_completion_tokens;
        options.extensions = match self.extensions {
            Known::Ask => Extensions::Ask,
            Known::Yes => Extensions::Known,
            Known::No => Extensions::Unknown,
        };
        Ok(options)
    }

    /// The prices of tokens, if they were given.
    pub(crate) fn prices(&self) -> Option<Prices> {
        Some(Prices::new(self.price_prompt?, self.price_completion?))
    }

    /// The cost of these tokens, as text.
    pub(crate) fn cost(&self, prompt_tokens: u64, completion_tokens: u64) -> String {
        match self.prices() {
            Some(prices) => money(prices.cost(prompt_tokens, completion_tokens)),
            None => "unknown without --price-prompt and --price-completion".into(),
        }
    }

    /// Prints the estimated calls, tokens and cost on stderr before the first request, prefixed by
    /// `who`. With `--dry-run` the estimate is returned as the outcome instead.
    pub(crate) fn announce(&self, who: &str, command: &str, estimate: &Estimate) -> Option<Outcome> {
        let Estimate { calls, answered, prompt_tokens, completion_tokens } = *estimate;
        let most = self.prices().map(|prices| prices.cost(prompt_tokens, completion_tokens));
        let at_most = if most.is_some() { "at most about " } else { "" };
        let text = format!(
            "{calls} calls, {answered} of them answered before; about {prompt_tokens} prompt tokens, at most {completion_tokens} generated tokens; cost {at_most}{}",
            self.cost(prompt_tokens, completion_tokens)
        );
        if self.dry_run {
            let estimate = json!({
                "calls": calls, "answered_before": answered, "prompt_tokens": prompt_tokens,
                "most_completion_tokens": completion_tokens, "most_cost": most,
            });
            return Some(Outcome::done(
                text,
                json!({ "command": command, "dry_run": true, "estimate": estimate }),
            ));
        }
        eprintln!("{who}: {text}");
        None
    }
}

/// Arguments for a model behind an API instead of a local one.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "API")]
pub struct RemoteArgs {
    /// The model's name at the API
    #[arg(long, value_name = "NAME")]
    pub model_name: Option<String>,
    #[command(flatten)]
    pub(crate) service: ServiceArgs,
}

impl RemoteArgs {
    /// The model at an address, with the key from the environment. Sends nothing yet.
    pub fn model(&self, address: &str, endpoint: Endpoint) -> Result<RemoteModel, CommandError> {
        let Some(name) = &self.model_name else {
            return Err(CommandError::bad_input("--model is the address of an API: give --model-name too"));
        };
        let key = RemoteOptions::from_env().bad_input()?.key;
        let base = RemoteOptions::new(address.trim_end_matches('/')).with(|options| {
            options.endpoint = endpoint;
            options.key = key;
        });
        RemoteModel::new(name.clone(), self.service.options(base)?).bad_input()
    }
}

/// A cost as text: two decimals, and as many more as a small one needs for two digits that say something.
pub(crate) fn money(cost: f64) -> String {
    if cost == 0.0 || cost >= 0.1 {
        return format!("{cost:.2}");
    }
    let decimals = (1.0 - cost.log10().floor()).clamp(2.0, 12.0) as usize;
    format!("{cost:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::money;

    #[test]
    fn a_small_cost_keeps_two_digits() {
        for (cost, text) in [
            (0.0, "0.00"),
            (12.345, "12.35"),
            (0.1, "0.10"),
            (0.0023, "0.0023"),
            (0.00999, "0.0100"),
            (4.2e-7, "0.00000042"),
        ] {
            assert_eq!(money(cost), text);
        }
    }
}
