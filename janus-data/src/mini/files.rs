//! Mini as files.

use std::num::NonZeroUsize;
use std::path::Path;

use serde::Serialize;

use super::{Mini, Split};
use crate::construct::OutputFormat;
use crate::{Error, Result, write_records};

/// How much of Mini is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MiniSizes {
    /// Rows to train on.
    pub rows: usize,
    /// Different system messages in them; `None`: one for each row.
    pub distinct: Option<NonZeroUsize>,
    /// Pairs of a better and a worse response.
    pub pairs: usize,
    /// Pairs of a more and a less helpful response, without system messages.
    pub helpful: usize,
    /// Questions of dev and of bench, each under three system messages.
    pub questions: usize,
}

/// Rows of each file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MiniFiles {
    /// Rows to train on.
    pub train: usize,
    /// Pairs.
    pub pairs: usize,
    /// Pairs of helpfulness.
    pub helpful: usize,
    /// Rows of the dev split.
    pub dev: usize,
    /// Rows of the bench split.
    pub bench: usize,
}

impl Mini {
    /// Writes `train`, `pairs`, `helpful`, `dev` and `bench` into a folder.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Encode`].
    pub fn write(&self, folder: &Path, sizes: &MiniSizes, format: OutputFormat) -> Result<MiniFiles> {
        std::fs::create_dir_all(folder).map_err(Error::io(folder, "create the folder"))?;
        let train = self.train(sizes.rows, sizes.distinct);
        let (pairs, helpful) = (self.pairs(sizes.pairs), self.helpful_pairs(sizes.helpful));
        let [dev, bench] = [Split::Dev, Split::Bench].map(|split| self.eval(split, sizes.questions));
        let path = |name: &str| folder.join(format!("{name}.{}", format.extension()));
        write_records(path("train"), &train)?;
        write_records(path("pairs"), &pairs)?;
        write_records(path("helpful"), &helpful)?;
        write_records(path("dev"), &dev)?;
        write_records(path("bench"), &bench)?;
        Ok(MiniFiles { train: train.len(), pairs: pairs.len(), helpful: helpful.len(), dev: dev.len(), bench: bench.len() })
    }
}
