//! `cargo xtask reproduce`: the paper's central claims, measured from nothing.

pub mod claims;
mod judged;
pub mod profile;
mod report;
mod reward;
mod sampled;
pub mod train;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use janus_core::{SftRecord, derive_seed};
use janus_data::fs::fingerprint;
use janus_data::mini::{Mini, SYSTEMS_PER_INSTRUCTION, Split, UNIFORM_SYSTEM, held_out_pairs};
use janus_data::provenance::{Machine, Revision, unix_seconds};
use janus_data::stage::RunFolder;
use janus_data::{Tokenizer, read_all, write_all, write_file};
use janus_eval::bench::best_of_n::{Candidates, curve};
use janus_eval::report::svg;
use serde_json::{Value, json};

use crate::command::{Blame as _, CommandError, Outcome};
use crate::progress::duration;
use crate::stage::{self, Staged as _};
use claims::Diversity;
use profile::{Judged, Profile};
use reward::reward_answers;
use sampled::Draw;
use train::RewardPairs;

/// Reproduce the paper's central claims on Multifaceted Mini
///
/// Builds the data, pretrains a base model on plain text, fine-tunes it with one uniform system message
/// ("uniform"), with diverse ones ("janus") and with fewer different ones, tunes on pairs (DPO, ORPO) and
/// trains a reward model on them and on graded answers of janus, lets each model answer questions under
/// system messages, wordings and preference combinations that none was trained on, scores every answer by
/// computation, and reports eight claims with intervals.
///
/// Reads:   nothing but the profile.
/// Writes:  into the run folder (runs/PROFILE-SEED): report.html, report.md, report.json, generalisation.svg, run.json,
///          mini/{train,dev,bench}.jsonl, responses/MODEL.jsonl, scores/MODEL.jsonl, the same under
///          plain/ for the plain system message, and one folder for each stage below stages/.
/// Resumes: what is done is skipped, what was cut off continues, to the same bytes.
/// Example: cargo xtask reproduce --seed 1
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// What to run: mini, smoke (the same in under a minute, for CI), or a .toml file like xtask/profiles/mini.toml
    #[arg(long, value_name = "NAME", default_value = "mini")]
    profile: String,
    /// Seed of everything
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The run folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The split that is judged: choices are made on dev, only the report reads bench
    #[arg(long, value_enum, default_value_t = Judged::Bench)]
    on: Judged,
}

/// A model of the experiment: its name, and how many different system messages it is trained on.
struct Tuned {
    name: String,
    systems: Systems,
}

/// The system messages of a fine-tuning set.
enum Systems {
    /// The same for every row.
    Uniform,
    /// Drawn from a pool of so many.
    Pool(usize),
    /// One for each row.
    Each,
}

