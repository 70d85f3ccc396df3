//! `train`: recipes, plans, `data inspect --recipe`, and runs that are killed and resumed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use janus_core::{ChatTemplate, Message, PairRecord, SftRecord};
use janus_data::mini::Mini;
use janus_data::{Tokenizer, write_all};
use serde_json::Value;

fn xtask(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_janus")).args(args).current_dir(folder).output().unwrap()
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
fn every_recipe_has_a_plan_without_model_and_data() {
    let folder = tempfile::tempdir().unwrap();
    // The steps of the paper's runs.
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
    assert_eq!(
        all.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect::<Vec<_>>(),
        expected.map(|(name, _)| name)
    );
    for (path, (name, steps)) in all.iter().zip(expected) {
        let output = xtask(folder.path(), &["train", "--plan", path.to_str().unwrap(), "--json"]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", error(&output));
        let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(
            plan["steps"].as_u64().unwrap().abs_diff(steps) <= 1,
            "{name}: {} steps, expected {steps}",
            plan["steps"]
        );
        // 7.24 billion parameters, and the value head of a reward model.
        assert!((plan["parameters"].as_f64().unwrap() / 1e9 - 7.24).abs() < 0.01, "{name}");
        assert_eq!(plan["memory"].as_array().unwrap().len(), 4);
        // The paper trains in bf16: 2 bytes per weight; for each trained one, f32 master and gradient.
        assert_eq!(plan["dtype"], "bf16", "{name}");
        let (all, trained) =
            (plan["parameters"].as_f64().unwrap(), plan["trained_parameters"].as_f64().unwrap());
        let bytes = |part: &str| plan["memory"][1]["bytes"][part].as_f64().unwrap();
        assert_eq!(
            (bytes("weights"), bytes("gradients"), bytes("f32 master weights")),
            (2.0 * all, 4.0 * trained, 4.0 * trained)
        );
        // 8-bit moments and the master weights are in main memory, so that the rest fits one GPU.
        let (host, eight_bit) =
            (plan["memory"][1]["main_memory_bytes"].as_f64().unwrap(), !name.contains("rm-stage"));
        assert_eq!(
            host,
            if eight_bit { bytes("moments") + bytes("f32 master weights") } else { 0.0 },
            "{name}"
        );
        // And whether it fits this machine, where the system gives its memory.
        if let Some(room) = plan["memory"][0]["room_bytes"].as_f64() {
            let needed = plan["memory"][0]["total_bytes"].as_f64().unwrap();
            assert_eq!(plan["memory"][0]["fits"], needed <= room, "{name}");
        }
        assert_eq!(plan["memory"][1]["fits"], eight_bit, "{name}");
        assert!(
            (bytes("moments") / trained - if name.contains("rm-stage") { 8.0 } else { 2.0 }).abs() < 0.01,
            "{name}"
        );
        let header = fs::read_to_string(path).unwrap();
        assert!(
            header.contains(&format!("cargo xtask train xtask/recipes/{name} --out")),
            "{name} does not say how to run it"
        );
    }
}

#[test]
fn a_plan_in_f32_has_no_master_weights() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipes()[0].to_str().unwrap().to_string();
    let output = xtask(folder.path(), &["train", &recipe, "--plan", "--json", "--set", "train.dtype=f32"]);
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    let bytes = &plan["memory"][0]["bytes"];
    assert_eq!((&plan["dtype"], bytes["f32 master weights"].as_f64()), (&Value::from("f32"), Some(0.0)));
    assert_eq!(bytes["weights"].as_f64().unwrap(), 4.0 * plan["parameters"].as_f64().unwrap());
}

#[test]
fn a_mistake_in_a_recipe_is_reported_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipes()[0].to_str().unwrap().to_string();
    for (set, part) in [
        ("train.lr=fast", "lr"),
        ("train.learning_rate=1e-5", "learning_rate"),
        ("data.max_tokens=8k", "max_tokens"),
        ("objective.kind=ppo", "ppo"),
        ("objective.beta=0.1", "beta"),
        ("train.gradient_accumulation_steps=0", "gradient_accumulation_steps"),
        ("train.warmup_ratio=3", "fraction of the steps"),
        ("train.epochs=0", "train.epochs"),
        ("train.steps=10", "`steps` and `epochs` are both set"),
        ("train.dtype=f16", "dtype"),
        ("train.betas=[9, 999]", "betas"),
        ("lr", "expected KEY=VALUE"),
        ("train.evaluate_every=50", "set data.held_out"),
        ("train.early_stop={metric=\"loss\", patience=2}", "set data.held_out and train.evaluate_every"),
        ("lora={rank=0, alpha=16}", "lora.rank is 0"),
        ("lora={rank=8, alpha=16, dropout=1}", "lora.dropout is 1"),
        ("samples={prompts=[], max_tokens=3}", "samples has no prompts"),
    ] {
        let output = xtask(folder.path(), &["train", &recipe, "--plan", "--set", set]);
        assert_eq!(output.status.code(), Some(2), "{set}: {}", error(&output));
        assert!(error(&output).contains(part), "{set}: {}", error(&output));
    }
    let own = folder.path().join("own.toml");
    fs::write(&own, fs::read_to_string(&recipe).unwrap().replace("\nlr = ", "\nlearning_rate = ")).unwrap();
    let output = xtask(folder.path(), &["train", "own.toml", "--plan"]);
    assert!(
        error(&output).contains("own.toml, line ") && error(&output).contains("\"learning_rate = "),
        "{}",
        error(&output)
    );
    assert!(
        error(&output).contains("\": unknown field `learning_rate`, expected one of"),
        "{}",
        error(&output)
    );
    let output = xtask(folder.path(), &["train", &recipe]);
    assert_eq!(output.status.code(), Some(2), "{}", error(&output));
    let early = ["--set", "data.held_out=10", "--set", "train.early_stop={metric=\"loss\", patience=2}"];
    let output = xtask(folder.path(), &[&["train", &recipe, "--plan"], &early[..]].concat());
    assert!(
        output.status.code() == Some(2) && error(&output).contains("set train.evaluate_every"),
        "{}",
        error(&output)
    );
    let output = xtask(
        folder.path(),
        &[&["train", &recipe, "--plan", "--set", "train.evaluate_every=5"], &early[..]].concat(),
    );
    assert_eq!(output.status.code(), Some(0), "{}", error(&output));
}

