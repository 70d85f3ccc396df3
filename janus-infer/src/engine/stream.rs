//! The text of a sequence as it grows: whole characters, and nothing that may turn out to be a stop text.

use janus_data::Tokenizer;

/// What was emitted of one sequence.
#[derive(Default)]
pub(super) struct StreamState {
    /// The text so far, up to its last whole character.
    text: String,
    /// Ids that `text` was decoded from.
    ids: usize,
    /// The id from which the next ones are decoded. It is not the first of the new ones, so that what a decoder does to the
    /// beginning of a text, such as dropping its space, happens to text that was emitted before.
    from: usize,
    /// Bytes of `text` that were emitted; the rest may be the beginning of a stop text.
    bytes: usize,
    /// Log-probabilities that were emitted.
    logprobs: usize,
}

impl StreamState {
    /// The text that is new in `ids`, or `None` if the last id ends within a character or the ids are not text.
    pub fn delta(&mut self, ids: &[u32], stop: &[String], tokenizer: &Tokenizer) -> Option<String> {
        let before = tokenizer.decode(&ids[self.from..self.ids]).ok()?;
        let after = tokenizer.decode(&ids[self.from..]).ok()?;
        if after.ends_with('\u{fffd}') {
            return None;
        }
        self.text.push_str(after.get(before.len()..).unwrap_or_default());
        (self.from, self.ids) = (self.ids, ids.len());
        let held_back = &self.text[self.bytes..];
        let begun = |stop: &String| (1..stop.len()).rev().find(|&len| stop.get(..len).is_some_and(|begin| held_back.ends_with(begin)));
        let held = stop.iter().filter_map(begun).max().unwrap_or(0);
        Some(self.emit(held_back[..held_back.len() - held].to_string()))
    }

    /// The rest of a text that is complete.
    pub fn rest(&mut self, text: &str) -> String {
        self.emit(text.get(self.bytes..).map(str::to_string).unwrap_or_default())
    }

    fn emit(&mut self, delta: String) -> String {
        self.bytes += delta.len();
        delta
    }

    /// Those of `logprobs` that were not emitted.
    pub fn new_logprobs<T: Clone>(&mut self, logprobs: &[T]) -> Vec<T> {
        let new = logprobs.get(self.logprobs..).unwrap_or_default().to_vec();
        self.logprobs = logprobs.len();
        new
    }
}

/// What was emitted of a text whose outer whitespace is not.
#[derive(Default)]
pub(super) struct Trimmed {
    begun: bool,
    /// Whitespace that is emitted if something follows.
    held: String,
}

impl Trimmed {
    /// What can be emitted once `text` follows.
    pub fn next(&mut self, text: &str) -> String {
        let text = if self.begun { text } else { text.trim_start() };
        let kept = text.trim_end();
        if kept.is_empty() {
            self.held += text;
            return String::new();
        }
        self.begun = true;
        std::mem::replace(&mut self.held, text[kept.len()..].into()) + kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_text_is_emitted_without_its_outer_whitespace() {
        for pieces in
            [&["  ", " a", " ", "\n b", "c  ", "\n"][..], &[" a \n b", "c"], &["a", "", " \n bc\n"], &["", " "], &["\u{2003}ü \n", "b "]]
        {
            let mut trimmed = Trimmed::default();
            let all: String = pieces.iter().map(|piece| trimmed.next(piece)).collect();
            assert_eq!(all, pieces.concat().trim());
        }
    }
}
