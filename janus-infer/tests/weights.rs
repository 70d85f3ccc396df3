//! Valid checkpoints, and files that are truncated, wrong or incomplete.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use janus_infer::{Error, Model, ModelConfig, Weights};

const CONFIG: &str = r#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 16, "tie_word_embeddings": true}"#;

fn config() -> ModelConfig {
    ModelConfig::from_json(CONFIG).unwrap()
}

/// Weights that are exact in bf16.
fn tensors(dtype: DType) -> HashMap<String, Tensor> {
    let tensor = |(at, (name, shape)): (usize, (String, Vec<usize>))| {
        let count = shape.iter().product::<usize>();
        let values: Vec<f32> = (0..count).map(|i| ((i * 7 + at) % 13) as f32 / 8.0 - 0.75).collect();
        (name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap())
    };
    config().tensors().into_iter().enumerate().map(tensor).collect()
}

fn folder(dtype: DType) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), CONFIG).unwrap();
    candle_core::safetensors::save(&tensors(dtype), folder.path().join("model.safetensors")).unwrap();
    folder
}

fn read_all(path: &Path) -> Vec<Vec<f32>> {
    let weights = Weights::open(path).unwrap();
    config().tensors().iter().map(|(name, shape)| weights.read(name, shape).unwrap()).collect()
}

fn error(path: &Path) -> Error {
    Model::load(path, &Device::Cpu).err().expect("an error")
}

/// Replaces a text in the header by one of the same length.
fn forge(folder: &Path, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let path = folder.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes
        .windows(from.len())
        .position(|window| window == from.as_bytes())
        .unwrap_or_else(|| panic!("{from} is not in the header"));
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    fs::write(path, bytes).unwrap();
}

#[test]
fn half_precision_is_converted_to_f32() {
    let expected = read_all(folder(DType::F32).path());
    for dtype in [DType::F16, DType::BF16] {
        assert_eq!(read_all(folder(dtype).path()), expected, "{dtype:?}");
    }
}

/// Writes a checkpoint in two files, and returns the index's map from tensors to files.
fn shard(sharded: &Path) -> serde_json::Map<String, serde_json::Value> {
    let all = tensors(DType::F32);
    let mut map = serde_json::Map::new();
    for (index, file) in
        ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"].into_iter().enumerate()
    {
        let part: HashMap<_, _> = all
            .iter()
            .filter(|(name, _)| name.contains("layers.1") == (index == 1))
            .map(|(n, t)| (n.clone(), t.clone()))
            .collect();
        map.extend(part.keys().map(|name| (name.clone(), file.into())));
        candle_core::safetensors::save(&part, sharded.join(file)).unwrap();
    }
    let index = sharded.join("model.safetensors.index.json");
    fs::write(&index, serde_json::json!({"metadata": {}, "weight_map": map}).to_string()).unwrap();
    map
}

#[test]
fn shards_are_found_by_their_index() {
    let whole = folder(DType::F32);
    let sharded = tempfile::tempdir().unwrap();
    let mut map = shard(sharded.path());
    let index = sharded.path().join("model.safetensors.index.json");
    assert_eq!(read_all(sharded.path()), read_all(whole.path()));

    map.insert("model.norm.weight".into(), "../elsewhere.safetensors".into());
    fs::write(&index, serde_json::json!({"weight_map": map}).to_string()).unwrap();
    assert!(matches!(Weights::open(sharded.path()).err(), Some(Error::Header { .. })));
}

/// The first shard that had the tensor was read, whatever the index said.
#[test]
fn of_two_shards_with_one_tensor_that_of_the_index_counts() {
    let sharded = tempfile::tempdir().unwrap();
    let map = shard(sharded.path());
    let name = "model.layers.1.mlp.up_proj.weight";
    let first = sharded.path().join("model-00001-of-00002.safetensors");
    let mut stale = candle_core::safetensors::load(&first, &Device::Cpu).unwrap();
    stale.insert(name.into(), tensors(DType::F32)[name].zeros_like().unwrap());
    candle_core::safetensors::save(&stale, &first).unwrap();
    assert_ne!(map[name], "model-00001-of-00002.safetensors");
    assert_eq!(read_all(sharded.path()), read_all(folder(DType::F32).path()));
}

