//! The one matrix product that everything here is made of.
//!
//! A *panel* is [`LANES`] columns of a `[depth, columns]` matrix, stored row after row. Weights, keys
//! and values are all kept in panels, so that the same register tile computes projections, attention
//! scores and attention outputs.
//!
//! Why not a general GEMM: a library picks its kernel, and with it the order of its sums, by the number
//! of rows, and then a sequence's tokens depend on how many neighbours it has. Here each output element
//! is one chain of fused multiply-adds, `acc = a[k] * b[k] + acc` for `k = 0, 1, …`, whatever the number
//! of rows, panels or threads: results do not depend on the batch in a single bit. Only the *shape* of the register
//! tile follows the number of rows, so that one row and many both keep the multipliers busy. Nothing is
//! summed across lanes, so vector width does not matter either.

use pulp::Simd;

/// Defines a function that is compiled for the machine's vector instructions, chosen when it runs.
///
/// A closure given to [`pulp::Arch::dispatch`] would be compiled twice, for any machine, and only called from
/// vector code: without its instructions `mul_add` is a call of the C library, a hundred times slower. So the arguments
/// become a struct whose `with_simd` must be inlined; what the body calls must be `#[inline(always)]` too.
/// The first name stands for the [`pulp::Simd`] token.
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$life:lifetime>($simd:ident, $($arg:ident: $type:ty),* $(,)?) -> $output:ty $body:block) => {
        $(#[$meta])*
        $vis fn $name<$life>($($arg: $type),*) -> $output {
            struct Arguments<$life> {
                $($arg: $type),*
            }
            impl<$life> pulp::WithSimd for Arguments<$life> {
                type Output = $output;
                #[inline(always)]
                fn with_simd<S: pulp::Simd>(self, $simd: S) -> $output {
                    let Self { $($arg),* } = self;
                    $body
                }
            }
            pulp::Arch::new().dispatch(Arguments { $($arg),* })
        }
    };
}
pub(crate) use vectorised;

/// Columns of a panel: two AVX registers, or four of NEON.
pub(crate) const LANES: usize = 16;

/// One row of a panel.
pub(crate) type Lanes = [f32; LANES];

/// Rows of the largest register tile. With one panel, 12 of 16 AVX registers hold sums.
pub(crate) const TILE_ROWS: usize = 6;

/// Rows that go through all panels before the next rows do: they stay in the second-level cache.
const BLOCK_ROWS: usize = 8 * TILE_ROWS;

/// Rows of equal length, evenly spaced: `data[stride * row..][..depth]`.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub data: &'a [f32],
    pub stride: usize,
    pub rows: usize,
    pub depth: usize,
}

/// Products of every row with every panel: `store(row, panel, sums)` is called once for each pair.
///
/// `panel(p)` is the panel's `depth` rows. To be called in a [`vectorised`] function.
#[inline(always)]
pub(crate) fn product<'b, S: Simd>(
    simd: S,
    a: Rows<'_>,
    panels: usize,
    panel: impl Fn(usize) -> &'b [Lanes] + Copy,
    store: impl FnMut(usize, usize, &Lanes),
) {
    // The registers of a row of a panel; a constant for each instruction set, so one arm remains.
    match LANES / S::F32_LANES {
        1 => blocks::<S, 1>(simd, a, panels, panel, store),
        2 => blocks::<S, 2>(simd, a, panels, panel, store),
        4 => blocks::<S, 4>(simd, a, panels, panel, store),
        _ => blocks::<S, LANES>(simd, a, panels, panel, store),
    }
}

/// All rows, a block at a time.
#[inline(always)]
fn blocks<'b, S: Simd, const R: usize>(
    simd: S,
    a: Rows<'_>,
    panels: usize,
    panel: impl Fn(usize) -> &'b [Lanes] + Copy,
    mut store: impl FnMut(usize, usize, &Lanes),
) {
    let mut from = 0;
    while from < a.rows {
        let rows = (a.rows - from).min(BLOCK_ROWS);
        let block = Rows { data: &a.data[from * a.stride..], rows, ..a };
        let mut p = 0;
        while p < panels {
            // Few rows take several panels at once, to have enough sums that do not wait for each other.
            let mut store = |row: usize, i: usize, sums: &Lanes| store(from + row, p + i, sums);
            p += match (rows, panels - p) {
                (1, 4..) => tiles::<S, R, 4>(simd, block, std::array::from_fn(|i| panel(p + i)), &mut store),
                (1..=3, 2..) => tiles::<S, R, 2>(simd, block, std::array::from_fn(|i| panel(p + i)), &mut store),
                _ => tiles::<S, R, 1>(simd, block, [panel(p)], &mut store),
            };
        }
        from += rows;
    }
}

/// All rows of a block against `P` panels; returns `P`.
#[inline(always)]
fn tiles<S: Simd, const R: usize, const P: usize>(
    simd: S,
    a: Rows<'_>,
    panels: [&[Lanes]; P],
    store: &mut impl FnMut(usize, usize, &Lanes),
) -> usize {
    let mut row = 0;
    while P == 1 && row + TILE_ROWS <= a.rows {
        tile::<S, TILE_ROWS, P, R>(simd, a, row, panels, store);
        row += TILE_ROWS;
    }
    match a.rows - row {
        0 => {}
        1 => tile::<S, 1, P, R>(simd, a, row, panels, store),
        2 if P <= 2 => tile::<S, 2, P, R>(simd, a, row, panels, store),
        3 if P <= 2 => tile::<S, 3, P, R>(simd, a, row, panels, store),
        4 if P == 1 => tile::<S, 4, P, R>(simd, a, row, panels, store),
        _ => tile::<S, 5, P, R>(simd, a, row, panels, store),
    }
    P
}

/// `M` rows against `P` panels of `R` registers.
#[inline(always)]
fn tile<S: Simd, const M: usize, const P: usize, const R: usize>(
    simd: S,
    a: Rows<'_>,
    row: usize,
    panels: [&[Lanes]; P],
    store: &mut impl FnMut(usize, usize, &Lanes),
) {
    let depth = a.depth;
    let x: [&[f32]; M] = std::array::from_fn(|m| &a.data[(row + m) * a.stride..][..depth]);
    let panels = panels.map(|panel| &panel[..depth]);
    let mut sums = [[[simd.splat_f32s(0.0); R]; P]; M];
    for k in 0..depth {
        for p in 0..P {
            let (b, _) = S::as_simd_f32s(&panels[p][k]);
            for m in 0..M {
                let x = simd.splat_f32s(x[m][k]);
                for r in 0..R {
                    sums[m][p][r] = simd.mul_add_e_f32s(x, b[r], sums[m][p][r]);
                }
            }
        }
    }
    for (m, panels) in sums.iter().enumerate() {
        for (p, sums) in panels.iter().enumerate() {
            let mut lanes = [0f32; LANES];
            let (registers, _) = S::as_mut_simd_f32s(&mut lanes);
            registers.copy_from_slice(sums);
            store(row + m, p, &lanes);
        }
    }
}
