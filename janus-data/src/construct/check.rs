//! Checks answers: what makes one unusable.

use std::fmt;

use janus_core::{
    Dimension, FinishReason, Generation, ModelError, Preference, PreferenceSet, Rubric, Score,
    ScoreDescriptions,
};
use serde_json::Value;

use super::answer;
use super::words::{rouge_l, share_of_shingles, words};

/// Why an answer was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Flaw {
    /// No JSON, or invalid JSON.
    NotJson(String),
    /// JSON with another structure than requested.
    Form(String),
    /// A text whose length, in characters, is outside its bounds.
    Length { what: &'static str, length: usize, bounds: (usize, usize) },
    /// The model declined.
    Refusal,
    /// The text contains a label of the taxonomy.
    Leak(String),
    /// The text repeats the instruction.
    CopiesInstruction,
    /// The text repeats an example of the prompt.
    CopiesExample,
    /// Two items that should differ are alike.
    Alike(String),
    /// The answer was cut off at the token limit.
    CutOff,
    /// The model gave no answer.
    NoAnswer(String),
}

impl Flaw {
    /// The flaw's name in counts.
    pub(super) fn key(&self) -> &'static str {
        match self {
            Flaw::NotJson(_) => "not_json",
            Flaw::Form(_) => "wrong_form",
            Flaw::Length { .. } => "length",
            Flaw::Refusal => "refusal",
            Flaw::Leak(_) => "label_leak",
            Flaw::CopiesInstruction => "copies_instruction",
            Flaw::CopiesExample => "copies_example",
            Flaw::Alike(_) => "alike",
            Flaw::CutOff => "cut_off",
            Flaw::NoAnswer(_) => "no_answer",
        }
    }
}

/// The text that a correction shows to the model. It is part of journal keys, so it must not change.
impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::NotJson(problem) | Flaw::Form(problem) | Flaw::Alike(problem) => f.write_str(problem),
            Flaw::Length { what, length, bounds: (min, max) } => {
                write!(f, "{what} has {length} characters, and needs {min} to {max}")
            }
            Flaw::Refusal => f.write_str("it declines the task, which is harmless"),
            Flaw::Leak(label) => write!(f, "it names \"{label}\", which must not be named"),
            Flaw::CopiesInstruction => f.write_str("it repeats the request"),
            Flaw::CopiesExample => f.write_str("it repeats an example"),
            Flaw::CutOff => f.write_str("it is too long and was cut off"),
            Flaw::NoAnswer(reason) => f.write_str(reason),
        }
    }
}

impl Flaw {
    /// Whether sending the request again can help.
    pub(super) fn is_retryable(error: &ModelError) -> bool {
        !error.is_of_request()
    }
}

type Checked<T> = Result<T, Flaw>;

/// Number of preferences for each dimension of an instruction, and of its preference sets and system
/// messages.
pub(super) const SETS: usize = 3;

/// Bounds of lengths in characters.
const LABEL: (usize, usize) = (2, 80);
const DESCRIPTION: (usize, usize) = (20, 600);
const CRITERIA: (usize, usize) = (15, 600);
const ANCHOR: (usize, usize) = (10, 600);
/// In the paper's bench the lengths are 682 to 1,370; shorter messages can state four preferences too.
pub(super) const SYSTEM: (usize, usize) = (200, 2000);
const RESPONSE: (usize, usize) = (1, 32_000);

/// Two descriptions with a larger ROUGE-L count as the same.
const ALIKE: f64 = 0.75;
/// A text that contains a larger share of the instruction's five-word shingles counts as a copy of it.
const COPIED: f64 = 0.5;

/// The text of an answer that was not cut off.
fn complete(generation: &Generation) -> Checked<&str> {
    match generation.finish_reason {
        FinishReason::Stop => Ok(generation.text.trim()),
        _ => Err(Flaw::CutOff),
    }
}

fn within(what: &'static str, text: &str, bounds: (usize, usize)) -> Checked<()> {
    let length = text.chars().count();
    if (bounds.0..=bounds.1).contains(&length) { Ok(()) } else { Err(Flaw::Length { what, length, bounds }) }
}

/// Rejects a text that opens with a phrase with which assistants decline.
fn check_refusal(text: &str) -> Checked<()> {
    const OPENINGS: [&str; 14] = [
        "i'm sorry",
        "i am sorry",
        "sorry, ",
        "i cannot",
        "i can't",
        "i can not",
        "i'm unable",
        "i am unable",
        "i'm not able",
        "i am not able",
        "as an ai",
        "i won't",
        "i will not be able",
        "unfortunately, i can",
    ];
    let start: String =
        text.trim_start().chars().take(60).collect::<String>().to_lowercase().replace('’', "'");
    if OPENINGS.iter().any(|opening| start.starts_with(opening)) { Err(Flaw::Refusal) } else { Ok(()) }
}

