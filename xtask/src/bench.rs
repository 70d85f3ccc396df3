//! `cargo xtask bench`: speed and memory on this machine.

mod data;
mod eval;
mod optim;

use std::path::PathBuf;

use janus_data::instructions::NearDuplicates;
use janus_infer::{DeviceName, Engine, EngineOptions, throughput as infer};
use janus_train::recipe::Shape;
use janus_train::throughput as train;
use serde_json::json;

use crate::command::{Blame as _, CommandError, Outcome, one_of, report};
use crate::device::DeviceArg;

/// Measure speed and memory on this machine
///
/// Reads:   see the help of each subcommand.
/// Writes:  nothing; the results go to stdout.
/// Example: cargo xtask bench train --config m6m --seq 256 --batch 16 --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, clap::Subcommand)]
enum Bench {
    Train(TrainArgs),
    Infer(InferArgs),
    Optim(optim::Args),
    Eval(eval::Args),
    Data(data::Args),
    NearDuplicates(NearDuplicatesArgs),
}

pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    match &args.bench {
        Bench::Train(args) => args.run(),
        Bench::Infer(args) => args.run(),
        Bench::Optim(args) => optim::run(args),
        Bench::Eval(args) => eval::run(args),
        Bench::Data(args) => data::run(args),
        Bench::NearDuplicates(args) => args.run(),
    }
}

/// Measure training: tokens per second, utilisation (share of this machine's
/// measured f32 matrix-product rate), peak memory
///
/// A step is forward, backward, gradient clipping to norm 1 and AdamW, on rows of
/// random tokens without padding; for DPO also the reference model's forward pass.
/// The first step is not measured. With --equal the result is the median step,
/// else the rate of all steps together: their tokens differ.
///
/// Reads:   nothing; weights and tokens are random.
/// Writes:  tokens_per_s; gflops (GFLOP/s, counting 6 FLOPs per weight and token,
///          or 8 with a reference model, plus causal attention); matmul_gflops (the
///          machine's f32 matrix-product rate in the same run, in GFLOP/s); share
///          (gflops / matmul_gflops); peak_mb (of the process).
/// Example: cargo xtask bench train --config m6m --objective dpo --seq 256 \
///          --batch 8 --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
struct TrainArgs {
    /// The model's shape
    #[arg(long, value_parser = one_of(SHAPES))]
    config: Shape,
    /// Training objective
    #[arg(long, value_enum, default_value_t = Objective::Sft)]
    objective: Objective,
    /// Tokens of the longest row
    #[arg(long)]
    seq: usize,
    /// Give all rows --seq tokens; by default lengths vary from a quarter of it
    #[arg(long)]
    equal: bool,
    /// Rows per step; for DPO pairs of rows
    #[arg(long)]
    batch: usize,
    /// Recompute a layer's activations in the backward pass: less memory, more time
    #[arg(long)]
    activation_checkpointing: bool,
    /// Measured steps
    #[arg(long, default_value_t = 5)]
    steps: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Objective {
    /// Next tokens
    Sft,
    /// Preference pairs, with a reference model in the step
    Dpo,
}

const SHAPES: [(&str, &str, Shape); 3] = [
    ("smollm2", "135 M parameters: SmolLM2-135M's architecture", Shape::Smollm2),
    (
        "m6m",
        "5.8 M parameters: vocabulary 2048, width 256, 6 layers, 8 heads, 4 key/value heads, MLP 768",
        Shape::M6m,
    ),
    ("tiny", "0.4 M parameters", Shape::Tiny),
];

impl TrainArgs {
    fn run(&self) -> Result<Outcome, CommandError> {
        let &Self { config, objective, seq, equal, batch, activation_checkpointing, steps } = self;
        if seq < 2 || batch == 0 || steps == 0 {
            return Err(CommandError::bad_input("--seq must be at least 2, --batch and --steps at least 1"));
        }
        janus_train::FreedMemory::Keep.apply_to_process();
        let dpo = objective == Objective::Dpo;
        let load = train::Load { dpo, seq, equal, batch, activation_checkpointing, steps };
        let measured = train::Throughput::measure(&config.config(), &load).failure()?;
        let train::Throughput { tokens_per_s, gflops, matmul_gflops, share, .. } = measured;
        let text = format!(
            "{tokens_per_s:.0} tokens/s; {gflops:.1} of {matmul_gflops:.1} GFLOP/s in matrix products ({:.0}%); peak memory {}",
            100.0 * share,
            peak()
        );
        let mut report = report("bench train", measured)?;
        report["config"] = json!(format!("{config:?}").to_lowercase());
        report["objective"] = json!(format!("{objective:?}").to_lowercase());
        report["seq"] = json!(seq);
        report["equal"] = json!(equal);
        report["batch"] = json!(batch);
        report["activation_checkpointing"] = json!(activation_checkpointing);
        report["peak_mb"] = json!(peak_mb());
        report["threads"] = json!(threads());
        Ok(Outcome::done(text, report))
    }
}

/// Measure inference: tokens per second of prefill and decoding, peak memory
///
/// Tokens are random, which does not change the cost. Each result is the median of
/// several runs.
///
/// Reads:   MODEL: a .gguf file, or a folder with config.json, safetensors,
///          tokenizer.json and tokenizer_config.json.
/// Writes:  prefill_tokens_per_s (a prompt of 512 tokens, logits of the last);
///          decode_b1_tokens_per_s (128 new tokens, empty context);
///          decode_b8_tokens_per_s (8 sequences with prompts of 128 tokens and 64
///          new tokens each; the prompts are not timed); peak_mb (of the process so
///          far); best_of_16_ratio (time of 16 answers to one prompt of about 130
///          tokens through the engine, divided by the time of one prefill and the
///          same decoding).
/// Example: cargo xtask bench infer \
///          --model models/smollm2-135m-instruct-q4_1.gguf --threads 2 --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
struct InferArgs {
    /// GGUF file or model folder
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    #[command(flatten)]
    device: DeviceArg,
    /// Number of threads [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    threads: Option<u32>,
    /// Runs of each measurement
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
}

impl InferArgs {
    fn run(&self) -> Result<Outcome, CommandError> {
        janus_infer::FreedMemory::Return.apply_to_process();
        let threads = self.threads.map_or(0, |threads| threads as usize);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().failure()?;
        let device = self.device.open()?;
        let engine = Engine::load(&self.model, &device, EngineOptions::default()).bad_input()?;
        let (context, prefill) = (engine.context(), infer::PREFILL);
        if context < prefill {
            return Err(CommandError::bad_input(format!(
                "{}: its context {context} is below {prefill} tokens",
                self.model.display()
            )));
        }
        let measured = pool.install(|| infer::Throughput::measure(&engine, self.runs)).failure()?;
        let (peak, peak_mb) = (peak(), peak_mb());
        let best_of = pool.install(|| infer::Throughput::best_of_16_ratio(&engine, self.runs)).failure()?;
        let infer::Throughput {
            prefill_tokens_per_s, decode_b1_tokens_per_s, decode_b8_tokens_per_s, ..
        } = measured;
        let text = format!(
            "tokens/s: {prefill_tokens_per_s:.0} prefill, {decode_b1_tokens_per_s:.0} decoding, {decode_b8_tokens_per_s:.0} decoding \
             8 sequences; peak memory {peak}; 16 answers to one prompt take {best_of:.2} times one prefill and 16 decodes"
        );
        let mut report = report("bench infer", measured)?;
        report["model"] = json!(self.model);
        report["peak_mb"] = json!(peak_mb);
        report["best_of_16_ratio"] = json!(best_of);
        report["device"] = json!(DeviceName::of(&device).to_string());
        report["threads"] = json!(pool.current_num_threads());
        report["runs"] = json!(self.runs);
        Ok(Outcome::done(text, report))
    }
}

/// Measure the share of near-duplicates that is found, by similarity
///
/// Pairs of a text and a copy with replaced words are grouped by their exact
/// similarity (Jaccard index of shingles of five words). The table has the share
/// that MinHash finds and the share that its formula predicts.
/// docs/near-duplicates.md contains it.
///
/// Reads:   nothing.
/// Writes:  nothing; the table goes to stdout, as Markdown.
/// Example: cargo xtask bench near-duplicates --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
struct NearDuplicatesArgs {
    /// Number of pairs
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = at_least_one)]
    pairs: usize,
    /// Rows of the table
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = at_least_one)]
    bins: usize,
    /// Seed of the pairs
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| "expected a whole number of at least 1".into())
}

