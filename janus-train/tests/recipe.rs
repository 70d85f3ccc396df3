//! Recipes with a custom objective, and with an observer that stops them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use candle_core::Device;
use janus_core::{ChatTemplate, Message, PairRecord, SftRecord};
use janus_data::mini::Mini;
use janus_data::{Dataset as _, LossMessages, TokenRow, Tokenizer, write_all};
use janus_train::recipe::{CustomObjective, DataConfig, ModelSource, ObjectiveConfig, SampleConfig, Shape};
use janus_train::{
    Batch, Decoder, Dpo, DpoConfig, Error, Head, Length, LossDenominator, LossOutput, MicroBatch, Objective,
    Recipe, Result, Sft, StepMetrics, StopReason, TrainConfig,
};
use serde_json::json;

const TEMPLATE: ChatTemplate = ChatTemplate::MistralInstruct;

/// A recipe on rows of Mini in `folder`.
fn recipe(folder: &Path, objective: ObjectiveConfig) -> Recipe {
    let mini = Mini::new(0);
    let (records, pairs): (Vec<SftRecord>, Vec<PairRecord>) = (mini.train(30, None), mini.pairs(12));
    write_all(folder.join("sft.jsonl"), &records).unwrap();
    write_all(folder.join("pairs.jsonl"), &pairs).unwrap();
    let texts = records.iter().flat_map(|record| [record.system.as_str(), &record.prompt, &record.output]);
    let tokenizer = folder.join("tokenizer.json");
    Tokenizer::train(texts, 400, TEMPLATE.special_tokens()).unwrap().save(&tokenizer).unwrap();
    let data = if objective.documents_per_example() == 1 { "sft.jsonl" } else { "pairs.jsonl" };
    let train = TrainConfig::new(Length::Steps(3), 2048, 3e-3, 1);
    Recipe::new(
        TEMPLATE,
        objective,
        ModelSource::fresh(Shape::Tiny, tokenizer),
        DataConfig::new(folder.join(data), 600),
        train,
    )
}

/// All files except those with times and durations.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|(tail, bytes)| (format!("{name}/{tail}"), bytes)));
        } else if name != "timing.jsonl" && name != "run.json" {
            found.insert(name, std::fs::read(path).unwrap());
        }
    }
    found
}

#[test]
fn a_recipe_takes_a_custom_objective() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let known = recipe(folder.path(), ObjectiveConfig::Sft {});
    let own = recipe(folder.path(), ObjectiveConfig::Custom(CustomObjective::new("imitation", 1)));
    known.run(at("known"), &Device::Cpu, &mut ()).unwrap();
    own.prepare_with(at("own"), &Device::Cpu, &mut (), |_| Ok(Sft)).unwrap().train(&mut ()).unwrap();
    let (known, own_files) = (files(&at("known")), files(&at("own")));
    for file in ["metrics.jsonl", "model/model.safetensors", "model/tokenizer.json"] {
        assert!(known[file] == own_files[file], "{file}");
    }
    let text = String::from_utf8(own_files["recipe.toml"].clone()).unwrap();
    assert!(text.contains("name = \"imitation\""), "{text}");
    assert_eq!(Recipe::read(at("own/recipe.toml")).unwrap(), own);
}

#[test]
fn a_custom_objective_gets_its_reference_and_its_settings_from_the_recipe() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let known = recipe(folder.path(), ObjectiveConfig::Dpo { beta: 0.2, label_smoothing: 0.0 });
    let mut custom = CustomObjective::new("my dpo", 2);
    custom.settings.insert("beta".into(), 0.2.into());
    let own = recipe(folder.path(), ObjectiveConfig::Custom(custom));
    known.run(at("known"), &Device::Cpu, &mut ()).unwrap();
    let run = own.prepare_with(at("own"), &Device::Cpu, &mut (), |context| {
        let config = context.settings::<DpoConfig>()?;
        Dpo::new(config, context.reference()?, context.rows())
    });
    run.unwrap().train(&mut ()).unwrap();
    let model = |run: &str| std::fs::read(at(run).join("model/model.safetensors")).unwrap();
    assert!(model("known") == model("own"));

    let mut wrong = own.clone();
    let ObjectiveConfig::Custom(custom) = &mut wrong.objective else { panic!("{:?}", wrong.objective) };
    custom.settings.insert("betta".into(), 0.2.into());
    let error = wrong.prepare_with(at("wrong"), &Device::Cpu, &mut (), |context| {
        Dpo::new(context.settings()?, context.reference()?, context.rows())
    });
    assert!(matches!(error.err(), Some(Error::Recipe { .. })));
}

