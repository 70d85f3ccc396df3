//! The provenance of a result: the revision of the code, the machine and the time. It is part of the record
//! beside a result, never of the result itself, so that equal runs give equal bytes.
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

/// The state of a git checkout; each field is `None` without git or outside a checkout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Revision {
    /// The commit, 40 hex digits.
    pub revision: Option<String>,
    /// Whether files differ from the commit.
    pub changed: Option<bool>,
}

impl Revision {
    /// The revision of the checkout that contains the working directory.
    pub fn of_checkout() -> Self {
        let git = |arguments: &[&str]| {
            let output =
                Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
            Some(String::from_utf8_lossy(&output.stdout).trim().to_string())
        };
        Self {
            revision: git(&["rev-parse", "HEAD"]),
            changed: git(&["status", "--porcelain"]).map(|status| !status.is_empty()),
        }
    }
}

/// The machine that a process runs on.
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
    /// The machine of this process.
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