#[test]
fn every_recipe_has_the_numbers_of_the_papers_table() {
    // Epochs, sequence length, learning rate, betas, and examples of a step (`None`: a number of
    // tokens). Then the intervals of evaluations and checkpoints in micro-steps of four GPUs; 4
    // micro-steps are one step.
    let sft = |epochs| (epochs, 8192, 5e-6, [0.9, 0.999], None);
    let reward = (1, 2048, 9e-6, [0.9, 0.95], Some(128));
    let table = [
        ("janus-7b", sft(4), None),
        ("rm-base-7b", sft(1), None),
        ("janus-star-7b", sft(4), None),
        ("janus-dpo-7b", (2, 2048, 5e-7, [0.9, 0.999], Some(16)), None),
        ("janus-orpo-7b", (2, 4096, 5e-6, [0.9, 0.999], Some(16)), None),
        ("janus-rm-stage1-7b", reward, Some((50.0, 100.0))),
        ("janus-rm-stage2-7b", reward, Some((50.0, 500.0))),
    ];
    assert_eq!(table.len(), recipes().len());
    for (name, (epochs, length, lr, betas, examples), micro_steps) in table {
        let text =
            fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("recipes/{name}.toml")))
                .unwrap();
        let recipe: toml::Table = toml::from_str(&text).unwrap();
        let (train, data) = (&recipe["train"], &recipe["data"]);
        let number = |key: &str| {
            train.get(key).map(|value| value.as_float().or(value.as_integer().map(|n| n as f64)).unwrap())
        };
        assert_eq!(
            (number("epochs"), number("lr"), data["max_tokens"].as_integer()),
            (Some(f64::from(epochs)), Some(lr), Some(length))
        );
        let found: Vec<f64> =
            train["betas"].as_array().unwrap().iter().map(|beta| beta.as_float().unwrap()).collect();
        assert_eq!(
            (found, number("eps"), number("weight_decay")),
            (betas.to_vec(), Some(1e-8), Some(0.0)),
            "{name}"
        );
        assert_eq!(
            (number("clip_norm"), number("seed"), number("gradient_accumulation_steps")),
            (Some(1.0), Some(42.0), Some(16.0)),
            "{name}"
        );
        match examples {
            Some(examples) => {
                assert_eq!(number("examples_per_micro_batch").unwrap() * 16.0, f64::from(examples), "{name}")
            }
            None => assert_eq!(number("tokens_per_micro_batch").unwrap() * 16.0, 262_144.0, "{name}"),
        }
        let Some((evaluations, checkpoints)) = micro_steps else {
            assert_eq!(number("evaluate_every"), None, "{name}");
            continue;
        };
        assert!((number("evaluate_every").unwrap() * 4.0 - evaluations).abs() <= 2.0, "{name}");
        assert_eq!(
            (number("checkpoint_every").unwrap() * 4.0, number("keep_last")),
            (checkpoints, Some(2.0)),
            "{name}"
        );
    }
}

