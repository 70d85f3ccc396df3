//! AlpacaEval 2.0: order of the answers, preferences, win rates, length control.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use super::Checks;
use crate::bench::alpaca_eval::{
    AlpacaAnnotation, AlpacaReference, DifficultyOf, LengthControl, Optimizer, Preferences, WinRate, predict,
    preference,
};
use crate::files::read_json;
use crate::protocol::is_swapped;
use crate::{Error, Result};
use janus_data::read_all;

#[derive(Deserialize)]
struct Expected {
    model: String,
    official: Official,
    #[serde(rename = "official_C")]
    official_c: f64,
}

#[derive(Deserialize)]
struct Official {
    win_rate: f64,
    standard_error: f64,
    n_wins: usize,
    n_wins_base: usize,
    n_draws: usize,
    n_total: usize,
    discrete_win_rate: f64,
    avg_length: usize,
    length_controlled_winrate: f64,
}

/// Instructions, of 805, for which the judge sees the model's answer first.
const SWAPS: usize = 406;
/// The paper's models with an official length-controlled win rate.
const TABLE: [&str; 7] = [
    "Mistral-7B-Instruct-v0.2",
    "gpt-3.5-turbo-1106",
    "gpt4_0613",
    "claude-3-opus-20240229",
    "Mixtral-8x7B-Instruct-v0.1",
    "Meta-Llama-3-70B-Instruct",
    "Meta-Llama-3-8B-Instruct",
];

pub(super) fn models(data: &Path, checks: &mut Checks) -> Result<()> {
    let folder = data.join("alpaca_eval");
    let reference = AlpacaReference::load(&folder)?;
    let swaps =
        reference.instructions.iter().filter(|instruction| is_swapped(&instruction.instruction)).count();
    checks.exact("alpaca_eval: instructions whose answers are swapped", swaps, SWAPS);
    for expected in read_json::<Vec<Expected>>(&folder.join("models.json"))? {
        model(&folder, &reference, &expected, checks)?;
    }
    Ok(())
}

fn model(folder: &Path, reference: &AlpacaReference, expected: &Expected, checks: &mut Checks) -> Result<()> {
    let (model, official) = (&expected.model, &expected.official);
    let annotations: Vec<AlpacaAnnotation> =
        read_all(folder.join("annotations").join(format!("{model}.jsonl.gz")))?;
    let preferences = Preferences::new(&annotations, reference)?;
    let name = |metric: &str| format!("alpaca_eval {model}: {metric}");

    let mut largest = 0.0_f64;
    let mut compared = 0;
    for annotation in &annotations {
        if let (Some(tokens), Some(stored)) = (&annotation.top_logprobs, annotation.preference) {
            let swapped = is_swapped(&reference.instructions[annotation.index].instruction);
            let read = preference(tokens, swapped).ok_or(Error::Empty { what: "a stored preference" })?;
            largest = largest.max((read - stored).abs());
            compared += 1;
        }
    }
    checks.close(
        name(&format!("largest difference of {compared} preferences to the stored ones")),
        largest,
        0.0,
        1e-9,
    );

    let plain = WinRate::of(&preferences)?;
    checks.close(name("win_rate"), plain.win_rate, official.win_rate, 1e-6);
    checks.close(name("standard_error"), plain.standard_error, official.standard_error, 1e-6);
    checks.exact(name("n_wins"), plain.n_wins, official.n_wins);
    checks.exact(name("n_wins_base"), plain.n_wins_base, official.n_wins_base);
    checks.exact(name("n_draws"), plain.n_draws, official.n_draws);
    checks.exact(name("n_total"), plain.n_total, official.n_total);
    checks.close(name("discrete_win_rate"), plain.discrete_win_rate, official.discrete_win_rate, 1e-6);
    checks.exact(name("avg_length"), plain.avg_length, official.avg_length);

    // The official fit takes difficulties by position, which makes a difference only where rows are
    // missing.
    let official_c = LengthControl {
        c: Some(expected.official_c),
        difficulty: DifficultyOf::Position,
        optimizer: Optimizer::Exact,
    };
    let levels = [
        ("official C, exact minimiser", official_c, 0.02),
        (
            "official C, reference optimiser",
            LengthControl { optimizer: Optimizer::Liblinear, ..official_c },
            1e-4,
        ),
        ("own cross-validation, exact minimiser", LengthControl { c: None, ..official_c }, 0.15),
        (
            "own cross-validation, reference optimiser",
            LengthControl { c: None, optimizer: Optimizer::Liblinear, ..official_c },
            0.15,
        ),
    ];
    for (level, control, tolerance) in levels {
        let got = control.win_rate(&preferences, reference)?.length_controlled_winrate;
        checks.close(
            name(&format!("length_controlled_winrate, {level}")),
            got,
            official.length_controlled_winrate,
            tolerance,
        );
    }
    Ok(())
}

#[derive(Deserialize)]
struct Weights {
    #[serde(rename = "")]
    model: String,
    #[serde(rename = "np.tanh(std_delta_len)")]
    length: f64,
    instruction_difficulty: f64,
    #[serde(rename = "not_gamed_baseline.astype(float)")]
    own: f64,
}

#[derive(Deserialize)]
struct Ranked {
    #[serde(rename = "")]
    model: String,
    length_controlled_winrate: Option<f64>,
}

pub(super) fn stored_weights(data: &Path, checks: &mut Checks) -> Result<()> {
    let folder = data.join("alpaca_eval");
    let reference = AlpacaReference::load(&folder)?;
    let difficulties: Vec<f64> =
        reference.instructions.iter().map(|instruction| instruction.difficulty).collect();
    let weights: HashMap<String, [f64; 3]> = read_all::<Weights>(folder.join("lc_weights.csv"))?
        .into_iter()
        .map(|row| (row.model, [row.length, row.instruction_difficulty, row.own]))
        .collect();
    let ranked: HashMap<String, Option<f64>> = read_all::<Ranked>(folder.join("leaderboard.csv"))?
        .into_iter()
        .map(|row| (row.model, row.length_controlled_winrate))
        .collect();
    for model in TABLE {
        let absent = |file: &str| {
            Error::reference(folder.join(file).display().to_string(), format!("a row for {model}"), "none")
        };
        let weights = *weights.get(model).ok_or_else(|| absent("lc_weights.csv"))?;
        let must = ranked.get(model).copied().flatten().ok_or_else(|| absent("leaderboard.csv"))?;
        let (got, _) = predict(weights, &difficulties)?;
        checks.close(
            format!("alpaca_eval {model}: length_controlled_winrate, stored weights"),
            got,
            must,
            1e-6,
        );
    }
    Ok(())
}
