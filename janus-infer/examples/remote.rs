//! Asks a model behind an OpenAI-compatible API, and never pays for an answer twice. It builds without
//! candle:
//!
//! ```text
//! OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=... \
//!     cargo run -p janus-infer --no-default-features --features remote --example remote -- MODEL JOURNAL "a question"...
//! ```
//!
//! Every response is written to the file JOURNAL before it is used. In another run, only new questions
//! are sent.
#![allow(clippy::print_stdout, reason = "an example prints its results")]

use std::error::Error;
use std::path::Path;

use janus_core::{ChatModel, ChatRequest, Message, SamplingParams};
use janus_data::{CallJournal, Journaled};
use janus_infer::remote::{RemoteModel, RemoteOptions};

#[allow(dead_code, reason = "the test of this example calls `ask`")]
fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(model), Some(journal)) = (arguments.next(), arguments.next()) else {
        return Err("expected a model, a file for the journal, and questions".into());
    };
    let questions: Vec<String> = arguments.collect();
    for (question, answer) in
        questions.iter().zip(ask(&model, RemoteOptions::from_env()?, journal.as_ref(), &questions)?)
    {
        println!("{question}\n-> {answer}\n");
    }
    Ok(())
}

/// The answers to questions; those in the journal are not requested again.
pub fn ask(
    model: &str,
    options: RemoteOptions,
    journal: &Path,
    questions: &[String],
) -> Result<Vec<String>, Box<dyn Error>> {
    let model = RemoteModel::new(model, options)?;
    // Another service's model of this name is another model.
    let journal = CallJournal::open(journal)?.of_endpoint(model.address());
    let model = Journaled::new(model, &journal);
    let request = |(index, question): (usize, &String)| {
        let messages = [Message::user(question.as_str())];
        ChatRequest::new(index.to_string(), messages).with_sampling(SamplingParams::greedy(256))
    };
    let requests: Vec<ChatRequest> = questions.iter().enumerate().map(request).collect();
    let answers = model.generate(&requests).into_iter().map(|answer| Ok(answer?.remove(0).text));
    answers.collect()
}
