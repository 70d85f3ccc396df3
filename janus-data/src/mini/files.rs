//! Writes Mini to files.

use std::num::NonZeroUsize;
use std::path::Path;

use serde::Serialize;

use super::{Mini, Split};
use crate::construct::OutputFormat;
use crate::{Error, Result, write_records};

/// The sizes of Mini's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MiniSizes {
    /// Training rows.
    pub rows: usize,
    /// Number of different system messages in the training rows; `None` gives each row its own.
    pub distinct: Option<NonZeroUsize>,
    /// Preference pairs, with system messages.
    pub pairs: usize,
    /// Pairs of a more and a less helpful response, without system messages.
    pub helpful: usize,
    /// Questions of the dev and of the bench split, each with three system messages.
    pub questions: usize,
}

/// Rows of each file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MiniFiles {
    /// Training rows.
    pub train: usize,
    /// Preference pairs.
    pub pairs: usize,
    /// Pairs of a more and a less helpful response.
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
        Ok(MiniFiles {
            train: train.len(),
            pairs: pairs.len(),
            helpful: helpful.len(),
            dev: dev.len(),
            bench: bench.len(),
        })
    }
}
