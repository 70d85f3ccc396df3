//! `cargo xtask data inspect`: shows rows as they are in the file, and as the tokens that a model is
//! trained on.

use std::borrow::Cow;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use janus_core::ChatTemplate;
use janus_data::sources::Source;
use janus_data::{Dataset as _, LossMessages, Row, TokenRow, Tokenizer, read_files};
use janus_train::Recipe;
use serde_json::{Value, json};

use super::{ReadArgs, files};
use crate::command::{Blame as _, CommandError, Outcome};

/// Show rows, their tokens and their loss mask
///
/// With a tokenizer, each row is also shown as the tokens that a model is trained
/// on, those in the loss mask in [square brackets].
///
/// With a recipe of `train` instead of files, its training rows are shown exactly
/// as the model sees them, after truncation: one line for each token, with
/// position, id, whether it is in the loss mask (green), and text.
///
/// Reads:   FILES of any layout, or RECIPE and the tokenizer and data that it
///          names.
/// Writes:  nothing; the rows go to stdout.
/// Example: cargo xtask data inspect sft.jsonl --rows 2 --tokenizer tokenizer.json
///          cargo xtask data inspect --recipe xtask/recipes/janus-dpo-7b.toml \
///          --rows 1
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Files, or patterns in quotes
    #[arg(value_name = "FILES", required_unless_present = "recipe", conflicts_with = "recipe")]
    files: Vec<String>,
    /// A recipe of `train`, whose rows are shown as its model sees them
    #[arg(long, value_name = "RECIPE", conflicts_with_all = ["tokenizer", "template", "from", "maps"])]
    recipe: Option<PathBuf>,
    /// Set a key of the recipe, such as data.max_tokens=512; repeatable
    #[arg(long, value_name = "KEY=VALUE", requires = "recipe")]
    set: Vec<String>,
    /// When to colour the recipe's tokens
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Colour::Auto, requires = "recipe")]
    colour: Colour,
    /// Rows, or pairs of a recipe, to show
    #[arg(long, value_name = "N", default_value_t = 3)]
    rows: usize,
    /// Rows to skip first
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip: usize,
    /// A tokenizer.json, to show tokens and the loss mask
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Chat template: mistral-instruct or chatml
    #[arg(long, value_name = "NAME", default_value = "mistral-instruct")]
    template: ChatTemplate,
    /// Layout of the rows, if it is not clear from their fields; the names are those of `data convert
    /// --from`
    #[arg(long, value_name = "LAYOUT")]
    from: Option<Source>,
    #[command(flatten)]
    read: ReadArgs,
}

pub(super) fn run(args: &Args) -> Result<Outcome, CommandError> {
    if let Some(recipe) = &args.recipe {
        return of_recipe(
            &Recipe::read_with(recipe, &args.set).bad_input()?,
            args.skip,
            args.rows,
            args.colour,
        );
    }
    let tokenizer = args.tokenizer.as_ref().map(Tokenizer::read).transpose().bad_input()?;
    let files = files(&args.files)?;
    let (mut text, mut rows) = (String::new(), Vec::new());
    for (number, row) in
        read_files::<Row>(files, args.read.resolve()?).enumerate().skip(args.skip).take(args.rows)
    {
        let row = match row {
            Ok(row) => row,
            Err(error) => {
                text += &format!("--- row {}: {error}\n", number + 1);
                rows.push(json!({ "row": number + 1, "error": error.to_string() }));
                continue;
            }
        };
        text += &format!("--- row {}\n", number + 1);
        for (name, value) in &row {
            text += &format!("{name}: {}\n", shown(value));
        }
        let mut report = json!({ "row": number + 1, "fields": row });
        if let Some(tokenizer) = &tokenizer {
            let (line, tokens) = masked(args, tokenizer, &row)?;
            text += &format!("{line}\n");
            report["tokens"] = tokens;
        }
        rows.push(report);
    }
    Ok(Outcome::done(text.trim_end().to_string(), json!({ "command": "data inspect", "rows": rows })))
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => serde_json::to_string_pretty(value).unwrap_or_default(),
    }
}

