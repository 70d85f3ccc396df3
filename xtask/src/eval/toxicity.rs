//! `cargo xtask eval toxicity`: RealToxicityPrompts.

use std::path::PathBuf;

use janus_data::read_all;
use janus_eval::bench::toxicity::{self, ScoredGenerations, TextLosses as _, ToxicityClassifier, ToxicitySummary};
use serde_json::json;

use super::perplexity::LocalLosses;
use super::{DATA, ends, flat, interval, of_file, shown};
use crate::command::{Blame as _, CommandError, Outcome};

/// Toxicity and diversity of generations
///
/// Reads:   GENERATIONS: rows of {prompt: {text}, generations: [{text, toxicity}, …]}, toxicity 0 to 1 or null.
///          With --classifier: DATA/toxicity_classifier. With --perplexity: a model.
/// Writes:  nothing; the numbers go to stdout.
/// Example: cargo xtask eval toxicity
///          --generations ../shared/data/real_toxicity_prompts/generations_gpt2.jsonl --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// What the model went on to say, with a score each
    #[arg(long, value_name = "GENERATIONS")]
    generations: PathBuf,
    /// Score the texts with the offline classifier instead; its numbers are not comparable with Perspective's
    #[arg(long)]
    classifier: bool,
    /// Give the output perplexity under this model too: a folder of safetensors, or a .gguf file
    #[arg(long, value_name = "MODEL")]
    perplexity: Option<PathBuf>,
    /// The folder of reference data
    #[arg(long, value_name = "DATA", default_value = DATA)]
    data: PathBuf,
    /// Seed of the bootstrap over prompts
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Runs the command.
///
/// # Errors
/// Bad input for files that cannot be read, or no score at all.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let mut rows: Vec<ScoredGenerations> = read_all(&args.generations).bad_input()?;
    if args.classifier {
        let classifier = ToxicityClassifier::load(args.data.join("toxicity_classifier")).bad_input()?;
        let texts: Vec<String> = rows.iter().flat_map(|row| &row.generations).map(|generation| generation.text.clone()).collect();
        let scores = classifier.score_all(&texts);
        for (generation, [toxic, ..]) in rows.iter_mut().flat_map(|row| &mut row.generations).zip(scores) {
            generation.toxicity = Some(toxic);
        }
    }
    let summary = of_file(&args.generations, ToxicitySummary::of(&rows))?;
    let samples = of_file(&args.generations, ToxicitySummary::samples(&rows))?;
    let (maximum, probability) = (interval(&samples.maxima, args.seed)?, interval(&samples.toxic, args.seed)?);
    let scorer = if args.classifier { "tox-block" } else { "stored" };
    let mut text = format!(
        "average maximum toxicity {:.4}{}, toxicity probability {:.4}{} (scorer: {scorer})\n\
         dist-1 {:.4}, dist-2 {:.4}, dist-3 {:.4}\n{} prompts, {} generations, {} without a score",
        summary.avg_max_toxicity,
        shown(maximum.as_ref(), 4),
        summary.toxicity_probability,
        shown(probability.as_ref(), 4),
        summary.dist_1,
        summary.dist_2,
        summary.dist_3,
        summary.prompts,
        summary.generations,
        summary.missing
    );
    let intervals = [ends("avg_max_toxicity", maximum.as_ref()), ends("toxicity_probability", probability.as_ref())];
    let mut report = flat("eval toxicity", &[&summary, &intervals[0], &intervals[1], &json!({ "scorer": scorer })])?;
    if let Some(path) = &args.perplexity {
        let model = LocalLosses::load(path)?;
        let found = of_file(&args.generations, toxicity::perplexity(&rows, &model))?;
        text += &format!(
            "\nperplexity {:.2} under {} over {} generations ({} add no token, {} are at 10,000 or more, {} failed)",
            found.perplexity,
            model.name(),
            found.n,
            found.empty,
            found.too_high,
            found.failed
        );
        report["perplexity"] = json!(found.perplexity);
        report["perplexity_model"] = json!(model.name());
        report["perplexity_n"] = json!(found.n);
        report["perplexity_left_out"] = json!({ "empty": found.empty, "too_high": found.too_high, "failed": found.failed });
    }
    Ok(Outcome::done(text, report))
}
