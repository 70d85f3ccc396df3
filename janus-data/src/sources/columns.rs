//! Checks a mapping of columns before any row is used.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{RowSource, UnreadFields};
use crate::{Error, ReadOptions, Result, Row, read_files};

impl ReadOptions {
    /// Checks that each mapped column exists in some row and that `source` reads the field that it is mapped
    /// to. A misspelt name would lose the column without a word.
    ///
    /// # Errors
    /// [`Error::ColumnMap`]. Errors of reading are left to the reader of the rows.
    pub fn check_columns(&self, paths: &[PathBuf], source: &dyn RowSource) -> Result<()> {
        let mapped = || self.columns.keys().map(String::as_str);
        let (mut found, mut read) = (BTreeSet::new(), BTreeSet::new());
        let mut rows = 0;
        for row in read_files::<Row>(paths.to_vec(), self.clone()) {
            // The reader of the rows says what is wrong, or skips it.
            let Ok(row) = row else { return Ok(()) };
            if mapped().all(|field| read.contains(field)) {
                return Ok(());
            }
            rows += 1;
            found.extend(mapped().filter(|field| row.contains_key(*field)));
            let mut unread = UnreadFields::default();
            match source.content_and_unread(&row, &mut unread) {
                Ok(_) => read.extend(mapped().filter(|field| {
                    row.contains_key(*field) && !unread.iter().any(|(name, _)| name == *field)
                })),
                // The row shows nothing about the columns if another field is wrong.
                Err(error) if !self.columns.contains_key(&error.field) => return Ok(()),
                Err(_) => {}
            }
        }
        let wrong = mapped().find(|field| rows > 0 && !read.contains(*field));
        wrong.map_or(Ok(()), |field| {
            let problem = match found.contains(field) {
                false => "no row has this column".into(),
                true => format!("the layout {} does not read this field", source.name()),
            };
            Err(Error::ColumnMap { field: field.into(), column: self.columns[field].clone(), problem })
        })
    }
}
