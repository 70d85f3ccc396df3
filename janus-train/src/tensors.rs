//! Safetensors files, written and read tensor by tensor. Saving needs little memory in addition to the
//! model: one buffer, and one tensor if that is on another device or is computed for the file.
//!
//! ```text
//! header's length: u64 | header: JSON, {name: {dtype, shape, data_offsets}} | the tensors' bytes
//! ```

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use janus_data::fs::AtomicFile;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::error::{AtPath, FileProblem};
use crate::gradients::on_cpu;
use crate::ops::storage::Values;
use crate::{Error, Result};

/// Bytes that are converted from or to numbers at a time.
const BUFFER: usize = 1 << 18;
/// The longest header that the format allows.
const MAX_HEADER: u64 = 100_000_000;

/// The numbers of a tensor to write.
pub(crate) enum Numbers<'a> {
    F32(&'a [f32]),
    U8(&'a [u8]),
    /// A tensor in f32 or bf16, which may be on any device.
    Tensor(&'a Tensor),
    /// A tensor of this dtype that is computed when it is written.
    Made(DType, Box<dyn Fn() -> Result<Tensor> + 'a>),
}

/// A tensor to write, with its name.
pub(crate) struct NamedTensor<'a> {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) numbers: Numbers<'a>,
}

impl<'a> NamedTensor<'a> {
    /// An existing tensor.
    pub(crate) fn of(name: &str, tensor: &'a Tensor) -> Self {
        Self { name: name.into(), shape: tensor.dims().into(), numbers: Numbers::Tensor(tensor) }
    }

    fn dtype(&self) -> Dtype {
        let of = |dtype| if dtype == DType::BF16 { Dtype::BF16 } else { Dtype::F32 };
        match &self.numbers {
            Numbers::F32(_) => Dtype::F32,
            Numbers::U8(_) => Dtype::U8,
            Numbers::Tensor(tensor) => of(tensor.dtype()),
            Numbers::Made(dtype, _) => of(*dtype),
        }
    }

    fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype().bitsize() / 8
    }

    fn write(&self, file: &mut AtomicFile, path: &Path) -> Result<()> {
        match &self.numbers {
            Numbers::F32(values) => write_numbers(file, values, f32::to_le_bytes).at(path),
            Numbers::U8(values) => file.write_all(values).at(path),
            Numbers::Tensor(tensor) => write_tensor(file, tensor, path),
            Numbers::Made(_, make) => write_tensor(file, &make()?, path),
        }
    }
}

fn write_tensor(file: &mut AtomicFile, tensor: &Tensor, path: &Path) -> Result<()> {
    let wide = on_cpu(tensor)?.to_dtype(DType::F32)?;
    let values = Values::of(&wide)?;
    match tensor.dtype() {
        DType::BF16 => {
            write_numbers(file, &values, |value| ((value.to_bits() >> 16) as u16).to_le_bytes()).at(path)
        }
        _ => write_numbers(file, &values, f32::to_le_bytes).at(path),
    }
}

/// Writes numbers of N bytes each.
fn write_numbers<const N: usize>(
    file: &mut AtomicFile,
    values: &[f32],
    number: impl Fn(f32) -> [u8; N],
) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER.min(values.len() * N)];
    values.chunks(BUFFER / N).try_for_each(|values| {
        let bytes = &mut buffer[..values.len() * N];
        bytes.as_chunks_mut().0.iter_mut().zip(values).for_each(|(bytes, &value)| *bytes = number(value));
        file.write_all(bytes)
    })
}

