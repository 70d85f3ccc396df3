//! GGUF files of the `llama` architecture, which llama.cpp's converter writes for Llama and Mistral models.

mod header;
mod rope;
mod tokenizer;

use std::fs::File;
use std::path::{Path, PathBuf};

use candle_core::Device;
use candle_core::quantized::gguf_file::{Content, TensorInfo, Value};

use super::extent::{Extent, check_overlaps, check_shape};
use super::{Bytes, Encoding, Matrix, mapped, unused};
use crate::{Architecture, ConfigProblem, Error, FormatProblem, ModelConfig, Result};

pub(super) use rope::FACTORS as ROPE_FACTORS;
pub(super) use tokenizer::{adds_bos, tokenizer};

/// Whether a path has the extension of a GGUF file.
pub(super) fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

/// An opened GGUF file.
pub(crate) struct GgufFile {
    path: PathBuf,
    content: Content,
    file_len: u64,
    heads: usize,
    kv_heads: usize,
}

impl GgufFile {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let bytes = mapped::map(path)?;
        let content = header::read(path, &bytes)?;
        let mut file =
            Self { path: path.into(), content, file_len: bytes.len() as u64, heads: 0, kv_heads: 0 };
        let architecture = file.text("general.architecture")?;
        if architecture != "llama" {
            let problem = ConfigProblem::Architecture {
                field: "general.architecture",
                got: architecture.into(),
                known: "llama",
            };
            return Err(Error::Config { path: path.into(), problem });
        }
        file.heads = file.size("llama.attention.head_count")?;
        file.kv_heads = if file.value("llama.attention.head_count_kv").is_some() {
            file.size("llama.attention.head_count_kv")?
        } else {
            file.heads
        };
        if file.kv_heads == 0 || !file.heads.is_multiple_of(file.kv_heads) || file.heads == 0 {
            let expected =
                format!("a multiple of {}, the number of key/value heads, and at least 1", file.kv_heads);
            return Err(
                file.metadata("llama.attention.head_count", FormatProblem::value("it", file.heads, expected))
            );
        }
        let mut infos: Vec<_> = file.content.tensor_infos.iter().collect();
        infos.sort_by_key(|(_, info)| info.offset);
        let extents =
            infos.into_iter().map(|(name, info)| file.check_range(name, info)).collect::<Result<_>>()?;
        check_overlaps(path, extents)?;
        Ok(file)
    }

    pub(super) fn config(&self) -> Result<ModelConfig> {
        let hidden_size = self.size("llama.embedding_length")?;
        let vocab_size = match self.value("llama.vocab_size") {
            Some(_) => self.size("llama.vocab_size")?,
            None => self.texts("tokenizer.ggml.tokens")?.len(),
        };
        let head_dim = match self.value("llama.attention.key_length") {
            Some(_) => self.size("llama.attention.key_length")?,
            None => hidden_size / self.heads,
        };
        let rotary_dim = "llama.rope.dimension_count";
        if self.value(rotary_dim).is_some() && self.size(rotary_dim)? != head_dim {
            let expected = format!(
                "{head_dim}, the width of a head: rotary embedding of a part of a head is not supported"
            );
            return Err(
                self.metadata(rotary_dim, FormatProblem::value("it", self.size(rotary_dim)?, expected))
            );
        }
        let mut config = ModelConfig {
            architecture: Architecture::Llama,
            vocab_size,
            hidden_size,
            intermediate_size: self.size("llama.feed_forward_length")?,
            num_hidden_layers: self.size("llama.block_count")?,
            num_attention_heads: self.heads,
            num_key_value_heads: self.kv_heads,
            head_dim,
            rms_norm_eps: self
                .number(RMS_NORM_EPS)?
                .ok_or_else(|| self.metadata(RMS_NORM_EPS, FormatProblem::Missing))?,
            rope_theta: self.number("llama.rope.freq_base")?.unwrap_or(10_000.0),
            rope_scaling: rope::scaling(self, head_dim)?,
            max_position_embeddings: self.size("llama.context_length")?,
            sliding_window: None,
            tie_word_embeddings: !self.content.tensor_infos.contains_key("output.weight"),
            initializer_range: 0.02,
            bos_token_id: self.id("tokenizer.ggml.bos_token_id")?,
            eos_token_ids: Vec::new(),
        };
        // The tokens that end a text, a turn and a message.
        for end in ["eos", "eot", "eom"] {
            config.add_eos(self.id(&format!("tokenizer.ggml.{end}_token_id"))?);
        }
        let mut entries: Vec<_> = self.content.metadata.iter().collect();
        entries.sort_by_key(|(key, _)| *key);
        let unused = entries.into_iter().find_map(|(key, value)| unused::metadata(key, value, head_dim));
        if let Some(unused) = unused {
            let problem = FormatProblem::value("it", unused.value, unused.expected);
            return Err(self.metadata(&unused.key, problem));
        }
        match config.problem() {
            None => Ok(config),
            Some(problem) => Err(Error::Config { path: self.path.clone(), problem }),
        }
    }

    /// The Hugging Face names of the tensors, or their own where they have none, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        let name_of = |name: &String| hugging_face_name(name).unwrap_or_else(|| name.clone());
        let mut names: Vec<_> = self.content.tensor_infos.keys().map(name_of).collect();
        names.sort();
        names
    }

    pub(super) fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let (rows, depth) = match *shape {
            [rows, depth] => (rows, depth),
            _ => (1, shape.iter().product()),
        };
        let matrix = self.matrix_of(name, shape, rows, depth)?;
        let mut values = vec![0.0; rows * depth];
        for (row, values) in values.chunks_exact_mut(depth.max(1)).enumerate() {
            matrix.encoding.decode(matrix.row(row), values);
        }
        Ok(values)
    }

    pub(super) fn matrix(&self, name: &str, rows: usize, depth: usize) -> Result<Matrix<'static>> {
        self.matrix_of(name, &[rows, depth], rows, depth)
    }

    fn matrix_of(&self, name: &str, shape: &[usize], rows: usize, depth: usize) -> Result<Matrix<'static>> {
        let missing = || Error::MissingTensor { path: self.path.clone(), name: name.into() };
        let stored_name = gguf_name(name).ok_or_else(missing)?;
        let info = self.content.tensor_infos.get(&stored_name).ok_or_else(missing)?;
        check_shape(&self.path, name, shape, info.shape.dims())?;
        let order = match stored_name.rsplit('.').nth(1) {
            Some("attn_q") => Some(self.half_split_rows(name, rows, self.heads)?),
            Some("attn_k") => Some(self.half_split_rows(name, rows, self.kv_heads)?),
            _ => None,
        };
        let (encoding, bytes) = match Encoding::of_ggml(info.ggml_dtype) {
            Some(encoding) => (encoding, self.bytes(info)?),
            None => (Encoding::F32, self.decoded_by_candle(name, info)?),
        };
        Ok(Matrix { encoding, rows, depth, bytes, order })
    }

    /// A tensor's bytes; [`GgufFile::open`] has checked its range, and that its rows are whole blocks.
    fn bytes(&self, info: &TensorInfo) -> Result<Bytes<'static>> {
        let len = info.shape.elem_count() / info.ggml_dtype.block_size() * info.ggml_dtype.type_size();
        if len == 0 {
            return Ok(Bytes::Borrowed(&[]));
        }
        mapped::map_range(&self.path, self.content.tensor_data_offset + info.offset, len).map(Bytes::Mapped)
    }

    fn decoded_by_candle(&self, name: &str, info: &TensorInfo) -> Result<Bytes<'static>> {
        let read = || -> candle_core::Result<Vec<f32>> {
            let mut file = File::open(&self.path)?;
            let tensor = info.read(&mut file, self.content.tensor_data_offset, &Device::Cpu)?;
            tensor.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1()
        };
        let values = read().map_err(|error| Error::Quantized {
            path: self.path.clone(),
            name: name.into(),
            error: Box::new(error),
        })?;
        Ok(Bytes::Owned(values.iter().flat_map(|value| value.to_le_bytes()).collect()))
    }

    /// Undoes the converter's reordering of the rows of each head: returns the file's row for each row
    /// of the result. The converter makes the two elements that rotary embedding rotates together
    /// neighbours; in Hugging Face checkpoints they are half a head apart.
    fn half_split_rows(&self, name: &str, rows: usize, heads: usize) -> Result<Vec<usize>> {
        if !heads.checked_mul(2).is_some_and(|halves| rows.is_multiple_of(halves)) {
            let expected =
                format!("a number that divides the {rows} rows of {name} into heads of even width");
            return Err(
                self.metadata("llama.attention.head_count", FormatProblem::value("it", heads, expected))
            );
        }
        Ok(half_split_rows(rows, heads))
    }

    /// Checks a tensor's byte range, which follows from its shape and type. Blocks cannot span rows: if
    /// a row is not a whole number of blocks, later rows would be read at wrong offsets, or beyond the
    /// tensor's end.
    fn check_range(&self, name: &str, info: &TensorInfo) -> Result<Extent> {
        let (shape, dtype) = (info.shape.dims(), info.ggml_dtype);
        let name = hugging_face_name(name).unwrap_or_else(|| name.into());
        let start = self.content.tensor_data_offset.saturating_add(info.offset);
        let row = shape.last().copied().unwrap_or(1);
        let elements = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        let bytes = |elements: usize| elements.div_ceil(dtype.block_size()).checked_mul(dtype.type_size());
        let Some(size) = elements.and_then(bytes) else {
            let expected = format!("a shape that fits into memory, not {shape:?} of {dtype:?}");
            return Err(Error::TensorSize { path: self.path.clone(), name, expected, got: self.file_len });
        };
        let end = start.saturating_add(size as u64);
        if !row.is_multiple_of(dtype.block_size()) {
            let (path, dtype, block) = (self.path.clone(), format!("{dtype:?}"), dtype.block_size());
            return Err(Error::PartialBlocks { path, name, start, end, row, block, dtype });
        }
        if end > self.file_len {
            return Err(Error::Truncated {
                path: self.path.clone(),
                name,
                start,
                end,
                file_len: self.file_len,
            });
        }
        Ok((start, end, name))
    }

    pub(super) fn has_tensor(&self, stored_name: &str) -> bool {
        self.content.tensor_infos.contains_key(stored_name)
    }

    pub(crate) fn value(&self, key: &str) -> Option<&Value> {
        self.content.metadata.get(key)
    }

    pub(crate) fn metadata(&self, key: &str, problem: FormatProblem) -> Error {
        Error::Metadata { path: self.path.clone(), key: key.into(), problem }
    }

    /// The error of an entry that has the wrong type.
    pub(crate) fn mismatch(&self, key: &str, value: &Value, expected: &str) -> Error {
        self.metadata(key, FormatProblem::value("it", header::of_type(value), expected))
    }

    fn needed(&self, key: &str) -> Result<&Value> {
        self.value(key).ok_or_else(|| self.metadata(key, FormatProblem::Missing))
    }

    pub(crate) fn text(&self, key: &str) -> Result<&str> {
        let value = self.needed(key)?;
        value.to_string().map(String::as_str).map_err(|_| self.mismatch(key, value, "a string"))
    }

    pub(crate) fn array(&self, key: &str) -> Result<&[Value]> {
        let value = self.needed(key)?;
        value.to_vec().map(Vec::as_slice).map_err(|_| self.mismatch(key, value, "a list"))
    }

    pub(crate) fn texts(&self, key: &str) -> Result<Vec<&str>> {
        let wrong = |value: &Value| {
            self.metadata(key, FormatProblem::value("an element", header::of_type(value), "a string"))
        };
        self.array(key)?
            .iter()
            .map(|value| value.to_string().map(String::as_str).map_err(|_| wrong(value)))
            .collect()
    }

    /// A float; `None` if there is no such entry.
    pub(crate) fn number(&self, key: &str) -> Result<Option<f64>> {
        let number = |value: &Value| value.to_f32().map(f64::from).or_else(|_| value.to_f64());
        self.value(key)
            .map(|value| number(value).map_err(|_| self.mismatch(key, value, "a float")))
            .transpose()
    }

    /// A token id; `None` if there is no such entry.
    fn id(&self, key: &str) -> Result<Option<u32>> {
        let id = |id| {
            u32::try_from(id).map_err(|_| self.metadata(key, FormatProblem::value("it", id, "a token id")))
        };
        self.value(key).map(|_| self.size(key).and_then(id)).transpose()
    }

    fn size(&self, key: &str) -> Result<usize> {
        let value = self.needed(key)?;
        let size =
            value.to_u64().ok().or_else(|| value.to_i32().ok().and_then(|size| u64::try_from(size).ok()));
        let size = size.and_then(|size| usize::try_from(size).ok());
        size.ok_or_else(|| self.mismatch(key, value, "a number, 0 or more"))
    }
}

