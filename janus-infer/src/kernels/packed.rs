//! Packed weights: panels that keep the precision of the file and are decoded when they are used.
//!
//! A block is [`DECODED_ROWS`] rows of a panel, stored in [`Words`]. Lane `i` of every word belongs to
//! column `i`: first its scale and, for most types, a minimum, then the codes of several rows. A decoded
//! weight is `code * scale + min`, one fused multiply-add, which is bit for bit the definition of the
//! GGUF types. Blocks are stored in the order in which a product uses them, so that memory is read
//! sequentially.
//!
//! Codes become floats without a conversion instruction: a code's bits combined with the exponent of 2²³
//! are the float 2²³ + code. A code that is `n` bits further left is 2ⁿ times as large, and a scale
//! divided by 2ⁿ cancels that exactly.

#![expect(clippy::needless_range_loop, reason = "a copy or an adaptor stays a call (simd.rs)")]

use half::f16;
use pulp::Simd;

use crate::files::{Encoding, Matrix, Stretch};
use crate::kernels::matmul::{DECODED_ROWS, GROUP, Lanes, Panels};
use crate::kernels::prefetch::prefetch;
use crate::kernels::simd::LANES;

/// Words from the one in use to the one that is prefetched: 5 KiB, the fastest of 2.5 to 20 KiB with one
/// row and with eight.
const PREFETCH_DISTANCE: usize = 80;

/// 32 bits for each column of a panel.
type Words = [u32; LANES];

/// The weights of a matrix.
pub(crate) enum Packed {
    /// `f32`, of any depth: one panel after another.
    F32(Vec<Lanes>),
    /// Blocks, in groups of [`GROUP`] panels: the first blocks of all panels of the group, then the
    /// second ones.
    Coded(Code, Vec<Words>),
}

/// The format of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Code {
    /// Two `f16` in a word.
    F16,
    /// Two `bf16` in a word.
    Bf16,
    /// `f16` scale and minimum in a word; four bits for each weight (Q4_0, Q4_1).
    Four,
    /// `f32` scale and minimum; four bits for each weight (Q4_K).
    FourK,
    /// `f32` scale and minimum; four bits for each weight, then a fifth (Q5_K).
    Five,
    /// `f32` scales of the upper and the lower half; four bits for each weight, then two more (Q6_K).
    Six,
    /// `f32` scale; eight bits for each weight, offset by 128 (Q8_0).
    Eight,
}

impl Code {
    /// Number of words in a block.
    const fn words(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => DECODED_ROWS / 2,
            Self::Four => 1 + DECODED_ROWS / 8,
            Self::FourK => 2 + DECODED_ROWS / 8,
            Self::Five => 2 + DECODED_ROWS / 8 + 1,
            Self::Six => 2 + DECODED_ROWS / 8 + 2,
            Self::Eight => 1 + DECODED_ROWS / 4,
        }
    }
}

impl Matrix<'_> {
    /// The format that the matrix is packed in; matrices of the same format can share panels. `None`
    /// means `f32`, which is also used for a depth that is not a multiple of a block and for `f16`
    /// weights that are not finite.
    pub(crate) fn code(&self) -> Option<Code> {
        let halves = || self.bytes.as_chunks().0.iter().copied();
        match self.encoding {
            _ if !self.depth.is_multiple_of(DECODED_ROWS) => None,
            Encoding::F32 => None,
            Encoding::F16 => halves().all(|bytes| f16::from_le_bytes(bytes).is_finite()).then_some(Code::F16),
            Encoding::Bf16 => Some(Code::Bf16),
            Encoding::Q4_0 | Encoding::Q4_1 => Some(Code::Four),
            Encoding::Q4K => Some(Code::FourK),
            Encoding::Q5K => Some(Code::Five),
            Encoding::Q6K => Some(Code::Six),
            Encoding::Q8_0 => Some(Code::Eight),
        }
    }
}

