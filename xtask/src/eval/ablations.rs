//! `cargo xtask eval ablations`: variants of a model side by side.

use std::path::{Path, PathBuf};

use janus_core::BenchRecord;
use janus_data::read_all;
use janus_eval::bench::ablations::{Variant, VariantScore, compare};
use janus_eval::{Bootstrap, ScoredRow};
use serde_json::{Map, Value, json};

use super::{ends, shown};
use crate::command::{Blame as _, CommandError, Outcome};

/// Compare variants of a model row by row: system messages for each instruction, base models, training and test
///
/// A variant says what is varied and where its scores are: AXIS=VALUE[,AXIS=VALUE...]:SCORES. The first one
/// is what the others are compared with. Intervals: 95%, bootstrap over instructions.
///
/// Reads:   BENCH: the judged records. SCORES: a file of {id, source, scores} rows in the bench's order, such as
///          runs/mini-0/scores/MODEL.jsonl, or a folder that `judge rubric` wrote, with all its runs.
/// Writes:  nothing; the numbers go to stdout.
/// Example: cargo xtask eval ablations --bench runs/mini-0/mini/bench.jsonl
///          --variant training=uniform:runs/mini-0/scores/uniform.jsonl
///          --variant training=diverse:runs/mini-0/scores/janus.jsonl --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The bench's records, whose prompts say which rows are one instruction's
    #[arg(long, value_name = "BENCH")]
    bench: PathBuf,
    /// A variant and its scores; at least two
    #[arg(long = "variant", value_name = "AXIS=VALUE,...:SCORES", required = true)]
    variants: Vec<String>,
    /// Seed of the bootstrap
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Runs the command.
///
/// # Errors
/// Bad input for files that cannot be read, or scores that are not of this bench.
pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let records: Vec<BenchRecord> = read_all(&args.bench).bad_input()?;
    if args.variants.len() < 2 {
        return Err(CommandError::bad_input("--variant is given once: expected two or more, the first of which is compared with"));
    }
    let variants = args.variants.iter().map(|text| variant(text, &args.bench, &records)).collect::<Result<Vec<_>, _>>()?;
    let prompts: Vec<&str> = records.iter().map(|record| record.prompt.as_str()).collect();
    let bootstrap = Bootstrap { seed: args.seed, ..Bootstrap::default() };
    let scores = compare(&variants, 0, &prompts, &bootstrap).bad_input()?;
    let (mut text, mut rows) = (String::new(), Vec::new());
    for VariantScore { axes, score, difference } in &scores {
        let name = axes.iter().map(|(axis, value)| format!("{axis}={value}")).collect::<Vec<_>>().join(", ");
        let gain = difference.as_ref().map(|gain| format!("{:+.3}{}", gain.estimate, shown(Some(gain), 3))).unwrap_or_default();
        text += &format!("{name:36} {:.3} (n {}, {} missing) {gain}\n", score.mean, score.n, score.missing);
        let axes: Map<String, Value> = axes.iter().map(|(axis, value)| (axis.clone(), json!(value))).collect();
        let mut row = json!({
            "axes": axes, "mean": score.mean, "standard_error": score.standard_error, "n": score.n, "missing": score.missing,
            "difference": difference.map(|gain| gain.estimate), "difference_n": difference.map(|gain| gain.n),
        });
        for (end, value) in ends("difference", difference.as_ref()).as_object().into_iter().flatten() {
            row[end] = value.clone();
        }
        rows.push(row);
    }
    let report = json!({ "command": "eval ablations", "rows": records.len(), "variants": rows });
    Ok(Outcome::done(text.trim_end(), report))
}

/// A variant as it is written on the command line, with its scores.
fn variant(text: &str, bench: &Path, records: &[BenchRecord]) -> Result<Variant, CommandError> {
    let wrong = || CommandError::bad_input(format!("--variant is {text}: expected AXIS=VALUE[,AXIS=VALUE...]:SCORES"));
    let (axes, path) = text.split_once(':').ok_or_else(wrong)?;
    let axis = |axis: &str| {
        let (name, value) = axis.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        (!name.is_empty() && !value.is_empty()).then(|| (name.to_string(), value.to_string()))
    };
    let axes = axes.split(',').map(axis).collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
    let mut runs = Vec::new();
    for file in files(Path::new(path))? {
        let rows: Vec<ScoredRow> = read_all(&file).bad_input()?;
        for (index, record) in records.iter().enumerate() {
            let id = janus_eval::record_id(record, index);
            let got = rows.get(index).map_or("no row", |row| row.id.as_str());
            if got != id {
                let place = format!("{}, row {}, field \"id\"", file.display(), index + 1);
                return Err(CommandError::bad_input(format!("{place}: expected \"{id}\" as in {}, got \"{got}\"", bench.display())));
            }
        }
        if rows.len() > records.len() {
            let counts = format!("{} has {} rows, {} only {}", file.display(), rows.len(), bench.display(), records.len());
            return Err(CommandError::bad_input(counts));
        }
        runs.push(rows);
    }
    Ok(Variant { axes, runs })
}

/// The files of a variant's runs: the file itself, or those of a folder of `judge rubric`.
fn files(path: &Path) -> Result<Vec<PathBuf>, CommandError> {
    if !path.is_dir() {
        return Ok(vec![path.into()]);
    }
    let files: Vec<PathBuf> = (0..).map(|run| path.join(format!("scores/run-{run}.jsonl"))).take_while(|file| file.is_file()).collect();
    if files.is_empty() {
        return Err(CommandError::bad_input(format!("{}: it has no scores/run-0.jsonl; `judge rubric` writes one", path.display())));
    }
    Ok(files)
}
