//! The rows of the benchmarks that define requests to a model, their tasks, and their formats for the
//! answers.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use janus_core::{BenchRecord, SamplingParams};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::alpaca_eval::{EvalInstruction, ModelOutput};
use super::arena_hard::{ArenaAnswer, ArenaQuestion};
use super::mt_bench::{MtBenchAnswer, MtBenchQuestion};
use super::toxicity::{PromptKind, PromptRow, ScoredGenerations, ScoredText, prompt_kind};
use super::{alpaca_eval, arena_hard, mt_bench, multifaceted, toxicity};
use crate::answer::{Answers, Task};
use crate::{Error, Response, Result, record_id};

/// A benchmark that defines requests to a model.
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
    /// RealToxicityPrompts: 25 continuations of each prompt, 20 tokens each, at temperature 1 and top-p
    /// 0.9.
    Toxicity,
    /// Multifaceted Bench, with its system messages, the paper's sampling.
    Multifaceted,
}

impl Benchmark {
    /// All benchmarks.
    pub const ALL: [Self; 5] =
        [Self::MtBench, Self::ArenaHard, Self::AlpacaEval, Self::Toxicity, Self::Multifaceted];

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

/// The rows of a [`Benchmark`], from which the tasks for a model and the rows of its answers are made.
#[derive(Debug, Clone, PartialEq)]
pub struct Questions(Rows);

#[derive(Debug, Clone, PartialEq)]
enum Rows {
    MtBench(Vec<MtBenchQuestion>),
    ArenaHard(Vec<ArenaQuestion>),
    AlpacaEval(Vec<EvalInstruction>),
    Toxicity(Vec<ScoredText>),
    Multifaceted(Vec<BenchRecord>),
}

impl Questions {
    /// Reads the first `limit` rows of a file, or all rows. `kind` restricts the prompts of
    /// [`Benchmark::Toxicity`] to one kind.
    ///
    /// # Errors
    /// [`Error::File`] for a file that cannot be read.
    pub fn read(
        benchmark: Benchmark,
        path: impl AsRef<Path>,
        limit: Option<usize>,
        kind: Option<PromptKind>,
    ) -> Result<Self> {
        let path = path.as_ref();
        Ok(Self(match benchmark {
            Benchmark::MtBench => Rows::MtBench(rows(path, limit, |_| true)?),
            Benchmark::ArenaHard => Rows::ArenaHard(rows(path, limit, |_| true)?),
            Benchmark::AlpacaEval => Rows::AlpacaEval(rows(path, limit, |_| true)?),
            Benchmark::Toxicity => {
                let prompts = rows(path, limit, |row: &PromptRow| {
                    kind.is_none_or(|kind| prompt_kind(&row.prompt) == Some(kind))
                })?;
                Rows::Toxicity(prompts.into_iter().map(|row| row.prompt).collect())
            }
            Benchmark::Multifaceted => Rows::Multifaceted(rows(path, limit, |_| true)?),
        }))
    }

    /// The tasks of the benchmark's own protocol, with seed 0. `free` is the sampling for AlpacaEval and
    /// Multifaceted Bench, whose protocols do not specify one.
    ///
    /// # Errors
    /// [`Error::Row`] for a row without a prompt, or an id that occurs twice.
    pub fn tasks(&self, free: &SamplingParams) -> Result<Vec<Task>> {
        match &self.0 {
            Rows::MtBench(rows) => mt_bench::tasks(rows, 0),
            Rows::ArenaHard(rows) => arena_hard::tasks(rows),
            Rows::AlpacaEval(rows) => alpaca_eval::tasks(rows, free),
            Rows::Toxicity(rows) => toxicity::tasks(rows, 0),
            Rows::Multifaceted(rows) => multifaceted::tasks(rows, free),
        }
    }

