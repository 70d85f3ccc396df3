//! Multifaceted Bench: rubric scores of answers under many system messages, from five sources (Janus, arXiv 2405.17977).
//!
//! [`RubricReport::of`] takes judgments of several models and gives each one's means, run by run, and who beats whom
//! how often. [`Group`] sorts the bench's rows into the five columns of the paper's table; [`prompt_pool`] makes the pool of
//! prompts that such a bench is drawn from, each prompt once.

mod pool;
mod rubric;

pub use pool::{PoolPrompt, PoolReport, PromptSet, prompt_pool};
pub use rubric::{Absolute, Pairwise, RubricReport, RubricRow};

use janus_core::{BenchRecord, ChatRequest, Message, SamplingParams};
use serde::{Deserialize, Serialize};

use crate::{ScoredRow, record_id};

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
    /// The group of a row by its `source`. The bench names four of the sets in lower case; rows of FLASK carry the name
    /// of the task that FLASK took them from, of which there are 122, two of them spelled `Self-instruct` and `Koala`.
    ///
    /// ```
    /// use janus_eval::bench::multifaceted::Group;
    /// assert_eq!(Group::of("self-instruct"), Group::SelfInstruct);
    /// assert_eq!(Group::of("Alpha-nlg (art)"), Group::Flask);
    /// ```
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
    pub fn name(self) -> &'static str {
        match self {
            Self::AlpacaEval => "mf-AlpacaEval",
            Self::Flask => "mf-FLASK",
            Self::Koala => "mf-Koala",
            Self::MtBench => "mf-MT-Bench",
            Self::SelfInstruct => "mf-Self-Instruct",
        }
    }
}

/// The same rows with the five groups as sources, so that [`summarise`](crate::summarise) gives the paper's columns.
pub fn by_group(rows: &[ScoredRow]) -> Vec<ScoredRow> {
    rows.iter().map(|row| ScoredRow { source: Group::of(&row.source).name().into(), ..row.clone() }).collect()
}

/// The requests that have a model answer the bench, with its system messages or without; ids are the records'. The paper
/// samples with the default parameters.
pub fn requests(records: &[BenchRecord], show_system: bool, sampling: &SamplingParams) -> Vec<ChatRequest> {
    let request = |(index, record): (usize, &BenchRecord)| ChatRequest {
        id: record_id(record, index),
        messages: if show_system { record.prompt_messages() } else { vec![Message::user(&record.prompt)] },
        sampling: sampling.clone(),
    };
    records.iter().enumerate().map(request).collect()
}
