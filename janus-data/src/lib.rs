//! Preference data: files of records, the synthetic world Multifaceted Mini, tokenisation with loss masks,
//! packing.
//!
//! * [`read`], [`read_all`]: rows of JSON, JSON lines, CSV, Parquet and Arrow as a stream of `Result<T>`,
//!   whose errors name the file, the row and the field.
//! * [`Writer`], [`write_all`], [`write_records`], [`write_file`]: files that appear complete or not at all.
//! * [`fs`]: atomic files and folders, locks, fingerprints. [`provenance`]: revision, machine and time of a
//!   run.
//! * [`stage`]: resumable runs of stages. Each stage runs once for its configuration and inputs.
//! * [`validate()`], [`Stats`]: reports on all problems of record files, and statistics of their rows.
//! * [`Journal`], [`CallJournal`], [`Journaled`]: journals of answers, so that no answer is requested and
//!   paid for twice.
//! * [`instructions`]: cleans instructions: duplicates, personas, overlap with a bench.
//! * [`sources`]: readers for other datasets and layouts. [`convert`] converts between layouts, [`mix`] mixes
//!   several files.
//! * [`construct`]: constructs a Multifaceted Collection with any chat model.
//! * [`Tokenizer`]: text to token ids, for training and inference.
//! * [`mini`]: Multifaceted Mini, a world in which rules score how well an answer fits its reader.
//! * [`PairRows`]: tokenised preference pairs, truncated to a length on the left of the prompt.
//! * [`TokenRow`], [`pack`]: token ids with a loss mask, and several conversations packed into one row.
//! * [`token_rows`], [`token_pairs`], [`Tokenising`], [`TokenFile`], [`PairFile`], [`pack_stream`]: the same
//!   at scale: in parallel, on disk, as a stream.
//! * [`Dataset`]: training rows, in memory or on disk; [`Subset`]. [`throughput`]: measures how fast this
//!   machine does all this.
//!
//! Features: `parquet` (Parquet, Arrow IPC and zstd files, [`convert`] and [`write_records`]) and
//! `tokenize` ([`Tokenizer`], token rows, [`Stats`]), both on by default; `http`, an HTTP client with
//! rate limits and retries; `hub`, downloads from the Hugging Face hub; `wheel`, extracting files from
//! Python wheels;
//! `progress`, progress bars on a terminal, plain progress lines if stderr is not a terminal.
//!
//! From a file of records to packed training rows:
//!
//! ```
//! use janus_core::{ChatTemplate, SftRecord};
//! use janus_data::{Tokenizer, pack, read_all, write_file};
//!
//! # let folder = tempfile::tempdir()?;
//! let path = folder.path().join("train.jsonl");
//! write_file(&path, br#"{"system":"Be brief.","prompt":"Why is the sky blue?","output":"It scatters blue light."}"#)?;
//!
//! let records: Vec<SftRecord> = read_all(&path)?;
//! let texts = records.iter().map(|record| record.output.as_str());
//! let template = ChatTemplate::MistralInstruct;
//! let tokenizer = Tokenizer::train(texts, 300, template.special_tokens())?;
//! let rows = tokenizer.conversations(template, records.iter().map(SftRecord::messages))?;
//! let packed = pack(&rows, 512)?;
//! assert_eq!(packed[0].cu_seqlens, [0, rows[0].ids.len() as u32]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

#[cfg(feature = "tokenize")]
mod bpe;
mod calls;
pub mod construct;
#[cfg(feature = "parquet")]
mod convert;
mod error;
mod format;
pub mod fs;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "hub")]
pub mod hub;
pub mod instructions;
mod journal;
pub mod mini;
mod mix;
#[cfg(feature = "progress")]
pub mod progress;
pub mod provenance;
mod read;
#[cfg(feature = "tokenize")]
mod rows;
pub mod sources;
pub mod stage;
#[cfg(feature = "tokenize")]
mod stats;
#[cfg(all(feature = "parquet", feature = "tokenize"))]
pub mod throughput;
#[cfg(feature = "tokenize")]
mod tokenizer;
mod validate;
#[cfg(feature = "wheel")]
pub mod wheel;
mod write;

pub use calls::{CallJournal, Journaled};
#[cfg(feature = "parquet")]
pub use convert::{Converted, Target, UnknownTarget, convert, convert_records};
pub use error::{Error, Problem, Result};
pub use fs::write_file;
pub use journal::{Journal, JournalProblem};
pub use mix::{MixPart, MixPartProblem, MixProblem, Mixed, MixedPart, mix};
pub use read::{ReadOptions, Reader, Row, Skipped, good_rows, paths, read, read_all, read_files};
#[cfg(feature = "tokenize")]
pub use rows::{
    ConversationFormat, Dataset, LossMessages, PackedRow, Packing, PairFile, PairRows, Subset, TokenFile,
    TokenFileInfo, TokenFileProblem, TokenRow, TokenWriter, Tokenised, Tokenising, concat, pack,
    pack_lengths, pack_stream, token_pairs, token_rows,
};
#[cfg(feature = "tokenize")]
pub use stats::{Balance, FieldReport, Spread, Stats, StatsReport};
#[cfg(feature = "tokenize")]
pub use tokenizer::Tokenizer;
pub use validate::{CheckedFile, Finding, RecordKind, UnknownRecordKind, Validation, validate};
#[cfg(feature = "parquet")]
pub use write::{ArrowRecord, Column, write_records};
pub use write::{Writer, write_all};

/// Without the columnar formats, records are written like any other rows.
#[cfg(not(feature = "parquet"))]
pub(crate) use write::write_all as write_records;

/// The example of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
