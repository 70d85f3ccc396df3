//! Training with bf16 weights and f32 masters: one step is close to f32, many steps reach the loss of
//! f32, and resuming gives the same bytes.
use candle_core::{Device, Tensor};
use janus_infer::{LogitsWanted, Model, ModelConfig, SequenceInput};
use janus_train::{
    AdamW, Batch, Checkpoint, DType, Decoder, Gradients, Length, LoraConfig, MicroBatch, ModelSizes,
    Objective, Reward, Schedule, Sft, StepMetrics, TokenRow, TrainConfig, Trainer, VALUE_HEAD,
};
use rand::Rng;

fn decoder(seed: u64) -> Decoder {
    let mut config = ModelConfig::mistral(ModelSizes {
        vocab_size: 50,
        hidden_size: 24,
        intermediate_size: 40,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        max_position_embeddings: 64,
    });
    config.sliding_window = Some(9);
    config.initializer_range = 0.1;
    config.tie_word_embeddings = true;
    Decoder::init(&config, seed, &Device::Cpu).unwrap()
}

/// Rows in which most tokens are a function of the previous token.
fn rows(n: usize) -> Vec<TokenRow> {
    let mut rng = janus_core::stream(5, "rows");
    let mut row = || {
        let len = rng.random_range(8..30);
        let mut ids = vec![rng.random_range(0..50)];
        while ids.len() < len {
            let last = ids[ids.len() - 1];
            ids.push(if rng.random_bool(0.8) { (last * 7 + 3) % 50 } else { rng.random_range(0..50) });
        }
        TokenRow { ids, loss_mask: vec![true; len] }
    };
    (0..n).map(|_| row()).collect()
}

