//! `train`: recipes, plans, rows as the model sees them, and runs that are killed.
#![expect(clippy::unwrap_used, reason = "a test may panic, and so may its helpers")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use janus_core::{ChatTemplate, Message, PairRecord, SftRecord};
use janus_data::mini::Mini;
use janus_data::{Tokenizer, write_all};
use serde_json::Value;

fn xtask(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask")).args(args).current_dir(folder).output().unwrap()
}

fn recipes() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
    let mut all: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_string()
}

#[test]
fn every_recipe_has_a_plan_without_anything_being_there() {
    let folder = tempfile::tempdir().unwrap();
    // Steps of the paper's table, section 8.1 of the notes.
    let expected = [
        ("janus-7b.toml", 3004),
        ("janus-dpo-7b.toml", 8143),
        ("janus-orpo-7b.toml", 8081),
        ("janus-rm-stage1-7b.toml", 500),
        ("janus-rm-stage2-7b.toml", 511),
        ("janus-star-7b.toml", 1002),
        ("rm-base-7b.toml", 751),
    ];
    let all = recipes();
    assert_eq!(all.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect::<Vec<_>>(), expected.map(|(name, _)| name));
    for (path, (name, steps)) in all.iter().zip(expected) {
        let output = xtask(folder.path(), &["train", "--plan", path.to_str().unwrap(), "--json"]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", error(&output));
        let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(plan["steps"].as_u64().unwrap().abs_diff(steps) <= 1, "{name}: {} steps, expected {steps}", plan["steps"]);
        // 7.24 billion parameters, and the value head of a reward model.
        assert!((plan["parameters"].as_f64().unwrap() / 1e9 - 7.24).abs() < 0.01, "{name}");
        assert_eq!(plan["memory"].as_array().unwrap().len(), 4);
        let header = fs::read_to_string(path).unwrap();
        assert!(header.contains(&format!("cargo xtask train xtask/recipes/{name} --out")), "{name} does not say how to run it");
    }
}

#[test]
fn a_recipe_with_a_mistake_is_named_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipes()[0].to_str().unwrap().to_string();
    for (set, part) in [
        ("train.lr=fast", "lr"),
        ("train.learning_rate=1e-5", "learning_rate"),
        ("data.max_tokens=8k", "max_tokens"),
        ("objective.kind=ppo", "ppo"),
        ("objective.beta=0.1", "beta"),
        ("train.accumulation=0", "accumulation"),
        ("lr", "expected KEY=VALUE"),
    ] {
        let output = xtask(folder.path(), &["train", &recipe, "--plan", "--set", set]);
        assert_eq!(output.status.code(), Some(2), "{set}: {}", error(&output));
        assert!(error(&output).contains(part), "{set}: {}", error(&output));
    }
    let output = xtask(folder.path(), &["train", &recipe]);
    assert_eq!(output.status.code(), Some(2), "{}", error(&output));
}

/// A folder with a tokenizer, rows and pairs of Mini, and a recipe for each objective.
fn workshop() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let records: Vec<SftRecord> = Mini::new(1).train(60, None);
    let texts = records.iter().flat_map(|record| [record.system.as_str(), &record.prompt, &record.output]);
    Tokenizer::train(texts, 800, ChatTemplate::MistralInstruct.special_tokens()).unwrap().save(at("tokenizer.json")).unwrap();
    write_all(at("sft.jsonl"), &records).unwrap();
    let side = |record: &SftRecord, answer: &str| vec![Message::user(record.prompt.clone()), Message::assistant(answer)];
    let pairs: Vec<PairRecord> = records
        .windows(2)
        .map(|two| PairRecord {
            main_source: String::new(),
            original_source: String::new(),
            system: two[0].system.clone(),
            prompt: two[0].prompt.clone(),
            chosen: side(&two[0], &two[0].output),
            rejected: side(&two[0], &two[1].output),
        })
        .collect();
    write_all(at("pairs.jsonl"), &pairs).unwrap();
    let recipe = |objective: &str, model: &str, data: &str| {
        format!(
            "template = \"mistral-instruct\"\n[objective]\n{objective}\n[model]\n{model}\ntokenizer = \"tokenizer.json\"\n\
             [data]\npath = \"{data}\"\nmax_tokens = 400\nheld_out = 4\n\
             [train]\nepochs = 1\ntokens_per_micro_batch = 1600\naccumulation = 1\nlr = 1e-3\nschedule = \"cosine\"\nwarmup_steps = 2\n\
             betas = [0.9, 0.95]\neps = 1e-8\nweight_decay = 0.0\nclip_norm = 1.0\nseed = 1\ncheckpoint_every = 1\n"
        )
    };
    fs::write(at("sft.toml"), recipe("kind = \"sft\"", "shape = \"tiny\"", "sft.jsonl")).unwrap();
    fs::write(at("dpo.toml"), recipe("kind = \"dpo\"\nbeta = 0.1", "path = \"sft/model\"", "pairs.jsonl")).unwrap();
    fs::write(at("reward.toml"), recipe("kind = \"reward\"", "path = \"sft/model\"", "pairs.jsonl")).unwrap();
    folder
}

