//! Writes the gold response for a preference set.

use super::instructions::Family;
use super::preferences::Feature;
use super::topics::Topic;

/// The features that a preference set asks for, one of each dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// The feature of style.
    pub style: Feature,
    /// The feature of background knowledge.
    pub background: Feature,
    /// The feature of informativeness.
    pub informativeness: Feature,
    /// The feature of harmlessness.
    pub harmlessness: Feature,
}

impl Wanted {
    /// The four features, in the order of the dimensions.
    pub fn features(&self) -> [Feature; 4] {
        [self.style, self.background, self.informativeness, self.harmlessness]
    }
}

/// The sentences that a feature adds to a response about `topic`. Empty for a feature that only changes the
/// form of other sentences.
pub(super) fn unit(feature: Feature, family: Family, topic: &Topic, called: &str) -> Vec<String> {
    let kind = topic.kind();
    let one = |text: String| vec![text];
    match feature {
        Feature::PlainWords => one(format!("Put simply, it is {}.", topic.gloss)),
        Feature::NoPriorKnowledge => one("You need no earlier knowledge for this.".into()),
        Feature::FirstStep => one(format!("As a first step, remember the word {}.", kind.name)),
        Feature::Reminder => one(format!("You will remember that it belongs to the {}.", kind.plural)),
        Feature::Field => one(format!("In {}, this is standard knowledge.", kind.field)),
        Feature::OpenQuestion => one(format!("Experts still argue about {}.", kind.open)),
        Feature::Classification => {
            one(format!("Classification: {}, {}, {}.", kind.field, kind.name, topic.term))
        }
        Feature::Analogy => one(format!("It is like {}.", topic.analogy)),
        Feature::Wonder => one(format!("What would a day without the {called} be like?")),
        Feature::MoreFacts => {
            (1..3).map(|step| format!("It also {}.", topic.facts[(family as usize + step) % 5])).collect()
        }
        Feature::WeakSide => one(format!("On the other hand, {}.", kind.drawback)),
        Feature::Summary => one(format!("To sum up, think of {}.", kind.gist)),
        Feature::Tip => one(format!("Try this: {}.", topic.tip)),
        Feature::Equipment => one(format!("You will need {}.", kind.tool)),
        Feature::WhyItMatters => one(format!("It matters because {}.", kind.matter)),
        Feature::ReadNext => one(format!("Next, read about the {}.", topic.related().name)),
        Feature::Hedge => one("This holds as far as we know.".into()),
        Feature::Exceptions => one("There are exceptions to this.".into()),
        Feature::Fairness => one("Please share it fairly with others.".into()),
        Feature::Respect => one(format!("Treat all {} with respect.", kind.plural)),
        Feature::Caution => one(format!("Careful: {}.", topic.caution)),
        Feature::AskExpert => one(format!("If in doubt, ask {}.", kind.expert)),
        Feature::EveryAge => one("This is for people of every age.".into()),
        Feature::OwnPace => one("Take all the time you need.".into()),
        Feature::Source => one(format!("Source: {}.", kind.source)),
        Feature::MayBeWrong => one("I may be wrong, so please check this.".into()),
        Feature::Scene => one(format!("Picture {}.", kind.scene)),
        Feature::OwnLines
        | Feature::Labels
        | Feature::OneSentence
        | Feature::Telegram
        | Feature::Bullets
        | Feature::Numbers
        | Feature::Warm
        | Feature::Formal
        | Feature::Exclaim
        | Feature::GlossInBrackets
        | Feature::BothNames
        | Feature::TermOnly
        | Feature::OnlyAnswer => Vec::new(),
    }
}

/// Opening and closing lines of the two letters.
pub(super) const WARM: [&str; 2] = ["Hello, dear friend!", "Take care and all the best!"];
pub(super) const FORMAL: [&str; 2] = ["Dear Sir or Madam,", "Yours faithfully, the assistant"];

/// The gold response: the requested fact first, then the sentences of background knowledge, informativeness
/// and harmlessness, all formatted in the style.
pub fn realise(family: Family, topic: &Topic, wanted: &Wanted) -> String {
    passage(family, topic, &wanted.features())
}

/// The requested fact first, then the sentences of the given features in their order.
pub(super) fn passage(family: Family, topic: &Topic, features: &[Feature]) -> String {
    passage_with_fact(family.fact(topic), family, topic, features)
}

