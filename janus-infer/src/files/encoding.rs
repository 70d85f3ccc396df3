//! The encodings of weights in files: floats of two or four bytes, and the quantised types of GGUF.
//!
//! The layouts are those of ggml's `block_*` structs: Q4_0, Q4_1 and Q8_0 have blocks of 32 weights; the
//! K types have blocks of 256, whose parts have scales of their own.

use candle_core::quantized::GgmlDType;
use half::{bf16, f16};

/// Number of weights in a [`Stretch`].
const WEIGHTS: usize = 32;

/// The type of a tensor in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Encoding {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q4K,
    Q5K,
    Q6K,
    Q8_0,
}

/// 32 quantised weights: `codes[k] * scale[k / 16] + min`. Those of [`Encoding::Q6K`] are
/// `(codes[k] - 32) * scale[k / 16]`, and the codes of [`Encoding::Q8_0`] are signed.
pub(crate) struct Stretch {
    pub codes: [u8; WEIGHTS],
    pub scale: [f32; 2],
    pub min: f32,
}

impl Encoding {
    /// The encoding of a GGUF tensor; `None` for types that only candle decodes.
    pub(crate) fn of_ggml(dtype: GgmlDType) -> Option<Self> {
        Some(match dtype {
            GgmlDType::F32 => Self::F32,
            GgmlDType::F16 => Self::F16,
            GgmlDType::BF16 => Self::Bf16,
            GgmlDType::Q4_0 => Self::Q4_0,
            GgmlDType::Q4_1 => Self::Q4_1,
            GgmlDType::Q4K => Self::Q4K,
            GgmlDType::Q5K => Self::Q5K,
            GgmlDType::Q6K => Self::Q6K,
            GgmlDType::Q8_0 => Self::Q8_0,
            _ => return None,
        })
    }

    /// The number of weights in a block, and its size in bytes.
    fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q4_0 => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q8_0 => (32, 34),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
        }
    }

    /// Bytes of a row of `depth` weights.
    pub(crate) fn bytes(self, depth: usize) -> usize {
        let (weights, bytes) = self.block();
        depth / weights * bytes
    }

    /// The 32 weights from `32 * index` on of a row of a quantised type.
    pub(crate) fn stretch(self, row: &[u8], index: usize) -> Stretch {
        let (weights, bytes) = self.block();
        let parts = weights / WEIGHTS;
        let block = &row[index / parts * bytes..][..bytes];
        let part = index % parts;
        let half = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
        let nibbles = |codes: &[u8]| std::array::from_fn(|k| codes[k % 16] >> (k / 16 * 4) & 15);
        // Two parts share 32 bytes: one has the low and one the high four bits of each.
        let nibbles_k = |at: usize| -> [u8; WEIGHTS] {
            let codes = &block[at + part / 2 * 32..][..32];
            std::array::from_fn(|k| codes[k] >> (part % 2 * 4) & 15)
        };
        match self {
            Self::Q4_0 => Stretch { codes: nibbles(&block[2..]), scale: [half(0); 2], min: -8.0 * half(0) },
            Self::Q4_1 => Stretch { codes: nibbles(&block[4..]), scale: [half(0); 2], min: half(2) },
            Self::Q8_0 => {
                Stretch { codes: std::array::from_fn(|k| block[2 + k]), scale: [half(0); 2], min: 0.0 }
            }
            Self::Q4K | Self::Q5K => {
                let (scale, min) = scale_and_min(&block[4..16], part);
                let mut codes = nibbles_k(if self == Self::Q4K { 16 } else { 48 });
                if self == Self::Q5K {
                    codes
                        .iter_mut()
                        .zip(&block[16..48])
                        .for_each(|(code, bits)| *code |= (bits >> part & 1) << 4);
                }
                Stretch { codes, scale: [half(0) * f32::from(scale); 2], min: -(half(2) * f32::from(min)) }
            }
            Self::Q6K => {
                // Each half block of 128 weights has 64 bytes of low bits and 32 bytes of high bits. Its
                // four parts of 32 weights use the low four bits of the first and second 32 bytes, then
                // the high four bits.
                let (half_block, quarter) = (part / 4, part % 4);
                let low = &block[half_block * 64 + quarter % 2 * 32..][..32];
                let high = &block[128 + half_block * 32..][..32];
                let codes = std::array::from_fn(|k| {
                    low[k] >> (quarter / 2 * 4) & 15 | (high[k] >> (2 * quarter) & 3) << 4
                });
                let scale = |i: usize| half(208) * f32::from(block[192 + 2 * part + i].cast_signed());
                Stretch { codes, scale: [scale(0), scale(1)], min: 0.0 }
            }
            Self::F32 | Self::F16 | Self::Bf16 => Stretch { codes: [0; WEIGHTS], scale: [0.0; 2], min: 0.0 },
        }
    }

    /// Decodes a row's weights.
    pub(crate) fn decode(self, row: &[u8], out: &mut [f32]) {
        match self {
            Self::F32 => out
                .iter_mut()
                .zip(row.as_chunks().0)
                .for_each(|(out, &bytes)| *out = f32::from_le_bytes(bytes)),
            Self::F16 => out
                .iter_mut()
                .zip(row.as_chunks().0)
                .for_each(|(out, &bytes)| *out = f16::from_le_bytes(bytes).to_f32()),
            Self::Bf16 => out
                .iter_mut()
                .zip(row.as_chunks().0)
                .for_each(|(out, &bytes)| *out = bf16::from_le_bytes(bytes).to_f32()),
            quantised => {
                for (index, out) in out.chunks_exact_mut(WEIGHTS).enumerate() {
                    let Stretch { codes, scale, min } = quantised.stretch(row, index);
                    for (k, (out, code)) in out.iter_mut().zip(codes).enumerate() {
                        let scale = scale[k / 16];
                        *out = match quantised {
                            Self::Q6K => (f32::from(code) - 32.0) * scale,
                            Self::Q8_0 => f32::from(code.cast_signed()) * scale,
                            _ => f32::from(code).mul_add(scale, min),
                        };
                    }
                }
            }
        }
    }
}