impl Packed {
    /// Packs matrices of one depth and one format, concatenated along their rows. The last panel is
    /// padded with zeros.
    pub(crate) fn pack(code: Option<Code>, matrices: &[Matrix<'_>]) -> Self {
        let rows: usize = matrices.iter().map(|matrix| matrix.rows).sum();
        let (panels, depth) = (rows.div_ceil(LANES), matrices.first().map_or(0, |matrix| matrix.depth));
        let rows = matrices
            .iter()
            .flat_map(|matrix| (0..matrix.rows).map(move |row| (matrix.encoding, matrix.row(row))));
        let Some(code) = code else {
            let mut lanes = vec![[0.0; LANES]; panels * depth];
            let mut values = vec![0.0; depth];
            for (column, (encoding, row)) in rows.enumerate() {
                encoding.decode(row, &mut values);
                let panel = &mut lanes[column / LANES * depth..][..depth];
                panel.iter_mut().zip(&values).for_each(|(lanes, value)| lanes[column % LANES] = *value);
            }
            return Self::F32(lanes);
        };
        let blocks = depth / DECODED_ROWS;
        let mut words = vec![[0; LANES]; panels * blocks * code.words()];
        for (column, (encoding, row)) in rows.enumerate() {
            let (first, step) = block_order(column / LANES, panels, blocks);
            for index in 0..blocks {
                let block = &mut words[(first + index * step) * code.words()..][..code.words()];
                put(code, block, column % LANES, encoding, row, index);
            }
        }
        Self::Coded(code, words)
    }
}

/// The order of a panel's blocks among those of `panels` panels with `blocks` blocks each: the index of
/// its first block, and the distance to the next.
#[inline(always)]
fn block_order(panel: usize, panels: usize, blocks: usize) -> (usize, usize) {
    let group = panel / GROUP * GROUP;
    (group * blocks + panel % GROUP, GROUP.min(panels - group))
}

/// Stores the 32 weights from `32 * index` on of a row as a column of a block.
fn put(code: Code, block: &mut [Words], lane: usize, encoding: Encoding, row: &[u8], index: usize) {
    /// Packs codes of `bits` bits, `32 / bits` to a word.
    fn pack(words: &mut [Words], lane: usize, bits: usize, code: impl Fn(usize) -> u32) {
        let each = 32 / bits;
        for k in 0..DECODED_ROWS {
            words[k / each][lane] |= code(k) << (k % each * bits);
        }
    }
    if matches!(code, Code::F16 | Code::Bf16) {
        let (halves, _) = row[index * 2 * DECODED_ROWS..].as_chunks();
        return pack(block, lane, 16, |k| u32::from(u16::from_le_bytes(halves[k])));
    }
    let Stretch { codes, scale, min } = encoding.stretch(row, index);
    let nibbles = |k: usize| u32::from(codes[k] & 15);
    let half = |value: f32| u32::from(f16::from_f32(value).to_bits());
    match code {
        Code::F16 | Code::Bf16 => {}
        Code::Four => {
            block[0][lane] = half(scale[0]) | half(min) << 16;
            pack(&mut block[1..], lane, 4, nibbles);
        }
        Code::FourK | Code::Five => {
            (block[0][lane], block[1][lane]) = (scale[0].to_bits(), min.to_bits());
            pack(&mut block[2..], lane, 4, nibbles);
            if code == Code::Five {
                pack(&mut block[6..], lane, 1, |k| u32::from(codes[k] >> 4));
            }
        }
        Code::Six => {
            (block[0][lane], block[1][lane]) = (scale[0].to_bits(), scale[1].to_bits());
            pack(&mut block[2..], lane, 4, nibbles);
            pack(&mut block[6..], lane, 2, |k| u32::from(codes[k] >> 4));
        }
        Code::Eight => {
            block[0][lane] = scale[0].to_bits();
            pack(&mut block[1..], lane, 8, |k| u32::from(codes[k] ^ 0x80));
        }
    }
}

/// Some consecutive panels of [`Packed`] weights.
#[derive(Clone, Copy)]
pub(crate) struct PackedPanels<'a> {
    pub packed: &'a Packed,
    pub depth: usize,
    /// Number of panels of all the weights.
    pub panels: usize,
    pub first: usize,
    pub count: usize,
}

