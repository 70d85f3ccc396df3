//! A model computes the same logits in training and in inference.

use std::path::Path;

use candle_core::Device;
use janus_infer::{LogitsWanted, Model, ModelConfig, SequenceInput};
use janus_train::{Batch, Decoder, TokenRow, ops};

/// Logits of every token of a document, from the training decoder and from the inference model.
fn logits(decoder: &Decoder, model: &Model, tokens: usize) -> (Vec<f32>, Vec<f32>) {
    let config = model.config();
    let ids: Vec<u32> = (0..tokens as u32).map(|i| (i * i + 7 * i) % config.vocab_size as u32).collect();
    let row = TokenRow { ids: ids.clone(), loss_mask: vec![true; tokens] };
    let hidden = decoder.hidden(&Batch::concat(&[&row])).unwrap();
    let head = if config.tie_word_embeddings { "model.embed_tokens.weight" } else { "lm_head.weight" };
    let training =
        ops::linear(&hidden, &decoder.weights()[head]).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    let mut inference = Vec::new();
    model
        .forward(&mut [SequenceInput::new(&ids, &mut model.cache(), LogitsWanted::All)], &mut inference)
        .unwrap();
    (training, inference)
}

/// The largest difference between two vectors, in units in the last place of the largest number.
fn ulps(a: &[f32], b: &[f32]) -> f32 {
    let largest = a.iter().chain(b).fold(0f32, |largest, x| largest.max(x.abs()));
    assert!(
        a.len() == b.len() && largest.is_normal(),
        "{} and {} logits, the largest {largest}",
        a.len(),
        b.len()
    );
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / (largest.next_up() - largest)
}

/// Asserts that logits are equal, or nearly equal for some lengths. The gemm crate in training and the
/// matrix products in inference add in the same order, with one chain of fused multiply-adds for each
/// element. The exception are products with a single row or column, with at most 256 elements, or with a
/// depth above 512: there the gemm crate adds in several chains, and the largest measured difference is
/// 16.5 units.
fn assert_same(name: &str, decoder: &Decoder, model: &Model) {
    for tokens in [33, 64, 150, 300] {
        let (training, inference) = logits(decoder, model, tokens);
        assert!(training == inference, "{name}, {tokens} tokens: {} units", ulps(&training, &inference));
    }
    // Documents with one or a few tokens, or with a last attention tile of one or a few tokens.
    for tokens in [1, 2, 8, 65, 258] {
        let (training, inference) = logits(decoder, model, tokens);
        let ulps = ulps(&training, &inference);
        assert!(ulps <= 32.0, "{name}, {tokens} tokens: {ulps} units");
    }
}

#[test]
fn logits_of_training_and_of_inference_are_the_same() {
    for (family, head_dim, window) in [("llama", 16, "null"), ("mistral", 12, "19"), ("mistral", 16, "40")] {
        let config = ModelConfig::from_json(&format!(
            r#"{{"model_type": "{family}", "vocab_size": 70, "hidden_size": 56, "intermediate_size": 90, "num_hidden_layers": 3,
                "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": {head_dim}, "sliding_window": {window},
                "max_position_embeddings": 512, "initializer_range": 0.15}}"#
        ))
        .unwrap();
        let decoder = Decoder::init(&config, 3, &Device::Cpu).unwrap();
        let weight =
            |name: &str, _: &[usize]| Ok(decoder.weights()[name].flatten_all().unwrap().to_vec1().unwrap());
        let model = Model::from_weights(config, weight).unwrap();
        assert_same(&format!("{family}, heads of {head_dim}, window {window}"), &decoder, &model);
    }
}

#[test]
fn logits_of_golden_models_are_the_same_in_training_and_in_inference() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../goldens/models");
    for entry in std::fs::read_dir(folder).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap();
        assert_same(
            name,
            &Decoder::load(&folder, &Device::Cpu).unwrap(),
            &Model::load(&folder, &Device::Cpu).unwrap(),
        );
    }
}