#[test]
fn an_objective_that_does_not_match_the_recipe_is_refused() {
    struct Values;
    impl Objective for Values {
        fn denominator(&self, _: &Batch) -> LossDenominator {
            LossDenominator::default()
        }
        fn loss(&self, _: &Decoder, _: &MicroBatch, _: LossDenominator) -> Result<LossOutput> {
            Err(Error::NoRows)
        }
        fn heads(&self) -> &[Head] {
            &[Head::Value]
        }
        fn identity(&self) -> Result<serde_json::Value> {
            Ok("values".into())
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let (known, custom) = (ObjectiveConfig::Sft {}, |documents| {
        ObjectiveConfig::Custom(CustomObjective::new("own", documents))
    });
    let refused = |result: Result<janus_train::recipe::PreparedRun<'_>>, part: &str| match result.err() {
        Some(Error::RecipeRule { problem, .. }) => assert!(problem.contains(part), "{problem}"),
        other => panic!("{part}: {other:?}"),
    };
    let own = recipe(folder.path(), custom(1));
    refused(own.prepare(&out, &Device::Cpu, &mut ()), "Recipe::prepare_with");
    refused(
        recipe(folder.path(), known).prepare_with(&out, &Device::Cpu, &mut (), |_| Ok(Sft)),
        "not custom",
    );
    refused(
        recipe(folder.path(), custom(2)).prepare_with(&out, &Device::Cpu, &mut (), |_| Ok(Sft)),
        "documents_per_example",
    );
    refused(own.prepare_with(&out, &Device::Cpu, &mut (), |_| Ok(Values)), "heads");
    assert!(matches!(
        recipe(folder.path(), custom(3)).check(),
        Err(Error::RecipeSetting { table: "objective.", .. })
    ));
}

#[test]
fn a_recipe_that_its_observer_stops_resumes_with_the_same_files() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (name, held_out, evaluate_every) in
        [("held out", 4, Some(2)), ("at the end", 4, None), ("none held out", 0, None)]
    {
        let mut recipe = recipe(folder.path(), ObjectiveConfig::Sft {});
        recipe.data.held_out = held_out;
        recipe.train = recipe
            .train
            .with(|train| (train.length, train.evaluate_every) = (Length::Steps(4), evaluate_every));
        recipe.samples = Some(SampleConfig::new(vec!["What flies?".into()], 3));
        let (straight, stopped) = (at(&format!("{name} straight")), at(&format!("{name} stopped")));
        let trained = recipe.run(&straight, &Device::Cpu, &mut ()).unwrap();
        assert_eq!((trained.steps, trained.reason), (4, StopReason::LastStep));
        for step in [1, 2, 3] {
            let mut stop = |metrics: &StepMetrics| {
                if metrics.step == step { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            let trained = recipe.run(&stopped, &Device::Cpu, &mut stop).unwrap();
            assert_eq!((trained.steps, trained.reason), (step, StopReason::Observer), "{name}");
            let found = files(&stopped);
            for file in ["model/model.safetensors".into(), format!("samples/step-{step:06}.jsonl")] {
                assert!(found.contains_key(&file), "{name}, {file}: {:?}", found.keys());
            }
        }
        recipe.run(&stopped, &Device::Cpu, &mut ()).unwrap();
        let (expected, found) = (files(&straight), files(&stopped));
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{name}");
        for (file, bytes) in &expected {
            assert!(*bytes == found[file], "{name}: {file} differs");
        }
    }
}

/// A recipe whose data is `rows`, one JSON object a line, and its tokenizer.
pub(crate) fn on_rows(
    folder: &Path,
    objective: ObjectiveConfig,
    rows: &[serde_json::Value],
) -> (Recipe, Tokenizer) {
    let mut recipe = recipe(folder, objective);
    recipe.data.path = folder.join("rows.jsonl");
    write_all(&recipe.data.path, rows).unwrap();
    let tokenizer = Tokenizer::read(folder.join("tokenizer.json")).unwrap();
    (recipe, tokenizer)
}

pub(crate) fn all_rows(recipe: &Recipe, tokenizer: &Tokenizer) -> (Vec<TokenRow>, Vec<String>) {
    let rows = recipe.rows(tokenizer).unwrap();
    let notes = rows.notes.iter().map(ToString::to_string).collect();
    ((0..rows.train.len()).map(|row| rows.train.row(row).unwrap().into_owned()).collect(), notes)
}

pub(crate) fn turns(answer: &str) -> Vec<Message> {
    vec![
        Message::system("Be brief."),
        Message::user("My name is Ada."),
        Message::assistant("Hello, Ada."),
        Message::user("What is my name?"),
        Message::assistant(answer),
    ]
}

#[test]
fn pairs_of_several_turns_are_trained_with_everything_before_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let dialogue = |answer: &str| {
        format!(
            "Be brief.\n\nHuman: My name is Ada.\n\nAssistant: Hello, Ada.\n\nHuman: What is my name?\n\nAssistant: {answer}"
        )
    };
    let record = json!({ "system": "Be brief.", "prompt": "What is my name?", "chosen": turns("Ada.")[1..], "rejected": turns("I forgot.")[1..] });
    let transcripts = json!({ "chosen": dialogue("Ada."), "rejected": dialogue("I forgot.") });
    for objective in [
        ObjectiveConfig::Dpo { beta: 0.1, label_smoothing: 0.0 },
        ObjectiveConfig::Orpo { lambda: 0.1, nll: Default::default() },
        ObjectiveConfig::Reward { imitation: 0.0 },
    ] {
        for row in [&record, &transcripts] {
            let (recipe, tokenizer) = on_rows(folder.path(), objective.clone(), std::slice::from_ref(row));
            let (rows, notes) = all_rows(&recipe, &tokenizer);
            let whole = |answer: &str| tokenizer.conversation(TEMPLATE, &turns(answer)).unwrap();
            for (row, answer) in rows.iter().zip(["Ada.", "I forgot."]) {
                assert_eq!(row.ids, whole(answer).ids, "{objective:?}");
                let trained: Vec<u32> = row
                    .ids
                    .iter()
                    .zip(&row.loss_mask)
                    .filter(|(_, in_loss)| **in_loss)
                    .map(|(id, _)| *id)
                    .collect();
                assert_eq!(tokenizer.decode(&trained).unwrap(), answer, "only the answer is in the loss");
            }
            assert_eq!((rows.len(), notes.len()), (2, 0));
        }
    }
}

#[test]
fn conversations_of_several_turns_carry_loss_where_the_recipe_and_their_weights_say() {
    let folder = tempfile::tempdir().unwrap();
    let mut weighted = json!({ "messages": turns("Ada.") });
    weighted["messages"][2]["weight"] = json!(0);
    let rows = [
        json!({ "messages": turns("Ada.") }),
        weighted,
        json!({ "messages": [{ "role": "user", "content": "Hi?" }] }),
    ];
    let (mut recipe, tokenizer) = on_rows(folder.path(), ObjectiveConfig::Sft {}, &rows);
    let trained = |recipe: &Recipe| {
        let (rows, notes) = all_rows(recipe, &tokenizer);
        assert_eq!(notes, ["1 rows are left out: a conversation that does not end with the assistant"]);
        let labels = |row: &TokenRow| {
            let ids: Vec<u32> = row
                .ids
                .iter()
                .zip(&row.loss_mask)
                .filter(|(_, in_loss)| **in_loss)
                .map(|(id, _)| *id)
                .collect();
            tokenizer.decode(&ids).unwrap()
        };
        rows.iter().map(labels).collect::<Vec<_>>()
    };
    assert_eq!(trained(&recipe), ["Hello, Ada.Ada.", "Ada."]);
    recipe.data.loss = LossMessages::Last;
    assert_eq!(trained(&recipe), ["Ada.", "Ada."]);
}

#[test]
fn rows_that_cannot_be_read_are_skipped_and_counted_on_request_only() {
    let folder = tempfile::tempdir().unwrap();
    let good = |prompt: &str| json!({ "system": "", "question": prompt, "output": "Hello." });
    let rows = [good("Hi?"), json!({ "system": "", "question": 3, "output": "Hello." }), good("Hm?")];
    let (mut recipe, tokenizer) = on_rows(folder.path(), ObjectiveConfig::Sft {}, &rows);
    recipe.data.columns.insert("prompt".into(), "question".into());
    let error = recipe.rows(&tokenizer).err().unwrap().to_string();
    assert!(
        error.ends_with("rows.jsonl, row 2, field \"prompt\": expected a string, got a number"),
        "{error}"
    );
    recipe.data.skip_bad_rows = true;
    let (rows, notes) = all_rows(&recipe, &tokenizer);
    assert_eq!(rows.len(), 2);
    assert!(
        notes.len() == 1 && notes[0].starts_with("1 rows cannot be read and are skipped; the first: "),
        "{notes:?}"
    );
    assert_eq!(Recipe::read_with(write_toml(folder.path(), &recipe), &[] as &[&str]).unwrap(), recipe);
}

fn write_toml(folder: &Path, recipe: &Recipe) -> std::path::PathBuf {
    let path = folder.join("recipe.toml");
    std::fs::write(&path, toml::to_string(recipe).unwrap()).unwrap();
    path
}

#[test]
fn a_file_of_which_nothing_can_be_trained_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let row = json!({ "system": "", "prompt": "Hi?", "output": "Hello." });
    let (mut recipe, tokenizer) = on_rows(folder.path(), ObjectiveConfig::Sft {}, &[row.clone(), row]);
    recipe.data.max_tokens = 3;
    let error = |recipe: &Recipe| recipe.rows(&tokenizer).err().unwrap().to_string();
    assert!(
        error(&recipe)
            .ends_with("no row is left to train on: 2 of 2 rows have more than 3 tokens and are left out"),
        "{}",
        error(&recipe)
    );
    std::fs::write(&recipe.data.path, "").unwrap();
    assert!(
        error(&recipe).ends_with("no row is left to train on: the file has no rows"),
        "{}",
        error(&recipe)
    );
    std::fs::write(&recipe.data.path, "{\"rubrics\": []}\n").unwrap();
    assert!(error(&recipe).contains("set data.layout"), "{}", error(&recipe));
    let equal = json!({ "prompt": "Hi?", "chosen": "Hello.", "rejected": "Hello." });
    let (recipe, _) =
        on_rows(folder.path(), ObjectiveConfig::Dpo { beta: 0.1, label_smoothing: 0.0 }, &[equal]);
    assert!(error(&recipe).ends_with("1 pairs have equal responses and are left out"), "{}", error(&recipe));
}

