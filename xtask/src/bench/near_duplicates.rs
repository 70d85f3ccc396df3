//! `cargo xtask bench near-duplicates`: how many near-duplicates are found, by how alike they are.

use janus_data::instructions::{NearDuplicates, Recall};
use serde_json::json;

use crate::command::{CommandError, Outcome};

/// Measure the recall of near-duplicates by their likeness
///
/// Generated pairs, each a text and a copy with replaced words, are put in order by their true likeness
/// (Jaccard of sequences of five words); the table gives the share that locality-sensitive hashing finds and
/// the share that its formula expects. docs/near-duplicates.md holds this table.
///
/// Reads:   nothing.
/// Writes:  nothing; the table goes to stdout, as Markdown.
/// Example: cargo xtask bench near-duplicates --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Pairs
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pairs: usize,
    /// Rows of the table
    #[arg(long, value_name = "N", default_value_t = 20)]
    bins: usize,
    /// Seed of the pairs
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub(super) fn run(args: &Args) -> Result<Outcome, CommandError> {
    if args.pairs == 0 || args.bins == 0 {
        return Err(CommandError::bad_input("--pairs and --bins are numbers from 1 on"));
    }
    let near = NearDuplicates::default();
    let table = near.recall(args.pairs, args.bins, args.seed);
    let row = |row: &Recall| {
        let expected = row.expected / row.pairs as f64;
        format!("| {:.2} to {:.2} | {:.3} | {} | {:.4} | {expected:.4} |", row.from, row.below, row.jaccard, row.pairs, row.recall())
    };
    let head = "| likeness | mean | pairs | found | expected |\n| --- | ---: | ---: | ---: | ---: |".to_string();
    let lines: Vec<String> = std::iter::once(head).chain(table.iter().filter(|found| found.pairs > 0).map(row)).collect();
    let rows: Vec<_> = table
        .iter()
        .filter(|row| row.pairs > 0)
        .map(|row| {
            json!({ "from": row.from, "below": row.below, "jaccard": row.jaccard, "pairs": row.pairs, "recall": row.recall(),
                    "expected": row.expected / row.pairs as f64 })
        })
        .collect();
    let report = json!({
        "command": "bench near-duplicates", "shingle": near.shingle, "bands": near.bands, "rows": near.rows, "seed": args.seed,
        "table": rows,
    });
    Ok(Outcome::done(lines.join("\n"), report))
}