/// The text of a field of an object.
fn field<'a>(object: &'a Value, key: &'static str) -> Checked<&'a str> {
    match object.get(key) {
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.trim()),
        Some(_) => Err(Flaw::Form(format!("\"{key}\" is not a text"))),
        None => Err(Flaw::Form(format!("\"{key}\" is missing"))),
    }
}

/// Three preferences of a dimension.
pub(super) fn preferences(
    generation: &Generation,
    dimension: Dimension,
    instruction: &str,
    prompt: &str,
) -> Checked<Vec<Preference>> {
    check_refusal(&generation.text)?;
    let value = match answer::json(&generation.text) {
        Err(_) if generation.finish_reason == FinishReason::Length => return Err(Flaw::CutOff),
        value => value.map_err(Flaw::NotJson)?,
    };
    // Some models wrap the array in an object with one field.
    let list = match &value {
        Value::Object(fields) if fields.len() == 1 => fields.values().next(),
        value => Some(value),
    };
    let Some(list) = list.and_then(Value::as_array) else {
        return Err(Flaw::Form("it is not a JSON array".into()));
    };
    if list.len() != SETS {
        return Err(Flaw::Form(format!("it has {} objects in place of {SETS}", list.len())));
    }
    let mut found: Vec<Preference> = Vec::with_capacity(SETS);
    for object in list {
        let (subdimension, name, description) =
            (field(object, "subdimension")?, field(object, "preference")?, field(object, "description")?);
        if let Some(other) = object.get("dimension").and_then(Value::as_str)
            && other.parse() != Ok(dimension)
        {
            return Err(Flaw::Form(format!("it speaks of the dimension \"{other}\"")));
        }
        within("a kind of want", subdimension, LABEL)?;
        within("a label", name, LABEL)?;
        within("a description", description, DESCRIPTION)?;
        if prompt.contains(description) {
            return Err(Flaw::CopiesExample);
        }
        if share_of_shingles(instruction, description) > COPIED {
            return Err(Flaw::CopiesInstruction);
        }
        for other in &found {
            if other.name.eq_ignore_ascii_case(name)
                || rouge_l(&words(&other.description), &words(description)) > ALIKE
            {
                return Err(Flaw::Alike(format!("\"{}\" and \"{name}\" are alike", other.name)));
            }
        }
        found.push(Preference::new(dimension, subdimension.to_lowercase(), name, description));
    }
    Ok(found)
}

/// A system message.
pub(super) fn system(generation: &Generation, set: &PreferenceSet, instruction: &str) -> Checked<String> {
    let text = answer::text(complete(generation)?);
    check_refusal(text)?;
    within("the system message", text, SYSTEM)?;
    if !words(text).iter().any(|word| word == "you" || word == "your") {
        return Err(Flaw::Form("it does not speak to the assistant as \"you\"".into()));
    }
    if text.lines().any(|line| line.trim_start().starts_with(['-', '*', '#', '•'])) {
        return Err(Flaw::Form("it is a list, not a paragraph".into()));
    }
    check_labels(text, set)?;
    if share_of_shingles(instruction, text) > COPIED {
        return Err(Flaw::CopiesInstruction);
    }
    Ok(text.into())
}

/// A response to a system message and an instruction.
pub(super) fn response(generation: &Generation, set: &PreferenceSet, instruction: &str) -> Checked<String> {
    let text = complete(generation)?;
    check_refusal(text)?;
    within("the response", text, RESPONSE)?;
    check_labels(text, set)?;
    if words(text) == words(instruction) {
        return Err(Flaw::CopiesInstruction);
    }
    Ok(text.into())
}

/// A rubric.
pub(super) fn rubric(generation: &Generation) -> Checked<Rubric> {
    check_refusal(&generation.text)?;
    let value = match answer::json(&generation.text) {
        Err(_) if generation.finish_reason == FinishReason::Length => return Err(Flaw::CutOff),
        value => value.map_err(Flaw::NotJson)?,
    };
    let criteria = field(&value, "criteria")?;
    within("\"criteria\"", criteria, CRITERIA)?;
    let Some(anchors) = value.get("score_descriptions").and_then(Value::as_object) else {
        return Err(Flaw::Form("\"score_descriptions\" is not an object".into()));
    };
    if anchors.len() != 5 {
        return Err(Flaw::Form(format!(
            "\"score_descriptions\" has {} keys in place of \"1\" to \"5\"",
            anchors.len()
        )));
    }
    let mut texts: Vec<&str> = Vec::with_capacity(5);
    for score in (1..=5).filter_map(|score| Score::new(score).ok()) {
        let Some(text) = anchors.get(&score.to_string()).and_then(Value::as_str).map(str::trim) else {
            return Err(Flaw::Form(format!("the text of score {score} is missing")));
        };
        within("a score's text", text, ANCHOR)?;
        if texts.contains(&text) {
            return Err(Flaw::Alike(format!("score {score} has the text of another score")));
        }
        texts.push(text);
    }
    let texts: [&str; 5] = texts.try_into().map_err(|_| Flaw::Form("it does not have five scores".into()))?;
    Ok(Rubric { criteria: criteria.into(), score_descriptions: ScoreDescriptions::new(texts) })
}

