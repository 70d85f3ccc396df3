//! Malicious files: each gives an error that says where the fault is, and no allocation is as large as a
//! file claims.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::path::Path;

use candle_core::Device;
use janus_infer::{Error, FormatProblem, LogitsWanted, Model, RopeScaling, SequenceInput, Weights};
use proptest::prelude::*;

/// The system's allocator, which records the largest allocation of each thread.
struct Watched;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

fn note(size: usize) {
    // A thread that is ending has no thread-local value any more.
    let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(size)));
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

#[expect(unsafe_code, reason = "GlobalAlloc is an unsafe trait")]
// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: the caller's.
        unsafe { System.realloc(block, layout, size) }
    }
}

/// The largest allocation that is allowed, far above what the small files of these tests need.
const ALLOWED: usize = 4 << 20;

/// An opened file in a temporary folder, which is deleted on drop.
struct Opened {
    weights: Weights,
    _folder: tempfile::TempDir,
}

impl std::ops::Deref for Opened {
    type Target = Weights;

    fn deref(&self) -> &Weights {
        &self.weights
    }
}

fn open(name: &str, bytes: &[u8]) -> Result<Opened, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    LARGEST.set(0);
    let opened = Weights::open(&path);
    assert!(LARGEST.get() < ALLOWED, "{} bytes were allocated at once", LARGEST.get());
    Ok(Opened { weights: opened?, _folder: folder })
}

fn gguf_error(bytes: &[u8]) -> Error {
    let opened = open("model.gguf", bytes);
    opened.and_then(|weights| weights.config()).expect_err("the file is bad")
}

/// The type and the bytes of a metadata value.
type Value = (u32, Vec<u8>);

fn number(value: u32) -> Value {
    (4, value.to_le_bytes().into())
}

fn float(value: f32) -> Value {
    (6, value.to_le_bytes().into())
}

fn text(value: &str) -> Value {
    (8, [&(value.len() as u64).to_le_bytes()[..], value.as_bytes()].concat())
}

fn list(kind: u32, length: u64, elements: &[u8]) -> Value {
    (9, [&kind.to_le_bytes()[..], &length.to_le_bytes(), elements].concat())
}

