//! `cargo xtask data construct`: builds a Multifaceted Collection from instructions with a model.

use std::collections::BTreeMap;
use std::path::PathBuf;

use janus_core::{ChatModel, SamplingParams};
use janus_data::Skipped;
use janus_data::construct::{Construction, CostEstimate, OutputFormat, Quality, Step};
use janus_data::instructions::read_instructions;
use janus_data::progress::{Progress, Unit};
use janus_infer::remote::{Endpoint, Prices, RemoteModel};
use serde_json::{Value, json};

use super::{ReadArgs, warn};
use crate::command::{Blame as _, CommandError, Outcome, report};
use crate::device;
use crate::model::{self, EngineArgs};
use crate::service::RemoteArgs;

/// Build a Multifaceted Collection from instructions, with any chat model
///
/// For each instruction the model writes three preferences in each of the four
/// dimensions. They form three preference sets; for each, the model writes a system
/// message and the response to it. For the share of instructions that is set aside
/// for the bench (--bench-share), it also writes a rubric for each preference.
/// Every answer is checked. An unusable one is requested again with the reason,
/// then rejected and counted. A repeated command continues an interrupted run:
/// answers are kept in journals next to the results, and no answer is paid for
/// twice.
///
/// Reads:   F: rows with the text in `prompt` or `instruction`, `id` optional.
///          MODEL: a .gguf file, a folder with config.json and safetensors, or the
///          address of an OpenAI-compatible API (http://host:port/v1, the key in
///          OPENAI_API_KEY).
/// Writes:  DIR/sft, sft_small (one system message per instruction), dpo, orpo, rm
///          and bench, each as .jsonl, or as .parquet in the schemas of the
///          released datasets. A file is written even if it has no rows. Also
///          quality.md, quality.json, and at the end summary.json: {instructions,
///          requests, retried, accepted, rejected: {reason: n}, rows: {file: n}}
///          and more; accepted and rejected add up to requests. DIR/*.journal:
///          the model's answers.
/// Example: cargo xtask data construct --instructions prompts.jsonl \
///          --out collection --limit 30 \
///          --model models/smollm2-135m-instruct-q4_1.gguf
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// File of instructions
    #[arg(long, value_name = "F")]
    instructions: PathBuf,
    /// GGUF file, model folder, or address of an API
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// Folder for the results
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Use only the first N instructions
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// How often an unusable answer is requested again
    #[arg(long, value_name = "N", default_value_t = 2)]
    retries: usize,
    /// Maximum number of new tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 1024)]
    max_tokens: usize,
    /// Divides the logits; 0 takes the most likely token
    #[arg(long, default_value_t = 1.0)]
    temperature: f64,
    /// Keep the smallest set of tokens whose probability reaches this
    #[arg(long, default_value_t = 0.9)]
    top_p: f64,
    /// Seed of the run
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Preference sets of an instruction, each with a system message and a response: 1 to 3
    #[arg(long, value_name = "N", default_value_t = Construction::MOST_SETS as u64, value_parser = clap::value_parser!(u64).range(1..=Construction::MOST_SETS as u64))]
    sets: u64,
    /// File of instructions that all become bench rows, such as those of other benchmarks
    #[arg(long, value_name = "F")]
    bench_instructions: Option<PathBuf>,
    /// Share of the other instructions that become bench rows and not training rows
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    bench_share: f64,
    /// Layout of the results: jsonl or parquet
    #[arg(long, value_name = "FORMAT", default_value = "jsonl")]
    format: OutputFormat,
    /// Skip rows that cannot be read, and count them
    #[arg(long)]
    skip_bad_rows: bool,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    remote: RemoteArgs,
}

