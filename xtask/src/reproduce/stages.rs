//! The stages of a reproduction: data, tokenizer, models, and their measurements.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use janus_core::{SftRecord, derive_seed};
use janus_data::mini::{Mini, SYSTEMS_PER_INSTRUCTION, Split, UNIFORM_SYSTEM, held_out_pairs};
use janus_data::stage::RunFolder;
use janus_data::{Tokenizer, read_all, write_all};
use janus_eval::bench::best_of_n::{Candidates, Curve, curve};
use janus_eval::bench::mini::Measurements;
use serde_json::json;

use super::judged::{self, Judged};
use super::profile::{Profile, TEMPLATE};
use super::reward_pairs::RewardPairs;
use super::sampled::{self, Draw};
use crate::command::{Blame as _, CommandError};
use crate::stage::Staged as _;

/// The profile, seed, data and tokenizer that all stages share.
pub struct Experiment<'a> {
    pub profile: &'a Profile,
    pub seed: u64,
    /// The synthetic world that the data is generated from.
    pub mini: Mini,
    /// Folder with train, dev and bench.
    pub data: PathBuf,
    pub tokenizer: Tokenizer,
    /// Folder of the tokenizer's files.
    pub tokenizer_folder: PathBuf,
}

/// The trained models.
pub struct Models {
    /// Name and folder of each language model, in the order of the report.
    pub folders: Vec<(String, PathBuf)>,
    /// The reward model's folder, after both stages.
    pub reward: PathBuf,
}

impl Models {
    fn folder(&self, name: &str) -> Result<&Path, CommandError> {
        let found = self.folders.iter().find(|(model, _)| model == name);
        found
            .map(|(_, folder)| folder.as_path())
            .ok_or_else(|| CommandError::failure(format!("no model {name}")))
    }
}

impl<'a> Experiment<'a> {
    /// Generates the data and trains the tokenizer.
    pub fn prepare(run: &mut RunFolder, profile: &'a Profile, seed: u64) -> Result<Self, CommandError> {
        let mini = Mini::new(seed);
        let data = build_data(run, &mini, profile, seed)?;
        let tokenizer_folder = build_tokenizer(run, &data, profile)?;
        let tokenizer = Tokenizer::read(tokenizer_folder.join("tokenizer.json")).failure()?;
        Ok(Self { profile, seed, mini, data, tokenizer, tokenizer_folder })
    }

    /// Trains every model.
    pub fn train(&self, run: &mut RunFolder) -> Result<Models, CommandError> {
        let Self { profile, mini, .. } = self;
        let base = self.pretrain(run, mini)?;
        let mut folders = vec![("base".to_string(), base.clone())];
        for model in tuned(profile) {
            let folder = self.fine_tune(run, &model.name, &model.rows(mini, profile), &base)?;
            folders.push((model.name, folder));
        }
        let star =
            self.fine_tune(run, STAR, &one_for_each_instruction(janus().rows(mini, profile)), &base)?;
        folders.push((STAR.into(), star.clone()));
        let preferred = RewardPairs::split(
            mini.pairs(profile.pairs.count + profile.pairs.held_out),
            profile.pairs.held_out,
        );
        folders.push((DPO.into(), self.dpo(run, DPO, &preferred.train, &star)?));
        folders.push((ORPO.into(), self.orpo(run, ORPO, &preferred.train, &base)?));
        let mut models = Models { folders, reward: PathBuf::new() };
        models.reward = self.train_reward(run, preferred, models.folder("janus")?)?;
        Ok(models)
    }

    /// Trains the reward model in two stages. The second stage uses pairs of general helpfulness, and
    /// pairs of graded answers of the backbone, because the reward model must rank sampled answers. It
    /// repeats some of Mini's pairs, so that the first stage is not unlearned.
    fn train_reward(
        &self,
        run: &mut RunFolder,
        mut preferred: RewardPairs,
        backbone: &Path,
    ) -> Result<PathBuf, CommandError> {
        let Self { profile, seed, mini, .. } = self;
        let (pairs, graded) = (&profile.pairs, &profile.graded);
        let first = self.reward(run, "reward-mini", &preferred, backbone, &profile.reward)?;
        let records = mini.eval(Split::Train, graded.instructions);
        let draw = Draw {
            n: graded.n,
            temperature: graded.temperature,
            top_p: graded.top_p,
            seed: derive_seed(*seed, "graded answers"),
        };
        let answers = draw.answers(run, &profile.answer, "sample-janus", backbone, &records)?;
        let graded =
            RewardPairs::split(sampled::graded_pairs(run, mini, &records, &answers)?, pairs.held_out);
        let helpful = RewardPairs::split(mini.helpful_pairs(pairs.helpful + pairs.held_out), pairs.held_out);
        preferred.train.truncate(pairs.again);
        self.reward(run, "reward", &graded.and(helpful).and(preferred), &first, &profile.helpful)
    }

    /// Answers the questions of a split with every model, and scores the answers.
    pub fn measure(
        &self,
        run: &mut RunFolder,
        models: &Models,
        split: Split,
    ) -> Result<Measurements, CommandError> {
        let records_file = self.data.join(format!("{}.jsonl", split.as_str()));
        let judged = Judged::new(self.profile, split, &records_file)?;
        let mut scores = Vec::new();
        for (name, folder) in &models.folders {
            scores.push(judged.on_records(run, name, folder)?);
        }
        let plain_uniform = judged.on_plain(run, "uniform", models.folder("uniform")?)?;
        let plain_janus = judged.on_plain(run, "janus", models.folder("janus")?)?;
        let best_of_n = self.best_of_n(run, models, &judged)?;
        let reward_hits = sampled::accuracy(&models.reward, &held_out_pairs(judged.records().0))?;
        let examples = judged.examples(run.root(), &["base", "uniform", "janus"])?;
        Ok(Measurements {
            scores,
            diversity: self.diversity()?,
            plain_uniform,
            plain_janus,
            reward_hits,
            best_of_n,
            examples,
        })
    }

