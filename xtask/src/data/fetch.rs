//! `cargo xtask data fetch`: downloads a file from the Hugging Face hub.

use std::path::PathBuf;

use janus_data::hub::{Hub, HubError, HubFile, HubOptions};
use janus_data::progress::{Progress, Unit};
use serde_json::json;

use crate::command::{Blame as _, CommandError, Outcome};

/// Fetch a file from the Hugging Face hub
///
/// A repeated command continues an interrupted download. OUT is written only when
/// the download is complete and matches the hub's checksum (SHA-256, or git's for
/// small files) and --sha256. HF_TOKEN is the token for files that are not public;
/// HF_ENDPOINT is the address of another hub.
///
/// Reads:   the hub.
/// Writes:  OUT.
/// Example: cargo xtask data fetch \
///          kaist-ai/Multifaceted-Bench data/train-00000-of-00001.parquet \
///          --out multifaceted-bench.parquet
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The repository, owner/name
    #[arg(value_name = "REPOSITORY")]
    repository: String,
    /// The file's path in it
    #[arg(value_name = "PATH")]
    path: String,
    /// File to write
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// The repository is a model's, not a dataset's
    #[arg(long)]
    model: bool,
    /// Branch, tag or commit
    #[arg(long, value_name = "REVISION", default_value = "main")]
    revision: String,
    /// Expected SHA-256
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<Outcome, CommandError> {
    let file = if args.model { HubFile::model } else { HubFile::dataset };
    let file = file(&args.repository, &args.path).at(&args.revision);
    let hub = Hub::new(HubOptions::from_env().bad_input()?).bad_input()?;
    let mut progress: Option<Progress> = None;
    let got = hub.download(&file, &args.out, args.sha256.as_deref(), &mut |done, all| {
        progress.get_or_insert_with(|| Progress::new("fetch", Unit::Bytes, all.unwrap_or(0))).reach(done);
    });
    let got = got.map_err(|error| match error {
        HubError::Http { .. } | HubError::Checksum { .. } => CommandError::failure(error),
        error => CommandError::bad_input(error),
    })?;
    progress.into_iter().for_each(Progress::finish);
    let checked = if got.checked { "its checksum is right" } else { "the hub has no checksum for it" };
    let text = format!("{}: {} bytes, {checked}\nSHA-256 {}", args.out.display(), got.bytes, got.sha256);
    let report = json!({
        "command": "data fetch", "out": args.out, "bytes": got.bytes, "fetched": got.fetched, "sha256": got.sha256,
        "checked": got.checked, "commit": got.commit,
    });
    Ok(Outcome::done(text, report))
}
