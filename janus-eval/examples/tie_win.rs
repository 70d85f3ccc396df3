//! Computes tie+win with an interval from the recorded scores of two models.
//!
//! Run with `cargo run -p janus-eval --example tie_win`. The scores are in the source here; usually they
//! are read from files with one [`ScoredRow`] per line.
#![expect(clippy::print_stdout, reason = "an example prints")]

use janus_eval::score::{PairedOutcomes, ScoredRow, summarise};
use janus_eval::stats::{Bootstrap, Sample};

const JANUS: &str = r#"
{"id":"kite-1","source":"koala","scores":[5,4,4,5]}
{"id":"kite-2","source":"koala","scores":[4,4,5,5]}
{"id":"tea-1","source":"flask","scores":[4,4,4,4]}
{"id":"tea-2","source":"flask","scores":[5,null,4,5]}
{"id":"rain-1","source":"flask","scores":[3,2,4,4]}
{"id":"rain-2","source":"flask","scores":[5,5,3,4]}"#;

const UNIFORM: &str = r#"
{"id":"kite-1","source":"koala","scores":[3,4,4,4]}
{"id":"kite-2","source":"koala","scores":[2,3,5,5]}
{"id":"tea-1","source":"flask","scores":[4,4,4,4]}
{"id":"tea-2","source":"flask","scores":[3,3,4,5]}
{"id":"rain-1","source":"flask","scores":[3,4,4,4]}
{"id":"rain-2","source":"flask","scores":[4,4,3,4]}"#;

fn rows(lines: &str) -> Result<Vec<ScoredRow>, serde_json::Error> {
    lines.trim().lines().map(serde_json::from_str).collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (janus, uniform) = (rows(JANUS)?, rows(UNIFORM)?);
    for (name, rows) in [("janus", &janus), ("uniform", &uniform)] {
        let overall = summarise(&[rows])?.overall;
        let error = overall.standard_error.map_or("none".into(), |error| format!("{error:.3}"));
        println!("{name:8} mean {:.3}, standard error {error}, n = {}", overall.mean, overall.n);
    }

    let outcomes = PairedOutcomes::of(&[&janus], &[&uniform])?;
    let rates = outcomes.tally.rates()?;
    println!("{:?}", outcomes.tally);
    println!(
        "tie+win {:.3}, with all ties {:.3}, half ties {:.3}",
        rates.tie_win, rates.tie_win_all, rates.win_rate_ties_half
    );

    // Rows of one instruction under several system messages are not independent: resample them together.
    let instruction = |id: &str| id.split('-').next().unwrap_or_default().to_owned();
    let sample = Sample::clustered(
        outcomes.rows.iter().map(|row| (instruction(&row.id), f64::from(row.outcome.is_tie_win()))),
    )?;
    let interval = Bootstrap::default().mean(&sample)?;
    println!(
        "tie+win {:.3} [{:.3}, {:.3}] over {} rows of {} instructions",
        interval.estimate,
        interval.low,
        interval.high,
        interval.n,
        sample.units()
    );
    Ok(())
}
