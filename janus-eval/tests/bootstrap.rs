//! Compares the bootstrap with a published interval and with closed forms, and tests its coverage.

use janus_eval::Error;
use janus_eval::stats::{Bootstrap, Interval, Method, Sample, wilson};
use proptest::prelude::*;
use rand::RngCore;

fn unit(rng: &mut impl RngCore) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// A standard normal draw, as a sum of twelve uniforms.
fn normal(rng: &mut impl RngCore) -> f64 {
    (0..12).map(|_| unit(rng)).sum::<f64>() - 6.0
}

fn bootstrap(method: Method, resamples: usize, seed: u64) -> Bootstrap {
    Bootstrap { method, resamples, seed, ..Bootstrap::default() }
}

/// The spatial test data, column A, of Efron and Tibshirani, "An Introduction to the Bootstrap" (1993),
/// Table 14.1. The statistic is the plug-in variance, the nominal coverage is 90 %, and the intervals
/// are those of Table 14.2.
#[test]
fn variance_of_the_spatial_test_data_has_the_textbook_intervals() {
    const A: [f64; 26] = [
        48., 36., 20., 29., 42., 42., 20., 42., 22., 41., 45., 14., 6., 0., 33., 28., 34., 4., 32., 24., 47.,
        41., 24., 26., 30., 41.,
    ];
    let variance = |drawn: &[usize]| {
        let mean = drawn.iter().map(|&i| A[i]).sum::<f64>() / drawn.len() as f64;
        drawn.iter().map(|&i| (A[i] - mean).powi(2)).sum::<f64>() / drawn.len() as f64
    };
    for (method, low, high) in [(Method::Percentile, 100.8, 233.9), (Method::Bca, 115.8, 259.6)] {
        let settings = Bootstrap { level: 0.9, ..bootstrap(method, 20_000, 0) };
        let interval = settings.statistic(A.len(), variance).unwrap();
        assert!((interval.estimate - 171.5).abs() < 0.05);
        // The book has 2,000 resamples only, so its interval ends vary by a few units.
        assert!(
            (interval.low - low).abs() < 4.0 && (interval.high - high).abs() < 4.0,
            "{method:?}: {interval:?}"
        );
    }
}

#[test]
fn a_mean_agrees_with_its_closed_form() {
    let mut rng = janus_core::stream(3, "closed form");
    let values: Vec<f64> = (0..1_000).map(|_| 3.0 + normal(&mut rng)).collect();
    let mean = values.iter().sum::<f64>() / 1_000.0;
    let error = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 999.0 / 1_000.0).sqrt();
    for method in [Method::Percentile, Method::Bca] {
        let Interval { estimate, low, high, level, n } =
            bootstrap(method, 10_000, 1).mean(&Sample::of(values.iter().copied()).unwrap()).unwrap();
        assert_eq!((level, n), (0.95, 1_000));
        assert!((estimate - mean).abs() < 1e-12);
        let expected = 1.959964 * error;
        assert!(
            ((estimate - low) / expected - 1.0).abs() < 0.05
                && ((high - estimate) / expected - 1.0).abs() < 0.05,
            "{method:?}"
        );
    }
}

#[test]
fn a_proportion_agrees_with_wilson() {
    let hits = || (0..400).map(|row| row % 4 != 0);
    let interval = Bootstrap::default().mean(&Sample::hits(hits()).unwrap()).unwrap();
    let closed = wilson(300, 400, 0.95).unwrap();
    assert_eq!(interval.estimate, closed.estimate);
    assert!(
        (interval.low - closed.low).abs() < 0.005 && (interval.high - closed.high).abs() < 0.005,
        "{interval:?} {closed:?}"
    );
}

/// The share of simulated data sets whose interval contains the true mean.
fn coverage(worlds: u64, mut draw: impl FnMut(u64) -> (Sample, f64), method: Method) -> f64 {
    let held = (0..worlds).filter(|&world| {
        let (sample, truth) = draw(world);
        let interval = bootstrap(method, 500, world).mean(&sample).unwrap();
        interval.low <= truth && truth <= interval.high
    });
    held.count() as f64 / worlds as f64
}

