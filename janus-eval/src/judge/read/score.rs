//! Parses the score in a judge's text, by one of two rules.
//!
//! [`strict`] is the default. [`published`] is the rule of the released evaluation, including its
//! mistakes, to compare with published numbers.

use janus_core::Score;
use serde::{Deserialize, Serialize};

use super::Unreadable;

/// How a score is parsed in the judge's text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreReader {
    /// The number after the last `[RESULT]`, which must be a whole number from 1 to 5.
    #[default]
    Strict,
    /// The rule of the released evaluation, including its mistakes, to compare with published numbers.
    /// Here too, a number outside 1..=5 is an error.
    Published,
}

impl ScoreReader {
    /// The score of a text.
    ///
    /// # Errors
    /// Why the text has no score.
    ///
    /// ```
    /// use janus_eval::judge::read::{ScoreReader, Unreadable};
    ///
    /// let text = "The anchor of Score 4 asks for more. [RESULT] 3";
    /// assert_eq!(ScoreReader::Strict.read(text).unwrap().score.get(), 3);
    /// assert_eq!(ScoreReader::Published.read(text).unwrap().score.get(), 4);
    /// assert_eq!(ScoreReader::Strict.read("[RESULT] 4.5"), Err(Unreadable::NotWhole));
    /// ```
    pub fn read(self, text: &str) -> Result<Reading, Unreadable> {
        match self {
            Self::Strict => strict(text),
            Self::Published => {
                let got = published(text).ok_or(Unreadable::NoPublishedScore)?;
                let score = i64::try_from(got).ok().and_then(|number| Score::new(number).ok());
                score
                    .map(|score| Reading { score, fallback: false })
                    .ok_or(Unreadable::PublishedOutOfRange { got })
            }
        }
    }
}

/// A score, and how it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The score.
    pub score: Score,
    /// Whether the text had no marker, so that the number after the last word "score" or "result" was
    /// used. Reports count these, because such a number need not be the verdict.
    pub fallback: bool,
}

/// Parses the score after the last `[RESULT]` or `[SCORE]`, or, if the text has no such marker, after
/// the last word "score" or "result" that is followed by a number.
///
/// Before the number, asterisks, spaces, a bracket, "score", "score of" and "score:" are skipped. After
/// it, `.0`, `/5`, "out of 5" and punctuation are allowed.
///
/// # Errors
/// [`Unreadable`]; there is no default score.
pub(crate) fn strict(text: &str) -> Result<Reading, Unreadable> {
    if let Some(end) = last_marker(text) {
        let lower = text[end..].to_ascii_lowercase();
        // A marker in double brackets has another bracket after it.
        let rest = skip_word_score(skip(lower.strip_prefix(']').unwrap_or(&lower), true));
        return Ok(Reading {
            score: whole_score(rest).unwrap_or(Err(Unreadable::NoNumber))?,
            fallback: false,
        });
    }
    // ASCII lower case keeps every byte position.
    let lower = text.to_ascii_lowercase();
    let mut ends: Vec<usize> = words(&lower, "score").chain(words(&lower, "result")).collect();
    ends.sort_unstable();
    // The last mention with a number decides, even if the number is not a valid score: an earlier one
    // is less likely to be the verdict.
    let last = ends.into_iter().rev().find_map(|end| whole_score(skip_link(skip(&lower[end..], true))));
    Ok(Reading { score: last.unwrap_or(Err(Unreadable::NoMarker))?, fallback: true })
}

/// The position after the last `[RESULT]` or `[SCORE]`, in any case. The search starts at the end,
/// because the marker is usually there.
fn last_marker(text: &str) -> Option<usize> {
    let mut before = text;
    while let Some(start) = before.rfind('[') {
        let ends = |marker: &str| {
            let end = start + marker.len();
            text.as_bytes()
                .get(start..end)
                .filter(|found| found.eq_ignore_ascii_case(marker.as_bytes()))
                .map(|_| end)
        };
        if let Some(end) = ends("[result]").or_else(|| ends("[score]")) {
            return Some(end);
        }
        before = &text[..start];
    }
    None
}

/// The positions after each occurrence of `word` as a whole word.
fn words<'a>(lower: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    lower.match_indices(word).filter_map(move |(start, _)| {
        let end = start + word.len();
        let alone = !lower[..start].ends_with(inside) && !lower[end..].starts_with(inside);
        alone.then_some(end)
    })
}

/// The text after any asterisks and spaces, at most one bracket and, if `colon`, at most one colon.
fn skip(text: &str, mut colon: bool) -> &str {
    let mut bracket = true;
    text.trim_start_matches(|c: char| match c {
        '*' => true,
        ':' => std::mem::take(&mut colon),
        '(' | '[' => std::mem::take(&mut bracket),
        c => c.is_whitespace(),
    })
}

