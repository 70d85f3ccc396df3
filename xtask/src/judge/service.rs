//! The service that judges, and what it costs.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use janus_core::ChatRequest;
use janus_data::CallJournal;
use janus_eval::judge::{Estimate, PromptTemplate};
use janus_infer::remote::{Backoff, Prices, RemoteModel, RemoteOptions, batch};
use serde::Serialize;
use serde_json::{Value, json};

use crate::command::{Blame as _, CommandError, Outcome};
use crate::progress::{Progress, Unit};

/// Which service is asked, and within which limits.
#[derive(Debug, clap::Args, Serialize)]
#[command(next_help_heading = "Service")]
pub struct ServiceArgs {
    /// The judge's model
    #[arg(long, value_name = "NAME")]
    judge: String,
    /// Where the service is [default: OPENAI_BASE_URL, else https://api.openai.com/v1]
    #[arg(long, value_name = "URL")]
    #[serde(skip)]
    base_url: Option<String>,
    /// Requests under way at once
    #[arg(long, value_name = "N", default_value_t = 8)]
    concurrency: usize,
    /// Requests in a minute at the most
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<u32>,
    /// Tokens in a minute at the most
    #[arg(long, value_name = "N")]
    tokens_per_minute: Option<u32>,
    /// Attempts for each request while the service is busy or broken
    #[arg(long, value_name = "N", default_value_t = 6)]
    attempts: usize,
    /// Seconds for an attempt
    #[arg(long, value_name = "SECONDS", default_value_t = 120.0)]
    timeout: f64,
    /// Longest pause between attempts, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    longest_pause: f64,
    /// Price of a million tokens of prompts
    #[arg(long, value_name = "PRICE", requires = "price_completion")]
    price_prompt: Option<f64>,
    /// Price of a million generated tokens
    #[arg(long, value_name = "PRICE", requires = "price_prompt")]
    price_completion: Option<f64>,
    /// Spend at the most, in the currency of the prices
    #[arg(long, value_name = "PRICE", requires = "price_prompt")]
    budget: Option<f64>,
    /// Send no seed, for a service that refuses the field
    #[arg(long)]
    no_seed: bool,
    /// Send the token limit as max_completion_tokens, as reasoning models want it
    #[arg(long)]
    max_completion_tokens: bool,
    /// Say how many calls and tokens it takes and what they cost, and ask nothing
    #[arg(long)]
    #[serde(skip)]
    dry_run: bool,
}

/// The Batch API in place of single requests.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Batch API")]
pub struct BatchArgs {
    /// Write the calls that have no answer yet as a file for the Batch API, and ask nothing
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    batch_out: Option<PathBuf>,
    /// Take answers from the Batch API's output file first
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dry_run", "batch_out"])]
    batch_in: Option<PathBuf>,
}

impl ServiceArgs {
    fn options(&self) -> Result<RemoteOptions, CommandError> {
        let seconds = |name: &str, seconds: f64| {
            let duration = Duration::try_from_secs_f64(seconds).ok().filter(|duration| !duration.is_zero());
            duration.ok_or_else(|| CommandError::bad_input(format!("--{name} is {seconds}: expected seconds, more than 0")))
        };
        let environment = RemoteOptions::from_env().bad_input()?;
        Ok(RemoteOptions {
            base_url: self.base_url.clone().unwrap_or(environment.base_url.clone()),
            concurrency: self.concurrency,
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            attempts: self.attempts,
            timeout: seconds("timeout", self.timeout)?,
            backoff: {
                let most = seconds("longest-pause", self.longest_pause)?;
                Backoff { first: Backoff::default().first.min(most), most }
            },
            prices: self.prices(),
            budget: self.budget,
            send_seed: !self.no_seed,
            max_completion_tokens: self.max_completion_tokens,
            ..environment
        })
    }

    /// Where the service is, without what a URL can hold of a key.
    pub fn place(&self) -> Result<String, CommandError> {
        Ok(without_secrets(&self.options()?.base_url))
    }

    fn prices(&self) -> Option<Prices> {
        Some(Prices { prompt: self.price_prompt?, completion: self.price_completion? })
    }

    /// The model and the run folder's journal, which is made if need be. Nothing is sent yet.
    pub fn begin(&self, out: &Path) -> Result<(RemoteModel, CallJournal), CommandError> {
        let model = RemoteModel::new(&self.judge, self.options()?).bad_input()?;
        std::fs::create_dir_all(out).map_err(|error| CommandError::bad_input(format!("{}: {error}", out.display())))?;
        Ok((model, CallJournal::open(out.join("calls.jsonl")).bad_input()?))
    }

