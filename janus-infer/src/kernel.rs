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

/// Defines a function that is compiled for the machine's vector instructions, chosen when it runs.
///
/// A closure given to [`pulp::Arch::dispatch`] would be compiled twice, for any machine, and only called from
/// vector code: without its instructions `mul_add` is a call of the C library, a hundred times slower. So the arguments
/// become a struct whose `with_simd` must be inlined; what the body calls must be `#[inline(always)]` too.
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$life:lifetime>($($arg:ident: $type:ty),* $(,)?) -> $output:ty $body:block) => {
        $(#[$meta])*
        $vis fn $name<$life>($($arg: $type),*) -> $output {
            struct Arguments<$life> {
                $($arg: $type),*
            }
            impl<$life> pulp::WithSimd for Arguments<$life> {
                type Output = $output;
                #[inline(always)]
                fn with_simd<S: pulp::Simd>(self, _simd: S) -> $output {
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
pub(crate) fn product<'b>(
    a: Rows<'_>,
    panels: usize,
    panel: impl Fn(usize) -> &'b [Lanes] + Copy,
    mut store: impl FnMut(usize, usize, &Lanes),
) {
    let mut from = 0;
    while from < a.rows {
        let rows = (a.rows - from).min(BLOCK_ROWS);
        let block = Rows { data: &a.data[from * a.stride..], rows, ..a };
        let store = &mut |row: usize, panel: usize, sums: &Lanes| store(from + row, panel, sums);
        match rows {
            1 => sweep::<1, 4>(block, panels, panel, store),
            2 => sweep::<2, 2>(block, panels, panel, store),
            3 => sweep::<3, 2>(block, panels, panel, store),
            _ => sweep::<TILE_ROWS, 1>(block, panels, panel, store),
        }
        from += rows;
    }
}

/// All panels, `P` at a time and then one by one, against one block of rows.
#[inline(always)]
fn sweep<'b, const M: usize, const P: usize>(
    a: Rows<'_>,
    panels: usize,
    panel: impl Fn(usize) -> &'b [Lanes] + Copy,
    store: &mut impl FnMut(usize, usize, &Lanes),
) {
    let mut p = 0;
    while P > 1 && p + P <= panels {
        tiles::<M, P>(a, std::array::from_fn(|i| panel(p + i)), p, store);
        p += P;
    }
    while p < panels {
        tiles::<M, 1>(a, [panel(p)], p, store);
        p += 1;
    }
}

/// All rows of a block against `P` panels, `M` rows at a time.
#[inline(always)]
fn tiles<const M: usize, const P: usize>(
    a: Rows<'_>,
    panels: [&[Lanes]; P],
    first_panel: usize,
    store: &mut impl FnMut(usize, usize, &Lanes),
) {
    let mut row = 0;
    while row + M <= a.rows {
        tile::<M, P>(a, row, panels, first_panel, store);
        row += M;
    }
    if M == TILE_ROWS {
        match a.rows - row {
            0 => {}
            1 => tile::<1, P>(a, row, panels, first_panel, store),
            2 => tile::<2, P>(a, row, panels, first_panel, store),
            3 => tile::<3, P>(a, row, panels, first_panel, store),
            4 => tile::<4, P>(a, row, panels, first_panel, store),
            _ => tile::<5, P>(a, row, panels, first_panel, store),
        }
    }
}

/// `M` rows against `P` panels, in registers.
#[inline(always)]
fn tile<const M: usize, const P: usize>(
    a: Rows<'_>,
    row: usize,
    panels: [&[Lanes]; P],
    first_panel: usize,
    store: &mut impl FnMut(usize, usize, &Lanes),
) {
    let depth = a.depth;
    let x: [&[f32]; M] = std::array::from_fn(|m| &a.data[(row + m) * a.stride..][..depth]);
    let panels = panels.map(|panel| &panel[..depth]);
    let mut sums = [[[0f32; LANES]; P]; M];
    for k in 0..depth {
        for p in 0..P {
            let b = &panels[p][k];
            for m in 0..M {
                let x = x[m][k];
                for (sum, &b) in sums[m][p].iter_mut().zip(b) {
                    *sum = x.mul_add(b, *sum);
                }
            }
        }
    }
    for (m, row_sums) in sums.iter().enumerate() {
        for (p, sums) in row_sums.iter().enumerate() {
            store(row + m, first_panel + p, sums);
        }
    }
}
