//! `cargo xtask judge` without rubrics: pairs of responses, MT-Bench, Arena-Hard, AlpacaEval.

use std::path::PathBuf;

use janus_data::read_all;
use janus_eval::bench::{alpaca_eval, arena_hard, mt_bench};
use janus_eval::judge::PromptTemplate;
use janus_eval::protocol::{AlpacaEval, ArenaHard, Case, MtBench, Pairwise, Protocol as _, bench_pairs};
use janus_eval::run::{CaseRun, CaseScore, PairTally};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Judging, RunArgs, names};
use crate::command::{self, Blame as _, CommandError, Outcome, read_text};

/// Compare the responses of two models, each pair in both orders
///
/// If the two orders disagree, the pair is a tie. The report also has the share of
/// pairs whose verdict flips with the order, and the share of decided verdicts for
/// the answer that was shown first.
///
/// Reads:   BENCH: records. MODEL and OPPONENT: rows of {id, response}. A record is
///          left out and counted as missing unless both models answered it.
/// Writes:  the run folder OUT (see `judge --help`).
/// Example: cargo xtask judge pairwise --bench bench.jsonl --model janus.jsonl \
///          --opponent base.jsonl --judge gpt-4 --out runs/pairs --dry-run
#[derive(Debug, clap::Args, Serialize)]
#[command(verbatim_doc_comment)]
pub struct PairwiseArgs {
    /// The bench's records
    #[arg(long, value_name = "BENCH")]
    bench: PathBuf,
    /// Responses of the model
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// Responses of its opponent
    #[arg(long, value_name = "OPPONENT")]
    opponent: PathBuf,
    /// Name of the opponent [default: its file's name]
    #[arg(long, value_name = "NAME")]
    opponent_name: Option<String>,
    /// Show the system message in front of the prompt
    #[arg(long)]
    show_system: bool,
    /// Show the reference answer
    #[arg(long)]
    show_reference: bool,
    /// MT-Bench's file of judge prompts, instead of the built-in ones
    #[arg(long, value_name = "FILE")]
    judge_prompt: Option<PathBuf>,
    #[command(flatten)]
    #[serde(flatten)]
    run: RunArgs,
}

impl PairwiseArgs {
    pub fn judge(&self) -> Result<Outcome, CommandError> {
        let judging = Judging::begin("judge pairwise", &self.run, self)?;
        let [name, opponent] =
            names((self.run.name.as_ref(), &self.model), (self.opponent_name.as_ref(), &self.opponent))?;
        let (records, mine) = (read_all(&self.bench).bad_input()?, read_all(&self.model).bad_input()?);
        let (cases, missing) =
            bench_pairs(&records, &mine, &read_all(&self.opponent).bad_input()?).bad_input()?;
        let mut protocol = Pairwise::default();
        (protocol.show_system, protocol.show_reference) = (self.show_system, self.show_reference);
        if let Some(path) = &self.judge_prompt {
            protocol.prompts = read_text(path)?.parse().bad_input()?;
        }
        let run = |judgement| {
            Ok(CaseRun::new(protocol.info(), name, judgement, 0)?.against(opponent).missing(missing))
        };
        judging.judge_cases(&protocol, &cases, run, |run| {
            let (result, tally) = (&run.result, tally(run));
            let percent = |share: Option<f64>| share.map_or("–".into(), |share| format!("{:.1} %", 100.0 * share));
            let text = format!(
                "win rate {} (ties half) over {} pairs: {tally}; {} flipped, first answer wins {}",
                percent(tally.win_rate_ties_half()),
                tally.n(),
                percent(result.flip_rate),
                percent(result.first_position_share)
            );
            let numbers = json!({
                "n": tally.n(), "win": tally.win, "tie": tally.tie, "loss": tally.loss, "win_rate_ties_half": tally.win_rate_ties_half(),
                "tie_win_all": tally.tie_win_all(), "flip_rate": result.flip_rate, "first_position_share": result.first_position_share,
                "system_shown": self.show_system, "reference_shown": self.show_reference,
            });
            Ok((text, numbers))
        })
    }
}

