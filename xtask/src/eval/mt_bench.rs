//! `cargo xtask eval mt-bench`: grades of two turns.

use std::path::PathBuf;

use janus_data::read_all;
use janus_eval::bench::mt_bench::{Grades, Judgment, Question};

use super::{DATA, ends, flat, interval, of_file, shown};
use crate::command::{Blame as _, CommandError, Outcome};

/// Score of MT-Bench from a judge's texts
///
/// The rating is the first [[number]] of a text, or its first [number]. Rows without one are counted and
/// left out of the means.
///
/// Reads:   JUDGMENTS: rows of {question_id, turn, judgment}; other fields are ignored.
///          DATA/mt_bench/question.jsonl.
/// Writes:  nothing; the numbers go to stdout.
/// Example: cargo xtask eval mt-bench
///          --judgments ../shared/data/mt_bench/judgments/llama2_chat_7b.jsonl.gz --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The judge's texts on one model
    #[arg(long, value_name = "JUDGMENTS")]
    judgments: PathBuf,
    /// The folder of reference data
    #[arg(long, value_name = "DATA", default_value = DATA)]
    data: PathBuf,
    /// Seed of the bootstrap over questions
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Runs the command.
///
/// # Errors
/// Bad input for files that cannot be read or do not fit together.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let judgments: Vec<Judgment> = read_all(&args.judgments).bad_input()?;
    let questions: Vec<Question> = read_all(args.data.join("mt_bench/question.jsonl")).bad_input()?;
    let grades = of_file(&args.judgments, Grades::of(&judgments, &questions))?;
    let sample = of_file(&args.judgments, Grades::sample(&judgments, &questions))?;
    let interval = interval(&sample, args.seed)?;
    let turn = |turn: Option<f64>| turn.map_or("none".into(), |turn| format!("{turn:.3}"));
    let mut text = format!(
        "average {:.3}{}, turn 1 {}, turn 2 {}; {} rows, {} without a rating\n",
        grades.average,
        shown(interval.as_ref(), 3),
        turn(grades.turn1),
        turn(grades.turn2),
        grades.rows,
        grades.failed
    );
    for (category, score) in &grades.by_category {
        text += &format!("  {category:12} {score:.3}\n");
    }
    let report = flat("eval mt-bench", &[&grades, &ends("average", interval.as_ref())])?;
    Ok(Outcome::done(text.trim_end(), report))
}
