//! The system messages of Mini: sentence plans (templates) filled with wordings of four preferences.

use janus_core::{Composer, SentencePlan};
use rand::Rng;
use rand::seq::IndexedRandom;

use super::Split;
use super::preferences::{MiniPreference, WORDINGS, wording_split};

#[rustfmt::skip]
static PLANS: [&str; 14] = [
    // train
    "You are a helpful assistant. Please {}. {^}. Also {}. Finally, {}.",
    "You write for one reader. {^} and {}. Moreover, {}, and {}.",
    "When you reply, {}. Remember to {}. {^}, and do not forget to {}.",
    "I would like you to {}. I also want you to {}. Then {}, and {}.",
    "You know this reader well. Always {}. {^}. If you can, {}. Above all, {}.",
    "Four wishes guide you: {}; {}; {}; and {}.",
    "It is your task to {}. Next, {}. It helps to {}. Please {} as well.",
    "You are a good companion. {^}. {^}. {^}. {^}.",
    "As an assistant for this reader, try to {}. You should {}. You should also {}, and then {}.",
    "Please {}, {}, {} and {}.",
    // dev
    "You are a companion who knows what I want: {}, {}, and also {}. Finally, {}.",
    "Remember this well. You should {} and {}. Always {}. Please {}.",
    // bench
    "You are an assistant for one reader. It helps to {}. Then {}. I want you to {}, and above all, {}.",
    "Do not forget four wishes of this reader: {}. {^}. Next, {}. As well as you can, {}.",
];

/// The split that a sentence plan belongs to. Ten are for training, two for dev and two for the bench.
pub fn plan_split(index: usize) -> Split {
    match index {
        0..10 => Split::Train,
        10..12 => Split::Dev,
        _ => Split::Bench,
    }
}

/// A system message of a split. The plan, the order of the preferences and their wordings are drawn from
/// those of the split.
pub fn system_message(split: Split, preferences: &[&MiniPreference; 4], rng: &mut impl Rng) -> String {
    let usable: Vec<usize> = (0..WORDINGS).filter(|&i| wording_split(i) == split).collect();
    let clauses = preferences.map(|preference| preference.wording(usable.choose(rng).copied().unwrap_or(0)));
    let clauses: Vec<&str> = clauses.iter().map(String::as_str).collect();
    let plans = (0..PLANS.len()).filter(|&i| plan_split(i) == split).map(|i| SentencePlan::new(PLANS[i]));
    match Composer::new(plans).and_then(|composer| composer.compose(&clauses, rng)) {
        Ok(message) => message,
        // Every plan has four slots.
        Err(error) => unreachable!("Mini's sentence plans: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_takes_four_clauses() {
        assert!(PLANS.iter().all(|plan| SentencePlan::new(*plan).slots() == 4));
        for split in [Split::Train, Split::Dev, Split::Bench] {
            assert!((0..PLANS.len()).filter(|&i| plan_split(i) == split).count() >= 2);
        }
    }
}