/// Name, dimensions in the order of the file, type, offset.
type Tensor = (&'static str, Vec<u64>, u32, u64);

/// A file with the metadata of a small model, where `extra` adds or replaces entries, and 4,096 zero
/// bytes of tensors.
fn gguf(extra: &[(&str, Value)], tensors: &[Tensor]) -> Vec<u8> {
    gguf_of(extra, tensors, &[0; 4096])
}

/// [`gguf`] with these bytes of tensors.
fn gguf_of(extra: &[(&str, Value)], tensors: &[Tensor], data: &[u8]) -> Vec<u8> {
    let usual = [
        ("general.architecture", text("llama")),
        ("llama.attention.head_count", number(2)),
        ("llama.embedding_length", number(16)),
        ("llama.feed_forward_length", number(8)),
        ("llama.block_count", number(1)),
        ("llama.attention.layer_norm_rms_epsilon", float(1e-5)),
        ("llama.context_length", number(64)),
        ("llama.vocab_size", number(4)),
    ];
    let kept = usual.iter().filter(|(key, _)| !extra.iter().any(|(other, _)| other == key));
    let entries: Vec<_> = kept.chain(extra).collect();
    let mut bytes = [
        &b"GGUF"[..],
        &3u32.to_le_bytes(),
        &(tensors.len() as u64).to_le_bytes(),
        &(entries.len() as u64).to_le_bytes(),
    ]
    .concat();
    let mut put = |part: &[u8]| bytes.extend_from_slice(part);
    for (key, (kind, value)) in entries {
        put(&text(key).1);
        put(&kind.to_le_bytes());
        put(value);
    }
    for (name, dimensions, kind, offset) in tensors {
        put(&text(name).1);
        put(&(dimensions.len() as u32).to_le_bytes());
        dimensions.iter().for_each(|size| put(&size.to_le_bytes()));
        put(&kind.to_le_bytes());
        put(&offset.to_le_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes.extend_from_slice(data);
    bytes
}

/// The number of a type, the bytes of its blocks, and the weights in a block.
const BLOCKS: [(u32, usize, usize); 9] = [
    (0, 4, 1),
    (1, 2, 1),
    (30, 2, 1),
    (2, 18, 32),
    (3, 20, 32),
    (8, 34, 32),
    (12, 144, 256),
    (13, 176, 256),
    (14, 210, 256),
];

/// A valid model with one layer and matrices of all types: hidden size 256, two query heads of 16
/// elements and one key/value head. With a `change`, the header states another type and other dimensions
/// for a tensor than its bytes have.
fn small_model(change: Option<(usize, u32, Vec<u64>)>) -> Vec<u8> {
    small_model_with(change, None)
}

/// [`small_model`] with one more tensor.
fn small_model_with(change: Option<(usize, u32, Vec<u64>)>, more: Option<&'static str>) -> Vec<u8> {
    let mut tensors: Vec<Tensor> = vec![
        ("token_embd.weight", vec![256, 4], 12, 0),
        ("output.weight", vec![256, 4], 14, 0),
        ("output_norm.weight", vec![256], 0, 0),
        ("blk.0.attn_norm.weight", vec![256], 0, 0),
        ("blk.0.attn_q.weight", vec![256, 32], 13, 0),
        ("blk.0.attn_k.weight", vec![256, 16], 12, 0),
        ("blk.0.attn_v.weight", vec![256, 16], 8, 0),
        ("blk.0.attn_output.weight", vec![32, 256], 2, 0),
        ("blk.0.ffn_norm.weight", vec![256], 0, 0),
        ("blk.0.ffn_gate.weight", vec![256, 64], 1, 0),
        ("blk.0.ffn_up.weight", vec![256, 64], 30, 0),
        ("blk.0.ffn_down.weight", vec![64, 256], 3, 0),
    ];
    tensors.extend(more.map(|name| (name, vec![32], 0, 0)));
    let mut data = Vec::new();
    for (_, dimensions, kind, offset) in &mut tensors {
        *offset = data.len() as u64;
        let (_, bytes, weights) = BLOCKS.iter().find(|block| block.0 == *kind).unwrap();
        let len = dimensions.iter().product::<u64>() as usize / weights * bytes;
        // Small numbers in every type.
        data.extend((0..len).map(|i| (i * 37 % 11) as u8));
        data.resize(data.len().next_multiple_of(32), 0);
    }
    if let Some((index, kind, dimensions)) = change {
        (tensors[index].1, tensors[index].2) = (dimensions, kind);
    }
    let extra = [
        ("llama.embedding_length", number(256)),
        ("llama.feed_forward_length", number(64)),
        ("llama.attention.head_count_kv", number(1)),
        ("llama.attention.key_length", number(16)),
    ];
    gguf_of(&extra, &tensors, &data)
}

fn good() -> Vec<u8> {
    gguf(
        &[("x", list(8, 2, &[text("a").1, text("b").1].concat()))],
        &[("token_embd.weight", vec![16, 4], 0, 0), ("output_norm.weight", vec![16], 0, 256)],
    )
}

#[test]
fn a_valid_file_is_read_and_every_truncation_of_it_is_an_error() {
    let bytes = good();
    let weights = open("model.gguf", &bytes).unwrap();
    assert_eq!(weights.config().unwrap().num_hidden_layers, 1);
    assert_eq!(weights.names(), ["model.embed_tokens.weight", "model.norm.weight"]);
    assert_eq!(weights.read("model.norm.weight", &[16]).unwrap(), [0.0; 16]);
    // Bytes after the last tensor are not needed.
    let needed = bytes.len() - 4096 + 256 + 64;
    for cut in 0..needed {
        match gguf_error(&bytes[..cut]) {
            Error::Truncated { name, end, file_len, .. } => {
                assert!(
                    name.starts_with("model.") && end > file_len && file_len == cut as u64,
                    "{name}, cut at {cut}"
                );
                assert!(cut >= bytes.len() - 4096 - 31);
            }
            Error::Header { problem, .. } | Error::Metadata { problem, .. } => {
                assert!(
                    matches!(problem, FormatProblem::Truncated { .. } | FormatProblem::Value { .. })
                        && cut < bytes.len() - 4096
                );
            }
            other => panic!("cut at {cut}: {other}"),
        }
    }
    assert!(open("model.gguf", &bytes[..needed]).is_ok());
}

#[test]
fn a_length_beyond_the_end_of_the_file_is_named() {
    let counts = |tensors: u64, entries: u64| {
        [&b"GGUF\x03\0\0\0"[..], &tensors.to_le_bytes(), &entries.to_le_bytes()].concat()
    };
    let deep = (0..2000).fold(list(0, 0, &[]).1, |inner, _| list(9, 1, &inner).1);
    for (bytes, expected) in [
        (b"GGUF".to_vec(), "the version should be 4 bytes at offset 4"),
        (b"GGML\x03\0\0\0".to_vec(), "its magic number is \"GGML\": expected \"GGUF\""),
        (b"GGUF\x09\0\0\0".to_vec(), "the version is 9: expected 1, 2 or 3"),
        (counts(u64::MAX, 0), "the name of tensor 0 of 18446744073709551615 should be 8 bytes at offset 24"),
        (counts(0, u64::MAX), "the key of metadata entry 0 of 18446744073709551615 should be"),
        (
            gguf(&[("k", (8, u64::MAX.to_le_bytes().into()))], &[]),
            "metadata k: the value should be 18446744073709551615 bytes",
        ),
        (gguf(&[("k", list(0, u64::MAX, &[]))], &[]), " is 18446744073709551615: expected at most the "),
        (gguf(&[("k", list(8, 4200, &[]))], &[]), " is 4200: expected at most the "),
        (gguf(&[("k", (9, deep))], &[]), "metadata k: the nesting of its lists is more than 4"),
        (gguf(&[("k", (77, vec![]))], &[]), "metadata k: its type is 77"),
        (gguf(&[("k", list(77, 1, &[0; 8]))], &[]), "metadata k: its type is 77"),
        (gguf(&[("k", (7, vec![2]))], &[]), "metadata k: a boolean is 2"),
        (gguf(&[("k", number(1)), ("k", number(1))], &[]), "metadata k: it occurs twice"),
        (
            gguf(&[("general.alignment", number(0))], &[]),
            "general.alignment: it is 0: expected a power of two",
        ),
        (
            gguf(&[("general.alignment", number(48))], &[]),
            "general.alignment: it is 48: expected a power of two",
        ),
        (
            gguf(&[("general.alignment", (10, u64::MAX.to_le_bytes().into()))], &[]),
            "general.alignment: it is 18446744073709551615: expected a power of two",
        ),
        (
            gguf(&[("general.alignment", text("32"))], &[]),
            "general.alignment: it is of type String: expected a power of two",
        ),
    ] {
        let error = gguf_error(&bytes).to_string();
        assert!(error.contains(expected), "{error}, expected {expected}");
    }
}

#[test]
fn a_tensor_with_a_wrong_entry_is_named() {
    for (tensors, expected) in [
        (vec![("a", vec![1; 5], 0, 0)], "tensor a: the number of its dimensions is 5"),
        (vec![("a", vec![16], 20, 0)], "tensor a: its type is 20"),
        (vec![("a", vec![16], 0, 0), ("a", vec![16], 0, 64)], "tensor a: it occurs twice"),
        (vec![("a", vec![1 << 40, 1 << 40], 0, 0)], "tensor a has"),
        (vec![("a", vec![u64::MAX, 2], 0, 0)], "tensor a has"),
        (
            vec![("blk.0.attn_q.weight", vec![31, 2], 2, 0)],
            "tensor model.layers.0.self_attn.q_proj.weight, bytes ",
        ),
        (
            vec![("token_embd.weight", vec![16, 1 << 20], 0, 32)],
            "tensor model.embed_tokens.weight should be bytes",
        ),
        (vec![("output_norm.weight", vec![16], 0, u64::MAX)], "tensor model.norm.weight should be bytes"),
        (vec![("output_norm.weight", vec![16], 0, 4096)], "tensor model.norm.weight should be bytes"),
        (vec![("a", vec![16], 0, 0), ("b", vec![16], 0, 32)], "tensor b should begin at byte"),
        (vec![("a", vec![16], 0, 64), ("b", vec![512], 0, 0)], "tensor a should begin at byte"),
    ] {
        let error = gguf_error(&gguf(&[], &tensors)).to_string();
        assert!(error.contains(expected), "{error}, expected {expected}");
    }
    // A shape that differs from the config's is found when the tensor is read, and so is a missing tensor.
    let weights = open("model.gguf", &gguf(&[], &[("token_embd.weight", vec![16, 3], 0, 0)])).unwrap();
    let error = weights.read("model.embed_tokens.weight", &[4, 16]).unwrap_err();
    assert!(
        matches!(error, Error::Shape { name, got, .. } if name == "model.embed_tokens.weight" && got == [3, 16])
    );
    assert!(
        matches!(weights.read("model.norm.weight", &[16]), Err(Error::MissingTensor { name, .. }) if name == "model.norm.weight")
    );
}

/// Blocks were counted over the whole tensor: a row of 576 weights in Q4_K was read beyond its end, and
/// one of 48 in Q4_0 from the middle of a block.
#[test]
fn rows_that_are_not_whole_blocks_are_refused_with_their_bytes() {
    for (dimensions, kind, row) in
        [(vec![576, 192], 12, 576), (vec![48, 2], 2, 48), (vec![32, 8], 14, 32), (vec![16, 2, 8], 10, 16)]
    {
        let error = gguf_error(&gguf(&[], &[("blk.0.attn_k.weight", dimensions, kind, 0)]));
        let message = error.to_string();
        let Error::PartialBlocks { name, start, end, row: got, .. } = error else { panic!("{message}") };
        assert_eq!((&*name, got), ("model.layers.0.self_attn.k_proj.weight", row));
        assert!(
            message.contains(&format!("{name}, bytes {start} to {end}, has rows of {row} weights")),
            "{message}"
        );
    }
    // A row of 512 weights is two blocks, and a row of 0 weights is no block.
    assert!(open("model.gguf", &gguf(&[], &[("a", vec![512, 2], 12, 0), ("b", vec![0, 7], 12, 0)])).is_ok());
}

/// For every type, a block of zeros and a tensor without elements are read, or give an error.
#[test]
fn every_type_is_read_or_refused() {
    let mut read = Vec::new();
    for kind in 0..64 {
        let tensors =
            [("output_norm.weight", vec![256], kind, 0), ("token_embd.weight", vec![0, 4], kind, 2048)];
        match open("model.gguf", &gguf(&[], &tensors)) {
            Ok(weights) => match (
                weights.read("model.norm.weight", &[256]),
                weights.read("model.embed_tokens.weight", &[4, 0]),
            ) {
                (Ok(values), Ok(empty)) => {
                    assert!(values == [0.0; 256] && empty.is_empty(), "type {kind}: {values:?}");
                    read.push(kind);
                }
                (Err(error), _) | (_, Err(error)) => {
                    assert!(matches!(error, Error::Quantized { .. }), "type {kind}: {error}")
                }
            },
            Err(error) => assert!(error.to_string().contains(&format!("its type is {kind}:")), "{error}"),
        }
    }
    // F32, F16, Q4_0, Q4_1, Q8_0, Q4_K, Q5_K, Q6_K, BF16.
    assert!([0, 1, 2, 3, 8, 12, 13, 14, 30].iter().all(|kind| read.contains(kind)), "{read:?}");
}

#[test]
fn metadata_of_a_wrong_type_or_size_is_named() {
    let embedding: Tensor = ("token_embd.weight", vec![16, 4], 0, 0);
    for (key, value, expected) in [
        ("general.architecture", number(1), "expected a string"),
        ("general.architecture", text("gpt2"), "expected llama"),
        ("llama.attention.head_count", text("2"), "expected a number"),
        ("llama.attention.head_count", number(0), "expected a multiple"),
        ("llama.attention.head_count_kv", number(3), "expected a multiple"),
        ("llama.attention.head_count_kv", list(4, 1, &[2, 0, 0, 0]), "expected a number"),
        ("llama.attention.key_length", number(7), "even"),
        ("llama.attention.key_length", number(u32::MAX), "head_dim is 4294967295"),
        ("llama.embedding_length", (5, (-16i32).to_le_bytes().into()), "expected a number, 0 or more"),
        ("llama.embedding_length", number(0), "hidden_size is 0"),
        (
            "llama.embedding_length",
            (10, u64::MAX.to_le_bytes().into()),
            "hidden_size is 18446744073709551615",
        ),
        ("llama.block_count", number(u32::MAX), "num_hidden_layers is 4294967295"),
        ("llama.rope.dimension_count", number(4), "expected 8, the width of a head"),
        ("llama.rope.freq_base", float(f32::NAN), "rope_theta"),
        ("llama.rope.freq_base", text("10000"), "expected a float"),
        ("llama.attention.layer_norm_rms_epsilon", number(1), "expected a float"),
        ("tokenizer.ggml.eos_token_id", text("</s>"), "expected a number"),
        ("tokenizer.ggml.eos_token_id", (10, u64::MAX.to_le_bytes().into()), "expected a token id"),
        ("llama.rope.scaling.type", text("yarn"), "expected none or linear"),
        ("llama.rope.scaling.type", number(2), "expected a string"),
        (
            "llama.rope.scaling.type",
            text("linear"),
            "expected a number, since llama.rope.scaling.type is linear",
        ),
    ] {
        let error = gguf_error(&gguf(&[(key, value)], std::slice::from_ref(&embedding))).to_string();
        assert!(error.contains(expected), "{key}: {error}, expected {expected}");
    }
}

/// 1e-5 was assumed, whatever the model was trained with.
#[test]
fn a_file_without_the_epsilon_of_its_norms_is_refused() {
    let (key, other) = (b"layer_norm_rms_epsilon", b"layer_norm_rms_epsilom");
    let mut bytes = gguf(&[], &[("token_embd.weight", vec![16, 4], 0, 0)]);
    let at = bytes.windows(key.len()).position(|window| window == key).unwrap();
    bytes[at..at + key.len()].copy_from_slice(other);
    let error = gguf_error(&bytes).to_string();
    assert!(error.contains("metadata llama.attention.layer_norm_rms_epsilon: it is missing"), "{error}");
}

/// A model with biases or experts, or with scaled logits, gave the words of a model without them.
#[test]
fn metadata_and_tensors_that_may_change_answers_are_refused_by_name() {
    let of =
        |extra: (&str, Value)| open("model.gguf", &gguf(&[extra], &[])).and_then(|weights| weights.config());
    let (yes, no) = ((7, vec![1]), (7, vec![0]));
    for (key, value) in [
        ("llama.attention.causal", no.clone()),
        ("llama.attention.clamp_kqv", float(8.0)),
        ("llama.attention.clamp_kqv", float(1.0)),
        ("llama.attention.max_alibi_bias", float(8.0)),
        ("llama.attention.scale", float(0.0078)),
        ("llama.attention.scale", float(1.0)),
        ("llama.attention.sliding_window", number(32)),
        ("llama.attention.value_length", number(4)),
        ("llama.attn_logit_softcapping", float(50.0)),
        ("llama.embedding_scale", float(12.0)),
        ("llama.expert_count", number(8)),
        ("llama.expert_used_count", number(2)),
        ("llama.final_logit_softcapping", float(30.0)),
        ("llama.logit_scale", float(0.0625)),
        ("llama.pooling_type", number(3)),
        ("llama.residual_scale", float(0.22)),
        ("llama.rope.scale_linear", float(4.0)),
        ("llama.rope.scaling.attn_factor", float(1.2)),
        ("llama.use_parallel_residual", yes.clone()),
        ("general.type", text("adapter")),
        ("split.count", number(2)),
        ("tokenizer.ggml.add_eos_token", yes.clone()),
        ("tokenizer.ggml.remove_extra_whitespaces", yes.clone()),
    ] {
        let error = of((key, value)).err().unwrap_or_else(|| panic!("{key} was ignored")).to_string();
        assert!(error.contains(key), "{error}");
    }
    for (key, value) in [
        ("general.name", text("a model")),
        ("general.type", text("model")),
        ("llama.expert_count", number(0)),
        ("llama.logit_scale", float(1.0)),
        ("llama.rope.scaling.finetuned", yes.clone()),
        ("quantize.imatrix.file", text("a file")),
        ("somebody.else", text("anything")),
        ("tokenizer.ggml.add_bos_token", yes),
        ("tokenizer.ggml.add_eos_token", no),
        ("tokenizer.ggml.fim_pre_token_id", number(3)),
    ] {
        of((key, value)).unwrap_or_else(|error| panic!("{key}: {error}"));
    }
    let names: [&'static str; 4] =
        ["blk.0.attn_q.bias", "blk.0.ffn_gate_inp.weight", "output.bias", "rope_factors_long.weight"];
    for name in names {
        let opened = open("model.gguf", &small_model_with(None, Some(name))).unwrap();
        let config = janus_infer::ConfigFile::new(opened.config().unwrap());
        let error = opened.check_all_used(&config).unwrap_err();
        assert!(matches!(&error, Error::UnusedTensors { name: found, .. } if found == name), "{error}");
    }
}

#[test]
fn rope_scaling_is_read_and_checked() {
    const FACTORS: &str = "rope_freqs.weight";
    let scaling = |extra: &[(&str, Value)], tensors: &[Tensor]| {
        open("model.gguf", &gguf(extra, tensors))
            .and_then(|weights| weights.config())
            .map(|config| config.rope_scaling)
    };
    let linear = [("llama.rope.scaling.type", text("linear")), ("llama.rope.scaling.factor", float(4.0))];
    assert_eq!(scaling(&linear, &[]).unwrap(), Some(RopeScaling::Linear { factor: 4.0 }));
    assert_eq!(scaling(&[("llama.rope.scaling.type", text("none"))], &[]).unwrap(), None);
    // A factor alone scales linearly in llama.cpp; it changed nothing here.
    assert_eq!(scaling(&linear[1..], &[]).unwrap(), Some(RopeScaling::Linear { factor: 4.0 }));
    assert_eq!(scaling(&[("llama.rope.scaling.factor", float(1.0))], &[]).unwrap(), None);

    let mut bytes = gguf(&[], &[(FACTORS, vec![4], 0, 64)]);
    let at = bytes.len() - 4096 + 64;
    let factors = [1.0f32, 1.5, 8.0, 8.0];
    bytes[at..at + 16].copy_from_slice(&factors.map(f32::to_le_bytes).concat());
    let config = open("model.gguf", &bytes).unwrap().config().unwrap();
    assert_eq!(config.rope_scaling, Some(RopeScaling::Factors(factors.into())));
    assert_eq!(janus_infer::ModelConfig::from_json(&config.to_json()).unwrap(), config);
    // Factors of 0, too few factors, and factors together with linear scaling.
    assert!(scaling(&[], &[(FACTORS, vec![4], 0, 0)]).unwrap_err().to_string().contains("factor is 0"));
    assert!(
        matches!(scaling(&[], &[(FACTORS, vec![3], 0, 0)]), Err(Error::Shape { name, .. }) if name == FACTORS)
    );
    assert!(
        matches!(scaling(&linear, &[(FACTORS, vec![4], 0, 0)]), Err(Error::Metadata { problem, .. }) if problem.to_string().contains(FACTORS))
    );
}

fn safetensors(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
}

#[test]
fn a_wrong_entry_of_a_safetensors_header_is_named() {
    let one = |entry: &str| safetensors(&format!(r#"{{"a":{entry}}}"#), 64);
    let deep = format!("{{\"__metadata__\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    for (bytes, expected) in [
        (safetensors("{", 0), "not a readable weights file"),
        (safetensors("[]", 0), "not a readable weights file"),
        (safetensors(&deep, 0), "recursion limit"),
        ((1u64 << 63).to_le_bytes().to_vec(), "the header's length is 9223372036854775808: expected at most"),
        (one("1"), "tensor a:"),
        (one(r#"{"dtype":"F99","shape":[1],"data_offsets":[0,4]}"#), "tensor a:"),
        (one(r#"{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}"#), "tensor a:"),
        (one(r#"{"dtype":"F32","shape":[1e9],"data_offsets":[0,4]}"#), "tensor a:"),
        (
            one(r#"{"dtype":"F32","shape":[4611686018427387904,16],"data_offsets":[0,4]}"#),
            "tensor a has 4 bytes",
        ),
        (one(r#"{"dtype":"F32","shape":[2],"data_offsets":[0,4]}"#), "tensor a has 4 bytes, expected 8"),
        (one(r#"{"dtype":"F32","shape":[1],"data_offsets":[8,4]}"#), "tensor a has 0 bytes, expected 4"),
        (one(r#"{"dtype":"F32","shape":[16],"data_offsets":[4,68]}"#), "tensor a should be bytes"),
        (
            one(r#"{"dtype":"F32","shape":[1],"data_offsets":[18446744073709551611,18446744073709551615]}"#),
            "tensor a should be bytes",
        ),
        (
            one(
                r#"{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[4],"data_offsets":[12,28]}"#,
            ),
            "tensor b should begin at byte",
        ),
    ] {
        let error = open("model.safetensors", &bytes).err().expect("the file is bad").to_string();
        assert!(error.contains(expected), "{error}, expected {expected}");
    }
    let whole = one(
        r#"{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F16","shape":[24],"data_offsets":[16,64]}"#,
    );
    assert_eq!(open("model.safetensors", &whole).unwrap().names(), ["a", "b"]);
    for cut in 0..whole.len() {
        match open("model.safetensors", &whole[..cut]).err().expect("the file is truncated") {
            Error::Truncated { name, end, file_len, .. } => {
                assert!(["a", "b"].contains(&&*name) && end > file_len)
            }
            Error::Header { .. } | Error::Io { .. } => assert!(cut < whole.len() - 64),
            other => panic!("cut at {cut}: {other}"),
        }
    }
}

/// Opens a file, reads all tensors, packs them and runs the model. The result is any value or error, but
/// no panic.
fn run(name: &str, bytes: &[u8]) -> Result<(), Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    fs::write(folder.path().join("config.json"), SAFETENSORS_CONFIG).unwrap();
    let read = |path: &Path| -> Result<(), Error> {
        let weights = Weights::open(path)?;
        let config = weights.config()?;
        config.tensors().iter().try_for_each(|(name, shape)| weights.read(name, shape).map(drop))
    };
    // If reading fails, packing must fail too.
    let was_read = read(&path);
    let model = Model::load(&path, &Device::Cpu)?;
    let (mut cache, mut logits) = (model.cache(), Vec::new());
    model.forward(&mut [SequenceInput::new(&[0; 3], &mut cache, LogitsWanted::All)], &mut logits)?;
    assert_eq!(logits.len(), 3 * model.config().vocab_size);
    was_read
}

const SAFETENSORS_CONFIG: &str = r#"{"model_type": "llama", "vocab_size": 4, "hidden_size": 32, "intermediate_size": 8, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 16, "tie_word_embeddings": true}"#;

/// A model with one layer in bf16.
fn small_safetensors() -> Vec<u8> {
    let tensors = janus_infer::ModelConfig::from_json(SAFETENSORS_CONFIG).unwrap().tensors();
    let (mut entries, mut end) = (serde_json::Map::new(), 0);
    for (name, shape) in tensors {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        entries
            .insert(name, serde_json::json!({"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}));
    }
    safetensors(&serde_json::Value::Object(entries).to_string(), end)
}

#[test]
fn the_models_that_are_altered_below_are_valid() {
    run("model.gguf", &small_model(None)).unwrap();
    run("model.safetensors", &small_safetensors()).unwrap();
}

proptest! {
    /// Whatever bytes are changed, reading, packing and running neither panic nor hang nor allocate more
    /// than the file accounts for. Half of the changes are in the header, where they have the most
    /// effect.
    #[test]
    fn changed_bytes_do_no_harm(changes in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>(), any::<u8>()), 1..6), kind in 0..4) {
        let (name, mut bytes) = match kind {
            0 => ("model.gguf", good()),
            1 => ("model.gguf", small_model(None)),
            2 => ("model.safetensors", safetensors(r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#, 16)),
            _ => ("model.safetensors", small_safetensors()),
        };
        for (in_header, at, byte) in changes {
            let range = if in_header { bytes.len().min(1400) } else { bytes.len() };
            bytes[at.index(range)] = byte;
        }
        let _ = run(name, &bytes);
        prop_assert!(LARGEST.get() < ALLOWED);
    }

    /// The same for a tensor whose stated type or shape does not fit its bytes.
    #[test]
    fn a_tensor_with_a_wrong_type_or_shape_does_no_harm(
        index in 0usize..12,
        kind in 0u32..32,
        dimensions in prop::collection::vec(prop::sample::select(vec![0u64, 1, 4, 16, 31, 32, 48, 64, 256, 288, 576, 1 << 33]), 0..4),
        keeps_shape: bool,
    ) {
        const SHAPES: [&[u64]; 12] = [&[256, 4], &[256, 4], &[256], &[256], &[256, 32], &[256, 16], &[256, 16], &[32, 256], &[256], &[256, 64], &[256, 64], &[64, 256]];
        let dimensions = if keeps_shape { SHAPES[index].to_vec() } else { dimensions };
        let changed = run("model.gguf", &small_model(Some((index, kind, dimensions.clone()))));
        prop_assert!(LARGEST.get() < ALLOWED);
        // Every other shape contradicts the config.
        prop_assert!(changed.is_err() || dimensions == SHAPES[index]);
    }
}
