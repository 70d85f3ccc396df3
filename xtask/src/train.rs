//! `cargo xtask train`: one stage of training, as a recipe describes it.

pub mod inspect;
mod plan;
pub mod recipe;
mod record;
pub(crate) mod reference;
mod rows;
mod samples;
mod settings;
pub mod shape;

use std::path::{Path, PathBuf};

use janus_data::Tokenizer;
use janus_infer::ModelConfig;
use janus_train::{
    Checkpoint, Decoder, Dpo, DpoConfig, Objective, Orpo, Reference, ReferenceLogprobs, Reward, Sft, TokenRow, TrainConfig, Trainer,
    WeightType,
};
use serde_json::json;

use crate::command::{Blame as _, CommandError, Outcome};
use crate::device;
use crate::progress::{Progress, Unit};
use recipe::{Kind, Recipe};
use record::Record;
use rows::Rows;
use samples::Watch;

/// Train a model by a recipe
///
/// A recipe is a TOML file that names the model to start from, the data, the objective and every hyper-parameter;
/// xtask/recipes holds one for each stage of the paper.
///
/// Reads:   RECIPE, and the model folder, tokenizer and data that it names.
/// Writes:  into the folder of --out: recipe.toml with every value that the run has; run.json, where, when and of what
///          it was made; metrics.jsonl, timing.jsonl, tensorboard/; checkpoints/ and at the end model/, each with
///          config.json, weights and tokenizer. For dpo NAME.reference-KEY.jsonl beside the data: what the model that training starts from
///          makes of each response, which the next run on it finds. With --plan nothing.
/// Runs:    on the first GPU that the program was built for (--features cuda or metal), else on the CPU; weights are
///          of the recipe's train.dtype, f32 or bf16 with an f32 master.
/// Resumes: a run that was cut off continues from its newest checkpoint, to the same bytes.
/// Example: cargo xtask train xtask/recipes/janus-7b.toml --plan
///          cargo xtask train mine.toml --set train.lr=1e-5 --out runs/mine
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The recipe
    #[arg(value_name = "RECIPE")]
    recipe: PathBuf,
    /// Sets a key of the recipe, such as train.lr=1e-5; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Show parameters, memory by part, steps and tokens, and load nothing
    #[arg(long)]
    plan: bool,
    /// The run's folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// Bad input for a recipe, model or data that cannot be used; a failure if a step fails.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let recipe = Recipe::load(&args.recipe, &args.set)?;
    if args.plan {
        return plan::run(&recipe);
    }
    let stem = args.recipe.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(stem));
    janus_train::FreedMemory::Keep.apply_to_process();
    let record = Record::begin(&out, &recipe)?;
    let config = recipe.model_config()?;
    let tokenizer = recipe.tokenizer(&config)?;
    let rows = rows::load(&recipe, &tokenizer)?;
    rows.notes.iter().for_each(|note| eprintln!("{note}"));
    // All that can be refused is, before the model is loaded.
    let settings = recipe.settings(rows.lengths(&recipe)?)?;
    let decoder = start(&recipe, &config)?;
    let run = Run { recipe: &recipe, tokenizer: &tokenizer, out: &out, record, rows, settings };
    match &recipe.objective {
        Kind::Sft {} => run.fit(decoder, Sft),
        Kind::Dpo { beta, label_smoothing } => {
            let all = run.rows.in_file_order();
            let reference = run.reference(&decoder, &all)?;
            let constants = DpoConfig { beta: *beta, label_smoothing: *label_smoothing };
            run.fit(decoder, Dpo::new(constants, Reference::Stored(reference), &all).bad_input()?)
        }
        Kind::Orpo { lambda, nll } => run.fit(decoder, Orpo::new(*lambda, *nll).bad_input()?),
        Kind::Reward { imitation } => {
            let objective = Reward::with_imitation(*imitation).bad_input()?;
            let decoder = if decoder.has_value_head() { decoder } else { decoder.with_value_head(recipe.train.settings.seed).failure()? };
            run.fit(decoder, objective)
        }
    }
}

const BF16_ON_CPU: &str = "weights in bf16 on a CPU train many times slower than in f32: --set train.dtype=f32, unless to try it out";

