//! Requests for generation, from the body to the response.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use janus_core::{ChatModel as _, ChatRequest, Generation, Message, SamplingParams};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::answer::{Answer, Protocol};
use super::best_of::ranking;
use super::body::{self, RequestBody};
use super::error::ApiError;
use super::reply::{self, Events, ResponseBody};
use super::request::{self, Delivery, GenerationRequest, Prompt, PromptField};
use super::state::{State, now};
use super::worker::{Job, REQUEST_ID, Update};

/// Answers a request to `/v1/chat/completions` or `/v1/completions`.
pub(super) async fn generate(
    state: &State,
    protocol: Protocol,
    parts: &Parts,
    body: Pin<&mut impl RequestBody>,
) -> Result<Response<ResponseBody>, ApiError> {
    let arrived = Instant::now();
    // A web page cannot send this content type to another origin without a CORS permission, which this
    // server never gives. A page whose own host name resolves to this machine (DNS rebinding) is refused
    // by that name (`is_local`).
    let content_type =
        parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let message = "the body must be sent with \"Content-Type: application/json\"";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message).code("unsupported_media_type"));
    }
    let bytes = body::read(body, &state.options).await?;
    let served = state.served();
    let (request, name) = match protocol {
        Protocol::Chat => (request::chat(&bytes, &served)?, "messages"),
        Protocol::Completion => (request::completion(&bytes, &served)?, "prompt"),
    };
    drop(bytes);
    let GenerationRequest { prompts, sampling, seeded, delivery, system, echo } = request;
    let field = PromptField { name, several: prompts.len() > 1 };
    let Ok(place) = Arc::clone(&state.places).try_acquire_owned() else {
        return Err(ApiError::busy(state.options.queue, state.metrics.retry_after(state.options.queue)));
    };
    let place = Arc::new(place);
    let samples = prompts.len() * sampling.n;
    let Encoded { ids, messages, texts } = encode(state, prompts, field, sampling.clone(), echo).await?;
    let prompt_tokens = ids.iter().map(Vec::len).sum();
    // The samples of one prompt follow each other.
    let echoes = texts.into_iter().flat_map(|text| vec![text; sampling.n]).collect();
    let (updates, mut receiver) = unbounded_channel();
    let with_seed = |ids| {
        (ids, SamplingParams { seed: if seeded { sampling.seed } else { state.draw() }, ..sampling.clone() })
    };
    let job = Job {
        prompts: ids.into_iter().map(with_seed).collect(),
        updates,
        place: Arc::clone(&place),
        arrived,
    };
    state.jobs.send(job).map_err(|_| ApiError::gone())?;
    match receiver.recv().await {
        Some(Update::Failed { prompt, error }) => return Err(ApiError::model(&error, field.at(prompt))),
        None => return Err(ApiError::gone()),
        Some(_) => {}
    }
    let prefix = if protocol == Protocol::Chat { "chatcmpl" } else { "cmpl" };
    let id = format!("{prefix}-{:016x}{:016x}", state.draw(), state.draw());
    let (created, model) = (now(), state.engine.name().into());
    let answer = Answer { protocol, id, created, model, prompt_tokens, system, echoes };
    match delivery {
        Delivery::Stream { usage } => {
            let events = Events::new(receiver, answer, Arc::clone(&state.engine), samples, usage, field);
            Ok(reply::events(events))
        }
        Delivery::Whole => {
            let generations = collect(receiver, samples, field).await?;
            let choices = generations.iter().map(|generation| (generation, Value::Null));
            Ok(reply::json(&answer.whole(choices, &generations, &state.engine)))
        }
        Delivery::Best { keep } => {
            let generations = collect(receiver, samples, field).await?;
            let scorer = state.reward.as_ref().ok_or_else(ApiError::gone)?;
            let rewards = scorer.rewards(&messages, &generations, place).await?;
            let best = ranking(&rewards).into_iter().take(keep);
            let choices = best
                .map(|index| (&generations[index], json!({ "candidate": index, "reward": rewards[index] })));
            let mut whole = answer.whole(choices, &generations, &state.engine);
            whole["rewards"] = json!(rewards);
            whole["reward_model"] = json!(scorer.name());
            Ok(reply::json(&whole))
        }
    }
}

/// The prompts of a request.
struct Encoded {
    /// The ids of each prompt.
    ids: Vec<Vec<u32>>,
    /// The messages of a chat.
    messages: Vec<Message>,
    /// The text of each prompt, if the answer begins with it.
    texts: Vec<String>,
}

/// Tokenises the prompts. The text of a completion may contain special tokens.
async fn encode(
    state: &State,
    prompts: Vec<Prompt>,
    field: PromptField,
    sampling: SamplingParams,
    echo: bool,
) -> Result<Encoded, ApiError> {
    let engine = Arc::clone(&state.engine);
    // On a thread of its own, so that neither the engine nor other connections wait for a long text.
    let encoded = tokio::task::spawn_blocking(move || {
        let (mut conversation, mut texts) = (Vec::new(), Vec::new());
        let mut ids_of = |(index, prompt): (usize, Prompt)| match prompt {
            Prompt::Ids(ids) => {
                if echo {
                    let text = engine.tokenizer().decode(&ids);
                    texts.push(text.map_err(|error| ApiError::field(field.at(index), error.to_string()))?);
                }
                Ok(ids)
            }
            Prompt::Text(text) => {
                let ids = engine.tokenizer().encode_with_specials(&text);
                let ids = ids.map_err(|error| ApiError::field(field.at(index), error.to_string()))?;
                // As a tokenizer's post-processor puts it; a client may write it into the text.
                let first = engine.first_id().filter(|first| ids.first() != Some(first));
                if echo {
                    texts.push(text);
                }
                Ok(first.into_iter().chain(ids).collect())
            }
            Prompt::Chat(messages) | Prompt::Unfinished(messages) if messages.is_empty() => {
                Err(ApiError::field(field.at(index), "messages is empty: expected at least one"))
            }
            Prompt::Chat(messages) => {
                let request = ChatRequest::new(REQUEST_ID, messages).with_sampling(sampling.clone());
                let ids =
                    engine.prompt(&request).map_err(|error| ApiError::model(&error, field.at(index)))?;
                conversation = request.messages;
                Ok(ids)
            }
            Prompt::Unfinished(messages) => {
                let request = ChatRequest::new(REQUEST_ID, messages).with_sampling(sampling.clone());
                let ids = engine
                    .unfinished_prompt(&request)
                    .map_err(|error| ApiError::model(&error, field.at(index)))?;
                conversation = request.messages;
                Ok(ids)
            }
        };
        let ids = prompts.into_iter().enumerate().map(&mut ids_of).collect::<Result<Vec<_>, _>>()?;
        Ok(Encoded { ids, messages: conversation, texts })
    });
    encoded.await.map_err(|_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the tokenizer panicked"))?
}

/// Waits for all samples.
async fn collect(
    mut updates: UnboundedReceiver<Update>,
    samples: usize,
    field: PromptField,
) -> Result<Vec<Generation>, ApiError> {
    let mut finished = vec![None; samples];
    while let Some(update) = updates.recv().await {
        match update {
            Update::Accepted | Update::Text { .. } => {}
            Update::Finished { sample, generation } => finished[sample] = Some(generation),
            Update::Failed { prompt, error } => return Err(ApiError::model(&error, field.at(prompt))),
            Update::Done => return finished.into_iter().collect::<Option<_>>().ok_or_else(ApiError::gone),
        }
    }
    Err(ApiError::gone())
}
