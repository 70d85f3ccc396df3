//! `cargo xtask judge mt-bench`: grades both turns of MT-Bench's answers.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use janus_data::{read_all, write_all};
use janus_eval::bench::mt_bench::{Grades, Judgment, Question, needs_reference};
use janus_eval::judge::{Asker, GradeJudge, GradeOptions, GradePrompts};
use serde::Deserialize;
use serde_json::{Value, json};

use super::service::{BatchArgs, ServiceArgs, outcome, read_text, watched};
use crate::command::{Blame as _, CommandError, Outcome};

/// Grade MT-Bench answers from 1 to 10, each turn by a call of its own
///
/// Reads:   QUESTIONS: rows of {question_id, category, turns}. ANSWERS: rows of {question_id, turns}, or
///          FastChat's with choices. REFERENCES, the same, for math, reasoning and coding.
///          --judge-prompt takes FastChat's judge_prompts.jsonl.
/// Writes:  OUT/judgments.jsonl, which `eval mt-bench` reads; OUT/calls.jsonl, the journal.
/// Example: cargo xtask judge mt-bench --questions question.jsonl --answers mine.jsonl
///          --references reference_answer_gpt-4.jsonl --judge gpt-4 --out runs/mt-bench --dry-run
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The questions
    #[arg(long, value_name = "QUESTIONS")]
    questions: PathBuf,
    /// The model's answers
    #[arg(long, value_name = "ANSWERS")]
    answers: PathBuf,
    /// Reference answers
    #[arg(long, value_name = "REFERENCES")]
    references: PathBuf,
    /// The run folder
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// MT-Bench's file of prompts in place of ours
    #[arg(long, value_name = "FILE")]
    judge_prompt: Option<PathBuf>,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    batch: BatchArgs,
}

/// Answers by question, in our layout or FastChat's.
#[derive(Deserialize)]
struct AnswerRow {
    question_id: Value,
    turns: Option<Vec<String>>,
    #[serde(default)]
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    turns: Vec<String>,
}

fn answers(path: &Path) -> Result<HashMap<String, Vec<String>>, CommandError> {
    let rows: Vec<AnswerRow> = read_all(path).bad_input()?;
    let mut answers = HashMap::new();
    for (row, AnswerRow { question_id, turns, choices }) in rows.into_iter().enumerate() {
        let id = question_id.as_str().map_or_else(|| question_id.to_string(), String::from);
        let turns = turns.or_else(|| choices.into_iter().next().map(|choice| choice.turns));
        let at = |field: &str, problem: &str| {
            CommandError::bad_input(format!("{}, row {}, field \"{field}\": {problem}", path.display(), row + 1))
        };
        let turns = turns.ok_or_else(|| at("turns", "missing"))?;
        if answers.insert(id, turns).is_some() {
            return Err(at("question_id", "it stands twice"));
        }
    }
    Ok(answers)
}

pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let questions: Vec<Question> = read_all(&args.questions).bad_input()?;
    let (mine, references) = (answers(&args.answers)?, answers(&args.references)?);
    let mut conversations = Vec::new();
    for question in &questions {
        let of = |answers: &'_ HashMap<String, Vec<String>>, path: &Path| {
            let missing = || CommandError::bad_input(format!("{}: no answer to question {}", path.display(), question.question_id));
            answers.get_key_value(&question.question_id).map(|(id, _)| id.clone()).ok_or_else(missing)
        };
        of(&mine, &args.answers)?;
        if needs_reference(&question.category) {
            of(&references, &args.references)?;
        }
        let reference = references.get(&question.question_id).map_or(&[][..], Vec::as_slice);
        conversations.push(question.conversation(&mine[&question.question_id], reference));
    }
    let mut options = GradeOptions::mt_bench().failure()?;
    if let Some(path) = &args.judge_prompt {
        options.prompts = GradePrompts::published(&read_text(path)?).bad_input()?;
    }
    let (model, journal) = args.service.begin(&args.out)?;
    let judge = GradeJudge::new(Asker::new(&model).journal(&journal), options.clone()).bad_input()?;
    let (open, estimate) = (|| judge.unasked(&conversations).bad_input(), || judge.estimate(&conversations).bad_input());
    let estimate = match args.batch.prepare("judge mt-bench", &args.service, &journal, open, estimate)? {
        ControlFlow::Break(outcome) => return Ok(outcome),
        ControlFlow::Continue(estimate) => estimate,
    };
    let judgement = watched(estimate.calls, |on_call| {
        let judge = GradeJudge::new(Asker::new(&model).journal(&journal).on_call(on_call), options).bad_input()?;
        judge.judge(&conversations).bad_input()
    })?;
    write_all(args.out.join("judgments.jsonl"), &judgement.rows).failure()?;
    let rows: Vec<Judgment> = judgement
        .rows
        .iter()
        .map(|row| Judgment { question_id: row.question_id.clone(), turn: row.turn, judgment: row.judgment.clone(), score: row.score })
        .collect();
    let grades = Grades::of(&rows, &questions).ok();
    let text = match &grades {
        Some(grades) => format!("average {:.3} over {} turns", grades.average, grades.rows - grades.failed),
        None => "no rating".into(),
    };
    let report = json!({
        "command": "judge mt-bench", "out": args.out, "judge": model_name(&judgement.rows), "prompts": judgement.prompts, "grades": grades,
        "counts": judgement.counts,
    });
    Ok(outcome(&args.out, text, &judgement.counts, report))
}

fn model_name(rows: &[janus_eval::judge::GradeRow]) -> Option<&str> {
    rows.first().map(|row| row.judge[0].as_str())
}
