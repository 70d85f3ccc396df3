//! Recipes with a custom objective, and with an observer that stops them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use candle_core::Device;
use janus_core::{ChatTemplate, PairRecord, SftRecord};
use janus_data::mini::Mini;
use janus_data::{Tokenizer, write_all};
use janus_train::recipe::{CustomObjective, DataConfig, ModelSource, ObjectiveConfig, SampleConfig, Shape};
use janus_train::{
    Batch, Decoder, Dpo, DpoConfig, Error, Head, Length, LossDenominator, LossOutput, MicroBatch, Objective, Recipe, Result, Sft,
    StepMetrics, StopReason, TrainConfig,
};

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
    Recipe::new(TEMPLATE, objective, ModelSource::fresh(Shape::Tiny, tokenizer), DataConfig::new(folder.join(data), 600), train)
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
    let error = wrong
        .prepare_with(at("wrong"), &Device::Cpu, &mut (), |context| Dpo::new(context.settings()?, context.reference()?, context.rows()));
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
    let (known, custom) = (ObjectiveConfig::Sft {}, |documents| ObjectiveConfig::Custom(CustomObjective::new("own", documents)));
    let refused = |result: Result<janus_train::recipe::PreparedRun<'_>>, part: &str| match result.err() {
        Some(Error::RecipeRule { problem, .. }) => assert!(problem.contains(part), "{problem}"),
        other => panic!("{part}: {other:?}"),
    };
    let own = recipe(folder.path(), custom(1));
    refused(own.prepare(&out, &Device::Cpu, &mut ()), "Recipe::prepare_with");
    refused(recipe(folder.path(), known).prepare_with(&out, &Device::Cpu, &mut (), |_| Ok(Sft)), "not custom");
    refused(recipe(folder.path(), custom(2)).prepare_with(&out, &Device::Cpu, &mut (), |_| Ok(Sft)), "documents_per_example");
    refused(own.prepare_with(&out, &Device::Cpu, &mut (), |_| Ok(Values)), "heads");
    assert!(matches!(recipe(folder.path(), custom(3)).check(), Err(Error::RecipeSetting { table: "objective.", .. })));
}

#[test]
fn a_recipe_that_its_observer_stops_resumes_with_the_same_files() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (name, held_out, evaluate_every) in [("held out", 4, Some(2)), ("at the end", 4, None), ("none held out", 0, None)] {
        let mut recipe = recipe(folder.path(), ObjectiveConfig::Sft {});
        recipe.data.held_out = held_out;
        recipe.train = recipe.train.with(|train| (train.length, train.evaluate_every) = (Length::Steps(4), evaluate_every));
        recipe.samples = Some(SampleConfig::new(vec!["What flies?".into()], 3));
        let (straight, stopped) = (at(&format!("{name} straight")), at(&format!("{name} stopped")));
        let trained = recipe.run(&straight, &Device::Cpu, &mut ()).unwrap();
        assert_eq!((trained.steps, trained.reason), (4, StopReason::LastStep));
        for step in [1, 2, 3] {
            let mut stop = |metrics: &StepMetrics| if metrics.step == step { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
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