impl NearDuplicatesArgs {
    fn run(&self) -> Result<Outcome, CommandError> {
        let near = NearDuplicates::default();
        let mut text =
            "| similarity | mean | pairs | found | expected |\n| --- | ---: | ---: | ---: | ---: |"
                .to_string();
        let mut table = Vec::new();
        for row in near.recall(self.pairs, self.bins, self.seed).iter().filter(|row| row.pairs > 0) {
            let (from, below, jaccard, pairs, recall) =
                (row.from, row.below, row.jaccard, row.pairs, row.recall());
            let expected = row.expected / pairs as f64;
            text += &format!(
                "\n| {from:.2} to {below:.2} | {jaccard:.3} | {pairs} | {recall:.4} | {expected:.4} |"
            );
            table.push(json!({ "from": from, "below": below, "jaccard": jaccard, "pairs": pairs, "recall": recall, "expected": expected }));
        }
        let report = json!({
            "command": "bench near-duplicates", "shingle": near.shingle, "bands": near.bands, "rows": near.rows, "seed": self.seed,
            "table": table,
        });
        Ok(Outcome::done(text, report))
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Peak resident memory of the process in MB, where the system reports it (Linux).
fn peak_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? * 1024.0 / 1e6)
}

fn peak() -> String {
    peak_mb().map_or("unknown".into(), |mb| format!("{mb:.0} MB"))
}
