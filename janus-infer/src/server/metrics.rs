//! The metrics of a server, in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::SessionStats;

/// Upper bounds of the histograms' buckets, in seconds.
const BUCKETS: [f64; 12] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];
/// Weight of the newest response in the moving average of response times.
const NEWEST: f64 = 0.2;

/// Counters of a server.
#[derive(Default)]
pub(super) struct Metrics(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    /// By path and status.
    responses: BTreeMap<(&'static str, u16), u64>,
    connections: u64,
    cancelled: u64,
    first_text: Histogram,
    answered: Histogram,
    /// Moving average of the seconds from a request to its response.
    recent_seconds: f64,
    engine: SessionStats,
}

/// Counts an open connection until it is dropped.
pub(super) struct Connected(Arc<Metrics>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.counts().connections -= 1;
    }
}

#[derive(Default)]
struct Histogram {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    seconds: f64,
}

impl Histogram {
    fn observe(&mut self, seconds: f64) {
        self.count += 1;
        self.seconds += seconds;
        if let Some(bucket) = BUCKETS.iter().position(|&bound| seconds <= bound) {
            self.buckets[bucket] += 1;
        }
    }

    fn write(&self, out: &mut String, name: &str) {
        let mut below = 0;
        for (bound, count) in BUCKETS.iter().zip(self.buckets) {
            below += count;
            line(out, &format!("{name}_bucket{{le=\"{bound}\"}}"), below);
        }
        line(out, &format!("{name}_bucket{{le=\"+Inf\"}}"), self.count);
        line(out, &format!("{name}_sum"), self.seconds);
        line(out, &format!("{name}_count"), self.count);
    }
}

impl Metrics {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn responded(&self, path: &'static str, status: u16) {
        *self.counts().responses.entry((path, status)).or_default() += 1;
    }

    /// Counts a connection until the returned value is dropped.
    pub fn connection(self: &Arc<Self>) -> Connected {
        self.counts().connections += 1;
        Connected(Arc::clone(self))
    }

    /// Counts a client that disconnected before its response.
    pub fn cancelled(&self) {
        self.counts().cancelled += 1;
    }

    pub fn first_text(&self, after: Duration) {
        self.counts().first_text.observe(after.as_secs_f64());
    }

    pub fn answered(&self, after: Duration) {
        let (mut counts, seconds) = (self.counts(), after.as_secs_f64());
        let weight = if counts.answered.count == 0 { 1.0 } else { NEWEST };
        counts.recent_seconds += weight * (seconds - counts.recent_seconds);
        counts.answered.observe(seconds);
    }

    pub fn engine(&self, stats: SessionStats) {
        self.counts().engine = stats;
    }

    /// Requests that were answered.
    pub fn answers(&self) -> u64 {
        self.counts().answered.count
    }

    /// Estimated seconds until one of `places` places of the queue is free, if all are taken: 1 to 60.
    pub fn retry_after(&self, places: usize) -> u64 {
        (self.counts().recent_seconds / places.max(1) as f64).ceil().clamp(1.0, 60.0) as u64
    }

    /// All metrics as text; `places` is the size of the queue, and `taken` the number of places in use.
    pub fn text(&self, places: usize, taken: usize) -> String {
        let counts = self.counts();
        let SessionStats {
            waiting,
            running,
            cache_blocks,
            cache_blocks_limit,
            prompt_tokens,
            shared_tokens,
            generated_tokens,
            preemptions,
        } = counts.engine;
        let mut out = String::new();
        head(&mut out, "janus_responses_total", "counter", "Responses by path and status.");
        for ((path, status), count) in &counts.responses {
            line(&mut out, &format!("janus_responses_total{{path=\"{path}\",status=\"{status}\"}}"), count);
        }
        let mut one = |name: &str, kind: &str, help: &str, value: u64| {
            head(&mut out, name, kind, help);
            line(&mut out, name, value);
        };
        one("janus_connections", "gauge", "Open connections.", counts.connections);
        one("janus_queue_places", "gauge", "Requests that may wait or run.", places as u64);
        one("janus_queue_places_taken", "gauge", "Requests that wait or run.", taken as u64);
        one(
            "janus_requests_waiting",
            "gauge",
            "Requests with samples that have not started.",
            waiting as u64,
        );
        one("janus_sequences_running", "gauge", "Sequences that run.", running as u64);
        one("janus_cache_blocks", "gauge", "Blocks of the KV cache in memory.", cache_blocks as u64);
        one(
            "janus_cache_blocks_limit",
            "gauge",
            "The most blocks of the KV cache that may be in memory.",
            cache_blocks_limit as u64,
        );
        one("janus_prompt_tokens_total", "counter", "Prompt tokens that were prefilled.", prompt_tokens);
        let help = "Tokens that needed no prefill, because their keys and values were in the cache.";
        one("janus_prompt_tokens_shared_total", "counter", help, shared_tokens);
        one("janus_generated_tokens_total", "counter", "Tokens that were generated.", generated_tokens);
        one(
            "janus_preemptions_total",
            "counter",
            "Sequences that were preempted to free their cache for others.",
            preemptions,
        );
        one(
            "janus_requests_cancelled_total",
            "counter",
            "Requests whose client disconnected before the response.",
            counts.cancelled,
        );
        head(
            &mut out,
            "janus_first_text_seconds",
            "histogram",
            "Seconds from a request's arrival to its first text.",
        );
        counts.first_text.write(&mut out, "janus_first_text_seconds");
        head(
            &mut out,
            "janus_answer_seconds",
            "histogram",
            "Seconds from a request's arrival to its last token.",
        );
        counts.answered.write(&mut out, "janus_answer_seconds");
        out
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string does not fail.
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn line(out: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = writeln!(out, "{name} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_values_beyond_the_last_are_counted() {
        let metrics = Metrics::default();
        for seconds in [0.02, 0.5, 5000.0] {
            metrics.answered(Duration::from_secs_f64(seconds));
        }
        let text = metrics.text(4, 1);
        for expected in [
            "janus_answer_seconds_bucket{le=\"0.01\"} 0\n",
            "janus_answer_seconds_bucket{le=\"0.03\"} 1\n",
            "janus_answer_seconds_bucket{le=\"600\"} 2\n",
            "janus_answer_seconds_bucket{le=\"+Inf\"} 3\n",
            "janus_answer_seconds_sum 5000.52\n",
            "# TYPE janus_answer_seconds histogram\n",
            "janus_queue_places_taken 1\n",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
    }

    #[test]
    fn a_slow_server_suggests_longer_pauses() {
        let metrics = Metrics::default();
        assert_eq!(metrics.retry_after(8), 1);
        metrics.answered(Duration::from_secs(40));
        assert_eq!((metrics.retry_after(8), metrics.retry_after(1000), metrics.retry_after(0)), (5, 1, 40));
        metrics.answered(Duration::from_secs(4000));
        assert_eq!(metrics.retry_after(1), 60);
    }
}
