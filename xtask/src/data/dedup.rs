//! `cargo xtask data dedup`: instructions without copies, near-copies and unfit ones.

use std::collections::BTreeMap;
use std::path::PathBuf;

use janus_data::instructions::{Filter, Instruction, NearDuplicates, exact_duplicates, read_instructions, stratified};
use janus_data::{Skipped, write_all};
use serde_json::{Value, json};

use super::rows::{ReadArgs, warn};
use crate::command::{Blame as _, CommandError, Outcome};

/// Clean instructions: copies, near-copies, unfit ones, and a sample of the rest
///
/// Steps in this order, each with its count and examples: exact copies (but for case and white space), filters
/// (length, language, garbled text, personas and system messages), near-copies (MinHash of 14 bands of 8 hashes
/// over sequences of five words, then compared exactly), and with --sample a sample that takes evenly from
/// every source.
///
/// Reads:   FILE: rows with `prompt` or `instruction`; `id`, `main_source`, `original_source` where they have them.
/// Writes:  OUT: {id, prompt, main_source, original_source} of those that are kept.
/// Example: cargo xtask data dedup instructions.jsonl --out clean.jsonl --sample 65000
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Instructions
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The result, .jsonl, .json or .csv
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// Two instructions are near-copies from this likeness on (Jaccard of sequences of five words)
    #[arg(long, value_name = "SHARE", default_value_t = 0.6)]
    min_jaccard: f64,
    /// Keep what filters would drop
    #[arg(long)]
    no_filters: bool,
    /// Keep instructions of any language
    #[arg(long)]
    any_language: bool,
    /// Draw so many of what is left
    #[arg(long, value_name = "N")]
    sample: Option<usize>,
    /// Seed of the sample
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Examples of each step
    #[arg(long, value_name = "N", default_value_t = 3)]
    examples: usize,
    /// Pass over rows that cannot be read, and count them
    #[arg(long)]
    skip_bad_rows: bool,
    #[command(flatten)]
    read: ReadArgs,
}

/// What a step dropped.
struct Dropped {
    step: String,
    count: usize,
    examples: Vec<Value>,
}

pub(super) fn run(args: &Args) -> Result<Outcome, CommandError> {
    let mut skipped = Skipped::default();
    let skip = args.skip_bad_rows.then_some(&mut skipped);
    let mut kept = read_instructions(&args.file, &args.read.resolve()?, None, skip).bad_input()?;
    warn("dedup", &skipped);
    let read = kept.len();
    let mut steps = Vec::new();

    let exact = exact_duplicates(&texts(&kept));
    steps.push(copies("exact copies", &kept, exact.examples(args.examples), exact.count(), args.examples));
    kept = take(kept, exact.kept());

    if !args.no_filters {
        let mut filter = Filter::default();
        filter.english = !args.any_language;
        let mut unfit: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (at, instruction) in kept.iter().enumerate() {
            if let Some(reason) = filter.check(&instruction.prompt) {
                unfit.entry(json!(reason).as_str().unwrap_or_default().into()).or_default().push(at);
            }
        }
        let dropped: std::collections::HashSet<usize> = unfit.values().flatten().copied().collect();
        for (reason, found) in unfit {
            let examples =
                found.iter().take(args.examples).map(|&at| json!({ "id": kept[at].id, "text": excerpt(&kept[at].prompt) })).collect();
            steps.push(Dropped { step: format!("unfit: {reason}"), count: found.len(), examples });
        }
        let count = kept.len();
        kept = take(kept, (0..count).filter(|at| !dropped.contains(at)));
    }

    let mut near = NearDuplicates::default();
    near.min_jaccard = args.min_jaccard;
    let near = near.find(&texts(&kept));
    steps.push(copies("near-copies", &kept, near.examples(args.examples), near.count(), args.examples));
    kept = take(kept, near.kept());

    if let Some(sample) = args.sample {
        let sources: Vec<&str> = kept.iter().map(|instruction| instruction.main_source.as_str()).collect();
        let drawn = stratified(&sources, sample, args.seed);
        steps.push(Dropped { step: "not drawn".into(), count: kept.len() - drawn.len(), examples: Vec::new() });
        kept = take(kept, drawn.into_iter());
    }
    write_all(&args.out, &kept).failure()?;

    let mut text = format!("{}: {} of {read} instructions", args.out.display(), kept.len());
    for Dropped { step, count, examples } in &steps {
        text += &format!("\n{count} dropped: {step}");
        for example in examples {
            text += &format!("\n    {example}");
        }
    }
    let steps: Vec<Value> = steps.iter().map(|d| json!({ "step": d.step, "dropped": d.count, "examples": d.examples })).collect();
    let report = json!({
        "command": "data dedup",
        "out": args.out,
        "read": read,
        "kept": kept.len(),
        "bad_rows": skipped.rows,
        "steps": steps,
    });
    Ok(Outcome::done(text, report))
}

fn texts(instructions: &[Instruction]) -> Vec<&str> {
    instructions.iter().map(|instruction| instruction.prompt.as_str()).collect()
}

/// The instructions at positions in rising order.
fn take(instructions: Vec<Instruction>, positions: impl Iterator<Item = usize>) -> Vec<Instruction> {
    let mut positions = positions.peekable();
    instructions.into_iter().enumerate().filter(|(at, _)| positions.next_if_eq(at).is_some()).map(|(_, instruction)| instruction).collect()
}

fn copies(step: &str, all: &[Instruction], found: Vec<(usize, usize)>, count: usize, limit: usize) -> Dropped {
    let example = |(first, copy): &(usize, usize)| json!({ "id": all[*copy].id, "text": excerpt(&all[*copy].prompt), "repeats": all[*first].id, "which is": excerpt(&all[*first].prompt) });
    Dropped { step: step.into(), count, examples: found.iter().take(limit).map(example).collect() }
}

fn excerpt(text: &str) -> String {
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() > 100 {
        line = line.chars().take(99).chain(['…']).collect();
    }
    line
}
