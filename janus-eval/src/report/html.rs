//! A report as one self-contained HTML page.

use std::fmt::Write as _;

use super::escape::html;
use super::example::{Example, ExampleJudgment, ExampleResponse};
use super::figure::Figure;
use super::table::Table;
use super::{Block, Report, number, svg, verdict};
use crate::Result;
use crate::report::Claim;

/// Makes tables sortable and adds a search field to examples. The page is complete without it.
const SCRIPT: &str = include_str!("page.js");

/// A page with a body. Its content security policy forbids all requests, and all scripts except
/// `script`, in case that text of a model gets into the page unescaped. The policy identifies the script
/// by a nonce. The nonce is a hash of the whole body, so text in the body cannot contain it.
pub(crate) fn page(title: &str, style: &str, body: &str, script: &str) -> String {
    let nonce = &blake3::hash(body.as_bytes()).to_hex()[..32];
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'"
    );
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n{body}<script nonce=\"{nonce}\">\n{script}</script>\n</body>\n</html>\n",
        title = html(title),
    )
}

/// The style of all pages.
pub(crate) const STYLE: &str = include_str!("page.css");

pub(super) fn render(report: &Report) -> Result<String> {
    let mut out = format!("<main>\n<h1>{}</h1>\n", html(&report.title));
    if report.sections.len() > 2 {
        out.push_str("<nav aria-label=\"Sections\"><ol>\n");
        for (index, section) in report.sections.iter().enumerate() {
            let _ = writeln!(out, "<li><a href=\"#section-{index}\">{}</a></li>", html(&section.title));
        }
        out.push_str("</ol></nav>\n");
    }
    let mut figures = 0;
    for (index, section) in report.sections.iter().enumerate() {
        let _ = write!(out, "<section id=\"section-{index}\">\n<h2>{}</h2>\n", html(&section.title));
        for block in &section.blocks {
            match block {
                Block::Paragraph { text } => {
                    let _ = writeln!(out, "<p>{}</p>", html(text));
                }
                Block::Table(table) => out.push_str(&render_table(table)),
                Block::Figure(figure) => {
                    out.push_str(&render_figure(figure, figures)?);
                    figures += 1;
                }
                Block::Claims { ids } => {
                    out.push_str("<ul class=\"claims\">\n");
                    report.claims_of(ids).for_each(|claim| out.push_str(&render_claim(claim)));
                    out.push_str("</ul>\n");
                }
                Block::Examples { examples } => {
                    out.push_str("<div class=\"browser\">\n");
                    examples.iter().for_each(|example| out.push_str(&render_example(example)));
                    out.push_str("</div>\n");
                }
            }
        }
        out.push_str("</section>\n");
    }
    out.push_str("</main>\n");
    Ok(page(&report.title, &format!("{STYLE}{}", svg::STYLE), &out, SCRIPT))
}

