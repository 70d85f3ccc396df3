//! This crate's checkpoints in transformers: they load, and give the same logits, rewards and token ids.
//!
//! The test needs `python3` with torch and transformers, so `cargo test` runs it only if it is named:
//! `cargo test --workspace --test interop`.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod templates;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use candle_core::Device;
use janus_core::{ChatTemplate, Message};
use janus_data::Tokenizer;
use janus_data::mini::{Mini, Split};
use janus_infer::{LogitsWanted, Model, ModelConfig, SequenceInput};
use janus_train::{Batch, Decoder, Length, Reward, Sft, TokenRow, TrainConfig, Trainer};
use rand::Rng;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The output of the script.
#[derive(Deserialize)]
struct Answer {
    logits: Vec<Vec<Vec<f64>>>,
    rewards: Vec<f64>,
    ids: Vec<Vec<u32>>,
}

fn transformers(folder: &Path, rows: &[TokenRow], conversations: &[Vec<Message>]) -> Answer {
    let rows: Vec<_> = rows.iter().map(|row| &row.ids).collect();
    python("logits.py", &[folder], &json!({ "rows": rows, "conversations": conversations }))
}

/// What a script of this folder prints, given JSON.
fn python<T: DeserializeOwned>(script: &str, arguments: &[&Path], request: &Value) -> T {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(script);
    let mut child = Command::new("python3")
        .arg(script)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(request.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The largest difference between the logits of a loaded checkpoint and those of transformers.
fn logit_difference(folder: &Path, rows: &[TokenRow], answer: &Answer) -> f64 {
    let model = Model::load(folder, &Device::Cpu).unwrap();
    let mut worst = 0.0f64;
    for (row, want) in rows.iter().zip(&answer.logits) {
        let (mut cache, mut got) = (model.cache(), Vec::new());
        model.forward(&mut [SequenceInput::new(&row.ids, &mut cache, LogitsWanted::All)], &mut got).unwrap();
        let want: Vec<f64> = want.iter().flatten().copied().collect();
        assert_eq!(got.len(), want.len());
        worst = got.iter().zip(&want).map(|(got, want)| (f64::from(*got) - want).abs()).fold(worst, f64::max);
    }
    worst
}

/// The largest difference between the log-probabilities of the trained model and those from
/// transformers' logits.
fn logprob_difference(decoder: &Decoder, rows: &[TokenRow], answer: &Answer) -> f64 {
    let mut worst = 0.0f64;
    for (row, logits) in rows.iter().zip(&answer.logits) {
        let all = TokenRow { ids: row.ids.clone(), loss_mask: vec![true; row.ids.len()] };
        let got = decoder.logprobs(&Batch::concat(&[&all])).unwrap().values.to_vec1::<f32>().unwrap();
        assert_eq!(got.len(), logits.len() - 1);
        for ((got, logits), &next) in got.iter().zip(logits).zip(&row.ids[1..]) {
            let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = logits.iter().map(|logit| (logit - most).exp()).sum();
            worst = worst.max((f64::from(*got) - (logits[next as usize] - most - sum.ln())).abs());
        }
    }
    worst
}

#[test]
fn transformers_loads_every_architecture_and_agrees() {
    let mut rng = janus_core::stream(5, "rows");
    let mut row = |len| TokenRow {
        ids: (0..len).map(|_| rng.random_range(0..160)).collect(),
        loss_mask: vec![true; len],
    };
    let rows: Vec<TokenRow> = [7, 30, 61].into_iter().map(&mut row).collect();
    for (model_type, window, tied, head_dim) in [
        ("mistral", "16", true, 12),
        ("mistral", "null", false, 20),
        ("llama", "null", true, 12),
        ("llama", "null", false, 16),
    ] {
        let config = ModelConfig::from_json(&format!(
            r#"{{"model_type": "{model_type}", "vocab_size": 160, "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2,
                "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": {head_dim}, "max_position_embeddings": 128,
                "sliding_window": {window}, "initializer_range": 0.2, "tie_word_embeddings": {tied}}}"#
        ))
        .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let decoder = Decoder::init(&config, 1, &Device::Cpu).unwrap();
        let mut trainer =
            Trainer::new(decoder, Sft, rows.clone(), TrainConfig::new(Length::Steps(5), 128, 1e-3, 1))
                .unwrap();
        trainer.fit(folder.path(), &mut ()).unwrap();
        let model = folder.path().join("model");
        let answer = transformers(&model, &rows, &[]);
        let (logits, logprobs) =
            (logit_difference(&model, &rows, &answer), logprob_difference(trainer.decoder(), &rows, &answer));
        eprintln!(
            "{model_type}, window {window}, tied {tied}: logits {logits:.1e} apart, log-probabilities {logprobs:.1e}"
        );
        assert!(logits < 5e-5 && logprobs < 5e-5, "{model_type}: {logits:e}, {logprobs:e}");
    }
}

