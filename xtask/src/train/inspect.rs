//! A recipe's rows as the model sees them: token, label, document.

use std::borrow::Cow;
use std::io::IsTerminal as _;

use janus_data::{Dataset as _, TokenRow, Tokenizer};
use janus_train::Recipe;
use serde_json::json;

use crate::command::{Blame as _, CommandError, Outcome};

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Colour {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Shows `count` rows or pairs that the recipe trains on, after the first `skip`: a line for each token with its place, its
/// id, whether it carries loss, and its text; what carries loss is green.
pub fn run(recipe: &Recipe, skip: usize, count: usize, colour: Colour) -> Result<Outcome, CommandError> {
    let colour = colour == Colour::Always || (colour == Colour::Auto && std::io::stdout().is_terminal());
    let config = recipe.model_config().bad_input()?;
    let tokenizer = recipe.tokenizer(&config).bad_input()?;
    let rows = recipe.rows(&tokenizer).bad_input()?;
    let per_example = recipe.objective.documents_per_example();
    let first = skip.saturating_mul(per_example).min(rows.train.len());
    let end = first.saturating_add(count.saturating_mul(per_example)).min(rows.train.len());
    let shown: Vec<(usize, Cow<'_, TokenRow>)> =
        (first..end).map(|row| Ok((row, rows.train.row(row)?))).collect::<janus_data::Result<_>>().failure()?;
    let mut text = String::new();
    for (document, row) in &shown {
        let side = match (per_example, document % 2) {
            (1, _) => "",
            (_, 0) => ", chosen",
            _ => ", rejected",
        };
        let (tokens, trained) = (row.ids.len(), row.loss_tokens());
        let head = format!("document {document} (example {}{side}): {tokens} tokens, {trained} carry loss", document / per_example);
        text.push_str(&if colour { format!("\x1b[1;36m{head}\x1b[0m\n") } else { format!("{head}\n") });
        text.push_str(&tokens_of(&tokenizer, row, colour)?);
    }
    rows.notes.iter().for_each(|note| text.push_str(&format!("{note}\n")));
    let notes: Vec<String> = rows.notes.iter().map(ToString::to_string).collect();
    let document =
        |(document, row): &(usize, Cow<'_, TokenRow>)| json!({ "document": document, "ids": row.ids, "loss_mask": row.loss_mask });
    let documents: Vec<_> = shown.iter().map(document).collect();
    let report = json!({ "command": "data inspect", "documents": documents, "notes": notes });
    Ok(Outcome::done(text.trim_end(), report))
}

fn tokens_of(tokenizer: &Tokenizer, row: &TokenRow, colour: bool) -> Result<String, CommandError> {
    let mut text = String::new();
    for (place, (&id, &trained)) in row.ids.iter().zip(&row.loss_mask).enumerate() {
        // A special token decodes to nothing: its spelling is not text.
        let piece = tokenizer.decode(&[id]).failure()?;
        let piece = if piece.is_empty() { "(special)".into() } else { format!("{piece:?}") };
        let label = if trained { "loss" } else { "-" };
        let line = format!("{place:>6} {id:>7}  {label:<4}  {piece}");
        let paint = if trained { "\x1b[32m" } else { "\x1b[2m" };
        text.push_str(&if colour { format!("{paint}{line}\x1b[0m\n") } else { format!("{line}\n") });
    }
    Ok(text)
}
