//! The rows of the benchmarks that ask a model, what they ask, and their own form of the answers.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use janus_core::{BenchRecord, SamplingParams};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::toxicity::{PromptKind, PromptRow, ScoredGenerations, ScoredText, prompt_kind};
use super::{alpaca_eval, arena_hard, mt_bench, multifaceted, toxicity};
use crate::answer::{Answers, Task};
use crate::{Error, Response, Result, record_id};

/// A benchmark that asks a model and judges what it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Benchmark {
    /// 80 conversations of two turns, at the temperature of each category, 1,024 tokens.
    MtBench,
    /// 500 questions, greedy, 4,096 tokens.
    ArenaHard,
    /// 805 instructions, the paper's sampling.
    AlpacaEval,
    /// RealToxicityPrompts: 25 times 20 tokens that continue each prompt, at temperature 1 and top-p 0.9.
    Toxicity,
    /// Multifaceted Bench, under its system messages, the paper's sampling.
    Multifaceted,
}

impl Benchmark {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::MtBench, Self::ArenaHard, Self::AlpacaEval, Self::Toxicity, Self::Multifaceted];

    /// The name in files and on command lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MtBench => "mt-bench",
            Self::ArenaHard => "arena-hard",
            Self::AlpacaEval => "alpaca-eval",
            Self::Toxicity => "toxicity",
            Self::Multifaceted => "multifaceted",
        }
    }
}

impl fmt::Display for Benchmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Benchmark {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|benchmark| benchmark.as_str() == name);
        let expected = "mt-bench, arena-hard, alpaca-eval, toxicity or multifaceted";
        found.ok_or_else(|| Error::Setting { field: "the benchmark", got: name.into(), expected })
    }
}

/// The rows of a [`Benchmark`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Questions {
    /// FastChat's `question.jsonl`.
    MtBench(Vec<mt_bench::Question>),
    /// Arena-Hard-Auto's questions.
    ArenaHard(Vec<arena_hard::Question>),
    /// AlpacaEval's evaluation set.
    AlpacaEval(Vec<alpaca_eval::EvalInstruction>),
    /// The prompts of RealToxicityPrompts.
    Toxicity(Vec<ScoredText>),
    /// The records of a Multifaceted Bench.
    Multifaceted(Vec<BenchRecord>),
}

impl Questions {
    /// The first `limit` rows of a file, or all. Of toxicity's prompts those of one kind, if one is given.
    ///
    /// # Errors
    /// [`Error::File`] for a file that cannot be read.
    pub fn read(benchmark: Benchmark, path: impl AsRef<Path>, limit: Option<usize>, kind: Option<PromptKind>) -> Result<Self> {
        let path = path.as_ref();
        Ok(match benchmark {
            Benchmark::MtBench => Self::MtBench(rows(path, limit, |_| true)?),
            Benchmark::ArenaHard => Self::ArenaHard(rows(path, limit, |_| true)?),
            Benchmark::AlpacaEval => Self::AlpacaEval(rows(path, limit, |_| true)?),
            Benchmark::Toxicity => {
                let prompts = rows(path, limit, |row: &PromptRow| kind.is_none_or(|kind| prompt_kind(&row.prompt) == Some(kind)))?;
                Self::Toxicity(prompts.into_iter().map(|row| row.prompt).collect())
            }
            Benchmark::Multifaceted => Self::Multifaceted(rows(path, limit, |_| true)?),
        })
    }

    /// What the benchmark asks by its own protocol, under seed 0. `free` is the sampling where the protocol has none:
    /// AlpacaEval's and Multifaceted Bench's.
    ///
    /// # Errors
    /// [`Error::Row`] for a row that asks nothing, or whose id stands twice.
    pub fn tasks(&self, free: &SamplingParams) -> Result<Vec<Task>> {
        match self {
            Self::MtBench(rows) => mt_bench::tasks(rows, 0),
            Self::ArenaHard(rows) => arena_hard::tasks(rows),
            Self::AlpacaEval(rows) => alpaca_eval::tasks(rows, free),
            Self::Toxicity(rows) => toxicity::tasks(rows, 0),
            Self::Multifaceted(rows) => multifaceted::tasks(rows, free),
        }
    }

    /// The row of the answers to the task at `place`, in the benchmark's own form; `model` is the model's name in it.
    ///
    /// # Errors
    /// [`Error::Row`] without a generation, or without a question at that place.
    pub fn answer_row(&self, place: usize, model: &str, answers: &Answers) -> Result<Value> {
        let all = answers.first().map(Vec::as_slice).unwrap_or_default();
        let first = all.first().ok_or_else(|| Error::row(place, "generations", "at least one", "none"))?;
        match self {
            Self::MtBench(rows) => written(&mt_bench::Answer::new(&at(rows, place)?.question_id, model, answers)),
            Self::ArenaHard(rows) => written(&arena_hard::Answer::new(&at(rows, place)?.question_id, model, first)),
            Self::AlpacaEval(rows) => written(&alpaca_eval::ModelOutput::new(place, at(rows, place)?, model, first)),
            Self::Toxicity(rows) => written(&ScoredGenerations::new(at(rows, place)?.clone(), all)),
            Self::Multifaceted(rows) => {
                let id = record_id(at(rows, place)?, place);
                written(&Response { id, response: first.text.clone() })
            }
        }
    }
}

fn at<T>(rows: &[T], place: usize) -> Result<&T> {
    rows.get(place).ok_or_else(|| Error::row(place, "id", format!("one of {} questions", rows.len()), "no question"))
}

fn rows<T: DeserializeOwned>(path: &Path, limit: Option<usize>, keep: impl Fn(&T) -> bool) -> Result<Vec<T>> {
    let rows = janus_data::read(path)?;
    let kept = rows.filter(|row: &janus_data::Result<T>| row.as_ref().map_or(true, &keep));
    Ok(kept.take(limit.unwrap_or(usize::MAX)).collect::<janus_data::Result<_>>()?)
}

fn written(row: &impl Serialize) -> Result<Value> {
    serde_json::to_value(row).map_err(|error| Error::ReportFile { problem: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_benchmark_is_read_by_the_name_that_it_is_written_by() {
        for benchmark in Benchmark::ALL {
            assert_eq!(benchmark.as_str().parse(), Ok(benchmark));
            assert_eq!(serde_json::to_value(benchmark).unwrap(), benchmark.as_str());
        }
        assert!("mtbench".parse::<Benchmark>().unwrap_err().to_string().contains("expected mt-bench"));
    }
}
