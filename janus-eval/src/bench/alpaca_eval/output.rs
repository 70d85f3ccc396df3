//! What a model is asked, and rows of its outputs.

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

/// A row of the evaluation set, as far as a model meets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EvalInstruction {
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
pub(crate) fn tasks(instructions: &[EvalInstruction], sampling: &SamplingParams) -> Result<Vec<Task>> {
    let task =
        |(place, row): (usize, &EvalInstruction)| Task::new(row.index.unwrap_or(place).to_string(), &row.instruction, sampling.clone());
    checked(instructions.iter().enumerate().map(task).collect(), "index", "instruction")
}

/// A model's output: AlpacaEval's own row, with the index that our reference data has beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ModelOutput {
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
    pub(crate) fn new(place: usize, row: &EvalInstruction, generator: impl Into<String>, generation: &Generation) -> Self {
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

/// What [`AlpacaEval`](crate::protocol::AlpacaEval) judges: each output of a file, rows of `{index, output}`, beside the baseline's, rows of
/// `{index, instruction, reference_output}`; and the instructions without an output.
///
/// # Errors
/// [`Error::File`](crate::Error::File) for a file that cannot be read, or an output whose instruction is not in the evaluation set.
pub fn cases(eval_set: &Path, outputs: &Path) -> Result<(Vec<Case>, Missing)> {
    let rows: Vec<BaselineOutput> = read_all(eval_set)?;
    let by_index: HashMap<usize, &BaselineOutput> = rows.iter().map(|row| (row.index, row)).collect();
    let said: Vec<IndexedOutput> = read_all(outputs)?;
    let mut cases = Vec::with_capacity(said.len());
    for (place, IndexedOutput { index, output }) in said.iter().enumerate() {
        let Some(row) = by_index.get(index) else {
            let message = format!("the evaluation set has no instruction {index}");
            return Err(rule(outputs, place as u64 + 1, None, Some("index".into()), message));
        };
        cases.push(Case::new(index.to_string(), vec![Turn::new(&row.instruction, output).against(&row.reference_output)]));
    }
    let answered: HashSet<usize> = said.iter().map(|output| output.index).collect();
    let missing: Vec<String> = rows.iter().map(|row| row.index).filter(|index| !answered.contains(index)).map(|i| i.to_string()).collect();
    Ok((cases, missing.iter().map(String::as_str).collect()))
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
