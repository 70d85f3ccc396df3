//! Samples that keep every kind.

use std::collections::BTreeMap;

use janus_core::stream;
use rand::seq::SliceRandom;

/// Positions of a sample of `count` that takes as evenly as it can from every stratum: strata too small for an even share
/// are taken whole, and the others share what is left. The result is in order and depends on the arguments alone.
///
/// ```
/// use janus_data::instructions::stratified;
/// let sources = ["a", "a", "a", "a", "b", "c", "c", "c"];
/// let sample = stratified(&sources, 5, 0);
/// let of = |source| sample.iter().filter(|&&at| sources[at] == source).count();
/// assert_eq!((of("a"), of("b"), of("c")), (2, 1, 2));
/// ```
pub fn stratified<K: Ord>(strata: &[K], count: usize, seed: u64) -> Vec<usize> {
    let mut members: BTreeMap<&K, Vec<usize>> = BTreeMap::new();
    for (at, stratum) in strata.iter().enumerate() {
        members.entry(stratum).or_default().push(at);
    }
    let mut rng = stream(seed, "stratified");
    let mut members: Vec<Vec<usize>> = members.into_values().collect();
    members.iter_mut().for_each(|stratum| stratum.shuffle(&mut rng));
    // The smallest first: what it cannot give goes to those after it.
    members.sort_by_key(Vec::len);
    let (mut left, mut sample) = (count, Vec::with_capacity(count.min(strata.len())));
    let strata = members.len();
    for (at, stratum) in members.iter().enumerate() {
        // Rounded up for the last ones, so that the sum is exact.
        let share = left / (strata - at);
        let taken = share.min(stratum.len());
        sample.extend_from_slice(&stratum[..taken]);
        left -= taken;
    }
    sample.sort_unstable();
    sample
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_sample_has_its_size_and_no_stratum_starves(strata in prop::collection::vec(0u8..6, 0..80), count in 0usize..100, seed: u64) {
            let sample = stratified(&strata, count, seed);
            prop_assert_eq!(sample.len(), count.min(strata.len()));
            prop_assert!(sample.windows(2).all(|pair| pair[0] < pair[1]));
            let of = |stratum: u8, of: &[usize]| of.iter().filter(|&&at| strata[at] == stratum).count();
            let all: Vec<usize> = (0..strata.len()).collect();
            for stratum in 0..6 {
                for other in 0..6 {
                    // One stratum has two more than another only if the other is taken whole.
                    if of(stratum, &sample) > of(other, &sample) + 1 {
                        prop_assert_eq!(of(other, &sample), of(other, &all));
                    }
                }
            }
            prop_assert_eq!(stratified(&strata, count, seed), sample);
        }
    }
}
