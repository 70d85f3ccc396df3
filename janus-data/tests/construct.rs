//! Constructs collections with models that answer well, badly or only sometimes, or that are killed.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use janus_core::{
    BenchRecord, ChatModel, ChatRequest, Dimension, FinishReason, Generation, ModelError, PairRecord,
    RewardRecord, SftRecord, derive_seed,
};
use janus_data::construct::{Constructed, Construction, OutputFormat, Quality, Step};
use janus_data::instructions::Instruction;
use janus_data::{CallJournal, read_all};
use rand::Rng;
use serde_json::json;

use crate::quiet::quiet;

/// What a scripted model does with the `n`th attempt of a request, n from 0.
type Behaviour = fn(&ChatRequest, usize) -> Option<Result<Generation, ModelError>>;

/// Recognises each prompt by its text and answers it well, unless its behaviour says otherwise.
struct Scripted {
    behaviour: Behaviour,
    /// Number of answers before it is killed.
    remaining: RefCell<usize>,
    /// The journal keys of the answered requests.
    answered: RefCell<Vec<String>>,
}

impl Scripted {
    fn new(behaviour: Behaviour) -> Self {
        Self { behaviour, remaining: RefCell::new(usize::MAX), answered: RefCell::default() }
    }

    fn good() -> Self {
        Self::new(|_, _| None)
    }
}

impl ChatModel for Scripted {
    fn name(&self) -> &str {
        "scripted"
    }

    fn generate_each(
        &self,
        requests: &[ChatRequest],
        on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>),
    ) {
        // In reverse: nothing may depend on the order of answers.
        for (index, request) in requests.iter().enumerate().rev() {
            let mut remaining = self.remaining.borrow_mut();
            assert!(*remaining > 0, "killed");
            *remaining -= 1;
            drop(remaining);
            self.answered.borrow_mut().push(CallJournal::key("scripted", request));
            let times_before =
                request.messages.iter().filter(|message| message.content.contains("cannot be used")).count();
            let answer = (self.behaviour)(request, times_before)
                .unwrap_or_else(|| Ok(generation(&good_answer(request))));
            on_answer(index, answer.map(|generation| vec![generation]));
        }
    }
}

fn generation(text: &str) -> Generation {
    Generation::new(text).with_tokens(10, 5)
}

const WORDS: [&str; 24] = [
    "river", "candle", "marble", "orchard", "violin", "harbour", "lantern", "meadow", "copper", "saddle",
    "thunder", "velvet", "anchor", "basket", "cinnamon", "drizzle", "ember", "feather", "granite", "hollow",
    "ivory", "juniper", "kettle", "lagoon",
];

/// Words that depend only on a text and a number.
fn some_words(text: &str, number: u64, count: usize) -> String {
    let word = |at| WORDS[(derive_seed(number, &format!("{text} {at}")) % WORDS.len() as u64) as usize];
    (0..count).map(word).collect::<Vec<_>>().join(" ")
}

fn step(request: &ChatRequest) -> Step {
    let first = &request.messages[0].content;
    if first.contains("Imagine three people") {
        Step::Preferences
    } else if first.contains("Write the system message") {
        Step::System
    } else if first.contains("You write scoring guides") {
        Step::Rubric
    } else {
        Step::Response
    }
}

fn good_answer(request: &ChatRequest) -> String {
    let prompt = &request.messages[0].content;
    match step(request) {
        Step::Preferences => {
            let preference = |number| {
                json!({
                    "subdimension": some_words(prompt, number, 1),
                    "preference": format!("{} {number}", some_words(prompt, number + 10, 2)),
                    "description": format!("The answer brings in {}.", some_words(prompt, number + 20, 9)),
                })
            };
            json!([preference(0), preference(1), preference(2)]).to_string()
        }
        Step::System => format!(
            "You are a guide to the {}. Speak of {}. {}",
            some_words(prompt, 0, 2),
            some_words(prompt, 1, 8),
            "Take your time and mind who asks you. ".repeat(5)
        ),
        Step::Response => format!("An answer with {}.", some_words(prompt, 0, 12)),
        Step::Rubric => {
            let anchors: BTreeMap<String, String> = (1..=5)
                .map(|score| (score.to_string(), format!("The want is met to degree {score} of five.")))
                .collect();
            json!({ "criteria": format!("Does the answer serve the want of {}?", some_words(prompt, 0, 3)), "score_descriptions": anchors })
                .to_string()
        }
    }
}

fn instructions(count: usize) -> Vec<Instruction> {
    let instruction = |at: usize| Instruction {
        id: format!("i{at}"),
        prompt: format!("Question number {at}: what do people think of {}?", some_words("q", at as u64, 3)),
        main_source: "made".into(),
        original_source: String::new(),
    };
    (0..count).map(instruction).collect()
}

