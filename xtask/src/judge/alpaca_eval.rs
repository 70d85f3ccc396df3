//! `cargo xtask judge alpaca-eval`: preferences from the probabilities of one token.

use std::path::PathBuf;

use janus_data::write_all;
use janus_eval::bench::alpaca_eval::{Annotation, cases};
use janus_eval::protocol::{AlpacaEval, AlpacaEvalOptions, Protocol as _};
use janus_eval::run::CaseRun;
use serde::Serialize;
use serde_json::json;

use super::folder::{self, RunRecord};
use super::service::{RunArgs, read_prompt};
use crate::command::{self, Blame as _, CommandError, Outcome};

/// Judge a model's outputs against the baseline's by one token's probabilities (AlpacaEval 2.0)
///
/// The order of the two outputs is AlpacaEval's own coin, seeded by the instruction.
///
/// Reads:   EVAL-SET: rows of {index, instruction, reference_output}. OUTPUTS: rows of {index, output}.
///          --judge-prompt takes the official prompt.
/// Writes:  OUT/annotations.jsonl, which `eval alpaca-eval` reads; OUT/report.html, report.md, report.json;
///          OUT/judged.json (the result in one typed file), rows.jsonl (outputs and preferences); OUT/run.json
///          (times, files, spend); OUT/calls.jsonl, the journal.
/// Example: cargo xtask judge alpaca-eval --eval-set eval_set.jsonl.gz --outputs mine.jsonl
///          --judge gpt-4-1106-preview --out runs/alpaca --dry-run
#[derive(Debug, clap::Args, Serialize)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Instructions with the baseline's outputs
    #[arg(long, value_name = "EVAL-SET")]
    eval_set: PathBuf,
    /// The model's outputs
    #[arg(long, value_name = "OUTPUTS")]
    outputs: PathBuf,
    /// Name of whose outputs the evaluation set has
    #[arg(long, value_name = "NAME", default_value = "baseline")]
    baseline_name: String,
    /// A prompt in place of ours
    #[arg(long, value_name = "FILE")]
    judge_prompt: Option<PathBuf>,
    #[command(flatten)]
    #[serde(flatten)]
    run: RunArgs,
}

pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let inputs = [("eval_set", Some(&args.eval_set)), ("outputs", Some(&args.outputs)), ("judge_prompt", args.judge_prompt.as_ref())];
    let record = RunRecord::begin("judge alpaca-eval", args, &inputs)?;
    let (cases, missing) = cases(&args.eval_set, &args.outputs).bad_input()?;
    let mut options = AlpacaEvalOptions::published();
    if let Some(path) = &args.judge_prompt {
        options.prompt = read_prompt(path)?;
    }
    let protocol = AlpacaEval::new(options).bad_input()?;
    args.run.judge_cases(record, &protocol, &cases, |judgement| {
        let annotations = judgement.rows.iter().enumerate().map(|(place, row)| Annotation::of(place, row));
        let path = args.run.out.join("annotations.jsonl");
        write_all(&path, &annotations.collect::<Result<Vec<_>, _>>().failure()?).failure()?;
        let values: Vec<f64> = judgement.rows.iter().flat_map(|row| row.values.iter().copied()).collect();
        let win_rate = (!values.is_empty()).then(|| 100.0 * values.iter().sum::<f64>() / values.len() as f64);
        let text = match win_rate {
            Some(rate) => format!(
                "win rate {rate:.2} over {} instructions; all numbers: {} eval alpaca-eval --annotations {}",
                values.len(),
                command::program(),
                path.display()
            ),
            None => "no preference".into(),
        };
        let name = folder::name(args.run.name.as_ref(), &args.outputs);
        let run = CaseRun::new(protocol.info(), name, judgement, 0).failure()?.against(&args.baseline_name).missing(missing);
        let settings = &run.result.head.settings;
        let numbers = json!({
            "judge": settings.judge, "prompt": settings.prompts.first(), "annotations": path, "win_rate": win_rate, "n": values.len(),
        });
        Ok((run, text, numbers))
    })
}
