//! Lines through points, with intervals as whiskers and a light band.

use std::fmt::Write as _;

use super::axis::Axis;
use super::bars::axis_title;
use super::canvas::{Canvas, SMALL, WIDTH, colour, dash};
use super::text;
use crate::report::figure::{Line, LineChart, Point};
use crate::report::number;

/// Height of the area with the lines.
const AREA: f64 = 230.0;
/// Lines with more points have no markers and whiskers.
const FEW: usize = 24;

pub(super) fn draw(chart: &LineChart) -> Canvas {
    let mut canvas = Canvas::default();
    let names: Vec<&str> = chart.lines.iter().map(|line| line.name.as_str()).collect();
    canvas.legend(&names, true);

    // The y title is horizontal, above its axis, which is easier to read than vertical text.
    for line in text::wrap(&chart.y_label, SMALL, WIDTH - 8.0, 2).0 {
        canvas.height += 16.0;
        canvas.text(2.0, canvas.height, "muted", &line);
    }
    let data = chart.points().map(|point| point.y.extent());
    let data = data.reduce(|a, b| [a[0].min(b[0]), a[1].max(b[1])]).unwrap_or([0.0, 1.0]);
    let y = Axis::linear(chart.y_range.unwrap_or(data), chart.y_range.is_some(), 5);
    let xs: Vec<f64> = chart.points().map(|point| point.x).collect();
    let x = Axis::of_points(&xs, chart.log_x);
    // Half of the outermost x label may be outside the area.
    let (left, right) = (y.label_width() + 12.0, WIDTH - x.label_width() / 2.0 - 4.0);
    let (top, bottom) = (canvas.height + 12.0, canvas.height + 12.0 + AREA);
    let (x, y) = (x.between(left + 10.0, right - 6.0), y.between(bottom, top));

    for &tick in &y.ticks {
        canvas.line([left, y.at(tick)], [right, y.at(tick)], "grid");
        canvas.text(left - 6.0, y.at(tick) + 4.0, "muted end", &number::tick(tick));
    }
    canvas.line([left, bottom], [right, bottom], "axis");
    x.draw_below(&mut canvas, bottom);

    let at = |point: &Point| [x.at(point.x), y.at(point.y.value)];
    for (series, line) in chart.lines.iter().enumerate() {
        if let Some(band) = band(line, &x, &y) {
            canvas.path(&band, &format!("band {}", colour(series)), "");
        }
    }
    for (series, line) in chart.lines.iter().enumerate() {
        let mut d = String::new();
        for (i, point) in line.points.iter().enumerate() {
            let [x, y] = at(point);
            let _ = write!(d, "{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' });
        }
        canvas.path(&d, &format!("line {}", colour(series)), dash(series));
        if line.points.len() > FEW {
            continue;
        }
        for point in &line.points {
            let [px, py] = at(point);
            let decimals = number::decimals(point.y.value);
            let mut value = number::fixed(point.y.value, decimals);
            if let Some([low, high]) = point.y.interval {
                value = number::interval(point.y.value, low, high, decimals);
                let (low, high) = (y.at(low), y.at(high));
                let d = format!(
                    "M{:.1} {low:.1}h6M{px:.1} {low:.1}V{high:.1}M{:.1} {high:.1}h6",
                    px - 3.0,
                    px - 3.0
                );
                canvas.path(&d, &format!("error {}", colour(series)), "");
            }
            canvas.mark(
                [px, py],
                series,
                &format!("{} at {}: {value} (n = {})", line.name, number::tick(point.x), point.y.n),
            );
        }
    }
    canvas.height = bottom + 20.0;
    axis_title(&mut canvas, (left + right) / 2.0, &chart.x_label);
    canvas
}

/// The area between the intervals' ends; `None` for a single point, or if an interval is missing.
fn band(line: &Line, x: &Axis, y: &Axis) -> Option<String> {
    let ends: Vec<(f64, [f64; 2])> =
        line.points.iter().map(|point| Some((point.x, point.y.interval?))).collect::<Option<_>>()?;
    if ends.len() < 2 {
        return None;
    }
    let forth = ends.iter().map(|(px, [_, high])| [x.at(*px), y.at(*high)]);
    let back = ends.iter().rev().map(|(px, [low, _])| [x.at(*px), y.at(*low)]);
    let mut d = String::new();
    for (i, [px, py]) in forth.chain(back).enumerate() {
        let _ = write!(d, "{}{px:.1} {py:.1}", if i == 0 { 'M' } else { 'L' });
    }
    d.push('Z');
    Some(d)
}