/// The model that training starts from.
fn start(recipe: &Recipe, config: &ModelConfig) -> Result<Decoder, CommandError> {
    let (settings, device) = (&recipe.train.settings, device::first()?);
    if settings.dtype == WeightType::Bf16 && device.is_cpu() {
        eprintln!("{BF16_ON_CPU}");
    }
    match &recipe.model.path {
        Some(path) => Decoder::load_as(path, settings.dtype, &device).bad_input(),
        None => Decoder::init(config, settings.seed, &device).and_then(|decoder| decoder.to_dtype(settings.dtype)).failure(),
    }
}

struct Run<'a> {
    recipe: &'a Recipe,
    tokenizer: &'a Tokenizer,
    out: &'a Path,
    record: Record<'a>,
    rows: Rows,
    settings: TrainConfig,
}

impl Run<'_> {
    /// The log-probabilities of all rows under the model that training starts from.
    fn reference(&self, decoder: &Decoder, rows: &[TokenRow]) -> Result<ReferenceLogprobs, CommandError> {
        let data = &self.recipe.data.path;
        let (folder, reason) = reference::folder(data, self.out);
        if let Some(reason) = reason {
            let (beside, folder) = (data.display(), folder.display());
            eprintln!(
                "beside {beside} nothing can be written ({reason}): reference log-probabilities go to {folder}, where no other run finds them"
            );
            std::fs::create_dir_all(self.out).failure()?;
        }
        let stem = data.file_stem().unwrap_or_default().to_string_lossy();
        let template = self.recipe.template.jinja();
        let found = reference::shown(|progress| {
            ReferenceLogprobs::compute_in(folder, &stem, decoder, template, &rows, reference::TOKENS_AT_ONCE, progress)
        })?;
        eprintln!("reference log-probabilities: {}", found.path().display());
        Ok(found)
    }

    fn fit<O: Objective>(self, decoder: Decoder, objective: O) -> Result<Outcome, CommandError> {
        let Self { recipe, tokenizer, out, record, rows: Rows { train, held_out, numbers, .. }, settings } = self;
        let decoder = match &recipe.lora {
            Some(lora) => decoder.with_lora(lora.clone(), settings.seed).bad_input()?,
            None => decoder,
        };
        let made_of = record.made_of(&settings, decoder.device())?;
        let trainer = Trainer::new(decoder, objective, train, settings.clone()).bad_input()?;
        let nothing_held_out = held_out.is_empty();
        let mut trainer = trainer.with_held_out(held_out).bad_input()?;
        record.write_first(&made_of)?;
        let mut watch = Watch::new(progress("train", settings.steps, record.resumed_at()), recipe, tokenizer, out);
        trainer.fit_observed(out, &mut watch).map_err(|error| match error {
            error @ janus_train::Error::OtherRun { .. } => record.explained(error),
            error => numbers.named(recipe, error),
        })?;
        if nothing_held_out {
            watch.sample(trainer.steps(), trainer.decoder()).failure()?;
        }
        let last = watch.finish();
        let model = out.join("model");
        record.write(&made_of, Some(trainer.steps()))?;
        let text = format!("{} steps; the model is {}", trainer.steps(), model.display());
        let report = json!({ "command": "train", "steps": trainer.steps(), "model": model, "last_step": last });
        Ok(Outcome::done(text, report))
    }
}

/// Progress of a run's steps, of which `done` are an earlier run's.
pub(crate) fn progress(label: &str, steps: u64, done: u64) -> Progress {
    Progress::new(label, Unit::Count("steps"), steps).resumed_at(done)
}

/// Steps that the run in a folder did before: those of its newest checkpoint.
///
/// # Errors
/// A failure if the folder cannot be read.
pub(crate) fn steps_done(folder: &Path) -> Result<u64, CommandError> {
    Ok(Checkpoint::list(folder).failure()?.pop().map_or(0, |newest| newest.step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_a_run_that_continues_leaves_out_what_was_done_before() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(steps_done(folder.path()).unwrap(), 0);
        std::fs::create_dir_all(folder.path().join("checkpoints/step-000040")).unwrap();
        let mut progress = progress("train", 100, steps_done(folder.path()).unwrap());
        progress.reach(41);
        let counted = format!("{progress:?}");
        assert!(counted.contains("before: 40, done: 41"), "{counted}");
    }
}
