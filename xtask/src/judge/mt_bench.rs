//! `cargo xtask judge mt-bench`: grades both turns of MT-Bench's answers, or compares them with another model's.

mod pairs;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use janus_data::{read_all, write_all};
use janus_eval::Missing;
use janus_eval::bench::mt_bench::{Grades, Judgment, Question, needs_reference};
use janus_eval::judge::{Asker, GradeJudge, GradeOptions, GradePrompts, GradeRow};
use janus_eval::run::{Judged, Protocol, VerdictRow, VerdictRun, VerdictSettings, VerdictTurn};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::folder::{self, RunRecord};
use super::service::{BatchArgs, JudgeArgs, read_text, watched};
use crate::command::{Blame as _, CommandError, Outcome};

/// Grade MT-Bench answers from 1 to 10, or compare them with another model's, each turn by a call of its own
///
/// With --opponent a turn is judged in both orders, and a disagreement is a tie; the second turn is judged
/// with the first before it.
///
/// Reads:   QUESTIONS: rows of {question_id, category, turns}. ANSWERS: rows of {question_id, turns}, or
///          FastChat's with choices. REFERENCES, the same, for math, reasoning and coding.
///          --judge-prompt takes FastChat's judge_prompts.jsonl.
/// Writes:  OUT/judgments.jsonl, which `eval mt-bench` reads; with --opponent OUT/pairs.jsonl, which
///          `eval mt-bench-pairs` reads; OUT/report.html, report.md, report.json; OUT/judged.json (the result in
///          one typed file), rows.jsonl (answers, verdicts and what the judge wrote); OUT/run.json (times,
///          files, spend); OUT/calls.jsonl, the journal.
/// Example: cargo xtask judge mt-bench --questions question.jsonl --answers mine.jsonl
///          --references reference_answer_gpt-4.jsonl --judge gpt-4 --out runs/mt-bench --dry-run
///          cargo xtask judge mt-bench --questions question.jsonl --answers mine.jsonl --opponent gpt-3.5-turbo.jsonl
///          --references reference_answer_gpt-4.jsonl --judge gpt-4 --out runs/mt-bench-pairs --dry-run
#[derive(Debug, clap::Args, Serialize)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The questions
    #[arg(long, value_name = "QUESTIONS")]
    questions: PathBuf,
    /// The model's answers
    #[arg(long, value_name = "ANSWERS")]
    answers: PathBuf,
    /// Another model's answers, to be compared with
    #[arg(long, value_name = "ANSWERS2")]
    opponent: Option<PathBuf>,
    /// Reference answers
    #[arg(long, value_name = "REFERENCES")]
    references: PathBuf,
    /// The run folder
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// Name of the model in reports and judgments [default: its file's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Name of its opponent [default: its file's name]
    #[arg(long, value_name = "NAME", requires = "opponent")]
    opponent_name: Option<String>,
    /// MT-Bench's file of prompts in place of ours
    #[arg(long, value_name = "FILE")]
    judge_prompt: Option<PathBuf>,
    #[command(flatten)]
    service: JudgeArgs,
    #[command(flatten)]
    #[serde(skip)]
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

/// A file of answers.
struct Answers<'p> {
    path: &'p Path,
    by_question: HashMap<String, Vec<String>>,
}

impl<'p> Answers<'p> {
    fn read(path: &'p Path) -> Result<Self, CommandError> {
        let rows: Vec<AnswerRow> = read_all(path).bad_input()?;
        let mut by_question = HashMap::new();
        for (row, AnswerRow { question_id, turns, choices }) in rows.into_iter().enumerate() {
            let id = question_id.as_str().map_or_else(|| question_id.to_string(), String::from);
            let turns = turns.or_else(|| choices.into_iter().next().map(|choice| choice.turns));
            let at = |field: &str, problem: &str| {
                CommandError::bad_input(format!("{}, row {}, field \"{field}\": {problem}", path.display(), row + 1))
            };
            let turns = turns.ok_or_else(|| at("turns", "missing"))?;
            if by_question.insert(id, turns).is_some() {
                return Err(at("question_id", "it stands twice"));
            }
        }
        Ok(Self { path, by_question })
    }

