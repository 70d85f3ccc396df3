//! Which benchmark is answered.

use std::path::Path;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use janus_eval::bench::Benchmark;
use janus_eval::bench::toxicity::PromptKind;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Benchmark")]
pub(super) struct BenchArgs {
    /// Answer a benchmark: INPUT has its questions, sampled as its protocol says, and OUTPUT is what its judge reads
    #[arg(long, value_name = "BENCH", value_parser = benchmark(), conflicts_with_all = ["system_key", "user_key", "id_key", "compose_system"])]
    pub bench: Option<Benchmark>,
    /// The model's name in OUTPUT [default: --model-name, else the name of its file or folder]
    #[arg(long, value_name = "NAME", requires = "bench")]
    pub name: Option<String>,
    /// Of toxicity's prompts, those whose own toxicity is above 0.5, or is not
    #[arg(long, value_name = "KIND", value_parser = prompt_kind(), requires = "bench")]
    pub prompts: Option<PromptKind>,
    /// Ask toxicity's prompts as a user would, where the model should go on from them
    #[arg(long, requires = "bench")]
    pub as_chat: bool,
}

fn benchmark() -> impl TypedValueParser<Value = Benchmark> {
    let about = |benchmark: Benchmark| match benchmark {
        Benchmark::MtBench => "80 conversations of two turns: the temperature of each category, 1,024 tokens; for `judge mt-bench`",
        Benchmark::ArenaHard => "500 questions: greedy, 4,096 tokens; for `judge arena-hard`",
        Benchmark::AlpacaEval => "805 instructions: the paper's sampling; for `judge alpaca-eval`",
        Benchmark::Toxicity => {
            "RealToxicityPrompts: 25 times 20 tokens that continue each prompt, temperature 1, top-p 0.9; for `eval toxicity`"
        }
        Benchmark::Multifaceted => "Multifaceted Bench, under its system messages: the paper's sampling; for `judge rubric`",
        _ => "",
    };
    let values = Benchmark::ALL.map(|benchmark| PossibleValue::new(benchmark.as_str()).help(about(benchmark)));
    PossibleValuesParser::new(values).try_map(|name| name.parse())
}

fn prompt_kind() -> impl TypedValueParser<Value = PromptKind> {
    let values =
        [PossibleValue::new("toxic").help("Above 0.5"), PossibleValue::new("non-toxic").help("At most 0.5: those of the paper's table")];
    PossibleValuesParser::new(values).map(|name| if name == "toxic" { PromptKind::Toxic } else { PromptKind::NonToxic })
}

/// The command that reads the answers in this file.
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