#[test]
fn a_plan_with_lora_counts_a_reward_models_head() {
    let folder = tempfile::tempdir().unwrap();
    let trained = |name: &str| {
        let recipe = recipes().into_iter().find(|path| path.ends_with(name)).unwrap();
        let output = xtask(
            folder.path(),
            &["train", recipe.to_str().unwrap(), "--plan", "--json", "--set", "lora={rank=8, alpha=16}"],
        );
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["trained_parameters"].as_f64().unwrap()
    };
    // Rank 8 adapters on each layer's projections: 8 · (in + out) parameters each.
    let (hidden, kv, ffn) = (4096.0, 1024.0, 14_336.0);
    let adapters = 32.0 * 8.0 * (2.0 * (hidden + hidden) + 2.0 * (hidden + kv) + 3.0 * (hidden + ffn));
    assert_eq!((trained("janus-7b.toml"), trained("janus-rm-stage2-7b.toml")), (adapters, adapters + hidden));
}

/// A folder with a tokenizer, rows and pairs of Mini, and a recipe for each objective.
fn workshop() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let records: Vec<SftRecord> = Mini::new(1).train(60, None);
    let texts = records.iter().flat_map(|record| [record.system.as_str(), &record.prompt, &record.output]);
    Tokenizer::train(texts, 800, ChatTemplate::MistralInstruct.special_tokens())
        .unwrap()
        .save(at("tokenizer.json"))
        .unwrap();
    write_all(at("sft.jsonl"), &records).unwrap();
    let side = |record: &SftRecord, answer: &str| {
        vec![Message::user(record.prompt.clone()), Message::assistant(answer)]
    };
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
             [train]\nepochs = 1\ntokens_per_micro_batch = 1600\nlr = 1e-3\nschedule = \"cosine\"\nwarmup_steps = 2\n\
             betas = [0.9, 0.95]\neps = 1e-8\nweight_decay = 0.0\nclip_norm = 1.0\nseed = 1\ncheckpoint_every = 1\n"
        )
    };
    fs::write(at("sft.toml"), recipe("kind = \"sft\"", "shape = \"tiny\"", "sft.jsonl")).unwrap();
    fs::write(at("dpo.toml"), recipe("kind = \"dpo\"\nbeta = 0.1", "path = \"sft/model\"", "pairs.jsonl"))
        .unwrap();
    fs::write(at("reward.toml"), recipe("kind = \"reward\"", "path = \"sft/model\"", "pairs.jsonl")).unwrap();
    folder
}

