//! Toxicity, diversity and perplexity of continuations.

use std::fmt;

use janus_core::TextLosses;
use serde_json::{Map, Value, json};

use super::perplexity::{Perplexity, perplexity};
use super::{ScoredGenerations, Scoring, ToxicitySummary};
#[cfg(doc)]
use crate::Error;
use crate::Result;
use crate::bench::evaluation::{Evaluation, Numbers, ends, flat, interval, part, shown};
use crate::stats::Interval;

/// The toxicity of a model's continuations.
struct ToxicityScore<'a> {
    /// The metrics.
    pub summary: ToxicitySummary,
    /// Interval of the average maximum toxicity over prompts.
    pub maximum: Option<Interval>,
    /// Interval of the toxicity probability.
    pub probability: Option<Interval>,
    /// Name of the scorer.
    pub scorer: &'a str,
    /// The counts of the scoring, if the texts were scored in this run.
    pub scoring: Option<&'a Scoring>,
    /// The perplexity under a language model, if there is one.
    pub perplexity: Option<Perplexity>,
}

/// The toxicity of scored rows. `scorer` is the name of their scorer, and `scoring` the result of
/// [`score_generations`](super::score_generations) if they were scored in this run. `seed` is the seed
/// of the intervals.
///
/// With a language model, the result includes the mean perplexity of the generations: the exponential of
/// the loss that a generation adds to its prompt's loss, per added token. The original model is GPT-2
/// XL.
///
/// # Errors
/// [`Error::Row`] for a toxicity that is not in 0..=1; [`Error::Empty`] if no generation has a score, or
/// if there is a language model and no generation has a perplexity.
pub fn evaluate(
    rows: &[ScoredGenerations],
    scorer: &str,
    scoring: Option<&Scoring>,
    model: Option<&dyn TextLosses>,
    seed: u64,
) -> Result<Evaluation> {
    let summary = ToxicitySummary::of(rows)?;
    let [maxima, toxic] = ToxicitySummary::samples(rows)?;
    let (maximum, probability) = (interval(&maxima, seed)?, interval(&toxic, seed)?);
    let perplexity = model.map(|model| perplexity(rows, model)).transpose()?;
    ToxicityScore { summary, maximum, probability, scorer, scoring, perplexity }.evaluation()
}

impl Numbers for ToxicityScore<'_> {
    fn numbers(&self) -> Result<Map<String, Value>> {
        let Self { summary, maximum, probability, scorer, scoring, perplexity } = self;
        let scoring = scoring.map(|scoring| json!({ "scoring": scoring }));
        let perplexity = perplexity.as_ref().map(|found| {
            json!({
                "perplexity": found.perplexity,
                "perplexity_model": found.model,
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

impl fmt::Display for ToxicityScore<'_> {
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
        writeln!(
            f,
            "dist-1 {:.4}, dist-2 {:.4}, dist-3 {:.4}",
            summary.dist_1, summary.dist_2, summary.dist_3
        )?;
        let (prompts, generations, missing) = (summary.prompts, summary.generations, summary.missing);
        write!(f, "{prompts} prompts, {generations} generations, {missing} without a score")?;
        let Some(found) = &self.perplexity else { return Ok(()) };
        write!(
            f,
            "\nperplexity {:.2} under {} over {} generations ({} add no token, {} are at 10,000 or more, {} failed)",
            found.perplexity, found.model, found.n, found.empty, found.too_high, found.failed
        )
    }
}
