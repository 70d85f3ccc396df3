//! The one matrix product that everything here is made of.
//!
//! A *panel* is [`LANES`] columns of a `[depth, columns]` matrix, row after row. Weights, keys
//! and values are all kept in panels ([`Panels`]), so that the same register tile computes projections, attention
//! scores and attention outputs. A panel may be stored in fewer bits: then a stretch of it is decoded to `f32` just before
//! it is used, short enough to stay in the first-level cache where few rows use it, once for all rows where there are many.
//!
//! Why not a general GEMM: a library picks its kernel, and with it the order of its sums, by the number
//! of rows, and then a sequence's tokens depend on how many neighbours it has. Here each output element
//! is one chain of fused multiply-adds, `acc = a[k] * b[k] + acc` for `k = 0, 1, …`, whatever the number
//! of rows, panels or threads: results do not depend on the batch in a single bit. Only the *shape* of the register
//! tile follows the number of rows, so that one row and many both keep the multipliers busy. A prompt read
//! at once and the same tokens fed one by one therefore give the same bits, quantised or not. Nothing is
//! summed across lanes, so vector width does not matter either.

use pulp::Simd;

use super::simd::LANES;

/// One row of a panel.
pub(crate) type Lanes = [f32; LANES];

/// Rows of the largest register tile.
pub(crate) const TILE_ROWS: usize = 6;

/// Panels that are decoded together; packed weights lie in this order.
pub(crate) const GROUP: usize = 8;

/// Rows of a panel that are decoded together; a decoded panel has a multiple of these.
pub(crate) const DECODED_ROWS: usize = 32;

/// Rows of a panel that all rows of the other factor use before the next are touched: with the panels beside it, they
/// stay in the second-level cache.
const STRETCH: usize = 16 * DECODED_ROWS;

/// Rows of equal length, evenly spaced: `data[stride * row..][..depth]`.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub data: &'a [f32],
    pub stride: usize,
    pub rows: usize,
    pub depth: usize,
}

/// The right factor of a product, `[depth, count * LANES]`.
pub(crate) trait Panels: Copy {
    /// Panels there are.
    fn count(self) -> usize;

    /// Rows from `row` on that lie together, 0 for all; a multiple of [`DECODED_ROWS`] if they are decoded.
    #[inline(always)]
    fn together(self, _row: usize) -> usize {
        0
    }

    /// Whether [`Panels::rows`] writes to its buffer.
    #[inline(always)]
    fn decoded(self) -> bool {
        false
    }

    /// The rows `from..from + buffer.len()` of a panel: where they are stored, or decoded into `buffer`.
    fn rows<'a, S: Simd>(self, simd: S, panel: usize, from: usize, buffer: &'a mut [Lanes]) -> &'a [Lanes]
    where
        Self: 'a;
}

/// Memory that products use one after the other.
#[derive(Default)]
pub(crate) struct Work {
    decoded: Vec<Lanes>,
    sums: Vec<Lanes>,
}

/// Products of every row with every panel: `store(row, panel, sums)` is called once for each pair.
///
/// To be called in a `simd_fn!`.
#[inline(always)]
pub(crate) fn product<S: Simd, B: Panels>(simd: S, a: Rows<'_>, b: B, work: &mut Work, store: impl FnMut(usize, usize, &Lanes)) {
    // The registers of a row of a panel; a constant for each instruction set, so one arm remains.
    match LANES / S::F32_LANES {
        1 => groups::<S, B, 1>(simd, a, b, work, store),
        2 => groups::<S, B, 2>(simd, a, b, work, store),
        4 => groups::<S, B, 4>(simd, a, b, work, store),
        _ => groups::<S, B, LANES>(simd, a, b, work, store),
    }
}

/// All panels, a group at a time.
#[inline(always)]
fn groups<S: Simd, B: Panels, const R: usize>(simd: S, a: Rows<'_>, b: B, work: &mut Work, mut store: impl FnMut(usize, usize, &Lanes)) {
    let longest = if b.decoded() && a.rows <= 2 * TILE_ROWS { DECODED_ROWS } else { STRETCH };
    for first in (0..b.count()).step_by(GROUP) {
        let count = (b.count() - first).min(GROUP);
        work.sums.clear();
        work.sums.resize(a.rows * count, [0.0; LANES]);
        let mut k = 0;
        while k < a.depth {
            let together = if b.together(k) == 0 { longest } else { longest.min(b.together(k)) };
            let len = together.min(a.depth - k);
            if work.decoded.len() < count * len {
                work.decoded.resize(count * len, [0.0; LANES]);
            }
            // No closures: one that the compiler does not inline is compiled without the vector instructions.
            let mut panels: [&[Lanes]; GROUP] = [&[]; GROUP];
            for (i, (panel, buffer)) in panels[..count].iter_mut().zip(work.decoded.chunks_exact_mut(len)).enumerate() {
                *panel = b.rows(simd, first + i, k, buffer);
            }
            group::<S, R>(simd, a, k, &panels[..count], &mut work.sums);
            k += len;
        }
        for (i, sums) in work.sums.iter().enumerate() {
            store(i / count, first + i % count, sums);
        }
    }
}

