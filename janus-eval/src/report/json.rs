//! A report as JSON.

use serde::{Deserialize, Serialize};

use super::{Claim, Report, Section};
use crate::{Error, Result};

/// The value of `format` in a report's JSON.
pub(super) const FORMAT: &str = "janus-report";

/// The value of `version`. It increases with every incompatible change of the format.
pub(super) const VERSION: u32 = 1;

#[derive(Serialize)]
struct Written<'a> {
    format: &'a str,
    version: u32,
    title: &'a str,
    claims: &'a [Claim],
    sections: &'a [Section],
}

#[derive(Deserialize)]
struct Header {
    format: String,
    version: u32,
}

#[derive(Deserialize)]
struct Body {
    title: String,
    claims: Vec<Claim>,
    sections: Vec<Section>,
}

pub(super) fn write(report: &Report) -> Result<String> {
    let Report { title, claims, sections } = report;
    let written = Written { format: FORMAT, version: VERSION, title, claims, sections };
    let mut text = serde_json::to_string_pretty(&written).map_err(problem)?;
    text.push('\n');
    Ok(text)
}

pub(super) fn read(text: &str) -> Result<Report> {
    let Header { format, version } = serde_json::from_str(text).map_err(problem)?;
    if (format.as_str(), version) != (FORMAT, VERSION) {
        return Err(Error::ReportFile {
            problem: format!("it is {format} version {version}, expected {FORMAT} version {VERSION}"),
        });
    }
    let Body { title, claims, sections } = serde_json::from_str(text).map_err(problem)?;
    Ok(Report { title, claims, sections })
}

fn problem(error: serde_json::Error) -> Error {
    Error::ReportFile { problem: error.to_string() }
}