/// Grade MT-Bench answers from 1 to 10, or compare them with another model's
///
/// Each turn is one call; the second turn is judged with the first before it. With
/// --opponent each turn is judged in both orders, and a disagreement is a tie.
///
/// Reads:   QUESTIONS: rows of {question_id, category, turns}. ANSWERS: rows of
///          {question_id, turns}, or FastChat's with choices. REFERENCES, the same,
///          for math, reasoning and coding. --judge-prompt takes FastChat's
///          judge_prompts.jsonl.
/// Writes:  the run folder OUT (see `judge --help`), with judgments.jsonl, which
///          `eval mt-bench` reads; with --opponent pairs.jsonl, which `eval
///          mt-bench-pairs` reads.
/// Example: cargo xtask judge mt-bench --questions question.jsonl \
///          --answers mine.jsonl --references reference_answer_gpt-4.jsonl \
///          --judge gpt-4 --out runs/mt-bench --dry-run
///          cargo xtask judge mt-bench --questions question.jsonl \
///          --answers mine.jsonl --opponent gpt-3.5-turbo.jsonl \
///          --references reference_answer_gpt-4.jsonl --judge gpt-4 \
///          --out runs/mt-bench-pairs --dry-run
#[derive(Debug, clap::Args, Serialize)]
#[command(verbatim_doc_comment)]
pub struct MtBenchArgs {
    /// The questions
    #[arg(long, value_name = "QUESTIONS")]
    questions: PathBuf,
    /// The model's answers
    #[arg(long, value_name = "ANSWERS")]
    answers: PathBuf,
    /// Another model's answers to compare with
    #[arg(long, value_name = "ANSWERS2")]
    opponent: Option<PathBuf>,
    /// Reference answers
    #[arg(long, value_name = "REFERENCES")]
    references: PathBuf,
    /// Name of the opponent [default: its file's name]
    #[arg(long, value_name = "NAME", requires = "opponent")]
    opponent_name: Option<String>,
    /// MT-Bench's file of judge prompts, instead of the built-in ones
    #[arg(long, value_name = "FILE")]
    judge_prompt: Option<PathBuf>,
    #[command(flatten)]
    #[serde(flatten)]
    run: RunArgs,
}

impl MtBenchArgs {
    pub fn judge(&self) -> Result<Outcome, CommandError> {
        let judging = Judging::begin("judge mt-bench", &self.run, self)?;
        let both = |opponent| {
            names((self.run.name.as_ref(), &self.answers), (self.opponent_name.as_ref(), opponent))
        };
        let both = self.opponent.as_deref().map(both).transpose()?;
        let cases =
            mt_bench::cases(&self.questions, &self.answers, self.opponent.as_deref(), &self.references)
                .bad_input()?;
        let prompts = self.judge_prompt.as_deref().map(read_text).transpose()?;
        match both {
            Some(both) => self.pairs(&judging, &cases, both, prompts.as_deref()),
            None => self.grades(&judging, &cases, prompts.as_deref()),
        }
    }

    fn grades(
        &self,
        judging: &Judging<'_>,
        cases: &[Case],
        prompts: Option<&str>,
    ) -> Result<Outcome, CommandError> {
        let mut protocol = MtBench::default();
        if let Some(lines) = prompts {
            protocol.prompts = lines.parse().bad_input()?;
        }
        let run = |judgement| CaseRun::new(protocol.info(), judging.name(&self.answers), judgement, 0);
        judging.judge_cases(&protocol, cases, run, |run| {
            let path = self.run.out.join("judgments.jsonl");
            mt_bench::write(run, &path).failure()?;
            let text = match &run.result.all {
                Some(all) => format!("average {:.3} over {} turns", all.mean, all.n),
                None => "no rating".into(),
            };
            let grades = mt_bench::evaluate(&path, &self.questions, 0).ok().map(|grades| grades.numbers);
            Ok((text, json!({ "grades": grades })))
        })
    }

    fn pairs(
        &self,
        judging: &Judging<'_>,
        cases: &[Case],
        [name, opponent]: [String; 2],
        prompts: Option<&str>,
    ) -> Result<Outcome, CommandError> {
        let mut protocol = Pairwise::mt_bench();
        if let Some(lines) = prompts {
            protocol.prompts = lines.parse().bad_input()?;
        }
        let run = |judgement| Ok(CaseRun::new(protocol.info(), &name, judgement, 0)?.against(&opponent));
        judging.judge_cases(&protocol, cases, run, |run| {
            let result = &run.result;
            let path = self.run.out.join("pairs.jsonl");
            mt_bench::write_pairs(run, &path).failure()?;
            let models = mt_bench::evaluate_pairs(&path, None).ok().and_then(|mut pairs| pairs.numbers.remove("models"));
            let score = models.as_ref().and_then(Value::as_array).into_iter().flatten().find(|score| score["model"] == name.as_str());
            let text = match &result.all {
                Some(CaseScore { mean, outcomes: Some(tally), .. }) => {
                    let (program, shown) = (command::program(), path.display());
                    format!("win rate {:.1} % (ties half): {tally}; table: {program} eval mt-bench-pairs --judgments {shown}", 100.0 * mean)
                }
                _ => "no verdict".into(),
            };
            let numbers = json!({
                "pairs": path, "score": score, "n": result.all.as_ref().map_or(0, |all| all.n), "flip_rate": result.flip_rate,
                "first_position_share": result.first_position_share,
            });
            Ok((text, numbers))
        })
    }
}

/// Judge answers against a baseline's, as in Arena-Hard-Auto v0.1
///
/// Two games for each question: in the first the baseline is A, in the second the
/// model. A judgment without a label is continued once.
///
/// Reads:   QUESTIONS: rows of {question_id, prompt}. ANSWERS and BASELINE: rows of
///          {question_id, answer}. --judge-prompt takes the official
///          judge_prompt.json.
/// Writes:  the run folder OUT (see `judge --help`), with battles.jsonl, which
///          `eval arena-hard` reads.
/// Example: cargo xtask judge arena-hard --questions questions.jsonl.gz \
///          --answers mine.jsonl --baseline answers_gpt-4-0314.jsonl.gz \
///          --judge gpt-4-1106-preview --out runs/arena --dry-run
#[derive(Debug, clap::Args, Serialize)]
#[command(verbatim_doc_comment)]
pub struct ArenaHardArgs {
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
    /// A judge prompt, instead of the built-in one
    #[arg(long, value_name = "FILE")]
    judge_prompt: Option<PathBuf>,
    #[command(flatten)]
    #[serde(flatten)]
    run: RunArgs,
}