fn run(model: &Scripted, construction: &Construction, count: usize, folder: &Path) -> Constructed {
    construction.run(model, &instructions(count), folder, &mut |_, _, _| {}).unwrap()
}

fn total(rejected: &BTreeMap<&str, u64>) -> u64 {
    rejected.values().sum()
}

#[test]
fn a_good_model_gives_every_row_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let model = Scripted::good();
    let made = run(&model, &Construction::default(), 30, folder.path());
    let summary = &made.summary;
    // 30 x 4 dimensions, 30 x 3 system messages and responses, 3 x 3 x 4 rubrics of the bench.
    assert_eq!(
        (summary.instructions, summary.requests, summary.retried, summary.accepted),
        (30, 120 + 90 + 90 + 36, 0, 336)
    );
    assert!(summary.rejected.is_empty() && summary.contradictory_sets == 0, "{:?}", summary.rejected);
    assert_eq!(
        model.answered.borrow().len(),
        336 - 36 + distinct_rubrics(&made),
        "equal rubric requests are sent once"
    );
    let rows = [("bench", 9), ("dpo", 27), ("orpo", 27), ("rm", 27), ("sft", 81), ("sft_small", 27)];
    assert_eq!(summary.rows, rows.into());

    let mut of_prompt: HashMap<&str, Vec<&SftRecord>> = HashMap::new();
    for row in &made.sft {
        of_prompt.entry(&row.prompt).or_default().push(row);
    }
    assert!(of_prompt.len() == 27 && of_prompt.values().all(|rows| rows.len() == 3));
    for rows in of_prompt.values() {
        // Each preference once, each system message and response its own.
        for dimension in Dimension::ALL {
            let names: HashSet<_> = rows
                .iter()
                .map(|row| &row.preference_set.as_ref().unwrap().get(dimension).unwrap().name)
                .collect();
            assert_eq!(names.len(), 3);
        }
        assert_eq!(rows.iter().map(|row| &row.system).collect::<HashSet<_>>().len(), 3);
    }
    let prompts: Vec<&str> = made.sft_small.iter().map(|row| row.prompt.as_str()).collect();
    assert_eq!(prompts.iter().collect::<HashSet<_>>().len(), 27);
    assert!(made.sft_small.iter().all(|row| made.sft.contains(row)));

    let is_pair = |system: &str, prompt: &str, chosen: &str, rejected: &str| {
        let own = of_prompt[prompt].iter().filter(|row| row.system == system).all(|row| row.output == chosen);
        let other = of_prompt[prompt].iter().any(|row| row.system != system && row.output == rejected);
        own && other && chosen != rejected
    };
    for pair in made.dpo.iter().chain(&made.orpo) {
        let [user, chosen] = &pair.chosen[..] else { panic!("{pair:?}") };
        assert!(user.content == pair.prompt && pair.rejected[0] == *user);
        assert!(is_pair(&pair.system, &pair.prompt, &chosen.content, &pair.rejected[1].content));
    }
    assert_ne!(made.dpo, made.orpo, "drawn independently");
    for row in &made.rm {
        let (system, prompt) = row.input.split_once('\n').unwrap();
        assert!(is_pair(system, prompt, &row.chosen, &row.rejected));
    }
    for row in &made.bench {
        assert!(!of_prompt.contains_key(row.prompt.as_str()), "the bench's instructions are not trained on");
        assert_eq!((row.rubrics.len(), row.source.as_str()), (4, "made"));
    }
    assert_eq!(made.bench.iter().map(|row| row.id.as_ref().unwrap()).collect::<HashSet<_>>().len(), 9);

    let quality = Quality::of(&made.sft, 0);
    assert_eq!((quality.rows, quality.instructions, quality.contradictions), (81, 27, 0));
}

#[test]
fn fewer_sets_and_a_bench_of_named_instructions() {
    let folder = tempfile::tempdir().unwrap();
    let mut construction = Construction::default();
    (construction.sets, construction.bench_share) = (2, 0.0);
    construction.bench_ids = ["i3".to_string(), "i7".to_string()].into();
    let made = run(&Scripted::good(), &construction, 10, folder.path());
    let rows = [("bench", 4), ("dpo", 8), ("orpo", 8), ("rm", 8), ("sft", 16), ("sft_small", 8)];
    assert_eq!(made.summary.rows, rows.into());
    let all = instructions(10);
    let named = [&all[3].prompt, &all[7].prompt].map(String::as_str);
    assert!(made.bench.iter().all(|row| named.contains(&row.prompt.as_str())));
    assert!(made.sft.iter().all(|row| !named.contains(&row.prompt.as_str())));
}

