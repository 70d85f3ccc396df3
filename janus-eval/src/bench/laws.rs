//! Properties of the metrics for any rows: swapping the sides mirrors the result, and neither the order
//! of the rows nor the number of threads changes it.

use proptest::prelude::*;

use super::alpaca_eval::{
    AlpacaAnnotation, AlpacaReference, DifficultyOf, GamedRow, Instruction, LengthControl, Optimizer,
    Preferences, WinRate,
};
use super::arena_hard::{ArenaBattles, ArenaScore, Resampling};
use super::mt_bench::{Grades, MtBenchJudgment, MtBenchQuestion};
use super::toxicity::{ScoredGenerations, ScoredText, ToxicitySummary};
use crate::Error;
use crate::judge::read::{arena_label, pair_label, published, rating, strict};
use crate::stats::{Bootstrap, Method, Sample};

const ROWS: usize = 40;

/// Forty instructions, and forty rows of the gamed baseline.
fn reference() -> AlpacaReference {
    let instruction = |i: usize| {
        let baseline = "b".repeat(20 + (i * 7) % 50);
        let difficulty = ((i * 37) % 21) as f64 / 10.0 - 1.0;
        Instruction {
            instruction: format!("instruction {i}"),
            baseline_length: baseline.len(),
            baseline,
            difficulty,
        }
    };
    let gamed = |i: usize| GamedRow {
        std_delta_len: ((i * 13) % 17) as f64 / 8.0 - 1.0,
        difficulty: ((i * 37) % 21) as f64 / 10.0 - 1.0,
        preference: ((i * 29) % 11) as f64 / 10.0,
        fold: i % 5,
    };
    AlpacaReference::new(
        (0..ROWS).map(instruction).collect(),
        (0..ROWS).map(gamed).collect(),
        (0..ROWS).map(|i| i % 5).collect(),
    )
    .unwrap()
}

/// Annotations with these preferences, in hundredths, and answer lengths.
fn annotations(rows: &[(u8, usize)]) -> Vec<AlpacaAnnotation> {
    let annotation = |(index, &(preference, length)): (usize, &(u8, usize))| AlpacaAnnotation {
        position: None,
        index,
        output: "o".repeat(length),
        preference: Some(1.0 + f64::from(preference) / 100.0),
        top_logprobs: None,
    };
    rows.iter().enumerate().map(annotation).collect()
}

fn judged() -> impl Strategy<Value = Vec<(u8, usize)>> {
    proptest::collection::vec((0_u8..=100, 0_usize..120), ROWS - 3..=ROWS)
}

/// The same rows in an order that `seed` decides.
fn shuffled<T: Clone>(rows: &[T], seed: u64) -> Vec<T> {
    use rand::RngCore;
    let mut rng = janus_core::stream(seed, "shuffle");
    let mut keyed: Vec<(u64, &T)> = rows.iter().map(|row| (rng.next_u64(), row)).collect();
    keyed.sort_by_key(|(key, _)| *key);
    keyed.into_iter().map(|(_, row)| row.clone()).collect()
}

