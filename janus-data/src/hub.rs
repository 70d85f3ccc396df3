//! Downloads files of the Hugging Face hub. A file appears complete or not at all, an interrupted download is
//! resumed, and the content is compared with the hub's checksum.
//!
//! ```no_run
//! use janus_data::hub::{Hub, HubFile, HubOptions};
//!
//! let hub = Hub::new(HubOptions::from_env()?)?;
//! let file = HubFile::dataset("kaist-ai/Multifaceted-Collection", "data/train-00000-of-00001.parquet");
//! let got = hub.download(&file, "train.parquet".as_ref(), None, &mut |done, all| eprintln!("{done} of {all:?} bytes"))?;
//! println!("{} bytes, SHA-256 {}", got.bytes, got.sha256);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::fs::{open_locked, publish};
use crate::http::{
    AnswerProblem, ApiKey, Client, ClientOptions, ConnectionProblem, Failed, HttpError, header, reply,
};

/// Options of a [`Hub`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HubOptions {
    /// The address of the hub.
    pub base_url: String,
    /// The token, for files that are not public. It is sent only to the hub, not to servers that the hub
    /// redirects to.
    pub token: Option<ApiKey>,
    /// Limits and attempts. An attempt that received bytes does not count; the next one resumes after them.
    pub client: ClientOptions,
}

impl HubOptions {
    /// The environment variable of the token, the same as for the official tools.
    pub const TOKEN_VARIABLE: &'static str = "HF_TOKEN";
    /// The environment variable of the hub's address.
    pub const ENDPOINT_VARIABLE: &'static str = "HF_ENDPOINT";

    /// Options for a hub at an address, with ten minutes for each attempt.
    pub fn new(base_url: impl Into<String>) -> Self {
        let client = ClientOptions { timeout: Duration::from_secs(600), ..ClientOptions::default() };
        Self { base_url: base_url.into(), token: None, client }
    }

    /// Applies `set` to the options and returns them: `options.with(|options| options.token = Some(key))`.
    #[must_use]
    pub fn with(mut self, set: impl FnOnce(&mut Self)) -> Self {
        set(&mut self);
        self
    }

    /// Options with the address and the token from the environment. Without an address, it is the public hub.
    ///
    /// # Errors
    /// [`HttpError::Setting`] for a token that is not allowed in a header.
    pub fn from_env() -> Result<Self, HttpError> {
        let variable = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(|value| value.to_string_lossy().into_owned())
        };
        let token = variable(Self::TOKEN_VARIABLE).map(ApiKey::new).transpose()?;
        let base_url = variable(Self::ENDPOINT_VARIABLE).unwrap_or_else(|| "https://huggingface.co".into());
        Ok(Self { token, ..Self::new(base_url) })
    }
}

/// A file of a repository on the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubFile {
    /// Whether the repository is a data set; if not, it is a model.
    pub dataset: bool,
    /// `owner/name`.
    pub repository: String,
    /// A branch, a tag or a commit.
    pub revision: String,
    /// The path in the repository.
    pub path: String,
}

impl HubFile {
    /// A file on a data set's main branch.
    pub fn dataset(repository: impl Into<String>, path: impl Into<String>) -> Self {
        Self { dataset: true, repository: repository.into(), revision: "main".into(), path: path.into() }
    }

    /// A file on a model's main branch.
    pub fn model(repository: impl Into<String>, path: impl Into<String>) -> Self {
        Self { dataset: false, ..Self::dataset(repository, path) }
    }

    /// Sets the revision.
    pub fn at(self, revision: impl Into<String>) -> Self {
        Self { revision: revision.into(), ..self }
    }

    fn url(&self, base: &str) -> Result<String, HttpError> {
        let steps = |text: &str| text.split('/').all(|step| !step.is_empty() && step != "." && step != "..");
        for (field, value) in
            [("the repository", &self.repository), ("the path", &self.path), ("the revision", &self.revision)]
        {
            if !steps(value) {
                return Err(HttpError::Setting {
                    field,
                    got: format!("\"{value}\""),
                    expected: "names joined by single slashes",
                });
            }
        }
        let kind = if self.dataset { "/datasets" } else { "" };
        let [repository, path] = [&self.repository, &self.path].map(|text| utf8_percent_encode(text, PATH));
        let revision = utf8_percent_encode(&self.revision, NAME);
        Ok(format!("{}{kind}/{repository}/resolve/{revision}/{path}", base.trim_end_matches('/')))
    }
}

