//! Reports: sections of text, tables, figures, claims and examples, written as Markdown, JSON and an
//! HTML page.
//!
//! Equal reports give equal bytes: there is no time, no host name and no order that depends on a hash.
//! All text is plain text: special characters of the output format are escaped.
//!
//! ```
//! use janus_eval::report::{Cell, Report, Section, Table};
//!
//! let mut report = Report::new("Scores");
//! let table = Table::new("Mean score, 1 to 5", ["model", "score", "n"])
//!     .row(["Janus".into(), Cell::number(4.172, 2), 921.into()])
//!     .row(["Base".into(), Cell::number(2.234, 2), 921.into()]);
//! report.sections.push(Section::new("Bench").paragraph("Four rubrics a row.").table(table));
//! assert!(report.to_markdown()?.contains("| Janus | 4.17 | 921 |"));
//! assert!(report.to_html()?.starts_with("<!DOCTYPE html>"));
//! assert_eq!(Report::from_json(&report.to_json()?)?, report);
//! # Ok::<(), janus_eval::Error>(())
//! ```

mod claim;
mod escape;
mod example;
mod figure;
mod html;
mod json;
mod markdown;
mod number;
mod svg;
mod table;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use claim::Claim;
pub use example::Example;
pub(crate) use example::{ExampleJudgment, ExampleResponse};
#[cfg(test)]
pub(crate) use figure::Plot;
pub use figure::{BarChart, BarGroup, Figure, Histogram, Line, LineChart, PlotValue, Point};
pub(crate) use figure::{ShareChart, ShareRow};
pub(crate) use html::{STYLE, page};
pub use table::{Cell, Table};

use crate::join::unique;
use crate::{Error, Result};

/// A report.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The title.
    pub title: String,
    /// The claims. Sections refer to them by id.
    pub claims: Vec<Claim>,
    /// The sections, in reading order.
    pub sections: Vec<Section>,
}

/// A section of a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// The heading.
    pub title: String,
    /// The contents, in reading order.
    pub(crate) blocks: Vec<Block>,
}

/// A part of a section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Block {
    /// A paragraph of plain text.
    Paragraph {
        /// The text.
        text: String,
    },
    /// A table.
    Table(Table),
    /// A plot.
    Figure(Figure),
    /// Claims of the report.
    Claims {
        /// Their ids, in the order to show.
        ids: Vec<String>,
    },
    /// Prompts with the responses of several models.
    Examples {
        /// The prompts.
        examples: Vec<Example>,
    },
}

impl Report {
    /// An empty report with a title.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), claims: Vec::new(), sections: Vec::new() }
    }

    /// The report as GitHub-flavoured Markdown. Figures become tables of their numbers.
    ///
    /// # Errors
    /// Those of [`Report::to_json`].
    pub fn to_markdown(&self) -> Result<String> {
        self.check()?;
        markdown::render(self)
    }

    /// The report as one HTML page without external resources. It adapts to narrow screens, and to light
    /// or dark mode.
    ///
    /// # Errors
    /// Those of [`Report::to_json`].
    pub fn to_html(&self) -> Result<String> {
        self.check()?;
        html::render(self)
    }

    /// The report as JSON, `{format, version, title, claims, sections}`, indented, with a final line
    /// break.
    ///
    /// # Errors
    /// [`Error::DoubledId`] for two claims with the same id, [`Error::UnknownClaim`],
    /// [`Error::TableShape`], [`Error::NotFinite`], [`Error::Figure`].
    pub fn to_json(&self) -> Result<String> {
        self.check()?;
        json::write(self)
    }

    /// Parses the JSON of [`Report::to_json`].
    ///
    /// # Errors
    /// [`Error::ReportFile`] for text that is not a report in this format and version, and those of
    /// [`Report::to_json`].
    pub fn from_json(text: &str) -> Result<Self> {
        let report = json::read(text)?;
        report.check()?;
        Ok(report)
    }

    /// Writes `report.json`, `report.md` and `report.html` into a folder.
    ///
    /// # Errors
    /// Those of [`Report::to_json`]; [`Error::File`] if a file cannot be written.
    pub fn write(&self, folder: impl AsRef<Path>) -> Result<()> {
        let forms = [
            ("report.json", self.to_json()?),
            ("report.md", self.to_markdown()?),
            ("report.html", self.to_html()?),
        ];
        for (file, text) in forms {
            janus_data::write_file(folder.as_ref().join(file), text.as_bytes())?;
        }
        Ok(())
    }

    /// Checks that the report can be rendered.
    fn check(&self) -> Result<()> {
        let ids = unique("claims", self.claims.iter().map(|claim| claim.id.as_str()))?;
        for claim in &self.claims {
            finite("a claim", &[claim.estimate, claim.ci_low, claim.ci_high])?;
        }
        for block in self.sections.iter().flat_map(|section| &section.blocks) {
            match block {
                Block::Claims { ids: shown } => {
                    if let Some(id) = shown.iter().find(|id| !ids.contains_key(id.as_str())) {
                        return Err(Error::UnknownClaim { id: id.clone() });
                    }
                }
                Block::Table(table) => table.check()?,
                Block::Figure(figure) => figure.check()?,
                Block::Paragraph { .. } | Block::Examples { .. } => {}
            }
        }
        Ok(())
    }

    /// The claims with these ids, which `check` has checked.
    fn claims_of<'a>(&'a self, ids: &'a [String]) -> impl Iterator<Item = &'a Claim> {
        ids.iter().filter_map(|id| self.claims.iter().find(|claim| claim.id == *id))
    }
}

impl Section {
    /// An empty section with a heading.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), blocks: Vec::new() }
    }

    fn with(mut self, block: Block) -> Self {
        self.blocks.push(block);
        self
    }

    /// Adds a paragraph.
    pub fn paragraph(self, text: impl Into<String>) -> Self {
        self.with(Block::Paragraph { text: text.into() })
    }

    /// Adds a table.
    pub fn table(self, table: Table) -> Self {
        self.with(Block::Table(table))
    }

    /// Adds a figure.
    pub fn figure(self, figure: Figure) -> Self {
        self.with(Block::Figure(figure))
    }

    /// Adds claims of the report, by id.
    pub fn claims(self, ids: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.with(Block::Claims { ids: ids.into_iter().map(Into::into).collect() })
    }

    /// Adds examples, which the HTML page shows with a search field.
    pub fn examples(self, examples: Vec<Example>) -> Self {
        self.with(Block::Examples { examples })
    }
}

/// The text of a claim's verdict.
fn verdict(holds: Option<bool>) -> &'static str {
    match holds {
        Some(true) => "holds",
        Some(false) => "does not hold",
        None => "not decided",
    }
}

fn finite(what: &'static str, values: &[f64]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(Error::NotFinite { what, index, value: values[index] }),
        None => Ok(()),
    }
}
