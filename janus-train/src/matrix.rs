//! Matrix views and products: the only module that calls the gemm crate.
//!
//! [`Mat`] and [`MatMut`] borrow like slices, but can also be split by columns, so that two threads can
//! write two heads of one row-major buffer.

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use crate::ops::ROWS_PER_TASK;
use crate::scratch::Scratch;

/// A read-only matrix view with any strides.
#[derive(Clone, Copy)]
pub(crate) struct Mat<'a> {
    start: *const f32,
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
    borrowed: PhantomData<&'a [f32]>,
}

/// A mutable matrix view: rows are contiguous, `row_stride` apart.
pub(crate) struct MatMut<'a> {
    start: *mut f32,
    rows: usize,
    cols: usize,
    row_stride: usize,
    borrowed: PhantomData<&'a mut [f32]>,
}

#[expect(unsafe_code, reason = "a view with strides is a raw pointer")]
mod borrow_rules {
    use super::{Mat, MatMut};
    // SAFETY: a Mat is equivalent to `&[f32]` and gives shared access only.
    unsafe impl Send for Mat<'_> {}
    // SAFETY: as above.
    unsafe impl Sync for Mat<'_> {}
    // SAFETY: a MatMut is equivalent to `&mut [f32]` of its own elements: views split from one buffer
    // are disjoint.
    unsafe impl Send for MatMut<'_> {}
}

impl<'a> Mat<'a> {
    /// `data` as a row-major `[rows, cols]` matrix.
    pub(crate) fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "a {rows} x {cols} matrix");
        Self { start: data.as_ptr(), rows, cols, row_stride: cols, col_stride: 1, borrowed: PhantomData }
    }

    /// A `[rows, cols]` matrix whose first element is the first of `data`, with the distances of its
    /// rows and of its columns.
    pub(crate) fn strided(data: &'a [f32], (rows, cols): (usize, usize), strides: (usize, usize)) -> Self {
        let (row_stride, col_stride) = strides;
        if rows > 0 && cols > 0 {
            let last = (rows - 1) * row_stride + (cols - 1) * col_stride;
            assert!(last < data.len(), "a {rows} x {cols} matrix with strides {strides:?}");
        }
        Self { start: data.as_ptr(), rows, cols, row_stride, col_stride, borrowed: PhantomData }
    }

    /// The transposed view.
    pub(crate) fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// Rows and columns.
    pub(crate) fn shape(self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// Some of the rows.
    pub(crate) fn rows(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.rows);
        Self { start: self.start.wrapping_add(range.start * self.row_stride), rows: range.len(), ..self }
    }

    /// Some of the columns.
    pub(crate) fn cols(self, range: Range<usize>) -> Self {
        self.t().rows(range).t()
    }
}

impl<'a> MatMut<'a> {
    /// `data` as a row-major `[rows, cols]` matrix.
    pub(crate) fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "a {rows} x {cols} matrix");
        Self { start: data.as_mut_ptr(), rows, cols, row_stride: cols, borrowed: PhantomData }
    }

    /// The same view with a shorter lifetime.
    pub(crate) fn reborrow(&mut self) -> MatMut<'_> {
        MatMut { borrowed: PhantomData, ..*self }
    }

    /// The rows before `at` and the remaining rows.
    pub(crate) fn split_rows(self, at: usize) -> (Self, Self) {
        assert!(at <= self.rows);
        let below =
            Self { start: self.start.wrapping_add(at * self.row_stride), rows: self.rows - at, ..self };
        (Self { rows: at, ..self }, below)
    }

    /// The columns before `at` and the remaining columns.
    pub(crate) fn split_cols(self, at: usize) -> (Self, Self) {
        assert!(at <= self.cols);
        let right = Self { start: self.start.wrapping_add(at), cols: self.cols - at, ..self };
        (Self { cols: at, ..self }, right)
    }

    /// Consecutive blocks of `height` rows; the last may have fewer.
    pub(crate) fn row_blocks(self, height: usize) -> Vec<Self> {
        let mut blocks = Vec::with_capacity(self.rows.div_ceil(height));
        let mut rest = self;
        while rest.rows > height {
            let (block, below) = rest.split_rows(height);
            blocks.push(block);
            rest = below;
        }
        blocks.push(rest);
        blocks
    }

    /// Some of the rows.
    pub(crate) fn rows(&mut self, range: Range<usize>) -> MatMut<'_> {
        self.reborrow().split_rows(range.end).0.split_rows(range.start).1
    }

    /// Row `i` as a slice.
    pub(crate) fn row(&mut self, i: usize) -> &mut [f32] {
        assert!(i < self.rows);
        #[expect(unsafe_code, reason = "a row of a view")]
        // SAFETY: row i is inside the borrowed data by construction; `&mut self` makes the slice the
        // only access.
        unsafe {
            std::slice::from_raw_parts_mut(self.start.add(i * self.row_stride), self.cols)
        }
    }

    /// Number of rows.
    pub(crate) fn height(&self) -> usize {
        self.rows
    }
}

