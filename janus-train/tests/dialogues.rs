//! Twenty dialogues in the layout of HH-RLHF, through conversion and every objective.

use std::path::Path;

use janus_core::{ChatTemplate, Message, PairRecord};
use janus_data::sources::Source;
use janus_data::{Row, Target, TokenRow, Tokenizer, convert, read};
use janus_infer::Template;
use janus_train::recipe::ObjectiveConfig;
use serde_json::{Value, json};

use crate::recipe::{all_rows, on_rows};

/// The questions and answers of a dialogue; the last answer is the one that is compared.
fn turns(number: usize) -> Vec<(String, String)> {
    let name = ["Ada", "Bo", "Cy", "Di"][number % 4];
    let asked = ["What is my name?", "Name a river.", "Why?", "Is that\nsafe?", "Thank you!"];
    let said = [
        format!("You are {name}."),
        "The Nile.".into(),
        "It is long.".into(),
        "Yes, if you\nare careful.".into(),
        "Good bye.".into(),
    ];
    let first = (format!("My name is {name} and I am number {number}."), format!("Hello, {name}."));
    let rest = (0..number % 5).map(|turn| (asked[turn].to_string(), said[turn].clone()));
    std::iter::once(first).chain(rest).collect()
}

fn hh(turns: &[(String, String)], last: &str) -> String {
    let (final_turn, before) = turns.split_last().unwrap();
    let mut text = String::new();
    for (question, answer) in before {
        text += &format!("\n\nHuman: {question}\n\nAssistant: {answer}");
    }
    text + &format!("\n\nHuman: {}\n\nAssistant: {last}", final_turn.0)
}

/// The ids of everything before the last answer, put together by hand from the layout of mistral-instruct.
fn prompt_by_hand(turns: &[(String, String)], tokenizer: &Tokenizer) -> Vec<u32> {
    let special = |token: &str| tokenizer.token_id(token).unwrap();
    let mut ids = vec![special("<s>")];
    for (at, (question, answer)) in turns.iter().enumerate() {
        ids.extend(tokenizer.encode(&format!("[INST] {question} [/INST]")).unwrap());
        if at + 1 < turns.len() {
            ids.extend(tokenizer.encode(answer).unwrap());
            ids.push(special("</s>"));
        }
    }
    ids
}

fn answer_by_hand(answer: &str, tokenizer: &Tokenizer) -> Vec<u32> {
    let mut ids = tokenizer.encode(answer).unwrap();
    ids.push(tokenizer.token_id("</s>").unwrap());
    ids
}

fn converted(folder: &Path, from: &Path) -> Vec<Value> {
    let out = folder.join("pairs.converted.jsonl");
    let source = Source::all().find(|source| source.name() == "hh-rlhf").unwrap();
    let rows = read::<Row>(from).unwrap();
    let done =
        convert(rows, (&*source, from), Target::Records(janus_data::RecordKind::Pairs), &out, None).unwrap();
    assert_eq!((done.read, done.written), (20, 20));
    let records: Vec<PairRecord> = janus_data::read_all(&out).unwrap();
    records.iter().map(|record| json!(record)).collect()
}

#[test]
fn dialogues_have_one_prompt_in_every_objective_and_in_inference() {
    let folder = tempfile::tempdir().unwrap();
    let dialogues: Vec<Vec<(String, String)>> = (0..20).map(turns).collect();
    let worse = "I do not know.";
    let rows: Vec<Value> = dialogues
        .iter()
        .map(|turns| json!({ "chosen": hh(turns, &turns.last().unwrap().1), "rejected": hh(turns, worse) }))
        .collect();
    let (recipe, tokenizer) = on_rows(folder.path(), ObjectiveConfig::Sft {}, &rows);
    let pairs = converted(folder.path(), &recipe.data.path);
    let expected: Vec<[TokenRow; 2]> = dialogues
        .iter()
        .map(|turns| {
            [turns.last().unwrap().1.as_str(), worse].map(|answer| {
                let (prompt, answer) =
                    (prompt_by_hand(turns, &tokenizer), answer_by_hand(answer, &tokenizer));
                let mask = [vec![false; prompt.len()], vec![true; answer.len()]].concat();
                ([prompt, answer].concat(), mask).into()
            })
        })
        .collect();
    for objective in [
        ObjectiveConfig::Dpo { beta: 0.1, label_smoothing: 0.0 },
        ObjectiveConfig::Orpo { lambda: 0.1, nll: Default::default() },
        ObjectiveConfig::Reward { imitation: 0.0 },
    ] {
        for rows in [&rows, &pairs] {
            let (recipe, tokenizer) = on_rows(folder.path(), objective.clone(), rows);
            let (found, notes) = all_rows(&recipe, &tokenizer);
            assert_eq!((found, notes.len()), (expected.concat(), 0), "{objective:?}");
        }
    }
    let mut recipe = recipe;
    recipe.data.loss = janus_data::LossMessages::Last;
    janus_data::write_all(&recipe.data.path, &rows).unwrap();
    let (chosen, notes) = all_rows(&recipe, &tokenizer);
    assert_eq!(chosen, expected.iter().map(|[chosen, _]| chosen.clone()).collect::<Vec<_>>());
    assert_eq!(notes, ["20 rows are pairs: only their chosen responses are trained on"]);

    // What `generate` and `serve` prefill.
    for (turns, [chosen, _]) in dialogues.iter().zip(&expected) {
        let mut messages: Vec<Message> = turns
            .iter()
            .flat_map(|(question, answer)| {
                [Message::user(question.as_str()), Message::assistant(answer.as_str())]
            })
            .collect();
        messages.pop();
        let template = Template::from(ChatTemplate::MistralInstruct);
        let prompt = template.encode_prompt(&messages, &tokenizer).unwrap();
        assert_eq!(prompt[..], chosen.ids[..prompt.len()]);
        assert!(!chosen.loss_mask[prompt.len() - 1] && chosen.loss_mask[prompt.len()]);
    }
}
