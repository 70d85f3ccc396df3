//! The annotation page.

use serde::Serialize;

use super::{ANNOTATIONS_FORMAT, ANNOTATIONS_VERSION, AnnotationMode, AnnotationTask, Item};
use crate::report::{STYLE, page};
use crate::{Error, Result};

const SCRIPT: &str = include_str!("page.js");
const OWN_STYLE: &str = include_str!("page.css");

/// A question on each item. Its options have the keys 1, 2, …
#[derive(Serialize)]
struct Question {
    name: &'static str,
    label: &'static str,
    options: &'static [(&'static str, &'static str)],
}

const COMPARE: &[Question] = &[Question {
    name: "choice",
    label: "Which answer serves the person of the system message better?",
    options: &[
        ("a", "A is better"),
        ("both_good", "Both are good"),
        ("both_bad", "Both are bad"),
        ("b", "B is better"),
    ],
}];

const REVIEW: &[Question] = &[
    Question {
        name: "accept",
        label: "Should the row stay in the bench?",
        options: &[("yes", "Accept"), ("no", "Reject")],
    },
    Question {
        name: "difficulty",
        label: "How hard is it?",
        options: &[("easy", "Easy"), ("intermediate", "Intermediate"), ("hard", "Hard")],
    },
];

/// The data of the script.
#[derive(Serialize)]
struct Data<'a> {
    format: &'static str,
    version: u32,
    task: &'a str,
    mode: AnnotationMode,
    questions: &'static [Question],
    items: &'a [Item],
}

pub(super) fn render(task: &AnnotationTask) -> Result<String> {
    let questions = match task.mode {
        AnnotationMode::Compare => COMPARE,
        AnnotationMode::Review => REVIEW,
    };
    let data = Data {
        format: ANNOTATIONS_FORMAT,
        version: ANNOTATIONS_VERSION,
        task: &task.key.task,
        mode: task.mode,
        questions,
        items: &task.items,
    };
    let json =
        serde_json::to_string(&data).map_err(|error| Error::ReportFile { problem: error.to_string() })?;
    // Without `<`, no text can close the script element.
    let json = json.replace('<', "\\u003c");
    let body = format!(
        "<main>\n<h1>{title}</h1>\n\
         <p><label>Your name <input id=\"annotator\" autocomplete=\"off\"></label> <button type=\"button\" id=\"download\">Download the result</button></p>\n\
         <p id=\"notice\" role=\"status\"></p>\n\
         <p><progress id=\"bar\" value=\"0\"></progress> <span id=\"progress\" aria-live=\"polite\"></span></p>\n\
         <nav><button type=\"button\" id=\"previous\">← Previous</button> <button type=\"button\" id=\"next\">Next →</button> \
         <button type=\"button\" id=\"open\">Next unanswered</button></nav>\n\
         <div id=\"item\"></div>\n</main>\n\
         <noscript><p>This page needs JavaScript.</p></noscript>\n\
         <script type=\"application/json\" id=\"data\">{json}</script>\n",
        title = task.title,
    );
    Ok(page(&task.title, &format!("{STYLE}{OWN_STYLE}"), &body, SCRIPT))
}
