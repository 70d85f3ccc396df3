//! Where a reward model's checkpoint keeps its head.

use std::path::Path;

use serde_json::Value;

use crate::{Error, Result, RewardLayout, Weights};

/// Name of the value head's weight, `[1, hidden]`, where no other is stated.
pub const VALUE_HEAD: &str = "value_head.weight";

/// Where our own checkpoints keep it, beside the weights.
const FILE: &str = "value_head.safetensors";
/// The key of `config.json` by which OpenRLHF states the tensor's name, short of `.weight`: `score`, `value_head`.
const PREFIX: &str = "value_head_prefix";

/// The head of a reward model: one row, whose product with a token's hidden state is the reward.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueHead {
    /// `[hidden]`.
    pub values: Vec<f32>,
    /// The layout of who writes a head where this one was.
    pub layout: RewardLayout,
}

impl ValueHead {
    /// The head of a checkpoint: in `value_head.safetensors` beside the weights, as `janus-train` writes it; else among the
    /// weights, as OpenRLHF does, by the name that `value_head_prefix` of `config.json` states, or [`VALUE_HEAD`]. None if
    /// there is neither.
    ///
    /// # Errors
    /// [`Error::NoValueHead`] if the config states a name that no tensor has, [`Error::Config`] if it states something else,
    /// and those of [`Weights::read`].
    pub fn find(path: impl AsRef<Path>, weights: &Weights, hidden: usize) -> Result<Option<Self>> {
        let (path, shape) = (path.as_ref(), [1, hidden]);
        let beside = path.join(FILE);
        if beside.exists() {
            let values = Weights::open(&beside)?.read(VALUE_HEAD, &shape)?;
            return Ok(Some(Self { values, layout: RewardLayout::Conversation }));
        }
        let stated = stated_name(path)?;
        let name = stated.as_deref().unwrap_or(VALUE_HEAD);
        match weights.names().iter().any(|known| known == name) {
            true => Ok(Some(Self { values: weights.read(name, &shape)?, layout: RewardLayout::OpenRlhf })),
            false if stated.is_some() => Err(Error::NoValueHead { path: path.into(), name: name.into() }),
            false => Ok(None),
        }
    }

    /// [`find`](Self::find) where there must be one.
    ///
    /// # Errors
    /// [`Error::NoValueHead`] if there is none; as [`find`](Self::find).
    pub fn read(path: impl AsRef<Path>, weights: &Weights, hidden: usize) -> Result<Self> {
        let path = path.as_ref();
        Self::find(path, weights, hidden)?.ok_or_else(|| Error::NoValueHead { path: path.into(), name: VALUE_HEAD.into() })
    }
}

/// The tensor's name that the folder's config states.
fn stated_name(folder: &Path) -> Result<Option<String>> {
    let path = folder.join("config.json");
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
    let wrong = |reason: String| Error::Config { path: path.clone(), reason };
    let config: Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    match config.get(PREFIX) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(prefix)) => Ok(Some(format!("{prefix}.weight"))),
        Some(other) => Err(wrong(format!("{PREFIX} is {other}: expected the name of a tensor, short of .weight"))),
    }
}