/// The adapter was passed over, and the base model answered in its place.
#[test]
fn an_adapter_beside_the_weights_is_refused() {
    let folder = folder(DType::F32);
    fs::write(folder.path().join("adapter_config.json"), r#"{"peft_type": "LORA"}"#).unwrap();
    let error = error(folder.path());
    assert!(
        matches!(&error, Error::AdapterBeside { path } if path.ends_with("adapter_config.json")),
        "{error}"
    );
}

/// The embedding was used as the head although the file has another one.
#[test]
fn a_head_that_contradicts_a_tied_embedding_is_refused_and_a_copy_of_it_is_not() {
    let folder = folder(DType::F32);
    let mut all = tensors(DType::F32);
    let embedding = all["model.embed_tokens.weight"].clone();
    let other = (&embedding + 1.0).unwrap();
    for (head, is_copy) in [(embedding, true), (other, false)] {
        all.insert("lm_head.weight".into(), head);
        candle_core::safetensors::save(&all, folder.path().join("model.safetensors")).unwrap();
        let loaded = Model::load(folder.path(), &Device::Cpu);
        assert_eq!(loaded.is_ok(), is_copy);
        if let Err(error) = loaded {
            assert!(
                matches!(&error, Error::UnusedTensors { name, .. } if name == "lm_head.weight"),
                "{error}"
            );
        }
    }
}

#[test]
fn the_error_of_a_truncated_file_names_the_tensor_and_its_bytes() {
    let folder = folder(DType::F32);
    let path = folder.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    // Truncated in the length, in the header or in the data, it is an error.
    for cut in [0, 5, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&path, &bytes[..cut]).unwrap();
        match error(folder.path()) {
            Error::Truncated { name, end, file_len, .. } => {
                assert!(!name.is_empty() && end > file_len && file_len == cut as u64)
            }
            Error::Header { .. } | Error::Io { .. } => assert!(cut <= 100, "cut at {cut}"),
            other => panic!("cut at {cut}: {other}"),
        }
    }
}

#[test]
fn a_wrong_header_is_refused_before_anything_is_allocated() {
    let header = |bytes: &[u8]| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.json"), CONFIG).unwrap();
        fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
        error(folder.path())
    };
    assert!(matches!(header(&u64::MAX.to_le_bytes()), Error::Header { .. }));
    assert!(matches!(header(&[&2u64.to_le_bytes()[..], b"[]"].concat()), Error::Header { .. }));
    for (shape, end, expected) in [
        ("[4611686018427387904,32]", 1024, "too many elements"),
        ("[8,32]", 1020, "another size"),
        ("[8,32]", 0, "an end before the start"),
    ] {
        let text = format!(
            r#"{{"model.embed_tokens.weight":{{"dtype":"F32","shape":{shape},"data_offsets":[4,{end}]}}}}"#
        );
        let bytes = [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &[0; 2048]].concat();
        assert!(
            matches!(header(&bytes), Error::TensorSize { ref name, .. } if name == "model.embed_tokens.weight"),
            "{expected}"
        );
    }
    let text = r#"{"model.embed_tokens.weight":{"dtype":"F32","shape":[1099511627776,32],"data_offsets":[0,140737488355328]}}"#;
    let bytes = [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    assert!(matches!(header(&bytes), Error::Truncated { end, .. } if end > 1 << 47));
}