#[test]
fn intervals_have_their_nominal_coverage() {
    for method in [Method::Percentile, Method::Bca] {
        let draw = |world| {
            let mut rng = janus_core::stream(world, "coverage");
            (Sample::of((0..80).map(|_| normal(&mut rng))).unwrap(), 0.0)
        };
        let share = coverage(400, draw, method);
        // The standard deviation of the share is 0.011.
        assert!((0.915..=0.98).contains(&share), "{method:?}: {share}");
    }
}

#[test]
fn rows_of_one_instruction_need_clusters() {
    // Three rows share the difficulty of their instruction, like rows of one instruction under three
    // system messages.
    let world = |world: u64| -> Vec<(usize, f64)> {
        let mut rng = janus_core::stream(world, "clusters");
        let mut difficulty = 0.0;
        let mut row = |row: usize| {
            if row.is_multiple_of(3) {
                difficulty = normal(&mut rng);
            }
            (row / 3, difficulty + 0.5 * normal(&mut rng))
        };
        (0..180).map(&mut row).collect()
    };
    let clustered = coverage(400, |seed| (Sample::clustered(world(seed)).unwrap(), 0.0), Method::Bca);
    let by_row = coverage(
        400,
        |seed| (Sample::of(world(seed).into_iter().map(|(_, value)| value)).unwrap(), 0.0),
        Method::Bca,
    );
    assert!((0.91..=0.98).contains(&clustered), "{clustered}");
    assert!(by_row < 0.85, "rows taken as independent cover only {by_row}");
}

#[test]
fn pairing_narrows_the_interval_of_a_difference() {
    let mut rng = janus_core::stream(5, "pairs");
    let base: Vec<f64> = (0..200).map(|_| normal(&mut rng)).collect();
    let better: Vec<f64> = base.iter().map(|value| value + 0.1 + 0.1 * normal(&mut rng)).collect();
    let difference = Bootstrap::default().mean(&Sample::differences(&better, &base).unwrap()).unwrap();
    assert!(difference.low > 0.0, "{difference:?}");
    let alone =
        |values: &[f64]| Bootstrap::default().mean(&Sample::of(values.iter().copied()).unwrap()).unwrap();
    assert!(alone(&better).low < alone(&base).high, "unpaired, the intervals overlap");
}

#[test]
fn equal_seeds_give_equal_intervals_and_different_seeds_do_not() {
    let sample = Sample::of((0..50).map(|row| f64::from(row * row % 17))).unwrap();
    let of = |seed| bootstrap(Method::Bca, 2_000, seed).mean(&sample).unwrap();
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
}

#[test]
fn equal_values_give_a_point_interval_and_not_nan() {
    let interval = Bootstrap::default().mean(&Sample::hits([true; 9]).unwrap()).unwrap();
    assert_eq!((interval.low, interval.estimate, interval.high), (1.0, 1.0, 1.0));
}

#[test]
fn data_and_settings_without_an_interval_are_errors() {
    let one = Sample::clustered([("a", 1.0), ("a", 2.0)]).unwrap();
    assert_eq!(Bootstrap::default().mean(&one).unwrap_err(), Error::TooFewUnits { got: 1 });
    let two = Sample::of([1.0, 2.0]).unwrap();
    assert!(matches!(
        bootstrap(Method::Bca, 1, 0).mean(&two),
        Err(Error::Setting { field: "resamples", .. })
    ));
    assert!(matches!(
        Bootstrap { level: 95.0, ..Bootstrap::default() }.mean(&two),
        Err(Error::Setting { field: "level", .. })
    ));
    assert!(matches!(Bootstrap::default().statistic(3, |_| f64::NAN), Err(Error::NotFinite { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_interval_is_finite_ordered_and_within_the_data(
        values in proptest::collection::vec(-5.0..5.0_f64, 2..30),
        clusters in 1_usize..10,
        level in 0.5..0.9999_f64,
        bca: bool,
    ) {
        let method = if bca { Method::Bca } else { Method::Percentile };
        let keyed = values.iter().enumerate().map(|(row, &value)| (row % clusters, value));
        let sample = Sample::clustered(keyed).unwrap();
        prop_assume!(sample.units() > 1);
        let interval = Bootstrap { level, ..bootstrap(method, 200, 7) }.mean(&sample).unwrap();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min) - 1e-9;
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max) + 1e-9;
        prop_assert!(interval.low <= interval.high);
        prop_assert!(least <= interval.low && interval.high <= most);
    }
}
