//! Integration tests of training, checkpoints and resuming. They are one program, so that it is linked
//! only once.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod bf16;
mod checkpoints;
mod data_files;
mod dataset;
mod dialogues;
mod first_format;
#[path = "golden/main.rs"]
mod golden;
mod inference;
#[cfg(target_os = "linux")]
mod peak_memory;
mod recipe;
mod resume;
mod reward;
mod rope_scaling;
mod templates;
mod trainer;
