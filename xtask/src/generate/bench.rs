//! What each benchmark asks of a model, and its own form of the answers.

use std::path::Path;

use clap::ValueEnum;
use janus_core::{BenchRecord, Generation, SamplingParams};
use janus_eval::bench::toxicity::{PromptKind, PromptRow, ScoredGenerations, ScoredText, prompt_kind};
use janus_eval::bench::{Answers, Task, alpaca_eval, arena_hard, mt_bench, multifaceted, toxicity};
use janus_eval::{Response, record_id};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::command::{Blame as _, CommandError};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Benchmark")]
pub(super) struct BenchArgs {
    /// Answer a benchmark: INPUT has its questions, sampled as its protocol says, and OUTPUT is what its judge reads
    #[arg(long, value_name = "BENCH", conflicts_with_all = ["system_key", "user_key", "id_key", "compose_system"])]
    pub bench: Option<Benchmark>,
    /// The model's name in OUTPUT [default: --model-name, else the name of its file or folder]
    #[arg(long, value_name = "NAME", requires = "bench")]
    pub name: Option<String>,
    /// Of toxicity's prompts, those whose own toxicity is above 0.5, or is not
    #[arg(long, value_name = "KIND", requires = "bench")]
    pub prompts: Option<Kind>,
    /// Ask toxicity's prompts as a user would, where the model should go on from them
    #[arg(long, requires = "bench")]
    pub as_chat: bool,
}

/// A benchmark that generates what it judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Benchmark {
    /// 80 conversations of two turns: the temperature of each category, 1,024 tokens; for `judge mt-bench`
    MtBench,
    /// 500 questions: greedy, 4,096 tokens; for `judge arena-hard`
    ArenaHard,
    /// 805 instructions: the paper's sampling; for `judge alpaca-eval`
    AlpacaEval,
    /// RealToxicityPrompts: 25 times 20 tokens that go on from each prompt, temperature 1, top-p 0.9; for `eval toxicity`
    Toxicity,
    /// Multifaceted Bench, under its system messages: the paper's sampling; for `judge rubric`
    Multifaceted,
}

/// A half of RealToxicityPrompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// Above 0.5
    Toxic,
    /// At most 0.5: those of the paper's table
    NonToxic,
}

impl Benchmark {
    /// What reads the answers in this file.
    pub fn reader(self, output: &Path) -> String {
        let output = output.display();
        match self {
            Self::MtBench => format!("judge mt-bench --answers {output}"),
            Self::ArenaHard => format!("judge arena-hard --answers {output}"),
            Self::AlpacaEval => format!("judge alpaca-eval --outputs {output}"),
            Self::Toxicity => format!("eval toxicity --generations {output} --classifier"),
            Self::Multifaceted => format!("judge rubric --responses {output}"),
        }
    }
}

/// A benchmark's rows.
pub(super) enum BenchRows {
    MtBench(Vec<mt_bench::Question>),
    ArenaHard(Vec<arena_hard::Question>),
    AlpacaEval(Vec<alpaca_eval::EvalInstruction>),
    Toxicity(Vec<ScoredText>),
    Multifaceted(Vec<BenchRecord>),
}

impl BenchRows {
    /// The first `limit` rows of a file.
    pub fn read(args: &BenchArgs, bench: Benchmark, path: &Path, limit: Option<usize>) -> Result<Self, CommandError> {
        let rows = match bench {
            Benchmark::MtBench => Self::MtBench(read(path, limit, |_| true)?),
            Benchmark::ArenaHard => Self::ArenaHard(read(path, limit, |_| true)?),
            Benchmark::AlpacaEval => Self::AlpacaEval(read(path, limit, |_| true)?),
            Benchmark::Toxicity => {
                let wanted = args.prompts.map(|kind| match kind {
                    Kind::Toxic => PromptKind::Toxic,
                    Kind::NonToxic => PromptKind::NonToxic,
                });
                let rows = read(path, limit, |row: &PromptRow| wanted.is_none_or(|kind| prompt_kind(&row.prompt) == Some(kind)))?;
                Self::Toxicity(rows.into_iter().map(|row| row.prompt).collect())
            }
            Benchmark::Multifaceted => Self::Multifaceted(read(path, limit, |_| true)?),
        };
        Ok(rows)
    }

    /// What the benchmark asks, by its own protocol under seed 0; `paper` is the paper's sampling.
    pub fn tasks(&self, paper: &SamplingParams) -> janus_eval::Result<Vec<Task>> {
        match self {
            Self::MtBench(rows) => mt_bench::tasks(rows, 0),
            Self::ArenaHard(rows) => arena_hard::tasks(rows),
            Self::AlpacaEval(rows) => alpaca_eval::tasks(rows, paper),
            Self::Toxicity(rows) => toxicity::tasks(rows, 0),
            Self::Multifaceted(rows) => multifaceted::tasks(rows, paper),
        }
    }

    /// The row of the answers to the task at `place`, in the benchmark's own form.
    pub fn row(&self, place: usize, name: &str, answers: &Answers) -> Result<Value, CommandError> {
        let all = answers.first().map(Vec::as_slice).unwrap_or_default();
        let Some(first) = all.first() else { return Err(CommandError::failure(format!("row {}: no generation", place + 1))) };
        match self {
            Self::MtBench(rows) => written(&mt_bench::Answer::new(&rows[place].question_id, name, answers)),
            Self::ArenaHard(rows) => written(&arena_hard::Answer::new(&rows[place].question_id, name, first)),
            Self::AlpacaEval(rows) => written(&alpaca_eval::ModelOutput::new(place, &rows[place], name, first)),
            Self::Toxicity(rows) => written(&ScoredGenerations::new(rows[place].clone(), all)),
            Self::Multifaceted(rows) => written(&response(place, &rows[place], first)),
        }
    }
}

fn read<T: DeserializeOwned>(path: &Path, limit: Option<usize>, keep: impl Fn(&T) -> bool) -> Result<Vec<T>, CommandError> {
    let rows = janus_data::read(path).bad_input()?;
    let kept = rows.filter(|row: &janus_data::Result<T>| row.as_ref().map_or(true, &keep));
    kept.take(limit.unwrap_or(usize::MAX)).collect::<janus_data::Result<_>>().bad_input()
}

fn response(place: usize, record: &BenchRecord, first: &Generation) -> Response {
    Response { id: record_id(record, place), response: first.text.clone() }
}

fn written(row: &impl Serialize) -> Result<Value, CommandError> {
    serde_json::to_value(row).failure()
}
