//! Preference data: files, the Multifaceted Mini world, tokenisation with loss masks, packing.
#![forbid(unsafe_code)]

mod error;
pub mod mini;

pub use error::{Error, Result};