/// Rejects a text that names a label of the taxonomy as such: the key of a dimension, or a label in quotes,
/// in bold, in brackets or before a colon. A label that is an everyday phrase may occur within a sentence.
fn check_labels(text: &str, set: &PreferenceSet) -> Checked<()> {
    let lower = text.to_lowercase();
    let leaked = |label: &str| Err(Flaw::Leak(label.into()));
    for dimension in Dimension::ALL {
        let key = dimension.as_str();
        let spelt = key.replace('_', " ");
        if key.contains('_') && lower.contains(key) || set_off(&lower, &spelt) {
            return leaked(&spelt);
        }
    }
    for preference in set {
        for label in [&preference.name, &preference.subdimension] {
            if set_off(&lower, &label.to_lowercase()) {
                return leaked(label);
            }
        }
    }
    Ok(())
}

/// Whether a phrase is enclosed in quotes, asterisks or brackets, or begins a line and is followed by a
/// colon.
fn set_off(text: &str, phrase: &str) -> bool {
    const AROUND: [(&str, &str); 6] =
        [("\"", "\""), ("“", "”"), ("'", "'"), ("**", "**"), ("[", "]"), ("(", ")")];
    text.match_indices(phrase).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + phrase.len()..]);
        AROUND.iter().any(|(open, close)| before.ends_with(open) && after.starts_with(close))
            || after.starts_with(':')
                && (before.trim_end_matches([' ', '*', '-', '#']).is_empty()
                    || before.trim_end_matches([' ', '*', '-', '#']).ends_with('\n'))
    })
}

/// Phrases that contradict each other if they occur in different preferences.
const OPPOSED: [(&[&str], &[&str]); 3] = [
    (
        &[
            "brief",
            "briefly",
            "concise",
            "short",
            "shortest",
            "one sentence",
            "two sentences",
            "single sentence",
            "in a nutshell",
        ],
        &[
            "exhaustive",
            "comprehensive",
            "in depth",
            "in-depth",
            "at length",
            "thorough",
            "thoroughly",
            "every detail",
            "long",
        ],
    ),
    (
        &[
            "no jargon",
            "plain words",
            "everyday words",
            "child",
            "without jargon",
            "no technical terms",
            "simple words",
        ],
        &[
            "technical terms",
            "specialist",
            "expert",
            "advanced terminology",
            "formal notation",
            "jargon of the field",
        ],
    ),
    (&["serious", "solemn", "strictly formal"], &["humorous", "jokes", "funny", "playful", "witty"]),
];