/// Writes tensors, in an order that depends only on their dtypes and names.
pub(crate) fn write_tensors(path: &Path, mut tensors: Vec<NamedTensor<'_>>) -> Result<()> {
    // The order of the safetensors library: wide dtypes first, so that each tensor is aligned.
    tensors.sort_by(|a, b| b.dtype().cmp(&a.dtype()).then_with(|| a.name.cmp(&b.name)));
    let mut end = 0;
    let infos = tensors.iter().map(|tensor| {
        let start = end;
        end += tensor.bytes();
        (
            tensor.name.clone(),
            TensorInfo { dtype: tensor.dtype(), shape: tensor.shape.clone(), data_offsets: (start, end) },
        )
    });
    // transformers refuses a file without this metadata.
    let format = HashMap::from([("format".to_string(), "pt".to_string())]);
    let header =
        Metadata::new(Some(format), infos.collect()).map_err(FileProblem::of(path, FileProblem::Tensors))?;
    let mut header = serde_json::to_vec(&header).map_err(FileProblem::json(path))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = AtomicFile::create(path)?;
    file.write_all(&(header.len() as u64).to_le_bytes()).and_then(|()| file.write_all(&header)).at(path)?;
    tensors.iter().try_for_each(|tensor| tensor.write(&mut file, path))?;
    Ok(file.commit()?)
}

/// An open safetensors file with its parsed header.
pub(crate) struct Tensors<'a> {
    path: &'a Path,
    file: File,
    header: Metadata,
    /// Where the tensors' bytes begin.
    data: u64,
}

impl<'a> Tensors<'a> {
    /// Reads the header and checks it against the file's length.
    pub(crate) fn open(path: &'a Path) -> Result<Self> {
        let malformed = |problem| Error::Malformed { path: path.into(), problem };
        let bytes = fs::metadata(path).at(path)?.len();
        let mut file = File::open(path).at(path)?;
        let mut length = [0; 8];
        file.read_exact(&mut length).at(path)?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER || length + 8 > bytes {
            return Err(malformed(FileProblem::HeaderLength { header: length, file: bytes }));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).at(path)?;
        let header: Metadata = serde_json::from_slice(&header).map_err(FileProblem::json(path))?;
        let (data, expected) = (length + 8, header.data_len() as u64);
        if bytes != data + expected {
            return Err(malformed(FileProblem::TensorsLength { expected, got: bytes - data }));
        }
        Ok(Self { path, file, header, data })
    }

