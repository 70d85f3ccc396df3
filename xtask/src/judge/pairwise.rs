//! `cargo xtask judge pairwise`: which of two models' responses is better.

use std::ops::ControlFlow;
use std::path::PathBuf;

use janus_core::BenchRecord;
use janus_data::read_all;
use janus_eval::judge::{Asker, Pair, PairPrompts, PairTurn, PairwiseJudge, PairwiseOptions};
use janus_eval::run::{Judged, Protocol, VerdictRow, VerdictRun, VerdictSettings, VerdictTurn};
use janus_eval::{Missing, Response, join};
use serde::Serialize;
use serde_json::json;

use super::folder::{self, RunRecord};
use super::service::{BatchArgs, JudgeArgs, read_text, watched};
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
    /// The run folder
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// Name of the model in reports [default: its file's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
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
    service: JudgeArgs,
    #[command(flatten)]
    #[serde(skip)]
    batch: BatchArgs,
}

pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let (bench, opponent) = (("bench", Some(&args.bench)), ("opponent", Some(&args.opponent)));
    let inputs = [bench, ("model", Some(&args.model)), opponent, ("judge_prompt", args.judge_prompt.as_ref())];
    let record = RunRecord::begin("judge pairwise", args, &inputs)?;
    let [name, opponent_name] = folder::names((args.name.as_ref(), &args.model), (args.opponent_name.as_ref(), &args.opponent))?;
    let records: Vec<BenchRecord> = read_all(&args.bench).bad_input()?;
    let (mine, other): (Vec<Response>, Vec<Response>) = (read_all(&args.model).bad_input()?, read_all(&args.opponent).bad_input()?);
    let (mine, other) = (join(&records, &mine).bad_input()?, join(&records, &other).bad_input()?);
    let question = |record: &BenchRecord| {
        if args.show_system && !record.system.is_empty() { format!("{}\n{}", record.system, record.prompt) } else { record.prompt.clone() }
    };
    let questions: Vec<String> = records.iter().map(question).collect();
    let (mut pairs, mut places) = (Vec::new(), Vec::new());
    for (place, ((mine, other), question)) in mine.rows.iter().zip(&other.rows).zip(&questions).enumerate() {
        if let (Some(model), Some(opponent)) = (mine.response, other.response) {
            let reference = args.show_reference.then_some(mine.record.reference_answer.as_str());
            places.push(place);
            pairs.push(Pair { id: mine.id.clone(), turns: vec![PairTurn { question, model, opponent, reference }] });
        }
    }
    let mut options = PairwiseOptions::mt_bench().failure()?;
    if let Some(path) = &args.judge_prompt {
        options.prompts = PairPrompts::published(&read_text(path)?).bad_input()?;
    }
    let (model, journal) = args.service.begin(&args.out)?;
    let judge = PairwiseJudge::new(Asker::new(&model).journal(&journal), options.clone()).bad_input()?;
    let (open, estimate) = (|| judge.unasked(&pairs).bad_input(), || judge.estimate(&pairs).bad_input());
    let estimate = match args.batch.prepare("judge pairwise", &args.service, &journal, open, estimate)? {
        ControlFlow::Break(outcome) => return Ok(outcome),
        ControlFlow::Continue(estimate) => estimate,
    };
    let judgement = watched(estimate.calls, |on_call| {
        let judge = PairwiseJudge::new(Asker::new(&model).journal(&journal).on_call(on_call), options.clone()).bad_input()?;
        judge.judge(&pairs).bad_input()
    })?;
    let row = |((pair, place), row): ((&Pair<'_>, &usize), &janus_eval::judge::PairRow)| {
        let (record, turn) = (&records[*place], pair.turns[0]);
        let turn = VerdictTurn {
            prompt: record.prompt.clone(),
            model: turn.model.into(),
            opponent: Some(turn.opponent.into()),
            reference: turn.reference.map(Into::into),
        };
        // Rows of one instruction share its prompt, and are resampled together.
        VerdictRow {
            question: record.prompt.clone(),
            category: record.source.clone(),
            system: record.system.clone(),
            ..VerdictRow::new(row.id.as_str(), vec![turn], row)
        }
    };
    let rows: Vec<VerdictRow> = pairs.iter().zip(&places).zip(&judgement.rows).map(row).collect();
    let unanswered = mine.rows.iter().zip(&other.rows).filter(|(mine, other)| mine.response.is_none() || other.response.is_none());
    let judged = Judged {
        protocol: Protocol::Pairwise,
        model: name,
        opponent: Some(opponent_name),
        settings: VerdictSettings {
            judge: judgement.judge.clone(),
            prompts: judgement.prompts.clone(),
            sampling: options.sampling,
            system_shown: args.show_system,
            reference_shown: args.show_reference,
        },
        counts: judgement.counts,
        missing: unanswered.map(|(mine, _)| mine.id.as_str()).collect::<Missing>(),
    };
    let run = VerdictRun::new(judged, rows, 0).failure()?;
    let [win, tie, loss] = judgement.tally();
    let (half_tie_win, tie_win_all) = (judgement.half_tie_win().ok(), judgement.tie_win_all().ok());
    let percent = |share: Option<f64>| share.map_or("–".into(), |share| format!("{:.1} %", 100.0 * share));
    let text = format!(
        "win + half a tie {} over {} pairs: {win} wins, {tie} ties, {loss} losses; {} flipped, first position {}",
        percent(half_tie_win),
        judgement.n(),
        percent(judgement.flip_rate()),
        percent(judgement.first_position_share())
    );
    let numbers = json!({
        "judge": judgement.judge, "prompts": judgement.prompts, "n": judgement.n(), "win": win, "tie": tie, "loss": loss,
        "half_tie_win": half_tie_win, "tie_win_all": tie_win_all, "flip_rate": judgement.flip_rate(),
        "first_position_share": judgement.first_position_share(), "system_shown": args.show_system, "reference_shown": args.show_reference,
    });
    let record = record.end(&args.out, &args.service, &model, &estimate)?;
    folder::finish(&args.out, &run, &record, &text, numbers)
}
