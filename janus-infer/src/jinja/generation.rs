//! The tag `{% generation %}`, with which a template marks what a model is trained to produce.

use minijinja::State;

/// The filter that `{% generation %}` becomes, since Jinja itself does not have the tag.
pub(super) const FILTER: &str = "marked_as_generated";

/// The variable that is true when [`mark`] marks.
pub(super) const MARKS_GENERATION: &str = "_marks_generation";

/// Noncharacters, which no text contains, around a part that the template marks as generated.
pub(super) const BEGIN: char = '\u{10FFFE}';
pub(super) const END: char = '\u{10FFFF}';

/// The filter [`FILTER`].
pub(super) fn mark(state: &State<'_, '_>, text: String) -> String {
    let marks = state.lookup(MARKS_GENERATION).is_some_and(|marks| marks.is_true());
    if marks { format!("{BEGIN}{text}{END}") } else { text }
}

/// Replaces the tags `generation` and `endgeneration`, with the whitespace control that they have, by a
/// filter block.
pub(super) fn as_filter(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, tag)) = rest.split_once("{%") {
        out.push_str(before);
        out.push_str("{%");
        let end = tag.find("%}").unwrap_or(tag.len());
        let (tag, after) = tag.split_at(end);
        match tag.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+') {
            "generation" => out.push_str(&tag.replace("generation", &format!("filter {FILTER}"))),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endfilter")),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out + rest
}
