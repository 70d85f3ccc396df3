//! The header of a GGUF file: metadata and the list of tensors.
//!
//! It is parsed here, into candle's types, because candle's own reader does not say whose length is
//! wrong, divides by an alignment of 0, and allocates 32 bytes for each element that a list of bytes
//! claims to have.

use std::collections::HashMap;
use std::path::Path;

use candle_core::Shape;
use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::{Content, DEFAULT_ALIGNMENT, TensorInfo, Value, VersionedMagic};

use crate::{Error, FormatProblem, Result};

const MAGIC: &[u8; 4] = b"GGUF";
const ALIGNMENT: &str = "general.alignment";

/// The most elements of all lists together. The largest vocabularies have 250,000 tokens in three lists,
/// and 500,000 merges.
const MAX_ELEMENTS: u64 = 1 << 23;
/// The deepest nesting of lists; no known key has even two levels.
const MAX_DEPTH: usize = 4;
const MAX_DIMENSIONS: u64 = 4;

const DTYPES: [(u64, GgmlDType); 15] = [
    (0, GgmlDType::F32),
    (1, GgmlDType::F16),
    (2, GgmlDType::Q4_0),
    (3, GgmlDType::Q4_1),
    (6, GgmlDType::Q5_0),
    (7, GgmlDType::Q5_1),
    (8, GgmlDType::Q8_0),
    (9, GgmlDType::Q8_1),
    (10, GgmlDType::Q2K),
    (11, GgmlDType::Q3K),
    (12, GgmlDType::Q4K),
    (13, GgmlDType::Q5K),
    (14, GgmlDType::Q6K),
    (15, GgmlDType::Q8K),
    (30, GgmlDType::BF16),
];

/// Reads the header of a file. Allocations are bounded by the length of the file.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Content> {
    let header = |problem| Error::Header { path: path.into(), tensor: None, problem };
    if bytes.first_chunk() != Some(MAGIC) {
        let got = format!("\"{}\"", bytes[..bytes.len().min(MAGIC.len())].escape_ascii());
        return Err(header(FormatProblem::value("its magic number", got, "\"GGUF\"")));
    }
    let mut reader = Reader { bytes, at: MAGIC.len(), length_width: 8, elements: MAX_ELEMENTS };
    let magic = match reader.number(4, "the version").map_err(header)? {
        1 => {
            reader.length_width = 4;
            VersionedMagic::GgufV1
        }
        2 => VersionedMagic::GgufV2,
        3 => VersionedMagic::GgufV3,
        other => return Err(header(FormatProblem::value("the version", other, "1, 2 or 3"))),
    };
    let tensors = reader.length("the number of tensors").map_err(header)?;
    let entries = reader.length("the number of metadata entries").map_err(header)?;
    let mut metadata = HashMap::new();
    for entry in 0..entries {
        let key = reader.text(&format!("the key of metadata entry {entry} of {entries}")).map_err(header)?;
        let wrong = |problem| Error::Metadata { path: path.into(), key: key.clone(), problem };
        let kind = reader.number(4, "the type").map_err(wrong)?;
        let value = reader.value(kind, 0).map_err(wrong)?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(wrong(FormatProblem::Twice));
        }
    }
    let mut tensor_infos = HashMap::new();
    for tensor in 0..tensors {
        let name = reader.text(&format!("the name of tensor {tensor} of {tensors}")).map_err(header)?;
        let wrong = |problem| Error::Header { path: path.into(), tensor: Some(name.clone()), problem };
        let info = reader.tensor().map_err(wrong)?;
        if tensor_infos.insert(name.clone(), info).is_some() {
            return Err(wrong(FormatProblem::Twice));
        }
    }
    let alignment = match metadata.get(ALIGNMENT).map(|value| (value.to_u64(), value)) {
        None => DEFAULT_ALIGNMENT,
        Some((Ok(alignment), _)) if alignment.is_power_of_two() && alignment <= 1 << 20 => alignment,
        Some((number, value)) => {
            let got = number.map_or_else(|_| of_type(value), |number| number.to_string());
            let problem = FormatProblem::value("it", got, "a power of two, at most 1 MiB");
            return Err(Error::Metadata { path: path.into(), key: ALIGNMENT.into(), problem });
        }
    };
    Ok(Content {
        magic,
        metadata,
        tensor_infos,
        tensor_data_offset: (reader.at as u64).next_multiple_of(alignment),
    })
}

/// A value's type, for an error message.
pub(super) fn of_type(value: &Value) -> String {
    format!("of type {:?}", value.value_type())
}

