//! Comparison of variants of a model: one, two or three system messages for each instruction; other base
//! models; training and evaluation with or without system messages.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use janus_core::BenchRecord;
use janus_data::read_all;
use serde_json::{Map, Value, json};

use super::evaluation::{Evaluation, Numbers, ends, flat, shown};
use crate::score::{ScoreMean, ScoredRow, pool, same_rows, summarise};
use crate::stats::{Bootstrap, Interval, Sample};
use crate::{Error, Result, record_id};

/// A variant, parsed from `AXIS=VALUE[,AXIS=VALUE...]:SCORES`: the axes that differ, and the path of its
/// scores.
///
/// ```
/// use janus_eval::bench::ablations::AblationVariant;
/// let variant: AblationVariant = "training=diverse, base=7b:scores/janus.jsonl".parse()?;
/// assert_eq!(variant.axes[1], ("base".to_string(), "7b".to_string()));
/// # Ok::<(), janus_eval::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AblationVariant {
    /// The axes that differ between variants, with this variant's values.
    pub axes: Vec<(String, String)>,
    /// A file of scored rows, or the folder of a judged run.
    pub scores: PathBuf,
}

impl FromStr for AblationVariant {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::Setting {
            field: "the variant",
            got: text.into(),
            expected: "AXIS=VALUE[,AXIS=VALUE...]:SCORES",
        };
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
        let runs =
            files(&self.scores)?.iter().map(|file| scores(file, bench, records)).collect::<Result<_>>()?;
        Ok(Variant { axes: self.axes.clone(), runs })
    }
}

