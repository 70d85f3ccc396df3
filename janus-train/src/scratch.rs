//! A pool of reusable work buffers. A reused buffer needs no new page faults and is not cleared.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Freed buffers, shortest first. Each keeps its full length, so that taking one writes nothing.
static POOL: Mutex<Vec<Vec<f32>>> = Mutex::new(Vec::new());

/// Maximum buffers in the pool; a training step uses a few for each layer.
const KEPT: usize = 256;

/// `len` numbers of **unspecified value** (left by the previous user). It returns to the pool on drop.
pub(crate) struct Scratch {
    buffer: Vec<f32>,
    len: usize,
}

impl Scratch {
    /// A short-lived buffer of `len` numbers. A pooled buffer of up to twice the size is used; larger
    /// ones are left for larger requests.
    pub(crate) fn new(len: usize) -> Self {
        Self::of_at_most(len, 2 * len)
    }

    /// A buffer of `len` numbers that is kept from the forward pass to the backward pass. There are
    /// several for each layer, so unused space would add up: a pooled buffer may be at most an eighth
    /// larger.
    pub(crate) fn saved(len: usize) -> Self {
        Self::of_at_most(len, len + len / 8)
    }

    fn of_at_most(len: usize, most: usize) -> Self {
        let least = len.next_multiple_of(1024);
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        let fit = pool.partition_point(|buffer| buffer.len() < len);
        let buffer = if pool.get(fit).is_some_and(|buffer| buffer.len() <= most.max(least)) {
            Some(pool.remove(fit))
        } else {
            None
        };
        drop(pool);
        Self { buffer: buffer.unwrap_or_else(|| vec![0.0; least]), len }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        let at = pool.partition_point(|buffer| buffer.len() < self.buffer.len());
        pool.insert(at, std::mem::take(&mut self.buffer));
        if pool.len() > KEPT {
            pool.remove(0);
        }
    }
}

impl Deref for Scratch {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.buffer[..self.len]
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.buffer[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_has_the_requested_length_whatever_it_was_before() {
        drop(Scratch::new(5000));
        for len in [0, 1, 1024, 4999, 5000, 5001] {
            assert_eq!(Scratch::new(len).len(), len);
            assert_eq!(Scratch::saved(len).len(), len);
        }
    }

    #[test]
    fn saved_buffers_waste_little() {
        for len in [1_000_001, 1_500_003, 1_900_000] {
            drop(Scratch::new(len));
        }
        for len in [1_000_000, 1_200_000, 1_880_000] {
            assert!(Scratch::saved(len).buffer.len() <= len + len / 8 + 1024);
        }
    }
}