#[test]
fn a_metric_that_the_objective_does_not_report_is_refused_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let mut recipe = recipe(folder.path(), ObjectiveConfig::Sft {});
    recipe.data.held_out = 4;
    recipe.train.evaluate_every = Some(1);
    recipe.train.early_stop = Some(toml::from_str("metric = \"eval_loss\"\npatience = 2").unwrap());
    let out = folder.path().join("run");
    let error = recipe.run(&out, &Device::Cpu, &mut ()).err().unwrap();
    let mut chain = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        chain += &format!(": {cause}");
        source = cause.source();
    }
    assert!(chain.contains("eval_loss") && chain.contains("loss"), "{chain}");
    let metrics = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap_or_default();
    assert_eq!(metrics, "", "no step was taken");
}

#[test]
fn a_trained_model_states_the_end_of_turn_of_the_template_that_it_was_trained_with() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = recipe(folder.path(), ObjectiveConfig::Sft {});
    let specials =
        [ChatTemplate::MistralInstruct, ChatTemplate::ChatMl].map(ChatTemplate::special_tokens).concat();
    let path = folder.path().join("tokenizer.json");
    Tokenizer::train(["one # two # three"].into_iter(), 400, &[&["<unk>", "<pad>"], &specials[..]].concat())
        .unwrap()
        .save(&path)
        .unwrap();
    let tokenizer = Tokenizer::read(&path).unwrap();
    let id = |token: &str| tokenizer.token_id(token).unwrap();
    let eos = |run: &str| {
        janus_train::ModelConfig::read(folder.path().join(run).join("model/config.json"))
            .unwrap()
            .eos_token_ids
    };
    first.train = TrainConfig::new(Length::Steps(1), 2048, 3e-3, 1);
    first.run(folder.path().join("first"), &Device::Cpu, &mut ()).unwrap();
    assert_eq!(eos("first"), [id("</s>")]);

    let mut second = first.clone();
    second.template = ChatTemplate::ChatMl.into();
    second.model = ModelSource::folder(folder.path().join("first/model"));
    second.run(folder.path().join("second"), &Device::Cpu, &mut ()).unwrap();
    assert_eq!(eos("second"), [id("<|im_end|>"), id("</s>")]);
}

#[test]
fn micro_batches_that_fill_no_step_are_counted_at_the_start() {
    struct Notes(Vec<String>);
    impl janus_train::Observer for Notes {
        fn note(&mut self, note: &janus_train::recipe::Note) {
            self.0.push(note.to_string());
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut recipe = recipe(folder.path(), ObjectiveConfig::Sft {});
    recipe.train = TrainConfig::new(Length::Epochs(1.0), 4096, 3e-3, 1);
    recipe.train.examples_per_micro_batch = Some(4);
    recipe.train.gradient_accumulation_steps = 3;
    let mut notes = Notes(Vec::new());
    recipe.prepare(folder.path().join("run"), &Device::Cpu, &mut notes).unwrap();
    assert!(
        notes.0.iter().any(|note| note.starts_with("the last 2 of 8 micro-batches do not fill a step of 3")),
        "{:?}",
        notes.0
    );
}