/// `dst = a · b`, or `dst += a · b` if `accumulate`; on this thread.
pub(crate) fn matmul(dst: MatMut<'_>, accumulate: bool, a: Mat<'_>, b: Mat<'_>) {
    assert!(
        dst.rows == a.rows && dst.cols == b.cols && a.cols == b.rows,
        "matmul of matrices that do not fit"
    );
    if dst.rows == 0 || dst.cols == 0 {
        return;
    }
    #[expect(unsafe_code, reason = "gemm takes raw pointers")]
    // SAFETY: the three views are inside their borrowed buffers (checked when they were split), the
    // sizes agree (asserted above) and nothing else accesses dst while it is borrowed mutably.
    unsafe {
        gemm::gemm(
            dst.rows,
            dst.cols,
            a.cols,
            dst.start,
            1,
            dst.row_stride as isize,
            accumulate,
            a.start,
            a.col_stride as isize,
            a.row_stride as isize,
            b.start,
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// `dst = x · weightᵀ`, with row blocks in parallel.
pub(crate) fn par_project(dst: MatMut<'_>, x: Mat<'_>, weight: Mat<'_>) {
    dst.row_blocks(ROWS_PER_TASK).into_par_iter().enumerate().for_each(|(task, dst)| {
        let start = task * ROWS_PER_TASK;
        let x = x.rows(start..start + dst.rows);
        matmul(dst, false, x, weight.t());
    });
}

/// `dw = dyᵀ · x`, or `dw += dyᵀ · x` if `accumulate`: the gradient of a weight `[out, in]` from dy
/// `[tokens, out]` and x `[tokens, in]`.
///
/// The product is split into four pieces: along the tokens if there are many, so that no operand is
/// packed twice, else along the rows of dw. Pieces of tokens are summed separately and added in order.
/// The split depends only on the sizes, so the result does not depend on the number of threads.
pub(crate) fn par_weight_gradient(dw: &mut [f32], accumulate: bool, dy: Mat<'_>, x: Mat<'_>) {
    let (out, input) = (dy.cols, x.cols);
    let pieces = token_pieces(dy.rows);
    let piece = dy.rows.div_ceil(pieces).max(1);
    let height = out.div_ceil(PIECES / pieces).next_multiple_of(8);
    let mut rest = Scratch::new((pieces - 1) * dw.len());
    let size = dw.len();
    let mut jobs = Vec::with_capacity(2 * PIECES);
    let targets = std::iter::once(&mut *dw).chain(rest.chunks_exact_mut(size.max(1)));
    for (i, target) in targets.enumerate() {
        let tokens = (i * piece).min(dy.rows)..((i + 1) * piece).min(dy.rows);
        for (block, dst) in MatMut::new(target, out, input).row_blocks(height).into_iter().enumerate() {
            jobs.push((dst, accumulate && i == 0, block * height, tokens.clone()));
        }
    }
    jobs.into_par_iter().for_each(|(dst, accumulate, start, tokens)| {
        let columns = start..start + dst.rows;
        matmul(dst, accumulate, dy.rows(tokens.clone()).cols(columns).t(), x.rows(tokens));
    });
    for part in rest.chunks_exact(size.max(1)) {
        dw.par_chunks_mut(1 << 14).zip(part.par_chunks(1 << 14)).for_each(|(dw, part)| {
            for (dw, part) in dw.iter_mut().zip(part) {
                *dw += part;
            }
        });
    }
}

/// Pieces of a weight's gradient.
const PIECES: usize = 4;

/// The pieces of that many tokens whose sums are separate. All but one are in a buffer of their own.
fn token_pieces(tokens: usize) -> usize {
    (tokens / 512).clamp(1, PIECES)
}

/// Numbers in the work buffer of [`par_weight_gradient`] for a weight of `size` numbers.
pub(crate) fn weight_gradient_work(tokens: usize, size: usize) -> usize {
    (token_pieces(tokens) - 1) * size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_of_split_and_transposed_views_is_the_product_of_their_elements() {
        let a: Vec<f32> = (0..35).map(|i| (i % 7) as f32 - 3.0).collect();
        let b: Vec<f32> = (0..48).map(|i| (i % 5) as f32 - 2.0).collect();
        let mut c = vec![1.0; 6 * 8];
        // rows 1..4 and columns 2..7 of c += a[0..3, 2..5] . (b[1..6, 3..6])^T
        let (_, c_low) = MatMut::new(&mut c, 6, 8).split_rows(1);
        let (c_mid, _) = c_low.split_rows(3);
        let (_, c_right) = c_mid.split_cols(2);
        let (dst, _) = c_right.split_cols(5);
        matmul(
            dst,
            true,
            Mat::new(&a, 5, 7).rows(0..3).cols(2..5),
            Mat::new(&b, 6, 8).rows(1..6).cols(3..6).t(),
        );
        for i in 0..6 {
            for j in 0..8 {
                let inside = (1..4).contains(&i) && (2..7).contains(&j);
                let sum: f32 = (0..3)
                    .map(|k| if inside { a[(i - 1) * 7 + 2 + k] * b[(j - 1) * 8 + 3 + k] } else { 0.0 })
                    .sum();
                assert_eq!(c[i * 8 + j], 1.0 + sum, "({i}, {j})");
            }
        }
    }

    #[test]
    #[should_panic(expected = "do not fit")]
    fn sizes_that_do_not_fit_are_caught_before_the_kernel() {
        let a = [0.0; 6];
        matmul(MatMut::new(&mut [0.0; 4], 2, 2), false, Mat::new(&a, 2, 3), Mat::new(&a, 2, 3));
    }
}
