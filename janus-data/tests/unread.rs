//! Fields of rows that change what is learned: each is used, refused by name, or counted.

use janus_core::Message;
use janus_data::sources::{Comparison, Conversation, RowContent, Source, UnreadFields};
use janus_data::{ReadOptions, Row, Target, convert, read, read_all};
use serde_json::{Value, json};

fn row(value: &Value) -> &Row {
    value.as_object().unwrap()
}

/// The content by the layout that the fields show, with the names of the fields that are not read.
fn content(value: &Value) -> Result<(RowContent, Vec<String>), String> {
    let layout = Source::of_row(row(value)).unwrap_or_else(|| panic!("no layout: {value}"));
    let mut unread = UnreadFields::default();
    let content = layout.content_and_unread(row(value), &mut unread).map_err(|error| error.to_string())?;
    Ok((content, unread.iter().map(|(name, _)| name.to_string()).collect()))
}

fn conversation(value: &Value) -> Conversation {
    match content(value) {
        Ok((RowContent::Conversation(conversation), unread)) if unread.is_empty() => conversation,
        other => panic!("{value}: {other:?}"),
    }
}

fn comparison(value: &Value) -> Comparison {
    match content(value) {
        Ok((RowContent::Comparison(pair), unread)) if unread.is_empty() => pair,
        other => panic!("{value}: {other:?}"),
    }
}

fn refused(value: &Value) -> String {
    content(value).err().unwrap_or_else(|| panic!("{value} is read"))
}

fn dialogue() -> [Message; 3] {
    [
        Message::user("My name is Ada."),
        Message::assistant("Hello, Ada."),
        Message::user("Translate\nGood morning"),
    ]
}

/// LLaMA-Factory's layout, and ours: the layout was taken for `sft`, which has no input and no history.
#[test]
fn an_alpaca_row_with_a_system_message_keeps_input_and_history() {
    let mut fields = json!({
        "instruction": "Translate", "input": "Good morning", "system": "Be kind.",
        "history": [["My name is Ada.", "Hello, Ada."]], "output": "Guten Morgen",
    });
    let expected = [&[Message::system("Be kind.")], &dialogue()[..]].concat();
    let messages = conversation(&fields).messages;
    assert_eq!((&messages[..4], messages[4].content.as_str()), (&expected[..], "Guten Morgen"));

    fields.as_object_mut().unwrap().remove("output");
    fields["chosen"] = json!("Guten Morgen");
    fields["rejected"] = json!({ "from": "gpt", "value": "Hallo" });
    let pair = comparison(&fields);
    assert_eq!(
        (pair.prompt, pair.chosen.as_str(), pair.rejected.as_str()),
        (expected, "Guten Morgen", "Hallo")
    );

    let reward = json!({ "system": "Be kind.", "input": "Hi", "chosen": "Ho", "rejected": "No" });
    assert_eq!(comparison(&reward).prompt, [Message::system("Be kind."), Message::user("Hi")]);
    let history = json!({ "prompt": "Hi", "history": [["a", "b"]], "chosen": "Ho", "rejected": "No" });
    assert!(refused(&history).starts_with("field \"history\": the layout pairs does not read this field"));
    let input = json!({ "system": "", "prompt": "Hi", "input": "there", "output": "Ho" });
    assert!(refused(&input).starts_with("field \"input\": the layout sft does not read this field"));
    assert_eq!(
        conversation(&json!({ "system": "", "prompt": "Hi", "input": "", "output": "Ho" })).messages.len(),
        2
    );
}

#[test]
fn a_list_as_python_prints_it_is_refused_and_not_trained_as_text() {
    for list in [
        "[{'content': 'Hello', 'role': 'assistant'}]",
        "[{'role': 'assistant', 'content': \"It's\"}]",
        "array([{'content': 'Hello', 'role': 'assistant'}], dtype=object)",
        "[{'from': 'gpt', 'value': 'Hello'}\n {'from': 'human', 'value': 'Hi'}]",
    ] {
        for fields in [
            json!({ "prompt": "Hi", "chosen": list, "rejected": list }),
            json!({ "messages": list }),
            json!({ "conversations": list }),
            json!({ "conversations": [{ "from": "human", "value": "Hi" }], "chosen": list, "rejected": list }),
        ] {
            assert!(refused(&fields).contains("as Python prints it"), "{fields}: {}", refused(&fields));
        }
    }
    // Brackets alone make no list.
    let texts = json!({ "prompt": "Hi", "chosen": "[]", "rejected": "['role']" });
    assert_eq!(comparison(&texts).chosen, "[]");
}

