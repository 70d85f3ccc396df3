//! Benchmarks whose judge writes text: MT-Bench, Arena-Hard, rubrics.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::Checks;
use crate::bench::arena_hard::{ArenaBattles, ArenaScore, Resampling};
use crate::bench::mt_bench::{Grades, MtBenchJudgment, MtBenchQuestion, cases};
use crate::bench::multifaceted::{RubricReport, RubricRow};
use crate::files::{read_bytes, read_json};
use crate::join::text_or_number;
use crate::judge::read::{PairLabel, arena_label, rating};
use crate::protocol::{MtBench, Protocol as _};
use crate::stats::Bootstrap;
use crate::{Error, Result};

#[derive(Deserialize)]
struct ExpectedGrades {
    model: String,
    rows: usize,
    unique_question_turns: usize,
    failed: usize,
    turn1: f64,
    turn2: f64,
    average: f64,
    by_category: BTreeMap<String, f64>,
}

/// The stored prompt of a judgment.
#[derive(Deserialize)]
struct Prompted {
    #[serde(deserialize_with = "text_or_number")]
    question_id: String,
    turn: usize,
    user_prompt: Option<String>,
}

pub(super) fn mt_bench(data: &Path, checks: &mut Checks) -> Result<()> {
    let folder = data.join("mt_bench");
    let questions: Vec<MtBenchQuestion> = janus_data::read_all(folder.join("question.jsonl"))?;
    for expected in read_json::<Vec<ExpectedGrades>>(&folder.join("expected_scores.json"))? {
        let file = folder.join("judgments").join(format!("{}.jsonl.gz", expected.model));
        let judgments: Vec<MtBenchJudgment> = janus_data::read_all(&file)?;
        let name = |metric: &str| format!("mt_bench {}: {metric}", expected.model);
        let same = judgments
            .iter()
            .filter(|row| row.score == Some(row.judgment.as_deref().and_then(rating).unwrap_or(-1.0)))
            .count();
        checks.exact(name("ratings equal to the stored ones"), same, judgments.len());
        let grades = Grades::of(&judgments, &questions, 0)?;
        checks.exact(name("rows"), grades.rows, expected.rows);
        checks.exact(
            name("unique_question_turns"),
            grades.unique_question_turns,
            expected.unique_question_turns,
        );
        checks.exact(name("failed"), grades.failed, expected.failed);
        checks.close(name("turn1"), grades.turn1.unwrap_or(-1.0), expected.turn1, 1e-9);
        checks.close(name("turn2"), grades.turn2.unwrap_or(-1.0), expected.turn2, 1e-9);
        checks.close(name("average"), grades.average, expected.average, 1e-9);
        for (category, must) in &expected.by_category {
            let got = grades.by_category.get(category).copied().unwrap_or(-1.0);
            checks.close(name(&format!("by_category {category}")), got, *must, 1e-9);
        }
        rebuilt_prompts(&folder, &file, &expected.model, checks)?;
    }
    Ok(())
}

/// Rebuilds the judge's prompts of a model whose judgments contain them.
fn rebuilt_prompts(folder: &Path, file: &Path, model: &str, checks: &mut Checks) -> Result<()> {
    let prompted: Vec<Prompted> = janus_data::read_all(file)?;
    if prompted.iter().all(|row| row.user_prompt.is_none()) {
        return Ok(());
    }
    let templates = read_bytes(&folder.join("judge_prompts.jsonl"))?;
    let prompts = String::from_utf8_lossy(&templates).parse()?;
    let protocol = MtBench { prompts, ..MtBench::default() };
    let answers = folder.join("answers").join(format!("{model}.jsonl.gz"));
    let references = folder.join("reference_answer_gpt-4.jsonl");
    let mut calls = BTreeMap::new();
    for case in cases(&folder.join("question.jsonl"), &answers, None, &references)? {
        calls.extend(protocol.calls(&case)?.into_iter().map(|call| (call.request.id, call.request.messages)));
    }
    let equal = prompted.iter().filter(|row| {
        let rebuilt =
            calls.get(&format!("{}/turn-{}", row.question_id, row.turn)).and_then(|messages| messages.last());
        rebuilt.is_some_and(|message| Some(message.content.as_str()) == row.user_prompt.as_deref())
    });
    checks.exact(
        format!("mt_bench {model}: prompts equal to the stored ones"),
        equal.count(),
        prompted.len(),
    );
    Ok(())
}

#[derive(Deserialize)]
struct ExpectedArena {
    model: String,
    questions: usize,
    battles: usize,
    model_wins: usize,
    ties: usize,
    baseline_wins: usize,
    score: f64,
    official: Option<OfficialArena>,
}

