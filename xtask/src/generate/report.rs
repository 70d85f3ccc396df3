//! What a run leaves behind: a benchmark's answers and their record, and the report.

use janus_data::Journal;
use janus_eval::bench::Task;
use serde_json::{Map, Value, json};

use super::answers::{Answered, Tally};
use super::bench::BenchRows;
use super::{Args, settings};
use crate::command::{Blame as _, CommandError, Outcome};
use crate::progress::duration;

impl Args {
    pub(super) fn left_alone(&self) -> Outcome {
        let text = format!("{} is finished and left alone: pass --force to answer again", self.output.display());
        Outcome::done(text, json!({ "command": "generate", "output": self.output, "left_alone": true }))
    }

    /// Writes a benchmark's answers and the record beside them, which it returns.
    pub(super) fn write(
        &self,
        rows: &BenchRows,
        tasks: &[Task],
        answered: &Answered,
        settings: Map<String, Value>,
    ) -> Result<Map<String, Value>, CommandError> {
        let name = self.name();
        let row = |(place, answers)| rows.row(place, &name, answers);
        let answers = answered.iter().enumerate().filter_map(|(place, answers)| Some((place, answers.as_ref().ok()?)));
        janus_data::write_all(&self.output, &answers.map(row).collect::<Result<Vec<Value>, _>>()?).failure()?;
        let failures = tasks.iter().zip(answered).filter_map(|(task, answers)| Some((&task.id, answers.as_ref().err()?)));
        let failures: Vec<Value> = failures.map(|(id, error)| json!({ "id": id, "error": error })).collect();
        let mut overridden = self.sampling.given();
        overridden.extend(self.n.map(|_| "n"));
        overridden.extend(self.rows.system.as_ref().map(|_| "system"));
        let record = json!({ "bench": self.bench.bench, "name": name, "overridden": overridden, "failures": failures });
        let Value::Object(mut record) = record else { return Ok(Map::new()) };
        let mut written = record.clone();
        written.insert("settings".into(), settings.into());
        let written = Value::Object(written);
        janus_data::write_file(settings::record_path(&self.output), format!("{written:#}\n").as_bytes()).failure()?;
        record.insert("record".into(), json!(settings::record_path(&self.output)));
        Ok(record)
    }

    /// Ends the run: the journal goes only if no row is left to ask again.
    pub(super) fn finish(
        &self,
        tasks: &[Task],
        answered: &Answered,
        before: usize,
        tally: &Tally,
        record: Map<String, Value>,
        journal: Journal,
    ) -> Result<Outcome, CommandError> {
        let failed = || tasks.iter().zip(answered).filter_map(|(task, answers)| Some((&task.id, answers.as_ref().err()?)));
        let mut report = json!({
            "command": "generate",
            "output": self.output,
            "left_alone": false,
            "rows": tasks.len(),
            "answered_before": before,
            "answered": tally.answered,
            "failed": failed().count(),
            "completion_tokens": tally.completion_tokens,
            "seconds": tally.seconds,
            "tokens_per_second": tally.tokens_per_second(),
        });
        let overridden: Vec<&str> =
            record.get("overridden").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let own = match &overridden[..] {
            [] => String::new(),
            given => format!("; not by the benchmark's protocol: {}", given.join(", ")),
        };
        report.as_object_mut().into_iter().for_each(|report| report.extend(record.clone()));
        let output = self.output.display();
        let Some((id, problem)) = failed().next() else {
            journal.remove().failure()?;
            let speed =
                format!("{} tokens in {} ({:.1} tokens/s)", tally.completion_tokens, duration(tally.seconds), tally.tokens_per_second());
            let next = self.bench.bench.map(|bench| format!("\nnext: cargo xtask {}", bench.reader(&self.output))).unwrap_or_default();
            return Ok(Outcome::done(format!("{output}: {} rows, {speed}{own}{next}", tasks.len()), report));
        };
        let (failed, told) = match self.bench.bench {
            Some(_) => (failed().count(), format!("{problem}; they are left out")),
            None => (failed().count(), "see their error fields".into()),
        };
        let text = format!(
            "{output}: {failed} of {} rows have no answer, first \"{id}\": {told}; repeat the command to ask them again{own}",
            tasks.len()
        );
        Ok(Outcome::failed(text, report))
    }
}
