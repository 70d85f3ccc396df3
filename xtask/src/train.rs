//! `cargo xtask train`: one stage of training, as a recipe describes it.

pub mod inspect;
mod plan;
pub mod recipe;
mod rows;
mod samples;
mod settings;
pub mod shape;

use std::path::PathBuf;

use janus_data::Tokenizer;
use janus_infer::ModelConfig;
use janus_train::{Decoder, Dpo, DpoConfig, Objective, Orpo, Reference, ReferenceLogprobs, Reward, Sft, TokenRow, Trainer, WeightType};
use serde_json::json;

use crate::command::{Blame as _, CommandError, Outcome};
use crate::generate::device;
use crate::progress::{Progress, Unit};
use recipe::{Kind, Recipe};
use samples::Watch;

/// Train a model by a recipe
///
/// A recipe is a TOML file that names the model to start from, the data, the objective and every hyper-parameter;
/// xtask/recipes holds one for each stage of the paper.
///
/// Reads:   RECIPE, and the model folder, tokenizer and data that it names.
/// Writes:  into the folder of --out: metrics.jsonl, tensorboard/, checkpoints/, and at the end model/
///          with config.json, weights and tokenizer. With --plan nothing.
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
    janus_train::keep_freed_memory();
    let config = recipe.model_config()?;
    let tokenizer = recipe.tokenizer(&config)?;
    let rows = rows::load(&recipe, &tokenizer)?;
    rows.notes.iter().for_each(|note| eprintln!("{note}"));
    let decoder = start(&recipe, &config)?;
    let run = Run { recipe: &recipe, tokenizer: &tokenizer, out, train: rows.train, held_out: rows.held_out };
    match &recipe.objective {
        Kind::Sft {} => run.fit(decoder, Sft),
        Kind::Dpo { beta, label_smoothing } => {
            let file = run.out.join("reference_logprobs.jsonl");
            std::fs::create_dir_all(&run.out).failure()?;
            let all: Vec<TokenRow> = run.train.iter().chain(&run.held_out).cloned().collect();
            let mut progress = Progress::new("reference", Unit::Count("rows"), all.len() as u64);
            let mut last = 0;
            let template = recipe.template.jinja();
            let capacity = recipe.train.settings.tokens_per_micro_batch;
            let reference = ReferenceLogprobs::compute(file, &decoder, template, &all, capacity, &mut |done, _| {
                progress.advance((done - last) as u64);
                last = done;
            });
            progress.finish();
            let constants = DpoConfig { beta: *beta, label_smoothing: *label_smoothing };
            let objective = Dpo::new(constants, Reference::Stored(reference.failure()?), &all).bad_input()?;
            run.fit(decoder, objective)
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
    let (settings, device) = (&recipe.train.settings, device()?);
    if settings.dtype == WeightType::Bf16 && device.is_cpu() {
        eprintln!("{BF16_ON_CPU}");
    }
    let decoder = match &recipe.model.path {
        Some(path) => Decoder::load_as(path, settings.dtype, &device).bad_input()?,
        None => Decoder::init(config, settings.seed, &device).and_then(|decoder| decoder.to_dtype(settings.dtype)).failure()?,
    };
    match &recipe.lora {
        Some(lora) => decoder.with_lora(lora.clone(), settings.seed).bad_input(),
        None => Ok(decoder),
    }
}

struct Run<'a> {
    recipe: &'a Recipe,
    tokenizer: &'a Tokenizer,
    out: PathBuf,
    train: Vec<TokenRow>,
    held_out: Vec<TokenRow>,
}

impl Run<'_> {
    fn fit<O: Objective>(self, decoder: Decoder, objective: O) -> Result<Outcome, CommandError> {
        let per_example = objective.documents_per_example();
        let lengths = self.train.chunks(per_example).map(|rows| rows.iter().map(|row| row.ids.len()).sum()).collect();
        let settings = self.recipe.settings(lengths)?;
        let steps = settings.steps;
        let mut trainer = Trainer::new(decoder, objective, self.train, settings).bad_input()?.with_held_out(&self.held_out).bad_input()?;
        let samples = self.recipe.samples.as_ref().map(|samples| (samples, self.recipe.template));
        let mut watch = Watch::new(steps, samples, self.tokenizer, &self.out);
        trainer.fit_observed(&self.out, &mut watch).failure()?;
        let last = watch.finish();
        let model = self.out.join("model");
        self.tokenizer.save_with_template(&model, self.recipe.template).failure()?;
        let text = format!("{} steps; the model is {}", trainer.steps(), model.display());
        let report = json!({ "command": "train", "steps": trainer.steps(), "model": model, "last_step": last });
        Ok(Outcome::done(text, report))
    }
}
