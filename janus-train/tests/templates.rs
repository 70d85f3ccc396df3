//! Recipes that train with the template of their model, and what is written beside the trained model.

use std::path::{Path, PathBuf};

use candle_core::Device;
use janus_core::ChatTemplate;
use janus_data::ConversationFormat as _;
use janus_infer::{ModelFolder, Template};
use janus_train::recipe::{ModelSource, ObjectiveConfig, RecipeTemplate};
use janus_train::{Length, Recipe, TrainConfig};
use serde_json::{Map, Value, json};

use crate::recipe::{all_rows, on_rows, turns};

const OWN: &str = "{% for m in messages %}<|im_start|>{{ m.role | upper }}:\n{{ m.content | trim }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>ASSISTANT:\n{% endif %}";

fn read(path: PathBuf) -> Map<String, Value> {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A recipe on these rows that starts from a ChatML model with settings of its own, and with this template.
fn from_model(folder: &Path, template: &str, rows: &[Value]) -> (Recipe, PathBuf) {
    let (mut first, _) = on_rows(folder, ObjectiveConfig::Sft {}, rows);
    first.template = ChatTemplate::ChatMl.into();
    first.train = TrainConfig::new(Length::Steps(1), 2048, 3e-3, 1);
    let texts = ["Be brief. My name is Ada. Hello, What is I forgot."];
    let specials = ChatTemplate::ChatMl.special_tokens();
    let path = first.model.tokenizer.clone().unwrap();
    janus_data::Tokenizer::train(texts.into_iter(), 400, specials).unwrap().save(path).unwrap();
    first.run(folder.join("first"), &Device::Cpu, &mut ()).unwrap();
    let model = folder.join("first/model");
    let mut config = read(model.join("tokenizer_config.json"));
    config.extend(
        json!({ "chat_template": template, "bos_token": "<|im_start|>", "model_max_length": 77, "pad_token": "<|im_end|>" })
            .as_object()
            .unwrap()
            .clone(),
    );
    std::fs::write(model.join("tokenizer_config.json"), Value::Object(config).to_string()).unwrap();
    let generation = json!({ "temperature": 0.6, "eos_token_id": 0, "pad_token_id": 1 });
    std::fs::write(model.join("generation_config.json"), generation.to_string()).unwrap();
    let mut second = first;
    second.template = RecipeTemplate::Own;
    second.model = ModelSource::folder(&model);
    (second, model)
}

#[test]
fn a_recipe_trains_with_the_template_of_its_model() {
    let folder = tempfile::tempdir().unwrap();
    let rows = [json!({ "messages": turns("Ada.") })];
    let (recipe, source) = from_model(folder.path(), OWN, &rows);
    assert_eq!(toml::from_str::<Recipe>(&toml::to_string(&recipe).unwrap()).unwrap(), recipe);

    let source = ModelFolder::new(source);
    let tokenizer = source.tokenizer().unwrap();
    let own = source.template(&tokenizer).unwrap();
    assert!(matches!(own, Template::Jinja(_)));
    let (trained, notes) = all_rows(&recipe, &tokenizer);
    assert_eq!((trained.len(), notes.len()), (1, 0));
    let expected = own.row(&tokenizer, &turns("Ada."), &|_| true).unwrap();
    assert_eq!(trained[0], expected);
    let labels: Vec<u32> = expected
        .ids
        .iter()
        .zip(&expected.loss_mask)
        .filter(|(_, in_loss)| **in_loss)
        .map(|(id, _)| *id)
        .collect();
    assert_eq!(tokenizer.decode(&labels).unwrap(), "Hello, Ada.Ada.");

    recipe.run(folder.path().join("second"), &Device::Cpu, &mut ()).unwrap();
    let model = ModelFolder::new(folder.path().join("second/model"));
    let template = model.template(&tokenizer).unwrap();
    assert_eq!(template, own);
    // What inference prefills is what was trained before the answer.
    let messages = turns("Ada.");
    let last = messages.len() - 1;
    let prompt = template.encode_prompt(&messages[..last], &model.tokenizer().unwrap()).unwrap();
    assert!(expected.ids.starts_with(&prompt) && prompt.len() < expected.ids.len());
}

/// `pad_token`, `model_max_length`, `bos_token` and the file of generation settings were lost.
#[test]
fn settings_of_the_tokenizer_and_of_generation_are_kept() {
    for template in [RecipeTemplate::Own, ChatTemplate::ChatMl.into()] {
        let folder = tempfile::tempdir().unwrap();
        let rows = [json!({ "messages": turns("Ada.") })];
        let (mut recipe, _) = from_model(folder.path(), OWN, &rows);
        recipe.template = template;
        recipe.run(folder.path().join("second"), &Device::Cpu, &mut ()).unwrap();
        let model = folder.path().join("second/model");
        let config = read(model.join("tokenizer_config.json"));
        for (key, value) in [
            ("model_max_length", json!(77)),
            ("pad_token", json!("<|im_end|>")),
            ("bos_token", json!("<|im_start|>")),
        ] {
            assert_eq!(config[key], value, "{template} {key}");
        }
        let generation = read(model.join("generation_config.json"));
        assert_eq!((&generation["temperature"], &generation["pad_token_id"]), (&json!(0.6), &json!(1)));
        // Every file states the same end tokens.
        let ends = ModelFolder::new(&model).config().unwrap().model.eos_token_ids;
        let stated = &generation["eos_token_id"];
        let stated: Vec<u32> = match stated {
            Value::Array(ids) => ids.iter().map(|id| id.as_u64().unwrap() as u32).collect(),
            id => vec![id.as_u64().unwrap() as u32],
        };
        assert_eq!(stated, ends, "{template}");
        let tokenizer = ModelFolder::new(&model).tokenizer().unwrap();
        assert!(ends.contains(&tokenizer.token_id("<|im_end|>").unwrap()));
    }
}

#[test]
fn a_row_that_the_template_changes_later_is_refused_with_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let drops = OWN.replace(
        "{{ m.content | trim }}",
        "{{ m.content | trim if m.role != 'assistant' or loop.last else '...' }}",
    );
    let one = json!({ "messages": turns("Ada.")[..3] });
    let rows = [one, json!({ "messages": turns("Ada.") })];
    let (mut recipe, model) = from_model(folder.path(), &drops, &rows);
    let tokenizer = ModelFolder::new(model).tokenizer().unwrap();
    let error = recipe.rows(&tokenizer).err().unwrap();
    let text = janus_core::error_chain(&error);
    assert!(text.contains("row 2") && text.contains("message 2"), "{text}");
    // The last answer alone can be trained.
    recipe.data.loss = janus_data::LossMessages::Last;
    assert_eq!(all_rows(&recipe, &tokenizer).0.len(), 2);
}

#[test]
fn a_fresh_model_has_no_template_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (mut recipe, _) =
        on_rows(folder.path(), ObjectiveConfig::Sft {}, &[json!({ "messages": turns("Ada.") })]);
    recipe.template = RecipeTemplate::Own;
    let error = recipe.check().unwrap_err().to_string();
    assert!(error.contains("template is own"), "{error}");
}
