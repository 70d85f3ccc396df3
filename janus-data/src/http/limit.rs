//! A rate limiter: requests and tokens per minute.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Spaces requests evenly: each takes its share of a minute, by the number of requests and of tokens, before
/// the next may start.
#[derive(Debug)]
pub(super) struct Limiter {
    requests_per_minute: Option<u32>,
    tokens_per_minute: Option<u32>,
    next: Mutex<NextStart>,
}

/// When the next request may start, according to each limit.
#[derive(Debug)]
struct NextStart {
    requests: Instant,
    tokens: Instant,
    held: Instant,
}

impl Limiter {
    pub(super) fn new(requests_per_minute: Option<u32>, tokens_per_minute: Option<u32>) -> Self {
        let now = Instant::now();
        Self {
            requests_per_minute,
            tokens_per_minute,
            next: Mutex::new(NextStart { requests: now, tokens: now, held: now }),
        }
    }

    /// Prevents requests from starting for a while.
    pub(super) fn hold(&self, pause: Duration) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = Instant::now().checked_add(pause) {
            next.held = next.held.max(until);
        }
    }

    /// Starts a request now and returns zero, or the time until it may start.
    pub(super) fn start(&self, now: Instant, tokens: u64) -> Duration {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let at = next.requests.max(next.tokens).max(next.held);
        if at > now {
            return at - now;
        }
        const MINUTE: Duration = Duration::from_secs(60);
        if let Some(limit) = self.requests_per_minute {
            next.requests = now + MINUTE / limit;
        }
        if let Some(limit) = self.tokens_per_minute {
            next.tokens = now + MINUTE.mul_f64(tokens as f64 / f64::from(limit));
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Number of requests that start within a time span if one is tried at every millisecond.
    fn started(limiter: &Limiter, tokens: u64, milliseconds: u64) -> usize {
        let begin = Instant::now();
        (0..milliseconds)
            .filter(|ms| limiter.start(begin + Duration::from_millis(*ms), tokens).is_zero())
            .count()
    }

    #[test]
    fn a_minute_has_exactly_the_allowed_requests_and_tokens() {
        assert_eq!(started(&Limiter::new(None, None), 1000, 500), 500);
        assert_eq!(started(&Limiter::new(Some(600), None), 1000, 60_000), 600);
        assert_eq!(started(&Limiter::new(Some(600), Some(10_000)), 100, 60_000), 100);
        assert_eq!(started(&Limiter::new(Some(60), Some(1_000_000)), 100, 60_000), 60);
    }

    #[test]
    fn no_request_starts_while_held() {
        let limiter = Limiter::new(None, None);
        limiter.hold(Duration::from_secs(60));
        limiter.hold(Duration::from_secs(1));
        assert!(limiter.start(Instant::now() + Duration::from_secs(50), 1) > Duration::from_secs(9));
        assert!(limiter.start(Instant::now() + Duration::from_secs(61), 1).is_zero());
    }
}
