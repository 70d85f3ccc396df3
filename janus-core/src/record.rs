//! Rows of the datasets, with the field names of the releases; aliases accept the older names.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Error, Message, PreferenceSet, Result, Role};

/// A row for supervised fine-tuning (Multifaceted-Collection and its small form).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SftRecord {
    /// Which of the collection's sources the instruction comes from.
    #[serde(default)]
    pub main_source: String,
    /// Where that source took the instruction from, in its own terms.
    #[serde(default)]
    pub original_source: String,
    /// The preferences behind the system message, one for each dimension; absent in the first releases.
    #[serde(default, deserialize_with = "complete", skip_serializing_if = "Option::is_none")]
    pub preference_set: Option<PreferenceSet>,
    /// The system message.
    pub system: String,
    /// The instruction.
    #[serde(alias = "instruction")]
    pub prompt: String,
    /// The gold response.
    pub output: String,
}

impl SftRecord {
    /// The row as a conversation; an empty system message is left out.
    pub fn messages(&self) -> Vec<Message> {
        let mut messages = prompt_messages(&self.system, &self.prompt);
        messages.push(Message::assistant(self.output.clone()));
        messages
    }
}

/// A preference pair for DPO or ORPO (Multifaceted-Collection-DPO and -ORPO).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairRecord {
    /// Which of the collection's sources the instruction comes from.
    #[serde(default)]
    pub main_source: String,
    /// Where that source took the instruction from, in its own terms.
    #[serde(default)]
    pub original_source: String,
    /// The system message.
    pub system: String,
    /// The instruction.
    #[serde(alias = "instruction")]
    pub prompt: String,
    /// The user message and the preferred response, which was written for this system message.
    pub chosen: Vec<Message>,
    /// The user message and a response that was written for another system message of the same instruction.
    pub rejected: Vec<Message>,
}

impl PairRecord {
    /// The row as two conversations, chosen and rejected. A side with several user messages is taken whole.
    /// For a side with one, the user message is `prompt`. The system message is `system` or, if that is
    /// empty, the one that a side begins with; it is left out if it is empty too.
    pub fn conversations(&self) -> (Vec<Message>, Vec<Message>) {
        (self.conversation(&self.chosen), self.conversation(&self.rejected))
    }

    fn conversation(&self, side: &[Message]) -> Vec<Message> {
        let (own, turns) = match side.split_first() {
            Some((first, turns)) if first.role == Role::System => (first.content.as_str(), turns),
            _ => ("", side),
        };
        let system = if self.system.is_empty() { own } else { &self.system };
        if let [] | [_] | [_, _] = turns {
            return prompt_messages(system, &self.prompt).into_iter().chain(turns.last().cloned()).collect();
        }
        let system = (!system.is_empty()).then(|| Message::system(system));
        system.into_iter().chain(turns.iter().cloned()).collect()
    }
}

/// A preference pair for a reward model (Multifaceted-Collection-RM), as plain strings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RewardRecord {
    /// The messages before `input`; absent in the releases, whose rows have one turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<Message>>,
    /// Without history: system message, newline, instruction. With one: the last user message.
    pub input: String,
    /// The response that fits the system message.
    pub chosen: String,
    /// The response that does not.
    pub rejected: String,
}

impl RewardRecord {
    /// The row as two conversations, chosen and rejected: the history, the whole input as the user's message,
    /// the response.
    pub fn conversations(&self) -> (Vec<Message>, Vec<Message>) {
        let side = |response: &str| {
            let turn = [Message::user(self.input.clone()), Message::assistant(response)];
            self.history.iter().flatten().cloned().chain(turn).collect()
        };
        (side(&self.chosen), side(&self.rejected))
    }
}

/// An evaluation row (Multifaceted-Bench).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BenchRecord {
    /// The row's id, if the file gives one; a number is read as its digits.
    #[serde(default, deserialize_with = "id", skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Which benchmark the instruction comes from.
    #[serde(alias = "original_source")]
    pub source: String,
    /// The preferences behind the system message, one for each dimension; absent in the first releases.
    #[serde(default, deserialize_with = "complete", skip_serializing_if = "Option::is_none")]
    pub preference_set: Option<PreferenceSet>,
    /// The system message.
    #[serde(alias = "system_prompt")]
    pub system: String,
    /// The instruction.
    #[serde(alias = "user_prompt", alias = "instruction")]
    pub prompt: String,
    /// A response that deserves the best score.
    pub reference_answer: String,
    /// One rubric for each preference.
    #[serde(alias = "rubric")]
    pub rubrics: Vec<Rubric>,
}

