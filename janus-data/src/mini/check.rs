//! The rule-based grader of Mini: scores any text from 1 to 5 for each preference of a set, with the reason.
//!
//! A score is the minimum of two values. The first is how well the response shows the preference, minus a
//! penalty for competing preferences that it shows. The second is a bound from the truth of the content, so
//! that a well-formed text without content earns nothing.

use std::sync::LazyLock;

use janus_core::{BenchRecord, Preference, Score};

use super::instructions::{Family, understand};
use super::preferences::{Feature, MiniPreference};
use super::realise::{FORMAL, WARM, is_article, unit};
use super::topics::{TOPICS, Topic};
use crate::{Error, Result};

/// A score and why it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grade {
    /// The score, 1 to 5.
    pub score: Score,
    /// What was found, as a text for people.
    pub why: String,
}

/// Why a record is not one of Mini's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotMini {
    /// The question is not one of Mini's.
    #[error("the question \"{prompt}\" is not Mini's")]
    Question {
        /// The question.
        prompt: String,
    },
    /// The record has no preferences.
    #[error("it has no preference_set")]
    NoPreferenceSet,
    /// A preference is not one of Mini's.
    #[error("the preference \"{name}\" is not Mini's")]
    Preference {
        /// The label of the preference.
        name: String,
    },
}

/// Scores a response against each rubric of a Mini record, in the record's order.
///
/// # Errors
/// [`Error::NotMini`] if the record's question or one of its preferences is not Mini's.
pub fn grade(record: &BenchRecord, response: &str) -> Result<Vec<Grade>> {
    truth_and_grades(record, response).map(|(_, grades)| grades)
}

/// The score that the truth of a response allows, and its grades.
pub(super) fn truth_and_grades(record: &BenchRecord, response: &str) -> Result<(Score, Vec<Grade>)> {
    let not_mini = |problem| Error::NotMini { id: record.id.clone().unwrap_or_default(), problem };
    let (family, topic) = understand(&record.prompt)
        .ok_or_else(|| not_mini(NotMini::Question { prompt: record.prompt.clone() }))?;
    let set = record.preference_set.as_ref().ok_or_else(|| not_mini(NotMini::NoPreferenceSet))?;
    let reading = Reading::new(family, topic, response);
    let truth = reading.truth();
    let grade = |preference: &Preference| {
        let known = MiniPreference::find(preference.dimension, &preference.name);
        let known = known.ok_or_else(|| not_mini(NotMini::Preference { name: preference.name.clone() }))?;
        Ok(reading.grade(known, &truth))
    };
    let grades = set.iter().map(grade).collect::<Result<_>>()?;
    Ok((Score::nearest(truth.0), grades))
}

/// Scores how well a response answers a Mini question, whatever its style: only the bound from the truth.
/// `None` if the question is not one of Mini's.
pub fn grade_truth(prompt: &str, response: &str) -> Option<Grade> {
    let (family, topic) = understand(prompt)?;
    let (bound, why) = Reading::new(family, topic, response).truth();
    Some(Grade { score: Score::nearest(bound), why })
}

/// A response, split into lines and sentences.
struct Reading<'a> {
    family: Family,
    topic: &'static Topic,
    text: &'a str,
    lines: Vec<&'a str>,
    /// The normalised words of each sentence.
    sentences: Vec<Vec<String>>,
}

/// The words of every fact, topic by topic.
static FACTS: LazyLock<Vec<[Vec<String>; 5]>> =
    LazyLock::new(|| TOPICS.iter().map(|topic| topic.facts.map(words)).collect());

/// Minimum recall of a unit's words for the unit to count as present.
const PRESENT: f64 = 0.8;
/// Minimum evidence for another preference to count as competing: more than a mention, less than a quotation.
const COMPETING: f64 = 0.75;

impl<'a> Reading<'a> {
    fn new(family: Family, topic: &'static Topic, text: &'a str) -> Self {
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let sentences = lines
            .iter()
            .flat_map(|line| body(line).split(['.', '!', '?', ';']))
            .map(words)
            .filter(|words| !words.is_empty())
            .collect();
        Self { family, topic, text: text.trim(), lines, sentences }
    }

