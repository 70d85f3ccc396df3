//! The standard normal distribution.

use std::f64::consts::PI;

/// Density.
fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / (2.0 * PI).sqrt()
}

/// Probability below `x`, with an absolute error below 1e-14: the series of Marsaglia (2004),
/// "Evaluating the Normal Distribution", Journal of Statistical Software 11(4).
pub(super) fn cdf(x: f64) -> f64 {
    if x < -8.0 {
        return 0.0;
    }
    if x > 8.0 {
        return 1.0;
    }
    let (mut sum, mut last, mut term, mut i) = (x, 0.0, x, 1.0);
    while sum != last {
        last = sum;
        i += 2.0;
        term *= x * x / i;
        sum += term;
    }
    0.5 + sum * density(x)
}

/// The `x` below which the probability is `p`, 0 < p < 1; clamped to ±8.
pub(super) fn quantile(p: f64) -> f64 {
    if p <= cdf(-8.0) || p >= 1.0 {
        return if p < 0.5 { -8.0 } else { 8.0 };
    }
    // Bisection: 60 halvings of a width of 16 leave less than 1e-16.
    let (mut low, mut high) = (-8.0_f64, 8.0_f64);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if cdf(middle) < p { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_tabulated_values() {
        // NIST/SEMATECH e-Handbook, 1.3.6.7.1, and R's qnorm.
        for (x, p) in [
            (0.0, 0.5),
            (1.0, 0.841344746068543),
            (1.959963984540054, 0.975),
            (-3.0, 0.0013498980316301),
            (2.5, 0.993790334674224),
        ] {
            assert!((cdf(x) - p).abs() < 1e-14, "cdf({x})");
            assert!((quantile(p) - x).abs() < 1e-12, "quantile({p})");
        }
        assert!((quantile(1e-4) + 3.719016485455709).abs() < 1e-9);
    }

    #[test]
    fn the_ends_are_finite() {
        assert_eq!((quantile(0.0), quantile(1.0), cdf(-40.0), cdf(40.0)), (-8.0, 8.0, 0.0, 1.0));
    }
}
