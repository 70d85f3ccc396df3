//! `cargo xtask train`: runs the training stage that a recipe describes.

use std::ops::ControlFlow;
use std::path::PathBuf;

use janus_data::progress::{Progress, Unit};
use janus_train::recipe::{Note, Recipe};
use janus_train::{Decoder, Evaluation, Observer, StepMetrics};
use serde_json::json;

use crate::command::{Blame as _, CommandError, Outcome, report};
use crate::device;

/// Train a model from a recipe
///
/// A recipe is a TOML file that names the model to start from, the data, the
/// objective and every hyper-parameter; xtask/recipes holds one for each stage of
/// the paper.
///
/// The data is rows in any layout that `data convert` reads: data.layout names it
/// where the fields do not show it, data.columns maps fields, data.skip_bad_rows
/// skips and counts bad rows, and data.loss = "last" trains only the assistant's
/// last message. All turns before an answer are its prompt. data.path may be a
/// pattern of several files. template is mistral-instruct, chatml, or own for that
/// of the model that training starts from.
///
/// Reads:   RECIPE, and the model folder, tokenizer and data that it names.
/// Writes:  into the folder of --out: recipe.toml with every resolved value;
///          run.json (machine, times, revision, fingerprints); metrics.jsonl,
///          timing.jsonl, tensorboard/; checkpoints/ and at the end model/, each
///          with config.json, weights and tokenizer. For dpo,
///          NAME.reference-KEY.jsonl next to the data: the reference model's
///          log-probabilities, which the next run reuses. With --plan, nothing is
///          written.
/// Runs:    on the first GPU that the program was built for (--features cuda or
///          metal), else on the CPU. The recipe's train.dtype is f32, or bf16 with
///          f32 master weights.
/// Resumes: an interrupted run continues from its newest checkpoint and writes the
///          same bytes as an uninterrupted one.
/// Example: cargo xtask train xtask/recipes/janus-7b.toml --plan
///          cargo xtask train mine.toml --set train.lr=1e-5 --out runs/mine
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The recipe
    #[arg(value_name = "RECIPE")]
    recipe: PathBuf,
    /// Set a key of the recipe, such as train.lr=1e-5; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Print parameters, memory by part, steps and tokens, and load nothing
    #[arg(long)]
    plan: bool,
    /// Run folder [default: runs/NAME of the recipe]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let recipe = Recipe::read_with(&args.recipe, &args.set).bad_input()?;
    if args.plan {
        let plan = recipe.plan().bad_input()?;
        return Ok(Outcome::done(plan.to_string(), report("train", &plan)?));
    }
    let stem = args.recipe.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(stem));
    janus_train::FreedMemory::Keep.apply_to_process();
    eprintln!("the run's folder is {}", out.display());
    let mut display = Display::new("train");
    let run = recipe.prepare(&out, &device::first()?, &mut display).bad_input()?;
    let trained = run.train(&mut display).failure()?;
    display.finish();
    let text = format!("{} steps; the model is {}", trained.steps, trained.model.display());
    let report = json!({ "command": "train", "steps": trained.steps, "model": trained.model, "reason": trained.reason, "last_step": trained.last_step });
    Ok(Outcome::done(text, report))
}

/// Shows the progress of a run.
pub(crate) struct Display {
    label: String,
    progress: Option<Progress>,
    reference: Option<Progress>,
}

impl Display {
    pub(crate) fn new(label: impl Into<String>) -> Self {
        Self { label: label.into(), progress: None, reference: None }
    }

    /// Ends the display.
    pub(crate) fn finish(self) {
        self.progress.into_iter().chain(self.reference).for_each(Progress::finish);
    }
}

impl Observer for Display {
    fn note(&mut self, note: &Note) {
        eprintln!("{note}");
    }

    fn reference(&mut self, done: usize, rows: usize) {
        let progress =
            || Progress::new("reference", Unit::Count("rows"), rows as u64).resumed_at(done as u64);
        self.reference.get_or_insert_with(progress).reach(done as u64);
    }

    fn begin(&mut self, steps: u64, done: u64) {
        if let Some(reference) = self.reference.take() {
            reference.finish();
        }
        if done > 0 {
            eprintln!("continuing from step {done} of {steps}");
        }
        self.progress = Some(Progress::new(&self.label, Unit::Count("steps"), steps).resumed_at(done));
    }

    fn step(&mut self, step: &StepMetrics) -> ControlFlow<()> {
        if let Some(progress) = &mut self.progress {
            progress.note(format!("loss {:.3}, {:.0} tokens/s", step.loss, step.tokens_per_second()));
            progress.reach(step.step);
        }
        ControlFlow::Continue(())
    }

    fn evaluated(&mut self, evaluation: &Evaluation, _: &Decoder) -> janus_train::Result<ControlFlow<()>> {
        eprintln!("{}", line(evaluation));
        Ok(ControlFlow::Continue(()))
    }
}

/// An evaluation as a line of text.
fn line(evaluation: &Evaluation) -> String {
    let Evaluation { step, loss, metrics, .. } = evaluation;
    let metrics: String = metrics.iter().map(|(name, value)| format!(", {name} {value:.4}")).collect();
    format!("step {step}: held-out loss {loss:.4}{metrics}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_evaluation_is_a_line_of_names_and_numbers() {
        let of = |line| serde_json::from_value::<Evaluation>(line).unwrap();
        let loss_alone = of(json!({ "step": 16, "loss": 2.739_312 }));
        assert_eq!(line(&loss_alone), "step 16: held-out loss 2.7393");
        let accuracy = of(json!({ "step": 16, "loss": 2.739_312, "accuracy": 2.0 / 3.0 }));
        assert_eq!(line(&accuracy), "step 16: held-out loss 2.7393, accuracy 0.6667");
    }

    #[test]
    fn the_rate_of_a_resumed_run_excludes_earlier_steps() {
        let mut display = Display::new("train");
        display.begin(100, 40);
        display.progress.as_mut().unwrap().reach(41);
        let counted = format!("{:?}", display.progress);
        assert!(counted.contains("before: 40, done: 41"), "{counted}");
    }
}