#[test]
fn every_key_of_a_message_that_says_something_about_loss_is_obeyed() {
    let user = json!({ "role": "user", "content": "Hi" });
    let with = |key: &str, value: Value| json!({ "messages": [user, { "role": "assistant", "content": "bad", key: value }, user, { "role": "assistant", "content": "good" }] });
    for (key, value) in
        [("loss", json!(false)), ("training", json!(false)), ("train", json!(false)), ("weight", json!(0))]
    {
        assert_eq!(conversation(&with(key, value)).without_loss, [1], "{key}");
    }
    for (key, value) in [("loss", json!(true)), ("training", json!(null)), ("weight", json!(1.0))] {
        assert_eq!(conversation(&with(key, value)).without_loss, [0; 0], "{key}");
    }
    assert_eq!(
        refused(&with("loss", json!(0.5))),
        "field \"messages[1].loss\": expected true or false, got 0.5"
    );
    assert!(
        refused(&with("train_detail", json!([{ "begin_offset": 0 }]))).contains("messages[1].train_detail")
    );
    let opposite =
        json!({ "messages": [user, { "role": "assistant", "content": "a", "loss": false, "weight": 1 }] });
    assert!(refused(&opposite).contains("says the opposite"), "{}", refused(&opposite));
}

#[test]
fn a_system_message_beside_the_messages_is_part_of_the_conversation() {
    let answer = json!([{ "role": "user", "content": "Hi" }, { "role": "assistant", "content": "Ho", "loss": false }, { "role": "user", "content": "Hi" }, { "role": "assistant", "content": "Ho" }]);
    let read = conversation(&json!({ "system": "Be kind.", "messages": answer }));
    assert_eq!((&read.messages[0], read.without_loss), (&Message::system("Be kind."), vec![2]));
    assert!(refused(&json!({ "system_prompt": "Be kind.", "messages": answer })).contains("system_prompt"));
    let pair = comparison(&json!({ "system": "Be kind.", "messages": answer, "rejected_response": "No" }));
    assert_eq!((pair.prompt.len(), pair.chosen.as_str(), pair.rejected.as_str()), (4, "Ho", "No"));
}

#[test]
fn tools_reasoning_and_pictures_are_refused_by_name() {
    let user = json!({ "role": "user", "content": "Hi" });
    let with = |key: &str, value: Value| json!({ "messages": [user, { "role": "assistant", "content": "4", key: value }] });
    for key in ["reasoning_content", "reasoning", "thinking"] {
        assert!(refused(&with(key, json!("2+2 is 4"))).contains(&format!("messages[1].{key}")), "{key}");
        assert_eq!(conversation(&with(key, json!(""))).messages.len(), 2);
    }
    for (key, value) in [
        ("tools", json!([{ "type": "function" }])),
        ("functions", json!([{}, { "name": "f" }])),
        ("images", json!(["a.png"])),
    ] {
        let mut fields = with("content", json!("4"));
        fields[key] = value;
        assert!(refused(&fields).starts_with(&format!("field \"{key}\"")), "{key}");
        fields[key] = json!([]);
        assert_eq!(conversation(&fields).messages.len(), 2, "{key}");
    }
    let openai = json!({ "input": { "messages": [user], "tools": [{ "type": "function" }] }, "preferred_output": [], "non_preferred_output": [] });
    assert!(refused(&openai).contains("input.tools"));
    // What changes nothing is counted.
    let (_, unread) = content(&with("name", json!("Ada"))).unwrap();
    assert_eq!(unread, ["messages[].name"]);
}

#[test]
fn a_row_that_is_labelled_as_unwanted_is_left_out() {
    let answer = json!({ "prompt": "Hi", "completion": "You idiot", "label": false });
    assert_eq!(content(&answer).unwrap().0, RowContent::Skip("labelled as unwanted"));
    let alpaca = json!({ "instruction": "Hi", "output": "You idiot", "kto_tag": false });
    assert_eq!(content(&alpaca).unwrap().0, RowContent::Skip("labelled as unwanted"));
    let (kept, unread) = content(&json!({ "prompt": "Hi", "completion": "Hello", "label": true })).unwrap();
    assert_eq!((kept.into_conversation().unwrap().messages.len(), unread), (2, vec!["label".to_string()]));
    let weight = |weight: f64| content(&json!({ "instruction": "Hi", "output": "Ho", "weight": weight }));
    assert_eq!(weight(0.0).unwrap().0, RowContent::Skip("of weight 0"));
    assert!(weight(1.0).unwrap().1.is_empty() && weight(0.5).unwrap_err().contains("\"weight\""));
}

