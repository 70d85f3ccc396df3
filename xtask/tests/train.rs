//! `train`: recipes, plans, rows as the model sees them (`data inspect`), and runs that are killed.
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
        // The paper's table says bf16: two bytes of each weight; of each that trains, master and gradient in f32.
        assert_eq!(plan["dtype"], "bf16", "{name}");
        let (all, trained) = (plan["parameters"].as_f64().unwrap(), plan["trained_parameters"].as_f64().unwrap());
        let bytes = |part: &str| plan["memory"][1]["bytes"][part].as_f64().unwrap();
        assert_eq!((bytes("weights"), bytes("gradients"), bytes("f32 master weights")), (2.0 * all, 4.0 * trained, 4.0 * trained));
        // 8-bit moments and the masters beside them are in main memory, which leaves room for the rest on one GPU.
        let (host, eight_bit) = (plan["memory"][1]["main_memory_bytes"].as_f64().unwrap(), !name.contains("rm-stage"));
        assert_eq!(host, if eight_bit { bytes("moments") + bytes("f32 master weights") } else { 0.0 }, "{name}");
        assert_eq!(plan["memory"][1]["fits"], eight_bit, "{name}");
        assert!((bytes("moments") / trained - if name.contains("rm-stage") { 8.0 } else { 2.0 }).abs() < 0.01, "{name}");
        let header = fs::read_to_string(path).unwrap();
        assert!(header.contains(&format!("cargo xtask train xtask/recipes/{name} --out")), "{name} does not say how to run it");
    }
}

