//! The canvas: SVG elements in order, and the legend of all plots.

use std::fmt::Write as _;

use super::text;
use crate::report::escape;

/// Width of every plot in SVG units. A page scales it.
pub(super) const WIDTH: f64 = 480.0;
/// Text size of labels.
pub(super) const SIZE: f64 = 13.0;
/// Text size of ticks and axis titles.
pub(super) const SMALL: f64 = 12.0;
/// Number of colours. After these they repeat with another marker and dash pattern.
const COLOURS: usize = 6;

/// The elements drawn so far, and their height.
#[derive(Debug, Default)]
pub(super) struct Canvas {
    pub(super) height: f64,
    pub(super) body: String,
}

impl Canvas {
    /// Adds an element. Writing to a string cannot fail.
    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        let _ = self.body.write_fmt(element);
        self.body.push('\n');
    }

    pub(super) fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        self.push(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{}</text>",
            escape::html(text)
        ));
    }

    /// Text with its full form as a tooltip.
    pub(super) fn titled_text(&mut self, x: f64, y: f64, class: &str, text: &str, full: &str) {
        let (text, full) = (escape::html(text), escape::html(full));
        self.push(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\"><title>{full}</title>{text}</text>"
        ));
    }

    pub(super) fn line(&mut self, from: [f64; 2], to: [f64; 2], class: &str) {
        let ([x1, y1], [x2, y2]) = (from, to);
        self.push(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" class=\"{class}\"/>"
        ));
    }

    pub(super) fn rect(&mut self, corner: [f64; 2], size: [f64; 2], class: &str, hover: &str) {
        let ([x, y], [w, h]) = (corner, size);
        let hover = escape::html(hover);
        self.push(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" class=\"{class}\"><title>{hover}</title></rect>"
        ));
    }

    pub(super) fn path(&mut self, d: &str, class: &str, dash: &str) {
        let dash = if dash.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dash}\"") };
        self.push(format_args!("<path d=\"{d}\" class=\"{class}\"{dash}/>"));
    }

    /// A marker. Its shape identifies the series without colour.
    pub(super) fn mark(&mut self, at: [f64; 2], series: usize, hover: &str) {
        let [x, y] = at;
        let d = match series % 4 {
            0 => format!("M{:.1} {y:.1}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z", x - 4.0),
            1 => format!("M{:.1} {:.1}h7.4v7.4h-7.4Z", x - 3.7, y - 3.7),
            2 => format!("M{x:.1} {:.1}l4.8 8.4h-9.6Z", y - 5.4),
            _ => format!("M{x:.1} {:.1}l5 5l-5 5l-5 -5Z", y - 5.0),
        };
        self.push(format_args!(
            "<path d=\"{d}\" class=\"mark {}\"><title>{}</title></path>",
            colour(series),
            escape::html(hover)
        ));
    }

    /// A legend at the top, in one or more rows. A single series without a name has no legend.
    pub(super) fn legend(&mut self, names: &[&str], with_lines: bool) {
        if matches!(names, [] | [""]) {
            return;
        }
        let key = if with_lines { 30.0 } else { 18.0 };
        let (mut x, mut y) = (2.0, self.height + 16.0);
        for (series, name) in names.iter().enumerate() {
            let (shown, cut) = text::wrap(name, SIZE, WIDTH - key - 8.0, 1);
            let shown = shown.first().map_or("", String::as_str);
            let taken = key + text::width(shown, SIZE) + 16.0;
            if x > 2.0 && x + taken > WIDTH {
                (x, y) = (2.0, y + 20.0);
            }
            let middle = y - 4.5;
            if with_lines {
                self.path(
                    &format!("M{x:.1} {middle:.1}h24"),
                    &format!("line {}", colour(series)),
                    dash(series),
                );
                self.mark([x + 12.0, middle], series, name);
            } else {
                self.rect([x, middle - 6.0], [12.0, 12.0], &format!("fill {}", colour(series)), name);
            }
            if cut {
                self.titled_text(x + key, y, "", shown, name)
            } else {
                self.text(x + key, y, "", shown)
            }
            x += taken;
        }
        self.height = y + 10.0;
    }
}

/// The CSS class of a series' colour.
pub(super) fn colour(series: usize) -> String {
    format!("c{}", series % COLOURS)
}

/// The dash pattern of a series' line.
pub(super) fn dash(series: usize) -> &'static str {
    ["", "7 3", "2 3", "9 3 2 3"][series % 4]
}
