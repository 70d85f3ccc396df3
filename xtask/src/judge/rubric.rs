//! `cargo xtask judge rubric`: scores each response against each rubric.

use std::ops::ControlFlow;
use std::path::PathBuf;

use janus_core::BenchRecord;
use janus_data::{read_all, write_all};
use janus_eval::judge::PromptTemplate;
use janus_eval::judge::read::ScoreReader;
use janus_eval::protocol::{RubricCase, Rubrics, rubric_cases};
use janus_eval::run::{RubricRun, compare};
use janus_eval::{Response, record_id};
use serde::Serialize;
use serde_json::json;

use super::{Judging, RunArgs};
use crate::command::{Blame as _, CommandError, Outcome, make_folder, one_of};

/// Score each response from 1 to 5 against each rubric of its bench record
///
/// One call for each response, rubric and run. The defaults are the paper's: three
/// runs at temperature 1 and top-p 0.9; the judge sees the reference answer, but
/// not the system message.
///
/// Reads:   BENCH: records with rubrics (.json, .jsonl, .parquet, also .gz).
///          RESPONSES: rows of {id, response}; other fields are ignored.
/// Writes:  the run folder OUT (see `judge --help`), with judgments.jsonl (scores
///          and feedback), scores/run-N.jsonl, bench.jsonl and responses.jsonl.
/// Example: cargo xtask judge rubric --bench bench.jsonl \
///          --responses responses.jsonl --judge gpt-4-0125-preview \
///          --price-prompt 10 --price-completion 30 --out runs/mine --dry-run
#[derive(Debug, clap::Args, Serialize)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The bench's records
    #[arg(long, value_name = "BENCH")]
    bench: PathBuf,
    /// The responses
    #[arg(long, value_name = "RESPONSES")]
    responses: PathBuf,
    /// Judge only the first N records
    #[arg(long, value_name = "ROWS")]
    limit: Option<usize>,
    #[command(flatten)]
    protocol: ProtocolArgs,
    #[command(flatten)]
    #[serde(flatten)]
    run: RunArgs,
}

#[derive(Debug, clap::Args, Serialize)]
#[command(next_help_heading = "Protocol")]
struct ProtocolArgs {
    /// Runs, each with its own seed
    #[arg(long, value_name = "N", default_value_t = 3)]
    runs: usize,
    /// Do not show the reference answer
    #[arg(long)]
    no_reference: bool,
    /// Show the system message in front of the prompt
    #[arg(long)]
    show_system: bool,
    /// How the score is parsed from the judge's text
    #[arg(long, value_parser = one_of(READERS), default_value = "strict")]
    reader: ScoreReader,
    /// A judge prompt, instead of the built-in one
    #[arg(long, value_name = "FILE", conflicts_with = "no_reference")]
    judge_prompt: Option<PathBuf>,
    /// The judge's temperature
    #[arg(long, default_value_t = 1.0)]
    temperature: f64,
    /// The judge's top-p
    #[arg(long, default_value_t = 0.9)]
    top_p: f64,
    /// Maximum number of tokens of a judgment
    #[arg(long, default_value_t = 1024)]
    max_tokens: usize,
    /// Seed of the first run, and of the intervals
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

const READERS: [(&str, &str, ScoreReader); 2] = [
    ("strict", "The last [RESULT], checked", ScoreReader::Strict),
    (
        "published",
        "The released evaluation's rule, to compare with published numbers",
        ScoreReader::Published,
    ),
];

impl ProtocolArgs {
    fn protocol(&self) -> Result<Rubrics, CommandError> {
        let mut protocol = Rubrics::paper(!self.no_reference);
        if let Some(path) = &self.judge_prompt {
            protocol.prompt = PromptTemplate::read(path).bad_input()?;
        }
        (protocol.reader, protocol.show_system, protocol.runs) = (self.reader, self.show_system, self.runs);
        let sampling = &mut protocol.sampling;
        (sampling.temperature, sampling.top_p) = (self.temperature, self.top_p);
        (sampling.max_tokens, sampling.seed) = (self.max_tokens, self.seed);
        Ok(protocol)
    }
}

impl Args {
    pub fn judge(&self) -> Result<Outcome, CommandError> {
        let judging = Judging::begin("judge rubric", &self.run, self)?;
        let cases = self.cases()?;
        let protocol = self.protocol.protocol()?;
        let (judgement, record) = match judging.judge(&protocol, &cases)? {
            ControlFlow::Break(outcome) => return Ok(outcome),
            ControlFlow::Continue(judged) => judged,
        };
        let run =
            RubricRun::new(&protocol, judging.name(&self.responses), cases, judgement, self.protocol.seed)
                .failure()?;
        let out = &self.run.out;
        make_folder(&out.join("scores"))?;
        for (number, rows) in run.scores().iter().enumerate() {
            write_all(out.join(format!("scores/run-{number}.jsonl")), rows).failure()?;
        }
        run.write(out).failure()?;
        judging.write(&compare([run.clone()], crate::report::ROWS).failure()?, &record)?;
        let (result, counts) = (&run.result, &run.result.head.counts);
        let json = json!({ "command": "judge rubric", "out": out, "result": result, "run": record, "files": RubricRun::FILES });
        let mean = result.summary.as_ref().map_or("no score".into(), |summary| {
            let interval = result
                .interval
                .map(|interval| format!(" [{:.3}, {:.3}]", interval.low, interval.high))
                .unwrap_or_default();
            format!(
                "mean score {:.3}{interval} over {} of {} records",
                summary.overall.mean, summary.overall.n, result.head.rows
            )
        });
        let parsed = format!("{} of {} answers were parsed", counts.parsed, counts.answered);
        if counts.failed > 0 || result.summary.is_none() {
            let text = format!(
                "{}: {mean}; {} of {} scores are missing ({parsed}): see the problems in judgments.jsonl, and repeat the command to request them again",
                out.display(),
                counts.failed,
                counts.calls
            );
            return Ok(Outcome::failed(text, json));
        }
        Ok(Outcome::done(format!("{mean}; {parsed}\n{}", out.join("report.html").display()), json))
    }

    fn cases(&self) -> Result<Vec<RubricCase>, CommandError> {
        let mut records: Vec<BenchRecord> = read_all(&self.bench).bad_input()?;
        let mut responses: Vec<Response> = read_all(&self.responses).bad_input()?;
        if let Some(limit) = self.limit {
            // Responses to the records beyond the limit are dropped. A response to no record at all is
            // still an error.
            let later: Vec<String> = records
                .iter()
                .enumerate()
                .skip(limit)
                .map(|(index, record)| record_id(record, index))
                .collect();
            records.truncate(limit);
            responses.retain(|response| !later.contains(&response.id));
        }
        if let Some(index) = records.iter().position(|record| record.rubrics.is_empty()) {
            let place = format!("{}, row {}, field \"rubrics\"", self.bench.display(), index + 1);
            return Err(CommandError::bad_input(format!(
                "{place}: it is empty: expected at least one rubric"
            )));
        }
        rubric_cases(&records, &responses).bad_input()
    }
}
