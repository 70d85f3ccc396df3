//! `cargo xtask judge arena-hard`: battles of a model against a baseline.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use janus_data::{read_all, write_all};
use janus_eval::bench::arena_hard::QuestionBattles;
use janus_eval::judge::{ArenaBattle, ArenaJudge, ArenaOptions, Asker};
use serde::Deserialize;
use serde_json::json;

use super::service::{BatchArgs, ServiceArgs, outcome, read_prompt, watched};
use crate::command::{Blame as _, CommandError, Outcome};

/// Judge a model's answers against a baseline's, two games for each question (Arena-Hard-Auto v0.1)
///
/// In game 1 the baseline is A, in game 2 the model. A text without a label is asked to go on once.
///
/// Reads:   QUESTIONS: rows of {question_id, prompt}. ANSWERS and BASELINE: rows of {question_id, answer}.
///          --judge-prompt takes the official judge_prompt.json.
/// Writes:  OUT/battles.jsonl, which `eval arena-hard` reads; OUT/judgments.jsonl: labels and what the judge
///          wrote; OUT/calls.jsonl, the journal.
/// Example: cargo xtask judge arena-hard --questions questions.jsonl.gz --answers mine.jsonl
///          --baseline answers_gpt-4-0314.jsonl.gz --judge gpt-4-1106-preview --out runs/arena --dry-run
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The questions
    #[arg(long, value_name = "QUESTIONS")]
    questions: PathBuf,
    /// The model's answers
    #[arg(long, value_name = "ANSWERS")]
    answers: PathBuf,
    /// The baseline's answers
    #[arg(long, value_name = "BASELINE")]
    baseline: PathBuf,
    /// The run folder
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// A prompt in place of ours
    #[arg(long, value_name = "FILE")]
    judge_prompt: Option<PathBuf>,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    batch: BatchArgs,
}

#[derive(Deserialize)]
struct Question {
    question_id: String,
    prompt: String,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(alias = "id")]
    question_id: String,
    #[serde(alias = "response")]
    answer: String,
}

fn answers(path: &Path) -> Result<HashMap<String, String>, CommandError> {
    let rows: Vec<Answer> = read_all(path).bad_input()?;
    let mut answers = HashMap::new();
    for (row, Answer { question_id, answer }) in rows.into_iter().enumerate() {
        if answers.insert(question_id, answer).is_some() {
            return Err(CommandError::bad_input(format!("{}, row {}, field \"question_id\": it stands twice", path.display(), row + 1)));
        }
    }
    Ok(answers)
}

pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let questions: Vec<Question> = read_all(&args.questions).bad_input()?;
    let (mine, base) = (answers(&args.answers)?, answers(&args.baseline)?);
    let mut battles = Vec::new();
    for question in &questions {
        let id = &question.question_id;
        let of = |answers: &'_ HashMap<String, String>, path: &Path| {
            answers
                .contains_key(id)
                .then_some(())
                .ok_or_else(|| CommandError::bad_input(format!("{}: no answer to question {id}", path.display())))
        };
        of(&mine, &args.answers)?;
        of(&base, &args.baseline)?;
        battles.push(ArenaBattle { id: id.clone(), question: &question.prompt, baseline: &base[id], model: &mine[id] });
    }
    let mut options = ArenaOptions::v01().failure()?;
    if let Some(path) = &args.judge_prompt {
        options.prompt = read_prompt(path)?;
    }
    let (model, journal) = args.service.begin(&args.out)?;
    let judge = ArenaJudge::new(Asker::new(&model).journal(&journal), options.clone()).bad_input()?;
    let (open, estimate) = (|| judge.unasked(&battles).bad_input(), || judge.estimate(&battles).bad_input());
    let estimate = match args.batch.prepare("judge arena-hard", &args.service, &journal, open, estimate)? {
        ControlFlow::Break(outcome) => return Ok(outcome),
        ControlFlow::Continue(estimate) => estimate,
    };
    let judgement = watched(estimate.calls, |on_call| {
        let judge = ArenaJudge::new(Asker::new(&model).journal(&journal).on_call(on_call), options).bad_input()?;
        judge.judge(&battles).bad_input()
    })?;
    write_all(args.out.join("judgments.jsonl"), &judgement.rows).failure()?;
    let rows: Vec<QuestionBattles> =
        judgement.rows.iter().map(|row| QuestionBattles { question_id: row.question_id.clone(), outcomes: row.outcomes() }).collect();
    let path = args.out.join("battles.jsonl");
    write_all(&path, &rows).failure()?;
    let count = |letter: char| rows.iter().map(|row| row.outcomes.matches(letter).count()).sum::<usize>();
    let [win, tie, loss] = ['b', 't', 'a'].map(count);
    let text = format!(
        "{win} wins, {tie} ties, {loss} losses, significant ones three times; the score: cargo xtask eval arena-hard --battles {}",
        path.display()
    );
    let report = json!({
        "command": "judge arena-hard", "out": args.out, "judge": judgement.judge, "prompt": judgement.prompt, "battles": path,
        "model_wins": win, "ties": tie, "baseline_wins": loss, "counts": judgement.counts,
    });
    Ok(outcome(&args.out, text, &judgement.counts, report))
}
