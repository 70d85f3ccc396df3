//! `cargo xtask generate`: a model answers the prompts of a file.

mod bench;
mod best;
mod plan;
mod report;
mod sampling;
mod settings;

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use janus_core::{ChatModel, RewardModel};
use janus_data::{CallJournal, Journal, JournalProblem, Journaled};
use janus_eval::answer::{AnswerFile, AnswerStore, Answered, Answering, Task, estimate};
use janus_eval::bench::Questions;
use janus_eval::judge::Estimate;
use janus_infer::remote::RemoteModel;
use serde_json::{Map, Value};

use crate::command::{Blame as _, CommandError, Outcome};
use crate::device::DeviceArg;
use crate::model::{self, EngineArgs};
use crate::progress::{Progress, Unit};
use crate::service::RemoteArgs;
use bench::BenchArgs;
pub(crate) use best::{BestArgs, load_reward};
use report::Run;
pub(crate) use sampling::SamplingArgs;

/// Answer the prompts of a file, or a benchmark's questions, with a model
///
/// Each row gives a user's message and, if it has one, a system message; rendered with the model's own
/// chat template. An answer depends on the seed and the row's id, not on the rows beside it. Sampling
/// parameters that are not given are the paper's: temperature 1, top-p 0.9, 1024 new tokens, and a
/// repetition penalty of 1.03, or of 1 for a service.
///
/// For a service, calls, tokens and cost are told before the first request (--dry-run: and nothing is
/// asked), and --budget is never gone beyond. What it answers is kept in OUTPUT.calls: equal questions
/// are asked once, and by no later run with this OUTPUT, so that rows can be added and --limit changed
/// at the price of what is new.
///
/// With --bench the rows are a benchmark's own, asked as its protocol says, and OUTPUT is the file that
/// its judge reads. A second turn is asked with the model's own first answer in the conversation. A
/// sampling parameter that is given takes the place of the benchmark's, and the report names it.
///
/// Reads:   MODEL: a .gguf file, a folder with config.json, safetensors, tokenizer.json and
///          tokenizer_config.json, or the address of an OpenAI-compatible service (http://host:port/v1,
///          the key in OPENAI_API_KEY). A repetition penalty of 1 is sent to services that know it, as
///          `serve` and vLLM do (--extensions): they may have another default. Others refuse the field.
///          INPUT: .json, .jsonl (either also with .gz) or .parquet. With --bench:
///            mt-bench      {question_id, category, turns}, FastChat's question.jsonl
///            arena-hard    {question_id, prompt}
///            alpaca-eval   {instruction}, with index and dataset if they are there
///            toxicity      {prompt}, a text or {text, toxicity}; a service is asked at /completions
///            multifaceted  the bench's records; an id that is not given is the row's number from 0
/// Writes:  OUTPUT, in the order of the input, one JSON object a line: id (always a text), response,
///          finish_reason, prompt_tokens, completion_tokens; for --n above 1 a list `responses` of
///          these; with --compose-system also system. With --best-of the answer of the highest reward
///          (the first of equals), its `reward`, its index `best`, and all `responses`, each with
///          its reward. A row without an answer has id and error, and makes the exit code 1.
///          With --bench (.jsonl, or .json for one list):
///            mt-bench      {question_id, model_id, choices: [{index, turns}]}
///            arena-hard    {question_id, model_id, answer,
///                           choices: [{index, turns: [{content, token_len}]}]}
///            alpaca-eval   {index, dataset, instruction, output, generator}
///            toxicity      {prompt: {text, toxicity}, generations: [{text, toxicity: null}]}
///            multifaceted  {id, response}
///          A row without an answer is left out and told, and makes the exit code 1. With --best-of
///          only the best is there.
///          OUTPUT.run.json says how the answers were made. OUTPUT.partial while it runs (for a service
///          OUTPUT.calls, which stays): a run that was cut off, or that left rows without an answer,
///          continues from there when its command is repeated, a conversation with the turn that it
///          had come to. A finished OUTPUT is left alone; if it is from another model, other rows or
///          other settings, that is an error.
/// Example: cargo xtask generate --model models/smollm2-135m-instruct-q4_1.gguf --input prompts.jsonl
///          --output answers.jsonl --compose-system --max-tokens 256
/// Example: cargo xtask generate --bench mt-bench --model models/smollm2-135m-instruct-q4_1.gguf
///          --input ../shared/data/mt_bench/question.jsonl --output mt-bench.jsonl
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// GGUF file, model folder, or address of a service
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// Prompts to answer
    #[arg(long, value_name = "INPUT")]
    input: PathBuf,
    /// Where the answers go, a name ending in .jsonl
    #[arg(long, value_name = "OUTPUT")]
    output: PathBuf,
    /// Start again, even if OUTPUT is finished or was begun with other settings; what a service answered is still kept
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
    /// Answers to each row
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
    /// Field with the system message; a row may do without
    #[arg(long, value_name = "FIELD", default_value = "system")]
    system_key: String,
    /// Field with the user's message; of a list, the first text is taken
    #[arg(long, value_name = "FIELD", default_value = "prompt")]
    user_key: String,
    /// Field that names the row; falls back to question_id, then to the row's number from 1
    #[arg(long, value_name = "FIELD", default_value = "id")]
    id_key: String,
    /// Answer the first rows only
    #[arg(long, value_name = "ROWS")]
    limit: Option<usize>,
    /// Compose a system message for each row from preferences drawn from the seed taxonomy
    #[arg(long, conflicts_with = "system_key")]
    compose_system: bool,
    /// System message of every row in place of its own; an empty text for none
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["system_key", "compose_system"])]
    system: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// Bad input for settings, rows or models that cannot be used, or for an output or an unfinished run with other
