//! `cargo xtask generate`: a model answers the prompts of a file.

pub mod answers;
mod best;
pub mod prompts;

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use janus_core::{ChatTemplate, SamplingParams};
use janus_data::{Journal, JournalProblem};
use janus_infer::{Engine, EngineOptions};
use serde_json::{Map, Value, json};

use crate::command::{Blame as _, CommandError, Outcome};
use crate::device::{self, DeviceArg};
use crate::fingerprint;
use crate::progress::duration;
use answers::{Problems, Tally, answer, lines, unanswered};
pub(crate) use best::{BestArgs, load_reward};
use prompts::{Keys, Prompt, Row, prompts};

/// Answer the prompts of a file with a model
///
/// Each row gives a user's message and, if it has one, a system message; rendered with the model's own
/// chat template. An answer depends on the seed and the row's id, not on the rows beside it. Sampling
/// parameters that are not given are the paper's: temperature 1, top-p 0.9, repetition penalty 1.03,
/// 1024 new tokens.
///
/// Reads:   MODEL: a .gguf file, or a folder with config.json, safetensors, tokenizer.json and
///          tokenizer_config.json. INPUT: .json, .jsonl (either also with .gz) or .parquet.
/// Writes:  OUTPUT, in the order of the input, one JSON object a line: id (always a text), response,
///          finish_reason, prompt_tokens, completion_tokens; for --n above 1 a list `responses` of
///          these; with --compose-system also system. With --best-of the answer of the highest reward
///          (the first of equals), its `reward`, its index `best`, and all `responses`, each with
///          its reward. A row without an answer has id and error, and makes the exit code 1.
///          OUTPUT.partial while it runs: a run that was cut off, or that left rows without an answer,
///          continues from there when its command is repeated. A finished OUTPUT is left alone.
/// Example: cargo xtask generate --model models/smollm2-135m-instruct-q4_1.gguf --input prompts.jsonl
///          --output answers.jsonl --compose-system --max-tokens 256
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// GGUF file or model folder
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// Prompts to answer
    #[arg(long, value_name = "INPUT")]
    input: PathBuf,
    /// Where the answers go, a name ending in .jsonl
    #[arg(long, value_name = "OUTPUT")]
    output: PathBuf,
    /// Start again, even if OUTPUT is finished or was begun with other settings
    #[arg(long)]
    force: bool,
    /// Sequences that the model works on at once; changes the speed, not the answers
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Chat template in place of the model's own: mistral-instruct or chatml
    #[arg(long, value_name = "NAME")]
    template: Option<ChatTemplate>,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    rows: RowArgs,
    /// Answers to each row
    #[arg(long, conflicts_with = "best_of", help_heading = "Sampling")]
    n: Option<usize>,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    best: BestArgs,
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
}

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
        let paper = SamplingParams::default();
        let sampling = SamplingParams {
            n: n.unwrap_or(paper.n),
            max_tokens: self.max_tokens.unwrap_or(paper.max_tokens),
            temperature: self.temperature.unwrap_or(paper.temperature),
            top_p: self.top_p.unwrap_or(paper.top_p),
            top_k: self.top_k.unwrap_or(paper.top_k),
            repetition_penalty: self.repetition_penalty.unwrap_or(paper.repetition_penalty),
            seed: self.seed.unwrap_or(paper.seed),
            ..paper
        };
        sampling.validate().bad_input()?;
        Ok(sampling)
    }
}

/// Runs the command.
///
/// # Errors
/// Bad input for settings, rows or models that cannot be used, or for an unfinished run with other
/// settings; a failure if a file cannot be written.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let sampling = args.sampling.resolve(args.best.n().or(args.n))?;
    let partial = partial_path(&args.output)?;
    if args.batch == Some(0) {
        return Err(CommandError::bad_input("--batch is 0: expected at least 1"));
    }
    if args.output.exists() && !partial.exists() && !args.force {
        let text = format!("{} is finished and left alone: pass --force to answer again", args.output.display());
        return Ok(Outcome::done(text, json!({ "command": "generate", "output": args.output, "left_alone": true })));
    }
    let prompts = read_prompts(args, &sampling)?;
    let device = args.device.open()?;
    let header = header(args, &sampling, &prompts, &device)?;
    if let Some(folder) = args.output.parent() {
        fs::create_dir_all(folder).map_err(|error| CommandError::bad_input(format!("{}: {error}", folder.display())))?;
    }
    let mut journal = open_journal(&partial, &header, args.force)?;
    let asked = unanswered(&prompts, &journal);
    if asked.len() < prompts.len() {
        eprintln!("generate: {} of {} rows were answered before", prompts.len() - asked.len(), prompts.len());
    }
    let (problems, tally) = if asked.is_empty() {
        // Cut off between the last answer and the output: nothing to ask, so no model to load.
        (Problems::new(), Tally::default())
    } else {
        eprintln!("generate: loading {}", args.model.display());
        let engine = load(&args.model, args.template, args.batch, &device)?;
        let reward = args.best.load(&device)?;
        answer(&engine, reward.as_ref().map(|reward| reward as _), &prompts, &asked, &mut journal)?
    };
    let text: String = lines(&prompts, &problems, &journal).iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    janus_data::write_file(&args.output, text.as_bytes()).failure()?;
    finish(args, &prompts, asked.len(), &tally, journal)
}

