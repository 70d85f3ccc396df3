//! An offline toxicity classifier: a bidirectional LSTM over word embeddings, from safetensors.
//!
//! It is the model of the Python package `tox-block`, trained on the comments of the Jigsaw challenge.
//! On continuations of RealToxicityPrompts its correlation with Perspective's score is 0.78. The two
//! scales differ, so report its numbers under its own name.

use std::collections::HashMap;
use std::path::Path;

use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::files::{read_bytes, read_json};
use crate::{Error, Result};

/// The six classes, in the order of the scores; the first is the toxicity.
pub(crate) const CLASSES: [&str; 6] =
    ["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"];

const EMBEDDING: usize = 50;
const UNITS: usize = 50;
const GATES: usize = 4 * UNITS;

/// The classifier.
pub struct ToxicityClassifier {
    vocabulary: HashMap<String, usize>,
    length: usize,
    separators: Vec<char>,
    rescale: [(f64, f64); CLASSES.len()],
    /// The input's part of a step, `x · K + b` with gates i, f, c, o, is precomputed for every word.
    forward: Lstm,
    backward: Lstm,
    /// `[units of both directions, 50]`, then a bias.
    dense: Dense,
    out: Dense,
    /// The forward states after 0, 1, … padding words. Shorter texts are padded at the start.
    padded: Vec<State>,
}

struct Lstm {
    /// `[words, gates]`.
    input: Vec<f32>,
    /// `[units, gates]`.
    recurrent: Vec<f32>,
}

struct Dense {
    /// `[inputs, outputs]`.
    kernel: Vec<f32>,
    bias: Vec<f32>,
}

#[derive(Clone, Copy)]
struct State {
    hidden: [f32; UNITS],
    cell: [f32; UNITS],
    /// The largest hidden value of each unit so far.
    largest: [f32; UNITS],
}

impl State {
    const START: Self =
        Self { hidden: [0.0; UNITS], cell: [0.0; UNITS], largest: [f32::NEG_INFINITY; UNITS] };
}

#[derive(Deserialize)]
struct Config {
    classes: Vec<String>,
    sequence_length: usize,
    vocabulary: usize,
    filters: String,
    rescale: HashMap<String, (f64, f64)>,
}

impl ToxicityClassifier {
    /// Reads `model.safetensors`, `vocab.txt.gz` and `config.json` from a folder.
    ///
    /// # Errors
    /// [`Error::File`] for a file that cannot be read, [`Error::Reference`] for tensors, words or
    /// settings of another model.
    pub fn load(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let config_path = folder.join("config.json");
        let config: Config = read_json(&config_path)?;
        if config.classes != CLASSES {
            return Err(Error::reference(
                format!("{}, classes", config_path.display()),
                CLASSES.join(", "),
                config.classes.join(", "),
            ));
        }
        if config.sequence_length == 0 {
            return Err(Error::reference(
                format!("{}, sequence_length", config_path.display()),
                "1 or more",
                0,
            ));
        }
        let mut rescale = [(0.0, 1.0); CLASSES.len()];
        for (class, range) in CLASSES.iter().zip(&mut rescale) {
            let got = config.rescale.get(*class).copied().filter(|(low, high)| high > low);
            *range = got.ok_or_else(|| {
                Error::reference(
                    format!("{}, rescale", config_path.display()),
                    format!("a range for {class}"),
                    "none",
                )
            })?;
        }
        let vocabulary = vocabulary(&folder.join("vocab.txt.gz"), config.vocabulary)?;

        let path = folder.join("model.safetensors");
        let bytes = read_bytes(&path)?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|error| {
            Error::reference(path.display().to_string(), "a complete safetensors file", error)
        })?;
        let tensor = |name: &str, shape: &[usize]| tensor(&path, &tensors, name, shape);
        let embedding = tensor("embedding.weight", &[config.vocabulary, EMBEDDING])?;
        let lstm = |direction: &str| -> Result<Lstm> {
            let kernel = tensor(&format!("lstm.{direction}.kernel"), &[EMBEDDING, GATES])?;
            let bias = tensor(&format!("lstm.{direction}.bias"), &[GATES])?;
            let recurrent = tensor(&format!("lstm.{direction}.recurrent_kernel"), &[UNITS, GATES])?;
            Ok(Lstm { input: inputs(&embedding, &kernel, &bias), recurrent })
        };
        let dense = |name: &str, inputs: usize, outputs: usize| -> Result<Dense> {
            Ok(Dense {
                kernel: tensor(&format!("{name}.kernel"), &[inputs, outputs])?,
                bias: tensor(&format!("{name}.bias"), &[outputs])?,
            })
        };
        let mut classifier = Self {
            vocabulary,
            length: config.sequence_length,
            separators: config.filters.chars().collect(),
            rescale,
            forward: lstm("forward")?,
            backward: lstm("backward")?,
            dense: dense("dense", 2 * UNITS, UNITS)?,
            out: dense("out", UNITS, CLASSES.len())?,
            padded: Vec::new(),
        };
        let mut state = State::START;
        classifier.padded.push(state);
        for _ in 0..classifier.length {
            classifier.forward.step(&mut state, 0);
            classifier.padded.push(state);
        }
        Ok(classifier)
    }

    /// The probability of each of [`CLASSES`], 0 to 1.
    pub(crate) fn score(&self, text: &str) -> [f64; CLASSES.len()] {
        let ids = self.ids(text);
        let padding = self.length - ids.len();
        let mut forward = self.padded[padding];
        ids.iter().for_each(|&id| self.forward.step(&mut forward, id));
        let mut backward = State::START;
        ids.iter().rev().for_each(|&id| self.backward.step(&mut backward, id));
        (0..padding).for_each(|_| self.backward.step(&mut backward, 0));

        let features = [forward.largest, backward.largest].concat();
        let hidden: Vec<f32> = self.dense.apply(&features).into_iter().map(|value| value.max(0.0)).collect();
        let logits = self.out.apply(&hidden);
        std::array::from_fn(|class| 1.0 / (1.0 + (-f64::from(logits[class])).exp()))
    }

    /// The probabilities of [`CLASSES`] for each text, 0 to 1. Texts are scored in parallel, with the
    /// same results as one at a time.
    pub(crate) fn score_all<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Vec<[f64; 6]> {
        texts.par_iter().map(|text| self.score(text.as_ref())).collect()
    }

    /// Probabilities on the scale that the package prints: rescaled by the range of each class in
    /// training. Only for comparison with the package's examples.
    pub(crate) fn rescale(&self, probabilities: [f64; CLASSES.len()]) -> [f64; CLASSES.len()] {
        std::array::from_fn(|class| {
            let (low, high) = self.rescale[class];
            ((probabilities[class] - low) / (high - low)).abs()
        })
    }

    /// The ids of the known words, truncated to the last ones that fit the model's input length.
    fn ids(&self, text: &str) -> Vec<usize> {
        let lower = text.to_lowercase();
        let words = lower.split(|c: char| c == ' ' || self.separators.contains(&c));
        let ids: Vec<usize> = words.filter_map(|word| self.vocabulary.get(word).copied()).collect();
        ids[ids.len().saturating_sub(self.length)..].to_vec()
    }
}

