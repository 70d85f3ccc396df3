//! Win rate and length-controlled win rate of AlpacaEval 2.0.

use std::fmt;
use std::path::Path;

use janus_data::read_all;
use serde_json::{Map, Value, json};

use super::{AlpacaAnnotation, AlpacaReference, LengthControl, LengthControlled, Preferences, WinRate};
#[cfg(doc)]
use crate::Error;
use crate::Result;
use crate::bench::evaluation::{Evaluation, Numbers, ends, flat, in_file, interval, part, shown};
use crate::stats::{Interval, Sample};

/// The win rates of a model.
struct AlpacaEvalScore {
    /// The win rate.
    pub win_rate: WinRate,
    /// Its interval over instructions, in percent.
    pub interval: Option<Interval>,
    /// The length-controlled win rate.
    pub controlled: LengthControlled,
    /// The settings of the length control.
    pub control: LengthControl,
}

/// The win rates of a file of annotations: rows of `{index, output, preference, top_logprobs}`, where a
/// preference is between 1 and 2, or null. `data` is the folder of reference data. The field
/// `lc_suspicious` is true if the length-controlled win rate is so far from the plain one that the
/// regression may have failed.
///
/// # Errors
/// [`Error::File`]; [`Error::Reference`] for reference data that does not match or lacks a difficulty.
/// With the file's path [`Error::Row`] for an index that is not in the evaluation set or occurs twice,
/// for a preference outside 1..=2 (and not 0), and for a log-probability above 0 or NaN;
/// [`Error::Empty`] without a preference, [`Error::TooFewUnits`] with a single one; [`Error::Setting`]
/// for a C that is not above 0; [`Error::NotConverged`].
pub fn evaluate(
    annotations: impl AsRef<Path>,
    data: impl AsRef<Path>,
    control: LengthControl,
    seed: u64,
) -> Result<Evaluation> {
    let path = annotations.as_ref();
    let annotations: Vec<AlpacaAnnotation> = read_all(path)?;
    let reference = AlpacaReference::load(data)?;
    let of = || {
        let preferences = Preferences::new(&annotations, &reference)?;
        let win_rate = WinRate::of(&preferences)?; // before the others, for the best error on missing preferences
        let interval =
            interval(&Sample::of(preferences.wins())?, seed)?.map(|interval| interval.scaled(100.0));
        let controlled = control.win_rate(&preferences, &reference)?;
        Ok(AlpacaEvalScore { win_rate, interval, controlled, control })
    };
    in_file(path, of())?.evaluation()
}

impl Numbers for AlpacaEvalScore {
    fn numbers(&self) -> Result<Map<String, Value>> {
        let Self { win_rate, interval, controlled, control } = self;
        let settings = json!({ "difficulty": control.difficulty, "optimizer": control.optimizer, "lc_suspicious": controlled.is_suspicious(win_rate) });
        flat([part(win_rate), ends("win_rate", interval.as_ref()), part(controlled), Ok(settings)])
    }
}

impl fmt::Display for AlpacaEvalScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { win_rate: plain, interval, controlled, .. } = self;
        writeln!(
            f,
            "win rate {:.2}{} (standard error {:.2}), {} wins, {} losses, {} draws of {}",
            plain.win_rate,
            shown(interval.as_ref(), 2),
            plain.standard_error,
            plain.n_wins,
            plain.n_wins_base,
            plain.n_draws,
            plain.n_total
        )?;
        let c = controlled.c.map_or("none".into(), |c| c.to_string());
        write!(
            f,
            "length-controlled {:.2} (standard error {:.2}, C {c}), mean length {}",
            controlled.length_controlled_winrate, controlled.lc_standard_error, plain.avg_length
        )?;
        if plain.missing > 0 {
            write!(f, "\n{} instructions have no preference", plain.missing)?;
        }
        Ok(())
    }
}
