//! A recipe's data as token rows.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use janus_data::sources::{Comparison, RowContent, Source, UnreadFields};
use janus_data::{
    Dataset, PairFile, ReadOptions, Row, Skipped, Subset, TokenFile, Tokenizer, good_rows, read_files,
};

use super::config::Recipe;
use super::note::Note;
use super::template::RecipeTemplate;
use crate::{Error, Quantity, Result};

/// The rows of a recipe: the training rows and the held-out rows.
#[non_exhaustive]
pub struct Rows {
    /// Training rows; of each pair, the chosen row, then the rejected.
    pub train: Subset<Arc<dyn Dataset>>,
    /// Held-out rows.
    pub held_out: Subset<Arc<dyn Dataset>>,
    /// All rows in the order of the file. They do not depend on how many are held out.
    pub(super) all: Arc<dyn Dataset>,
    /// What was left out or cut.
    pub notes: Vec<Note>,
    pub(super) numbers: RowNumbers,
}

/// The rows of a recipe's data, the row number of each example, and the files.
type NumberedRows = (Arc<dyn Dataset>, Vec<usize>, DataFiles);

/// The row numbers of the examples in the data files, from 1. An error of the trainer has the index of a
/// document in the dataset; users look for the row in the file.
#[derive(Debug)]
pub(super) struct RowNumbers {
    files: DataFiles,
    /// The row number of each training example.
    train: Vec<usize>,
    /// The row number of each held-out example.
    held_out: Vec<usize>,
    documents_per_example: usize,
}

impl RowNumbers {
    /// The row number of a document, given the row numbers of the examples.
    fn of(&self, rows: &[usize], document: usize) -> usize {
        rows.get(document / self.documents_per_example).copied().unwrap_or(document)
    }

    /// An error of the trainer, with document indices replaced by the file and its row numbers.
    pub(super) fn in_file(&self, error: Error) -> Error {
        match error {
            Error::NotFinite { step, what, value, rows, checkpoint } => {
                let examples =
                    if matches!(what, Quantity::HeldOut(_)) { &self.held_out } else { &self.train };
                let mut rows: Vec<usize> =
                    rows.into_iter().map(|document| self.of(examples, document)).collect();
                rows.dedup();
                self.files.error(rows, |rows| Error::NotFinite { step, what, value, rows, checkpoint })
            }
            Error::NothingTrained { row } => {
                self.at_file(self.of(&self.train, row), |row| Error::NothingTrained { row })
            }
            Error::NoReference { row } => {
                self.at_file(self.of(&self.train, row), |row| Error::NoReference { row })
            }
            error => error,
        }
    }

    fn at_file(&self, row: usize, error: impl FnOnce(usize) -> Error) -> Error {
        self.files.at_row(row, error)
    }
}

/// The files that `data.path` names. Rows are numbered over all of them, from 1.
#[derive(Debug, Default)]
struct DataFiles {
    /// `data.path`.
    pattern: PathBuf,
    /// Each file, with the number of rows in the files before it.
    files: Vec<(PathBuf, usize)>,
}

impl DataFiles {
    /// An error about some rows: in their file, with their numbers there, if they are in one file; else with
    /// the numbers over all files.
    fn error(&self, mut rows: Vec<usize>, error: impl FnOnce(Vec<usize>) -> Error) -> Error {
        let file_of = |row: &usize| self.files.iter().rposition(|(_, before)| before < row);
        let first = rows.first().and_then(file_of);
        let mut path = &self.pattern;
        if let Some(file) = first.filter(|_| rows.iter().all(|row| file_of(row) == first)) {
            let (file, before) = &self.files[file];
            path = file;
            rows.iter_mut().for_each(|row| *row -= before);
        }
        Error::InData { path: path.clone(), source: Box::new(error(rows)) }
    }

    /// An error about one row.
    fn at_row(&self, row: usize, error: impl FnOnce(usize) -> Error) -> Error {
        self.error(vec![row], |rows| error(rows.first().copied().unwrap_or(row)))
    }

    /// An error of tokenising a row.
    fn tokenising(&self, row: usize, cause: janus_data::Error) -> Error {
        self.at_row(row, |row| janus_data::Error::AtRow { row, cause: Box::new(cause) }.into())
    }
}

/// Rows that the chat template refuses.
#[derive(Default)]
struct Refused {
    rows: u64,
    first: Option<Error>,
}

