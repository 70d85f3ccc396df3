//! Sets a cfg for the tests if SmolLM2's file exists, and one if there is a browser.

use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(has_smollm2, has_chromium)");
    println!("cargo::rerun-if-env-changed=JANUS_SMOLLM2");
    println!("cargo::rerun-if-env-changed=PATH");
    let fetched = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../models/smollm2-135m-instruct-q4_1.gguf");
    set_if_file("has_smollm2", std::env::var_os("JANUS_SMOLLM2").map_or(fetched, PathBuf::from));
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(chromium) = std::env::split_paths(&path).map(|folder| folder.join("chromium")).find(|path| path.is_file()) {
        set_if_file("has_chromium", chromium);
    }
    Ok(())
}

/// Sets a cfg if the file exists. Only then is the path watched: cargo counts a missing path as changed
/// in every build.
fn set_if_file(cfg: &str, path: PathBuf) {
    if path.is_file() {
        println!("cargo::rerun-if-changed={}", path.display());
        println!("cargo::rustc-cfg={cfg}");
    }
}