fn train(folder: &Path, name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["train", &format!("{name}.toml"), "--out", name]).current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Every file below a folder, with its bytes.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let names = xtask::fingerprint::files_below(folder).unwrap();
    names.into_iter().map(|name| (PathBuf::from(&name), fs::read(folder.join(name)).unwrap())).collect()
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_with_the_same_bytes() {
    let (straight, killed) = (workshop(), workshop());
    for name in ["sft", "dpo"] {
        assert!(train(straight.path(), name).status().unwrap().success());
    }
    let (mut kills, mut wait) = (0, 30);
    for name in ["sft", "dpo"] {
        while kills < if name == "sft" { 10 } else { 20 } {
            let mut run = train(killed.path(), name).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(wait));
            // Moments that fall anywhere: start, steps, checkpoints.
            wait = 30 + (wait * 31 + 17) % 400;
            run.kill().unwrap();
            run.wait().unwrap();
            kills += 1;
        }
        assert!(train(killed.path(), name).status().unwrap().success());
        let (a, b) = (files(&straight.path().join(name)), files(&killed.path().join(name)));
        let names = |files: &[(PathBuf, Vec<u8>)]| {
            // What a kill leaves half written under another name is no result.
            files.iter().map(|(name, _)| name.clone()).filter(|name| !name.to_string_lossy().contains(".partial")).collect::<Vec<_>>()
        };
        assert_eq!(names(&a), names(&b), "{name}");
        for (file, bytes) in &a {
            let other = &b.iter().find(|(name, _)| name == file).unwrap().1;
            assert!(bytes == other, "{name}: {} differs", file.display());
        }
    }
}

#[test]
fn a_recipe_trains_inspects_and_stores_a_reward_scale() {
    let folder = workshop();
    assert!(train(folder.path(), "sft").status().unwrap().success());
    let output = xtask(folder.path(), &["train", "reward.toml", "--out", "reward", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", error(&output));
    let config: Value = serde_json::from_slice(&fs::read(folder.path().join("reward/model/config.json")).unwrap()).unwrap();
    assert!(config["mean"].is_f64() && config["std"].as_f64().unwrap() > 0.0, "{config}");
    assert!(folder.path().join("reward/model/value_head.safetensors").exists());

    let output = xtask(folder.path(), &["train", "dpo.toml", "--inspect", "1"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("document 0 (example 0, chosen): ") && text.contains("document 1 (example 0, rejected): "), "{text}");
    assert!(text.lines().any(|line| line.split_whitespace().nth(2) == Some("loss")), "{text}");

    let small = ["train", "sft.toml", "--inspect", "1", "--set", "data.max_tokens=3"];
    assert_eq!(xtask(folder.path(), &small).status.code(), Some(2), "no row is left to train on");
}

#[test]
fn a_tokenizer_that_does_not_fit_the_embedding_is_refused() {
    let folder = workshop();
    assert!(train(folder.path(), "sft").status().unwrap().success());
    let config = folder.path().join("sft/model/config.json");
    fs::write(&config, fs::read_to_string(&config).unwrap().replace("\"vocab_size\": 2048", "\"vocab_size\": 300")).unwrap();
    let output = xtask(folder.path(), &["train", "dpo.toml", "--out", "dpo"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(error(&output).contains("embedding has 300 rows"), "{}", error(&output));
}
