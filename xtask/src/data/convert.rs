//! `cargo xtask data convert`: rows of one layout or format as another.

use std::path::PathBuf;

use janus_core::{BenchRecord, PairRecord, RewardRecord, SftRecord};
use janus_data::sources::Source;
use janus_data::{Converted, RecordKind, Result, Row, Skipped, Target, convert, convert_records, read_files};
use serde_json::json;

use super::{FilesArgs, warn};
use crate::command::{Blame as _, CommandError, Outcome, report};

/// Convert rows to another layout or file format
///
/// The end of OUT's name tells the format: .jsonl, .json, .csv, .parquet, .arrow, each also .gz or .zst; Parquet
/// and Arrow hold records (sft, pairs, reward, bench) in the released schemas.
///
/// Reads:   FILES of the layout --from: one of ours (sft, pairs, reward, bench), of others (sharegpt, alpaca,
///          openai), or of a dataset: hh-rlhf, oasst1-pairwise, webgpt, ultrafeedback, nectar, openhermes,
///          chatbot-arena, dsp, flask, koala, self-instruct, mt-bench, alpaca-eval.
/// Writes:  OUT, rows of the layout --to: sft, pairs, reward, bench, instructions, sharegpt, alpaca, openai or
///          hh-rlhf. Rows that the layout has no place for (ties, several turns) are counted by reason.
/// Example: cargo xtask data convert --from hh-rlhf --to pairs --out pairs.parquet train.jsonl.gz
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    input: FilesArgs,
    /// Layout of the files
    #[arg(long, value_name = "LAYOUT")]
    from: String,
    /// Layout of the result
    #[arg(long, value_name = "LAYOUT")]
    to: Target,
    /// The result
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// Take the first rows only
    #[arg(long, value_name = "ROWS")]
    limit: Option<usize>,
    /// Pass over rows that cannot be read, and count them
    #[arg(long)]
    skip_bad_rows: bool,
}

pub(super) fn run(args: &Args) -> Result<Outcome, CommandError> {
    let mut skipped = Skipped::default();
    let mut converted = converted(args, &mut skipped)?;
    converted.bad_rows = skipped.rows;
    warn("convert", &skipped);
    let left_out: Vec<String> = converted.left_out.iter().map(|(reason, count)| format!("{count} left out: {reason}")).collect();
    let mut text = format!("{}: {} rows of {}", args.out.display(), converted.written, converted.read);
    if converted.bad_rows > 0 {
        text += &format!(", {} could not be read", converted.bad_rows);
    }
    let mut report = report("data convert", converted)?;
    report["out"] = json!(args.out);
    Ok(Outcome::done([vec![text], left_out].concat().join("\n"), report))
}

fn converted(args: &Args, skipped: &mut Skipped) -> Result<Converted, CommandError> {
    let options = args.input.read.resolve()?;
    let files = args.input.paths()?;
    let limit = args.limit.unwrap_or(usize::MAX);
    let skip = args.skip_bad_rows.then_some(skipped);
    macro_rules! same {
        ($record:ty) => {
            convert_records(read_files::<$record>(files, options).take(limit), &args.out, skip).bad_input()
        };
    }
    // The same records in another format need not go through what all layouts have in common.
    match (args.from.parse::<RecordKind>(), args.to) {
        (Ok(RecordKind::Sft), Target::Records(RecordKind::Sft)) => return same!(SftRecord),
        (Ok(RecordKind::Pairs), Target::Records(RecordKind::Pairs)) => return same!(PairRecord),
        (Ok(RecordKind::Reward), Target::Records(RecordKind::Reward)) => return same!(RewardRecord),
        (Ok(RecordKind::Bench), Target::Records(RecordKind::Bench)) => return same!(BenchRecord),
        _ => {}
    }
    let source: Source = args.from.parse().map_err(|problem| CommandError::bad_input(format!("--from: {problem}")))?;
    let first = files[0].clone();
    let rows = read_files::<Row>(files, options).take(limit);
    convert(rows, (&*source, first.as_path()), args.to, &args.out, skip).bad_input()
}
