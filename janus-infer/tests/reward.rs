//! Reward models in both layouts, against reference numbers, and independent of the batch.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{Device, Tensor};
use janus_core::ChatTemplate::MistralInstruct;
use janus_core::{Message, ModelError, RewardModel};
use janus_data::Tokenizer;
use janus_infer::{Error, ModelConfig, RewardEngine, RewardLayout, RewardOptions, VALUE_HEAD};
use rand::Rng;

use crate::support::{Tensors, goldens, models};

fn tokenizer() -> Tokenizer {
    let words = ["a kite flies in the wind", "a stone lies on the ground", "what is a kite"];
    Tokenizer::train(words.into_iter(), 300, MistralInstruct.special_tokens()).unwrap()
}

/// Writes the tokenizer's files.
fn write_tokenizer(folder: &Path) {
    tokenizer().save(folder.join("tokenizer.json")).unwrap();
    let config = serde_json::json!({ "eos_token": "</s>", "chat_template": MistralInstruct.jinja() });
    fs::write(folder.join("tokenizer_config.json"), config.to_string()).unwrap();
}

/// Moves the value head into the file of the weights, where OpenRLHF stores it.
fn move_head(folder: &Path) {
    let head_file = folder.join("value_head.safetensors");
    let mut weights = candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu).unwrap();
    weights.extend(candle_core::safetensors::load(&head_file, &Device::Cpu).unwrap());
    fs::remove_file(head_file).unwrap();
    candle_core::safetensors::save(&weights, folder.join("model.safetensors")).unwrap();
}

fn random(name: &str, shape: &[usize]) -> Tensor {
    let mut rng = janus_core::stream(9, name);
    let values = (0..shape.iter().product())
        .map(|_| if shape.len() == 1 { 1.0 } else { rng.random_range(-0.4f32..0.4) });
    Tensor::from_vec(values.collect::<Vec<_>>(), shape, &Device::Cpu).unwrap()
}

/// A reward model with random weights. It has no `lm_head.weight`, whether tied or not.
fn folder(model_type: &str, extra: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_tokenizer(folder.path());
    let config = ModelConfig::from_json(&format!(
        r#"{{"model_type": "{model_type}", "vocab_size": {}, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 200, "sliding_window": 20,
            "eos_token_id": 1 {extra}}}"#,
        tokenizer().vocab_size()
    ))
    .unwrap();
    fs::write(folder.path().join("config.json"), config.to_json()).unwrap();
    let backbone = config.tensors().into_iter().filter(|(name, _)| name != "lm_head.weight");
    let weights: HashMap<String, Tensor> =
        backbone.map(|(name, shape)| (name.clone(), random(&name, &shape))).collect();
    candle_core::safetensors::save(&weights, folder.path().join("model.safetensors")).unwrap();
    let head = HashMap::from([(VALUE_HEAD.to_string(), random(VALUE_HEAD, &[1, 24]))]);
    candle_core::safetensors::save(&head, folder.path().join("value_head.safetensors")).unwrap();
    folder
}

fn load(folder: &Path) -> RewardEngine {
    RewardEngine::load(folder, &Device::Cpu, RewardOptions::default()).unwrap()
}

fn answered(system: &str, answer: &str) -> Vec<Message> {
    vec![Message::system(system), Message::user("what is a kite?"), Message::assistant(answer)]
}

fn rewards(engine: &RewardEngine, conversations: &[Vec<Message>]) -> Vec<f32> {
    engine.rewards(conversations).into_iter().map(Result::unwrap).collect()
}

