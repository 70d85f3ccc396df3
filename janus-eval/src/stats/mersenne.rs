//! The Mersenne Twister, for random draws that published numbers depend on.
//!
//! All other draws are from [`janus_core::stream`]. AlpacaEval decides with Python's generator which of
//! two answers the judge sees first, and LIBLINEAR's solver orders the coordinates with that of C++.

use sha2::{Digest as _, Sha512};

const N: usize = 624;
const M: usize = 397;

/// MT19937 (Matsumoto and Nishimura 1998, ACM Transactions on Modeling and Computer Simulation 8).
#[derive(Debug, Clone)]
pub(crate) struct Mt19937 {
    state: [u32; N],
    next: usize,
}

impl Mt19937 {
    /// The generator that `init_genrand` seeds with a number, like C++'s `std::mt19937`.
    pub(crate) fn new(seed: u32) -> Self {
        let mut state = [seed; N];
        for i in 1..N {
            let previous = state[i - 1];
            state[i] = 1_812_433_253_u32.wrapping_mul(previous ^ (previous >> 30)).wrapping_add(i as u32);
        }
        Self { state, next: N }
    }

    /// The generator that `init_by_array` seeds with a key.
    pub(crate) fn from_key(key: &[u32]) -> Self {
        let mut generator = Self::new(19_650_218);
        let state = &mut generator.state;
        let (mut i, mut j) = (1, 0);
        for _ in 0..N.max(key.len()) {
            let mixed = state[i] ^ (state[i - 1] ^ (state[i - 1] >> 30)).wrapping_mul(1_664_525);
            // An empty key counts as a key of 0.
            state[i] = mixed.wrapping_add(key.get(j).copied().unwrap_or(0)).wrapping_add(j as u32);
            (i, j) = (i + 1, j + 1);
            if i == N {
                state[0] = state[N - 1];
                i = 1;
            }
            if j >= key.len() {
                j = 0;
            }
        }
        for _ in 0..N - 1 {
            let mixed = state[i] ^ (state[i - 1] ^ (state[i - 1] >> 30)).wrapping_mul(1_566_083_941);
            state[i] = mixed.wrapping_sub(i as u32);
            i += 1;
            if i == N {
                state[0] = state[N - 1];
                i = 1;
            }
        }
        state[0] = 0x8000_0000;
        generator
    }

    /// The generator that Python 3 seeds with a string (`random.Random(text)`). The key is the text's
    /// UTF-8 followed by its SHA-512, read as one big-endian number and split into words, the least
    /// significant first.
    pub(crate) fn from_python_str(text: &str) -> Self {
        let mut bytes = text.as_bytes().to_vec();
        bytes.extend(Sha512::digest(text.as_bytes()));
        let mut key: Vec<u32> = bytes
            .rchunks(4)
            .map(|word| word.iter().fold(0, |value, &byte| value << 8 | u32::from(byte)))
            .collect();
        // A number has no leading zero words.
        while key.len() > 1 && key.last() == Some(&0) {
            key.pop();
        }
        Self::from_key(&key)
    }

    /// The next 32 bits.
    pub(crate) fn next_u32(&mut self) -> u32 {
        if self.next == N {
            self.twist();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// A number in 0..1 with 53 random bits: Python's `random()`.
    pub(crate) fn unit(&mut self) -> f64 {
        let (high, low) = (self.next_u32() >> 5, self.next_u32() >> 6);
        (f64::from(high) * f64::from(1_u32 << 26) + f64::from(low)) / (1_u64 << 53) as f64
    }

    /// A number below `n`, without bias (Lemire 2019, ACM Transactions on Modeling and Computer
    /// Simulation 29); 0 for `n` = 0.
    pub(crate) fn below(&mut self, n: u32) -> u32 {
        if n == 0 {
            return 0;
        }
        // 2^32 mod n. Products whose low half is below it are rejected, so that every value has equally
        // many.
        let least = n.wrapping_neg() % n;
        loop {
            let product = u64::from(self.next_u32()) * u64::from(n);
            if product as u32 >= least {
                return (product >> 32) as u32;
            }
        }
    }

    fn twist(&mut self) {
        for i in 0..N {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
            let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ odd;
        }
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strings_first_draw_matches_python() {
        // random.Random("janus").random() of Python 3.
        assert_eq!(Mt19937::from_python_str("janus").unit(), 0.22047967144754999);
    }

    #[test]
    fn the_ten_thousandth_draw_matches_the_cpp_standard() {
        // [rand.predef]: the 10000th draw of a default-constructed std::mt19937 (seed 5489) is
        // 4123659995.
        let mut generator = Mt19937::new(5489);
        for _ in 1..10_000 {
            generator.next_u32();
        }
        assert_eq!(generator.next_u32(), 4_123_659_995);
    }

    #[test]
    fn the_draws_of_a_key_match_the_authors_output() {
        // mt19937ar.out: init_by_array {0x123, 0x234, 0x345, 0x456}.
        let mut generator = Mt19937::from_key(&[0x123, 0x234, 0x345, 0x456]);
        let drawn: Vec<u32> = (0..5).map(|_| generator.next_u32()).collect();
        assert_eq!(drawn, [1_067_595_299, 955_945_823, 477_289_528, 4_107_218_783, 4_228_976_476]);
    }

    #[test]
    fn strings_seed_as_in_python() {
        // [random.Random(s).random() for s in ("", "a", "κόσμε", "x" * 200)], Python 3.11.
        let long = "x".repeat(200);
        let expected = [0.9602256525641875, 0.2720295377534757, 0.7488925283839762, 0.8500063097913054];
        for (text, expected) in ["", "a", "κόσμε", &long].into_iter().zip(expected) {
            assert_eq!(Mt19937::from_python_str(text).unit(), expected, "{text}");
        }
    }

    #[test]
    fn bounded_draws_reach_every_value_and_no_other() {
        let mut generator = Mt19937::new(1);
        let mut seen = [0; 5];
        (0..5_000).for_each(|_| seen[generator.below(5) as usize] += 1);
        assert!(seen.iter().all(|&count| (900..1_100).contains(&count)), "{seen:?}");
        assert_eq!((generator.below(1), generator.below(0)), (0, 0));
    }
}
