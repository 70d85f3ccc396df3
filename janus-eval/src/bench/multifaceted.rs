//! Multifaceted Bench: rubric scores of answers under many system messages, from five sources (Janus,
//! arXiv 2405.17977).
//!
//! [`evaluate`] computes the mean scores and the pairwise win rates of the models in a file of
//! judgments. [`Group`] assigns the bench's rows to the five columns of the paper's table.
//! [`prompt_pool`] builds the deduplicated pool of prompts that such a bench is drawn from.

mod pool;
mod rubric;

pub use pool::{PoolPrompt, PoolReport, prompt_pool};
pub use rubric::evaluate;
pub(crate) use rubric::{RubricReport, RubricRow};

use janus_core::{BenchRecord, SamplingParams};
use serde::{Deserialize, Serialize};

use crate::answer::{Task, checked};
use crate::score::ScoredRow;
use crate::{Result, record_id};

/// The five columns of the paper's table of scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Group {
    /// AlpacaEval 2.0.
    #[serde(rename = "mf-AlpacaEval")]
    AlpacaEval,
    /// FLASK.
    #[serde(rename = "mf-FLASK")]
    Flask,
    /// Koala.
    #[serde(rename = "mf-Koala")]
    Koala,
    /// MT-Bench.
    #[serde(rename = "mf-MT-Bench")]
    MtBench,
    /// Self-Instruct.
    #[serde(rename = "mf-Self-Instruct")]
    SelfInstruct,
}

impl Group {
    /// The group of a row by its `source`. The bench names four of the sets in lower case. Rows of FLASK
    /// have one of 122 names instead, the task that FLASK took them from; two of these are spelled
    /// `Self-instruct` and `Koala`.
    pub fn of(source: &str) -> Self {
        match source {
            "alpaca_eval" | "alpaca-eval" | "alpacaeval" | "mf-AlpacaEval" => Self::AlpacaEval,
            "koala" | "koala_test_set" | "mf-Koala" => Self::Koala,
            "mt_bench" | "mt-bench" | "mtbench" | "mf-MT-Bench" => Self::MtBench,
            "self_instruct" | "self-instruct" | "selfinstruct" | "mf-Self-Instruct" => Self::SelfInstruct,
            _ => Self::Flask,
        }
    }

    /// The column's name.
    fn name(self) -> &'static str {
        match self {
            Self::AlpacaEval => "mf-AlpacaEval",
            Self::Flask => "mf-FLASK",
            Self::Koala => "mf-Koala",
            Self::MtBench => "mf-MT-Bench",
            Self::SelfInstruct => "mf-Self-Instruct",
        }
    }
}

/// The same rows with the five groups as sources, so that [`summarise`](crate::score::summarise) returns
/// the paper's columns.
pub fn by_group(rows: &[ScoredRow]) -> Vec<ScoredRow> {
    rows.iter().map(|row| ScoredRow { source: Group::of(&row.source).name().into(), ..row.clone() }).collect()
}

/// The tasks of the bench: each record's prompt with its system message, under the record's id
/// ([`record_id`]). A row of the answers is a [`Response`](crate::Response).
///
/// # Errors
/// [`Error::Row`](crate::Error::Row) for an id that occurs twice, or an empty prompt.
pub(super) fn tasks(records: &[BenchRecord], sampling: &SamplingParams) -> Result<Vec<Task>> {
    let task = |(index, record): (usize, &BenchRecord)| Task {
        system: Some(record.system.clone()),
        ..Task::new(record_id(record, index), &record.prompt, sampling.clone())
    };
    checked(records.iter().enumerate().map(task).collect(), "id", "prompt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_flask_have_the_names_of_its_tasks() {
        assert_eq!(Group::of("self-instruct"), Group::SelfInstruct);
        assert_eq!(Group::of("Alpha-nlg (art)"), Group::Flask);
        assert_eq!(by_group(&[ScoredRow::new("1", "koala", [])])[0].source, "mf-Koala");
    }
}
