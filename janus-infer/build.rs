//! Tells the tests whether SmolLM2's file is there.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(has_smollm2)");
    let smollm2 = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../models/smollm2-135m-instruct-q4_1.gguf");
    // A path that does not exist would count as changed in every build.
    if smollm2.exists() {
        println!("cargo::rerun-if-changed={}", smollm2.display());
        println!("cargo::rustc-cfg=has_smollm2");
    }
    Ok(())
}
