//! Human annotation: a page for annotators, and the evaluation of their results.
//!
//! [`AnnotationTask::compare`] shows the answers of two models side by side, with the four choices of
//! the paper's Figure 3. The order of the two answers is random (it depends on the task's seed and the
//! row), and the page does not name the models. The key, which does, is a separate file.
//! [`AnnotationTask::review`] shows the rows of a bench, which annotators accept or reject and grade as
//! easy, intermediate or hard.
//!
//! The page is one file that works offline. The browser stores the progress, and annotators download the
//! result as JSON. [`import`] evaluates the results.

mod compared;
mod page;
mod reviewed;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use janus_core::{BenchRecord, derive_seed};
use janus_data::{read_all, write_all, write_file};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use compared::Compared;
use reviewed::Reviewed;

use crate::bench::{Evaluation, Numbers as _};
use crate::files::read_json;
use crate::join::{Response, join, record_id, unique};
use crate::{Error, Result};

/// The value of `format` in a result file.
const ANNOTATIONS_FORMAT: &str = "janus-annotations";

/// The value of `version` in results and keys.
const ANNOTATIONS_VERSION: u32 = 1;

/// The kind of annotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AnnotationMode {
    /// Which of two answers is better.
    Compare,
    /// Whether a bench row is good, and how hard it is.
    Review,
}

/// A text with a heading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Text {
    title: String,
    text: String,
}

/// An item to annotate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Item {
    id: String,
    texts: Vec<Text>,
    /// Shown side by side.
    answers: Vec<Text>,
    /// Shown on demand.
    rubrics: Vec<Text>,
}

/// The content of an annotation page.
#[derive(Debug, Clone, PartialEq)]
pub struct AnnotationTask {
    title: String,
    mode: AnnotationMode,
    items: Vec<Item>,
    key: AnnotationKey,
}

/// The data that the page hides from annotators: the models' names, and which answer is of which model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct AnnotationKey {
    /// [`ANNOTATIONS_VERSION`].
    version: u32,
    /// Fingerprint of the kind and the items.
    task: String,
    /// The kind of annotation.
    mode: AnnotationMode,
    /// The model and its opponent; `None` in a review.
    models: Option<[String; 2]>,
    /// The items, in the order of the page.
    items: Vec<KeyItem>,
}

/// An item of an [`AnnotationKey`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeyItem {
    /// The bench record's id.
    id: String,
    /// Whether the model's answer is shown second; `None` in a review.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    swapped: Option<bool>,
}

impl AnnotationTask {
    /// A page to compare the answers of a model and its opponent, with every record that both answered.
    ///
    /// # Errors
    /// Those of [`join`]; [`Error::Empty`] if there is no such record.
    pub fn compare(
        records: &[BenchRecord],
        model: (&str, &[Response]),
        opponent: (&str, &[Response]),
        seed: u64,
    ) -> Result<Self> {
        let (left, right) = (join(records, model.1)?, join(records, opponent.1)?);
        let mut items = Vec::new();
        for (left, right) in left.rows.iter().zip(&right.rows) {
            let (Some(mine), Some(other)) = (left.response, right.response) else { continue };
            let second = derive_seed(seed, &format!("annotation order of {}", left.id)).is_multiple_of(2);
            let [a, b] = if second { [other, mine] } else { [mine, other] };
            let texts =
                vec![text("System message", &left.record.system), text("Instruction", &left.record.prompt)];
            let answers = vec![text("Answer A", a), text("Answer B", b)];
            items.push((second, Item { id: left.id.clone(), texts, answers, rubrics: rubrics(left.record) }));
        }
        // Shuffle: neighbouring records of a bench may be related.
        items.sort_by_cached_key(|(_, item)| derive_seed(seed, &format!("annotation place of {}", item.id)));
        let models = Some([model.0.to_string(), opponent.0.to_string()]);
        let (swapped, items): (Vec<bool>, Vec<Item>) = items.into_iter().unzip();
        Self::new("Which answer is better?", AnnotationMode::Compare, items, models, Some(&swapped))
    }