impl Panels for PackedPanels<'_> {
    #[inline(always)]
    fn count(self) -> usize {
        self.count
    }

    #[inline(always)]
    fn decoded(self) -> bool {
        matches!(self.packed, Packed::Coded(..))
    }

    #[inline(always)]
    fn rows<'a, S: Simd>(self, simd: S, panel: usize, from: usize, buffer: &'a mut [Lanes]) -> &'a [Lanes]
    where
        Self: 'a,
    {
        let panel = self.first + panel;
        match self.packed {
            Packed::F32(lanes) => return &lanes[panel * self.depth + from..][..buffer.len()],
            Packed::Coded(code, words) => {
                let (first, step) = block_order(panel, self.panels, self.depth / DECODED_ROWS);
                let mut at = first + from / DECODED_ROWS * step;
                for out in buffer.as_chunks_mut().0 {
                    let start = at * code.words();
                    let block = &words[start..][..code.words()];
                    if let Some(later) =
                        words.get(start + PREFETCH_DISTANCE..start + PREFETCH_DISTANCE + code.words())
                    {
                        for word in later {
                            prefetch(word);
                        }
                    }
                    at += step;
                    decode(simd, *code, block, out);
                }
            }
        }
        buffer
    }
}

/// Decodes a block.
#[inline(always)]
fn decode<S: Simd>(simd: S, code: Code, block: &[Words], out: &mut [Lanes; DECODED_ROWS]) {
    for register in 0..LANES / S::F32_LANES {
        let mut columns = Columns { simd, register, out: &mut *out };
        match (code, block) {
            (Code::F16, _) => columns.halves_f16(block),
            (Code::Bf16, _) => columns.halves_bf16(block),
            (Code::Four, [scales, codes @ ..]) => columns.four(scales, codes),
            (Code::FourK, [scale, min, codes @ ..]) => columns.four_k(scale, min, codes),
            (Code::Five, [scale, min, codes @ .., fifth]) => columns.five(scale, min, codes, fifth),
            (Code::Six, [upper, lower, codes @ .., first, second]) => {
                columns.six(upper, lower, codes, [first, second])
            }
            (Code::Eight, [scale, codes @ ..]) => columns.eight(scale, codes),
            _ => {}
        }
    }
}

/// The bits of the float 2²³, whose last bit of mantissa stands for 1.
const EXPONENT: u32 = (23 + 127) << 23;
const TWO_TO_23: f32 = 8_388_608.0;

/// The columns of a block that one register holds.
struct Columns<'a, S> {
    simd: S,
    register: usize,
    out: &'a mut [Lanes; DECODED_ROWS],
}

