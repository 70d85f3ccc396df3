//! Time of the benchmarks' numbers on generated rows of the published sizes.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use janus_eval::bench::arena_hard::{ArenaScore, Battles, QuestionBattles, Resampling};
use janus_eval::bench::distinctness::rouge_l;
use janus_eval::judge::read::strict;
use janus_eval::stats::{BradleyTerry, L1Logistic, LogisticRow, NewGlmnet};
use rand::RngCore;

fn unit(rng: &mut impl RngCore) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// As many rows as a length-controlled win rate is fitted on.
fn length_control(c: &mut Criterion) {
    let mut rng = janus_core::stream(0, "bench");
    let rows = (0..2_415).map(|row| LogisticRow {
        x: [2.0 * unit(&mut rng) - 1.0, 4.0 * unit(&mut rng) - 2.0, f64::from(u8::from(row >= 1_610))],
        target: unit(&mut rng),
        weight: if row < 1_610 { 0.1 } else { 1.0 },
    });
    let data = L1Logistic::new(rows.collect()).expect("finite rows");
    let settings = NewGlmnet { tolerance: 1e-4, steps: 100, seed: 843_828_734 };
    c.bench_function("L1 logistic fit, exact, 2,415 rows", |b| b.iter(|| black_box(&data).exact(21.5, [0.0; 3])));
    c.bench_function("L1 logistic fit, newGLMNET, 2,415 rows", |b| b.iter(|| black_box(&data).newglmnet(21.5, &settings)));
}

fn arena(c: &mut Criterion) {
    let mut rng = janus_core::stream(0, "bench");
    let rows: Vec<QuestionBattles> = (0..500)
        .map(|question| QuestionBattles {
            question_id: question.to_string(),
            outcomes: (0..3).map(|_| ['a', 'a', 't', 'b'][(rng.next_u32() % 4) as usize]).collect(),
        })
        .collect();
    let battles = Battles::new(&rows).expect("battles");
    c.bench_function("Arena-Hard, 1,000 rounds of 1,500 battles", |b| {
        b.iter(|| ArenaScore::of(black_box(&battles), Resampling { rounds: 1_000, seed: 0 }))
    });
    let mut games = BradleyTerry::new(40);
    for i in 0..40 {
        for j in (0..40).filter(|&j| j != i) {
            games.add_win(i, j, 1.0 + f64::from(rng.next_u32() % 20)).expect("two players");
        }
    }
    c.bench_function("Bradley-Terry, 40 players, all pairs", |b| b.iter(|| black_box(&games).strengths(0)));
}

fn texts(c: &mut Criterion) {
    let mut rng = janus_core::stream(0, "bench");
    let mut text = |words: usize| (0..words).map(|_| format!("w{}", rng.next_u32() % 200)).collect::<Vec<_>>().join(" ");
    let answer = format!("Feedback: {} [RESULT] 4", text(120));
    let (left, right) = (text(400), text(400));
    c.bench_function("a rubric answer of 120 words read", |b| b.iter(|| strict(black_box(&answer))));
    c.bench_function("ROUGE-L of two answers of 400 words", |b| b.iter(|| rouge_l(black_box(&left), black_box(&right))));
}

criterion_group!(benches, length_control, arena, texts);
criterion_main!(benches);
