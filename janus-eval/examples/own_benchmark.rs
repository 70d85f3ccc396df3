//! Your own benchmark: its questions, a model's answers, a judge's ratings, and a report.
//!
//! Run with `cargo run -p janus-eval --example own_benchmark -- FOLDER`, then open `FOLDER/report.html`.
//! The models and the judge are scripted here; replace them by any [`ChatModel`], such as
//! `janus_infer::remote::RemoteModel` (see `remote_judge.rs`).
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::path::{Path, PathBuf};

use janus_core::{ChatModel, ChatRequest, Generation, ModelError, SamplingParams};
use janus_data::CallJournal;
use janus_eval::Missing;
use janus_eval::answer::{AnswerFile, Answering, Task};
use janus_eval::judge::read::{Unreadable, rating};
use janus_eval::judge::{JudgeCall, JudgeClient, PromptTemplate, Reply};
use janus_eval::protocol::{Case, JudgedCase, Protocol, ProtocolInfo, Scale, Turn};
use janus_eval::run::{CaseRun, compare};

/// Name, topic, and two paraphrases of the question.
const QUESTIONS: [(&str, &str, [&str; 2]); 3] = [
    (
        "jumper",
        "gifts",
        [
            "My aunt knitted me a jumper that I will never wear. What do I write to her?",
            "What do I write to an aunt who knitted me a jumper that is not for me?",
        ],
    ),
    (
        "mug",
        "gifts",
        [
            "A colleague gave me a mug with a typo on it. What do I say?",
            "What do I say of a typo on a mug that I was given?",
        ],
    ),
    (
        "plan",
        "work",
        [
            "How do I tell my manager that her plan cannot work?",
            "My manager's plan cannot work. How do I tell her?",
        ],
    ),
];

/// Each paraphrase with its id, its question and its topic.
fn rows() -> impl Iterator<Item = (String, &'static str, &'static str, &'static str)> {
    QUESTIONS.iter().flat_map(|&(question, topic, paraphrases)| {
        (1..)
            .zip(paraphrases)
            .map(move |(number, text)| (format!("{question}-{number}"), question, topic, text))
    })
}

/// The benchmark: a judge rates each answer's tact from 1 to 10.
struct Tact {
    prompt: PromptTemplate,
    sampling: SamplingParams,
}

impl Tact {
    fn new() -> Self {
        let prompt = "Question: {question}\n\nAnswer: {answer}\n\nHow tactful is the answer, from 1 to 10? End with: Rating: [[number]]";
        Self {
            prompt: PromptTemplate::new("tact/1", "You judge tact.", prompt),
            sampling: SamplingParams::greedy(512),
        }
    }

    /// The cases to judge, i.e. the rows with the model's answers, and the rows without an answer.
    fn cases(model: &dyn ChatModel, folder: &Path) -> janus_eval::Result<(Vec<Case>, Missing)> {
        let tasks: Vec<Task> =
            rows().map(|(id, _, _, text)| Task::new(id, text, SamplingParams::greedy(256))).collect();
        // Answers are stored in `answers.jsonl.partial`. An interrupted run continues from there, and
        // failed requests are repeated.
        let mut settings = AnswerFile::settings(&tasks)?;
        settings.insert("model".into(), model.name().into());
        let mut store = AnswerFile::new(folder.join("answers.jsonl")).open_store(&settings, false)?;
        let answered = Answering::new(&tasks).run(model, &mut store, &mut |_| ())?;

        let mut cases = Vec::new();
        for ((id, question, topic, text), answers) in rows().zip(&answered.answers) {
            let Some(said) = answers.as_ref().ok().and_then(|turns| turns.first()?.first()) else { continue };
            let turn = Turn::new(text, &said.text);
            // The bootstrap resamples the paraphrases of a question together, as they are not
            // independent.
            cases.push(Case {
                question: question.into(),
                category: topic.into(),
                ..Case::new(id, vec![turn])
            });
        }
        Ok((cases, answered.failures(&tasks).map(|(id, _)| id).collect()))
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

/// A model whose answer is a function of the last message. It fails if the function returns `None`.
struct Scripted(&'static str, fn(&str) -> Option<String>);

impl ChatModel for Scripted {
    fn name(&self) -> &str {
        self.0
    }

    fn generate_each(
        &self,
        requests: &[ChatRequest],
        on_answer: &mut dyn FnMut(usize, Result<Vec<Generation>, ModelError>),
    ) {
        for (index, request) in requests.iter().enumerate() {
            let text = request.messages.last().and_then(|message| (self.1)(&message.content));
            let answer = text.map(|text| vec![Generation::new(text)]);
            on_answer(index, answer.ok_or_else(|| ModelError::NoAnswer { id: request.id.clone() }));
        }
    }
}

/// Generates and judges the answers of two models, writes a report to a folder, and returns the mean
/// ratings.
pub fn run(folder: &Path) -> Result<Vec<f64>, Box<dyn std::error::Error>> {
    let blunt =
        Scripted("blunt", |question| (!question.contains("typo on a mug")).then(|| "Just say no.".into()));
    let kind =
        Scripted("kind", |question| Some(format!("Thank them first. Then be honest about this: {question}")));
    let judge = Scripted("scripted-judge", |text| {
        Some(format!("Rating: [[{}]]", if text.contains("Thank them") { 8 } else { 3 }))
    });

    let tact = Tact::new();
    let mut runs = Vec::new();
    for model in [&blunt, &kind] {
        let out = folder.join(model.name());
        let (cases, missing) = Tact::cases(model, &out)?;
        // The journal stores every answer of the judge, so that another run pays nothing twice. For a
        // model behind an API, open it with the API's address: `CallJournal::of_endpoint`.
        let journal = CallJournal::open(out.join("calls.jsonl"))?;
        let client = JudgeClient::new(&judge).journal(&journal);
        println!(
            "{}: {} calls are pending; answers: {missing}",
            model.name(),
            client.pending(&tact, &cases)?.len()
        );
        let judgement = client.judge(&tact, &cases, &mut |done, calls| println!("{done}/{calls}"))?;
        let run = CaseRun::new(tact.info(), model.name(), judgement, 0)?.missing(missing);
        run.write(&out)?;
        runs.push(run);
    }
    compare(runs.iter().cloned(), 100)?.write(folder)?;
    Ok(runs.iter().filter_map(|run| Some(run.result.all.as_ref()?.mean)).collect())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "own-benchmark".into()));
    println!("mean ratings: {:?}, see {}", run(&folder)?, folder.join("report.html").display());
    Ok(())
}