#[derive(Deserialize)]
struct OfficialArena {
    score: f64,
    rating_q025: f64,
    rating_q975: f64,
}

#[derive(Deserialize)]
struct Sampled {
    judgment: String,
    score: Option<String>,
}

pub(super) fn arena_hard(data: &Path, checks: &mut Checks) -> Result<()> {
    let folder = data.join("arena_hard");
    let samples: Vec<Sampled> = janus_data::read_all(folder.join("judgment_samples.jsonl.gz"))?;
    let same = samples
        .iter()
        .filter(|sample| arena_label(&sample.judgment).map(PairLabel::as_arena) == sample.score.as_deref())
        .count();
    checks.exact("arena_hard: labels equal to the stored ones", same, samples.len());
    for expected in read_json::<Vec<ExpectedArena>>(&folder.join("expected_scores.json"))? {
        let rows: Vec<ArenaBattles> =
            janus_data::read_all(folder.join("battles").join(format!("{}.jsonl.gz", expected.model)))?;
        let got = ArenaScore::of(&rows, Resampling::default())?;
        let name = |metric: &str| format!("arena_hard {}: {metric}", expected.model);
        checks.exact(name("questions"), got.questions, expected.questions);
        checks.exact(name("battles"), got.battles, expected.battles);
        checks.exact(name("model_wins"), got.model_wins, expected.model_wins);
        checks.exact(name("ties"), got.ties, expected.ties);
        checks.exact(name("baseline_wins"), got.baseline_wins, expected.baseline_wins);
        checks.close(name("score"), got.score, expected.score, 1e-6);
        if let Some(official) = &expected.official {
            checks.close(name("official score"), (got.score * 100.0).round() / 100.0, official.score, 1e-9);
            checks.close(name("rating_q025"), got.published.rating_q025, official.rating_q025, 0.8);
            checks.close(name("rating_q975"), got.published.rating_q975, official.rating_q975, 0.8);
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct ExpectedRubrics {
    absolute: Vec<ExpectedAbsolute>,
    pairwise: Vec<ExpectedPair>,
}

#[derive(Deserialize)]
struct ExpectedAbsolute {
    model: String,
    items: usize,
    mean: f64,
    run_means: Vec<f64>,
    histogram: Value,
}

#[derive(Deserialize)]
struct ExpectedPair {
    a: String,
    b: String,
    n: usize,
    win: usize,
    tie: usize,
    loss: usize,
    tie_win_rate: f64,
    win_rate_half_ties: f64,
}

pub(super) fn rubrics(data: &Path, checks: &mut Checks) -> Result<()> {
    let folder = data.join("rubric_judgments");
    let rows: Vec<RubricRow> = janus_data::read_all(folder.join("vicuna_eval.jsonl.gz"))?;
    let report = RubricReport::of(&rows, &Bootstrap::default())?;
    let path = folder.join("vicuna_eval_expected.json");
    let expected: ExpectedRubrics = read_json(&path)?;
    let absent = |what: &str| Error::reference(path.display().to_string(), "a model with rows", what);
    for must in &expected.absolute {
        let got =
            report.absolute.iter().find(|row| row.model == must.model).ok_or_else(|| absent(&must.model))?;
        let name = |metric: &str| format!("rubrics {}: {metric}", must.model);
        checks.exact(name("items"), got.items, must.items);
        checks.close(name("mean"), got.mean, must.mean, 1e-9);
        checks.exact(name("runs"), got.run_means.len(), must.run_means.len());
        for (run, (got, must)) in got.run_means.iter().zip(&must.run_means).enumerate() {
            checks.close(name(&format!("mean of run {}", run + 1)), got.unwrap_or(-1.0), *must, 1e-9);
        }
        let histogram: serde_json::Map<String, Value> =
            got.histogram.iter().map(|(score, count)| (score.to_string(), (*count).into())).collect();
        checks.exact(name("histogram"), histogram, must.histogram.clone());
    }
    for must in &expected.pairwise {
        let got = report
            .pairwise
            .iter()
            .find(|pair| pair.a == must.a && pair.b == must.b)
            .ok_or_else(|| absent(&must.a))?;
        let name = |metric: &str| format!("rubrics {} against {}: {metric}", must.a, must.b);
        checks.exact(
            name("n, win, tie, loss"),
            vec![got.n, got.win, got.tie, got.loss],
            vec![must.n, must.win, must.tie, must.loss],
        );
        checks.close(name("tie_win_rate"), got.tie_win_rate, must.tie_win_rate, 1e-9);
        checks.close(name("win_rate_half_ties"), got.win_rate_half_ties, must.win_rate_half_ties, 1e-9);
    }
    Ok(())
}
