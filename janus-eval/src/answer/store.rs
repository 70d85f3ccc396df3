//! Stores answers during a run.

use std::collections::HashMap;

use janus_core::{ChatRequest, Generation};
use janus_data::{CallJournal, Journal};
use serde_json::Value;

use super::row::generations;
use crate::Result;

/// The answers so far. An interrupted run continues from them.
#[derive(Debug)]
pub struct AnswerStore<'c>(Store<'c>);

#[derive(Debug)]
enum Store<'c> {
    /// The rows of one run by the ids of their requests.
    Rows(Journal),
    /// The calls to an API, by the content of the request. The rows of the run are computed from them.
    Calls { calls: Option<&'c CallJournal>, model: String, rows: HashMap<String, String> },
}

impl<'c> AnswerStore<'c> {
    /// The rows of one run, each written when its answer arrives. Use it for a local model.
    pub fn rows(journal: Journal) -> Self {
        Self(Store::Rows(journal))
    }

    /// The calls to an API's model of this name. All runs share the journal, so that no answer is paid
    /// for twice. Wrap the model in [`janus_data::Journaled`], which writes the journal. Without a
    /// journal the store is empty, which is enough for an estimate.
    pub fn calls(calls: impl Into<Option<&'c CallJournal>>, model: impl Into<String>) -> Self {
        Self(Store::Calls { calls: calls.into(), model: model.into(), rows: HashMap::new() })
    }

    /// The stored answer to a request.
    pub(crate) fn answer(&self, request: &ChatRequest) -> Option<Vec<Generation>> {
        match &self.0 {
            Store::Rows(journal) => generations(journal.get(&request.id)?),
            Store::Calls { calls, model, .. } => calls.as_ref()?.get(model, request),
        }
    }

    pub(super) fn row(&self, id: &str) -> Option<&str> {
        match &self.0 {
            Store::Rows(journal) => journal.get(id).map(String::as_str),
            Store::Calls { rows, .. } => rows.get(id).map(String::as_str),
        }
    }

    pub(super) fn put(&mut self, id: &str, row: &Value) -> Result<()> {
        match &mut self.0 {
            Store::Rows(journal) => journal.append(id, row)?,
            Store::Calls { rows, .. } => drop(rows.insert(id.into(), row.to_string())),
        }
        Ok(())
    }

    /// Ends a run after its output is written: a journal of rows is removed, a journal of calls is kept.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) if the journal cannot be removed.
    pub fn finish(self) -> Result<()> {
        match self.0 {
            Store::Rows(journal) => Ok(journal.remove()?),
            Store::Calls { .. } => Ok(()),
        }
    }
}