    fn grade(&self, preference: &MiniPreference, (bound, truth): &(i64, String)) -> Grade {
        let evidence = self.evidence(preference.feature);
        let rivals: Vec<&str> = MiniPreference::of(preference.dimension)
            .filter(|other| other.feature != preference.feature && !is_absence(other.feature))
            .filter(|other| self.evidence(other.feature) >= COMPETING)
            .map(|other| other.name)
            .collect();
        // `OnlyAnswer` is itself the absence of competing preferences, so its evidence already counts them.
        let penalty = match (preference.feature, rivals.len()) {
            (Feature::OnlyAnswer, _) | (_, 0) => 0,
            (_, few @ 1..=2) => few as i64,
            _ => 4,
        };
        let shown = match evidence {
            e if e >= 0.95 => 5,
            e if e >= 0.8 => 4,
            e if e >= 0.6 => 3,
            e if e >= 0.35 => 2,
            _ => 1,
        };
        let mut why = format!("{}: {:.0}% shown", preference.name, 100.0 * evidence);
        if penalty > 0 {
            why += &format!("; beside it: {}", rivals.join(", "));
        }
        if *bound < 5 {
            why += &format!("; {truth}");
        }
        Grade { score: Score::nearest((shown - penalty).min(*bound)), why }
    }

    /// The highest score that the content allows, and why.
    fn truth(&self) -> (i64, String) {
        if self.sentences.is_empty() {
            return (1, "the response is empty".into());
        }
        let requested = self.family.fact(self.topic);
        let recall = self.found(requested);
        let others =
            self.topic.facts.iter().filter(|fact| **fact != requested && self.found(fact) >= PRESENT).count();
        let (mut bound, mut why) = match recall {
            r if r >= 0.95 => (5, "the answer is true".to_string()),
            r if r >= PRESENT => (4, "the answer is nearly complete".into()),
            r if r >= 0.6 => (3, "the answer is in part there".into()),
            _ if others > 0 => (2, "it tells another fact than the one asked for".into()),
            _ => return (1, "the question is not answered".into()),
        };
        let mut limit = |to: i64, reason: String| {
            if to < bound {
                (bound, why) = (to, reason);
            }
        };
        match self.borrowed() {
            0 => {}
            1 => limit(2, "one statement belongs to another subject".into()),
            n => limit(1, format!("{n} statements belong to other subjects")),
        }
        match self.repeated() {
            0 => {}
            1 => limit(3, "a sentence is said twice".into()),
            n => limit(1, format!("{n} sentences are said again")),
        }
        match self.sentences.len() {
            0..=8 => {}
            n @ 9..=10 => limit(3, format!("{n} sentences are more than any reader asked for")),
            n => limit(2, format!("{n} sentences are far more than any reader asked for")),
        }
        match self.stray() {
            0..=1 => {}
            2 => limit(4, "two sentences say nothing about the subject".into()),
            n => limit(3, format!("{n} sentences say nothing about the subject")),
        }
        (bound, why)
    }

    /// The largest share of the words of `phrase` that one sentence contains in order.
    fn found(&self, phrase: &str) -> f64 {
        let phrase = words(phrase);
        self.sentences.iter().map(|sentence| recall(&phrase, sentence)).fold(0.0, f64::max)
    }

    /// Number of sentences that state a fact of another topic and none of this topic.
    fn borrowed(&self) -> usize {
        let foreign = |sentence: &[String]| {
            let stated = |facts: &[Vec<String>; 5]| facts.iter().any(|fact| recall(fact, sentence) >= 0.9);
            let mut own = false;
            let mut other = false;
            for (topic, facts) in TOPICS.iter().zip(FACTS.iter()) {
                let is_own = topic.name == self.topic.name;
                if (is_own || !other) && stated(facts) {
                    (own, other) = (own || is_own, other || !is_own);
                }
            }
            other && !own
        };
        self.sentences.iter().filter(|sentence| foreign(sentence)).count()
    }

