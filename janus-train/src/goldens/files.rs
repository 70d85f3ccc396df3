//! Reading reference files and comparing with their numbers.

use std::collections::BTreeMap;
use std::path::Path;

use crate::{Batch, TokenRow};
use candle_core::{DType, Device, Tensor};
use serde_json::Value;

/// The largest difference among many comparisons.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Compared {
    /// The largest absolute difference.
    pub difference: f64,
    /// The tolerance at the number where difference / tolerance is largest.
    pub tolerance: f64,
    /// Whether every difference is within its tolerance.
    pub within: bool,
}

/// max(10 · stated, 1e-5 + 1e-5 · |x|).
pub(super) fn tolerance(stated: f64) -> impl Fn(f64) -> f64 {
    move |x: f64| (10.0 * stated).max(1e-5 + 1e-5 * x.abs())
}

/// Compares number by number; the difference is infinite if either number is not finite.
pub(super) fn compare(got: &[f64], want: &[f64], tolerance: impl Fn(f64) -> f64) -> Result<Compared, String> {
    if got.len() != want.len() || want.is_empty() {
        return Err(format!("{} numbers, expected {}", got.len(), want.len()));
    }
    let (mut worst, mut all) = (-1.0, Compared { difference: 0.0, tolerance: 0.0, within: true });
    for (&got, &want) in got.iter().zip(want) {
        let difference = if got.is_finite() && want.is_finite() { (got - want).abs() } else { f64::INFINITY };
        let allowed = tolerance(want);
        all.difference = all.difference.max(difference);
        if difference / allowed > worst {
            worst = difference / allowed;
            all.tolerance = allowed;
        }
        all.within &= difference <= allowed;
    }
    Ok(all)
}

/// A comparison of discrete values: `differing` of `of` differ, with tolerance 0.
pub(super) fn exact(differing: usize, of: usize) -> Result<Compared, String> {
    if of == 0 {
        return Err("nothing to compare".into());
    }
    Ok(Compared { difference: differing as f64, tolerance: 0.0, within: differing == 0 })
}

/// An error as text.
pub(super) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Reads a JSON file.
pub(super) fn json(path: &Path) -> Result<Value, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// A number of `cases.json`, by its path of keys.
pub(super) fn number(json: &Value, keys: &[&str]) -> Result<f64, String> {
    let found = keys.iter().try_fold(json, |json, key| json.get(key)).and_then(Value::as_f64);
    found.ok_or_else(|| format!("cases.json: {} is not a number", keys.join(".")))
}

/// The tensors of a safetensors file.
pub(super) struct Tensors {
    file: String,
    tensors: BTreeMap<String, Tensor>,
}

impl Tensors {
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let found = std::fs::metadata(path)
            .map_err(candle_core::Error::from)
            .and_then(|_| candle_core::safetensors::load(path, &Device::Cpu));
        let tensors = found.map_err(|error| format!("{}: {error}", path.display()))?.into_iter().collect();
        Ok(Self { file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(), tensors })
    }

    pub(super) fn all(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    pub(super) fn get(&self, name: &str) -> Result<&Tensor, String> {
        self.tensors.get(name).ok_or_else(|| format!("{} lacks {name}", self.file))
    }

    /// All numbers of a tensor.
    pub(super) fn floats(&self, name: &str) -> Result<Vec<f64>, String> {
        floats(self.get(name)?).map_err(|error| format!("{name}: {error}"))
    }

    /// A matrix of integers.
    pub(super) fn ints(&self, name: &str) -> Result<Vec<Vec<i64>>, String> {
        let tensor = self.get(name)?;
        let rows = || tensor.to_dtype(DType::I64)?.to_vec2();
        rows().map_err(|error: candle_core::Error| format!("{name}: {error}"))
    }
}

pub(super) fn floats(tensor: &Tensor) -> Result<Vec<f64>, String> {
    let flat = || tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1();
    flat().map_err(|error: candle_core::Error| error.to_string())
}

/// The documents of a padded row.
pub(super) struct Documents {
    pub rows: Vec<TokenRow>,
    /// For each token of all documents, in order, its position in the padded row.
    pub places: Vec<usize>,
}

/// The documents of a padded row: consecutive tokens of the same segment; segment -1 is padding.
pub(super) fn documents(ids: &[i64], segments: &[i64], trained: impl Fn(usize) -> bool) -> Documents {
    let mut documents = Documents { rows: Vec::new(), places: Vec::new() };
    let mut last = None;
    for (place, (&id, &segment)) in ids.iter().zip(segments).enumerate() {
        if segment < 0 {
            last = None;
            continue;
        }
        if last != Some(segment) {
            documents.rows.push(TokenRow::default());
        }
        last = Some(segment);
        if let Some(row) = documents.rows.last_mut() {
            row.ids.push(id as u32);
            row.loss_mask.push(trained(place));
        }
        documents.places.push(place);
    }
    documents
}

impl Documents {
    pub(super) fn batch(&self) -> Batch {
        Batch::concat(&self.rows.iter().collect::<Vec<_>>())
    }
}

/// An attention mask as segments: 0 for a token, -1 for padding.
pub(super) fn segments(mask: &[i64]) -> Vec<i64> {
    mask.iter().map(|mask| mask - 1).collect()
}