/// The scored rows of a file. They must be the bench's rows in its order.
fn scores(file: &Path, bench: &Path, records: &[BenchRecord]) -> Result<Vec<ScoredRow>> {
    let rows: Vec<ScoredRow> = read_all(file)?;
    for (index, record) in records.iter().enumerate() {
        let id = record_id(record, index);
        let got = rows.get(index).map_or("no row", |row| row.id.as_str());
        if got != id {
            let what = format!("{}, row {}, field \"id\"", file.display(), index + 1);
            return Err(Error::reference(
                what,
                format!("\"{id}\" as in {}", bench.display()),
                format!("\"{got}\""),
            ));
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
    let files: Vec<PathBuf> = (0..)
        .map(|run| path.join(format!("scores/run-{run}.jsonl")))
        .take_while(|file| file.is_file())
        .collect();
    if files.is_empty() {
        return Err(Error::reference(
            path.display().to_string(),
            "the scores/run-0.jsonl of a judged run",
            "none",
        ));
    }
    Ok(files)
}

/// A variant with its scores.
struct Variant {
    axes: Vec<(String, String)>,
    /// Its scored runs, each over the same rows.
    runs: Vec<Vec<ScoredRow>>,
}

/// A variant's score and its difference to the reference.
#[derive(Debug, Clone, PartialEq)]
struct VariantScore {
    /// The axes that differ between variants, with this variant's values.
    pub axes: Vec<(String, String)>,
    /// Its mean score.
    pub score: ScoreMean,
    /// Mean of its row means minus the reference's, on the rows that both have, with an interval over
    /// instructions. `None` for the reference itself, and for fewer than two instructions.
    pub difference: Option<Interval>,
}

/// The scores of variants, and their differences to the first.
#[derive(Debug, Clone, PartialEq)]
struct AblationScores {
    /// Rows of the bench.
    pub rows: usize,
    /// Each variant's score.
    pub variants: Vec<VariantScore>,
}

/// Compares variants row by row on the bench in a file. The first variant is the reference. Intervals
/// are over instructions.
///
/// # Errors
/// [`Error::File`]; [`Error::Reference`] for scores that are not of this bench, [`Error::Setting`]
/// without a variant; those of [`summarise`].
pub fn evaluate(bench: impl AsRef<Path>, variants: &[AblationVariant], seed: u64) -> Result<Evaluation> {
    let bench = bench.as_ref();
    let records: Vec<BenchRecord> = read_all(bench)?;
    let variants =
        variants.iter().map(|variant| variant.read(bench, &records)).collect::<Result<Vec<_>>>()?;
    let prompts: Vec<&str> = records.iter().map(|record| record.prompt.as_str()).collect();
    let bootstrap = Bootstrap { seed, ..Bootstrap::default() };
    AblationScores { rows: records.len(), variants: compare(&variants, 0, &prompts, &bootstrap)? }
        .evaluation()
}

impl Numbers for AblationScores {
    fn numbers(&self) -> Result<Map<String, Value>> {
        let row = |VariantScore { axes, score, difference }: &VariantScore| {
            let axes: Map<String, Value> =
                axes.iter().map(|(axis, value)| (axis.clone(), json!(value))).collect();
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

impl fmt::Display for AblationScores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |VariantScore { axes, score, difference }: &VariantScore| {
            let name =
                axes.iter().map(|(axis, value)| format!("{axis}={value}")).collect::<Vec<_>>().join(", ");
            let gain = difference
                .as_ref()
                .map(|gain| format!("{:+.3}{}", gain.estimate, shown(Some(gain), 3)))
                .unwrap_or_default();
            format!("{name:36} {:.3} (n {}, {} missing) {gain}", score.mean, score.n, score.missing)
        };
        f.write_str(self.variants.iter().map(line).collect::<Vec<_>>().join("\n").trim_end())
    }
}

/// Compares variants with the one at index `reference`, row by row. `instruction` holds the cluster of
/// each row, usually its prompt: rows with the same instruction and different system messages are not
/// independent.
fn compare(
    variants: &[Variant],
    reference: usize,
    instruction: &[&str],
    bootstrap: &Bootstrap,
) -> Result<Vec<VariantScore>> {
    let base = variants.get(reference).ok_or_else(|| Error::Setting {
        field: "reference",
        got: reference.to_string(),
        expected: "the position of a variant",
    })?;
    let base = pool(&base.runs)?;
    if instruction.len() != base.len() {
        return Err(Error::Lengths { left: base.len(), right: instruction.len() });
    }
    let mut scores = Vec::with_capacity(variants.len());
    for (place, variant) in variants.iter().enumerate() {
        let rows = pool(&variant.runs)?;
        same_rows(base.iter().map(|row| row.id.as_str()), rows.iter().map(|row| row.id.as_str()))?;
        let differences = base.iter().zip(&rows).zip(instruction);
        let differences: Vec<(&str, f64)> = differences
            .filter_map(|((base, row), instruction)| Some((*instruction, row.mean()? - base.mean()?)))
            .collect();
        let difference = if place == reference || differences.is_empty() {
            None
        } else {
            match bootstrap.mean(&Sample::clustered(differences)?) {
                Err(Error::TooFewUnits { .. }) => None,
                interval => Some(interval?),
            }
        };
        scores.push(VariantScore {
            axes: variant.axes.clone(),
            score: summarise(&variant.runs)?.overall,
            difference,
        });
    }
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(axis: &str, value: &str, scores: &[u8]) -> Variant {
        let rows = scores
            .iter()
            .enumerate()
            .map(|(i, &score)| ScoredRow::new(i.to_string(), "s", [(score > 0).then_some(score)]))
            .collect();
        Variant { axes: vec![(axis.into(), value.into())], runs: vec![rows] }
    }

    #[test]
    fn differences_are_paired() {
        let variants = [
            variant("system messages", "1", &[3, 4, 2, 3]),
            variant("system messages", "3", &[4, 5, 3, 0]),
            variant("training", "with", &[1, 1, 1, 1]),
        ];
        let scores = compare(&variants, 0, &["p", "p", "q", "r"], &Bootstrap::default()).unwrap();
        assert_eq!((scores[0].score.mean, scores[0].difference), (3.0, None));
        let gain = scores[1].difference.unwrap();
        assert_eq!(
            (gain.estimate, gain.low, gain.high, gain.n),
            (1.0, 1.0, 1.0, 3),
            "every row that both have gains one"
        );
        assert_eq!(scores[1].score.missing, 1);
        assert_eq!(scores[2].axes, [("training".into(), "with".into())]);
    }

    #[test]
    fn variants_that_do_not_match_are_refused() {
        let variants = [variant("base", "a", &[3, 4]), variant("base", "b", &[3])];
        assert!(matches!(
            compare(&variants, 2, &["p", "q"], &Bootstrap::default()),
            Err(Error::Setting { .. })
        ));
        assert!(matches!(compare(&variants, 0, &["p"], &Bootstrap::default()), Err(Error::Lengths { .. })));
        assert!(matches!(
            compare(&variants, 0, &["p", "q"], &Bootstrap::default()),
            Err(Error::RowMismatch { .. })
        ));
    }
}