fn settings(steps: u64, dtype: DType) -> TrainConfig {
    TrainConfig::new(Length::Steps(steps), 96, 5e-3, 3).with(|config| {
        config.gradient_accumulation_steps = 2;
        config.weight_decay = 0.1;
        config.clip_norm = Some(1.0);
        config.checkpoint_every = Some(3);
        config.dtype = dtype;
        config.activation_checkpointing = true;
    })
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(candle_core::DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Loss and gradients of one batch.
fn loss(decoder: &Decoder, rows: &[TokenRow]) -> (f64, Gradients) {
    let batch = Batch::concat(&rows.iter().collect::<Vec<_>>());
    let denominator = Sft.denominator(&batch);
    let gradients = Gradients::new(decoder);
    let part =
        Sft.loss(&decoder.recording(&gradients), &MicroBatch { batch, rows: vec![] }, denominator).unwrap();
    assert_eq!(part.loss.dtype(), candle_core::DType::F32);
    gradients.backward(&part.loss).unwrap();
    (f64::from(part.loss.to_scalar::<f32>().unwrap()), gradients)
}

#[test]
fn a_step_in_bf16_is_close_to_one_in_f32() {
    let (exact, rounded) = (decoder(1), decoder(1).to_dtype(DType::Bf16).unwrap());
    assert!(rounded.weights().values().all(|weight| weight.dtype() == candle_core::DType::BF16));
    let rows = rows(12);
    let ((exact_loss, exact), (rounded_loss, rounded_gradients)) =
        (loss(&exact, &rows), loss(&rounded, &rows));
    assert!((rounded_loss / exact_loss - 1.0).abs() < 5e-3, "{rounded_loss}, f32 {exact_loss}");
    assert!((rounded_gradients.norm().unwrap() / exact.norm().unwrap() - 1.0).abs() < 2e-2);
    for name in rounded.parameters().keys() {
        let gradient = rounded_gradients.get(name).unwrap();
        assert_eq!(gradient.dtype(), candle_core::DType::F32);
        let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|x| x * x).sum::<f32>().sqrt();
        let (a, b) = (flat(&gradient), flat(&exact.get(name).unwrap()));
        let apart = norm(&mut a.iter().zip(&b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied());
        assert!(apart < 5e-2, "{name}: {apart}");
    }
}

#[test]
fn many_steps_in_bf16_reach_the_loss_of_f32() {
    let last = |dtype| {
        let mut trainer = Trainer::new(decoder(1), Sft, rows(40), settings(50, dtype)).unwrap();
        let losses: Vec<f64> = (0..50).map(|_| trainer.step().unwrap().loss).collect();
        (losses[0], losses[40..].iter().sum::<f64>() / 10.0)
    };
    let ((first, exact), (_, rounded)) = (last(DType::F32), last(DType::Bf16));
    assert!(exact < 0.75 * first, "{first} to {exact}: the loss falls enough for a comparison");
    assert!((rounded / exact - 1.0).abs() < 0.03, "{rounded}, f32 {exact}");
}

#[test]
fn updates_below_the_resolution_of_bf16_are_lost_without_a_master() {
    let rows = rows(12);
    let lr = 1e-4;
    // A new optimiser in every step creates its masters from the rounded weights, which is the same as
    // having no masters.
    let run = |keep_master: bool| {
        let decoder = decoder(1).to_dtype(DType::Bf16).unwrap();
        let mut optimizer = AdamW::new(settings(1, DType::Bf16).adamw()).unwrap();
        let (first, _) = loss(&decoder, &rows);
        for _ in 0..50 {
            let (_, gradients) = loss(&decoder, &rows);
            if !keep_master {
                optimizer = AdamW::new(settings(1, DType::Bf16).adamw()).unwrap();
            }
            optimizer.step(&decoder, &gradients, lr, 1.0).unwrap();
        }
        (first - loss(&decoder, &rows).0, decoder)
    };
    let ((gain, with), (_, without)) = (run(true), run(false));
    let start = decoder(1).to_dtype(DType::Bf16).unwrap();
    let moved = |decoder: &Decoder, name: &str| {
        let pairs = flat(&decoder.weights()[name]).into_iter().zip(flat(&start.weights()[name]));
        // An update of size lr is less than half of the distance to the next bf16 number.
        let coarse: Vec<(f32, f32)> = pairs.filter(|(_, start)| start.abs() > lr as f32 * 512.0).collect();
        (coarse.iter().filter(|(now, start)| now != start).count(), coarse.len())
    };
    for name in start.weights().keys() {
        let (stuck, all) = moved(&without, name);
        assert!(all > 0 && stuck == 0, "{name}: {stuck} of {all} moved without a master");
        let (kept, _) = moved(&with, name);
        assert!(2 * kept > all, "{name}: {kept} of {all} moved with one");
    }
    assert!(gain > 0.05, "{gain}");
}

#[test]
fn an_interrupted_run_in_bf16_resumes_and_ends_with_the_same_bytes() {
    for quantized_state_block in [None, Some(256)] {
        let settings =
            settings(8, DType::Bf16).with(|config| config.quantized_state_block = quantized_state_block);
        let (straight, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Trainer::new(decoder(1), Sft, rows(20), settings.clone())
            .unwrap()
            .fit(straight.path(), &mut ())
            .unwrap();
        let dir = broken.path();
        let mut trainer = Trainer::new(decoder(1), Sft, rows(20), settings.clone()).unwrap();
        let halt = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            trainer.fit(dir, &mut |metrics: &StepMetrics| assert!(metrics.step < 5, "the power went out"))
        }));
        assert!(halt.is_err());
        let newest = Checkpoint::list(dir).unwrap().pop().unwrap();
        assert_eq!(newest.step, 3);
        // The saved weights are bf16; their f32 masters are in the optimiser state.
        let at = |name: &str| candle_core::safetensors::load(newest.path.join(name), &Device::Cpu).unwrap();
        let (weights, state) = (at("model.safetensors"), at("training/optimizer.safetensors"));
        for (name, weight) in &weights {
            let master = &state[&format!("master.{name}")];
            assert_eq!((weight.dtype(), master.dtype()), (candle_core::DType::BF16, candle_core::DType::F32));
            assert_eq!(flat(weight), flat(&master.to_dtype(candle_core::DType::BF16).unwrap()));
        }
        // The fresh weights have another seed, which shows that the weights come from the checkpoint.
        Trainer::new(decoder(99), Sft, rows(20), settings).unwrap().fit(dir, &mut ()).unwrap();
        for file in ["model/model.safetensors", "model/config.json", "metrics.jsonl"] {
            assert!(
                std::fs::read(straight.path().join(file)).unwrap() == std::fs::read(dir.join(file)).unwrap(),
                "{file} differs"
            );
        }
        for step in ["step-000006", "step-000008"] {
            let file = format!("checkpoints/{step}/training/optimizer.safetensors");
            assert!(
                std::fs::read(straight.path().join(&file)).unwrap()
                    == std::fs::read(dir.join(&file)).unwrap(),
                "{file} differs"
            );
        }
    }
}

