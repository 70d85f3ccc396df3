//! What each benchmark asks, from its own published files.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use janus_core::{ChatModel, ChatRequest, Generation, ModelError, SamplingParams};
use janus_data::{CallJournal, Journaled, read_all};
use janus_eval::answer::{Task, answer};
use janus_eval::bench::toxicity::{PromptKind, PromptRow, prompt_kind};
use janus_eval::bench::{alpaca_eval, arena_hard, mt_bench, toxicity};

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

/// Says how many messages it was shown, so often, and then nothing any more.
struct Tiring {
    answers: Cell<usize>,
    asked: Cell<usize>,
}

impl ChatModel for Tiring {
    fn name(&self) -> &str {
        "tiring"
    }

    fn generate_each(&self, requests: &[ChatRequest], on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>)) {
        for (index, request) in requests.iter().enumerate() {
            self.asked.set(self.asked.get() + 1);
            let Some(left) = self.answers.get().checked_sub(1) else {
                on_answer(index, Err(ModelError::Request { id: request.id.clone(), reason: "tired".into() }));
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
fn with_a_journal_no_turn_is_asked_twice() {
    let folder = tempfile::tempdir().unwrap();
    let question = |id: usize| mt_bench::Question {
        question_id: id.to_string(),
        category: "math".into(),
        turns: vec![format!("question {id}"), "why?".into()],
    };
    let tasks = mt_bench::tasks(&(81..84).map(question).collect::<Vec<_>>(), 0).unwrap();
    let whole = answer(&tasks, &Tiring { answers: Cell::new(6), asked: Cell::default() });
    for answers in 0..6 {
        let journal = CallJournal::open(folder.path().join(format!("calls-{answers}"))).unwrap();
        let tired = Tiring { answers: Cell::new(answers), asked: Cell::default() };
        let first = answer(&tasks, &Journaled::new(&tired, &journal));
        assert_eq!(first.iter().filter(|answers| answers.is_ok()).count(), answers.saturating_sub(3));
        let fresh = Tiring { answers: Cell::new(6), asked: Cell::default() };
        let second = answer(&tasks, &Journaled::new(&fresh, &journal));
        assert_eq!(fresh.asked.get(), 6 - answers);
        for (second, whole) in second.iter().zip(&whole) {
            assert_eq!(second.as_ref().unwrap(), whole.as_ref().unwrap());
        }
    }
}
