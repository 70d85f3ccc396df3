//! `cargo xtask judge`: judges responses with a language model.

mod cases;
mod rubric;

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use janus_data::fs::fingerprint;
use janus_data::http::without_secrets;
use janus_data::progress::{Progress, Unit};
use janus_data::provenance::{Revision, unix_seconds};
use janus_data::{CallJournal, write_file};
use janus_eval::judge::{Counts, Estimate, JudgeClient};
use janus_eval::protocol::{JudgedCase, Judgement, Protocol};
use janus_eval::report::Report;
use janus_eval::run::{CaseRun, compare};
use janus_infer::remote::{RemoteModel, RemoteOptions, batch};
use serde::Serialize;
use serde_json::{Value, json};

use crate::command::{Blame as _, CommandError, Outcome, make_folder};
use crate::service::ServiceArgs;

/// Let a language model judge responses
///
/// The judge is a model behind an OpenAI-compatible API, whose address is in
/// OPENAI_BASE_URL and whose key is in OPENAI_API_KEY. Every answer is stored in
/// the run folder before it is used. After an interruption or a failed call, repeat
/// the command: it requests only the answers that are missing.
///
/// Reads:   the questions and the answers to judge; see each subcommand's help.
/// Writes:  a run folder: OUT/report.html, report.md, report.json; OUT/judged.json
///          (the result) and the rows behind it with the judge's texts;
///          OUT/run.json (times, files, cost); OUT/calls.jsonl, the journal of
///          answers. A verdict that could not be obtained counts as missing, never
///          as a number, and the exit code is 1.
/// Example: cargo xtask judge rubric --bench bench.jsonl \
///          --responses responses.jsonl --judge gpt-4-0125-preview \
///          --out runs/judged-mine --dry-run
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(subcommand)]
    protocol: ProtocolArgs,
}

#[derive(Debug, clap::Subcommand)]
enum ProtocolArgs {
    Rubric(Box<rubric::Args>),
    Pairwise(Box<cases::PairwiseArgs>),
    MtBench(Box<cases::MtBenchArgs>),
    ArenaHard(Box<cases::ArenaHardArgs>),
    AlpacaEval(Box<cases::AlpacaEvalArgs>),
}

pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    match &args.protocol {
        ProtocolArgs::Rubric(args) => args.judge(),
        ProtocolArgs::Pairwise(args) => args.judge(),
        ProtocolArgs::MtBench(args) => args.judge(),
        ProtocolArgs::ArenaHard(args) => args.judge(),
        ProtocolArgs::AlpacaEval(args) => args.judge(),
    }
}

/// The arguments of every protocol, in addition to its inputs.
#[derive(Debug, clap::Args, Serialize)]
struct RunArgs {
    /// Run folder
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// Name of the judged model in reports [default: its file's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    service: JudgeArgs,
    #[command(flatten)]
    #[serde(skip)]
    batch: BatchArgs,
}

/// The API and the model that judge.
#[derive(Debug, clap::Args, Serialize)]
#[command(next_help_heading = "API")]
struct JudgeArgs {
    /// The judge's model
    #[arg(long, value_name = "NAME")]
    judge: String,
    /// Address of the API [default: OPENAI_BASE_URL, else https://api.openai.com/v1]
    #[arg(long, value_name = "URL")]
    #[serde(skip)]
    base_url: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    limits: ServiceArgs,
}

/// The Batch API instead of single requests.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Batch API")]
struct BatchArgs {
    /// Write the calls that have no answer yet to a file for the Batch API, and send nothing
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    batch_out: Option<PathBuf>,
    /// First take the answers from the Batch API's output file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dry_run", "batch_out"])]
    batch_in: Option<PathBuf>,
}

/// The arguments, of any protocol, that are input files.
const INPUTS: [&str; 11] = [
    "bench",
    "responses",
    "model",
    "eval_set",
    "outputs",
    "questions",
    "answers",
    "references",
    "baseline",
    "opponent",
    "judge_prompt",
];

