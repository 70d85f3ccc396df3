//! Training reads rows from their dataset, and only those of the current step.
use std::borrow::Cow;
use std::path::Path;
use std::sync::{Arc, Mutex};

use candle_core::Device;
use janus_core::{ChatTemplate, Message, PairRecord};
use janus_data::{Dataset, TokenFile, TokenWriter, Tokenizer, token_pairs, write_all};
use janus_train::recipe::{DataConfig, ModelSource, ObjectiveConfig, Shape};
use janus_train::{Decoder, Error, Length, ModelConfig, Recipe, Sft, TokenRow, TrainConfig, Trainer};
use rand::Rng;

fn decoder(seed: u64) -> Decoder {
    let config = ModelConfig::from_json(
        r#"{"model_type": "llama", "vocab_size": 30, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1,
            "num_attention_heads": 2, "max_position_embeddings": 64, "tie_word_embeddings": false}"#,
    )
    .unwrap();
    Decoder::init(&config, seed, &Device::Cpu).unwrap()
}

fn rows(n: usize) -> Vec<TokenRow> {
    let mut rng = janus_core::stream(5, "rows");
    (0..n)
        .map(|_| {
            let len = rng.random_range(4..12);
            TokenRow {
                ids: (0..len).map(|_| rng.random_range(0..30)).collect(),
                loss_mask: (0..len).map(|i| i >= len / 2).collect(),
            }
        })
        .collect()
}

fn token_file(folder: &Path, rows: &[TokenRow]) -> TokenFile {
    let mut writer = TokenWriter::create(folder, "f").unwrap();
    rows.iter().for_each(|row| writer.write(row).unwrap());
    writer.finish().unwrap();
    TokenFile::open(folder).unwrap()
}

/// A dataset that records which rows are read.
#[derive(Clone)]
struct Recorded {
    rows: Vec<TokenRow>,
    read: Arc<Mutex<Vec<usize>>>,
}

impl Recorded {
    fn new(rows: Vec<TokenRow>) -> Self {
        Self { rows, read: Arc::default() }
    }

    /// The rows that were read since the last call, sorted.
    fn read(&self) -> Vec<usize> {
        let mut read = std::mem::take(&mut *self.read.lock().unwrap());
        read.sort_unstable();
        read
    }
}

impl Dataset for Recorded {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn row(&self, index: usize) -> janus_data::Result<Cow<'_, TokenRow>> {
        self.read.lock().unwrap().push(index);
        self.rows.row(index).map(|row| Cow::Owned(row.into_owned()))
    }
}

#[test]
fn a_step_reads_its_own_rows_and_no_others() {
    let (train, held_out) = (Recorded::new(rows(200)), Recorded::new(rows(9)));
    let settings =
        TrainConfig::new(Length::Steps(3), 40, 1e-3, 7).with(|config| config.gradient_accumulation_steps = 2);
    let trainer = Trainer::new(decoder(1), Sft, train.clone(), settings).unwrap();
    assert_eq!(train.read(), (0..200).collect::<Vec<_>>(), "each row is checked once");
    let mut trainer = trainer.with_held_out(held_out.clone()).unwrap();
    held_out.read();
    for step in 0..3 {
        let mut expected: Vec<usize> =
            trainer.micro_batches(step).unwrap().1.into_iter().flat_map(|part| part.rows).collect();
        expected.sort_unstable();
        train.read();
        trainer.step().unwrap();
        assert_eq!(train.read(), expected);
        assert!(expected.len() < 40);
    }
    trainer.evaluate().unwrap();
    assert_eq!((held_out.read(), train.read()), ((0..9).collect(), vec![]));
}

#[test]
fn a_row_that_can_no_longer_be_read_is_an_error_that_names_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let settings = TrainConfig::new(Length::Steps(3), 40, 1e-3, 7);
    let mut trainer = Trainer::new(decoder(1), Sft, token_file(folder.path(), &rows(20)), settings).unwrap();
    trainer.step().unwrap();
    std::fs::File::options().write(true).open(folder.path().join("tokens.bin")).unwrap().set_len(8).unwrap();
    let error = trainer.step().unwrap_err();
    assert!(
        matches!(&error, Error::Data(error) if matches!(&**error, janus_data::Error::Io { path, .. } if path.ends_with("tokens.bin"))),
        "{error}"
    );
    assert_eq!(trainer.steps(), 1);
}