fn render_table(table: &Table) -> String {
    let caption = html(&table.caption);
    // A wide table scrolls in its own box, which can be focused and scrolled with the keyboard.
    let mut out =
        format!("<div class=\"scroll\" role=\"region\" aria-label=\"{caption}\" tabindex=\"0\">\n<table>\n");
    let _ = writeln!(out, "<caption>{caption}</caption>");
    let class = |column: usize| if table.is_numeric(column) { " class=\"number\"" } else { "" };
    out.push_str("<thead><tr>");
    for (column, name) in table.columns.iter().enumerate() {
        let _ = write!(out, "<th scope=\"col\"{}>{}</th>", class(column), html(name));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for cells in &table.rows {
        out.push_str("<tr>");
        for (column, cell) in cells.iter().enumerate() {
            let (text, class) = (html(&cell.text()), class(column));
            let sort = cell.value().map_or_else(String::new, |value| format!(" data-sort=\"{value}\""));
            let _ = match column {
                0 => write!(out, "<th scope=\"row\"{class}{sort}>{text}</th>"),
                _ => write!(out, "<td{class}{sort}>{text}</td>"),
            };
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
    out
}

fn render_figure(figure: &Figure, index: usize) -> Result<String> {
    let picture = svg::inline(figure, &format!("figure-{index}"))?;
    let mut numbers = figure.numbers();
    numbers.caption = format!("Numbers of the figure “{}”", figure.title);
    Ok(format!(
        "<figure>\n<h3>{}</h3>\n{picture}<figcaption>{}</figcaption>\n<details><summary>Numbers</summary>\n{}</details>\n</figure>\n",
        html(&figure.title),
        html(format!("{} {}", figure.caption, figure.sample_sizes()).trim()),
        render_table(&numbers),
    ))
}

fn render_claim(claim: &Claim) -> String {
    let class = match claim.holds {
        Some(true) => "yes",
        Some(false) => "no",
        None => "open",
    };
    let numbers =
        number::interval(claim.estimate, claim.ci_low, claim.ci_high, number::decimals(claim.estimate));
    format!(
        "<li class=\"{class}\" id=\"claim-{}\"><strong>{}</strong> <span>{}</span> <small>{numbers}, n = {}</small></li>\n",
        html(&claim.id),
        verdict(claim.holds),
        html(&claim.statement),
        claim.n,
    )
}

fn render_example(example: &Example) -> String {
    let mut out = format!(
        "<details class=\"example\">\n<summary><b>{}</b> <small>{} · {}</small></summary>\n",
        html(&beginning(&example.prompt)),
        html(&example.source),
        html(&example.id),
    );
    for (name, text) in example.messages() {
        let _ = writeln!(out, "<h4>{name}</h4>\n<div class=\"said\">{}</div>", html(text));
    }
    out.push_str("<div class=\"responses\">\n");
    example.responses.iter().for_each(|response| out.push_str(&render_response(example, response)));
    out.push_str("</div>\n");
    if !example.judgments.is_empty() {
        out.push_str("<div class=\"responses\">\n");
        for ExampleJudgment { title, verdict, text } in &example.judgments {
            out.push_str(&render_article(title, verdict, text));
            out.push_str("</article>\n");
        }
        out.push_str("</div>\n");
    }
    out.push_str("</details>\n");
    out
}

/// The start of an article: the heading (e.g. the model's name), a note (e.g. the mean score), and the
/// text.
fn render_article(title: &str, note: &str, text: &str) -> String {
    format!(
        "<article>\n<h4>{} <small>{}</small></h4>\n<div class=\"said\">{}</div>\n",
        html(title),
        html(note),
        html(text)
    )
}

fn render_response(example: &Example, response: &ExampleResponse) -> String {
    if example.criteria.is_empty() {
        return render_article(&response.model, "", &response.response) + "</article>\n";
    }
    let sum: u32 = response.scores.iter().flatten().map(|&score| u32::from(score)).sum();
    let count = response.scores.iter().flatten().count();
    let mean = if count == 0 {
        "no score".into()
    } else {
        format!("mean {}", number::fixed(f64::from(sum) / count as f64, 2))
    };
    let mut out = render_article(&response.model, &mean, &response.response) + "<ul class=\"scores\">\n";
    for (criterion, score, feedback) in example.judged(response) {
        let (class, score) = match score {
            Some(score) => (format!("score-{}", score.min(5)), format!("{score}<small>/5</small>")),
            None => ("score-none".into(), "–".into()),
        };
        let _ = writeln!(
            out,
            "<li><span class=\"score {class}\">{score}</span><div>{}<br><small>{}</small></div></li>",
            html(criterion),
            html(feedback)
        );
    }
    out.push_str("</ul>\n</article>\n");
    out
}

/// The first words of a prompt, for its heading.
fn beginning(text: &str) -> String {
    const LIMIT: usize = 90;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
        None => line,
    }
}
