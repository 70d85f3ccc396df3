//! The judged questions: models answer them, and the answers are scored.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use candle_core::Device;
use janus_core::{BenchRecord, ChatRequest, SamplingParams, SftRecord};
use janus_data::mini::{Mini, MiniQuestion, Split, UNIFORM_SYSTEM, grade_truth};
use janus_data::stage::{RunFolder, Stage};
use janus_data::{Journal, read_all, write_all};
use janus_eval::Response;
use janus_eval::answer::{AnswerStore, Answering, Task};
use janus_eval::bench::mini::{self, ModelScores};
use janus_eval::judge::VerifiableJudge;
use janus_eval::report::Example;
use janus_eval::score::{ScoredRow, score_responses};
use janus_infer::{Engine, EngineOptions};
use serde_json::{Map, json};

use super::copy;
use super::profile::{Answer, Profile};
use crate::command::{Blame as _, CommandError};
use crate::generate::run_shown;
use crate::stage::Staged as _;

/// The judged records and how they are answered.
pub struct Judged<'a> {
    profile: &'a Profile,
    split: Split,
    file: PathBuf,
    records: Vec<BenchRecord>,
}

impl<'a> Judged<'a> {
    /// The records of a split, from their file.
    pub fn new(profile: &'a Profile, split: Split, file: &Path) -> Result<Self, CommandError> {
        Ok(Self { profile, split, file: file.into(), records: read_all(file).failure()? })
    }

    /// Answers and scores every record, each with its own system message.
    pub fn on_records(
        &self,
        run: &mut RunFolder,
        name: &str,
        model: &Path,
    ) -> Result<ModelScores, CommandError> {
        let answers = answers(
            run,
            &self.profile.answer,
            &format!("answer-{name}"),
            model,
            &record_tasks(&self.records, &self.greedy()),
        )?;
        let out = run.root().to_path_buf();
        let folder = run
            .stage(
                &format!("judge-{name}"),
                &json!({ "judge": "mini" }),
                &[("answers", &answers), ("records", &self.file)],
                |stage| {
                    let responses: Vec<Response> = read_all(answers.join("responses.jsonl")).failure()?;
                    let scored =
                        score_responses(&self.records, &responses, &VerifiableJudge::mini()).failure()?;
                    write_all(stage.folder().join("scores.jsonl"), &scored.rows).failure()
                },
            )
            .staged()?;
        copy(&answers.join("responses.jsonl"), &out.join("responses").join(format!("{name}.jsonl")))?;
        copy(&folder.join("scores.jsonl"), &out.join("scores").join(format!("{name}.jsonl")))?;
        Ok(ModelScores { model: name.into(), rows: read_all(folder.join("scores.jsonl")).failure()? })
    }

    /// Answers every question of Mini in the judged split's phrasings, with the plain system message,
    /// and scores only whether the answer is true.
    pub fn on_plain(&self, run: &mut RunFolder, name: &str, model: &Path) -> Result<Vec<f64>, CommandError> {
        let questions = Mini::questions(self.split);
        let id = |index: usize| format!("plain-{index:04}");
        let plain = |(index, question): (usize, &MiniQuestion)| Task {
            system: Some(UNIFORM_SYSTEM.into()),
            ..Task::new(id(index), &question.prompt, self.greedy())
        };
        let tasks: Vec<Task> = questions.iter().enumerate().map(plain).collect();
        let answers = answers(run, &self.profile.answer, &format!("plain-{name}"), model, &tasks)?;
        let responses: Vec<Response> = read_all(answers.join("responses.jsonl")).failure()?;
        let mut rows = Vec::with_capacity(questions.len());
        let mut truths = Vec::with_capacity(questions.len());
        for (index, (question, response)) in questions.iter().zip(&responses).enumerate() {
            let grade = grade_truth(&question.prompt, &response.response).ok_or_else(|| {
                CommandError::failure(format!("\"{}\" is not a question of Mini", question.prompt))
            })?;
            rows.push(ScoredRow::new(id(index), question.family.as_str(), [Some(grade.score.get())]));
            truths.push(f64::from(grade.score.get()));
        }
        let out = run.root().join("plain");
        copy(&answers.join("responses.jsonl"), &out.join("responses").join(format!("{name}.jsonl")))?;
        std::fs::create_dir_all(out.join("scores")).failure()?;
        write_all(out.join("scores").join(format!("{name}.jsonl")), &rows).failure()?;
        Ok(truths)
    }

    /// A few judged rows with the answers of some models, for the report.
    pub fn examples(&self, out: &Path, models: &[&str]) -> Result<Vec<Example>, CommandError> {
        let answers = |model: &&str| {
            let path = out.join("responses").join(format!("{model}.jsonl"));
            Ok((model.to_string(), read_all(path).failure()?))
        };
        mini::examples(&self.records, &models.iter().map(answers).collect::<Result<Vec<_>, CommandError>>()?)
            .failure()
    }

    /// The judged records, and their file.
    pub fn records(&self) -> (&[BenchRecord], &Path) {
        (&self.records, &self.file)
    }

    fn greedy(&self) -> SamplingParams {
        SamplingParams::greedy(self.profile.answer.max_tokens)
    }
}

/// Answers each task once with a model, into `responses.jsonl`. Returns the stage's folder.
pub(super) fn answers(
    run: &mut RunFolder,
    settings: &Answer,
    stage: &str,
    model: &Path,
    tasks: &[Task],
) -> Result<PathBuf, CommandError> {
    let requests: Vec<ChatRequest> = tasks.iter().filter_map(|task| task.request(&[])).collect();
    let prompts: Vec<_> = requests.iter().map(|request| (&request.id, &request.messages)).collect();
    // `max_sequences` is not part of it: the batch changes the speed, not the answers.
    let config = json!({
        "sampling": tasks.first().map(|task| &task.sampling),
        "asked": janus_data::fs::fingerprint::of_bytes(&serde_json::to_vec(&prompts).failure()?),
    });
    run.stage(stage, &config, &[("model", model)], |stage: &Stage| {
        let journal = Journal::open(stage.folder().join("responses.partial"), &Map::new()).failure()?;
        let mut store = AnswerStore::rows(journal);
        let options = EngineOptions::default().with(|options| options.max_sequences = settings.max_sequences);
        let engine = Engine::load(model.join("model"), &Device::Cpu, options).failure()?;
        let answered = run_shown(&Answering::new(tasks), &engine, &mut store)?;
        if let Some((_, problem)) = answered.failures(tasks).next() {
            return Err(CommandError::failure(problem.to_string()));
        }
        let text: String =
            answered.rows(tasks, &store).iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        janus_data::write_file(stage.folder().join("responses.jsonl"), text.as_bytes()).failure()?;
        store.finish().failure()
    })
    .staged()
}

/// Each record's question with its own system message.
pub(super) fn record_tasks(records: &[BenchRecord], sampling: &SamplingParams) -> Vec<Task> {
    let task = |record: &BenchRecord| Task {
        system: Some(record.system.clone()),
        ..Task::new(id(record), &record.prompt, sampling.clone())
    };
    records.iter().map(task).collect()
}

fn id(record: &BenchRecord) -> String {
    record.id.clone().unwrap_or_default()
}

/// The number of different system messages in the rows of a file, without the plain one.
pub fn distinct_systems(file: &Path) -> Result<usize, CommandError> {
    let rows: Vec<SftRecord> = read_all(file).failure()?;
    Ok(rows
        .iter()
        .map(|row| row.system.as_str())
        .filter(|system| *system != UNIFORM_SYSTEM)
        .collect::<HashSet<_>>()
        .len())
}
