//! A weight matrix, packed for [`product`], and its product with rows of activations.

use std::cell::RefCell;

use crate::files::Matrix;
use crate::kernels::crew::Crew;
use crate::kernels::matmul::{DECODED_ROWS, GROUP, Lanes, Panels, Rows, TILE_ROWS, Work, product};
use crate::kernels::packed::{Packed, PackedPanels};
use crate::kernels::simd::{LANES, simd_fn};

/// Multiply-adds below which a second thread costs more than it saves.
const WORTH_SPLITTING: usize = 1 << 18;

/// Pieces of a product per thread, so that other threads can take over from one that is delayed.
const PIECES: usize = 4;

thread_local! {
    static WORK: RefCell<Work> = RefCell::default();
}

/// `out = x Wᵀ` with `W` of shape `[columns, depth]`, as checkpoints store it.
pub(crate) struct Linear {
    depth: usize,
    columns: usize,
    parts: Vec<Part>,
}

/// Consecutive columns that are packed in the same format.
struct Part {
    /// The first column.
    start: usize,
    columns: usize,
    packed: Packed,
}

/// Whether a product replaces the output or is added to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accumulate {
    Replace,
    Add,
}

impl Linear {
    /// Packs matrices that have the same input, concatenated along their rows.
    pub(crate) fn pack(matrices: &[Matrix<'_>]) -> Self {
        let mut parts = Vec::new();
        let mut columns = 0;
        let codes: Vec<_> = matrices.iter().map(Matrix::code).collect();
        let mut rest = matrices;
        for codes in codes.chunk_by(|a, b| a == b) {
            let (alike, others) = rest.split_at(codes.len());
            rest = others;
            let rows = alike.iter().map(|matrix| matrix.rows).sum();
            let part = Part { start: columns, columns: rows, packed: Packed::pack(codes[0], alike) };
            columns += part.columns;
            parts.push(part);
        }
        Self { depth: matrices.first().map_or(0, |matrix| matrix.depth), columns, parts }
    }

    /// Copies row `row` of `W` to `out`: an embedding lookup.
    pub(crate) fn copy_row(&self, row: usize, out: &mut [f32]) {
        let Some(part) = self.parts.iter().rfind(|part| part.start <= row) else { return };
        let (panel, lane) = ((row - part.start) / LANES, (row - part.start) % LANES);
        copy_column(part.panels(self.depth, panel, 1), lane, out);
    }

    /// Multiplies the rows of `x`, `[rows, depth]`, into `out`, `[rows, columns]`.
    pub(crate) fn apply(&self, x: &[f32], out: &mut [f32], accumulate: Accumulate, crew: &Crew) {
        let (depth, columns) = (self.depth, self.columns);
        let (rows, workers) = (x.len() / depth, crew.threads());
        if workers == 1 || rows * depth * columns < WORTH_SPLITTING {
            self.multiply(x, out, accumulate);
        } else if rows >= 4 * TILE_ROWS * workers {
            // With this many rows each thread is bound by arithmetic, not by reading the weights.
            let share = rows.div_ceil(workers).next_multiple_of(TILE_ROWS);
            let parts = x.chunks(share * depth).zip(out.chunks_mut(share * columns));
            crew.for_each(parts.collect(), |(x, out)| self.multiply(x, out, accumulate));
        } else {
            self.multiply_by_columns(x, out, accumulate, crew);
        }
    }

    /// Multiplies on one thread.
    fn multiply(&self, x: &[f32], out: &mut [f32], accumulate: Accumulate) {
        for part in &self.parts {
            let panels = part.panels(self.depth, 0, part.columns.div_ceil(LANES));
            multiply(
                x,
                self.depth,
                panels,
                Out { columns: part.columns, rows: &mut out[part.start..], stride: self.columns, accumulate },
            );
        }
    }

    /// Splits the product by columns: each thread reads its own part of the weights.
    fn multiply_by_columns(&self, x: &[f32], out: &mut [f32], accumulate: Accumulate, crew: &Crew) {
        let (depth, rows) = (self.depth, x.len() / self.depth);
        let shares = self.parts.iter().flat_map(|part| {
            let count = part.columns.div_ceil(LANES);
            let share = count.div_ceil(PIECES * crew.threads()).next_multiple_of(GROUP / 2);
            (0..count).step_by(share).map(move |first| {
                let columns = (part.columns - first * LANES).min(share * LANES);
                (part.start + first * LANES, columns, part.panels(depth, first, columns.div_ceil(LANES)))
            })
        });
        if rows == 1 {
            let mut rest = out;
            let shares = shares.map(|(_, columns, panels)| {
                let (out, after) = std::mem::take(&mut rest).split_at_mut(columns);
                rest = after;
                (columns, panels, out)
            });
            crew.for_each(shares.collect(), |(columns, panels, rows)| {
                multiply(x, depth, panels, Out { columns, rows, stride: columns, accumulate })
            });
            return;
        }
        // The columns of a share are not contiguous in `out`, so they go through a buffer, which is
        // small because there are few rows.
        let mut parts: Vec<_> = shares
            .map(|(start, columns, panels)| (start, columns, panels, vec![0f32; rows * columns]))
            .collect();
        crew.for_each(parts.iter_mut().collect(), |(_, columns, panels, part)| {
            multiply(
                x,
                depth,
                *panels,
                Out { columns: *columns, rows: part, stride: *columns, accumulate: Accumulate::Replace },
            );
        });
        for (start, columns, _, part) in parts {
            for (row, part) in part.chunks_exact(columns).enumerate() {
                put(&mut out[row * self.columns + start..][..columns], part, accumulate);
            }
        }
    }
}

impl Part {
    fn panels(&self, depth: usize, first: usize, count: usize) -> PackedPanels<'_> {
        PackedPanels { packed: &self.packed, depth, panels: self.columns.div_ceil(LANES), first, count }
    }
}

