//! A weight matrix, packed for [`product`], and its product with rows of activations.

use rayon::prelude::*;

use crate::kernel::{LANES, Lanes, Rows, TILE_ROWS, product, vectorised};

/// Multiply-adds below which a second thread costs more than it saves.
const WORTH_SPLITTING: usize = 1 << 18;

/// `out = x Wᵀ` with `W` of shape `[columns, depth]`, as checkpoints store it.
pub(crate) struct Linear {
    depth: usize,
    columns: usize,
    /// Panel `p` holds rows `p * LANES..` of `W`; the last is padded with zeros.
    panels: Vec<Lanes>,
}

/// How many threads one product may use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// The calling one: other rows run beside it.
    One,
    /// All of rayon's.
    All,
}

/// Whether a product replaces its output or is added to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Into {
    Replace,
    Add,
}

impl Linear {
    /// Packs matrices that share their input, one below the other; each is `[rows, depth]`.
    pub(crate) fn pack(depth: usize, matrices: &[&[f32]]) -> Self {
        let columns = matrices.iter().map(|matrix| matrix.len() / depth).sum::<usize>();
        let mut panels = vec![[0f32; LANES]; columns.div_ceil(LANES) * depth];
        let rows = matrices.iter().flat_map(|matrix| matrix.chunks_exact(depth));
        for (column, row) in rows.enumerate() {
            let panel = &mut panels[column / LANES * depth..][..depth];
            for (lanes, &weight) in panel.iter_mut().zip(row) {
                lanes[column % LANES] = weight;
            }
        }
        Self { depth, columns, panels }
    }

    /// Copies row `row` of `W` to `out`: a tied head serves as the embedding too.
    pub(crate) fn copy_row(&self, row: usize, out: &mut [f32]) {
        let panel = &self.panels[row / LANES * self.depth..][..self.depth];
        for (out, lanes) in out.iter_mut().zip(panel) {
            *out = lanes[row % LANES];
        }
    }

    /// Multiplies the rows of `x`, `[rows, depth]`, into `out`, `[rows, columns]`.
    pub(crate) fn apply(&self, x: &[f32], out: &mut [f32], into: Into, threads: Threads) {
        let (depth, columns) = (self.depth, self.columns);
        let rows = x.len() / depth;
        let workers = rayon::current_num_threads();
        if threads == Threads::One || workers == 1 || rows * self.panels.len() * LANES < WORTH_SPLITTING {
            multiply(x, depth, &self.panels, columns, out, into);
        } else if rows >= 4 * TILE_ROWS * workers {
            // Enough rows for each thread to be bound by arithmetic, not by reading the weights.
            let share = rows.div_ceil(workers).next_multiple_of(TILE_ROWS);
            let parts = x.par_chunks(share * depth).zip(out.par_chunks_mut(share * columns));
            parts.for_each(|(x, out)| multiply(x, depth, &self.panels, columns, out, into));
        } else {
            // Each thread reads its own part of the weights. Its columns are not contiguous in `out`, so
            // they go by way of a buffer, which is small because the rows are few.
            let share = columns.div_ceil(LANES).div_ceil(2 * workers);
            let multiply_part = |panels: &[Lanes], width: usize| {
                let mut part = vec![0f32; rows * width];
                multiply(x, depth, panels, width, &mut part, Into::Replace);
                part
            };
            let parts: Vec<_> = self
                .panels
                .par_chunks(share * depth)
                .enumerate()
                .map(|(index, panels)| multiply_part(panels, (columns - index * share * LANES).min(share * LANES)))
                .collect();
            for (index, part) in parts.iter().enumerate() {
                let width = part.len() / rows;
                for (row, part) in part.chunks_exact(width).enumerate() {
                    put(&mut out[row * columns + index * share * LANES..][..width], part, into);
                }
            }
        }
    }
}

vectorised! {
    /// `out = x Wᵀ` on one thread; `out` is `[rows, columns]`, the last panel may be wider than what is left of it.
    fn multiply<'a>(simd, x: &'a [f32], depth: usize, panels: &'a [Lanes], columns: usize, out: &'a mut [f32], into: Into) -> () {
        let rows = Rows { data: x, stride: depth, rows: x.len() / depth, depth };
        product(simd, rows, panels.len() / depth, |p| &panels[p * depth..][..depth], |row, p, sums| {
            let width = (columns - p * LANES).min(LANES);
            put(&mut out[row * columns + p * LANES..][..width], &sums[..width], into);
        });
    }
}

#[inline(always)]
fn put(out: &mut [f32], sums: &[f32], into: Into) {
    match into {
        Into::Replace => out.copy_from_slice(sums),
        Into::Add => out.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        use rand::Rng;
        let mut rng = janus_core::stream(seed, "numbers");
        (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    /// One chain of fused multiply-adds for each element.
    fn naive(x: &[f32], w: &[f32], depth: usize) -> Vec<f32> {
        let dot = |x: &[f32], w: &[f32]| x.iter().zip(w).fold(0f32, |sum, (x, w)| x.mul_add(*w, sum));
        x.chunks(depth).flat_map(|x| w.chunks(depth).map(|w| dot(x, w)).collect::<Vec<_>>()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// Equal to the bit, for every number of rows and columns, on one thread and on all.
        #[test]
        fn every_element_is_one_chain_of_multiply_adds(rows in 1usize..130, columns in 1usize..200, depth in 1usize..80, seed: u64) {
            let (x, w) = (numbers(rows * depth, seed), numbers(columns * depth, seed ^ 1));
            let linear = Linear::pack(depth, &[&w]);
            let expected = naive(&x, &w, depth);
            for threads in [Threads::One, Threads::All] {
                let mut out = vec![f32::NAN; rows * columns];
                linear.apply(&x, &mut out, Into::Replace, threads);
                prop_assert_eq!(&out, &expected);
                linear.apply(&x, &mut out, Into::Add, threads);
                prop_assert!(out.iter().zip(&expected).all(|(got, one)| *got == one + one));
            }
        }
    }

    #[test]
    fn matrices_packed_together_keep_their_rows() {
        let (a, b) = (numbers(5 * 4, 1), numbers(20 * 4, 2));
        let linear = Linear::pack(4, &[&a, &b]);
        let mut row = [0f32; 4];
        linear.copy_row(3, &mut row);
        assert_eq!(row, a[12..16]);
        linear.copy_row(5 + 18, &mut row);
        assert_eq!(row, b[72..76]);
    }
}