fn distinct_rubrics(made: &Constructed) -> usize {
    made.bench.iter().flat_map(|row| row.preference_set.as_ref().unwrap()).collect::<HashSet<_>>().len()
}

#[test]
fn a_correction_states_the_flaw_and_the_second_answer_counts() {
    let folder = tempfile::tempdir().unwrap();
    let model = Scripted::new(|request, times| {
        if times == 0 {
            return Some(Ok(generation("I'm sorry, I cannot help with that.")));
        }
        let [.., answer, correction] = &request.messages[..] else { panic!("no correction") };
        assert!(
            answer.content.starts_with("I'm sorry") && correction.content.contains("it declines the task"),
            "{}",
            correction.content
        );
        None
    });
    let made = run(&model, &Construction::default(), 4, folder.path());
    // 16 + 12 + 12, and no bench of four instructions by a share of a tenth.
    assert_eq!((made.summary.requests, made.summary.retried, made.summary.accepted), (40, 40, 40));
    assert_eq!(made.summary.steps["system"].flaws, [("refusal", 12)].into());
    assert_eq!(made.sft.len(), 12);
}

#[test]
fn without_retries_nothing_is_requested_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut construction = Construction::default();
    construction.retries = 0;
    let made = run(&Scripted::new(|_, _| Some(Ok(generation("No.")))), &construction, 5, folder.path());
    assert_eq!((made.summary.requests, made.summary.retried, made.summary.accepted), (20, 0, 0));
    assert_eq!(made.summary.rejected, [("not_json", 20)].into());
    made.write(folder.path(), OutputFormat::JsonLines).unwrap();
    assert_eq!(std::fs::read(folder.path().join("sft.jsonl")).unwrap(), b"", "empty files are written too");
}

/// Unusable answers of several kinds, and errors, in every step.
fn misbehaves(request: &ChatRequest, times: usize) -> Option<Result<Generation, ModelError>> {
    let cut = |text: &str| generation(text).with_finish_reason(FinishReason::Length);
    let id = request.id.clone();
    let whole = good_answer(request);
    match derive_seed(times as u64, &id) % 24 {
        0 => Some(Ok(generation(""))),
        1 => Some(Ok(generation("Sorry, I can't."))),
        2 => Some(Ok(cut(&whole[..whole.len() / 2]))),
        3 => Some(Ok(generation(&whole.replace('"', "'")))),
        4 => Some(Ok(generation(&format!("{whole} **harmlessness**")))),
        5 => Some(Ok(generation("[{}, {}, {}]"))),
        6 => Some(Ok(generation(&"x".repeat(50_000)))),
        7 => Some(Err(ModelError::TooLong { id, prompt_tokens: 9, context: 8 })),
        8 => Some(Err(ModelError::Failed { id, source: "no memory".into() })),
        9 => Some(Ok(generation("\u{0}[[[{{{\"\\"))),
        _ => None,
    }
}

#[test]
fn every_answer_of_a_misbehaving_model_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let made = run(&Scripted::new(misbehaves), &Construction::default(), 200, folder.path());
    let summary = &made.summary;
    assert_eq!(summary.accepted + total(&summary.rejected), summary.requests);
    assert!(summary.rejected.len() >= 5 && summary.retried > 100, "{summary:?}");
    for (step, tally) in &summary.steps {
        assert_eq!(tally.accepted + total(&tally.rejected), tally.requests, "{step}");
        assert_eq!(total(&tally.flaws), tally.retried + total(&tally.rejected), "{step}");
        assert!(tally.accepted > 0, "{step}");
    }
    let rows = |name: &str| summary.rows[name] as usize;
    assert_eq!((rows("sft"), rows("dpo"), rows("bench")), (made.sft.len(), made.dpo.len(), made.bench.len()));
    assert!(made.sft.len() > made.dpo.len() && !made.dpo.is_empty() && !made.bench.is_empty());
    let bad = ["harmlessness", "xxxx", "Sorry"];
    assert!(
        made.sft
            .iter()
            .all(|row| !bad.iter().any(|bad| row.system.contains(bad) || row.output.contains(bad)))
    );

    // Every file is read back unchanged, in both formats.
    for (format, extension) in [(OutputFormat::JsonLines, "jsonl"), (OutputFormat::Parquet, "parquet")] {
        made.write(folder.path(), format).unwrap();
        let path = |name: &str| folder.path().join(format!("{name}.{extension}"));
        assert_eq!(read_all::<SftRecord>(path("sft")).unwrap(), made.sft);
        assert_eq!(read_all::<PairRecord>(path("orpo")).unwrap(), made.orpo);
        assert_eq!(read_all::<RewardRecord>(path("rm")).unwrap(), made.rm);
        assert_eq!(read_all::<BenchRecord>(path("bench")).unwrap(), made.bench);
    }
}

