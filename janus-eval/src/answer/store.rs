//! Where answers are kept while a run is under way.

use std::collections::HashMap;

use janus_core::{ChatRequest, Generation};
use janus_data::{CallJournal, Journal};
use serde_json::Value;

use super::row::generations;
use crate::Result;

/// The answers so far: a run that is cut off continues from here.
#[derive(Debug)]
pub struct AnswerStore<'c>(Store<'c>);

#[derive(Debug)]
enum Store<'c> {
    /// The rows of one run by the ids of their requests.
    Rows(Journal),
    /// The calls to an API by everything that was asked. The rows of the run follow from them.
    Calls { calls: Option<&'c CallJournal>, model: String, rows: HashMap<String, String> },
}

impl<'c> AnswerStore<'c> {
    /// The rows of one run, each written as its answer comes: for a model that costs time only.
    pub fn rows(journal: Journal) -> Self {
        Self(Store::Rows(journal))
    }

    /// The calls to the API's model of this name, which pay for an answer once, whatever the run. The model is to be asked through
    /// [`janus_data::Journaled`], which writes the journal. Without a journal no answer is known yet: for an estimate.
    pub fn calls(calls: impl Into<Option<&'c CallJournal>>, model: impl Into<String>) -> Self {
        Self(Store::Calls { calls: calls.into(), model: model.into(), rows: HashMap::new() })
    }

    /// The answer to a request, if it is there.
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

    /// Ends a run whose rows are in its output: the journal of rows is removed, the journal of calls stays.
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