/// Ends the run: the journal goes only if no row is left to ask again.
fn finish(args: &Args, prompts: &[Prompt], asked: usize, tally: &Tally, journal: Journal) -> Result<Outcome, CommandError> {
    let failed = unanswered(prompts, &journal);
    let report = json!({
        "command": "generate",
        "output": args.output,
        "left_alone": false,
        "rows": prompts.len(),
        "answered_before": prompts.len() - asked,
        "answered": tally.answered,
        "failed": failed.len(),
        "completion_tokens": tally.completion_tokens,
        "seconds": tally.seconds,
        "tokens_per_second": tally.tokens_per_second(),
    });
    let output = args.output.display();
    let Some(&first) = failed.first() else {
        journal.remove().failure()?;
        let speed =
            format!("{} tokens in {} ({:.1} tokens/s)", tally.completion_tokens, duration(tally.seconds), tally.tokens_per_second());
        return Ok(Outcome::done(format!("{output}: {} rows, {speed}", prompts.len()), report));
    };
    let id = &prompts[first].request.id;
    let text = format!(
        "{output}: {} of {} rows have no answer, first \"{id}\": see their error fields; repeat the command to ask them again",
        failed.len(),
        prompts.len()
    );
    Ok(Outcome::failed(text, report))
}

/// The run's journal. What is wrong with it, `--force` sets right.
fn open_journal(path: &Path, header: &Map<String, Value>, force: bool) -> Result<Journal, CommandError> {
    Journal::open(path, header, force).map_err(|error| match &error {
        janus_data::Error::Journal { problem: JournalProblem::NoJournal { .. } | JournalProblem::OtherHeader { .. }, .. } => {
            CommandError::bad_input(format!("{error} (--force)"))
        }
        _ => CommandError::bad_input(error),
    })
}

/// `answers.jsonl` to `answers.jsonl.partial`.
fn partial_path(output: &Path) -> Result<PathBuf, CommandError> {
    if output.extension().is_none_or(|extension| extension != "jsonl") {
        return Err(CommandError::bad_input(format!("--output is {}: expected a name ending in .jsonl", output.display())));
    }
    let mut name = output.as_os_str().to_owned();
    name.push(".partial");
    Ok(name.into())
}

fn read_prompts(args: &Args, sampling: &SamplingParams) -> Result<Vec<Prompt>, CommandError> {
    let RowArgs { system_key, user_key, id_key, limit, compose_system } = &args.rows;
    let rows = read_rows(&args.input, limit.unwrap_or(usize::MAX))?;
    if rows.is_empty() {
        return Err(CommandError::bad_input(format!("{}: no rows to answer", args.input.display())));
    }
    let keys = Keys { system: system_key.clone(), user: user_key.clone(), id: id_key.clone() };
    prompts(&args.input, &rows, &keys, sampling, *compose_system)
}

/// What the answers depend on. Not `--batch`: a row's answer does not depend on its neighbours, on a GPU but for rounding.
fn header(args: &Args, sampling: &SamplingParams, prompts: &[Prompt], device: &Device) -> Result<Map<String, Value>, CommandError> {
    let messages: Vec<_> = prompts.iter().map(|prompt| (&prompt.request.id, &prompt.request.messages)).collect();
    let rows = fingerprint::of_bytes(&serde_json::to_vec(&messages).failure()?);
    let entries = [
        ("program", json!(concat!("xtask generate ", env!("CARGO_PKG_VERSION")))),
        ("model", json!(fingerprint::of_path(&args.model)?)),
        ("template", json!(args.template)),
        ("sampling", json!(sampling)),
        ("rows", json!(rows)),
    ];
    let reward = args.best.identity()?.map(|reward| ("reward", reward));
    let gpu = (!device.is_cpu()).then(|| ("device", json!(device::name(device))));
    Ok(entries.into_iter().chain(reward).chain(gpu).map(|(name, value)| (name.to_string(), value)).collect())
}

fn read_rows(path: &Path, limit: usize) -> Result<Vec<Row>, CommandError> {
    janus_data::read(path).bad_input()?.take(limit).collect::<janus_data::Result<_>>().bad_input()
}

pub(crate) fn load(path: &Path, template: Option<ChatTemplate>, batch: Option<usize>, device: &Device) -> Result<Engine, CommandError> {
    let mut options = EngineOptions::default();
    options.template = template;
    options.max_sequences = batch.unwrap_or(options.max_sequences);
    Engine::load(path, device, options).bad_input()
}
