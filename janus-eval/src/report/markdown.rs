//! A report as GitHub-flavoured Markdown.

use std::fmt::Write as _;

use super::escape::{fenced, markdown, markdown_line};
use super::example::Example;
use super::figure::Figure;
use super::table::Table;
use super::{Block, Report, number, verdict};
use crate::Result;
use crate::report::Claim;

pub(super) fn render(report: &Report) -> Result<String> {
    let mut out = format!("# {}\n", markdown(&report.title));
    for section in &report.sections {
        let _ = write!(out, "\n## {}\n", markdown(&section.title));
        for block in &section.blocks {
            out.push('\n');
            match block {
                Block::Paragraph { text } => out.push_str(&(markdown_line(text) + "\n")),
                Block::Table(table) => out.push_str(&render_table(table)),
                Block::Figure(figure) => out.push_str(&render_figure(figure)),
                Block::Claims { ids } => {
                    report.claims_of(ids).for_each(|claim| out.push_str(&render_claim(claim)))
                }
                Block::Examples { examples } => {
                    examples.iter().for_each(|example| render_example(&mut out, example))
                }
            }
        }
    }
    Ok(out)
}

fn render_table(table: &Table) -> String {
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut out = format!("{}\n\n", markdown_line(&table.caption));
    out += &row(table.columns.iter().map(|column| markdown(column)).collect());
    out += &row((0..table.columns.len())
        .map(|column| if table.is_numeric(column) { "---:" } else { "---" }.into())
        .collect());
    for cells in &table.rows {
        // Numbers need no escaping: the brackets of an interval are not a link.
        let text = |cell: &super::Cell| {
            if matches!(cell, super::Cell::Text(_)) { markdown(&cell.text()) } else { cell.text() }
        };
        out += &row(cells.iter().map(text).collect());
    }
    out
}

fn render_figure(figure: &Figure) -> String {
    let caption = format!("{} {}", figure.caption, figure.sample_sizes());
    format!("{}\n{}\n", render_table(&figure.numbers()), markdown_line(&caption))
}

fn render_claim(claim: &Claim) -> String {
    let numbers =
        number::interval(claim.estimate, claim.ci_low, claim.ci_high, number::decimals(claim.estimate));
    format!("- **{}**: {} {numbers}, n = {}\n", verdict(claim.holds), markdown(&claim.statement), claim.n)
}

fn render_example(out: &mut String, example: &Example) {
    let _ = writeln!(out, "### Example {} ({})", markdown(&example.id), markdown(&example.source));
    for (name, text) in example.messages() {
        let _ = write!(out, "\n{name}:\n\n{}", fenced(text));
    }
    for response in &example.responses {
        let _ = write!(out, "\n#### {}\n\n{}\n", markdown(&response.model), fenced(&response.response));
        for (criterion, score, feedback) in example.judged(response) {
            let score = score.map_or("no score".into(), |score| format!("{score} of 5"));
            let why = if feedback.is_empty() { String::new() } else { format!(" {}", markdown(feedback)) };
            let _ = writeln!(out, "- {}: **{score}**{why}", markdown(criterion));
        }
    }
    for judgment in &example.judgments {
        let (title, verdict) = (markdown(&judgment.title), markdown(&judgment.verdict));
        let _ = write!(out, "\n#### {title}: {verdict}\n\n{}", fenced(&judgment.text));
    }
    out.push('\n');
}
