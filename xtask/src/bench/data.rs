//! `cargo xtask bench data`: the data layer at scale, on generated rows.

use std::path::Path;
use std::time::Instant;

use janus_core::{ChatTemplate, Dimension, Preference, PreferenceSet, SftRecord, stream};
use janus_data::instructions::{NearDuplicates, Planted};
use janus_data::{Packing, TokenFile, TokenWriter, Tokenizer, Writer, pack_stream, read, token_rows};
use rand::Rng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use super::{peak_mb, threads};
use crate::command::{Blame as _, CommandError, Outcome};

/// Measure reading, tokenising, packing, deduplication and Parquet on generated data
///
/// Stages: (1) read JSON lines, render, tokenise and write a token file; then pack it, first-fit-decreasing and
/// as a stream; (2) near-duplicates of generated instructions, and recall and precision on planted ones; (3)
/// Parquet with preference sets, written and read. Needs about 2.5 GB of disk at the default sizes.
///
/// Reads:   nothing; with --tokenizer, a tokenizer.json in place of one that is trained on the rows.
/// Writes:  nothing that stays; the figures go to stdout: rows_per_s, tokens_per_s, peak_mb,
///          packing_efficiency, dedup_rows_per_s and more.
/// Example: cargo xtask bench data --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Rows of about 1,000 tokens
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    rows: usize,
    /// Instructions to deduplicate
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    instructions: usize,
    /// Tokens of a packed row
    #[arg(long, value_name = "TOKENS", default_value_t = 8192)]
    capacity: usize,
    /// A tokenizer.json
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<std::path::PathBuf>,
    /// Folder for the generated files; they are removed at the end
    #[arg(long, value_name = "DIR")]
    scratch: Option<std::path::PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<Outcome, CommandError> {
    let folder = match &args.scratch {
        Some(scratch) => tempfile::tempdir_in(scratch),
        None => tempfile::tempdir(),
    };
    let folder = folder.failure()?;
    let mut report = json!({ "command": "bench data", "rows": args.rows, "instructions": args.instructions, "threads": threads() });
    tokens(args, folder.path(), &mut report)?;
    parquet(args, folder.path(), &mut report)?;
    // Before the instructions, all of which are held: peak_mb is of what streams.
    report["peak_mb"] = json!(peak_mb());
    deduplication(args, &mut report);
    report["peak_mb_with_dedup"] = json!(peak_mb());
    let shown = report.as_object().into_iter().flatten().filter(|(name, _)| *name != "command");
    let lines: Vec<String> = shown.map(|(name, value)| format!("{name}: {value}")).collect();
    Ok(Outcome::done(lines.join("\n"), report))
}

/// Words with the lengths and the unevenness of English.
struct Vocabulary(Vec<String>);

impl Vocabulary {
    fn new() -> Self {
        let mut rng = stream(0, "bench vocabulary");
        let parts = ["an", "ter", "is", "ol", "e", "ra", "tion", "min", "co", "s", "ent", "a", "lu", "per", "ing", "ed", "o", "ve"];
        let word = |_| (0..rng.random_range(1..4)).filter_map(|_| parts.choose(&mut rng).copied()).collect();
        Self((0..20_000).map(word).collect())
    }

    /// Small ranks are frequent, as in text.
    fn words(&self, count: usize, rng: &mut impl Rng) -> String {
        let mut text = String::with_capacity(count * 6);
        for at in 0..count {
            let rank = (self.0.len() as f64).powf(rng.random::<f64>()) as usize - 1;
            if at > 0 {
                text.push(if at % 12 == 0 { ',' } else { ' ' });
                if at % 12 == 0 {
                    text.push(' ');
                }
            }
            text += &self.0[rank.min(self.0.len() - 1)];
        }
        text
    }
}

fn row(vocabulary: &Vocabulary, number: usize) -> SftRecord {
    let mut rng = stream(number as u64, "bench row");
    let want =
        |dimension| Preference::new(dimension, "kind", format!("label {}", number % 977), "What an answer does that serves this want.");
    // Lengths spread as those of answers are.
    let answer = (rng.random_range(5.0f64.ln()..1500.0f64.ln())).exp() as usize + rng.random_range(200..720);
    SftRecord {
        main_source: "bench".into(),
        original_source: String::new(),
        preference_set: PreferenceSet::new(Dimension::ALL.map(want)).ok(),
        system: vocabulary.words(rng.random_range(90..170), &mut rng),
        prompt: vocabulary.words(rng.random_range(10..90), &mut rng),
        output: vocabulary.words(answer, &mut rng),
    }
}