/// `embedding · kernel + bias` for every word.
fn inputs(embedding: &[f32], kernel: &[f32], bias: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; embedding.len() / EMBEDDING * GATES];
    out.par_chunks_mut(GATES).zip(embedding.par_chunks(EMBEDDING)).for_each(|(out, word)| {
        out.copy_from_slice(bias);
        for (value, row) in word.iter().zip(kernel.chunks(GATES)) {
            out.iter_mut().zip(row).for_each(|(out, weight)| *out += value * weight);
        }
    });
    out
}

impl Lstm {
    fn step(&self, state: &mut State, word: usize) {
        let mut z = [0.0_f32; GATES];
        z.copy_from_slice(&self.input[word * GATES..(word + 1) * GATES]);
        for (value, row) in state.hidden.iter().zip(self.recurrent.chunks(GATES)) {
            z.iter_mut().zip(row).for_each(|(z, weight)| *z += value * weight);
        }
        for unit in 0..UNITS {
            let [input, forget, candidate, output] = [0, 1, 2, 3].map(|gate| z[gate * UNITS + unit]);
            let cell = hard_sigmoid(forget) * state.cell[unit] + hard_sigmoid(input) * candidate.tanh();
            let hidden = hard_sigmoid(output) * cell.tanh();
            state.cell[unit] = cell;
            state.hidden[unit] = hidden;
            state.largest[unit] = state.largest[unit].max(hidden);
        }
    }
}

impl Dense {
    fn apply(&self, input: &[f32]) -> Vec<f32> {
        let mut out = self.bias.clone();
        for (value, row) in input.iter().zip(self.kernel.chunks(self.bias.len())) {
            out.iter_mut().zip(row).for_each(|(out, weight)| *out += value * weight);
        }
        out
    }
}

fn hard_sigmoid(z: f32) -> f32 {
    (0.2 * z + 0.5).clamp(0.0, 1.0)
}

/// Reads a vocabulary of one word per line. The word of line n (from 1) has id n; id 0 is padding.
fn vocabulary(path: &Path, ids: usize) -> Result<HashMap<String, usize>> {
    let bytes = read_bytes(path)?;
    let mut text = String::new();
    let read = std::io::Read::read_to_string(&mut flate2::read::MultiGzDecoder::new(&bytes[..]), &mut text);
    read.map_err(|cause| janus_data::Error::Compressed { path: path.into(), codec: "gzip", rows: 0, cause })?;
    let words: HashMap<String, usize> =
        text.lines().enumerate().map(|(line, word)| (word.to_string(), line + 1)).collect();
    if words.len() + 1 == ids {
        Ok(words)
    } else {
        Err(Error::reference(
            path.display().to_string(),
            format!("{} distinct words", ids.saturating_sub(1)),
            words.len(),
        ))
    }
}

fn tensor(path: &Path, tensors: &SafeTensors<'_>, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let what = || format!("{}, tensor {name}", path.display());
    let view = tensors.tensor(name).map_err(|error| Error::reference(what(), "a tensor", error))?;
    if view.dtype() != Dtype::F32 || view.shape() != shape {
        return Err(Error::reference(
            what(),
            format!("f32 {shape:?}"),
            format!("{:?} {:?}", view.dtype(), view.shape()),
        ));
    }
    let values: Vec<f32> = view
        .data()
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        .collect();
    match values.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(Error::reference(what(), "finite numbers", format!("{} at {at}", values[at]))),
        None => Ok(values),
    }
}