/// The characters that are percent-encoded in a name: all but the unreserved ones (RFC 3986, section 2.3).
const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same for several names joined by slashes.
const PATH: &AsciiSet = &NAME.remove(b'/');

/// A downloaded file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Downloaded {
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, in hex.
    pub sha256: String,
    /// Whether it was compared with a checksum, the caller's or the hub's. The hub's is the SHA-256 of a
    /// large file and the git object name of a small one. Without a checksum, only the length is checked.
    pub checked: bool,
    /// The commit of the file, if the hub reports it.
    pub commit: Option<String>,
    /// Bytes that this call received; the others were on disk from an earlier call.
    pub fetched: u64,
}

/// Why a download failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// A request to the hub failed.
    #[error("{file}: {cause}")]
    Http {
        /// The file on the hub.
        file: String,
        /// Why.
        cause: HttpError,
    },
    /// The file cannot be written.
    #[error(transparent)]
    File(#[from] Error),
    /// The content does not have the expected checksum; it was removed.
    #[error(
        "{file}: {checksum} {got}, expected {expected}: download it again, or request the revision that the checksum belongs to"
    )]
    Checksum {
        /// The file on the hub.
        file: String,
        /// Which checksum: `SHA-256`, or `git object` (SHA-1).
        checksum: &'static str,
        /// The expected checksum.
        expected: String,
        /// The checksum of the content.
        got: String,
    },
    /// Another process is downloading the file.
    #[error("{}: another process is downloading this file: wait for it", path.display())]
    InUse {
        /// The partial file.
        path: PathBuf,
    },
}

/// The error of an attempt, which does not name the file yet.
enum Stop {
    Http(HttpError),
    File(Error),
}

impl From<HttpError> for Stop {
    fn from(error: HttpError) -> Self {
        Self::Http(error)
    }
}

/// What the hub reports about a file.
struct Facts {
    /// The address of its bytes; for large files on another server.
    url: String,
    etag: String,
    bytes: Option<u64>,
    commit: Option<String>,
}

/// The Hugging Face hub.
#[derive(Debug)]
pub struct Hub {
    options: HubOptions,
    client: Client,
}

impl Hub {
    /// A hub with these options. Nothing is sent yet.
    ///
    /// # Errors
    /// [`HttpError::Setting`] names the option that cannot be used.
    pub fn new(options: HubOptions) -> Result<Self, HttpError> {
        let client = Client::new(
            &options.base_url,
            options.client.clone(),
            concat!("janus-data/", env!("CARGO_PKG_VERSION")),
        )?;
        Ok(Self { options, client })
    }

    /// Downloads a file to `target`, which appears only when it is complete and verified. A partial download
    /// of the same content by an earlier call is resumed. `sha256`, in hex, is the checksum that the content
    /// must have. `on_bytes` is called with the number of bytes so far and in all.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn download(
        &self,
        file: &HubFile,
        target: &Path,
        sha256: Option<&str>,
        on_bytes: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<Downloaded, HubError> {
        let shown = format!("{}/{}", file.repository, file.path);
        let http = |cause| HubError::Http { file: shown.clone(), cause };
        let url = file.url(&self.options.base_url).map_err(http)?;
        let facts = self.client.attempts(&shown, || self.facts(&url)).map_err(http)?;

        let partial = partial(target, &facts.etag)?;
        let Some(mut out) = open_locked(&partial)? else { return Err(HubError::InUse { path: partial }) };
        let mut fetched = 0;
        loop {
            let before = fetched;
            match self
                .client
                .attempts(&shown, || self.fill(&facts, &mut out, &partial, &mut fetched, on_bytes))
            {
                Ok(()) => break,
                // As long as bytes arrive, there is no reason to give up.
                Err(Stop::Http(HttpError::GaveUp { .. })) if fetched > before => {}
                Err(Stop::Http(source)) => return Err(http(source)),
                Err(Stop::File(error)) => return Err(error.into()),
            }
        }

        let digest = Digest::of(&mut out).map_err(Error::io(&partial, "read the file"))?;
        let published = digest.published(&facts.etag);
        let requested = sha256.map(|expected| (SHA256, expected, digest.sha256.as_str()));
        for (checksum, expected, got) in requested.into_iter().chain(published) {
            if !expected.eq_ignore_ascii_case(got) {
                // Otherwise the next call would resume it.
                fs::remove_file(&partial).map_err(Error::io(&partial, "remove the file"))?;
                return Err(HubError::Checksum {
                    file: shown,
                    checksum,
                    expected: expected.into(),
                    got: got.into(),
                });
            }
        }
        let checked = requested.or(published).is_some();
        publish(out, &partial, target)?;
        Ok(Downloaded { bytes: digest.bytes, sha256: digest.sha256, checked, commit: facts.commit, fetched })
    }

