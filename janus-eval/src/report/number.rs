//! Formats numbers.

/// A number with a fixed number of decimals. Zero has no sign.
pub(super) fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.chars().all(|c| c == '0' || c == '.') => rest.into(),
        _ => text,
    }
}

/// `4.12 [4.01, 4.22]`.
pub(super) fn interval(estimate: f64, low: f64, high: f64, decimals: usize) -> String {
    format!("{} [{}, {}]", fixed(estimate, decimals), fixed(low, decimals), fixed(high, decimals))
}

/// The number of decimals that shows a number of this size with about three digits.
pub(super) fn decimals(size: f64) -> usize {
    match size.abs() {
        size if size < 10.0 => 3,
        size if size < 1000.0 => 1,
        _ => 0,
    }
}

/// A number as a tick label: up to six decimals, without trailing zeros; digits of large numbers are
/// grouped by three.
pub(super) fn tick(value: f64) -> String {
    let text = fixed(value, 6);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let digits = whole.trim_start_matches('-');
    if digits.len() < 5 {
        return text.into();
    }
    let mut grouped = String::from(if whole.starts_with('-') { "-" } else { "" });
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_has_no_sign() {
        assert_eq!(fixed(-0.001, 2), "0.00");
        assert_eq!(fixed(-0.006, 2), "-0.01");
        assert_eq!(interval(0.0, -0.0, 1.0, 1), "0.0 [0.0, 1.0]");
    }

    #[test]
    fn ticks_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.5, "0.5"),
            (100.0, "100"),
            (1024.0, "1024"),
            (65536.0, "65,536"),
            (-1e6, "-1,000,000"),
            (-2.5, "-2.5"),
        ] {
            assert_eq!(tick(value), text);
        }
    }
}
