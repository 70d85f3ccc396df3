//! dist-n: how much of what is said is said once.

use std::collections::HashSet;

/// Different n-grams of the texts over all their words; none without a text. Words are what stands between single
/// blanks (U+0020), so a leading blank makes an empty word, and line breaks stay inside words. An n-gram does not
/// cross from one text to the next; the words are counted the same for every n.
pub(super) fn distinct_ngrams<'a>(texts: impl IntoIterator<Item = &'a str>, n: usize) -> Option<f64> {
    let texts: Vec<Vec<&str>> = texts.into_iter().map(|text| text.split(' ').collect()).collect();
    let words: usize = texts.iter().map(Vec::len).sum();
    let different: HashSet<&[&str]> = texts.iter().flat_map(|words| words.windows(n.max(1))).collect();
    (words > 0).then(|| different.len() as f64 / words as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_at_single_blanks() {
        assert_eq!(distinct_ngrams(["a b a", "b a"], 2), Some(2.0 / 5.0));
        assert_eq!(distinct_ngrams([" a  a"], 1), Some(2.0 / 4.0), "the empty word is one");
        assert_eq!(distinct_ngrams(["a\nb c"], 1), Some(1.0));
        assert_eq!(distinct_ngrams(["a b", "b a"], 2), Some(2.0 / 4.0));
        assert_eq!(distinct_ngrams(["a"], 3), Some(0.0));
        assert_eq!(distinct_ngrams([""], 1), Some(1.0));
        assert_eq!(distinct_ngrams([], 1), None);
        // Joined by an underscore these two pairs would be one.
        assert_eq!(distinct_ngrams(["a_b c", "a b_c"], 2), Some(2.0 / 4.0));
    }
}
