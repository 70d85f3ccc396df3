//! Tells the tests whether the reference data lies beside the workspace, and whether there is a browser.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rustc-check-cfg=cfg(has_shared)");
    println!("cargo::rerun-if-changed=build.rs");
    let goldens = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../../shared/goldens");
    // A path that does not exist would count as changed in every build.
    if goldens.exists() {
        println!("cargo::rerun-if-changed={}", goldens.display());
        println!("cargo::rustc-cfg=has_shared");
    }
    println!("cargo::rustc-check-cfg=cfg(has_chromium)");
    println!("cargo::rerun-if-env-changed=PATH");
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(chromium) = std::env::split_paths(&path).map(|folder| folder.join("chromium")).find(|path| path.is_file()) {
        println!("cargo::rerun-if-changed={}", chromium.display());
        println!("cargo::rustc-cfg=has_chromium");
    }
    Ok(())
}
