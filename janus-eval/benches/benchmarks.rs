//! Time to compute the benchmarks' metrics on generated rows of the published sizes.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use janus_eval::bench::arena_hard::ratings;
use janus_eval::bench::distinctness::rouge_l;
use janus_eval::judge::read::ScoreReader;
use janus_eval::protocol::PairOutcome;
use rand::RngCore;

fn arena(c: &mut Criterion) {
    let mut rng = janus_core::stream(0, "bench");
    let names: Vec<String> = (0..40).map(|player| format!("player {player}")).collect();
    let mut battles = Vec::new();
    for i in 0..40 {
        for j in (0..40).filter(|&j| j != i) {
            battles.extend(
                (0..1 + rng.next_u32() % 20)
                    .map(|_| (names[j].as_str(), names[i].as_str(), PairOutcome::Win)),
            );
        }
    }
    c.bench_function("Bradley-Terry, 40 players, all pairs", |b| {
        b.iter(|| ratings(black_box(&battles), "player 0"))
    });
}

fn texts(c: &mut Criterion) {
    let mut rng = janus_core::stream(0, "bench");
    let mut text =
        |words: usize| (0..words).map(|_| format!("w{}", rng.next_u32() % 200)).collect::<Vec<_>>().join(" ");
    let answer = format!("Feedback: {} [RESULT] 4", text(120));
    let (left, right) = (text(400), text(400));
    c.bench_function("parse a rubric judge's output of 120 words", |b| {
        b.iter(|| ScoreReader::Strict.read(black_box(&answer)))
    });
    c.bench_function("ROUGE-L of two answers of 400 words", |b| {
        b.iter(|| rouge_l(black_box(&left), black_box(&right)))
    });
}

criterion_group!(benches, arena, texts);
criterion_main!(benches);
