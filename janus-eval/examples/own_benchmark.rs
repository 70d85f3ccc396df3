//! A benchmark of your own, from its questions to a report page: what a model is asked, how its answers are judged, and what the
//! verdicts come to.
//!
//! Run with `cargo run -p janus-eval --example own_benchmark -- FOLDER`, then open `FOLDER/report.html`. Model and judge are scripted
//! here; put any [`ChatModel`] in their places, such as `janus_infer::remote::RemoteModel` (see `remote_judge.rs`).
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::path::{Path, PathBuf};

use janus_core::{ChatModel, ChatRequest, Generation, ModelError, SamplingParams};
use janus_data::CallJournal;
use janus_eval::answer::{Task, answer};
use janus_eval::judge::read::{Unreadable, rating};
use janus_eval::judge::{JudgeCall, JudgeClient, PromptTemplate, Reply};
use janus_eval::protocol::{Case, JudgedCase, Protocol, ProtocolInfo, Scale, Turn};
use janus_eval::run::{CaseRun, compare};

/// Topic and question.
const QUESTIONS: [(&str, &str); 4] = [
    ("gifts", "My aunt knitted me a jumper that I will never wear. What do I write to her?"),
    ("gifts", "A colleague gave me a mug with a typo on it. What do I say?"),
    ("work", "How do I tell my manager that her plan cannot work?"),
    ("work", "How do I turn down a meeting?"),
];

/// The benchmark: a judge rates each answer's tact from 1 to 10.
struct Tact {
    prompt: PromptTemplate,
    sampling: SamplingParams,
}

impl Tact {
    fn new() -> Self {
        let prompt = "Question: {question}\n\nAnswer: {answer}\n\nHow tactful is the answer, from 1 to 10? End with: Rating: [[number]]";
        Self { prompt: PromptTemplate::new("tact/1", "You judge tact.", prompt), sampling: SamplingParams::greedy(512) }
    }

    /// What a model is asked.
    fn tasks() -> Vec<Task> {
        let task = |(id, (_, question)): (usize, &(&str, &str))| Task::new(id.to_string(), *question, SamplingParams::greedy(256));
        QUESTIONS.iter().enumerate().map(task).collect()
    }

    /// What is judged: the questions with the model's answers.
    fn cases(model: &dyn ChatModel) -> Result<Vec<Case>, ModelError> {
        let mut cases = Vec::new();
        for ((id, (topic, question)), answers) in QUESTIONS.iter().enumerate().zip(answer(&Self::tasks(), model)) {
            let said = answers?.into_iter().flatten().next().map(|first| first.text).unwrap_or_default();
            cases.push(Case { category: topic.to_string(), ..Case::new(id.to_string(), vec![Turn::new(*question, said)]) });
        }
        Ok(cases)
    }
}

impl Protocol for Tact {
    type Case = Case;
    type Reply = f64;
    type Row = JudgedCase;

    fn info(&self) -> ProtocolInfo {
        ProtocolInfo::new("tact", "Tact", Scale::Rating { low: 1.0, high: 10.0 })
    }

    fn sampling(&self) -> &SamplingParams {
        &self.sampling
    }

    fn id<'c>(&self, case: &'c Case) -> &'c str {
        &case.id
    }

    fn calls(&self, case: &Case) -> janus_eval::Result<Vec<JudgeCall>> {
        let slots = [("question", case.turns[0].prompt.as_str()), ("answer", case.turns[0].model.as_str())];
        Ok(vec![JudgeCall::new(&case.id, &self.prompt, &slots, &self.sampling)?])
    }

    fn read(&self, answer: &Generation) -> Result<f64, Unreadable> {
        rating(&answer.text).ok_or(Unreadable::NoRating)
    }

    fn attempts(&self) -> usize {
        3
    }

    fn row(&self, case: &Case, replies: Vec<Reply<f64>>) -> JudgedCase {
        JudgedCase::rated(case, &replies)
    }
}

/// A model whose texts are a function of what it is asked.
struct Scripted(&'static str, fn(&str) -> String);

impl ChatModel for Scripted {
    fn name(&self) -> &str {
        self.0
    }

    fn generate_each(&self, requests: &[ChatRequest], on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>)) {
        for (index, request) in requests.iter().enumerate() {
            let text = request.messages.last().map(|message| (self.1)(&message.content)).unwrap_or_default();
            on_answer(index, Ok(vec![Generation::new(text)]));
        }
    }
}

/// Answers, judges and reports two models into a folder; their mean ratings.
pub fn run(folder: &Path) -> Result<Vec<f64>, Box<dyn std::error::Error>> {
    let blunt = Scripted("blunt", |_| "Just say no.".into());
    let kind = Scripted("kind", |question| format!("Thank them first. Then be honest about this: {question}"));
    let judge = Scripted("scripted-judge", |text| format!("Rating: [[{}]]", if text.contains("Thank them") { 8 } else { 3 }));

    let tact = Tact::new();
    let mut runs = Vec::new();
    for model in [&blunt, &kind] {
        let cases = Tact::cases(model)?;
        let out = folder.join(model.name());
        std::fs::create_dir_all(&out)?;
        // The journal keeps every answer of the judge: run again, and nothing is paid twice.
        let journal = CallJournal::open(out.join("calls.jsonl"))?;
        let client = JudgeClient::new(&judge).journal(&journal);
        println!("{}: {} calls are pending", model.name(), client.pending(&tact, &cases)?.len());
        let judgement = client.judge(&tact, &cases, &mut |done, calls| println!("{done}/{calls}"))?;
        let run = CaseRun::new(tact.info(), model.name(), judgement, 0)?;
        run.write(&out)?;
        runs.push(run);
    }
    let report = compare(runs.iter().cloned(), 100)?;
    std::fs::write(folder.join("report.html"), report.to_html()?)?;
    std::fs::write(folder.join("report.md"), report.to_markdown()?)?;
    Ok(runs.iter().filter_map(|run| Some(run.result.all.as_ref()?.mean)).collect())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "own-benchmark".into()));
    println!("mean ratings: {:?}, see {}", run(&folder)?, folder.join("report.html").display());
    Ok(())
}
