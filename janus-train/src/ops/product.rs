//! Products of matrices as nodes of candle's graph.

use std::ops::Range;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp2, Layout, MetalStorage, Result, Shape, Tensor, bail};
use half::bf16;
use half::slice::HalfFloatSliceExt;
use half::vec::HalfFloatVecExt;
use rayon::prelude::*;

use super::ROWS_PER_TASK;
use crate::matrix::{Mat, MatMut, matmul};

/// `a · b` in the inputs' dtype: `[rows, inner]` times `[inner, cols]`, or stacks of as many matrices.
/// Either may be a transposed view. Gradients are computed only for tracked inputs.
///
/// bf16 is multiplied and summed in f32 and rounded once. On the CPU this replaces candle's matmul, which
/// looks up the number of the machine's cores in each product.
///
/// # Errors
/// If the shapes do not fit.
pub(super) fn product(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    a.apply_op2(b, Product)
}

struct Product;

/// The sizes of a product.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    rows: usize,
    inner: usize,
    cols: usize,
}

impl Sizes {
    fn of(a: &Shape, b: &Shape) -> Result<Self> {
        match (a.dims(), b.dims()) {
            (&[rows, inner], &[same, cols]) if inner == same => Ok(Self { batch: 1, rows, inner, cols }),
            (&[batch, rows, inner], &[stack, same, cols]) if (batch, inner) == (stack, same) => {
                Ok(Self { batch, rows, inner, cols })
            }
            (a, b) => bail!(
                "product: the inputs have the shapes {a:?} and {b:?}: expected [rows, inner] and [inner, \
                 cols], or stacks of as many"
            ),
        }
    }

    fn shape(self, of: &Layout) -> Shape {
        let Self { batch, rows, cols, .. } = self;
        if of.dims().len() == 2 { (rows, cols).into() } else { (batch, rows, cols).into() }
    }

    /// The product of two views, by blocks of rows in parallel.
    fn multiply(self, a: View<'_>, b: View<'_>) -> Vec<f32> {
        let Self { batch, rows, inner, cols } = self;
        let mut y = vec![0.0; batch * rows * cols];
        if y.is_empty() || inner == 0 {
            return y;
        }
        let blocks = y.chunks_exact_mut(rows * cols).enumerate().flat_map(|(i, y)| {
            let blocks = MatMut::new(y, rows, cols).row_blocks(ROWS_PER_TASK);
            blocks.into_iter().enumerate().map(move |(block, y)| (i, block * ROWS_PER_TASK, y))
        });
        let blocks: Vec<_> = blocks.collect();
        let block = |(i, start, y): (usize, usize, MatMut<'_>)| {
            let a = a.matrix(i, rows, inner).rows(start..start + y.height());
            matmul(y, false, a, b.matrix(i, inner, cols));
        };
        // Handing a small product over to other threads takes longer than the product.
        if batch * rows * inner * cols <= PRODUCTS_ALONE {
            blocks.into_iter().for_each(block);
        } else {
            blocks.into_par_iter().for_each(block);
        }
        y
    }

    fn by_candle<S: BackendStorage>(self, s1: &S, l1: &Layout, s2: &S, l2: &Layout) -> Result<(S, Shape)> {
        let Self { batch, rows, inner, cols } = self;
        Ok((s1.matmul(s2, (batch, rows, cols, inner), l1, l2)?, self.shape(l1)))
    }
}

/// A stack of matrices: the values from its first element on, and its strides.
#[derive(Clone, Copy)]
struct View<'a> {
    values: &'a [f32],
    strides: [usize; 3],
}

impl<'a> View<'a> {
    fn new(values: &'a [f32], layout: &Layout) -> Self {
        let strides = match *layout.stride() {
            [stack, row, col] => [stack, row, col],
            [row, col] => [0, row, col],
            _ => unreachable!("the shapes were checked"),
        };
        Self { values, strides }
    }

