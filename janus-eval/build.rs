//! Tells the tests whether the reference data lies beside the workspace.

use std::path::Path;

fn main() {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/goldens");
    println!("cargo::rustc-check-cfg=cfg(has_shared)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", goldens.display());
    if goldens.exists() {
        println!("cargo::rustc-cfg=has_shared");
    }
}
