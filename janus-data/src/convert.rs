//! Rows of one layout as rows of another.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use janus_core::{BenchRecord, PairRecord, RewardRecord, SftRecord};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::instructions::Instruction;
use crate::sources::{Comparison, Conversation, Example, Source};
use crate::{ArrowRecord, RecordKind, Result, Row, Skipped, Writer, good_rows};

/// What rows are to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// Records of ours; the only ones that Parquet and Arrow can hold.
    Records(RecordKind),
    /// `{id, prompt, main_source, original_source}`: what a collection is made from.
    Instructions,
    /// `{messages}`, or `{input, preferred_output, non_preferred_output}` of pairs.
    OpenAi,
    /// `{conversations}`, with `chosen` and `rejected` of pairs.
    ShareGpt,
    /// `{instruction, input, output, system, history}`.
    Alpaca,
    /// `{chosen, rejected}` as dialogues after `Human:` and `Assistant:`.
    HhRlhf,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "instructions" => Target::Instructions,
            "openai" => Target::OpenAi,
            "sharegpt" => Target::ShareGpt,
            "alpaca" => Target::Alpaca,
            "hh-rlhf" => Target::HhRlhf,
            kind => {
                let kinds = "sft, pairs, reward, bench, instructions, openai, sharegpt, alpaca or hh-rlhf";
                Target::Records(kind.parse().map_err(|_| format!("expected {kinds}"))?)
            }
        })
    }
}

/// What became of the rows.
#[derive(Debug, Default, Serialize)]
pub struct Converted {
    /// Rows read.
    pub read: u64,
    /// Rows written.
    pub written: u64,
    /// Rows that the target has no place for, by reason.
    pub left_out: BTreeMap<&'static str, u64>,
    /// Rows that could not be read, where they are passed over.
    pub bad_rows: u64,
}

/// Writes rows of a source as a target, in the format that the end of `out`'s name tells. With `skipped`, rows that are
/// not the source's are passed over and counted there; without it, the first one is the error.
///
/// # Errors
/// Those of reading and writing; [`Error::Row`](crate::Error::Row) for a row that is not the source's, with its number among the rows given.
pub fn convert(
    rows: impl Iterator<Item = Result<Row>>,
    from: (Source, &Path),
    to: Target,
    out: &Path,
    skipped: Option<&mut Skipped>,
) -> Result<Converted> {
    let (source, path) = from;
    let mut converted = Converted::default();
    let mut read = 0;
    let examples = rows.map(|row| {
        read += 1;
        let row = row?;
        let example = match to {
            Target::Instructions => {
                source.instruction(&row).map(|found| found.map_or(Example::Nothing("no single instruction"), Example::Instruction))
            }
            _ => source.example(&row),
        };
        example.map_err(|error| error.at(path, read))
    });
    let examples: Box<dyn Iterator<Item = Result<Example>>> = match skipped {
        Some(skipped) => Box::new(good_rows(examples, skipped)),
        None => Box::new(examples),
    };
    match to {
        Target::Records(RecordKind::Sft) => {
            fill(examples, Writer::<SftRecord>::create(out)?, &mut converted, |example| one_turn(learnt(example)?.sft()))?;
        }
        Target::Records(RecordKind::Pairs) => {
            fill(examples, Writer::<PairRecord>::create(out)?, &mut converted, |example| Ok(compared(example)?.pair()))?
        }
        Target::Records(RecordKind::Reward) => {
            fill(examples, Writer::<RewardRecord>::create(out)?, &mut converted, |example| one_turn(compared(example)?.reward()))?;
        }
        Target::Records(RecordKind::Bench) => {
            fill(examples, Writer::<BenchRecord>::create(out)?, &mut converted, |_| Err("a bench row needs rubrics, which no source has"))?;
        }
        Target::Instructions => fill(examples, Writer::<Instruction>::text(out)?, &mut converted, |example| match example {
            Example::Instruction(instruction) => Ok(instruction),
            Example::Nothing(reason) => Err(reason),
            _ => Err("no single instruction"),
        })?,
        Target::OpenAi => fill(examples, Writer::<Value>::text(out)?, &mut converted, |example| match example {
            Example::Comparison(pair) => Ok(pair.openai()),
            other => Ok(learnt(other)?.openai()),
        })?,
        Target::ShareGpt => fill(examples, Writer::<Value>::text(out)?, &mut converted, |example| match example {
            Example::Comparison(pair) => Ok(pair.sharegpt()),
            other => Ok(learnt(other)?.sharegpt()),
        })?,
        Target::Alpaca => {
            fill(examples, Writer::<Value>::text(out)?, &mut converted, |example| {
                learnt(example)?.alpaca().ok_or("a conversation without an answer")
            })?;
        }
        Target::HhRlhf => fill(examples, Writer::<Value>::text(out)?, &mut converted, |example| Ok(compared(example)?.hh_rlhf()))?,
    }
    Ok(converted)
}

/// Writes records of one kind in another format. A column that the record does not have is left behind.
///
/// # Errors
/// Those of reading and writing.
pub fn convert_records<T: ArrowRecord + Serialize + DeserializeOwned + 'static>(
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
    examples: impl Iterator<Item = Result<Example>>,
    mut writer: Writer<T>,
    converted: &mut Converted,
    make: impl Fn(Example) -> Result<T, &'static str>,
) -> Result<()> {
    for example in examples {
        converted.read += 1;
        match make(example?) {
            Ok(row) => writer.write(row)?,
            Err(reason) => *converted.left_out.entry(reason).or_default() += 1,
        }
    }
    converted.written = writer.rows();
    writer.finish()
}

/// A conversation to imitate: of a comparison, the one with the better answer.
fn learnt(example: Example) -> Result<Conversation, &'static str> {
    match example {
        Example::Conversation(conversation) => Ok(conversation),
        Example::Comparison(pair) => Ok(pair.better()),
        Example::Instruction(_) => Err("an instruction without an answer"),
        Example::Nothing(reason) => Err(reason),
    }
}

fn compared(example: Example) -> Result<Comparison, &'static str> {
    match example {
        Example::Comparison(pair) => Ok(pair),
        Example::Conversation(_) => Err("a conversation without a second answer"),
        Example::Instruction(_) => Err("an instruction without an answer"),
        Example::Nothing(reason) => Err(reason),
    }
}

fn one_turn<T>(record: Option<T>) -> Result<T, &'static str> {
    record.ok_or("several turns, which this record cannot hold")
}
