//! A model with scaled rotary frequencies computes the same in training and in inference.

use candle_core::Device;
use janus_infer::{LogitsWanted, Model, ModelConfig, SequenceInput};
use janus_train::{Batch, Decoder, TokenRow};

#[test]
fn training_and_inference_rotate_by_the_same_angles() {
    let row = TokenRow { ids: (0..60).map(|i| (i * i + 5 * i) % 40).collect(), loss_mask: vec![true; 60] };
    let mut seen: Vec<Vec<f32>> = Vec::new();
    for rope in [
        r#"{"rope_type": "default"}"#,
        r#"{"rope_type": "linear", "factor": 3.0}"#,
        r#"{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}"#,
    ] {
        let config = ModelConfig::from_json(&format!(
            r#"{{"model_type": "llama", "vocab_size": 40, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
                "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 128, "initializer_range": 0.3,
                "tie_word_embeddings": true, "rope_parameters": {rope}}}"#
        ))
        .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let decoder = Decoder::init(&config, 1, &Device::Cpu).unwrap();
        let trained = decoder.logprobs(&Batch::concat(&[&row])).unwrap().values.to_vec1::<f32>().unwrap();
        decoder.save(folder.path()).unwrap();
        let model = Model::load(folder.path(), &Device::Cpu).unwrap();
        assert_eq!(model.config().rope_scaling, config.rope_scaling);
        let mut logits = Vec::new();
        model
            .forward(&mut [SequenceInput::new(&row.ids, &mut model.cache(), LogitsWanted::All)], &mut logits)
            .unwrap();
        for ((logits, &id), trained) in logits.chunks(40).zip(&row.ids[1..]).zip(&trained) {
            let normaliser = logits.iter().map(|&logit| f64::from(logit).exp()).sum::<f64>().ln();
            let logprob = f64::from(logits[id as usize]) - normaliser;
            assert!((logprob - f64::from(*trained)).abs() < 2e-5, "{rope}: {logprob}, in training {trained}");
        }
        assert!(
            seen.iter().all(|other| other.iter().zip(&trained).any(|(a, b)| (a - b).abs() > 1e-2)),
            "{rope} changes nothing"
        );
        seen.push(trained);
    }
}
