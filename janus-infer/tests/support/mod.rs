//! Reading the reference numbers (`goldens/README.md`).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

/// The folder that `JANUS_GOLDENS` names, else the repository's.
pub fn goldens() -> PathBuf {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../goldens");
    std::env::var_os("JANUS_GOLDENS").map_or_else(own, PathBuf::from)
}

/// The folders of the models, by name, in their order.
pub fn models() -> Vec<(String, PathBuf)> {
    let folders = std::fs::read_dir(goldens().join("models")).unwrap().map(|entry| entry.unwrap().path());
    let mut models: Vec<_> =
        folders.map(|path| (path.file_name().unwrap().to_str().unwrap().to_string(), path)).collect();
    models.sort();
    assert!(models.len() >= 7, "{models:?}");
    models
}

pub fn json(path: impl AsRef<Path>) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A safetensors file in memory.
pub struct Tensors(Vec<u8>);

impl Tensors {
    pub fn read(path: impl AsRef<Path>) -> Self {
        Self(std::fs::read(path).unwrap())
    }

    pub fn shape(&self, name: &str) -> Vec<usize> {
        SafeTensors::deserialize(&self.0).unwrap().tensor(name).unwrap().shape().to_vec()
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        SafeTensors::deserialize(&self.0).unwrap().tensor(name).unwrap().data().to_vec()
    }

    pub fn f32(&self, name: &str) -> Vec<f32> {
        self.bytes(name).as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
    }

    pub fn i64(&self, name: &str) -> Vec<i64> {
        self.bytes(name).as_chunks().0.iter().map(|&b| i64::from_le_bytes(b)).collect()
    }

    pub fn ids(&self, name: &str) -> Vec<u32> {
        self.i64(name).into_iter().map(|id| u32::try_from(id).unwrap()).collect()
    }
}

/// Index of the largest element.
pub fn argmax(values: &[f32]) -> u32 {
    (0..values.len()).max_by(|&a, &b| values[a].total_cmp(&values[b]).then(b.cmp(&a))).unwrap() as u32
}
