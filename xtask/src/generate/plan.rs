//! From the arguments to the tasks, the model, and the settings that the answers depend on.

use std::path::Path;

use candle_core::Device;
use clap::builder::TypedValueParser;
use janus_core::{ChatModel, Continuing, SamplingParams};
use janus_data::fs::fingerprint;
use janus_eval::answer::{AnswerFile, PromptFields, PromptProblem, Task, tasks_of_rows};
use janus_eval::bench::toxicity::PromptKind;
use janus_eval::bench::{Benchmark, Questions};
use janus_infer::remote::{Endpoint, RemoteModel};
use janus_infer::{DeviceName, ModelFolder, TextEngine};
use serde_json::{Map, Value, json};

use super::{Args, RowArgs};
use crate::command::{Blame as _, CommandError, one_of};
use crate::model;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Benchmark")]
pub(super) struct BenchArgs {
    /// Answer a benchmark's questions according to its protocol: INPUT is its question file, OUTPUT has
    /// the format that its judge reads
    #[arg(long, value_name = "BENCH", value_parser = benchmark(), conflicts_with_all = ["system_key", "user_key", "id_key", "compose_system"])]
    pub bench: Option<Benchmark>,
    /// The model's name in OUTPUT [default: --model-name, else the name of its file or folder]
    #[arg(long, value_name = "NAME", requires = "bench")]
    pub name: Option<String>,
    /// Answer only those of toxicity's prompts whose own toxicity is above 0.5, or only the others
    #[arg(long, value_name = "KIND", value_parser = one_of(PROMPTS), requires = "bench")]
    pub prompts: Option<PromptKind>,
    /// Send toxicity's prompts as user messages, instead of texts to continue
    #[arg(long, requires = "bench")]
    pub as_chat: bool,
}

const PROMPTS: [(&str, &str, PromptKind); 2] = [
    ("toxic", "Above 0.5", PromptKind::Toxic),
    ("non-toxic", "At most 0.5, as in the paper's table", PromptKind::NonToxic),
];

fn benchmark() -> impl TypedValueParser<Value = Benchmark> {
    let about = |benchmark: Benchmark| match benchmark {
        Benchmark::MtBench => {
            "80 conversations of two turns: the temperature of each category, 1,024 tokens; for `judge mt-bench`"
        }
        Benchmark::ArenaHard => "500 questions: greedy, 4,096 tokens; for `judge arena-hard`",
        Benchmark::AlpacaEval => "805 instructions: the paper's sampling; for `judge alpaca-eval`",
        Benchmark::Toxicity => {
            "RealToxicityPrompts: 25 times 20 tokens that continue each prompt, temperature 1, top-p 0.9; for `eval toxicity`"
        }
        Benchmark::Multifaceted => {
            "Multifaceted Bench, under its system messages: the paper's sampling; for `judge rubric`"
        }
        _ => "",
    };
    one_of(Benchmark::ALL.map(|benchmark| (benchmark.as_str(), about(benchmark), benchmark)))
}

/// The command that judges the answers in this file.
pub(super) fn reader(benchmark: Benchmark, output: &Path) -> Option<String> {
    let output = output.display();
    match benchmark {
        Benchmark::MtBench => Some(format!("judge mt-bench --answers {output}")),
        Benchmark::ArenaHard => Some(format!("judge arena-hard --answers {output}")),
        Benchmark::AlpacaEval => Some(format!("judge alpaca-eval --outputs {output}")),
        Benchmark::Toxicity => Some(format!("eval toxicity --generations {output} --classifier")),
        Benchmark::Multifaceted => Some(format!("judge rubric --responses {output}")),
        _ => None,
    }
}

