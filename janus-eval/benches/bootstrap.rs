//! Time of a bootstrap with 2,000 resamples over 921 rows, the size of Multifaceted Bench.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use janus_eval::stats::{Bootstrap, Method, Sample};
use rand::RngCore;

const ROWS: usize = 921;

fn values() -> Vec<f64> {
    let mut rng = janus_core::stream(0, "bench");
    (0..ROWS).map(|_| 1.0 + (rng.next_u32() % 17) as f64 / 4.0).collect()
}

fn bootstrap(c: &mut Criterion) {
    let values = values();
    let rows = Sample::of(values.iter().copied()).expect("finite values");
    let clusters = Sample::clustered(values.iter().enumerate().map(|(row, &value)| (row / 3, value)))
        .expect("finite values");
    let percentile = Bootstrap { method: Method::Percentile, ..Bootstrap::default() };
    c.bench_function("mean, percentile, 921 rows", |b| b.iter(|| percentile.mean(black_box(&rows))));
    c.bench_function("mean, BCa, 921 rows", |b| b.iter(|| Bootstrap::default().mean(black_box(&rows))));
    c.bench_function("mean, BCa, 307 clusters of 3", |b| {
        b.iter(|| Bootstrap::default().mean(black_box(&clusters)))
    });
}

criterion_group!(benches, bootstrap);
criterion_main!(benches);