#[test]
fn a_model_saved_in_bf16_is_the_same_in_inference_and_in_further_training() {
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = Trainer::new(decoder(1), Sft, rows(20), settings(5, DType::Bf16)).unwrap();
    trainer.fit(folder.path(), &mut ()).unwrap();
    let trained = trainer.into_decoder().unwrap();
    let model = folder.path().join("model");
    let config: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(model.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["torch_dtype"], "bfloat16");
    assert_eq!(ModelConfig::read(model.join("config.json")).unwrap(), *trained.config());

    let (in_bf16, in_f32) = (
        Decoder::load_as(&model, DType::Bf16, &Device::Cpu).unwrap(),
        Decoder::load(&model, &Device::Cpu).unwrap(),
    );
    assert_eq!((in_bf16.dtype(), in_f32.dtype()), (DType::Bf16, DType::F32));
    for (name, weight) in trained.weights() {
        assert_eq!(flat(weight), flat(&in_bf16.weights()[name]));
        assert_eq!(flat(weight), flat(&in_f32.weights()[name]));
    }
    assert_eq!(in_bf16.fingerprint().unwrap(), in_f32.fingerprint().unwrap());

    let inference = Model::load(&model, &Device::Cpu).unwrap();
    let row = &rows(1)[0];
    let mut logits = Vec::new();
    inference
        .forward(&mut [SequenceInput::new(&row.ids, &mut inference.cache(), LogitsWanted::All)], &mut logits)
        .unwrap();
    let batch = Batch::concat(&[row]);
    let (near, exact) =
        (flat(&in_bf16.logprobs(&batch).unwrap().values), flat(&in_f32.logprobs(&batch).unwrap().values));
    for (i, (logits, &id)) in logits.chunks(50).zip(&row.ids[1..]).enumerate() {
        let normaliser = logits.iter().map(|&logit| f64::from(logit).exp()).sum::<f64>().ln();
        let logprob = (f64::from(logits[id as usize]) - normaliser) as f32;
        assert!(
            (logprob - exact[i]).abs() < 2e-5 && (logprob - near[i]).abs() < 5e-2,
            "{logprob}: {} and {}",
            exact[i],
            near[i]
        );
    }
}

#[test]
fn frozen_weights_are_in_bf16_and_have_no_master() {
    let lora = decoder(1).with_lora(LoraConfig::new(2, 4.0), 7).unwrap();
    let elements: usize = lora.parameters().values().map(|var| var.elem_count()).sum();
    let config = settings(10, DType::Bf16).with(|config| config.schedule = Schedule::Constant);
    let mut trainer = Trainer::new(lora, Sft, rows(20), config).unwrap();
    let before = flat(&trainer.decoder().weights()["model.layers.0.mlp.up_proj.weight"]);
    let losses: Vec<f64> = (0..10).map(|_| trainer.step().unwrap().loss).collect();
    assert!(losses[9] < losses[0], "{losses:?}");
    assert_eq!(trainer.optimizer().master_bytes(), 4 * elements);
    assert_eq!(trainer.optimizer().state_bytes(), 8 * elements);
    let trained = trainer.into_decoder().unwrap();
    assert!(trained.weights().values().all(|weight| weight.dtype() == candle_core::DType::BF16));
    assert_eq!(flat(&trained.weights()["model.layers.0.mlp.up_proj.weight"]), before);
    let batch = Batch::concat(&[&rows(1)[0]]);
    let unmerged = flat(&trained.logprobs(&batch).unwrap().values);
    let merged = flat(&trained.merged().unwrap().logprobs(&batch).unwrap().values);
    let worst = merged.iter().zip(&unmerged).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 0.1, "{worst}");
}

#[test]
fn a_reward_model_in_bf16_trains_its_head_too() {
    let start = decoder(1).with_value_head(2).unwrap();
    let head = flat(&start.weights()[VALUE_HEAD]);
    let mut trainer = Trainer::new(start, Reward::default(), rows(16), settings(6, DType::Bf16)).unwrap();
    let losses: Vec<f64> = (0..6).map(|_| trainer.step().unwrap().loss).collect();
    assert!(losses.iter().all(|loss| loss.is_finite()), "{losses:?}");
    let trained = trainer.into_decoder().unwrap();
    assert_ne!(flat(&trained.weights()[VALUE_HEAD]), head);
    assert_eq!(trained.values(&Batch::concat(&[&rows(1)[0]])).unwrap().dtype(), candle_core::DType::F32);
}
