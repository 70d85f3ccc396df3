//! `cargo xtask generate`: answers the prompts of a file with a model.

mod plan;
mod sampling;

use std::path::PathBuf;

use candle_core::Device;
use janus_core::{ChatModel, RewardModel};
use janus_data::progress::{Progress, Unit, duration};
use janus_data::{CallJournal, JournalProblem, Journaled};
use janus_eval::answer::{AnswerFile, AnswerStore, Answered, Answering, Task};
use janus_eval::bench::Questions;
use janus_eval::judge::Estimate;
use janus_infer::remote::RemoteModel;
use serde_json::{Map, Value, json};

use crate::command::{self, Blame as _, CommandError, Outcome};
use crate::device::DeviceArg;
use crate::model::{self, EngineArgs};
use crate::service::{RemoteArgs, money};
use plan::{BenchArgs, reader};
pub(crate) use sampling::{BestArgs, SamplingArgs, load_reward};

/// Answer the prompts of a file, or a benchmark's questions, with a model
///
/// Each row has a user's message and optionally a system message; they are rendered
/// with the model's own chat template. An answer depends on the seed and the row's
/// id, not on other rows. The default sampling is the paper's: temperature 1, top-p
/// 0.9, 1024 new tokens, and a repetition penalty of 1.03 (1 for an API).
///
/// For an API, calls, tokens and cost are printed before the first request; with
/// --dry-run nothing is sent. --budget is a hard limit. Answers are kept in
/// OUTPUT.calls, so a request is sent only once, even if you run the command again
/// with the same OUTPUT: adding rows or raising --limit costs only the new
/// requests.
///
/// With --bench, INPUT is the benchmark's question file. The questions are answered
/// according to the benchmark's protocol, and OUTPUT has the format that the
/// benchmark's judge reads. A second turn contains the model's own first answer. A
/// sampling parameter on the command line overrides the protocol's and is listed in
/// OUTPUT.run.json.
///
/// Reads:   MODEL: a .gguf file, a folder with config.json, safetensors,
///          tokenizer.json and tokenizer_config.json, or the address of an
///          OpenAI-compatible API (http://host:port/v1, the key in OPENAI_API_KEY).
///          An API that supports repetition_penalty (`serve`, vLLM) always gets it,
///          even if it is 1, because the API's own default may differ; another API
///          gets it only if it is not 1 (see --extensions).
///          INPUT: .json, .jsonl (either also with .gz) or .parquet. With --bench:
///            mt-bench      {question_id, category, turns}, FastChat's
///                          question.jsonl
///            arena-hard    {question_id, prompt}
///            alpaca-eval   {instruction}, optionally index and dataset
///            toxicity      {prompt}, a string or {text, toxicity}; an API is
///                          called at /completions
///            multifaceted  the bench's records; a missing id is the row's number
///                          from 0
/// Writes:  OUTPUT, in the order of the input, one JSON object per line: id (always
///          a string), response, finish_reason, prompt_tokens, completion_tokens;
///          for --n above 1 a list `responses` of these; with --compose-system also
///          system. With --best-of: the answer with the highest reward (on a tie
///          the first), its `reward`, its index `best`, and all `responses` with
///          their rewards. A row without an answer has id and error, and the exit
///          code is 1. With --bench (.jsonl, or .json for one list):
///            mt-bench      {question_id, model_id, choices: [{index, turns}]}
///            arena-hard    {question_id, model_id, answer,
///                           choices: [{index, turns: [{content, token_len}]}]}
///            alpaca-eval   {index, dataset, instruction, output, generator}
///            toxicity      {prompt: {text, toxicity}, generations: [{text,
///                          toxicity: null}]}
///            multifaceted  {id, response}
///          A row without an answer is left out and counted, and the exit code is
///          1. With --best-of only the best answer is written. OUTPUT.run.json
///          records how the answers were made. During a run, answers are kept in
///          OUTPUT.partial (for an API in OUTPUT.calls, which stays). A repeated
///          command continues from there if the run was interrupted or left rows
///          without an answer. A finished OUTPUT is left alone; if it was made with
///          another model, rows or settings, that is an error.
/// Example: cargo xtask generate --model models/smollm2-135m-instruct-q4_1.gguf \
///          --input prompts.jsonl --output answers.jsonl --compose-system \
///          --max-tokens 256
/// Example: cargo xtask generate --bench mt-bench \
///          --model models/smollm2-135m-instruct-q4_1.gguf \
///          --input question.jsonl --output mt-bench.jsonl
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// GGUF file, model folder, or address of an API
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// Prompts to answer
    #[arg(long, value_name = "INPUT")]
    input: PathBuf,
    /// File for the answers: .jsonl (with --bench also .json)
    #[arg(long, value_name = "OUTPUT")]
    output: PathBuf,
    /// Start over, even if OUTPUT is finished or was made with other settings; an API's answers are kept
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    bench: BenchArgs,
    #[command(flatten)]
    rows: RowArgs,
    /// Number of answers to each row
    #[arg(long, conflicts_with = "best_of", help_heading = "Sampling")]
    n: Option<usize>,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    best: BestArgs,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Rows")]
