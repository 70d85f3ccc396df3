//! A recipe's data as token rows.

use janus_core::{Message, PairRecord, RewardRecord, SftRecord};
use janus_data::{TokenRow, Tokenizer, read_all};

use super::recipe::{Kind, Recipe};
use crate::command::{Blame as _, CommandError};

/// Rows to train on and rows held out.
pub(super) struct Rows {
    pub(super) train: Vec<TokenRow>,
    pub(super) held_out: Vec<TokenRow>,
    /// What was left out or cut, for people.
    pub(super) notes: Vec<String>,
}

/// Reads and tokenises the recipe's data.
///
/// # Errors
/// Bad input that names the file and the row.
pub(super) fn load(recipe: &Recipe, tokenizer: &Tokenizer) -> Result<Rows, CommandError> {
    let (path, limit) = (&recipe.data.path, recipe.data.max_tokens);
    let at_file = |error: CommandError| error.at(path.display());
    let mut notes = Vec::new();
    let mut rows = match &recipe.objective {
        Kind::Sft {} => {
            let records: Vec<SftRecord> = read_all(path).bad_input()?;
            let all = tokenizer.conversations(recipe.template, records.iter().map(SftRecord::messages)).bad_input().map_err(at_file)?;
            let count = all.len();
            let kept: Vec<TokenRow> = all.into_iter().filter(|row| row.ids.len() <= limit).collect();
            if kept.len() < count {
                notes.push(format!("{} of {count} rows have more than {limit} tokens and are left out", count - kept.len()));
            }
            kept
        }
        kind => {
            let pairs = tokenizer.pairs(recipe.template, conversations(recipe, kind)?, limit).bad_input().map_err(at_file)?;
            for (count, what) in [
                (pairs.shortened, "lost tokens at the left of their prompt"),
                (pairs.identical, "have equal responses and are left out"),
                (pairs.too_long, "have a response that leaves no room for the prompt and are left out"),
            ] {
                if count > 0 {
                    notes.push(format!("{count} pairs {what}"));
                }
            }
            pairs.rows
        }
    };
    let held = recipe.data.held_out * recipe.documents_per_example();
    if held >= rows.len() {
        let reason = format!("{}: {} rows, of which {held} are held out: nothing is left to train on", path.display(), rows.len());
        return Err(CommandError::bad_input(reason));
    }
    let train = rows.split_off(held);
    Ok(Rows { train, held_out: rows, notes })
}

type Sides = (Vec<Message>, Vec<Message>);

/// Chosen and rejected conversation of each pair.
fn conversations(recipe: &Recipe, kind: &Kind) -> Result<Vec<Sides>, CommandError> {
    let path = &recipe.data.path;
    if matches!(kind, Kind::Reward { .. })
        && let Ok(records) = read_all::<RewardRecord>(path)
    {
        return Ok(records.iter().map(RewardRecord::conversations).collect());
    }
    let records: Vec<PairRecord> = read_all(path).bad_input()?;
    Ok(records.iter().map(PairRecord::conversations).collect())
}