/// Runs the command.
///
/// # Errors
/// Bad input for a profile that cannot be used or a folder that is in use; a failure if a stage fails.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    janus_train::FreedMemory::Keep.apply_to_process();
    let profile = Profile::load(&args.profile)?;
    let name = Profile::short_name(&args.profile);
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(format!("{name}-{}", args.seed)));
    let mut run = stage::open(&out)?;
    let begun = std::time::Instant::now();

    let mini = Mini::new(args.seed);
    let data = build_data(&mut run, &mini, &profile, args.seed)?;
    let tokenizer_folder = build_tokenizer(&mut run, &data, &profile)?;
    let tokenizer = Tokenizer::read(tokenizer_folder.join("tokenizer.json")).failure()?;

    let experiment = train::Experiment { profile: &profile, seed: args.seed, tokenizer: &tokenizer, tokenizer_folder: &tokenizer_folder };
    let base = experiment.pretrain(&mut run, &mini)?;
    let tuned = models(&profile);
    let mut folders = vec![("base".to_string(), base.clone())];
    for model in &tuned {
        let rows = model.rows(&mini, &profile);
        folders.push((model.name.clone(), experiment.fine_tune(&mut run, &model.name, &rows, &base)?));
    }
    let folder = |folders: &[(String, PathBuf)], name: &str| -> Result<PathBuf, CommandError> {
        let found = folders.iter().find(|(n, _)| n == name).map(|(_, folder)| folder.clone());
        found.ok_or_else(|| CommandError::failure(format!("no model {name}")))
    };
    let star = experiment.fine_tune(&mut run, STAR, &one_for_each_instruction(janus().rows(&mini, &profile)), &base)?;
    folders.push((STAR.into(), star.clone()));
    let preferred = RewardPairs::split(mini.pairs(profile.pairs.count + profile.pairs.held_out), profile.pairs.held_out);
    folders.push((DPO.into(), experiment.dpo(&mut run, DPO, &preferred.train, &star)?));
    folders.push((ORPO.into(), experiment.orpo(&mut run, ORPO, &preferred.train, &base)?));
    let first = experiment.reward(&mut run, "reward-mini", &preferred, &folder(&folders, "janus")?, &profile.reward)?;
    let reward = second_reward_stage(&mut run, &experiment, &mini, preferred, &folder(&folders, "janus")?, &first)?;

    let split = args.on.split();
    let records_file = data.join(format!("{}.jsonl", split.as_str()));
    let judged = judged::Judged::new(&profile, split, &records_file)?;
    let mut scores = Vec::new();
    for (name, folder) in &folders {
        scores.push(judged.on_records(&mut run, name, folder)?);
    }
    let model =
        |name: &str| scores.iter().find(|scores| scores.model == name).ok_or_else(|| CommandError::failure(format!("no scores of {name}")));
    let plain_uniform = judged.on_plain(&mut run, "uniform", &folder(&folders, "uniform")?)?;
    let plain_janus = judged.on_plain(&mut run, "janus", &folder(&folders, "janus")?)?;
    let (records, file) = judged.records();
    let best_of_n = &profile.best_of_n;
    let draw = Draw {
        n: best_of_n.n.last().copied().unwrap_or(1),
        temperature: best_of_n.temperature,
        top_p: best_of_n.top_p,
        seed: derive_seed(args.seed, "best of n"),
    };
    let sampled = draw.answers(&mut run, &profile.answer, "sample-janus-star", &star, records)?;
    let rewards = reward_answers(&mut run, records, file, &sampled, &reward)?;
    let rewarded: Vec<Candidates> = read_all(rewards.join("rewards.jsonl")).failure()?;
    let statistics = judged.bootstrap(args.seed);
    let best_of_n = curve(&rewarded, |row| row / SYSTEMS_PER_INSTRUCTION, &best_of_n.n, &statistics).failure()?;
    let hits = reward::accuracy(&reward, &held_out_pairs(records))?;

    let mut diversity = Vec::new();
    for tuned in &tuned {
        let distinct = match tuned.systems {
            Systems::Uniform => continue,
            Systems::Pool(size) => size,
            Systems::Each => judged::distinct_systems(&data.join("train.jsonl"))?,
        };
        diversity.push(Diversity { distinct, scores: model(&tuned.name)? });
    }
    let claims = vec![
        claims::order(model("base")?, model("uniform")?, model("janus")?, &statistics)?,
        claims::tie_win(model("uniform")?, model("janus")?, &statistics)?,
        claims::generalisation(&diversity, &statistics)?,
        claims::no_tax(&plain_uniform, &plain_janus, &statistics)?,
        claims::against_janus(
            "dpo",
            "Janus with one system message for each instruction, then DPO",
            model(DPO)?,
            model("janus")?,
            &statistics,
        )?,
        claims::against_janus("orpo", "ORPO from the base model", model(ORPO)?, model("janus")?, &statistics)?,
        claims::reward_accuracy(&hits, &statistics)?,
        claims::best_of_n(&best_of_n)?,
    ];
    let findings = report::Findings {
        profile: &name,
        seed: args.seed,
        split: split.as_str(),
        claims,
        scores: &scores,
        diversity: &diversity,
        best_of_n: &best_of_n,
        statistics: &statistics,
        examples: judged.examples(&out, &["base", "uniform", "janus"])?,
    };
    let report = report::build(&findings)?;
    let curve = svg::document(&report::generalisation(&findings)?).failure()?;
    publish(&data, &out)?;
    for (file, text) in [
        ("report.json", report.to_json().failure()?),
        ("report.md", report.to_markdown().failure()?),
        ("report.html", report.to_html().failure()?),
        ("generalisation.svg", curve),
    ] {
        write_file(out.join(file), text.as_bytes()).failure()?;
    }
    let record = run_record(args, &profile, &out, &run, begun.elapsed().as_secs_f64())?;
    write_file(out.join("run.json"), format!("{record:#}\n").as_bytes()).failure()?;

    let mut text = String::new();
    for claim in &report.claims {
        let verdict = match claim.holds {
            Some(true) => "holds",
            Some(false) => "does not hold",
            None => "measured",
        };
        text += &format!("{:15} {:7.3} [{:.3}, {:.3}]  {verdict}\n", claim.id, claim.estimate, claim.ci_low, claim.ci_high);
    }
    text += &format!("{} in {}", out.join("report.html").display(), duration(begun.elapsed().as_secs_f64()));
    let json = json!({ "command": "reproduce", "out": out, "claims": report.claims, "run": record });
    Ok(Outcome::done(text, json))
}

