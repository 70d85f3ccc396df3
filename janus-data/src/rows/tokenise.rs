//! Files of conversations as a token file.

use std::path::{Path, PathBuf};

use janus_core::{ChatTemplate, Message};

use super::{TokenFile, TokenFileInfo, TokenWriter, token_rows};
use crate::sources::Source;
use crate::{Error, ReadOptions, Result, Row, Tokenizer, read_files};

/// Conversations in files, and what turns them into token rows.
#[derive(Clone)]
pub struct Tokenising {
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// The layout of every prompt.
    pub template: ChatTemplate,
    /// The files, of which there is at least one.
    pub files: Vec<PathBuf>,
    /// The layout of their rows. Of a pair the better answer is taken; rows without a conversation are skipped.
    pub source: Source,
    /// How they are read.
    pub options: ReadOptions,
}

impl Tokenising {
    /// The token file in a folder, and whether it was reused: it is made anew unless tokenizer, template, files and settings are
    /// those of the one that is there. `on_row` is called for each row that is written.
    ///
    /// # Errors
    /// Those of reading and of [`token_rows`]; [`Error::Io`] and [`Error::TokenFile`] of the folder.
    pub fn token_file(self, folder: &Path, on_row: &mut dyn FnMut()) -> Result<(TokenFile, bool)> {
        let Self { tokenizer, template, files, source, options } = self;
        let settings = format!("{source} {:?} {}", options.columns, env!("CARGO_PKG_VERSION"));
        let fingerprint = TokenFileInfo::fingerprint_of(&tokenizer, template, &files, &settings)?;
        // One that an earlier version wrote does not say what it was made with.
        let made_with_these = |tokens: &TokenFile| tokens.check_made_with(&tokenizer, template).is_ok();
        if let Some(tokens) = TokenFile::reuse(folder, &fingerprint)?.filter(made_with_these) {
            return Ok((tokens, true));
        }
        let mut writer = TokenWriter::create(folder, &fingerprint)?.made_with(&tokenizer, template)?;
        let first = files.first().cloned().unwrap_or_default();
        let messages = read_files::<Row>(files, options).zip(1..).map(move |(read, row)| {
            let content = source.content(&read?).map_err(|error| error.at(&first, row))?;
            Ok::<Vec<Message>, Error>(content.into_messages().unwrap_or_default())
        });
        let messages = messages.filter(|messages| !matches!(messages, Ok(messages) if messages.is_empty()));
        for row in token_rows(&tokenizer, template, messages) {
            writer.write(&row?)?;
            on_row();
        }
        writer.finish()?;
        Ok((TokenFile::open(folder)?, false))
    }
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
            options: ReadOptions::default(),
        };
        let mut written = 0;
        let mut made = || tokenising.clone().token_file(&out, &mut || written += 1).map(|(tokens, reused)| (tokens.len(), reused));
        assert_eq!(made().unwrap(), (1, false));
        assert_eq!(made().unwrap(), (1, true));
        let two = "{\"prompt\": \"Hi?\", \"output\": \"Hello.\", \"system\": \"\"}\n".repeat(2);
        write_file(&file, two.as_bytes()).unwrap();
        assert_eq!(made().unwrap(), (2, false));
        assert_eq!(written, 3);
    }
}