    /// A page to accept or reject bench rows, and to grade their difficulty.
    ///
    /// # Errors
    /// [`Error::DoubledId`]; [`Error::Empty`] without a record.
    pub fn review(records: &[BenchRecord]) -> Result<Self> {
        let item = |(index, record): (usize, &BenchRecord)| Item {
            id: record_id(record, index),
            texts: vec![text("System message", &record.system), text("Instruction", &record.prompt)],
            answers: vec![text("Reference answer", &record.reference_answer)],
            rubrics: rubrics(record),
        };
        let items: Vec<Item> = records.iter().enumerate().map(item).collect();
        unique("bench records", items.iter().map(|item| item.id.as_str()))?;
        Self::new("Is this a good row of the bench?", AnnotationMode::Review, items, None, None)
    }

    fn new(
        title: &str,
        mode: AnnotationMode,
        items: Vec<Item>,
        models: Option<[String; 2]>,
        swapped: Option<&[bool]>,
    ) -> Result<Self> {
        if items.is_empty() {
            return Err(Error::Empty { what: "an annotation page" });
        }
        let shown = serde_json::to_string(&(mode, &items))
            .map_err(|error| Error::ReportFile { problem: error.to_string() })?;
        let task = blake3::hash(shown.as_bytes()).to_hex()[..16].to_string();
        let swapped = |index: usize| swapped.and_then(|swapped| swapped.get(index).copied());
        let key_items = items
            .iter()
            .enumerate()
            .map(|(index, item)| KeyItem { id: item.id.clone(), swapped: swapped(index) })
            .collect();
        let key = AnnotationKey { version: ANNOTATIONS_VERSION, task, mode, models, items: key_items };
        Ok(Self { title: title.into(), mode, items, key })
    }

    /// The number of items.
    pub fn items(&self) -> usize {
        self.items.len()
    }

    /// Fingerprint of the kind of annotation and the items.
    pub fn id(&self) -> &str {
        &self.key.task
    }

    /// Writes two files into a folder and returns their paths: `annotate.html`, the page for annotators,
    /// and `key.json`, which is for [`import`] and must not be given to annotators.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write(&self, folder: &Path) -> Result<[PathBuf; 2]> {
        let [page, key] = ["annotate.html", "key.json"].map(|name| folder.join(name));
        write_file(&page, page::render(self)?.as_bytes())?;
        let text = serde_json::to_string_pretty(&self.key)
            .map_err(|error| Error::ReportFile { problem: error.to_string() })?;
        write_file(&key, (text + "\n").as_bytes())?;
        Ok([page, key])
    }
}

fn text(title: impl Into<String>, text: &str) -> Text {
    Text { title: title.into(), text: text.into() }
}

fn rubrics(record: &BenchRecord) -> Vec<Text> {
    let rubric = |rubric: &janus_core::Rubric| {
        let anchor = |score: i64| {
            format!("{score}: {}", rubric.score_descriptions.get(janus_core::Score::nearest(score)))
        };
        text(rubric.criteria.clone(), &(1..=5).map(anchor).collect::<Vec<_>>().join("\n"))
    };
    record.rubrics.iter().map(rubric).collect()
}

