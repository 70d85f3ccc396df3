//! `cargo xtask judge mt-bench`: grades both turns of MT-Bench's answers, or compares them with another model's.

use std::path::PathBuf;

use janus_data::{read_all, write_all};
use janus_eval::bench::mt_bench::{AnswerFile, Grades, Judgment, PairJudgment, PairScores, Question};
use janus_eval::protocol::{Case, GradePrompts, MtBench, MtBenchOptions, PairPrompts, Pairwise, PairwiseOptions, Protocol as _};
use janus_eval::run::CaseRun;
use serde::Serialize;
use serde_json::json;

use super::folder::{self, RunRecord};
use super::service::{RunArgs, read_text};
use crate::command::{self, Blame as _, CommandError, Outcome};

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
    /// Name of its opponent [default: its file's name]
    #[arg(long, value_name = "NAME", requires = "opponent")]
    opponent_name: Option<String>,
    /// MT-Bench's file of prompts in place of ours
    #[arg(long, value_name = "FILE")]
    judge_prompt: Option<PathBuf>,
    #[command(flatten)]
    #[serde(flatten)]
    run: RunArgs,
}

pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let (questions, answers) = (("questions", Some(&args.questions)), ("answers", Some(&args.answers)));
    let references = ("references", Some(&args.references));
    let inputs = [questions, answers, references, ("opponent", args.opponent.as_ref()), ("judge_prompt", args.judge_prompt.as_ref())];
    let record = RunRecord::begin("judge mt-bench", args, &inputs)?;
    let names = args
        .opponent
        .as_deref()
        .map(|opponent| folder::names((args.run.name.as_ref(), &args.answers), (args.opponent_name.as_ref(), opponent)));
    let names = names.transpose()?;
    let questions: Vec<Question> = read_all(&args.questions).bad_input()?;
    let (mine, references) = (AnswerFile::read(&args.answers).bad_input()?, AnswerFile::read(&args.references).bad_input()?);
    let other = args.opponent.as_ref().map(AnswerFile::read).transpose().bad_input()?;
    let mut cases = Vec::new();
    for question in &questions {
        let answers = mine.answers(question).bad_input()?;
        let opponent = other.as_ref().map(|other| other.answers(question)).transpose().bad_input()?;
        cases.extend(question.cases(answers, opponent, references.references(question).bad_input()?).bad_input()?);
    }
    let prompts = args.judge_prompt.as_deref().map(read_text).transpose()?;
    match names {
        Some(names) => pairs(args, record, &cases, names, prompts.as_deref()),
        None => grades(args, record, &cases, &questions, prompts.as_deref()),
    }
}

fn grades(args: &Args, record: RunRecord, cases: &[Case], questions: &[Question], prompts: Option<&str>) -> Result<Outcome, CommandError> {
    let mut options = MtBenchOptions::published();
    if let Some(lines) = prompts {
        options.prompts = GradePrompts::published(lines).bad_input()?;
    }
    let protocol = MtBench::new(options).bad_input()?;
    args.run.judge_cases(record, &protocol, cases, |judgement| {
        let judgments: Vec<Judgment> = judgement.rows.iter().map(|row| Judgment::of(row, &judgement.settings.judge)).collect();
        write_all(args.run.out.join("judgments.jsonl"), &judgments).failure()?;
        let grades = Grades::of(&judgments, questions).ok();
        let text = match &grades {
            Some(grades) => format!("average {:.3} over {} turns", grades.average, grades.rows - grades.failed),
            None => "no rating".into(),
        };
        let numbers = json!({ "judge": judgement.settings.judge, "prompts": judgement.settings.prompts, "grades": grades });
        let name = folder::name(args.run.name.as_ref(), &args.answers);
        Ok((CaseRun::new(protocol.info(), name, judgement, 0).failure()?, text, numbers))
    })
}

fn pairs(
    args: &Args,
    record: RunRecord,
    cases: &[Case],
    [name, opponent]: [String; 2],
    prompts: Option<&str>,
) -> Result<Outcome, CommandError> {
    let mut options = PairwiseOptions::mt_bench();
    if let Some(lines) = prompts {
        options.prompts = PairPrompts::published(lines).bad_input()?;
    }
    let protocol = Pairwise::mt_bench(options).bad_input()?;
    args.run.judge_cases(record, &protocol, cases, |judgement| {
        let models = [name.as_str(), &opponent];
        let judgments: Vec<PairJudgment> =
            judgement.rows.iter().map(|row| PairJudgment::of(row, models, &judgement.settings.judge)).collect();
        let path = args.run.out.join("pairs.jsonl");
        write_all(&path, &judgments).failure()?;
        let score = PairScores::of(&judgments, None).ok().and_then(|scores| scores.models.into_iter().find(|score| score.model == name));
        let text = match &score {
            Some(score) => format!(
                "win + half a tie {:.1} %: {} wins, {} ties, {} losses; the table: {} eval mt-bench-pairs --judgments {}",
                100.0 * score.win_rate_adjusted,
                score.win,
                score.tie,
                score.loss,
                command::program(),
                path.display()
            ),
            None => "no verdict".into(),
        };
        let run = CaseRun::new(protocol.info(), &name, judgement, 0).failure()?.against(&opponent);
        let (result, settings) = (&run.result, &run.result.head.settings);
        let numbers = json!({
            "judge": settings.judge, "prompts": settings.prompts, "pairs": path, "score": score,
            "n": result.all.as_ref().map_or(0, |all| all.n), "flip_rate": result.flip_rate,
            "first_position_share": result.first_position_share,
        });
        Ok((run, text, numbers))
    })
}
