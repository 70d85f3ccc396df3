//! Recipes: one stage of training, from a TOML file or from code.
//!
//! A [`Recipe`] names the model to start from, the data, the objective and every hyper-parameter.
//! [`Recipe::run`] trains in a folder and writes there:
//!
//! ```text
//! recipe.toml                    the recipe with every default filled in
//! run.json                       when and where the run was made, from which files and by which code
//! metrics.jsonl, timing.jsonl, evaluations.jsonl, tensorboard/, checkpoints/, best/
//! samples/step-000100.jsonl      responses of the model after 100 steps, if the recipe has [samples]
//! model/                         config.json, weights, tokenizer
//! ```
//!
//! Your own objective runs with [`Recipe::prepare_with`].
//!
//! ```no_run
//! use janus_train::candle_core::Device;
//! use janus_train::{Recipe, StepMetrics};
//!
//! let recipe = Recipe::read("sft.toml")?;
//! let trained = recipe.run("runs/sft", &Device::Cpu, &mut |step: &StepMetrics| eprintln!("{} {:.3}", step.step, step.loss))?;
//! println!("the model is in {}", trained.model.display());
//! # Ok::<(), janus_train::Error>(())
//! ```

mod config;
mod note;
mod objective;
mod plan;
mod record;
mod rows;
mod run;
mod samples;
mod shape;
mod template;

pub use config::{CustomObjective, DataConfig, ModelSource, ObjectiveConfig, Recipe, SampleConfig, at_line};
pub use note::Note;
pub use objective::ObjectiveContext;
pub use plan::Plan;
pub use rows::Rows;
pub use run::{PreparedRun, Trained};
pub use shape::Shape;
pub use template::RecipeTemplate;
