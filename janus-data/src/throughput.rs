//! Measures how fast this machine reads, tokenises, packs and deduplicates generated rows.

use std::path::Path;
use std::time::Instant;

use janus_core::{ChatTemplate, Dimension, Preference, PreferenceSet, SftRecord, stream};
use rand::Rng;
use rand::seq::IndexedRandom;
use serde::Serialize;

use crate::instructions::{NearDuplicates, Planted};
use crate::{
    Error, Packing, Result, TokenFile, TokenWriter, Tokenizer, Writer, pack_stream, read, token_rows,
};

/// The throughput from JSON lines to packed token rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TokenThroughput {
    /// Mean number of tokens of a row.
    pub mean_tokens: f64,
    /// Rows per second: read, rendered, tokenised, written and packed.
    pub rows_per_s: f64,
    /// The same in tokens per second.
    pub tokens_per_s: f64,
    /// Total time.
    pub seconds: f64,
    /// The rate of the tokenizer alone on one thread.
    pub tokenizer_one_thread_tokens_per_s: f64,
    /// The rate of the tokenizer's own parallel batches.
    pub tokenizer_batch_tokens_per_s: f64,
    /// `tokens_per_s` divided by the rate of the parallel batches.
    pub share_of_batch_rate: f64,
    /// `tokens_per_s` divided by the rate of one thread times the number of cores.
    pub share_of_one_core_per_core: f64,
    /// The efficiency of packing with first-fit-decreasing.
    pub packing_efficiency: f64,
    /// The time of packing with first-fit-decreasing.
    pub packing_seconds: f64,
    /// The efficiency of packing as a stream.
    pub stream_packing_efficiency: f64,
}

/// The throughput of Parquet files with preference sets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ParquetThroughput {
    /// Rows written per second, including reading them from JSON lines.
    pub parquet_write_rows_per_s: f64,
    /// Rows read per second.
    pub parquet_read_rows_per_s: f64,
    /// Size of the file in megabytes.
    pub parquet_mb: f64,
}

/// The throughput and recall of near-duplicate detection on generated instructions.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DeduplicationThroughput {
    /// Time for all instructions.
    pub dedup_seconds: f64,
    /// Instructions per second.
    pub dedup_rows_per_s: f64,
    /// Number of duplicates found among instructions without duplicates.
    pub dedup_found: usize,
    /// How well planted copies are found, by the share of their words that is replaced.
    pub planted: Vec<PlantedAt>,
}

/// How well copies with a share of replaced words are found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PlantedAt {
    /// The share, in percent.
    pub edited_percent: usize,
    /// How well they are found.
    #[serde(flatten)]
    pub found: Planted,
}

/// Generated rows of about 1,000 tokens in a folder, as JSON lines.
#[derive(Debug)]
pub struct Rows<'f> {
    folder: &'f Path,
    rows: usize,
}

impl<'f> Rows<'f> {
    /// Writes `rows.jsonl` into the folder.
    ///
    /// # Errors
    /// Those of writing.
    pub fn generate(folder: &'f Path, rows: usize) -> Result<Self> {
        let vocabulary = Vocabulary::new();
        let mut writer = Writer::create(folder.join("rows.jsonl"))?;
        for number in 0..rows {
            writer.write(row(&vocabulary, number))?;
        }
        writer.finish()?;
        Ok(Self { folder, rows })
    }

    /// Tokenises the rows into `tokens`, and packs them into rows of `capacity` tokens. Without a tokenizer,
    /// one is trained on the rows.
    ///
    /// # Errors
    /// Those of reading, tokenising and writing.
    pub fn tokens(&self, tokenizer: Option<Tokenizer>, capacity: usize) -> Result<TokenThroughput> {
        let (path, template) = (self.folder.join("rows.jsonl"), ChatTemplate::MistralInstruct);
        let sample: Vec<SftRecord> = read(&path)?.take(2000).collect::<Result<_>>()?;
        let tokenizer = match tokenizer {
            Some(tokenizer) => tokenizer,
            None => Tokenizer::train(
                sample.iter().map(|row| row.output.as_str()),
                16_000,
                template.special_tokens(),
            )?,
        };

        // The rates of the `tokenizers` library on the same texts: one thread, and its parallel batches.
        let texts: Vec<&str> = sample
            .iter()
            .flat_map(|row| [row.system.as_str(), row.prompt.as_str(), row.output.as_str()])
            .collect();
        let started = Instant::now();
        let one: usize =
            texts.iter().map(|text| tokenizer.encode(text).map(|ids| ids.len())).sum::<Result<_>>()?;
        let one_thread = one as f64 / started.elapsed().as_secs_f64();
        let started = Instant::now();
        let batch: usize = tokenizer.encode_batch(texts)?.iter().map(Vec::len).sum();
        let batch_rate = batch as f64 / started.elapsed().as_secs_f64();

        let started = Instant::now();
        let out = self.folder.join("tokens");
        let mut writer = TokenWriter::create(&out, "bench")?;
        let messages = read::<SftRecord>(&path)?.map(|row| row.map(|row| row.messages()));
        for row in token_rows(&tokenizer, template, messages) {
            writer.write(&row?)?;
        }
        let info = writer.finish()?;
        let file = TokenFile::open(&out)?;
        let packing = Instant::now();
        let packed = Packing::of(&file.lengths(), capacity)?;
        let packing_seconds = packing.elapsed().as_secs_f64();
        let seconds = started.elapsed().as_secs_f64();
        let streamed = pack_stream((0..file.len()).map(|row| file.row(row)), capacity, 1000);
        let streamed = streamed.filter(|row| !matches!(row, Err(Error::RowTooLong { .. })));
        let streamed: Vec<usize> = streamed.map(|row| row.map(|row| row.ids.len())).collect::<Result<_>>()?;

        let rate = info.tokens as f64 / seconds;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(TokenThroughput {
            mean_tokens: info.tokens as f64 / info.rows.max(1) as f64,
            rows_per_s: info.rows as f64 / seconds,
            tokens_per_s: rate,
            seconds,
            tokenizer_one_thread_tokens_per_s: one_thread,
            tokenizer_batch_tokens_per_s: batch_rate,
            share_of_batch_rate: rate / batch_rate,
            share_of_one_core_per_core: rate / (one_thread * threads as f64),
            packing_efficiency: packed.packing_efficiency,
            packing_seconds,
            stream_packing_efficiency: streamed.iter().sum::<usize>() as f64
                / (streamed.len() * capacity).max(1) as f64,
        })
    }

