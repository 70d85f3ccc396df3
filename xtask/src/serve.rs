//! `cargo xtask serve`: serves a model over an OpenAI-compatible API.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use janus_core::{ChatModel as _, ChatTemplate, RewardModel, SamplingParams};
use janus_infer::server::{BearerToken, Served, Server, ServerOptions};
use serde_json::json;

use crate::command::{Blame as _, CommandError, Outcome};
use crate::device::DeviceArg;
use crate::generate::load_reward;
use crate::model::EngineArgs;

/// Environment variable with the token.
const TOKEN_VARIABLE: &str = "JANUS_TOKEN";

/// Serve a model over an OpenAI-compatible API
///
/// Endpoints at http://HOST:PORT/v1: chat/completions and completions (whole or
/// streamed; n, logprobs, seed, stop), models; and /health and /metrics
/// (Prometheus) at the root. In addition to OpenAI's fields a request may have
/// top_k, min_p, repetition_penalty, and for a chat:
///   preferences  up to four preferences {dimension, subdimension, preference,
///                description}, each in another dimension, from which the system
///                message is composed
///   best_of      number of candidates; the n best by --reward-model are returned
/// A parameter that a request does not set has the server's default: neutral
/// (temperature 1, top-p 1, no penalty, 1024 new tokens; 16 for a completion, as in
/// OpenAI's API), the paper's with --paper-sampling, or the one of a flag.
/// A chat ends with the model's turn, whoever wrote the last message; with vLLM's
/// continue_final_message the model continues that message.
///
/// SIGINT (Ctrl-C) or SIGTERM stops it once all accepted requests are answered; a
/// second one stops it immediately (exit code 1). Only this machine can reach it,
/// unless --host says otherwise; then set a token. It speaks plain HTTP: on a
/// network, put a TLS proxy in front of it.
///
/// Reads:   MODEL: a .gguf file, or a folder with config.json, safetensors,
///          tokenizer.json and tokenizer_config.json. The token that clients must
///          send: the environment variable JANUS_TOKEN, or --token-file. Without a
///          token every client is answered. On a loopback address the Host header
///          must then be localhost or a loopback address, so that web pages in a
///          browser cannot call the server.
/// Writes:  nothing; when it ends, one line (with --json one object) with the
///          number of answers.
/// Example: cargo xtask serve --model models/smollm2-135m-instruct-q4_1.gguf
///          curl http://127.0.0.1:8000/v1/chat/completions \
///          -H 'Content-Type: application/json' \
///          -d '{"messages": [{"role": "user", "content": "What is a kite?"}]}'
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// GGUF file or model folder
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// Folder of a reward model: config.json, safetensors, tokenizer.json, tokenizer_config.json, and
    /// its head in value_head.safetensors (as `train` writes it) or among the weights, by the config's
    /// value_head_prefix (OpenRLHF)
    #[arg(long, value_name = "PATH")]
    reward_model: Option<PathBuf>,
    /// Chat template of the reward model, instead of its own: mistral-instruct or chatml
    #[arg(long, value_name = "NAME", requires = "reward_model")]
    reward_template: Option<ChatTemplate>,
    /// The model's name in requests [default: the file's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Address to listen on
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port to listen on; 0 takes a free port and prints it
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// File with the token that clients must send, instead of JANUS_TOKEN
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    defaults: DefaultArgs,
    /// Requests that may wait or run; further ones get status 429
    #[arg(long, value_name = "N", default_value_t = ServerOptions::default().queue)]
    queue: usize,
    /// Maximum size of a request, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = ServerOptions::default().body_bytes)]
    body_bytes: usize,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Defaults of requests")]
struct DefaultArgs {
    /// The paper's sampling: top-p 0.9, repetition penalty 1.03
    #[arg(long)]
    paper_sampling: bool,
    /// Divides the logits; 0 takes the most likely token
    #[arg(long)]
    temperature: Option<f64>,
    /// Keep the smallest set of tokens whose probability reaches this; 1 keeps all
    #[arg(long)]
    top_p: Option<f64>,
    /// Makes tokens that occurred before less likely; 1 changes nothing
    #[arg(long)]
    repetition_penalty: Option<f64>,
    /// Maximum number of new tokens of a chat
    #[arg(long)]
    max_tokens: Option<usize>,
}

impl DefaultArgs {
    fn sampling(&self) -> SamplingParams {
        let base = if self.paper_sampling { SamplingParams::paper() } else { SamplingParams::default() };
        SamplingParams {
            temperature: self.temperature.unwrap_or(base.temperature),
            top_p: self.top_p.unwrap_or(base.top_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(base.repetition_penalty),
            max_tokens: self.max_tokens.unwrap_or(base.max_tokens),
            ..base
        }
    }
}

pub fn run(args: &Args) -> Result<Outcome, CommandError> {
    let token = token(args)?;
    if token.is_none() && !args.host.is_loopback() {
        eprintln!(
            "serve: no token is set, and {} is not a loopback address: every client that can reach it is answered",
            args.host
        );
    }
    eprintln!("serve: loading {}", args.model.display());
    let device = args.device.open()?;
    let mut engine = args.engine.load(&args.model, &device)?;
    if let Some(name) = &args.name {
        engine = engine.with_name(name);
    }
    if engine.template().check_present().is_err() {
        eprintln!(
            "serve: the model has no chat template: it completes texts, and chats are refused (--template names one)"
        );
    }
    let name = engine.name().to_string();
    let reward = args
        .reward_model
        .as_ref()
        .map(|path| load_reward(path, args.reward_template, &device))
        .transpose()?;
    let reward = reward.map(|reward| Box::new(reward) as Box<dyn RewardModel + Send + Sync>);
    let options = ServerOptions::default().with(|options| {
        options.token = token;
        options.sampling = args.defaults.sampling();
        options.queue = args.queue;
        options.body_bytes = args.body_bytes;
    });
    let server = Server::bind(SocketAddr::new(args.host, args.port), engine, reward, options).bad_input()?;
    let address = server.address();
    eprintln!("serve: {name} at http://{address}/v1 (Ctrl-C ends it)");
    let Served { answered, all, .. } = server.run_until_signal().failure()?;
    let report = json!({ "command": "serve", "model": name, "address": address.to_string(), "answered": answered, "cut_off": !all });
    if all {
        Ok(Outcome::done(format!("{name}: {answered} requests answered"), report))
    } else {
        Ok(Outcome::failed(
            format!("{name}: {answered} requests answered; the running ones were cut off"),
            report,
        ))
    }
}

fn token(args: &Args) -> Result<Option<BearerToken>, CommandError> {
    if let Some(path) = &args.token_file {
        return BearerToken::read(path).map(Some).bad_input();
    }
    match std::env::var(TOKEN_VARIABLE) {
        // A variable that is set but empty is an error: the server would silently run without a token.
        Ok(token) => BearerToken::new(token)
            .map(Some)
            .map_err(|error| CommandError::bad_input(error).at(TOKEN_VARIABLE)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(CommandError::bad_input(format!("{TOKEN_VARIABLE} is not UTF-8")))
        }
    }
}
