//! Inter-rater agreement: of judges with each other, and with people.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The distance between two categories, for [`cohen_kappa`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weighting {
    /// Unweighted: any two different categories are equally far apart.
    #[default]
    None,
    /// The difference of the ratings.
    Linear,
    /// The squared difference.
    Quadratic,
}

/// Cohen's kappa of two raters (Cohen 1960; weighted: Cohen 1968): agreement beyond what is expected by
/// chance from the raters' category frequencies. 1 is full agreement, 0 is chance. Ratings are whole
/// numbers; without weights they may encode any categories.
///
/// # Errors
/// [`Error::Lengths`], [`Error::Empty`], [`Error::Undefined`] if both raters used the same single
/// category.
///
/// ```
/// use janus_eval::stats::{Weighting, cohen_kappa};
/// let kappa = cohen_kappa(&[1, 1, 2, 2], &[1, 2, 2, 2], Weighting::None)?;
/// assert_eq!(kappa, 0.5);
/// # Ok::<(), janus_eval::Error>(())
/// ```
pub fn cohen_kappa(left: &[i64], right: &[i64], weighting: Weighting) -> Result<f64> {
    if left.len() != right.len() {
        return Err(Error::Lengths { left: left.len(), right: right.len() });
    }
    if left.is_empty() {
        return Err(Error::Empty { what: "Cohen's kappa" });
    }
    let distance = |a: i64, b: i64| match weighting {
        Weighting::None => f64::from(a != b),
        Weighting::Linear => a.abs_diff(b) as f64,
        Weighting::Quadratic => (a.abs_diff(b) as f64).powi(2),
    };
    let observed: f64 = left.iter().zip(right).map(|(&a, &b)| distance(a, b)).sum();
    let (left_counts, right_counts) = (counts(left), counts(right));
    let mut expected = 0.0;
    for (&a, &in_left) in &left_counts {
        for (&b, &in_right) in &right_counts {
            expected += in_left * in_right * distance(a, b);
        }
    }
    if expected == 0.0 {
        return Err(Error::Undefined {
            what: "Cohen's kappa",
            why: "both raters used the same single category",
        });
    }
    Ok(1.0 - observed * left.len() as f64 / expected)
}

fn counts(ratings: &[i64]) -> BTreeMap<i64, f64> {
    let mut counts = BTreeMap::new();
    ratings.iter().for_each(|&rating| *counts.entry(rating).or_insert(0.0) += 1.0);
    counts
}

/// Fleiss' kappa (Fleiss 1971): agreement on subjects with a fixed number of ratings each. The raters
/// may differ between subjects. `subjects[i][c]` is the number of raters who put subject i into category
/// c.
///
/// # Errors
/// [`Error::Empty`]; [`Error::Row`] for a subject with a different number of categories or ratings than
/// the first, or with fewer than two ratings; [`Error::Undefined`] if only one category was used.
pub fn fleiss_kappa(subjects: &[Vec<usize>]) -> Result<f64> {
    let first = subjects.first().ok_or(Error::Empty { what: "Fleiss' kappa" })?;
    let (categories, ratings) = (first.len(), first.iter().sum::<usize>());
    let mut totals = vec![0_usize; categories];
    let mut agreeing = 0.0;
    for (index, subject) in subjects.iter().enumerate() {
        if subject.len() != categories {
            return Err(Error::row(
                index,
                "counts",
                format!("{categories} categories as in the first row"),
                subject.len(),
            ));
        }
        let here: usize = subject.iter().sum();
        if here != ratings || here < 2 {
            return Err(Error::row(index, "counts", format!("{} ratings, at least 2", ratings), here));
        }
        let pairs: usize = subject.iter().map(|&count| count * count.saturating_sub(1)).sum();
        agreeing += pairs as f64 / (ratings * (ratings - 1)) as f64;
        totals.iter_mut().zip(subject).for_each(|(total, count)| *total += count);
    }
    let all = (subjects.len() * ratings) as f64;
    let by_chance: f64 = totals.iter().map(|&total| (total as f64 / all).powi(2)).sum();
    if totals.iter().filter(|&&total| total > 0).count() < 2 {
        return Err(Error::Undefined { what: "Fleiss' kappa", why: "all ratings are of a single category" });
    }
    Ok((agreeing / subjects.len() as f64 - by_chance) / (1.0 - by_chance))
}

/// The scale of the ratings, which defines the distance between two of them, for [`krippendorff_alpha`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LevelOfMeasurement {
    /// Categories without an order: any two are equally far apart.
    Nominal,
    /// Ranks: the distance grows with the number of ratings between the two.
    Ordinal,
    /// Numbers whose differences are meaningful.
    Interval,
    /// Non-negative numbers whose ratios are meaningful.
    Ratio,
}