/// Adds the products of all rows with a stretch of some panels to `sums`, `[rows][panels]`. Several panels go through the
/// registers at once: enough sums that do not wait for each other, no more than there are registers.
#[inline(always)]
fn group<S: Simd, const R: usize>(simd: S, a: Rows<'_>, k: usize, panels: &[&[Lanes]], sums: &mut [Lanes]) {
    let mut p = 0;
    while p < panels.len() {
        let rest = &panels[p..];
        p += match (R, a.rows, rest.len()) {
            (1, 1..=3, 8..) => tiles::<S, R, 8>(simd, a, k, rest, panels.len(), &mut sums[p..]),
            (1, _, 4..) | (2 | 4, 1, 4..) => tiles::<S, R, 4>(simd, a, k, rest, panels.len(), &mut sums[p..]),
            (2 | 4, 1..=3, 2..) => tiles::<S, R, 2>(simd, a, k, rest, panels.len(), &mut sums[p..]),
            _ => tiles::<S, R, 1>(simd, a, k, rest, panels.len(), &mut sums[p..]),
        };
    }
}

/// All rows against the first `P` panels; returns `P`. `stride` sums lie between those of one row and the next.
#[inline(always)]
fn tiles<S: Simd, const R: usize, const P: usize>(
    simd: S,
    a: Rows<'_>,
    k: usize,
    panels: &[&[Lanes]],
    stride: usize,
    sums: &mut [Lanes],
) -> usize {
    let Some(panels) = panels.first_chunk::<P>() else { return panels.len() };
    // Tiles of about equal height: eight rows are four and four, not six and two.
    let height = a.rows.div_ceil(a.rows.div_ceil(TILE_ROWS).max(1));
    let mut row = 0;
    while row < a.rows {
        let sums = &mut sums[row * stride..];
        let rows = height.min(a.rows - row);
        match rows {
            1 => tile::<S, 1, P, R>(simd, a, row, k, *panels, stride, sums),
            2 => tile::<S, 2, P, R>(simd, a, row, k, *panels, stride, sums),
            3 => tile::<S, 3, P, R>(simd, a, row, k, *panels, stride, sums),
            // Eight panels are for few rows: that many sums of more would not fit into the registers.
            4 if P < 8 => tile::<S, 4, P, R>(simd, a, row, k, *panels, stride, sums),
            5 if P < 8 => tile::<S, 5, P, R>(simd, a, row, k, *panels, stride, sums),
            _ if P < 8 => tile::<S, TILE_ROWS, P, R>(simd, a, row, k, *panels, stride, sums),
            _ => {}
        }
        row += rows;
    }
    P
}

/// `M` rows against a stretch of `P` panels of `R` registers.
#[inline(always)]
fn tile<S: Simd, const M: usize, const P: usize, const R: usize>(
    simd: S,
    a: Rows<'_>,
    row: usize,
    k: usize,
    mut panels: [&[Lanes]; P],
    stride: usize,
    stored: &mut [Lanes],
) {
    let len = panels[0].len();
    let mut x: [&[f32]; M] = [&[]; M];
    for (m, x) in x.iter_mut().enumerate() {
        *x = &a.data[(row + m) * a.stride + k..][..len];
    }
    for panel in &mut panels {
        *panel = &panel[..len];
    }
    let mut sums = [[[simd.splat_f32s(0.0); R]; P]; M];
    for m in 0..M {
        for p in 0..P {
            let (registers, _) = S::as_simd_f32s(&stored[m * stride + p]);
            sums[m][p].copy_from_slice(registers);
        }
    }
    for k in 0..len {
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
    for m in 0..M {
        for p in 0..P {
            let (registers, _) = S::as_mut_simd_f32s(&mut stored[m * stride + p]);
            registers.copy_from_slice(&sums[m][p]);
        }
    }
}
