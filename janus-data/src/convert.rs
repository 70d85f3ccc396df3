//! Converts rows of one layout to another.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use janus_core::{BenchRecord, PairRecord, RewardRecord, SftRecord};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::instructions::Instruction;
use crate::sources::{RowContent, RowSource, UnreadFields};
use crate::{ArrowRecord, RecordKind, Result, Row, Skipped, Writer, good_rows};

/// The layout to convert rows to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// Records of `janus-core`. Only these can be written as Parquet and Arrow.
    Records(RecordKind),
    /// `{id, prompt, main_source, original_source}`: the input of a construction.
    Instructions,
    /// `{messages}`, or `{input, preferred_output, non_preferred_output}` for pairs.
    OpenAi,
    /// `{conversations}`, with `chosen` and `rejected` for pairs.
    ShareGpt,
    /// `{instruction, input, output, system, history}`.
    Alpaca,
    /// `{chosen, rejected}` as dialogues marked with `Human:` and `Assistant:`.
    HhRlhf,
}

impl FromStr for Target {
    type Err = UnknownTarget;

    fn from_str(name: &str) -> Result<Self, UnknownTarget> {
        Ok(match name {
            "instructions" => Target::Instructions,
            "openai" => Target::OpenAi,
            "sharegpt" => Target::ShareGpt,
            "alpaca" => Target::Alpaca,
            "hh-rlhf" => Target::HhRlhf,
            kind => Target::Records(kind.parse().map_err(|_| UnknownTarget { got: kind.into() })?),
        })
    }
}

/// An unknown name of a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown target \"{got}\": expected sft, pairs, reward, bench, instructions, openai, sharegpt, alpaca or hh-rlhf"
)]
#[non_exhaustive]
pub struct UnknownTarget {
    /// The name as written.
    pub got: String,
}

/// Counts of a conversion.
#[derive(Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Converted {
    /// Rows read.
    pub read: u64,
    /// Rows written.
    pub written: u64,
    /// Rows that the target cannot represent, by reason.
    pub left_out: BTreeMap<&'static str, u64>,
    /// Fields of the rows that the source does not read.
    #[serde(skip_serializing_if = "UnreadFields::is_empty")]
    pub unread: UnreadFields,
    /// Rows that could not be read and were skipped.
    pub bad_rows: u64,
}

/// Converts rows of a source to a target and writes them in the format that the extension of `out` names.
/// With `skipped`, rows that do not have the source's layout are skipped and counted there; without it, the
/// first such row is an error.
///
/// # Errors
/// Those of reading and writing; [`Error::Row`](crate::Error::Row) for a row that does not have the source's
/// layout, with its number among the given rows.
pub fn convert(
    rows: impl Iterator<Item = Result<Row>>,
    from: (&dyn RowSource, &Path),
    to: Target,
    out: &Path,
    skipped: Option<&mut Skipped>,
) -> Result<Converted> {
    let (source, path) = from;
    let mut converted = Converted::default();
    let (mut read, mut unread) = (0, UnreadFields::default());
    let contents = rows.map(|row| {
        read += 1;
        let row = row?;
        let content = match to {
            Target::Instructions => source.instruction_and_unread(&row, &mut unread).map(|found| {
                found.map_or(RowContent::Skip("no single instruction"), RowContent::Instruction)
            }),
            _ => source.content_and_unread(&row, &mut unread),
        };
        content.map_err(|error| error.at(path, read))
    });
    let contents: Box<dyn Iterator<Item = Result<RowContent>>> = match skipped {
        Some(skipped) => Box::new(good_rows(contents, skipped)),
        None => Box::new(contents),
    };
    match to {
        Target::Records(RecordKind::Sft) => {
            fill(contents, Writer::<SftRecord>::create(out)?, &mut converted, |content| {
                one_turn(content.into_conversation()?.sft())
            })?;
        }
        Target::Records(RecordKind::Pairs) => {
            fill(contents, Writer::<PairRecord>::create(out)?, &mut converted, |content| {
                content
                    .into_comparison()?
                    .pair()
                    .ok_or("a system message after the first message, or no question")
            })?
        }
        Target::Records(RecordKind::Reward) => {
            fill(contents, Writer::<RewardRecord>::create(out)?, &mut converted, |content| {
                content
                    .into_comparison()?
                    .reward()
                    .ok_or("a prompt that does not end with the user, which this record cannot hold")
            })?;
        }
        Target::Records(RecordKind::Bench) => {
            fill(contents, Writer::<BenchRecord>::create(out)?, &mut converted, |_| {
                Err("a bench row needs rubrics, which no source has")
            })?;
        }
        Target::Instructions => {
            fill(contents, Writer::<Instruction>::text(out)?, &mut converted, |content| match content {
                RowContent::Instruction(instruction) => Ok(instruction),
                RowContent::Skip(reason) => Err(reason),
                _ => Err("no single instruction"),
            })?
        }
        Target::OpenAi => {
            fill(contents, Writer::<Value>::text(out)?, &mut converted, |content| match content {
                RowContent::Comparison(pair) => Ok(pair.openai()),
                other => Ok(other.into_conversation()?.openai()),
            })?
        }
        Target::ShareGpt => {
            fill(contents, Writer::<Value>::text(out)?, &mut converted, |content| match content {
                RowContent::Comparison(pair) => pair
                    .sharegpt()
                    .ok_or("a prompt that ends with the assistant, which this layout cannot hold"),
                other => Ok(other.into_conversation()?.sharegpt()),
            })?
        }
        Target::Alpaca => {
            fill(contents, Writer::<Value>::text(out)?, &mut converted, |content| {
                content
                    .into_conversation()?
                    .alpaca()
                    .ok_or("turns that do not alternate, or without loss, which this layout cannot hold")
            })?;
        }
        Target::HhRlhf => fill(contents, Writer::<Value>::text(out)?, &mut converted, |content| {
            content.into_comparison()?.hh_rlhf().ok_or("a text that the marks of its turns cannot hold")
        })?,
    }
    converted.unread = unread;
    Ok(converted)
}

/// Writes records of one kind in another format. Columns that the record does not have are dropped.
///
/// # Errors
/// Those of reading and writing.
pub fn convert_records<T: ArrowRecord + Serialize + DeserializeOwned + Send + 'static>(
    rows: impl Iterator<Item = Result<T>>,
    out: &Path,
    skipped: Option<&mut Skipped>,
) -> Result<Converted> {
    let mut converted = Converted::default();
    let mut writer = Writer::create(out)?;
    let rows: Box<dyn Iterator<Item = Result<T>> + '_> = match skipped {
        Some(skipped) => Box::new(good_rows(rows, skipped)),
        None => Box::new(rows),
    };
    for row in rows {
        converted.read += 1;
        writer.write(row?)?;
    }
    converted.written = writer.rows();
    writer.finish()?;
    Ok(converted)
}

fn fill<T: Serialize>(
    contents: impl Iterator<Item = Result<RowContent>>,
    mut writer: Writer<T>,
    converted: &mut Converted,
    make: impl Fn(RowContent) -> Result<T, &'static str>,
) -> Result<()> {
    for content in contents {
        converted.read += 1;
        match make(content?) {
            Ok(row) => writer.write(row)?,
            Err(reason) => *converted.left_out.entry(reason).or_default() += 1,
        }
    }
    converted.written = writer.rows();
    writer.finish()
}

fn one_turn<T>(record: Option<T>) -> Result<T, &'static str> {
    record.ok_or("several turns, or an answer without loss, which this record cannot hold")
}
