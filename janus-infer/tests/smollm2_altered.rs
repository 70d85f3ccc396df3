//! SmolLM2's file with one more tensor or entry of metadata at a time, and as a folder with one more tensor or
//! key at a time. Each is used, and then it changes the answer, or it is refused by name.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use janus_core::{ChatModel as _, ChatTemplate, SamplingParams};
use janus_infer::{Engine, EngineOptions, ModelFolder, Template};
use serde_json::{Value as Json, json};

use super::tiny::request;

/// What became of an alteration: the answer, or the error.
type Outcome = Result<String, String>;

/// Loads a model and asks it one question.
fn outcome(path: &Path) -> Outcome {
    let engine = Engine::load(path, &Device::Cpu, EngineOptions::default())
        .map_err(|error| janus_core::error_chain(&error))?;
    let question = request("q", "Name three rivers.", SamplingParams::greedy(12));
    let answer = engine.generate(&[question]).remove(0).map_err(|error| janus_core::error_chain(&error))?;
    Ok(answer[0].text.clone())
}

fn is_refused(name: &str, outcome: Outcome) {
    match outcome {
        Ok(answer) => panic!("{name} is ignored: {answer}"),
        Err(error) => assert!(error.contains(name), "{name} is not named: {error}"),
    }
}

fn is_used(name: &str, outcome: Outcome, unaltered: &str) {
    let answer = outcome.unwrap_or_else(|error| panic!("{name} is refused: {error}"));
    assert_ne!(answer, unaltered, "{name} is ignored");
}

/// The model in the GGUF file.
struct Gguf {
    metadata: Vec<(String, Value)>,
    tensors: Vec<(String, QTensor)>,
    folder: tempfile::TempDir,
}

