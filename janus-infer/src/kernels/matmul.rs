//! The matrix product of the CPU backend.
//!
//! A *panel* is [`LANES`] columns of a `[depth, columns]` matrix, stored row by row. Weights, keys and
//! values are all stored in panels ([`Panels`]), so that the same kernel computes projections, attention
//! scores and attention outputs. A panel may be quantised. Then a stretch of it is decoded to `f32` just
//! before it is used: a short one, which stays in the L1 cache, if there are few rows, and a long one,
//! decoded once for all rows, if there are many.
//!
//! A general GEMM library is not used, because it picks its kernel, and with it the order of its sums,
//! by the number of rows, so that a sequence's logits would depend on the batch. Here each output
//! element is one chain of fused multiply-adds, `acc = a[k] * b[k] + acc` for `k = 0, 1, …`, whatever
//! the number of rows, panels or threads. Only the *shape* of the register tile depends on the number of
//! rows, to keep the multipliers busy with one row and with many. So prefilling a prompt at once and
//! running its tokens one by one give the same bits, quantised or not. Nothing is summed across lanes,
//! so the vector width does not matter either.

#![expect(
    clippy::needless_range_loop,
    clippy::manual_memcpy,
    reason = "a copy or an adaptor stays a call (simd.rs)"
)]

use pulp::Simd;

use super::simd::LANES;

/// One row of a panel.
pub(crate) type Lanes = [f32; LANES];

/// Rows of the largest register tile.
pub(crate) const TILE_ROWS: usize = 6;

/// Panels that are decoded together; packed weights are stored in such groups.
pub(crate) const GROUP: usize = 8;

/// Rows of a panel that are decoded together; the depth of a panel that needs decoding is a multiple of this.
pub(crate) const DECODED_ROWS: usize = 32;

/// Rows of a panel that are multiplied with all rows of the left factor before the next ones are read:
/// for a group of panels they stay in the L2 cache.
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
    /// The number of panels.
    fn count(self) -> usize;

    /// The number of rows from `row` on that are contiguous in memory, 0 for all; a multiple of
    /// [`DECODED_ROWS`] if they are decoded.
    #[inline(always)]
    fn contiguous(self, _row: usize) -> usize {
        0
    }

    /// Whether [`Panels::rows`] writes to its buffer.
    #[inline(always)]
    fn decoded(self) -> bool {
        false
    }

    /// The rows `from..from + buffer.len()` of a panel: as stored, or decoded into `buffer`.
    fn rows<'a, S: Simd>(self, simd: S, panel: usize, from: usize, buffer: &'a mut [Lanes]) -> &'a [Lanes]
    where
        Self: 'a;
}

/// Scratch space that products of a thread use one after the other.
#[derive(Default)]
pub(crate) struct Work {
    decoded: Vec<Lanes>,
    sums: Vec<Lanes>,
}

/// Multiplies every row with every panel, and calls `store(row, panel, sums)` once for each pair.
///
/// It must be called in a `simd_fn!`.
#[inline(always)]
pub(crate) fn product<S: Simd, B: Panels>(
    simd: S,
    a: Rows<'_>,
    b: B,
    work: &mut Work,
    store: impl FnMut(usize, usize, &Lanes),
) {
    // The number of registers for a row of a panel, a constant of each instruction set: only one arm is
    // compiled in.
    match LANES / S::F32_LANES {
        1 => groups::<S, B, 1>(simd, a, b, work, store),
        2 => groups::<S, B, 2>(simd, a, b, work, store),
        4 => groups::<S, B, 4>(simd, a, b, work, store),
        _ => groups::<S, B, LANES>(simd, a, b, work, store),
    }
}

/// Multiplies all panels, one group at a time.
#[inline(always)]
fn groups<S: Simd, B: Panels, const R: usize>(
    simd: S,
    a: Rows<'_>,
    b: B,
    work: &mut Work,
    mut store: impl FnMut(usize, usize, &Lanes),
) {
    let longest = if b.decoded() && a.rows <= 2 * TILE_ROWS { DECODED_ROWS } else { STRETCH };
    for first in (0..b.count()).step_by(GROUP) {
        let count = (b.count() - first).min(GROUP);
        work.sums.clear();
        work.sums.resize(a.rows * count, [0.0; LANES]);
        let mut k = 0;
        while k < a.depth {
            let contiguous = if b.contiguous(k) == 0 { longest } else { longest.min(b.contiguous(k)) };
            let len = contiguous.min(a.depth - k);
            if work.decoded.len() < count * len {
                work.decoded.resize(count * len, [0.0; LANES]);
            }
            // No closures here: a closure that is not inlined is compiled without the vector instructions.
            let mut panels: [&[Lanes]; GROUP] = [&[]; GROUP];
            let mut buffers = &mut work.decoded[..];
            for i in 0..count {
                let (buffer, rest) = buffers.split_at_mut(len);
                panels[i] = b.rows(simd, first + i, k, buffer);
                buffers = rest;
            }
            group::<S, R>(simd, a, k, &panels[..count], &mut work.sums);
            k += len;
        }
        for i in 0..work.sums.len() {
            store(i / count, first + i % count, &work.sums[i]);
        }
    }
}

/// Adds the products of all rows with a stretch of some panels to `sums`, `[rows][panels]`. A tile has
/// several panels: enough independent sums to hide the latency of a multiply-add, but no more than fit
/// into the registers.
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

/// Multiplies all rows with the first `P` panels and returns `P`. `stride` is the distance in `sums`
/// from one row to the next.
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
    // Tiles of about equal height: eight rows become four and four, not six and two.
    let height = a.rows.div_ceil(a.rows.div_ceil(TILE_ROWS).max(1));
    let mut row = 0;
    while row < a.rows {
        let sums = &mut sums[row * stride..];
        let rows = height.min(a.rows - row);
        match rows {
            1 => tile::<S, 1, P, R>(simd, a, row, k, *panels, stride, sums),
            2 => tile::<S, 2, P, R>(simd, a, row, k, *panels, stride, sums),
            3 => tile::<S, 3, P, R>(simd, a, row, k, *panels, stride, sums),
            // `P` is 8 only for up to three rows: the sums of more would not fit into the registers.
            4 if P < 8 => tile::<S, 4, P, R>(simd, a, row, k, *panels, stride, sums),
            5 if P < 8 => tile::<S, 5, P, R>(simd, a, row, k, *panels, stride, sums),
            _ if P < 8 => tile::<S, TILE_ROWS, P, R>(simd, a, row, k, *panels, stride, sums),
            _ => {}
        }
        row += rows;
    }
    P
}

/// Multiplies `M` rows with a stretch of `P` panels, whose rows take `R` registers each.
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
    for m in 0..M {
        x[m] = &a.data[(row + m) * a.stride + k..][..len];
    }
    for p in 0..P {
        panels[p] = &panels[p][..len];
    }
    let mut sums = [[[simd.splat_f32s(0.0); R]; P]; M];
    for m in 0..M {
        for p in 0..P {
            let (registers, _) = S::as_simd_f32s(&stored[m * stride + p]);
            for r in 0..R {
                sums[m][p][r] = registers[r];
            }
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
            for r in 0..R {
                registers[r] = sums[m][p][r];
            }
        }
    }
}