#[test]
fn a_plan_in_f32_has_no_master() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipes()[0].to_str().unwrap().to_string();
    let output = xtask(folder.path(), &["train", &recipe, "--plan", "--json", "--set", "train.dtype=f32"]);
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    let bytes = &plan["memory"][0]["bytes"];
    assert_eq!((&plan["dtype"], bytes["f32 master weights"].as_f64()), (&Value::from("f32"), Some(0.0)));
    assert_eq!(bytes["weights"].as_f64().unwrap(), 4.0 * plan["parameters"].as_f64().unwrap());
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
        ("train.warmup_ratio=3", "share of the steps"),
        ("train.epochs=0", "train.epochs"),
        ("train.steps=10", "unknown field `steps`"),
        ("train.dtype=f16", "dtype"),
        ("train.betas=[9, 999]", "betas"),
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
fn a_recipe_trains_a_reward_model_and_stores_its_scale() {
    let folder = workshop();
    assert!(train(folder.path(), "sft").status().unwrap().success());
    let output = xtask(folder.path(), &["train", "reward.toml", "--out", "reward", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", error(&output));
    let config: Value = serde_json::from_slice(&fs::read(folder.path().join("reward/model/config.json")).unwrap()).unwrap();
    assert!(config["mean"].is_f64() && config["std"].as_f64().unwrap() > 0.0, "{config}");
    assert!(folder.path().join("reward/model/value_head.safetensors").exists());
}

#[test]
fn a_recipes_rows_are_shown_as_its_model_sees_them() {
    let folder = workshop();
    let inspect = |arguments: &[&str]| xtask(folder.path(), &[&["data", "inspect", "--recipe"], arguments].concat());
    let shape = ["--set", "model.shape=tiny"];
    let text = |arguments: &[&str]| String::from_utf8(inspect(&[&["dpo.toml"], arguments, &shape].concat()).stdout).unwrap();
    let plain = text(&["--rows", "1", "--skip", "2"]);
    assert!(plain.starts_with("document 4 (example 2, chosen): ") && plain.contains("document 5 (example 2, rejected): "), "{plain}");
    assert!(plain.lines().any(|line| line.split_whitespace().nth(2) == Some("loss")), "{plain}");
    assert!(!plain.contains('\x1b') && text(&["--rows", "1", "--colour", "always"]).contains("\x1b[32m"));

    let output = inspect(&["sft.toml", "--rows", "2", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let documents = report["documents"].as_array().unwrap();
    assert_eq!(documents.len(), 2);
    // The four rows that are held out are not among them.
    let records: Vec<SftRecord> = janus_data::read_all(folder.path().join("sft.jsonl")).unwrap();
    let tokenizer = Tokenizer::read(folder.path().join("tokenizer.json")).unwrap();
    let row = tokenizer.conversation(ChatTemplate::MistralInstruct, &records[4].messages()).unwrap();
    assert_eq!((&documents[0]["ids"], &documents[0]["trained"]), (&serde_json::json!(row.ids), &serde_json::json!(row.trained)));

    let small = inspect(&["sft.toml", "--set", "data.max_tokens=3"]);
    assert_eq!(small.status.code(), Some(2), "no row is left to train on");
    let both = inspect(&["sft.toml", "sft.jsonl"]);
    assert_eq!(both.status.code(), Some(2), "files or a recipe");
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

#[test]
fn a_recipe_in_bf16_trains_answers_and_is_started_from() {
    let folder = workshop();
    for name in ["sft", "pairs"] {
        let path = folder.path().join(format!("{name}.jsonl"));
        let records: Vec<Value> = janus_data::read_all(&path).unwrap();
        write_all(&path, &records[..8]).unwrap();
    }
    for (name, set) in [("sft", "samples={prompts=[\"what?\"], max_tokens=3}"), ("dpo", "train.eight_bit_block=256")] {
        let status = train(folder.path(), name).args(["--set", "train.dtype=bf16", "--set", set]).status().unwrap();
        assert!(status.success(), "{name}");
        let model = folder.path().join(name).join("model");
        let config: Value = serde_json::from_str(&fs::read_to_string(model.join("config.json")).unwrap()).unwrap();
        assert_eq!(config["torch_dtype"], "bfloat16");
    }
    let samples = fs::read_dir(folder.path().join("sft/samples")).unwrap().next().unwrap().unwrap();
    assert!(fs::read_to_string(samples.path()).unwrap().contains("response"));
}

#[test]
fn a_row_without_a_response_is_named_with_its_file_before_anything_is_written() {
    let folder = workshop();
    let mut records: Vec<Value> = janus_data::read_all(folder.path().join("sft.jsonl")).unwrap();
    records[7].as_object_mut().unwrap().remove("output");
    write_all(folder.path().join("sft.jsonl"), &records).unwrap();
    let output = xtask(folder.path(), &["train", "sft.toml", "--out", "sft"]);
    let told = error(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("sft.jsonl") && told.contains('8') && told.contains("output"), "{told}");
    assert!(!folder.path().join("sft").exists());
}

#[test]
fn weights_and_checkpoints_of_another_shape_are_refused_and_stay_as_they_are() {
    let folder = workshop();
    assert!(train(folder.path(), "sft").status().unwrap().success());
    // A model folder whose weights do not have the shape that its config says.
    let config = folder.path().join("sft/model/config.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("\"intermediate_size\": 256", "\"intermediate_size\": 128")).unwrap();
    let output = xtask(folder.path(), &["train", "dpo.toml", "--out", "dpo"]);
    let told = error(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("mlp.") && told.contains("256") && told.contains("128"), "{told}");
    fs::write(&config, text).unwrap();

    // A run that is continued with a model of another shape.
    let before = files(&folder.path().join("sft/checkpoints"));
    let output = xtask(folder.path(), &["train", "sft.toml", "--out", "sft", "--set", "model.shape=smollm2-135m"]);
    let told = error(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("made with another model"), "{told}");
    assert!(files(&folder.path().join("sft/checkpoints")) == before);
}

/// A file may not grow beyond a limit: to the writer, a disk that is full in the middle of a checkpoint.
#[test]
#[cfg(target_os = "linux")]
fn a_disk_that_is_full_while_saving_leaves_the_last_good_checkpoint_to_continue_from() {
    let (straight, full) = (workshop(), workshop());
    assert!(train(straight.path(), "sft").status().unwrap().success());
    let mut run = train(full.path(), "sft").spawn().unwrap();
    let checkpoints = full.path().join("sft/checkpoints");
    let first = checkpoints.join("step-000001");
    while !first.exists() {
        assert!(run.try_wait().unwrap().is_none(), "the run ended before it was cut off");
        std::thread::sleep(Duration::from_millis(1));
    }
    run.kill().unwrap();
    run.wait().unwrap();
    let complete = || {
        let mut names: Vec<PathBuf> = fs::read_dir(&checkpoints).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.retain(|name| !name.to_string_lossy().contains(".partial"));
        names.sort();
        names.into_iter().map(|name| (files(&name), name)).collect::<Vec<_>>()
    };
    let before = complete();
    assert!(!before.is_empty());

    // 2,000 blocks of 512 bytes: metrics fit, weights do not. Without the trap the signal would end the process.
    let limited = format!("trap '' XFSZ; ulimit -f 2000; exec '{}' train sft.toml --out sft", env!("CARGO_BIN_EXE_xtask"));
    let output = Command::new("sh").args(["-c", &limited]).current_dir(full.path()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    let last = told.lines().last().unwrap();
    assert!(last.contains("step-0000") && last.contains("File too large"), "{told}");
    assert!(complete() == before, "the checkpoints that were there are as they were");

    assert!(train(full.path(), "sft").status().unwrap().success());
    let (a, b) = (files(&straight.path().join("sft/model")), files(&full.path().join("sft/model")));
    assert!(a == b, "and the run continues from them to the same bytes");
}
