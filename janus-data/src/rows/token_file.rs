//! Token rows on disk.
//!
//! A token file is a folder with three files:
//!
//! * `tokens.bin`: a header, then the id of each token as a little-endian `u32` whose highest bit is the loss
//!   mask.
//! * `index.bin`: a header, then for each row the position of its first token as a little-endian `u64`, and
//!   finally the number of all tokens.
//! * `info.json`: the counts, and whether the rows are pairs. It is written last, so if it exists the other
//!   files are complete. Programs older than pairs reject a file of pairs; their files can still be read.
//!
//! Rows are read one at a time at their position, without a memory map, which would need `unsafe`. A row of a
//! thousand tokens is one system call for 4 KB from the page cache, which costs far less than tokenising it.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use janus_core::ChatTemplate;
use serde::{Deserialize, Serialize};

use crate::fs::AtomicFile;
use crate::{Error, PackedRow, Result, TokenRow, Tokenizer, concat, write_file};

const TOKENS: &str = "tokens.bin";
const INDEX: &str = "index.bin";
const INFO: &str = "info.json";
/// The first eight bytes of both binary files. The last byte is the version.
const MAGIC: [u8; 8] = *b"JANUSTK\x01";
/// The bit of a token that is set if the token is in the loss mask.
const IN_LOSS: u32 = 1 << 31;

/// The contents of a token file and their provenance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TokenFileInfo {
    /// Fingerprint of everything that the rows depend on, in hex: see [`TokenFileInfo::fingerprint_of`].
    pub fingerprint: String,
    /// The fingerprint of the tokenizer, if [`TokenWriter::made_with`] recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// The chat template, if [`TokenWriter::made_with`] recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<ChatTemplate>,
    /// Whether the rows are pairs: row 2i is chosen over row 2i + 1, and both begin with the same prompt, not
    /// truncated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pairs: bool,
    /// Number of rows, two for a pair.
    pub rows: u64,
    /// Number of tokens.
    pub tokens: u64,
    /// Number of tokens in the loss mask.
    #[serde(rename = "trained")]
    pub loss_tokens: u64,
}

impl TokenFileInfo {
    /// The fingerprint of rows made from files with a tokenizer and a template: BLAKE3 of the tokenizer, the
    /// template, the files' bytes in their order, and whatever else changes the rows, as `settings`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Tokenizer`].
    pub fn fingerprint_of(
        tokenizer: &Tokenizer,
        template: ChatTemplate,
        files: &[PathBuf],
        settings: &str,
    ) -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        let template = serde_json::json!(template).to_string();
        // Each part is preceded by its length, so that different lists of parts give different bytes.
        for part in [&tokenizer.fingerprint()?, &template, &settings.to_string()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        for path in files {
            let file = File::open(path).map_err(Error::io(path, "open the file"))?;
            let length = file.metadata().map_err(Error::io(path, "read the file"))?.len();
            hasher.update(&length.to_le_bytes());
            hasher.update_reader(file).map_err(Error::io(path, "read the file"))?;
        }
        Ok(hasher.finalize().to_hex().to_string())
    }
}

/// Writes a token file.
///
/// ```
/// use janus_data::{TokenFile, TokenRow, TokenWriter};
/// # let folder = tempfile::tempdir()?;
/// let mut writer = TokenWriter::create(folder.path(), "abc")?;
/// writer.write(&TokenRow { ids: vec![1, 2, 3], loss_mask: vec![false, true, true] })?;
/// writer.finish()?;
/// let file = TokenFile::reuse(folder.path(), "abc")?.expect("the fingerprint is the same");
/// assert_eq!(file.row(0)?.ids, [1, 2, 3]);
/// assert!(TokenFile::reuse(folder.path(), "other")?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TokenWriter {
    folder: PathBuf,
    tokens: BufWriter<AtomicFile>,
    index: BufWriter<AtomicFile>,
    info: TokenFileInfo,
    bytes: Vec<u8>,
}

