//! `cargo xtask data build-mini`: Multifaceted Mini as files.

use std::path::PathBuf;

use janus_data::mini::{Mini, Split};
use janus_data::write_records;
use serde_json::json;

use crate::command::{Blame as _, CommandError, Outcome};

/// Write Multifaceted Mini: rows to train on, pairs, and two benches
///
/// Every row has a system message of its own, or one of --distinct; preference combinations, wordings,
/// sentence plans and phrasings of train, dev and bench are apart. Equal arguments give equal bytes.
///
/// Reads:   nothing.
/// Writes:  OUT/train, pairs, helpful, dev and bench, as .jsonl or .parquet.
/// Example: cargo xtask data build-mini --out mini
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The folder
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// Rows to train on
    #[arg(long, value_name = "N", default_value_t = 11_000)]
    rows: usize,
    /// Different system messages in them [default: one for each row]
    #[arg(long, value_name = "N")]
    distinct: Option<usize>,
    /// Pairs of a better and a worse response
    #[arg(long, value_name = "N", default_value_t = 4_000)]
    pairs: usize,
    /// Pairs of a more and a less helpful response, without system messages
    #[arg(long, value_name = "N", default_value_t = 4_000)]
    helpful: usize,
    /// Questions of dev and of bench, each under three system messages
    #[arg(long, value_name = "N", default_value_t = 200)]
    questions: usize,
    /// Format of the files
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// Seed of everything
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// How the files are written.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// A JSON object a line
    Jsonl,
    /// The released schemas
    Parquet,
}

impl Format {
    fn extension(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
        }
    }
}

pub(super) fn run(args: &Args) -> Result<Outcome, CommandError> {
    if args.distinct == Some(0) {
        return Err(CommandError::bad_input("--distinct is 0: expected 1 or more system messages"));
    }
    std::fs::create_dir_all(&args.out).map_err(|error| CommandError::bad_input(format!("{}: {error}", args.out.display())))?;
    let mini = Mini::new(args.seed);
    let train = mini.train(args.rows, args.distinct);
    let (pairs, helpful) = (mini.pairs(args.pairs), mini.helpful_pairs(args.helpful));
    let [dev, bench] = [Split::Dev, Split::Bench].map(|split| mini.eval(split, args.questions));
    let path = |name: &str| args.out.join(format!("{name}.{}", args.format.extension()));
    write_records(path("train"), &train).failure()?;
    write_records(path("pairs"), &pairs).failure()?;
    write_records(path("helpful"), &helpful).failure()?;
    write_records(path("dev"), &dev).failure()?;
    write_records(path("bench"), &bench).failure()?;
    let rows = json!({ "train": train.len(), "pairs": pairs.len(), "helpful": helpful.len(), "dev": dev.len(), "bench": bench.len() });
    let text = format!(
        "{}: {} rows to train on, {} pairs, {} of helpfulness, {} of dev, {} of bench",
        args.out.display(),
        train.len(),
        pairs.len(),
        helpful.len(),
        dev.len(),
        bench.len()
    );
    Ok(Outcome::done(text, json!({ "command": "data build-mini", "out": args.out, "seed": args.seed, "rows": rows })))
}
