//! Horizontal bars, which leave room for long labels on narrow screens.

use super::axis::Axis;
use super::canvas::{Canvas, SIZE, SMALL, WIDTH, colour};
use super::text;
use crate::report::figure::BarChart;
use crate::report::number;

/// Pixels between two lines of a label.
const LEADING: f64 = 15.0;

pub(super) fn draw(chart: &BarChart) -> Canvas {
    let mut canvas = Canvas::default();
    let names: Vec<&str> = chart.series.iter().map(String::as_str).collect();
    canvas.legend(&names, false);

    let data = chart.values().fold([0.0_f64, 0.0_f64], |[low, high], value| {
        let [l, h] = value.extent();
        [low.min(l), high.max(h)]
    });
    let axis = Axis::linear(chart.range.unwrap_or(data), chart.range.is_some(), 5);
    let size = chart.values().map(|value| value.value.abs()).fold(0.0, f64::max);
    let decimals = if size < 10.0 { 2 } else { number::decimals(size) };
    let shown = |value: f64| number::fixed(value, decimals);

    let widest = chart.groups.iter().map(|group| text::width(&group.label, SIZE)).fold(0.0, f64::max);
    let left = widest.min(0.34 * WIDTH) + 10.0;
    let numbers = chart.values().map(|value| text::width(&shown(value.value), SMALL)).fold(0.0, f64::max);
    let right = WIDTH - numbers - 14.0;
    let axis = axis.between(left, right);

    let bar = if chart.series.len() == 1 { 18.0 } else { 15.0 };
    let top = canvas.height + 4.0;
    let labels: Vec<_> =
        chart.groups.iter().map(|group| text::wrap(&group.label, SIZE, left - 10.0, 2)).collect();
    let height = |lines: usize| (bar * chart.series.len() as f64).max(LEADING * lines as f64) + 10.0;
    let bottom = top + labels.iter().map(|(lines, _)| height(lines.len())).sum::<f64>();
    for &tick in &axis.ticks {
        canvas.line([axis.at(tick), top], [axis.at(tick), bottom], "grid");
    }

    let start = chart.range.map_or(0.0, |[low, _]| low);
    let mut y = top;
    for (group, (lines, cut)) in chart.groups.iter().zip(&labels) {
        let height = height(lines.len());
        let first = y + height / 2.0 - LEADING * (lines.len() as f64 - 1.0) / 2.0 + 4.5;
        for (i, line) in lines.iter().enumerate() {
            let at = first + LEADING * i as f64;
            if *cut {
                canvas.titled_text(left - 8.0, at, "end", line, &group.label)
            } else {
                canvas.text(left - 8.0, at, "end", line)
            }
        }
        let mut bar_top = y + (height - bar * chart.series.len() as f64) / 2.0;
        for (series, value) in group.bars.iter().enumerate() {
            if let Some(value) = value {
                let (from, to) = (axis.at(start), axis.at(value.value));
                let middle = bar_top + bar / 2.0;
                let of = if chart.series[series].is_empty() {
                    group.label.clone()
                } else {
                    format!("{}, {}", group.label, chart.series[series])
                };
                let hover = match value.interval {
                    Some([low, high]) => format!(
                        "{of}: {} (n = {})",
                        number::interval(value.value, low, high, decimals),
                        value.n
                    ),
                    None => format!("{of}: {} (n = {})", shown(value.value), value.n),
                };
                let class = format!("fill {}", colour(series));
                canvas.rect([from.min(to), bar_top + 1.0], [(to - from).abs(), bar - 2.0], &class, &hover);
                if let Some([low, high]) = value.interval {
                    let (low, high) = (axis.at(low), axis.at(high));
                    let d = format!(
                        "M{low:.1} {:.1}v7M{low:.1} {middle:.1}H{high:.1}M{high:.1} {:.1}v7",
                        middle - 3.5,
                        middle - 3.5
                    );
                    canvas.path(&d, "whisker", "");
                }
                canvas.text(WIDTH - 2.0, middle + 4.3, "muted end", &shown(value.value));
            }
            bar_top += bar;
        }
        y += height;
    }
    canvas.line([axis.at(start), top], [axis.at(start), bottom], "axis");
    axis.draw_below(&mut canvas, bottom);
    canvas.height = bottom + 20.0;
    axis_title(&mut canvas, (left + right) / 2.0, &chart.value_label);
    canvas
}

/// Draws the title of a horizontal axis below the picture so far, centred at `x` but within the picture.
pub(super) fn axis_title(canvas: &mut Canvas, x: f64, label: &str) {
    let (lines, _) = text::wrap(label, SMALL, WIDTH - 8.0, 2);
    for line in lines {
        let half = text::width(&line, SMALL) / 2.0 + 2.0;
        canvas.height += 16.0;
        canvas.text(x.clamp(half, WIDTH - half), canvas.height, "muted middle", &line);
    }
    canvas.height += 6.0;
}