#[test]
fn rewards_are_those_of_openrlhf() {
    let mut compared = 0;
    for (name, golden) in
        models().into_iter().filter(|(_, golden)| golden.join("value_head.safetensors").exists())
    {
        let folder = tempfile::tempdir().unwrap();
        for file in ["config.json", "model.safetensors", "value_head.safetensors"] {
            fs::copy(golden.join(file), folder.path().join(file)).unwrap();
        }
        write_tokenizer(folder.path());
        let cases = Tensors::read(golden.join("cases.safetensors"));
        let (ids, mask) = (cases.ids("rm.input_ids_left"), cases.i64("rm.attention_mask_left"));
        let width = cases.shape("rm.input_ids_left")[1];
        let real = |(ids, mask): (&[u32], &[i64])| {
            ids.iter().zip(mask).filter(|(_, mask)| **mask == 1).map(|(id, _)| *id).collect()
        };
        let rows: Vec<Vec<u32>> = ids.chunks(width).zip(mask.chunks(width)).map(real).collect();
        let expected = [cases.f32("rm.chosen_rewards"), cases.f32("rm.rejected_rewards")].concat();
        assert_eq!((rows.len(), expected.len()), (12, 12));

        let separate_head = load(folder.path());
        let values = separate_head.values(&rows).unwrap();
        let worst = values.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        println!("{name}: largest difference of a reward {worst:e}");
        assert!(worst < 1e-5, "{name}: {values:?}, expected {expected:?}");
        move_head(folder.path());
        let theirs = load(folder.path());
        assert_eq!(
            (separate_head.layout(), theirs.layout()),
            (RewardLayout::Conversation, RewardLayout::OpenRlhf)
        );
        assert_eq!(theirs.values(&rows).unwrap(), values);
        compared += 1;
    }
    assert!(compared >= 4, "{compared} reward models");
}

#[test]
fn a_reward_does_not_depend_on_the_batch() {
    for (model_type, extra) in [("mistral", ""), ("llama", r#", "tie_word_embeddings": true"#)] {
        let folder = folder(model_type, extra);
        let long = "the wind ".repeat(12);
        let conversations: Vec<_> = [
            ("be brief", "a kite"),
            ("be brief", "a kite flies"),
            ("be brief", &long),
            ("be kind", "a kite"),
            ("be brief", ""),
        ]
        .into_iter()
        .map(|(system, answer)| answered(system, answer))
        .collect();
        let engine = load(folder.path());
        let together = rewards(&engine, &conversations);
        let alone: Vec<f32> =
            conversations.iter().map(|one| rewards(&engine, std::slice::from_ref(one))[0]).collect();
        assert_eq!(together, alone);
        assert!((0..5).all(|i| (0..i).all(|j| together[i] != together[j])), "{together:?}");
        for batch_tokens in [1, 60, 150] {
            let options = RewardOptions::default().with(|options| options.batch_tokens = batch_tokens);
            let engine = RewardEngine::load(folder.path(), &Device::Cpu, options).unwrap();
            assert_eq!(rewards(&engine, &conversations), together, "{batch_tokens} tokens at a time");
        }
        // The reward is the value at the last token of the conversation, as in training.
        let row = tokenizer().conversation(MistralInstruct, &conversations[1]).unwrap();
        assert_eq!(engine.values(&[row.ids]).unwrap(), together[1..2]);
    }
}

#[test]
fn the_openrlhf_layout_ends_with_a_space_and_the_end_of_text() {
    let folder = folder("mistral", "");
    let options = RewardOptions::default().with(|options| options.layout = Some(RewardLayout::OpenRlhf));
    let engine = RewardEngine::load(folder.path(), &Device::Cpu, options).unwrap();
    let conversation = [answered("be brief", " a kite flies\n")];
    let tokenizer = tokenizer();
    let prompt = MistralInstruct.render(&conversation[0][..2]).unwrap();
    let mut ids = tokenizer.encode_rendered(&prompt).unwrap();
    ids.extend(tokenizer.encode("a kite flies ").unwrap());
    ids.push(tokenizer.token_id("</s>").unwrap());
    assert_eq!(rewards(&engine, &conversation), engine.values(&[ids]).unwrap());
    assert_ne!(rewards(&load(folder.path()), &conversation), rewards(&engine, &conversation));
}

/// OpenRLHF tokenises the whole text at once; here prompt and response are tokenised
/// separately.
#[test]
fn the_openrlhf_layout_has_the_ids_of_the_whole_text() {
    let folder = tempfile::tempdir().unwrap();
    write_tokenizer(folder.path());
    fs::copy(goldens().join("tokenizers/byte_fallback/tokenizer.json"), folder.path().join("tokenizer.json"))
        .unwrap();
    let config = r#"{"model_type": "mistral", "vocab_size": 656, "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1,
        "num_attention_heads": 1, "max_position_embeddings": 512, "eos_token_id": 2, "tie_word_embeddings": true}"#;
    fs::write(folder.path().join("config.json"), config).unwrap();
    let mut tensors = ModelConfig::from_json(config).unwrap().tensors();
    tensors.push((VALUE_HEAD.into(), vec![1, 4]));
    let weights: HashMap<String, Tensor> =
        tensors.into_iter().map(|(name, shape)| (name.clone(), random(&name, &shape))).collect();
    candle_core::safetensors::save(&weights, folder.path().join("model.safetensors")).unwrap();
    let engine = load(folder.path());
    assert_eq!(engine.layout(), RewardLayout::OpenRlhf);
    for response in
        ["A kite is a toy.", "1. One\n2. Two\n", "  \"Quoted\" [/INST]", "über 日本語 🪁", "", "x  y"]
    {
        let whole = format!("<s>[INST] be brief\nwhat is a kite? [/INST] {} </s>", response.trim());
        let ids = engine.tokenizer().encode_with_specials(&whole).unwrap();
        assert_eq!(
            rewards(&engine, &[answered("be brief", response)]),
            engine.values(&[&ids]).unwrap(),
            "{response:?}"
        );
    }
}

