//! `cargo xtask judge arena-hard`: battles of a model against a baseline.

use std::path::PathBuf;

use janus_data::{read_all, write_all};
use janus_eval::bench::arena_hard::{Question, QuestionBattles, cases};
use janus_eval::protocol::{ArenaHard, ArenaHardOptions, Protocol as _};
use janus_eval::run::CaseRun;
use serde::Serialize;
use serde_json::json;

use super::folder::{self, RunRecord};
use super::service::{RunArgs, read_prompt};
use crate::command::{self, Blame as _, CommandError, Outcome};

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
    /// Name of the baseline [default: its file's name]
    #[arg(long, value_name = "NAME")]
    baseline_name: Option<String>,
    /// A prompt in place of ours
    #[arg(long, value_name = "FILE")]
    judge_prompt: Option<PathBuf>,
    #[command(flatten)]
    #[serde(flatten)]
    run: RunArgs,
}

pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let (questions, answered) = (("questions", Some(&args.questions)), ("answers", Some(&args.answers)));
    let inputs = [questions, answered, ("baseline", Some(&args.baseline)), ("judge_prompt", args.judge_prompt.as_ref())];
    let record = RunRecord::begin("judge arena-hard", args, &inputs)?;
    let [name, baseline] = folder::names((args.run.name.as_ref(), &args.answers), (args.baseline_name.as_ref(), &args.baseline))?;
    let questions: Vec<Question> = read_all(&args.questions).bad_input()?;
    let cases = cases(&questions, &args.answers, &args.baseline).bad_input()?;
    let mut options = ArenaHardOptions::v01();
    if let Some(path) = &args.judge_prompt {
        options.prompt = read_prompt(path)?;
    }
    let protocol = ArenaHard::new(options).bad_input()?;
    args.run.judge_cases(record, &protocol, &cases, |judgement| {
        let rows: Vec<QuestionBattles> = judgement.rows.iter().map(QuestionBattles::of).collect();
        let path = args.run.out.join("battles.jsonl");
        write_all(&path, &rows).failure()?;
        let run = CaseRun::new(protocol.info(), name, judgement, 0).failure()?.against(baseline);
        let tally = run.result.all.as_ref().and_then(|all| all.outcomes).unwrap_or_default();
        let text = format!(
            "{} wins, {} ties, {} losses, significant ones three times; the score: {} eval arena-hard --battles {}",
            tally.win,
            tally.tie,
            tally.loss,
            command::program(),
            path.display()
        );
        let settings = &run.result.head.settings;
        let numbers = json!({
            "judge": settings.judge, "prompt": settings.prompts.first(), "battles": path,
            "model_wins": tally.win, "ties": tally.tie, "baseline_wins": tally.loss,
        });
        Ok((run, text, numbers))
    })
}