impl Gguf {
    fn read(path: &Path) -> Self {
        let mut file = fs::File::open(path).unwrap();
        let content = gguf_file::Content::read(&mut file).unwrap();
        let mut names: Vec<&String> = content.tensor_infos.keys().collect();
        names.sort();
        let tensors = names
            .into_iter()
            .map(|name| (name.clone(), content.tensor(&mut file, name, &Device::Cpu).unwrap()))
            .collect();
        Self {
            tensors,
            metadata: content.metadata.into_iter().collect(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// The outcome of the file with these entries of metadata, and with a tensor of ones if its shape is given.
    fn with(&self, entries: &[(&str, Value)], tensor: Option<(&str, &[usize])>) -> Outcome {
        let path = self.folder.path().join("altered.gguf");
        let kept = self.metadata.iter().filter(|(key, _)| entries.iter().all(|(new, _)| new != key));
        let metadata: Vec<(&str, &Value)> = kept
            .map(|(key, value)| (key.as_str(), value))
            .chain(entries.iter().map(|(key, value)| (*key, value)))
            .collect();
        let more = tensor.map(|(name, shape)| {
            let ones = Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap();
            (name, QTensor::quantize(&ones, GgmlDType::F32).unwrap())
        });
        let tensors: Vec<(&str, &QTensor)> = self
            .tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
            .chain(more.iter().map(|(name, tensor)| (*name, tensor)))
            .collect();
        gguf_file::write(&mut fs::File::create(&path).unwrap(), &metadata, &tensors).unwrap();
        outcome(&path)
    }
}

fn model() -> PathBuf {
    let fetched = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/smollm2-135m-instruct-q4_1.gguf");
    std::env::var_os("JANUS_SMOLLM2").map_or_else(fetched, PathBuf::from)
}

#[test]
#[ignore = "needs models/smollm2-135m-instruct-q4_1.gguf: cargo xtask fetch smollm2, then cargo xtask check model"]
fn what_is_added_to_smollm2_s_file_is_used_or_refused_by_name() {
    let file = Gguf::read(&model());
    let unaltered = file.with(&[], None).unwrap();
    let (number, float, yes) = (Value::U32, Value::F32, Value::Bool(true));
    let text = |text: &str| Value::String(text.into());
    for (key, value) in [
        ("adapter.lora.alpha", float(16.0)),
        ("general.architecture", text("qwen2")),
        ("general.type", text("mmproj")),
        ("llama.attention.causal", Value::Bool(false)),
        ("llama.attention.clamp_kqv", float(0.5)),
        ("llama.attention.head_count_kv", Value::Array(vec![number(3); 30])),
        ("llama.attention.scale", float(0.03)),
        ("llama.attention.sliding_window", number(16)),
        ("llama.attention.temperature_length", number(8)),
        ("llama.attention.value_length", number(32)),
        ("llama.attn_logit_softcapping", float(5.0)),
        ("llama.embedding_scale", float(12.0)),
        ("llama.expert_count", number(8)),
        ("llama.logit_scale", float(0.1)),
        ("llama.residual_scale", float(0.22)),
        ("llama.rope.dimension_count", number(32)),
        ("llama.rope.scale_linear", float(4.0)),
        ("llama.rope.scaling.attn_factor", float(2.0)),
        ("llama.rope.scaling.type", text("yarn")),
        ("llama.use_parallel_residual", yes.clone()),
        ("split.count", Value::U16(2)),
        ("tokenizer.ggml.add_eos_token", yes.clone()),
        ("tokenizer.ggml.add_sep_token", yes.clone()),
        ("tokenizer.ggml.eos_token_ids", Value::Array(vec![number(2)])),
        ("tokenizer.ggml.normalizer.lowercase", yes.clone()),
        ("tokenizer.ggml.pre", text("qwen2")),
        ("tokenizer.ggml.precompiled_charsmap", Value::Array(vec![Value::U8(1)])),
        ("tokenizer.ggml.remove_extra_whitespaces", yes),
        ("tokenizer.ggml.suppress_tokens", Value::Array(vec![number(33)])),
    ] {
        is_refused(key, file.with(&[(key, value)], None));
    }
    let tensors: [(&str, &[usize]); 16] = [
        ("blk.0.attn_norm.bias", &[576]),
        ("blk.0.attn_q.bias", &[576]),
        ("blk.0.attn_q.scale", &[1]),
        ("blk.0.attn_q_norm.weight", &[64]),
        ("blk.0.attn_sinks.weight", &[9]),
        ("blk.0.attn_sub_norm.weight", &[576]),
        ("blk.0.ffn_gate_inp.weight", &[8, 576]),
        ("blk.0.layer_output_scale.weight", &[1]),
        ("blk.0.post_attention_norm.weight", &[576]),
        ("blk.0.rope_freqs.weight", &[32]),
        ("blk.3.ffn_down.bias", &[576]),
        ("cls.output.weight", &[1, 576]),
        ("output.bias", &[49152]),
        ("output_norm.bias", &[576]),
        ("rope_factors_long.weight", &[32]),
        ("token_embd_norm.weight", &[576]),
    ];
    for (name, shape) in tensors {
        is_refused(name, file.with(&[], Some((name, shape))));
    }
    // The token of a word that is in the answer ends it there.
    let engine = Engine::load(model(), &Device::Cpu, EngineOptions::default()).unwrap();
    let ids = engine.tokenizer().encode(&unaltered).unwrap();
    let word = number(ids[ids.len() / 2]);
    for (name, entries) in [
        ("scaled RoPE", vec![("llama.rope.scaling.factor", float(4.0))]),
        (
            "RoPE of a kind",
            vec![("llama.rope.scaling.type", text("linear")), ("llama.rope.scaling.factor", float(8.0))],
        ),
        ("the base of RoPE", vec![("llama.rope.freq_base", float(100.0))]),
        ("the epsilon of norms", vec![("llama.attention.layer_norm_rms_epsilon", float(10.0))]),
        ("the end of a turn", vec![("tokenizer.ggml.eot_token_id", word.clone())]),
        ("the end of a message", vec![("tokenizer.ggml.eom_token_id", word)]),
        (
            "the template",
            vec![("tokenizer.chat_template", text("{% for m in messages %}{{ m.content }}{% endfor %}"))],
        ),
    ] {
        is_used(name, file.with(&entries, None), &unaltered);
    }
    is_used("an own head", file.with(&[], Some(("output.weight", &[49152, 576]))), &unaltered);
}

/// Writes the model as a folder without an index, and returns the index's map from tensors to files.
fn write_folder(folder: &Path) -> Json {
    let source = ModelFolder::new(model());
    let (config, weights) = (source.config().unwrap(), source.weights().unwrap());
    let tensors = config.model.tensors().into_iter().map(|(name, shape)| {
        let tensor = weights.tensor(&name, &shape, &Device::Cpu).unwrap().to_dtype(DType::F16).unwrap();
        (name, tensor)
    });
    let tensors: std::collections::HashMap<String, Tensor> = tensors.collect();
    candle_core::safetensors::save(&tensors, folder.join("first.safetensors")).unwrap();
    let out = ModelFolder::new(folder);
    out.write_config(&config).unwrap();
    out.write_tokenizer(&source.tokenizer().unwrap(), &Template::Typed(ChatTemplate::ChatMl), None).unwrap();
    tensors
        .keys()
        .map(|name| (name.clone(), json!("first.safetensors")))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[test]
#[ignore = "needs models/smollm2-135m-instruct-q4_1.gguf: cargo xtask fetch smollm2, then cargo xtask check model"]
fn what_is_added_to_a_folder_of_smollm2_is_used_or_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let map = write_folder(folder.path());
    let index = |more: Option<&str>| {
        let mut map = map.clone();
        if let Some(name) = more {
            map[name] = json!("second.safetensors");
        }
        let index = json!({ "metadata": {}, "weight_map": map }).to_string();
        fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    };
    let config: Json = serde_json::from_slice(&fs::read(folder.path().join("config.json")).unwrap()).unwrap();
    let with_keys = |keys: Json| {
        let mut config = config.clone();
        config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        outcome(folder.path())
    };
    index(None);
    let unaltered = with_keys(json!({})).unwrap();
    for (key, value) in [
        ("attention_bias", json!(true)),
        ("attention_multiplier", json!(0.5)),
        ("attn_logit_softcapping", json!(5.0)),
        ("clip_qkv", json!(0.1)),
        ("embedding_multiplier", json!(12.0)),
        ("final_logit_softcapping", json!(1.0)),
        ("hidden_act", json!("gelu")),
        ("is_causal", json!(false)),
        ("layer_types", json!(["sliding_attention"])),
        ("logit_scale", json!(0.1)),
        ("logits_scaling", json!(8.0)),
        ("mlp_bias", json!(true)),
        ("model_type", json!("qwen2")),
        ("no_rope_layers", json!([0, 1])),
        ("num_local_experts", json!(8)),
        ("num_nextn_predict_layers", json!(1)),
        ("partial_rotary_factor", json!(0.5)),
        ("position_embedding_type", json!("alibi")),
        ("query_pre_attn_scalar", json!(4)),
        ("residual_multiplier", json!(0.22)),
        ("rope_interleaved", json!(true)),
        ("rope_local_base_freq", json!(10.0)),
        ("rope_parameters", json!({ "full_attention": { "rope_theta": 500.0 } })),
        ("rope_scaling", json!({ "rope_type": "dynamic", "factor": 4.0 })),
        ("scale_emb", json!(12)),
        ("text_config", json!({ "rope_theta": 500.0 })),
        ("use_bidirectional_attention", json!(true)),
        ("use_parallel_residual", json!(true)),
        ("use_qk_norm", json!(true)),
        ("use_sliding_window", json!(true)),
    ] {
        is_refused(key, with_keys(json!({ key: value })));
    }
    for (key, value) in [
        ("rms_norm_eps", json!(10.0)),
        ("rope_scaling", json!({ "rope_type": "linear", "factor": 8.0 })),
        ("rope_theta", json!(100.0)),
    ] {
        is_used(key, with_keys(json!({ key: value })), &unaltered);
    }
    with_keys(json!({})).unwrap();

    let layer = "model.layers.0.";
    let tensors: [(String, &[usize]); 14] = [
        (format!("{layer}input_layernorm.bias"), &[576]),
        (format!("{layer}mlp.down_proj.bias"), &[576]),
        (format!("{layer}mlp.experts.0.gate_proj.weight"), &[8, 576]),
        (format!("{layer}post_feedforward_layernorm.weight"), &[576]),
        (format!("{layer}self_attn.q_norm.weight"), &[64]),
        (format!("{layer}self_attn.q_proj.bias"), &[576]),
        (format!("{layer}self_attn.q_proj.lora_A.weight"), &[8, 576]),
        (format!("{layer}self_attn.q_proj.weight_scale"), &[1]),
        (format!("{layer}self_attn.sinks"), &[9]),
        ("lm_head.bias".into(), &[49152]),
        ("lm_head.weight".into(), &[49152, 576]),
        ("model.layers.30.input_layernorm.weight".into(), &[576]),
        ("model.norm.bias".into(), &[576]),
        ("score.weight".into(), &[1, 576]),
    ];
    for (name, shape) in &tensors {
        let ones = Tensor::ones(*shape, DType::F16, &Device::Cpu).unwrap();
        let tensors = [(name.as_str(), ones)].into();
        candle_core::safetensors::save(&tensors, folder.path().join("second.safetensors")).unwrap();
        index(Some(name));
        is_refused(name, outcome(folder.path()));
    }
    index(None);
    assert_eq!(outcome(folder.path()).unwrap(), unaltered);
}