    /// The answers to a question.
    fn of(&self, question: &Question) -> Result<&[String], CommandError> {
        let missing = || CommandError::bad_input(format!("{}: no answer to question {}", self.path.display(), question.question_id));
        self.by_question.get(&question.question_id).map(Vec::as_slice).ok_or_else(missing)
    }

    /// The reference answers to a question; none where the judge is shown none.
    fn reference(&self, question: &Question) -> Result<&[String], CommandError> {
        if needs_reference(&question.category) { self.of(question) } else { Ok(&[]) }
    }
}

pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let (questions, answers) = (("questions", Some(&args.questions)), ("answers", Some(&args.answers)));
    let references = ("references", Some(&args.references));
    let inputs = [questions, answers, references, ("opponent", args.opponent.as_ref()), ("judge_prompt", args.judge_prompt.as_ref())];
    let record = RunRecord::begin("judge mt-bench", args, &inputs)?;
    let questions: Vec<Question> = read_all(&args.questions).bad_input()?;
    let (mine, references) = (Answers::read(&args.answers)?, Answers::read(&args.references)?);
    match &args.opponent {
        Some(opponent) => pairs::run(args, record, &questions, &mine, &Answers::read(opponent)?, &references),
        None => grade(args, record, &questions, &mine, &references),
    }
}

fn grade(
    args: &Args,
    record: RunRecord,
    questions: &[Question],
    mine: &Answers<'_>,
    references: &Answers<'_>,
) -> Result<Outcome, CommandError> {
    let mut conversations = Vec::new();
    for question in questions {
        conversations.push(question.conversation(mine.of(question)?, references.reference(question)?));
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
        let judge = GradeJudge::new(Asker::new(&model).journal(&journal).on_call(on_call), options.clone()).bad_input()?;
        judge.judge(&conversations).bad_input()
    })?;
    write_all(args.out.join("judgments.jsonl"), &judgement.rows).failure()?;
    let judgment = |row: &GradeRow| Judgment {
        question_id: row.question_id.clone(),
        turn: row.turn,
        judgment: row.judgment.clone(),
        score: row.score,
    };
    let grades = Grades::of(&judgement.rows.iter().map(judgment).collect::<Vec<_>>(), questions).ok();

    let by_id: HashMap<&str, &Question> = questions.iter().map(|question| (question.question_id.as_str(), question)).collect();
    let mut rows = Vec::new();
    for row in &judgement.rows {
        let Some(question) = by_id.get(row.question_id.as_str()) else { continue };
        let turns = turns(question, row.turn, mine.of(question)?, None, references.reference(question)?);
        let id = format!("{}/turn-{}", row.question_id, row.turn);
        rows.push(VerdictRow {
            question: row.question_id.clone(),
            category: question.category.clone(),
            turn: Some(row.turn),
            ..VerdictRow::new(id, turns, row)
        });
    }
    let judged = Judged {
        protocol: Protocol::MtBench,
        model: folder::name(args.name.as_ref(), &args.answers),
        opponent: None,
        settings: VerdictSettings {
            judge: judgement.judge.clone(),
            prompts: judgement.prompts.clone(),
            sampling: options.sampling,
            system_shown: false,
            reference_shown: true,
        },
        counts: judgement.counts,
        missing: Missing::default(),
    };
    let run = VerdictRun::new(judged, rows, 0).failure()?;
    let text = match &grades {
        Some(grades) => format!("average {:.3} over {} turns", grades.average, grades.rows - grades.failed),
        None => "no rating".into(),
    };
    let numbers = json!({ "judge": judgement.judge, "prompts": judgement.prompts, "grades": grades });
    let record = record.end(&args.out, &args.service, &model, &estimate)?;
    folder::finish(&args.out, &run, &record, &text, numbers)
}

/// What was said up to this turn.
fn turns(question: &Question, last: usize, model: &[String], opponent: Option<&[String]>, reference: &[String]) -> Vec<VerdictTurn> {
    let turn = |(turn, prompt): (usize, &String)| VerdictTurn {
        prompt: prompt.clone(),
        model: model.get(turn).cloned().unwrap_or_default(),
        opponent: opponent.map(|answers| answers.get(turn).cloned().unwrap_or_default()),
        reference: reference.get(turn).cloned(),
    };
    question.turns.iter().take(last).enumerate().map(turn).collect()
}
