//! Dependencies point one way, and what should be light stays light.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// Which of our crates each crate may depend on.
const ALLOWED: [(&str, &[&str]); 6] = [
    ("janus-core", &[]),
    ("janus-data", &["janus-core"]),
    ("janus-infer", &["janus-core", "janus-data"]),
    ("janus-train", &["janus-core", "janus-data", "janus-infer"]),
    ("janus-eval", &["janus-core", "janus-data"]),
    ("xtask", &["janus-core", "janus-data", "janus-infer", "janus-train", "janus-eval"]),
];

fn cargo(args: &[&str]) -> String {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let output = Command::new(env!("CARGO")).args(args).args(["--locked", "--offline", "--manifest-path", manifest]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Names of the packages that a crate's library needs on this platform, whatever way they come in, with the features that
/// the crate has by default: what another crate's wishes add is not counted.
fn closure(name: &str) -> BTreeSet<String> {
    closure_with(name, &[])
}

/// [`closure`] with other features, given as cargo's flags.
fn closure_with(name: &str, features: &[&str]) -> BTreeSet<String> {
    let tree = cargo(&[&["tree", "--package", name, "--edges", "normal,build", "--prefix", "none", "--format", "{p}"], features].concat());
    tree.lines().skip(1).filter_map(|line| line.split(' ').next()).filter(|found| *found != name).map(String::from).collect()
}

#[test]
fn our_crates_depend_one_way() {
    for (name, allowed) in ALLOWED {
        let ours: BTreeSet<String> = closure(name).into_iter().filter(|n| n.starts_with("janus-") || n == "xtask").collect();
        let allowed: BTreeSet<String> = allowed.iter().map(|n| n.to_string()).collect();
        assert!(ours.is_subset(&allowed), "{name} depends on {ours:?}, allowed are {allowed:?}");
    }
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"])).unwrap();
    let members: BTreeSet<&str> = metadata["packages"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(members, ALLOWED.iter().map(|(name, _)| *name).collect());
}

#[test]
fn core_data_and_eval_build_without_candle() {
    for name in ["janus-core", "janus-data", "janus-eval"] {
        let all = closure(name);
        assert!(!all.iter().any(|package| package.starts_with("candle")), "{name} pulls candle");
    }
    assert!(closure("janus-infer").contains("candle-core"), "the closure is read wrongly");
}

#[test]
fn a_remote_judge_builds_without_candle_and_data_formats() {
    for name in ["janus-infer", "janus-eval"] {
        let all = closure_with(name, &["--no-default-features", "--features", "remote"]);
        for banned in ["candle", "pulp", "gemm", "memmap2", "arrow", "parquet", "tokenizers", "zstd"] {
            assert!(!all.iter().any(|package| package.starts_with(banned)), "{name} with `remote` alone pulls {banned}");
        }
        assert!(all.contains("ureq"), "the closure is read wrongly");
    }
}

/// Nothing that opens a connection or starts a runtime comes along unasked. The runner asks for it.
#[test]
fn no_crate_reaches_the_network_by_default() {
    for (name, _) in ALLOWED.into_iter().filter(|(name, _)| *name != "xtask") {
        let all = closure(name);
        for banned in ["tokio", "hyper", "reqwest", "ureq", "hf-hub", "openssl-sys", "rustls", "native-tls"] {
            assert!(!all.contains(banned), "{name} pulls {banned}");
        }
    }
    let asked_for = closure("xtask");
    assert!(["ureq", "hyper", "tokio"].iter().all(|name| asked_for.contains(*name)), "the closure is read wrongly");
}

/// `cargo xtask` and `cargo test --workspace` build each dependency with the same features: nobody
/// compiles candle twice.
#[test]
fn the_runner_and_the_tests_share_one_build() {
    let tree = |arguments: &[&str]| -> BTreeSet<String> {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--locked", "--offline", "--prefix", "none", "--no-dedupe", "--format", "{p} [{f}]", "--manifest-path"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let ours = |line: &&str| line.starts_with("janus-") || line.starts_with("xtask ");
        String::from_utf8(output.stdout).unwrap().lines().filter(|line| !line.is_empty() && !ours(line)).map(String::from).collect()
    };
    let runner = tree(&["--package", "xtask", "--edges", "normal,build"]);
    let tests = tree(&["--workspace", "--edges", "normal,build,dev"]);
    assert!(runner.len() > 50, "{runner:?}");
    let twice: Vec<_> = runner.difference(&tests).collect();
    assert!(twice.is_empty(), "built with other features by `cargo xtask`: {twice:?}");
}
