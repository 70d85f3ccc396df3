//! Near-duplicates by MinHash and locality-sensitive hashing (Broder 1997; Leskovec, Rajaraman, Ullman,
//! chapter 3).

use rayon::prelude::*;

use super::dedup::Duplicates;

/// How near-duplicates are found.
///
/// A text is represented by its set of word n-grams (shingles) of `shingle` words, ignoring case and
/// punctuation. In scripts that are written without spaces (Han, kana, Thai, Lao, Khmer, Myanmar) each
/// letter counts as a word. Two texts are candidates if the smallest hashes of their sets agree in all
/// `rows` of one of the `bands`. With Jaccard similarity `s` that happens with probability
/// `1 - (1 - s^rows)^bands`, which is one half at 0.72 for 14 bands of 8. Candidates are compared
/// exactly. The result depends only on the texts and their order, and is the same on every machine.
///
/// ```
/// use janus_data::instructions::NearDuplicates;
/// let texts = ["Name three kinds of kites that fly in a light wind.", "Why?", "Name three kinds of kites that fly in a light wind!"];
/// assert_eq!(NearDuplicates::default().find(&texts).repeats, [None, None, Some(0)]);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct NearDuplicates {
    /// Number of words in a shingle. A shorter text is a single shingle.
    pub shingle: usize,
    /// Number of bands.
    pub bands: usize,
    /// Number of hashes in a band.
    pub rows: usize,
    /// Minimum Jaccard similarity of near-duplicates.
    pub min_jaccard: f64,
}

impl Default for NearDuplicates {
    fn default() -> Self {
        Self { shingle: 5, bands: 14, rows: 8, min_jaccard: 0.6 }
    }
}

/// Texts that a parallel task hashes.
const CHUNK: usize = 256;

impl NearDuplicates {
    /// For each text, finds the index of the first text in its group, or `None` if the text itself is
    /// the first. Groups are transitive: a text that is near texts of two groups merges the groups.
    pub fn find<S: AsRef<str> + Sync>(&self, texts: &[S]) -> Duplicates {
        let (bands, functions) = (self.bands.max(1), self.functions());
        let mut keys = vec![0u64; texts.len() * bands];
        keys.par_chunks_mut(bands * CHUNK).zip(texts.par_chunks(CHUNK)).for_each(|(keys, texts)| {
            let (mut hashes, mut smallest) = (Vec::new(), vec![0u64; functions.len()]);
            for (keys, text) in keys.chunks_mut(bands).zip(texts) {
                shingles(text.as_ref(), self.shingle, &mut hashes);
                smallest.fill(u64::MAX);
                for &hash in &hashes {
                    for (smallest, (a, b)) in smallest.iter_mut().zip(&functions) {
                        *smallest = (*smallest).min(a.wrapping_mul(hash).wrapping_add(*b));
                    }
                }
                for (key, rows) in keys.iter_mut().zip(smallest.chunks(self.rows.max(1))) {
                    *key = rows.iter().fold(0, |key, &hash| mix(key ^ hash));
                }
            }
        });

        let mut groups = Groups::new(texts.len());
        let mut band: Vec<(u64, u32)> = Vec::with_capacity(texts.len());
        let wordless: Vec<bool> =
            texts.par_iter().map(|text| !text.as_ref().contains(char::is_alphanumeric)).collect();
        for number in 0..bands {
            band.clear();
            band.extend(
                (0..texts.len()).filter(|&at| !wordless[at]).map(|at| (keys[at * bands + number], at as u32)),
            );
            band.par_sort_unstable();
            for bucket in band.chunk_by(|one, next| one.0 == next.0) {
                let first = bucket[0].1 as usize;
                for &(_, other) in &bucket[1..] {
                    let other = other as usize;
                    if groups.first(first) != groups.first(other)
                        && self.jaccard(texts[first].as_ref(), texts[other].as_ref()) >= self.min_jaccard
                    {
                        groups.join(first, other);
                    }
                }
            }
        }
        let repeats =
            (0..texts.len()).map(|at| Some(groups.first(at)).filter(|&first| first != at)).collect();
        Duplicates { repeats }
    }

