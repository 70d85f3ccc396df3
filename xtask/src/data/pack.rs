//! `cargo xtask data pack`: rows as tokens on disk, and how they pack.

use std::path::PathBuf;

use janus_core::ChatTemplate;
use janus_data::sources::Source;
use janus_data::{Error, Packing, TokenFileInfo, Tokenising, Tokenizer};
use serde_json::json;

use super::FilesArgs;
use crate::command::{Blame as _, CommandError, Outcome};
use crate::progress::{Progress, Unit};

/// Tokenise rows into a token file, and pack them
///
/// The token file is reused when tokenizer, template, files and settings are those it was made of.
///
/// Reads:   FILES of conversations, of the layout --from; of pairs, the better answer is taken.
/// Writes:  DIR: tokens.bin, index.bin and info.json (rows, tokens, trained tokens, fingerprint, tokenizer, template). A recipe
///          that fine-tunes may name DIR as its data.path: its rows are read when their step comes.
/// Example: cargo xtask data pack sft.parquet --tokenizer tokenizer.json --out tokens --capacity 8192
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    input: FilesArgs,
    /// A tokenizer.json
    #[arg(long, value_name = "FILE")]
    tokenizer: PathBuf,
    /// Folder of the token file
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Chat template: mistral-instruct or chatml
    #[arg(long, value_name = "NAME", default_value = "mistral-instruct")]
    template: ChatTemplate,
    /// Layout of the files; the names are those of `data convert --from`
    #[arg(long, value_name = "LAYOUT", default_value = "sft")]
    from: Source,
    /// Tokens of a packed row; longer rows are left out and counted
    #[arg(long, value_name = "TOKENS", default_value_t = 8192)]
    capacity: usize,
}

pub(super) fn run(args: &Args) -> Result<Outcome, CommandError> {
    let tokenising = Tokenising {
        tokenizer: Tokenizer::read(&args.tokenizer).bad_input()?,
        template: args.template,
        files: args.input.paths()?,
        source: args.from,
        options: args.input.read.resolve()?,
    };
    let mut progress = Progress::new("pack", Unit::Count("rows"), 0);
    let (tokens, reused) = tokenising.token_file(&args.out, &mut || progress.advance(1)).map_err(|error| match &error {
        Error::Io { path, .. } | Error::TokenFile { path, .. } if path.starts_with(&args.out) => CommandError::failure(error),
        _ => CommandError::bad_input(error),
    })?;
    if !reused {
        progress.finish();
    }
    let packing = Packing::of(&tokens.lengths(), args.capacity).bad_input()?;
    let TokenFileInfo { rows, tokens, loss_tokens, fingerprint, .. } = tokens.info();
    let Packing { packed_rows, capacity, packing_efficiency, too_long, .. } = packing;
    let text = format!(
        "{}: {rows} rows, {tokens} tokens, {loss_tokens} trained{}\n{packed_rows} packed rows of {capacity}: {:.2}% full; {too_long} rows are longer",
        args.out.display(),
        if reused { " (reused)" } else { "" },
        100.0 * packing_efficiency
    );
    let report = json!({
        "command": "data pack", "out": args.out, "reused": reused, "rows": rows, "tokens": tokens, "trained_tokens": loss_tokens,
        "fingerprint": fingerprint, "packed_rows": packed_rows, "capacity": capacity, "packing_efficiency": packing_efficiency,
        "too_long": too_long,
    });
    Ok(Outcome::done(text, report))
}