/// A judgement with its run's record.
type Judged<R> = (Judgement<R>, Value);

/// A run of a judge, with what `run.json` records: everything needed to repeat the run, and facts that
/// its results do not depend on, such as times.
struct Judging<'a> {
    command: &'static str,
    args: &'a RunArgs,
    begun: SystemTime,
    config: Value,
    inputs: Value,
}

impl<'a> Judging<'a> {
    fn begin(command: &'static str, args: &'a RunArgs, all: &impl Serialize) -> Result<Self, CommandError> {
        let config = serde_json::to_value(all).failure()?;
        let mut inputs = json!({});
        for name in INPUTS {
            if let Some(path) =
                [&config[name], &config["protocol"][name]].iter().find_map(|value| value.as_str())
            {
                inputs[name] =
                    json!({ "path": path, "blake3": fingerprint::of_file(path.as_ref()).bad_input()? });
            }
        }
        Ok(Self { command, args, begun: SystemTime::now(), config, inputs })
    }

    /// Judges cases. First takes answers from a batch, if one is given. Then it either writes the
    /// pending calls to a batch file, or prints the estimate and sends the calls to the API. Returns the
    /// judgement with the run's record, or the outcome of `--batch-out` or `--dry-run`.
    fn judge<P: Protocol>(
        &self,
        protocol: &P,
        cases: &[P::Case],
    ) -> Result<ControlFlow<Outcome, Judged<P::Row>>, CommandError> {
        let RunArgs { out, service, batch, .. } = self.args;
        protocol.check().bad_input()?;
        let environment = RemoteOptions::from_env().bad_input()?;
        let base_url = service.base_url.clone().unwrap_or(environment.base_url.clone());
        let options = service.limits.options(environment.with(|options| options.base_url = base_url))?;
        let model = RemoteModel::new(&service.judge, options.clone()).bad_input()?;
        make_folder(out)?;
        // Older journals do not store the API's address: their answers are used too.
        let journal = CallJournal::open(out.join("calls.jsonl"))
            .bad_input()?
            .of_endpoint(model.address())
            .or_untagged();
        let judge = JudgeClient::new(&model).journal(&journal);
        if let Some(path) = &batch.batch_in {
            let pending = judge.pending(protocol, cases).bad_input()?;
            let answered = judge.answered(protocol, cases).bad_input()?;
            let answers = batch::read(path, &pending, &answered).bad_input()?;
            let taken = judge.record(&pending, answers).failure()?;
            let before = answered.len();
            eprintln!("judge: {taken} answers taken from the batch; {before} calls had theirs before");
        }
        if let Some(path) = &batch.batch_out {
            let pending = judge.pending(protocol, cases).bad_input()?;
            batch::write(path, &service.judge, &pending, &options).failure()?;
            let text = format!("{}: {} calls; pass the answers to --batch-in", path.display(), pending.len());
            let report = json!({ "command": self.command, "batch": path, "calls": pending.len() });
            return Ok(ControlFlow::Break(Outcome::done(text, report)));
        }
        let estimate = judge.estimate(protocol, cases).bad_input()?;
        if let Some(outcome) = service.limits.announce("judge", self.command, &estimate) {
            return Ok(ControlFlow::Break(outcome));
        }
        let progress = RefCell::new(Progress::new("judge", Unit::Count("answers"), estimate.calls as u64));
        let judgement =
            judge.judge(protocol, cases, &mut |_, _| progress.borrow_mut().advance(1)).bad_input()?;
        progress.into_inner().finish();
        Ok(ControlFlow::Continue((
            judgement,
            self.record(&without_secrets(&options.base_url), &model, &estimate),
        )))
    }

