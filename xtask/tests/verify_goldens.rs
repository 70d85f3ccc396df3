//! `verify-goldens` on the reference numbers, on a forged one, and on what is not there.
#![expect(clippy::unwrap_used, reason = "a test may panic, and so may its helpers")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn shared() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/goldens")
}

/// Exit code and last line of stdout.
fn verify(folder: &Path) -> (i32, String) {
    let tokenizer = shared().join("mistral_v0.2_tokenizer.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_janus"));
    let output = command.arg("verify-goldens").arg(folder).arg("--tokenizer").arg(tokenizer).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), text.lines().last().unwrap_or_default().to_string())
}

/// A copy of one model's folder and of the sampling cases.
fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("model")).unwrap();
    for entry in fs::read_dir(shared().join("mistral_tiny")).unwrap() {
        let path = entry.unwrap().path();
        fs::write(folder.path().join("model").join(path.file_name().unwrap()), fs::read(&path).unwrap()).unwrap();
    }
    for name in ["sampling.json", "sampling.safetensors"] {
        fs::write(folder.path().join(name), fs::read(shared().join(name)).unwrap()).unwrap();
    }
    folder
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs ../shared")]
fn everything_is_within_tolerance() {
    let (code, last) = verify(&shared());
    assert_eq!((code, last.as_str()), (0, "180 of 180 within tolerance"));
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs ../shared")]
fn a_forged_number_a_missing_file_and_nothing_at_all_fail() {
    let folder = copy();
    let (code, good) = verify(folder.path());
    assert!(code == 0 && good.ends_with("within tolerance"), "{good}");
    let of: usize = good.split(' ').nth(2).unwrap().parse().unwrap();

    let cases = folder.path().join("model/cases.json");
    let text = fs::read_to_string(&cases).unwrap();
    fs::write(&cases, text.replace("\"beta\": 0.1", "\"beta\": 0.2")).unwrap();
    let (code, last) = verify(folder.path());
    assert_eq!(code, 1);
    assert!(last.ends_with(&format!("of {of} within tolerance")) && !last.starts_with(&of.to_string()), "{last}");
    fs::write(&cases, text).unwrap();

    for name in ["model/cases.safetensors", "model/ref_model.safetensors", "model/config.v5.json", "sampling.safetensors"] {
        let folder = copy();
        fs::remove_file(folder.path().join(name)).unwrap();
        assert_eq!(verify(folder.path()).0, 1, "without {name}");
    }
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(verify(empty.path()), (1, "0 of 0 within tolerance".into()));
    assert_eq!(verify(&empty.path().join("none")).0, 1);
}