    /// Copies the rows into `rows.parquet` and reads it.
    ///
    /// # Errors
    /// Those of reading and writing; [`Error::Io`] if not all rows are read back.
    pub fn parquet(&self) -> Result<ParquetThroughput> {
        let path = self.folder.join("rows.parquet");
        let rows = read::<SftRecord>(self.folder.join("rows.jsonl"))?;
        let started = Instant::now();
        let mut writer = Writer::create(&path)?;
        for row in rows {
            writer.write(row?)?;
        }
        writer.finish()?;
        let written = started.elapsed().as_secs_f64();
        let started = Instant::now();
        let mut count = 0;
        for row in read::<SftRecord>(&path)? {
            count += usize::from(row?.preference_set.is_some());
        }
        let read = started.elapsed().as_secs_f64();
        let io = Error::io(&path, "read all rows of the file");
        if count != self.rows {
            return Err(io(std::io::Error::other(format!("{count} of {} rows were read back", self.rows))));
        }
        let bytes = std::fs::metadata(&path).map_err(io)?.len();
        let rate = |seconds: f64| self.rows as f64 / seconds;
        Ok(ParquetThroughput {
            parquet_write_rows_per_s: rate(written),
            parquet_read_rows_per_s: rate(read),
            parquet_mb: bytes as f64 / 1e6,
        })
    }
}

/// Searches for near-duplicates among generated instructions, and for planted copies.
pub fn deduplicate(instructions: usize) -> DeduplicationThroughput {
    let vocabulary = Vocabulary::new();
    let mut rng = stream(0, "bench instructions");
    let mut text = || {
        let words = rng.random_range(15..60);
        vocabulary.words(words, &mut rng)
    };
    let texts: Vec<String> = (0..instructions).map(|_| text()).collect();
    let near = NearDuplicates::default();
    let started = Instant::now();
    let dedup_found = near.find(&texts).count();
    let dedup_seconds = started.elapsed().as_secs_f64();
    drop(texts);
    // Half of the texts have a copy with a share of replaced words; the others have none.
    let mut planted = |edited_percent| {
        let texts: Vec<String> = (0..2000).map(|_| vocabulary.words(60, &mut rng)).collect();
        PlantedAt { edited_percent, found: near.planted(texts, 1000, edited_percent, &mut rng) }
    };
    let planted = [5, 10, 20, 40].map(&mut planted).into();
    DeduplicationThroughput {
        dedup_seconds,
        dedup_rows_per_s: instructions as f64 / dedup_seconds,
        dedup_found,
        planted,
    }
}

/// Words with lengths and frequencies like those of English.
struct Vocabulary(Vec<String>);

impl Vocabulary {
    fn new() -> Self {
        let mut rng = stream(0, "bench vocabulary");
        let parts = [
            "an", "ter", "is", "ol", "e", "ra", "tion", "min", "co", "s", "ent", "a", "lu", "per", "ing",
            "ed", "o", "ve",
        ];
        let word = |_| (0..rng.random_range(1..4)).filter_map(|_| parts.choose(&mut rng).copied()).collect();
        Self((0..20_000).map(word).collect())
    }

    /// Draws words; small ranks are frequent, as in natural text.
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
    let preference = |dimension| {
        Preference::new(
            dimension,
            "kind",
            format!("label {}", number % 977),
            "What an answer does that serves this want.",
        )
    };
    // Lengths are spread like those of real answers.
    let answer = (rng.random_range(5.0f64.ln()..1500.0f64.ln())).exp() as usize + rng.random_range(200..720);
    SftRecord {
        main_source: "bench".into(),
        original_source: String::new(),
        preference_set: PreferenceSet::new(Dimension::ALL.map(preference)).ok(),
        system: vocabulary.words(rng.random_range(90..170), &mut rng),
        prompt: vocabulary.words(rng.random_range(10..90), &mut rng),
        output: vocabulary.words(answer, &mut rng),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_steps_are_measured_on_the_same_rows() {
        let folder = tempfile::tempdir().unwrap();
        let rows = Rows::generate(folder.path(), 40).unwrap();
        let tokens = rows.tokens(None, 8192).unwrap();
        assert!(
            (tokens.rows_per_s * tokens.seconds - 40.0).abs() < 1e-6 && tokens.packing_efficiency > 0.5,
            "{tokens:?}"
        );
        assert!(rows.parquet().unwrap().parquet_mb > 0.0);
        let found = deduplicate(100);
        assert_eq!((found.dedup_found, found.planted.len()), (0, 4));
        assert!(found.planted[0].found.recall > found.planted[3].found.recall, "{found:?}");
    }
}