/// The reward model's second stage: pairs of general helpfulness, and pairs of graded answers of the trunk's own, for it is to
/// choose among answers that a model gave. Some of Mini's pairs again, without which the second stage unlearns the first.
fn second_reward_stage(
    run: &mut RunFolder,
    experiment: &train::Experiment<'_>,
    mini: &Mini,
    mut preferred: RewardPairs,
    trunk: &Path,
    first: &Path,
) -> Result<PathBuf, CommandError> {
    let (profile, seed) = (experiment.profile, experiment.seed);
    let (pairs, graded) = (&profile.pairs, &profile.graded);
    let records = mini.eval(Split::Train, graded.instructions);
    let draw = Draw { n: graded.n, temperature: graded.temperature, top_p: graded.top_p, seed: derive_seed(seed, "graded answers") };
    let answers = draw.answers(run, &profile.answer, "sample-janus", trunk, &records)?;
    let graded = RewardPairs::split(sampled::graded_pairs(run, mini, &records, &answers)?, pairs.held_out);
    let helpful = RewardPairs::split(mini.helpful_pairs(pairs.helpful + pairs.held_out), pairs.held_out);
    preferred.train.truncate(pairs.again);
    experiment.reward(run, "reward", &graded.and(helpful).and(preferred), first, &profile.helpful)
}

/// Janus*: one system message for each instruction.
const STAR: &str = "janus-star";
/// Janus* tuned on pairs.
const DPO: &str = "janus-dpo";
/// The base model tuned on pairs.
const ORPO: &str = "janus-orpo";

/// The first row of each instruction.
fn one_for_each_instruction(mut rows: Vec<SftRecord>) -> Vec<SftRecord> {
    let mut seen = HashSet::new();
    rows.retain(|row| seen.insert(row.prompt.clone()));
    rows
}

fn models(profile: &Profile) -> Vec<Tuned> {
    let pool = |&size: &usize| Tuned { name: format!("janus-{size}"), systems: Systems::Pool(size) };
    let mut all = vec![Tuned { name: "uniform".into(), systems: Systems::Uniform }];
    all.extend(profile.data.distinct.iter().map(pool));
    all.push(janus());
    all
}

/// The model with a system message of its own for each row.
fn janus() -> Tuned {
    Tuned { name: "janus".into(), systems: Systems::Each }
}

impl Tuned {
    /// The rows that the model is fine-tuned on. All models are asked the same questions; the uniform
    /// model's rows are those of janus with the system message replaced, so nothing else differs. Every
    /// n-th row (`data.plain_every`) has the plain system message in all sets.
    fn rows(&self, mini: &Mini, profile: &Profile) -> Vec<SftRecord> {
        let pool = if let Systems::Pool(size) = self.systems { Some(size) } else { None };
        let every = if let Systems::Uniform = self.systems { 1 } else { profile.data.plain_every };
        let mut rows = mini.train(profile.data.rows, pool);
        rows.iter_mut().step_by(every).for_each(|row| row.system = UNIFORM_SYSTEM.into());
        rows
    }
}

fn build_data(run: &mut RunFolder, mini: &Mini, profile: &Profile, seed: u64) -> Result<PathBuf, CommandError> {
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
        let texts = rows.iter().flat_map(|row| [row.system.as_str(), row.prompt.as_str(), row.output.as_str()]);
        let tokenizer = Tokenizer::train(texts, profile.tokenizer.vocab_size, train::TEMPLATE.special_tokens()).failure()?;
        tokenizer.save_with_template(stage.folder(), train::TEMPLATE).failure()
    })
    .staged()
}

/// Where readers of a run look for its data.
const PUBLISHED: &str = "mini";

/// Puts the data there.
fn publish(data: &Path, out: &Path) -> Result<(), CommandError> {
    for name in ["train.jsonl", "dev.jsonl", "bench.jsonl"] {
        copy(&data.join(name), &out.join(PUBLISHED).join(name))?;
    }
    Ok(())
}

/// Copies a file whole, or not at all; leaves an equal one alone.
fn copy(from: &Path, to: &Path) -> Result<(), CommandError> {
    let bytes = std::fs::read(from).map_err(|error| CommandError::failure(format!("{}: {error}", from.display())))?;
    if std::fs::read(to).is_ok_and(|found| found == bytes) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder).map_err(|error| CommandError::failure(format!("{}: {error}", folder.display())))?;
    }
    write_file(to, &bytes).failure()
}

/// Everything about a run that its results do not depend on, and what it takes to repeat it.
fn run_record(args: &Args, profile: &Profile, out: &Path, run: &RunFolder, seconds: f64) -> Result<Value, CommandError> {
    Ok(json!({
        "folder": std::path::absolute(out).unwrap_or_else(|_| out.into()),
        "profile": args.profile,
        "seed": args.seed,
        "derived_seeds": { "pretrain": derive_seed(args.seed, "pretrain"), "sft": derive_seed(args.seed, "sft") },
        "config": profile,
        "data_fingerprint": fingerprint::of_path(&out.join(PUBLISHED)).bad_input()?,
        "version": env!("CARGO_PKG_VERSION"),
        "git": Revision::of_checkout(),
        "machine": Machine::this(),
        "finished_at_unix": unix_seconds(std::time::SystemTime::now()),
        "seconds": seconds,
        "stages": run.stages(),
    }))
}