    /// Judges cases and writes their run folder. `run` builds the run. `summarize` returns one line
    /// about it, and an object with the command's own numbers.
    fn judge_cases<P: Protocol<Row = JudgedCase>>(
        &self,
        protocol: &P,
        cases: &[P::Case],
        run: impl FnOnce(Judgement<JudgedCase>) -> janus_eval::Result<CaseRun>,
        summarize: impl FnOnce(&CaseRun) -> Result<(String, Value), CommandError>,
    ) -> Result<Outcome, CommandError> {
        let (judgement, record) = match self.judge(protocol, cases)? {
            ControlFlow::Break(outcome) => return Ok(outcome),
            ControlFlow::Continue(judged) => judged,
        };
        let run = run(judgement).failure()?;
        let (text, mut numbers) = summarize(&run)?;
        let out = &self.args.out;
        run.write(out).failure()?;
        self.write(&compare([run.clone()], crate::report::ROWS).failure()?, &record)?;
        let (result, page) = (&run.result, out.join("report.html"));
        let Counts { calls, failed, .. } = result.head.counts;
        let common = json!({
            "judge": result.head.settings.judge, "prompts": result.head.settings.prompts, "command": self.command, "run": record,
            "out": out, "page": page, "counts": result.head.counts, "result": result,
        });
        if let (Value::Object(numbers), Value::Object(common)) = (&mut numbers, common) {
            numbers.extend(common);
        }
        if failed == 0 {
            return Ok(Outcome::done(format!("{text}\n{}", page.display()), numbers));
        }
        let missing = format!("{failed} of {calls} verdicts are missing");
        Ok(Outcome::failed(
            format!("{}: {text}; {missing}: repeat the command to request them again", out.display()),
            numbers,
        ))
    }

    fn record(&self, service: &str, model: &RemoteModel, estimate: &Estimate) -> Value {
        let out = &self.args.out;
        json!({
            "program": concat!("xtask ", env!("CARGO_PKG_VERSION")),
            "git": Revision::of_checkout(),
            "command": self.command,
            "folder": std::path::absolute(out).unwrap_or_else(|_| out.clone()),
            "config": self.config,
            "service": service,
            "inputs": self.inputs,
            "begun": unix_seconds(self.begun),
            "ended": unix_seconds(SystemTime::now()),
            "asked_now": model.usage(),
            // Whether parameters at their neutral value were sent too; null if no request was sent.
            "extensions_known": model.knows_extensions(),
            "answered_before": estimate.answered,
        })
    }

    /// Writes the report in its three formats, and `run.json`.
    fn write(&self, report: &Report, record: &Value) -> Result<(), CommandError> {
        report.write(&self.args.out).failure()?;
        write_file(self.args.out.join("run.json"), format!("{record:#}\n").as_bytes()).failure()
    }

    /// The judged model's name: the given one, or that of its file.
    fn name(&self, path: &Path) -> String {
        self.args.name.clone().unwrap_or_else(|| name_of(path))
    }
}

/// A model's name: the name of its file without extensions.
fn name_of(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.split('.').next().unwrap_or_default().into()
}

/// The names of a model and its opponent. If their files have the same name, the second gets a number.
fn names(
    model: (Option<&String>, &Path),
    opponent: (Option<&String>, &Path),
) -> Result<[String; 2], CommandError> {
    let name = |(given, path): (Option<&String>, &Path)| given.cloned().unwrap_or_else(|| name_of(path));
    let (one, two) = (name(model), name(opponent));
    match (one == two, model.0.is_some() && opponent.0.is_some()) {
        (true, true) => {
            Err(CommandError::bad_input(format!("both models are named {one}: give them two names")))
        }
        (true, false) => Ok([one, format!("{two} (2)")]),
        _ => Ok([one, two]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_models_never_share_a_name() {
        let (a, b, given) = (Path::new("x/mine.jsonl.gz"), Path::new("y/mine.jsonl"), "janus".to_string());
        assert_eq!(names((None, a), (None, b)).unwrap(), ["mine", "mine (2)"]);
        assert_eq!(names((Some(&given), a), (None, b)).unwrap(), ["janus", "mine"]);
        assert_eq!(names((Some(&given), a), (Some(&given), b)).unwrap_err().exit_code(), 2);
    }
}