struct RowArgs {
    /// Field with the system message; optional in each row
    #[arg(long, value_name = "FIELD", default_value = "system")]
    system_key: String,
    /// Field with the user's message; if it is a list, its first string
    #[arg(long, value_name = "FIELD", default_value = "prompt")]
    user_key: String,
    /// Field with the row's id; falls back to question_id, then to the row's number from 1
    #[arg(long, value_name = "FIELD", default_value = "id")]
    id_key: String,
    /// Answer only the first N rows
    #[arg(long, value_name = "ROWS")]
    limit: Option<usize>,
    /// Compose a system message for each row from preferences drawn from the seed taxonomy
    #[arg(long, conflicts_with = "system_key")]
    compose_system: bool,
    /// System message for every row, instead of its own; an empty string for none
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["system_key", "compose_system"])]
    system: Option<String>,
}

pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    args.check()?;
    let (tasks, questions) = args.tasks()?;
    let device = args.device.open()?;
    let settings = args.settings(&tasks, &device)?;
    let job = Job { args, tasks, questions, settings, file: AnswerFile::new(&args.output) };
    let remote = if model::is_address(&args.model) { Some(args.remote()?) } else { None };
    let unfinished = if remote.is_some() { job.file.is_unfinished() } else { job.file.partial().exists() };
    if args.output.exists() && !unfinished && !args.force {
        let hint = "give another --output, or pass --force to answer again";
        let checked = job.file.check(args.name().as_deref(), &job.settings);
        checked.map_err(|error| CommandError::bad_input(format!("{error}: {hint}")))?;
        let text =
            format!("{} is finished and left alone: pass --force to answer again", args.output.display());
        return Ok(Outcome::done(
            text,
            json!({ "command": "generate", "output": args.output, "left_alone": true }),
        ));
    }
    match &remote {
        Some(remote) => job.ask(remote),
        None => job.compute(&device),
    }
}

/// The tasks to answer, and the file for the answers.
struct Job<'a> {
    args: &'a Args,
    tasks: Vec<Task>,
    questions: Option<Questions>,
    settings: Map<String, Value>,
    file: AnswerFile,
}

