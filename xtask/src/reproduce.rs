//! `cargo xtask reproduce`: measures the paper's central claims from scratch.

mod judged;
pub mod profile;
mod reward_pairs;
mod sampled;
mod stages;
mod train;

use std::path::{Path, PathBuf};
use std::time::Instant;

use janus_core::derive_seed;
use janus_data::fs::fingerprint;
use janus_data::mini::Split;
use janus_data::progress::duration;
use janus_data::provenance::{Machine, Revision, unix_seconds};
use janus_data::stage::RunFolder;
use janus_data::write_file;
use janus_eval::bench::mini::Setup;
use serde_json::{Value, json};

use crate::command::{Blame as _, CommandError, Outcome, one_of};
use crate::stage;
use profile::Profile;
use stages::Experiment;

/// Reproduce the paper's central claims on Multifaceted Mini
///
/// Generates the data, pretrains a base model on plain text, and fine-tunes it with
/// one uniform system message ("uniform"), with a different one for each row
/// ("janus"), and with fewer different ones. Tunes on pairs (DPO, ORPO) and trains
/// a reward model. Each model answers questions with system messages, paraphrases
/// and preference combinations that are in no training row. A rule-based grader
/// scores every answer, and the report states eight claims with intervals.
///
/// Reads:   the profile only.
/// Writes:  into the run folder (runs/PROFILE-SEED): report.html, report.md,
///          report.json, generalisation.svg, run.json,
///          mini/{train,dev,bench}.jsonl, responses/MODEL.jsonl,
///          scores/MODEL.jsonl; plain/responses and plain/scores, for uniform and
///          janus under the plain system message, which states no preference;
///          stages/ with one folder for each stage.
/// Resumes: finished stages are skipped and an interrupted one continues; the
///          results have the same bytes as those of an uninterrupted run.
/// Example: cargo xtask reproduce --seed 1
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Profile to run: mini, smoke (the same with toy sizes, for CI), or a .toml file like
    /// xtask/profiles/mini.toml
    #[arg(long, value_name = "NAME", default_value = "mini")]
    profile: String,
    /// Seed of the run
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Run folder [default: runs/PROFILE-SEED]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Split to judge: dev while tuning, bench for the report
    #[arg(long, default_value = "bench", value_parser = one_of(SPLITS))]
    on: Split,
}

const SPLITS: [(&str, &str, Split); 2] = [
    ("dev", "The split for choices while tuning", Split::Dev),
    ("bench", "The split that only the report reads", Split::Bench),
];

pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    janus_train::FreedMemory::Keep.apply_to_process();
    let begun = Instant::now();
    let profile = Profile::load(&args.profile)?;
    let name = Profile::short_name(&args.profile);
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(format!("{name}-{}", args.seed)));
    let mut run = stage::open(&out)?;

    let experiment = Experiment::prepare(&mut run, &profile, args.seed)?;
    let models = experiment.train(&mut run)?;
    let measured = experiment.measure(&mut run, &models, args.on)?;

    let bootstrap = profile.statistics.bootstrap(args.seed);
    let report = measured
        .report(&Setup { profile: &name, seed: args.seed, split: args.on, bootstrap: &bootstrap })
        .failure()?;
    let curve = measured.generalisation(&bootstrap).and_then(|figure| figure.to_svg()).failure()?;

    for name in ["train.jsonl", "dev.jsonl", "bench.jsonl"] {
        copy(&experiment.data.join(name), &out.join(PUBLISHED).join(name))?;
    }
    report.write(&out).failure()?;
    write_file(out.join("generalisation.svg"), curve.as_bytes()).failure()?;
    let record = run_record(args, &profile, &out, &run, begun)?;
    write_file(out.join("run.json"), format!("{record:#}\n").as_bytes()).failure()?;
    let verdicts: String = report.claims.iter().map(|claim| format!("{claim}\n")).collect();
    let text = format!(
        "{verdicts}{} in {}",
        out.join("report.html").display(),
        duration(begun.elapsed().as_secs_f64())
    );
    Ok(Outcome::done(
        text,
        json!({ "command": "reproduce", "out": out, "claims": report.claims, "run": record }),
    ))
}

/// Folder of the run's data, for its readers.
const PUBLISHED: &str = "mini";

/// Copies a file atomically. A target with the same bytes is not written again.
fn copy(from: &Path, to: &Path) -> Result<(), CommandError> {
    let bytes =
        std::fs::read(from).map_err(|error| CommandError::failure(format!("{}: {error}", from.display())))?;
    if std::fs::read(to).is_ok_and(|found| found == bytes) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|error| CommandError::failure(format!("{}: {error}", folder.display())))?;
    }
    write_file(to, &bytes).failure()
}

/// What is needed to repeat a run, and facts that its results do not depend on, such as times.
fn run_record(
    args: &Args,
    profile: &Profile,
    out: &Path,
    run: &RunFolder,
    begun: Instant,
) -> Result<Value, CommandError> {
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
        "seconds": begun.elapsed().as_secs_f64(),
        "stages": run.stages(),
    }))
}
