//! Downloads from a hub that misbehaves.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use janus_data::http::{ApiKey, Backoff, ClientOptions};
use janus_data::hub::{Downloaded, Hub, HubError, HubFile, HubOptions};

use crate::stub::{Received, Reply, Stub};

const TOKEN: &str = "hf_secret";

/// SHA-256 of [`content`], from `sha256sum`.
const SHA256: &str = "b67e144334ecfb0732fc3272b1c9dd7bc85d972454d9d3dfdb7a7633dc513bf2";

fn content() -> Vec<u8> {
    (0..200_000_u32).flat_map(|i| (i.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()).collect()
}

fn options(base_url: String) -> HubOptions {
    let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(20));
    let client = ClientOptions::default().with(|options| {
        options.attempts = 3;
        options.timeout = Duration::from_secs(5);
        options.backoff = backoff;
    });
    HubOptions::new(base_url).with(|options| {
        options.token = Some(ApiKey::new(TOKEN).unwrap());
        options.client = client;
    })
}

fn file() -> HubFile {
    HubFile::dataset("kaist-ai/a set", "data/train.parquet").at("refs/convert/parquet")
}

fn fetch(base_url: String, target: &Path, sha256: Option<&str>) -> Result<Downloaded, HubError> {
    Hub::new(options(base_url)).unwrap().download(&file(), target, sha256, &mut |_, _| ())
}

/// The part of the content that a request's range selects.
fn ranged(received: &Received) -> Reply {
    let all = content();
    match received.header("range") {
        Some(range) => {
            let from: usize =
                range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap();
            let range = format!("bytes {from}-{}/{}", all.len() - 1, all.len());
            Reply { headers: vec![("content-range", range)], ..Reply::status(206, &all[from..]) }
        }
        None => Reply::status(200, all),
    }
}

/// A hub that redirects to a store for the bytes.
fn hub(store: &Stub, etag: &'static str) -> Stub {
    let location = store.url();
    Stub::start(move |received| {
        assert_eq!(
            received.path,
            "/v1/datasets/kaist-ai/a%20set/resolve/refs%2Fconvert%2Fparquet/data/train.parquet"
        );
        assert_eq!(received.header("authorization"), Some("Bearer hf_secret"));
        let headers = vec![
            ("location", format!("{location}/bytes")),
            ("x-linked-etag", format!("\"{etag}\"")),
            ("x-linked-size", content().len().to_string()),
            ("x-repo-commit", "c0ffee".into()),
        ];
        Reply { headers, ..Reply::status(302, "") }
    })
}

fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn a_download_that_is_interrupted_repeatedly_completes() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("train.parquet");
    let ranges: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
    let log = ranges.clone();
    // Every attempt receives at most 150,000 bytes, so more attempts are needed than are allowed without
    // progress.
    let store = Stub::start(move |received| {
        assert_eq!(received.header("authorization"), None, "only the hub gets the token");
        log.lock().unwrap().push(received.header("range").map(String::from));
        Reply { cut: Some(150_000), ..ranged(received) }
    });
    let hub = hub(&store, SHA256);
    let got = fetch(hub.url(), &target, None).unwrap();
    assert_eq!((got.bytes, got.fetched, got.checked), (800_000, 800_000, true));
    assert_eq!((got.sha256.as_str(), got.commit.as_deref()), (SHA256, Some("c0ffee")));
    assert_eq!(fs::read(&target).unwrap(), content());
    assert_eq!(names(folder.path()), ["train.parquet"]);
    let ranges = ranges.lock().unwrap();
    assert!(
        ranges.len() >= 6 && ranges[0].is_none() && ranges[1..].iter().all(Option::is_some),
        "{ranges:?}"
    );
}