impl ArenaHardArgs {
    pub fn judge(&self) -> Result<Outcome, CommandError> {
        let judging = Judging::begin("judge arena-hard", &self.run, self)?;
        let [name, baseline] =
            names((self.run.name.as_ref(), &self.answers), (self.baseline_name.as_ref(), &self.baseline))?;
        let cases = arena_hard::cases(&self.questions, &self.answers, &self.baseline).bad_input()?;
        let mut protocol = ArenaHard::default();
        if let Some(path) = &self.judge_prompt {
            protocol.prompt = PromptTemplate::read(path).bad_input()?;
        }
        let run = |judgement| Ok(CaseRun::new(protocol.info(), name, judgement, 0)?.against(baseline));
        judging.judge_cases(&protocol, &cases, run, |run| {
            let path = self.run.out.join("battles.jsonl");
            arena_hard::write(run, &path).failure()?;
            let tally = tally(run);
            let (program, shown) = (command::program(), path.display());
            let text = format!("{tally}, significant ones three times; the score: {program} eval arena-hard --battles {shown}");
            let numbers = json!({
                "prompt": run.result.head.settings.prompts.first(), "battles": path, "model_wins": tally.win, "ties": tally.tie,
                "baseline_wins": tally.loss,
            });
            Ok((text, numbers))
        })
    }
}

/// Judge outputs against the baseline's, as in AlpacaEval 2.0
///
/// The preference is computed from the probabilities of one token. The order of the
/// two outputs is drawn as in AlpacaEval, seeded by the instruction.
///
/// Reads:   EVAL-SET: rows of {index, instruction, reference_output}. OUTPUTS: rows
///          of {index, output}. --judge-prompt takes the official prompt.
/// Writes:  the run folder OUT (see `judge --help`), with annotations.jsonl, which
///          `eval alpaca-eval` reads.
/// Example: cargo xtask judge alpaca-eval --eval-set eval_set.jsonl.gz \
///          --outputs mine.jsonl --judge gpt-4-1106-preview --out runs/alpaca \
///          --dry-run
#[derive(Debug, clap::Args, Serialize)]
#[command(verbatim_doc_comment)]
pub struct AlpacaEvalArgs {
    /// Instructions with the baseline's outputs
    #[arg(long, value_name = "EVAL-SET")]
    eval_set: PathBuf,
    /// The model's outputs
    #[arg(long, value_name = "OUTPUTS")]
    outputs: PathBuf,
    /// Name of the model whose outputs are in the evaluation set
    #[arg(long, value_name = "NAME", default_value = "baseline")]
    baseline_name: String,
    /// A judge prompt, instead of the built-in one
    #[arg(long, value_name = "FILE")]
    judge_prompt: Option<PathBuf>,
    #[command(flatten)]
    #[serde(flatten)]
    run: RunArgs,
}

impl AlpacaEvalArgs {
    pub fn judge(&self) -> Result<Outcome, CommandError> {
        let judging = Judging::begin("judge alpaca-eval", &self.run, self)?;
        let (cases, missing) = alpaca_eval::cases(&self.eval_set, &self.outputs).bad_input()?;
        let mut protocol = AlpacaEval::default();
        if let Some(path) = &self.judge_prompt {
            protocol.prompt = PromptTemplate::read(path).bad_input()?;
        }
        let name = judging.name(&self.outputs);
        let run = |judgement| {
            Ok(CaseRun::new(protocol.info(), name, judgement, 0)?
                .against(&self.baseline_name)
                .missing(missing))
        };
        judging.judge_cases(&protocol, &cases, run, |run| {
            let path = self.run.out.join("annotations.jsonl");
            alpaca_eval::write(run, &path).failure()?;
            let values: Vec<f64> = run.rows.iter().flat_map(|row| row.values.iter().copied()).collect();
            let win_rate = (!values.is_empty()).then(|| 100.0 * values.iter().sum::<f64>() / values.len() as f64);
            let (n, program, shown) = (values.len(), command::program(), path.display());
            let summary =
                |rate| format!("win rate {rate:.2} over {n} instructions; all numbers: {program} eval alpaca-eval --annotations {shown}");
            let text = win_rate.map_or("no preference".into(), summary);
            let prompt = run.result.head.settings.prompts.first();
            Ok((text, json!({ "prompt": prompt, "annotations": path, "win_rate": win_rate, "n": n })))
        })
    }
}

/// Wins, ties and losses of a run; all 0 if there is no verdict.
fn tally(run: &CaseRun) -> PairTally {
    run.result.all.as_ref().and_then(|all| all.outcomes).unwrap_or_default()
}
