//! The crates' dependencies point one way, and crates that should be light stay light.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The workspace's crates that each crate may depend on.
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
    let output = Command::new(env!("CARGO"))
        .args(args)
        .args(["--locked", "--offline", "--manifest-path", manifest])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Names of all packages that a crate's library needs on this platform, directly or not, with the
/// crate's default features. Features that other crates of the workspace enable are not counted.
fn closure(name: &str) -> BTreeSet<String> {
    closure_with(name, &[])
}

/// [`closure`] with other features, given as cargo's flags.
fn closure_with(name: &str, features: &[&str]) -> BTreeSet<String> {
    let tree = cargo(
        &[
            &["tree", "--package", name, "--edges", "normal,build", "--prefix", "none", "--format", "{p}"],
            features,
        ]
        .concat(),
    );
    tree.lines()
        .skip(1)
        .filter_map(|line| line.split(' ').next())
        .filter(|found| *found != name)
        .map(String::from)
        .collect()
}

#[test]
fn the_crates_depend_one_way() {
    for (name, allowed) in ALLOWED {
        let found: BTreeSet<String> =
            closure(name).into_iter().filter(|n| n.starts_with("janus-") || n == "xtask").collect();
        let allowed: BTreeSet<String> = allowed.iter().map(|n| n.to_string()).collect();
        assert!(found.is_subset(&allowed), "{name} depends on {found:?}, allowed are {allowed:?}");
    }
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"])).unwrap();
    let members: BTreeSet<&str> =
        metadata["packages"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
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
            assert!(
                !all.iter().any(|package| package.starts_with(banned)),
                "{name} with `remote` alone pulls {banned}"
            );
        }
        assert!(all.contains("ureq"), "the closure is read wrongly");
    }
}

/// Crates that open connections or start a runtime are not in the libraries' default builds. xtask
/// enables them.
#[test]
fn no_crate_reaches_the_network_by_default() {
    for (name, _) in ALLOWED.into_iter().filter(|(name, _)| *name != "xtask") {
        let all = closure(name);
        for banned in ["tokio", "hyper", "reqwest", "ureq", "hf-hub", "openssl-sys", "rustls", "native-tls"] {
            assert!(!all.contains(banned), "{name} pulls {banned}");
        }
    }
    let runner = closure("xtask");
    assert!(
        ["ureq", "hyper", "tokio"].iter().all(|name| runner.contains(*name)),
        "the closure is read wrongly"
    );
}

/// `cargo xtask` and `cargo test --workspace` build each dependency with the same features, so that
/// candle is compiled once.
#[test]
fn xtask_and_the_tests_share_one_build() {
    let tree = |arguments: &[&str]| -> BTreeSet<String> {
        let output = Command::new(env!("CARGO"))
            .args([
                "tree",
                "--locked",
                "--offline",
                "--prefix",
                "none",
                "--no-dedupe",
                "--format",
                "{p} [{f}]",
                "--manifest-path",
            ])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let is_member = |line: &&str| line.starts_with("janus-") || line.starts_with("xtask ");
        String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .filter(|line| !line.is_empty() && !is_member(line))
            .map(String::from)
            .collect()
    };
    let runner = tree(&["--package", "xtask", "--edges", "normal,build"]);
    let tests = tree(&["--workspace", "--edges", "normal,build,dev"]);
    assert!(runner.len() > 50, "{runner:?}");
    let twice: Vec<_> = runner.difference(&tests).collect();
    assert!(twice.is_empty(), "built with other features by `cargo xtask`: {twice:?}");
}

/// Third-party packages with the features that they are built with for the tests of `packages`.
fn test_build(packages: &[&str]) -> BTreeSet<String> {
    let tree = cargo(
        &[&["tree", "--edges", "normal,build,dev", "--prefix", "none", "--format", "{p} [{f}]"], packages]
            .concat(),
    );
    tree.lines()
        .map(|line| line.replace(" (*)", "").replace(" (proc-macro)", ""))
        .filter(|line| line.contains('['))
        .collect()
}

/// `cargo test -p CRATE` after `cargo test --workspace` builds no dependency again. janus-core is left
/// out: its few dependencies are small, and the other crates' features would add dependencies that it
/// does not have.
#[test]
fn tests_of_one_crate_are_built_with_the_features_of_the_workspace() {
    let workspace = test_build(&["--workspace"]);
    for name in ["janus-data", "janus-infer", "janus-train", "janus-eval", "xtask"] {
        let other: Vec<_> = test_build(&["--package", name]).difference(&workspace).cloned().collect();
        assert!(
            other.is_empty(),
            "`cargo test -p {name}` builds these with other features; name the features in its dev-dependencies: {other:#?}"
        );
    }
}

/// Cargo does not find test files itself (`autotests = false`): a file without a `mod` is not run.
#[test]
fn every_test_file_is_part_of_a_test_program() {
    for (name, _) in ALLOWED {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(name);
        let Ok(main) = std::fs::read_to_string(folder.join("tests/main.rs")) else { continue };
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        for file in std::fs::read_dir(folder.join("tests")).unwrap() {
            let file = file.unwrap().path();
            let stem = file.file_stem().unwrap().to_str().unwrap();
            if file.extension().is_some_and(|end| end == "rs") && stem != "main" {
                let named = main.contains(&format!("mod {stem};"))
                    || manifest.contains(&format!("[[test]]\nname = \"{stem}\""));
                assert!(
                    named,
                    "{} is in no test program: add `mod {stem};` to {name}/tests/main.rs",
                    file.display()
                );
            }
        }
    }
}