/// The text without a leading "score", "score of" or "score:".
fn skip_word_score(text: &str) -> &str {
    let Some(rest) = text.strip_prefix("score") else { return text };
    match rest.trim_start().strip_prefix("of") {
        Some(of) if of.starts_with(|c: char| !c.is_alphanumeric()) => skip(of, false),
        _ => skip(rest, true),
    }
}

/// The text without a leading "is", "of" or "=", as in "the score is 4".
fn skip_link(text: &str) -> &str {
    let links = ["is", "of", "="].into_iter().filter_map(|link| text.strip_prefix(link));
    links
        .filter(|rest| rest.starts_with(|c: char| !c.is_alphanumeric()))
        .map(|rest| skip(rest, true))
        .next()
        .unwrap_or(text)
}

/// The score at the start of the text; `None` if the text does not begin with a digit.
fn whole_score(text: &str) -> Option<Result<Score, Unreadable>> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    if digits == 0 {
        return None;
    }
    let (number, rest) = text.split_at(digits);
    if !ends_number(rest) {
        return Some(Err(Unreadable::NotWhole));
    }
    let score = number.parse().ok().and_then(|number| Score::new(number).ok());
    Some(score.ok_or(Unreadable::OutOfRange))
}

/// Whether a whole number may end before `rest`.
fn ends_number(rest: &str) -> bool {
    if let Some(zeros) = rest.strip_prefix('.').filter(|zeros| zeros.starts_with('0')) {
        return ends_number(zeros.trim_start_matches('0'));
    }
    let mut chars = rest.chars();
    let (next, after) = (chars.next(), chars.next());
    let no_digit = |c: Option<char>| !c.is_some_and(char::is_numeric);
    match next {
        None => true,
        Some('/') if after == Some('5') => no_digit(chars.next()),
        Some(c) if c.is_whitespace() => true,
        Some(c) if c.is_alphanumeric() => {
            rest.strip_prefix("out of 5").is_some_and(|rest| no_digit(rest.chars().next()))
        }
        Some(_) => no_digit(after),
    }
}

/// The markers of the released evaluation, in any case. Its pattern lacks the space in "score of", so it
/// matches "scoreof".
const PUBLISHED_MARKERS: [&str; 7] =
    ["[result]", "[result]:", "[score]", "score", "score:", "result:", "scoreof"];

