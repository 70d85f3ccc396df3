//! System messages from preferences, without any model.

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};

use crate::{Error, Preference, PreferenceSet, Result, stream};

/// The text of a system message with a slot for each clause: `{}` inserts the next clause unchanged,
/// `{^}` with its first letter in upper case.
///
/// A clause is an imperative without its full stop: "use a bullet list".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentencePlan {
    text: String,
    slots: usize,
}

impl SentencePlan {
    /// A plan from its text.
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let slots = text.matches("{}").count() + text.matches("{^}").count();
        Self { text, slots }
    }

    /// Number of clauses that the plan needs.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// The plan's text with its slots.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Puts the clauses into the slots, in order.
    ///
    /// # Errors
    /// [`Error::PlanSlots`] if there are not as many clauses as slots.
    pub fn fill(&self, clauses: &[&str]) -> Result<String> {
        if clauses.len() != self.slots {
            return Err(Error::PlanSlots {
                plan: self.text.clone(),
                expected: clauses.len(),
                got: self.slots,
            });
        }
        let mut out = String::new();
        let mut rest = self.text.as_str();
        for clause in clauses {
            // One pass from left to right: a clause that contains braces is never read as a slot.
            let (plain, upper) = (rest.find("{}"), rest.find("{^}"));
            let (at, capital) = match (plain, upper) {
                (Some(p), Some(u)) if u < p => (u, true),
                (None, Some(u)) => (u, true),
                (Some(p), _) => (p, false),
                (None, None) => break,
            };
            out.push_str(&rest[..at]);
            if capital {
                out.push_str(&capitalised(clause))
            } else {
                out.push_str(clause)
            }
            rest = &rest[at + if capital { 3 } else { 2 }..];
        }
        out.push_str(rest);
        Ok(out)
    }
}

/// Writes system messages: draws a sentence plan and an order of the clauses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composer {
    plans: Vec<SentencePlan>,
}

impl Composer {
    /// A composer with the given plans, which must all have the same number of slots.
    ///
    /// # Errors
    /// [`Error::NoPlan`] or [`Error::PlanSlots`].
    pub fn new(plans: impl IntoIterator<Item = SentencePlan>) -> Result<Self> {
        let plans: Vec<SentencePlan> = plans.into_iter().collect();
        let expected = plans.first().ok_or(Error::NoPlan)?.slots;
        match plans.iter().find(|plan| plan.slots != expected) {
            Some(plan) => Err(Error::PlanSlots { plan: plan.text.clone(), expected, got: plan.slots }),
            None => Ok(Self { plans }),
        }
    }

    /// A composer with the built-in plans, which take four clauses each and fit any preferences.
    pub fn standard() -> Self {
        Self { plans: STANDARD.iter().map(|&text| SentencePlan::new(text)).collect() }
    }

    /// The plans.
    pub fn plans(&self) -> &[SentencePlan] {
        &self.plans
    }

    /// Writes a message from the clauses. Their order and the plan are drawn from `rng`.
    ///
    /// # Errors
    /// [`Error::PlanSlots`] if there are not as many clauses as the plans have slots.
    pub fn compose(&self, clauses: &[&str], rng: &mut impl Rng) -> Result<String> {
        let mut order = clauses.to_vec();
        order.shuffle(rng);
        self.plans.choose(rng).ok_or(Error::NoPlan)?.fill(&order)
    }

    /// Writes the system message of a preference set; the same set and seed give the same text.
    ///
    /// A description that is an instruction ("Use a bullet list.") becomes a clause; any other text is quoted
    /// as a wish of the reader, so that the sentence stays grammatical. If the set does not have as many
    /// preferences as the plans have slots, each preference becomes a sentence of its own, in the order of
    /// the set.
    ///
    /// ```
    /// use janus_core::{Composer, Taxonomy, stream};
    /// let set = Taxonomy::seed().sample(&mut stream(3, "example"))?;
    /// let composer = Composer::standard();
    /// assert_eq!(composer.compose_set(&set, 1), composer.compose_set(&set, 1));
    /// # Ok::<(), janus_core::Error>(())
    /// ```
    pub fn compose_set(&self, set: &PreferenceSet, seed: u64) -> String {
        self.compose_preferences(set, seed)
    }