simd_fn! {
    /// Copies a column of the first panel.
    fn copy_column<'a>(simd, panels: PackedPanels<'a>, lane: usize, out: &'a mut [f32]) {
        let mut buffer = [[0.0; LANES]; DECODED_ROWS];
        for (i, out) in out.chunks_mut(DECODED_ROWS).enumerate() {
            let lanes = panels.rows(simd, 0, i * DECODED_ROWS, &mut buffer[..out.len()]);
            for row in 0..out.len() {
                out[row] = lanes[row][lane];
            }
        }
    }
}

/// The output of a product: row `i` of `columns` elements goes to `rows[i * stride..]`.
struct Out<'a> {
    columns: usize,
    rows: &'a mut [f32],
    stride: usize,
    accumulate: Accumulate,
}

/// `out = x Wᵀ` on one thread; the last panel may have more lanes than there are columns left.
fn multiply(x: &[f32], depth: usize, panels: PackedPanels<'_>, out: Out<'_>) {
    WORK.with_borrow_mut(|work| multiply_with(x, depth, panels, out, work));
}

simd_fn! {
    fn multiply_with<'a>(simd, x: &'a [f32], depth: usize, panels: PackedPanels<'a>, out: Out<'a>, work: &'a mut Work) {
        let Out { columns, rows: out, stride, accumulate } = out;
        let rows = Rows { data: x, stride: depth, rows: x.len() / depth, depth };
        product(simd, rows, panels, work, |row, p, sums: &Lanes| {
            let width = (columns - p * LANES).min(LANES);
            put(&mut out[row * stride + p * LANES..][..width], &sums[..width], accumulate);
        });
    }
}

#[inline(always)]
fn put(out: &mut [f32], sums: &[f32], accumulate: Accumulate) {
    let sums = &sums[..out.len()];
    for i in 0..out.len() {
        out[i] = match accumulate {
            Accumulate::Replace => sums[i],
            Accumulate::Add => out[i] + sums[i],
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::files::{Bytes, Encoding};

    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        use rand::Rng;
        let mut rng = janus_core::stream(seed, "numbers");
        (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    /// The reference: one chain of fused multiply-adds for each element.
    fn naive(x: &[f32], w: &[f32], depth: usize) -> Vec<f32> {
        let dot = |x: &[f32], w: &[f32]| x.iter().zip(w).fold(0f32, |sum, (x, w)| x.mul_add(*w, sum));
        x.chunks(depth).flat_map(|x| w.chunks(depth).map(|w| dot(x, w)).collect::<Vec<_>>()).collect()
    }

    fn matrix(values: &[f32], depth: usize) -> Matrix<'static> {
        let bytes = Bytes::Owned(values.iter().flat_map(|value| value.to_le_bytes()).collect());
        Matrix { encoding: Encoding::F32, rows: values.len() / depth, depth, bytes, order: None }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// Bit for bit, for any number of rows and columns, on one thread and on all.
        #[test]
        fn every_element_is_one_chain_of_multiply_adds(rows in 1usize..130, columns in 1usize..200, depth in 1usize..80, seed: u64) {
            let (x, w) = (numbers(rows * depth, seed), numbers(columns * depth, seed ^ 1));
            let linear = Linear::pack(&[matrix(&w, depth)]);
            let expected = naive(&x, &w, depth);
            let product = |crew: &Crew| {
                let (mut out, mut twice) = (vec![f32::NAN; rows * columns], expected.clone());
                linear.apply(&x, &mut out, Accumulate::Replace, crew);
                linear.apply(&x, &mut twice, Accumulate::Add, crew);
                (out, twice)
            };
            let twice: Vec<f32> = expected.iter().map(|one| one + one).collect();
            for (got, got_twice) in [product(&Crew::alone()), Crew::of_all(product)] {
                prop_assert_eq!(&got, &expected);
                prop_assert_eq!(&got_twice, &twice);
            }
        }
    }

    #[test]
    fn matrices_packed_together_keep_their_rows() {
        let (a, b) = (numbers(5 * 4, 1), numbers(20 * 4, 2));
        let linear = Linear::pack(&[matrix(&a, 4), matrix(&b, 4)]);
        let mut row = [0f32; 4];
        linear.copy_row(3, &mut row);
        assert_eq!(row, a[12..16]);
        linear.copy_row(5 + 18, &mut row);
        assert_eq!(row, b[72..76]);
    }
}
