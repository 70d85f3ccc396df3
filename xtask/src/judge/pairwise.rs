//! `cargo xtask judge pairwise`: which of two models' responses is better.

use std::path::PathBuf;

use janus_data::read_all;
use janus_eval::protocol::{PairPrompts, Pairwise, PairwiseOptions, Protocol as _, bench_pairs};
use janus_eval::run::CaseRun;
use serde::Serialize;
use serde_json::json;

use super::folder::{self, RunRecord};
use super::service::{RunArgs, read_text};
use crate::command::{Blame as _, CommandError, Outcome};

/// Compare the responses of two models, each pair in both orders
///
/// A disagreement of the two orders is a tie. Beside the rates stand the share of pairs whose verdict
/// changed with the order, and the share of decided verdicts that went to the answer shown first.
///
/// Reads:   BENCH: records. MODEL and OPPONENT: rows of {id, response}. Records that one of them did not
///          answer are left out.
/// Writes:  OUT/report.html, report.md, report.json; OUT/judged.json (the result in one typed file), rows.jsonl
///          (answers, verdicts and what the judge wrote); OUT/run.json (times, files, spend); OUT/calls.jsonl,
///          the journal.
/// Example: cargo xtask judge pairwise --bench bench.jsonl --model janus.jsonl --opponent base.jsonl
///          --judge gpt-4 --out runs/pairs --dry-run
#[derive(Debug, clap::Args, Serialize)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The bench's records
    #[arg(long, value_name = "BENCH")]
    bench: PathBuf,
    /// Responses of the model
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// Responses of its opponent
    #[arg(long, value_name = "OPPONENT")]
    opponent: PathBuf,
    /// Name of its opponent [default: its file's name]
    #[arg(long, value_name = "NAME")]
    opponent_name: Option<String>,
    /// Show the system message in front of the prompt
    #[arg(long)]
    show_system: bool,
    /// Show the reference answer
    #[arg(long)]
    show_reference: bool,
    /// MT-Bench's file of prompts in place of ours
    #[arg(long, value_name = "FILE")]
    judge_prompt: Option<PathBuf>,
    #[command(flatten)]
    #[serde(flatten)]
    run: RunArgs,
}

pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let (bench, opponent) = (("bench", Some(&args.bench)), ("opponent", Some(&args.opponent)));
    let inputs = [bench, ("model", Some(&args.model)), opponent, ("judge_prompt", args.judge_prompt.as_ref())];
    let record = RunRecord::begin("judge pairwise", args, &inputs)?;
    let [name, opponent] = folder::names((args.run.name.as_ref(), &args.model), (args.opponent_name.as_ref(), &args.opponent))?;
    let (records, mine) = (read_all(&args.bench).bad_input()?, read_all(&args.model).bad_input()?);
    let (cases, missing) = bench_pairs(&records, &mine, &read_all(&args.opponent).bad_input()?).bad_input()?;
    let mut options = PairwiseOptions::mt_bench();
    (options.show_system, options.show_reference) = (args.show_system, args.show_reference);
    if let Some(path) = &args.judge_prompt {
        options.prompts = PairPrompts::published(&read_text(path)?).bad_input()?;
    }
    let protocol = Pairwise::new(options).bad_input()?;
    args.run.judge_cases(record, &protocol, &cases, |judgement| {
        let run = CaseRun::new(protocol.info(), name, judgement, 0).failure()?.against(opponent).missing(missing);
        let (result, settings) = (&run.result, &run.result.head.settings);
        let tally = result.all.as_ref().and_then(|all| all.outcomes).unwrap_or_default();
        let percent = |share: Option<f64>| share.map_or("–".into(), |share| format!("{:.1} %", 100.0 * share));
        let text = format!(
            "win + half a tie {} over {} pairs: {} wins, {} ties, {} losses; {} flipped, first position {}",
            percent(tally.win_rate_ties_half()),
            tally.n(),
            tally.win,
            tally.tie,
            tally.loss,
            percent(result.flip_rate),
            percent(result.first_position_share)
        );
        let numbers = json!({
            "judge": settings.judge, "prompts": settings.prompts, "n": tally.n(), "win": tally.win, "tie": tally.tie, "loss": tally.loss,
            "win_rate_ties_half": tally.win_rate_ties_half(), "tie_win_all": tally.tie_win_all(), "flip_rate": result.flip_rate,
            "first_position_share": result.first_position_share, "system_shown": args.show_system,
            "reference_shown": args.show_reference,
        });
        Ok((run, text, numbers))
    })
}
