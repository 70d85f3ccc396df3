//! Figures as data. The module `svg` draws them.

use serde::{Deserialize, Serialize};

use super::table::{Cell, Table};
use super::{finite, number};
use crate::stats::Interval;
use crate::{Error, Result};

/// A plot with its title and caption.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What the plot shows.
    pub title: String,
    /// The caption. The renderer adds the numbers of rows.
    pub caption: String,
    /// The plot.
    pub(crate) plot: Plot,
}

/// A plot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Plot {
    /// Lines through points.
    Lines(LineChart),
    /// Bars, alone or in groups.
    Bars(BarChart),
    /// Counts of values by bin.
    Histogram(Histogram),
    /// Shares of outcomes.
    Shares(ShareChart),
}

/// A value, its interval if it has one, and the number of rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PlotValue {
    /// The value.
    pub value: f64,
    /// Lower and upper end of the interval.
    pub interval: Option<[f64; 2]>,
    /// Number of rows.
    pub n: usize,
}

impl PlotValue {
    /// A value without an interval.
    pub fn plain(value: f64, n: usize) -> Self {
        Self { value, interval: None, n }
    }

    /// The smallest and the largest of the value and the interval's ends.
    pub(super) fn extent(&self) -> [f64; 2] {
        let [low, high] = self.interval.unwrap_or([self.value; 2]);
        [low.min(self.value), high.max(self.value)]
    }

    /// Value, lower end, upper end and n, as cells of [`Figure::numbers`].
    fn cells(&self) -> [Cell; 4] {
        let number = |value| Cell::number(value, number::decimals(self.value));
        let [low, high] = self.interval.map_or([Cell::Empty, Cell::Empty], |ends| ends.map(number));
        [number(self.value), low, high, self.n.into()]
    }
}

impl From<Interval> for PlotValue {
    fn from(interval: Interval) -> Self {
        Self { value: interval.estimate, interval: Some([interval.low, interval.high]), n: interval.n }
    }
}

/// Lines through points, e.g. a score by the number of distinct system messages trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LineChart {
    /// The title of the x axis, with the unit.
    pub x_label: String,
    /// The title of the y axis, with the unit.
    pub y_label: String,
    /// Whether the x axis is logarithmic. If so, every x must be positive.
    pub log_x: bool,
    /// Ends of the y axis; `None` for the range of the data.
    pub y_range: Option<[f64; 2]>,
    /// The lines.
    pub lines: Vec<Line>,
}

/// A line of a [`LineChart`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its points, by increasing x.
    pub points: Vec<Point>,
}

/// A point of a [`Line`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The position on the x axis.
    pub x: f64,
    /// The value.
    pub y: PlotValue,
}

/// Horizontal bars. With one series every group is a single bar.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BarChart {
    /// The title of the value axis, with the unit.
    pub value_label: String,
    /// Ends of the value axis; bars begin at the lower end. `None` for the range from 0 to the data's
    /// extreme.
    pub range: Option<[f64; 2]>,
    /// Names in the legend, one for each bar of a group.
    pub series: Vec<String>,
    /// The groups, from top to bottom.
    pub groups: Vec<BarGroup>,
}

/// A group of bars.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BarGroup {
    /// The group's name.
    pub label: String,
    /// One value for each series; `None` leaves a gap.
    pub bars: Vec<Option<PlotValue>>,
}

impl BarChart {
    /// Single bars with a label each.
    pub fn single(
        value_label: impl Into<String>,
        bars: impl IntoIterator<Item = (impl Into<String>, PlotValue)>,
    ) -> Self {
        let group =
            |(label, value): (_, PlotValue)| BarGroup { label: Into::into(label), bars: vec![Some(value)] };
        Self {
            value_label: value_label.into(),
            range: None,
            series: vec![String::new()],
            groups: bars.into_iter().map(group).collect(),
        }
    }

    /// Fixes the ends of the value axis.
    pub fn with_range(mut self, low: f64, high: f64) -> Self {
        self.range = Some([low, high]);
        self
    }
}

/// Stacked bars that show the shares of outcomes, e.g. win, both good, both bad, loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ShareChart {
    /// The outcomes, from left to right.
    pub parts: Vec<String>,
    /// The bars, from top to bottom.
    pub rows: Vec<ShareRow>,
}

/// A bar of a [`ShareChart`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ShareRow {
    /// The bar's name.
    pub label: String,
    /// Number of rows with each outcome.
    pub counts: Vec<usize>,
}

impl ShareRow {
    /// Number of rows of the bar.
    pub(crate) fn n(&self) -> usize {
        self.counts.iter().sum()
    }
}

/// Counts of values by bin, with one panel for each series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// The title of the value axis, with the unit.
    pub value_label: String,
    /// Bin `i` contains the values in `[edges[i], edges[i + 1])`. The last bin includes its upper edge.
    pub edges: Vec<f64>,
    /// The panels.
    pub(crate) series: Vec<HistogramSeries>,
}

