//! The safetensors format: an 8-byte length, a JSON header of that length, the tensors' bytes.
//!
//! The header is parsed here, into the types of the safetensors crate, because that crate's reader does
//! not say which tensor has a wrong range.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde::Deserialize;

use super::extent::{check_overlaps, check_shape};
use super::{Bytes, Encoding, Matrix, mapped};
use crate::{Error, FormatProblem, Result};

/// The limit of the header's length in the safetensors crate.
const MAX_HEADER: u64 = 100_000_000;

/// One file of a checkpoint.
struct Shard {
    path: PathBuf,
    bytes: Mmap,
    /// Offset of the tensors' bytes in the file.
    data: usize,
    tensors: BTreeMap<String, TensorInfo>,
}

/// All files of a checkpoint.
pub(super) struct Shards {
    path: PathBuf,
    shards: Vec<Shard>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Shards {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let adapter = path.join("adapter_config.json");
        if path.is_dir() && adapter.exists() {
            return Err(Error::AdapterBeside { path: adapter });
        }
        let single = if path.is_dir() { path.join("model.safetensors") } else { path.into() };
        let index = path.join("model.safetensors.index.json");
        if single.exists() || !index.exists() {
            return Ok(Self { path: path.into(), shards: vec![Shard::open(&single)?] });
        }
        let text = std::fs::read_to_string(&index).map_err(Error::io(&index))?;
        let header = |problem| Error::Header { path: index.clone(), tensor: None, problem };
        let map: Index =
            serde_json::from_str(&text).map_err(|error| header(FormatProblem::refused(error)))?;
        let files: BTreeSet<&String> = map.weight_map.values().collect();
        if let Some(outside) =
            files.iter().find(|file| Path::new(file).components().count() != 1 || file.starts_with(".."))
        {
            return Err(header(FormatProblem::value(
                "a shard",
                format!("\"{outside}\""),
                "the name of a file in the folder of the index",
            )));
        }
        let mut shards =
            files.iter().map(|file| Shard::open(&path.join(file))).collect::<Result<Vec<_>>>()?;
        for Shard { path: shard, tensors, .. } in &mut shards {
            // Another shard may have a tensor of this name; the index says which one counts.
            let elsewhere =
                |name: &str| map.weight_map.get(name).is_some_and(|file| path.join(file) != *shard);
            tensors.retain(|name, _| !elsewhere(name));
        }
        for (name, file) in &map.weight_map {
            let shard = path.join(file);
            if !shards.iter().any(|s| s.path == shard && s.tensors.contains_key(name)) {
                return Err(Error::MissingTensor { path: shard, name: name.clone() });
            }
        }
        Ok(Self { path: path.into(), shards })
    }

    pub(super) fn names(&self) -> Vec<String> {
        let names: BTreeSet<_> = self.shards.iter().flat_map(|shard| shard.tensors.keys().cloned()).collect();
        names.into_iter().collect()
    }

    pub(super) fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let (encoding, bytes) = self.find(name, shape)?;
        let mut values = vec![0.0; shape.iter().product()];
        encoding.decode(bytes, &mut values);
        Ok(values)
    }

    pub(super) fn matrix(&self, name: &str, rows: usize, depth: usize) -> Result<Matrix<'_>> {
        let (encoding, bytes) = self.find(name, &[rows, depth])?;
        Ok(Matrix { encoding, rows, depth, bytes: Bytes::Borrowed(bytes), order: None })
    }

    /// Whether two tensors have the same encoding and bytes.
    pub(super) fn are_equal(&self, one: &str, other: &str, shape: &[usize]) -> Result<bool> {
        Ok(self.find(one, shape)? == self.find(other, shape)?)
    }

    fn find(&self, name: &str, shape: &[usize]) -> Result<(Encoding, &[u8])> {
        let found = self.shards.iter().find_map(|shard| Some((shard, shard.tensors.get(name)?)));
        let (shard, info) =
            found.ok_or_else(|| Error::MissingTensor { path: self.path.clone(), name: name.into() })?;
        check_shape(&shard.path, name, shape, &info.shape)?;
        let encoding = match info.dtype {
            Dtype::F32 => Encoding::F32,
            Dtype::F16 => Encoding::F16,
            Dtype::BF16 => Encoding::Bf16,
            other => {
                return Err(Error::Dtype {
                    path: shard.path.clone(),
                    name: name.into(),
                    got: format!("{other:?}"),
                });
            }
        };
        Ok((encoding, &shard.bytes[shard.data + info.data_offsets.0..shard.data + info.data_offsets.1]))
    }
}

impl Shard {
    /// Maps the file and checks every tensor's range against its length, shape and type.
    fn open(path: &Path) -> Result<Self> {
        let bytes = mapped::map(path)?;
        let header = |tensor: Option<&str>, problem| Error::Header {
            path: path.into(),
            tensor: tensor.map(Into::into),
            problem,
        };
        let file_len = bytes.len() as u64;
        let truncated = |what: &str, length, start| FormatProblem::Truncated {
            what: what.into(),
            length,
            start,
            file_len,
        };
        let Some(length) = bytes.first_chunk().map(|&length| u64::from_le_bytes(length)) else {
            return Err(header(None, truncated("the header's length", 8, 0)));
        };
        if length > MAX_HEADER {
            return Err(header(
                None,
                FormatProblem::value("the header's length", length, format!("at most {MAX_HEADER} bytes")),
            ));
        }
        if length + 8 > file_len {
            return Err(header(None, truncated("the header", length, 8)));
        }
        let data = length as usize + 8;
        let mut entries: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&bytes[8..data])
            .map_err(|error| header(None, FormatProblem::refused(error)))?;
        entries.remove("__metadata__");
        let (mut tensors, mut extents) = (BTreeMap::new(), Vec::new());
        for (name, entry) in entries {
            let info: TensorInfo = serde_json::from_value(entry)
                .map_err(|error| header(Some(&name), FormatProblem::refused(error)))?;
            let (start, end) = check_range(path, &name, &info, data as u64, file_len)?;
            extents.push((start, end, name.clone()));
            tensors.insert(name, info);
        }
        check_overlaps(path, extents)?;
        Ok(Self { path: path.into(), bytes, data, tensors })
    }
}

/// Checks a tensor's byte range. Returns its first byte in the file and the byte after its last.
fn check_range(path: &Path, name: &str, info: &TensorInfo, data: u64, file_len: u64) -> Result<(u64, u64)> {
    let (start, end) = (info.data_offsets.0 as u64, info.data_offsets.1 as u64);
    let bits = info.shape.iter().try_fold(info.dtype.bitsize(), |bits, &size| bits.checked_mul(size));
    let expected = bits.map(|bits| bits as u64 / 8);
    let got = end.checked_sub(start);
    if expected.is_none() || got != expected {
        let (shape, dtype) = (&info.shape, info.dtype);
        let expected = expected.map_or_else(
            || format!("a shape that fits into memory, not {shape:?}"),
            |bytes| format!("{bytes} for {shape:?} of {dtype:?}"),
        );
        return Err(Error::TensorSize {
            path: path.into(),
            name: name.into(),
            expected,
            got: got.unwrap_or(0),
        });
    }
    let (start, end) = (start.saturating_add(data), end.saturating_add(data));
    if end > file_len {
        return Err(Error::Truncated { path: path.into(), name: name.into(), start, end, file_len });
    }
    Ok((start, end))
}
