//! Recipes whose data is in several files.

use candle_core::Device;
use janus_train::recipe::ObjectiveConfig;
use janus_train::{Length, TrainConfig};
use serde_json::{Value, json};

use crate::recipe::{all_rows, on_rows, turns};

#[test]
fn a_recipe_takes_a_pattern_of_files() {
    let folder = tempfile::tempdir().unwrap();
    let rows = |answers: &[&str]| -> Vec<Value> {
        answers.iter().map(|answer| json!({ "messages": turns(answer) })).collect()
    };
    let (mut recipe, tokenizer) =
        on_rows(folder.path(), ObjectiveConfig::Sft {}, &rows(&["Ada.", "Bo.", "Cy."]));
    let whole = all_rows(&recipe, &tokenizer);
    let parts = folder.path().join("parts");
    janus_data::write_all(parts.join("a.jsonl"), &rows(&["Ada.", "Bo."])).unwrap();
    janus_data::write_all(parts.join("b.jsonl.gz"), &rows(&["Cy."])).unwrap();
    recipe.data.path = parts.join("*.jsonl*");
    assert_eq!(all_rows(&recipe, &tokenizer), whole);

    recipe.train = TrainConfig::new(Length::Steps(1), 2048, 3e-3, 1);
    recipe.run(folder.path().join("run"), &Device::Cpu, &mut ()).unwrap();
    let record = std::fs::read_to_string(folder.path().join("run/run.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    let files = record["data"]["files"].as_array().unwrap();
    assert_eq!(files.len(), 2);
    assert!(files[1]["path"].as_str().unwrap().ends_with("b.jsonl.gz") && files[1]["blake3"].is_string());

    // An error names the file and the row in it.
    let later = json!({ "messages": [turns("Di.")[1], turns("Di.")[1], turns("Di.")[2]] });
    janus_data::write_all(parts.join("c.jsonl"), &[rows(&["Di."]), vec![later]].concat()).unwrap();
    let error = recipe.rows(&tokenizer).err().unwrap();
    let text = janus_core::error_chain(&error);
    assert!(text.contains("c.jsonl") && text.contains("row 2"), "{text}");

    recipe.data.path = parts.join("*.csv");
    let error = recipe.rows(&tokenizer).err().unwrap().to_string();
    assert!(error.contains("*.csv"), "{error}");
}

/// One row of the collection with three preferences stopped a run on all the others.
#[test]
fn an_odd_preference_set_stops_no_run() {
    let folder = tempfile::tempdir().unwrap();
    let row = |set: Value| json!({ "system": "Be brief.", "prompt": "Hi?", "output": "Ho.", "preference_set": set });
    let style = json!({ "dimension": "style", "subdimension": "a", "preference": "b", "description": "c" });
    let rows = [row(Value::Null), row(json!([style])), row(json!([style, style])), row(json!("none"))];
    let (recipe, tokenizer) = on_rows(folder.path(), ObjectiveConfig::Sft {}, &rows);
    let (trained, notes) = all_rows(&recipe, &tokenizer);
    assert_eq!((trained.len(), notes.len()), (4, 0));
    assert!(trained.iter().all(|row| row == &trained[0]));
}

/// `data.skip_bad_rows` skipped rows that cannot be read, and stopped at those that cannot be formatted.
#[test]
fn rows_that_the_template_refuses_are_skipped_and_counted_on_request_only() {
    let folder = tempfile::tempdir().unwrap();
    let good = turns("Ada.");
    let two_users = [&good[1..2], &good[1..]].concat();
    let conversations = [json!({ "messages": good }), json!({ "messages": two_users })];
    let pair = |prompt: &[janus_core::Message]| json!({ "input": { "messages": prompt }, "preferred_output": [good[4]], "non_preferred_output": [good[2]] });
    let pairs = [pair(&two_users[..4]), pair(&good[..4])];
    for (objective, rows, bad, documents) in [
        (ObjectiveConfig::Sft {}, conversations, 2, 1),
        (ObjectiveConfig::Dpo { beta: 0.1, label_smoothing: 0.0 }, pairs, 1, 2),
    ] {
        let (mut recipe, tokenizer) = on_rows(folder.path(), objective, &rows);
        let error = janus_core::error_chain(&recipe.rows(&tokenizer).err().unwrap());
        assert!(error.contains(&format!("row {bad}")), "{error}");
        recipe.data.skip_bad_rows = true;
        let (rows, notes) = all_rows(&recipe, &tokenizer);
        assert_eq!(rows.len(), documents);
        let expected = "1 rows are refused by the chat template and are skipped; the first: ";
        assert!(
            notes.iter().any(|note| note.starts_with(expected) && note.contains(&format!("row {bad}"))),
            "{notes:?}"
        );
    }
}

#[test]
fn what_a_recipe_says_about_its_data_without_effect_is_refused_at_its_start() {
    let folder = tempfile::tempdir().unwrap();
    let pair = json!({ "prompt": "Hi?", "chosen": "Ho.", "rejected": "No.", "sys": "Be kind." });
    let (mut recipe, tokenizer) =
        on_rows(folder.path(), ObjectiveConfig::Dpo { beta: 0.1, label_smoothing: 0.0 }, &[pair]);
    recipe.data.columns.insert("sytem".into(), "sys".into());
    let error = recipe.rows(&tokenizer).err().unwrap().to_string();
    assert!(error.contains("the mapping of the field sytem to the column sys has no effect"), "{error}");
    recipe.data.columns.clear();
    recipe.data.loss = janus_data::LossMessages::Last;
    assert!(recipe.check().unwrap_err().to_string().contains("data.loss is last"));
    recipe.data.loss = janus_data::LossMessages::All;
    (recipe.data.rows, recipe.data.held_out) = (Some(3), 3);
    assert!(recipe.check().unwrap_err().to_string().contains("data.held_out leaves no row"));
    (recipe.data.rows, recipe.data.held_out) = (None, 0);
    recipe.plan().unwrap();
    recipe.data.path = folder.path().join("none/*.jsonl");
    assert!(recipe.plan().unwrap_err().to_string().contains("no file matches"));
}

#[test]
fn a_run_says_which_fields_are_not_read_and_that_rows_exceed_the_context() {
    #[derive(Default)]
    struct Notes(Vec<String>);
    impl janus_train::Observer for Notes {
        fn note(&mut self, note: &janus_train::recipe::Note) {
            self.0.push(note.to_string());
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let long = "kite ".repeat(400);
    let rows = [json!({ "messages": turns("Ada."), "id": 1 }), json!({ "messages": turns(&long), "id": 2 })];
    let (mut recipe, _) = on_rows(folder.path(), ObjectiveConfig::Sft {}, &rows);
    recipe.data.max_tokens = 4000;
    recipe.train = TrainConfig::new(Length::Steps(1), 4096, 3e-3, 1);
    let mut notes = Notes::default();
    recipe.run(folder.path().join("run"), &Device::Cpu, &mut notes).unwrap();
    let said = |text: &str| notes.0.iter().any(|note| note.contains(text));
    assert!(said("fields that are not read, with their rows: id (2)"), "{:?}", notes.0);
    assert!(said("and the model was made for"), "{:?}", notes.0);
}
