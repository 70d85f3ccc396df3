//! Reads the rows of every source, hand-written in each layout. Published files are read by `cargo xtask eval
//! verify DATA`.

use janus_core::{Message, Role};
use janus_data::sources::{Comparison, Conversation, RowContent, RowError, Source};
use serde_json::{Value, json};

fn example(source: &str, row: Value) -> Result<RowContent, RowError> {
    named(source).content(row.as_object().unwrap())
}

fn named(source: &str) -> Source {
    source.parse().unwrap()
}

fn pair(source: &str, row: Value) -> Comparison {
    match example(source, row).unwrap() {
        RowContent::Comparison(pair) => pair,
        other => panic!("{other:?}"),
    }
}

fn conversation(source: &str, row: Value) -> Conversation {
    match example(source, row).unwrap() {
        RowContent::Conversation(conversation) => conversation,
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
    assert_eq!(texts(&pair("hh-rlhf", hh)), (vec!["A", "B", "C"], "good", "bad"));
    let cleaned = json!({"text": ["\n\nHuman: A\n\nAssistant: bad", "\n\nHuman: A\n\nAssistant: good"], "score": [0.0, 1.0]});
    assert_eq!(texts(&pair("hh-rlhf", cleaned)), (vec!["A"], "good", "bad"));

    let oasst = json!({"lang": "en", "parent_id": "x", "prompt": "prompter: A assistant: B prompter: C", "chosen": "good", "rejected": "bad"});
    let found = pair("oasst1-pairwise", oasst);
    assert_eq!(texts(&found), (vec!["A", "B", "C"], "good", "bad"));
    assert_eq!((found.main_source.as_str(), found.original_source.as_str()), ("oasst1-pairwise", "en"));

    let webgpt = |scores: [f64; 2]| json!({"question": {"full_text": "Q"}, "answer_0": "zero", "answer_1": "one", "score_0": scores[0], "score_1": scores[1]});
    assert_eq!(texts(&pair("webgpt", webgpt([0.5, -0.5]))), (vec!["Q"], "zero", "one"));
    assert_eq!(texts(&pair("webgpt", webgpt([-0.5, 0.5]))), (vec!["Q"], "one", "zero"));
    assert_eq!(example("webgpt", webgpt([0.0, 0.0])).unwrap(), RowContent::Skip("tie"));
    assert_eq!(
        named("webgpt").instruction(webgpt([0.0, 0.0]).as_object().unwrap()).unwrap().unwrap().prompt,
        "Q",
        "a tie has an instruction"
    );

    for source in ["ultrafeedback", "openhermes"] {
        let row = json!({"source": "flan", "prompt": "Q", "chosen": messages(["Q", "good"]), "rejected": messages(["Q", "bad"])});
        let found = pair(source, row);
        assert_eq!((texts(&found), found.original_source.as_str()), ((vec!["Q"], "good", "bad"), "flan"));
    }

    let nectar = json!({"prompt": "\n\nHuman: Q\n\nAssistant: ", "source": ["lmsys"], "answers": [
        {"answer": " second", "rank": 2.0, "model": "b"}, {"answer": " best", "rank": 1.0, "model": "a"}, {"answer": " worst", "rank": 3.0, "model": "c"}]});
    let found = pair("nectar", nectar);
    assert_eq!((texts(&found), found.original_source.as_str()), ((vec!["Q"], "best", "worst"), "lmsys"));

    let arena = |winner: &str| json!({"question_id": "7", "winner": winner, "conversation_a": messages(["Q", "a"]), "conversation_b": messages(["Q", "b"])});
    assert_eq!(texts(&pair("chatbot-arena", arena("model_b"))), (vec!["Q"], "b", "a"));
    assert_eq!(example("chatbot-arena", arena("tie (bothbad)")).unwrap(), RowContent::Skip("tie"));
    let instruction = named("chatbot-arena").instruction(arena("tie").as_object().unwrap()).unwrap().unwrap();
    assert_eq!((instruction.id.as_str(), instruction.prompt.as_str()), ("7", "Q"));

    let reward = json!({"input": "S\nQ", "chosen": "good", "rejected": "bad"});
    assert_eq!(texts(&pair("reward", reward)), (vec!["S\nQ"], "good", "bad"));
    let pairs = json!({"system": "S", "prompt": "Q", "chosen": messages(["Q", "good"]), "rejected": messages(["Q", "bad"])});
    assert_eq!(texts(&pair("pairs", pairs)), (vec!["S", "Q"], "good", "bad"));
}

#[test]
fn each_source_of_conversations_and_instructions() {
    let roles = |conversation: &Conversation| {
        conversation.messages.iter().map(|m| (m.role, m.content.clone())).collect::<Vec<_>>()
    };
    let flask = conversation("flask", json!({"idx": 3, "instruction": "Q", "answer": "A", "task": "t"}));
    assert_eq!(
        (roles(&flask), flask.original_source.as_str()),
        (vec![(Role::User, "Q".into()), (Role::Assistant, "A".into())], "t")
    );
    let own = json!({"id": "x", "motivation_app": "m", "instruction": "Do it.", "instances": [{"input": "this", "output": "done"}]});
    assert_eq!(conversation("self-instruct", own.clone()).messages[0], Message::user("Do it.\nthis"));
    assert_eq!(named("self-instruct").instruction(own.as_object().unwrap()).unwrap().unwrap().id, "x");
    assert_eq!(
        conversation("alpaca-eval", json!({"instruction": "Q", "dataset": "koala", "reference_output": "A"}))
            .original_source,
        "koala"
    );

    let alpaca =
        json!({"instruction": "Q", "input": "I", "output": "A", "system": "S", "history": [["q", "a"]]});
    let found = conversation("alpaca", alpaca);
    assert_eq!(
        found.messages.iter().map(|m| m.content.as_str()).collect::<Vec<_>>(),
        ["S", "q", "a", "Q\nI", "A"]
    );
    assert!(found.sft().is_none(), "several turns");
    let openai = json!({"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]});
    let record = conversation("openai", openai).sft().unwrap();
    assert_eq!((record.system.as_str(), record.prompt.as_str(), record.output.as_str()), ("S", "Q", "A"));
    let preferred = json!({"input": {"messages": [{"role": "user", "content": "Q"}]}, "preferred_output": [{"role": "assistant", "content": "good"}],
        "non_preferred_output": [{"role": "assistant", "content": "bad"}]});
    assert_eq!(texts(&pair("openai", preferred)), (vec!["Q"], "good", "bad"));
    let sharegpt = json!({"conversations": [{"from": "human", "value": "Q"}], "chosen": {"from": "gpt", "value": "good"}, "rejected": {"from": "gpt", "value": "bad"}});
    assert_eq!(texts(&pair("sharegpt", sharegpt)), (vec!["Q"], "good", "bad"));

    let instruction =
        |source: &str, row: Value| named(source).instruction(row.as_object().unwrap()).unwrap().unwrap();
    let koala = instruction("koala", json!({"id": "koala_0", "prompt": "Q"}));
    assert_eq!((koala.id.as_str(), koala.main_source.as_str()), ("koala_0", "koala"));
    let mt = instruction(
        "mt-bench",
        json!({"question_id": 81, "category": "writing", "turns": ["first", "second"]}),
    );
    assert_eq!((mt.id.as_str(), mt.prompt.as_str(), mt.original_source.as_str()), ("81", "first", "writing"));
    assert_eq!(instruction("dsp", json!({"query": "Q", "responses": {"academy": "A"}})).prompt, "Q");
}

#[test]
fn a_wrong_field_is_named() {
    for (source, row, error) in [
        ("koala", json!({"id": "x"}), "field \"prompt\": missing"),
        ("koala", json!({"id": "x", "prompt": 3}), "field \"prompt\": expected a string, got a number"),
        (
            "mt-bench",
            json!({"turns": []}),
            "field \"turns\": expected a list of strings, got a list without a string",
        ),
        (
            "webgpt",
            json!({"question": {}, "score_0": 1, "score_1": 0}),
            "field \"question.full_text\": missing",
        ),
        (
            "nectar",
            json!({"prompt": "\n\nHuman: Q", "answers": [{"answer": "a", "rank": "x"}]}),
            "field \"answers[0].rank\": expected a number, got a string",
        ),
        (
            "ultrafeedback",
            json!({"chosen": messages(["Q", "A"]), "rejected": messages(["R", "B"])}),
            "field \"rejected\": the conversations differ before their last message",
        ),
        (
            "openai",
            json!({"messages": [{"role": "robot", "content": ""}]}),
            "field \"messages[0].role\": expected system, user or assistant, got robot",
        ),
        (
            "openai",
            json!({"input": {"messages": [{"role": "user", "content": "Q"}]}, "preferred_output": [], "non_preferred_output": messages(["Q", "A"])}),
            "field \"preferred_output\": expected one message, got 0",
        ),
        (
            "nectar",
            json!({"prompt": "\n\nHuman: Q", "answers": [], "source": [3]}),
            "field \"source[0]\": expected a string, got a number",
        ),
        (
            "hh-rlhf",
            json!({"chosen": "Hello", "rejected": "Hello"}),
            "field \"chosen\": the dialogue does not begin with \"Human:\"",
        ),
        (
            "alpaca",
            json!({"instruction": "Q", "output": "A", "history": [["only"]]}),
            "field \"history[0]\": expected two texts, got a list",
        ),
    ] {
        assert_eq!(example(source, row).unwrap_err().to_string(), error);
    }
}