/// The names of two preferences of a set that contradict each other, if there are any.
pub(super) fn contradiction(set: &[&Preference]) -> Option<(String, String)> {
    let texts: Vec<String> = set
        .iter()
        .map(|p| format!(" {} ", words(&format!("{} {}", p.name, p.description)).join(" ")))
        .collect();
    let contains = |text: &str, phrases: &[&str]| {
        phrases.iter().any(|phrase| text.contains(&format!(" {} ", words(phrase).join(" "))))
    };
    for (first, one) in texts.iter().enumerate() {
        for (second, other) in texts.iter().enumerate() {
            if first != second
                && OPPOSED.iter().any(|(here, there)| contains(one, here) && contains(other, there))
            {
                return Some((set[first].name.clone(), set[second].name.clone()));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use janus_core::{Taxonomy, stream};

    use super::*;

    fn generation(text: &str) -> Generation {
        Generation::new(text).with_tokens(1, 1)
    }

    fn three(texts: [(&str, &str); 3]) -> String {
        let object = |(name, description): (&str, &str)| serde_json::json!({"subdimension": "Tone", "preference": name, "description": description});
        serde_json::to_string(&texts.map(object)).unwrap()
    }

    const GOOD: [(&str, &str); 3] = [
        ("warm and close", "The answer sounds like a friend who cares."),
        ("dry and exact", "Facts come without any decoration at all."),
        ("dramatic", "Each point builds tension before it is resolved."),
    ];

    fn key(text: &str) -> &'static str {
        let instruction = "Tell me how the moon was formed and why it stays in its orbit around us";
        preferences(
            &generation(text),
            Dimension::Style,
            instruction,
            "Example: Write as a pirate would write it.",
        )
        .err()
        .map_or("accepted", |flaw| flaw.key())
    }

    #[test]
    fn preferences_must_be_three_new_and_different() {
        assert_eq!(key(&three(GOOD)), "accepted");
        assert_eq!(key(&format!("{{\"preferences\": {}}}", three(GOOD))), "accepted");
        assert_eq!(key("Certainly, here are three people."), "not_json");
        assert_eq!(key("I'm sorry, but I cannot do that."), "refusal");
        assert_eq!(key("[]"), "wrong_form");
        assert_eq!(key("[1, 2, 3]"), "wrong_form");
        assert_eq!(key(&three(GOOD).replace("\"Tone\"", "7")), "wrong_form");
        assert_eq!(key(&three(GOOD).replacen("{", "{\"dimension\": \"harmlessness\", ", 1)), "wrong_form");
        assert_eq!(key(&three([GOOD[0], GOOD[1], ("x y", "Short.")])), "length");
        assert_eq!(key(&three([GOOD[0], GOOD[1], GOOD[0]])), "alike");
        assert_eq!(
            key(&three([
                GOOD[0],
                GOOD[1],
                ("friendly", "The answer sounds like a friend who really cares.")
            ])),
            "alike"
        );
        assert_eq!(
            key(&three([GOOD[0], GOOD[1], ("pirate", "Write as a pirate would write it.")])),
            "copies_example"
        );
        assert_eq!(
            key(&three([
                GOOD[0],
                GOOD[1],
                ("moon", "Tell me how the moon was formed and why it stays in its orbit")
            ])),
            "copies_instruction"
        );
    }

    fn set() -> PreferenceSet {
        Taxonomy::seed().sample(&mut stream(3, "t")).unwrap()
    }

    #[test]
    fn a_system_message_is_a_paragraph_to_the_assistant_without_labels() {
        let instruction = "Explain in simple terms how a kite is able to fly";
        let key = |text: &str| {
            system(&generation(text), &set(), instruction).err().map_or("accepted", |flaw| flaw.key())
        };
        let good = "You are a patient teacher of physics who loves the outdoors. ".repeat(5);
        assert_eq!(key(&good), "accepted");
        assert_eq!(key("You are kind."), "length");
        assert_eq!(key(&"The teacher is patient with all pupils at all times. ".repeat(6)), "wrong_form");
        assert_eq!(key(&format!("- {good}")), "wrong_form");
        assert_eq!(key(&format!("{good} Mind harmlessness and **informativeness**.")), "label_leak");
        assert_eq!(key(&format!("{good} background_knowledge counts.")), "label_leak");
        let name = set().iter().next().unwrap().name.clone();
        assert_eq!(key(&format!("{good} Prefer \"{name}\".")), "label_leak");
        assert_eq!(key(&format!("{good} Prefer {name}.")), "accepted", "an everyday phrase in a sentence");
        assert_eq!(key(&format!("{good} {instruction}")), "copies_instruction");
        let cut = generation(&good).with_finish_reason(FinishReason::Length);
        assert_eq!(system(&cut, &set(), instruction).unwrap_err(), Flaw::CutOff);
    }

    #[test]
    fn a_rubric_has_five_different_anchors() {
        let anchors = |last: &str| {
            serde_json::json!({"criteria": "Does the answer sound warm?", "score_descriptions": {
            "1": "It is cold and curt.", "2": "It is mostly cold.", "3": "It is warm in places.", "4": "It is warm, but once.", "5": last}})
        };
        let key = |value: Value| {
            rubric(&generation(&value.to_string())).err().map_or("accepted", |flaw| flaw.key())
        };
        assert_eq!(key(anchors("It is warm throughout.")), "accepted");
        assert_eq!(key(anchors("It is cold and curt.")), "alike");
        assert_eq!(key(anchors("Warm.")), "length");
        let mut six = anchors("It is warm throughout.");
        six["score_descriptions"]["6"] = "more".into();
        assert_eq!(key(six), "wrong_form");
        assert_eq!(key(serde_json::json!({"criteria": "Does the answer sound warm?"})), "wrong_form");
    }

    #[test]
    fn contradictions_are_found_only_between_preferences() {
        let preference = |name: &str, text: &str| Preference::new(Dimension::Style, "s", name, text);
        let brief = preference("brief", "Keep it short.");
        let deep = preference("depth", "Give a thorough account of the causes.");
        let both = preference("both", "Be short where a long text would tire.");
        assert_eq!(contradiction(&[&brief, &deep]), Some(("brief".into(), "depth".into())));
        assert_eq!(contradiction(&[&brief]), None);
        assert_eq!(contradiction(&[&both]), None);
        assert_eq!(contradiction(&[&deep, &preference("warm", "Sound friendly.")]), None);
    }
}
