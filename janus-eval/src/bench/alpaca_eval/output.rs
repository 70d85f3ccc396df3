//! What a model is asked, and rows of its outputs.

use janus_core::{Generation, SamplingParams};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::bench::Task;
use crate::bench::task::checked;

/// A row of the evaluation set, as far as a model meets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvalInstruction {
    /// Its place in the evaluation set, from 0; the file's own order where there is none, as in AlpacaEval's own file.
    #[serde(default)]
    pub index: Option<usize>,
    /// Which of its five datasets it comes from.
    #[serde(default)]
    pub dataset: String,
    /// The instruction.
    pub instruction: String,
}

/// What a model is asked. The paper samples with the default parameters.
///
/// # Errors
/// [`Error::Row`](crate::Error::Row) for an index that stands twice, or an empty instruction.
pub fn tasks(instructions: &[EvalInstruction], sampling: &SamplingParams) -> Result<Vec<Task>> {
    let task =
        |(place, row): (usize, &EvalInstruction)| Task::new(row.index.unwrap_or(place).to_string(), &row.instruction, sampling.clone());
    checked(instructions.iter().enumerate().map(task).collect(), "index", "instruction")
}

/// A model's output: AlpacaEval's own row, with the index that our reference data has beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelOutput {
    /// Which instruction, from 0.
    pub index: usize,
    /// Which dataset the instruction comes from.
    #[serde(default)]
    pub dataset: String,
    /// The instruction.
    pub instruction: String,
    /// What the model said.
    pub output: String,
    /// The model's name.
    pub generator: String,
}

impl ModelOutput {
    /// The row of the instruction at `place` of its file, from 0.
    pub fn new(place: usize, row: &EvalInstruction, generator: impl Into<String>, generation: &Generation) -> Self {
        Self {
            index: row.index.unwrap_or(place),
            dataset: row.dataset.clone(),
            instruction: row.instruction.clone(),
            output: generation.text.clone(),
            generator: generator.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_the_rows_own_or_its_place() {
        let row = |index| EvalInstruction { index, dataset: "koala".into(), instruction: "do".into() };
        let asked = tasks(&[row(Some(4)), row(None)], &SamplingParams::default()).unwrap();
        assert_eq!(asked.iter().map(|task| task.id.as_str()).collect::<Vec<_>>(), ["4", "1"]);
        let error = tasks(&[row(Some(1)), row(None)], &SamplingParams::default()).unwrap_err();
        assert_eq!(error.to_string(), r#"row 2, field "index": expected an id that no other row has, got "1", the id of row 1"#);
    }
}
