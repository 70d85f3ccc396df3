//! The reference data that every model is evaluated with: the evaluation set, its difficulties, the
//! gamed baselines.

use std::path::Path;

use serde::Deserialize;

use crate::{Error, Result};
use janus_data::read_all;

/// An instruction and the baseline's answer to it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Instruction {
    /// The instruction.
    pub instruction: String,
    /// The baseline's answer.
    pub baseline: String,
    /// Its length in Unicode code points.
    pub baseline_length: usize,
    /// The instruction's difficulty, a constant of the official regression.
    pub difficulty: f64,
}

/// An answer of the baseline model, prompted to be verbose or concise, compared with its plain answer.
/// These rows anchor the weight of the length to the effect that length alone has on the judge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct GamedRow {
    /// Difference of lengths in standard deviations, before tanh.
    pub std_delta_len: f64,
    /// Difficulty of the instruction.
    pub difficulty: f64,
    /// The preference, 0 to 1.
    pub preference: f64,
    /// Its fold in cross-validation.
    pub fold: usize,
}

/// The evaluation set and the data for the length control.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AlpacaReference {
    /// In the order of their indices.
    pub(crate) instructions: Vec<Instruction>,
    pub(super) gamed: Vec<GamedRow>,
    /// Fold of each of a model's rows; used only if the model has all rows.
    pub(super) folds: Vec<usize>,
}

#[derive(Deserialize)]
struct EvalRow {
    index: usize,
    instruction: String,
    reference_output: String,
}

#[derive(Deserialize)]
struct DifficultyRow {
    index: usize,
    instruction_difficulty: f64,
}

#[derive(Deserialize)]
struct GamedFileRow {
    std_delta_len: f64,
    instruction_difficulty: f64,
    preference_reconstructed: f64,
    cv_fold: usize,
}

/// Number of cross-validation folds.
pub(super) const FOLDS: usize = 5;

impl AlpacaReference {
    /// Reads a folder with the files that the docs of [`alpaca_eval`](super) name.
    ///
    /// # Errors
    /// [`Error::File`] for a file that cannot be read, [`Error::Reference`] for files that do not match.
    pub(crate) fn load(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let path = |name: &str| folder.join(name);
        let rows: Vec<EvalRow> = read_all(path("eval_set.jsonl.gz"))?;
        let difficulties: Vec<DifficultyRow> = read_all(path("instruction_difficulty.csv"))?;
        let gamed: Vec<GamedFileRow> = read_all(path("gamed_baseline.csv"))?;
        let folds: Vec<usize> = crate::files::read_json(&path("cv_folds_model_rows.json"))?;

        let name = |file: &str| path(file).display().to_string();
        if rows.is_empty() {
            return Err(Error::reference(name("eval_set.jsonl.gz"), "instructions", "none"));
        }
        for (file, got) in
            [("instruction_difficulty.csv", difficulties.len()), ("cv_folds_model_rows.json", folds.len())]
        {
            if got != rows.len() {
                return Err(Error::reference(
                    name(file),
                    format!("{} rows, one for each instruction", rows.len()),
                    got,
                ));
            }
        }
        let mut instructions = Vec::with_capacity(rows.len());
        for (place, (row, difficulty)) in rows.into_iter().zip(difficulties).enumerate() {
            for (file, index) in
                [("eval_set.jsonl.gz", row.index), ("instruction_difficulty.csv", difficulty.index)]
            {
                if index != place {
                    return Err(Error::reference(
                        format!("{}, row {}, field \"index\"", name(file), place + 1),
                        place.to_string(),
                        index,
                    ));
                }
            }
            instructions.push(Instruction {
                baseline_length: row.reference_output.chars().count(),
                instruction: row.instruction,
                baseline: row.reference_output,
                difficulty: difficulty.instruction_difficulty,
            });
        }
        let gamed: Vec<GamedRow> = gamed
            .into_iter()
            .map(|row| GamedRow {
                std_delta_len: row.std_delta_len,
                difficulty: row.instruction_difficulty,
                preference: row.preference_reconstructed,
                fold: row.cv_fold,
            })
            .collect();
        Self::new(instructions, gamed, folds)
    }

    /// A reference from its parts: `folds` has one entry for each instruction.
    pub(crate) fn new(
        instructions: Vec<Instruction>,
        gamed: Vec<GamedRow>,
        folds: Vec<usize>,
    ) -> Result<Self> {
        if instructions.is_empty() {
            return Err(Error::Empty { what: "an evaluation set" });
        }
        if instructions.len() != folds.len() {
            return Err(Error::Lengths { left: instructions.len(), right: folds.len() });
        }
        if let Some((row, fold)) = gamed
            .iter()
            .map(|row| row.fold)
            .chain(folds.iter().copied())
            .enumerate()
            .find(|(_, fold)| *fold >= FOLDS)
        {
            return Err(Error::reference(
                format!("the fold of row {} of the gamed rows and the model's rows", row + 1),
                "0 to 4",
                fold,
            ));
        }
        Ok(Self { instructions, gamed, folds })
    }
}