    /// Reads the tensor with this name, which must have this shape, as f32.
    pub(crate) fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let dtype = self.find(name, shape)?;
        let mut values = vec![0.0; shape.iter().product()];
        match dtype {
            Dtype::F32 => self.fill(&mut values, f32::from_le_bytes)?,
            Dtype::BF16 => self
                .fill(&mut values, |two: [u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(two)) << 16))?,
            other => return Err(self.of_type(name, other, "F32 or BF16")),
        }
        Ok(values)
    }

    /// Reads the U8 tensor with this name, which must have this shape.
    pub(crate) fn read_u8(&mut self, name: &str, shape: &[usize]) -> Result<Vec<u8>> {
        match self.find(name, shape)? {
            Dtype::U8 => {
                let mut values = vec![0; shape.iter().product()];
                self.file.read_exact(&mut values).at(self.path)?;
                Ok(values)
            }
            other => Err(self.of_type(name, other, "U8")),
        }
    }

    /// [`read`](Self::read) as a tensor.
    pub(crate) fn tensor(
        &mut self,
        name: &str,
        shape: &[usize],
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        Ok(Tensor::from_vec(self.read(name, shape)?, shape, &Device::Cpu)?
            .to_dtype(dtype)?
            .to_device(device)?)
    }

    /// Seeks to the tensor's first byte and returns its dtype.
    fn find(&mut self, name: &str, shape: &[usize]) -> Result<Dtype> {
        let Some(info) = self.header.info(name) else {
            return Err(Error::MissingTensor { path: self.path.into(), name: name.into() });
        };
        if info.shape != shape {
            let (got, expected) = (info.shape.clone(), shape.to_vec());
            return Err(Error::TensorShape { path: self.path.into(), name: name.into(), got, expected });
        }
        self.file.seek(SeekFrom::Start(self.data + info.data_offsets.0 as u64)).at(self.path)?;
        Ok(info.dtype)
    }

    /// Fills `values` with numbers of N bytes each.
    fn fill<const N: usize>(&mut self, values: &mut [f32], number: impl Fn([u8; N]) -> f32) -> Result<()> {
        let mut buffer = vec![0; BUFFER];
        for values in values.chunks_mut(BUFFER / N) {
            let bytes = &mut buffer[..values.len() * N];
            self.file.read_exact(bytes).at(self.path)?;
            values.iter_mut().zip(bytes.as_chunks().0).for_each(|(value, &bytes)| *value = number(bytes));
        }
        Ok(())
    }

    fn of_type(&self, name: &str, got: Dtype, expected: &'static str) -> Error {
        Error::Malformed {
            path: self.path.into(),
            problem: FileProblem::TensorType { name: name.into(), got, expected },
        }
    }
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;
    use safetensors::tensor::TensorView;

    use super::*;
    use crate::ops::testing::random;

    #[test]
    fn a_streamed_file_equals_that_of_the_safetensors_library() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.safetensors");
        let (wide, narrow) = (random(&[70, 1001], 1), random(&[3, 5], 2).to_dtype(DType::BF16).unwrap());
        let (floats, codes) = (vec![1.5f32, -0.0, 3e-40], vec![7u8, 0, 255, 1, 2]);
        let entries = vec![
            NamedTensor { name: "b".into(), shape: vec![5], numbers: Numbers::U8(&codes) },
            NamedTensor::of("c", &wide),
            NamedTensor { name: "a".into(), shape: vec![3], numbers: Numbers::F32(&floats) },
            NamedTensor {
                name: "d".into(),
                shape: vec![3, 5],
                numbers: Numbers::Made(DType::BF16, Box::new(|| Ok(narrow.clone()))),
            },
        ];
        write_tensors(&path, entries).unwrap();
        let file = fs::read(&path).unwrap();

        let f32_bytes =
            |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        let of = |tensor: &Tensor| {
            tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap()
        };
        let halves: Vec<u8> =
            of(&narrow).iter().flat_map(|value| ((value.to_bits() >> 16) as u16).to_le_bytes()).collect();
        let (wide_bytes, float_bytes) = (f32_bytes(&of(&wide)), f32_bytes(&floats));
        let views = [
            ("a", TensorView::new(Dtype::F32, vec![3], &float_bytes).unwrap()),
            ("b", TensorView::new(Dtype::U8, vec![5], &codes).unwrap()),
            ("c", TensorView::new(Dtype::F32, vec![70, 1001], &wide_bytes).unwrap()),
            ("d", TensorView::new(Dtype::BF16, vec![3, 5], &halves).unwrap()),
        ];
        let format = HashMap::from([("format".to_string(), "pt".to_string())]);
        assert!(file == safetensors::serialize(views, Some(format)).unwrap());
        assert_eq!(SafeTensors::deserialize(&file).unwrap().len(), 4);

        let mut tensors = Tensors::open(&path).unwrap();
        assert_eq!(f32_bytes(&tensors.read("a", &[3]).unwrap()), float_bytes);
        assert_eq!(tensors.read("c", &[70, 1001]).unwrap(), of(&wide));
        assert_eq!(of(&tensors.tensor("d", &[3, 5], DType::BF16, &Device::Cpu).unwrap()), of(&narrow));
        assert_eq!(tensors.read_u8("b", &[5]).unwrap(), codes);
        assert!(matches!(tensors.read("e", &[5]), Err(Error::MissingTensor { .. })));
        assert!(matches!(tensors.read("a", &[4]), Err(Error::TensorShape { .. })));
        assert!(tensors.read("b", &[5]).unwrap_err().to_string().contains("U8"));
    }

    #[test]
    fn a_truncated_or_inconsistent_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.safetensors");
        write_tensors(
            &path,
            vec![NamedTensor { name: "a".into(), shape: vec![3], numbers: Numbers::F32(&[1.0, 2.0, 3.0]) }],
        )
        .unwrap();
        let good = fs::read(&path).unwrap();
        let huge = [&u64::MAX.to_le_bytes()[..], &good[8..]].concat();
        for bad in [&good[..good.len() - 1], &good[..20], &good[..4], &huge[..], &b"12345678{}"[..]] {
            fs::write(&path, bad).unwrap();
            assert!(Tensors::open(&path).is_err(), "{} bytes", bad.len());
        }
    }
}
