//! Measures how many near-duplicates are found, by their similarity.

use rand::Rng;
use rand::seq::SliceRandom;
use serde::Serialize;

use janus_core::stream;

use super::NearDuplicates;

/// The recall for pairs within a range of similarities.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Recall {
    /// Lower end of the range of Jaccard similarities, included.
    pub from: f64,
    /// Upper end of the range, excluded.
    pub below: f64,
    /// Number of pairs.
    pub pairs: usize,
    /// Mean of their exact Jaccard similarity.
    pub jaccard: f64,
    /// Number of pairs that were candidates.
    pub candidates: usize,
    /// Expected number of candidates: the sum of `1 - (1 - s^rows)^bands` over the pairs.
    pub expected: f64,
}

impl Recall {
    /// The share of pairs that were found; 0 without pairs.
    pub fn recall(&self) -> f64 {
        if self.pairs == 0 { 0.0 } else { self.candidates as f64 / self.pairs as f64 }
    }
}

/// How well copies with replaced words are found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Planted {
    /// Mean Jaccard similarity of a text and its copy.
    pub mean_jaccard: f64,
    /// Share of the copies that are found as a copy of their text.
    pub recall: f64,
    /// Share of the found duplicates that are such a copy; `None` if none are found.
    pub precision: Option<f64>,
}

impl NearDuplicates {
    /// Appends copies of the first `copies` texts, each with `percent` of its words replaced, and measures
    /// how many are found.
    pub fn planted(
        &self,
        mut texts: Vec<String>,
        copies: usize,
        percent: usize,
        rng: &mut impl Rng,
    ) -> Planted {
        let (all, copies) = (texts.len(), copies.min(texts.len()));
        let mut mean_jaccard = 0.0;
        for at in 0..copies {
            let mut words: Vec<&str> = texts[at].split(' ').collect();
            for _ in 0..(words.len() * percent).div_ceil(100) {
                let position = rng.random_range(0..words.len());
                words[position] = "changed";
            }
            let edited = words.join(" ");
            mean_jaccard += self.jaccard(&texts[at], &edited) / copies as f64;
            texts.push(edited);
        }
        let repeats = self.find(&texts).repeats;
        let right = (0..copies).filter(|&at| repeats[all + at] == Some(at)).count() as f64;
        let found = repeats.iter().flatten().count();
        let recall = right / copies.max(1) as f64;
        Planted { mean_jaccard, recall, precision: (found > 0).then(|| right / found as f64) }
    }

    /// The probability that two texts with a Jaccard similarity are candidates.
    ///
    /// ```
    /// use janus_data::instructions::NearDuplicates;
    /// let near = NearDuplicates::default();
    /// assert!(near.chance(0.9) > 0.999 && near.chance(0.3) < 0.001);
    /// ```
    pub fn chance(&self, jaccard: f64) -> f64 {
        1.0 - (1.0 - jaccard.powi(self.rows as i32)).powi(self.bands as i32)
    }

    /// Measures the recall of candidates on generated pairs: texts of 60 to 200 words, and copies of them in
    /// which some words are replaced. The pairs are grouped by their similarity into `bins` of equal width
    /// from 0 to 1. No pair is equal.
    pub fn recall(&self, pairs: usize, bins: usize, seed: u64) -> Vec<Recall> {
        let mut rng = stream(seed, "near-duplicate recall");
        let mut texts = Vec::with_capacity(2 * pairs);
        for _ in 0..pairs {
            let count = rng.random_range(60..=200);
            let words: Vec<String> = (0..count).map(|_| format!("w{:x}", rng.random::<u64>())).collect();
            // A replaced word breaks every sequence that contains it, so a few edits span all similarities.
            let edits = rng.random_range(1..=count / 8);
            let mut positions: Vec<usize> = (0..count).collect();
            positions.shuffle(&mut rng);
            let mut copy = words.clone();
            positions[..edits]
                .iter()
                .for_each(|&position| copy[position] = format!("x{:x}", rng.random::<u64>()));
            texts.extend([words.join(" "), copy.join(" ")]);
        }
        // With a minimum of 0, all texts that share a bucket are candidates.
        let candidates = Self { min_jaccard: 0.0, ..self.clone() }.find(&texts);
        let bins = bins.max(1);
        let width = 1.0 / bins as f64;
        let bin = |at: usize| Recall {
            from: at as f64 * width,
            below: (at + 1) as f64 * width,
            pairs: 0,
            jaccard: 0.0,
            candidates: 0,
            expected: 0.0,
        };
        let mut table: Vec<Recall> = (0..bins).map(bin).collect();
        for (pair, texts) in texts.chunks(2).enumerate() {
            let jaccard = self.jaccard(&texts[0], &texts[1]);
            let row = &mut table[((jaccard * bins as f64) as usize).min(bins - 1)];
            row.pairs += 1;
            row.jaccard += jaccard;
            row.candidates += usize::from(candidates.repeats[2 * pair + 1] == Some(2 * pair));
            row.expected += self.chance(jaccard);
        }
        table.iter_mut().filter(|row| row.pairs > 0).for_each(|row| row.jaccard /= row.pairs as f64);
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_with_few_replaced_words_is_found() {
        let mut rng = stream(0, "planted");
        let texts = (0..40)
            .map(|text| (0..100).map(|word| format!("w{text}x{word}")).collect::<Vec<_>>().join(" "))
            .collect();
        let planted = NearDuplicates::default().planted(texts, 20, 1, &mut rng);
        assert!(
            planted.mean_jaccard > 0.6 && planted.recall > 0.9 && planted.precision == Some(1.0),
            "{planted:?}"
        );
    }

    #[test]
    fn recall_by_similarity_is_within_its_bounds() {
        let table = NearDuplicates::default().recall(6000, 10, 0);
        assert_eq!(table.iter().map(|row| row.pairs).sum::<usize>(), 6000);
        for row in &table {
            // The variance of a sum of independent draws is at most that with equal probabilities.
            let (n, mean) = (row.pairs as f64, row.expected / (row.pairs as f64).max(1.0));
            let error = (n * mean * (1.0 - mean)).sqrt();
            assert!((row.candidates as f64 - row.expected).abs() <= 4.0 * error + 1.0, "{row:?}");
        }
        // What the defaults promise: near-copies are found, and different texts are hardly ever compared.
        assert!(table[9].pairs > 50 && table[9].recall() > 0.99, "{:?}", table[9]);
        assert!(table[8].pairs > 50 && table[8].recall() > 0.9, "{:?}", table[8]);
        assert!(table[3].pairs > 50 && table[3].recall() < 0.03, "{:?}", table[3]);
        assert!(table.windows(2).all(|pair| pair[0].recall() <= pair[1].recall() + 0.05), "{table:?}");
        assert_eq!(table, NearDuplicates::default().recall(6000, 10, 0), "the same on every run");
    }
}
