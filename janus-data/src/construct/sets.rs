//! Preference sets of an instruction: every preference once, no set that asks for opposite things.

use std::collections::HashMap;

use janus_core::{Preference, PreferenceSet, derive_seed};

use super::check::{SETS, contradiction};
use crate::Result;

/// How often two subdimensions met in a set so far, so that the next sets bring together what has met least.
#[derive(Default)]
pub(super) struct Use {
    met: HashMap<(String, String), u64>,
}

impl Use {
    fn pairs(set: &[&Preference]) -> Vec<(String, String)> {
        let name = |preference: &Preference| format!("{}/{}", preference.dimension, preference.subdimension);
        let mut pairs = Vec::new();
        for (at, first) in set.iter().enumerate() {
            pairs.extend(set[at + 1..].iter().map(|second| (name(first), name(second))));
        }
        pairs
    }

    fn cost(&self, set: &[&Preference]) -> u64 {
        Self::pairs(set).iter().map(|pair| self.met.get(pair).copied().unwrap_or_default()).sum()
    }

    fn count(&mut self, set: &[&Preference]) {
        for pair in Self::pairs(set) {
            *self.met.entry(pair).or_default() += 1;
        }
    }
}

/// The orders of three things.
const ORDERS: [[usize; SETS]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// Three sets that use each of the three preferences of each dimension once: of the 216 ways, one with the fewest
/// contradictions, then one that brings together subdimensions which have met least, then one by the seed. Sets that still
/// contradict themselves are left out and counted.
pub(super) fn arrange(preferences: &[&[Preference]], use_of: &mut Use, seed: u64, id: &str) -> Result<(Vec<PreferenceSet>, u64)> {
    let ways = ORDERS.len().pow(preferences.len() as u32 - 1);
    let first = derive_seed(seed, &format!("sets {id}")) as usize % ways;
    let set = |way: usize, number: usize| -> Vec<&Preference> {
        let mut left = way;
        let member = |(dimension, preferences): (usize, &&[Preference])| {
            let order = if dimension == 0 { ORDERS[0] } else { ORDERS[left % ORDERS.len()] };
            left /= if dimension == 0 { 1 } else { ORDERS.len() };
            order[number].min(preferences.len() - 1)
        };
        let members: Vec<usize> = preferences.iter().enumerate().map(member).collect();
        preferences.iter().zip(members).map(|(preferences, member)| &preferences[member]).collect()
    };
    let cost = |way: usize| {
        let sets: Vec<Vec<&Preference>> = (0..SETS).map(|number| set(way, number)).collect();
        let contradictions = sets.iter().filter(|set| contradiction(set).is_some()).count();
        (contradictions, sets.iter().map(|set| use_of.cost(set)).sum::<u64>())
    };
    // The first of equals wins, and which comes first is the seed's choice.
    let best = (0..ways).map(|step| (first + step) % ways).min_by_key(|&way| cost(way)).unwrap_or(first);
    let (mut made, mut contradictory) = (Vec::with_capacity(SETS), 0);
    for number in 0..SETS {
        let set = set(best, number);
        if contradiction(&set).is_some() {
            contradictory += 1;
            continue;
        }
        use_of.count(&set);
        let set = PreferenceSet::new(set.into_iter().cloned().collect::<Vec<_>>())?;
        set.complete()?;
        made.push(set);
    }
    Ok((made, contradictory))
}

#[cfg(test)]
mod tests {
    use janus_core::Dimension;

    use super::*;

    fn three(dimension: Dimension, texts: [&str; 3]) -> Vec<Preference> {
        texts
            .iter()
            .enumerate()
            .map(|(at, text)| Preference::new(dimension, format!("{dimension}{at}"), format!("label {at}"), *text))
            .collect()
    }

    fn all(style: [&str; 3]) -> Vec<Vec<Preference>> {
        let mut all = vec![three(Dimension::Style, style)];
        all.push(three(Dimension::BackgroundKnowledge, ["knows it all", "knows some", "knows none"]));
        all.push(three(Dimension::Informativeness, ["a thorough account", "one tip", "one example"]));
        all.push(three(Dimension::Harmlessness, ["safe", "fair", "kind"]));
        all
    }

    fn arranged(all: &[Vec<Preference>], use_of: &mut Use, id: &str) -> (Vec<PreferenceSet>, u64) {
        let all: Vec<&[Preference]> = all.iter().map(Vec::as_slice).collect();
        arrange(&all, use_of, 0, id).unwrap()
    }

    #[test]
    fn every_preference_is_used_once_and_opposites_never_meet() {
        let all = all(["keep it short", "warm", "lively"]);
        for id in 0..50 {
            let (sets, contradictory) = arranged(&all, &mut Use::default(), &id.to_string());
            assert_eq!((sets.len(), contradictory), (3, 0));
            for dimension in Dimension::ALL {
                let mut used: Vec<&str> = sets.iter().map(|set| set.get(dimension).unwrap().name.as_str()).collect();
                used.sort_unstable();
                assert_eq!(used, ["label 0", "label 1", "label 2"]);
            }
            let first = |set: &PreferenceSet, dimension| set.get(dimension).unwrap().name == "label 0";
            assert!(sets.iter().all(|set| !first(set, Dimension::Style) || !first(set, Dimension::Informativeness)));
        }
    }

    #[test]
    fn what_cannot_be_arranged_is_counted() {
        let (sets, contradictory) = arranged(&all(["short", "brief", "concise"]), &mut Use::default(), "1");
        assert_eq!((sets.len(), contradictory), (2, 1));
    }

    #[test]
    fn over_many_instructions_everything_meets_everything() {
        let (all, mut use_of) = (all(["lively", "warm", "plain"]), Use::default());
        for id in 0..30 {
            arranged(&all, &mut use_of, &id.to_string());
        }
        // 30 instructions of 3 sets over 3 x 3 pairs of any two dimensions: 10 each if even.
        assert_eq!(use_of.met.len(), 6 * 9);
        assert!(use_of.met.values().all(|met| (8..=12).contains(met)), "{:?}", use_of.met.values());
    }
}
