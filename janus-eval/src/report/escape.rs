//! Escapes plain text for the output formats.

/// Escapes for HTML and SVG, in text and in quoted attributes. Characters that HTML forbids become
/// U+FFFD.
pub(super) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            '\r' => out.push('\n'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Escapes for Markdown within a line, as in a heading or a table cell. Line breaks become spaces.
pub(super) fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.trim().chars() {
        match c {
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '<' | '>' | '#' | '|' | '~' | '$' | '&' => {
                out.extend(['\\', c])
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Escapes for Markdown at the start of a line, where a dash or a number could begin a list.
pub(super) fn markdown_line(text: &str) -> String {
    let mut out = markdown(text);
    let number = out.len() - out.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let list =
        if number == 0 { out.starts_with(['-', '+', '=']) } else { out[number..].starts_with(['.', ')']) };
    if list {
        out.insert(number, '\\');
    }
    out
}

/// A Markdown code block with the text unchanged. Its fence is longer than any run of backticks in the
/// text.
pub(super) fn fenced(text: &str) -> String {
    let (mut longest, mut run) = (0, 0);
    for c in text.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat((longest + 1).max(3));
    format!("{fence}text\n{}\n{fence}\n", text.trim_end_matches('\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_are_escaped() {
        assert_eq!(html("<a href='x'>\"&\u{0}"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;\u{fffd}");
        assert_eq!(markdown_line("- a | *b*\n<i>"), r"\- a \| \*b\* \<i\>");
        assert_eq!((markdown_line("1. x"), markdown("1. x")), (r"1\. x".into(), "1. x".into()));
        assert_eq!(markdown_line("score 4.5 - x"), "score 4.5 - x");
    }

    #[test]
    fn a_fence_is_longer_than_those_in_the_text() {
        assert_eq!(fenced("a\n````\nb\n"), "`````text\na\n````\nb\n`````\n");
    }
}