/// Krippendorff's alpha (Krippendorff 2004, Content Analysis, chapter 11): agreement of any number of
/// raters, where any ratings may be missing. `units[i]` holds the ratings of unit i, at most one for
/// each rater. Units with fewer than two ratings are ignored.
///
/// # Errors
/// [`Error::NotFinite`]; [`Error::Empty`] if no unit has two ratings; [`Error::Undefined`] if all
/// comparable ratings are equal; [`Error::Row`] for a negative rating on a ratio scale.
///
/// ```
/// use janus_eval::stats::{LevelOfMeasurement, krippendorff_alpha};
/// let units = [vec![1.0, 1.0], vec![2.0, 2.0, 2.0], vec![3.0]];
/// assert_eq!(krippendorff_alpha(&units, LevelOfMeasurement::Nominal)?, 1.0);
/// # Ok::<(), janus_eval::Error>(())
/// ```
pub fn krippendorff_alpha<U: AsRef<[f64]>>(units: &[U], scale: LevelOfMeasurement) -> Result<f64> {
    for (index, unit) in units.iter().enumerate() {
        if let Some(&value) = unit.as_ref().iter().find(|value| !value.is_finite()) {
            return Err(Error::NotFinite { what: "Krippendorff's alpha", index, value });
        }
        if scale == LevelOfMeasurement::Ratio && unit.as_ref().iter().any(|&value| value < 0.0) {
            return Err(Error::row(index, "ratings", "0 or more on a ratio scale", "a negative rating"));
        }
    }
    let comparable: Vec<&[f64]> = units.iter().map(AsRef::as_ref).filter(|unit| unit.len() > 1).collect();
    let mut values: Vec<f64> = comparable.iter().copied().flatten().map(|&value| value + 0.0).collect();
    if values.is_empty() {
        return Err(Error::Empty { what: "Krippendorff's alpha" });
    }
    values.sort_by(f64::total_cmp);
    values.dedup();
    let place = |value: f64| values.partition_point(|&other| other < value);

    let mut totals = vec![0.0; values.len()];
    comparable.iter().copied().flatten().for_each(|&value| totals[place(value)] += 1.0);
    let n: f64 = totals.iter().sum();
    let distance = |a: usize, b: usize| -> f64 {
        let (low, high) = (a.min(b), a.max(b));
        match scale {
            _ if low == high => 0.0,
            LevelOfMeasurement::Nominal => 1.0,
            LevelOfMeasurement::Ordinal => {
                (totals[low..=high].iter().sum::<f64>() - (totals[low] + totals[high]) / 2.0).powi(2)
            }
            LevelOfMeasurement::Interval => (values[high] - values[low]).powi(2),
            LevelOfMeasurement::Ratio => {
                ((values[high] - values[low]) / (values[high] + values[low])).powi(2)
            }
        }
    };
    let mut observed = 0.0;
    for unit in comparable {
        let mut here = 0.0;
        for (i, &a) in unit.iter().enumerate() {
            here += unit[..i].iter().map(|&b| 2.0 * distance(place(a), place(b))).sum::<f64>();
        }
        observed += here / (unit.len() - 1) as f64;
    }
    let mut expected = 0.0;
    for a in 0..values.len() {
        for b in 0..a {
            expected += 2.0 * totals[a] * totals[b] * distance(a, b);
        }
    }
    if expected == 0.0 {
        return Err(Error::Undefined { what: "Krippendorff's alpha", why: "all ratings are equal" });
    }
    Ok(1.0 - (n - 1.0) * observed / expected)
}

/// Pearson's correlation.
///
/// # Errors
/// [`Error::Lengths`]; [`Error::Empty`]; [`Error::NotFinite`]; [`Error::Undefined`] if one side is
/// constant.
///
/// ```
/// let r = janus_eval::stats::pearson(&[1.0, 2.0, 3.0], &[1.0, 3.0, 2.0])?;
/// assert!((r - 0.5).abs() < 1e-12);
/// # Ok::<(), janus_eval::Error>(())
/// ```
pub fn pearson(left: &[f64], right: &[f64]) -> Result<f64> {
    check_pairs(left, right)?;
    let n = left.len() as f64;
    let (left_mean, right_mean) = (left.iter().sum::<f64>() / n, right.iter().sum::<f64>() / n);
    let (mut both, mut in_left, mut in_right) = (0.0, 0.0, 0.0);
    for (&a, &b) in left.iter().zip(right) {
        let (a, b) = (a - left_mean, b - right_mean);
        both += a * b;
        in_left += a * a;
        in_right += b * b;
    }
    if in_left == 0.0 || in_right == 0.0 {
        return Err(Error::Undefined { what: "a correlation", why: "one of the two sides is constant" });
    }
    // Rounding may push a perfect correlation beyond 1.
    Ok((both / (in_left.sqrt() * in_right.sqrt())).clamp(-1.0, 1.0))
}