/// A run that is killed twenty times and resumed gives the same files. No answered request is sent again, and
/// no answer is lost.
#[test]
fn a_run_killed_at_any_moment_ends_in_the_same_files() {
    let whole = tempfile::tempdir().unwrap();
    let model = Scripted::new(misbehaves);
    let made = run(&model, &Construction::default(), 40, whole.path());
    made.write(whole.path(), OutputFormat::JsonLines).unwrap();
    let requested = model.answered.borrow().clone();

    let folder = tempfile::tempdir().unwrap();
    let mut rng = janus_core::stream(1, "kills");
    let model = Scripted::new(misbehaves);
    let mut moments: Vec<usize> = (0..20).map(|_| rng.random_range(1..requested.len())).collect();
    moments.sort_unstable();
    let mut before = 0;
    for moment in moments {
        *model.remaining.borrow_mut() = moment - before;
        before = moment;
        let killed = quiet(|| {
            catch_unwind(AssertUnwindSafe(|| run(&model, &Construction::default(), 40, folder.path())))
        });
        assert!(killed.is_err(), "the run ends before it is killed");
        // A kill may leave an incomplete last line in the journal.
        let last = Step::ALL
            .iter()
            .rev()
            .map(|step| folder.path().join(format!("{}.journal", step.as_str())))
            .find(|path| path.exists())
            .unwrap();
        let mut file = std::fs::File::options().append(true).open(last).unwrap();
        std::io::Write::write_all(&mut file, b"{\"id\": \"cut").unwrap();
    }
    *model.remaining.borrow_mut() = usize::MAX;
    run(&model, &Construction::default(), 40, folder.path())
        .write(folder.path(), OutputFormat::JsonLines)
        .unwrap();

    for name in
        ["sft.jsonl", "sft_small.jsonl", "dpo.jsonl", "orpo.jsonl", "rm.jsonl", "bench.jsonl", "summary.json"]
    {
        let read = |folder: &tempfile::TempDir| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read(&whole), read(&folder), "{name}");
    }
    // Errors are not answers: the next run sends those requests again.
    let keys: HashSet<&String> = requested.iter().collect();
    let mut times: HashMap<String, usize> = HashMap::new();
    for key in model.answered.borrow().iter() {
        *times.entry(key.clone()).or_default() += 1;
    }
    assert_eq!(times.keys().collect::<HashSet<_>>(), keys, "the same requests, none lost");
    let journalled: HashSet<String> = Step::ALL
        .iter()
        .flat_map(|step| {
            std::fs::read_to_string(folder.path().join(format!("{}.journal", step.as_str())))
                .unwrap()
                .lines()
                .skip(1)
                .map(str::to_string)
                .collect::<Vec<_>>()
        })
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(&line).unwrap()["id"].as_str().unwrap().to_string()
        })
        .collect();
    assert!(journalled.len() > 200);
    assert!(journalled.iter().all(|key| times[key] == 1), "an answered request was sent again");
}

#[test]
fn copies_and_empty_instructions_are_skipped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut all = instructions(3);
    all.push(Instruction {
        id: "copy".into(),
        prompt: format!("  {} ", all[0].prompt.to_uppercase()),
        ..all[0].clone()
    });
    all.push(Instruction { id: "empty".into(), prompt: " \n".into(), ..all[0].clone() });
    let made =
        Construction::default().run(&Scripted::good(), &all, folder.path(), &mut |_, _, _| {}).unwrap();
    assert_eq!(made.summary.skipped, [("duplicate", 1), ("empty", 1)].into());
    assert_eq!((made.summary.instructions, made.sft.len()), (3, 9));
}

#[test]
fn the_estimate_is_the_number_of_requests_to_a_good_model() {
    let folder = tempfile::tempdir().unwrap();
    let construction = Construction::default();
    let estimate = construction.price(&instructions(30));
    let made = run(&Scripted::good(), &construction, 30, folder.path());
    assert_eq!(estimate.requests, made.summary.requests);
    for (step, requests) in estimate.steps.iter().zip([120, 90, 90, 36]) {
        assert_eq!(step.requests, requests, "{:?}", step.step);
        assert!(step.prompt_tokens > 20 * requests && step.completion_tokens > 100 * requests);
    }
    assert_eq!(estimate.cost(1e6, 0.0), estimate.prompt_tokens as f64);
}