    /// The Jaccard similarity of two texts: the number of sequences in both, divided by the number in either.
    pub fn jaccard(&self, one: &str, other: &str) -> f64 {
        let set = |text| {
            let mut hashes = Vec::new();
            shingles(text, self.shingle, &mut hashes);
            hashes.sort_unstable();
            hashes.dedup();
            hashes
        };
        let (one, other) = (set(one), set(other));
        let common = one.iter().filter(|hash| other.binary_search(hash).is_ok()).count();
        let all = one.len() + other.len() - common;
        if all == 0 { 1.0 } else { common as f64 / all as f64 }
    }

    /// The hash functions `a x + b` modulo 2^64. `a` is odd, so each is a permutation.
    fn functions(&self) -> Vec<(u64, u64)> {
        let mut state = 0;
        let mut next = || {
            state += 1;
            mix(state)
        };
        (0..self.bands.max(1) * self.rows.max(1)).map(|_| (next() | 1, next())).collect()
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
pub(super) fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Computes the hashes of the shingles of `size` words of a text. A shorter text gives a single hash of
/// all its words; a text without words gives no hash.
pub(super) fn shingles(text: &str, size: usize, hashes: &mut Vec<u64>) {
    hashes.clear();
    let (mut word, mut within) = (0u64, false);
    // First the hashes of words, then, in place, those of shingles.
    for character in text.chars() {
        if within && is_word(character) {
            hashes.push(mix(word));
            (word, within) = (0, false);
        }
        if is_word(character) {
            hashes.push(mix(u64::from(character).wrapping_mul(FNV_PRIME)));
        } else if character.is_alphanumeric() {
            if character.is_ascii() {
                word = (word ^ u64::from(character.to_ascii_lowercase())).wrapping_mul(FNV_PRIME);
            } else {
                for lower in character.to_lowercase() {
                    word = (word ^ u64::from(lower)).wrapping_mul(FNV_PRIME);
                }
            }
            within = true;
        } else if within {
            hashes.push(mix(word));
            (word, within) = (0, false);
        }
    }
    if within {
        hashes.push(mix(word));
    }
    let size = size.clamp(1, hashes.len().max(1));
    for at in 0..(hashes.len() + 1).saturating_sub(size) {
        hashes[at] =
            hashes[at..at + size].iter().fold(0, |sequence: u64, &word| mix(sequence.rotate_left(7) ^ word));
    }
    hashes.truncate((hashes.len() + 1).saturating_sub(size));
}

/// Whether a character is a word of its own: scripts that are written without spaces between words are cut
/// into characters.
pub(crate) fn is_word(character: char) -> bool {
    let scripts = [
        '\u{0e00}'..='\u{0eff}',   // Thai, Lao
        '\u{1000}'..='\u{109f}',   // Myanmar
        '\u{1780}'..='\u{17ff}',   // Khmer
        '\u{3040}'..='\u{30ff}',   // Hiragana, Katakana
        '\u{31f0}'..='\u{31ff}',   // Katakana extensions
        '\u{3400}'..='\u{4dbf}',   // Han, extension A
        '\u{4e00}'..='\u{9fff}',   // Han
        '\u{f900}'..='\u{faff}',   // Han, compatibility
        '\u{20000}'..='\u{323af}', // Han, extensions B to H
    ];
    character >= '\u{0e00}'
        && character.is_alphanumeric()
        && scripts.iter().any(|script| script.contains(&character))
}

const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// Disjoint sets of positions, each represented by its smallest member.
struct Groups {
    parent: Vec<u32>,
}

impl Groups {
    fn new(count: usize) -> Self {
        Self { parent: (0..count as u32).collect() }
    }

    fn first(&mut self, mut at: usize) -> usize {
        while self.parent[at] as usize != at {
            self.parent[at] = self.parent[self.parent[at] as usize];
            at = self.parent[at] as usize;
        }
        at
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.first(one), self.first(other));
        self.parent[one.max(other)] = one.min(other) as u32;
    }
}

#[cfg(test)]
mod tests {
    use janus_core::stream;
    use rand::Rng;