    /// The authorization header for an address; only the hub itself gets the token.
    fn token_header(&self, url: &str) -> Option<String> {
        let token = self.options.token.as_ref().filter(|_| host(url) == host(&self.options.base_url))?;
        Some(format!("Bearer {}", token.secret()))
    }

    /// Requests the metadata of a file and follows the hub's redirects.
    fn facts(&self, url: &str) -> Result<Facts, Failed<HttpError>> {
        /// The number of redirects that are followed.
        const MAX_REDIRECTS: usize = 5;
        /// The advice if the hub gives no reason.
        const REFUSED: &str =
            "access is refused: accept the terms on the repository's page, or use a token that may read it";
        let mut url = url.to_string();
        let (mut etag, mut bytes, mut commit) = (None, None, None);
        for _ in 0..=MAX_REDIRECTS {
            let bearer = self.token_header(&url);
            let headers: Vec<(&str, &str)> =
                bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
            // A content encoding would change the length.
            let headers = [&headers[..], &[("accept-encoding", "identity")]].concat();
            self.client.wait(0)?;
            let mut response = self.client.open(true, &url, &headers)?;
            let status = response.status().as_u16();
            let text = |name| {
                header(&response, name)
                    .map(|value| value.trim_start_matches("W/").trim_matches('"').to_string())
            };
            etag = etag.or_else(|| text("x-linked-etag"));
            bytes = bytes.or_else(|| text("x-linked-size")?.parse().ok());
            commit = commit.or_else(|| text("x-repo-commit"));
            if matches!(status, 301 | 302 | 303 | 307 | 308) {
                let location =
                    text("location").ok_or_else(|| answer(AnswerProblem::NoHeader { name: "location" }))?;
                url =
                    absolute(&url, &location).ok_or_else(|| answer(AnswerProblem::Redirect { location }))?;
                // Large files are on another server, and their metadata is complete by now.
                if etag.is_some() && bytes.is_some() && host(&url) != host(&self.options.base_url) {
                    return Ok(Facts { url, etag: etag.unwrap_or_default(), bytes, commit });
                }
                continue;
            }
            if (200..300).contains(&status) {
                let etag = etag
                    .or_else(|| text("etag"))
                    .ok_or_else(|| answer(AnswerProblem::NoHeader { name: "etag" }))?;
                let bytes = bytes.or_else(|| text("content-length")?.parse().ok());
                return Ok(Facts { url, etag, bytes, commit });
            }
            // A response to HEAD has no body.
            let message = text("x-error-message").or_else(|| (status == 403).then(|| REFUSED.into()));
            let mut reply = reply(&mut response)?;
            reply.text = message.filter(|_| reply.text.is_empty()).unwrap_or(reply.text);
            return Err(reply.failed(self.options.token.as_ref()));
        }
        Err(answer(AnswerProblem::Redirects { limit: MAX_REDIRECTS }).into())
    }

