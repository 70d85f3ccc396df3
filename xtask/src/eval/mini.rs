//! `cargo xtask eval mini`: scores responses to Multifaceted Mini.

use std::path::PathBuf;

use janus_core::BenchRecord;
use janus_data::read_all;
use janus_eval::{Bootstrap, Response, Sample, VerifiableJudge, pool, score_responses, summarise};
use serde_json::{Value, json};

use crate::command::{Blame as _, CommandError, Outcome};

/// Score responses to Multifaceted Mini by computation
///
/// Every response is scored from 1 to 5 for each of its record's four preferences; a score is bounded
/// by the truth of the answer.
///
/// Reads:   BENCH: a bench.jsonl of Multifaceted Mini (.json, .jsonl, .parquet, also .gz).
///          RESPONSES: rows of {id, response}; other fields are ignored.
/// Writes:  nothing; the scores go to stdout, with --json the scores of each row and their reasons too.
/// Example: cargo xtask eval mini --bench runs/mini-0/mini/bench.jsonl
///          --responses runs/mini-0/responses/janus.jsonl
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The bench's records
    #[arg(long, value_name = "BENCH")]
    bench: PathBuf,
    /// The responses
    #[arg(long, value_name = "RESPONSES")]
    responses: PathBuf,
    /// Seed of the bootstrap
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Runs the command.
///
/// # Errors
/// Bad input for files that cannot be read, do not fit together, or are not Mini's.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let records: Vec<BenchRecord> = read_all(&args.bench).bad_input()?;
    let responses: Vec<Response> = read_all(&args.responses).bad_input()?;
    let scored = score_responses(&records, &responses, &VerifiableJudge::mini()).bad_input()?;
    if let Some(failure) = scored.failures.first() {
        let reason = format!("{}: record {}: {}", args.bench.display(), failure.id, failure.reason);
        return Err(CommandError::bad_input(reason));
    }
    let summary = summarise(&[&scored.rows]).bad_input()?;
    // Rows of one instruction share its prompt, and are resampled together.
    let means = pool(&[&scored.rows]).bad_input()?;
    let clustered = means.iter().zip(&records).filter_map(|(row, record)| Some((record.prompt.clone(), row.mean()?)));
    let bootstrap = Bootstrap { seed: args.seed, ..Bootstrap::default() };
    let interval = match bootstrap.mean(&Sample::clustered(clustered).bad_input()?) {
        // One instruction has a score, but nothing to resample.
        Err(janus_eval::Error::TooFewUnits { .. }) => None,
        interval => Some(interval.bad_input()?),
    };

    let mean = summary.overall.mean;
    let ends = match &interval {
        Some(interval) => format!("[{:.3}, {:.3}]", interval.low, interval.high),
        None => "(no interval: one instruction)".into(),
    };
    let mut text = format!("mean score {mean:.3} {ends} over {} of {} records\n", summary.overall.n, records.len());
    let mut sources = Vec::new();
    for source in &summary.sources {
        if let Some(score) = &source.score {
            text += &format!("  {:12} {:.3} (n {})\n", source.source, score.mean, score.n);
            sources.push(json!({ "source": source.source, "mean": score.mean, "n": score.n, "missing": score.missing }));
        }
    }
    if scored.missing.count > 0 {
        text += &format!("{} records have no response, first {}\n", scored.missing.count, scored.missing.named.join(", "));
    }
    let rows: Vec<Value> = scored
        .rows
        .iter()
        .zip(&scored.verdicts)
        .map(|(row, verdict)| {
            let reasons: Vec<&str> = verdict.iter().flat_map(|verdict| &verdict.rubrics).map(|rubric| rubric.feedback.as_str()).collect();
            json!({ "id": row.id, "source": row.source, "scores": row.scores, "feedback": reasons })
        })
        .collect();
    let report = json!({
        "command": "eval mini",
        "n": summary.overall.n,
        "missing": scored.missing.count,
        "mean": mean,
        "ci_low": interval.as_ref().map(|interval| interval.low),
        "ci_high": interval.as_ref().map(|interval| interval.high),
        "level": bootstrap.level,
        "standard_error": summary.overall.standard_error,
        "sources": sources,
        "rows": rows,
    });
    Ok(Outcome::done(text.trim_end().to_string(), report))
}