/// A position in the file. The caller adds the key or tensor to the problems that are returned.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Bytes of a length: 4 in version 1, 8 in later ones.
    length_width: usize,
    /// The number of elements that further lists may have.
    elements: u64,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: u64, what: &str) -> Result<&'a [u8], FormatProblem> {
        let end = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length));
        let taken = end.and_then(|end| self.bytes.get(self.at..end)).ok_or_else(|| {
            let (start, file_len) = (self.at as u64, self.bytes.len() as u64);
            FormatProblem::Truncated { what: what.into(), length, start, file_len }
        })?;
        self.at += taken.len();
        Ok(taken)
    }

    /// An unsigned number of up to 8 bytes.
    fn number(&mut self, width: usize, what: &str) -> Result<u64, FormatProblem> {
        let taken = self.take(width as u64, what)?;
        Ok(taken.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn length(&mut self, what: &str) -> Result<u64, FormatProblem> {
        self.number(self.length_width, what)
    }

    /// A text. Invalid UTF-8 is replaced and trailing zero bytes are dropped, since both occur in practice.
    fn text(&mut self, what: &str) -> Result<String, FormatProblem> {
        let length = self.length(&format!("the length of {what}"))?;
        let taken = self.take(length, what)?;
        let end = taken.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Ok(String::from_utf8_lossy(&taken[..end]).into_owned())
    }

    fn value(&mut self, kind: u64, depth: usize) -> Result<Value, FormatProblem> {
        const WHAT: &str = "the value";
        let mut number = |width| self.number(width, WHAT);
        Ok(match kind {
            0 => Value::U8(number(1)? as u8),
            1 => Value::I8(number(1)? as i8),
            2 => Value::U16(number(2)? as u16),
            3 => Value::I16(number(2)? as i16),
            4 => Value::U32(number(4)? as u32),
            5 => Value::I32(number(4)? as i32),
            6 => Value::F32(f32::from_bits(number(4)? as u32)),
            7 => match number(1)? {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                other => return Err(FormatProblem::value("a boolean", other, "0 or 1")),
            },
            8 => Value::String(self.text(WHAT)?),
            9 => self.list(depth)?,
            10 => Value::U64(number(8)?),
            11 => Value::I64(number(8)? as i64),
            12 => Value::F64(f64::from_bits(number(8)?)),
            other => return Err(FormatProblem::value("its type", other, "0 to 12")),
        })
    }

    fn list(&mut self, depth: usize) -> Result<Value, FormatProblem> {
        if depth == MAX_DEPTH {
            return Err(FormatProblem::value(
                "the nesting of its lists",
                format!("more than {MAX_DEPTH}"),
                format!("at most {MAX_DEPTH}"),
            ));
        }
        let kind = self.number(4, "the type of a list's elements")?;
        let length = self.length("the length of a list")?;
        // Every element has at least one byte.
        let left = (self.bytes.len() - self.at) as u64;
        if length > left.min(self.elements) {
            let what = format!("the length of the list at byte {}", self.at);
            let expected =
                format!("at most the {left} bytes that follow, and {MAX_ELEMENTS} elements in all lists");
            return Err(FormatProblem::value(what, length, expected));
        }
        self.elements -= length;
        (0..length).map(|_| self.value(kind, depth + 1)).collect::<Result<_, _>>().map(Value::Array)
    }

    fn tensor(&mut self) -> Result<TensorInfo, FormatProblem> {
        let count = self.number(4, "the number of its dimensions")?;
        if count > MAX_DIMENSIONS {
            return Err(FormatProblem::value(
                "the number of its dimensions",
                count,
                format!("at most {MAX_DIMENSIONS}"),
            ));
        }
        let mut shape = Vec::new();
        for _ in 0..count {
            let size = self.length("a dimension")?;
            shape.push(
                usize::try_from(size).map_err(|_| {
                    FormatProblem::value("a dimension", size, format!("at most {}", usize::MAX))
                })?,
            );
        }
        // GGUF states the contiguous dimension first.
        shape.reverse();
        let kind = self.number(4, "its type")?;
        let dtype = DTYPES.iter().find(|(number, _)| *number == kind).map(|(_, dtype)| *dtype);
        let ggml_dtype = dtype.ok_or_else(|| {
            let known: Vec<String> =
                DTYPES.iter().map(|(number, dtype)| format!("{number} ({dtype:?})")).collect();
            FormatProblem::value("its type", kind, format!("one of {}", known.join(", ")))
        })?;
        Ok(TensorInfo { ggml_dtype, shape: Shape::from(shape), offset: self.number(8, "its offset")? })
    }
}
