//! Commands that write rows: Multifaceted Mini, conversions, mixes, deduplication, token files.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use janus_core::{BenchRecord, ChatTemplate, PairRecord, RewardRecord, SftRecord};
use janus_data::construct::OutputFormat;
use janus_data::instructions::{Cleaned, Cleaning, Dropped, Filter, read_instructions};
use janus_data::mini::{Mini, MiniFiles, MiniSizes};
use janus_data::progress::{Progress, Unit};
use janus_data::sources::Source;
use janus_data::{
    Converted, Error, LossMessages, MixPart, MixedPart, Packing, RecordKind, Row, Skipped, Target,
    TokenFileInfo, Tokenised, Tokenising, Tokenizer, convert as convert_rows, convert_records, read_files,
    write_all, write_records,
};
use serde_json::json;

use super::{FilesArgs, ReadArgs, warn};
use crate::command::{Blame as _, CommandError, Outcome, make_folder, one_of, report};

/// Write Multifaceted Mini: training rows, pairs, and two benches
///
/// Mini is a synthetic world in which a rule-based grader can score any answer.
/// Every training row has its own system message, unless --distinct limits their
/// number. Train, dev and bench share no preference combination, no paraphrase of a
/// preference, no sentence template of a system message and no wording of a
/// question. Equal arguments give equal bytes.
///
/// Reads:   nothing.
/// Writes:  OUT/train, pairs, helpful, dev and bench, as .jsonl or .parquet.
/// Example: cargo xtask data build-mini --out mini
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct BuildMiniArgs {
    /// Folder for the files
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// Training rows
    #[arg(long, value_name = "N", default_value_t = 11_000)]
    rows: usize,
    /// Number of different system messages in the training rows [default: one for each row]
    #[arg(long, value_name = "N")]
    distinct: Option<usize>,
    /// Pairs of a better and a worse response
    #[arg(long, value_name = "N", default_value_t = 4_000)]
    pairs: usize,
    /// Pairs of a more and a less helpful response, without system messages
    #[arg(long, value_name = "N", default_value_t = 4_000)]
    helpful: usize,
    /// Questions in dev and in bench, each under three system messages
    #[arg(long, value_name = "N", default_value_t = 200)]
    questions: usize,
    /// Format of the files: jsonl, or parquet in the released schemas
    #[arg(long, value_name = "FORMAT", default_value = "jsonl")]
    format: OutputFormat,
    /// Seed of the generated data
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub(super) fn build_mini(args: &BuildMiniArgs) -> Result<Outcome, CommandError> {
    let &BuildMiniArgs { rows, distinct, pairs, helpful, questions, format, seed, .. } = args;
    let refused = || CommandError::bad_input("--distinct is 0: expected 1 or more system messages");
    let distinct = distinct.map(|distinct| NonZeroUsize::new(distinct).ok_or_else(refused)).transpose()?;
    make_folder(&args.out)?;
    let rows = Mini::new(seed)
        .write(&args.out, &MiniSizes { rows, distinct, pairs, helpful, questions }, format)
        .failure()?;
    let MiniFiles { train, pairs, helpful, dev, bench } = rows;
    let out = args.out.display();
    let text = format!(
        "{out}: {train} training rows, {pairs} pairs, {helpful} helpfulness pairs, {dev} dev rows, {bench} bench rows"
    );
    Ok(Outcome::done(
        text,
        json!({ "command": "data build-mini", "out": args.out, "seed": seed, "rows": rows }),
    ))
}

/// Convert rows to another layout or file format
///
/// OUT's extension sets the format: .jsonl, .json, .csv, .parquet, .arrow, each
/// also with .gz or .zst. Parquet and Arrow files hold records (sft, pairs, reward,
/// bench) in the schemas of the released datasets.
///
/// Reads:   FILES of the layout --from: this project's (sft, pairs, reward, bench),
///          common ones (sharegpt, alpaca, openai, prompt-completion), or a
///          dataset's: hh-rlhf, oasst1-pairwise, webgpt, ultrafeedback, nectar,
///          openhermes, chatbot-arena, dsp, flask, koala, self-instruct, mt-bench,
///          alpaca-eval.
/// Writes:  OUT, rows of the layout --to: sft, pairs, reward, bench, instructions,
///          sharegpt, alpaca, openai or hh-rlhf. Rows that do not fit the layout
///          (ties, several turns) are left out and counted by reason, and fields
///          that are not read are counted by name.
/// Example: cargo xtask data convert --from hh-rlhf --to pairs \
///          --out pairs.parquet train.jsonl.gz
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct ConvertArgs {
    #[command(flatten)]
    input: FilesArgs,
    /// Layout of FILES
    #[arg(long, value_name = "LAYOUT")]
    from: String,
    /// Layout of OUT
    #[arg(long, value_name = "LAYOUT")]
    to: Target,
    /// File to write
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// Take only the first N rows
    #[arg(long, value_name = "ROWS")]
    limit: Option<usize>,
    /// Skip rows that cannot be read, and count them
    #[arg(long)]
    skip_bad_rows: bool,
}

pub(super) fn convert(args: &ConvertArgs) -> Result<Outcome, CommandError> {
    let mut skipped = Skipped::default();
    let mut converted = converted(args, &mut skipped)?;
    converted.bad_rows = skipped.rows;
    warn("convert", &skipped);
    let left_out: Vec<String> =
        converted.left_out.iter().map(|(reason, count)| format!("{count} left out: {reason}")).collect();
    let mut text = format!("{}: {} rows of {}", args.out.display(), converted.written, converted.read);
    if converted.bad_rows > 0 {
        text += &format!(", {} could not be read", converted.bad_rows);
    }
    if !converted.unread.is_empty() {
        text += &format!("\nfields that {} does not read (rows): {}", args.from, converted.unread);
    }
    let mut report = report("data convert", converted)?;
    report["out"] = json!(args.out);
    Ok(Outcome::done([vec![text], left_out].concat().join("\n"), report))
}

fn converted(args: &ConvertArgs, skipped: &mut Skipped) -> Result<Converted, CommandError> {
    let options = args.input.read.resolve()?;
    let files = args.input.paths()?;
    let limit = args.limit.unwrap_or(usize::MAX);
    let skip = args.skip_bad_rows.then_some(skipped);
    // Records that only change their file format skip the conversion between layouts.
    if let (Ok(kind), Target::Records(to)) = (args.from.parse::<RecordKind>(), args.to)
        && kind == to
    {
        macro_rules! same {
            ($record:ty) => {
                convert_records(
                    read_files::<$record>(files.clone(), options.clone()).take(limit),
                    &args.out,
                    skip,
                )
            };
        }
        let mut converted = match kind {
            RecordKind::Sft => same!(SftRecord),
            RecordKind::Pairs => same!(PairRecord),
            RecordKind::Reward => same!(RewardRecord),
            RecordKind::Bench => same!(BenchRecord),
        }
        .bad_input()?;
        for row in read_files::<Row>(files, options).take(limit).filter_map(Result::ok) {
            kind.other_fields(&row).for_each(|field| converted.unread.add(field));
        }
        return Ok(converted);
    }
    let source: Source =
        args.from.parse().map_err(|problem| CommandError::bad_input(format!("--from: {problem}")))?;
    let first = files[0].clone();
    options.check_columns(&files, &*source).bad_input()?;
    let rows = read_files::<Row>(files, options).take(limit);
    convert_rows(rows, (&*source, first.as_path()), args.to, &args.out, skip).bad_input()
}

/// Mix sources of pairs by probability, as for the reward model's second stage
///
/// Each row is taken from a part that is drawn with the part's probability. A part
/// that is exhausted starts over, until every part was exhausted once or --limit
/// rows are written. Dialogues become messages, so that training renders all of
/// them with one template. The paper's mix: hh-rlhf 0.72, oasst1-pairwise 0.14,
/// webgpt 0.14, seed 42, 66,000 rows.
///
/// Reads:   the files of the parts.
/// Writes:  OUT: pair rows (system, prompt, chosen, rejected), in the format of its
///          extension.
/// Example: cargo xtask data mix --part hh-rlhf:0.72:hh.jsonl.gz \
///          --part webgpt:0.28:webgpt.jsonl.gz --out stage2.jsonl --limit 66000 \
///          --seed 42
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct MixArgs {
    /// Layout, probability and file (or pattern) of a part; repeatable. Layouts are those of `data
    /// convert --from`
    #[arg(long = "part", value_name = "LAYOUT:P:FILE", required = true)]
    parts: Vec<MixPart>,
    /// File to write
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// Maximum number of rows
    #[arg(long, value_name = "ROWS")]
    limit: Option<usize>,
    /// Seed of the draws
    #[arg(long, default_value_t = 42)]
    seed: u64,
    #[command(flatten)]
    read: ReadArgs,
}

pub(super) fn mix(args: &MixArgs) -> Result<Outcome, CommandError> {
    let (rows, parts) =
        MixPart::mix(&args.parts, &args.read.resolve()?, args.limit, args.seed).bad_input()?;
    write_records(&args.out, &rows).failure()?;
    let line = |part: &MixedPart| {
        let MixedPart { part, rows, left_out, taken, restarts, .. } = part;
        format!(
            "\n{part}: {taken} rows taken of {rows} ({left_out} without a pair), restarted {restarts} times"
        )
    };
    let text =
        format!("{}: {} rows{}", args.out.display(), rows.len(), parts.iter().map(line).collect::<String>());
    Ok(Outcome::done(
        text,
        json!({ "command": "data mix", "out": args.out, "rows": rows.len(), "parts": parts }),
    ))
}

/// Clean instructions: drop duplicates and unfit ones, sample the rest
///
/// Steps, each printed with its count and examples: exact duplicates (ignoring case
/// and white space); filters (length, language, garbled text, personas and system
/// messages); near-duplicates (MinHash with 14 bands of 8 hashes over shingles of
/// five words, then an exact comparison); with --sample, a sample that is even over
/// the sources.
///
/// Reads:   FILE: rows with `prompt` or `instruction`; `id`, `main_source`,
///          `original_source` where they have them.
/// Writes:  OUT: {id, prompt, main_source, original_source} of the instructions
///          that are kept.
/// Example: cargo xtask data dedup instructions.jsonl --out clean.jsonl \
///          --sample 65000
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct DedupArgs {
    /// File of instructions
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// File to write: .jsonl, .json or .csv
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// Jaccard index of shingles of five words from which two instructions are near-duplicates
    #[arg(long, value_name = "SHARE", default_value_t = 0.6)]
    min_jaccard: f64,
    /// Switch the filters off
    #[arg(long)]
    no_filters: bool,
    /// Keep instructions of any language
    #[arg(long)]
    any_language: bool,
    /// Size of the sample
    #[arg(long, value_name = "N")]
    sample: Option<usize>,
    /// Seed of the sample
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Examples to print for each step
    #[arg(long, value_name = "N", default_value_t = 3)]
    examples: usize,
    /// Skip rows that cannot be read, and count them
    #[arg(long)]
    skip_bad_rows: bool,
    #[command(flatten)]
    read: ReadArgs,
}

pub(super) fn dedup(args: &DedupArgs) -> Result<Outcome, CommandError> {
    let mut skipped = Skipped::default();
    let skip = args.skip_bad_rows.then_some(&mut skipped);
    let instructions = read_instructions(&args.file, &args.read.resolve()?, None, skip).bad_input()?;
    warn("dedup", &skipped);
    let Cleaned { read, kept, steps, .. } = args.cleaning().clean(instructions);
    write_all(&args.out, &kept).failure()?;

    let mut text = format!("{}: {} of {read} instructions", args.out.display(), kept.len());
    for Dropped { step, dropped, examples, .. } in &steps {
        text += &format!("\n{dropped} dropped: {step}");
        examples.iter().for_each(|example| text += &format!("\n    {}", json!(example)));
    }
    let report = json!({
        "command": "data dedup",
        "out": args.out,
        "read": read,
        "kept": kept.len(),
        "bad_rows": skipped.rows,
        "steps": steps,
    });
    Ok(Outcome::done(text, report))
}

impl DedupArgs {
    fn cleaning(&self) -> Cleaning {
        let mut filter = Filter::default();
        filter.english = !self.any_language;
        let mut cleaning = Cleaning::default();
        cleaning.filter = (!self.no_filters).then_some(filter);
        cleaning.near.min_jaccard = self.min_jaccard;
        cleaning.sample = self.sample.map(|count| (count, self.seed));
        cleaning.examples = self.examples;
        cleaning
    }
}

/// Tokenise rows into a token file, and pack them
///
/// An existing token file is reused if it was made with the same tokenizer,
/// template, files and settings.
///
/// Reads:   FILES of conversations, in the layout --from. Of pairs, only the better
///          answer is taken, or both with --pairs. Other rows are left out and
///          counted.
/// Writes:  DIR: tokens.bin, index.bin and info.json (rows, tokens, tokens in the
///          loss, fingerprint, tokenizer, template). A recipe may name DIR as its
///          data.path: rows are read from disk when a step needs them.
/// Example: cargo xtask data pack sft.parquet --tokenizer tokenizer.json \
///          --out tokens --capacity 8192
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct PackArgs {
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
    /// Keep both answers of each pair, for DPO, ORPO and reward models
    #[arg(long)]
    pairs: bool,
    /// Which of the assistant's messages are in the loss: all, or the last one
    #[arg(long, value_name = "MESSAGES", default_value = "all", conflicts_with = "pairs", value_parser = one_of(LOSS_MESSAGES))]
    loss: LossMessages,
    /// Capacity of a packed row, in tokens; a conversation that is longer is left out and counted
    #[arg(long, value_name = "TOKENS", default_value_t = 8192)]
    capacity: usize,
}

const LOSS_MESSAGES: [(&str, &str, LossMessages); 2] =
    [("all", "", LossMessages::All), ("last", "", LossMessages::Last)];

pub(super) fn pack(args: &PackArgs) -> Result<Outcome, CommandError> {
    let tokenising = Tokenising {
        tokenizer: Tokenizer::read(&args.tokenizer).bad_input()?,
        template: args.template,
        files: args.input.paths()?,
        source: args.from,
        pairs: args.pairs,
        loss: args.loss,
        options: args.input.read.resolve()?,
    };
    let mut progress = Progress::new("pack", Unit::Count("rows"), 0);
    let made =
        tokenising.token_file(&args.out, &mut || progress.advance(1)).map_err(|error| match &error {
            Error::Io { path, .. } | Error::TokenFile { path, .. } if path.starts_with(&args.out) => {
                CommandError::failure(error)
            }
            _ => CommandError::bad_input(error),
        })?;
    let Tokenised { file: tokens, reused, left_out, .. } = made;
    if !reused {
        progress.finish();
    }
    let packing = Packing::of(&tokens.lengths(), args.capacity).bad_input()?;
    let TokenFileInfo { pairs, rows, tokens, loss_tokens, fingerprint, .. } = tokens.info();
    let Packing { packed_rows, capacity, packing_efficiency, too_long, .. } = packing;
    let text = format!(
        "{}: {rows} rows, {tokens} tokens, {loss_tokens} in the loss{}{}\n{packed_rows} packed rows of {capacity}: {:.2}% full; {too_long} rows are longer",
        args.out.display(),
        if reused { " (reused)" } else { "" },
        left_out
            .filter(|rows| *rows > 0)
            .map(|rows| format!("; {rows} rows are left out"))
            .unwrap_or_default(),
        100.0 * packing_efficiency
    );
    let report = json!({
        "command": "data pack", "out": args.out, "reused": reused, "pairs": pairs, "left_out": left_out, "rows": rows, "tokens": tokens, "trained_tokens": loss_tokens,
        "fingerprint": fingerprint, "packed_rows": packed_rows, "capacity": capacity, "packing_efficiency": packing_efficiency,
        "too_long": too_long,
    });
    Ok(Outcome::done(text, report))
}