    fn repeated(&self) -> usize {
        self.sentences
            .iter()
            .enumerate()
            .filter(|(i, sentence)| self.sentences[..*i].contains(sentence))
            .count()
    }

    /// Number of sentences that are neither a fact nor a unit of any preference for this topic.
    fn stray(&self) -> usize {
        let mut known: Vec<Vec<String>> = self.topic.facts.iter().map(|fact| words(fact)).collect();
        known.extend(super::preferences::PREFERENCES.iter().flat_map(|p| self.units(p.feature)));
        known.extend(WARM.iter().chain(&FORMAL).map(|line| words(line)));
        self.sentences.iter().filter(|sentence| known.iter().all(|unit| recall(unit, sentence) < 0.5)).count()
    }

    fn units(&self, feature: Feature) -> Vec<Vec<String>> {
        let called = if self.says(self.topic.name) { self.topic.name } else { self.topic.term };
        unit(feature, self.family, self.topic, called).iter().map(|sentence| words(sentence)).collect()
    }

    fn says(&self, phrase: &str) -> bool {
        let phrase = words(phrase);
        self.sentences.iter().any(|sentence| sentence.windows(phrase.len()).any(|window| window == phrase))
    }

    /// How well the response shows a feature, from 0 to 1.
    fn evidence(&self, feature: Feature) -> f64 {
        match feature {
            Feature::Bullets => self.lined(|line| line.starts_with(['-', '*', '•'])),
            Feature::Numbers => self.numbered(),
            Feature::Labels => self.lined(|line| label(line).is_some()),
            Feature::OwnLines => self.own_lines(),
            Feature::OneSentence => self.one_sentence(),
            Feature::Telegram => match self.text.split_whitespace().filter(|word| is_article(word)).count() {
                _ if self.sentences.is_empty() => 0.0,
                0 => 1.0,
                1 => 0.8,
                2 => 0.6,
                3 => 0.35,
                _ => 0.0,
            },
            Feature::Exclaim => self.exclaimed(),
            Feature::Warm => self.letter(WARM),
            Feature::Formal => self.letter(FORMAL),
            Feature::Scene => {
                let scene = words(&format!("Picture {}", self.topic.kind().scene));
                self.sentences.first().map_or(0.0, |first| recall(&scene, first))
            }
            Feature::GlossInBrackets => {
                let gloss = words(self.topic.gloss);
                let inside = self.text.split('(').skip(1).filter_map(|rest| rest.split(')').next());
                let in_brackets = inside.map(|text| recall(&gloss, &words(text))).fold(0.0, f64::max);
                in_brackets.max(0.5 * self.found(self.topic.gloss))
            }
            Feature::BothNames => self.found(&format!("{} also called {}", self.topic.name, self.topic.term)),
            Feature::TermOnly => match (self.says(self.topic.term), self.says(self.topic.name)) {
                (true, false) => 1.0,
                (true, true) => 0.4,
                (false, _) => 0.0,
            },
            Feature::MoreFacts => match self.further_facts() {
                0 => 0.0,
                1 => 0.6,
                2 => 1.0,
                _ => 0.8,
            },
            Feature::OnlyAnswer => {
                let extras = MiniPreference::of(janus_core::Dimension::Informativeness)
                    .filter(|other| !matches!(other.feature, Feature::OnlyAnswer | Feature::MoreFacts))
                    .filter(|other| self.evidence(other.feature) >= 0.6)
                    .count();
                (1.0 - 0.4 * (extras + self.further_facts()) as f64).max(0.0)
            }
            _ => {
                let units = self.units(feature);
                let found =
                    |unit: &Vec<String>| self.sentences.iter().map(|s| recall(unit, s)).fold(0.0, f64::max);
                units.iter().map(found).sum::<f64>() / units.len().max(1) as f64
            }
        }
    }

    fn further_facts(&self) -> usize {
        let requested = self.family.fact(self.topic);
        self.topic.facts.iter().filter(|fact| **fact != requested && self.found(fact) >= PRESENT).count()
    }

