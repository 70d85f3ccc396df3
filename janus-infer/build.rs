//! Tells the tests which reference data this checkout can see.

use std::path::PathBuf;

fn main() {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let locate = |variable: &str, default: &str, cfg: &str| {
        println!("cargo::rustc-check-cfg=cfg({cfg})");
        println!("cargo::rerun-if-env-changed={variable}");
        let path = std::env::var_os(variable).map_or_else(|| workspace.join(default), PathBuf::from);
        println!("cargo::rerun-if-changed={}", path.display());
        println!("cargo::rustc-env={variable}={}", path.display());
        if path.exists() {
            println!("cargo::rustc-cfg={cfg}");
        }
    };
    locate("JANUS_SHARED", "../shared", "has_shared");
    locate("JANUS_SMOLLM2", "models/smollm2-135m-instruct-q4_1.gguf", "has_smollm2");
}