    /// Tells what it will take. If only that is wanted, it is the outcome.
    fn announce(&self, command: &str, estimate: &Estimate) -> Option<Outcome> {
        let (told, planned) = self.tell(estimate);
        if self.dry_run {
            return Some(Outcome::done(told, json!({ "command": command, "dry_run": true, "estimate": planned })));
        }
        eprintln!("judge: {told}");
        None
    }

    /// The estimate in words, and as JSON.
    fn tell(&self, estimate: &Estimate) -> (String, Value) {
        let Estimate { calls, answered, prompt_tokens, completion_tokens } = *estimate;
        let most = self.prices().map(|prices| prices.cost(prompt_tokens, completion_tokens));
        let cost = match most {
            Some(most) => format!("at most about {most:.2}"),
            None => "unknown without --price-prompt and --price-completion".into(),
        };
        let text = format!(
            "{calls} calls, {answered} answered before; about {prompt_tokens} tokens to send, at most {completion_tokens} to be generated; cost {cost}"
        );
        let report = json!({
            "calls": calls, "answered_before": answered, "prompt_tokens": prompt_tokens,
            "most_completion_tokens": completion_tokens, "most_cost": most,
        });
        (text, report)
    }
}

impl BatchArgs {
    /// What comes before judging: a batch's answers are taken into the journal, the open calls are written as a batch
    /// file, the estimate is told. The outcome, if that is all that was wanted; else the calls in all and those answered.
    pub fn prepare(
        &self,
        command: &str,
        service: &ServiceArgs,
        journal: &CallJournal,
        open: impl Fn() -> Result<Vec<ChatRequest>, CommandError>,
        estimate: impl FnOnce() -> Result<Estimate, CommandError>,
    ) -> Result<ControlFlow<Outcome, Estimate>, CommandError> {
        let taken = self.read(service, journal, &open)?;
        if taken > 0 {
            eprintln!("judge: {taken} answers taken from the batch");
        }
        if let Some((path, calls)) = self.write(service, &open)? {
            let text = format!("{}: {calls} calls; give the answers back with --batch-in", path.display());
            return Ok(ControlFlow::Break(Outcome::done(text, json!({ "command": command, "batch": path, "calls": calls }))));
        }
        let estimate = estimate()?;
        Ok(match service.announce(command, &estimate) {
            Some(outcome) => ControlFlow::Break(outcome),
            None => ControlFlow::Continue(estimate),
        })
    }

    /// Writes the open calls as a batch file, if that is wanted; how many there are.
    fn write(
        &self,
        service: &ServiceArgs,
        open: impl FnOnce() -> Result<Vec<ChatRequest>, CommandError>,
    ) -> Result<Option<(&Path, usize)>, CommandError> {
        let Some(path) = &self.batch_out else { return Ok(None) };
        let requests = open()?;
        batch::write(path, &service.judge, &requests, &service.options()?).failure()?;
        Ok(Some((path, requests.len())))
    }

    /// Takes a batch's answers into the journal, if there is one; how many there are.
    fn read(
        &self,
        service: &ServiceArgs,
        journal: &CallJournal,
        open: impl FnOnce() -> Result<Vec<ChatRequest>, CommandError>,
    ) -> Result<usize, CommandError> {
        let Some(path) = &self.batch_in else { return Ok(0) };
        let requests = open()?;
        let mut taken = 0;
        for (request, answer) in requests.iter().zip(batch::read(path, &requests).bad_input()?) {
            if let Ok(generations) = answer {
                journal.put(&service.judge, request, &generations).failure()?;
                taken += 1;
            }
        }
        Ok(taken)
    }
}

/// A URL without user, password and query.
fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

/// Judges with progress on stderr: `judge` is given what to call for each answer.
pub fn watched<T>(calls: usize, judge: impl FnOnce(&dyn Fn()) -> Result<T, CommandError>) -> Result<T, CommandError> {
    let progress = RefCell::new(Progress::new("judge", Unit::Count("answers"), calls as u64));
    let judged = judge(&|| progress.borrow_mut().advance(1))?;
    progress.into_inner().finish();
    Ok(judged)
}

/// A judge's prompt from a file; its id is the file's name if the file gives none.
pub fn read_prompt(path: &Path) -> Result<PromptTemplate, CommandError> {
    let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    PromptTemplate::parse(&read_text(path)?, &name).bad_input()
}

/// A file's text.
pub fn read_text(path: &Path) -> Result<String, CommandError> {
    std::fs::read_to_string(path).map_err(|error| CommandError::bad_input(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_holds_no_secret() {
        for url in ["https://me:sk-1@host:8/v1?key=sk-2#sk-3", "https://host:8/v1"] {
            assert_eq!(without_secrets(url), "https://host:8/v1");
        }
        assert_eq!(without_secrets("http://a@b@c"), "http://c");
    }
}
