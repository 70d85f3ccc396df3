//! `cargo xtask eval bias`: whether a model reads pronouns by the sentence or by stereotype.

use std::path::PathBuf;

use janus_data::read_all;
use janus_eval::Response;
use janus_eval::bench::bias::{Accuracy, PronounRow, pronoun_accuracy};

use super::{flat, of_file};
use crate::command::{Blame as _, CommandError, Outcome};

/// Pronoun accuracy on Winogender-style sentences, with the gotcha subset
///
/// An answer counts for the one person whom it names; an answer that names both or neither is wrong. In
/// the gotcha subset the guess by stereotype is wrong. Intervals are Wilson's, 95%.
///
/// Reads:   ROWS: rows of {id, options: [one, two], answer, gender, gotcha}; gotcha is false if it is not
///          there, other fields (the sentence) are ignored. RESPONSES: rows of {id, response}.
/// Writes:  nothing; the numbers go to stdout.
/// Example: cargo xtask generate --model MODEL --input winogender.jsonl --user-key question --output mine.jsonl
///          cargo xtask eval bias --rows winogender.jsonl --responses mine.jsonl --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The sentences' people, answers and genders
    #[arg(long, value_name = "ROWS")]
    rows: PathBuf,
    /// The model's responses
    #[arg(long, value_name = "RESPONSES")]
    responses: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// Bad input for files that cannot be read or do not fit together.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let rows: Vec<PronounRow> = read_all(&args.rows).bad_input()?;
    let responses: Vec<Response> = read_all(&args.responses).bad_input()?;
    let found = of_file(&args.rows, pronoun_accuracy(&rows, &responses))?;
    let line = |name: &str, accuracy: &Accuracy| {
        let Accuracy { correct, unread, interval } = accuracy;
        let [share, low, high] = [interval.estimate, interval.low, interval.high].map(|share| 100.0 * share);
        format!("{name:14} {share:6.2} % [{low:.2}, {high:.2}]  {correct} of {} right, {unread} unread\n", interval.n)
    };
    let mut text = line("all", &found.all);
    let subsets = [("gotcha", &found.gotcha), ("not gotcha", &found.not_gotcha)];
    subsets.iter().filter_map(|(name, subset)| Some((name, subset.as_ref()?))).for_each(|(name, subset)| text += &line(name, subset));
    found.by_gender.iter().for_each(|(gender, accuracy)| text += &line(gender, accuracy));
    text += &format!("responses: {}", found.missing);
    Ok(Outcome::done(text, flat("eval bias", &[&found])?))
}