/// A panel of a [`Histogram`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct HistogramSeries {
    /// Its name.
    pub name: String,
    /// Number of values in each bin.
    pub counts: Vec<usize>,
}

impl Histogram {
    /// Counts values in `bins` bins of equal width from the smallest to the largest value of all series.
    ///
    /// # Errors
    /// [`Error::Empty`] without a value, [`Error::NotFinite`], [`Error::Setting`] if `bins` is 0.
    pub fn of<'a>(
        value_label: impl Into<String>,
        bins: usize,
        series: impl IntoIterator<Item = (impl Into<String>, &'a [f64])>,
    ) -> Result<Self> {
        if bins == 0 {
            return Err(Error::Setting { field: "bins", got: "0".into(), expected: "at least 1" });
        }
        let series: Vec<(String, &[f64])> =
            series.into_iter().map(|(name, values)| (name.into(), values)).collect();
        let all = || series.iter().flat_map(|(_, values)| values.iter().copied());
        let low = all().reduce(f64::min).ok_or(Error::Empty { what: "a histogram" })?;
        let high = all().fold(low, f64::max);
        // Equal values get a bin around them.
        let (low, high) = if high > low { (low, high) } else { (low - 0.5, low + 0.5) };
        let width = (high - low) / bins as f64;
        let edges = (0..=bins).map(|edge| if edge == bins { high } else { low + width * edge as f64 });
        Self::with_edges(value_label, edges.collect(), series)
    }

    /// Counts values in bins with the given edges. For values on a grid, such as means of four integer
    /// scores, choose edges halfway between grid points: other edges make gaps that are not in the data.
    ///
    /// # Errors
    /// [`Error::NotFinite`], [`Error::Setting`] for edges that do not increase or a value outside them.
    pub fn with_edges<'a>(
        value_label: impl Into<String>,
        edges: Vec<f64>,
        series: impl IntoIterator<Item = (impl Into<String>, &'a [f64])>,
    ) -> Result<Self> {
        finite("a histogram's edges", &edges)?;
        if edges.len() < 2 || edges.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(Error::Setting {
                field: "edges",
                got: format!("{edges:?}"),
                expected: "at least two increasing numbers",
            });
        }
        let (low, high, bins) = (edges[0], edges[edges.len() - 1], edges.len() - 1);
        let mut counted = Vec::new();
        for (name, values) in series {
            finite("a histogram", values)?;
            let mut counts = vec![0; bins];
            for value in values {
                if !(low..=high).contains(value) {
                    return Err(Error::Setting {
                        field: "a histogram's value",
                        got: value.to_string(),
                        expected: "a number between the edges",
                    });
                }
                counts[edges[1..bins].partition_point(|edge| edge <= value)] += 1;
            }
            counted.push(HistogramSeries { name: name.into(), counts });
        }
        Ok(Self { value_label: value_label.into(), edges, series: counted })
    }
}

impl HistogramSeries {
    /// Number of values in the panel.
    pub(crate) fn n(&self) -> usize {
        self.counts.iter().sum()
    }
}

impl Figure {
    /// A line chart with its title and caption.
    pub fn lines(title: impl Into<String>, caption: impl Into<String>, chart: LineChart) -> Self {
        Self { title: title.into(), caption: caption.into(), plot: Plot::Lines(chart) }
    }

    /// A bar chart with its title and caption.
    pub fn bars(title: impl Into<String>, caption: impl Into<String>, chart: BarChart) -> Self {
        Self { title: title.into(), caption: caption.into(), plot: Plot::Bars(chart) }
    }

    /// A histogram with its title and caption.
    pub fn histogram(title: impl Into<String>, caption: impl Into<String>, histogram: Histogram) -> Self {
        Self { title: title.into(), caption: caption.into(), plot: Plot::Histogram(histogram) }
    }

    pub(crate) fn shares(title: impl Into<String>, caption: impl Into<String>, chart: ShareChart) -> Self {
        Self { title: title.into(), caption: caption.into(), plot: Plot::Shares(chart) }
    }

    /// Checks that the plot can be drawn.
    pub(super) fn check(&self) -> Result<()> {
        match self.plot.problem() {
            Some(problem) => Err(Error::Figure { figure: self.title.clone(), problem }),
            None => Ok(()),
        }
    }

