//! The preferences of Mini: forty, two for each published subdimension, each with twenty wordings
//! (paraphrases).

use std::collections::BTreeSet;
use std::sync::LazyLock;

use janus_core::{Dimension, Preference, Rubric, ScoreDescriptions};

use super::Split;

/// The property of a response that a preference asks for. The realiser and the grader have a case for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[rustfmt::skip]
#[expect(missing_docs, reason = "each is described in the table below, by `MiniPreference::description`")]
pub enum Feature {
    OwnLines, Labels, OneSentence, Telegram, Bullets, Numbers, Warm, Formal, Exclaim, Scene,
    PlainWords, NoPriorKnowledge, FirstStep, GlossInBrackets, Reminder, BothNames, TermOnly, Field, OpenQuestion, Classification,
    Analogy, Wonder, MoreFacts, WeakSide, OnlyAnswer, Summary, Tip, Equipment, WhyItMatters, ReadNext,
    Hedge, Exceptions, Fairness, Respect, Caution, AskExpert, EveryAge, OwnPace, Source, MayBeWrong,
}

/// A preference of Mini's world.
#[derive(Debug, Clone, Copy)]
pub struct MiniPreference {
    /// The property that it asks for.
    pub feature: Feature,
    /// Its dimension.
    pub dimension: Dimension,
    /// Its subdimension, one of the published ones.
    pub subdimension: &'static str,
    /// Its label.
    pub name: &'static str,
    /// What a fitting response does.
    pub description: &'static str,
    /// The beginnings of its wordings.
    openings: [&'static str; OPENINGS],
    /// The ends of its wordings. Each opening combines with each ending.
    endings: [&'static str; ENDINGS],
}

const OPENINGS: usize = 5;
const ENDINGS: usize = 4;

/// Number of wordings of each preference.
pub const WORDINGS: usize = OPENINGS * ENDINGS;

/// The split that a wording belongs to. Twelve are for training, four for dev and four for the bench. Every
/// opening and every ending occurs in training, so that a held-out wording can be understood from its parts.
pub fn wording_split(index: usize) -> Split {
    super::pair_split(index / ENDINGS, index % ENDINGS)
}

impl MiniPreference {
    /// The preference with this label in this dimension.
    pub fn find(dimension: Dimension, name: &str) -> Option<&'static MiniPreference> {
        PREFERENCES.iter().find(|preference| preference.dimension == dimension && preference.name == name)
    }

    /// All preferences of a dimension, in the table's order.
    pub fn of(dimension: Dimension) -> impl Iterator<Item = &'static MiniPreference> {
        PREFERENCES.iter().filter(move |preference| preference.dimension == dimension)
    }

    /// A clause that asks for it, an imperative without a full stop. `index` is below [`WORDINGS`]; see
    /// [`wording_split`].
    pub fn wording(&self, index: usize) -> String {
        format!("{} {}", self.openings[index / ENDINGS], self.endings[index % ENDINGS])
    }

    /// Words that distinguish this preference from most others: its label, and the words of its wordings that
    /// occur in those of at most one other preference.
    pub fn keywords(&self) -> &'static [&'static str] {
        let index = PREFERENCES.iter().position(|preference| preference.feature == self.feature).unwrap_or(0);
        &KEYWORDS[index]
    }

    /// The preference as it is in records.
    pub fn to_preference(&self) -> Preference {
        Preference::new(self.dimension, self.subdimension, self.name, self.description)
    }

    /// Its rubric in bench records.
    pub fn rubric(&self) -> Rubric {
        let what = self.name;
        Rubric {
            criteria: format!(
                "Does the response answer the question truly and serve a reader who wants this: {}",
                self.description
            ),
            score_descriptions: ScoreDescriptions::new([
                format!("No trace of \"{what}\", or the question is not answered."),
                format!("A trace of \"{what}\", or a true answer to another question."),
                format!("\"{what}\" in part, or mixed with much that was not wanted."),
                format!("\"{what}\" nearly throughout, or with something beside it that was not wanted."),
                format!("\"{what}\" throughout, with a true answer and nothing that works against it."),
            ]),
        }
    }
}