    fn matrix(self, i: usize, rows: usize, cols: usize) -> Mat<'a> {
        let [stack, row, col] = self.strides;
        Mat::strided(&self.values[i * stack..], (rows, cols), (row, col))
    }
}

/// Where the elements of a tensor are in its storage.
fn span(layout: &Layout) -> Range<usize> {
    if layout.shape().elem_count() == 0 {
        return 0..0; // the offset of an empty part may be after the end
    }
    let start = layout.start_offset();
    let last: usize =
        layout.dims().iter().zip(layout.stride()).map(|(size, stride)| (size - 1) * stride).sum();
    start..start + last + 1
}

/// Numbers that a parallel task converts.
const NUMBERS_PER_TASK: usize = 1 << 14;
/// Products of two numbers that a thread computes alone, in some tens of microseconds.
const PRODUCTS_ALONE: usize = 1 << 20;

fn widen(values: &[bf16]) -> Vec<f32> {
    if values.len() <= NUMBERS_PER_TASK {
        return values.to_f32_vec();
    }
    let mut wide = vec![0.0; values.len()];
    wide.par_chunks_mut(NUMBERS_PER_TASK)
        .zip(values.par_chunks(NUMBERS_PER_TASK))
        .for_each(|(wide, values)| values.convert_to_f32_slice(wide));
    wide
}