proptest! {
    #[test]
    fn win_rates_of_both_sides_add_up_to_a_hundred(rows in judged()) {
        let reference = reference();
        let of = |rows: &[(u8, usize)]| WinRate::of(&Preferences::new(&annotations(rows), &reference).unwrap()).unwrap();
        let mirrored: Vec<(u8, usize)> = rows.iter().map(|&(preference, length)| (100 - preference, length)).collect();
        let (there, back) = (of(&rows), of(&mirrored));
        prop_assert!((there.win_rate + back.win_rate - 100.0).abs() < 1e-9);
        prop_assert!((there.discrete_win_rate + back.discrete_win_rate - 100.0).abs() < 1e-9);
        prop_assert_eq!((there.n_wins, there.n_draws, there.n_wins_base), (back.n_wins_base, back.n_draws, back.n_wins));
        prop_assert!((there.standard_error - back.standard_error).abs() < 1e-9);
    }

    #[test]
    fn shuffled_annotations_give_the_same_win_rates(rows in judged(), seed in any::<u64>(), liblinear in any::<bool>()) {
        let reference = reference();
        let optimizer = if liblinear { Optimizer::Liblinear } else { Optimizer::Exact };
        let control = LengthControl { c: None, difficulty: DifficultyOf::Instruction, optimizer };
        let of = |annotations: &[AlpacaAnnotation]| {
            let preferences = Preferences::new(annotations, &reference).unwrap();
            (WinRate::of(&preferences).unwrap(), control.win_rate(&preferences, &reference).unwrap())
        };
        let annotations = annotations(&rows);
        let first = of(&annotations);
        prop_assert!((0.0..=100.0).contains(&first.1.length_controlled_winrate));
        prop_assert_eq!(of(&shuffled(&annotations, seed)), first);
    }

    #[test]
    fn shuffled_battles_give_the_same_score(rows in proptest::collection::vec("[abt]{0,6}", 2..20), seed in any::<u64>()) {
        let rows: Vec<ArenaBattles> =
            rows.into_iter().enumerate().map(|(i, outcomes)| ArenaBattles { question_id: format!("q{i}"), outcomes }).collect();
        let of = |rows: &[ArenaBattles]| ArenaScore::of(rows, Resampling::default());
        prop_assert_eq!(of(&shuffled(&rows, seed)), of(&rows));
    }

    #[test]
    fn shuffled_judgments_give_the_same_grades(
        rows in proptest::collection::vec((81_u32..=84, 1_usize..=2, 0_u32..=100), 1..30),
        seed in any::<u64>(),
    ) {
        let category = |id: u32| if id.is_multiple_of(2) { "math" } else { "writing" }.to_string();
        let questions: Vec<MtBenchQuestion> =
            (81..=84).map(|id| MtBenchQuestion { question_id: id.to_string(), category: category(id), turns: vec![] }).collect();
        let judgment = |(id, turn, tenths): (u32, usize, u32)| {
            MtBenchJudgment::new(id.to_string(), turn, Some(format!("Rating: [[{}.{}]]", tenths / 10, tenths % 10)))
        };
        let rows: Vec<MtBenchJudgment> = rows.into_iter().map(judgment).collect();
        let shuffled = shuffled(&rows, seed);
        prop_assert_eq!(Grades::of(&shuffled, &questions, 0), Grades::of(&rows, &questions, 0));
    }

    #[test]
    fn shuffled_generations_give_the_same_summary(
        rows in proptest::collection::vec(proptest::collection::vec(("[ab ]{0,8}", proptest::option::of(0.0_f64..=1.0)), 1..4), 1..12),
        seed in any::<u64>(),
    ) {
        let text = |(text, toxicity): (String, Option<f64>)| ScoredText { text, toxicity };
        let row = |generations: Vec<(String, Option<f64>)>| ScoredGenerations {
            prompt: text(("p".into(), None)),
            generations: generations.into_iter().map(text).collect(),
        };
        let rows: Vec<ScoredGenerations> = rows.into_iter().map(row).collect();
        let shuffled = shuffled(&rows, seed);
        match ToxicitySummary::of(&rows) {
            Ok(summary) => {
                prop_assert!((0.0..=1.0).contains(&summary.dist_1) && (0.0..=1.0).contains(&summary.toxicity_probability));
                prop_assert_eq!(ToxicitySummary::of(&shuffled), Ok(summary));
                prop_assert_eq!(ToxicitySummary::samples(&shuffled), ToxicitySummary::samples(&rows));
            }
            Err(error) => prop_assert_eq!(error, Error::Empty { what: "a toxicity without scored generations" }),
        }
    }

    #[test]
    fn a_bootstrap_is_the_same_on_any_number_of_threads(
        values in proptest::collection::vec((0_u8..6, -5.0_f64..5.0), 4..40),
        threads in 1_usize..6,
        bca in any::<bool>(),
    ) {
        let method = if bca { Method::Bca } else { Method::Percentile };
        let settings = Bootstrap { resamples: 300, method, ..Bootstrap::default() };
        let sample = Sample::clustered(values.iter().copied()).unwrap();
        let maximum = |drawn: &[usize]| drawn.iter().map(|&unit| values[unit].1).fold(f64::NEG_INFINITY, f64::max);
        let both = || (settings.mean(&sample), settings.statistic(values.len(), maximum));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        prop_assert_eq!(pool.install(both), both());
    }

    #[test]
    fn no_text_of_a_judge_makes_a_reader_panic(text in "(\\PC|\\[\\[|\\]\\]|\\[RESULT\\]|[AB<>=0-9.,score]|\\n){0,60}") {
        let _ = (strict(&text), published(&text), rating(&text), pair_label(&text), arena_label(&text));
    }
}

/// The baseline itself has a win rate of 50 by definition. For answers as long as the baseline's, all
/// length differences are 0.
#[test]
fn length_control_is_defined_at_equal_lengths() {
    let reference = reference();
    let answers = |text: fn(&Instruction) -> String| -> Preferences {
        let rows: Vec<AlpacaAnnotation> = reference
            .instructions
            .iter()
            .enumerate()
            .map(|(index, instruction)| AlpacaAnnotation {
                position: None,
                index,
                output: text(instruction),
                preference: (index > 0).then_some(1.0 + (index % 3) as f64 / 2.0),
                top_logprobs: None,
            })
            .collect();
        Preferences::new(&rows, &reference).unwrap()
    };
    let control = LengthControl::default();
    let itself = control.win_rate(&answers(|i| i.baseline.clone()), &reference).unwrap();
    assert_eq!((itself.length_controlled_winrate, itself.weights), (50.0, [0.0; 3]));
    let as_long = control.win_rate(&answers(|i| "x".repeat(i.baseline_length)), &reference).unwrap();
    assert!(as_long.length_controlled_winrate > 0.0 && as_long.length_controlled_winrate < 100.0);
    assert_eq!(answers(|i| "x".repeat(i.baseline_length)).missing(), 1);
}
