//! Parses labels and ratings in a judge's text, by the rules of their benchmarks.

/// Which of two answers a judge prefers. Some benchmarks distinguish strong preferences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PairLabel {
    /// The first shown, strongly.
    MuchA,
    /// The first shown.
    A,
    /// Neither.
    Tie,
    /// The second shown.
    B,
    /// The second shown, strongly.
    MuchB,
}

impl PairLabel {
    const ALL: [Self; 5] = [Self::MuchA, Self::A, Self::Tie, Self::B, Self::MuchB];

    /// The label of a pair as it is written in results.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::MuchA | Self::A => "A",
            Self::B | Self::MuchB => "B",
            Self::Tie => "tie",
        }
    }

    /// Arena-Hard-Auto's label.
    pub(crate) fn as_arena(self) -> &'static str {
        match self {
            Self::MuchA => "A>>B",
            Self::A => "A>B",
            Self::Tie => "A=B",
            Self::B => "B>A",
            Self::MuchB => "B>>A",
        }
    }
}

/// The verdict of a pairwise comparison, by MT-Bench's rule: `[[A]]`, `[[B]]` and `[[C]]` are searched
/// in this order in the whole text, and the first that occurs is the verdict. A text with both `[[A]]`
/// and `[[B]]` is A.
///
/// ```
/// use janus_eval::judge::read::{PairLabel, pair_label};
/// assert_eq!(pair_label("B is better: [[B]]"), Some(PairLabel::B));
/// assert_eq!(pair_label("[[B]] or rather [[A]]"), Some(PairLabel::A));
/// assert_eq!(pair_label("[A]"), None);
/// ```
pub fn pair_label(text: &str) -> Option<PairLabel> {
    [("[[A]]", PairLabel::A), ("[[B]]", PairLabel::B), ("[[C]]", PairLabel::Tie)]
        .into_iter()
        .find_map(|(mark, label)| text.contains(mark).then_some(label))
}

/// The rating in a text, by MT-Bench's rule: the first `[[number]]`, else the first `[number]`, where a
/// number is digits with an optional decimal part. Above 10, the end of the scale, it is no rating.
///
/// ```
/// use janus_eval::judge::read::rating;
/// assert_eq!(rating("[3] of them. Rating: [[7.5]]"), Some(7.5));
/// assert_eq!(rating("Rating: [8.]"), Some(8.0));
/// assert_eq!(rating("Rating: 8"), None);
/// assert_eq!(rating("Rating: [[100]]"), None);
/// ```
pub fn rating(text: &str) -> Option<f64> {
    let first = |open: &str, close: &str| {
        text.match_indices(open).find_map(|(at, _)| {
            let rest = &text[at + open.len()..];
            let number = &rest[..rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len())];
            let digits = number.starts_with(|c: char| c.is_ascii_digit()) && number.matches('.').count() <= 1;
            (digits && rest[number.len()..].starts_with(close)).then(|| number.parse().ok())?
        })
    };
    first("[[", "]]").or_else(|| first("[", "]")).filter(|rating: &f64| *rating <= 10.0)
}

/// The distinct labels of a text, in the order of their first occurrence. A label is a sequence of A, B,
/// `<`, `>` and `=` in double brackets.
pub(crate) fn arena_labels(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("[[") {
        let rest = &text[at + 2..];
        let label = &rest[..rest.find(|c: char| !"AB<>=".contains(c)).unwrap_or(rest.len())];
        if !label.is_empty() && rest[label.len()..].starts_with("]]") && !found.contains(&label) {
            found.push(label);
        }
    }
    found
}

/// The verdict of a text by the rule of Arena-Hard-Auto v0.1: its label, if it has exactly one distinct
/// label.
pub(crate) fn arena_label(text: &str) -> Option<PairLabel> {
    match arena_labels(text).as_slice() {
        [only] => PairLabel::ALL.into_iter().find(|label| label.as_arena() == *only),
        _ => None,
    }
}

/// A rubric judge's feedback: the text before the last `[RESULT]`, without a leading "Feedback:".
pub(crate) fn feedback(text: &str) -> &str {
    let end = text.to_ascii_lowercase().rfind("[result]").unwrap_or(text.len());
    let text = text[..end].trim().trim_end_matches("**").trim_end();
    text.strip_prefix("Feedback:").unwrap_or(text).trim_start()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn arena_labels_are_parsed() {
        assert_eq!(arena_label("so [[A>>B]] it is, [[A>>B]]"), Some(PairLabel::MuchA));
        assert_eq!(arena_label("[[A>B]] no, [[B>A]]"), None);
        assert_eq!(arena_label("[[A<<B]]"), None);
        assert_eq!(arena_labels("[[A>B]] [[ ]] [[A=B]] [[A>B]] [[[[B>A]]"), ["A>B", "A=B", "B>A"]);
    }

    #[test]
    fn ratings_are_parsed_by_the_published_rule() {
        for (text, number) in [
            ("[[10]]", Some(10.0)),
            ("[[x]] [5]", Some(5.0)),
            ("[[5", None),
            ("[5.5.5]", None),
            ("[.5]", None),
        ] {
            assert_eq!(rating(text), number, "{text}");
        }
    }

    #[test]
    fn feedback_is_the_text_before_the_marker() {
        assert_eq!(feedback("Feedback: good. [RESULT] 4"), "good.");
        assert_eq!(feedback("[RESULT] means much. **[result]** 3"), "[RESULT] means much.");
        assert_eq!(feedback("plain"), "plain");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\PC|[\\[\\]AB<>=.0-9]){0,40}") {
            let _ = (pair_label(&text), rating(&text), arena_label(&text), feedback(&text));
        }
    }
}