/// Spearman's correlation: Pearson's of the ranks; equal values share the mean of their ranks.
///
/// # Errors
/// As [`pearson`].
pub fn spearman(left: &[f64], right: &[f64]) -> Result<f64> {
    check_pairs(left, right)?;
    pearson(&ranks(left), &ranks(right))
}

fn check_pairs(left: &[f64], right: &[f64]) -> Result<()> {
    if left.len() != right.len() {
        return Err(Error::Lengths { left: left.len(), right: right.len() });
    }
    if left.is_empty() {
        return Err(Error::Empty { what: "a correlation" });
    }
    match left.iter().chain(right).enumerate().find(|(_, value)| !value.is_finite()) {
        Some((index, &value)) => {
            Err(Error::NotFinite { what: "a correlation", index: index % left.len(), value })
        }
        None => Ok(()),
    }
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let same = order[start..].iter().take_while(|&&i| values[i] == values[order[start]]).count();
        let shared = start as f64 + (same as f64 + 1.0) / 2.0;
        order[start..start + same].iter().for_each(|&i| ranks[i] = shared);
        start += same;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(got: f64, expected: f64, within: f64) {
        assert!((got - expected).abs() < within, "{got} for {expected}");
    }

    #[test]
    fn cohens_kappa_of_a_two_by_two_table() {
        // 20 both yes, 5 only the first, 10 only the second, 15 both no: agreement is 0.7, and 0.5 by
        // chance.
        let pairs = [(1, 1, 20), (1, 0, 5), (0, 1, 10), (0, 0, 15)];
        let (left, right): (Vec<i64>, Vec<i64>) =
            pairs.iter().flat_map(|&(a, b, n)| std::iter::repeat_n((a, b), n)).unzip();
        for weighting in [Weighting::None, Weighting::Linear, Weighting::Quadratic] {
            close(cohen_kappa(&left, &right, weighting).unwrap(), 0.4, 1e-12);
        }
    }

    #[test]
    fn weights_make_near_misses_cheap() {
        let (left, right) = ([1, 2, 3, 4, 5], [2, 2, 3, 4, 4]);
        let [plain, linear, quadratic] = [Weighting::None, Weighting::Linear, Weighting::Quadratic]
            .map(|w| cohen_kappa(&left, &right, w).unwrap());
        assert!(plain < linear && linear < quadratic, "{plain} {linear} {quadratic}");
        // By hand: the mean squared distance is 2 / 5 = 0.4, by chance 70 / 25 = 2.8.
        close(quadratic, 1.0 - 0.4 / 2.8, 1e-12);
    }

    #[test]
    fn fleiss_kappa_of_the_textbook_table() {
        // The worked example of Wikipedia's article on Fleiss' kappa: 14 raters, 10 subjects, 5
        // categories.
        let table: [[usize; 5]; 10] = [
            [0, 0, 0, 0, 14],
            [0, 2, 6, 4, 2],
            [0, 0, 3, 5, 6],
            [0, 3, 9, 2, 0],
            [2, 2, 8, 1, 1],
            [7, 7, 0, 0, 0],
            [3, 2, 6, 3, 0],
            [2, 5, 3, 2, 2],
            [6, 5, 2, 1, 0],
            [0, 2, 2, 3, 7],
        ];
        close(fleiss_kappa(&table.map(Vec::from)).unwrap(), 0.210, 5e-4);
        assert!(matches!(fleiss_kappa(&[vec![1, 1], vec![2, 1]]), Err(Error::Row { row: 2, .. })));
        assert!(matches!(fleiss_kappa(&[vec![1, 1], vec![2]]), Err(Error::Row { row: 2, .. })));
        assert!(matches!(fleiss_kappa(&[vec![2, 0], vec![2, 0]]), Err(Error::Undefined { .. })));
        assert!(matches!(fleiss_kappa(&[vec![1, 0]]), Err(Error::Row { row: 1, .. })));
    }

    #[test]
    fn krippendorffs_alpha_of_the_published_example() {
        // Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", section C: four observers,
        // twelve units, seven missing ratings. Nominal 0.743, ordinal 0.815, interval 0.849, ratio
        // 0.797.
        let x = f64::NAN;
        let observers = [
            [1.0, 2.0, 3.0, 3.0, 2.0, 1.0, 4.0, 1.0, 2.0, x, x, x],
            [1.0, 2.0, 3.0, 3.0, 2.0, 2.0, 4.0, 1.0, 2.0, 5.0, x, 3.0],
            [x, 3.0, 3.0, 3.0, 2.0, 3.0, 4.0, 2.0, 2.0, 5.0, 1.0, x],
            [1.0, 2.0, 3.0, 3.0, 2.0, 4.0, 4.0, 1.0, 2.0, 5.0, 1.0, x],
        ];
        let units: Vec<Vec<f64>> =
            (0..12).map(|u| observers.iter().map(|o| o[u]).filter(|r| !r.is_nan()).collect()).collect();
        for (scale, alpha) in [
            (LevelOfMeasurement::Nominal, 0.743),
            (LevelOfMeasurement::Ordinal, 0.815),
            (LevelOfMeasurement::Interval, 0.849),
            (LevelOfMeasurement::Ratio, 0.797),
        ] {
            close(krippendorff_alpha(&units, scale).unwrap(), alpha, 6e-4);
        }
    }

    #[test]
    fn undefined_agreement_is_an_error() {
        assert!(matches!(cohen_kappa(&[1, 1], &[1, 1], Weighting::None), Err(Error::Undefined { .. })));
        assert!(matches!(cohen_kappa(&[1], &[], Weighting::None), Err(Error::Lengths { .. })));
        assert!(matches!(
            krippendorff_alpha(&[[2.0, 2.0]], LevelOfMeasurement::Interval),
            Err(Error::Undefined { .. })
        ));
        assert!(matches!(
            krippendorff_alpha(&[[2.0]], LevelOfMeasurement::Interval),
            Err(Error::Empty { .. })
        ));
        assert!(matches!(
            krippendorff_alpha(&[[2.0, f64::NAN]], LevelOfMeasurement::Interval),
            Err(Error::NotFinite { .. })
        ));
        assert!(matches!(
            krippendorff_alpha(&[[2.0, -1.0]], LevelOfMeasurement::Ratio),
            Err(Error::Row { .. })
        ));
        assert!(matches!(pearson(&[1.0, 1.0], &[1.0, 2.0]), Err(Error::Undefined { .. })));
        assert!(matches!(
            spearman(&[1.0, f64::INFINITY], &[1.0, 2.0]),
            Err(Error::NotFinite { index: 1, .. })
        ));
    }

    #[test]
    fn equal_values_share_their_mean_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
        // scipy.stats.spearmanr([1, 2, 3, 4, 5], [5, 6, 7, 8, 7]).
        close(
            spearman(&[1.0, 2.0, 3.0, 4.0, 5.0], &[5.0, 6.0, 7.0, 8.0, 7.0]).unwrap(),
            0.8207826816681233,
            1e-12,
        );
    }

    proptest! {
        #[test]
        fn agreement_is_symmetric_and_at_most_one(pairs in proptest::collection::vec((1_i64..=5, 1_i64..=5), 2..40)) {
            let (left, right): (Vec<i64>, Vec<i64>) = pairs.into_iter().unzip();
            for weighting in [Weighting::None, Weighting::Linear, Weighting::Quadratic] {
                let (there, back) = (cohen_kappa(&left, &right, weighting), cohen_kappa(&right, &left, weighting));
                match (there, back) {
                    (Ok(there), Ok(back)) => prop_assert!((there - back).abs() < 1e-12 && there <= 1.0),
                    (there, back) => prop_assert_eq!(there, back),
                }
            }
            let units: Vec<[f64; 2]> = left.iter().zip(&right).map(|(&a, &b)| [a as f64, b as f64]).collect();
            for scale in [LevelOfMeasurement::Nominal, LevelOfMeasurement::Ordinal, LevelOfMeasurement::Interval, LevelOfMeasurement::Ratio] {
                if let Ok(alpha) = krippendorff_alpha(&units, scale) {
                    prop_assert!(alpha <= 1.0 + 1e-12);
                }
            }
        }

        #[test]
        fn spearman_is_invariant_to_increasing_functions(values in proptest::collection::vec((-3.0_f64..3.0, -3.0_f64..3.0), 3..30)) {
            let (left, right): (Vec<f64>, Vec<f64>) = values.into_iter().unzip();
            let bent: Vec<f64> = left.iter().map(|value| value.exp()).collect();
            prop_assert_eq!(spearman(&left, &right), spearman(&bent, &right));
        }
    }
}
