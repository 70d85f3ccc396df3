//! Tests that run the commands as programs, and tests of the workspace's rules. They are one test
//! program, so that its dependencies are linked once.
#![expect(clippy::unwrap_used, reason = "a test may panic, and so may its helpers")]

mod architecture;
mod browser;
mod chat;
mod chromium;
mod commands;
mod data;
mod eval;
mod eval_paper;
mod generate;
mod generate_bench;
mod generate_old;
mod generate_service;
mod judge;
mod judge_folders;
mod pages;
mod reproduce;
#[cfg(unix)]
mod serve;
mod smollm2;
#[path = "../../janus-infer/tests/stub/mod.rs"]
mod stub;
mod tiny;
mod train;
mod verify_goldens;