#[test]
fn a_later_call_resumes_where_an_earlier_one_gave_up() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("train.parquet");
    let store = Stub::start(|received| match received.number {
        0 => Reply { cut: Some(300_000), ..ranged(received) },
        1..=6 => Reply::status(503, "closed"),
        _ => ranged(received),
    });
    let hub = hub(&store, SHA256);
    let error = fetch(hub.url(), &target, None).unwrap_err().to_string();
    assert!(
        error.contains(
            "kaist-ai/a set/data/train.parquet: gave up after 3 attempts: the server answered 503: closed"
        ),
        "{error}"
    );
    assert!(
        !target.exists() && names(folder.path()).len() == 1,
        "the partial file is kept under another name"
    );
    let got = fetch(hub.url(), &target, Some(SHA256)).unwrap();
    assert!(got.fetched < 600_000 && got.bytes == 800_000, "{got:?}");
    assert_eq!(names(folder.path()), ["train.parquet"]);
}

#[test]
fn a_hub_without_ranges_sends_the_whole_file_again() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("train.parquet");
    let store = Stub::start(|received| Reply {
        cut: (received.number == 0).then_some(300_000),
        ..Reply::status(200, content())
    });
    let hub = hub(&store, SHA256);
    assert_eq!(fetch(hub.url(), &target, None).unwrap().bytes, 800_000);
    assert_eq!(fs::read(&target).unwrap(), content());
}

#[test]
fn a_file_with_a_wrong_checksum_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("train.parquet");
    fs::write(&target, "the old one").unwrap();
    let wrong = "0000000000000000000000000000000000000000000000000000000000000000";
    let store = Stub::start(ranged);
    for (etag, expected) in [(wrong, None), (SHA256, Some(wrong))] {
        let hub = hub(&store, etag);
        let error = fetch(hub.url(), &target, expected).unwrap_err();
        assert!(matches!(&error, HubError::Checksum { got, .. } if got == SHA256), "{error}");
        assert_eq!(
            (names(folder.path()), fs::read(&target).unwrap()),
            (vec!["train.parquet".to_string()], b"the old one".to_vec())
        );
    }
}

#[test]
fn small_files_come_from_the_hub_itself() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("config.json");
    let hub = Stub::start(|received| {
        assert_eq!(received.header("authorization"), Some("Bearer hf_secret"));
        match received.path.as_str() {
            "/v1/owner/model/resolve/main/config.json" => {
                Reply { headers: vec![("location", "/v1/cache/1".into())], ..Reply::status(307, "") }
            }
            "/v1/cache/1" => {
                Reply { headers: vec![("etag", "W/\"abc\"".into())], ..Reply::status(200, "{}") }
            }
            // The name is from `printf '{}' | git hash-object --stdin`.
            path
            @ ("/v1/owner/model/resolve/main/right.json" | "/v1/owner/model/resolve/main/wrong.json") => {
                let headers = vec![("etag", "\"9e26dfeeb6e641a33dae4961196235bdb965b21b\"".into())];
                Reply {
                    headers,
                    ..Reply::status(200, if path.ends_with("right.json") { "{}" } else { "[]" })
                }
            }
            "/v1/owner/closed/resolve/main/config.json" => Reply::status(403, "hf_secret may not"),
            other => Reply::status(404, other),
        }
    });
    let hub = Hub::new(options(hub.url())).unwrap();
    let fetch = |file: &HubFile| hub.download(file, &target, None, &mut |_, _| ());
    let got = fetch(&HubFile::model("owner/model", "config.json")).unwrap();
    assert_eq!((got.bytes, got.checked, fs::read_to_string(&target).unwrap().as_str()), (2, false, "{}"));
    assert!(fetch(&HubFile::model("owner/model", "right.json")).unwrap().checked);
    let error = fetch(&HubFile::model("owner/model", "wrong.json")).unwrap_err().to_string();
    assert!(
        error.contains("git object 0637a088a01e8ddab3bf3fa98dbe804cbde1a0dc, expected 9e26df"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&target).unwrap(), "{}");
    let error = fetch(&HubFile::model("owner/model", "no.json")).unwrap_err().to_string();
    assert!(error.starts_with("owner/model/no.json: the server answered 404"), "{error}");
    let error = fetch(&HubFile::model("owner", "../x")).unwrap_err().to_string();
    assert!(error.contains("the path is \"../x\""), "{error}");
    let error = format!("{0} {0:?}", fetch(&HubFile::model("owner/closed", "config.json")).unwrap_err());
    assert!(
        error.contains("the server answered 403: access is refused") && !error.contains("secret"),
        "{error}"
    );
}
