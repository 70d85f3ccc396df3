//! Joins responses with bench records by id.

use std::collections::BTreeMap;
use std::fmt;

use janus_core::BenchRecord;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Error, Result};

/// A model's response to one bench record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The record's id, see [`record_id`]; a number is read as its digits.
    #[serde(deserialize_with = "text_or_number")]
    pub id: String,
    /// The text; empty if the model generated no text.
    pub response: String,
}

/// A record's id. If the record has none, its position, from 0.
pub fn record_id(record: &BenchRecord, index: usize) -> String {
    record.id.clone().unwrap_or_else(|| index.to_string())
}

/// Bench records with their responses.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Joined<'a> {
    /// One entry for each record, in the bench's order.
    pub rows: Vec<JoinedRow<'a>>,
    /// Records without a response.
    pub missing: Missing,
}

/// A bench record and the response to it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JoinedRow<'a> {
    /// The record's id.
    pub id: String,
    /// The record.
    pub record: &'a BenchRecord,
    /// The response, if there is one.
    pub response: Option<&'a str>,
}

/// Ids without a response: how many there are, and the first few of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Number of ids.
    pub count: usize,
    /// The first ids, at most ten.
    pub named: Vec<String>,
}

impl Missing {
    /// Maximum number of ids in `named`.
    pub(crate) const NAMED: usize = 10;
}

impl<'i> FromIterator<&'i str> for Missing {
    fn from_iter<I: IntoIterator<Item = &'i str>>(ids: I) -> Self {
        let mut missing = Self::default();
        for id in ids {
            missing.count += 1;
            if missing.named.len() < Self::NAMED {
                missing.named.push(id.into());
            }
        }
        missing
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count - self.named.len() {
            _ if self.count == 0 => f.write_str("none missing"),
            0 => write!(f, "{} missing: {}", self.count, self.named.join(", ")),
            more => write!(f, "{} missing: {} and {more} more", self.count, self.named.join(", ")),
        }
    }
}

/// Joins responses with bench records by id.
///
/// # Errors
/// [`Error::UnknownId`] for a response that belongs to no record, [`Error::DoubledId`] if two records
/// or two responses share an id. A record without a response is not an error: it is counted in
/// [`Joined::missing`].
pub(crate) fn join<'a>(records: &'a [BenchRecord], responses: &'a [Response]) -> Result<Joined<'a>> {
    let ids: Vec<String> =
        records.iter().enumerate().map(|(index, record)| record_id(record, index)).collect();
    let (answers, missing) = answers("bench records", ids.iter().map(String::as_str), responses)?;
    let rows = ids.into_iter().zip(records).zip(answers).map(|((id, record), response)| JoinedRow {
        id,
        record,
        response,
    });
    Ok(Joined { rows: rows.collect(), missing })
}

/// The response to each id, if there is one.
pub(crate) fn answers<'i, 'r>(
    what: &'static str,
    ids: impl Iterator<Item = &'i str> + Clone,
    responses: &'r [Response],
) -> Result<(Vec<Option<&'r str>>, Missing)> {
    let places = unique(what, ids.clone())?;
    unique("responses", responses.iter().map(|response| response.id.as_str()))?;
    let mut answers = vec![None; places.len()];
    for (index, response) in responses.iter().enumerate() {
        let Some(&place) = places.get(response.id.as_str()) else {
            return Err(Error::UnknownId { id: response.id.clone(), index });
        };
        answers[place] = Some(response.response.as_str());
    }
    let missing = ids.zip(&answers).filter_map(|(id, answer)| answer.is_none().then_some(id)).collect();
    Ok((answers, missing))
}

/// The position of each id. An id that occurs twice is an error.
pub(crate) fn unique<'a>(
    what: &'static str,
    ids: impl Iterator<Item = &'a str>,
) -> Result<BTreeMap<&'a str, usize>> {
    let mut places = BTreeMap::new();
    for (second, id) in ids.enumerate() {
        if let Some(first) = places.insert(id, second) {
            return Err(Error::DoubledId { what, id: id.into(), first, second });
        }
    }
    Ok(places)
}

pub(crate) fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "an id: a string or a whole number")]
    enum Id {
        Text(String),
        Number(i64),
    }
    Ok(match Id::deserialize(deserializer)? {
        Id::Text(text) => text,
        Id::Number(number) => number.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: Option<&str>) -> BenchRecord {
        BenchRecord {
            id: id.map(Into::into),
            source: "koala".into(),
            preference_set: None,
            system: "s".into(),
            prompt: "p".into(),
            reference_answer: String::new(),
            rubrics: vec![],
        }
    }

    fn response(id: &str) -> Response {
        Response { id: id.into(), response: format!("to {id}") }
    }

    #[test]
    fn responses_are_in_the_order_of_the_bench() {
        let records = [record(Some("b")), record(None), record(Some("a"))];
        let responses = [response("a"), response("1"), response("b")];
        let joined = join(&records, &responses).unwrap();
        let got: Vec<_> = joined.rows.iter().map(|row| row.response.unwrap()).collect();
        assert_eq!(got, ["to b", "to 1", "to a"]);
        assert_eq!(joined.missing, Missing::default());
        assert_eq!(joined.missing.to_string(), "none missing");
    }

    #[test]
    fn missing_ids_are_all_counted_and_the_first_ten_named() {
        let records: Vec<_> = (0..13).map(|_| record(None)).collect();
        let responses = [response("0")];
        let joined = join(&records, &responses).unwrap();
        assert_eq!((joined.rows.len(), joined.missing.count, joined.missing.named.len()), (13, 12, 10));
        assert_eq!(joined.missing.to_string(), "12 missing: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more");
    }

    #[test]
    fn unknown_and_duplicate_ids_are_errors() {
        let records = [record(Some("a")), record(Some("b"))];
        assert_eq!(
            join(&records, &[response("a"), response("c")]).unwrap_err(),
            Error::UnknownId { id: "c".into(), index: 1 }
        );
        let doubled = |what| Error::DoubledId { what, id: "a".into(), first: 0, second: 1 };
        assert_eq!(join(&records, &[response("a"), response("a")]).unwrap_err(), doubled("responses"));
        assert_eq!(join(&[record(Some("a")), record(Some("a"))], &[]).unwrap_err(), doubled("bench records"));
    }

    #[test]
    fn an_id_equal_to_the_position_of_a_record_without_id_is_an_error() {
        assert!(matches!(
            join(&[record(Some("1")), record(None)], &[]),
            Err(Error::DoubledId { first: 0, second: 1, .. })
        ));
    }

    #[test]
    fn a_response_id_is_a_string_or_an_integer() {
        let read: Response = serde_json::from_str(r#"{"id": 3, "response": "x"}"#).unwrap();
        assert_eq!(read.id, "3");
        assert!(serde_json::from_str::<Response>(r#"{"id": 3, "response": null}"#).is_err());
    }
}