impl Refused {
    /// Counts the error if bad rows are skipped; returns it otherwise.
    fn skip(&mut self, skip_bad_rows: bool, error: Error) -> Result<()> {
        if !skip_bad_rows {
            return Err(error);
        }
        self.rows += 1;
        self.first.get_or_insert(error);
        Ok(())
    }

    fn note(self) -> Option<Note> {
        let first = janus_core::error_chain(&self.first?);
        Some(Note::Refused { rows: self.rows, first })
    }
}

/// What the examples of a recipe are made from.
struct Contents<T> {
    /// The number of each row over all files, and what it holds.
    rows: Vec<(usize, T)>,
    files: DataFiles,
}

impl Recipe {
    /// Reads and tokenises the data.
    ///
    /// # Errors
    /// [`Error::Data`] and [`Error::InData`], which name the file and the row; [`Error::NoneLeft`],
    /// [`Error::AllHeldOut`].
    pub fn rows(&self, tokenizer: &Tokenizer) -> Result<Rows> {
        let path = &self.data.path;
        let mut notes = Vec::new();
        let (all, mut train, files) = match self.objective.documents_per_example() {
            _ if path.is_dir() => self.token_file(tokenizer, &mut notes)?,
            1 => self.conversations(tokenizer, &mut notes)?,
            _ => self.pairs(tokenizer, &mut notes)?,
        };
        if all.is_empty() {
            return Err(Error::NoneLeft { path: path.clone(), notes });
        }
        let documents_per_example = self.objective.documents_per_example();
        let held_out = self.data.held_out * documents_per_example;
        if held_out >= all.len() {
            return Err(Error::AllHeldOut { path: path.clone(), rows: all.len(), held_out });
        }
        let numbers = RowNumbers {
            files,
            held_out: train.drain(..self.data.held_out).collect(),
            train,
            documents_per_example,
        };
        let part = |rows| Subset::new(all.clone(), rows);
        Ok(Rows { train: part(held_out..all.len()), held_out: part(0..held_out), all, notes, numbers })
    }

    /// The conversations of the file as rows that are not too long, and their row numbers.
    fn conversations(&self, tokenizer: &Tokenizer, notes: &mut Vec<Note>) -> Result<NumberedRows> {
        let (data, mut numbers, mut rows, mut all) = (&self.data, Vec::new(), Vec::new(), 0);
        let template = self.chat_template(tokenizer)?;
        let conversation = |content: RowContent| {
            let is_pair = matches!(content, RowContent::Comparison(_));
            content.into_conversation().map(|conversation| (is_pair, conversation))
        };
        let Contents { rows: contents, files } = self.contents(conversation, notes)?;
        let pairs = contents.iter().filter(|(_, (is_pair, _))| *is_pair).count();
        notes.extend((pairs > 0).then_some(Note::ChosenOfPairs(pairs)));
        let mut refused = Refused::default();
        for (number, (_, conversation)) in contents {
            let row = match tokenizer.training_row(&template, &conversation, data.loss) {
                Ok(row) => row,
                Err(error) => {
                    refused.skip(data.skip_bad_rows, files.tokenising(number, error))?;
                    continue;
                }
            };
            all += 1;
            if row.ids.len() <= data.max_tokens {
                numbers.push(number);
                rows.push(row);
            }
        }
        notes.extend(refused.note());
        if rows.len() < all {
            notes.push(Note::TooLong { left_out: all - rows.len(), rows: all, max_tokens: data.max_tokens });
        }
        Ok((Arc::new(rows), numbers, files))
    }

    /// The pairs of the file as rows, and the row number of each pair.
    fn pairs(&self, tokenizer: &Tokenizer, notes: &mut Vec<Note>) -> Result<NumberedRows> {
        let Contents { rows, files } = self.contents(RowContent::into_comparison, notes)?;
        let (numbers, pairs): (Vec<usize>, Vec<Comparison>) = rows.into_iter().unzip();
        let (template, data) = (self.chat_template(tokenizer)?, &self.data);
        let (mut refused, sides) = (Refused::default(), pairs.iter().map(Comparison::conversations));
        let pairs = tokenizer.pairs_or(&template, sides, data.max_tokens, |pair, error| {
            refused.skip(data.skip_bad_rows, files.tokenising(numbers[pair], error))
        })?;
        notes.extend(refused.note());
        notes.extend(pair_notes(pairs.shortened, pairs.identical, pairs.too_long));
        let numbers = pairs.pairs.into_iter().map(|pair| numbers[pair]).collect();
        Ok((Arc::new(pairs.rows), numbers, files))
    }