fn narrow(values: &[f32]) -> Vec<bf16> {
    if values.len() <= NUMBERS_PER_TASK {
        return Vec::from_f32_slice(values);
    }
    let mut rounded = vec![bf16::ZERO; values.len()];
    rounded
        .par_chunks_mut(NUMBERS_PER_TASK)
        .zip(values.par_chunks(NUMBERS_PER_TASK))
        .for_each(|(rounded, values)| rounded.convert_from_f32_slice(values));
    rounded
}

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "product"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::of(l1.shape(), l2.shape())?;
        let y = match (s1, s2) {
            (CpuStorage::F32(a), CpuStorage::F32(b)) => {
                CpuStorage::F32(sizes.multiply(View::new(&a[span(l1)], l1), View::new(&b[span(l2)], l2)))
            }
            (CpuStorage::BF16(a), CpuStorage::BF16(b)) => {
                let (a, b) = (widen(&a[span(l1)]), widen(&b[span(l2)]));
                CpuStorage::BF16(narrow(&sizes.multiply(View::new(&a, l1), View::new(&b, l2))))
            }
            _ => return sizes.by_candle(s1, l1, s2, l2),
        };
        Ok((y, sizes.shape(l1)))
    }

    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        Sizes::of(l1.shape(), l2.shape())?.by_candle(s1, l1, s2, l2)
    }

    fn metal_fwd(
        &self,
        s1: &MetalStorage,
        l1: &Layout,
        s2: &MetalStorage,
        l2: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        Sizes::of(l1.shape(), l2.shape())?.by_candle(s1, l1, s2, l2)
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let da = if a.track_op() { Some(product(&dy, &b.detach().t()?)?) } else { None };
        let db = if b.track_op() { Some(product(&a.detach().t()?, &dy)?) } else { None };
        Ok((da, db))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Var};
    use proptest::prelude::*;

    use super::*;
    use crate::ops::testing::{assert_gradients, assert_same, random};

    #[test]
    fn of_views_and_stacks_it_agrees_with_candle_and_with_finite_differences() {
        for rows in [1, 37, 700] {
            let (a, b) = (random(&[rows, 24], 1), random(&[40, 24], 2));
            assert_same(&[&a, &b], |t| product(&t[0], &t[1].t()?), |t| t[0].matmul(&t[1].t()?), 2e-4);
            let (a, b) = (random(&[3, rows, 24], 3), random(&[3, 24, 9], 4));
            assert_same(&[&a, &b], |t| product(&t[0], &t[1]), |t| t[0].matmul(&t[1]), 2e-4);
        }
        let (a, b) = (random(&[2, 3, 4], 3), random(&[2, 5, 4], 4));
        assert_gradients(&[&a, &b], |t| product(&t[0], &t[1].t()?));
    }

    #[test]
    fn a_frozen_input_gets_no_gradient() {
        let (a, b) = (Var::from_tensor(&random(&[3, 4], 1)).unwrap(), random(&[4, 5], 2));
        let gradients = product(&a, &b).unwrap().sum_all().unwrap().backward().unwrap();
        assert!(gradients.get(&a).is_some() && gradients.get(&b).is_none());
    }

    #[test]
    fn a_product_without_rows_or_inner_dimension_is_empty_or_zero() {
        let empty =
            |shape: (usize, usize)| Tensor::zeros(shape, DType::BF16, &candle_core::Device::Cpu).unwrap();
        let whole = random(&[4, 5], 1).to_dtype(DType::BF16).unwrap();
        assert_eq!(product(&empty((0, 4)), &whole).unwrap().dims(), [0, 5]);
        assert_eq!(product(&whole.narrow(0, 4, 0).unwrap(), &whole.t().unwrap()).unwrap().dims(), [0, 4]);
        let zero = product(&empty((2, 0)), &empty((0, 3))).unwrap().to_dtype(DType::F32).unwrap();
        assert_eq!(zero.to_vec2::<f32>().unwrap(), [[0.0; 3]; 2]);
    }

    #[test]
    fn shapes_that_do_not_fit_are_an_error() {
        for (a, b) in
            [(&[2, 3][..], &[4, 5][..]), (&[2, 2, 3], &[3, 3, 4]), (&[2, 3], &[1, 3, 4]), (&[3], &[3])]
        {
            let error = product(&random(a, 1), &random(b, 2)).unwrap_err().to_string();
            assert!(error.contains(&format!("{a:?} and {b:?}")), "{error}");
        }
    }

    proptest! {
        /// Parts of larger tensors, also transposed, in f32 and in bf16.
        #[test]
        fn parts_of_tensors_have_the_product_of_their_elements(
            (batch, rows, inner, cols) in (1..4_usize, 1..6_usize, 1..6_usize, 1..6_usize),
            (from, more) in (0..3_usize, 0..3_usize),
            (turned_a, turned_b) in any::<(bool, bool)>(),
            rounded in any::<bool>(),
        ) {
            let part = |rows: usize, cols: usize, turned: bool, seed: u64| -> Tensor {
                let (rows, cols) = if turned { (cols, rows) } else { (rows, cols) };
                let whole = random(&[from + batch, rows + from + more, cols + from + more], seed);
                let part = whole.narrow(0, from, batch).unwrap().narrow(1, from, rows).unwrap();
                let part = part.narrow(2, from, cols).unwrap();
                let part = part.to_dtype(if rounded { DType::BF16 } else { DType::F32 }).unwrap();
                if turned { part.t().unwrap() } else { part }
            };
            let (a, b) = (part(rows, inner, turned_a, 1), part(inner, cols, turned_b, 2));
            let got = product(&a, &b).unwrap();
            let wide = |t: &Tensor| t.to_dtype(DType::F32).unwrap().contiguous().unwrap();
            let expected = (wide(&a).unsqueeze(3).unwrap())
                .broadcast_mul(&wide(&b).unsqueeze(1).unwrap())
                .unwrap()
                .sum(2)
                .unwrap();
            prop_assert_eq!(got.dims(), &[batch, rows, cols]);
            prop_assert_eq!(got.dtype(), a.dtype());
            let flat = |t: &Tensor| wide(t).flatten_all().unwrap().to_vec1::<f32>().unwrap();
            // A unit of the last place of bf16 is 2^-8 of the number.
            let tolerance = if rounded { 1.0 / 256.0 } else { 1e-6 };
            for (got, expected) in flat(&got).into_iter().zip(flat(&expected)) {
                prop_assert!((got - expected).abs() <= tolerance * expected.abs().max(1.0), "{} {}", got, expected);
            }
        }
    }
}
