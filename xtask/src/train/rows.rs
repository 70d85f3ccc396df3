//! A recipe's data as token rows.

use janus_core::{Message, PairRecord, RewardRecord, SftRecord};
use janus_data::{Error as DataError, Row, TokenRow, Tokenizer, read, read_all};
use janus_train::Error;

use super::recipe::{Kind, Recipe};
use crate::command::{Blame as _, CommandError};

/// Rows to train on and rows held out.
pub(super) struct Rows {
    pub(super) train: Vec<TokenRow>,
    pub(super) held_out: Vec<TokenRow>,
    /// What was left out or cut, for people.
    pub(super) notes: Vec<String>,
    pub(super) numbers: Numbers,
}

/// Where in the data's file the examples are. An error of the trainer counts the documents that it was given;
/// people count the rows of a file, from 1.
pub(super) struct Numbers {
    /// Of each example that is trained on.
    rows: Vec<usize>,
    /// Of each that is held out.
    held_out: Vec<usize>,
    documents_per_example: usize,
}

impl Numbers {
    /// The row of the file that document `document` of the training rows is of.
    fn of(&self, document: usize) -> usize {
        self.rows.get(document / self.documents_per_example).copied().unwrap_or(document)
    }

    /// An error of the trainer with the file's own numbers.
    pub(super) fn named(&self, recipe: &Recipe, error: Error) -> CommandError {
        let error = match error {
            Error::NotFinite { step, what, value, rows, checkpoint } => {
                let of_held_out = |document| self.held_out.get(document / self.documents_per_example).copied().unwrap_or(document);
                let held_out = what.starts_with("held-out ");
                let mut rows: Vec<usize> =
                    rows.into_iter().map(|document| if held_out { of_held_out(document) } else { self.of(document) }).collect();
                rows.dedup();
                Error::NotFinite { step, what, value, rows, checkpoint }
            }
            Error::NothingTrained { row } => Error::NothingTrained { row: self.of(row) },
            Error::NoReference { row } => Error::NoReference { row: self.of(row) },
            error => return CommandError::failure(error),
        };
        CommandError::failure(error).at(recipe.data.path.display())
    }
}

/// Reads and tokenises the recipe's data.
///
/// # Errors
/// Bad input that names the file and the row.
pub(super) fn load(recipe: &Recipe, tokenizer: &Tokenizer) -> Result<Rows, CommandError> {
    let (path, limit) = (&recipe.data.path, recipe.data.max_tokens);
    // A reader counts from 1 as people do, a tokenizer what it was given from 0.
    let at_row = |error| match error {
        DataError::AtRow { row, cause } => DataError::AtRow { row: row + 1, cause },
        error => error,
    };
    let at_file = |error| CommandError::bad_input(at_row(error)).at(path.display());
    let mut notes = Vec::new();
    let (mut rows, mut numbers) = match &recipe.objective {
        Kind::Sft {} => {
            let records: Vec<SftRecord> = read_all(path).bad_input()?;
            let all = tokenizer.conversations(recipe.template, records.iter().map(SftRecord::messages)).map_err(at_file)?;
            let count = all.len();
            let (numbers, kept): (Vec<usize>, Vec<TokenRow>) = (1..).zip(all).filter(|(_, row)| row.ids.len() <= limit).unzip();
            if kept.len() < count {
                notes.push(format!("{} of {count} rows have more than {limit} tokens and are left out", count - kept.len()));
            }
            (kept, numbers)
        }
        kind => {
            let pairs = tokenizer.pairs(recipe.template, conversations(recipe, kind)?, limit).map_err(at_file)?;
            for (count, what) in [
                (pairs.shortened, "lost tokens at the left of their prompt"),
                (pairs.identical, "have equal responses and are left out"),
                (pairs.too_long, "have a response that leaves no room for the prompt and are left out"),
            ] {
                if count > 0 {
                    notes.push(format!("{count} pairs {what}"));
                }
            }
            (pairs.rows, pairs.pairs.into_iter().map(|pair| pair + 1).collect())
        }
    };
    let documents_per_example = recipe.documents_per_example();
    let held = recipe.data.held_out * documents_per_example;
    if held >= rows.len() {
        let reason = format!("{}: {} rows, of which {held} are held out: nothing is left to train on", path.display(), rows.len());
        return Err(CommandError::bad_input(reason));
    }
    let train = rows.split_off(held);
    let trained = numbers.split_off(recipe.data.held_out);
    let numbers = Numbers { rows: trained, held_out: numbers, documents_per_example };
    Ok(Rows { train, held_out: rows, notes, numbers })
}

impl Rows {
    /// All rows as the file has them, so that how many are held out changes nothing.
    pub(super) fn in_file_order(&self) -> Vec<TokenRow> {
        self.held_out.iter().chain(&self.train).cloned().collect()
    }

    /// Tokens of each example that is trained on, once all examples are such as the trainer takes.
    ///
    /// # Errors
    /// Bad input that names the row of the file: one that a micro-batch cannot hold, or without anything to learn.
    pub(super) fn lengths(&self, recipe: &Recipe) -> Result<Vec<usize>, CommandError> {
        let capacity = recipe.train.settings.tokens_per_micro_batch;
        let per_example = self.numbers.documents_per_example;
        let tokens = |documents: &[TokenRow]| documents.iter().map(|row| row.ids.len()).sum::<usize>();
        let learns = |row: &TokenRow| row.loss_mask.iter().skip(1).any(|&trained| trained);
        let check = |documents: &[TokenRow], row: usize| {
            let error = match tokens(documents) {
                tokens if tokens > capacity => Error::TooLong { row, tokens, capacity },
                _ if !documents.iter().all(learns) => Error::NothingTrained { row },
                tokens => return Ok(tokens),
            };
            Err(CommandError::bad_input(error).at(recipe.data.path.display()))
        };
        let held_out = self.held_out.chunks(per_example).zip(&self.numbers.held_out);
        held_out.map(|(documents, &row)| check(documents, row)).collect::<Result<Vec<_>, _>>()?;
        self.train.chunks(per_example).zip(&self.numbers.rows).map(|(documents, &row)| check(documents, row)).collect()
    }
}

type Sides = (Vec<Message>, Vec<Message>);

/// Chosen and rejected conversation of each pair. Of the two kinds of pairs that a reward model takes, the first row tells which
/// one the file has, so that a bad row further on is reported as what it is.
fn conversations(recipe: &Recipe, kind: &Kind) -> Result<Vec<Sides>, CommandError> {
    let path = &recipe.data.path;
    let first = || read::<Row>(path).bad_input()?.next().transpose().bad_input();
    if matches!(kind, Kind::Reward { .. }) && first()?.is_some_and(|row| row.contains_key("input")) {
        let records: Vec<RewardRecord> = read_all(path).bad_input()?;
        return Ok(records.iter().map(RewardRecord::conversations).collect());
    }
    let records: Vec<PairRecord> = read_all(path).bad_input()?;
    Ok(records.iter().map(PairRecord::conversations).collect())
}
