//! The service that judges.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use janus_core::ChatRequest;
use janus_data::CallJournal;
use janus_data::http::without_secrets;
use janus_eval::judge::{Estimate, PromptTemplate};
use janus_infer::remote::{RemoteModel, RemoteOptions, batch};
use serde::Serialize;
use serde_json::json;

use crate::command::{Blame as _, CommandError, Outcome};
use crate::progress::{Progress, Unit};
use crate::service::ServiceArgs;

/// Which service judges.
#[derive(Debug, clap::Args, Serialize)]
#[command(next_help_heading = "Service")]
pub struct JudgeArgs {
    /// The judge's model
    #[arg(long, value_name = "NAME")]
    judge: String,
    /// Where the service is [default: OPENAI_BASE_URL, else https://api.openai.com/v1]
    #[arg(long, value_name = "URL")]
    #[serde(skip)]
    base_url: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    limits: ServiceArgs,
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

impl JudgeArgs {
    fn options(&self) -> Result<RemoteOptions, CommandError> {
        let environment = RemoteOptions::from_env().bad_input()?;
        let base_url = self.base_url.clone().unwrap_or(environment.base_url.clone());
        self.limits.options(RemoteOptions { base_url, ..environment })
    }

    /// Where the service is, without what a URL can hold of a key.
    pub fn place(&self) -> Result<String, CommandError> {
        Ok(without_secrets(&self.options()?.base_url))
    }

    /// The model and the run folder's journal, which is made if need be. Nothing is sent yet.
    pub fn begin(&self, out: &Path) -> Result<(RemoteModel, CallJournal), CommandError> {
        let model = RemoteModel::new(&self.judge, self.options()?).bad_input()?;
        std::fs::create_dir_all(out).map_err(|error| CommandError::bad_input(format!("{}: {error}", out.display())))?;
        Ok((model, CallJournal::open(out.join("calls.jsonl")).bad_input()?))
    }
}

impl BatchArgs {
    /// What comes before judging: a batch's answers are taken into the journal, the open calls are written as a batch
    /// file, the estimate is told. The outcome, if that is all that was wanted; else the calls in all and those answered.
    pub fn prepare(
        &self,
        command: &str,
        service: &JudgeArgs,
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
        Ok(match service.limits.announce("judge", command, &estimate) {
            Some(outcome) => ControlFlow::Break(outcome),
            None => ControlFlow::Continue(estimate),
        })
    }

    /// Writes the open calls as a batch file, if that is wanted; how many there are.
    fn write(
        &self,
        service: &JudgeArgs,
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
        service: &JudgeArgs,
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
