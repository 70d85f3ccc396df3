//! Streaming of a sequence's text: whole characters, and nothing that may turn out to be a part of a
//! stop text.

use janus_data::Tokenizer;

/// How much of one sequence has been emitted.
#[derive(Default)]
pub(super) struct StreamState {
    /// The text so far, up to its last whole character.
    text: String,
    /// Ids that `text` was decoded from.
    ids: usize,
    /// Index of the id from which the next decoding starts. It is before the first new id: a decoder
    /// changes the beginning of a text, for instance drops its space, and this way it changes only text
    /// that was emitted before.
    from: usize,
    /// Bytes of `text` that were emitted; what follows may be the beginning of a stop text.
    bytes: usize,
    /// Number of log-probabilities that were emitted.
    logprobs: usize,
}

impl StreamState {
    /// The text that is new in `ids`; `None` if the last id ends within a character or the ids cannot be
    /// decoded.
    pub fn delta(&mut self, ids: &[u32], stop: &[String], tokenizer: &Tokenizer) -> Option<String> {
        let before = tokenizer.decode(&ids[self.from..self.ids]).ok()?;
        let after = tokenizer.decode(&ids[self.from..]).ok()?;
        if after.ends_with('\u{fffd}') {
            return None;
        }
        self.text.push_str(after.get(before.len()..).unwrap_or_default());
        (self.from, self.ids) = (self.ids, ids.len());
        let pending = &self.text[self.bytes..];
        let partial = |stop: &String| {
            (1..stop.len()).rev().find(|&len| stop.get(..len).is_some_and(|start| pending.ends_with(start)))
        };
        let held_back = stop.iter().filter_map(partial).max().unwrap_or(0);
        Some(self.emit(pending[..pending.len() - held_back].to_string()))
    }

    /// The rest of a complete text.
    pub fn rest(&mut self, text: &str) -> String {
        self.emit(text.get(self.bytes..).map(str::to_string).unwrap_or_default())
    }

    fn emit(&mut self, delta: String) -> String {
        self.bytes += delta.len();
        delta
    }

    /// Those of `logprobs` that were not emitted yet.
    pub fn new_logprobs<T: Clone>(&mut self, logprobs: &[T]) -> Vec<T> {
        let new = logprobs.get(self.logprobs..).unwrap_or_default().to_vec();
        self.logprobs = logprobs.len();
        new
    }
}

/// Trims a streamed text: drops its leading and trailing whitespace.
#[derive(Default)]
pub(super) struct Trimmed {
    begun: bool,
    /// Whitespace that is emitted only if more text follows.
    held_back: String,
}

impl Trimmed {
    /// The text to emit after the next piece, `text`.
    pub fn next(&mut self, text: &str) -> String {
        let text = if self.begun { text } else { text.trim_start() };
        let kept = text.trim_end();
        if kept.is_empty() {
            self.held_back += text;
            return String::new();
        }
        self.begun = true;
        std::mem::replace(&mut self.held_back, text[kept.len()..].into()) + kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_streamed_text_is_emitted_without_its_outer_whitespace() {
        for pieces in [
            &["  ", " a", " ", "\n b", "c  ", "\n"][..],
            &[" a \n b", "c"],
            &["a", "", " \n bc\n"],
            &["", " "],
            &["\u{2003}ü \n", "b "],
        ] {
            let mut trimmed = Trimmed::default();
            let all: String = pieces.iter().map(|piece| trimmed.next(piece)).collect();
            assert_eq!(all, pieces.concat().trim());
        }
    }
}