    /// `n = 80 for every bar`, or the range of n.
    pub(super) fn sample_sizes(&self) -> String {
        let (what, ns): (_, Vec<usize>) = match &self.plot {
            Plot::Lines(chart) => ("point", chart.points().map(|point| point.y.n).collect()),
            Plot::Bars(chart) => ("bar", chart.values().map(|value| value.n).collect()),
            Plot::Histogram(histogram) => {
                ("panel", histogram.series.iter().map(HistogramSeries::n).collect())
            }
            Plot::Shares(chart) => ("bar", chart.rows.iter().map(ShareRow::n).collect()),
        };
        match (ns.iter().min(), ns.iter().max()) {
            (Some(low), Some(high)) if low == high && ns.len() == 1 => format!("n = {low}."),
            (Some(low), Some(high)) if low == high => format!("n = {low} for every {what}."),
            (Some(low), Some(high)) => format!("n = {low} to {high} by {what}."),
            _ => String::new(),
        }
    }

    /// The plot's numbers as a table, for formats without pictures and for screen readers.
    pub(super) fn numbers(&self) -> Table {
        let caption = self.title.clone();
        match &self.plot {
            Plot::Lines(chart) => {
                let mut table =
                    Table::new(caption, ["line", &chart.x_label, &chart.y_label, "low", "high", "n"]);
                for (line, point) in
                    chart.lines.iter().flat_map(|line| line.points.iter().map(move |point| (line, point)))
                {
                    let names = [line.name.as_str().into(), number::tick(point.x).into()];
                    table = table.row([&names[..], &point.y.cells()].concat());
                }
                table
            }
            Plot::Bars(chart) => {
                let grouped = chart.series.len() > 1;
                let mut table = Table::new(caption, ["bar", &chart.value_label, "low", "high", "n"]);
                for (group, name, value) in chart.named() {
                    let label = if grouped { format!("{group}, {name}") } else { group.into() };
                    table = table.row([&[label.into()][..], &value.cells()].concat());
                }
                table
            }
            Plot::Histogram(histogram) => {
                let names = histogram.series.iter().map(|series| series.name.as_str());
                let mut table =
                    Table::new(caption, [histogram.value_label.as_str()].into_iter().chain(names));
                for (bin, edges) in histogram.edges.windows(2).enumerate() {
                    let label =
                        Cell::from(format!("{} to {}", number::tick(edges[0]), number::tick(edges[1])));
                    let counts = histogram.series.iter().map(|series| series.counts[bin].into());
                    table = table.row([label].into_iter().chain(counts).collect::<Vec<_>>());
                }
                table
            }
            Plot::Shares(chart) => {
                let parts = chart.parts.iter().flat_map(|part| [part.clone(), format!("{part}, %")]);
                let mut table =
                    Table::new(caption, ["bar".to_string()].into_iter().chain(parts).chain(["n".into()]));
                for row in &chart.rows {
                    let share = |&count: &usize| {
                        [count.into(), Cell::number(100.0 * count as f64 / row.n().max(1) as f64, 1)]
                    };
                    let cells = [row.label.as_str().into()]
                        .into_iter()
                        .chain(row.counts.iter().flat_map(share))
                        .chain([row.n().into()]);
                    table = table.row(cells.collect::<Vec<_>>());
                }
                table
            }
        }
    }
}

impl LineChart {
    pub(super) fn points(&self) -> impl Iterator<Item = &Point> {
        self.lines.iter().flat_map(|line| &line.points)
    }
}

