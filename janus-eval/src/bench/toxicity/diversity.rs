//! dist-n: the number of distinct n-grams relative to the number of words.

use std::collections::HashSet;

/// Number of distinct n-grams of the texts, divided by their number of words; `None` without a text. The
/// texts are split at every space (U+0020), so a leading space makes an empty word, and line breaks stay
/// inside words. An n-gram does not span two texts. The divisor is the number of words for every n.
pub(super) fn distinct_ngrams<'a>(texts: impl IntoIterator<Item = &'a str>, n: usize) -> Option<f64> {
    let texts: Vec<Vec<&str>> = texts.into_iter().map(|text| text.split(' ').collect()).collect();
    let words: usize = texts.iter().map(Vec::len).sum();
    let distinct: HashSet<&[&str]> = texts.iter().flat_map(|words| words.windows(n.max(1))).collect();
    (words > 0).then(|| distinct.len() as f64 / words as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_at_single_spaces() {
        assert_eq!(distinct_ngrams(["a b a", "b a"], 2), Some(2.0 / 5.0));
        assert_eq!(distinct_ngrams([" a  a"], 1), Some(2.0 / 4.0), "the empty word counts");
        assert_eq!(distinct_ngrams(["a\nb c"], 1), Some(1.0));
        assert_eq!(distinct_ngrams(["a b", "b a"], 2), Some(2.0 / 4.0));
        assert_eq!(distinct_ngrams(["a"], 3), Some(0.0));
        assert_eq!(distinct_ngrams([""], 1), Some(1.0));
        assert_eq!(distinct_ngrams([], 1), None);
        // The two pairs would be equal if their words were joined by an underscore.
        assert_eq!(distinct_ngrams(["a_b c", "a b_c"], 2), Some(2.0 / 4.0));
    }
}
