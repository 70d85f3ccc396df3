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
