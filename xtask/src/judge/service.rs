//! The service that judges, the Batch API in its place, and the way from cases to a judgement.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use janus_data::CallJournal;
use janus_data::http::without_secrets;
use janus_eval::judge::{JudgeClient, PromptTemplate};
use janus_eval::protocol::{JudgedCase, Judgement, Protocol};
use janus_eval::run::CaseRun;
use janus_infer::remote::{RemoteModel, RemoteOptions, batch};
use serde::Serialize;
use serde_json::{Value, json};

use super::folder::{self, RunRecord};
use crate::command::{Blame as _, CommandError, Outcome};
use crate::progress::{Progress, Unit};
use crate::service::ServiceArgs;

/// A judgement with the record of its run.
type Judged<R> = (Judgement<R>, Value);

/// What every judge is told beside its inputs.
#[derive(Debug, clap::Args, Serialize)]
pub struct RunArgs {
    /// The run folder
    #[arg(long, value_name = "OUT")]
    pub out: PathBuf,
    /// Name of the judged model in reports [default: its file's name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    #[command(flatten)]
    service: JudgeArgs,
    #[command(flatten)]
    #[serde(skip)]
    batch: BatchArgs,
}

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

impl RunArgs {
    fn options(&self) -> Result<RemoteOptions, CommandError> {
        let environment = RemoteOptions::from_env().bad_input()?;
        let base_url = self.service.base_url.clone().unwrap_or(environment.base_url.clone());
        self.service.limits.options(RemoteOptions { base_url, ..environment })
    }

    /// Judges cases: a batch's answers are taken, the pending calls are written as a batch file, or the estimate is told and the
    /// service asked. The judgement with the run's record, or the outcome if no judgement was wanted.
    pub fn judge<P: Protocol>(
        &self,
        record: RunRecord,
        protocol: &P,
        cases: &[P::Case],
    ) -> Result<ControlFlow<Outcome, Judged<P::Row>>, CommandError> {
        let options = self.options()?;
        let model = RemoteModel::new(&self.service.judge, options.clone()).bad_input()?;
        std::fs::create_dir_all(&self.out).map_err(|error| CommandError::bad_input(format!("{}: {error}", self.out.display())))?;
        let journal = CallJournal::open(self.out.join("calls.jsonl")).bad_input()?;
        let judge = JudgeClient::new(&model).journal(&journal);
        if let Some(path) = &self.batch.batch_in {
            let pending = judge.pending(protocol, cases).bad_input()?;
            let taken = judge.record(&pending, batch::read(path, &pending).bad_input()?).failure()?;
            eprintln!("judge: {taken} answers taken from the batch");
        }
        if let Some(path) = &self.batch.batch_out {
            let pending = judge.pending(protocol, cases).bad_input()?;
            batch::write(path, &self.service.judge, &pending, &options).failure()?;
            let text = format!("{}: {} calls; give the answers back with --batch-in", path.display(), pending.len());
            return Ok(ControlFlow::Break(Outcome::done(
                text,
                json!({ "command": record.command, "batch": path, "calls": pending.len() }),
            )));
        }
        let estimate = judge.estimate(protocol, cases).bad_input()?;
        if let Some(outcome) = self.service.limits.announce("judge", record.command, &estimate) {
            return Ok(ControlFlow::Break(outcome));
        }
        let progress = RefCell::new(Progress::new("judge", Unit::Count("answers"), estimate.calls as u64));
        let judgement = judge.judge(protocol, cases, &mut |_, _| progress.borrow_mut().advance(1)).bad_input()?;
        progress.into_inner().finish();
        let record = record.end(&self.out, &without_secrets(&options.base_url), &model, &estimate);
        Ok(ControlFlow::Continue((judgement, record)))
    }

    /// Judges cases and writes their run folder; `of` makes the run, one line about it and the command's own numbers.
    pub fn judge_cases<P: Protocol<Row = JudgedCase>>(
        &self,
        record: RunRecord,
        protocol: &P,
        cases: &[P::Case],
        of: impl FnOnce(Judgement<JudgedCase>) -> Result<(CaseRun, String, Value), CommandError>,
    ) -> Result<Outcome, CommandError> {
        match self.judge(record, protocol, cases)? {
            ControlFlow::Break(outcome) => Ok(outcome),
            ControlFlow::Continue((judgement, record)) => {
                let (run, text, numbers) = of(judgement)?;
                folder::finish(&self.out, &run, &record, &text, numbers)
            }
        }
    }
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
