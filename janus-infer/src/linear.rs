//! A weight matrix, packed for [`product`], and its product with rows of activations.

use pulp::Arch;
use rayon::prelude::*;

use crate::kernel::{LANES, Lanes, Rows, product};

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
            let store =
                |row: usize, panel: usize, sums: &Lanes| write(&mut out[row * columns + panel * LANES..], columns, panel, sums, into);
            self.multiply(x, 0..self.num_panels(), store);
        } else if rows >= 24 * workers {
            // Enough rows for each thread to be bound by arithmetic, not by reading the weights.
            let share = rows.div_ceil(workers).div_ceil(6) * 6;
            x.par_chunks(share * depth).zip(out.par_chunks_mut(share * columns)).for_each(|(x, out)| {
                self.apply(x, out, into, Threads::One);
            });
        } else {
            // Each thread reads its own part of the weights. Its columns are not contiguous in `out`, so
            // they go by way of a buffer, which is small because the rows are few.
            let share = self.num_panels().div_ceil(2 * workers);
            let parts: Vec<_> = (0..self.num_panels())
                .into_par_iter()
                .step_by(share)
                .map(|first| {
                    let last = (first + share).min(self.num_panels());
                    let mut part = vec![[0f32; LANES]; (last - first) * rows];
                    self.multiply(x, first..last, |row, panel, sums| part[(panel - first) * rows + row] = *sums);
                    (first, part)
                })
                .collect();
            for (first, part) in parts {
                for (index, sums) in part.iter().enumerate() {
                    let (panel, row) = (first + index / rows, index % rows);
                    write(&mut out[row * columns + panel * LANES..], columns, panel, sums, into);
                }
            }
        }
    }

    fn num_panels(&self) -> usize {
        self.columns.div_ceil(LANES)
    }

    fn multiply(&self, x: &[f32], panels: std::ops::Range<usize>, mut store: impl FnMut(usize, usize, &Lanes)) {
        let depth = self.depth;
        let weights = &self.panels[panels.start * depth..panels.end * depth];
        let rows = Rows { data: x, stride: depth, rows: x.len() / depth, depth };
        Arch::new().dispatch(|| {
            product(rows, panels.len(), |p| &weights[p * depth..][..depth], |row, p, sums| store(row, panels.start + p, sums));
        });
    }
}

/// Writes one row's sums of a panel to where they belong; the last panel may be cut.
#[inline(always)]
fn write(out: &mut [f32], columns: usize, panel: usize, sums: &Lanes, into: Into) {
    let width = (columns - panel * LANES).min(LANES);
    match into {
        Into::Replace => out[..width].copy_from_slice(&sums[..width]),
        Into::Add => out[..width].iter_mut().zip(sums).for_each(|(out, sum)| *out += sum),
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
