//! Every source's rows as ours: hand-made rows of each layout, and the samples of those that are at hand.
#![expect(clippy::unwrap_used, reason = "a helper of tests may panic as a test may")]

use janus_core::{Message, Role};
use janus_data::sources::{Comparison, Conversation, Example, RowError, Source};
use serde_json::{Value, json};

fn example(source: Source, row: Value) -> Result<Example, RowError> {
    source.example(row.as_object().unwrap())
}

fn pair(source: Source, row: Value) -> Comparison {
    match example(source, row).unwrap() {
        Example::Comparison(pair) => pair,
        other => panic!("{other:?}"),
    }
}

fn talk(source: Source, row: Value) -> Conversation {
    match example(source, row).unwrap() {
        Example::Conversation(conversation) => conversation,
        other => panic!("{other:?}"),
    }
}

fn texts(pair: &Comparison) -> (Vec<&str>, &str, &str) {
    (pair.prompt.iter().map(|message| message.content.as_str()).collect(), &pair.chosen, &pair.rejected)
}

fn messages(texts: [&str; 2]) -> Value {
    json!([{"role": "user", "content": texts[0]}, {"role": "assistant", "content": texts[1]}])
}

#[test]
fn each_source_of_comparisons() {
    let hh = json!({"chosen": "\n\nHuman: A\n\nAssistant: B\n\nHuman: C\n\nAssistant: good", "rejected": "\n\nHuman: A\n\nAssistant: B\n\nHuman: C\n\nAssistant: bad"});
    assert_eq!(texts(&pair(Source::HhRlhf, hh)), (vec!["A", "B", "C"], "good", "bad"));
    let cleaned = json!({"text": ["\n\nHuman: A\n\nAssistant: bad", "\n\nHuman: A\n\nAssistant: good"], "score": [0.0, 1.0]});
    assert_eq!(texts(&pair(Source::HhRlhf, cleaned)), (vec!["A"], "good", "bad"));

    let oasst =
        json!({"lang": "en", "parent_id": "x", "prompt": "prompter: A assistant: B prompter: C", "chosen": "good", "rejected": "bad"});
    let found = pair(Source::Oasst1Pairwise, oasst);
    assert_eq!(texts(&found), (vec!["A", "B", "C"], "good", "bad"));
    assert_eq!((found.main_source.as_str(), found.original_source.as_str()), ("oasst1-pairwise", "en"));

    let webgpt = |scores: [f64; 2]| json!({"question": {"full_text": "Q"}, "answer_0": "zero", "answer_1": "one", "score_0": scores[0], "score_1": scores[1]});
    assert_eq!(texts(&pair(Source::WebGpt, webgpt([0.5, -0.5]))), (vec!["Q"], "zero", "one"));
    assert_eq!(texts(&pair(Source::WebGpt, webgpt([-0.5, 0.5]))), (vec!["Q"], "one", "zero"));
    assert_eq!(example(Source::WebGpt, webgpt([0.0, 0.0])).unwrap(), Example::Nothing("tie"));
    assert_eq!(
        Source::WebGpt.instruction(webgpt([0.0, 0.0]).as_object().unwrap()).unwrap().unwrap().prompt,
        "Q",
        "a tie has an instruction"
    );

    for source in [Source::UltraFeedback, Source::OpenHermesPreferences] {
        let row = json!({"source": "flan", "prompt": "Q", "chosen": messages(["Q", "good"]), "rejected": messages(["Q", "bad"])});
        let found = pair(source, row);
        assert_eq!((texts(&found), found.original_source.as_str()), ((vec!["Q"], "good", "bad"), "flan"));
    }

    let nectar = json!({"prompt": "\n\nHuman: Q\n\nAssistant: ", "source": ["lmsys"], "answers": [
        {"answer": " second", "rank": 2.0, "model": "b"}, {"answer": " best", "rank": 1.0, "model": "a"}, {"answer": " worst", "rank": 3.0, "model": "c"}]});
    let found = pair(Source::Nectar, nectar);
    assert_eq!((texts(&found), found.original_source.as_str()), ((vec!["Q"], "best", "worst"), "lmsys"));

    let arena = |winner: &str| json!({"question_id": "7", "winner": winner, "conversation_a": messages(["Q", "a"]), "conversation_b": messages(["Q", "b"])});
    assert_eq!(texts(&pair(Source::ChatbotArena, arena("model_b"))), (vec!["Q"], "b", "a"));
    assert_eq!(example(Source::ChatbotArena, arena("tie (bothbad)")).unwrap(), Example::Nothing("tie"));
    let instruction = Source::ChatbotArena.instruction(arena("tie").as_object().unwrap()).unwrap().unwrap();
    assert_eq!((instruction.id.as_str(), instruction.prompt.as_str()), ("7", "Q"));

    let reward = json!({"input": "S\nQ", "chosen": "good", "rejected": "bad"});
    assert_eq!(texts(&pair(Source::Reward, reward)), (vec!["S\nQ"], "good", "bad"));
    let pairs = json!({"system": "S", "prompt": "Q", "chosen": messages(["Q", "good"]), "rejected": messages(["Q", "bad"])});
    assert_eq!(texts(&pair(Source::Pairs, pairs)), (vec!["S", "Q"], "good", "bad"));
}

