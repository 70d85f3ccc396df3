//! `cargo xtask judge rubric`: a score for each rubric of each response.

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::ValueEnum;
use janus_core::{BenchRecord, SamplingParams};
use janus_data::{read_all, write_all};
use janus_eval::Response;
use janus_eval::judge::{Asker, RubricJudge, RubricJudgement, RubricOptions, ScoreReader};
use janus_eval::run::{JudgedRun, RUN_FILES};
use serde::Serialize;
use serde_json::{Value, json};

use super::folder::{self, RunRecord};
use super::service::{BatchArgs, JudgeArgs, read_prompt, watched};
use crate::command::{Blame as _, CommandError, Outcome};

/// Score each response from 1 to 5 against each rubric of its bench record
///
/// One call for each response, rubric and run. The defaults are the paper's: three runs at temperature 1
/// and top-p 0.9, the reference answer shown, the system message not.
///
/// Reads:   BENCH: records with rubrics (.json, .jsonl, .parquet, also .gz).
///          RESPONSES: rows of {id, response}; other fields are ignored.
/// Writes:  OUT/report.html, report.md, report.json; OUT/judged.json (the result in one typed file),
///          judgments.jsonl (scores and feedback), scores/run-N.jsonl, bench.jsonl, responses.jsonl;
///          OUT/run.json (times, files, spend); OUT/calls.jsonl, the journal of answers.
///          A score that could not be had is missing, never a number, and makes the exit code 1.
/// Example: cargo xtask judge rubric --bench bench.jsonl --responses responses.jsonl
///          --judge gpt-4-0125-preview --price-prompt 10 --price-completion 30 --out runs/mine --dry-run
#[derive(Debug, clap::Args, Serialize)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The bench's records
    #[arg(long, value_name = "BENCH")]
    bench: PathBuf,
    /// The responses
    #[arg(long, value_name = "RESPONSES")]
    responses: PathBuf,
    /// The run folder
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// Name of the judged model in reports [default: the responses' file name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Judge the first records only
    #[arg(long, value_name = "ROWS")]
    limit: Option<usize>,
    #[command(flatten)]
    protocol: ProtocolArgs,
    #[command(flatten)]
    service: JudgeArgs,
    #[command(flatten)]
    #[serde(skip)]
    batch: BatchArgs,
}

#[derive(Debug, clap::Args, Serialize)]
#[command(next_help_heading = "Protocol")]
struct ProtocolArgs {
    /// Runs, each with a seed of its own
    #[arg(long, value_name = "N", default_value_t = 3)]
    runs: usize,
    /// Do not show the reference answer
    #[arg(long)]
    no_reference: bool,
    /// Show the system message in front of the prompt
    #[arg(long)]
    show_system: bool,
    /// How the score is read in the judge's text
    #[arg(long, value_enum, default_value_t = Reader::Strict)]
    reader: Reader,
    /// A prompt in place of ours, such as the official one
    #[arg(long, value_name = "FILE", conflicts_with = "no_reference")]
    judge_prompt: Option<PathBuf>,
    /// The judge's temperature
    #[arg(long, default_value_t = 1.0)]
    temperature: f64,
    /// The judge's top-p
    #[arg(long, default_value_t = 0.9)]
    top_p: f64,
    /// Tokens of a judgment at the most
    #[arg(long, default_value_t = 1024)]
    max_tokens: usize,
    /// Seed of the first run, and of the intervals
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Reader {
    /// The last [RESULT], checked
    Strict,
    /// The released evaluation's rule, to compare with published numbers
    Published,
}

impl ProtocolArgs {
    fn options(&self) -> Result<RubricOptions, CommandError> {
        let paper = RubricOptions::paper(!self.no_reference).failure()?;
        let prompt = match &self.judge_prompt {
            Some(path) => read_prompt(path)?,
            None => paper.prompt,
        };
        let sampling = SamplingParams {
            temperature: self.temperature,
            top_p: self.top_p,
            max_tokens: self.max_tokens,
            seed: self.seed,
            ..paper.sampling
        };
        let reader = match self.reader {
            Reader::Strict => ScoreReader::Strict,
            Reader::Published => ScoreReader::Published,
        };
        Ok(RubricOptions { prompt, reader, show_system: self.show_system, runs: self.runs, sampling })
    }
}

pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let inputs =
        [("bench", Some(&args.bench)), ("responses", Some(&args.responses)), ("judge_prompt", args.protocol.judge_prompt.as_ref())];
    let record = RunRecord::begin("judge rubric", args, &inputs)?;
    let (records, responses) = read(args)?;
    let options = args.protocol.options()?;
    let (model, journal) = args.service.begin(&args.out)?;
    let judge = RubricJudge::new(Asker::new(&model).journal(&journal), options.clone()).bad_input()?;
    let open = || judge.unasked(&records, &responses).bad_input();
    let estimate = || judge.estimate(&records, &responses).bad_input();
    let estimate = match args.batch.prepare("judge rubric", &args.service, &journal, open, estimate)? {
        ControlFlow::Break(outcome) => return Ok(outcome),
        ControlFlow::Continue(estimate) => estimate,
    };
    let judgement = watched(estimate.calls, |on_call| {
        let judge = RubricJudge::new(Asker::new(&model).journal(&journal).on_call(on_call), options).bad_input()?;
        judge.judge_runs(&records, &responses).bad_input()
    })?;
    fs::create_dir_all(args.out.join("scores")).failure()?;

