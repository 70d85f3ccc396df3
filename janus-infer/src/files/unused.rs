//! What a model's files state and this crate does not use: refused by name if it may change an answer.

use std::collections::HashSet;

use candle_core::quantized::gguf_file::Value as GgufValue;
use serde_json::{Map, Value};

const WHY: &str = "it may change answers, and this version does not know it: such a model cannot be run";

/// Parts of the names of `config.json` keys that change results in some model of the Llama kind: biases,
/// norms, scales and caps of logits or embeddings, experts, windows, rotary variants.
const STEMS: [&str; 26] = [
    "alibi",
    "attention",
    "attn",
    "bias",
    "block_config",
    "clip",
    "cross_",
    "decoder",
    "expert",
    "head_dim",
    "kv_shared",
    "layer_type",
    "lora",
    "moe",
    "multiplier",
    "mup",
    "nextn",
    "norm",
    "parallel_residual",
    "qk_",
    "qkv",
    "rope",
    "rotary",
    "scal",
    "softcap",
    "window",
];

/// Keys with a name like those that change no answer: dropout, and how or what a program computes.
const HARMLESS: [&str; 22] = [
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_attn_implementation_internal",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_dropout",
    "attn_implementation",
    "attn_pdrop",
    "classifier_bias",
    "decoder_start_token_id",
    "embd_pdrop",
    "is_decoder",
    "max_window_layers",
    "norm_head",
    "output_attentions",
    "output_router_logits",
    "router_aux_loss_coef",
    "scale_attn_weights",
    "tie_encoder_decoder",
    "use_flash_attention",
    "use_flash_attention_2",
    "use_flash_attn",
];

/// Keys whose value must be one that changes nothing, whatever their name.
const ACTIVATIONS: [&str; 2] = ["activation_function", "hidden_activation"];
const PARTS: [&str; 3] = ["audio_config", "text_config", "vision_config"];

/// What is stated and not used: the value, and what would be expected.
pub(super) struct Unused {
    pub key: String,
    pub value: String,
    pub expected: String,
}

/// The first key of a `config.json` that is not interpreted and may change answers. `attention` is the kind
/// of all layers in `layer_types`.
pub(super) fn config_key(other: &Map<String, Value>, attention: &str) -> Option<Unused> {
    let unused = |(key, value): (&String, &Value)| {
        if key == "is_causal" && *value == false {
            return Some(Unused { key: key.clone(), value: "false".into(), expected: "true".into() });
        }
        if HARMLESS.contains(&key.as_str()) || changes_nothing(key, value) {
            return None;
        }
        let expected = if key == "layer_types" {
            let all = value.as_array().is_some_and(|layers| layers.iter().all(|layer| layer == attention));
            (!all).then(|| format!("\"{attention}\" for every layer"))
        } else if key == "position_embedding_type" {
            (!["rope", "rotary", "absolute"].iter().any(|kind| value == kind)).then(|| "\"rope\"".to_string())
        } else if ACTIVATIONS.contains(&key.as_str()) {
            (value != "silu").then(|| "\"silu\"".to_string())
        } else if PARTS.contains(&key.as_str()) || STEMS.iter().any(|stem| key.to_lowercase().contains(stem))
        {
            Some(format!("no such key: {WHY}"))
        } else {
            None
        };
        expected.map(|expected| Unused { key: key.clone(), value: value.to_string(), expected })
    };
    other.iter().find_map(unused)
}

/// Whether a number is the one that switches a feature off: 0 or 1, as of a count, a factor or a scale. 1 does
/// not switch off a cap, nor the number that replaces the default scale of attention.
fn is_neutral(key: &str, number: f64) -> bool {
    const REPLACES: [&str; 6] = ["attention.scale", "clamp", "clip", "nextn", "pre_attn_scalar", "softcap"];
    number == 0.0 || number == 1.0 && !REPLACES.iter().any(|part| key.contains(part))
}