/// The six-bit scale and minimum of a part of a Q4_K or Q5_K block; twelve bytes hold eight of each.
fn scale_and_min(bytes: &[u8], part: usize) -> (u8, u8) {
    if part < 4 {
        return (bytes[part] & 63, bytes[part + 4] & 63);
    }
    let scale = bytes[part + 4] & 15 | (bytes[part - 4] >> 6) << 4;
    let min = bytes[part + 4] >> 4 | (bytes[part] >> 6) << 4;
    (scale, min)
}

#[cfg(test)]
mod tests {
    use candle_core::quantized::QTensor;
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::support::{Tensors, goldens};

    /// Random weights, quantised by candle, are decoded here and by candle.
    #[test]
    fn every_gguf_type_is_decoded_as_by_candle() {
        use rand::Rng;
        let mut rng = janus_core::stream(5, "weights");
        let (rows, depth) = (6, 768);
        let weights: Vec<f32> = (0..rows * depth).map(|_| rng.random_range(-2.0..1.0)).collect();
        let weights = Tensor::from_vec(weights, (rows, depth), &Device::Cpu).unwrap();
        for dtype in [
            GgmlDType::F32,
            GgmlDType::F16,
            GgmlDType::BF16,
            GgmlDType::Q4_0,
            GgmlDType::Q4_1,
            GgmlDType::Q8_0,
            GgmlDType::Q4K,
            GgmlDType::Q5K,
            GgmlDType::Q6K,
        ] {
            let encoding = Encoding::of_ggml(dtype).unwrap();
            let quantised = QTensor::quantize(&weights, dtype).unwrap();
            let expected = quantised.dequantize(&Device::Cpu).unwrap().to_vec2::<f32>().unwrap();
            let bytes = quantised.data().unwrap();
            assert_eq!(bytes.len(), rows * encoding.bytes(depth), "{dtype:?}");
            for (row, expected) in bytes.chunks_exact(encoding.bytes(depth)).zip(&expected) {
                let mut got = vec![f32::NAN; depth];
                encoding.decode(row, &mut got);
                assert_eq!(&got, expected, "{dtype:?}");
            }
        }
        assert_eq!(Encoding::of_ggml(GgmlDType::Q2K), None);
    }

    /// Blocks and their numbers by llama.cpp's own Python package (`goldens/quantized.py`).
    #[test]
    fn blocks_read_as_in_the_gguf_package() {
        let tensors = Tensors::read(goldens().join("quantized.safetensors"));
        for (name, encoding) in [
            ("Q4_0", Encoding::Q4_0),
            ("Q4_1", Encoding::Q4_1),
            ("Q8_0", Encoding::Q8_0),
            ("Q4_K", Encoding::Q4K),
            ("Q5_K", Encoding::Q5K),
            ("Q6_K", Encoding::Q6K),
        ] {
            let (blocks, expected) =
                (tensors.bytes(&format!("{name}.blocks")), tensors.f32(&format!("{name}.values")));
            let depth = tensors.shape(&format!("{name}.values"))[1];
            assert_eq!((blocks.len(), expected.len()), (2 * encoding.bytes(depth), 2 * depth), "{name}");
            for (row, expected) in
                blocks.chunks_exact(encoding.bytes(depth)).zip(expected.chunks_exact(depth))
            {
                let mut got = vec![f32::NAN; depth];
                encoding.decode(row, &mut got);
                // One rounding more or less where a minimum is added.
                for (got, expected) in got.iter().zip(expected) {
                    assert!(
                        (got - expected).abs() <= 1e-6 * expected.abs().max(1.0),
                        "{name}: {got}, expected {expected}"
                    );
                }
            }
        }
    }
}