#[test]
fn a_head_is_found_by_the_name_that_the_config_states() {
    let folder = folder("mistral", "");
    let conversations = [answered("be brief", "a kite"), answered("be kind", "a stone lies")];
    move_head(folder.path());
    let expected = rewards(&load(folder.path()), &conversations);
    let path = folder.path().join("config.json");
    let mut config: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let mut state = |prefix: serde_json::Value| {
        config["value_head_prefix"] = prefix;
        fs::write(&path, config.to_string()).unwrap();
    };
    let file = folder.path().join("model.safetensors");
    let mut weights = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
    state("value_head".into());
    assert_eq!(rewards(&load(folder.path()), &conversations), expected);

    let head = weights.remove(VALUE_HEAD).unwrap();
    weights.insert("score.weight".into(), head);
    candle_core::safetensors::save(&weights, &file).unwrap();
    let error = || {
        RewardEngine::load(folder.path(), &Device::Cpu, RewardOptions::default()).err().unwrap().to_string()
    };
    assert!(
        error().contains("value_head.weight") && error().contains("value_head.safetensors"),
        "{}",
        error()
    );
    state("scores".into());
    assert!(error().contains("a tensor scores.weight"), "{}", error());
    state(5.into());
    assert!(error().contains("value_head_prefix: invalid type: integer `5`"), "{}", error());
    state("score".into());
    assert_eq!(rewards(&load(folder.path()), &conversations), expected);
    assert_eq!(load(folder.path()).layout(), RewardLayout::OpenRlhf);
}

#[test]
fn a_stated_scale_is_applied() {
    let folder = folder("llama", "");
    let conversations = [answered("be brief", "a kite"), answered("be brief", "a stone")];
    let raw = rewards(&load(folder.path()), &conversations);
    let path = folder.path().join("config.json");
    let mut config: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    for (std, divisor) in [(0.25, 0.25), (0.0, 1.0)] {
        (config["mean"], config["std"]) = (0.5.into(), std.into());
        fs::write(&path, config.to_string()).unwrap();
        let engine = load(folder.path());
        assert_eq!(engine.scale().map(|scale| (scale.mean, scale.std)), Some((0.5, std)));
        let expected: Vec<f32> = raw.iter().map(|raw| ((f64::from(*raw) - 0.5) / divisor) as f32).collect();
        assert_eq!(rewards(&engine, &conversations), expected);
    }
}

#[test]
fn conversations_without_a_reward_are_errors_and_the_others_are_scored() {
    let folder = folder("mistral", "");
    let engine = load(folder.path());
    let (good, long) = (answered("be brief", "a kite"), answered("be brief", &"wind ".repeat(200)));
    let answers = engine.rewards(&[good.clone(), good[..2].to_vec(), vec![], long, good.clone()]);
    assert!(answers[0].is_ok() && answers[0].as_ref().unwrap() == answers[4].as_ref().unwrap());
    assert!(
        matches!(&answers[1], Err(ModelError::Request { id, reason }) if id == "1" && reason.contains("assistant"))
    );
    assert!(matches!(&answers[2], Err(ModelError::Request { id, .. }) if id == "2"));
    // OpenRLHF would truncate the answer here.
    assert!(matches!(&answers[3], Err(ModelError::TooLong { id, context: 200, .. }) if id == "3"));
    assert!(engine.rewards(&[]).is_empty());

    fs::remove_file(folder.path().join("value_head.safetensors")).unwrap();
    let error = RewardEngine::load(folder.path(), &Device::Cpu, RewardOptions::default()).err().unwrap();
    assert!(matches!(error, Error::NoValueHead { name, .. } if name == VALUE_HEAD));
}