/// The packages of `Cargo.lock`, whatever the platform.
fn packages() -> Vec<Value> {
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--all-features"])).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// The metadata of each published library is complete.
#[test]
fn every_library_has_complete_metadata() {
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"])).unwrap();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let text = |field: &str| package[field].as_str().unwrap_or_default();
        for field in ["description", "license", "repository", "rust_version"] {
            assert!(!text(field).is_empty(), "{name} has no {field}");
        }
        if name == "xtask" {
            assert_eq!(package["publish"], Value::Array(vec![]), "xtask is not published");
            continue;
        }
        assert_eq!(text("readme"), "README.md", "{name}");
        let count = |field: &str| package[field].as_array().map_or(0, Vec::len);
        assert!(
            (1..=5).contains(&count("keywords")) && (1..=5).contains(&count("categories")),
            "{name}: keywords or categories"
        );
        assert!(
            text("description").len() <= 200 && !text("description").ends_with('.'),
            "{name}: {}",
            text("description")
        );

        // docs.rs shows every feature except those that need a GPU toolkit.
        let features: BTreeSet<&str> =
            package["features"].as_object().unwrap().keys().map(String::as_str).collect();
        let documented = &package["metadata"]["docs"]["rs"];
        let named: BTreeSet<&str> = documented["features"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|name| name.as_str().unwrap())
            .collect();
        let shown = |feature: &&str| {
            documented["all-features"] == true || named.contains(feature) || has(package, feature)
        };
        let hidden: Vec<_> = features
            .iter()
            .filter(|feature| !["cuda", "metal"].contains(*feature) && !shown(feature))
            .collect();
        assert!(hidden.is_empty(), "{name}: docs.rs would not show {hidden:?}");
        assert!(documented.is_object(), "{name} has no [package.metadata.docs.rs]");
    }
}

/// Whether a package has a feature by default.
fn has(package: &Value, feature: &str) -> bool {
    feature == "default"
        || package["features"]["default"].as_array().is_some_and(|all| all.iter().any(|name| name == feature))
}

/// `deny.toml` lists exactly the licences that the dependencies need.
#[test]
fn dependencies_have_the_listed_licences() {
    let deny: toml::Table = toml::from_str(include_str!("../../deny.toml")).unwrap();
    let allowed: BTreeSet<&str> =
        deny["licenses"]["allow"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let mut needed = BTreeSet::new();
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        let expression = package["license"].as_str().unwrap_or_else(|| panic!("{name} states no licence"));
        let choices = choices(expression);
        let chosen = choices.iter().find(|all| all.iter().all(|licence| allowed.contains(licence.as_str())));
        assert!(
            chosen.is_some(),
            "{name} is under {expression}, which deny.toml does not allow: leave it out, or list its licence"
        );
        needed.extend(choices.into_iter().flatten());
    }
    let unused: Vec<_> = allowed.iter().filter(|licence| !needed.contains(**licence)).collect();
    assert!(unused.is_empty(), "no package is under {unused:?}");
}

/// The sets of licences that an SPDX expression allows; `/` is the old notation for OR.
fn choices(expression: &str) -> Vec<Vec<String>> {
    let text = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = text.split_whitespace().peekable();
    let choices = either(&mut words);
    assert_eq!(words.next(), None, "{expression}");
    choices
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn either(words: &mut Words<'_>) -> Vec<Vec<String>> {
    let mut all = both(words);
    while words.next_if_eq(&"OR").is_some() {
        all.extend(both(words));
    }
    all
}

fn both(words: &mut Words<'_>) -> Vec<Vec<String>> {
    let mut all = one(words);
    while words.next_if_eq(&"AND").is_some() {
        let more = one(words);
        all =
            all.iter().flat_map(|left| more.iter().map(|right| [left.as_slice(), right].concat())).collect();
    }
    all
}

fn one(words: &mut Words<'_>) -> Vec<Vec<String>> {
    if words.next_if_eq(&"(").is_some() {
        let inner = either(words);
        assert_eq!(words.next(), Some(")"));
        return inner;
    }
    let licence = words.next().unwrap().to_string();
    match words.next_if_eq(&"WITH") {
        Some(_) => vec![vec![format!("{licence} WITH {}", words.next().unwrap())]],
        None => vec![vec![licence]],
    }
}

#[test]
fn licence_expressions_are_parsed_as_in_spdx() {
    let shown = |expression: &str| {
        choices(expression).iter().map(|all| all.join("+")).collect::<Vec<_>>().join(" | ")
    };
    assert_eq!(shown("MIT/Apache-2.0"), "MIT | Apache-2.0");
    assert_eq!(shown("(MIT OR Apache-2.0) AND Unicode-3.0"), "MIT+Unicode-3.0 | Apache-2.0+Unicode-3.0");
    assert_eq!(shown("Apache-2.0 WITH LLVM-exception OR MIT"), "Apache-2.0 WITH LLVM-exception | MIT");
}
