//! What a run leaves behind: the answers and their record, and the report.

use janus_eval::answer::{AnswerFile, AnswerStore, Answered, Task};
use janus_eval::bench::Questions;
use janus_infer::remote::RemoteModel;
use serde_json::{Map, Value, json};

use super::Args;
use super::bench::reader;
use crate::command::{self, Blame as _, CommandError, Outcome};
use crate::progress::duration;
use crate::service::asked_now;

/// A run at its end.
pub(super) struct Run<'a> {
    pub tasks: &'a [Task],
    pub answered: Answered,
    /// Requests that were answered before.
    pub before: usize,
    pub store: AnswerStore<'a>,
    /// The service's model, if one was asked.
    pub remote: Option<&'a RemoteModel>,
}

impl Args {
    pub(super) fn left_alone(&self) -> Outcome {
        let text = format!("{} is finished and left alone: pass --force to answer again", self.output.display());
        Outcome::done(text, json!({ "command": "generate", "output": self.output, "left_alone": true }))
    }

    /// Writes the answers, and beside them the record of how they were made.
    pub(super) fn write(
        &self,
        file: &AnswerFile,
        questions: Option<&Questions>,
        run: &Run<'_>,
        settings: Map<String, Value>,
    ) -> Result<(), CommandError> {
        let Run { tasks, answered, store, .. } = run;
        match questions {
            None => file.write_rows(&answered.rows(tasks, store)).failure()?,
            Some(questions) => {
                let name = self.name().unwrap_or_default();
                let answers = answered.answers.iter().enumerate().filter_map(|(place, answers)| Some((place, answers.as_ref().ok()?)));
                let row = |(place, answers)| questions.answer_row(place, &name, answers).failure();
                janus_data::write_all(file.path(), &answers.map(row).collect::<Result<Vec<Value>, _>>()?).failure()?;
            }
        }
        let mut record = self.record(tasks, answered);
        if let Some(remote) = run.remote {
            // Whether a parameter that changes nothing was sent; null where nothing was asked.
            record.insert("extensions_known".into(), json!(remote.knows_extensions()));
        }
        record.insert("settings".into(), settings.into());
        file.write_record(record).failure()
    }

    /// What the record says of the answers.
    fn record(&self, tasks: &[Task], answered: &Answered) -> Map<String, Value> {
        let failures: Vec<Value> = answered.failures(tasks).map(|(id, error)| json!({ "id": id, "error": error })).collect();
        let mut all = vec![("failures", json!(failures))];
        if let Some(bench) = self.bench.bench {
            all.extend([("bench", json!(bench)), ("name", json!(self.name())), ("overridden", json!(self.overridden()))]);
        }
        all.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
    }

    /// What is not as the benchmark's protocol has it.
    fn overridden(&self) -> Vec<&'static str> {
        let others = [("n", self.n.is_some()), ("system", self.rows.system.is_some()), ("as_chat", self.bench.as_chat)];
        let given = others.into_iter().filter(|(_, given)| *given).map(|(name, _)| name);
        self.sampling.given().into_iter().chain(given).collect()
    }

    /// Ends the run: the journal of a local one goes only if no row is left to ask again.
    pub(super) fn finish(&self, file: &AnswerFile, run: Run<'_>) -> Result<Outcome, CommandError> {
        let Run { tasks, answered, before, store, remote } = run;
        let tally = &answered.tally;
        let failed = answered.failures(tasks).count();
        let mut report = json!({
            "command": "generate",
            "output": self.output,
            "left_alone": false,
            "rows": tasks.len(),
            "answered_before": before,
            "answered": tally.answered,
            "failed": failed,
            "completion_tokens": tally.completion_tokens,
            "seconds": tally.seconds,
            "tokens_per_second": tally.tokens_per_second(),
        });
        report["record"] = json!(file.record());
        let (mut own, mut next) = (String::new(), String::new());
        if let Some(remote) = remote {
            report["asked_now"] = asked_now(&remote.usage());
            report["calls"] = json!(file.calls());
            own = match self.remote.service.prices() {
                Some(_) => format!("; {} requests, cost {:.2}", remote.usage().requests, remote.usage().cost),
                None => format!("; {} requests", remote.usage().requests),
            };
        }
        if let Some(bench) = self.bench.bench {
            self.record(tasks, &answered).into_iter().for_each(|(name, value)| report[name] = value);
            next = reader(bench, &self.output).map(|reader| format!("\nnext: {} {reader}", command::program())).unwrap_or_default();
            if let overridden @ [_, ..] = &self.overridden()[..] {
                own += &format!("; not by the benchmark's protocol: {}", overridden.join(", "));
            }
        }
        let (output, rows) = (self.output.display(), tasks.len());
        let Some((id, problem)) = answered.failures(tasks).next() else {
            store.finish().failure()?;
            let (tokens, seconds, rate) = (tally.completion_tokens, duration(tally.seconds), tally.tokens_per_second());
            let text = format!("{output}: {rows} rows, {tokens} tokens in {seconds} ({rate:.1} tokens/s){own}{next}");
            return Ok(Outcome::done(text, report));
        };
        let told = match self.bench.bench {
            Some(_) => format!("{problem}; they are left out"),
            None => "see their error fields".into(),
        };
        let again = "repeat the command to ask them again";
        let text = format!("{output}: {failed} of {rows} rows have no answer, first \"{id}\": {told}; {again}{own}");
        Ok(Outcome::failed(text, report))
    }
}