/// Evaluates the results of one or more annotators, given the path of the task's key. With `out`, the
/// counts are written to `out/annotations.json`. For a comparison, `out` also gets a report with the
/// bars of the paper's Figure 3 and the agreement of the annotators. For a review with its `bench`,
/// `out/accepted.jsonl` gets the records that more annotators accept than reject, each with its id.
///
/// # Errors
/// [`Error::File`] for a file that cannot be read or written; [`Error::Annotations`] for a result in
/// another format or of another task, without an annotator's name, with the name of an earlier result,
/// with an unknown or repeated item, or with a value that is not an option; [`Error::Empty`] without an
/// annotation; [`Error::Reference`] for a reviewed row that the bench does not have.
pub fn import(
    key: &Path,
    results: &[PathBuf],
    bench: Option<&Path>,
    out: Option<&Path>,
) -> Result<Evaluation> {
    let key: AnnotationKey = read_json(key)?;
    let results = results
        .iter()
        .map(|path| Ok((path.as_path(), read_json(path)?)))
        .collect::<Result<Vec<(&Path, Annotations)>>>()?;
    let write = |found: Value| -> Result<()> {
        let Some(out) = out else { return Ok(()) };
        Ok(write_file(out.join("annotations.json"), format!("{found:#}\n").as_bytes())?)
    };
    match key.mode {
        AnnotationMode::Compare => {
            let compared = Compared::of(&key, &results)?;
            out.map_or(Ok(()), |out| compared.report().write(out))?;
            write(json!(compared))?;
            compared.evaluation()
        }
        AnnotationMode::Review => {
            let reviewed = Reviewed::of(&key, &results)?;
            write(json!(reviewed))?;
            if let (Some(out), Some(bench)) = (out, bench) {
                write_all(out.join("accepted.jsonl"), &reviewed.accepted(bench, read_all(bench)?)?)?;
            }
            reviewed.evaluation()
        }
    }
}

/// One annotator's downloaded result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Annotations {
    /// [`ANNOTATIONS_FORMAT`].
    format: String,
    /// [`ANNOTATIONS_VERSION`].
    version: u32,
    /// The task's fingerprint.
    task: String,
    /// The kind of annotation.
    mode: AnnotationMode,
    /// The annotator's name.
    annotator: String,
    /// The annotations so far.
    answers: Vec<Annotation>,
}

/// An annotation of one item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Annotation {
    /// The item's id.
    id: String,
    /// The chosen value of each question.
    values: BTreeMap<String, String>,
    /// A comment.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    comment: String,
}

/// Checks results, each with its path, against the key of their task.
fn check(
    results: &[(&Path, Annotations)],
    key: &AnnotationKey,
    mode: AnnotationMode,
    questions: &[(&str, &[&str])],
) -> Result<()> {
    let ids: std::collections::HashSet<&str> = key.items.iter().map(|item| item.id.as_str()).collect();
    if results.is_empty() {
        return Err(Error::Empty { what: "a set of annotations" });
    }
    for (place, (path, result)) in results.iter().enumerate() {
        let wrong = |problem: String| Err(Error::Annotations { path: path.to_path_buf(), problem });
        if (result.format.as_str(), result.version, key.version)
            != (ANNOTATIONS_FORMAT, ANNOTATIONS_VERSION, ANNOTATIONS_VERSION)
        {
            return wrong(format!(
                "it is {} version {}, expected {ANNOTATIONS_FORMAT} version {ANNOTATIONS_VERSION}",
                result.format, result.version
            ));
        }
        if (result.mode, key.mode) != (mode, mode) || result.task != key.task {
            return wrong(format!("it belongs to the task {}, expected {}", result.task, key.task));
        }
        if result.annotator.trim().is_empty() {
            return wrong("it has no annotator's name".into());
        }
        if results[..place].iter().any(|(_, other)| other.annotator.trim() == result.annotator.trim()) {
            return wrong("an earlier file has the same annotator: keep the newer one".into());
        }
        let mut seen = std::collections::HashSet::new();
        for Annotation { id, values, .. } in &result.answers {
            if !ids.contains(id.as_str()) {
                return wrong(format!("no item has the id \"{id}\""));
            }
            if !seen.insert(id.as_str()) {
                return wrong(format!("the item \"{id}\" occurs twice"));
            }
            for (question, options) in questions {
                match values.get(*question) {
                    Some(value) if options.contains(&value.as_str()) => {}
                    Some(value) => {
                        return wrong(format!(
                            "item \"{id}\", field \"{question}\": expected one of {}, got \"{value}\"",
                            options.join(", ")
                        ));
                    }
                    None => return wrong(format!("item \"{id}\", field \"{question}\": missing")),
                }
            }
        }
    }
    Ok(())
}
