//! `cargo xtask judge alpaca-eval`: preferences from the probabilities of one token.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::PathBuf;

use janus_data::{read_all, write_all};
use janus_eval::bench::alpaca_eval::{Annotation, is_swapped};
use janus_eval::judge::{Asker, LogprobJudge, LogprobOptions, LogprobTask};
use serde::Deserialize;
use serde_json::json;

use super::service::{BatchArgs, ServiceArgs, outcome, read_prompt, watched};
use crate::command::{Blame as _, CommandError, Outcome};

/// Judge a model's outputs against the baseline's by one token's probabilities (AlpacaEval 2.0)
///
/// The order of the two outputs is AlpacaEval's own coin, seeded by the instruction.
///
/// Reads:   EVAL-SET: rows of {index, instruction, reference_output}. OUTPUTS: rows of {index, output}.
///          --judge-prompt takes the official prompt.
/// Writes:  OUT/annotations.jsonl, which `eval alpaca-eval` reads; OUT/calls.jsonl, the journal.
/// Example: cargo xtask judge alpaca-eval --eval-set eval_set.jsonl.gz --outputs mine.jsonl
///          --judge gpt-4-1106-preview --out runs/alpaca --dry-run
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Instructions with the baseline's outputs
    #[arg(long, value_name = "EVAL-SET")]
    eval_set: PathBuf,
    /// The model's outputs
    #[arg(long, value_name = "OUTPUTS")]
    outputs: PathBuf,
    /// The run folder
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// A prompt in place of ours
    #[arg(long, value_name = "FILE")]
    judge_prompt: Option<PathBuf>,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    batch: BatchArgs,
}

#[derive(Deserialize)]
struct EvalRow {
    index: usize,
    instruction: String,
    reference_output: String,
}

#[derive(Deserialize)]
struct OutputRow {
    index: usize,
    #[serde(alias = "response")]
    output: String,
}

pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let rows: Vec<EvalRow> = read_all(&args.eval_set).bad_input()?;
    let outputs: Vec<OutputRow> = read_all(&args.outputs).bad_input()?;
    let by_index: HashMap<usize, &EvalRow> = rows.iter().map(|row| (row.index, row)).collect();
    let mut tasks = Vec::with_capacity(outputs.len());
    for (place, output) in outputs.iter().enumerate() {
        let Some(row) = by_index.get(&output.index) else {
            let at = format!("{}, row {}, field \"index\"", args.outputs.display(), place + 1);
            return Err(CommandError::bad_input(format!("{at}: the evaluation set has no instruction {}", output.index)));
        };
        let id = output.index.to_string();
        tasks.push(LogprobTask { id, instruction: &row.instruction, baseline: &row.reference_output, model: &output.output });
    }
    let mut options = LogprobOptions::alpaca_eval().failure()?;
    if let Some(path) = &args.judge_prompt {
        options.prompt = read_prompt(path)?;
    }
    let (model, journal) = args.service.begin(&args.out)?;
    let switched = |task: &LogprobTask<'_>| is_swapped(task.instruction);
    let judge = LogprobJudge::new(Asker::new(&model).journal(&journal), options.clone(), switched).bad_input()?;
    let (open, estimate) = (|| judge.unasked(&tasks).bad_input(), || judge.estimate(&tasks).bad_input());
    let estimate = match args.batch.prepare("judge alpaca-eval", &args.service, &journal, open, estimate)? {
        ControlFlow::Break(outcome) => return Ok(outcome),
        ControlFlow::Continue(estimate) => estimate,
    };
    let judgement = watched(estimate.calls, |on_call| {
        let judge = LogprobJudge::new(Asker::new(&model).journal(&journal).on_call(on_call), options, switched).bad_input()?;
        judge.judge(&tasks).bad_input()
    })?;
    let annotation = |(position, (row, output)): (usize, (&janus_eval::judge::LogprobRow, &OutputRow))| Annotation {
        position: Some(position),
        index: output.index,
        output: output.output.clone(),
        preference: row.preference,
        top_logprobs: row
            .top_logprobs
            .as_ref()
            .map(|top| top.iter().map(|top| (top.token.clone(), top.logprob)).collect::<BTreeMap<_, _>>()),
    };
    let annotations: Vec<Annotation> = judgement.rows.iter().zip(&outputs).enumerate().map(annotation).collect();
    let path = args.out.join("annotations.jsonl");
    write_all(&path, &annotations).failure()?;
    let preferred: Vec<f64> = judgement.rows.iter().filter_map(|row| row.preference).collect();
    let win_rate =
        (!preferred.is_empty()).then(|| 100.0 * preferred.iter().map(|preference| preference - 1.0).sum::<f64>() / preferred.len() as f64);
    let text = match win_rate {
        Some(rate) => format!(
            "win rate {rate:.2} over {} instructions; all numbers: cargo xtask eval alpaca-eval --annotations {}",
            preferred.len(),
            path.display()
        ),
        None => "no preference".into(),
    };
    let report = json!({
        "command": "judge alpaca-eval", "out": args.out, "judge": judgement.judge, "prompt": judgement.prompt, "annotations": path,
        "win_rate": win_rate, "n": preferred.len(), "counts": judgement.counts,
    });
    Ok(outcome(&args.out, text, &judgement.counts, report))
}
