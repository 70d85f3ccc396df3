//! Checkpoints of the first format, of which `fixtures/first_format.json` has the `training/state.json` of a run of each kind: they
//! are continued, and another run is still refused.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use candle_core::{Device, Tensor};
use janus_train::{
    Checkpoint, Decoder, Dpo, DpoConfig, EarlyStop, Error, Length, LoraConfig, ModelConfig, NllSpan, Objective, Orpo, Reference,
    ReferenceLogprobs, Result, Reward, Sft, TokenRow, TrainConfig, Trainer,
};

fn decoder() -> Decoder {
    let config = ModelConfig::from_json(
        r#"{"model_type": "llama", "vocab_size": 30, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
            "num_attention_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.1, "tie_word_embeddings": false}"#,
    )
    .unwrap();
    exact(Decoder::init(&config, 1, &Device::Cpu).unwrap())
}

/// Weights that are the same on every machine.
fn exact(decoder: Decoder) -> Decoder {
    for var in decoder.parameters().values() {
        let values: Vec<f32> = (0..var.elem_count()).map(|i| ((i * 37 % 101) as f32 - 50.0) / 256.0).collect();
        var.set(&Tensor::from_vec(values, var.dims(), &Device::Cpu).unwrap()).unwrap();
    }
    decoder
}

fn rows(n: u32) -> Vec<TokenRow> {
    let row = |i: u32| TokenRow { ids: (0..6).map(|j| (i * 7 + j * j) % 30).collect(), loss_mask: (0..6).map(|j| j > 2).collect() };
    (0..n).map(row).collect()
}

fn settings() -> TrainConfig {
    TrainConfig::new(Length::Steps(2), 24, 1e-2, 3).with(|config| {
        config.checkpoint_every = Some(1);
        config.clip_norm = Some(0.5);
        config.gradient_accumulation_steps = 2;
        config.weight_decay = 0.1;
        config.evaluate_every = Some(1);
        config.early_stop = Some(EarlyStop { metric: "loss".into(), higher_is_better: false, patience: 3 });
    })
}

#[test]
fn a_checkpoint_of_the_first_format_is_continued_and_another_run_is_refused() {
    let states: serde_json::Value = serde_json::from_str(include_str!("fixtures/first_format.json")).unwrap();
    let lora = LoraConfig::new(2, 4.0).with(|config| {
        config.dropout = 0.1;
        config.targets = vec!["q_proj".into(), "down_proj".into()];
    });
    let lora = || decoder().with_lora(lora.clone(), 7).unwrap();
    let headed = || exact(decoder().with_value_head(3).unwrap());
    let reference = tempfile::tempdir().unwrap();
    let stored = || {
        let file = reference.path().join("reference.jsonl");
        let stored = ReferenceLogprobs::compute(file, &decoder(), "template", &rows(8), 64, &mut |_, _| ()).unwrap();
        Dpo::new(DpoConfig::default(), Reference::Stored(stored), &rows(8)).unwrap()
    };
    let with_model = || {
        let mut config = DpoConfig::new(1.0);
        config.label_smoothing = 0.1;
        Dpo::new(config, Reference::Model(Box::new(decoder())), &rows(8)).unwrap()
    };
    type Kind<'a> = (&'a str, &'a dyn Fn() -> Decoder, &'a dyn Fn() -> Box<dyn Objective>);
    let kinds: [Kind<'_>; 7] = [
        ("sft", &decoder, &|| Box::new(Sft)),
        ("lora", &lora, &|| Box::new(Sft)),
        ("orpo", &decoder, &|| Box::new(Orpo::new(0.1, NllSpan::Row).unwrap())),
        ("reward", &headed, &|| Box::new(Reward::default())),
        ("imitation", &headed, &|| Box::new(Reward::with_imitation(0.3).unwrap())),
        ("dpo", &decoder, &|| Box::new(stored())),
        ("dpo with a model", &decoder, &|| Box::new(with_model())),
    ];
    assert_eq!(states.as_object().unwrap().len(), kinds.len());
    for (name, decoder, objective) in kinds {
        let folder = tempfile::tempdir().unwrap();
        let fit = |decoder: Decoder, objective: Box<dyn Objective>, config: TrainConfig| -> Result<()> {
            Trainer::new(decoder, objective, rows(8), config)?.with_held_out(rows(4))?.fit(folder.path(), &mut ())
        };
        fit(decoder(), objective(), settings()).unwrap();
        let state = Checkpoint::list(folder.path()).unwrap().pop().unwrap().path.join("training/state.json");
        std::fs::write(&state, states[name].to_string()).unwrap();
        fit(decoder(), objective(), settings()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let what = |result: Result<()>| match result {
            Err(Error::OtherRun { what, differences, .. }) if differences.is_empty() => what,
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(what(fit(decoder(), objective(), settings().with(|config| config.lr = 2e-2))), "config");
        assert_eq!(what(fit(headed(), Box::new(Reward::with_imitation(0.2).unwrap()), settings())), "objective");
    }
}
