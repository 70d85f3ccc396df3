//! Preference data: files, the Multifaceted Mini world, tokenisation with loss masks, packing.
#![forbid(unsafe_code)]

mod error;
mod tokenizer;

pub use error::{Error, Result};
pub use tokenizer::Tokenizer;