/// Parses the score as the released evaluation does: the number after the first marker that is followed
/// by a number. Word boundaries, the text after the number and its range are ignored.
pub(crate) fn published(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    lower.char_indices().find_map(|(start, _)| {
        let here = &lower[start..];
        PUBLISHED_MARKERS.into_iter().find_map(|marker| {
            let rest = here.strip_prefix(marker)?.trim_start();
            let rest = rest.strip_prefix(['(', '[']).map_or(rest, str::trim_start);
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            rest[..digits].parse().ok()
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_published_rule_ignores_word_boundaries_and_does_not_skip_asterisks() {
        assert_eq!(published("underscore 7 [RESULT] 2"), Some(7));
        assert_eq!(published("[RESULT] **4**"), None);
    }

    fn score(text: &str) -> Option<u8> {
        strict(text).ok().map(|reading| reading.score.get())
    }

    /// Text, score by the published rule, score by the strict rule.
    const TABLE: &[(&str, Option<u64>, Option<u8>)] = &[
        ("Feedback: fine. [RESULT] 3", Some(3), Some(3)),
        ("[RESULT] (5)", Some(5), Some(5)),
        ("[RESULT]: 4", Some(4), Some(4)),
        ("(Score 5)", Some(5), Some(5)),
        ("[RESULT] Score: 2", Some(2), Some(2)),
        ("Final result: 3", Some(3), Some(3)),
        ("[RESULT] 4/5", Some(4), Some(4)),
        ("[RESULT] 4.5", Some(4), None),
        ("[RESULT] 10", Some(10), None),
        ("Score 4 would need more. [RESULT] 3", Some(4), Some(3)),
        ("underscore 7 [RESULT] 2", Some(7), Some(2)),
        ("[RESULT] score of 1", None, Some(1)),
        ("[RESULT] **4**", None, Some(4)),
        ("Good job. [3]", None, None),
        // More cases, from the released code.
        ("[RESULT] 4", Some(4), Some(4)),
        ("[RESULT] [4]", Some(4), Some(4)),
        ("Score: 2", Some(2), Some(2)),
        ("Result: 2", Some(2), Some(2)),
        ("the Score 5 anchor is not met. [RESULT] 3", Some(5), Some(3)),
        ("[3]", None, None),
        ("**[RESULT]** 4", None, Some(4)),
        ("[RESULT] 0", Some(0), None),
        ("Score: 12", Some(12), None),
        ("[result] 2", Some(2), Some(2)),
        ("[SCORE] 1", Some(1), Some(1)),
        ("[RESULT] 4.0", Some(4), Some(4)),
        ("[RESULT] 4.00/5", Some(4), Some(4)),
        ("[RESULT] 4.05", Some(4), None),
        ("[RESULT] 4.0.1", Some(4), None),
        ("[[RESULT]] 4", None, Some(4)),
        ("The score is 4", None, Some(4)),
        ("The score is **4**.", None, Some(4)),
        ("Score = 4", None, Some(4)),
        ("a score of 4 out of 5", None, Some(4)),
        ("the score issue 4", None, None),
    ];

    #[test]
    fn both_rules_parse_the_table() {
        for &(text, by_published, by_strict) in TABLE {
            assert_eq!(published(text), by_published, "published: {text}");
            assert_eq!(score(text), by_strict, "strict: {text}");
        }
    }

    #[test]
    fn the_last_marker_decides_even_without_a_number() {
        assert_eq!(score("[RESULT] 2 on second thought [RESULT] 4"), Some(4));
        assert_eq!(strict("[RESULT] 2, see [RESULT]"), Err(Unreadable::NoNumber));
        assert_eq!(score("[RESULT] 2 [SCORE] 5"), Some(5));
    }

    #[test]
    fn a_number_that_is_not_whole_is_an_error() {
        for text in ["4.5", "4,5", "4-5", "4–5", "4/10", "4/50", "4th", "4½x"] {
            assert_eq!(strict(&format!("[RESULT] {text}")), Err(Unreadable::NotWhole), "{text}");
        }
        for text in
            ["4.", "4)", "4/5", "4/5.", "4 / 5", "4 out of 5", "4out of 5", "4\nEnd", "4**", "4]", "4."]
        {
            assert_eq!(score(&format!("[RESULT] {text}")), Some(4), "{text}");
        }
    }

    #[test]
    fn punctuation_between_marker_and_number_is_skipped() {
        for text in [
            "**[RESULT]:** 4",
            "**[RESULT]**: 4",
            "[RESULT]\n\n4",
            "[RESULT] (Score: 4)",
            "[RESULT] Score: **4**",
            "[RESULT] score of **4**",
        ] {
            assert_eq!(score(text), Some(4), "{text}");
        }
        for text in ["[RESULT] -1", "[RESULT] ((4))", "[RESULT] four", "[RESULT] score office 4"] {
            assert_eq!(strict(text), Err(Unreadable::NoNumber), "{text}");
        }
    }

    #[test]
    fn the_published_reader_rejects_scores_outside_one_to_five() {
        assert_eq!(
            ScoreReader::Published
                .read("Score 4 would need more. [RESULT] 3")
                .map(|reading| reading.score.get()),
            Ok(4)
        );
        assert!(ScoreReader::Published.read("[RESULT] 10").unwrap_err().to_string().contains("outside"));
        assert!(ScoreReader::Strict.read("[RESULT] 10").is_err());
        assert_eq!(
            ScoreReader::Strict.read("a Score 4 would need more").map(|reading| reading.fallback),
            Ok(true)
        );
    }

    #[test]
    fn the_fallback_is_reported() {
        assert_eq!(strict("a Score 4 would need more").map(|r| (r.score.get(), r.fallback)), Ok((4, true)));
        assert!(!strict("[RESULT] 4").unwrap().fallback);
        assert_eq!(score("Score: 3. This result is final."), Some(3));
        assert_eq!(
            strict("Score 5 is not met. Score: 4.5"),
            Err(Unreadable::NotWhole),
            "an earlier anchor is not the verdict"
        );
        assert_eq!(strict("scores 4, results: 3, underscore 2"), Err(Unreadable::NoMarker));
        assert_eq!(strict(""), Err(Unreadable::NoMarker));
    }

    #[test]
    fn numbers_too_large_for_an_integer_are_errors() {
        let long = "9".repeat(400);
        assert_eq!(strict(&format!("[RESULT] {long}")), Err(Unreadable::OutOfRange));
        assert_eq!(published(&format!("[RESULT] {long}")), None);
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_an_error(text in "(\\PC|\\[RESULT\\]|score|[0-9*/:\\[\\]() ]){0,30}") {
            if let Ok(reading) = strict(&text) {
                prop_assert!((1..=5).contains(&reading.score.get()));
            }
            let _ = published(&text);
        }

        #[test]
        fn a_verdict_at_the_end_is_parsed_after_any_text(text in "\\PC{0,40}", score in 1_u8..=5) {
            prop_assert_eq!(strict(&format!("{text} [RESULT] {score}")).map(|r| r.score.get()), Ok(score));
        }
    }
}
