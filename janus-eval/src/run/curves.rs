//! Curves for reports: the score by the number of candidates, and by the number of system messages
//! trained on.

use super::RubricRun;
use crate::bench::best_of_n::{Candidates, CurvePoint, curve};
use crate::report::{Figure, Line, LineChart, PlotValue, Point};
use crate::stats::{Bootstrap, Interval};
use crate::{Error, Result};

/// The score of the best of 1, 2, 4, … candidates, up to the smallest number of candidates of a prompt.
/// The best is chosen by the reward model and, as an upper bound, by the score itself. Each series is a
/// name with its prompts.
///
/// # Errors
/// [`Error::Empty`] without a series, and those of [`curve`].
pub fn best_of_n_figure(series: &[(String, Vec<Candidates>)], bootstrap: &Bootstrap) -> Result<Figure> {
    if series.is_empty() {
        return Err(Error::Empty { what: "a best-of-N figure over no series" });
    }
    let mut lines = Vec::new();
    for (name, prompts) in series {
        let most = prompts.iter().map(|prompt| prompt.rewards.len()).min().unwrap_or(0);
        let ns: Vec<usize> =
            std::iter::successors(Some(1), |n| Some(2 * n)).take_while(|n| *n <= most.max(1)).collect();
        let points = curve(prompts, |row| row, &ns, bootstrap)?.points;
        let line = |by: &str, interval: fn(&CurvePoint) -> Interval| {
            let points =
                points.iter().map(|point| Point { x: point.n as f64, y: PlotValue::from(interval(point)) });
            Line { name: format!("{name}, by {by}"), points: points.collect() }
        };
        lines.push(line("the reward model", |point| point.reward));
        lines.push(line("the score itself", |point| point.oracle));
    }
    let chart = LineChart {
        x_label: "number of sampled answers (N)".into(),
        y_label: "mean score of the best of N".into(),
        log_x: true,
        y_range: None,
        lines,
    };
    let caption =
        "The expectation over all subsets of N of a prompt's answers. Intervals: bootstrap over prompts.";
    Ok(Figure::lines("Score of the best of N sampled answers", caption, chart))
}

/// The mean score of each run by the number of distinct system messages in the training data of its
/// model. `distinct` has this number for each run.
///
/// # Errors
/// [`Error::Lengths`] if there is not one number for each run, [`Error::Setting`] for a number that is 0
/// or occurs twice, [`Error::Empty`] for a run without a score.
pub fn generalisation_figure(runs: &[RubricRun], distinct: &[usize]) -> Result<Figure> {
    if runs.len() != distinct.len() {
        return Err(Error::Lengths { left: runs.len(), right: distinct.len() });
    }
    let mut points = Vec::new();
    for (run, &distinct) in runs.iter().zip(distinct) {
        let x = distinct as f64;
        if distinct == 0 || points.iter().any(|point: &Point| point.x == x) {
            let expected = "1 or more, and different for each run";
            return Err(Error::Setting {
                field: "distinct system messages",
                got: distinct.to_string(),
                expected,
            });
        }
        let result = &run.result;
        let summary = result.summary.as_ref().ok_or(Error::Empty { what: "the mean of a run" })?;
        let y = result
            .interval
            .map_or_else(|| PlotValue::plain(summary.overall.mean, summary.overall.n), PlotValue::from);
        points.push(Point { x, y });
    }
    points.sort_by(|a, b| a.x.total_cmp(&b.x));
    let chart = LineChart {
        x_label: "distinct system messages trained on".into(),
        y_label: "mean score, 1 to 5".into(),
        log_x: true,
        y_range: Some([1.0, 5.0]),
        lines: vec![Line { name: "all rows".into(), points }],
    };
    let caption = "Each point is a run. Intervals: 95% bootstrap over instructions.";
    Ok(Figure::lines("Score by the number of distinct system messages trained on", caption, chart))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Plot;

    fn prompts() -> Vec<Candidates> {
        let prompt = |id: usize| Candidates {
            id: id.to_string(),
            rewards: (0..5).map(|place| ((place * 7 + id) % 5) as f64).collect(),
            scores: (0..5).map(|place| vec![Some(1 + ((place * 7 + id) % 5) as u8)]).collect(),
        };
        (0..10).map(prompt).collect()
    }

    #[test]
    fn the_curve_has_the_powers_of_two_up_to_the_smallest_number_of_candidates() {
        let figure = best_of_n_figure(&[("janus".into(), prompts())], &Bootstrap::default()).unwrap();
        let Plot::Lines(chart) = &figure.plot else { panic!("{figure:?}") };
        let xs: Vec<f64> = chart.lines[0].points.iter().map(|point| point.x).collect();
        assert_eq!((xs, chart.lines.len()), (vec![1.0, 2.0, 4.0], 2));
        // Rewards in the order of the scores choose the same candidates as the scores.
        for (reward, oracle) in chart.lines[0].points.iter().zip(&chart.lines[1].points) {
            assert!((reward.y.value - oracle.y.value).abs() < 1e-12);
        }
        assert!((chart.lines[0].points[0].y.value - 3.0).abs() < 1e-12);
        assert!(best_of_n_figure(&[], &Bootstrap::default()).is_err());
        assert!(best_of_n_figure(&[("none".into(), Vec::new())], &Bootstrap::default()).is_err());
    }

    #[test]
    fn the_number_of_system_messages_is_needed_for_each_run() {
        assert!(matches!(generalisation_figure(&[], &[1]), Err(Error::Lengths { left: 0, right: 1 })));
    }
}
