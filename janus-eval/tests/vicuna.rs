//! The published GPT-4 rubric judgments: 80 prompts, four models, one rubric, three runs.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;

use flate2::read::GzDecoder;
use janus_eval::score::{PairedOutcomes, PooledRow, ScoredRow, pool, summarise};
use serde::Deserialize;

#[derive(Deserialize)]
struct Judged {
    idx: usize,
    model: String,
    category: String,
    scores: [u8; 3],
}

#[derive(Deserialize)]
struct Expected {
    absolute: Vec<Absolute>,
    pairwise: Vec<Pair>,
}

#[derive(Deserialize)]
struct Absolute {
    model: String,
    items: usize,
    mean: f64,
    run_means: Vec<f64>,
    histogram: BTreeMap<String, usize>,
}

#[derive(Deserialize)]
struct Pair {
    a: String,
    b: String,
    n: usize,
    win: usize,
    tie: usize,
    loss: usize,
    tie_win_rate: f64,
    win_rate_half_ties: f64,
}

fn shared(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/rubric_judgments").join(name)
}

/// The three runs of each model, rows in the order of the prompts.
fn runs() -> BTreeMap<String, [Vec<ScoredRow>; 3]> {
    let mut text = String::new();
    let file = std::fs::File::open(shared("vicuna_eval.jsonl.gz")).unwrap();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let mut judged: Vec<Judged> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    judged.sort_by_key(|row| row.idx);
    let mut models: BTreeMap<String, [Vec<ScoredRow>; 3]> = BTreeMap::new();
    for row in judged {
        let runs = models.entry(row.model).or_default();
        for (run, score) in runs.iter_mut().zip(row.scores) {
            run.push(ScoredRow::new(row.idx.to_string(), row.category.clone(), [Some(score)]));
        }
    }
    models
}

fn expected() -> Expected {
    serde_json::from_slice(&std::fs::read(shared("vicuna_eval_expected.json")).unwrap()).unwrap()
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs ../shared")]
fn means_of_the_runs_are_the_published_ones() {
    let models = runs();
    let expected = expected().absolute;
    assert_eq!(expected.len(), 4);
    for Absolute { model, items, mean, run_means, histogram } in expected {
        let runs = &models[&model];
        let summary = summarise(runs).unwrap();
        assert_eq!((summary.overall.n, summary.overall.missing), (items, 0));
        assert!((summary.overall.mean - mean).abs() < 1e-9, "{model}: {} for {mean}", summary.overall.mean);
        assert_eq!(summary.runs.len(), run_means.len());
        for (run, expected) in summary.runs.iter().zip(run_means) {
            assert!((run.unwrap() - expected).abs() < 1e-9, "{model}");
        }
        let mut counts: BTreeMap<String, usize> = (1..=5).map(|score| (score.to_string(), 0)).collect();
        for row in runs.iter().flatten() {
            *counts.get_mut(&row.scores[0].unwrap().to_string()).unwrap() += 1;
        }
        assert_eq!(counts, histogram, "{model}");
        let rows: usize = summary.sources.iter().map(|source| source.rows).sum();
        let weighted: f64 = summary.sources.iter().map(|s| s.rows as f64 * s.score.as_ref().unwrap().mean).sum();
        assert!(rows == items && (weighted / rows as f64 - mean).abs() < 1e-9, "{model}: sources");
    }
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs ../shared")]
fn all_twelve_ordered_pairs_are_exact() {
    let pooled: BTreeMap<String, Vec<PooledRow>> = runs().into_iter().map(|(model, runs)| (model, pool(&runs).unwrap())).collect();
    let expected = expected().pairwise;
    assert_eq!(expected.len(), 12);
    for pair in expected {
        let outcomes = PairedOutcomes::of(&pooled[&pair.a], &pooled[&pair.b]).unwrap();
        let (tally, rates) = (outcomes.tally, outcomes.tally.rates().unwrap());
        let of = format!("{} against {}", pair.a, pair.b);
        assert_eq!((tally.n(), tally.win, tally.tie(), tally.loss), (pair.n, pair.win, pair.tie, pair.loss), "{of}");
        // The file's tie_win_rate counts every tie.
        assert_eq!((rates.tie_win_all, rates.win_rate_ties_half), (pair.tie_win_rate / 100.0, pair.win_rate_half_ties / 100.0), "{of}");
        assert_eq!(rates.tie_win, (tally.win + tally.both_good) as f64 / tally.n() as f64);
        assert!(rates.tie_win <= rates.tie_win_all);
        assert_eq!(outcomes.tie_win_hits().filter(|hit| *hit).count(), tally.win + tally.both_good);
    }
}

/// Why sums are compared and not means: on these very rows, means added up run by run lose ties.
#[test]
#[cfg_attr(not(has_shared), ignore = "needs ../shared")]
fn floating_means_would_lose_ties() {
    let models = runs();
    let sum = |runs: &[Vec<ScoredRow>; 3], row: usize| -> u8 { runs.iter().map(|run| run[row].scores[0].unwrap()).sum() };
    let mean =
        |runs: &[Vec<ScoredRow>; 3], row: usize| -> f64 { runs.iter().map(|run| f64::from(run[row].scores[0].unwrap()) / 3.0).sum() };
    let mut lost = 0;
    for a in models.values() {
        for b in models.values() {
            lost += (0..80).filter(|&row| sum(a, row) == sum(b, row) && mean(a, row) != mean(b, row)).count();
        }
    }
    assert!(lost > 0);
}
