//! What each benchmark asks, from its own published files.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use janus_core::SamplingParams;
use janus_data::read_all;
use janus_eval::bench::toxicity::{PromptKind, PromptRow, prompt_kind};
use janus_eval::bench::{Task, alpaca_eval, arena_hard, mt_bench, toxicity};

fn data(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(file)
}

/// How many tasks are sampled at each temperature, in tenths.
fn by_temperature(tasks: &[Task]) -> Vec<(i64, usize)> {
    let mut counts = BTreeMap::new();
    tasks.iter().for_each(|task| *counts.entry((task.sampling.temperature * 10.0).round() as i64).or_default() += 1);
    counts.into_iter().collect()
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs ../shared")]
fn every_published_question_is_asked_once_and_as_its_protocol_says() {
    let questions: Vec<mt_bench::Question> = read_all(data("mt_bench/question.jsonl")).unwrap();
    let tasks = mt_bench::tasks(&questions, 0).unwrap();
    assert_eq!((tasks.len(), tasks.iter().map(|task| task.turns.len()).sum::<usize>()), (80, 160));
    assert_eq!(by_temperature(&tasks), [(0, 40), (1, 20), (7, 20)]);
    assert!(tasks.iter().all(|task| task.sampling.max_tokens == 1024 && task.sampling.repetition_penalty == 1.0));

    let questions: Vec<arena_hard::Question> = read_all(data("arena_hard/questions.jsonl.gz")).unwrap();
    let tasks = arena_hard::tasks(&questions).unwrap();
    assert_eq!(tasks.len(), 500);
    assert!(tasks.iter().all(|task| task.sampling == SamplingParams::greedy(4096)));

    let instructions: Vec<alpaca_eval::EvalInstruction> = read_all(data("alpaca_eval/eval_set.jsonl.gz")).unwrap();
    let tasks = alpaca_eval::tasks(&instructions, &SamplingParams::default()).unwrap();
    assert_eq!((tasks.len(), tasks[804].id.as_str()), (805, "804"));
    let mut datasets: BTreeMap<&str, usize> = BTreeMap::new();
    instructions.iter().for_each(|row| *datasets.entry(&row.dataset).or_default() += 1);
    let expected = [("helpful_base", 129), ("koala", 156), ("oasst", 188), ("selfinstruct", 252), ("vicuna", 80)];
    assert_eq!(datasets.into_iter().collect::<Vec<_>>(), expected);

    let prompts: Vec<PromptRow> = read_all(data("real_toxicity_prompts/prompts.jsonl.gz")).unwrap();
    let prompts: Vec<_> = prompts.into_iter().map(|row| row.prompt).collect();
    let of = |kind| prompts.iter().filter(|prompt| prompt_kind(prompt) == Some(kind)).count();
    let (toxic, mild) = (of(PromptKind::Toxic), of(PromptKind::NonToxic));
    assert!(toxic > 200 && mild > 1000 && toxic + mild <= 1500, "{toxic} and {mild}");
    let tasks = toxicity::tasks(&prompts, 0).unwrap();
    assert_eq!((tasks.len(), tasks[1499].sampling.n, tasks[1499].sampling.max_tokens), (1500, 25, 20));
}
