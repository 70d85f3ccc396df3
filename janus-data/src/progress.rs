//! Progress of long work on stderr: a bar on a terminal, a line every few seconds elsewhere.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The unit that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Items, by their plural: "rows", "steps".
    Count(&'static str),
    /// Bytes, shown in megabytes.
    Bytes,
}

/// Progress of a task, with its rate and the time left.
///
/// ```
/// use janus_data::progress::{Progress, Unit};
/// let mut progress = Progress::new("train", Unit::Count("steps"), 3);
/// for step in 0..3 {
///     progress.note(format!("loss {:.2}", 1.0 / f64::from(step + 1)));
///     progress.advance(1);
/// }
/// progress.finish();
/// ```
#[derive(Debug)]
pub struct Progress {
    label: String,
    count: Counted,
    note: String,
    started: Instant,
    display: Display,
}

#[derive(Debug)]
enum Display {
    Bar(ProgressBar),
    Lines { last: Instant },
}

impl Progress {
    /// Starts the progress of `total` units with a label. A `total` of 0 means that it is unknown.
    pub fn new(label: impl Into<String>, unit: Unit, total: u64) -> Self {
        let (label, started) = (label.into(), Instant::now());
        let display = if std::io::stderr().is_terminal() {
            let style = ProgressStyle::with_template("{prefix} [{bar:30}] {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr())
                .with_style(style.progress_chars("=> "));
            bar.set_prefix(label.clone());
            Display::Bar(bar)
        } else {
            Display::Lines { last: started }
        };
        Self {
            label,
            count: Counted { unit, total, before: 0, done: 0 },
            note: String::new(),
            started,
            display,
        }
    }

    /// Counts units that an earlier run did. They count towards the total, but not the rate.
    pub fn resumed_at(mut self, done: u64) -> Self {
        self.count.before = done;
        self.count.done = done;
        self
    }

    /// Counts `units` more.
    pub fn advance(&mut self, units: u64) {
        self.count.done += units;
        self.show(false);
    }

    /// Sets the number of units done, including those of an earlier run.
    pub fn reach(&mut self, done: u64) {
        self.count.done = done;
        self.show(false);
    }

    /// Sets a note that follows the numbers from the next update on, such as a loss or tokens per second.
    pub fn note(&mut self, note: impl Into<String>) {
        self.note = note.into();
    }

    /// Shows the last numbers and ends the display.
    pub fn finish(mut self) {
        self.show(true);
        if let Display::Bar(bar) = &self.display {
            bar.abandon();
        }
    }

    fn show(&mut self, now: bool) {
        let text = || {
            let mut text = self.count.text(self.started.elapsed());
            if !self.note.is_empty() {
                text = format!("{text}, {}", self.note);
            }
            text
        };
        match &mut self.display {
            Display::Bar(bar) => {
                bar.set_message(text());
                bar.set_position(self.count.done);
            }
            Display::Lines { last } if now || last.elapsed() >= LINE_EVERY => {
                eprintln!("{}: {}", self.label, text());
                *last = Instant::now();
            }
            Display::Lines { .. } => {}
        }
    }
}

#[derive(Debug)]
struct Counted {
    unit: Unit,
    total: u64,
    before: u64,
    done: u64,
}

impl Counted {
    /// "12/100 rows (12%), 1.5 rows/s, 59s left".
    fn text(&self, elapsed: Duration) -> String {
        let percent = (self.done * 100).checked_div(self.total).unwrap_or(100);
        let rate = (self.done - self.before) as f64 / elapsed.as_secs_f64().max(1e-9);
        let counts = match self.unit {
            Unit::Count(unit) if self.done > self.total => {
                format!("{} {unit}, {} {unit}/s", self.done, number(rate))
            }
            Unit::Count(unit) => {
                format!("{}/{} {unit} ({percent}%), {} {unit}/s", self.done, self.total, number(rate))
            }
            Unit::Bytes => {
                let mega = |bytes: f64| bytes / 1e6;
                let (done, total) = (mega(self.done as f64), mega(self.total as f64));
                format!("{done:.1}/{total:.1} MB ({percent}%), {} MB/s", number(mega(rate)))
            }
        };
        match self.total.saturating_sub(self.done) {
            0 => format!("{counts}, took {}", duration(elapsed.as_secs_f64())),
            _ if rate < 1e-9 => counts,
            left => format!("{counts}, {} left", duration(left as f64 / rate)),
        }
    }
}

/// About three significant digits.
fn number(value: f64) -> String {
    let digits = if value >= 100.0 {
        0
    } else if value >= 1.0 {
        1
    } else {
        3
    };
    format!("{value:.digits$}")
}

/// A duration in seconds for people: "7s", "3m07s", "2h05m".
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s:02}s"),
        (h, m, _) => format!("{h}h{m:02}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_this_run_and_the_percentage_that_of_the_total() {
        let count = Counted { unit: Unit::Count("rows"), total: 100, before: 40, done: 60 };
        assert_eq!(count.text(Duration::from_secs(10)), "60/100 rows (60%), 2.0 rows/s, 20s left");
    }

    #[test]
    fn no_progress_and_no_total_do_not_divide_by_zero() {
        let count = |done, total| Counted { unit: Unit::Count("rows"), total, before: 0, done };
        assert_eq!(count(0, 0).text(Duration::from_secs(1)), "0/0 rows (100%), 0.000 rows/s, took 1s");
        assert_eq!(count(0, 5).text(Duration::from_secs(1)), "0/5 rows (0%), 0.000 rows/s");
        assert!(count(5, 5).text(Duration::from_secs(185)).ends_with("took 3m05s"));
        assert_eq!(count(50, 0).text(Duration::from_secs(10)), "50 rows, 5.0 rows/s, took 10s");
    }

    #[test]
    fn bytes_are_shown_in_megabytes() {
        let count = Counted { unit: Unit::Bytes, total: 98_000_000, before: 0, done: 49_000_000 };
        assert_eq!(count.text(Duration::from_secs(2)), "49.0/98.0 MB (50%), 24.5 MB/s, 2s left");
        assert_eq!(duration(7503.0), "2h05m");
    }
}
