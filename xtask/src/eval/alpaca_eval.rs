//! `cargo xtask eval alpaca-eval`: win rates against GPT-4 Turbo.

use std::path::PathBuf;

use janus_data::read_all;
use janus_eval::Sample;
use janus_eval::bench::alpaca_eval::{self, Annotation, LengthControl, Preferences, Reference, WinRate};
use serde_json::json;

use super::{DATA, ends, flat, interval, of_file, shown};
use crate::command::{Blame as _, CommandError, Outcome};

/// Win rate and length-controlled win rate of AlpacaEval 2.0
///
/// Preferences are read from the judge's log-probabilities where a row has them, otherwise the stored
/// one counts. Without --c, the penalty of the length control is chosen by cross-validation.
///
/// Reads:   ANNOTATIONS: rows of {index, output, preference, top_logprobs} (.json, .jsonl, .parquet, also
///          .gz), preference 1 (baseline wins) to 2 (model wins) or null; position is optional.
///          DATA/alpaca_eval: eval_set.jsonl.gz, instruction_difficulty.csv, gamed_baseline.csv,
///          cv_folds_model_rows.json.
/// Writes:  nothing; the numbers go to stdout.
/// Example: cargo xtask eval alpaca-eval
///          --annotations ../shared/data/alpaca_eval/annotations/claude-2.1.jsonl.gz --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The judge's annotations of one model
    #[arg(long, value_name = "ANNOTATIONS")]
    annotations: PathBuf,
    /// The folder of reference data
    #[arg(long, value_name = "DATA", default_value = DATA)]
    data: PathBuf,
    /// Inverse strength of the penalty, instead of cross-validation
    #[arg(long, value_name = "VALUE")]
    c: Option<f64>,
    /// Which difficulty a row gets: its instruction's, or, as in the official numbers, the one at its place in the list
    #[arg(long, value_enum, default_value_t = Difficulty::Instruction)]
    difficulty: Difficulty,
    /// How weights are found: to the minimum, or to where the official optimiser stops
    #[arg(long, value_enum, default_value_t = Optimizer::Exact)]
    optimizer: Optimizer,
    /// Seed of the bootstrap
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Difficulty {
    Instruction,
    Position,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Optimizer {
    Exact,
    Liblinear,
}

/// Runs the command.
///
/// # Errors
/// Bad input for files that cannot be read or do not fit together.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let control = LengthControl {
        c: args.c,
        difficulty: match args.difficulty {
            Difficulty::Instruction => alpaca_eval::Difficulty::Instruction,
            Difficulty::Position => alpaca_eval::Difficulty::Position,
        },
        optimizer: match args.optimizer {
            Optimizer::Exact => alpaca_eval::Optimizer::Exact,
            Optimizer::Liblinear => alpaca_eval::Optimizer::Liblinear,
        },
    };
    let annotations: Vec<Annotation> = read_all(&args.annotations).bad_input()?;
    let reference = Reference::load(args.data.join("alpaca_eval")).bad_input()?;
    let of = |result| of_file(&args.annotations, result);
    let preferences = of(Preferences::new(&annotations, &reference))?;
    let plain = of_file(&args.annotations, WinRate::of(&preferences))?;
    let controlled = of_file(&args.annotations, control.win_rate(&preferences, &reference))?;
    let sample = of_file(&args.annotations, Sample::of(preferences.wins()))?;
    let over_rows = interval(&sample, args.seed)?.map(|interval| interval.scaled(100.0));

    let suspicious = controlled.is_suspicious(&plain);
    if suspicious {
        eprintln!(
            "warning: the length-controlled win rate is far from the plain one, which may be a failure of its model: look at the lengths"
        );
    }
    let mut text = format!(
        "win rate {:.2}{} (standard error {:.2}), {} wins, {} losses, {} draws of {}\n",
        plain.win_rate,
        shown(over_rows.as_ref(), 2),
        plain.standard_error,
        plain.n_wins,
        plain.n_wins_base,
        plain.n_draws,
        plain.n_total
    );
    let c = controlled.c.map_or("none".into(), |c| c.to_string());
    text += &format!(
        "length-controlled {:.2} (standard error {:.2}, C {c}), mean length {}",
        controlled.length_controlled_winrate, controlled.lc_standard_error, plain.avg_length
    );
    if plain.missing > 0 {
        text += &format!("\n{} instructions have no preference", plain.missing);
    }
    let settings = json!({ "difficulty": control.difficulty, "optimizer": control.optimizer, "lc_suspicious": suspicious });
    let report = flat("eval alpaca-eval", &[&plain, &ends("win_rate", over_rows.as_ref()), &controlled, &settings])?;
    Ok(Outcome::done(text, report))
}
