//! Usage, cost, and a budget that is never exceeded.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::RemoteError;

/// Prices per million tokens, in any currency.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Prices {
    /// The price of a million prompt tokens.
    pub prompt: f64,
    /// The price of a million generated tokens.
    pub completion: f64,
}

impl Prices {
    /// Prices of a million prompt tokens and of a million generated tokens.
    pub fn new(prompt: f64, completion: f64) -> Self {
        Self { prompt, completion }
    }

    /// The cost of these numbers of tokens.
    ///
    /// ```
    /// let prices = janus_infer::remote::Prices::new(10.0, 30.0);
    /// assert_eq!(prices.cost(1_000_000, 100_000), 13.0);
    /// ```
    pub fn cost(&self, prompt_tokens: u64, completion_tokens: u64) -> f64 {
        (prompt_tokens as f64 * self.prompt + completion_tokens as f64 * self.completion) / 1e6
    }
}

/// Requests, tokens and cost so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Usage {
    /// Requests to the model that were sent, including failed attempts.
    pub requests: u64,
    /// Prompt tokens.
    pub prompt_tokens: u64,
    /// Generated tokens.
    pub completion_tokens: u64,
    /// The cost of the tokens; 0 without prices. For a response that states no usage, the most that it
    /// can have cost is counted.
    pub cost: f64,
}

/// Tokens of one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tokens {
    pub prompt: u64,
    pub completion: u64,
}

#[derive(Debug)]
pub(super) struct Budget {
    prices: Option<Prices>,
    limit: Option<f64>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    usage: Usage,
    /// The most that all requests in flight can cost.
    reserved: f64,
    in_flight: usize,
}

impl Budget {
    pub(super) fn new(prices: Option<Prices>, limit: Option<f64>) -> Self {
        Self { prices, limit, state: Mutex::default(), changed: Condvar::new() }
    }

    pub(super) fn usage(&self) -> Usage {
        self.lock().usage
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves the most that a request can cost. It waits for requests in flight as long as they may
    /// turn out cheap enough.
    pub(super) fn reserve(&self, most: &Tokens) -> Result<Reserved<'_>, RemoteError> {
        let cost = self.prices.map_or(0.0, |prices| prices.cost(most.prompt, most.completion));
        let mut state = self.lock();
        if let Some(budget) = self.limit {
            while state.usage.cost + state.reserved + cost > budget {
                if state.in_flight == 0 || state.usage.cost + cost > budget {
                    return Err(RemoteError::Budget { spent: state.usage.cost, budget, cost });
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        state.reserved += cost;
        state.in_flight += 1;
        Ok(Reserved { budget: self, most: *most, cost, open: true })
    }
}

/// The reservation of a request in flight. If it is dropped, all of it counts as spent.
#[derive(Debug)]
pub(super) struct Reserved<'a> {
    budget: &'a Budget,
    most: Tokens,
    cost: f64,
    open: bool,
}

impl Reserved<'_> {
    /// The request was answered; `used` is `None` if the response states no usage.
    pub(super) fn settle(mut self, used: Option<&Tokens>) {
        self.close(1, Some(*used.unwrap_or(&self.most)));
    }

    /// The request cost nothing.
    pub(super) fn release(mut self) {
        self.close(1, None);
    }

    /// The request was not sent.
    pub(super) fn withdraw(mut self) {
        self.close(0, None);
    }

    fn close(&mut self, requests: u64, used: Option<Tokens>) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        let mut state = self.budget.lock();
        state.in_flight -= 1;
        // Sums of floats are not exact; with nothing in flight, nothing is reserved.
        state.reserved = if state.in_flight == 0 { 0.0 } else { state.reserved - self.cost };
        state.usage.requests += requests;
        if let Some(Tokens { prompt, completion }) = used {
            state.usage.prompt_tokens += prompt;
            state.usage.completion_tokens += completion;
            state.usage.cost += self.budget.prices.map_or(0.0, |prices| prices.cost(prompt, completion));
        }
        self.budget.changed.notify_all();
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.close(1, Some(self.most));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Tokens = Tokens { prompt: 100_000, completion: 100_000 };

    #[test]
    fn no_request_starts_that_could_go_beyond_the_budget() {
        let budget = Budget::new(Some(Prices { prompt: 10.0, completion: 30.0 }), Some(9.0));
        let (first, second) = (budget.reserve(&MOST).unwrap(), budget.reserve(&MOST).unwrap());
        first.settle(Some(&Tokens { prompt: 100_000, completion: 50_000 }));
        second.settle(None);
        assert_eq!(
            budget.usage(),
            Usage { requests: 2, prompt_tokens: 200_000, completion_tokens: 150_000, cost: 6.5 }
        );
        let error = budget.reserve(&MOST).unwrap_err();
        assert!(matches!(error, RemoteError::Budget { cost: 4.0, .. }), "{error}");
        budget.reserve(&Tokens { prompt: 1, completion: 1 }).unwrap().release();
        budget.reserve(&Tokens { prompt: 1, completion: 1 }).unwrap().withdraw();
        assert_eq!((budget.usage().cost, budget.usage().requests), (6.5, 3));
    }

    #[test]
    fn a_request_waits_if_those_in_flight_may_turn_out_cheaper() {
        let budget = Budget::new(Some(Prices { prompt: 10.0, completion: 30.0 }), Some(5.0));
        let first = budget.reserve(&MOST).unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| budget.reserve(&MOST).map(Reserved::release));
            first.release();
            second.join().unwrap().unwrap();
        });
    }
}
