//! Nectar: `prompt` (a dialogue), `answers` [{`answer`, `rank`}], `source`. A comparison of the best and the
//! worst rank.

use serde_json::Value;

use super::dialogue::{transcript, without_empty_answer};
use super::fields::kind;
use super::{Comparison, Fields, RowContent, RowError, RowSource};

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub struct Nectar;

impl RowSource for Nectar {
    fn name(&self) -> &str {
        "nectar"
    }

    fn parse(&self, row: Fields<'_>) -> Result<RowContent, RowError> {
        let prompt = without_empty_answer(
            transcript(&row.text("prompt")?).map_err(|problem| RowError::rule("prompt", problem))?,
        );
        let mut ranked = Vec::new();
        for (at, answer) in row.list("answers")?.iter().enumerate() {
            let path = format!("answers[{at}]");
            let Some(answer) = answer.as_object() else {
                return Err(RowError::mismatch(path, "an object", "something else"));
            };
            let answer = Fields::new(answer);
            let rank = answer.number("rank").map_err(|error| error.within(&path))?;
            ranked.push((rank, answer.text("answer").map_err(|error| error.within(&path))?));
        }
        ranked.sort_by(|one, other| one.0.total_cmp(&other.0));
        let original_source = match row.value("source") {
            Some(Value::Array(list)) => match list.first() {
                Some(Value::String(first)) => first.clone(),
                Some(other) => return Err(RowError::mismatch("source[0]", "a string", kind(other))),
                None => String::new(),
            },
            _ => row.optional_text("source")?,
        };
        match &ranked[..] {
            [(best, chosen), .., (worst, rejected)] if best < worst => {
                let (chosen, rejected) = (chosen.trim().into(), rejected.trim().into());
                Ok(RowContent::Comparison(Comparison {
                    original_source,
                    prompt,
                    chosen,
                    rejected,
                    ..Comparison::default()
                }))
            }
            _ => Ok(RowContent::Skip("no two ranks")),
        }
    }
}
