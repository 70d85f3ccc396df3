//! The 8-bit dynamic quantisation map for optimiser moments (Dettmers, arXiv 1511.04561, section 2.3,
//! with the tables of bitsandbytes). It covers seven decades below 1 and has more steps in the upper
//! ones.

use std::sync::LazyLock;

/// An f32 is shifted right by this to get its bucket: the exponent and the upper six bits of the
/// fraction.
const SHIFT: u32 = 17;
const BUCKETS: usize = 1 << (31 - SHIFT);

/// A table of 256 numbers from -1 or 0 to 1, with a fast search for the nearest.
pub(super) struct DynamicMap {
    values: [f32; 256],
    /// Midpoints between neighbours: the code of the value nearest to x is the number of midpoints below
    /// x.
    middles: [f32; 255],
    /// For each bucket of |x|, the code of the bucket's lower edge, its |x| closest to 0: one table for
    /// positive x and one for negative x.
    positive: Vec<u8>,
    negative: Vec<u8>,
}

/// For first moments.
pub(super) static SIGNED: LazyLock<DynamicMap> = LazyLock::new(|| DynamicMap::new(true));
/// For second moments.
pub(super) static UNSIGNED: LazyLock<DynamicMap> = LazyLock::new(|| DynamicMap::new(false));

impl DynamicMap {
    fn new(signed: bool) -> Self {
        let mut numbers = vec![0.0, 1.0];
        for decade in 0..7 {
            let steps = if signed { 1 << decade } else { 2 << decade };
            let scale = 10f64.powi(decade - 6);
            for step in 0..steps {
                // The middle of each of `steps` equal parts of 0.1..1.
                let number = scale * (0.1 + 0.9 * (f64::from(step) + 0.5) / f64::from(steps));
                numbers.push(number);
                if signed {
                    numbers.push(-number);
                }
            }
        }
        numbers.sort_by(f64::total_cmp);
        let values: [f32; 256] = std::array::from_fn(|i| numbers[i] as f32);
        let middles: [f32; 255] = std::array::from_fn(|i| ((numbers[i] + numbers[i + 1]) / 2.0) as f32);
        let nearest = |x: f32| middles.partition_point(|&middle| middle < x) as u8;
        let start = |bucket: usize| f32::from_bits((bucket as u32) << SHIFT);
        let finite = |x: f32| if x.is_finite() { x } else { f32::MAX };
        let positive = (0..BUCKETS).map(|bucket| nearest(finite(start(bucket)))).collect();
        let negative = (0..BUCKETS).map(|bucket| nearest(-finite(start(bucket)))).collect();
        Self { values, middles, positive, negative }
    }

    /// The number that a code represents.
    #[inline(always)]
    pub(super) fn value(&self, code: u8) -> f32 {
        self.values[usize::from(code)]
    }

    /// The code of the nearest number.
    #[inline(always)]
    pub(super) fn code(&self, x: f32) -> u8 {
        let bucket = ((x.to_bits() & 0x7fff_ffff) >> SHIFT) as usize;
        if x >= 0.0 {
            let mut code = self.positive[bucket];
            while code < 255 && self.middles[usize::from(code)] < x {
                code += 1;
            }
            code
        } else {
            let mut code = self.negative[bucket];
            while code > 0 && self.middles[usize::from(code) - 1] >= x {
                code -= 1;
            }
            code
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_bitsandbytes() {
        for (map, smallest) in [(&SIGNED, -0.992_968_75), (&UNSIGNED, 0.0)] {
            assert!(map.values.is_sorted() && map.values[255] == 1.0);
            assert!((map.values[0] - smallest).abs() < 1e-6, "{}", map.values[0]);
            assert!(map.values.contains(&0.0));
        }
        // The midpoint of the single step in the lowest decade, and of the two steps.
        assert!(
            SIGNED.values.contains(&5.5e-7) && UNSIGNED.values[1] == 3.25e-7 && UNSIGNED.values[2] == 7.75e-7
        );
    }

    #[test]
    fn the_fast_search_finds_the_nearest_number() {
        for map in [&SIGNED, &UNSIGNED] {
            for code in 0..=255 {
                assert_eq!(map.code(map.value(code)), code);
            }
            for i in -4000..=4000 {
                let x = (i as f32 / 4000.0).powi(3);
                let nearest = map.values.iter().map(|value| (value - x).abs()).fold(f32::INFINITY, f32::min);
                assert!(((map.value(map.code(x)) - x).abs() - nearest).abs() < 1e-9, "{x}");
            }
            assert_eq!(map.code(1e-30), map.code(0.0));
        }
    }
}
