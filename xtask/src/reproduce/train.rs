//! Trains the models of the experiment: the base model on plain text, then the others on rows and pairs.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use candle_core::Device;
use janus_core::{PairRecord, SftRecord, derive_seed};
use janus_data::TokenRow;
use janus_data::mini::Mini;
use janus_data::stage::{RunFolder, Stage};
use janus_train::{
    Decoder, Dpo, DpoConfig, Error, NllSpan, Objective, Observer, Orpo, Reference, ReferenceLogprobs, Reward,
    Sft, StepMetrics, TrainConfig, Trainer,
};
use serde_json::{Value, json};

use super::profile::TEMPLATE;
use super::reward_pairs::RewardPairs;
use super::stages::Experiment;
use crate::command::{Blame as _, CommandError};
use crate::stage::Staged as _;
use crate::train::Display;

impl Experiment<'_> {
    /// Trains the base model on plain text without system messages. Returns the stage's folder.
    pub fn pretrain(&self, run: &mut RunFolder, mini: &Mini) -> Result<PathBuf, CommandError> {
        let settings = self.settings(&self.profile.pretrain, "pretrain");
        let special = |token| self.tokenizer.token_id(token);
        let config = self.profile.model_config(self.tokenizer.vocab_size(), special("<s>"), special("</s>"));
        let documents = self.profile.data.documents;
        let identity = json!({ "documents": documents, "seed": self.seed, "train": identity_of(&settings)?, "model": config.to_json() });
        run.stage("base", &identity, &[("tokenizer", &self.tokenizer_folder)], |stage| {
            let texts = mini.documents(documents);
            let row = |text: &String| self.tokenizer.document(text, Some("<s>"), Some("</s>")).failure();
            let rows = texts.iter().map(row).collect::<Result<Vec<_>, _>>()?;
            let decoder =
                Decoder::init(&config, derive_seed(self.seed, "weights"), &Device::Cpu).failure()?;
            self.fit(stage, "pretrain", Trainer::new(decoder, Sft, rows, settings).bad_input()?)
        })
        .staged()
    }

    /// Fine-tunes the base model. Returns the stage's folder.
    pub fn fine_tune(
        &self,
        run: &mut RunFolder,
        name: &str,
        rows: &[SftRecord],
        base: &Path,
    ) -> Result<PathBuf, CommandError> {
        let settings = self.settings(&self.profile.sft, "sft");
        let identity = json!({ "rows": fingerprint(rows)?, "train": identity_of(&settings)? });
        self.tune(run, name, identity, ("base", base), |_, decoder| {
            let rows =
                self.tokenizer.conversations(TEMPLATE, rows.iter().map(SftRecord::messages)).failure()?;
            Trainer::new(decoder, Sft, rows, settings).bad_input()
        })
    }

    /// Trains by direct preference optimisation from `start`, which is also the reference.
    pub fn dpo(
        &self,
        run: &mut RunFolder,
        name: &str,
        pairs: &[PairRecord],
        start: &Path,
    ) -> Result<PathBuf, CommandError> {
        let constants = DpoConfig::new(self.profile.pairs.beta);
        let settings = self.settings(&self.profile.dpo, "dpo");
        let identity =
            json!({ "pairs": fingerprint(pairs)?, "dpo": constants, "train": identity_of(&settings)? });
        self.tune(run, name, identity, ("start", start), |stage, decoder| {
            let rows = self.rows(pairs)?;
            let file = stage.folder().join("reference_logprobs.jsonl");
            let template = TEMPLATE.jinja();
            let mut display = Display::new(name);
            let show = &mut |done, all| display.reference(done, all);
            let reference = ReferenceLogprobs::compute(
                file,
                &decoder,
                template,
                &rows,
                ReferenceLogprobs::TOKENS_AT_ONCE,
                show,
            )
            .failure()?;
            display.finish();
            let objective = Dpo::new(constants, Reference::Stored(reference), &rows).failure()?;
            Trainer::new(decoder, objective, rows, settings).bad_input()
        })
    }

    /// Trains by odds-ratio preference optimisation from the base model, without a reference.
    pub fn orpo(
        &self,
        run: &mut RunFolder,
        name: &str,
        pairs: &[PairRecord],
        base: &Path,
    ) -> Result<PathBuf, CommandError> {
        let lambda = self.profile.pairs.lambda;
        let settings = self.settings(&self.profile.orpo, "orpo");
        let identity =
            json!({ "pairs": fingerprint(pairs)?, "lambda": lambda, "train": identity_of(&settings)? });
        self.tune(run, name, identity, ("base", base), |_, decoder| {
            let objective = Orpo::new(lambda, NllSpan::Response).bad_input()?;
            Trainer::new(decoder, objective, self.rows(pairs)?, settings).bad_input()
        })
    }

    /// Trains a reward model from `start`: a language model gets a new value head, a reward model keeps
    /// its own. The mean and standard deviation of the rewards on the held-out pairs are stored with the
    /// model.
    pub fn reward(
        &self,
        run: &mut RunFolder,
        name: &str,
        pairs: &RewardPairs,
        start: &Path,
        settings: &TrainConfig,
    ) -> Result<PathBuf, CommandError> {
        let (settings, head) = (self.settings(settings, name), derive_seed(self.seed, "value head"));
        let RewardPairs { train, held_out } = pairs;
        let imitation = self.profile.pairs.imitation;
        let objective = Reward::with_imitation(imitation).bad_input()?;
        let (pairs, others) = (fingerprint(train)?, fingerprint(held_out)?);
        let identity = json!({ "pairs": pairs, "held_out": others, "imitation": imitation, "train": identity_of(&settings)?, "head": head });
        self.tune(run, name, identity, ("start", start), |_, decoder| {
            let decoder =
                if decoder.has_value_head() { decoder } else { decoder.with_value_head(head).failure()? };
            let trainer = Trainer::new(decoder, objective, self.rows(train)?, settings).bad_input()?;
            trainer.with_held_out(self.rows(held_out)?).bad_input()
        })
    }

    fn settings(&self, settings: &TrainConfig, purpose: &str) -> TrainConfig {
        settings.clone().with(|config| config.seed = derive_seed(self.seed, purpose))
    }

    /// A stage that starts from the model of another stage.
    fn tune<O: Objective>(
        &self,
        run: &mut RunFolder,
        name: &str,
        identity: Value,
        from: (&str, &Path),
        trainer: impl FnOnce(&Stage, Decoder) -> Result<Trainer<O>, CommandError>,
    ) -> Result<PathBuf, CommandError> {
        run.stage(name, &identity, &[("tokenizer", &self.tokenizer_folder), from], |stage| {
            let decoder = Decoder::load(from.1.join("model"), &Device::Cpu).failure()?;
            self.fit(stage, name, trainer(stage, decoder)?)
        })
        .staged()
    }

    /// The token rows of the pairs, chosen before rejected.
    fn rows(&self, pairs: &[PairRecord]) -> Result<Vec<TokenRow>, CommandError> {
        let context = self.profile.model.max_position_embeddings;
        let pairs =
            self.tokenizer.pairs(TEMPLATE, pairs.iter().map(PairRecord::conversations), context).failure()?;
        let dropped = pairs.identical + pairs.too_long;
        if dropped > 0 {
            eprintln!(
                "{dropped} pairs left out: {} with equal responses, {} too long",
                pairs.identical, pairs.too_long
            );
        }
        Ok(pairs.rows)
    }

    fn fit<O: Objective>(
        &self,
        stage: &Stage,
        label: &str,
        mut trainer: Trainer<O>,
    ) -> Result<(), CommandError> {
        let mut watch = Watch { display: Display::new(label), tokenizer_folder: &self.tokenizer_folder };
        trainer.fit(stage.folder(), &mut watch).failure()?;
        watch.display.finish();
        Ok(())
    }
}