/// The row as tokens, those in the loss mask in brackets.
fn masked(args: &Args, tokenizer: &Tokenizer, row: &Row) -> Result<(String, Value), CommandError> {
    let Some(source) = args.from.or_else(|| Source::of_row(row)) else {
        return Ok((
            "tokens: the fields do not show a conversation; name the layout with --from".into(),
            Value::Null,
        ));
    };
    let conversation = match source.content(row).bad_input()?.into_conversation() {
        Ok(conversation) => conversation,
        Err(reason) => return Ok((format!("tokens: none, {reason}"), Value::Null)),
    };
    let row = tokenizer.training_row(args.template, &conversation, LossMessages::All).bad_input()?;
    let shown =
        format!("tokens: {}, in the loss {}\n{}", row.ids.len(), row.loss_tokens(), row.marked(tokenizer));
    Ok((shown, json!({ "ids": row.ids, "loss_mask": row.loss_mask })))
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Colour {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Shows `count` rows or pairs that the recipe trains on, after the first `skip`. Each token is a line
/// with its position, id, loss mask and text. Tokens in the loss are green.
fn of_recipe(recipe: &Recipe, skip: usize, count: usize, colour: Colour) -> Result<Outcome, CommandError> {
    let colour = colour == Colour::Always || (colour == Colour::Auto && std::io::stdout().is_terminal());
    let config = recipe.model_config().bad_input()?;
    let tokenizer = recipe.tokenizer(&config).bad_input()?;
    let rows = recipe.rows(&tokenizer).bad_input()?;
    let per_example = recipe.objective.documents_per_example();
    let first = skip.saturating_mul(per_example).min(rows.train.len());
    let end = first.saturating_add(count.saturating_mul(per_example)).min(rows.train.len());
    let shown: Vec<(usize, Cow<'_, TokenRow>)> = (first..end)
        .map(|row| Ok((row, rows.train.row(row)?)))
        .collect::<janus_data::Result<_>>()
        .failure()?;
    let mut text = String::new();
    for (document, row) in &shown {
        let side = match (per_example, document % 2) {
            (1, _) => "",
            (_, 0) => ", chosen",
            _ => ", rejected",
        };
        let (tokens, in_loss) = (row.ids.len(), row.loss_tokens());
        let head = format!(
            "document {document} (example {}{side}): {tokens} tokens, {in_loss} in the loss",
            document / per_example
        );
        text.push_str(&if colour { format!("\x1b[1;36m{head}\x1b[0m\n") } else { format!("{head}\n") });
        text.push_str(&tokens_of(&tokenizer, row, colour)?);
    }
    rows.notes.iter().for_each(|note| text.push_str(&format!("{note}\n")));
    let notes: Vec<String> = rows.notes.iter().map(ToString::to_string).collect();
    let document = |(document, row): &(usize, Cow<'_, TokenRow>)| json!({ "document": document, "ids": row.ids, "loss_mask": row.loss_mask });
    let documents: Vec<_> = shown.iter().map(document).collect();
    let report = json!({ "command": "data inspect", "documents": documents, "notes": notes });
    Ok(Outcome::done(text.trim_end(), report))
}

fn tokens_of(tokenizer: &Tokenizer, row: &TokenRow, colour: bool) -> Result<String, CommandError> {
    let mut text = String::new();
    for (position, (&id, &in_loss)) in row.ids.iter().zip(&row.loss_mask).enumerate() {
        // A special token decodes to an empty text.
        let piece = tokenizer.decode(&[id]).failure()?;
        let piece = if piece.is_empty() { "(special)".into() } else { format!("{piece:?}") };
        let label = if in_loss { "loss" } else { "-" };
        let line = format!("{position:>6} {id:>7}  {label:<4}  {piece}");
        let paint = if in_loss { "\x1b[32m" } else { "\x1b[2m" };
        text.push_str(&if colour { format!("{paint}{line}\x1b[0m\n") } else { format!("{line}\n") });
    }
    Ok(text)
}