    /// Share of the lines that fit; a single line counts half.
    fn lined(&self, fits: impl Fn(&str) -> bool) -> f64 {
        let fitting = self.lines.iter().filter(|line| fits(line)).count();
        let share = fitting as f64 / self.lines.len().max(1) as f64;
        if self.lines.len() < 2 { 0.5 * share } else { share }
    }

    /// Like [`Self::lined`], for lines numbered 1, 2, 3 and so on.
    fn numbered(&self) -> f64 {
        let mut next = 1;
        let mut fitting = 0;
        for line in &self.lines {
            if number(line) == Some(next) {
                next += 1;
                fitting += 1;
            }
        }
        let share = f64::from(fitting) / self.lines.len().max(1) as f64;
        if self.lines.len() < 2 { 0.5 * share } else { share }
    }

    /// Share of the sentences that are alone on a line without a bullet, number or label.
    fn own_lines(&self) -> f64 {
        let bare = |line: &&&str| {
            body(line) == **line
                && body(line).split(['.', '!', '?', ';']).filter(|s| !words(s).is_empty()).count() == 1
        };
        let letter = |line: &&&str| {
            WARM.iter().chain(&FORMAL).any(|part| recall(&words(part), &words(line)) >= PRESENT)
        };
        let alone = self.lines.iter().filter(|line| bare(line) && !letter(line)).count();
        if self.lines.len() < 2 { 0.0 } else { alone as f64 / self.sentences.len().max(1) as f64 }
    }

    fn one_sentence(&self) -> f64 {
        let ends = self.text.matches(['.', '!', '?']).count();
        match ends.max(self.lines.len()) {
            0 => 0.0,
            1 => 1.0,
            2 => 0.6,
            3 => 0.35,
            _ => 0.0,
        }
    }

    fn exclaimed(&self) -> f64 {
        let ends = self.text.matches(['.', '!', '?']).count();
        if ends < 2 { 0.0 } else { self.text.matches('!').count() as f64 / ends as f64 }
    }

    fn letter(&self, [open, close]: [&str; 2]) -> f64 {
        let at =
            |line: Option<&&str>, part: &str| line.map_or(0.0, |line| recall(&words(part), &words(line)));
        let open = at(self.lines.first(), open);
        let close = if self.lines.len() < 2 { 0.0 } else { at(self.lines.last(), close) };
        (open + close) / 2.0
    }
}

/// Whether a feature is the absence of something. Short texts have it by chance, so it does not count as
/// competing.
fn is_absence(feature: Feature) -> bool {
    matches!(feature, Feature::OnlyAnswer | Feature::Telegram)
}

/// The lower-cased words of a text, without punctuation and articles.
fn words(text: &str) -> Vec<String> {
    let all = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty() && !is_article(word));
    all.map(str::to_lowercase).collect()
}

/// Length of the longest common subsequence, as a share of `phrase`.
fn recall(phrase: &[String], sentence: &[String]) -> f64 {
    let mut row = vec![0usize; sentence.len() + 1];
    for word in phrase {
        let mut diagonal = 0;
        for (j, other) in sentence.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if word == other { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    row[sentence.len()] as f64 / phrase.len().max(1) as f64
}

/// The line without its bullet, number or label.
fn body(line: &str) -> &str {
    let line = line.trim();
    if let Some(rest) = line.strip_prefix(['-', '*', '•']) {
        return rest.trim_start();
    }
    if number(line).is_some() {
        return line
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .trim_start_matches(['.', ')'])
            .trim_start();
    }
    label(line).unwrap_or(line)
}

fn number(line: &str) -> Option<usize> {
    let digits = line.find(|c: char| !c.is_ascii_digit())?;
    line[digits..].starts_with(['.', ')']).then(|| line[..digits].parse().ok()).flatten()
}

/// The text after the label, if the line has one.
fn label(line: &str) -> Option<&str> {
    let (label, rest) = line.split_once(':')?;
    let label = label.trim().trim_matches('*').to_lowercase();
    matches!(label.as_str(), "answer" | "also").then(|| rest.trim_start())
}