    /// The best-of-N curve: the scores of the answers of janus-star that the reward model chooses.
    fn best_of_n(
        &self,
        run: &mut RunFolder,
        models: &Models,
        judged: &Judged<'_>,
    ) -> Result<Curve, CommandError> {
        let (records, file) = judged.records();
        let settings = &self.profile.best_of_n;
        let draw = Draw {
            n: settings.n.last().copied().unwrap_or(1),
            temperature: settings.temperature,
            top_p: settings.top_p,
            seed: derive_seed(self.seed, "best of n"),
        };
        let sampled =
            draw.answers(run, &self.profile.answer, "sample-janus-star", models.folder(STAR)?, records)?;
        let rewards = sampled::reward_answers(run, records, file, &sampled, &models.reward)?;
        let candidates: Vec<Candidates> = read_all(rewards.join("rewards.jsonl")).failure()?;
        let bootstrap = self.profile.statistics.bootstrap(self.seed);
        curve(&candidates, |row| row / SYSTEMS_PER_INSTRUCTION, &settings.n, &bootstrap).failure()
    }

    /// The models, each with the number of different system messages that it was trained on.
    fn diversity(&self) -> Result<Vec<(usize, String)>, CommandError> {
        let mut all = Vec::new();
        for model in tuned(self.profile) {
            let distinct = match model.systems {
                Systems::Uniform => continue,
                Systems::Pool(size) => size,
                Systems::Each => judged::distinct_systems(&self.data.join("train.jsonl"))?,
            };
            all.push((distinct, model.name));
        }
        Ok(all)
    }
}

/// Janus*: one system message for each instruction.
pub const STAR: &str = "janus-star";
/// Janus* after DPO.
pub const DPO: &str = "janus-dpo";
/// The base model after ORPO.
pub const ORPO: &str = "janus-orpo";

/// A fine-tuned model: its name, and how many different system messages it is trained on.
struct Tuned {
    name: String,
    systems: Systems,
}

/// The system messages of a fine-tuning set.
enum Systems {
    /// The same for every row.
    Uniform,
    /// Drawn from a pool of this size.
    Pool(usize),
    /// One for each row.
    Each,
}

/// The first row of each instruction.
fn one_for_each_instruction(mut rows: Vec<SftRecord>) -> Vec<SftRecord> {
    let mut seen = HashSet::new();
    rows.retain(|row| seen.insert(row.prompt.clone()));
    rows
}

/// The models that are fine-tuned with the same settings.
fn tuned(profile: &Profile) -> Vec<Tuned> {
    let pool = |&size: &usize| Tuned { name: format!("janus-{size}"), systems: Systems::Pool(size) };
    let mut all = vec![Tuned { name: "uniform".into(), systems: Systems::Uniform }];
    all.extend(profile.data.distinct.iter().map(pool));
    all.push(janus());
    all
}

/// The model whose training rows have a system message each.
fn janus() -> Tuned {
    Tuned { name: "janus".into(), systems: Systems::Each }
}

impl Tuned {
    /// The rows that the model is fine-tuned on. All sets have the same questions. The uniform model's
    /// rows are those of janus with another system message, so nothing else differs. Every n-th row
    /// (`data.plain_every`) has the plain system message in all sets.
    fn rows(&self, mini: &Mini, profile: &Profile) -> Vec<SftRecord> {
        // `Profile::load` rejects a pool of 0.
        let pool = if let Systems::Pool(size) = self.systems { NonZeroUsize::new(size) } else { None };
        let every = if let Systems::Uniform = self.systems { 1 } else { profile.data.plain_every };
        let mut rows = mini.train(profile.data.rows, pool);
        rows.iter_mut().step_by(every).for_each(|row| row.system = UNIFORM_SYSTEM.into());
        rows
    }
}

fn build_data(
    run: &mut RunFolder,
    mini: &Mini,
    profile: &Profile,
    seed: u64,
) -> Result<PathBuf, CommandError> {
    let config = json!({ "seed": seed, "data": profile.data, "version": env!("CARGO_PKG_VERSION") });
    run.stage("mini", &config, &[], |stage| {
        let data = &profile.data;
        let file = |name: &str| stage.folder().join(name);
        write_all(file("train.jsonl"), &janus().rows(mini, profile)).failure()?;
        write_all(file("dev.jsonl"), &mini.eval(Split::Dev, data.instructions)).failure()?;
        write_all(file("bench.jsonl"), &mini.eval(Split::Bench, data.instructions)).failure()
    })
    .staged()
}

fn build_tokenizer(run: &mut RunFolder, data: &Path, profile: &Profile) -> Result<PathBuf, CommandError> {
    run.stage("tokenizer", &profile.tokenizer, &[("mini", data)], |stage| {
        let rows: Vec<SftRecord> = read_all(data.join("train.jsonl")).failure()?;
        let texts =
            rows.iter().flat_map(|row| [row.system.as_str(), row.prompt.as_str(), row.output.as_str()]);
        let tokenizer =
            Tokenizer::train(texts, profile.tokenizer.vocab_size, TEMPLATE.special_tokens()).failure()?;
        tokenizer.save_with_template(stage.folder(), TEMPLATE).failure()
    })
    .staged()
}