impl Args {
    /// Rejects flags that do not go together.
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
            return wrong(
                "--n: this benchmark takes one answer for each row; --best-of chooses it from several",
            );
        }
        if toxicity && self.best.n().is_some() {
            return wrong("--best-of: toxicity scores every generation, so no best one is chosen");
        }
        if toxicity && !*as_chat && self.rows.system.as_ref().is_some_and(|system| !system.is_empty()) {
            return wrong(
                "--system: toxicity's prompts are texts that the model continues, without a system message; add --as-chat",
            );
        }
        if model::is_address(&self.model) {
            if let Some(flag) = self.engine.given().or(self.best.n().map(|_| "--best-of")) {
                return Err(CommandError::bad_input(format!(
                    "{flag} is for a local model, and --model is the address of an API"
                )));
            }
            // Reports bad arguments before a journal is created.
            self.remote()?;
        } else if self.remote.service.dry_run {
            return wrong("--dry-run is for an API: a local model costs nothing");
        }
        Ok(())
    }

    /// Checks the output's extension, which sets its format.
    fn check_output(&self) -> Result<(), CommandError> {
        let expected: &[&str] = if self.bench.bench.is_some() { &["jsonl", "json"] } else { &["jsonl"] };
        let output = &self.output;
        if output.extension().is_none_or(|extension| !expected.iter().any(|known| extension == *known)) {
            let names = expected.join(" or .");
            return Err(CommandError::bad_input(format!(
                "--output is {}: expected a name ending in .{names}",
                output.display()
            )));
        }
        Ok(())
    }

    /// The paper's sampling. For an API it has no repetition penalty: the paper used none there, and few
    /// APIs support the field.
    fn paper(&self) -> SamplingParams {
        let local = SamplingParams::paper();
        if model::is_address(&self.model) {
            SamplingParams { repetition_penalty: 1.0, ..local }
        } else {
            local
        }
    }

    /// The tasks, and the benchmark's rows if there is one.
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
                let fields =
                    PromptFields { system: system_key.clone(), user: user_key.clone(), id: id_key.clone() };
                let sampling = self.sampling.over(&self.paper(), n)?;
                let rows = janus_data::read(&self.input).bad_input()?.take(limit.unwrap_or(usize::MAX));
                let rows = rows.collect::<janus_data::Result<Vec<Map<String, Value>>>>().bad_input()?;
                (
                    tasks_of_rows(&rows, &fields, &sampling, *compose_system)
                        .map_err(|error| self.bad_row(error))?,
                    None,
                )
            }
        };
        if tasks.is_empty() {
            return Err(CommandError::bad_input(format!("{}: no rows to answer", self.input.display())));
        }
        if let Some(system) = system {
            tasks
                .iter_mut()
                .for_each(|task| task.system = Some(system.clone()).filter(|system| !system.is_empty()));
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

    /// The model behind an API.
    pub(super) fn remote(&self) -> Result<RemoteModel, CommandError> {
        self.remote.model(&self.model, self.endpoint())
    }

    /// A local model.
    pub(super) fn load(&self, device: &Device) -> Result<Box<dyn ChatModel>, CommandError> {
        eprintln!("generate: loading {}", self.model);
        let path = self.model.as_ref();
        Ok(match self.endpoint() {
            Endpoint::Completions => Box::new(Continuing(TextEngine::new(self.engine.load(path, device)?))),
            Endpoint::Chat => Box::new(self.engine.load_chat(path, device)?),
        })
    }

    /// Whether prompts are answered as a chat or continued as a text.
    fn endpoint(&self) -> Endpoint {
        let continues = self.bench.bench == Some(Benchmark::Toxicity) && !self.bench.as_chat;
        if continues { Endpoint::Completions } else { Endpoint::Chat }
    }

    /// The model's name in a benchmark's answers; `None` without a benchmark.
    pub(super) fn name(&self) -> Option<String> {
        self.bench.bench?;
        let given = self.bench.name.as_ref().or(self.remote.model_name.as_ref());
        let file = || ModelFolder::new(&self.model).name().unwrap_or_else(|| "model".into());
        Some(given.cloned().unwrap_or_else(file))
    }

    /// The parameters that differ from the benchmark's protocol.
    pub(super) fn overridden(&self) -> Vec<&'static str> {
        let others = [
            ("n", self.n.is_some()),
            ("system", self.rows.system.is_some()),
            ("as_chat", self.bench.as_chat),
        ];
        let given = others.into_iter().filter(|(_, given)| *given).map(|(name, _)| name);
        self.sampling.given().into_iter().chain(given).collect()
    }

    /// Everything that the answers depend on. It is the header of an unfinished run's journal, and part
    /// of the record next to the answers. `--batch` and `--cache-mb` are not in it: except for rounding
    /// on a GPU, an answer does not depend on the other rows.
    pub(super) fn settings(&self, tasks: &[Task], gpu: &Device) -> Result<Map<String, Value>, CommandError> {
        let local = !model::is_address(&self.model);
        let model = match local {
            true => json!(fingerprint::of_path(self.model.as_ref()).bad_input()?),
            false => json!({ "service": self.model.trim_end_matches('/'), "name": self.remote.model_name }),
        };
        let mut settings = Map::new();
        let mut set = |name: &str, value: Value| drop(settings.insert(name.into(), value));
        set("program", json!(concat!("xtask generate ", env!("CARGO_PKG_VERSION"))));
        set("model", model);
        set("template", json!(self.engine.template));
        AnswerFile::settings(tasks).failure()?.into_iter().for_each(|(name, value)| set(&name, value));
        // An answer ends at this length.
        if let Some(context) = self.engine.context {
            set("context", json!(context));
        }
        if let Some(reward) = self.best.identity()? {
            set("reward", reward);
        }
        if local && !gpu.is_cpu() {
            set("device", json!(DeviceName::of(gpu).to_string()));
        }
        if let Some(bench) = self.bench.bench {
            set("bench", json!(bench));
            set("as_chat", json!(self.bench.as_chat));
        }
        Ok(settings)
    }
}