static KEYWORDS: LazyLock<Vec<Vec<&'static str>>> = LazyLock::new(|| {
    let words_of = |preference: &MiniPreference| -> BTreeSet<&'static str> {
        preference.openings.iter().chain(&preference.endings).flat_map(|part| part.split(' ')).collect()
    };
    let all: Vec<BTreeSet<&str>> = PREFERENCES.iter().map(words_of).collect();
    let distinctive =
        |word: &&&str| word.len() > 3 && all.iter().filter(|words| words.contains(**word)).count() <= 2;
    let keywords = |(preference, words): (&MiniPreference, &BTreeSet<&'static str>)| {
        std::iter::once(preference.name).chain(words.iter().filter(distinctive).copied()).collect()
    };
    PREFERENCES.iter().zip(&all).map(keywords).collect()
});

const S: Dimension = Dimension::Style;
const B: Dimension = Dimension::BackgroundKnowledge;
const I: Dimension = Dimension::Informativeness;
const H: Dimension = Dimension::Harmlessness;

#[rustfmt::skip]
macro_rules! preference {
    ($feature:ident, $dimension:ident, $sub:literal, $name:literal, $description:literal, [$($opening:literal),*], [$($ending:literal),*]) => {
        MiniPreference { feature: Feature::$feature, dimension: $dimension, subdimension: $sub, name: $name, description: $description, openings: [$($opening),*], endings: [$($ending),*] }
    };
}