    /// What `take` finds in each row of the files. Rows in which it finds nothing are counted by reason.
    fn contents<T>(
        &self,
        take: fn(RowContent) -> Result<T, &'static str>,
        notes: &mut Vec<Note>,
    ) -> Result<Contents<T>> {
        let data = &self.data;
        let paths = self.data_files()?;
        let mut options = ReadOptions::default();
        options.columns.clone_from(&data.columns);
        let layout = match data.layout {
            Some(layout) => layout,
            None => {
                let mut rows = read_files::<Row>(paths.clone(), options.clone());
                let first = rows.find_map(janus_data::Result::ok);
                first.map_or("sft".parse().ok(), |row| self.layout_of(&row)).ok_or_else(|| {
                    self.rule("the fields of the first row of data.path show no layout: set data.layout")
                })?
            }
        };
        options.check_columns(&paths, &*layout)?;
        let (mut skipped, mut unread) = (Skipped::default(), UnreadFields::default());
        let (mut found, mut left_out) = (Vec::new(), BTreeMap::new());
        let mut files = DataFiles { pattern: data.path.clone(), files: Vec::new() };
        let mut read = 0;
        for path in paths {
            files.files.push((path.clone(), read));
            let rows = (1..).zip(options.read::<Row>(&path)?).map(|(number, row)| {
                read += 1;
                let mut row = row?;
                // The system message is trained, not the preferences behind it: an odd set stops no run.
                row.remove("preference_set");
                let content =
                    layout.content_and_unread(&row, &mut unread).map_err(|error| error.at(&path, number))?;
                Ok((read, content))
            });
            let rows: Box<dyn Iterator<Item = janus_data::Result<(usize, RowContent)>>> =
                if data.skip_bad_rows { Box::new(good_rows(rows, &mut skipped)) } else { Box::new(rows) };
            for row in rows {
                let (number, content) = row?;
                match take(content) {
                    Ok(content) => found.push((number, content)),
                    Err(reason) => *left_out.entry(reason).or_insert(0) += 1,
                }
            }
        }
        notes.extend(
            skipped.first.first().map(|first| Note::Skipped { rows: skipped.rows, first: first.to_string() }),
        );
        notes.extend((!unread.is_empty()).then_some(Note::Unread(unread)));
        notes.extend(left_out.into_iter().map(|(reason, rows)| Note::LeftOut { rows, reason }));
        Ok(Contents { rows: found, files })
    }

    /// The files that `data.path` names.
    pub(crate) fn data_files(&self) -> Result<Vec<PathBuf>> {
        match self.data.path.to_str() {
            Some(pattern) => Ok(janus_data::paths(pattern)?),
            None => Ok(vec![self.data.path.clone()]),
        }
    }

    /// The layout that a row shows, or the one that it lacks a field of.
    fn layout_of(&self, row: &Row) -> Option<Source> {
        let has = |names: &[&str]| names.iter().any(|name| row.contains_key(*name));
        Source::of_row(row).or_else(|| {
            match self.objective.documents_per_example() {
                1 => has(&["prompt", "output"]).then_some("sft"),
                _ if has(&["input"]) => Some("reward"),
                _ => has(&["chosen", "rejected"]).then_some("pairs"),
            }?
            .parse()
            .ok()
        })
    }

    /// The rows of a token file that are not too long, and their row numbers. The tokens stay on disk.
    fn token_file(&self, tokenizer: &Tokenizer, notes: &mut Vec<Note>) -> Result<NumberedRows> {
        let file = self.open_token_file()?;
        let files = DataFiles { pattern: self.data.path.clone(), files: vec![(self.data.path.clone(), 0)] };
        let RecipeTemplate::BuiltIn(template) = self.template else {
            return Err(self.rule("data.path is a token file, which has a built-in template, and template is own: name the file of the rows"));
        };
        file.check_made_with(tokenizer, template)?;
        if file.info().pairs {
            let pairs = PairFile::new(file, self.data.max_tokens)?;
            notes.extend(pair_notes(pairs.shortened(), pairs.identical(), pairs.too_long()));
            let numbers = pairs.pairs().map(|pair| pair + 1).collect();
            return Ok((Arc::new(pairs), numbers, files));
        }
        let kept = self.short_rows(&file);
        if kept.len() < file.len() {
            notes.push(Note::TooLong {
                left_out: file.len() - kept.len(),
                rows: file.len(),
                max_tokens: self.data.max_tokens,
            });
        }
        let numbers = kept.iter().map(|row| row + 1).collect();
        Ok((Arc::new(Subset::new(file, kept)), numbers, files))
    }