/// settings; a failure if a file cannot be written.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    args.check()?;
    let (tasks, rows) = args.tasks()?;
    let device = args.device.open()?;
    let settings = settings::settings(args, &tasks, &device)?;
    let file = AnswerFile::new(&args.output);
    let remote = if model::is_address(&args.model) { Some(args.remote()?) } else { None };
    let unfinished = if remote.is_some() { file.is_unfinished() } else { file.partial().exists() };
    if args.output.exists() && !unfinished && !args.force {
        let hint = "give another --output, or pass --force to answer again";
        file.check(args.name().as_deref(), &settings).map_err(|error| CommandError::bad_input(format!("{error}: {hint}")))?;
        return Ok(args.left_alone());
    }
    match &remote {
        Some(remote) => ask(args, remote, &tasks, rows.as_ref(), settings, &file),
        None => compute(args, &device, &tasks, rows.as_ref(), settings, &file),
    }
}

/// Has a service answer.
fn ask(
    args: &Args,
    remote: &RemoteModel,
    tasks: &[Task],
    rows: Option<&Questions>,
    settings: Map<String, Value>,
    file: &AnswerFile,
) -> Result<Outcome, CommandError> {
    let partial = file.partial();
    if partial.exists() && !args.force {
        let problem = "an unfinished run of a local model lies there: finish it, give another --output, or pass --force";
        return Err(CommandError::bad_input(format!("{}: {problem}", partial.display())));
    }
    let path = file.calls();
    let dry = args.remote.service.dry_run;
    if !dry {
        make_folder(&args.output)?;
    }
    // Where only a word is wanted, no file is left behind.
    let calls = if dry && !path.exists() { None } else { Some(CallJournal::open(&path).bad_input()?.of_endpoint(remote.address())) };
    let estimate = estimate(tasks, |request| calls.as_ref()?.get(remote.name(), request));
    if let Some(outcome) = args.remote.service.announce("generate", "generate", &estimate) {
        return Ok(outcome);
    }
    let Some(calls) = &calls else { return Err(CommandError::failure("the journal of calls is not open")) };
    if estimate.answered > 0 {
        eprintln!("generate: {} was asked before; whoever wants it asked again deletes {}", remote.name(), path.display());
    }
    let mut store = AnswerStore::calls(calls, remote.name());
    let answering = Answering::new(tasks).with_system(args.rows.compose_system);
    let answered = run_shown(&answering, &Journaled::new(remote, calls), &mut store)?;
    let run = Run { tasks, answered, before: estimate.answered, store, remote: Some(remote) };
    args.write(file, rows, &run, settings)?;
    if partial.exists() {
        fs::remove_file(partial).failure()?;
    }
    args.finish(file, run)
}

/// Has a local model answer.
fn compute(
    args: &Args,
    device: &Device,
    tasks: &[Task],
    rows: Option<&Questions>,
    settings: Map<String, Value>,
    file: &AnswerFile,
) -> Result<Outcome, CommandError> {
    make_folder(&args.output)?;
    let mut store = AnswerStore::rows(open_journal(&file.partial(), &settings, args.force)?);
    let answering = Answering::new(tasks).with_system(args.rows.compose_system);
    let Estimate { calls: all, answered: before, .. } = answering.estimate(&store);
    if before > 0 {
        eprintln!("generate: {before} of {all} answers were given before");
    }
    let answered = if before < all {
        let model = args.load(device)?;
        let reward = args.best.load(device)?;
        let answering = reward.iter().fold(answering, |answering, reward| answering.best_by(reward as &dyn RewardModel));
        run_shown(&answering, &*model, &mut store)?
    } else {
        // Cut off between the last answer and the output: nothing to ask, so no model to load.
        answering.stored(&mut store).failure()?
    };
    let run = Run { tasks, answered, before, store, remote: None };
    args.write(file, rows, &run, settings)?;
    args.finish(file, run)
}

/// Has a model answer, and shows how far it is.
pub(crate) fn run_shown(answering: &Answering<'_>, model: &dyn ChatModel, store: &mut AnswerStore<'_>) -> Result<Answered, CommandError> {
    let Estimate { calls, answered: before, .. } = answering.estimate(store);
    let mut progress = Progress::new("generate", Unit::Count("answers"), calls as u64).resumed_at(before as u64);
    let answered = answering.run(model, store, &mut |tally| {
        progress.note(format!("{:.1} tokens/s", tally.tokens_per_second()));
        progress.reach((before + tally.done) as u64);
    });
    if before < calls {
        progress.finish();
    }
    answered.failure()
}

fn make_folder(output: &Path) -> Result<(), CommandError> {
    match output.parent() {
        Some(folder) => fs::create_dir_all(folder).map_err(|error| CommandError::bad_input(format!("{}: {error}", folder.display()))),
        None => Ok(()),
    }
}

/// The run's journal. What is wrong with it, `--force` sets right.
fn open_journal(path: &Path, header: &Map<String, Value>, force: bool) -> Result<Journal, CommandError> {
    let opened = if force { Journal::restart(path, header) } else { Journal::open(path, header) };
    opened.map_err(|error| match &error {
        janus_data::Error::Journal { problem: JournalProblem::NotAJournal { .. } | JournalProblem::OtherHeader { .. }, .. } => {
            CommandError::bad_input(format!("{error} (--force)"))
        }
        _ => CommandError::bad_input(error),
    })
}
