//! Means and pairs from rubric judgments.

use std::fmt;
use std::path::Path;

use janus_data::read_all;
use serde_json::{Map, Value};

use super::{Evaluation, flat, in_file, part, shown};
use crate::bench::multifaceted::{RubricReport, RubricRow};
use crate::{Bootstrap, Result};

/// The means of one or more models, and who beats whom how often.
#[derive(Debug, Clone, PartialEq)]
pub struct RubricResult {
    /// The numbers.
    pub report: RubricReport,
}

impl RubricResult {
    /// The result of a file of judgments; `seed` is the bootstrap's over rows.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File); those of [`RubricReport::of`], with the file's path.
    pub fn of_file(path: impl AsRef<Path>, seed: u64) -> Result<Self> {
        let path = path.as_ref();
        let rows: Vec<RubricRow> = read_all(path)?;
        let bootstrap = Bootstrap { seed, ..Bootstrap::default() };
        Ok(Self { report: in_file(path, RubricReport::of(&rows, &bootstrap))? })
    }
}

impl Evaluation for RubricResult {
    fn to_json(&self) -> Result<Map<String, Value>> {
        flat([part(&self.report)])
    }
}

impl fmt::Display for RubricResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        for model in &self.report.absolute {
            let runs: Vec<String> = model.run_means.iter().map(|run| run.map_or("none".into(), |run| format!("{run:.3}"))).collect();
            lines.push(format!(
                "{:20} {:.4}{} (runs {}; {} rows, {} missing)",
                model.model,
                model.mean,
                shown(model.interval.as_ref(), 3),
                runs.join(", "),
                model.items,
                model.missing
            ));
        }
        for pair in &self.report.pairwise {
            lines.push(format!(
                "{} against {}: {} wins, {} ties ({} of good answers), {} losses; tie+win {:.1} %",
                pair.a, pair.b, pair.win, pair.tie, pair.both_good, pair.loss, pair.tie_win_rate_both_good
            ));
        }
        f.write_str(&lines.join("\n"))
    }
}