#[test]
fn a_missing_tensor_and_a_wrong_shape_are_named() {
    let missing = folder(DType::F32);
    forge(missing.path(), "layers.1.mlp.up_proj", "layers.7.mlp.up_proj");
    assert!(
        matches!(error(missing.path()), Error::MissingTensor { name, .. } if name == "model.layers.1.mlp.up_proj.weight")
    );

    let wrong = folder(DType::F32);
    fs::write(wrong.path().join("config.json"), CONFIG.replace("\"vocab_size\": 8", "\"vocab_size\": 9"))
        .unwrap();
    match error(wrong.path()) {
        Error::Shape { name, expected, got, .. } => {
            assert_eq!(
                (name.as_str(), expected, got),
                ("model.embed_tokens.weight", vec![9, 32], vec![8, 32])
            );
        }
        other => panic!("{other}"),
    }
    let integers = folder(DType::F32);
    forge(integers.path(), r#""dtype":"F32""#, r#""dtype":"I32""#);
    assert!(matches!(error(integers.path()), Error::Dtype { got, .. } if got == "I32"));
}

/// The tensors as llama.cpp's converter stores them: with other names, and with the rows of `q_proj` and
/// `k_proj` in pairs.
fn gguf(path: &Path, dtype: GgmlDType) {
    let config = config();
    let names = [
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("post_attention_layernorm", "ffn_norm"),
        ("input_layernorm", "attn_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("model.layers", "blk"),
    ];
    let convert = |(name, tensor): (&String, &Tensor)| {
        let heads = match name {
            name if name.contains("q_proj") => config.num_attention_heads,
            name if name.contains("k_proj") => config.num_key_value_heads,
            _ => 0,
        };
        let tensor = if heads > 0 {
            let paired = tensor
                .reshape((heads, 2, config.head_dim / 2, config.hidden_size))
                .unwrap()
                .transpose(1, 2)
                .unwrap();
            paired.contiguous().unwrap().reshape(tensor.shape()).unwrap()
        } else {
            tensor.clone()
        };
        let kind = if tensor.rank() == 1 { GgmlDType::F32 } else { dtype };
        let name = names.iter().fold(name.clone(), |name, (from, to)| name.replace(from, to));
        (name, QTensor::quantize(&tensor, kind).unwrap())
    };
    let all = tensors(DType::F32);
    let tensors: Vec<_> = all.iter().map(convert).collect();
    let number = |value: usize| Value::U32(value as u32);
    let metadata = [
        ("general.architecture", Value::String("llama".into())),
        ("llama.embedding_length", number(config.hidden_size)),
        ("llama.feed_forward_length", number(config.intermediate_size)),
        ("llama.block_count", number(config.num_hidden_layers)),
        ("llama.attention.head_count", number(config.num_attention_heads)),
        ("llama.attention.head_count_kv", number(config.num_key_value_heads)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-6)),
        ("llama.context_length", number(config.max_position_embeddings)),
        ("llama.vocab_size", number(config.vocab_size)),
        ("tokenizer.ggml.eos_token_id", number(3)),
        ("tokenizer.ggml.eot_token_id", number(5)),
        ("tokenizer.ggml.eom_token_id", number(3)),
    ];
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    gguf_file::write(&mut fs::File::create(path).unwrap(), &metadata, &tensors).unwrap();
}

#[test]
fn a_gguf_file_gives_the_same_model() {
    let folder = folder(DType::F32);
    let path = folder.path().join("model.gguf");
    gguf(&path, GgmlDType::F32);
    let weights = Weights::open(&path).unwrap();
    let expected = config();
    let got = weights.config().unwrap();
    assert_eq!(got.tensors(), expected.tensors());
    assert_eq!(got.eos_token_ids, [3, 5], "the tokens that end a text, a turn and a message, each once");
    assert!((got.rms_norm_eps - expected.rms_norm_eps).abs() < 1e-12);
    assert_eq!(weights.names().len(), expected.tensors().len());
    assert_eq!(read_all(&path), read_all(folder.path()));

    gguf(&path, GgmlDType::Q8_0);
    for (a, b) in read_all(&path).iter().flatten().zip(read_all(folder.path()).iter().flatten()) {
        assert!((a - b).abs() < 0.75 / 127.0, "{a} is not {b}");
    }
}

#[test]
fn a_gguf_file_is_an_error_wherever_it_is_truncated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    gguf(&path, GgmlDType::F32);
    let bytes = fs::read(&path).unwrap();
    for cut in (0..bytes.len()).step_by(bytes.len() / 40) {
        fs::write(&path, &bytes[..cut]).unwrap();
        match error(&path) {
            Error::Truncated { name, end, file_len, .. } => {
                assert!(name.contains("weight") && end > file_len)
            }
            Error::Header { .. } | Error::Metadata { .. } => assert!(cut < 4096, "cut at {cut}"),
            other => panic!("cut at {cut}: {other}"),
        }
    }
}

#[test]
fn the_error_of_an_unsupported_device_names_the_feature() {
    let text = Error::Device { got: "cuda:0".into(), feature: "cuda" }.to_string();
    assert!(text.contains("feature cuda") && text.contains("Device::Cpu"), "{text}");
}
