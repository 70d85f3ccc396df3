//! Files and folders that appear whole or not at all, and weights in them.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, TensorView, serialize};

use crate::{Error, Result};

/// Names the file in an I/O error.
pub(crate) trait AtPath<T> {
    fn at(self, path: &Path) -> Result<T>;
}

impl<T> AtPath<T> for std::io::Result<T> {
    fn at(self, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io { path: path.into(), source })
    }
}

/// Writes a file under a temporary name, syncs it and renames it.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = sibling(path);
    let mut file = File::create(&temporary).at(&temporary)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).at(&temporary)?;
    fs::rename(&temporary, path).at(path)
}

/// Fills a folder under a temporary name and renames it; a folder of that name is replaced.
pub(crate) fn write_folder(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let temporary = sibling(path);
    if temporary.exists() {
        fs::remove_dir_all(&temporary).at(&temporary)?;
    }
    fs::create_dir_all(&temporary).at(&temporary)?;
    if let Err(error) = fill(&temporary) {
        // What was written of it would only keep a full disk full.
        let _ = fs::remove_dir_all(&temporary);
        return Err(error);
    }
    if path.exists() {
        fs::remove_dir_all(path).at(path)?;
    }
    fs::rename(&temporary, path).at(path)
}

fn sibling(path: &Path) -> std::path::PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.partial"))
}

/// Numbers of a tensor that is written.
pub(crate) enum Data {
    F32(Vec<f32>),
    /// The bits of bf16 numbers.
    Bf16(Vec<u16>),
    U8(Vec<u8>),
}

impl Data {
    /// The numbers of a tensor in bf16, or in f32.
    pub(crate) fn of(tensor: &Tensor) -> Result<Self> {
        let values = tensor.flatten_all()?.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        Ok(match tensor.dtype() {
            DType::BF16 => Self::Bf16(values.into_iter().map(|value| (value.to_bits() >> 16) as u16).collect()),
            _ => Self::F32(values),
        })
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len(),
            Self::U8(values) => values.len(),
        }
    }

    fn bytes(self) -> (Dtype, Vec<u8>) {
        match self {
            Self::F32(values) => (Dtype::F32, values.iter().flat_map(|value| value.to_le_bytes()).collect()),
            Self::Bf16(values) => (Dtype::BF16, values.iter().flat_map(|value| value.to_le_bytes()).collect()),
            Self::U8(values) => (Dtype::U8, values),
        }
    }
}

impl Default for Data {
    fn default() -> Self {
        Self::U8(Vec::new())
    }
}

impl From<Vec<f32>> for Data {
    fn from(values: Vec<f32>) -> Self {
        Self::F32(values)
    }
}

impl From<Vec<u8>> for Data {
    fn from(values: Vec<u8>) -> Self {
        Self::U8(values)
    }
}

/// Writes tensors as safetensors, in an order that depends on their names only.
pub(crate) fn write_tensors<'a>(path: &Path, tensors: impl IntoIterator<Item = (String, &'a [usize], Data)>) -> Result<()> {
    let malformed = |error: safetensors::SafeTensorError| Error::Malformed { path: path.into(), reason: error.to_string() };
    let bytes: Vec<_> = tensors.into_iter().map(|(name, shape, data)| (name, shape, data.bytes())).collect();
    let views = bytes
        .iter()
        .map(|(name, shape, (dtype, bytes))| Ok((name.as_str(), TensorView::new(*dtype, shape.to_vec(), bytes)?)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(malformed)?;
    // transformers refuses a file that does not say what wrote it.
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    write_whole(path, &serialize(views, Some(metadata)).map_err(malformed)?)
}

/// Reads safetensors as f32.
pub(crate) struct Tensors<'a> {
    path: &'a Path,
    tensors: HashMap<String, Tensor>,
}

impl<'a> Tensors<'a> {
    pub(crate) fn read(path: &'a Path, device: &Device) -> Result<Self> {
        fs::metadata(path).at(path)?;
        Ok(Self { path, tensors: candle_core::safetensors::load(path, device)? })
    }

    /// The tensor of this name, which must have this shape.
    pub(crate) fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        Ok(self.find(name, shape)?.to_dtype(DType::F32)?)
    }

    /// The bytes of the tensor of this name, which must have this shape.
    pub(crate) fn take_u8(&mut self, name: &str, shape: &[usize]) -> Result<Vec<u8>> {
        Ok(self.find(name, shape)?.to_dtype(DType::U8)?.to_vec1()?)
    }

    fn find(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let Some(tensor) = self.tensors.remove(name) else {
            return Err(Error::MissingTensor { path: self.path.into(), name: name.into() });
        };
        if tensor.dims() != shape {
            let (got, expected) = (tensor.dims().to_vec(), shape.to_vec());
            return Err(Error::TensorShape { path: self.path.into(), name: name.into(), got, expected });
        }
        Ok(tensor)
    }
}
