//! Histograms, with one panel per series above a common axis.

use super::axis::Axis;
use super::bars::axis_title;
use super::canvas::{Canvas, SIZE, WIDTH, colour};
use super::text;
use crate::report::figure::Histogram;
use crate::report::number;

/// Height of a panel's bars.
const PANEL: f64 = 84.0;

pub(super) fn draw(histogram: &Histogram) -> Canvas {
    let mut canvas = Canvas::default();
    // Shares make panels of different n comparable.
    let shares = |counts: &[usize]| -> Vec<f64> {
        let n = counts.iter().sum::<usize>().max(1) as f64;
        counts.iter().map(|&count| 100.0 * count as f64 / n).collect()
    };
    let highest = histogram.series.iter().flat_map(|series| shares(&series.counts)).fold(0.0, f64::max);
    let y = Axis::linear([0.0, highest], false, 3);
    let ends = [histogram.edges[0], histogram.edges[histogram.edges.len() - 1]];
    let (left, right) = (y.label_width() + 26.0, WIDTH - 16.0);
    let mut x = Axis::linear(ends, true, 6).between(left, right);
    if histogram.edges.len() <= 9 {
        x.ticks.clone_from(&histogram.edges);
    }
    let mut bottom = 0.0;
    for (series, panel) in histogram.series.iter().enumerate() {
        let (lines, _) = text::wrap(&format!("{} (n = {})", panel.name, panel.n()), SIZE, WIDTH - left, 1);
        let name_at = canvas.height + 16.0;
        canvas.text(left, name_at, "", lines.first().map_or("", String::as_str));
        let top = name_at + 10.0;
        bottom = top + PANEL;
        let y = y.clone().between(bottom, top);
        for &tick in &y.ticks {
            canvas.line([left, y.at(tick)], [right, y.at(tick)], "grid");
            canvas.text(left - 6.0, y.at(tick) + 4.0, "muted end", &format!("{}%", number::tick(tick)));
        }
        for (bin, share) in shares(&panel.counts).into_iter().enumerate() {
            let (from, to) = (x.at(histogram.edges[bin]) + 0.5, x.at(histogram.edges[bin + 1]) - 0.5);
            let hover = format!(
                "{}, {} to {}: {} of {}",
                panel.name,
                number::tick(histogram.edges[bin]),
                number::tick(histogram.edges[bin + 1]),
                panel.counts[bin],
                panel.n()
            );
            canvas.rect(
                [from, y.at(share)],
                [(to - from).max(0.5), bottom - y.at(share)],
                &format!("fill {}", colour(series)),
                &hover,
            );
        }
        canvas.line([left, bottom], [right, bottom], "axis");
        canvas.height = bottom + 8.0;
    }
    x.draw_below(&mut canvas, bottom);
    canvas.height = bottom + 20.0;
    axis_title(&mut canvas, (left + right) / 2.0, &histogram.value_label);
    canvas
}