    /// Downloads the missing bytes, in one attempt.
    fn fill(
        &self,
        facts: &Facts,
        out: &mut File,
        partial: &Path,
        fetched: &mut u64,
        on_bytes: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<(), Failed<Stop>> {
        let io = |doing| move |error| Failed::Final(Stop::File(Error::io(partial, doing)(error)));
        let mut have = out.seek(SeekFrom::End(0)).map_err(io("read the file"))?;
        if facts.bytes == Some(have) {
            return Ok(());
        }
        let (bearer, range) = (self.token_header(&facts.url), format!("bytes={have}-"));
        let mut headers: Vec<(&str, &str)> =
            bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        headers.push(("accept-encoding", "identity"));
        if have > 0 {
            headers.push(("range", &range));
        }
        self.client.wait(0)?;
        let mut response = self.client.open(false, &facts.url, &headers)?;
        let from = match response.status().as_u16() {
            206 => have,
            200..300 => 0,
            // The partial file is longer than the file, so it is not a part of it.
            416 => {
                out.set_len(0).map_err(io("truncate the file"))?;
                return Err(answer(AnswerProblem::NoBytes { from: have }).into());
            }
            _ => {
                return Err(match reply(&mut response)?.failed(self.options.token.as_ref()) {
                    Failed::Final(error) => Failed::Final(Stop::Http(error)),
                    Failed::Closes(error) => Failed::Closes(error),
                    Failed::Again(error, pause) => Failed::Again(error, pause),
                });
            }
        };
        let begins = header(&response, "content-range")
            .and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
        if begins.unwrap_or(from) != from {
            return Err(answer(AnswerProblem::OtherBytes { asked: from, got: begins.unwrap_or(0) }).into());
        }
        if from == 0 {
            out.set_len(0).map_err(io("truncate the file"))?;
            have = out.seek(SeekFrom::Start(0)).map_err(io("read the file"))?;
        }
        let mut body = response.body_mut().as_reader();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(
                        HttpError::Connection { problem: ConnectionProblem::io(&error), sent: true }.into()
                    );
                }
            };
            out.write_all(&buffer[..read]).map_err(io("write the file"))?;
            have += read as u64;
            *fetched += read as u64;
            on_bytes(have, facts.bytes);
        }
        match facts.bytes {
            Some(bytes) if have < bytes => {
                Err(HttpError::Connection { problem: ConnectionProblem::Ended { have, bytes }, sent: true }
                    .into())
            }
            Some(bytes) if have > bytes => {
                out.set_len(0).map_err(io("truncate the file"))?;
                Err(answer(AnswerProblem::TooLong { announced: bytes, got: have }).into())
            }
            _ => Ok(()),
        }
    }
}

fn answer(problem: AnswerProblem) -> HttpError {
    HttpError::Answer { problem }
}

/// Scheme, host and port of an address.
fn host(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    url[start..].find('/').map_or(url, |at| &url[..start + at])
}

/// The target of a redirect; `None` if it is not an HTTP address.
fn absolute(from: &str, location: &str) -> Option<String> {
    match location {
        _ if location.starts_with("https://") || location.starts_with("http://") => Some(location.into()),
        _ if location.starts_with('/') && !location.starts_with("//") => {
            Some(format!("{}{location}", host(from)))
        }
        _ => None,
    }
}

/// The path of the partial file, which depends on the content.
fn partial(target: &Path, etag: &str) -> Result<PathBuf, Error> {
    let Some(name) = target.file_name() else {
        return Err(Error::io(target, "write the file")(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path has no file name",
        )));
    };
    let content = &blake3::hash(etag.as_bytes()).to_hex()[..16];
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{content}.partial"));
    Ok(target.with_file_name(hidden))
}

const SHA256: &str = "SHA-256";
const GIT_OBJECT: &str = "git object";

/// The length and the checksums of a file.
struct Digest {
    bytes: u64,
    /// SHA-256, in hex.
    sha256: String,
    /// The git object name: SHA-1, in hex, of a header with the length and of the content.
    git_object: String,
}

impl Digest {
    fn of(file: &mut File) -> io::Result<Self> {
        file.seek(SeekFrom::Start(0))?;
        let mut git_object = Sha1::new_with_prefix(format!("blob {}\0", file.metadata()?.len()));
        let (mut sha256, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 16]);
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => {
                    sha256.update(&buffer[..read]);
                    git_object.update(&buffer[..read]);
                    bytes += read as u64;
                }
            }
        }
        Ok(Self { bytes, sha256: hex(&sha256.finalize()), git_object: hex(&git_object.finalize()) })
    }

    /// If the etag of the hub is a checksum: its kind, its value, and the value for this content.
    fn published<'a>(&'a self, etag: &'a str) -> Option<(&'static str, &'a str, &'a str)> {
        let hex = etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        match etag.len() {
            64 if hex => Some((SHA256, etag, &self.sha256)),
            40 if hex => Some((GIT_OBJECT, etag, &self.git_object)),
            _ => None,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
