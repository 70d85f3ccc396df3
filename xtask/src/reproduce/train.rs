//! Trains the models of the experiment: the base model on plain text, the others from it on rows.

use std::path::{Path, PathBuf};

use candle_core::Device;
use janus_core::{ChatTemplate, SftRecord, derive_seed};
use janus_data::mini::Mini;
use janus_data::{TokenRow, Tokenizer, write_file};
use janus_train::{Decoder, Sft, TrainConfig, Trainer};
use serde_json::json;

use super::profile::Profile;
use crate::command::{Blame as _, CommandError};
use crate::progress::{Progress, Unit};
use crate::stage::{RunFolder, Stage};

/// The layout of every prompt of the experiment.
pub const TEMPLATE: ChatTemplate = ChatTemplate::MistralInstruct;

/// `tokenizer_config.json` of the experiment's models.
pub fn tokenizer_config() -> String {
    let config = json!({
        "bos_token": "<s>",
        "eos_token": "</s>",
        "add_bos_token": false,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": TEMPLATE.jinja(),
    });
    format!("{config:#}\n")
}

/// What all models of a run share.
pub struct Experiment<'a> {
    /// The run's profile.
    pub profile: &'a Profile,
    /// The run's seed.
    pub seed: u64,
    /// The tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Where its files are.
    pub tokenizer_folder: &'a Path,
}

impl Experiment<'_> {
    /// The base model: plain text, no system message, no question. Returns the stage's folder.
    pub fn pretrain(&self, run: &mut RunFolder, mini: &Mini) -> Result<PathBuf, CommandError> {
        let settings = TrainConfig { seed: derive_seed(self.seed, "pretrain"), ..self.profile.pretrain.clone() };
        let special = |token| self.tokenizer.token_id(token);
        let config = self.profile.model_config(self.tokenizer.vocab_size(), special("<s>"), special("</s>"));
        let documents = self.profile.data.documents;
        let identity = json!({ "documents": documents, "seed": self.seed, "train": settings, "model": config.to_json() });
        run.stage("base", &identity, &[("tokenizer", self.tokenizer_folder)], |stage| {
            let texts = mini.documents(documents);
            let row = |text: &String| self.tokenizer.document(text, Some("<s>"), Some("</s>")).failure();
            let rows = texts.iter().map(row).collect::<Result<Vec<_>, _>>()?;
            let decoder = Decoder::init(&config, derive_seed(self.seed, "weights"), &Device::Cpu).failure()?;
            self.fit(stage, "pretrain", decoder, rows, settings)
        })
    }

    /// A fine-tuned model, from the base model. Returns the stage's folder.
    pub fn fine_tune(&self, run: &mut RunFolder, name: &str, rows: &[SftRecord], base: &Path) -> Result<PathBuf, CommandError> {
        let settings = TrainConfig { seed: derive_seed(self.seed, "sft"), ..self.profile.sft.clone() };
        let text = serde_json::to_vec(rows).failure()?;
        let identity = json!({ "rows": crate::fingerprint::of_bytes(&text), "train": settings });
        run.stage(name, &identity, &[("tokenizer", self.tokenizer_folder), ("base", base)], |stage| {
            let rows = self.tokenizer.conversations(TEMPLATE, rows.iter().map(SftRecord::messages)).failure()?;
            let decoder = Decoder::load(base.join("model"), &Device::Cpu).failure()?;
            self.fit(stage, name, decoder, rows, settings)
        })
    }

    fn fit(&self, stage: &Stage, label: &str, decoder: Decoder, rows: Vec<TokenRow>, settings: TrainConfig) -> Result<(), CommandError> {
        let mut progress = Progress::new(label, Unit::Count("steps"), settings.steps);
        let mut trainer = Trainer::new(decoder, Sft, rows, settings).bad_input()?;
        let mut last = 0;
        trainer
            .fit(stage.folder(), &mut |step| {
                progress.note(format!("loss {:.3}, {:.0} tokens/s", step.loss, step.tokens_per_second()));
                progress.advance(step.step - last);
                last = step.step;
            })
            .failure()?;
        progress.finish();
        for file in ["tokenizer.json", "tokenizer_config.json"] {
            let bytes = std::fs::read(self.tokenizer_folder.join(file)).failure()?;
            write_file(stage.folder().join("model").join(file), &bytes).failure()?;
        }
        Ok(())
    }
}