impl<S: Simd> Columns<'_, S> {
    #[inline(always)]
    fn word(&self, words: &Words) -> S::u32s {
        S::as_simd_u32s(words).0[self.register]
    }

    #[inline(always)]
    fn float(&self, words: &Words) -> S::f32s {
        self.simd.transmute_f32s_u32s(self.word(words))
    }

    #[inline(always)]
    fn set(&mut self, row: usize, values: S::f32s) {
        S::as_mut_simd_f32s(&mut self.out[row]).0[self.register] = values;
    }

    #[inline(always)]
    fn and(&self, words: S::u32s, mask: u32) -> S::u32s {
        self.simd.and_u32s(words, self.simd.splat_u32s(mask))
    }

    #[inline(always)]
    fn right(&self, words: S::u32s, bits: usize) -> S::u32s {
        if bits == 0 {
            words
        } else {
            self.simd.wrapping_dyn_shr_u32s(words, self.simd.splat_u32s(bits as u32))
        }
    }

    #[inline(always)]
    fn left(&self, words: S::u32s, bits: usize) -> S::u32s {
        self.simd.wrapping_dyn_shl_u32s(words, self.simd.splat_u32s(bits as u32))
    }

    #[inline(always)]
    fn times(&self, values: S::f32s, factor: f32) -> S::f32s {
        self.simd.mul_f32s(values, self.simd.splat_f32s(factor))
    }

    /// Codes below 2²³ as floats, minus `zero`.
    #[inline(always)]
    fn numbers(&self, codes: S::u32s, zero: f32) -> S::f32s {
        let simd = self.simd;
        let shifted = simd.transmute_f32s_u32s(simd.or_u32s(codes, simd.splat_u32s(EXPONENT)));
        simd.sub_f32s(shifted, simd.splat_f32s(TWO_TO_23 + zero))
    }

    /// Finite `f16` in the low halves of words. A product corrects the bias of the exponent, exactly,
    /// for subnormal numbers too.
    #[inline(always)]
    fn f16(&self, words: S::u32s) -> S::f32s {
        const TWO_TO_112: f32 = f32::from_bits((112 + 127) << 23);
        let simd = self.simd;
        let magnitude = simd.transmute_f32s_u32s(self.left(self.and(words, 0x7fff), 13));
        let sign = self.left(self.and(words, 0x8000), 16);
        simd.transmute_f32s_u32s(
            simd.or_u32s(simd.transmute_u32s_f32s(self.times(magnitude, TWO_TO_112)), sign),
        )
    }

    #[inline(always)]
    fn halves_f16(&mut self, block: &[Words]) {
        for i in 0..block.len() {
            let words = self.word(&block[i]);
            self.set(2 * i, self.f16(words));
            self.set(2 * i + 1, self.f16(self.right(words, 16)));
        }
    }

    #[inline(always)]
    fn halves_bf16(&mut self, block: &[Words]) {
        for i in 0..block.len() {
            let words = self.word(&block[i]);
            self.set(2 * i, self.simd.transmute_f32s_u32s(self.left(words, 16)));
            self.set(2 * i + 1, self.simd.transmute_f32s_u32s(self.and(words, 0xffff_0000)));
        }
    }

    #[inline(always)]
    fn four(&mut self, scales: &Words, codes: &[Words]) {
        let scales = self.word(scales);
        let (scale, min) = (self.f16(scales), self.f16(self.right(scales, 16)));
        self.nibbles(scale, min, codes);
    }

    #[inline(always)]
    fn four_k(&mut self, scale: &Words, min: &Words, codes: &[Words]) {
        self.nibbles(self.float(scale), self.float(min), codes);
    }

    #[inline(always)]
    fn nibbles(&mut self, scale: S::f32s, min: S::f32s, codes: &[Words]) {
        let mut scales = [scale; 5];
        for i in 1..5 {
            scales[i] = self.times(scales[i - 1], 1.0 / 16.0);
        }
        for i in 0..codes.len() {
            let low = self.word(&codes[i]);
            // The other three codes would overlap the exponent.
            let high = self.right(low, 20);
            for j in 0..5 {
                let number = self.numbers(self.and(low, 15 << (4 * j)), 0.0);
                self.set(8 * i + j, self.simd.mul_add_e_f32s(number, scales[j], min));
            }
            for j in 0..3 {
                let number = self.numbers(self.and(high, 15 << (4 * j)), 0.0);
                self.set(8 * i + 5 + j, self.simd.mul_add_e_f32s(number, scales[j], min));
            }
        }
    }

    /// The low four bits of a row's codes.
    #[inline(always)]
    fn nibble(&self, codes: &[Words], row: usize) -> S::u32s {
        self.and(self.right(self.word(&codes[row / 8]), 4 * (row % 8)), 15)
    }

    #[inline(always)]
    fn five(&mut self, scale: &Words, min: &Words, codes: &[Words], fifth: &Words) {
        let (scale, min, fifth) = (self.float(scale), self.float(min), self.word(fifth));
        for row in 0..DECODED_ROWS {
            let bit = self.left(self.and(self.right(fifth, row), 1), 4);
            let number = self.numbers(self.simd.or_u32s(self.nibble(codes, row), bit), 0.0);
            self.set(row, self.simd.mul_add_e_f32s(number, scale, min));
        }
    }

    #[inline(always)]
    fn six(&mut self, upper: &Words, lower: &Words, codes: &[Words], high: [&Words; 2]) {
        let scales = [self.float(upper), self.float(lower)];
        for row in 0..DECODED_ROWS {
            let bits = self.left(self.and(self.right(self.word(high[row / 16]), 2 * (row % 16)), 3), 4);
            let number = self.numbers(self.simd.or_u32s(self.nibble(codes, row), bits), 32.0);
            self.set(row, self.simd.mul_f32s(number, scales[row / 16]));
        }
    }

    #[inline(always)]
    fn eight(&mut self, scale: &Words, codes: &[Words]) {
        let scale = self.float(scale);
        let scales = [scale, self.times(scale, 1.0 / 256.0)];
        for i in 0..codes.len() {
            let low = self.word(&codes[i]);
            let parts = [low, self.right(low, 16)];
            for j in 0..4 {
                let number =
                    self.numbers(self.and(parts[j / 2], 255 << (8 * (j % 2))), [128.0, 128.0 * 256.0][j % 2]);
                self.set(4 * i + j, self.simd.mul_f32s(number, scales[j % 2]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::RngCore as _;

    use super::*;
    use crate::files::Bytes;
    use crate::kernels::simd::simd_fn;

    simd_fn! {
        fn decoded<'a>(simd, panels: PackedPanels<'a>, out: &'a mut [Lanes]) {
            panels.rows(simd, 0, 0, out);
        }
    }

    /// The rows of packed panels equal what the encoding decodes, bit for bit.
    #[test]
    fn packed_weights_decode_to_the_same_bits() {
        let mut rng = janus_core::stream(7, "weights");
        for encoding in [
            Encoding::F32,
            Encoding::F16,
            Encoding::Bf16,
            Encoding::Q4_0,
            Encoding::Q4_1,
            Encoding::Q4K,
            Encoding::Q5K,
            Encoding::Q6K,
            Encoding::Q8_0,
        ] {
            let (rows, depth) = (LANES, 512);
            let mut bytes = vec![0; rows * encoding.bytes(depth)];
            rng.fill_bytes(&mut bytes);
            // Numbers of any magnitude, subnormal ones too, but all finite.
            for half in bytes.as_chunks_mut::<2>().0 {
                half[1] &= 0xbb;
            }
            let matrix = Matrix { encoding, rows, depth, bytes: Bytes::Owned(bytes), order: None };
            let code = matrix.code();
            assert_eq!(code.is_none(), encoding == Encoding::F32);
            let packed = Packed::pack(code, std::slice::from_ref(&matrix));
            let mut buffer = vec![[0.0; LANES]; depth];
            let panels = PackedPanels { packed: &packed, depth, panels: 1, first: 0, count: 1 };
            decoded(panels, &mut buffer);
            let buffer = if panels.decoded() {
                buffer
            } else {
                let Packed::F32(lanes) = packed else { unreachable!() };
                lanes
            };
            for row in 0..rows {
                let mut expected = vec![0.0; depth];
                encoding.decode(matrix.row(row), &mut expected);
                for (k, (expected, lanes)) in expected.iter().zip(&buffer).enumerate() {
                    let got = lanes[row];
                    assert!(
                        got.to_bits() == expected.to_bits() || (got == 0.0 && *expected == 0.0),
                        "{encoding:?} {row} {k}: {got} {expected}"
                    );
                }
            }
        }
    }
}
