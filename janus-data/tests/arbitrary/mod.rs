//! Strategies for records with arbitrary content, for property tests.

use janus_core::{
    BenchRecord, Dimension, Message, PairRecord, Preference, PreferenceSet, RewardRecord, Rubric,
    ScoreDescriptions, SftRecord,
};
use proptest::prelude::*;

/// Text with line breaks, quotes, other scripts and controls.
pub fn text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,12}", r#"[a-z"\\\n\r\t ,{}]{0,20}"#, Just("é 漢字 \u{0} 🙂\u{2028}".to_owned())]
}

fn preference_set() -> impl Strategy<Value = Option<PreferenceSet>> {
    let set = prop::collection::vec(("[a-z]{1,8}", "[a-z\"]{1,8}", text()), 4);
    let build = |parts: Vec<(String, String, String)>| {
        let preferences = Dimension::ALL
            .into_iter()
            .zip(parts)
            .map(|(dimension, (sub, name, text))| Preference::new(dimension, sub, name, text));
        PreferenceSet::new(preferences.collect::<Vec<_>>()).unwrap()
    };
    prop::option::of(set.prop_map(build))
}

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let message = prop_oneof![text().prop_map(Message::user), text().prop_map(Message::assistant)];
    prop::collection::vec(message, 0..4)
}

pub fn sft() -> impl Strategy<Value = SftRecord> {
    (text(), text(), preference_set(), text(), text(), text()).prop_map(
        |(main_source, original_source, preference_set, system, prompt, output)| SftRecord {
            main_source,
            original_source,
            preference_set,
            system,
            prompt,
            output,
        },
    )
}

pub fn pair() -> impl Strategy<Value = PairRecord> {
    (text(), text(), text(), text(), messages(), messages()).prop_map(
        |(main_source, original_source, system, prompt, chosen, rejected)| PairRecord {
            main_source,
            original_source,
            system,
            prompt,
            chosen,
            rejected,
        },
    )
}

pub fn reward() -> impl Strategy<Value = RewardRecord> {
    (prop::option::of(messages()), text(), text(), text())
        .prop_map(|(history, input, chosen, rejected)| RewardRecord { history, input, chosen, rejected })
}

pub fn bench() -> impl Strategy<Value = BenchRecord> {
    let rubric = (text(), prop::array::uniform5(text())).prop_map(|(criteria, anchors)| Rubric {
        criteria,
        score_descriptions: ScoreDescriptions::new(anchors),
    });
    let rubrics = prop::collection::vec(rubric, 0..5);
    (prop::option::of(text()), text(), preference_set(), text(), text(), text(), rubrics).prop_map(
        |(id, source, preference_set, system, prompt, reference_answer, rubrics)| BenchRecord {
            id,
            source,
            preference_set,
            system,
            prompt,
            reference_answer,
            rubrics,
        },
    )
}