impl Job<'_> {
    /// Answers the tasks with an API.
    fn ask(&self, remote: &RemoteModel) -> Result<Outcome, CommandError> {
        let Self { args, tasks, file, .. } = self;
        let (partial, path) = (file.partial(), file.calls());
        if partial.exists() && !args.force {
            let problem = "this is an unfinished run of a local model: finish it, give another --output, or pass --force";
            return Err(CommandError::bad_input(format!("{}: {problem}", partial.display())));
        }
        let dry = args.remote.service.dry_run;
        // A dry run creates no file.
        let calls = if dry && !path.exists() {
            None
        } else {
            Some(CallJournal::open(&path).bad_input()?.of_endpoint(remote.address()))
        };
        let answering = Answering::new(tasks).with_system(args.rows.compose_system);
        let estimate = answering.estimate(&AnswerStore::calls(calls.as_ref(), remote.name()));
        if let Some(outcome) = args.remote.service.announce("generate", "generate", &estimate) {
            return Ok(outcome);
        }
        let Some(calls) = &calls else {
            return Err(CommandError::failure("the journal of calls is not open"));
        };
        if estimate.answered > 0 {
            eprintln!(
                "generate: earlier answers of {} are used; delete {} to request them again",
                remote.name(),
                path.display()
            );
        }
        let mut store = AnswerStore::calls(calls, remote.name());
        let answered = run_shown(&answering, &Journaled::new(remote, calls), &mut store)?;
        self.write(&answered, &store, Some(remote))?;
        if partial.exists() {
            std::fs::remove_file(partial).failure()?;
        }
        self.finish(&answered, estimate.answered, store, Some(remote))
    }

    /// Answers the tasks with a local model.
    fn compute(&self, device: &Device) -> Result<Outcome, CommandError> {
        let Self { args, tasks, file, settings, .. } = self;
        // Problems of the journal that `--force` solves.
        let forced = |error: &janus_data::Error| {
            let janus_data::Error::Journal { problem, .. } = error else { return false };
            matches!(problem, JournalProblem::NotAJournal { .. } | JournalProblem::OtherHeader { .. })
        };
        let mut store = file.open_store(settings, args.force).map_err(|error| match &error {
            janus_eval::Error::File(file) if forced(file.reader()) => {
                CommandError::bad_input(format!("{error} (--force)"))
            }
            _ => CommandError::bad_input(error),
        })?;
        let answering = Answering::new(tasks).with_system(args.rows.compose_system);
        let Estimate { calls: all, answered: before, .. } = answering.estimate(&store);
        if before > 0 {
            eprintln!("generate: {before} of {all} answers exist already");
        }
        let answered = if before < all {
            let model = args.load(device)?;
            let reward = args.best.load(device)?;
            let answering = reward
                .iter()
                .fold(answering, |answering, reward| answering.best_by(reward as &dyn RewardModel));
            run_shown(&answering, &*model, &mut store)?
        } else {
            // The run was cut off after the last answer and before the output, so no model is needed.
            answering.stored(&mut store).failure()?
        };
        self.write(&answered, &store, None)?;
        self.finish(&answered, before, store, None)
    }

    /// Writes the answers, and next to them the record of how they were made.
    fn write(
        &self,
        answered: &Answered,
        store: &AnswerStore<'_>,
        remote: Option<&RemoteModel>,
    ) -> Result<(), CommandError> {
        match &self.questions {
            None => self.file.write_rows(&answered.rows(&self.tasks, store)).failure()?,
            Some(questions) => self
                .file
                .write_answers(questions, &self.args.name().unwrap_or_default(), answered)
                .failure()?,
        }
        let mut record = self.record(answered);
        if let Some(remote) = remote {
            // Whether parameters at their neutral value were sent too; null if no request was sent.
            record["extensions_known"] = json!(remote.knows_extensions());
        }
        record["settings"] = json!(self.settings);
        self.file.write_record(record).failure()
    }

    /// The part of the record about the answers.
    fn record(&self, answered: &Answered) -> Value {
        let failures = answered.failures(&self.tasks).map(|(id, error)| json!({ "id": id, "error": error }));
        let mut record = json!({ "failures": failures.collect::<Vec<_>>() });
        if let Some(bench) = self.args.bench.bench {
            record["bench"] = json!(bench);
            record["name"] = json!(self.args.name());
            record["overridden"] = json!(self.args.overridden());
        }
        record
    }

    /// Ends the run. The journal of a local run is deleted only if every row has an answer. `before`
    /// requests had an answer before this run.
    fn finish(
        &self,
        answered: &Answered,
        before: usize,
        store: AnswerStore<'_>,
        remote: Option<&RemoteModel>,
    ) -> Result<Outcome, CommandError> {
        let Self { args, tasks, file, .. } = self;
        let (tally, failed) = (&answered.tally, answered.failures(tasks).count());
        let mut report = json!({
            "command": "generate", "output": args.output, "left_alone": false, "rows": tasks.len(), "answered_before": before,
            "answered": tally.answered, "failed": failed, "completion_tokens": tally.completion_tokens, "seconds": tally.seconds,
            "tokens_per_second": tally.tokens_per_second(), "record": file.record(),
        });
        let (mut own, mut next) = (String::new(), String::new());
        if let Some(remote) = remote {
            let usage = remote.usage();
            report["asked_now"] = json!(usage);
            report["calls"] = json!(file.calls());
            own = format!("; {} requests", usage.requests);
            if args.remote.service.prices().is_some() {
                own += &format!(", cost {}", money(usage.cost));
            }
        }
        if let (Some(bench), Value::Object(record)) = (args.bench.bench, self.record(answered)) {
            record.into_iter().for_each(|(name, value)| report[name] = value);
            next = reader(bench, &args.output)
                .map(|reader| format!("\nnext: {} {reader}", command::program()))
                .unwrap_or_default();
            if let overridden @ [_, ..] = &args.overridden()[..] {
                own += &format!("; different from the benchmark's protocol: {}", overridden.join(", "));
            }
        }
        let (output, rows) = (args.output.display(), tasks.len());
        let Some((id, problem)) = answered.failures(tasks).next() else {
            store.finish().failure()?;
            let (tokens, seconds, rate) =
                (tally.completion_tokens, duration(tally.seconds), tally.tokens_per_second());
            let text = format!(
                "{output}: {rows} rows, {tokens} tokens in {seconds} ({rate:.1} tokens/s){own}{next}"
            );
            return Ok(Outcome::done(text, report));
        };
        let detail = if args.bench.bench.is_some() {
            format!("{problem}; these are left out")
        } else {
            "see their error fields".into()
        };
        let again = "repeat the command to try them again";
        let text = format!(
            "{output}: {failed} of {rows} rows have no answer, first \"{id}\": {detail}; {again}{own}"
        );
        Ok(Outcome::failed(text, report))
    }
}

/// Answers tasks with a model, and shows the progress.
pub(crate) fn run_shown(
    answering: &Answering<'_>,
    model: &dyn ChatModel,
    store: &mut AnswerStore<'_>,
) -> Result<Answered, CommandError> {
    let Estimate { calls, answered: before, .. } = answering.estimate(store);
    let mut progress =
        Progress::new("generate", Unit::Count("answers"), calls as u64).resumed_at(before as u64);
    let answered = answering.run(model, store, &mut |tally| {
        progress.note(format!("{:.1} tokens/s", tally.tokens_per_second()));
        progress.reach((before + tally.done) as u64);
    });
    if before < calls {
        progress.finish();
    }
    answered.failure()
}
