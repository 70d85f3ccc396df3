//! `cargo xtask data bench-pool`: the instructions that a bench is made from, out of several benchmarks.

use std::path::PathBuf;

use janus_data::instructions::Instruction;
use janus_data::sources::Source;
use janus_data::{Row, read, write_all};
use janus_eval::bench::multifaceted::{Group, prompt_pool};
use serde_json::{Value, json};

use super::files;
use crate::command::{Blame as _, CommandError, Outcome};

/// Draw the instructions of a bench from several benchmarks
///
/// An instruction that several sets contain is taken once, from the first --set
/// that has it; the counts say how many were left out. The pool is shuffled, and
/// --limit keeps its first instructions. `data construct --bench-instructions`
/// makes a bench of them.
///
/// Reads:   the prompt files of alpaca-eval, flask, koala, mt-bench and
///          self-instruct.
/// Writes:  OUT: {id, prompt, main_source, original_source}.
/// Example: cargo xtask data bench-pool --set self-instruct=seed.jsonl \
///          --set koala=koala.jsonl --set mt-bench=question.jsonl \
///          --limit 315 --out pool.jsonl
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// A layout and its files, or a pattern in quotes; repeatable, the set that keeps its
    /// instructions first
    #[arg(long = "set", value_name = "LAYOUT=FILES", required = true)]
    sets: Vec<String>,
    /// File to write
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// Keep only N instructions of the pool
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Seed of the order
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// The sets of the paper's bench.
const SETS: [&str; 5] = ["alpaca-eval", "flask", "koala", "mt-bench", "self-instruct"];

pub(super) fn run(args: &Args) -> Result<Outcome, CommandError> {
    let sets: Vec<(String, Vec<String>)> =
        args.sets.iter().map(|set| prompts(set)).collect::<Result<_, _>>()?;
    let grouped: Vec<(Group, Vec<String>)> =
        sets.iter().map(|(name, prompts)| (Group::of(name), prompts.clone())).collect();
    let (pool, reports) = prompt_pool(&grouped, args.seed);
    let name_of = |group: Group| {
        sets.iter().find(|(name, _)| Group::of(name) == group).map_or("", |(name, _)| name.as_str())
    };
    let rows: Vec<Instruction> = pool
        .iter()
        .take(args.limit.unwrap_or(usize::MAX))
        .enumerate()
        .map(|(at, prompt)| Instruction {
            id: (at + 1).to_string(),
            prompt: prompt.prompt.clone(),
            main_source: name_of(prompt.group).into(),
            original_source: String::new(),
        })
        .collect();
    write_all(&args.out, &rows).failure()?;
    let mut text = format!("{}: {} of {} instructions", args.out.display(), rows.len(), pool.len());
    let mut counts: Vec<Value> = Vec::new();
    for ((name, _), report) in sets.iter().zip(reports) {
        text += &format!(
            "\n{name}: {} taken of {}, {} repeated, {} in an earlier set",
            report.kept, report.given, report.repeated, report.taken
        );
        counts.push(json!({ "set": name, "counts": report }));
    }
    let report = json!({ "command": "data bench-pool", "out": args.out, "rows": rows.len(), "pool": pool.len(), "sets": counts });
    Ok(Outcome::done(text, report))
}

/// The name of a set, and its instructions.
fn prompts(set: &str) -> Result<(String, Vec<String>), CommandError> {
    let Some((name, pattern)) = set.split_once('=') else {
        return Err(CommandError::bad_input(format!(
            "--set is {set}: expected LAYOUT=FILES, such as koala=koala.jsonl"
        )));
    };
    // Rows of any other set would count as FLASK's.
    if !SETS.contains(&name) {
        return Err(CommandError::bad_input(format!("--set {name}: expected one of {}", SETS.join(", "))));
    }
    let source: Source = name.parse().bad_input()?;
    let mut prompts = Vec::new();
    for path in files(&[pattern.into()])? {
        for (row, number) in read::<Row>(&path).bad_input()?.zip(1..) {
            let found = source.instruction(&row.bad_input()?).map_err(|error| error.at(&path, number));
            prompts.extend(found.bad_input()?.map(|instruction| instruction.prompt));
        }
    }
    Ok((name.into(), prompts))
}
