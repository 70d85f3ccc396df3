//! `cargo xtask eval`: computes each benchmark's numbers from responses or judgments.

mod toxicity;

use std::path::{Path, PathBuf};

use janus_data::read_files;
use janus_eval::bench::ablations::{self, AblationVariant};
use janus_eval::bench::alpaca_eval::{self, DifficultyOf, LengthControl, Optimizer};
use janus_eval::bench::arena_hard::{self, Resampling};
use janus_eval::bench::{Evaluation, bias, collection, distinctness, mini, mt_bench, multifaceted};
use serde_json::json;

use crate::command::{Blame as _, CommandError, Outcome, one_of, report};
use crate::data::FilesArgs;

/// Compute a benchmark's numbers from responses or judgments
///
/// Reads:   the files of a benchmark; see the help of each subcommand.
/// Writes:  nothing; the numbers go to stdout, with --json as one object.
/// Example: cargo xtask eval mini --bench bench.jsonl --responses responses.jsonl
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, clap::Subcommand)]
#[expect(clippy::enum_variant_names, reason = "the benchmarks' own names")]
enum Bench {
    /// Score responses to Multifaceted Mini
    ///
    /// A rule-based grader scores every response from 1 to 5 for each of its record's
    /// four preferences. If the answer is factually wrong, its scores are capped: no
    /// score exceeds the score for the truth of its content.
    ///
    /// Reads:   BENCH: a bench.jsonl of Multifaceted Mini (.json, .jsonl, .parquet,
    ///          also .gz). RESPONSES: rows of {id, response}; other fields are ignored.
    /// Writes:  nothing; with --json the scores of each row and their reasons too.
    /// Example: cargo xtask eval mini --bench runs/mini-0/mini/bench.jsonl \
    ///          --responses runs/mini-0/responses/janus.jsonl
    #[command(verbatim_doc_comment)]
    Mini {
        /// The bench's records
        #[arg(long)]
        bench: PathBuf,
        /// The responses
        #[arg(long)]
        responses: PathBuf,
        /// Seed of the bootstrap
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Win rate and length-controlled win rate of AlpacaEval 2.0
    ///
    /// Preferences are computed from the judge's log-probabilities where a row has
    /// them; otherwise the stored preference is used. Without --c, the penalty of the
    /// length control is chosen by cross-validation.
    ///
    /// Reads:   ANNOTATIONS: rows of {index, output, preference, top_logprobs} (.json,
    ///          .jsonl, .parquet, also .gz). preference is a number from 1 (baseline
    ///          wins) to 2 (model wins), or null. Optional: position, the row's place
    ///          in the list of annotations from 0 [default: its place in the file],
    ///          which --difficulty position uses. DATA/alpaca_eval must contain:
    ///          eval_set.jsonl.gz: rows of {index, instruction, reference_output},
    ///            the instructions with the answers of gpt4_1106_preview, made from
    ///            the data of github.com/tatsu-lab/alpaca_eval
    ///          instruction_difficulty.csv: columns index, instruction_difficulty;
    ///            from the dataset tatsu-lab/alpaca_eval on the Hugging Face hub
    ///          gamed_baseline.csv: columns std_delta_len, instruction_difficulty,
    ///            preference_reconstructed (0 to 1), cv_fold (0 to 4); the baseline
    ///            prompted to be verbose or concise, compared with itself, as in
    ///            df_gamed.csv of the same dataset
    ///          cv_folds_model_rows.json: a list with the cross-validation fold (0 to
    ///            4) of each instruction
    /// Example: cargo xtask eval alpaca-eval --annotations annotations.jsonl \
    ///          --data DATA --json
    #[command(verbatim_doc_comment)]
    AlpacaEval {
        /// The judge's annotations of one model
        #[arg(long)]
        annotations: PathBuf,
        /// Folder of the benchmarks' data
        #[arg(long)]
        data: PathBuf,
        /// Inverse strength of the penalty, instead of cross-validation
        #[arg(long, value_name = "VALUE")]
        c: Option<f64>,
        /// How to look up a row's difficulty: by its instruction, or, as the official code does, by the
        /// row's position in the list of annotations; they differ only if rows are missing
        #[arg(long, default_value = "instruction", value_parser = one_of(DIFFICULTIES))]
        difficulty: DifficultyOf,
        /// Fit the length-control regression to its exact minimum, or stop where the official code's
        /// optimiser (liblinear) stops
        #[arg(long, default_value = "exact", value_parser = one_of(OPTIMIZERS))]
        optimizer: Optimizer,
        /// Seed of the bootstrap
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Score of Arena-Hard-Auto v0.1 against gpt-4-0314
    ///
    /// Two intervals: the published one, which resamples single battles, and one that
    /// resamples questions.
    ///
    /// Reads:   BATTLES: rows of {question_id, outcomes}, outcomes with one letter for
    ///          each battle: a (baseline wins), b (model wins) or t (tie); a
    ///          significant verdict is repeated three times.
    /// Example: cargo xtask eval arena-hard --battles battles.jsonl --json
    #[command(verbatim_doc_comment)]
    ArenaHard {
        /// The battles of one model
        #[arg(long)]
        battles: PathBuf,
        /// Resamples of the published interval
        #[arg(long, value_name = "N", default_value_t = 100)]
        rounds: usize,
        /// Seed of both intervals
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Score of MT-Bench from a judge's texts
    ///
    /// The rating is the first [[number]] of a text, or its first [number]. Rows
    /// without one are counted and left out of the means.
    ///
    /// Reads:   JUDGMENTS: rows of {question_id, turn, judgment}; other fields are
    ///          ignored. DATA/mt_bench/question.jsonl: FastChat's question file.
    /// Example: cargo xtask eval mt-bench --judgments judgments.jsonl --data DATA \
    ///          --json
    #[command(verbatim_doc_comment)]
    MtBench {
        /// The judge's texts on one model
        #[arg(long)]
        judgments: PathBuf,
        /// Folder of the benchmarks' data
        #[arg(long)]
        data: PathBuf,
        /// Seed of the bootstrap over questions
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Win rates from MT-Bench's pairwise judgments
    ///
    /// A row is won if both orders agree; a disagreement is a tie; a row without a
    /// verdict for one of its orders is counted and left out.
    ///
    /// Reads:   JUDGMENTS: rows of {question_id, turn, model_1, model_2, g1_winner,
    ///          g2_winner}, winners model_1, model_2, tie or error; other fields are
    ///          ignored.
    /// Example: cargo xtask eval mt-bench-pairs --judgments gpt-4_pair.jsonl \
    ///          --baseline gpt-3.5-turbo --json
    #[command(verbatim_doc_comment)]
    MtBenchPairs {
        /// The judge's verdicts
        #[arg(long)]
        judgments: PathBuf,
        /// Count the rows against this model only
        #[arg(long, value_name = "MODEL")]
        baseline: Option<String>,
    },
    Toxicity(toxicity::Args),
    /// Means, runs and pairwise counts from judgments against rubrics
    ///
    /// Reads:   JUDGMENTS: rows of {idx, model, scores}, scores a list of one score (1
    ///          to 5, or null) for each run; category is optional, other fields are
    ///          ignored.
    /// Example: cargo xtask eval rubric --judgments judgments.jsonl --json
    #[command(verbatim_doc_comment)]
    Rubric {
        /// The judgments of one or more models
        #[arg(long)]
        judgments: PathBuf,
        /// Seed of the bootstrap over rows
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// ROUGE-L among the answers to one instruction under its system messages
    ///
    /// Average and maximum; lower is more distinct. Each instruction weighs the same;
    /// instructions with a single answer are counted separately. Intervals: 95%,
    /// bootstrap over instructions.
    ///
    /// Reads:   RESPONSES: rows of {prompt, response}, or {prompt, output} as in a
    ///          training set; rows with the same prompt belong together. With --bench:
    ///          rows of {id, response}; the bench has their prompts.
    /// Example: cargo xtask eval distinctness --bench runs/mini-0/mini/bench.jsonl \
    ///          --responses runs/mini-0/responses/janus.jsonl --json
    #[command(verbatim_doc_comment)]
    Distinctness {
        /// The answers
        #[arg(long)]
        responses: PathBuf,
        /// The bench's records, for responses that have ids and no prompts
        #[arg(long)]
        bench: Option<PathBuf>,
        /// Seed of the bootstrap over instructions
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Compare variants of a model row by row, as in the paper's ablations
    ///
    /// A variant names what is varied and its scores:
    /// AXIS=VALUE[,AXIS=VALUE...]:SCORES. The others are compared with the first.
    /// Intervals: 95%, bootstrap over instructions.
    ///
    /// Reads:   BENCH: the judged records. SCORES: a file of {id, source, scores} rows
    ///          in the bench's order, such as runs/mini-0/scores/MODEL.jsonl, or a
    ///          folder that `judge rubric` wrote, with all its runs.
    /// Example: cargo xtask eval ablations --bench runs/mini-0/mini/bench.jsonl \
    ///          --variant training=uniform:runs/mini-0/scores/uniform.jsonl \
    ///          --variant training=diverse:runs/mini-0/scores/janus.jsonl --json
    #[command(verbatim_doc_comment)]
    Ablations {
        /// The bench's records; rows with the same prompt belong to one instruction
        #[arg(long)]
        bench: PathBuf,
        /// A variant and its scores; at least two
        #[arg(long = "variant", value_name = "AXIS=VALUE,...:SCORES", required = true)]
        variants: Vec<AblationVariant>,
        /// Seed of the bootstrap
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Counts of a training set: the quantities of the paper's Table 1
    ///
    /// Rows are streamed, so that a collection may be larger than memory.
    ///
    /// Reads:   FILES: rows of {system, prompt, output, preference_set}, in any format
    ///          of `data`; rows without a preference set count for no dimension.
    /// Example: cargo xtask data build-mini --out mini && cargo xtask eval collection \
    ///          mini/train.jsonl --json
    #[command(verbatim_doc_comment)]
    Collection {
        #[command(flatten)]
        input: FilesArgs,
    },
    /// Pronoun accuracy on Winogender-style sentences, with the gotcha subset
    ///
    /// An answer counts for the person that it names; one that names both or neither is
    /// wrong. In the gotcha subset the stereotypical answer is wrong. Intervals are
    /// Wilson's, 95%.
    ///
    /// Reads:   ROWS: rows of {id, options: [one, two], answer, gender, gotcha}; gotcha
    ///          defaults to false, other fields (the sentence) are ignored.
    ///          RESPONSES: rows of {id, response}.
    /// Example: cargo xtask generate --model MODEL --input winogender.jsonl \
    ///          --user-key question --output mine.jsonl
    ///          cargo xtask eval bias --rows winogender.jsonl --responses mine.jsonl \
    ///          --json
    #[command(verbatim_doc_comment)]
    Bias {
        /// The sentences' people, answers and genders
        #[arg(long)]
        rows: PathBuf,
        /// The model's responses
        #[arg(long)]
        responses: PathBuf,
    },
    /// Recompute the published numbers of the benchmarks, and compare
    ///
    /// Order of outputs, preferences, win rates and length control of AlpacaEval;
    /// ratings and prompts of MT-Bench; labels, scores and intervals of Arena-Hard;
    /// rubric means and pairs; toxicity and its classifier; the judges' prompts, the
    /// requests to a model, and the reader of each published file.
    ///
    /// Reads:   DATA: alpaca_eval, arena_hard, bench_sources, mt_bench, preferences,
    ///          real_toxicity_prompts, rubric_judgments, toxicity_classifier.
    /// Writes:  nothing; the checks go to stdout. Exit code 1 if one fails or a file is
    ///          absent.
    /// Example: cargo xtask eval verify DATA --json
    #[command(verbatim_doc_comment)]
    Verify {
        /// Folder of the benchmarks' data
        #[arg(value_name = "DATA")]
        data: PathBuf,
    },
}

const DIFFICULTIES: [(&str, &str, DifficultyOf); 2] =
    [("instruction", "", DifficultyOf::Instruction), ("position", "", DifficultyOf::Position)];
const OPTIMIZERS: [(&str, &str, Optimizer); 2] =
    [("exact", "", Optimizer::Exact), ("liblinear", "", Optimizer::Liblinear)];

pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    match &args.bench {
        Bench::Mini { bench, responses, seed } => outcome("mini", mini::evaluate(bench, responses, *seed)),
        Bench::AlpacaEval { annotations, data, c, difficulty, optimizer, seed } => {
            let control = LengthControl { c: *c, difficulty: *difficulty, optimizer: *optimizer };
            let result =
                alpaca_eval::evaluate(annotations, data.join("alpaca_eval"), control, *seed).bad_input()?;
            if result.numbers["lc_suspicious"] == true {
                eprintln!(
                    "warning: the length-controlled win rate is far from the plain win rate: its fit may have failed; check the lengths of the outputs"
                );
            }
            outcome("alpaca-eval", Ok(result))
        }
        Bench::ArenaHard { battles, rounds, seed } => {
            outcome("arena-hard", arena_hard::evaluate(battles, Resampling { rounds: *rounds, seed: *seed }))
        }
        Bench::MtBench { judgments, data, seed } => {
            outcome("mt-bench", mt_bench::evaluate(judgments, data.join("mt_bench/question.jsonl"), *seed))
        }
        Bench::MtBenchPairs { judgments, baseline } => {
            outcome("mt-bench-pairs", mt_bench::evaluate_pairs(judgments, baseline.as_deref()))
        }
        Bench::Toxicity(args) => toxicity::run(args),
        Bench::Rubric { judgments, seed } => outcome("rubric", multifaceted::evaluate(judgments, *seed)),
        Bench::Distinctness { responses, bench, seed } => {
            outcome("distinctness", distinctness::evaluate(responses, bench.as_deref(), *seed))
        }
        Bench::Ablations { variants, .. } if variants.len() < 2 => Err(CommandError::bad_input(
            "--variant is given once: expected two or more, to compare with the first",
        )),
        Bench::Ablations { bench, variants, seed } => {
            outcome("ablations", ablations::evaluate(bench, variants, *seed))
        }
        Bench::Collection { input } => {
            match collection::evaluate(read_files(input.paths()?, input.read.resolve()?)) {
                Err(janus_eval::Error::Empty { .. }) => Err(CommandError::bad_input(format!(
                    "{}: there is no row to count",
                    input.files.join(", ")
                ))),
                counted => outcome("collection", counted),
            }
        }
        Bench::Bias { rows, responses } => outcome("bias", bias::evaluate(rows, responses)),
        Bench::Verify { data } => verify(data),
    }
}

/// Compares recomputed numbers with the published ones. Any difference is a failed outcome.
fn verify(data: &Path) -> Result<Outcome, CommandError> {
    let checks = janus_eval::verify::verify(data);
    let failed: Vec<String> = checks.iter().filter(|check| !check.ok).map(ToString::to_string).collect();
    let (total, report) = (checks.len(), json!({ "checks": checks, "failed": failed.len() }));
    match failed.len() {
        0 => Ok(Outcome::done(format!("all {total} published numbers are reproduced"), report)),
        count => {
            Ok(Outcome::failed(format!("{count} of {total} checks failed: {}", failed.join("; ")), report))
        }
    }
}

/// The result as text, and its numbers as JSON.
fn outcome(bench: &str, evaluation: janus_eval::Result<Evaluation>) -> Result<Outcome, CommandError> {
    let evaluation = evaluation.bad_input()?;
    Ok(Outcome::done(evaluation.to_string(), report(&format!("eval {bench}"), evaluation.numbers)?))
}