    /// Like [`Composer::compose_set`], for preferences that need not form a set: several may share a
    /// dimension.
    ///
    /// ```
    /// use janus_core::{Composer, Dimension::Style, Taxonomy};
    /// let list = &Taxonomy::seed().preferences(Style, "format")[0].clone();
    /// assert_eq!(Composer::standard().compose_preferences([list], 1), "Write the answer as a bullet list.");
    /// ```
    pub fn compose_preferences<'a>(
        &self,
        preferences: impl IntoIterator<Item = &'a Preference>,
        seed: u64,
    ) -> String {
        let clauses: Vec<String> = preferences.into_iter().map(clause).collect();
        let clauses: Vec<&str> = clauses.iter().map(String::as_str).collect();
        let mut rng = stream(seed, "compose");
        self.compose(&clauses, &mut rng).unwrap_or_else(|_| {
            clauses.iter().map(|clause| format!("{}.", capitalised(clause))).collect::<Vec<_>>().join(" ")
        })
    }
}

const STANDARD: [&str; 10] = [
    "You help one reader whose wishes you know. Please {}. {^}, too. It also matters to this reader that you {}. Finally, {}.",
    "You are an assistant who fits every answer to the person who asks. {^}. {^}. {^}. Above all, {}.",
    "When you answer, {} and {}. Besides that, {}, and {}.",
    "You write for somebody in particular. For this reader, {}. At the same time, {}. {^}. And always {}.",
    "Imagine an adviser who is known for four habits. First, {}. Second, {}. Third, {}. Last, {}. You are that adviser.",
    "The person in front of you asks for four things: {}; {}; {}; and {}.",
    "You are a guide with a good ear. {^}, because this reader wants it so. {^}. Where you can, {}. In every answer, {}.",
    "Your task is to answer well, and here that means: {}. It means to {}. It means to {}. And it means to {}.",
    "Please {}, {}, {} and {}.",
    "As a companion of this reader, you remember what was agreed. You were asked to {}. You were asked to {}. Beyond that, {}. If in doubt, {}.",
];

/// A description that starts with one of these words is treated as an instruction.
const IMPERATIVES: &[&str] = &[
    "add",
    "address",
    "admit",
    "advise",
    "aim",
    "allow",
    "answer",
    "appeal",
    "ask",
    "assume",
    "avoid",
    "back",
    "balance",
    "base",
    "be",
    "begin",
    "break",
    "bring",
    "build",
    "call",
    "check",
    "choose",
    "cite",
    "close",
    "combine",
    "compare",
    "connect",
    "consider",
    "cover",
    "credit",
    "define",
    "describe",
    "do",
    "draw",
    "emphasise",
    "emphasize",
    "employ",
    "encourage",
    "end",
    "ensure",
    "explain",
    "explore",
    "favour",
    "favor",
    "finish",
    "focus",
    "follow",
    "format",
    "give",
    "go",
    "handle",
    "help",
    "highlight",
    "illustrate",
    "include",
    "introduce",
    "invite",
    "keep",
    "lay",
    "lead",
    "leave",
    "let",
    "limit",
    "link",
    "list",
    "look",
    "maintain",
    "make",
    "mark",
    "mention",
    "name",
    "never",
    "note",
    "offer",
    "open",
    "organise",
    "organize",
    "paint",
    "phrase",
    "place",
    "point",
    "prefer",
    "present",
    "prioritise",
    "prioritize",
    "provide",
    "put",
    "quote",
    "read",
    "refer",
    "relate",
    "remain",
    "remember",
    "remind",
    "respect",
    "respond",
    "say",
    "set",
    "share",
    "show",
    "sketch",
    "skip",
    "sound",
    "speak",
    "spell",
    "start",
    "state",
    "stay",
    "stick",
    "structure",
    "suggest",
    "summarise",
    "summarize",
    "support",
    "take",
    "talk",
    "teach",
    "tell",
    "tie",
    "treat",
    "try",
    "use",
    "warn",
    "weave",
    "work",
    "write",
];

