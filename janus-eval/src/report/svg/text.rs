//! Estimates the width of text without a font.

/// The estimated width at `size` pixels. It is larger than in most sans-serif fonts, so that labels
/// placed by it do not overlap.
pub(super) fn width(text: &str, size: f64) -> f64 {
    text.chars().map(|c| advance(c) * size).sum()
}

fn advance(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | ' ' => 0.36,
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 0.98,
        'A'..='Z' => 0.74,
        c if c.is_ascii() => 0.63,
        // Wide scripts and emoji are about as wide as high.
        c if u32::from(c) >= 0x1100 => 1.05,
        _ => 0.7,
    }
}

/// Wraps text at spaces into at most `lines` lines of at most `limit` pixels. If there is more text, the
/// last line ends with an ellipsis. The flag is whether text was cut.
pub(super) fn wrap(text: &str, size: f64, limit: f64, lines: usize) -> (Vec<String>, bool) {
    let mut done: Vec<String> = Vec::new();
    let mut words = text.split_whitespace().peekable();
    while let Some(word) = words.next() {
        let last = done.len() == lines;
        match done.last_mut() {
            Some(line) if width(line, size) + width(" ", size) + width(word, size) <= limit => {
                line.push(' ');
                line.push_str(word);
            }
            Some(line) if last => {
                line.push(' ');
                line.push_str(word);
                words.by_ref().for_each(|word| {
                    line.push(' ');
                    line.push_str(word);
                });
            }
            _ => done.push(word.into()),
        }
    }
    let mut cut = false;
    for line in &mut done {
        if width(line, size) > limit {
            cut = true;
            while !line.is_empty() && width(line, size) + width("…", size) > limit {
                line.pop();
            }
            line.truncate(line.trim_end().len());
            line.push('…');
        }
    }
    (done, cut)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wraps_at_spaces_and_cuts_the_rest() {
        let limit = width("uniform system", 13.0) + 0.5;
        assert_eq!(
            wrap("uniform system SFT", 13.0, limit, 2),
            (vec!["uniform system".into(), "SFT".into()], false)
        );
        let (lines, cut) = wrap("uniform system SFT with very much more", 13.0, limit, 2);
        assert!(cut && lines.len() == 2 && lines[1].ends_with('…'), "{lines:?}");
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_limit(text in "\\PC{0,60}", limit in 20.0..200.0) {
            let (lines, _) = wrap(&text, 13.0, limit, 2);
            prop_assert!(lines.len() <= 2);
            for line in lines {
                prop_assert!(width(&line, 13.0) <= limit, "{line}");
            }
        }
    }
}
