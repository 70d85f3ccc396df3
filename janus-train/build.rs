//! Tells the tests whether the reference data lies beside the workspace.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(has_shared)");
    println!("cargo::rerun-if-changed=../../shared/goldens");
    if std::path::Path::new("../../shared/goldens").exists() {
        println!("cargo::rustc-cfg=has_shared");
    }
}