/// All forty preferences, by dimension, two for each subdimension.
#[rustfmt::skip]
pub static PREFERENCES: [MiniPreference; 40] = [
    // Style
    preference!(OwnLines, S, "clarity", "one idea per line", "Each sentence stands on a line of its own.",
        ["put each sentence", "set every thought", "write each idea", "place every point", "begin each part"],
        ["on its own line", "on a fresh line", "on a line of its own", "on a separate line"]),
    preference!(Labels, S, "clarity", "labelled parts", "The answer is labelled \"Answer:\" and every other part \"Also:\".",
        ["mark each part", "tag every part", "begin every part", "name each section", "start all the parts"],
        ["with a label", "with a clear tag", "with labels such as answer and also", "with its name and a colon"]),
    preference!(OneSentence, S, "conciseness", "one sentence", "Everything is said in one sentence.",
        ["say it all", "put everything", "fit the whole reply", "write all of it", "join all the parts"],
        ["in one sentence", "in a single sentence", "in one long sentence with semicolons", "as one sentence with a single full stop"]),
    preference!(Telegram, S, "conciseness", "telegram", "The words \"a\", \"an\" and \"the\" are left out.",
        ["write the reply", "put your words", "phrase everything", "send the answer", "keep the text"],
        ["like a telegram", "without any articles", "with no small words such as a and the", "in the manner of an old telegram"]),
    preference!(Bullets, S, "format", "bullet list", "Every part is an item of a bullet list.",
        ["answer", "lay out the reply", "give the parts", "write the points", "format everything"],
        ["as a bullet list", "in bullet points", "with a dash before each item", "as a list of dashed points"]),
    preference!(Numbers, S, "format", "numbered list", "Every part is an item of a numbered list.",
        ["order the reply", "arrange the points", "present the parts", "count the items", "write it all down"],
        ["as a numbered list", "in numbered points", "with a number before each", "from one upward with figures"]),
    preference!(Warm, S, "tone", "warm letter", "It opens as a greeting to a friend and closes with good wishes.",
        ["greet the reader", "write", "speak", "open and close the reply", "address me"],
        ["like a dear friend", "with a warm heart", "in a friendly and warm way", "as in a letter to a friend"]),
    preference!(Formal, S, "tone", "formal letter", "It opens and closes as a formal letter does.",
        ["address the reader", "compose the reply", "word everything", "begin and end", "reply"],
        ["in an official tone", "as in a business letter", "with polite formality", "in a formal manner"]),
    preference!(Exclaim, S, "vividness", "exclamations", "Every sentence ends with an exclamation mark.",
        ["shout", "sound excited", "show your joy", "burst out", "be full of excitement"],
        ["in every sentence", "with an exclamation mark each time", "by the use of exclamation marks", "at the end of all sentences"]),
    preference!(Scene, S, "vividness", "opening scene", "It opens with a scene that the reader can picture.",
        ["open the reply", "begin", "start", "lead into the answer", "set out"],
        ["with a scene that comes first", "by painting a picture", "with an image of a place", "from a view the reader can see"]),
    // Background knowledge
    preference!(PlainWords, B, "basic", "plain words", "It says in plain words what the subject is.",
        ["explain the subject", "say what it is", "tell me the meaning", "describe the thing", "put the idea"],
        ["in plain words", "in simple language", "as one would to a child", "with easy words only"]),
    preference!(NoPriorKnowledge, B, "basic", "no knowledge assumed", "It says that no earlier knowledge is needed.",
        ["make clear", "say", "promise me", "assure the reader", "state"],
        ["that no earlier knowledge is needed", "that nothing must be known before", "that one need not have studied it", "that no preparation is required"]),
    preference!(FirstStep, B, "novice", "first step", "It names the first thing to remember: the kind of thing it is.",
        ["give a beginner", "offer a newcomer", "show me", "hand the novice", "name for beginners"],
        ["the first step", "one word to remember", "the first thing to keep in mind", "a place to start"]),
    preference!(GlossInBrackets, B, "novice", "meaning in brackets", "The meaning of the word stands behind it in brackets.",
        ["put", "add", "include", "write", "supply"],
        ["the meaning in brackets", "a definition inside brackets", "what the word means in brackets", "a short gloss in brackets"]),
    preference!(Reminder, B, "intermediate", "short reminder", "It reminds the reader of the group that the subject belongs to.",
        ["give me", "include", "add", "write in", "put in"],
        ["a reminder of its group", "a note that refreshes my memory", "a word on what I learned before", "a short look back at its group"]),
    preference!(BothNames, B, "intermediate", "both names", "It gives the technical name beside the usual one.",
        ["mention", "give", "include", "tell me", "state"],
        ["both of its names", "the other name too", "the usual and the second name", "what else it is called"]),
    preference!(TermOnly, B, "advanced", "technical term", "It uses the technical term instead of the usual name.",
        ["choose", "prefer", "write", "employ", "stick to"],
        ["the technical term", "its scientific name", "exact terminology for the subject", "the word of the specialists"]),
    preference!(Field, B, "advanced", "field of study", "It places the fact in its field of study.",
        ["name", "mention", "point to", "identify", "add"],
        ["the field of study", "the science it belongs in", "the discipline behind it", "the branch of knowledge"]),
    preference!(OpenQuestion, B, "expert", "open debate", "It mentions what experts still argue about.",
        ["mention", "raise", "bring up", "touch on", "include"],
        ["an open debate", "what experts still argue about", "a problem that is unsolved", "where scholars disagree"]),
    preference!(Classification, B, "expert", "classification", "It gives the subject's formal classification.",
        ["give", "state", "list", "supply", "note down"],
        ["the formal classification", "its class and category", "its place in the system", "the proper categories"]),
    // Informativeness
    preference!(Analogy, I, "creativity", "analogy", "It compares the subject with something else.",
        ["add", "find", "draw", "offer", "work in"],
        ["an analogy", "a comparison with something else", "a likeness to another thing", "a creative parallel"]),
    preference!(Wonder, I, "creativity", "question to wonder about", "It ends its content with a question that makes the reader wonder.",
        ["leave me with", "ask", "raise", "finish on", "pose"],
        ["a question to wonder about", "a playful question", "something for the reader to ponder", "a question that stirs the imagination"]),
    preference!(MoreFacts, I, "depth", "three facts", "It gives two further facts beside the one asked for.",
        ["add", "provide", "give", "tell me", "cover"],
        ["two further facts", "more facts than I asked for", "further details in depth", "additional facts on the subject"]),
    preference!(WeakSide, I, "depth", "weak side", "It also names a weak side.",
        ["name", "mention", "admit", "weigh", "show"],
        ["a weak side", "a drawback", "what speaks against it", "the disadvantage as well"]),
    preference!(OnlyAnswer, I, "efficiency", "only the answer", "It gives the answer and no further content.",
        ["give", "write", "send", "keep to", "stick to"],
        ["only the answer", "the bare answer", "what was asked and no more", "the answer without any extra"]),
    preference!(Summary, I, "efficiency", "summary", "It sums up the gist.",
        ["add", "finish with", "close on", "supply", "end with"],
        ["a summary", "the gist in a few words", "the essence", "a brief sum of it all"]),
    preference!(Tip, I, "practicality", "something to try", "It gives a tip that the reader can try.",
        ["suggest", "propose", "give me", "offer", "think up"],
        ["something to try", "a practical tip", "a small experiment", "an activity I can do"]),
    preference!(Equipment, I, "practicality", "equipment", "It says what equipment is needed.",
        ["say", "tell me", "list", "mention", "write down"],
        ["what equipment I need", "which gear to bring", "what to pack", "which tools are useful"]),
    preference!(WhyItMatters, I, "relevance", "why it matters", "It says why the subject matters.",
        ["explain", "say", "show", "make plain", "point out"],
        ["why it matters", "why anyone should care", "its importance for us", "the reason that it counts"]),
    preference!(ReadNext, I, "relevance", "what to read next", "It points to a related subject to read about next.",
        ["recommend", "suggest", "point to", "name", "link to"],
        ["a related subject", "what to read next", "the next topic", "further reading"]),
    // Harmlessness
    preference!(Hedge, H, "accuracy", "hedged answer", "The answer is hedged with \"as far as we know\".",
        ["hedge", "limit", "soften", "qualify", "be modest about"],
        ["the claim", "what you claim to know", "the certainty of the answer", "the answer as far as we know"]),
    preference!(Exceptions, H, "accuracy", "exceptions", "It says that there are exceptions.",
        ["admit", "note", "point out", "warn", "say"],
        ["that there are exceptions", "that the rule can fail", "that some cases differ", "that it is not always so"]),
    preference!(Fairness, H, "morality", "fair sharing", "It asks the reader to share fairly.",
        ["ask people", "remind us", "encourage everyone", "call on readers", "appeal to all"],
        ["to share fairly", "to be fair to others", "to leave a fair share", "to divide things justly"]),
    preference!(Respect, H, "morality", "respect", "It asks for respect for the whole kind.",
        ["show", "ask for", "teach", "demand", "plead for"],
        ["respect for its kind", "a respectful attitude", "dignity for such things", "respectful treatment of all its kind"]),
    preference!(Caution, H, "safety", "caution", "It warns of a danger.",
        ["add", "include", "give", "mention", "note"],
        ["a warning about danger", "a safety warning", "a caution", "a word on what is dangerous"]),
    preference!(AskExpert, H, "safety", "expert help", "It says whom to ask when in doubt.",
        ["name", "mention", "point me to", "indicate", "refer me to"],
        ["an expert to consult", "somebody trained whom I can ask", "a professional who helps in doubt", "a person to ask if unsure"]),
    preference!(EveryAge, H, "sensitivity", "every age", "It says that it is meant for people of every age.",
        ["welcome", "include", "address", "be open to", "speak to"],
        ["people of every age", "the old and the young", "all generations", "young and old alike"]),
    preference!(OwnPace, H, "sensitivity", "own pace", "It lets readers take their time.",
        ["let me go on", "allow me to learn", "let the reader move", "help me to proceed", "permit people to read"],
        ["at an easy pace", "without any hurry", "with no pressure", "with plenty of time"]),
    preference!(Source, H, "trustworthiness", "source", "It names its source.",
        ["cite", "name", "quote", "give", "state"],
        ["a source", "the reference work", "the book behind it", "where this comes from"]),
    preference!(MayBeWrong, H, "trustworthiness", "may be wrong", "It admits that it may be wrong and asks the reader to check.",
        ["admit", "confess", "be honest", "own up", "concede"],
        ["that you may be wrong", "that you can be mistaken", "that errors are possible", "that this should be checked"]),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use janus_core::PUBLISHED_SUBDIMENSIONS;

    use super::*;

    #[test]
    fn two_preferences_for_each_published_subdimension() {
        for (dimension, subdimensions) in PUBLISHED_SUBDIMENSIONS {
            for subdimension in subdimensions {
                assert_eq!(
                    MiniPreference::of(dimension).filter(|p| p.subdimension == subdimension).count(),
                    2,
                    "{subdimension}"
                );
            }
        }
        let features: HashSet<_> = PREFERENCES.iter().map(|p| p.feature).collect();
        assert_eq!(features.len(), 40);
    }

    #[test]
    fn no_wording_occurs_twice_in_the_table() {
        let mut seen = HashSet::new();
        for preference in &PREFERENCES {
            for wording in (0..WORDINGS).map(|index| preference.wording(index)) {
                assert!(!wording.contains(['.', '!', '?', ';', ':', '"']), "{wording}");
                assert!(seen.insert(wording.clone()), "\"{wording}\" occurs twice");
            }
        }
    }

    #[test]
    fn held_out_wordings_consist_of_parts_that_occur_in_training() {
        let of = |split| (0..WORDINGS).filter(move |&index| wording_split(index) == split);
        assert_eq!([Split::Train, Split::Dev, Split::Bench].map(|split| of(split).count()), [12, 4, 4]);
        let parts = |split| -> (HashSet<usize>, HashSet<usize>) {
            of(split).map(|index| (index / ENDINGS, index % ENDINGS)).unzip()
        };
        assert_eq!((parts(Split::Train).0.len(), parts(Split::Train).1.len()), (OPENINGS, ENDINGS));
    }
}
