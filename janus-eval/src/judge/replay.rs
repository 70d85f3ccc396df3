//! A judge that reads recorded answers.

use std::collections::HashMap;

use janus_core::{Judge, JudgeRequest, ModelError, RubricVerdict, Verdict};
use serde::{Deserialize, Serialize};

use super::read::{ScoreReader, feedback};
use crate::join::{record_id, unique};
use crate::{Error, Result};

/// A judge's recorded texts about a response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// The bench record's id.
    pub id: String,
    /// One text for each rubric.
    pub judgments: Vec<String>,
}

/// A judge that parses recorded texts instead of calling a model, with the given [`ScoreReader`]. Texts
/// are looked up by the record's id, so a recording is valid for the responses of one model only.
#[derive(Debug, Clone)]
pub struct ReplayJudge {
    name: String,
    reader: ScoreReader,
    recorded: HashMap<String, Vec<String>>,
}

impl ReplayJudge {
    /// A judge that reads these recordings; `name` is its name in results.
    ///
    /// # Errors
    /// [`Error::DoubledId`].
    pub fn new(name: impl Into<String>, reader: ScoreReader, recorded: Vec<Recorded>) -> Result<Self, Error> {
        unique("recordings", recorded.iter().map(|recorded| recorded.id.as_str()))?;
        Ok(Self {
            name: name.into(),
            reader,
            recorded: recorded.into_iter().map(|Recorded { id, judgments }| (id, judgments)).collect(),
        })
    }

    fn verdict(&self, id: &str, rubrics: usize) -> Result<Verdict, String> {
        let texts = self.recorded.get(id).ok_or("the recording has no texts for it")?;
        if texts.len() != rubrics {
            return Err(format!(
                "the recording has {} texts for it, the record has {rubrics} rubrics",
                texts.len()
            ));
        }
        let verdict = |text: &String| {
            let score = self.reader.read(text).map_err(|error| error.to_string())?.score;
            Ok(RubricVerdict { score, feedback: feedback(text).into() })
        };
        Ok(Verdict { rubrics: texts.iter().map(verdict).collect::<Result<_, String>>()? })
    }
}

impl Judge for ReplayJudge {
    fn name(&self) -> &str {
        &self.name
    }

    fn judge(&self, requests: &[JudgeRequest<'_>]) -> Vec<Result<Verdict, ModelError>> {
        let verdict = |(index, request): (usize, &JudgeRequest<'_>)| {
            let id = record_id(request.record, index);
            self.verdict(&id, request.record.rubrics.len())
                .map_err(|reason| ModelError::Request { id, reason })
        };
        requests.iter().enumerate().map(verdict).collect()
    }
}
