//! Axes: from values to pixels, and ticks at round values.

use super::canvas::{Canvas, SMALL};
use super::text;
use crate::report::number;

/// Maps values to pixels, and has the ticks.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    values: [f64; 2],
    pixels: [f64; 2],
    log: bool,
    /// Values with a tick, increasing.
    pub(super) ticks: Vec<f64>,
}

impl Axis {
    /// A linear axis over `values`, with about `wanted` round ticks. If the ends are not `fixed`, they
    /// are extended to the next tick.
    pub(super) fn linear(values: [f64; 2], fixed: bool, wanted: usize) -> Self {
        let [low, high] = spread(values);
        let step = round_step((high - low) / wanted.max(1) as f64);
        let (low, high) =
            if fixed { (low, high) } else { ((low / step).floor() * step, (high / step).ceil() * step) };
        // Ticks are multiples of the step, so that rounding errors do not accumulate.
        let (first, last) = ((low / step - 1e-9).ceil() as i64, (high / step + 1e-9).floor() as i64);
        let ticks = (first..=last).map(|tick| tick as f64 * step).collect();
        Self { values: [low, high], pixels: [0.0, 1.0], log: false, ticks }
    }

    /// An axis whose ticks are the values of the data if there are few distinct ones, such as powers of
    /// two.
    pub(super) fn of_points(points: &[f64], log: bool) -> Self {
        let mut distinct = points.to_vec();
        distinct.sort_by(f64::total_cmp);
        distinct.dedup();
        let (low, high) = (distinct.first().copied().unwrap_or(0.0), distinct.last().copied().unwrap_or(1.0));
        if !log {
            let mut axis = Self::linear([low, high], true, 5);
            if distinct.len() <= 6 {
                axis.ticks = distinct;
            }
            return axis;
        }
        let ends = if high > low { [low.ln(), high.ln()] } else { [low.ln() - 0.5, low.ln() + 0.5] };
        if distinct.len() > 12 {
            let exponents = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
            let marks = if high / low < 100.0 { &[1.0, 2.0, 5.0][..] } else { &[1.0] };
            distinct = exponents.flat_map(|e| marks.iter().map(move |mark| mark * 10_f64.powi(e))).collect();
            distinct.retain(|tick| (low..=high).contains(tick));
        }
        Self { values: ends, pixels: [0.0, 1.0], log, ticks: distinct }
    }

    /// Places the axis between two pixel positions.
    pub(super) fn between(mut self, from: f64, to: f64) -> Self {
        self.pixels = [from, to];
        self
    }

    /// The pixel position of a value. Values outside the axis are clamped to its ends.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = if self.log { value.ln() } else { value };
        let share = (value - self.values[0]) / (self.values[1] - self.values[0]);
        self.pixels[0] + share.clamp(0.0, 1.0) * (self.pixels[1] - self.pixels[0])
    }

    /// Width of the widest tick label.
    pub(super) fn label_width(&self) -> f64 {
        self.ticks.iter().map(|&tick| text::width(&number::tick(tick), SMALL)).fold(0.0, f64::max)
    }

    /// Draws tick labels in a row below `y`. Labels that would overlap the previous one are left out.
    pub(super) fn draw_below(&self, canvas: &mut Canvas, y: f64) {
        let mut free = f64::NEG_INFINITY;
        for &tick in &self.ticks {
            let (x, label) = (self.at(tick), number::tick(tick));
            canvas.line([x, y], [x, y + 4.0], "axis");
            let half = text::width(&label, SMALL) / 2.0;
            if x - half >= free {
                canvas.text(x, y + 17.0, "muted middle", &label);
                free = x + half + 5.0;
            }
        }
    }
}

/// The ends of the values, widened if they are equal.
fn spread([low, high]: [f64; 2]) -> [f64; 2] {
    if high > low {
        return [low, high];
    }
    let room = if low == 0.0 { 1.0 } else { low.abs() * 0.1 };
    [low - room, low + room]
}

/// Rounds up to 1, 2 or 5 times a power of ten.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= step * 0.999).unwrap_or(10.0);
    factor * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within_the_axis() {
        assert_eq!(Axis::linear([1.0, 5.0], true, 5).ticks, [1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(Axis::linear([0.0, 0.83], false, 5).ticks.len(), 6);
        let axis = Axis::linear([3.13, 3.87], false, 4).between(0.0, 100.0);
        assert_eq!((axis.at(axis.ticks[0]), axis.at(*axis.ticks.last().unwrap())), (0.0, 100.0));
        assert!(Axis::linear([2.0, 2.0], false, 4).ticks.len() > 1);
    }

    #[test]
    fn a_logarithmic_axis_has_ticks_at_the_points() {
        let axis = Axis::of_points(&[1.0, 4.0, 16.0, 64.0], true).between(0.0, 300.0);
        assert_eq!(axis.ticks, [1.0, 4.0, 16.0, 64.0]);
        assert!((axis.at(4.0) - 100.0).abs() < 1e-9 && (axis.at(16.0) - 200.0).abs() < 1e-9);
        let many: Vec<f64> = (1..500).map(f64::from).collect();
        assert_eq!(Axis::of_points(&many, true).ticks, [1.0, 10.0, 100.0]);
    }
}
