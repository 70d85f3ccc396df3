//! `verify-goldens` on the repository's reference numbers, on altered ones, and on missing files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The folder that `JANUS_GOLDENS` names, else the repository's.
fn goldens() -> PathBuf {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../goldens");
    std::env::var_os("JANUS_GOLDENS").map_or_else(own, PathBuf::from)
}

/// Exit code and last line of stdout.
fn verify(folder: Option<&Path>) -> (i32, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_janus")).arg("verify-goldens").args(folder).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), text.lines().last().unwrap_or_default().to_string())
}

/// A copy of one model, one tokenizer, and the files at the top.
fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for part in ["models/mistral_window", "tokenizers/byte_fallback", ""] {
        fs::create_dir_all(folder.path().join(part)).unwrap();
        for entry in fs::read_dir(goldens().join(part)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::copy(&path, folder.path().join(part).join(path.file_name().unwrap())).unwrap();
            }
        }
    }
    folder
}

#[test]
fn everything_is_within_tolerance() {
    let (code, last) = verify(Some(&goldens()));
    assert!(code == 0 && last.ends_with(" within tolerance"), "{last}");
    let of: usize = last.split(' ').nth(2).unwrap().parse().unwrap();
    assert!(of > 250, "{last}");
    // Without a folder, the repository's goldens are checked.
    assert_eq!(verify(None).0, 0);
}

/// Changes the first number of a JSON value. Returns whether there is one.
fn altered(value: &mut Value) -> bool {
    match value {
        Value::Number(number) => {
            *value = number
                .as_i64()
                .map_or_else(|| (number.as_f64().unwrap() + 0.01).into(), |number| (number + 1).into());
            true
        }
        Value::Array(values) => values.iter_mut().any(altered),
        Value::Object(values) => values.values_mut().any(altered),
        _ => false,
    }
}

#[test]
fn altered_numbers_missing_files_and_empty_folders_fail() {
    let folder = copy();
    let (code, good) = verify(Some(folder.path()));
    assert!(code == 0 && good.ends_with("within tolerance"), "{good}");
    let of = good.split(' ').nth(2).unwrap();

    let files =
        |part: &str| fs::read_dir(folder.path().join(part)).unwrap().map(|entry| entry.unwrap().path());
    let all = files("models/mistral_window").chain(files("tokenizers/byte_fallback")).chain(files(""));
    let mut tried = 0;
    for path in all.filter(|path| path.is_file()) {
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        let bytes = fs::read(&path).unwrap();
        let mut changed = bytes.clone();
        if name.ends_with(".safetensors") && name != "quantized.safetensors" {
            // Flips the lowest bit of the exponent: the last number that is not 0 doubles or halves.
            let last = (0..changed.len() / 4)
                .map(|i| changed.len() - 4 * (i + 1))
                .find(|at| changed[*at..*at + 4] != [0; 4])
                .unwrap();
            changed[last + 2] ^= 0x80;
        } else if [
            "cases.json",
            "config.json",
            "config.v5.json",
            "sampling.json",
            "schedules.json",
            "tokens.json",
            "tokenizer.json",
        ]
        .contains(&&*name)
        {
            let mut value: Value = serde_json::from_slice(&bytes).unwrap();
            // Not the first number of each file: a tolerance is checked in janus-train's tests, and
            // attention dropout has no effect here.
            let start = match &*name {
                "cases.json" => &mut value["sft"]["loss_f64"],
                "config.json" | "config.v5.json" => &mut value["rms_norm_eps"],
                // The ids of added tokens come from the vocabulary.
                "tokenizer.json" => &mut value["model"]["vocab"],
                _ => &mut value,
            };
            assert!(altered(start));
            changed = value.to_string().into();
        } else {
            continue;
        }
        fs::write(&path, changed).unwrap();
        let (code, last) = verify(Some(folder.path()));
        assert_eq!(code, 1, "{name}: {last}");
        fs::remove_file(&path).unwrap();
        let (code, last) = verify(Some(folder.path()));
        // Without one of these files a whole part is not checked, and the rest still passes.
        let whole = ["cases.json", "sampling.json", "schedules.json", "tokens.json"].contains(&&*name);
        assert_eq!(code, i32::from(!whole), "without {name}: {last}");
        fs::write(&path, bytes).unwrap();
        tried += 1;
    }
    assert_eq!(tried, 20);
    assert_eq!(verify(Some(folder.path())), (0, format!("{of} of {of} within tolerance")));

    let empty = tempfile::tempdir().unwrap();
    assert_eq!(verify(Some(empty.path())), (1, "0 of 0 within tolerance".into()));
    assert_eq!(verify(Some(&empty.path().join("none"))).0, 1);
}
