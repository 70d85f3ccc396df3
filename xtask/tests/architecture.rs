//! Dependencies point one way, and what should be light stays light.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
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

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Names of the packages that a crate's library needs, whatever way they come in.
fn closure(metadata: &Value, name: &str) -> BTreeSet<String> {
    let packages: BTreeMap<&str, &str> =
        metadata["packages"].as_array().unwrap().iter().map(|p| (text(&p["id"]), text(&p["name"]))).collect();
    let nodes: BTreeMap<&str, &Value> = metadata["resolve"]["nodes"].as_array().unwrap().iter().map(|n| (text(&n["id"]), n)).collect();
    let mut open: Vec<&str> = nodes.keys().copied().filter(|id| packages[id] == name).collect();
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        for dep in nodes[id]["deps"].as_array().unwrap() {
            let needed = dep["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"] != "dev");
            if needed && seen.insert(text(&dep["pkg"])) {
                open.push(text(&dep["pkg"]));
            }
        }
    }
    seen.into_iter().map(|id| packages[id].to_string()).collect()
}

#[test]
fn our_crates_depend_one_way() {
    let metadata = metadata();
    for (name, allowed) in ALLOWED {
        let ours: BTreeSet<String> = closure(&metadata, name).into_iter().filter(|n| n.starts_with("janus-") || n == "xtask").collect();
        let allowed: BTreeSet<String> = allowed.iter().map(|n| n.to_string()).collect();
        assert!(ours.is_subset(&allowed), "{name} depends on {ours:?}, allowed are {allowed:?}");
    }
    let members: BTreeSet<&str> = metadata["workspace_members"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|id| metadata["packages"].as_array().unwrap().iter().find(|p| p["id"] == *id))
        .map(|p| text(&p["name"]))
        .collect();
    assert_eq!(members, ALLOWED.iter().map(|(name, _)| *name).collect());
}

#[test]
fn core_data_and_eval_build_without_candle() {
    let metadata = metadata();
    for name in ["janus-core", "janus-data", "janus-eval"] {
        let all = closure(&metadata, name);
        assert!(!all.iter().any(|package| package.starts_with("candle")), "{name} pulls candle");
    }
    assert!(closure(&metadata, "janus-infer").contains("candle-core"), "the closure is read wrongly");
}

/// Nothing that opens a connection or starts a runtime comes along unasked.
#[test]
fn no_crate_reaches_the_network_by_default() {
    let metadata = metadata();
    for (name, _) in ALLOWED {
        for banned in ["tokio", "hyper", "reqwest", "ureq", "hf-hub", "openssl-sys", "rustls", "native-tls"] {
            assert!(!closure(&metadata, name).contains(banned), "{name} pulls {banned}");
        }
    }
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