impl BenchRecord {
    /// System and user message; an empty system message is left out.
    pub fn prompt_messages(&self) -> Vec<Message> {
        prompt_messages(&self.system, &self.prompt)
    }
}

fn prompt_messages(system: &str, prompt: &str) -> Vec<Message> {
    let system = (!system.is_empty()).then(|| Message::system(system));
    system.into_iter().chain([Message::user(prompt)]).collect()
}

/// What a judge scores, and what each score means.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rubric {
    /// The question that the judge answers.
    pub criteria: String,
    /// The anchor text of each score.
    pub score_descriptions: ScoreDescriptions,
}

/// The anchor texts of the scores 1 to 5, serialized as an object with exactly the keys "1" to "5".
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Anchors", into = "Anchors")]
pub struct ScoreDescriptions([String; 5]);

impl ScoreDescriptions {
    /// Anchor texts from score 1 to score 5.
    pub fn new(descriptions: [impl Into<String>; 5]) -> Self {
        Self(descriptions.map(Into::into))
    }

    /// The anchor text of a score.
    pub fn get(&self, score: Score) -> &str {
        &self.0[usize::from(score.get()) - 1]
    }
}

/// The serialized form with arbitrary keys, so that an error can list them.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Anchors(serde_json::Map<String, serde_json::Value>);

impl TryFrom<Anchors> for ScoreDescriptions {
    type Error = Error;

    fn try_from(Anchors(mut map): Anchors) -> Result<Self> {
        let got: Vec<String> = map.keys().cloned().collect();
        let mut take = |score: usize| match map.remove(&score.to_string()) {
            Some(serde_json::Value::String(text)) => Ok(text),
            _ => Err(Error::ScoreDescriptions { got: got.clone() }),
        };
        let texts = [take(1)?, take(2)?, take(3)?, take(4)?, take(5)?];
        if map.is_empty() { Ok(Self(texts)) } else { Err(Error::ScoreDescriptions { got }) }
    }
}

impl From<ScoreDescriptions> for Anchors {
    fn from(ScoreDescriptions(texts): ScoreDescriptions) -> Self {
        Anchors(texts.into_iter().enumerate().map(|(i, text)| ((i + 1).to_string(), text.into())).collect())
    }
}

/// A score from 1 to 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Score(u8);

impl Score {
    /// A score.
    ///
    /// # Errors
    /// [`Error::ScoreOutOfRange`] outside 1..=5.
    pub fn new(score: i64) -> Result<Self> {
        match u8::try_from(score) {
            Ok(value @ 1..=5) => Ok(Self(value)),
            _ => Err(Error::ScoreOutOfRange { got: score }),
        }
    }

    /// The score nearest to a number.
    pub fn nearest(value: i64) -> Self {
        Self(value.clamp(1, 5) as u8)
    }

    /// The score as a number.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<i64> for Score {
    type Error = Error;

    fn try_from(score: i64) -> Result<Self> {
        Self::new(score)
    }
}

impl From<Score> for i64 {
    fn from(score: Score) -> Self {
        score.0.into()
    }
}

/// Deserializes a preference set that must be complete.
fn complete<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<PreferenceSet>, D::Error> {
    let set = Option::<PreferenceSet>::deserialize(deserializer)?;
    match set.as_ref().map(PreferenceSet::complete) {
        Some(Err(error)) => Err(serde::de::Error::custom(error)),
        _ => Ok(set),
    }
}