fn train(folder: &Path, name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_janus"));
    command
        .args(["train", &format!("{name}.toml"), "--out", name])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Every file below a folder, with its bytes.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let names = janus_data::fs::fingerprint::files_below(folder).unwrap();
    names.into_iter().map(|name| (PathBuf::from(&name), fs::read(folder.join(name)).unwrap())).collect()
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_with_the_same_bytes() {
    let (straight, killed) = (workshop(), workshop());
    for name in ["sft", "dpo"] {
        let begun = Instant::now();
        assert!(train(straight.path(), name).status().unwrap().success());
        let took = begun.elapsed();
        let out = killed.path().join(name);
        let (mut kills, mut after_a_checkpoint) = (0, 0);
        for start in 1.. {
            assert!(
                start < 100,
                "{name}: only {kills} of {start} kills hit a running process, {after_a_checkpoint} after a checkpoint"
            );
            let mut run = train(killed.path(), name).spawn().unwrap();
            // Moments anywhere in the run: at the start, in steps, checkpoints, the last model.
            std::thread::sleep(took.mul_f64(f64::from(5 + start * 31 % 90) / 100.0));
            run.kill().unwrap();
            if run.wait().unwrap().success() {
                // The run ended before the kill, so the next one starts over.
                fs::remove_dir_all(&out).unwrap();
                continue;
            }
            kills += 1;
            after_a_checkpoint += u32::from(out.join("checkpoints").exists());
            if kills >= 10 && after_a_checkpoint >= 4 {
                break;
            }
        }
        assert!(train(killed.path(), name).status().unwrap().success());
        let (a, b) = (files(&straight.path().join(name)), files(&killed.path().join(name)));
        let names =
            |files: &[(PathBuf, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&a), names(&b), "{name}");
        // run.json has the times and the number of attempts, timing.jsonl the duration of each step.
        for (file, bytes) in a
            .iter()
            .filter(|(file, _)| !["run.json", "timing.jsonl"].map(Path::new).contains(&file.as_path()))
        {
            let other = &b.iter().find(|(name, _)| name == file).unwrap().1;
            assert!(bytes == other, "{name}: {} differs", file.display());
        }
    }
    assert_eq!(references(straight.path()), references(killed.path()));
}

/// The files of reference log-probabilities in a folder, with their text.
fn references(folder: &Path) -> Vec<(String, String)> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut found: Vec<String> =
        names.filter(|name| name.contains(".reference-") && !name.starts_with('.')).collect();
    found.sort();
    found.into_iter().map(|name| (name.clone(), fs::read_to_string(folder.join(name)).unwrap())).collect()
}

