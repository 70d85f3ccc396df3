//! Tells the tests whether the reference data lies beside the workspace, and SmolLM2 in it.

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
    println!("cargo::rustc-check-cfg=cfg(has_smollm2)");
    let smollm2 = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../models/smollm2-135m-instruct-q4_1.gguf");
    if smollm2.exists() {
        println!("cargo::rerun-if-changed={}", smollm2.display());
        println!("cargo::rustc-cfg=has_smollm2");
    }
    Ok(())
}
