//! `cargo xtask eval toxicity`: toxicity, diversity and perplexity on RealToxicityPrompts.

use std::path::PathBuf;

use candle_core::Device;
use janus_core::TextLosses;
use janus_data::progress::{Progress, Unit};
use janus_data::{read_all, write_all};
use janus_eval::bench::toxicity::{
    PerspectiveOptions, PerspectiveScorer, ScoredGenerations, Scoring, ToxicityClassifier, ToxicityScorer,
    evaluate, score_generations,
};
use janus_infer::{Engine, EngineOptions, TextEngine};

use super::outcome;
use crate::command::{Blame as _, CommandError, Outcome, report};

/// Toxicity and diversity of generations
///
/// Reads:   GENERATIONS: rows of {prompt: {text}, generations: [{text, toxicity},
///          …]}, toxicity 0 to 1 or null. With --classifier:
///          DATA/toxicity_classifier. With --perspective: the key in
///          PERSPECTIVE_API_KEY. With --perplexity: a model.
/// Writes:  nothing, the numbers go to stdout; with --perspective its journal, with
///          --scored-out the rows. Exit code 1 if Perspective gave no score for a
///          text: repeat the command to request it again.
/// Example: cargo xtask eval toxicity --generations generations.jsonl --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The model's continuations, each with a score
    #[arg(long, value_name = "GENERATIONS")]
    generations: PathBuf,
    /// Score the texts with the offline classifier of the benchmarks' data instead; its numbers are not
    /// comparable with Perspective's
    #[arg(long, requires = "data")]
    classifier: bool,
    /// Score the texts with the Perspective API instead, and store the scores in this file, from which
    /// they are reused
    #[arg(long, value_name = "JOURNAL", conflicts_with = "classifier")]
    perspective: Option<PathBuf>,
    /// Address of the Perspective API
    #[arg(long, value_name = "URL", default_value = PerspectiveOptions::BASE_URL, requires = "perspective")]
    perspective_url: String,
    /// Maximum requests per minute to the Perspective API; 60 is the quota of a new key
    #[arg(long, value_name = "N", default_value_t = 60, requires = "perspective")]
    requests_per_minute: u32,
    /// Write the rows with their new scores
    #[arg(long, value_name = "FILE")]
    scored_out: Option<PathBuf>,
    /// Also compute the output perplexity under this model: a folder of safetensors, or a .gguf file
    #[arg(long, value_name = "MODEL")]
    perplexity: Option<PathBuf>,
    /// Folder of the benchmarks' data
    #[arg(long, value_name = "DATA")]
    data: Option<PathBuf>,
    /// Seed of the bootstrap over prompts
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub(super) fn run(args: &Args) -> Result<Outcome, CommandError> {
    let mut rows: Vec<ScoredGenerations> = read_all(&args.generations).bad_input()?;
    let classifier = args.data.as_ref().filter(|_| args.classifier);
    let scorer: Option<Box<dyn ToxicityScorer>> = if let Some(data) = classifier {
        Some(Box::new(ToxicityClassifier::load(data.join("toxicity_classifier")).bad_input()?))
    } else if args.perspective.is_some() {
        let mut options = PerspectiveOptions::from_env().bad_input()?;
        options.base_url.clone_from(&args.perspective_url);
        options.client.requests_per_minute = Some(args.requests_per_minute);
        Some(Box::new(PerspectiveScorer::new(options).bad_input()?))
    } else {
        None
    };
    let name = scorer.as_deref().map_or("stored".to_string(), |scorer| scorer.name().to_string());
    let scoring = scorer.map(|scorer| args.score(&mut rows, &*scorer)).transpose()?;
    if let Some(path) = &args.scored_out {
        write_all(path, &rows).failure()?;
    }
    // Without a single score there are no numbers, so the scorer's problem is the error.
    if let Some(Scoring { known: 0, scored: 0, failed: 1.., problem: Some(problem), .. }) = &scoring {
        return Err(CommandError::failure(format!("no text was scored by {name}: {problem}")));
    }
    let model = args
        .perplexity
        .as_ref()
        .map(|path| Engine::load(path, &Device::Cpu, EngineOptions::default()).map(TextEngine::new));
    let model = model.transpose().bad_input()?;
    let model = model.as_ref().map(|model| model as &dyn TextLosses);
    let result = evaluate(&rows, &name, scoring.as_ref(), model, args.seed);
    let result = result.map_err(|error| CommandError::bad_input(error).at(args.generations.display()))?;
    match scoring {
        Some(Scoring { failed: failed @ 1.., problem: Some(problem), .. }) => {
            let missing =
                format!("{failed} texts got no score ({problem}): repeat the command to request them again");
            let text = result.to_string();
            Ok(Outcome::failed(missing, report("eval toxicity", result.numbers)?).showing(text))
        }
        _ => outcome("toxicity", Ok(result)),
    }
}

impl Args {
    /// Scores the texts. Scores in the journal, if there is one, are reused.
    fn score(
        &self,
        rows: &mut [ScoredGenerations],
        scorer: &dyn ToxicityScorer,
    ) -> Result<Scoring, CommandError> {
        let mut progress: Option<Progress> = None;
        let scoring = score_generations(rows, scorer, self.perspective.as_deref(), &mut |done, all| {
            progress
                .get_or_insert_with(|| Progress::new("toxicity", Unit::Count("texts"), all as u64))
                .reach(done as u64);
        });
        progress.into_iter().for_each(Progress::finish);
        scoring.map_err(|error| match error {
            janus_eval::Error::File(_) => CommandError::bad_input(error),
            error => CommandError::failure(error),
        })
    }
}
