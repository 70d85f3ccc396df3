//! A trained reward model gives the same rewards in inference.

use candle_core::Device;
use janus_core::ChatTemplate::MistralInstruct;
use janus_core::{Message, RewardModel as _};
use janus_data::Tokenizer;
use janus_infer::{ModelConfig, ModelSizes, RewardEngine, RewardOptions};
use janus_train::{Batch, Decoder, RewardScale, VALUE_HEAD};

#[test]
fn training_and_inference_give_the_same_rewards() {
    let words = ["a kite flies in the wind", "a stone lies on the ground"];
    let tokenizer = Tokenizer::train(words.into_iter(), 300, MistralInstruct.special_tokens()).unwrap();
    let answered =
        |answer: &str| vec![Message::system("be brief"), Message::user("what?"), Message::assistant(answer)];
    let conversations = [answered("a kite"), answered("a stone lies"), answered("")];
    let rows = tokenizer.conversations(MistralInstruct, &conversations).unwrap();
    for tied in [true, false] {
        let sizes = ModelSizes {
            vocab_size: tokenizer.vocab_size(),
            hidden_size: 32,
            intermediate_size: 48,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            max_position_embeddings: 128,
        };
        let mut config = if tied { ModelConfig::mistral(sizes) } else { ModelConfig::llama(sizes) };
        config.sliding_window = tied.then_some(8);
        config.initializer_range = 0.3;
        config.tie_word_embeddings = tied;
        let mut decoder = Decoder::init(&config, 1, &Device::Cpu).unwrap().with_value_head(2).unwrap();
        let scale = RewardScale { mean: 0.1, std: 0.5 };
        decoder.set_reward_scale(scale);
        let folder = tempfile::tempdir().unwrap();
        decoder.save(folder.path()).unwrap();
        tokenizer.save(folder.path().join("tokenizer.json")).unwrap();
        let words = serde_json::json!({ "chat_template": MistralInstruct.jinja() });
        std::fs::write(folder.path().join("tokenizer_config.json"), words.to_string()).unwrap();

        let trained = decoder
            .values(&Batch::concat(&rows.iter().collect::<Vec<_>>()))
            .unwrap()
            .to_vec1::<f32>()
            .unwrap();
        let engine = RewardEngine::load(folder.path(), &Device::Cpu, RewardOptions::default()).unwrap();
        assert_eq!(engine.scale(), Some(scale));
        for (reward, trained) in engine.rewards(&conversations).into_iter().zip(trained) {
            let (reward, expected) = (reward.unwrap(), scale.apply(trained));
            assert!((reward - expected).abs() < 1e-5, "tied {tied}: {reward}, trained {expected}");
        }
    }
}

#[test]
fn an_openrlhf_head_is_found_by_the_name_in_the_config() {
    let config = r#"{"model_type": "mistral", "vocab_size": 20, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": 32, "tie_word_embeddings": false}"#;
    let decoder = Decoder::init(&ModelConfig::from_json(config).unwrap(), 1, &Device::Cpu)
        .unwrap()
        .with_value_head(2)
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    decoder.save(folder.path()).unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut weights = candle_core::safetensors::load(at("model.safetensors"), &Device::Cpu).unwrap();
    let head = candle_core::safetensors::load(at("value_head.safetensors"), &Device::Cpu)
        .unwrap()
        .remove(VALUE_HEAD)
        .unwrap();
    std::fs::remove_file(at("value_head.safetensors")).unwrap();
    weights.remove("lm_head.weight").unwrap();
    weights.insert("score.weight".into(), head);
    candle_core::safetensors::save(&weights, at("model.safetensors")).unwrap();
    std::fs::write(at("config.json"), config.replace('}', r#", "value_head_prefix": "score"}"#)).unwrap();

    let loaded = Decoder::load(folder.path(), &Device::Cpu).unwrap();
    let values =
        |decoder: &Decoder| decoder.weights()[VALUE_HEAD].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(values(&loaded), values(&decoder));
    // Saving moves the head to this crate's file.
    loaded.save(folder.path()).unwrap();
    assert!(at("value_head.safetensors").exists());
    assert_eq!(values(&Decoder::load(folder.path(), &Device::Cpu).unwrap()), values(&decoder));

    std::fs::remove_file(at("value_head.safetensors")).unwrap();
    std::fs::write(at("config.json"), config.replace('}', r#", "value_head_prefix": "score"}"#)).unwrap();
    let error = Decoder::load(folder.path(), &Device::Cpu).err().unwrap().to_string();
    assert!(error.contains("score.weight"), "{error}");
}