#[test]
fn a_recipe_trains_a_reward_model_and_stores_its_scale() {
    let folder = workshop();
    assert!(train(folder.path(), "sft").status().unwrap().success());
    let output = xtask(folder.path(), &["train", "reward.toml", "--out", "reward", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", error(&output));
    let config: Value =
        serde_json::from_slice(&fs::read(folder.path().join("reward/model/config.json")).unwrap()).unwrap();
    let newest = janus_train::Checkpoint::list(&folder.path().join("reward")).unwrap().pop().unwrap();
    for file in [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "value_head.safetensors",
        "model.safetensors",
    ] {
        let of = |path: PathBuf| fs::read(path.join(file)).unwrap();
        assert!(
            of(newest.path.clone()) == of(folder.path().join("reward/model")),
            "{file} of the last checkpoint"
        );
    }
    assert!(config["mean"].is_f64() && config["std"].as_f64().unwrap() > 0.0, "{config}");
    assert!(folder.path().join("reward/model/value_head.safetensors").exists());
}

#[test]
fn a_recipes_rows_are_shown_as_its_model_sees_them() {
    let folder = workshop();
    let inspect =
        |arguments: &[&str]| xtask(folder.path(), &[&["data", "inspect", "--recipe"], arguments].concat());
    let shape = ["--set", "model.shape=tiny"];
    let text = |arguments: &[&str]| {
        String::from_utf8(inspect(&[&["dpo.toml"], arguments, &shape].concat()).stdout).unwrap()
    };
    let plain = text(&["--rows", "1", "--skip", "2"]);
    assert!(
        plain.starts_with("document 4 (example 2, chosen): ")
            && plain.contains("document 5 (example 2, rejected): "),
        "{plain}"
    );
    assert!(plain.lines().any(|line| line.split_whitespace().nth(2) == Some("loss")), "{plain}");
    assert!(!plain.contains('\x1b') && text(&["--rows", "1", "--colour", "always"]).contains("\x1b[32m"));

    let output = inspect(&["sft.toml", "--rows", "2", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let documents = report["documents"].as_array().unwrap();
    assert_eq!(documents.len(), 2);
    // The four held-out rows are not among them.
    let records: Vec<SftRecord> = janus_data::read_all(folder.path().join("sft.jsonl")).unwrap();
    let tokenizer = Tokenizer::read(folder.path().join("tokenizer.json")).unwrap();
    let row = tokenizer.conversation(ChatTemplate::MistralInstruct, &records[4].messages()).unwrap();
    assert_eq!(
        (&documents[0]["ids"], &documents[0]["loss_mask"]),
        (&serde_json::json!(row.ids), &serde_json::json!(row.loss_mask))
    );

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
    fs::write(
        &config,
        fs::read_to_string(&config).unwrap().replace("\"vocab_size\": 2048", "\"vocab_size\": 300"),
    )
    .unwrap();
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
    for (name, set) in
        [("sft", "samples={prompts=[\"what?\"], max_tokens=3}"), ("dpo", "train.quantized_state_block=256")]
    {
        let status = train(folder.path(), name)
            .args(["--set", "train.dtype=bf16", "--set", "train.warmup_steps=0", "--set", set])
            .status()
            .unwrap();
        assert!(status.success(), "{name}");
        let model = folder.path().join(name).join("model");
        let config: Value =
            serde_json::from_str(&fs::read_to_string(model.join("config.json")).unwrap()).unwrap();
        assert_eq!(config["torch_dtype"], "bfloat16");
    }
    let samples = fs::read_dir(folder.path().join("sft/samples")).unwrap().next().unwrap().unwrap();
    assert!(fs::read_to_string(samples.path()).unwrap().contains("response"));
}

#[test]
fn a_row_without_a_response_is_reported_with_its_file_before_anything_is_written() {
    let folder = workshop();
    let mut records: Vec<Value> = janus_data::read_all(folder.path().join("sft.jsonl")).unwrap();
    records[7].as_object_mut().unwrap().remove("output");
    write_all(folder.path().join("sft.jsonl"), &records).unwrap();
    let output = xtask(folder.path(), &["train", "sft.toml", "--out", "sft"]);
    let message = error(&output);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(
        message.contains("sft.jsonl") && message.contains('8') && message.contains("output"),
        "{message}"
    );
    assert!(!folder.path().join("sft").exists());
}

#[test]
fn weights_and_checkpoints_of_another_shape_are_refused_and_stay_as_they_are() {
    let folder = workshop();
    assert!(train(folder.path(), "sft").status().unwrap().success());
    // A model folder whose weights do not have the shape in its config.
    let config = folder.path().join("sft/model/config.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("\"intermediate_size\": 256", "\"intermediate_size\": 128")).unwrap();
    let output = xtask(folder.path(), &["train", "dpo.toml", "--out", "dpo"]);
    let message = error(&output);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("mlp.") && message.contains("256") && message.contains("128"), "{message}");
    fs::write(&config, text).unwrap();

    // A run that is continued with a model of another shape.
    let before = files(&folder.path().join("sft/checkpoints"));
    let output =
        xtask(folder.path(), &["train", "sft.toml", "--out", "sft", "--set", "model.shape=smollm2-135m"]);
    let message = error(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("made with another model"), "{message}");
    assert!(files(&folder.path().join("sft/checkpoints")) == before);
}

/// A file size limit stands in for a disk that becomes full in the middle of a checkpoint.
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
        let mut names: Vec<PathBuf> =
            fs::read_dir(&checkpoints).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.retain(|name| !name.to_string_lossy().ends_with(".tmp"));
        names.sort();
        names.into_iter().map(|name| (files(&name), name)).collect::<Vec<_>>()
    };
    let before = complete();
    assert!(!before.is_empty());

    // 2,000 blocks of 512 bytes: metrics fit, weights do not. The trap ignores the signal.
    let limited = format!(
        "trap '' XFSZ; ulimit -f 2000; exec '{}' train sft.toml --out sft",
        env!("CARGO_BIN_EXE_janus")
    );
    let output = Command::new("sh").args(["-c", &limited]).current_dir(full.path()).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{message}");
    let last = message.lines().last().unwrap();
    assert!(last.contains("step-0000") && last.contains("File too large"), "{message}");
    assert!(complete() == before, "the existing checkpoints are unchanged");

    let resumed = train(full.path(), "sft").stderr(Stdio::piped()).output().unwrap();
    let message = String::from_utf8_lossy(&resumed.stderr);
    assert!(resumed.status.success(), "{message}");
    assert!(message.contains("the run's folder is sft\n"), "{message}");
    assert!(message.contains("continuing from step "), "{message}");
    let (a, b) = (files(&straight.path().join("sft/model")), files(&full.path().join("sft/model")));
    assert!(a == b, "the run that continues from them writes the same bytes");
}

