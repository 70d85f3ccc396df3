//! Log-probabilities of responses under a reference model, computed once.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use candle_core::Device;
use serde::{Deserialize, Serialize};

use crate::file::{AtPath, write_whole};
use crate::{Batch, Decoder, Error, MicroBatch, Result, TokenRow};

/// The log-probability of every row's supervised tokens under one model, in a file beside the data.
///
/// The file has a line that names the model (by a hash of its weights) and the template, and then one line for each
/// row, named by a hash of its ids and marks. So a changed model, template or row is never taken for the one that was
/// scored, rows may come in another order, and a computation that was cut off continues.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceLogprobs {
    header: Header,
    by_row: BTreeMap<String, f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    model: String,
    template: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    row: String,
    logprob: f64,
}

impl ReferenceLogprobs {
    /// Reads from `path` what is there and computes the rest, in batches of about `tokens` tokens, appending to the
    /// file as it goes; calls `progress` with rows done and rows in all.
    ///
    /// # Errors
    /// [`Error::OtherReference`] if the file was made with another model or template, [`Error::Malformed`] if it is none,
    /// [`Error::Io`], and what a forward pass fails with.
    pub fn compute(
        path: impl AsRef<Path>,
        model: &Decoder,
        template: &str,
        rows: &[TokenRow],
        tokens: usize,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self> {
        let path = path.as_ref();
        let header = Header { model: model.fingerprint()?, template: template.into() };
        let mut reference = Self::read_for(path, header)?;
        let missing: Vec<(String, &TokenRow)> =
            rows.iter().map(|row| (hash(row), row)).filter(|(hash, _)| !reference.by_row.contains_key(hash)).collect();
        let mut file = OpenOptions::new().append(true).open(path).at(path)?;
        let model = model.detached()?;
        let mut rest = &missing[..];
        while !rest.is_empty() {
            let mut held = 0;
            let fits = |(_, row): &&(String, &TokenRow)| {
                held += row.ids.len();
                held <= tokens
            };
            let (now, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            let batch = Batch::concat(&now.iter().map(|(_, row)| *row).collect::<Vec<_>>());
            let sums = model.logprobs(&batch)?.sum_by_document(&batch)?.to_device(&Device::Cpu)?.to_vec1::<f32>()?;
            let mut lines = String::new();
            for ((row, _), sum) in now.iter().zip(sums) {
                let logprob = f64::from(sum);
                let line = serde_json::to_string(&Line { row: row.clone(), logprob });
                lines.push_str(&line.map_err(|error| malformed(path, &error))?);
                lines.push('\n');
                reference.by_row.insert(row.clone(), logprob);
            }
            file.write_all(lines.as_bytes()).at(path)?;
            rest = later;
            progress(rows.len() - rest.len(), rows.len());
        }
        file.sync_all().at(path)?;
        Ok(reference)
    }

    /// The whole lines of the file, which is made if need be; a line that was cut off is taken away.
    fn read_for(path: &Path, header: Header) -> Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text.at(path)?,
        };
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let mut lines = whole.lines();
        let Some(first) = lines.next() else {
            let line = serde_json::to_string(&header).map_err(|error| malformed(path, &error))?;
            write_whole(path, format!("{line}\n").as_bytes())?;
            return Ok(Self { header, by_row: BTreeMap::new() });
        };
        let found: Header = serde_json::from_str(first).map_err(|error| malformed(path, &error))?;
        let parts = [("model", &found.model, &header.model), ("template", &found.template, &header.template)];
        if let Some((what, ..)) = parts.into_iter().find(|(_, found, wanted)| found != wanted) {
            return Err(Error::OtherReference { path: path.into(), what });
        }
        let read = |line: &str| {
            let line: Line = serde_json::from_str(line).map_err(|error| malformed(path, &error))?;
            Ok((line.row, line.logprob))
        };
        let by_row = lines.map(read).collect::<Result<_>>()?;
        if whole.len() < text.len() {
            write_whole(path, whole.as_bytes())?;
        }
        Ok(Self { header, by_row })
    }

    /// The log-probability of each row.
    ///
    /// # Errors
    /// [`Error::NoReference`] names the first row that was not scored.
    pub fn of_rows(&self, rows: &[TokenRow]) -> Result<Vec<f64>> {
        let of = |(row, tokens): (usize, &TokenRow)| self.by_row.get(&hash(tokens)).copied().ok_or(Error::NoReference { row });
        rows.iter().enumerate().map(of).collect()
    }

    /// The log-probability of each document of a micro-batch.
    pub(crate) fn of_batch(&self, micro_batch: &MicroBatch) -> Result<Vec<f64>> {
        let batch = &micro_batch.batch;
        let documents = batch.cu_seqlens.windows(2).map(|ends| ends[0] as usize..ends[1] as usize).enumerate();
        let of = |(document, tokens): (usize, std::ops::Range<usize>)| {
            let row = TokenRow { ids: batch.ids[tokens.clone()].to_vec(), trained: batch.trained[tokens].to_vec() };
            let row_number = micro_batch.rows.get(document).copied().unwrap_or(document);
            self.by_row.get(&hash(&row)).copied().ok_or(Error::NoReference { row: row_number })
        };
        documents.map(of).collect()
    }

    /// Model and template, for a run's identity.
    pub(crate) fn key(&self) -> String {
        format!("{} {}", self.header.model, self.header.template)
    }
}

fn malformed(path: &Path, error: &serde_json::Error) -> Error {
    Error::Malformed { path: path.into(), reason: error.to_string() }
}

/// Names a row by its ids and marks.
fn hash(row: &TokenRow) -> String {
    let mut hash = blake3::Hasher::new();
    hash_row(&mut hash, row);
    hash.finalize().to_hex()[..32].into()
}

/// Feeds a row's ids and marks to a hash.
pub(crate) fn hash_row(hash: &mut blake3::Hasher, row: &TokenRow) {
    hash.update(&(row.ids.len() as u64).to_le_bytes());
    for (i, (id, &trained)) in row.ids.iter().zip(&row.trained).enumerate() {
        // A first token carries no loss, whatever its mark.
        hash.update(&(u64::from(*id) << 1 | u64::from(trained && i > 0)).to_le_bytes());
    }
}