#[test]
fn a_janus_mini_checkpoint_its_tokenizer_and_its_reward_model_agree_with_transformers() {
    const TEMPLATE: ChatTemplate = ChatTemplate::MistralInstruct;
    let mini = Mini::new(3);
    let records = mini.train(200, None);
    let texts = records.iter().flat_map(|record| [record.system.as_str(), &record.prompt, &record.output]);
    let tokenizer = Tokenizer::train(texts, 900, TEMPLATE.special_tokens()).unwrap();
    let config = ModelConfig::from_json(&format!(
        r#"{{"model_type": "mistral", "vocab_size": {}, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.1,
            "tie_word_embeddings": true}}"#,
        tokenizer.vocab_size()
    ))
    .unwrap();
    let rows =
        tokenizer.conversations(TEMPLATE, records.iter().map(janus_core::SftRecord::messages)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (sft, reward) = (folder.path().join("sft"), folder.path().join("reward"));
    let mut trainer = Trainer::new(
        Decoder::init(&config, 1, &Device::Cpu).unwrap(),
        Sft,
        rows.clone(),
        TrainConfig::new(Length::Steps(20), 2048, 3e-3, 1),
    )
    .unwrap();
    trainer.fit(&sft, &mut ()).unwrap();
    let model = sft.join("model");
    tokenizer.save_with_template(&model, TEMPLATE).unwrap();

    // Prompts for generation, and whole conversations as in training.
    let judged = mini.eval(Split::Bench, 4);
    let mut conversations: Vec<Vec<Message>> =
        judged.iter().map(janus_core::BenchRecord::prompt_messages).collect();
    conversations.push(vec![Message::user("  Outer blanks,\nand two lines? ")]);
    conversations.extend(records.iter().map(janus_core::SftRecord::messages).filter(|messages| {
        let answer = messages[messages.len() - 1].content.as_str();
        // Punctuation at the start of a response would be merged with the preceding bracket if the whole
        // text is tokenised at once.
        answer.starts_with(char::is_alphabetic)
    }));
    let answer = transformers(&model, &rows[..6], &conversations);
    let (logits, logprobs) =
        (logit_difference(&model, &rows, &answer), logprob_difference(trainer.decoder(), &rows, &answer));
    eprintln!("janus-mini: logits {logits:.1e} apart, log-probabilities {logprobs:.1e}");
    assert!(logits < 5e-5 && logprobs < 5e-5, "{logits:e}, {logprobs:e}");
    for (messages, want) in conversations.iter().zip(&answer.ids) {
        let got = tokenizer.encode_rendered(&TEMPLATE.render(messages).unwrap()).unwrap();
        assert_eq!(&got, want, "{messages:?}");
    }
    assert_eq!(answer.ids.len(), conversations.len());

    let pairs = mini.pairs(60);
    let pairs =
        tokenizer.pairs(TEMPLATE, pairs.iter().map(janus_core::PairRecord::conversations), 512).unwrap().rows;
    let start = Decoder::load(&model, &Device::Cpu).unwrap().with_value_head(5).unwrap();
    let trainer = Trainer::new(
        start,
        Reward::default(),
        pairs.clone(),
        TrainConfig::new(Length::Steps(10), 2048, 1e-3, 1),
    )
    .unwrap();
    let mut trainer = trainer.with_held_out(pairs[..20].to_vec()).unwrap();
    trainer.fit(&reward, &mut ()).unwrap();
    let answer = transformers(&reward.join("model"), &pairs[..6], &[]);
    let batch = Batch::concat(&pairs[..6].iter().collect::<Vec<_>>());
    let got = trainer.decoder().values(&batch).unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(got.len(), answer.rewards.len());
    let worst =
        got.iter().zip(&answer.rewards).map(|(got, want)| (f64::from(*got) - want).abs()).fold(0.0, f64::max);
    eprintln!("reward model: rewards {worst:.1e} apart");
    assert!(worst < 5e-5, "{worst:e}");
}