    let record = record.end(&args.out, &args.service, &model, &estimate)?;
    finish(args, &records, &responses, judgement, &record)
}

fn read(args: &Args) -> Result<(Vec<BenchRecord>, Vec<Response>), CommandError> {
    let mut records: Vec<BenchRecord> = read_all(&args.bench).bad_input()?;
    let mut responses: Vec<Response> = read_all(&args.responses).bad_input()?;
    if let Some(limit) = args.limit {
        // A response is kept if its record is; what belongs to no record at all is still an error.
        let later: Vec<String> =
            records.iter().enumerate().skip(limit).map(|(index, record)| janus_eval::record_id(record, index)).collect();
        records.truncate(limit);
        responses.retain(|response| !later.contains(&response.id));
    }
    if let Some(index) = records.iter().position(|record| record.rubrics.is_empty()) {
        let place = format!("{}, row {}, field \"rubrics\"", args.bench.display(), index + 1);
        return Err(CommandError::bad_input(format!("{place}: there is none to judge by")));
    }
    // Ids are given where the bench has none, so that the run folder stands by itself.
    for (index, record) in records.iter_mut().enumerate() {
        record.id = Some(janus_eval::record_id(record, index));
    }
    Ok((records, responses))
}

fn finish(
    args: &Args,
    records: &[BenchRecord],
    responses: &[Response],
    judgement: RubricJudgement,
    record: &Value,
) -> Result<Outcome, CommandError> {
    let out = &args.out;
    let name = folder::name(args.name.as_ref(), &args.responses);
    for (run, rows) in judgement.runs().iter().enumerate() {
        write_all(out.join(format!("scores/run-{run}.jsonl")), rows).failure()?;
    }
    let failed = judgement.counts.failed;
    let run = JudgedRun::new(name, records.to_vec(), responses.to_vec(), judgement, args.protocol.seed).failure()?;
    run.write(out).failure()?;
    let report = janus_eval::run::compare(std::slice::from_ref(&run), crate::report::ROWS).failure()?;
    folder::write(out, &report, record)?;

    let result = &run.result;
    let json = json!({ "command": "judge rubric", "out": out, "result": result, "run": record, "files": RUN_FILES });
    let mean = match (&result.summary, &result.interval) {
        (Some(summary), Some(interval)) => format!(
            "mean score {:.3} [{:.3}, {:.3}] over {} of {} records",
            summary.overall.mean,
            interval.low,
            interval.high,
            summary.overall.n,
            records.len()
        ),
        (Some(summary), None) => format!("mean score {:.3} over {} of {} records", summary.overall.mean, summary.overall.n, records.len()),
        (None, _) => "no score".into(),
    };
    let counts = &result.counts;
    let parsed = format!("{} of {} answers could be read", counts.parsed, counts.answered);
    if failed > 0 || result.summary.is_none() {
        let text = format!(
            "{}: {mean}; {failed} of {} scores are missing ({parsed}): see the problems in judgments.jsonl, and repeat the command to ask them again",
            out.display(),
            counts.calls
        );
        return Ok(Outcome::failed(text, json));
    }
    Ok(Outcome::done(format!("{mean}; {parsed}\n{}", out.join("report.html").display()), json))
}
