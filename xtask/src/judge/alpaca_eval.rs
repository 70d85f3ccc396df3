//! `cargo xtask judge alpaca-eval`: preferences from the probabilities of one token.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::PathBuf;

use janus_data::{read_all, write_all};
use janus_eval::Missing;
use janus_eval::bench::alpaca_eval::{Annotation, is_swapped};
use janus_eval::judge::{Asker, LogprobJudge, LogprobOptions, LogprobRow, LogprobTask};
use janus_eval::run::{Judged, Protocol, VerdictRow, VerdictRun, VerdictSettings, VerdictTurn};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::folder::{self, RunRecord};
use super::service::{BatchArgs, JudgeArgs, read_prompt, watched};
use crate::command::{Blame as _, CommandError, Outcome};

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
    /// The run folder
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// Name of the model in reports [default: its file's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Name of whose outputs the evaluation set has
    #[arg(long, value_name = "NAME", default_value = "baseline")]
    baseline_name: String,
    /// A prompt in place of ours
    #[arg(long, value_name = "FILE")]
    judge_prompt: Option<PathBuf>,
    #[command(flatten)]
    service: JudgeArgs,
    #[command(flatten)]
    #[serde(skip)]
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
    let inputs = [("eval_set", Some(&args.eval_set)), ("outputs", Some(&args.outputs)), ("judge_prompt", args.judge_prompt.as_ref())];
    let record = RunRecord::begin("judge alpaca-eval", args, &inputs)?;
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
        let judge = LogprobJudge::new(Asker::new(&model).journal(&journal).on_call(on_call), options.clone(), switched).bad_input()?;
        judge.judge(&tasks).bad_input()
    })?;
    let annotation = |(position, (row, output)): (usize, (&LogprobRow, &OutputRow))| Annotation {
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
    let row = |(task, row): (&LogprobTask<'_>, &LogprobRow)| {
        let (prompt, opponent) = (task.instruction.to_string(), Some(task.baseline.to_string()));
        VerdictRow::new(task.id.as_str(), vec![VerdictTurn { prompt, model: task.model.into(), opponent, reference: None }], row)
    };
    let answered: HashSet<usize> = outputs.iter().map(|output| output.index).collect();
    let unanswered: Vec<String> =
        rows.iter().map(|row| row.index).filter(|index| !answered.contains(index)).map(|i| i.to_string()).collect();
    let judged = Judged {
        protocol: Protocol::AlpacaEval,
        model: folder::name(args.name.as_ref(), &args.outputs),
        opponent: Some(args.baseline_name.clone()),
        settings: VerdictSettings {
            judge: judgement.judge.clone(),
            prompts: vec![judgement.prompt.clone()],
            sampling: options.sampling,
            system_shown: false,
            reference_shown: false,
        },
        counts: judgement.counts,
        missing: unanswered.iter().map(String::as_str).collect::<Missing>(),
    };
    let run = VerdictRun::new(judged, tasks.iter().zip(&judgement.rows).map(row).collect(), 0).failure()?;
    let numbers = json!({
        "judge": judgement.judge, "prompt": judgement.prompt, "annotations": path, "win_rate": win_rate, "n": preferred.len(),
    });
    let record = record.end(&args.out, &args.service, &model, &estimate)?;
    folder::finish(&args.out, &run, &record, &text, numbers)
}