impl BarChart {
    /// All bars, with the names of their group and series.
    pub(super) fn named(&self) -> impl Iterator<Item = (&str, &str, &PlotValue)> {
        self.groups.iter().flat_map(|group| {
            let bars = group.bars.iter().zip(&self.series);
            bars.filter_map(|(bar, name)| bar.as_ref().map(|bar| (group.label.as_str(), name.as_str(), bar)))
        })
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &PlotValue> {
        self.named().map(|(_, _, value)| value)
    }
}

impl Plot {
    /// Why the plot cannot be drawn.
    fn problem(&self) -> Option<String> {
        let range_problem = |range: Option<[f64; 2]>| {
            let wrong = range.filter(|[low, high]| !(low.is_finite() && high.is_finite() && low < high));
            wrong.map(|[low, high]| format!("invalid axis range: {low} to {high}"))
        };
        let value_problem = |value: &PlotValue| {
            let wrong = value.extent().into_iter().chain([value.value]).find(|v| !v.is_finite());
            let reversed = value.interval.filter(|[low, high]| low > high);
            wrong
                .map(|v| format!("a value is {v}"))
                .or(reversed.map(|[low, high]| format!("invalid interval: {low} to {high}")))
        };
        match self {
            Self::Lines(chart) => {
                let x = chart
                    .points()
                    .find(|p| !p.x.is_finite() || (chart.log_x && p.x <= 0.0))
                    .map(|p| format!("x cannot be {}", p.x));
                let unsorted = |line: &&Line| line.points.windows(2).any(|pair| pair[0].x >= pair[1].x);
                let unsorted = chart
                    .lines
                    .iter()
                    .find(unsorted)
                    .map(|line| format!("x does not increase in line \"{}\"", line.name));
                let none = chart.points().next().is_none().then(|| "it has no point".into());
                none.or(x)
                    .or(unsorted)
                    .or_else(|| chart.points().find_map(|p| value_problem(&p.y)))
                    .or(range_problem(chart.y_range))
            }
            Self::Bars(chart) => {
                let misshapen =
                    chart.groups.iter().find(|group| group.bars.len() != chart.series.len()).map(|group| {
                        format!(
                            "group \"{}\" has {} bars for {} series",
                            group.label,
                            group.bars.len(),
                            chart.series.len()
                        )
                    });
                let none = chart.values().next().is_none().then(|| "it has no bar".into());
                misshapen
                    .or(none)
                    .or_else(|| chart.values().find_map(value_problem))
                    .or(range_problem(chart.range))
            }
            Self::Shares(chart) => {
                let misshapen = chart.rows.iter().find(|row| row.counts.len() != chart.parts.len());
                let empty = chart
                    .rows
                    .iter()
                    .find(|row| row.n() == 0)
                    .map(|row| format!("bar \"{}\" has no row", row.label));
                let none = chart.rows.is_empty().then(|| "it has no bar".into());
                let parts = chart.parts.len();
                none.or(misshapen.map(|row| {
                    format!("bar \"{}\" has {} counts for {parts} parts", row.label, row.counts.len())
                }))
                .or(empty)
            }
            Self::Histogram(histogram) => {
                let bins = histogram.edges.len().saturating_sub(1);
                let rising = histogram.edges.iter().all(|edge| edge.is_finite())
                    && histogram.edges.windows(2).all(|pair| pair[0] < pair[1]);
                let misshapen = histogram.series.iter().find(|series| series.counts.len() != bins);
                let none = (bins == 0 || histogram.series.iter().all(|series| series.n() == 0))
                    .then(|| "it has no value".into());
                let edges = (!rising).then(|| "its edges do not increase".into());
                none.or(edges).or(misshapen.map(|series| {
                    format!("panel \"{}\" has {} counts for {bins} bins", series.name, series.counts.len())
                }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_every_value_once() {
        let values = [1.0, 1.0, 2.0, 3.0, 4.9, 5.0];
        let histogram = Histogram::of("score", 4, [("a", &values[..]), ("b", &values[2..3])]).unwrap();
        assert_eq!(histogram.edges, [1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(
            histogram.series[0].counts,
            [2, 1, 1, 2],
            "bins include their lower edges, and the last its upper edge"
        );
        assert_eq!(histogram.series[1].counts, [0, 1, 0, 0]);
        let equal = Histogram::of("score", 1, [("a", &[3.0, 3.0][..])]).unwrap();
        assert_eq!((equal.edges, equal.series[0].n()), (vec![2.5, 3.5], 2));
        assert!(
            Histogram::of("score", 3, [("a", &[][..])]).is_err()
                && Histogram::of("score", 2, [("a", &[f64::NAN, 1.0][..])]).is_err()
        );
        assert!(Histogram::with_edges("score", vec![1.0, 5.0], [("a", &[5.1][..])]).is_err());
        assert!(Histogram::with_edges("score", vec![5.0, 1.0], [("a", &[3.0][..])]).is_err());
    }

    #[test]
    fn plots_that_cannot_be_drawn_are_errors() {
        let line = |xs: &[f64], log_x| {
            let points = xs.iter().map(|&x| Point { x, y: PlotValue::plain(1.0, 3) }).collect();
            let chart = LineChart {
                x_label: "x".into(),
                y_label: "y".into(),
                log_x,
                y_range: None,
                lines: vec![Line { name: "a".into(), points }],
            };
            Figure::lines("t", "", chart).check()
        };
        assert!(line(&[1.0, 2.0], true).is_ok() && line(&[-1.0, 0.0], false).is_ok());
        assert!(
            line(&[0.0, 2.0], true).is_err()
                && line(&[2.0, 1.0], false).is_err()
                && line(&[], false).is_err()
        );
        let bars = |value| Figure::bars("t", "", BarChart::single("v", [("a", value)])).check();
        assert!(bars(PlotValue::plain(1.0, 3)).is_ok());
        assert!(bars(PlotValue::plain(f64::NAN, 3)).is_err());
        assert!(bars(PlotValue { value: 1.0, interval: Some([2.0, 0.0]), n: 3 }).is_err());
    }

    #[test]
    fn captions_have_the_number_of_rows() {
        let chart = |ns: [usize; 2]| BarChart::single("v", ns.map(|n| ("a", PlotValue::plain(1.0, n))));
        let sizes = |ns| Figure::bars("t", "", chart(ns)).sample_sizes();
        assert_eq!(
            (sizes([80, 80]).as_str(), sizes([79, 80]).as_str()),
            ("n = 80 for every bar.", "n = 79 to 80 by bar.")
        );
    }
}