/// Deserializes an id that is a string or a whole number.
fn id<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "an id: a string or a whole number")]
    enum Id {
        Text(String),
        Number(i64),
    }
    Ok(Option::<Id>::deserialize(deserializer)?.map(|id| match id {
        Id::Text(text) => text,
        Id::Number(number) => number.to_string(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESCRIPTIONS: &str = r#""1":"a","2":"b","3":"c","4":"d","5":"e""#;

    fn rubric(descriptions: &str) -> Result<Rubric, serde_json::Error> {
        serde_json::from_str(&format!(r#"{{"criteria":"?","score_descriptions":{{{descriptions}}}}}"#))
    }

    #[test]
    fn a_rubric_is_read_and_written_unchanged() {
        let read = rubric(DESCRIPTIONS).unwrap();
        assert_eq!(read.score_descriptions.get(Score::new(4).unwrap()), "d");
        assert_eq!(
            serde_json::to_string(&read).unwrap(),
            format!(r#"{{"criteria":"?","score_descriptions":{{{DESCRIPTIONS}}}}}"#)
        );
    }

    #[test]
    fn a_rubric_with_six_or_four_scores_lists_what_it_has() {
        let six = rubric(&format!(r#"{DESCRIPTIONS},"6":"f""#)).unwrap_err().to_string();
        assert!(six.contains(r#"got "1", "2", "3", "4", "5", "6""#), "{six}");
        assert!(rubric(r#""1":"a","2":"b","3":"c","4":"d""#).is_err());
        assert!(rubric(r#""1":"a","2":"b","3":"c","4":"d","5":5"#).is_err());
    }

    #[test]
    fn scores_outside_one_to_five_are_rejected() {
        assert!(serde_json::from_str::<Score>("5").is_ok());
        for wrong in ["0", "6", "-1", "300", "4.5"] {
            assert!(serde_json::from_str::<Score>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_row_with_three_preferences_names_the_missing_one() {
        let preference = |dimension: &str| {
            format!(r#"{{"dimension":"{dimension}","subdimension":"a","preference":"b","description":"c"}}"#)
        };
        let row = |dimensions: &[&str]| {
            let set: Vec<String> = dimensions.iter().map(|dimension| preference(dimension)).collect();
            format!(r#"{{"preference_set":[{}],"system":"s","prompt":"p","output":"o"}}"#, set.join(","))
        };
        let read = |dimensions: &[&str]| serde_json::from_str::<SftRecord>(&row(dimensions));
        let all = ["harmlessness", "style", "informativeness", "background_knowledge"];
        let set = read(&all).unwrap().preference_set.unwrap();
        assert_eq!(
            set.iter().map(|preference| preference.dimension.as_str()).collect::<Vec<_>>(),
            all,
            "in the order of the file"
        );
        let error = read(&all[..3]).unwrap_err().to_string();
        assert!(error.starts_with("the preference set has no background_knowledge preference"), "{error}");
        assert!(
            serde_json::from_str::<SftRecord>(
                r#"{"preference_set":null,"system":"s","prompt":"p","output":"o"}"#
            )
            .is_ok()
        );
    }

    #[test]
    fn pairs_of_several_turns_keep_the_turns_before_the_last_question() {
        let dialogue = |answer: &str| {
            [
                ("user", "My name is Ada."),
                ("assistant", "Hello, Ada."),
                ("user", "What is my name?"),
                ("assistant", answer),
            ]
            .map(|(role, content)| serde_json::json!({ "role": role, "content": content }))
        };
        let row = |system: &str, chosen: serde_json::Value, rejected: serde_json::Value| -> PairRecord {
            let prompt = "What is my name?";
            serde_json::from_value(serde_json::json!({ "system": system, "prompt": prompt, "chosen": chosen, "rejected": rejected }))
                .unwrap()
        };
        let turns = row("Be brief.", dialogue("Ada.").into(), dialogue("I forgot.").into());
        let (chosen, rejected) = turns.conversations();
        assert_eq!(chosen[0], Message::system("Be brief."));
        assert_eq!(chosen[1..], turns.chosen);
        assert_eq!(rejected[1..], turns.rejected);

        let mut within: Vec<_> = dialogue("Ada.").into();
        within.insert(0, serde_json::json!({ "role": "system", "content": "Be kind." }));
        let (chosen, _) = row("", within.into(), dialogue("I forgot.").into()).conversations();
        assert_eq!((&chosen[0], chosen.len()), (&Message::system("Be kind."), 5));

        let answer = |text: &str| serde_json::json!([{ "role": "assistant", "content": text }]);
        let (_, rejected) = row("", answer("Ada."), answer("No.")).conversations();
        assert_eq!(rejected, [Message::user("What is my name?"), Message::assistant("No.")]);
    }

    #[test]
    fn old_bench_names_are_read() {
        let old = r#"{"id": 7, "user_prompt": "u", "system_prompt": "s", "reference_answer": "r",
                      "main_source": "mpa", "original_source": "flask", "rubric": []}"#;
        let record: BenchRecord = serde_json::from_str(old).unwrap();
        assert_eq!(
            (record.id.as_deref(), record.source.as_str(), record.prompt.as_str()),
            (Some("7"), "flask", "u")
        );
        let new = serde_json::to_string(&record).unwrap();
        assert_eq!(
            new,
            r#"{"id":"7","source":"flask","system":"s","prompt":"u","reference_answer":"r","rubrics":[]}"#
        );
        assert_eq!(serde_json::from_str::<BenchRecord>(&new).unwrap(), record);
    }
}
