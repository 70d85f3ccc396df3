//! Where a result comes from: the code's revision, the machine, the time. They stand in the record beside a result, never in
//! the result: equal runs give equal bytes.
//!
//! ```
//! use janus_data::provenance::{Machine, Revision, unix_seconds};
//!
//! let record = serde_json::json!({
//!     "git": Revision::of_checkout(),
//!     "machine": Machine::this(),
//!     "ended": unix_seconds(std::time::SystemTime::now()),
//! });
//! assert!(record["machine"]["threads"].as_u64() >= Some(1));
//! ```

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The state of a git checkout; each field is `None` where there is no git or no checkout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Revision {
    /// The commit, 40 hex digits.
    pub revision: Option<String>,
    /// Whether files differ from it.
    pub changed: Option<bool>,
}

impl Revision {
    /// That of the checkout in which the process runs: of its working directory.
    pub fn of_checkout() -> Self {
        let git = |arguments: &[&str]| {
            let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
            Some(String::from_utf8_lossy(&output.stdout).trim().to_string())
        };
        Self { revision: git(&["rev-parse", "HEAD"]), changed: git(&["status", "--porcelain"]).map(|status| !status.is_empty()) }
    }
}

/// What a process runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Machine {
    /// The operating system: `linux`, `macos`, `windows`.
    pub os: String,
    /// The processor's architecture: `x86_64`, `aarch64`.
    pub arch: String,
    /// Threads that can run at the same time.
    pub threads: usize,
}

impl Machine {
    /// The one that this process runs on.
    pub fn this() -> Self {
        Self {
            os: std::env::consts::OS.into(),
            arch: std::env::consts::ARCH.into(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// Seconds from the start of 1970 (UTC) to a time; 0 for an earlier one.
pub fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
