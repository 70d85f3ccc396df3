//! Variants of a model side by side.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use janus_core::BenchRecord;
use janus_data::read_all;
use serde_json::{Map, Value, json};

use super::{Evaluation, ends, flat, shown};
use crate::bench::ablations::{Variant, VariantScore, compare};
use crate::{Bootstrap, Error, Result, ScoredRow, record_id};

/// A variant as it is written, `AXIS=VALUE[,AXIS=VALUE...]:SCORES`: what is varied, and where its scores are.
///
/// ```
/// use janus_eval::results::AblationVariant;
/// let variant: AblationVariant = "training=diverse, base=7b:scores/janus.jsonl".parse()?;
/// assert_eq!(variant.axes[1], ("base".to_string(), "7b".to_string()));
/// # Ok::<(), janus_eval::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AblationVariant {
    /// What is varied, and how.
    pub axes: Vec<(String, String)>,
    /// A file of scored rows, or the folder of a judged run.
    pub scores: PathBuf,
}

impl FromStr for AblationVariant {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::Setting { field: "the variant", got: text.into(), expected: "AXIS=VALUE[,AXIS=VALUE...]:SCORES" };
        let (axes, path) = text.split_once(':').ok_or_else(wrong)?;
        let axis = |axis: &str| {
            let (name, value) = axis.split_once('=')?;
            let (name, value) = (name.trim(), value.trim());
            (!name.is_empty() && !value.is_empty()).then(|| (name.to_string(), value.to_string()))
        };
        let axes = axes.split(',').map(axis).collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
        Ok(Self { axes, scores: path.into() })
    }
}

impl AblationVariant {
    fn read(&self, bench: &Path, records: &[BenchRecord]) -> Result<Variant> {
        let runs = files(&self.scores)?.iter().map(|file| scores(file, bench, records)).collect::<Result<_>>()?;
        Ok(Variant { axes: self.axes.clone(), runs })
    }
}

/// The scored rows of a file, which must be the bench's in its order.
fn scores(file: &Path, bench: &Path, records: &[BenchRecord]) -> Result<Vec<ScoredRow>> {
    let rows: Vec<ScoredRow> = read_all(file)?;
    for (index, record) in records.iter().enumerate() {
        let id = record_id(record, index);
        let got = rows.get(index).map_or("no row", |row| row.id.as_str());
        if got != id {
            let what = format!("{}, row {}, field \"id\"", file.display(), index + 1);
            return Err(Error::reference(what, format!("\"{id}\" as in {}", bench.display()), format!("\"{got}\"")));
        }
    }
    if rows.len() > records.len() {
        let expected = format!("the {} of {}", records.len(), bench.display());
        return Err(Error::reference(file.display().to_string(), expected, format!("{} rows", rows.len())));
    }
    Ok(rows)
}

/// The files of a variant's runs: the file itself, or those of a judged run's folder.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.into()]);
    }
    let files: Vec<PathBuf> = (0..).map(|run| path.join(format!("scores/run-{run}.jsonl"))).take_while(|file| file.is_file()).collect();
    if files.is_empty() {
        return Err(Error::reference(path.display().to_string(), "the scores/run-0.jsonl of a judged run", "none"));
    }
    Ok(files)
}

/// The scores of variants, and their differences to the first.
#[derive(Debug, Clone, PartialEq)]
pub struct AblationResult {
    /// Rows of the bench.
    pub rows: usize,
    /// Each variant's score.
    pub variants: Vec<VariantScore>,
}

impl AblationResult {
    /// Compares variants row by row on the bench in a file; intervals are over instructions.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::Reference`] for scores that are not of this bench; those of [`compare`].
    pub fn of_files(bench: impl AsRef<Path>, variants: &[AblationVariant], seed: u64) -> Result<Self> {
        let bench = bench.as_ref();
        let records: Vec<BenchRecord> = read_all(bench)?;
        let variants = variants.iter().map(|variant| variant.read(bench, &records)).collect::<Result<Vec<_>>>()?;
        let prompts: Vec<&str> = records.iter().map(|record| record.prompt.as_str()).collect();
        let bootstrap = Bootstrap { seed, ..Bootstrap::default() };
        Ok(Self { rows: records.len(), variants: compare(&variants, 0, &prompts, &bootstrap)? })
    }
}

impl Evaluation for AblationResult {
    fn to_json(&self) -> Result<Map<String, Value>> {
        let row = |VariantScore { axes, score, difference }: &VariantScore| {
            let axes: Map<String, Value> = axes.iter().map(|(axis, value)| (axis.clone(), json!(value))).collect();
            let fields = json!({
                "axes": axes, "mean": score.mean, "standard_error": score.standard_error, "n": score.n, "missing": score.missing,
                "difference": difference.map(|gain| gain.estimate), "difference_n": difference.map(|gain| gain.n),
            });
            flat([Ok(fields), ends("difference", difference.as_ref())])
        };
        let variants = self.variants.iter().map(row).collect::<Result<Vec<_>>>()?;
        flat([Ok(json!({ "rows": self.rows, "variants": variants }))])
    }
}

impl fmt::Display for AblationResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |VariantScore { axes, score, difference }: &VariantScore| {
            let name = axes.iter().map(|(axis, value)| format!("{axis}={value}")).collect::<Vec<_>>().join(", ");
            let gain = difference.as_ref().map(|gain| format!("{:+.3}{}", gain.estimate, shown(Some(gain), 3))).unwrap_or_default();
            format!("{name:36} {:.3} (n {}, {} missing) {gain}", score.mean, score.n, score.missing)
        };
        f.write_str(self.variants.iter().map(line).collect::<Vec<_>>().join("\n").trim_end())
    }
}
