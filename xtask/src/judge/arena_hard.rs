//! `cargo xtask judge arena-hard`: battles of a model against a baseline.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use janus_data::{read_all, write_all};
use janus_eval::Missing;
use janus_eval::bench::arena_hard::{Question, QuestionBattles};
use janus_eval::judge::{ArenaBattle, ArenaJudge, ArenaOptions, ArenaRow, Asker};
use janus_eval::run::{Judged, Protocol, VerdictRow, VerdictRun, VerdictSettings, VerdictTurn};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::folder::{self, RunRecord};
use super::service::{BatchArgs, JudgeArgs, read_prompt, watched};
use crate::command::{Blame as _, CommandError, Outcome};

/// Judge a model's answers against a baseline's, two games for each question (Arena-Hard-Auto v0.1)
///
/// In game 1 the baseline is A, in game 2 the model. A text without a label is asked to go on once.
///
/// Reads:   QUESTIONS: rows of {question_id, prompt}. ANSWERS and BASELINE: rows of {question_id, answer}.
///          --judge-prompt takes the official judge_prompt.json.
/// Writes:  OUT/battles.jsonl, which `eval arena-hard` reads; OUT/report.html, report.md, report.json; OUT/judged.json
///          (the result in one typed file), rows.jsonl (answers, labels and what the judge wrote); OUT/run.json
///          (times, files, spend); OUT/calls.jsonl, the journal.
/// Example: cargo xtask judge arena-hard --questions questions.jsonl.gz --answers mine.jsonl
///          --baseline answers_gpt-4-0314.jsonl.gz --judge gpt-4-1106-preview --out runs/arena --dry-run
#[derive(Debug, clap::Args, Serialize)]
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
    /// Name of the model in reports [default: its file's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Name of the baseline [default: its file's name]
    #[arg(long, value_name = "NAME")]
    baseline_name: Option<String>,
    /// A prompt in place of ours
    #[arg(long, value_name = "FILE")]
    judge_prompt: Option<PathBuf>,
    #[command(flatten)]
    service: JudgeArgs,
    #[command(flatten)]
    #[serde(skip)]
    batch: BatchArgs,
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
    let (questions, answered) = (("questions", Some(&args.questions)), ("answers", Some(&args.answers)));
    let inputs = [questions, answered, ("baseline", Some(&args.baseline)), ("judge_prompt", args.judge_prompt.as_ref())];
    let record = RunRecord::begin("judge arena-hard", args, &inputs)?;
    let [name, baseline_name] = folder::names((args.name.as_ref(), &args.answers), (args.baseline_name.as_ref(), &args.baseline))?;
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
        let judge = ArenaJudge::new(Asker::new(&model).journal(&journal).on_call(on_call), options.clone()).bad_input()?;
        judge.judge(&battles).bad_input()
    })?;
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
    let row = |((question, battle), row): ((&Question, &ArenaBattle<'_>), &ArenaRow)| {
        let (prompt, opponent) = (battle.question.to_string(), Some(battle.baseline.to_string()));
        let turn = VerdictTurn { prompt, model: battle.model.into(), opponent, reference: None };
        VerdictRow { category: question.cluster.clone(), ..VerdictRow::new(battle.id.as_str(), vec![turn], row) }
    };
    let judged = Judged {
        protocol: Protocol::ArenaHard,
        model: name,
        opponent: Some(baseline_name),
        settings: VerdictSettings {
            judge: judgement.judge.clone(),
            prompts: vec![judgement.prompt.clone()],
            sampling: options.sampling,
            system_shown: false,
            reference_shown: false,
        },
        counts: judgement.counts,
        missing: Missing::default(),
    };
    let run = VerdictRun::new(judged, questions.iter().zip(&battles).zip(&judgement.rows).map(row).collect(), 0).failure()?;
    let numbers = json!({
        "judge": judgement.judge, "prompt": judgement.prompt, "battles": path, "model_wins": win, "ties": tie, "baseline_wins": loss,
    });
    let record = record.end(&args.out, &args.service, &model, &estimate)?;
    folder::finish(&args.out, &run, &record, &text, numbers)
}
