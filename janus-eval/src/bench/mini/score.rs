//! The score of a model's responses.

use std::fmt;
use std::path::Path;

use janus_core::BenchRecord;
use janus_data::read_all;
use serde_json::{Map, Value, json};

use crate::bench::evaluation::{Evaluation, Numbers, flat, in_file, interval};
use crate::judge::VerifiableJudge;
use crate::score::{ScoreSummary, ScoredResponses, pool, score_responses, summarise};
use crate::stats::{Bootstrap, Interval, Sample};
use crate::{Error, Response, Result};

/// The scores of a model's responses by the rule-based grader.
struct MiniScore {
    /// The means.
    pub summary: ScoreSummary,
    /// The mean's interval over instructions; `None` for a single instruction.
    pub interval: Option<Interval>,
    /// The scored rows with their verdicts.
    pub scored: ScoredResponses,
}

/// The scores of a file of responses to the records of a bench. Rows with the same prompt, those of one
/// instruction, are resampled together.
///
/// # Errors
/// [`Error::File`]; [`Error::Unscored`] for a record that is not Mini's; those of [`score_responses`]
/// and [`summarise`].
pub fn evaluate(bench: impl AsRef<Path>, responses: impl AsRef<Path>, seed: u64) -> Result<Evaluation> {
    let path = bench.as_ref();
    let records: Vec<BenchRecord> = read_all(path)?;
    let responses: Vec<Response> = read_all(responses)?;
    let scored = score_responses(&records, &responses, &VerifiableJudge::mini())?;
    if let Some(failure) = scored.failures.first() {
        return in_file(
            path,
            Err(Error::Unscored { id: failure.id.clone(), reason: failure.reason.clone() }),
        );
    }
    let summary = summarise(&[&scored.rows])?;
    let means = pool(&[&scored.rows])?;
    let clustered =
        means.iter().zip(&records).filter_map(|(row, record)| Some((record.prompt.clone(), row.mean()?)));
    let interval = interval(&Sample::clustered(clustered)?, seed)?;
    MiniScore { summary, interval, scored }.evaluation()
}

impl Numbers for MiniScore {
    fn numbers(&self) -> Result<Map<String, Value>> {
        let Self { summary, interval, scored } = self;
        let sources = summary.sources.iter().filter_map(|source| {
            let score = source.score.as_ref()?;
            Some(json!({ "source": source.source, "mean": score.mean, "n": score.n, "missing": score.missing }))
        });
        let rows = scored.rows.iter().zip(&scored.verdicts).map(|(row, verdict)| {
            let reasons: Vec<&str> = verdict
                .iter()
                .flat_map(|verdict| &verdict.rubrics)
                .map(|rubric| rubric.feedback.as_str())
                .collect();
            json!({ "id": row.id, "source": row.source, "scores": row.scores, "feedback": reasons })
        });
        flat([Ok(json!({
            "n": summary.overall.n,
            "missing": scored.missing.count,
            "mean": summary.overall.mean,
            "ci_low": interval.as_ref().map(|interval| interval.low),
            "ci_high": interval.as_ref().map(|interval| interval.high),
            "level": Bootstrap::default().level,
            "standard_error": summary.overall.standard_error,
            "sources": sources.collect::<Vec<_>>(),
            "rows": rows.collect::<Vec<_>>(),
        }))])
    }
}

impl fmt::Display for MiniScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { summary, interval, scored } = self;
        let ends = match &interval {
            Some(interval) => format!("[{:.3}, {:.3}]", interval.low, interval.high),
            None => "(no interval: one instruction)".into(),
        };
        let (mean, n) = (summary.overall.mean, summary.overall.n);
        write!(f, "mean score {mean:.3} {ends} over {n} of {} records", scored.rows.len())?;
        for source in &summary.sources {
            if let Some(score) = &source.score {
                write!(f, "\n  {:12} {:.3} (n {})", source.source, score.mean, score.n)?;
            }
        }
        if scored.missing.count > 0 {
            write!(
                f,
                "\n{} records have no response, first {}",
                scored.missing.count,
                scored.missing.named.join(", ")
            )?;
        }
        Ok(())
    }
}