/// Regression: a plan had no steps unless the recipe stated the number of rows, even if the file
/// existed.
#[test]
fn a_recipes_work_is_counted_from_the_rows_of_its_token_file() {
    let folder = tempfile::tempdir().unwrap();
    let rows = rows(80);
    token_file(folder.path(), &rows);
    let mut data = DataConfig::new(folder.path(), 9);
    data.held_out = 5;
    let kept: Vec<TokenRow> = rows.into_iter().filter(|row| row.ids.len() <= 9).skip(5).collect();
    let tokens = kept.iter().map(|row| row.ids.len()).sum::<usize>() as f64;
    let model = ModelSource::fresh(Shape::Tiny, "tokenizer.json");
    for (length, expected) in [(Length::Epochs(2.0), Some(2.0 * tokens)), (Length::Steps(9), None)] {
        let train =
            TrainConfig::new(length, 40, 1e-3, 7).with(|config| config.gradient_accumulation_steps = 2);
        let recipe = Recipe::new(
            ChatTemplate::ChatMl,
            ObjectiveConfig::Sft {},
            model.clone(),
            data.clone(),
            train.clone(),
        );
        let work = recipe.work().unwrap().unwrap();
        let trainer = Trainer::new(decoder(1), Sft, kept.clone(), train).unwrap();
        assert_eq!(work.steps, trainer.total_steps());
        assert!(expected.is_none_or(|expected| work.tokens == Some(expected)), "{work:?}");
    }
    data.held_out = 80;
    let recipe = Recipe::new(
        ChatTemplate::ChatMl,
        ObjectiveConfig::Sft {},
        model,
        data,
        TrainConfig::new(Length::Steps(9), 40, 1e-3, 7),
    );
    assert!(matches!(recipe.work(), Err(Error::AllHeldOut { .. })));
}

/// Regression: a recipe for pairs kept every token in memory.
#[test]
fn a_recipe_takes_the_same_pairs_from_a_token_file_as_from_their_text() {
    let folder = tempfile::tempdir().unwrap();
    let template = ChatTemplate::ChatMl;
    let tokenizer = Tokenizer::train(["why not"].into_iter(), 300, template.special_tokens()).unwrap();
    let pairs: Vec<PairRecord> = (0..12)
        .map(|row: usize| {
            let (prompt, good, bad) =
                ("why? ".repeat(row + 1), "yes".repeat(row % 5 + 1), "no".repeat(row % 3 * 2));
            let side = |answer: &str| vec![Message::user(&prompt), Message::assistant(answer)];
            let bad = if row == 6 { good.clone() } else { bad };
            let (main_source, original_source, system) = Default::default();
            PairRecord {
                main_source,
                original_source,
                system,
                chosen: side(&good),
                rejected: side(&bad),
                prompt: prompt.clone(),
            }
        })
        .collect();
    let (text, tokens) = (folder.path().join("pairs.jsonl"), folder.path().join("tokens"));
    write_all(&text, &pairs).unwrap();
    let mut writer =
        TokenWriter::create(&tokens, "f").unwrap().of_pairs().made_with(&tokenizer, template).unwrap();
    for pair in token_pairs(&tokenizer, template, pairs.iter().map(|pair| Ok(pair.conversations()))) {
        pair.unwrap().iter().for_each(|row| writer.write(row).unwrap());
    }
    writer.finish().unwrap();
    let recipe = |objective, path: &Path| {
        let mut data = DataConfig::new(path, 60);
        data.held_out = 2;
        let train = TrainConfig::new(Length::Epochs(1.0), 200, 1e-3, 7);
        Recipe::new(template, objective, ModelSource::fresh(Shape::Tiny, "tokenizer.json"), data, train)
    };
    let dpo = || ObjectiveConfig::Dpo { beta: 0.1, label_smoothing: 0.0 };
    let [from_text, from_tokens] = [&text, &tokens].map(|path| recipe(dpo(), path).rows(&tokenizer).unwrap());
    let all = |rows: &dyn Dataset| {
        (0..rows.len()).map(|row| rows.row(row).unwrap().into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (all(&from_tokens.train), all(&from_tokens.held_out)),
        (all(&from_text.train), all(&from_text.held_out))
    );
    assert_eq!(from_tokens.notes, from_text.notes);
    assert!(from_text.notes.len() > 1, "{:?}", from_text.notes);
    let work = recipe(dpo(), &tokens).work().unwrap().unwrap();
    assert_eq!(
        work.tokens,
        Some(all(&from_text.train).iter().map(|row| row.ids.len()).sum::<usize>() as f64)
    );
    let refused = recipe(ObjectiveConfig::Sft {}, &tokens).rows(&tokenizer).err().unwrap().to_string();
    assert!(refused.contains("a token file of pairs, and the objective takes conversations"), "{refused}");
}
