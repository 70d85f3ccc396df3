//! The order of the examples: which documents each step trains on.

use rand::seq::SliceRandom;

use crate::{Error, Result};

/// Shuffles the examples in every epoch and fills them greedily into micro-batches. The content of
/// micro-batch `i` depends only on the seed, the lengths and `i`, so there is no state to save.
pub struct BatchSampler {
    seed: u64,
    capacity: usize,
    /// Maximum examples of a micro-batch.
    examples: usize,
    /// Tokens of each example.
    lengths: Vec<usize>,
    /// The epoch of the last call, as a cache.
    last: Epoch,
}

#[derive(Default)]
struct Epoch {
    number: u64,
    /// Index of its first micro-batch in the run.
    start: u64,
    /// Examples of each of its micro-batches.
    micro_batches: Vec<Vec<usize>>,
}

impl BatchSampler {
    /// A sampler for examples of these lengths, in micro-batches of at most `capacity` tokens.
    ///
    /// # Errors
    /// [`Error::NoRows`]; [`Error::TooLong`] with the index, in `lengths`, of the first example that does not
    /// fit.
    pub fn new(seed: u64, capacity: usize, lengths: Vec<usize>) -> Result<Self> {
        if lengths.is_empty() {
            return Err(Error::NoRows);
        }
        if let Some(row) = lengths.iter().position(|&tokens| tokens > capacity) {
            return Err(Error::TooLong { row, tokens: lengths[row], capacity });
        }
        let mut sampler = Self { seed, capacity, examples: usize::MAX, lengths, last: Epoch::default() };
        sampler.last.micro_batches = sampler.fill(0);
        Ok(sampler)
    }

    /// Limits a micro-batch to `examples` examples.
    pub fn with_examples(mut self, examples: usize) -> Self {
        self.examples = examples.max(1);
        self.last = Epoch { number: 0, start: 0, micro_batches: self.fill(0) };
        self
    }

    /// The number of micro-batches in the first `epochs` epochs. A fractional epoch counts its share of
    /// micro-batches, rounded down.
    pub fn micro_batches(&self, epochs: f64) -> u64 {
        let whole: u64 = (0..epochs as u64).map(|epoch| self.fill(epoch).len() as u64).sum();
        match epochs.fract() {
            0.0 => whole,
            part => whole + (self.fill(epochs as u64).len() as f64 * part) as u64,
        }
    }

    /// The examples of micro-batch `index` of the run, and its epoch, both from 0.
    pub fn micro_batch(&mut self, index: u64) -> (u64, &[usize]) {
        if index < self.last.start {
            self.last = Epoch { number: 0, start: 0, micro_batches: self.fill(0) };
        }
        while index - self.last.start >= self.last.micro_batches.len() as u64 {
            let start = self.last.start + self.last.micro_batches.len() as u64;
            let number = self.last.number + 1;
            self.last = Epoch { number, start, micro_batches: self.fill(number) };
        }
        (self.last.number, &self.last.micro_batches[(index - self.last.start) as usize])
    }

    fn fill(&self, epoch: u64) -> Vec<Vec<usize>> {
        let mut examples: Vec<usize> = (0..self.lengths.len()).collect();
        examples.shuffle(&mut janus_core::stream(self.seed, &format!("order of epoch {epoch}")));
        let mut micro_batches: Vec<Vec<usize>> = Vec::new();
        let mut room = 0;
        for example in examples {
            let length = self.lengths[example];
            match micro_batches.last_mut() {
                Some(last) if length <= room && last.len() < self.examples => last.push(example),
                _ => {
                    micro_batches.push(vec![example]);
                    room = self.capacity;
                }
            }
            room -= length;
        }
        micro_batches
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_epoch_holds_every_example_once_within_capacity(seed: u64, lengths in prop::collection::vec(1usize..50, 1..60)) {
            let mut sampler = BatchSampler::new(seed, 50, lengths.clone()).unwrap();
            let mut seen: Vec<Vec<usize>> = vec![Vec::new(); 3];
            for index in 0.. {
                let (epoch, examples) = sampler.micro_batch(index);
                if epoch == 3 {
                    break;
                }
                prop_assert!(examples.iter().map(|&i| lengths[i]).sum::<usize>() <= 50);
                seen[epoch as usize].extend(examples);
            }
            for mut epoch in seen {
                epoch.sort_unstable();
                prop_assert_eq!(epoch, (0..lengths.len()).collect::<Vec<_>>());
            }
        }

        #[test]
        fn a_micro_batch_does_not_depend_on_earlier_calls(seed: u64, jumps in prop::collection::vec(0u64..40, 1..20)) {
            let lengths: Vec<usize> = (0..23).map(|i| 1 + i * 7 % 19).collect();
            let mut jumping = BatchSampler::new(seed, 30, lengths.clone()).unwrap();
            for index in jumps {
                let mut fresh = BatchSampler::new(seed, 30, lengths.clone()).unwrap();
                prop_assert_eq!(jumping.micro_batch(index), fresh.micro_batch(index));
            }
        }
    }

    #[test]
    fn micro_batches_respect_the_limit_of_examples() {
        let mut sampler = BatchSampler::new(1, 100, vec![1; 10]).unwrap().with_examples(4);
        assert_eq!((0..3).map(|i| sampler.micro_batch(i).1.len()).collect::<Vec<_>>(), [4, 4, 2]);
        assert_eq!((sampler.micro_batches(5.0), sampler.micro_batches(1.5)), (15, 4));
    }

    #[test]
    fn epochs_and_seeds_differ() {
        let run = |seed| {
            let mut sampler = BatchSampler::new(seed, 10, vec![5; 20]).unwrap();
            (0..20).map(|i| sampler.micro_batch(i).1.to_vec()).collect::<Vec<_>>()
        };
        assert_ne!(run(1), run(2));
        assert_ne!(run(1)[..10], run(1)[10..]);
    }

    #[test]
    fn an_example_that_no_micro_batch_can_hold_is_named() {
        assert!(matches!(
            BatchSampler::new(1, 10, vec![5, 11]),
            Err(Error::TooLong { row: 1, tokens: 11, capacity: 10 })
        ));
        assert!(matches!(BatchSampler::new(1, 10, vec![]), Err(Error::NoRows)));
    }
}
