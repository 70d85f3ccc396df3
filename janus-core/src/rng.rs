//! Random streams: one seed for a run, one stream for each purpose.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A random stream that depends on the run's `seed` and on `purpose` only, so that adding a draw in
/// one place never changes another.
///
/// ```
/// use rand::RngCore;
/// let mut a = janus_core::stream(1, "shuffle");
/// let mut b = janus_core::stream(1, "shuffle");
/// assert_eq!(a.next_u64(), b.next_u64());
/// assert_ne!(janus_core::stream(1, "init").next_u64(), janus_core::stream(1, "shuffle").next_u64());
/// ```
pub fn stream(seed: u64, purpose: &str) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(fnv1a(purpose.as_bytes()));
    rng
}

/// A seed for one part of a run: the first draw of [`stream`].
pub fn derive_seed(seed: u64, purpose: &str) -> u64 {
    stream(seed, purpose).next_u64()
}

/// FNV-1a, 64 bit: a fixed function, unlike the standard library's hashers.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv1a_has_the_published_values() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
