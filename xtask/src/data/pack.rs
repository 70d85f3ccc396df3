//! `cargo xtask data pack`: rows as tokens on disk, and how they pack.

use std::path::PathBuf;

use janus_core::{ChatTemplate, Message};
use janus_data::sources::{RowContent, Source};
use janus_data::{Row, TokenFile, TokenFileInfo, TokenWriter, Tokenizer, pack_lengths, read_files, token_rows};
use serde_json::json;

use super::rows::FilesArgs;
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
    let tokenizer = Tokenizer::read(&args.tokenizer).bad_input()?;
    let files = args.input.paths()?;
    let options = args.input.read.resolve()?;
    let settings = format!("{} {:?} {}", args.from, options.columns, env!("CARGO_PKG_VERSION"));
    let fingerprint = TokenFileInfo::fingerprint_of(&tokenizer, args.template, &files, &settings).bad_input()?;
    let reused = TokenFile::reuse(&args.out, &fingerprint).bad_input()?;
    // One that an earlier version wrote does not say what it was made with.
    let reused = reused.filter(|tokens| tokens.check_made_with(&tokenizer, args.template).is_ok());
    let was_reused = reused.is_some();
    let tokens = match reused {
        Some(tokens) => tokens,
        None => {
            let writer = TokenWriter::create(&args.out, &fingerprint).and_then(|writer| writer.made_with(&tokenizer, args.template));
            let mut writer = writer.failure()?;
            let mut progress = Progress::new("pack", Unit::Count("rows"), 0);
            let source = args.from;
            let first = files[0].clone();
            let messages = read_files::<Row>(files, options).zip(1..).map(move |(read, row)| {
                let content = source.content(&read?).map_err(|error| error.at(&first, row))?;
                Ok::<_, janus_data::Error>(match content {
                    RowContent::Conversation(conversation) => conversation.messages,
                    RowContent::Comparison(pair) => pair.better().messages,
                    _ => Vec::<Message>::new(),
                })
            });
            let messages = messages.filter(|messages| !matches!(messages, Ok(messages) if messages.is_empty()));
            for row in token_rows(&tokenizer, args.template, messages) {
                writer.write(&row.bad_input()?).failure()?;
                progress.advance(1);
            }
            progress.finish();
            writer.finish().failure()?;
            TokenFile::open(&args.out).failure()?
        }
    };
    let lengths = tokens.lengths();
    let fitting: Vec<usize> = lengths.iter().copied().filter(|&length| length <= args.capacity).collect();
    let packed = pack_lengths(&fitting, args.capacity).bad_input()?;
    let (used, too_long) = (fitting.iter().sum::<usize>(), lengths.len() - fitting.len());
    let efficiency = used as f64 / (packed.len() * args.capacity).max(1) as f64;
    let info = tokens.info();
    let text = format!(
        "{}: {} rows, {} tokens, {} trained{}\n{} packed rows of {}: {:.2}% full; {too_long} rows are longer",
        args.out.display(),
        info.rows,
        info.tokens,
        info.loss_tokens,
        if was_reused { " (reused)" } else { "" },
        packed.len(),
        args.capacity,
        100.0 * efficiency
    );
    let report = json!({
        "command": "data pack",
        "out": args.out,
        "reused": was_reused,
        "rows": info.rows,
        "tokens": info.tokens,
        "trained_tokens": info.loss_tokens,
        "fingerprint": info.fingerprint,
        "packed_rows": packed.len(),
        "capacity": args.capacity,
        "packing_efficiency": efficiency,
        "too_long": too_long,
    });
    Ok(Outcome::done(text, report))
}
