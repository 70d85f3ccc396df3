//! Dropout whose mask is computed from a key, so that the mask is never stored.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// Dropout of a tensor's elements (Srivastava et al., JMLR 15, 2014) with a counter-based generator:
/// whether element i is kept depends only on the key and on i. So a recomputed forward pass, or a
/// repeated step of a resumed run, has the same mask.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Probability that an element becomes 0: 0 or more, below 1.
    pub rate: f64,
    /// The key of the mask.
    pub key: u64,
}

impl Dropout {
    /// `x` with dropped elements set to 0. Kept elements are not scaled: the caller multiplies the
    /// result, or anything linear in it, by [`gain`](Self::gain), so that its expectation is that of
    /// `x`. Scaling here would be rounded in bf16 and bias the expectation.
    ///
    /// # Errors
    /// If candle fails.
    pub fn mask(&self, x: &Tensor) -> Result<Tensor> {
        let mask: Vec<u8> =
            (0..x.elem_count() as u64).into_par_iter().map(|i| u8::from(self.keeps(i))).collect();
        x * Tensor::from_vec(mask, x.shape(), x.device())?.to_dtype(x.dtype())?
    }

    /// 1 / (1 - rate).
    pub fn gain(&self) -> f64 {
        1.0 / (1.0 - self.rate)
    }

    /// Whether element `i` is kept: the i-th number of SplitMix64 (Steele et al., OOPSLA 2014) seeded
    /// with the key, as a fraction, is at least the rate.
    fn keeps(&self, i: u64) -> bool {
        let z = self.key.wrapping_add(i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64 >= self.rate
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn the_dropped_share_is_the_rate_and_kept_elements_are_unchanged() {
        let x = Tensor::full(3.0f32, (200, 500), &Device::Cpu).unwrap();
        let of = |rate, key| {
            Dropout { rate, key }.mask(&x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        for rate in [0.0, 0.05, 0.5, 0.9] {
            let kept = of(rate, 7);
            assert!(kept.iter().all(|&value| value == 0.0 || value == 3.0));
            let dropped = kept.iter().filter(|&&value| value == 0.0).count() as f64 / 1e5;
            // Six standard deviations.
            assert!(
                (dropped - rate).abs() <= 6.0 * (rate * (1.0 - rate) / 1e5).sqrt(),
                "{dropped} dropped, expected {rate}"
            );
        }
        assert_eq!(of(0.5, 7), of(0.5, 7));
        // Masks of neighbouring keys are independent: they agree on half of the elements.
        let same = of(0.5, 7).iter().zip(of(0.5, 8)).filter(|(a, b)| **a == *b).count() as f64 / 1e5;
        assert!((same - 0.5).abs() < 0.01, "{same}");
        let rounded = Dropout { rate: 0.5, key: 7 }.mask(&x.to_dtype(DType::BF16).unwrap()).unwrap();
        assert_eq!(
            rounded.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap(),
            of(0.5, 7)
        );
    }

    #[test]
    fn the_expectation_over_keys_is_the_input() {
        const KEYS: u64 = 20_000;
        let values = [0.5f32, -2.0, 1.0, 7.0];
        let x = Tensor::new(&values, &Device::Cpu).unwrap();
        let mut mean = [0.0f64; 4];
        for key in 0..KEYS {
            let dropout = Dropout { rate: 0.3, key };
            for (mean, value) in mean.iter_mut().zip(dropout.mask(&x).unwrap().to_vec1::<f32>().unwrap()) {
                *mean += f64::from(value) * dropout.gain() / KEYS as f64;
            }
        }
        for (mean, value) in mean.iter().zip(values.map(f64::from)) {
            // Five standard deviations of the mean: sqrt(rate / (1 - rate) / keys), in units of the value.
            let off = 5.0 * (0.3 / 0.7 / KEYS as f64).sqrt() * value.abs();
            assert!((mean - value).abs() < off, "{mean}, expected {value} within {off}");
        }
    }
}
