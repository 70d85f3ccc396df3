//! Splits texts into words and measures their overlap.

use std::collections::HashSet;

use crate::instructions::is_word;

/// The lower-cased words of a text: its runs of letters and digits, and each letter of a script that is
/// written without spaces.
pub(crate) fn words(text: &str) -> Vec<String> {
    let runs = text.split(|character: char| !character.is_alphanumeric()).filter(|run| !run.is_empty());
    let cut = |run: &str| -> Vec<String> {
        if !run.contains(is_word) {
            return vec![run.to_lowercase()];
        }
        let parts = run.split_inclusive(is_word).flat_map(|part| {
            let last = part.char_indices().next_back().filter(|(_, character)| is_word(*character));
            let (before, own) = part.split_at(last.map_or(part.len(), |(at, _)| at));
            [before, own]
        });
        parts.filter(|part| !part.is_empty()).map(str::to_lowercase).collect()
    };
    runs.flat_map(cut).collect()
}

/// ROUGE-L (Lin 2004): the F1 of the longest common subsequence of words; 0 if either is empty.
pub(crate) fn rouge_l(one: &[String], other: &[String]) -> f64 {
    if one.is_empty() || other.is_empty() {
        return 0.0;
    }
    let mut lengths = vec![0u32; other.len() + 1];
    for word in one {
        let mut diagonal = 0;
        for (at, against) in other.iter().enumerate() {
            let above = lengths[at + 1];
            lengths[at + 1] = if word == against { diagonal + 1 } else { above.max(lengths[at]) };
            diagonal = above;
        }
    }
    // F1 of recall common/|one| and precision common/|other|.
    2.0 * f64::from(lengths[other.len()]) / (one.len() + other.len()) as f64
}

/// The share of the five-word shingles of `of` that also occur in `text`. If `of` is shorter, it is one
/// shingle as a whole.
pub(crate) fn share_of_shingles(of: &str, text: &str) -> f64 {
    let (of, text) = (words(of), words(text));
    let size = of.len().min(5);
    if size < 3 {
        // One or two words occur in any text on the subject.
        return 0.0;
    }
    let found: HashSet<&[String]> = text.windows(size).collect();
    let all: HashSet<&[String]> = of.windows(size).collect();
    all.iter().filter(|shingle| found.contains(*shingle)).count() as f64 / all.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rouge_l_is_the_published_measure() {
        let rouge = |one: &str, other: &str| rouge_l(&words(one), &words(other));
        // Lin's example: "police killed the gunman" against "police kill the gunman": three of four words.
        assert_eq!(rouge("Police killed the gunman", "police kill the gunman"), 0.75);
        assert_eq!(rouge("Police killed the gunman", "the gunman kill police"), 0.5);
        assert_eq!(rouge("a b", "a b"), 1.0);
        assert_eq!(rouge("", "a"), 0.0);
    }

    #[test]
    fn scripts_without_spaces_are_cut_into_letters() {
        assert_eq!(words("Use GPU加速 now"), ["use", "gpu", "加", "速", "now"]);
        assert_eq!(words("天空 2次"), ["天", "空", "2", "次"]);
    }

    #[test]
    fn shingles_find_a_text_in_another() {
        assert_eq!(
            share_of_shingles("one two three four five six", "He said: one two three, four five six!"),
            1.0
        );
        assert_eq!(share_of_shingles("one two three four five six", "one two three four five"), 0.5);
        assert_eq!(share_of_shingles("Hi there", "hi there"), 0.0);
    }
}