/// The preference as an imperative clause.
fn clause(preference: &Preference) -> String {
    let text = preference.description.trim();
    let text = text.strip_suffix(['.', '!']).unwrap_or(text).trim_end();
    let first = text.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
    let one_sentence = !text.contains(['.', '!', '?', '\n']);
    if one_sentence && IMPERATIVES.contains(&first.to_lowercase().as_str()) {
        return uncapitalised(text);
    }
    let wish_for = format!(
        "respect the wish for {} (\"{}\")",
        preference.subdimension.replace('_', " "),
        preference.name
    );
    if one_sentence && !text.is_empty() { format!("{wish_for}, which says: \"{text}\"") } else { wish_for }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn uncapitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::{Dimension, Taxonomy};

    #[test]
    fn messages_vary_and_contain_every_preference() {
        let set = Taxonomy::seed().sample(&mut stream(0, "t")).unwrap();
        let composer = Composer::standard();
        let all: HashSet<String> = (0..200).map(|seed| composer.compose_set(&set, seed)).collect();
        assert!(all.len() > 100, "{} different messages", all.len());
        for message in &all {
            for preference in &set {
                let clause = clause(preference);
                assert!(message.to_lowercase().contains(&clause.to_lowercase()), "{message}\nlacks {clause}");
            }
            assert!(
                !message.contains(['{', '}']) && !message.contains("..") && message.ends_with('.'),
                "{message}"
            );
        }
    }

    #[test]
    fn a_message_contains_every_preference_parsed_from_text() {
        let composed = |texts: &[&str], seed| {
            let preferences: Vec<Preference> =
                texts.iter().map(|text| Taxonomy::seed().parse_preference(text)).collect::<Result<_>>()?;
            PreferenceSet::new(preferences).map(|set| Composer::standard().compose_set(&set, seed))
        };
        assert_eq!(composed(&["style/format=bullet list"], 1).unwrap(), "Write the answer as a bullet list.");
        let four = [
            "style/tone=warm",
            "background_knowledge/basic=everyday words",
            "informativeness/depth=causes",
            "harmlessness/safety=gently: Be gentle.",
        ];
        let message = composed(&four, 3).unwrap();
        for part in ["ound warm", "child of ten", "ay why things are so", "e gentle"] {
            assert!(message.contains(part), "{message} lacks {part}");
        }
        assert_eq!(composed(&four, 3).unwrap(), message);
        let twice = composed(&["style/tone=warm", "style/format=bullet list"], 1).unwrap_err();
        assert!(twice.to_string().contains("two style preferences"));
    }

    #[test]
    fn a_description_that_is_not_an_instruction_is_quoted() {
        let wish =
            |description: &str| clause(&Preference::new(Dimension::Style, "tone", "warm", description));
        assert_eq!(wish("Sound warm."), "sound warm");
        assert_eq!(
            wish("The reader loves warmth."),
            "respect the wish for tone (\"warm\"), which says: \"The reader loves warmth\""
        );
        assert_eq!(wish(""), "respect the wish for tone (\"warm\")");
    }

    #[test]
    fn plans_with_different_numbers_of_slots_are_rejected() {
        let error = Composer::new([SentencePlan::new("{} {}"), SentencePlan::new("{}")]).unwrap_err();
        assert_eq!(error, Error::PlanSlots { plan: "{}".into(), expected: 2, got: 1 });
        assert_eq!(Composer::new([]).unwrap_err(), Error::NoPlan);
    }

    proptest! {
        #[test]
        fn slots_are_filled_once_whatever_the_clauses_contain(a in "[a-z{}^]{1,8}", b in "[a-z{}^]{1,8}") {
            let filled = SentencePlan::new("One {} two {^}.").fill(&[&a, &b]).unwrap();
            prop_assert_eq!(filled, format!("One {a} two {}.", capitalised(&b)));
        }
    }
}