#[test]
fn a_prompt_beside_answers_that_repeat_a_part_of_it_is_not_lost() {
    let message = |role: &str, content: &str| json!({ "role": role, "content": content });
    let answers = |text: &str| json!([message("user", "Hi"), message("assistant", text)]);
    let with =
        |prompt: Value| json!({ "prompt": prompt, "chosen": answers("Ho"), "rejected": answers("No") });
    let system = json!([message("system", "Answer in French"), message("user", "Hi")]);
    assert_eq!(comparison(&with(system)).prompt, [Message::system("Answer in French"), Message::user("Hi")]);
    assert_eq!(comparison(&with(json!("Hi"))).prompt, [Message::user("Hi")]);
    let other = json!([message("user", "Other question")]);
    assert!(refused(&with(other)).starts_with("field \"prompt\""));
    assert_eq!(content(&with(json!("Other question"))).unwrap().1, ["prompt"], "a text is counted");
    let human = json!({ "conversations": [{ "from": "human", "value": "Hi" }], "chosen": { "from": "human", "value": "a" }, "rejected": { "from": "gpt", "value": "b" } });
    assert!(refused(&human).contains("a message of the assistant"));
}

#[test]
fn prompts_and_completions_of_trl_are_read() {
    let texts = json!({ "prompt": "Hi", "completion": "Ho", "system": "Be kind." });
    let expected = [Message::system("Be kind."), Message::user("Hi"), Message::assistant("Ho")];
    assert_eq!(conversation(&texts).messages, expected);
    let lists = json!({ "prompt": [{ "role": "user", "content": "Hi" }], "completion": [{ "role": "assistant", "content": "Ho" }] });
    assert_eq!(conversation(&lists).messages, expected[1..]);
    assert_eq!(conversation(&json!({ "prompt": "Hi", "output": "Ho" })).messages, expected[1..]);
}

#[test]
fn a_conversion_counts_the_fields_that_it_does_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.jsonl");
    let rows = [
        json!({ "instruction": "Hi", "output": "Ho", "id": 1, "source": "" }),
        json!({ "instruction": "Hi", "output": "Ho", "id": 2, "source": "web", "label": false }),
    ];
    let alpaca: Source = "alpaca".parse().unwrap();
    let from = (&*alpaca, std::path::Path::new("rows.jsonl"));
    let converted =
        convert(rows.iter().map(|value| Ok(row(value).clone())), from, Target::OpenAi, &out, None).unwrap();
    assert_eq!((converted.written, converted.unread.to_string().as_str()), (1, "id (2), source (1)"));
    assert_eq!(converted.left_out.into_iter().collect::<Vec<_>>(), [("labelled as unwanted", 1)]);
}

#[test]
fn a_mapping_of_columns_without_effect_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, "{\"instruction\": \"Hi\", \"output\": \"Ho\"}\n{\"instruction\": \"Hi\", \"output\": \"Ho\", \"sys_prompt\": \"Be kind.\"}\n").unwrap();
    let alpaca: Source = "alpaca".parse().unwrap();
    let check = |field: &str, column: &str| {
        let options = ReadOptions::default().column(field, column);
        options.check_columns(std::slice::from_ref(&path), &*alpaca).map_err(|error| error.to_string())
    };
    check("system", "sys_prompt").unwrap();
    check("system", "/sys_prompt").unwrap();
    assert!(check("system", "sys_promt").unwrap_err().ends_with("no row has this column"));
    assert!(check("system", "/sys/prompt").unwrap_err().ends_with("no row has this column"));
    assert!(
        check("sytem", "sys_prompt").unwrap_err().ends_with("the layout alpaca does not read this field")
    );
}

/// The rows before a damaged one lacked the column, and the error was about the mapping.
#[test]
fn a_row_that_cannot_be_read_is_left_to_the_reader_when_a_mapping_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, "{\"instruction\": \"Hi\", \"output\": \"Ho\"}\n{\"instruction\": \n{\"instruction\": \"Hi\", \"output\": \"Ho\", \"sys\": \"Be kind.\"}\n").unwrap();
    let alpaca: Source = "alpaca".parse().unwrap();
    ReadOptions::default().column("system", "sys").check_columns(&[path], &*alpaca).unwrap();
}

