//! Chat templates in Jinja against what transformers makes of them (`goldens/templates.py`).

use std::fs;
use std::path::Path;

use candle_core::Device;
use janus_core::ChatTemplate::{ChatMl, MistralInstruct};
use janus_core::{ChatTemplate, Message};
use janus_data::Tokenizer;
use janus_infer::{Engine, EngineOptions, Error, JinjaTemplate, ModelConfig, Template, TemplateProblem};
use serde_json::Value;

use crate::support;

fn reference() -> Value {
    support::json(support::goldens().join("templates.json"))
}

fn template(reference: &Value, name: &str) -> JinjaTemplate {
    let found = &reference["templates"][name];
    let template = JinjaTemplate::new(found["text"].as_str().unwrap()).unwrap();
    let tokens = found["tokens"].as_object().unwrap();
    tokens.iter().fold(template, |template, (name, token)| template.with_token(name, token.as_str().unwrap()))
}

fn tokenizer(reference: &Value, name: &str) -> Tokenizer {
    Tokenizer::from_tokenizers(reference["tokenizers"][name].to_string().parse().unwrap())
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn texts_and_ids_equal_those_of_transformers() {
    let reference = reference();
    let conversations: Vec<Vec<Message>> =
        serde_json::from_value(reference["conversations"].clone()).unwrap();
    let tokenizers = ["byte_level", "metaspace"].map(|name| (name, tokenizer(&reference, name)));
    let (mut rendered, mut refused) = (0, 0);
    for case in reference["cases"].as_array().unwrap() {
        let name = case["template"].as_str().unwrap();
        let template = template(&reference, name);
        let messages = &conversations[case["conversation"].as_u64().unwrap() as usize];
        if let Some(expected) = case["error"].as_str() {
            let error = template.render(messages).unwrap_err().to_string();
            assert!(error.contains(expected), "{name}: {error}, expected {expected}");
            refused += 1;
            continue;
        }
        assert_eq!(
            template.render(messages).unwrap(),
            case["text"].as_str().unwrap(),
            "{name} of {messages:?}"
        );
        for (kind, tokenizer) in &tokenizers {
            assert_eq!(
                template.encode(messages, tokenizer).unwrap(),
                ids(&case["ids"][kind]),
                "{name}, {kind}"
            );
        }
        rendered += 1;
    }
    assert_eq!((rendered, refused), (58, 5));
}

/// A conversation out of order is an error here and none in Jinja.
#[test]
fn our_own_templates_are_rendered_as_by_transformers() {
    let reference = reference();
    let conversations: Vec<Vec<Message>> =
        serde_json::from_value(reference["conversations"].clone()).unwrap();
    for template in [MistralInstruct, ChatMl] {
        let name = template.to_string();
        assert_eq!(reference["templates"][&name]["text"], template.jinja(), "{name}");
        let mut compared = 0;
        for case in reference["cases"].as_array().unwrap().iter().filter(|case| case["template"] == *name) {
            let messages = &conversations[case["conversation"].as_u64().unwrap() as usize];
            let Ok(rendered) = ChatTemplate::render(template, messages) else { continue };
            assert_eq!(rendered.text(), case["text"].as_str().unwrap(), "{name} of {messages:?}");
            compared += 1;
        }
        assert_eq!(compared, conversations.len() - 1, "{name}");
    }
}

#[test]
fn the_text_of_a_special_token_in_a_message_stays_text() {
    let reference = reference();
    let typed = |text: &str| vec![Message::user(format!("a {text} b"))];
    for name in ["llama3", "zephyr", "gemma", "mistral", "kitchen"] {
        let template = template(&reference, name);
        for kind in ["byte_level", "metaspace"] {
            let tokenizer = tokenizer(&reference, kind);
            let special = tokenizer.special_tokens();
            assert_eq!(special.len(), 13);
            let count = |ids: &[u32]| {
                ids.iter().filter(|id| special.iter().any(|(special, _)| special == *id)).count()
            };
            let plain = count(&template.encode(&typed("x"), &tokenizer).unwrap());
            for (id, token) in &special {
                // The last two texts contain the private-use character that would replace it, and a part
                // of another token.
                for text in [token.clone(), format!("{token}{token}\u{F0000}"), format!("<{token}|>")] {
                    let ids = template.encode(&typed(&text), &tokenizer).unwrap();
                    assert_eq!(count(&ids), plain, "{name}, {kind}: {text} made a token of {id}");
                    assert!(tokenizer.decode(&ids).unwrap().contains(&text), "{name}, {kind}: {text}");
                }
            }
        }
    }
}

#[test]
fn the_end_of_turn_is_the_token_that_the_template_writes() {
    let reference = reference();
    let tokenizer = tokenizer(&reference, "byte_level");
    let ends = |name: &str| -> Vec<String> {
        template(&reference, name)
            .end_ids(&tokenizer)
            .into_iter()
            .map(|id| tokenizer.token(id).unwrap())
            .collect()
    };
    assert_eq!(ends("llama3"), ["<|eot_id|>"]);
    assert_eq!(ends("zephyr"), ["</s>"]);
    assert_eq!(ends("gemma"), ["<end_of_turn>", "<eos>"]);
    let refusing = JinjaTemplate::new("{{ raise_exception('no') }}").unwrap();
    assert!(refusing.end_ids(&tokenizer).is_empty());
}

#[test]
fn a_template_that_is_invalid_or_never_ends_is_an_error() {
    let messages = [Message::user("x")];
    for text in [
        "{% for %}",
        "{{ 1 +",
        "{% if x %}",
        "{{ x | no_such_filter }}",
        &format!("{{{{ {} }}}}", "(".repeat(100_000)),
        &format!("{{{{ {} }}}}", "[".repeat(100_000)),
    ] {
        let result = JinjaTemplate::new(text).and_then(|template| template.render(&messages));
        assert!(matches!(result, Err(Error::Jinja(_))), "{}", &text[..text.len().min(20)]);
    }
    for text in [
        "{% for i in range(90000) %}{% for i in range(90000) %}x{% endfor %}{% endfor %}",
        "{{ 'x' * 1000000000000 }}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
        "{% include 'secret' %}",
        "{{ strftime_now('%!') }}",
        "{{ messages.no.such }}",
    ] {
        let result = JinjaTemplate::new(text).and_then(|template| template.render(&messages));
        assert!(matches!(result, Err(Error::Jinja(_))), "{text}");
    }
    let today = JinjaTemplate::new("{{ strftime_now('%Y-%m-%d') }}").unwrap().render(&messages).unwrap();
    assert!(today.len() == 10 && today.starts_with("20"), "{today}");
}

/// A model folder with a reference tokenizer and this `tokenizer_config.json`.
fn folder(reference: &Value, config: &Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("tokenizer.json", &reference["tokenizers"]["byte_level"].to_string());
    write("tokenizer_config.json", &config.to_string());
    let model = r#"{"model_type": "llama", "vocab_size": 300, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": 64}"#;
    write("config.json", model);
    let tensors = ModelConfig::from_json(model).unwrap().tensors().into_iter().map(|(name, shape)| {
        let tensor = candle_core::Tensor::ones(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
        (name, tensor)
    });
    candle_core::safetensors::save(&tensors.collect(), folder.path().join("model.safetensors")).unwrap();
    folder
}

fn loaded(folder: &Path) -> Result<Template, Error> {
    Engine::load(folder, &Device::Cpu, EngineOptions::default()).map(|engine| engine.template().clone())
}

#[test]
fn a_folders_own_template_is_used_unless_it_equals_a_built_in_one() {
    let reference = reference();
    let own = &reference["templates"]["zephyr"]["text"];
    // A token is a text or an object; `add_bos_token`, a boolean, is no token.
    let config = serde_json::json!({
        "chat_template": own, "bos_token": "<s>", "eos_token": { "content": "</s>", "lstrip": false }, "add_bos_token": true, "pad_token": null,
    });
    let folder = folder(&reference, &config);
    let expected = template(&reference, "zephyr");
    assert_eq!(loaded(folder.path()).unwrap(), Template::Jinja(expected.clone()));

    // `chat_template.jinja` takes precedence.
    let jinja = folder.path().join("chat_template.jinja");
    fs::write(&jinja, ChatMl.jinja()).unwrap();
    assert_eq!(loaded(folder.path()).unwrap(), ChatMl.into());
    fs::write(&jinja, "{% for m in messages %}{{ m.content }}{% endfor %}").unwrap();
    assert_ne!(loaded(folder.path()).unwrap(), Template::Jinja(expected));
    fs::write(&jinja, "{% no %}").unwrap();
    assert!(
        matches!(loaded(folder.path()), Err(Error::Template { problem: TemplateProblem::Invalid { reason }, .. }) if reason.contains("unknown statement no"))
    );
}

/// Built-in templates were recognised by a marker in the text: Llama 2's template lost `<<SYS>>`,
/// Mistral's third version the control token `[INST]`, and SmolLM2's and Qwen2's their default system
/// message.
#[test]
fn a_template_is_replaced_by_a_built_in_one_only_if_it_formats_alike() {
    let reference = reference();
    let recognised = |text: &str, special: &[&str]| {
        let config = serde_json::json!({ "chat_template": text, "bos_token": "<s>", "eos_token": "</s>" });
        let folder = folder(&reference, &config);
        let mut tokenizer = reference["tokenizers"]["byte_level"].clone();
        let added = tokenizer["added_tokens"].as_array_mut().unwrap();
        for token in special {
            let like = added[0].clone();
            added.push(like);
            let last = added.len() - 1;
            added[last]["content"] = (*token).into();
            added[last]["id"] = (280 + last).into();
        }
        fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
        loaded(folder.path()).unwrap()
    };
    let chatml = ["<|im_start|>", "<|im_end|>"];
    let turns = "{% for m in messages %}{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|im_end|>\n' }}{% endfor %}\
                 {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    let default = "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou are a kite.<|im_end|>\n' }}{% endif %}";
    let inst = |before: &str, after: &str| {
        format!(
            "{{{{ bos_token }}}}{{% for m in messages %}}{{% if m.role == 'user' %}}{{{{ '[INST] ' ~ m.content ~ ' [/INST]' }}}}\
             {{% elif m.role == 'system' %}}{before}{{% else %}}{{{{ {after} ~ m.content ~ eos_token }}}}{{% endif %}}{{% endfor %}}"
        )
    };
    let refuses = inst("{{ raise_exception('no system message') }}", "''");
    let sys = inst("{{ '<<SYS>>' ~ m.content ~ '<</SYS>>' }}", "' '");
    let equivalent: [(&str, &[&str], Template); 4] = [
        (turns, &chatml, ChatMl.into()),
        (ChatMl.jinja(), &chatml, ChatMl.into()),
        (&refuses, &[], MistralInstruct.into()),
        (MistralInstruct.jinja(), &[], MistralInstruct.into()),
    ];
    for (text, special, expected) in equivalent {
        assert_eq!(recognised(text, special), expected, "{text}");
    }
    let trimmed = turns.replace("m.content", "(m.content | trim)");
    let own: [(&str, &[&str]); 5] = [
        (&format!("{default}{turns}"), &chatml),
        (&trimmed, &chatml),
        (turns, &[]),
        (&sys, &[]),
        (&refuses, &["[INST]", "[/INST]"]),
    ];
    for (text, special) in own {
        let Template::Jinja(template) = recognised(text, special) else {
            panic!("replaced by a built-in template: {text}")
        };
        assert_eq!(template.source(), text);
    }
}

#[test]
fn an_engine_uses_its_models_own_template() {
    use janus_core::{ChatModel as _, ChatRequest, SamplingParams};
    let reference = reference();
    let config = serde_json::json!({ "chat_template": reference["templates"]["gemma"]["text"], "bos_token": "<bos>", "eos_token": "<eos>" });
    let folder = folder(&reference, &config);
    let engine = Engine::load(folder.path(), &Device::Cpu, EngineOptions::default()).unwrap();
    let ask = |id: &str, messages: Vec<Message>| {
        ChatRequest::new(id, messages).with_sampling(SamplingParams::greedy(3))
    };
    let answers = engine.generate(&[
        ask("a", vec![Message::user("Hi")]),
        ask("b", vec![Message::system("S"), Message::user("Hi")]),
    ]);
    // <bos>, <start_of_turn>user\nHi<end_of_turn>\n, <start_of_turn>model\n
    assert_eq!(answers[0].as_ref().unwrap()[0].prompt_tokens, 1 + (1 + 5 + 2 + 1 + 1) + (1 + 6));
    let error = answers[1].as_ref().unwrap_err().to_string();
    assert!(error.contains("A system message has no place here"), "{error}");
}

/// It was refused when it loaded, although completions need no template.
#[test]
fn a_base_model_continues_texts_and_refuses_chats() {
    use janus_core::{ChatModel as _, ChatRequest, SamplingParams, TextModel as _, TextRequest};
    use janus_infer::TextEngine;
    let folder = folder(&reference(), &serde_json::json!({ "bos_token": "<bos>" }));
    let load = || Engine::load(folder.path(), &Device::Cpu, EngineOptions::default()).unwrap();
    let engine = load();
    assert!(matches!(engine.template(), Template::Absent(_)));
    let request = ChatRequest::new("a", [Message::user("Hi")]).with_sampling(SamplingParams::greedy(3));
    let error = engine.generate(&[request])[0].as_ref().unwrap_err().to_string();
    assert!(error.contains("no chat template: name the template that the model was trained with"), "{error}");
    let request = TextRequest::new("b", "Hi", SamplingParams::greedy(3));
    let prompt = |engine: Engine| {
        let mut tokens = None;
        let mut keep = |_, answer: Result<Vec<janus_core::Generation>, janus_core::ModelError>| {
            tokens = Some(answer.unwrap()[0].prompt_tokens);
        };
        TextEngine::new(engine).continue_each(std::slice::from_ref(&request), &mut keep);
        tokens.unwrap()
    };
    let plain = prompt(engine);
    // As the tokenizer's own post-processor says.
    let path = folder.path().join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let special = tokenizer["added_tokens"][0].clone();
    tokenizer["post_processor"] = serde_json::json!({
        "type": "TemplateProcessing",
        "single": [{ "SpecialToken": { "id": special["content"], "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
        "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
        "special_tokens": { (special["content"].as_str().unwrap()): { "id": special["content"], "ids": [special["id"]], "tokens": [special["content"]] } },
    });
    fs::write(&path, tokenizer.to_string()).unwrap();
    assert_eq!(prompt(load()), plain + 1);
    // Without the file of the tokenizer's settings there is no template either.
    fs::remove_file(folder.path().join("tokenizer_config.json")).unwrap();
    assert!(matches!(loaded(folder.path()).unwrap(), Template::Absent(_)));
}
