//! Answers that are less helpful than a full and true one, with the typical mistakes of a small language
//! model.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::realise::{passage, passage_with_fact};
use super::topics::{TOPICS, Topic};
use super::{Family, Feature};

/// A response in the same style that is emptier, about something else, untrue, garbled, repetitive or cut
/// off. Half of these responses state an untrue fact, often wrong in only a word or two, because truth
/// matters most in an answer.
pub(super) fn less_helpful(
    family: Family,
    topic: &'static Topic,
    features: &[Feature],
    rng: &mut ChaCha8Rng,
) -> String {
    let full = passage(family, topic, features);
    loop {
        let other = any(&TOPICS, rng);
        let worse = match rng.random_range(0..20) {
            0 => passage(family, topic, &[Feature::OnlyAnswer]),
            1 => passage(any(&Family::ALL, rng), topic, features),
            2 => passage(family, &other, features),
            3 => cut_off(&full, rng),
            4 => one_word_changed(&full, &passage(family, &other, features), rng),
            5 | 6 => passage(family, topic, &[features, &[any(features, rng)]].concat()),
            7..=9 => passage(family, &mistaken_for(topic, &other, rng), features),
            _ => passage_with_fact(&untrue(family, topic, &other, rng), family, topic, features),
        };
        // Not every change shows in every style.
        if worse != full {
            return worse;
        }
    }
}

fn any<T: Copy>(of: &[T], rng: &mut ChaCha8Rng) -> T {
    of[rng.random_range(0..of.len())]
}

/// The topic with one property of another topic.
fn mistaken_for(topic: &Topic, other: &Topic, rng: &mut ChaCha8Rng) -> Topic {
    match rng.random_range(0..6) {
        0 => Topic { name: other.name, ..*topic },
        1 => Topic { term: other.term, ..*topic },
        2 => Topic { gloss: other.gloss, ..*topic },
        3 => Topic { analogy: other.analogy, ..*topic },
        4 => Topic { tip: other.tip, ..*topic },
        _ => Topic { caution: other.caution, ..*topic },
    }
}

/// A false statement: another fact, the halves of two facts, or the fact with words that are missing, wrong
/// or garbled.
fn untrue(family: Family, topic: &Topic, other: &Topic, rng: &mut ChaCha8Rng) -> String {
    let fact = family.fact(topic);
    let strange = any(&other.facts, rng);
    match rng.random_range(0..6) {
        0 => any(&topic.facts, rng).into(),
        1 => strange.into(),
        2 => {
            let (start, end): (Vec<&str>, Vec<&str>) =
                (fact.split(' ').collect(), strange.split(' ').collect());
            [&start[..rng.random_range(1..=start.len())], &end[end.len() / 2..]].concat().join(" ")
        }
        3 => {
            let mut words: Vec<&str> = fact.split(' ').collect();
            words.remove(rng.random_range(0..words.len()));
            words.join(" ")
        }
        4 => one_word_changed(fact, strange, rng),
        _ => garbled(fact, strange, rng),
    }
}

/// The text with one of its words replaced by one of `others`.
fn one_word_changed(text: &str, others: &str, rng: &mut ChaCha8Rng) -> String {
    let mut words: Vec<&str> = text.split(' ').collect();
    let others: Vec<&str> = others.split(' ').collect();
    let at = rng.random_range(0..words.len());
    words[at] = any(&others, rng);
    words.join(" ")
}

/// The text with some consecutive words replaced by others, or given the ending of others.
fn garbled(text: &str, others: &str, rng: &mut ChaCha8Rng) -> String {
    let mut words: Vec<String> = text.split(' ').map(String::from).collect();
    let others: Vec<&str> = others.split(' ').collect();
    let start = rng.random_range(0..words.len());
    let end = rng.random_range(start..words.len());
    for word in &mut words[start..=end] {
        let other: Vec<char> = any(&others, rng).chars().collect();
        let own = word.chars().count();
        let kept = if rng.random_bool(0.5) { own.div_ceil(2) } else { 0 };
        let from = if kept > 0 { other.len() / 2 } else { 0 };
        *word = word.chars().take(kept).chain(other[from..].iter().copied()).collect();
    }
    words.join(" ")
}

/// The first words of a text.
fn cut_off(text: &str, rng: &mut ChaCha8Rng) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    words[..rng.random_range(words.len().div_ceil(3)..words.len().max(2))].join(" ")
}
