//! Reading the reference numbers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use janus_train::{Batch, Decoder, TokenRow};

/// The folder of the reference files: `JANUS_GOLDENS` if set, else that of the repository.
pub fn goldens() -> PathBuf {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../goldens");
    std::env::var_os("JANUS_GOLDENS").map_or_else(own, PathBuf::from)
}

/// The reference numbers of one model.
pub struct Golden {
    /// The name of its folder.
    pub name: String,
    pub folder: PathBuf,
    /// `cases.json`.
    pub json: serde_json::Value,
    cases: BTreeMap<String, Tensor>,
}

impl Golden {
    /// Every model, by name.
    pub fn all() -> Vec<Self> {
        let folders = std::fs::read_dir(goldens().join("models")).unwrap().map(|entry| entry.unwrap().path());
        let mut all: Vec<Self> = folders.map(Self::read).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        assert!(all.len() >= 7);
        all
    }

    /// The models whose `cases.json` has this part.
    pub fn with(part: &str) -> Vec<Self> {
        let all: Vec<Self> = Self::all().into_iter().filter(|golden| golden.json[part].is_object()).collect();
        assert!(all.len() >= 4, "{part}: only {} models", all.len());
        all
    }

    fn read(folder: PathBuf) -> Self {
        let name = folder.file_name().unwrap().to_str().unwrap().to_string();
        let json =
            serde_json::from_str(&std::fs::read_to_string(folder.join("cases.json")).unwrap()).unwrap();
        let cases = read_tensors(&folder.join("cases.safetensors"));
        Self { name, folder, json, cases }
    }

    pub fn decoder(&self) -> Decoder {
        Decoder::load(&self.folder, &Device::Cpu).unwrap()
    }

    /// The reference model of DPO.
    pub fn reference_decoder(&self) -> Decoder {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(self.folder.join("config.json"), folder.path().join("config.json")).unwrap();
        std::fs::copy(self.folder.join("ref_model.safetensors"), folder.path().join("model.safetensors"))
            .unwrap();
        Decoder::load(folder.path(), &Device::Cpu).unwrap()
    }

    pub fn tensors(&self, file: &str) -> BTreeMap<String, Tensor> {
        read_tensors(&self.folder.join(file))
    }

    pub fn ints(&self, name: &str) -> Vec<Vec<i64>> {
        self.cases[name].to_vec2().unwrap()
    }

    pub fn floats(&self, name: &str) -> Vec<Vec<f64>> {
        self.cases[name].to_dtype(DType::F64).unwrap().to_vec2().unwrap()
    }

    /// One batch for each row of `sft` or `sft_packed`.
    pub fn sft_batches(&self, case: &str) -> Vec<Batch> {
        let (ids, labels) = (self.ints(&format!("{case}.input_ids")), self.ints(&format!("{case}.labels")));
        let segments = match case {
            "sft" => self
                .ints("sft.attention_mask")
                .into_iter()
                .map(|row| row.into_iter().map(|m| m - 1).collect())
                .collect(),
            _ => self.ints("sft_packed.segment_ids"),
        };
        let label = |row: usize, i: usize| -> bool {
            assert!(
                labels[row][i] == -100 || labels[row][i] == ids[row][i],
                "{case}: a label is the token itself"
            );
            labels[row][i] != -100
        };
        (0..ids.len()).map(|row| documents(&ids[row], &segments[row], |i| label(row, i)).0).collect()
    }

    /// The pairs, one batch for each, with the chosen document first.
    pub fn pair_batches(&self) -> Vec<Batch> {
        let [ids, attention, completion] = ["input_ids", "attention_mask", "completion_mask"]
            .map(|part| self.ints(&format!("pairs.{part}")));
        let document = |row: usize| {
            let segments: Vec<i64> = attention[row].iter().map(|mask| mask - 1).collect();
            assert!(
                completion[row]
                    .iter()
                    .zip(&attention[row])
                    .all(|(completion, real)| (0..=*real).contains(completion))
            );
            documents(&ids[row], &segments, |i| completion[row][i] == 1).0
        };
        let pairs = ids.len() / 2;
        (0..pairs).map(|pair| join(&[document(pair), document(pairs + pair)])).collect()
    }

    /// A vector of `cases.safetensors`.
    pub fn vector(&self, name: &str) -> Vec<f64> {
        self.cases[name].to_dtype(DType::F64).unwrap().to_vec1().unwrap()
    }

    /// One batch for each step of the optimiser run.
    pub fn adamw_batches(&self) -> Vec<Batch> {
        let steps: Vec<Vec<Vec<i64>>> = self.cases["adamw.input_ids"].to_vec3().unwrap();
        let batch = |rows: &Vec<Vec<i64>>| {
            join(&rows.iter().map(|ids| documents(ids, &vec![0; ids.len()], |_| true).0).collect::<Vec<_>>())
        };
        steps.iter().map(batch).collect()
    }
}

fn read_tensors(path: &Path) -> BTreeMap<String, Tensor> {
    candle_core::safetensors::load(path, &Device::Cpu).unwrap().into_iter().collect()
}

/// The documents of a padded row without its padding (segment -1), and the position of each token in the
/// row.
pub fn documents(ids: &[i64], segments: &[i64], trained: impl Fn(usize) -> bool) -> (Batch, Vec<usize>) {
    let mut rows: Vec<TokenRow> = Vec::new();
    let mut places = Vec::new();
    assert!(
        ids.iter().zip(segments).all(|(id, segment)| *segment >= 0 || (*segment == -1 && *id == 0)),
        "padding is 0"
    );
    for (i, &segment) in segments.iter().enumerate().filter(|&(_, &segment)| segment >= 0) {
        if places.last().is_none_or(|&last: &usize| segments[last] != segment) {
            rows.push(TokenRow { ids: vec![], loss_mask: vec![] });
        }
        places.push(i);
        let row = rows.last_mut().unwrap();
        row.ids.push(ids[i] as u32);
        row.loss_mask.push(trained(i));
    }
    (Batch::concat(&rows.iter().collect::<Vec<_>>()), places)
}

/// The documents of a batch.
pub fn rows(batch: &Batch) -> Vec<TokenRow> {
    let document = |ends: &[u32]| ends[0] as usize..ends[1] as usize;
    let row = |tokens: std::ops::Range<usize>| TokenRow {
        ids: batch.ids()[tokens.clone()].to_vec(),
        loss_mask: batch.loss_mask()[tokens].to_vec(),
    };
    batch.cu_seqlens().windows(2).map(document).map(row).collect()
}

/// Several batches as one.
pub fn join(batches: &[Batch]) -> Batch {
    let rows: Vec<TokenRow> = batches.iter().flat_map(rows).collect();
    Batch::concat(&rows.iter().collect::<Vec<_>>())
}

pub fn max_difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.dims(), b.dims());
    let apart = (a.to_dtype(DType::F64).unwrap() - b.to_dtype(DType::F64).unwrap()).unwrap().abs().unwrap();
    apart.flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}
