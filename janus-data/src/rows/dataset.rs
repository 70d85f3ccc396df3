//! Training rows, in memory or on disk.

use std::borrow::Cow;
use std::sync::Arc;

use crate::{Error, Result, TokenFile, TokenRow};

/// Training rows: in memory (`Vec<TokenRow>`), on disk ([`TokenFile`]), or from wherever an implementation
/// reads them. A row must be the same every time it is read. Users hold only the rows that they currently
/// work on.
///
/// ```
/// use std::borrow::Cow;
/// use janus_data::{Dataset, Result, Subset, TokenRow};
///
/// /// Sequences of ten consecutive numbers, for a model that learns to count.
/// struct Counting(usize);
///
/// impl Dataset for Counting {
///     fn len(&self) -> usize {
///         self.0
///     }
///
///     fn row(&self, index: usize) -> Result<Cow<'_, TokenRow>> {
///         let ids: Vec<u32> = (index as u32..).take(10).collect();
///         Ok(Cow::Owned(TokenRow { loss_mask: vec![true; ids.len()], ids }))
///     }
/// }
///
/// let held_out = Subset::new(Counting(1000), 0..100);
/// assert_eq!((held_out.len(), held_out.row(7)?.ids[0]), (100, 7));
/// # Ok::<(), janus_data::Error>(())
/// ```
pub trait Dataset: Send + Sync {
    /// Number of rows.
    fn len(&self) -> usize;

    /// Whether there are no rows.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A row by its position, from 0.
    ///
    /// # Errors
    /// [`Error::NoSuchRow`] for a position past the end, or the error of reading.
    fn row(&self, index: usize) -> Result<Cow<'_, TokenRow>>;
}

impl Dataset for [TokenRow] {
    fn len(&self) -> usize {
        <[TokenRow]>::len(self)
    }

    fn row(&self, index: usize) -> Result<Cow<'_, TokenRow>> {
        self.get(index)
            .map(Cow::Borrowed)
            .ok_or(Error::NoSuchRow { row: index, rows: <[TokenRow]>::len(self) })
    }
}

impl Dataset for Vec<TokenRow> {
    fn len(&self) -> usize {
        Vec::len(self)
    }

    fn row(&self, index: usize) -> Result<Cow<'_, TokenRow>> {
        Dataset::row(self.as_slice(), index)
    }
}

impl Dataset for TokenFile {
    fn len(&self) -> usize {
        TokenFile::len(self)
    }

    fn row(&self, index: usize) -> Result<Cow<'_, TokenRow>> {
        TokenFile::row(self, index).map(Cow::Owned)
    }
}

/// Implements [`Dataset`] for an owner of a dataset.
macro_rules! dataset_by {
    ($owner:ty) => {
        impl<D: Dataset + ?Sized> Dataset for $owner {
            fn len(&self) -> usize {
                (**self).len()
            }

            fn row(&self, index: usize) -> Result<Cow<'_, TokenRow>> {
                (**self).row(index)
            }
        }
    };
}

dataset_by!(&D);
dataset_by!(Box<D>);
dataset_by!(Arc<D>);

/// A selection of the rows of a dataset, in any order.
#[derive(Debug, Clone)]
pub struct Subset<D> {
    rows: D,
    positions: Vec<usize>,
}

impl<D: Dataset> Subset<D> {
    /// The rows at these positions; a position past the end is an error when it is read.
    pub fn new(rows: D, positions: impl IntoIterator<Item = usize>) -> Self {
        Self { rows, positions: positions.into_iter().collect() }
    }
}

impl<D: Dataset> Dataset for Subset<D> {
    fn len(&self) -> usize {
        self.positions.len()
    }

    fn row(&self, index: usize) -> Result<Cow<'_, TokenRow>> {
        let position =
            self.positions.get(index).ok_or(Error::NoSuchRow { row: index, rows: self.positions.len() })?;
        self.rows.row(*position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TokenWriter;

    #[test]
    fn rows_are_the_same_in_memory_on_disk_and_in_a_subset() {
        let row =
            |id: u32| TokenRow { ids: vec![id, 1, 2], loss_mask: vec![false, true, id.is_multiple_of(2)] };
        let rows: Vec<TokenRow> = (0..5).map(row).collect();
        let folder = tempfile::tempdir().unwrap();
        let mut writer = TokenWriter::create(folder.path(), "f").unwrap();
        rows.iter().for_each(|row| writer.write(row).unwrap());
        writer.finish().unwrap();
        let file = Arc::new(TokenFile::open(folder.path()).unwrap());
        let datasets: [Box<dyn Dataset>; 4] = [
            Box::new(rows.clone()),
            Box::new(file.clone()),
            Box::new(Subset::new(file, 0..5)),
            Box::new(Subset::new(rows.clone(), 0..5)),
        ];
        for dataset in &datasets {
            assert_eq!((dataset.len(), dataset.is_empty()), (5, false));
            for (index, row) in rows.iter().enumerate() {
                assert_eq!(&*dataset.row(index).unwrap(), row);
            }
            assert!(matches!(dataset.row(5), Err(Error::NoSuchRow { row: 5, rows: 5 })));
        }
        let reordered = Subset::new(&rows, [4, 0, 9]);
        assert_eq!((reordered.row(0).unwrap().ids[0], reordered.row(1).unwrap().ids[0]), (4, 0));
        assert!(matches!(reordered.row(2), Err(Error::NoSuchRow { row: 9, rows: 5 })));
    }
}
