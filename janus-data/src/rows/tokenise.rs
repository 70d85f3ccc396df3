//! Tokenises files of conversations or pairs into a token file.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use janus_core::{ChatTemplate, Message};

use super::token_row::{LossMessages, in_parallel};
use super::{TokenFile, TokenFileInfo, TokenWriter, token_pairs};
use crate::sources::{RowContent, Source};
use crate::{ReadOptions, Result, Row, Tokenizer, read_files};

/// Files of conversations or pairs, and how they are tokenised.
#[derive(Clone)]
pub struct Tokenising {
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// The chat template.
    pub template: ChatTemplate,
    /// The files; at least one.
    pub files: Vec<PathBuf>,
    /// The layout of their rows.
    pub source: Source,
    /// Whether both answers of each pair are kept; rows that are not pairs are then left out. If false, only
    /// the better answer of a pair is used.
    pub pairs: bool,
    /// Which of the assistant's messages are in the loss, if pairs are not kept.
    pub loss: LossMessages,
    /// Options of reading the files.
    pub options: ReadOptions,
}

/// A token file, and how it was made.
#[derive(Debug)]
#[non_exhaustive]
pub struct Tokenised {
    /// The token file.
    pub file: TokenFile,
    /// Whether an existing file was reused.
    pub reused: bool,
    /// Number of rows without a conversation, or that are not pairs if pairs are kept; `None` for a reused
    /// file.
    pub left_out: Option<u64>,
}

impl Tokenising {
    /// Writes the token file in a folder, or reuses an existing one with the same tokenizer, template, files
    /// and settings. `on_row` is called for each row, or pair, that is written.
    ///
    /// # Errors
    /// Those of reading, of [`Tokenizer::training_row`] and of [`token_pairs`];
    /// [`Error::Io`](crate::Error::Io) and
    /// [`Error::TokenFile`](crate::Error::TokenFile) of the folder.
    pub fn token_file(self, folder: &Path, on_row: &mut dyn FnMut()) -> Result<Tokenised> {
        let kind = match (self.pairs, self.loss) {
            (true, _) => " pairs",
            (false, LossMessages::All) => "",
            (false, LossMessages::Last) => " last",
        };
        let settings =
            format!("{} {:?} {}{kind}", self.source, self.options.columns, env!("CARGO_PKG_VERSION"));
        let fingerprint =
            TokenFileInfo::fingerprint_of(&self.tokenizer, self.template, &self.files, &settings)?;
        // A file of an earlier version does not record the tokenizer and the template.
        let made_with_these =
            |tokens: &TokenFile| tokens.check_made_with(&self.tokenizer, self.template).is_ok();
        if let Some(file) = TokenFile::reuse(folder, &fingerprint)?.filter(made_with_these) {
            return Ok(Tokenised { file, reused: true, left_out: None });
        }
        let left_out = self.write(TokenWriter::create(folder, &fingerprint)?, on_row)?;
        Ok(Tokenised { file: TokenFile::open(folder)?, reused: false, left_out: Some(left_out) })
    }

    /// Writes the rows and returns the number of rows that are left out.
    fn write(self, writer: TokenWriter, on_row: &mut dyn FnMut()) -> Result<u64> {
        let Self { tokenizer, template, files, source, pairs, loss, options } = self;
        let mut writer = writer.made_with(&tokenizer, template)?;
        let left_out = Cell::new(0);
        let contents = files.into_iter().flat_map(|file| {
            let rows = read_files::<Row>(vec![file.clone()], options.clone()).zip(1..);
            rows.map(move |(row, number)| source.content(&row?).map_err(|error| error.at(&file, number)))
        });
        if pairs {
            writer = writer.of_pairs();
            for pair in token_pairs(&tokenizer, template, taken(contents, &left_out, sides)) {
                pair?.iter().try_for_each(|row| writer.write(row))?;
                on_row();
            }
        } else {
            let conversations = taken(contents, &left_out, |content| content.into_conversation().ok());
            for row in in_parallel(conversations, |conversation| {
                tokenizer.training_row(template, &conversation, loss)
            }) {
                writer.write(&row?)?;
                on_row();
            }
        }
        writer.finish()?;
        Ok(left_out.get())
    }
}

/// The part of each row that `take` returns; rows without it are counted in `left_out`.
fn taken<T>(
    contents: impl Iterator<Item = Result<RowContent>>,
    left_out: &Cell<u64>,
    take: impl Fn(RowContent) -> Option<T>,
) -> impl Iterator<Item = Result<T>> {
    contents.filter_map(move |content| match content.map(&take) {
        Ok(Some(taken)) => Some(Ok(taken)),
        Ok(None) => {
            left_out.set(left_out.get() + 1);
            None
        }
        Err(error) => Some(Err(error)),
    })
}

/// The two conversations of a pair.
fn sides(content: RowContent) -> Option<(Vec<Message>, Vec<Message>)> {
    content.into_comparison().ok().map(|pair| pair.conversations())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write_file;

    #[test]
    fn a_token_file_is_reused_until_its_rows_change() {
        let folder = tempfile::tempdir().unwrap();
        let (file, out) = (folder.path().join("rows.jsonl"), folder.path().join("tokens"));
        write_file(&file, b"{\"prompt\": \"Hi?\", \"output\": \"Hello.\", \"system\": \"\"}\n").unwrap();
        let template = ChatTemplate::MistralInstruct;
        let tokenising = Tokenising {
            tokenizer: Tokenizer::train(["hello"].into_iter(), 300, template.special_tokens()).unwrap(),
            template,
            files: vec![file.clone()],
            source: "sft".parse().unwrap(),
            pairs: false,
            loss: LossMessages::All,
            options: ReadOptions::default(),
        };
        let mut written = 0;
        let mut made = || {
            tokenising
                .clone()
                .token_file(&out, &mut || written += 1)
                .map(|made| (made.file.len(), made.reused))
        };
        assert_eq!(made().unwrap(), (1, false));
        assert_eq!(made().unwrap(), (1, true));
        let two = "{\"prompt\": \"Hi?\", \"output\": \"Hello.\", \"system\": \"\"}\n".repeat(2);
        write_file(&file, two.as_bytes()).unwrap();
        assert_eq!(made().unwrap(), (2, false));
        assert_eq!(written, 3);
    }
}