fn tokens(args: &Args, folder: &Path, report: &mut Value) -> Result<(), CommandError> {
    let vocabulary = Vocabulary::new();
    let path = folder.join("rows.jsonl");
    let mut writer = Writer::create(&path).failure()?;
    for number in 0..args.rows {
        writer.write(row(&vocabulary, number)).failure()?;
    }
    writer.finish().failure()?;

    let template = ChatTemplate::MistralInstruct;
    let sample: Vec<SftRecord> = read(&path).failure()?.take(2000).collect::<Result<_, _>>().failure()?;
    let tokenizer = match &args.tokenizer {
        Some(path) => Tokenizer::read(path).bad_input()?,
        None => Tokenizer::train(sample.iter().map(|row| row.output.as_str()), 16_000, template.special_tokens()).failure()?,
    };

    // The library's own rates, on the same texts: one thread, and its parallel batches.
    let texts: Vec<&str> = sample.iter().flat_map(|row| [row.system.as_str(), row.prompt.as_str(), row.output.as_str()]).collect();
    let started = Instant::now();
    let one: usize = texts.iter().map(|text| tokenizer.encode(text).map(|ids| ids.len())).sum::<Result<_, _>>().failure()?;
    let one_thread = one as f64 / started.elapsed().as_secs_f64();
    let started = Instant::now();
    let batch: usize = tokenizer.encode_batch(texts).failure()?.iter().map(Vec::len).sum();
    let batch_rate = batch as f64 / started.elapsed().as_secs_f64();

    let started = Instant::now();
    let out = folder.join("tokens");
    let mut writer = TokenWriter::create(&out, "bench").failure()?;
    let messages = read::<SftRecord>(&path).failure()?.map(|row| row.map(|row| row.messages()));
    for row in token_rows(&tokenizer, template, messages) {
        writer.write(&row.failure()?).failure()?;
    }
    let info = writer.finish().failure()?;
    let file = TokenFile::open(&out).failure()?;
    let packing = Instant::now();
    let packed = Packing::of(&file.lengths(), args.capacity).failure()?;
    let pack_seconds = packing.elapsed().as_secs_f64();
    let seconds = started.elapsed().as_secs_f64();
    let streamed = pack_stream((0..file.len()).map(|row| file.row(row)), args.capacity, 1000);
    let streamed = streamed.filter(|row| !matches!(row, Err(janus_data::Error::RowTooLong { .. })));
    let streamed: Vec<usize> = streamed.map(|row| row.map(|row| row.ids.len())).collect::<Result<_, _>>().failure()?;

    let rate = info.tokens as f64 / seconds;
    report["mean_tokens"] = json!(info.tokens as f64 / info.rows.max(1) as f64);
    report["rows_per_s"] = json!(info.rows as f64 / seconds);
    report["tokens_per_s"] = json!(rate);
    report["seconds"] = json!(seconds);
    report["tokenizer_one_thread_tokens_per_s"] = json!(one_thread);
    report["tokenizer_batch_tokens_per_s"] = json!(batch_rate);
    report["share_of_batch_rate"] = json!(rate / batch_rate);
    report["share_of_one_core_per_core"] = json!(rate / (one_thread * threads() as f64));
    report["packing_efficiency"] = json!(packed.packing_efficiency);
    report["packing_seconds"] = json!(pack_seconds);
    let room = (streamed.len() * args.capacity).max(1);
    report["stream_packing_efficiency"] = json!(streamed.iter().sum::<usize>() as f64 / room as f64);
    Ok(())
}

fn parquet(args: &Args, folder: &Path, report: &mut Value) -> Result<(), CommandError> {
    let path = folder.join("rows.parquet");
    let rows = read::<SftRecord>(folder.join("rows.jsonl")).failure()?;
    let started = Instant::now();
    let mut writer = Writer::create(&path).failure()?;
    for row in rows {
        writer.write(row.failure()?).failure()?;
    }
    writer.finish().failure()?;
    let written = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let mut count = 0;
    for row in read::<SftRecord>(&path).failure()? {
        count += usize::from(row.failure()?.preference_set.is_some());
    }
    if count != args.rows {
        return Err(CommandError::failure(format!("{count} of {} rows came back", args.rows)));
    }
    // Writing includes the reading of the JSON lines that it copies.
    report["parquet_write_rows_per_s"] = json!(args.rows as f64 / written);
    report["parquet_read_rows_per_s"] = json!(args.rows as f64 / started.elapsed().as_secs_f64());
    report["parquet_mb"] = json!(std::fs::metadata(&path).failure()?.len() as f64 / 1e6);
    Ok(())
}

fn deduplication(args: &Args, report: &mut Value) {
    let vocabulary = Vocabulary::new();
    let mut rng = stream(0, "bench instructions");
    let texts: Vec<String> = (0..args.instructions)
        .map(|_| {
            let words = rng.random_range(15..60);
            vocabulary.words(words, &mut rng)
        })
        .collect();
    let near = NearDuplicates::default();
    let started = Instant::now();
    let found = near.find(&texts).count();
    let seconds = started.elapsed().as_secs_f64();
    report["dedup_seconds"] = json!(seconds);
    report["dedup_rows_per_s"] = json!(args.instructions as f64 / seconds);
    report["dedup_found"] = json!(found);
    drop(texts);

    // Each text once as it is and once with a share of its words replaced, among others that nothing repeats.
    let mut planted = Vec::new();
    for percent in [5, 10, 20, 40] {
        let texts: Vec<String> = (0..2000).map(|_| vocabulary.words(60, &mut rng)).collect();
        let Planted { mean_jaccard, recall, precision } = near.planted(texts, 1000, percent, &mut rng);
        planted.push(json!({ "edited_percent": percent, "mean_jaccard": mean_jaccard, "recall": recall, "precision": precision }));
    }
    report["planted"] = json!(planted);
}
