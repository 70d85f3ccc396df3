//! Draws plots as SVG, without a plotting library: the same bytes on every platform, colours for light
//! and dark mode, and labels that do not overlap.

mod axis;
mod bars;
mod canvas;
mod histogram;
mod lines;
mod shares;
mod text;

use super::escape;
use super::figure::{Figure, Plot};
use crate::Result;
use canvas::Canvas;

/// The style of all plots. A page with inline plots must include it once.
pub(super) const STYLE: &str = include_str!("svg/plot.css");

/// A figure's plot as an `<svg>` element for a page that has [`STYLE`]. `id` must be unique in the page;
/// it connects the picture with its title and description for screen readers.
///
/// # Errors
/// [`Error::Figure`](crate::Error::Figure).
pub(super) fn inline(figure: &Figure, id: &str) -> Result<String> {
    figure.check()?;
    Ok(element(figure, id, ""))
}

impl Figure {
    /// The plot as a standalone SVG file, with its style.
    ///
    /// # Errors
    /// [`Error::Figure`](crate::Error::Figure) for a plot without values, with data of the wrong shape or
    /// non-finite numbers, or with a non-positive x on a logarithmic axis.
    pub fn to_svg(&self) -> Result<String> {
        self.check()?;
        Ok(format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}",
            element(self, "plot", &format!("<style>{STYLE}</style>\n"))
        ))
    }
}

fn element(figure: &Figure, id: &str, style: &str) -> String {
    let canvas = match &figure.plot {
        Plot::Lines(chart) => lines::draw(chart),
        Plot::Bars(chart) => bars::draw(chart),
        Plot::Histogram(histogram) => histogram::draw(histogram),
        Plot::Shares(chart) => shares::draw(chart),
    };
    let Canvas { height, body } = canvas;
    let (id, title) = (escape::html(id), escape::html(&figure.title));
    let description = escape::html(&format!("{} {}", figure.caption, figure.sample_sizes()));
    format!(
        "<svg class=\"plot\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {height:.0}\" role=\"img\" \
         aria-labelledby=\"{id}-title {id}-desc\">\n{style}<title id=\"{id}-title\">{title}</title>\
         <desc id=\"{id}-desc\">{description}</desc>\n{body}</svg>\n",
        canvas::WIDTH,
    )
}