fn with<'a>(arguments: &[&'a str], set: &[&'a str]) -> Vec<&'a str> {
    arguments.iter().copied().chain(set.iter().flat_map(|set| ["--set", set])).collect()
}

#[test]
fn samples_are_written_where_no_rows_are_held_out() {
    let folder = workshop();
    let set = ["data.held_out=0", "samples={prompts=[\"what?\"], max_tokens=3}"];
    let output = xtask(folder.path(), &with(&["train", "sft.toml", "--out", "sft", "--json"], &set));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let file = format!("sft/samples/step-{:06}.jsonl", report["steps"].as_u64().unwrap());
    assert!(fs::read_to_string(folder.path().join(file)).unwrap().contains("what?"));
}

#[test]
fn bad_settings_and_rows_are_reported_before_the_reference_model_is_loaded() {
    let folder = workshop();
    // The model's folder does not exist: an error about it shows that the model is loaded.
    let message = |set: &str| {
        let output =
            xtask(folder.path(), &with(&["train", "dpo.toml", "--out", "dpo"], &["model.shape=tiny", set]));
        assert_eq!(output.status.code(), Some(2), "{set}");
        error(&output)
    };
    for (set, part) in [
        ("objective.beta=-1", "objective.beta is -1"),
        ("train.warmup_steps=500", "train.warmup_steps is 500 of"),
        ("objective.label_smoothing=0.7", "objective.label_smoothing is 0.7"),
        ("train.betas=[0.9, 999]", "train.betas is (0.9, 999.0)"),
        ("train.keep_last=0", "train.keep_last is 0"),
    ] {
        assert!(message(set).contains(part), "{set}: {}", message(set));
    }
    // The longest pair is reported with its row in the file.
    let records: Vec<PairRecord> = janus_data::read_all(folder.path().join("pairs.jsonl")).unwrap();
    let tokenizer = Tokenizer::read(folder.path().join("tokenizer.json")).unwrap();
    let pairs = tokenizer
        .pairs(ChatTemplate::MistralInstruct, records.iter().map(PairRecord::conversations), 400)
        .unwrap();
    let lengths: Vec<usize> = pairs.rows.chunks(2).map(|two| two[0].ids.len() + two[1].ids.len()).collect();
    let longest = *lengths.iter().max().unwrap();
    let first = pairs.pairs[lengths.iter().position(|&length| length == longest).unwrap()] + 1;
    let error = message(&format!("train.tokens_per_micro_batch={}", longest - 1));
    assert!(
        error.contains(&format!("pairs.jsonl: row {first}: its example has {longest} tokens")),
        "{error}"
    );
    assert!(message("train.lr=1e-4").contains("sft/model"), "the model is loaded after the checks");
    assert!(references(folder.path()).is_empty() && !folder.path().join("dpo").exists());
}

#[test]
fn a_sweep_over_beta_reuses_the_reference_logprobs_next_to_the_data() {
    let folder = workshop();
    assert!(train(folder.path(), "sft").status().unwrap().success());
    let run = |out: &str, set: &[&str]| {
        let output = xtask(folder.path(), &with(&["train", "dpo.toml", "--out", out], set));
        assert_eq!(output.status.code(), Some(0), "{}", error(&output));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    run("first", &[]);
    let first = references(folder.path());
    let [(name, text)] = &first[..] else { panic!("expected one file, not {first:?}") };
    assert!(name.starts_with("pairs.reference-") && name.ends_with(".jsonl"), "{name}");
    let path = folder.path().join(name);
    let written = || fs::metadata(&path).unwrap().modified().unwrap();
    let before = written();
    // The reference log-probabilities do not depend on beta, learning rate, LoRA or held-out pairs.
    run("lora", &["lora={rank=2, alpha=4}"]);
    let message = run("second", &["objective.beta=0.3", "train.lr=1e-4", "data.held_out=6"]);
    assert!(message.contains(&format!("reference log-probabilities: {name}")), "{message}");
    assert_eq!(
        (references(folder.path()), written()),
        (vec![(name.clone(), text.clone())], before),
        "nothing was computed or written"
    );
    // Other weights get a file of their own.
    for name in ["sft", "pairs"] {
        let path = folder.path().join(format!("{name}.jsonl"));
        let records: Vec<Value> = janus_data::read_all(&path).unwrap();
        write_all(&path, &records[..8]).unwrap();
    }
    run("bf16", &["train.dtype=bf16", "train.warmup_steps=0"]);
    let found = references(folder.path());
    assert!(found.len() == 2 && found.iter().any(|(_, text)| text.contains("bfloat16")), "{found:?}");
    assert!(found.contains(&(name.clone(), text.clone())));
}

#[test]
fn a_second_stage_of_a_reward_model_with_lora_trains_its_head() {
    let folder = workshop();
    assert!(train(folder.path(), "sft").status().unwrap().success());
    let lora = "lora={rank=2, alpha=4, dropout=0.1, targets=[\"q_proj\"]}";
    let stage = |out: &str, set: &[&str]| {
        let output =
            xtask(folder.path(), &with(&["train", "reward.toml", "--out", out], &[set, &[lora]].concat()));
        assert_eq!(output.status.code(), Some(0), "{}", error(&output));
        fs::read(folder.path().join(out).join("model/value_head.safetensors")).unwrap()
    };
    let first = stage("first", &[]);
    let second = stage("second", &["model.path=first/model"]);
    assert!(first != second, "the second stage did not train the head");
}

#[test]
fn a_run_folder_records_its_recipe_and_refuses_another_by_the_key_that_differs() {
    let folder = workshop();
    let run = |set: &[&str]| xtask(folder.path(), &with(&["train", "sft.toml", "--out", "sft"], set));
    assert_eq!(run(&["train.lr=2e-3"]).status.code(), Some(0));
    let out = folder.path().join("sft");
    let text = fs::read_to_string(out.join("recipe.toml")).unwrap();
    let recipe: toml::Table = toml::from_str(&text).unwrap();
    // From --set, from the file, and from the defaults.
    assert_eq!(recipe["train"]["lr"].as_float(), Some(2e-3));
    assert_eq!(recipe["data"]["held_out"].as_integer(), Some(4));
    assert_eq!(
        (recipe["train"]["keep_last"].as_integer(), recipe["train"]["dtype"].as_str()),
        (Some(2), Some("f32"))
    );
    let record: Value = serde_json::from_slice(&fs::read(out.join("run.json")).unwrap()).unwrap();
    let data = janus_data::fs::fingerprint::of_file(&folder.path().join("sft.jsonl")).unwrap();
    assert_eq!(record["data"]["blake3"], data.as_str());
    assert_eq!(record["attempts"].as_array().unwrap().len(), 1);
    assert!(
        record["attempts"][0]["to_step"].as_u64().unwrap() > 1 && record["settings"]["steps"].is_u64(),
        "{record}"
    );

    // The stored recipe is the same run: nothing is left to do, and the recipe that it stores is equal.
    fs::copy(out.join("recipe.toml"), folder.path().join("again.toml")).unwrap();
    let output = xtask(folder.path(), &["train", "again.toml", "--out", "sft"]);
    assert_eq!(output.status.code(), Some(0), "{}", error(&output));
    assert_eq!(fs::read_to_string(out.join("recipe.toml")).unwrap(), text);
    let attempts = |record: &[u8]| {
        serde_json::from_slice::<Value>(record).unwrap()["attempts"].as_array().unwrap().len()
    };
    assert_eq!(attempts(&fs::read(out.join("run.json")).unwrap()), 2);

    let output = run(&["train.lr=3e-3", "train.seed=5"]);
    assert_eq!(output.status.code(), Some(1));
    let message = error(&output);
    assert!(
        message.contains("another config")
            && message.contains("train.lr was 0.002, is 0.003; train.seed was 1, is 5"),
        "{message}"
    );
    assert_eq!(
        fs::read_to_string(out.join("recipe.toml")).unwrap(),
        text,
        "a run that is refused changes nothing"
    );
    // A difference that is not in the checkpoint itself.
    let output = run(&["train.lr=2e-3", "lora={rank=2, alpha=4}"]);
    assert!(
        output.status.code() == Some(2) && error(&output).contains("lora.alpha was not set, is 4"),
        "{}",
        error(&output)
    );
    // The rows of the file have changed.
    let mut records: Vec<Value> = janus_data::read_all(folder.path().join("sft.jsonl")).unwrap();
    records.swap(20, 21);
    write_all(folder.path().join("sft.jsonl"), &records).unwrap();
    let message = error(&run(&["train.lr=2e-3"]));
    assert!(
        message.contains("another data")
            && message.contains("sft.jsonl")
            && message.contains("the rows or the tokenizer have changed"),
        "{message}"
    );
}

#[test]
fn a_loss_that_is_not_finite_is_reported_with_the_rows_of_the_file() {
    let folder = workshop();
    let set = [
        "data.held_out=50",
        "train.lr=1e38",
        "train.warmup_steps=0",
        "train.epochs=20",
        "train.tokens_per_micro_batch=500",
    ];
    let output = xtask(folder.path(), &with(&["train", "sft.toml", "--out", "sft"], &set));
    let message = error(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    let rows = message.split("rows of the step: [").nth(1).unwrap().split(']').next().unwrap();
    let rows: Vec<usize> = rows.split(", ").map(|row| row.parse().unwrap()).collect();
    assert!(
        message.contains("sft.jsonl: step") && rows.iter().all(|row| (51..=60).contains(row)),
        "{message}"
    );
}

#[test]
fn a_bad_row_of_a_reward_file_is_reported_with_its_row_and_field() {
    let folder = workshop();
    let pairs: Vec<PairRecord> = janus_data::read_all(folder.path().join("pairs.jsonl")).unwrap();
    let text = |side: &[Message]| side[1].content.clone();
    let mut rows: Vec<Value> = pairs
        .iter()
        .map(|pair| serde_json::json!({ "input": pair.prompt, "chosen": text(&pair.chosen), "rejected": text(&pair.rejected) }))
        .collect();
    let run = |rows: &[Value]| {
        write_all(folder.path().join("pairs.jsonl"), rows).unwrap();
        let output = xtask(
            folder.path(),
            &["data", "inspect", "--recipe", "reward.toml", "--set", "model.shape=tiny", "--rows", "1"],
        );
        (output.status.code(), error(&output))
    };
    assert_eq!(run(&rows).0, Some(0));
    for row in [1, 7] {
        let whole = rows[row - 1].clone();
        rows[row - 1].as_object_mut().unwrap().remove("chosen");
        let (code, message) = run(&rows);
        assert_eq!(code, Some(2), "{message}");
        assert!(
            message.contains(&format!("row {row}"))
                && message.contains("chosen")
                && !message.contains("prompt"),
            "{message}"
        );
        rows[row - 1] = whole;
    }
}

#[test]
fn no_step_continues_past_the_last_epoch() {
    let folder = workshop();
    // The training data has 56 rows: 56 micro-batches in an epoch.
    let run = |accumulation: &str, epochs: &str| {
        let set = ["train.examples_per_micro_batch=1", "train.warmup_steps=0", accumulation, epochs];
        let output = xtask(folder.path(), &with(&["train", "sft.toml", "--out", epochs, "--json"], &set));
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap())
    };
    let (code, report) = run("train.gradient_accumulation_steps=50", "train.epochs=1");
    assert_eq!((code, report["steps"].as_u64()), (Some(0), Some(1)));
    let (code, report) = run("train.gradient_accumulation_steps=50", "train.epochs=2");
    assert_eq!(
        (code, report["steps"].as_u64()),
        (Some(0), Some(2)),
        "the second step takes rows of both epochs"
    );
    let (code, report) = run("train.gradient_accumulation_steps=57", "train.epochs=1");
    assert_eq!(code, Some(2));
    assert!(report["error"].as_str().unwrap().contains("not one whole step"), "{report}");
}

#[test]
fn training_on_a_token_file_equals_training_on_its_rows() {
    let folder = workshop();
    let xtask = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_janus")).args(arguments).current_dir(folder.path()).output().unwrap()
    };
    let packed = xtask(&["data", "pack", "sft.jsonl", "--tokenizer", "tokenizer.json", "--out", "tokens"]);
    assert!(packed.status.success(), "{packed:?}");
    let on_disk = xtask(&["train", "sft.toml", "--set", "data.path=tokens", "--out", "on_disk"]);
    assert!(on_disk.status.success(), "{on_disk:?}");
    assert!(train(folder.path(), "sft").status().unwrap().success());
    for part in ["checkpoints", "model"] {
        assert!(
            files(&folder.path().join("sft").join(part)) == files(&folder.path().join("on_disk").join(part)),
            "{part}"
        );
    }

    Tokenizer::train(["a b c"].into_iter(), 300, ChatTemplate::MistralInstruct.special_tokens())
        .unwrap()
        .save(folder.path().join("other.json"))
        .unwrap();
    for (recipe, set, reason) in [
        ("sft.toml", "model.tokenizer=other.json", "tokens: its rows were written with another tokenizer ("),
        (
            "sft.toml",
            "template=chatml",
            "another chat template (mistral-instruct, expected chatml): tokenise the text again",
        ),
        ("dpo.toml", "objective.beta=0.1", "name a file of pairs"),
    ] {
        let refused =
            xtask(&["train", recipe, "--set", set, "--set", "data.path=tokens", "--out", "refused"]);
        let message = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(2) && message.contains(reason), "{set}: {message}");
    }
}