    /// The answers to the task at index `place` as a row of the benchmark's own format, with the model's
    /// name:
    ///
    /// * MT-Bench: `{question_id, model_id, choices: [{index, turns}]}`
    /// * Arena-Hard:
    ///   `{question_id, model_id, answer, choices: [{index, turns: [{content, token_len}]}]}`
    /// * AlpacaEval: `{index, dataset, instruction, output, generator}`
    /// * RealToxicityPrompts: [`ScoredGenerations`], not yet scored
    /// * Multifaceted Bench: [`Response`]
    ///
    /// # Errors
    /// [`Error::Row`] without a generation, or without a question at that index.
    pub(crate) fn answer_row(&self, place: usize, model: &str, answers: &Answers) -> Result<Value> {
        let all = answers.first().map(Vec::as_slice).unwrap_or_default();
        let first = all.first().ok_or_else(|| Error::row(place, "generations", "at least one", "none"))?;
        match &self.0 {
            Rows::MtBench(rows) => {
                written(&MtBenchAnswer::new(&at(rows, place)?.question_id, model, answers))
            }
            Rows::ArenaHard(rows) => written(&ArenaAnswer::new(&at(rows, place)?.question_id, model, first)),
            Rows::AlpacaEval(rows) => written(&ModelOutput::new(place, at(rows, place)?, model, first)),
            Rows::Toxicity(rows) => written(&ScoredGenerations::new(at(rows, place)?.clone(), all)),
            Rows::Multifaceted(rows) => {
                let id = record_id(at(rows, place)?, place);
                written(&Response { id, response: first.text.clone() })
            }
        }
    }
}

fn at<T>(rows: &[T], place: usize) -> Result<&T> {
    rows.get(place)
        .ok_or_else(|| Error::row(place, "id", format!("one of {} questions", rows.len()), "no question"))
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
    use std::cell::Cell;

    use janus_core::{ChatModel, ChatRequest, Generation, ModelError};
    use janus_data::{CallJournal, Journaled};
    use serde_json::json;

    use super::*;
    use crate::answer::answer;

    #[test]
    fn a_benchmark_parses_from_its_name() {
        for benchmark in Benchmark::ALL {
            assert_eq!(benchmark.as_str().parse(), Ok(benchmark));
            assert_eq!(serde_json::to_value(benchmark).unwrap(), benchmark.as_str());
        }
        assert!("mtbench".parse::<Benchmark>().unwrap_err().to_string().contains("expected mt-bench"));
    }

    #[test]
    fn every_question_becomes_one_task_with_its_protocols_sampling() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("questions.jsonl");
        let read = |benchmark, kind, rows: &[Value]| {
            std::fs::write(&path, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
            Questions::read(benchmark, &path, None, kind).unwrap().tasks(&SamplingParams::paper()).unwrap()
        };
        let sampled = |tasks: &[Task]| -> Vec<(f64, usize)> {
            tasks.iter().map(|task| (task.sampling.temperature, task.sampling.max_tokens)).collect()
        };

        let question = |id: usize, category: &str| json!({ "question_id": id, "category": category, "turns": ["q", "and why?"] });
        let tasks = read(
            Benchmark::MtBench,
            None,
            &[question(81, "writing"), question(101, "reasoning"), question(151, "humanities")],
        );
        assert_eq!(sampled(&tasks), [(0.7, 1024), (0.0, 1024), (0.1, 1024)]);
        assert!(tasks.iter().all(|task| task.turns.len() == 2 && task.sampling.repetition_penalty == 1.0));

        let question = |id: &str| json!({ "question_id": id, "cluster": "kites", "prompt": "q" });
        let tasks = read(Benchmark::ArenaHard, None, &[question("a"), question("b")]);
        assert!(tasks.len() == 2 && tasks.iter().all(|task| task.sampling == SamplingParams::greedy(4096)));

        let row = |index: usize| json!({ "index": index, "dataset": "koala", "instruction": format!("q{index}"), "reference_output": "r" });
        let tasks = read(Benchmark::AlpacaEval, None, &[row(0), row(1)]);
        assert_eq!(tasks.iter().map(|task| task.id.as_str()).collect::<Vec<_>>(), ["0", "1"]);
        assert!(tasks.iter().all(|task| task.sampling == SamplingParams::paper()));

        let prompt = |text: &str, toxicity: f64| json!({ "prompt": { "text": text, "toxicity": toxicity } });
        let prompts = [prompt("a", 0.1), prompt("b", 0.9), prompt("c", 0.2)];
        assert_eq!(read(Benchmark::Toxicity, Some(PromptKind::Toxic), &prompts).len(), 1);
        assert_eq!(read(Benchmark::Toxicity, Some(PromptKind::NonToxic), &prompts).len(), 2);
        let tasks = read(Benchmark::Toxicity, None, &prompts);
        assert_eq!((tasks.len(), tasks[2].sampling.n, tasks[2].sampling.max_tokens), (3, 25, 20));
    }

    /// Answers with the number of messages of the request. It fails after a given number of answers.
    struct Limited {
        answers: Cell<usize>,
        requests: Cell<usize>,
    }

    impl ChatModel for Limited {
        fn name(&self) -> &str {
            "limited"
        }

        fn generate_each(
            &self,
            requests: &[ChatRequest],
            on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>),
        ) {
            for (index, request) in requests.iter().enumerate() {
                self.requests.set(self.requests.get() + 1);
                let Some(left) = self.answers.get().checked_sub(1) else {
                    on_answer(
                        index,
                        Err(ModelError::Request { id: request.id.clone(), reason: "no answers left".into() }),
                    );
                    continue;
                };
                self.answers.set(left);
                let text = request.messages.len().to_string();
                let generation = Generation::new(text).with_tokens(1, 1);
                on_answer(index, Ok(vec![generation]));
            }
        }
    }

    #[test]
    fn with_a_journal_no_turn_is_sent_twice() {
        let folder = tempfile::tempdir().unwrap();
        let question = |id: usize| MtBenchQuestion {
            question_id: id.to_string(),
            category: "math".into(),
            turns: vec![format!("question {id}"), "why?".into()],
        };
        let tasks = mt_bench::tasks(&(81..84).map(question).collect::<Vec<_>>(), 0).unwrap();
        let whole = answer(&tasks, &Limited { answers: Cell::new(6), requests: Cell::default() });
        for answers in 0..6 {
            let journal = CallJournal::open(folder.path().join(format!("calls-{answers}"))).unwrap();
            let limited = Limited { answers: Cell::new(answers), requests: Cell::default() };
            let first = answer(&tasks, &Journaled::new(&limited, &journal));
            assert_eq!(first.iter().filter(|answers| answers.is_ok()).count(), answers.saturating_sub(3));
            let fresh = Limited { answers: Cell::new(6), requests: Cell::default() };
            let second = answer(&tasks, &Journaled::new(&fresh, &journal));
            assert_eq!(fresh.requests.get(), 6 - answers);
            for (second, whole) in second.iter().zip(&whole) {
                assert_eq!(second.as_ref().unwrap(), whole.as_ref().unwrap());
            }
        }
    }
}
