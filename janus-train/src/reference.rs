//! Log-probabilities of responses under a reference model, computed once and stored.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use candle_core::Device;
use janus_data::Dataset;
use janus_data::fs::create_parent;
use serde::{Deserialize, Serialize};

use crate::error::{AtPath, FileProblem};
use crate::ops::documents;
use crate::{Decoder, Error, MicroBatch, Result, TokenRow};

/// How often the file is written. An interrupted computation loses at most this much work.
const WRITE_EVERY: Duration = Duration::from_secs(30);

/// The log-probability of every row's supervised tokens under one model, in a file.
///
/// The first line of the file names the model (by a hash of its weights), the weights' dtype and the
/// template. Each further line has the log-probability of one row, named by a hash of its ids and loss
/// mask. So log-probabilities are never used for another model, template or row, and an interrupted
/// computation resumes. The file is always replaced atomically: two runs that compute the same at the
/// same time do the work twice and leave the same file.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceLogprobs {
    path: PathBuf,
    header: Header,
    by_row: BTreeMap<String, f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    model: String,
    weights: String,
    template: String,
}

impl Header {
    fn new(model: &Decoder, template: &str) -> Result<Self> {
        Ok(Self {
            model: model.fingerprint()?,
            weights: model.dtype().torch().into(),
            template: template.into(),
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    row: String,
    logprob: f64,
}

impl ReferenceLogprobs {
    /// A suitable batch size in tokens for [`compute`](Self::compute), whose forward passes keep nothing
    /// for a backward pass.
    pub const TOKENS_AT_ONCE: usize = 8192;

    /// Reads the file at `path` if it exists, computes the missing rows in batches of at most `tokens`
    /// tokens (one row at least), and writes the file. Its folder is created if it does not exist.
    /// `progress` is called with the number of rows done and of all rows, the first time with the rows
    /// that were already in the file.
    ///
    /// The batches depend only on `rows` and `tokens` and not on what is already stored, so a resumed
    /// computation gives the same numbers.
    ///
    /// # Errors
    /// [`Error::OtherReference`] if the file was made with another model, weight dtype or template,
    /// [`Error::Malformed`] if it is not such a file, [`Error::Io`] and [`Error::Data`], and the error
    /// of a forward pass.
    pub fn compute(
        path: impl AsRef<Path>,
        model: &Decoder,
        template: &str,
        rows: &dyn Dataset,
        tokens: usize,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self> {
        Self::complete(path.as_ref(), Header::new(model, template)?, model, rows, tokens, progress)
    }

    /// [`compute`](Self::compute) with the file `STEM.reference-KEY.jsonl` in a folder. The key is a
    /// hash of the model, its weight dtype, the template, the rows and `tokens`. So every run with the
    /// same inputs finds the file, and runs with other inputs have other files in the same folder.
    ///
    /// # Errors
    /// As [`compute`](Self::compute).
    pub fn compute_in(
        folder: impl AsRef<Path>,
        stem: &str,
        model: &Decoder,
        template: &str,
        rows: &dyn Dataset,
        tokens: usize,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self> {
        let header = Header::new(model, template)?;
        let mut key = blake3::Hasher::new();
        for part in [&header.model, &header.weights, &header.template] {
            key.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        key.update(&(tokens as u64).to_le_bytes());
        for row in 0..rows.len() {
            hash_row(&mut key, &*rows.row(row)?);
        }
        let name = format!("{stem}.reference-{}.jsonl", &key.finalize().to_hex()[..16]);
        Self::complete(&folder.as_ref().join(name), header, model, rows, tokens, progress)
    }

    fn complete(
        path: &Path,
        header: Header,
        model: &Decoder,
        rows: &dyn Dataset,
        tokens: usize,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self> {
        // Created first: if this failed after the computation, the work would be lost.
        create_parent(path)?;
        let mut reference = Self::read_for(path, header)?;
        // Name and number of tokens of each row.
        let mut named: Vec<(String, usize)> = Vec::with_capacity(rows.len());
        for row in 0..rows.len() {
            let row = rows.row(row)?;
            named.push((hash(&row), row.ids.len()));
        }
        let mut done = named.iter().filter(|(hash, _)| reference.by_row.contains_key(hash)).count();
        progress(done, rows.len());
        let model = model.detached()?;
        let (mut rest, mut written, mut changed) = (&named[..], Instant::now(), !path.exists());
        while !rest.is_empty() {
            let mut held = 0;
            let fits = |(_, length): &&(String, usize)| {
                held += length;
                held <= tokens
            };
            let start = rows.len() - rest.len();
            let (now, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            rest = later;
            let missing = now.iter().filter(|(hash, _)| !reference.by_row.contains_key(hash)).count();
            if missing == 0 {
                continue;
            }
            let batch = MicroBatch::read(rows, (start..start + now.len()).collect())?.batch;
            let sums =
                model.logprobs(&batch)?.sum_by_document(&batch)?.to_device(&Device::Cpu)?.to_vec1::<f32>()?;
            for ((row, _), sum) in now.iter().zip(sums) {
                reference.by_row.entry(row.clone()).or_insert(f64::from(sum));
            }
            changed = true;
            if written.elapsed() >= WRITE_EVERY {
                reference.write()?;
                (written, changed) = (Instant::now(), false);
            }
            done += missing;
            progress(done, rows.len());
        }
        if changed {
            reference.write()?;
        }
        Ok(reference)
    }

    /// Reads the complete lines of the file, if it exists.
    fn read_for(path: &Path, header: Header) -> Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text.at(path)?,
        };
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let mut lines = whole.lines();
        let Some(first) = lines.next() else {
            return Ok(Self { path: path.into(), header, by_row: BTreeMap::new() });
        };
        let found: Header = serde_json::from_str(first).map_err(FileProblem::json(path))?;
        let parts = [
            ("model", &found.model, &header.model),
            ("weight dtype", &found.weights, &header.weights),
            ("template", &found.template, &header.template),
        ];
        if let Some((what, ..)) = parts.into_iter().find(|(_, found, wanted)| found != wanted) {
            return Err(Error::OtherReference { path: path.into(), what });
        }
        let read = |line: &str| {
            let line: Line = serde_json::from_str(line).map_err(FileProblem::json(path))?;
            Ok((line.row, line.logprob))
        };
        let by_row = lines.map(read).collect::<Result<_>>()?;
        Ok(Self { path: path.into(), header, by_row })
    }

    /// Writes the file, including rows that another run has added in the meantime.
    fn write(&mut self) -> Result<()> {
        let path = &self.path;
        for (row, logprob) in Self::read_for(path, self.header.clone())?.by_row {
            self.by_row.entry(row).or_insert(logprob);
        }
        let mut text = serde_json::to_string(&self.header).map_err(FileProblem::json(path))?;
        text.push('\n');
        for (row, &logprob) in &self.by_row {
            let line = serde_json::to_string(&Line { row: row.clone(), logprob });
            text.push_str(&line.map_err(FileProblem::json(path))?);
            text.push('\n');
        }
        Ok(janus_data::write_file(path, text.as_bytes())?)
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The log-probability of each row.
    ///
    /// # Errors
    /// [`Error::NoReference`] with the first row that is not stored; [`Error::Data`] if a row cannot be
    /// read.
    pub fn of_rows(&self, rows: &dyn Dataset) -> Result<Vec<f64>> {
        let of =
            |row: usize| self.by_row.get(&hash(&*rows.row(row)?)).copied().ok_or(Error::NoReference { row });
        (0..rows.len()).map(of).collect()
    }

    /// The log-probability of each document of a micro-batch: `[documents]`.
    ///
    /// # Errors
    /// [`Error::NoReference`] with the row of the first document that is not stored.
    pub fn of_batch(&self, micro_batch: &MicroBatch) -> Result<Vec<f64>> {
        let batch = &micro_batch.batch;
        let documents = documents(&batch.cu_seqlens).enumerate();
        let of = |(document, tokens): (usize, std::ops::Range<usize>)| {
            let row = TokenRow {
                ids: batch.ids[tokens.clone()].to_vec(),
                loss_mask: batch.loss_mask[tokens].to_vec(),
            };
            let row_number = micro_batch.rows.get(document).copied().unwrap_or(document);
            self.by_row.get(&hash(&row)).copied().ok_or(Error::NoReference { row: row_number })
        };
        documents.map(of).collect()
    }

    /// The model (by a hash of its weights), the weights' dtype and the template: a part of the identity
    /// of an objective that uses these log-probabilities.
    pub fn identity(&self) -> serde_json::Value {
        let Header { model, weights, template } = &self.header;
        serde_json::json!({ "model": model, "weights": weights, "template": template })
    }
}

/// The name of a row: a hash of its ids and loss mask.
fn hash(row: &TokenRow) -> String {
    let mut hash = blake3::Hasher::new();
    hash_row(&mut hash, row);
    hash.finalize().to_hex()[..32].into()
}

/// Adds a row's ids and loss mask to a hash.
pub(crate) fn hash_row(hash: &mut blake3::Hasher, row: &TokenRow) {
    let tokens = row.ids.iter().zip(&row.loss_mask).enumerate();
    // A first token is never in the loss, whatever the loss mask says.
    let tokens = tokens.map(|(i, (id, &trained))| u64::from(*id) << 1 | u64::from(trained && i > 0));
    let bytes: Vec<u8> =
        std::iter::once(row.ids.len() as u64).chain(tokens).flat_map(u64::to_le_bytes).collect();
    hash.update(&bytes);
}
