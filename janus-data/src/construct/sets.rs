//! The preference sets of an instruction: every preference is used once, and no set contradicts itself.

use std::collections::HashMap;

use janus_core::{Preference, PreferenceSet, derive_seed};

use super::check::{SETS, contradiction};
use crate::Result;

/// Counts how often two subdimensions occur in the same set, so that later sets prefer rare pairs.
#[derive(Default)]
pub(super) struct PairCounts {
    counts: HashMap<(String, String), u64>,
}

impl PairCounts {
    fn pairs(set: &[&Preference]) -> Vec<(String, String)> {
        let name = |preference: &Preference| format!("{}/{}", preference.dimension, preference.subdimension);
        let mut pairs = Vec::new();
        for (at, first) in set.iter().enumerate() {
            pairs.extend(set[at + 1..].iter().map(|second| (name(first), name(second))));
        }
        pairs
    }

    fn cost(&self, set: &[&Preference]) -> u64 {
        Self::pairs(set).iter().map(|pair| self.counts.get(pair).copied().unwrap_or_default()).sum()
    }

    fn count(&mut self, set: &[&Preference]) {
        for pair in Self::pairs(set) {
            *self.counts.entry(pair).or_default() += 1;
        }
    }
}

/// The permutations of three items.
const ORDERS: [[usize; SETS]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// Arranges three preferences of each dimension into three sets that use each preference once.
///
/// Of the 216 arrangements it takes one with the fewest contradictions, among these one whose pairs of
/// subdimensions have occurred least, and among these the one that the seed puts first. Sets that still
/// contradict themselves are dropped and counted.
pub(super) fn arrange(
    preferences: &[&[Preference]],
    pair_counts: &mut PairCounts,
    seed: u64,
    id: &str,
) -> Result<(Vec<PreferenceSet>, u64)> {
    let arrangements = ORDERS.len().pow(preferences.len() as u32 - 1);
    let first = derive_seed(seed, &format!("sets {id}")) as usize % arrangements;
    let set = |arrangement: usize, number: usize| -> Vec<&Preference> {
        let mut rest = arrangement;
        let member = |(dimension, preferences): (usize, &&[Preference])| {
            let order = if dimension == 0 { ORDERS[0] } else { ORDERS[rest % ORDERS.len()] };
            rest /= if dimension == 0 { 1 } else { ORDERS.len() };
            order[number].min(preferences.len() - 1)
        };
        let members: Vec<usize> = preferences.iter().enumerate().map(member).collect();
        preferences.iter().zip(members).map(|(preferences, member)| &preferences[member]).collect()
    };
    let cost = |arrangement: usize| {
        let sets: Vec<Vec<&Preference>> = (0..SETS).map(|number| set(arrangement, number)).collect();
        let contradictions = sets.iter().filter(|set| contradiction(set).is_some()).count();
        (contradictions, sets.iter().map(|set| pair_counts.cost(set)).sum::<u64>())
    };
    // Ties go to the first arrangement; the seed determines which one is first.
    let best = (0..arrangements)
        .map(|step| (first + step) % arrangements)
        .min_by_key(|&arrangement| cost(arrangement))
        .unwrap_or(first);
    let (mut arranged, mut contradictory) = (Vec::with_capacity(SETS), 0);
    for number in 0..SETS {
        let set = set(best, number);
        if contradiction(&set).is_some() {
            contradictory += 1;
            continue;
        }
        pair_counts.count(&set);
        let set = PreferenceSet::new(set.into_iter().cloned().collect::<Vec<_>>())?;
        set.complete()?;
        arranged.push(set);
    }
    Ok((arranged, contradictory))
}

#[cfg(test)]
mod tests {
    use janus_core::Dimension;

    use super::*;

    fn three(dimension: Dimension, texts: [&str; 3]) -> Vec<Preference> {
        texts
            .iter()
            .enumerate()
            .map(|(at, text)| {
                Preference::new(dimension, format!("{dimension}{at}"), format!("label {at}"), *text)
            })
            .collect()
    }

    fn all(style: [&str; 3]) -> Vec<Vec<Preference>> {
        let mut all = vec![three(Dimension::Style, style)];
        all.push(three(Dimension::BackgroundKnowledge, ["knows it all", "knows some", "knows none"]));
        all.push(three(Dimension::Informativeness, ["a thorough account", "one tip", "one example"]));
        all.push(three(Dimension::Harmlessness, ["safe", "fair", "kind"]));
        all
    }

    fn arranged(
        all: &[Vec<Preference>],
        pair_counts: &mut PairCounts,
        id: &str,
    ) -> (Vec<PreferenceSet>, u64) {
        let all: Vec<&[Preference]> = all.iter().map(Vec::as_slice).collect();
        arrange(&all, pair_counts, 0, id).unwrap()
    }

    #[test]
    fn every_preference_is_used_once_and_contradictions_are_avoided() {
        let all = all(["keep it short", "warm", "lively"]);
        for id in 0..50 {
            let (sets, contradictory) = arranged(&all, &mut PairCounts::default(), &id.to_string());
            assert_eq!((sets.len(), contradictory), (3, 0));
            for dimension in Dimension::ALL {
                let mut used: Vec<&str> =
                    sets.iter().map(|set| set.get(dimension).unwrap().name.as_str()).collect();
                used.sort_unstable();
                assert_eq!(used, ["label 0", "label 1", "label 2"]);
            }
            let first = |set: &PreferenceSet, dimension| set.get(dimension).unwrap().name == "label 0";
            assert!(
                sets.iter()
                    .all(|set| !first(set, Dimension::Style) || !first(set, Dimension::Informativeness))
            );
        }
    }

    #[test]
    fn unavoidable_contradictions_are_counted() {
        let (sets, contradictory) =
            arranged(&all(["short", "brief", "concise"]), &mut PairCounts::default(), "1");
        assert_eq!((sets.len(), contradictory), (2, 1));
    }

    #[test]
    fn over_many_instructions_all_pairs_of_subdimensions_occur() {
        let (all, mut pair_counts) = (all(["lively", "warm", "plain"]), PairCounts::default());
        for id in 0..30 {
            arranged(&all, &mut pair_counts, &id.to_string());
        }
        // 30 instructions with 3 sets each, 3 x 3 pairs for any two dimensions: 10 occurrences each if even.
        assert_eq!(pair_counts.counts.len(), 6 * 9);
        assert!(
            pair_counts.counts.values().all(|count| (8..=12).contains(count)),
            "{:?}",
            pair_counts.counts.values()
        );
    }
}