    use super::*;

    #[test]
    fn sequences_ignore_case_and_punctuation_and_a_short_text_is_one() {
        let of = |text: &str| {
            let mut hashes = Vec::new();
            shingles(text, 3, &mut hashes);
            hashes
        };
        assert_eq!(of("One, two -- THREE four."), of("one two three four"));
        assert_eq!((of("one two three four").len(), of("one two").len(), of("...").len()), (2, 1, 0));
        assert_ne!(of("one two"), of("two one"));
        assert_eq!(of("ÄPFEL und x"), of("äpfel UND X"));
    }

    #[test]
    fn near_copies_in_scripts_without_spaces_are_found() {
        let texts = [
            "请用简单的语言解释为什么天空是蓝色的,并给出三个日常生活中的例子,最后用一句话总结全部内容,使没有学过物理的读者也能轻松理解。",
            "请用简单的语言解释为什么天空是蓝色的,并给出四个日常生活中的例子,最后用一句话总结全部内容,使没有学过物理的读者也能轻松理解。",
            "请写一首关于大海的诗,要求押韵,并且不要超过一百个字。",
            "ช่วยอธิบายเป็นภาษาง่าย ๆ ว่าทำไมท้องฟ้าถึงเป็นสีฟ้า และยกตัวอย่างสามข้อจากชีวิตประจำวัน",
            "ช่วยอธิบายเป็นภาษาง่าย ๆ ว่าทำไมท้องฟ้าถึงเป็นสีฟ้า และยกตัวอย่างสี่ข้อจากชีวิตประจำวัน",
            "空がなぜ青いのかを簡単な言葉で説明し、日常生活の例を三つ挙げてください。",
            "空がなぜ青いのかを簡単な言葉で説明し、日常生活の例を四つ挙げてください。",
        ];
        let repeats = NearDuplicates::default().find(&texts).repeats;
        assert_eq!(repeats, [None, Some(0), None, None, Some(3), None, Some(5)]);
    }

    #[test]
    fn the_probability_of_a_candidate_follows_the_formula() {
        // Texts of 60 one-word sequences, of which `same` are shared.
        let near = NearDuplicates { shingle: 1, min_jaccard: 0.0, ..NearDuplicates::default() };
        let mut rng = stream(0, "lsh");
        for (same, jaccard) in [(50, 50.0 / 70.0), (40, 0.5), (55, 55.0 / 65.0)] {
            let mut found = 0;
            for _ in 0..400 {
                let mut word = || format!("w{}", rng.random::<u64>());
                let shared: Vec<String> = (0..same).map(|_| word()).collect();
                let mut text = || [shared.clone(), (same..60).map(|_| word()).collect()].concat().join(" ");
                let texts = [text(), text()];
                assert!((near.jaccard(&texts[0], &texts[1]) - jaccard).abs() < 1e-9);
                found += usize::from(near.find(&texts).repeats[1].is_some());
            }
            let expected = 1.0 - (1.0 - f64::powi(jaccard, 8)).powi(14);
            let share = found as f64 / 400.0;
            // Four standard errors.
            assert!(
                (share - expected).abs() < 4.0 * (expected * (1.0 - expected) / 400.0).sqrt() + 0.01,
                "{share} for {expected}"
            );
        }
    }

    #[test]
    fn groups_are_represented_by_their_first_text_and_wordless_texts_have_none() {
        let base = "the quick brown fox jumps over the lazy dog while the sun is slowly setting in the far west behind old hills";
        let texts = [
            "!!!",
            base,
            "something else entirely that nobody else says",
            &format!("{base} today"),
            "???",
            &base.to_uppercase(),
        ];
        assert_eq!(
            NearDuplicates::default().find(&texts).repeats,
            [None, None, None, Some(1), None, Some(1)]
        );
        assert!(NearDuplicates::default().find::<&str>(&[]).repeats.is_empty());
    }
}