const RMS_NORM_EPS: &str = "llama.attention.layer_norm_rms_epsilon";

/// The names of a layer's tensors in GGUF and at Hugging Face.
const LAYER_NAMES: [(&str, &str); 9] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// The names of all other tensors in GGUF and at Hugging Face.
const OUTER_NAMES: [(&str, &str); 3] = [
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", "model.norm.weight"),
    ("output.weight", "lm_head.weight"),
];

fn gguf_name(name: &str) -> Option<String> {
    if name == rope::FACTORS {
        return Some(name.into());
    }
    if let Some((gguf, _)) = OUTER_NAMES.iter().find(|(_, hf)| *hf == name) {
        return Some((*gguf).into());
    }
    let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let tail = rest.strip_suffix(".weight")?;
    LAYER_NAMES.iter().find(|(_, hf)| *hf == tail).map(|(gguf, _)| format!("blk.{layer}.{gguf}.weight"))
}

fn hugging_face_name(name: &str) -> Option<String> {
    if let Some((_, hf)) = OUTER_NAMES.iter().find(|(gguf, _)| *gguf == name) {
        return Some((*hf).into());
    }
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let tail = rest.strip_suffix(".weight")?;
    LAYER_NAMES
        .iter()
        .find(|(gguf, _)| *gguf == tail)
        .map(|(_, hf)| format!("model.layers.{layer}.{hf}.weight"))
}

fn half_split_rows(rows: usize, heads: usize) -> Vec<usize> {
    let head_dim = rows / heads;
    let stored = |row: usize| {
        let (head, i) = (row / head_dim, row % head_dim);
        let (part, pair) = (i / (head_dim / 2), i % (head_dim / 2));
        head * head_dim + 2 * pair + part
    };
    (0..rows).map(stored).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_mapped_in_both_directions() {
        for name in
            ["token_embd.weight", "blk.12.ffn_gate.weight", "blk.0.attn_output.weight", "output_norm.weight"]
        {
            assert_eq!(gguf_name(&hugging_face_name(name).unwrap()).unwrap(), name);
        }
        assert_eq!(gguf_name("model.layers.0.self_attn.rotary_emb.inv_freq"), None);
        assert_eq!(hugging_face_name("rope_freqs.weight"), None);
    }

    #[test]
    fn the_rows_of_a_head_are_reordered_from_pairs_to_halves() {
        // Two heads of four rows; the converter stored rows 0 2 1 3 of each.
        assert_eq!(half_split_rows(8, 2), [0, 2, 1, 3, 4, 6, 5, 7]);
    }
}
