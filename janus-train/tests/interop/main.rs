//! A checkpoint of ours in transformers: it loads, and gives the same log-probabilities.
//!
//! Needs `python3` with torch and transformers, so `cargo test` leaves it out unless it is named:
//! `cargo test -p janus-train --test interop`.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use candle_core::Device;
use janus_infer::ModelConfig;
use janus_train::{Batch, Decoder, Sft, TokenRow, TrainConfig, Trainer};
use rand::Rng;

fn rows() -> Vec<TokenRow> {
    let mut rng = janus_core::stream(5, "rows");
    let mut row = |len| TokenRow { ids: (0..len).map(|_| rng.random_range(0..160)).collect(), trained: vec![true; len] };
    [7, 30, 61].into_iter().map(&mut row).collect()
}

/// Log-probabilities of every row's tokens but the first, by transformers.
fn transformers(folder: &Path, rows: &[TokenRow]) -> Vec<Vec<f64>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/logits.py");
    let mut child = Command::new("python3").arg(script).arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let ids: Vec<&Vec<u32>> = rows.iter().map(|row| &row.ids).collect();
    child.stdin.take().unwrap().write_all(serde_json::to_string(&ids).unwrap().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn transformers_loads_a_trained_checkpoint_and_agrees() {
    for (model_type, window, tied) in [("mistral", "16", true), ("mistral", "null", false), ("llama", "null", true)] {
        let config = ModelConfig::from_json(&format!(
            r#"{{"model_type": "{model_type}", "vocab_size": 160, "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2,
                "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "sliding_window": {window},
                "initializer_range": 0.2, "tie_word_embeddings": {tied}}}"#
        ))
        .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let decoder = Decoder::init(&config, 1, &Device::Cpu).unwrap();
        let mut trainer = Trainer::new(decoder, Sft, rows(), TrainConfig::new(5, 128, 1e-3, 1)).unwrap();
        trainer.fit(folder.path(), &mut |_| {}).unwrap();
        let want = transformers(&folder.path().join("model"), &rows());
        for (row, want) in rows().iter().zip(want) {
            let got = trainer.decoder().logprobs(&Batch::concat(&[row])).unwrap().values.to_vec1::<f32>().unwrap();
            assert_eq!(got.len(), want.len());
            for (got, want) in got.iter().zip(want) {
                assert!((f64::from(*got) - want).abs() < 5e-5, "{model_type}: {got}, transformers {want}");
            }
        }
    }
}