    /// Opens the token file, and refuses one whose rows are not of the kind that the objective takes.
    fn open_token_file(&self) -> Result<TokenFile> {
        let file = TokenFile::open(&self.data.path)?;
        match (file.info().pairs, self.objective.documents_per_example() == 2) {
            (false, true) => {
                Err(self.rule("data.path is a token file of conversations, and the objective takes pairs: name a file of pairs"))
            }
            (true, false) => {
                Err(self.rule("data.path is a token file of pairs, and the objective takes conversations: name a file of conversations"))
            }
            _ => Ok(file),
        }
    }

    /// The indices of the rows of a token file that are not too long.
    fn short_rows(&self, file: &TokenFile) -> Vec<usize> {
        let short = |(_, tokens): &(usize, usize)| *tokens <= self.data.max_tokens;
        file.lengths().into_iter().enumerate().filter(short).map(|(row, _)| row).collect()
    }

    /// The number of tokens of each training example in the token file.
    pub(crate) fn token_file_lengths(&self) -> Result<Vec<usize>> {
        let file = self.open_token_file()?;
        let mut lengths = if file.info().pairs {
            PairFile::new(file, self.data.max_tokens)?.lengths().to_vec()
        } else {
            let lengths = file.lengths();
            self.short_rows(&file).into_iter().map(|row| lengths[row]).collect()
        };
        let (rows, held_out) = (lengths.len(), self.data.held_out);
        if held_out >= rows {
            let documents = self.objective.documents_per_example();
            return Err(Error::AllHeldOut {
                path: self.data.path.clone(),
                rows: rows * documents,
                held_out: held_out * documents,
            });
        }
        lengths.drain(..held_out);
        Ok(lengths)
    }
}

/// The notes about pairs that were cut or left out.
fn pair_notes(shortened: usize, identical: usize, too_long: usize) -> impl Iterator<Item = Note> {
    let notes = [
        (shortened, Note::PromptsCut as fn(usize) -> Note),
        (identical, Note::EqualResponses),
        (too_long, Note::ResponsesTooLong),
    ];
    notes.into_iter().filter(|(count, _)| *count > 0).map(|(count, note)| note(count))
}

impl Rows {
    /// The number of tokens of the longest document.
    pub(super) fn longest(&self) -> Result<usize> {
        let mut longest = 0;
        for document in 0..self.all.len() {
            longest = longest.max(self.all.row(document)?.ids.len());
        }
        Ok(longest)
    }

    /// The number of tokens of each training example. Refuses examples that the trainer would refuse.
    ///
    /// # Errors
    /// [`Error::TooLong`] and [`Error::NothingTrained`], with the row of the file.
    pub(super) fn lengths(&self, capacity: usize) -> Result<Vec<usize>> {
        let per_example = self.numbers.documents_per_example;
        let check = |rows: &dyn Dataset, example: usize, row: usize| {
            let (mut tokens, mut learns) = (0, true);
            for document in example * per_example..(example + 1) * per_example {
                let document = rows.row(document)?;
                tokens += document.ids.len();
                learns &= document.loss_mask.iter().skip(1).any(|&trained| trained);
            }
            match tokens {
                tokens if tokens > capacity => {
                    Err(self.numbers.at_file(row, |row| Error::TooLong { row, tokens, capacity }))
                }
                _ if !learns => Err(self.numbers.at_file(row, |row| Error::NothingTrained { row })),
                tokens => Ok(tokens),
            }
        };
        for (example, &row) in self.numbers.held_out.iter().enumerate() {
            check(&self.held_out, example, row)?;
        }
        self.numbers
            .train
            .iter()
            .enumerate()
            .map(|(example, &row)| check(&self.train, example, row))
            .collect()
    }
}
