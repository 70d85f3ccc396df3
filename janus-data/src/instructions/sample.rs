//! Stratified samples.

use std::collections::BTreeMap;

use janus_core::stream;
use rand::seq::SliceRandom;

/// Draws `count` positions as evenly as possible over the strata. Strata smaller than an even share are taken
/// whole, and the others share the rest. The result is sorted and depends only on the arguments.
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
    // The smallest strata first: what they lack is taken from those after them.
    members.sort_by_key(Vec::len);
    let (mut rest, mut sample) = (count, Vec::with_capacity(count.min(strata.len())));
    let strata = members.len();
    for (at, stratum) in members.iter().enumerate() {
        // The last strata get the remainder of the division, so that the sum is exact.
        let share = rest / (strata - at);
        let taken = share.min(stratum.len());
        sample.extend_from_slice(&stratum[..taken]);
        rest -= taken;
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
        fn a_sample_has_the_requested_size_and_is_even(strata in prop::collection::vec(0u8..6, 0..80), count in 0usize..100, seed: u64) {
            let sample = stratified(&strata, count, seed);
            prop_assert_eq!(sample.len(), count.min(strata.len()));
            prop_assert!(sample.windows(2).all(|pair| pair[0] < pair[1]));
            let of = |stratum: u8, of: &[usize]| of.iter().filter(|&&at| strata[at] == stratum).count();
            let all: Vec<usize> = (0..strata.len()).collect();
            for stratum in 0..6 {
                for other in 0..6 {
                    // A stratum may have two more than another only if the other is taken whole.
                    if of(stratum, &sample) > of(other, &sample) + 1 {
                        prop_assert_eq!(of(other, &sample), of(other, &all));
                    }
                }
            }
            prop_assert_eq!(stratified(&strata, count, seed), sample);
        }
    }
}