/// Shows the progress, and copies the tokenizer into every saved model folder.
struct Watch<'a> {
    display: Display,
    tokenizer_folder: &'a Path,
}

impl Observer for Watch<'_> {
    fn begin(&mut self, steps: u64, done: u64) {
        self.display.begin(steps, done);
    }

    fn step(&mut self, step: &StepMetrics) -> ControlFlow<()> {
        self.display.step(step)
    }

    fn saved(&mut self, folder: &Path) -> Result<(), Error> {
        ["tokenizer.json", "tokenizer_config.json"].into_iter().try_for_each(|name| {
            let path = folder.join(name);
            std::fs::copy(self.tokenizer_folder.join(name), &path)
                .map(drop)
                .map_err(|source| Error::Io { path, source })
        })
    }
}

/// The settings in a stage's `config.json`. Keys keep their names from the first run folders, and
/// `dtype` is left out for f32 as it was there, so that stages that finished then are still skipped.
fn identity_of(settings: &TrainConfig) -> Result<Value, CommandError> {
    let settings: serde_json::Map<String, Value> =
        serde_json::to_value(settings).and_then(serde_json::from_value).failure()?;
    let key = |key: String| match key.as_str() {
        "gradient_accumulation_steps" => "accumulation".into(),
        "quantized_state_block" => "eight_bit_block".into(),
        _ => key,
    };
    let settings = settings.into_iter().filter(|(name, value)| name != "dtype" || value != "f32");
    Ok(settings.map(|(name, value)| (key(name), value)).collect::<serde_json::Map<_, _>>().into())
}

fn fingerprint<T: serde::Serialize>(rows: &[T]) -> Result<String, CommandError> {
    Ok(janus_data::fs::fingerprint::of_bytes(&serde_json::to_vec(rows).failure()?))
}
