//! Tells the tests whether the reference data lies beside the workspace.

fn main() {
    let goldens = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/goldens");
    println!("cargo::rustc-check-cfg=cfg(has_shared)");
    println!("cargo::rerun-if-changed={goldens}");
    if std::path::Path::new(goldens).exists() {
        println!("cargo::rustc-cfg=has_shared");
    }
}