#[test]
fn each_source_of_conversations_and_instructions() {
    let roles = |conversation: &Conversation| conversation.messages.iter().map(|m| (m.role, m.content.clone())).collect::<Vec<_>>();
    let flask = talk(Source::Flask, json!({"idx": 3, "instruction": "Q", "answer": "A", "task": "t"}));
    assert_eq!((roles(&flask), flask.original_source.as_str()), (vec![(Role::User, "Q".into()), (Role::Assistant, "A".into())], "t"));
    let own = json!({"id": "x", "motivation_app": "m", "instruction": "Do it.", "instances": [{"input": "this", "output": "done"}]});
    assert_eq!(talk(Source::SelfInstruct, own.clone()).messages[0], Message::user("Do it.\nthis"));
    assert_eq!(Source::SelfInstruct.instruction(own.as_object().unwrap()).unwrap().unwrap().id, "x");
    assert_eq!(talk(Source::AlpacaEval, json!({"instruction": "Q", "dataset": "koala", "reference_output": "A"})).original_source, "koala");

    let alpaca = json!({"instruction": "Q", "input": "I", "output": "A", "system": "S", "history": [["q", "a"]]});
    let found = talk(Source::Alpaca, alpaca);
    assert_eq!(found.messages.iter().map(|m| m.content.as_str()).collect::<Vec<_>>(), ["S", "q", "a", "Q\nI", "A"]);
    assert!(found.sft().is_none(), "several turns");
    let openai =
        json!({"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]});
    let record = talk(Source::OpenAi, openai).sft().unwrap();
    assert_eq!((record.system.as_str(), record.prompt.as_str(), record.output.as_str()), ("S", "Q", "A"));
    let preferred = json!({"input": {"messages": [{"role": "user", "content": "Q"}]}, "preferred_output": [{"role": "assistant", "content": "good"}],
        "non_preferred_output": [{"role": "assistant", "content": "bad"}]});
    assert_eq!(texts(&pair(Source::OpenAi, preferred)), (vec!["Q"], "good", "bad"));
    let sharegpt = json!({"conversations": [{"from": "human", "value": "Q"}], "chosen": {"from": "gpt", "value": "good"}, "rejected": {"from": "gpt", "value": "bad"}});
    assert_eq!(texts(&pair(Source::ShareGpt, sharegpt)), (vec!["Q"], "good", "bad"));

    let instruction = |source: Source, row: Value| source.instruction(row.as_object().unwrap()).unwrap().unwrap();
    let koala = instruction(Source::Koala, json!({"id": "koala_0", "prompt": "Q"}));
    assert_eq!((koala.id.as_str(), koala.main_source.as_str()), ("koala_0", "koala"));
    let mt = instruction(Source::MtBench, json!({"question_id": 81, "category": "writing", "turns": ["first", "second"]}));
    assert_eq!((mt.id.as_str(), mt.prompt.as_str(), mt.original_source.as_str()), ("81", "first", "writing"));
    assert_eq!(instruction(Source::Dsp, json!({"query": "Q", "responses": {"academy": "A"}})).prompt, "Q");
}

#[test]
fn what_is_wrong_is_named() {
    for (source, row, error) in [
        (Source::Koala, json!({"id": "x"}), "field \"prompt\": missing"),
        (Source::Koala, json!({"id": "x", "prompt": 3}), "field \"prompt\": expected a text, got a number"),
        (Source::MtBench, json!({"turns": []}), "field \"turns\": expected a list of texts, got a list without a text"),
        (Source::WebGpt, json!({"question": {}, "score_0": 1, "score_1": 0}), "field \"question.full_text\": missing"),
        (
            Source::Nectar,
            json!({"prompt": "\n\nHuman: Q", "answers": [{"answer": "a", "rank": "x"}]}),
            "field \"answers[0].rank\": expected a number, got a text",
        ),
        (
            Source::UltraFeedback,
            json!({"chosen": messages(["Q", "A"]), "rejected": messages(["R", "B"])}),
            "field \"rejected\": the conversations differ before their last message",
        ),
        (
            Source::OpenAi,
            json!({"messages": [{"role": "robot", "content": ""}]}),
            "field \"messages[0].role\": expected system, user or assistant, got robot",
        ),
        (Source::HhRlhf, json!({"chosen": "Hello", "rejected": "Hello"}), "field \"chosen\": the dialogue does not begin with \"Human:\""),
        (
            Source::Alpaca,
            json!({"instruction": "Q", "output": "A", "history": [["only"]]}),
            "field \"history[0]\": expected two texts, got a list",
        ),
    ] {
        assert_eq!(example(source, row).unwrap_err().to_string(), error);
    }
}

/// What becomes of the samples: all rows are read, and each source's share of what is left out is what it should be.
#[test]
#[cfg_attr(not(has_shared), ignore = "needs ../shared")]
fn the_samples_are_read_whole() {
    let count = |source: Source, file: &str| {
        let path = format!("{}/../../shared/data/{file}", env!("CARGO_MANIFEST_DIR"));
        let (mut pairs, mut conversations, mut instructions, mut nothing) = (0, 0, 0, 0);
        for row in janus_data::read::<janus_data::Row>(&path).unwrap() {
            let row = row.unwrap();
            match source.example(&row).unwrap_or_else(|error| panic!("{file}: {error}")) {
                Example::Comparison(pair) => {
                    assert!(pair.prompt.last().unwrap().role == Role::User, "{file}");
                    pairs += 1;
                }
                Example::Conversation(_) => conversations += 1,
                Example::Instruction(_) => instructions += 1,
                Example::Nothing(_) => nothing += 1,
            }
        }
        (pairs, conversations, instructions, nothing)
    };
    // One row has an empty answer; in another, an answer is broken into two turns, which are joined. WebGPT has 69 ties.
    assert_eq!(count(Source::HhRlhf, "preferences/hh_rlhf_harmless_base_test.jsonl.gz"), (399, 0, 0, 1));
    assert_eq!(count(Source::HhRlhf, "preferences/hh_rlhf_helpful_cleaned_test.jsonl.gz"), (300, 0, 0, 0));
    assert_eq!(count(Source::WebGpt, "preferences/webgpt_comparisons_cleaned_test.jsonl.gz"), (181, 0, 0, 69));
    assert_eq!(count(Source::Dsp, "preferences/domain_specific_preference_test.jsonl.gz"), (0, 0, 250, 0));
    assert_eq!(count(Source::ShareGpt, "preferences/dpo_en_demo.jsonl.gz"), (150, 0, 0, 0));
    assert_eq!(count(Source::Flask, "bench_sources/flask_evaluation.jsonl.gz"), (0, 1740, 0, 0));
    assert_eq!(count(Source::Koala, "bench_sources/koala_test_set.jsonl.gz"), (0, 0, 180, 0));
    assert_eq!(count(Source::SelfInstruct, "bench_sources/self_instruct_user_oriented.jsonl.gz"), (0, 252, 0, 0));
    assert_eq!(count(Source::MtBench, "mt_bench/question.jsonl"), (0, 0, 80, 0));
    assert_eq!(count(Source::AlpacaEval, "alpaca_eval/eval_set.jsonl.gz"), (0, 805, 0, 0));
}

/// The overlaps that the samples' own description counts.
#[test]
#[cfg_attr(not(has_shared), ignore = "needs ../shared")]
fn the_bench_sources_overlap_as_described() {
    use janus_data::instructions::{exact_duplicates, normalised};
    let read = |source: Source, file: &str| -> Vec<String> {
        let path = format!("{}/../../shared/data/{file}", env!("CARGO_MANIFEST_DIR"));
        janus_data::read::<janus_data::Row>(&path).unwrap().map(|row| source.instruction(&row.unwrap()).unwrap().unwrap().prompt).collect()
    };
    let alpaca = read(Source::AlpacaEval, "alpaca_eval/eval_set.jsonl.gz");
    let koala = read(Source::Koala, "bench_sources/koala_test_set.jsonl.gz");
    let known: std::collections::HashSet<String> = alpaca.iter().map(|text| normalised(text)).collect();
    assert_eq!(koala.iter().filter(|text| known.contains(&normalised(text))).count(), 144);
    let all = [alpaca, koala].concat();
    let duplicates = exact_duplicates(&all);
    assert!(duplicates.count() >= 144 && duplicates.kept().count() + duplicates.count() == all.len());
}
