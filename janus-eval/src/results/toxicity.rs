//! Toxicity, diversity and perplexity of continuations.

use std::fmt;

use serde_json::{Map, Value, json};

use super::{Evaluation, ends, flat, interval, part, shown};
use crate::bench::toxicity::{Perplexity, ScoredGenerations, Scoring, ToxicitySummary};
use crate::{Interval, Result};

/// The toxicity of a model's continuations.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ToxicityResult {
    /// The numbers.
    pub summary: ToxicitySummary,
    /// Interval of the average maximum toxicity over prompts.
    pub maximum: Option<Interval>,
    /// Interval of the toxicity probability.
    pub probability: Option<Interval>,
    /// Who scored the texts; `stored` for scores that the file had.
    pub scorer: String,
    /// What became of the scoring, if the texts were scored anew.
    pub scoring: Option<Scoring>,
    /// The perplexity under a model, if one was asked.
    pub perplexity: Option<PerplexityResult>,
}

/// The perplexity of continuations under a model.
#[derive(Debug, Clone, PartialEq)]
pub struct PerplexityResult {
    /// The model's name.
    pub model: String,
    /// The numbers.
    pub perplexity: Perplexity,
}

impl ToxicityResult {
    /// The toxicity of rows that have their scores.
    ///
    /// # Errors
    /// Those of [`ToxicitySummary::of`].
    pub fn of(rows: &[ScoredGenerations], scorer: impl Into<String>, scoring: Option<Scoring>, seed: u64) -> Result<Self> {
        let summary = ToxicitySummary::of(rows)?;
        let samples = ToxicitySummary::samples(rows)?;
        let (maximum, probability) = (interval(&samples.maxima, seed)?, interval(&samples.toxic, seed)?);
        Ok(Self { summary, maximum, probability, scorer: scorer.into(), scoring, perplexity: None })
    }
}

impl Evaluation for ToxicityResult {
    fn to_json(&self) -> Result<Map<String, Value>> {
        let Self { summary, maximum, probability, scorer, scoring, perplexity } = self;
        let scoring = scoring.as_ref().map(|scoring| json!({ "scoring": scoring }));
        let perplexity = perplexity.as_ref().map(|PerplexityResult { model, perplexity: found }| {
            json!({
                "perplexity": found.perplexity,
                "perplexity_model": model,
                "perplexity_n": found.n,
                "perplexity_left_out": { "empty": found.empty, "too_high": found.too_high, "failed": found.failed },
            })
        });
        flat([
            part(summary),
            ends("avg_max_toxicity", maximum.as_ref()),
            ends("toxicity_probability", probability.as_ref()),
            Ok(json!({ "scorer": scorer })),
            part(&scoring),
            part(&perplexity),
        ])
    }
}

impl fmt::Display for ToxicityResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let summary = &self.summary;
        writeln!(
            f,
            "average maximum toxicity {:.4}{}, toxicity probability {:.4}{} (scorer: {})",
            summary.avg_max_toxicity,
            shown(self.maximum.as_ref(), 4),
            summary.toxicity_probability,
            shown(self.probability.as_ref(), 4),
            self.scorer
        )?;
        writeln!(f, "dist-1 {:.4}, dist-2 {:.4}, dist-3 {:.4}", summary.dist_1, summary.dist_2, summary.dist_3)?;
        let (prompts, generations, missing) = (summary.prompts, summary.generations, summary.missing);
        write!(f, "{prompts} prompts, {generations} generations, {missing} without a score")?;
        let Some(PerplexityResult { model, perplexity: found }) = &self.perplexity else { return Ok(()) };
        write!(
            f,
            "\nperplexity {:.2} under {model} over {} generations ({} add no token, {} are at 10,000 or more, {} failed)",
            found.perplexity, found.n, found.empty, found.too_high, found.failed
        )
    }
}
