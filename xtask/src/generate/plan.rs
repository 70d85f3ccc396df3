//! From the arguments to what is asked, and of which model.

use std::path::Path;

use candle_core::Device;
use janus_core::{ChatModel, Continuing, SamplingParams};
use janus_eval::answer::{Prompt, PromptFields, PromptProblem, Task, tasks_of_rows};
use janus_eval::bench::{Benchmark, Questions};
use janus_infer::TextEngine;
use janus_infer::remote::{Endpoint, RemoteModel};

use super::bench::BenchArgs;
use super::{Args, RowArgs};
use crate::command::{Blame as _, CommandError};
use crate::model;

impl Args {
    /// Flags that say nothing to each other.
    pub(super) fn check(&self) -> Result<(), CommandError> {
        let wrong = |problem: &str| Err(CommandError::bad_input(problem));
        let BenchArgs { bench, prompts, as_chat, .. } = &self.bench;
        let toxicity = *bench == Some(Benchmark::Toxicity);
        self.check_output()?;
        self.engine.options()?;
        if !toxicity && (prompts.is_some() || *as_chat) {
            return wrong("--prompts and --as-chat are for --bench toxicity");
        }
        if !toxicity && bench.is_some() && self.n.is_some() {
            return wrong("--n: this benchmark takes one answer to a row; --best-of chooses it from several");
        }
        if toxicity && self.best.n().is_some() {
            return wrong("--best-of: toxicity judges all that is drawn, and nothing is chosen");
        }
        if toxicity && !*as_chat && self.rows.system.as_ref().is_some_and(|system| !system.is_empty()) {
            return wrong("--system: toxicity's prompts are gone on from, with nothing in front of them; or give --as-chat");
        }
        if model::is_address(&self.model) {
            if let Some(flag) = self.engine.given().or(self.best.n().map(|_| "--best-of")) {
                return Err(CommandError::bad_input(format!("{flag} is for a local model, and --model is the address of a service")));
            }
            // Before there is a journal of a run that cannot begin.
            self.remote()?;
        } else if self.remote.service.dry_run {
            return wrong("--dry-run is for a service: a local model costs nothing");
        }
        Ok(())
    }

    /// The output's name, which says its form.
    fn check_output(&self) -> Result<(), CommandError> {
        let expected: &[&str] = if self.bench.bench.is_some() { &["jsonl", "json"] } else { &["jsonl"] };
        let output = &self.output;
        if output.extension().is_none_or(|extension| !expected.iter().any(|known| extension == *known)) {
            let names = expected.join(" or .");
            return Err(CommandError::bad_input(format!("--output is {}: expected a name ending in .{names}", output.display())));
        }
        Ok(())
    }

    /// The paper's sampling: its services were asked without a repetition penalty, and few know one.
    fn paper(&self) -> SamplingParams {
        let local = SamplingParams::paper();
        if model::is_address(&self.model) { SamplingParams { repetition_penalty: 1.0, ..local } } else { local }
    }

    /// What is asked, and the benchmark's rows if there is one.
    pub(super) fn tasks(&self) -> Result<(Vec<Task>, Option<Questions>), CommandError> {
        let RowArgs { system_key, user_key, id_key, limit, compose_system, system } = &self.rows;
        let n = self.best.n().or(self.n);
        let at = |error: CommandError| error.at(self.input.display());
        let (mut tasks, rows) = match self.bench.bench {
            Some(bench) => {
                let rows = Questions::read(bench, &self.input, *limit, self.bench.prompts).bad_input()?;
                let mut tasks = rows.tasks(&self.paper()).bad_input().map_err(at)?;
                for task in &mut tasks {
                    task.sampling = self.sampling.over(&task.sampling, n)?;
                }
                (tasks, Some(rows))
            }
            None => {
                let fields = PromptFields { system: system_key.clone(), user: user_key.clone(), id: id_key.clone() };
                let sampling = self.sampling.over(&self.paper(), n)?;
                let rows = read_rows(&self.input, limit.unwrap_or(usize::MAX))?;
                (tasks_of_rows(&rows, &fields, &sampling, *compose_system).map_err(|error| self.bad_row(error))?, None)
            }
        };
        if tasks.is_empty() {
            return Err(CommandError::bad_input(format!("{}: no rows to answer", self.input.display())));
        }
        if let Some(system) = system {
            tasks.iter_mut().for_each(|task| task.system = Some(system.clone()).filter(|system| !system.is_empty()));
        }
        Ok((tasks, rows))
    }

    fn bad_row(&self, error: janus_eval::Error) -> CommandError {
        let input = self.input.display();
        match &error {
            janus_eval::Error::Prompts { problem: PromptProblem::NoMessage, .. } => {
                CommandError::bad_input(format!("{input}, {error} (see --user-key)"))
            }
            janus_eval::Error::Prompts { .. } => CommandError::bad_input(format!("{input}, {error}")),
            _ => CommandError::failure(error),
        }
    }

    /// A service's model.
    pub(super) fn remote(&self) -> Result<RemoteModel, CommandError> {
        self.remote.model(&self.model, self.endpoint())
    }

    /// A local model.
    pub(super) fn load(&self, device: &Device) -> Result<Box<dyn ChatModel>, CommandError> {
        eprintln!("generate: loading {}", self.model);
        let engine = self.engine.load(self.model.as_ref(), device)?;
        Ok(match self.endpoint() {
            Endpoint::Completions => Box::new(Continuing(TextEngine::new(engine))),
            Endpoint::Chat => Box::new(engine),
        })
    }

    /// Whether prompts are answered or gone on from.
    fn endpoint(&self) -> Endpoint {
        let goes_on = self.bench.bench == Some(Benchmark::Toxicity) && !self.bench.as_chat;
        if goes_on { Endpoint::Completions } else { Endpoint::Chat }
    }

    /// The model's name in a benchmark's answers; none in other rows.
    pub(super) fn name(&self) -> Option<String> {
        self.bench.bench?;
        let given = self.bench.name.as_ref().or(self.remote.model_name.as_ref());
        let file = || Path::new(&self.model).file_stem().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned());
        Some(given.cloned().unwrap_or_else(file))
    }
}

fn read_rows(path: &Path, limit: usize) -> Result<Vec<Prompt>, CommandError> {
    janus_data::read(path).bad_input()?.take(limit).collect::<janus_data::Result<_>>().bad_input()
}
