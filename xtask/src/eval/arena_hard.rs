//! `cargo xtask eval arena-hard`: win rate on hard questions.

use std::path::PathBuf;

use janus_data::read_all;
use janus_eval::bench::arena_hard::{ArenaScore, Battles, QuestionBattles, Resampling};
use serde_json::json;

use super::{ends, flat, of_file, shown};
use crate::command::{Blame as _, CommandError, Outcome};

/// Score of Arena-Hard-Auto v0.1 against gpt-4-0314
///
/// Two intervals: the published one, which resamples single battles, and one that resamples questions.
///
/// Reads:   BATTLES: rows of {question_id, outcomes}, outcomes a text of one letter a battle: a the baseline
///          wins, b the model wins, t a tie; a significant verdict stands three times.
/// Writes:  nothing; the numbers go to stdout.
/// Example: cargo xtask eval arena-hard
///          --battles ../shared/data/arena_hard/battles/gpt-3.5-turbo-0125.jsonl.gz --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The battles of one model
    #[arg(long, value_name = "BATTLES")]
    battles: PathBuf,
    /// Resamples of the published interval
    #[arg(long, value_name = "N", default_value_t = 100)]
    rounds: usize,
    /// Seed of both intervals
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Runs the command.
///
/// # Errors
/// Bad input for a file that cannot be read or has no battle.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let rows: Vec<QuestionBattles> = read_all(&args.battles).bad_input()?;
    let battles = of_file(&args.battles, Battles::new(&rows))?;
    let score = of_file(&args.battles, ArenaScore::of(&battles, Resampling { rounds: args.rounds, seed: args.seed }))?;
    let rating = match score.rating {
        Some(rating) => format!("rating {rating:.0}"),
        None => "no finite rating: the model only won or only lost".into(),
    };
    let text = format!(
        "score {:.2} [{:.2}, {:.2}], by question{} ({rating})\n{} wins, {} ties, {} losses in {} battles over {} questions",
        score.score,
        score.published.rating_q025,
        score.published.rating_q975,
        shown(score.by_question.as_ref(), 2),
        score.model_wins,
        score.ties,
        score.baseline_wins,
        score.battles,
        score.questions
    );
    let settings = json!({ "rounds": args.rounds, "seed": args.seed });
    let mut report = flat("eval arena-hard", &[&score, &ends("question", score.by_question.as_ref()), &settings])?;
    if let Some(report) = report.as_object_mut() {
        report.shift_remove("by_question"); // its ends stand on the level of the rest
    }
    Ok(Outcome::done(text, report))
}