impl TokenWriter {
    /// Starts a token file in a folder, which is created if necessary. An existing token file stays until
    /// [`TokenWriter::finish`].
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(folder: impl AsRef<Path>, fingerprint: &str) -> Result<Self> {
        let folder = folder.as_ref();
        fs::create_dir_all(folder).map_err(Error::io(folder, "create the folder"))?;
        let open = |name: &str| {
            let path = folder.join(name);
            let mut file = BufWriter::with_capacity(1 << 16, AtomicFile::create(&path)?);
            file.write_all(&MAGIC).map_err(Error::io(&path, "write the file"))?;
            Ok::<_, Error>(file)
        };
        let info = TokenFileInfo {
            fingerprint: fingerprint.into(),
            tokenizer: None,
            template: None,
            pairs: false,
            rows: 0,
            tokens: 0,
            loss_tokens: 0,
        };
        Ok(Self {
            folder: folder.into(),
            tokens: open(TOKENS)?,
            index: open(INDEX)?,
            info,
            bytes: Vec::new(),
        })
    }

    /// Records the tokenizer and the chat template, for [`TokenFile::check_made_with`].
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn made_with(mut self, tokenizer: &Tokenizer, template: ChatTemplate) -> Result<Self> {
        (self.info.tokenizer, self.info.template) = (Some(tokenizer.fingerprint()?), Some(template));
        Ok(self)
    }

    /// Declares that the rows are pairs, chosen before rejected, as [`PairFile`](crate::PairFile) needs them.
    #[must_use]
    pub fn of_pairs(mut self) -> Self {
        self.info.pairs = true;
        self
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`Error::RowShape`] for a row without ids or with a loss mask of another length, [`Error::TokenId`]
    /// for an id of 2^31 or more, [`Error::Io`].
    pub fn write(&mut self, row: &TokenRow) -> Result<()> {
        if row.ids.is_empty() || row.ids.len() != row.loss_mask.len() {
            return Err(Error::RowShape {
                row: self.info.rows as usize,
                ids: row.ids.len(),
                loss_mask: row.loss_mask.len(),
            });
        }
        self.bytes.clear();
        for (&id, &in_loss) in row.ids.iter().zip(&row.loss_mask) {
            if id >= IN_LOSS {
                return Err(Error::TokenId { row: self.info.rows as usize, id });
            }
            self.bytes.extend((id | if in_loss { IN_LOSS } else { 0 }).to_le_bytes());
        }
        let io = Error::io(&self.folder, "write the token file");
        let written = self
            .index
            .write_all(&self.info.tokens.to_le_bytes())
            .and_then(|()| self.tokens.write_all(&self.bytes));
        written.map_err(io)?;
        self.info.rows += 1;
        self.info.tokens += row.ids.len() as u64;
        self.info.loss_tokens += row.loss_tokens() as u64;
        Ok(())
    }

    /// Syncs the files, renames them to their final names and writes `info.json`.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::TokenFile`] for an odd number of rows of pairs.
    pub fn finish(mut self) -> Result<TokenFileInfo> {
        if self.info.pairs && !self.info.rows.is_multiple_of(2) {
            return Err(Error::TokenFile {
                path: self.folder,
                problem: TokenFileProblem::HalfPair { rows: self.info.rows },
            });
        }
        let io = || Error::io(&self.folder, "write the token file");
        let inner = |file: BufWriter<AtomicFile>| file.into_inner().map_err(|error| io()(error.into_error()));
        self.index.write_all(&self.info.tokens.to_le_bytes()).map_err(io())?;
        let (tokens, index) = (inner(self.tokens)?, inner(self.index)?);
        let path = self.folder.join(INFO);
        // Until the new `info.json` exists, the files may belong to different token files.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(&path, "remove the file")(error));
            }
            _ => {}
        }
        tokens.commit()?;
        index.commit()?;
        let json = serde_json::to_vec_pretty(&self.info).map_err(|cause| Error::Encode {
            path: path.clone(),
            row: 1,
            cause: cause.into(),
        })?;
        write_file(path, &json)?;
        Ok(self.info)
    }
}

/// Why a folder is not a complete token file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFileProblem {
    /// It has no `info.json`, which is written last.
    #[error("it has no {INFO}")]
    NoInfo,
    /// Its `info.json` cannot be read.
    #[error("{message}")]
    Info {
        /// The parser's message.
        message: String,
    },
    /// A file whose length does not match the counts.
    #[error("it has {got} bytes, expected {expected}")]
    Length {
        /// Bytes of the file.
        got: u64,
        /// Bytes according to the counts.
        expected: u64,
    },
    /// A file with another magic number or version.
    #[error("it has another magic number or version")]
    Version,
    /// Counts that are too large for any file.
    #[error("its counts are too large")]
    Counts,
    /// An odd number of rows of pairs.
    #[error("it has pairs, but an odd number of rows ({rows})")]
    HalfPair {
        /// Number of rows.
        rows: u64,
    },
    /// The rows are not pairs, but pairs are needed.
    #[error("its rows are not pairs")]
    NoPairs,
    /// Positions that are not in ascending order.
    #[error("its positions are not in order")]
    Order,
}

