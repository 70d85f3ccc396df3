//! The tasks of the benchmark, and the rows of a model's outputs.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use janus_core::{Generation, SamplingParams};
use janus_data::read_all;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::answer::{Task, checked};
use crate::files::rule;
use crate::join::Missing;
use crate::protocol::{Case, Turn};

/// The part of an evaluation set's row that is needed to sample an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EvalInstruction {
    /// Its index in the evaluation set, from 0. Without one, as in AlpacaEval's own file, it is the
    /// row's index in the file.
    #[serde(default)]
    pub index: Option<usize>,
    /// The dataset that it comes from, one of five.
    #[serde(default)]
    pub dataset: String,
    /// The instruction.
    pub instruction: String,
}

/// The tasks of the benchmark: each instruction as a user's message.
///
/// # Errors
/// [`Error::Row`](crate::Error::Row) for an index that occurs twice, or an empty instruction.
pub(crate) fn tasks(instructions: &[EvalInstruction], sampling: &SamplingParams) -> Result<Vec<Task>> {
    let task = |(place, row): (usize, &EvalInstruction)| {
        Task::new(row.index.unwrap_or(place).to_string(), &row.instruction, sampling.clone())
    };
    checked(instructions.iter().enumerate().map(task).collect(), "index", "instruction")
}

/// A model's output: AlpacaEval's own row, with the index that this workspace's reference data adds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ModelOutput {
    /// Index of the instruction, from 0.
    pub index: usize,
    /// The dataset that the instruction comes from.
    #[serde(default)]
    pub dataset: String,
    /// The instruction.
    pub instruction: String,
    /// The model's answer.
    pub output: String,
    /// The model's name.
    pub generator: String,
}

impl ModelOutput {
    /// The row of the instruction at index `place` of its file.
    pub(crate) fn new(
        place: usize,
        row: &EvalInstruction,
        generator: impl Into<String>,
        generation: &Generation,
    ) -> Self {
        Self {
            index: row.index.unwrap_or(place),
            dataset: row.dataset.clone(),
            instruction: row.instruction.clone(),
            output: generation.text.clone(),
            generator: generator.into(),
        }
    }
}

#[derive(Deserialize)]
struct BaselineOutput {
    index: usize,
    instruction: String,
    reference_output: String,
}

#[derive(Deserialize)]
struct IndexedOutput {
    index: usize,
    #[serde(alias = "response")]
    output: String,
}

/// The input of [`AlpacaEval`](crate::protocol::AlpacaEval), and the instructions without an output. A
/// case joins an output of a file of `{index, output}` rows with the baseline's from a file of
/// `{index, instruction, reference_output}` rows.
///
/// # Errors
/// [`Error::File`](crate::Error::File) for a file that cannot be read, or an output whose instruction is
/// not in the evaluation set.
pub fn cases(eval_set: &Path, outputs: &Path) -> Result<(Vec<Case>, Missing)> {
    let rows: Vec<BaselineOutput> = read_all(eval_set)?;
    let by_index: HashMap<usize, &BaselineOutput> = rows.iter().map(|row| (row.index, row)).collect();
    let model_outputs: Vec<IndexedOutput> = read_all(outputs)?;
    let mut cases = Vec::with_capacity(model_outputs.len());
    for (place, IndexedOutput { index, output }) in model_outputs.iter().enumerate() {
        let Some(row) = by_index.get(index) else {
            let message = format!("the evaluation set has no instruction {index}");
            return Err(rule(outputs, place as u64 + 1, None, Some("index".into()), message));
        };
        cases.push(Case::new(
            index.to_string(),
            vec![Turn::new(&row.instruction, output).against(&row.reference_output)],
        ));
    }
    let answered: HashSet<usize> = model_outputs.iter().map(|output| output.index).collect();
    let missing: Vec<String> = rows
        .iter()
        .map(|row| row.index)
        .filter(|index| !answered.contains(index))
        .map(|i| i.to_string())
        .collect();
    Ok((cases, missing.iter().map(String::as_str).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_the_rows_own_or_its_position() {
        let row = |index| EvalInstruction { index, dataset: "koala".into(), instruction: "do".into() };
        let got = tasks(&[row(Some(4)), row(None)], &SamplingParams::default()).unwrap();
        assert_eq!(got.iter().map(|task| task.id.as_str()).collect::<Vec<_>>(), ["4", "1"]);
        let error = tasks(&[row(Some(1)), row(None)], &SamplingParams::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"row 2, field "index": expected an id that no other row has, got "1", the id of row 1"#
        );
    }
}