#[test]
fn instructions_are_written_with_a_count_of_the_fields_that_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = (folder.path().join("rows.jsonl"), folder.path().join("out.jsonl"));
    let rows = [
        json!({ "idx": 7, "instruction": "Hi", "output": "Ho", "note": "a" }),
        json!({ "idx": 8, "instruction": "Hi?", "output": "Ho", "note": "b", "index": 3 }),
    ];
    janus_data::write_all(&path, &rows).unwrap();
    let alpaca: Source = "alpaca".parse().unwrap();
    let converted =
        convert(read::<Row>(&path).unwrap(), (&*alpaca, &path), Target::Instructions, &out, None).unwrap();
    assert_eq!(converted.unread.to_string(), "index (1), note (2)", "idx is the id");
    assert_eq!(read_all::<Row>(&out).unwrap()[1]["id"], "8");
}

#[test]
fn a_quote_of_a_csv_file_that_is_not_closed_swallows_no_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.csv");
    let rows = |text: &str| {
        std::fs::write(&path, text).unwrap();
        read::<Row>(&path).unwrap().map(|row| row.map_err(|error| error.to_string())).collect::<Vec<_>>()
    };
    let lone = rows("q,a\nA,1\nB,\"2\nC,3\nD,4\n");
    assert!(lone[0].is_ok() && lone.len() == 2, "{lone:?}");
    assert!(
        lone[1]
            .as_ref()
            .unwrap_err()
            .ends_with("rows.csv, line 3: the quoted cell that begins here is not closed")
    );
    let spark = rows("q,a\nA,1\nB,\"He said \\\"hi\\\" ok\"\n");
    assert!(
        spark[1]
            .as_ref()
            .unwrap_err()
            .contains("line 3: the quoted cell that begins here is followed by text")
    );
    let good = rows("\u{feff}\"q\",a\r\nA,\"1, \"\"one\"\"\r\ntwo\"\r\n\"B\",\"\"\r\n5\" pipe,x\r\n");
    assert!(good.iter().all(Result::is_ok) && good.len() == 3, "{good:?}");
    assert_eq!(good[0].as_ref().unwrap()["a"], "1, \"one\"\r\ntwo");
}

#[test]
fn a_file_that_is_not_what_its_name_says_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        read_all::<Row>(&path).unwrap_err().to_string()
    };
    assert!(refused("a.jsonl", b"\x1f\x8b\x08\0").ends_with("a.jsonl: this file is gzip: name it *.gz"));
    assert!(refused("a.csv", b"\x28\xb5\x2f\xfd\0").ends_with("this file is zstd: name it *.zst"));
    assert!(refused("a.json", b"PAR1....PAR1").ends_with("this file is Parquet: name it *.parquet"));
    assert!(refused("a.parquet", b"ARROW1\0\0").ends_with("this file is Arrow: name it *.arrow"));
    assert!(refused("a.csv", b"instruction;output\nHi;Ho\n").contains("separate cells with commas"));
}

/// Rows in Alpaca's layout were valid rows of `sft`, without their input.
#[test]
fn a_record_with_content_that_its_kind_cannot_hold_is_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    let rows = [
        json!({ "system": "", "instruction": "Translate", "input": "Hi", "history": [], "output": "Hallo" }),
        json!({ "system": "", "instruction": "Translate", "input": "", "output": "Hallo", "id": 7 }),
    ];
    janus_data::write_all(&path, &rows).unwrap();
    let found = janus_data::validate(&[path], None, &ReadOptions::default(), 10);
    assert_eq!((found.problems, found.findings[0].field.as_str(), found.findings[0].row), (1, "input", 1));
    let others: Vec<&str> = janus_data::RecordKind::Sft.other_fields(row(&rows[1])).collect();
    assert_eq!(others, ["id"]);
    let with_tools =
        json!({ "system": "", "prompt": "Hi", "output": "Ho", "tools": [{ "type": "function" }] });
    let path = folder.path().join("tools.jsonl");
    janus_data::write_all(&path, &[with_tools]).unwrap();
    let found = janus_data::validate(&[path], None, &ReadOptions::default(), 10);
    assert_eq!((found.problems, found.findings[0].field.as_str()), (1, "tools"));
}