/// A token file, opened for reading.
#[derive(Debug)]
pub struct TokenFile {
    folder: PathBuf,
    tokens: Positioned,
    /// `[rows + 1]`: the position of the first token of each row, and the number of all tokens.
    offsets: Vec<u64>,
    info: TokenFileInfo,
}

impl TokenFile {
    /// Opens a token file.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::TokenFile`] if it is not complete.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let broken = |name: &str, problem| Error::TokenFile { path: folder.join(name), problem };
        let path = folder.join(INFO);
        let bytes = match fs::read(&path) {
            Err(error) if folder.is_dir() && error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::TokenFile { path: folder.into(), problem: TokenFileProblem::NoInfo });
            }
            read => read.map_err(Error::io(&path, "read the file"))?,
        };
        let info: TokenFileInfo = serde_json::from_slice(&bytes)
            .map_err(|error| broken(INFO, TokenFileProblem::Info { message: error.to_string() }))?;

        let open = |name: &str, expected: u64| {
            let path = folder.join(name);
            let file = File::open(&path).map_err(Error::io(&path, "open the file"))?;
            let length = file.metadata().map_err(Error::io(&path, "read the file"))?.len();
            if length != expected {
                return Err(broken(name, TokenFileProblem::Length { got: length, expected }));
            }
            let mut file = BufReader::new(file);
            let mut magic = [0; 8];
            file.read_exact(&mut magic).map_err(Error::io(&path, "read the file"))?;
            if magic == MAGIC { Ok(file) } else { Err(broken(name, TokenFileProblem::Version)) }
        };
        let size = |count: u64, each: u64| count.checked_mul(each).and_then(|bytes| bytes.checked_add(8));
        let (Some(of_index), Some(of_tokens)) =
            (info.rows.checked_add(1).and_then(|rows| size(rows, 8)), size(info.tokens, 4))
        else {
            return Err(broken(INFO, TokenFileProblem::Counts));
        };
        let mut bytes = Vec::new();
        open(INDEX, of_index)?
            .read_to_end(&mut bytes)
            .map_err(Error::io(&folder.join(INDEX), "read the file"))?;
        let offsets: Vec<u64> = bytes.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        if info.pairs && !info.rows.is_multiple_of(2) {
            return Err(broken(INFO, TokenFileProblem::HalfPair { rows: info.rows }));
        }
        if offsets.first() != Some(&0) || offsets.last() != Some(&info.tokens) || !offsets.is_sorted() {
            return Err(broken(INDEX, TokenFileProblem::Order));
        }
        let tokens = Positioned::new(open(TOKENS, of_tokens)?.into_inner());
        Ok(Self { folder: folder.into(), tokens, offsets, info })
    }

    /// Opens the token file of a folder if it exists, is complete, and has this fingerprint.
    ///
    /// # Errors
    /// [`Error::Io`] if a file exists and cannot be read.
    pub fn reuse(folder: impl AsRef<Path>, fingerprint: &str) -> Result<Option<Self>> {
        match Self::open(folder) {
            Ok(file) => Ok((file.info.fingerprint == fingerprint).then_some(file)),
            Err(Error::TokenFile { .. }) => Ok(None),
            Err(Error::Io { cause, .. }) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Checks that the rows were made with this tokenizer and chat template. It fails if they were not
    /// recorded.
    ///
    /// ```
    /// use janus_core::{ChatTemplate, Message};
    /// use janus_data::{Error, TokenFile, TokenWriter, Tokenizer};
    /// # let folder = tempfile::tempdir()?;
    /// let template = ChatTemplate::ChatMl;
    /// let tokenizer = Tokenizer::train(["hi"].into_iter(), 300, template.special_tokens())?;
    /// let mut writer = TokenWriter::create(folder.path(), "abc")?.made_with(&tokenizer, template)?;
    /// writer.write(&tokenizer.conversation(template, &[Message::user("Hi?"), Message::assistant("Hello.")])?)?;
    /// writer.finish()?;
    ///
    /// let file = TokenFile::open(folder.path())?;
    /// file.check_made_with(&tokenizer, template)?;
    /// let error = file.check_made_with(&tokenizer, ChatTemplate::MistralInstruct);
    /// assert!(matches!(error, Err(Error::OtherTokens { what: "chat template", .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::OtherTokens`], [`Error::Tokenizer`].
    pub fn check_made_with(&self, tokenizer: &Tokenizer, template: ChatTemplate) -> Result<()> {
        let made_with = [
            ("tokenizer", self.info.tokenizer.clone(), tokenizer.fingerprint()?),
            ("chat template", self.info.template.map(|template| template.to_string()), template.to_string()),
        ];
        match made_with.into_iter().find(|(_, got, expected)| got.as_ref() != Some(expected)) {
            Some((what, got, expected)) => {
                Err(Error::OtherTokens { path: self.folder.clone(), what, got, expected })
            }
            None => Ok(()),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// The contents of the file and their provenance.
    pub fn info(&self) -> &TokenFileInfo {
        &self.info
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of tokens of each row, `[rows]`.
    pub fn lengths(&self) -> Vec<usize> {
        self.offsets.windows(2).map(|ends| (ends[1] - ends[0]) as usize).collect()
    }

    /// Reads a row. Threads may read at the same time.
    ///
    /// # Errors
    /// [`Error::NoSuchRow`], [`Error::Io`].
    pub fn row(&self, row: usize) -> Result<TokenRow> {
        let Some(&[start, end]) = self.offsets.get(row..row + 2) else {
            return Err(Error::NoSuchRow { row, rows: self.len() });
        };
        let mut bytes = vec![0; 4 * (end - start) as usize];
        self.tokens
            .read_at(&mut bytes, 8 + 4 * start)
            .map_err(Error::io(&self.folder.join(TOKENS), "read the file"))?;
        let tokens = bytes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
        Ok(tokens
            .map(|token| (token & !IN_LOSS, token & IN_LOSS != 0))
            .unzip::<u32, bool, Vec<_>, Vec<_>>()
            .into())
    }

    /// Reads and concatenates rows, such as a group of [`pack_lengths`](crate::pack_lengths).
    ///
    /// # Errors
    /// Those of [`TokenFile::row`].
    pub fn packed(&self, rows: &[u32]) -> Result<PackedRow> {
        let rows: Vec<TokenRow> = rows.iter().map(|&row| self.row(row as usize)).collect::<Result<_>>()?;
        Ok(concat(&rows.iter().collect::<Vec<_>>()))
    }
}

/// A file that is read at positions.
#[derive(Debug)]
struct Positioned {
    #[cfg(unix)]
    file: File,
    #[cfg(not(unix))]
    file: std::sync::Mutex<File>,
}

#[cfg(unix)]
impl Positioned {
    fn new(file: File) -> Self {
        Self { file }
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> std::io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, bytes, at)
    }
}

#[cfg(not(unix))]
impl Positioned {
    fn new(file: File) -> Self {
        Self { file: std::sync::Mutex::new(file) }
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> std::io::Result<()> {
        use std::io::{Seek, SeekFrom};
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(folder: &Path, rows: &[TokenRow]) -> TokenFile {
        let mut writer = TokenWriter::create(folder, "f").unwrap();
        rows.iter().for_each(|row| writer.write(row).unwrap());
        writer.finish().unwrap();
        TokenFile::open(folder).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn rows_are_read_back_in_any_order(rows in prop::collection::vec(prop::collection::vec((0u32..IN_LOSS, any::<bool>()), 1..30), 0..12)) {
            let rows: Vec<TokenRow> = rows.into_iter().map(|row| TokenRow::from(row.into_iter().unzip::<u32, bool, Vec<_>, Vec<_>>())).collect();
            let folder = tempfile::tempdir().unwrap();
            let file = written(folder.path(), &rows);
            prop_assert_eq!(file.lengths(), rows.iter().map(|row| row.ids.len()).collect::<Vec<_>>());
            for (at, row) in rows.iter().enumerate().rev() {
                prop_assert_eq!(&file.row(at).unwrap(), row);
            }
            prop_assert_eq!(file.info().loss_tokens, rows.iter().map(|row| row.loss_tokens() as u64).sum::<u64>());
        }
    }

    #[test]
    fn an_incomplete_file_is_an_error_and_is_not_reused() {
        let folder = tempfile::tempdir().unwrap();
        let row = TokenRow { ids: vec![1, 2, 3], loss_mask: vec![false, true, true] };
        written(folder.path(), &[row.clone(), row.clone()]);
        assert!(TokenFile::reuse(folder.path(), "f").unwrap().is_some());
        for name in [TOKENS, INDEX, INFO] {
            let path = folder.path().join(name);
            let whole = fs::read(&path).unwrap();
            for damaged in
                [&whole[..whole.len() - 1], &[&whole[..], &[0]].concat(), &[b"X", &whole[1..]].concat()]
            {
                fs::write(&path, damaged).unwrap();
                if name != INFO || damaged.last() != Some(&0) {
                    assert!(TokenFile::open(folder.path()).is_err(), "{name}");
                }
                assert!(TokenFile::reuse(folder.path(), "f").unwrap().is_none(), "{name}");
            }
            fs::write(&path, &whole).unwrap();
        }
        // An interrupted writer leaves the old file. If it is interrupted while it renames its files, nothing
        // is reused.
        let mut writer = TokenWriter::create(folder.path(), "f").unwrap();
        writer.write(&row).unwrap();
        drop(writer);
        assert_eq!(TokenFile::reuse(folder.path(), "f").unwrap().unwrap().len(), 2);
        fs::remove_file(folder.path().join(INFO)).unwrap();
        assert!(TokenFile::reuse(folder.path(), "f").unwrap().is_none());
        assert!(matches!(
            written(folder.path(), &[row]).row(1).unwrap_err(),
            Error::NoSuchRow { row: 1, rows: 1 }
        ));
    }

    #[test]
    fn the_fingerprint_depends_on_everything_that_affects_the_rows() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            fs::write(folder.path().join(name), text).unwrap();
            folder.path().join(name)
        };
        let tokenizer = |text: &str| {
            Tokenizer::train([text].into_iter(), 300, ChatTemplate::ChatMl.special_tokens()).unwrap()
        };
        let (one, other) = (tokenizer("aa aa aa"), tokenizer("bb bb bb"));
        let (a, b) = (file("a", "x"), file("b", "y"));
        let of = |tokenizer, template, files: &[&PathBuf], settings: &str| {
            let files: Vec<PathBuf> = files.iter().map(|path| (*path).clone()).collect();
            TokenFileInfo::fingerprint_of(tokenizer, template, &files, settings).unwrap()
        };
        let base = of(&one, ChatTemplate::ChatMl, &[&a, &b], "");
        let all = [
            of(&other, ChatTemplate::ChatMl, &[&a, &b], ""),
            of(&one, ChatTemplate::MistralInstruct, &[&a, &b], ""),
            of(&one, ChatTemplate::ChatMl, &[&b, &a], ""),
            of(&one, ChatTemplate::ChatMl, &[&a], ""),
            of(&one, ChatTemplate::ChatMl, &[&a, &b], "cut"),
        ];
        assert!(all.iter().all(|other| *other != base));
        // The path of a file does not matter.
        assert_eq!(base, of(&one, ChatTemplate::ChatMl, &[&file("c", "x"), &b], ""));
    }

    /// A file of one row as revision 0a1c55a wrote it.
    #[test]
    fn a_file_without_the_field_pairs_is_read_and_written_again_unchanged() {
        let info = "{\n  \"fingerprint\": \"f\",\n  \"rows\": 1,\n  \"tokens\": 3,\n  \"trained\": 2\n}";
        let row = TokenRow { ids: vec![1, 2, 3], loss_mask: vec![false, true, true] };
        let folder = tempfile::tempdir().unwrap();
        written(folder.path(), std::slice::from_ref(&row));
        assert_eq!(fs::read_to_string(folder.path().join(INFO)).unwrap(), info);
        let tokens = [&MAGIC[..], &[1, 0, 0, 0, 2, 0, 0, 0x80, 3, 0, 0, 0x80]].concat();
        assert_eq!(fs::read(folder.path().join(TOKENS)).unwrap(), tokens);
        let file = TokenFile::open(folder.path()).unwrap();
        assert_eq!((file.row(0).unwrap(), file.info().pairs), (row, false));
    }
}