/// Whether a value is the one that switches a feature off: null, false, a neutral number, or empty.
fn changes_nothing(key: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_f64().is_some_and(|number| is_neutral(key, number)),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// How metadata begins that programs interpret when they run a model of these families.
const INTERPRETED: [&str; 4] = ["adapter.", "llama.", "split.", "tokenizer.ggml."];

/// Metadata of that kind that is used, or has no effect.
const KNOWN: [&str; 45] = [
    "llama.attention.head_count",
    "llama.attention.head_count_kv",
    "llama.attention.key_length",
    "llama.attention.layer_norm_rms_epsilon",
    "llama.block_count",
    "llama.context_length",
    "llama.embedding_length",
    "llama.feed_forward_length",
    "llama.rope.dimension_count",
    "llama.rope.freq_base",
    "llama.rope.scaling.factor",
    "llama.rope.scaling.finetuned",
    "llama.rope.scaling.original_context_length",
    "llama.rope.scaling.type",
    "llama.tensor_data_layout",
    "llama.vocab_size",
    "split.no",
    "split.tensors.count",
    "tokenizer.ggml.add_bos_token",
    "tokenizer.ggml.add_space_prefix",
    "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.cls_token_id",
    "tokenizer.ggml.eom_token_id",
    "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.eot_token_id",
    "tokenizer.ggml.fim_mid_token_id",
    "tokenizer.ggml.fim_pad_token_id",
    "tokenizer.ggml.fim_pre_token_id",
    "tokenizer.ggml.fim_rep_token_id",
    "tokenizer.ggml.fim_sep_token_id",
    "tokenizer.ggml.fim_suf_token_id",
    "tokenizer.ggml.mask_token_id",
    "tokenizer.ggml.merges",
    "tokenizer.ggml.middle_token_id",
    "tokenizer.ggml.model",
    "tokenizer.ggml.padding_token_id",
    "tokenizer.ggml.pre",
    "tokenizer.ggml.prefix_token_id",
    "tokenizer.ggml.scores",
    "tokenizer.ggml.seperator_token_id",
    "tokenizer.ggml.suffix_token_id",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.token_type_count",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.unknown_token_id",
];

/// An entry of a GGUF file's metadata, unless it is used or known to have no effect. `head_dim` is the width
/// of a head.
pub(super) fn metadata(key: &str, value: &GgufValue, head_dim: usize) -> Option<Unused> {
    let refused = match key {
        // A LoRA adapter or the projector of another modality, instead of a model.
        "general.type" => value.to_string().is_ok_and(|kind| kind != "model"),
        // False for a model that reads in both directions.
        "llama.attention.causal" => !matches!(value, GgufValue::Bool(true)),
        "llama.attention.value_length" => value.to_u64().ok() != Some(head_dim as u64),
        key if KNOWN.contains(&key) => false,
        key => INTERPRETED.iter().any(|start| key.starts_with(start)) && !switched_off(key, value),
    };
    let unused =
        || Unused { key: key.into(), value: shown(value), expected: format!("no such entry: {WHY}") };
    refused.then(unused)
}

/// As [`changes_nothing`].
fn switched_off(key: &str, value: &GgufValue) -> bool {
    let number = value.to_f32().map(f64::from).or_else(|_| value.to_f64());
    let number = number.or_else(|_| value.to_u64().map(|number| number as f64));
    let number = number.or_else(|_| value.to_i32().map(f64::from));
    match value {
        GgufValue::Bool(on) => !on,
        GgufValue::String(text) => text.is_empty(),
        GgufValue::Array(list) => list.is_empty(),
        _ => number.is_ok_and(|number| is_neutral(key, number)),
    }
}

fn shown(value: &GgufValue) -> String {
    match value {
        GgufValue::Array(list) => format!("a list of {} elements", list.len()),
        GgufValue::Bool(on) => on.to_string(),
        GgufValue::String(text) => format!("\"{}\"", text.chars().take(60).collect::<String>()),
        GgufValue::F32(number) => number.to_string(),
        GgufValue::F64(number) => number.to_string(),
        other => match (other.to_u64(), other.to_i32()) {
            (Ok(number), _) => number.to_string(),
            (_, Ok(number)) => number.to_string(),
            _ => format!("of type {:?}", other.value_type()),
        },
    }
}

/// Of the names of a checkpoint's tensors, those that are not among `used`.
pub(super) fn tensors(names: &[String], used: &HashSet<String>) -> Vec<String> {
    let ignored = |name: &str| {
        // Tied to the embedding; transformers does not read it either.
        name == "lm_head.weight"
            // Frequencies that old versions of transformers stored, and that follow from the config.
            || name.ends_with(".rotary_emb.inv_freq")
    };
    names.iter().filter(|name| !used.contains(*name) && !ignored(name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FULL: &str = "full_attention";

    fn refused(attention: &str, key: &str, value: &Value) -> bool {
        let other = json!({ "pad_token_id": 3, key: value });
        let unused = config_key(other.as_object().unwrap(), attention);
        assert!(unused.as_ref().is_none_or(|unused| unused.key == key));
        unused.is_some()
    }

    #[test]
    fn a_key_that_changes_answers_is_refused_by_name() {
        for (key, value) in [
            ("attention_multiplier", json!(0.0078)),
            ("attn_logit_softcapping", json!(50.0)),
            ("attn_logit_softcapping", json!(1.0)),
            ("block_configs", json!([{}])),
            ("clip_qkv", json!(8.0)),
            ("embedding_multiplier", json!(12.0)),
            ("final_logit_softcapping", json!(30.0)),
            ("hidden_activation", json!("gelu_pytorch_tanh")),
            ("is_encoder_decoder", json!(true)),
            ("layer_types", json!(["full_attention", "sliding_attention"])),
            ("is_causal", json!(false)),
            ("logit_scale", json!(0.0625)),
            ("num_kv_shared_layers", json!(10)),
            ("num_nextn_predict_layers", json!(1)),
            ("position_embedding_type", json!("alibi")),
            ("logits_scaling", json!(8.0)),
            ("no_rope_layers", json!([1, 0])),
            ("num_experts_per_tok", json!(2)),
            ("num_local_experts", json!(8)),
            ("qk_layernorm", json!(true)),
            ("query_pre_attn_scalar", json!(256)),
            ("residual_multiplier", json!(0.22)),
            ("rope_interleaved", json!(true)),
            ("scale_depth", json!(1.4)),
            ("scale_emb", json!(12)),
            ("use_bidirectional_attention", json!(true)),
            ("use_qk_norm", json!(true)),
            ("use_sliding_window", json!(true)),
            ("vision_config", json!({ "depth": 2 })),
        ] {
            assert!(refused(FULL, key, &value), "{key}");
        }
    }

    #[test]
    fn a_key_that_changes_nothing_is_kept() {
        for (key, value) in [
            ("_attn_implementation_autoset", json!(true)),
            ("attention_dropout", json!(0.1)),
            ("is_llama_config", json!(true)),
            ("layer_types", json!(["full_attention", "full_attention"])),
            ("logit_scale", json!(1.0)),
            ("pretraining_tp", json!(2)),
            ("residual_multiplier", json!(1)),
            ("rope_interleaved", json!(false)),
            ("transformers_version", json!("4.57.0")),
            ("use_cache", json!(true)),
            ("use_qk_norm", json!(false)),
        ] {
            assert!(!refused(FULL, key, &value), "{key}");
        }
        let sliding = "sliding_attention";
        assert!(!refused(sliding, "layer_types", &json!([sliding, sliding])));
        assert!(refused(sliding, "layer_types", &json!([FULL, sliding])));
    }

    #[test]
    fn tensors_that_no_part_of_the_model_uses_are_found() {
        let mut names: Vec<String> =
            ["model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight"].map(String::from).into();
        let used: HashSet<String> = names.iter().cloned().collect();
        names.push("model.layers.0.self_attn.rotary_emb.inv_freq".into());
        assert_eq!(tensors(&names, &used), [""; 0]);
        for extra in [
            "model.layers.0.self_attn.q_proj.bias",
            "model.layers.1.self_attn.q_norm.weight",
            "model.layers.1.mlp.down_proj.bias",
            "model.layers.2.input_layernorm.weight",
            "model.layers.0.block_sparse_moe.gate.weight",
            "lm_head.bias",
            "score.weight",
            "blk.0.attn_q.bias",
            "rope_factors_long.weight",
        ] {
            names.push(extra.into());
            assert_eq!(tensors(&names, &used), [extra]);
            names.pop();
        }
    }
}