/// A passage that states `fact` in place of the requested fact.
pub(super) fn passage_with_fact(fact: &str, family: Family, topic: &Topic, features: &[Feature]) -> String {
    let called = if features.contains(&Feature::TermOnly) { topic.term } else { topic.name };
    let subject = if features.contains(&Feature::GlossInBrackets) {
        format!("the {called} ({})", topic.gloss)
    } else if features.contains(&Feature::BothNames) {
        format!("the {called}, also called the {},", topic.term)
    } else {
        format!("the {called}")
    };
    let lead = capitalised(&format!("{subject} {fact}."));
    // A scene belongs to the style: it opens the text and is not one of the listed sentences.
    let added = features.iter().filter(|&&feature| feature != Feature::Scene);
    let mut sentences = vec![lead];
    sentences.extend(added.flat_map(|&feature| unit(feature, family, topic, called)));
    features
        .iter()
        .find_map(|&style| in_style(&sentences, style, topic))
        .unwrap_or_else(|| sentences.join(" "))
}

/// The sentences formatted in a style; `None` if the feature is not a style.
fn in_style(sentences: &[String], style: Feature, topic: &Topic) -> Option<String> {
    let lines = |prefix: &dyn Fn(usize) -> String| {
        let prefixed: Vec<String> =
            sentences.iter().enumerate().map(|(i, sentence)| prefix(i) + sentence).collect();
        prefixed.join("\n")
    };
    let paragraph = || sentences.join(" ");
    let text = match style {
        Feature::OwnLines => lines(&|_| String::new()),
        Feature::Labels => lines(&|i| if i == 0 { "Answer: ".into() } else { "Also: ".into() }),
        Feature::Bullets => lines(&|_| "- ".into()),
        Feature::Numbers => lines(&|i| format!("{}. ", i + 1)),
        Feature::OneSentence => {
            let bare: Vec<&str> =
                sentences.iter().map(|sentence| sentence.trim_end_matches(['.', '?'])).collect();
            let joined: Vec<String> = bare
                .iter()
                .enumerate()
                .map(|(i, part)| if i == 0 { (*part).into() } else { uncapitalised(part) })
                .collect();
            joined.join("; ") + "."
        }
        Feature::Telegram => sentences
            .iter()
            .map(|sentence| capitalised(&without_articles(sentence)))
            .collect::<Vec<_>>()
            .join(" "),
        Feature::Warm => [WARM[0], &paragraph(), WARM[1]].join("\n"),
        Feature::Formal => [FORMAL[0], &paragraph(), FORMAL[1]].join("\n"),
        Feature::Exclaim => paragraph().replace(['.', '?'], "!"),
        Feature::Scene => format!("Picture {}. {}", topic.kind().scene, paragraph()),
        _ => return None,
    };
    Some(text)
}

pub(super) fn is_article(word: &str) -> bool {
    matches!(word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase().as_str(), "a" | "an" | "the")
}

fn without_articles(sentence: &str) -> String {
    let mut kept: Vec<String> = Vec::new();
    for word in sentence.split(' ') {
        if is_article(word) {
            // In "(a bird …)" the bracket stays when the article is dropped.
            if let Some(bracket) = word
                .strip_suffix(char::is_alphabetic)
                .map(|w| w.trim_end_matches(char::is_alphabetic))
                .filter(|w| !w.is_empty())
            {
                kept.push(bracket.into());
            }
        } else if kept.last().is_some_and(|last| last.ends_with('(')) {
            if let Some(last) = kept.last_mut() {
                last.push_str(word);
            }
        } else {
            kept.push(word.into());
        }
    }
    kept.join(" ")
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn uncapitalised(text: &str) -> String {
    if text.starts_with("I ") {
        return text.into();
    }
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::topics::TOPICS;
    use super::*;

    fn owl(style: Feature, background: Feature, informativeness: Feature, harmlessness: Feature) -> String {
        realise(Family::Place, &TOPICS[0], &Wanted { style, background, informativeness, harmlessness })
    }

    #[test]
    fn the_features_shape_one_text() {
        assert_eq!(
            owl(Feature::Bullets, Feature::TermOnly, Feature::Tip, Feature::Hedge),
            "- The strigiform rests in hollow trees.\n- Try this: listen near old barns after dark.\n- This holds as far as we know."
        );
        assert_eq!(
            owl(Feature::OneSentence, Feature::BothNames, Feature::Wonder, Feature::MayBeWrong),
            "The owl, also called the strigiform, rests in hollow trees; what would a day without the owl be like; I may be wrong, so please check this."
        );
        assert_eq!(
            owl(Feature::Telegram, Feature::GlossInBrackets, Feature::Analogy, Feature::Source),
            "Owl (hunter of night) rests in hollow trees. It is like watchman with silent shoes. Source: garden bird guide."
        );
        assert_eq!(
            owl(Feature::Formal, Feature::Field, Feature::OnlyAnswer, Feature::Caution),
            "Dear Sir or Madam,\nThe owl rests in hollow trees. In ornithology, this is standard knowledge. Careful: never touch its nest.\nYours faithfully, the assistant"
        );
    }
}