pub(super) fn run(args: &Args) -> Result<Outcome, CommandError> {
    let mut construction = construction(args)?;
    let mut skipped = Skipped::default();
    let skip = args.skip_bad_rows.then_some(&mut skipped);
    let mut instructions =
        read_instructions(&args.instructions, &args.read.resolve()?, args.limit, skip).bad_input()?;
    if let Some(path) = &args.bench_instructions {
        let skip = args.skip_bad_rows.then_some(&mut skipped);
        let mut bench = read_instructions(path, &args.read.resolve()?, None, skip).bad_input()?;
        for instruction in &mut bench {
            // Both files may number their rows.
            instruction.id = format!("bench-{}", instruction.id);
            construction.bench_ids.insert(instruction.id.clone());
        }
        // First, so that of an instruction in both files the one in the training rows is left out.
        instructions.splice(0..0, bench);
    }
    warn("construct", &skipped);
    if instructions.is_empty() {
        return Err(CommandError::bad_input(format!("{}: no instructions", args.instructions.display())));
    }
    if args.remote.service.dry_run {
        return priced(args, &construction.price(&instructions), skipped.rows);
    }
    let remote = if model::is_address(&args.model) {
        Some(args.remote.model(&args.model, Endpoint::Chat)?)
    } else {
        None
    };
    construction.endpoint = remote.as_ref().map(RemoteModel::address);
    let local;
    let model: &dyn ChatModel = if let Some(remote) = &remote {
        let CostEstimate { requests, prompt_tokens, completion_tokens, .. } =
            construction.price(&instructions);
        let cost = args.remote.service.cost(prompt_tokens, completion_tokens);
        eprintln!(
            "construct: if every first answer is usable, {requests} calls minus those answered before; about {prompt_tokens} prompt tokens and {completion_tokens} generated tokens; cost {cost}"
        );
        remote
    } else {
        eprintln!("construct: loading {}", args.model);
        local = EngineArgs::default().load_chat(args.model.as_ref(), &device::first()?)?;
        &local
    };
    let mut shown: BTreeMap<Step, Progress> = BTreeMap::new();
    let mut progress = |step: Step, done: usize, total: usize| {
        let new =
            || Progress::new(format!("construct: {}", step.as_str()), Unit::Count("answers"), total as u64);
        shown.entry(step).or_insert_with(new).reach(done as u64);
    };
    let made = construction.run(model, &instructions, &args.out, &mut progress).bad_input()?;
    Quality::of(&made.sft, args.seed).write(&args.out).failure()?;
    made.write(&args.out, args.format).failure()?;
    let mut report = report("data construct", &made.summary)?;
    report["out"] = json!(args.out);
    report["skipped_rows"] = json!(skipped.rows);
    if let Some(remote) = &remote {
        report["asked_now"] = json!(remote.usage());
    }
    Ok(Outcome::done(format!("{}: {}", args.out.display(), made.summary), report))
}

fn construction(args: &Args) -> Result<Construction, CommandError> {
    let mut construction = Construction::default();
    construction.seed = args.seed;
    construction.retries = args.retries;
    construction.bench_share = args.bench_share;
    construction.sets = args.sets as usize;
    if !(0.0..=1.0).contains(&args.bench_share) {
        return Err(CommandError::bad_input(format!(
            "--bench-share is {}: expected a number from 0 to 1",
            args.bench_share
        )));
    }
    let given = SamplingParams {
        max_tokens: args.max_tokens,
        temperature: args.temperature,
        top_p: args.top_p,
        ..construction.sampling
    };
    given.validate().bad_input()?;
    construction.sampling = given;
    Ok(construction)
}

fn priced(args: &Args, estimate: &CostEstimate, skipped: u64) -> Result<Outcome, CommandError> {
    let mut text =
        format!("{} instructions; if every first answer is usable:\n{estimate}", estimate.instructions);
    let mut report = report("data construct", estimate)?;
    report["dry_run"] = json!(true);
    report["skipped_rows"] = json!(skipped);
    report["cost"] = Value::Null;
    if let Some(Prices { prompt, completion, .. }) = args.remote.service.prices() {
        let cost = estimate.cost(prompt, completion);
        let worst = cost * (1 + args.retries) as f64;
        text +=
            &format!("\ncost {cost:.2}; if every answer is requested {} times, {worst:.2}", 1 + args.retries);
        report["cost"] = json!(cost);
        report["worst_cost"] = json!(worst);
    }
    Ok(Outcome::done(text, report))
}
