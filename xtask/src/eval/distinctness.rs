//! `cargo xtask eval distinctness`: how much answers under different system messages resemble each other.

use std::path::PathBuf;

use janus_core::BenchRecord;
use janus_data::read_all;
use janus_eval::bench::distinctness::{Answer, distinctness};
use janus_eval::{Response, join};
use serde_json::json;

use super::{ends, flat, interval, of_file, shown};
use crate::command::{Blame as _, CommandError, Outcome};

/// Average and maximum ROUGE-L among the answers to one instruction under its system messages
///
/// Lower is more distinct. Each instruction weighs the same; one with a single answer has nothing to
/// resemble and is counted apart. Intervals: 95%, bootstrap over instructions.
///
/// Reads:   RESPONSES: rows of {prompt, response}, or {prompt, output} as in a training set; rows with the same
///          prompt belong together. With --bench: rows of {id, response}, whose prompts the bench has.
/// Writes:  nothing; the numbers go to stdout.
/// Example: cargo xtask eval distinctness --bench runs/mini-0/mini/bench.jsonl
///          --responses runs/mini-0/responses/janus.jsonl --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The answers
    #[arg(long, value_name = "RESPONSES")]
    responses: PathBuf,
    /// The bench's records, for responses that have ids and no prompts
    #[arg(long, value_name = "BENCH")]
    bench: Option<PathBuf>,
    /// Seed of the bootstrap over instructions
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Runs the command.
///
/// # Errors
/// Bad input for files that cannot be read or do not fit together, or without an instruction that has two answers.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let (answers, missing) = match &args.bench {
        None => (read_all(&args.responses).bad_input()?, None),
        Some(bench) => {
            let records: Vec<BenchRecord> = read_all(bench).bad_input()?;
            let responses: Vec<Response> = read_all(&args.responses).bad_input()?;
            let joined = of_file(&args.responses, join(&records, &responses))?;
            let answer = |(response, prompt): (&str, &str)| Answer { prompt: prompt.into(), response: response.into() };
            let answered = joined.rows.iter().filter_map(|row| Some((row.response?, row.record.prompt.as_str())));
            (answered.map(answer).collect(), Some(joined.missing))
        }
    };
    let (found, samples) = of_file(&args.responses, distinctness(&answers))?;
    let (average, maximum) = (interval(&samples.averages, args.seed)?, interval(&samples.maxima, args.seed)?);
    let mut text = format!(
        "average ROUGE-L {:.4}{}, maximum {:.4}{}\n{} answers to {} instructions; {} instructions have a single answer",
        found.average_rouge_l,
        shown(average.as_ref(), 4),
        found.maximum_rouge_l,
        shown(maximum.as_ref(), 4),
        found.answers,
        found.instructions,
        found.single
    );
    let intervals = [ends("average_rouge_l", average.as_ref()), ends("maximum_rouge_l", maximum.as_ref())];
    let mut report = flat("eval distinctness", &[&found, &intervals[0], &intervals[1]])?;
    if let Some(missing) = missing {
        text += &format!("\nresponses: {missing}");
        report["missing"] = json!(missing);
    }
    Ok(Outcome::done(text, report))
}
