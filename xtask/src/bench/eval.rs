//! `cargo xtask bench eval`: how long the benchmarks' numbers take.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use janus_data::read_all;
use janus_eval::bench::alpaca_eval::{AlpacaAnnotation, AlpacaReference, LengthControl, Optimizer, Preferences};
use janus_eval::bench::arena_hard::{ArenaBattles, ArenaScore, Resampling};
use janus_eval::bench::toxicity::{ScoredGenerations, ToxicityClassifier};
use janus_eval::judge::read::ScoreReader;
use serde::Deserialize;
use serde_json::json;

use crate::command::{Blame as _, CommandError, Outcome};

/// Answers of a rubric judge that are read.
const ANSWERS: usize = 100_000;
/// Resamples of Arena-Hard.
const ROUNDS: usize = 1_000;

/// Measure how long the benchmarks' numbers take
///
/// Each figure is the median of several runs, in milliseconds, with the data in memory: the
/// length-controlled win rate of one model with cross-validation (50 fits and the last one), by both
/// optimisers; the annotations read to preferences; 1,000 bootstrap rounds of Arena-Hard; 100,000
/// answers of a rubric judge read; one text scored by the toxicity classifier.
///
/// Reads:   DATA: alpaca_eval, arena_hard, rubric_judgments, real_toxicity_prompts, toxicity_classifier.
/// Writes:  nothing; the figures go to stdout.
/// Example: cargo xtask bench eval --data DATA --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The folder of the benchmarks' data
    #[arg(long, value_name = "DATA")]
    data: PathBuf,
    /// Runs of each
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
}

#[derive(Deserialize)]
struct Feedback {
    feedback: Vec<String>,
    scores: Vec<u8>,
}

pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let alpaca = args.data.join("alpaca_eval");
    let annotations: Vec<AlpacaAnnotation> = read_all(alpaca.join("annotations/claude-2.1.jsonl.gz")).bad_input()?;
    let reference = AlpacaReference::load(&alpaca).bad_input()?;
    let preferences = Preferences::new(&annotations, &reference).bad_input()?;
    let battles: Vec<ArenaBattles> = read_all(args.data.join("arena_hard/battles/gpt-3.5-turbo-0125.jsonl.gz")).bad_input()?;
    let answers = answers(args)?;
    let classifier = ToxicityClassifier::load(args.data.join("toxicity_classifier")).bad_input()?;
    let continued: Vec<ScoredGenerations> =
        read_all(args.data.join("real_toxicity_prompts/human_eval_generations_gpt_2.jsonl.gz")).bad_input()?;
    let texts: Vec<&str> = continued.iter().flat_map(|row| &row.generations).map(|generation| generation.text.as_str()).collect();

    let (mut text, mut report) = (String::new(), json!({ "command": "bench eval" }));
    let mut time = |key: &str, what: &str, wanted: Option<f64>, work: &dyn Fn() -> bool| -> Result<(), CommandError> {
        let mut times = Vec::new();
        // The first run warms up and is not counted.
        for _ in 0..=args.runs {
            let start = Instant::now();
            if !work() {
                return Err(CommandError::failure(format!("{what}: the work gave no result")));
            }
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        times.remove(0);
        times.sort_by(f64::total_cmp);
        let milliseconds = times[times.len() / 2];
        report[key] = json!(milliseconds);
        let mut wanted_text = String::new();
        if let Some(wanted) = wanted {
            wanted_text = format!(" (wanted: {wanted})");
            report[format!("{}_wanted_ms", key.trim_end_matches("_ms"))] = json!(wanted);
        }
        text += &format!("{milliseconds:9.3} ms  {what}{wanted_text}\n");
        Ok(())
    };
    let exact = LengthControl::default();
    let liblinear = LengthControl { optimizer: Optimizer::Liblinear, ..exact };
    let fits = |control: LengthControl| black_box(control.win_rate(black_box(&preferences), &reference)).is_ok();
    time("lc_cv_ms", "length-controlled win rate with cross-validation", Some(50.0), &|| fits(exact))?;
    time("lc_cv_liblinear_ms", "the same with the reference's optimiser", None, &|| fits(liblinear))?;
    time("preferences_ms", "805 annotations read to preferences", None, &|| Preferences::new(black_box(&annotations), &reference).is_ok())?;
    time("arena_bootstrap_ms", "1,000 bootstrap rounds of Arena-Hard", Some(1_000.0), &|| {
        black_box(ArenaScore::of(black_box(&battles), Resampling { rounds: ROUNDS, seed: 0 })).is_ok()
    })?;
    time("rubric_parse_ms", "100,000 rubric answers read", Some(100.0), &|| {
        black_box(&answers).iter().filter(|answer| ScoreReader::Strict.read(answer).is_ok()).count() == answers.len()
    })?;
    time("classifier_ms", "240 generations scored by the toxicity classifier", None, &|| {
        black_box(classifier.score_all(black_box(&texts))).len() == texts.len()
    })?;
    report["runs"] = json!(args.runs);
    Ok(Outcome::done(text.trim_end(), report))
}

/// Real feedback of a judge, each with its score behind it as the judge's prompt asks for.
fn answers(args: &Args) -> Result<Vec<String>, CommandError> {
    let path = args.data.join("rubric_judgments/vicuna_eval.jsonl.gz");
    let rows: Vec<Feedback> = read_all(&path).bad_input()?;
    let real: Vec<String> = rows
        .iter()
        .flat_map(|row| row.feedback.iter().zip(&row.scores))
        .map(|(feedback, score)| format!("Feedback: {feedback} [RESULT] {score}"))
        .collect();
    if real.is_empty() {
        return Err(CommandError::bad_input(format!("{}: no feedback", path.display())));
    }
    Ok(real.iter().cycle().take(ANSWERS).cloned().collect())
}
