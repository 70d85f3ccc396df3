//! Packs several token rows into one, without padding.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Error, Result, TokenRow};

/// Several token rows, concatenated. Attention and positions restart at each document:
///
/// ```text
/// ids         a0 a1 a2 | b0 b1 | c0 c1 c2 c3
/// cu_seqlens  0         3       5             9
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedRow {
    /// Token ids, `[tokens]`.
    pub ids: Vec<u32>,
    /// `[tokens]`: whether the prediction of `ids[i]` counts in the loss. False for the first token of a
    /// document, which nothing predicts.
    pub loss_mask: Vec<bool>,
    /// `[documents + 1]`: document `d` is `ids[cu_seqlens[d]..cu_seqlens[d + 1]]`.
    pub cu_seqlens: Vec<u32>,
}

/// Packs rows into rows of at most `capacity` tokens with first-fit-decreasing, as the authors' trainer
/// does: the longest row first, each into the first packed row that has room. The number of packed rows
/// is at most 11/9 of the optimum plus one. Every row is kept once and complete. Ties go to the earlier
/// row, so the result depends only on the arguments.
///
/// ```
/// use janus_data::{TokenRow, pack};
/// let row = |ids: &[u32]| TokenRow { ids: ids.to_vec(), loss_mask: vec![true; ids.len()] };
/// let packed = pack(&[row(&[1, 2]), row(&[3, 4, 5]), row(&[6])], 5)?;
/// assert_eq!(packed.len(), 2);
/// assert_eq!(packed[0].ids, [3, 4, 5, 1, 2]);
/// assert_eq!(packed[0].cu_seqlens, [0, 3, 5]);
/// # Ok::<(), janus_data::Error>(())
/// ```
///
/// # Errors
/// [`Error::RowTooLong`], [`Error::RowShape`] for a row that is empty or whose loss mask has another length
/// than its ids.
pub fn pack(rows: &[TokenRow], capacity: usize) -> Result<Vec<PackedRow>> {
    // Offsets are `u32`.
    let capacity = capacity.min(u32::MAX as usize);
    for (row, TokenRow { ids, loss_mask }) in rows.iter().enumerate() {
        if ids.is_empty() || ids.len() != loss_mask.len() {
            return Err(Error::RowShape { row, ids: ids.len(), loss_mask: loss_mask.len() });
        }
    }
    let lengths: Vec<usize> = rows.iter().map(|row| row.ids.len()).collect();
    let bins = pack_lengths(&lengths, capacity)?;
    Ok(bins
        .iter()
        .map(|bin| concat(&bin.iter().map(|&row| &rows[row as usize]).collect::<Vec<_>>()))
        .collect())
}

/// The grouping of [`pack`], computed from the lengths only: for each packed row the indices of its rows, in
/// order. It serves for rows that are not in memory, such as those of a [`TokenFile`](crate::TokenFile).
///
/// # Errors
/// [`Error::RowTooLong`].
pub fn pack_lengths(lengths: &[usize], capacity: usize) -> Result<Vec<Vec<u32>>> {
    if let Some((row, &tokens)) = lengths.iter().enumerate().find(|(_, tokens)| **tokens > capacity) {
        return Err(Error::RowTooLong { row, tokens, capacity });
    }
    let mut longest_first: Vec<u32> = (0..lengths.len() as u32).collect();
    longest_first.sort_by_key(|&row| Reverse(lengths[row as usize]));

    let mut bins: Vec<Vec<u32>> = Vec::new();
    let mut room = Room::new(lengths.len(), capacity);
    for row in longest_first {
        let bin = room.take(lengths[row as usize]);
        if bin == bins.len() {
            bins.push(Vec::new());
        }
        bins[bin].push(row);
    }
    Ok(bins)
}

/// Statistics of the rows that [`pack`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Packing {
    /// Number of packed rows.
    pub packed_rows: usize,
    /// Maximum number of tokens of a packed row.
    pub capacity: usize,
    /// The share of their capacity that holds tokens, 0 to 1.
    pub packing_efficiency: f64,
    /// Number of rows that are longer than the capacity, which are left out.
    pub too_long: usize,
}

impl Packing {
    /// The statistics for rows of these lengths.
    ///
    /// # Errors
    /// Those of [`pack_lengths`].
    pub fn of(lengths: &[usize], capacity: usize) -> Result<Self> {
        let fitting: Vec<usize> = lengths.iter().copied().filter(|&length| length <= capacity).collect();
        let packed_rows = pack_lengths(&fitting, capacity)?.len();
        let packing_efficiency =
            fitting.iter().sum::<usize>() as f64 / (packed_rows * capacity).max(1) as f64;
        Ok(Self { packed_rows, capacity, packing_efficiency, too_long: lengths.len() - fitting.len() })
    }
}

/// Packs a stream of rows with a window of `window` rows. Whenever the window is full, a packed row takes the
/// longest row of the window, then repeatedly the longest that still fits, until none does. Every row is
/// emitted once and complete. The result depends only on the rows and their order.
///
/// ```
/// use janus_data::{TokenRow, pack_stream};
/// let rows = (1..=6).map(|length| Ok(TokenRow { ids: vec![7; length], loss_mask: vec![true; length] }));
/// let packed: Vec<usize> = pack_stream(rows, 7, 4).map(|row| row.map(|row| row.ids.len())).collect::<Result<_, _>>()?;
/// assert_eq!(packed.iter().sum::<usize>(), 21);
/// assert_eq!(packed.len(), 3);
/// # Ok::<(), janus_data::Error>(())
/// ```
///
/// # Errors
/// The stream contains the errors of `rows`, [`Error::RowTooLong`] and [`Error::RowShape`] at the position of
/// their row, and continues after them.
pub fn pack_stream(
    rows: impl Iterator<Item = Result<TokenRow>>,
    capacity: usize,
    window: usize,
) -> impl Iterator<Item = Result<PackedRow>> {
    let capacity = capacity.min(u32::MAX as usize);
    let mut rows = rows.enumerate().fuse();
    // Ordered by length and arrival: the last is the longest, and among rows of one length the first to
    // arrive.
    let mut held: BTreeMap<(usize, Reverse<usize>), TokenRow> = BTreeMap::new();
    std::iter::from_fn(move || {
        while held.len() < window.max(1) {
            match rows.next() {
                None => break,
                Some((_, Err(error))) => return Some(Err(error)),
                Some((row, Ok(TokenRow { ids, loss_mask })))
                    if ids.is_empty() || ids.len() != loss_mask.len() =>
                {
                    return Some(Err(Error::RowShape { row, ids: ids.len(), loss_mask: loss_mask.len() }));
                }
                Some((row, Ok(found))) if found.ids.len() > capacity => {
                    return Some(Err(Error::RowTooLong { row, tokens: found.ids.len(), capacity }));
                }
                Some((row, Ok(found))) => drop(held.insert((found.ids.len(), Reverse(row)), found)),
            }
        }
        let (mut left, mut taken) = (capacity, Vec::new());
        while let Some(key) = held.range(..=(left, Reverse(0))).next_back().map(|(key, _)| *key) {
            left -= key.0;
            taken.extend(held.remove(&key));
        }
        if taken.is_empty() { None } else { Some(Ok(concat(&taken.iter().collect::<Vec<_>>()))) }
    })
}

/// Concatenates rows in the given order. If a loss mask is shorter than its ids, the rest is false.
pub fn concat(rows: &[&TokenRow]) -> PackedRow {
    let tokens = rows.iter().map(|row| row.ids.len()).sum();
    let mut packed = PackedRow {
        ids: Vec::with_capacity(tokens),
        loss_mask: Vec::with_capacity(tokens),
        cu_seqlens: Vec::with_capacity(rows.len() + 1),
    };
    packed.cu_seqlens.push(0);
    for row in rows {
        let start = packed.ids.len();
        packed.ids.extend_from_slice(&row.ids);
        packed.loss_mask.extend_from_slice(&row.loss_mask);
        packed.loss_mask.resize(packed.ids.len(), false);
        if let Some(first) = packed.loss_mask.get_mut(start) {
            *first = false;
        }
        packed.cu_seqlens.push(packed.ids.len() as u32);
    }
    packed
}

/// The room left in each of a number of bins, as a segment tree of maxima: `most[1]` is the maximum over all
/// bins, the children of node `i` are `2i` and `2i + 1`, and the leaves are the bins. It finds the first bin
/// with enough room in logarithmic time.
struct Room {
    most: Vec<usize>,
    leaves: usize,
}

impl Room {
    fn new(bins: usize, capacity: usize) -> Self {
        let leaves = bins.next_power_of_two();
        Self { most: vec![capacity; 2 * leaves], leaves }
    }

    /// Takes `tokens` from the first bin with enough room and returns that bin. There must be one.
    fn take(&mut self, tokens: usize) -> usize {
        let mut node = 1;
        while node < self.leaves {
            node = if self.most[2 * node] >= tokens { 2 * node } else { 2 * node + 1 };
        }
        self.most[node] -= tokens;
        let bin = node - self.leaves;
        while node > 1 {
            node /= 2;
            self.most[node] = self.most[2 * node].max(self.most[2 * node + 1]);
        }
        bin
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// First-fit-decreasing, written directly.
    fn naive(lengths: &[usize], capacity: usize) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        order.sort_by_key(|&row| Reverse(lengths[row]));
        let mut bins: Vec<Vec<usize>> = Vec::new();
        for row in order {
            let fits = |bin: &&mut Vec<usize>| {
                bin.iter().map(|&r| lengths[r]).sum::<usize>() + lengths[row] <= capacity
            };
            match bins.iter_mut().find(fits) {
                Some(bin) => bin.push(row),
                None => bins.push(vec![row]),
            }
        }
        bins
    }

    /// The id of every token is the index of its row, so that a packed row shows which rows it contains.
    fn rows(lengths: &[usize]) -> Vec<TokenRow> {
        let row = |(index, &length): (usize, &usize)| TokenRow {
            ids: vec![index as u32; length],
            loss_mask: vec![true; length],
        };
        lengths.iter().enumerate().map(row).collect()
    }

    #[test]
    fn statistics_have_the_efficiency_and_the_rows_left_out() {
        let packing = Packing::of(&[3, 5, 2, 9], 5).unwrap();
        assert_eq!((packing.packed_rows, packing.too_long, packing.packing_efficiency), (2, 1, 1.0));
    }

    proptest! {
        #[test]
        fn every_row_is_kept_once_and_complete_within_the_capacity(lengths in prop::collection::vec(1usize..40, 0..60), spare in 0usize..60) {
            let capacity = lengths.iter().max().copied().unwrap_or(1) + spare;
            let packed = pack(&rows(&lengths), capacity).unwrap();
            let mut seen = vec![0; lengths.len()];
            for row in &packed {
                prop_assert!(row.ids.len() <= capacity && !row.ids.is_empty());
                prop_assert_eq!(row.ids.len(), row.loss_mask.len());
                prop_assert_eq!((row.cu_seqlens[0], *row.cu_seqlens.last().unwrap() as usize), (0, row.ids.len()));
                for bounds in row.cu_seqlens.windows(2) {
                    let document = bounds[0] as usize..bounds[1] as usize;
                    let index = row.ids[document.start] as usize;
                    seen[index] += 1;
                    prop_assert_eq!(&row.ids[document.clone()], &vec![index as u32; lengths[index]][..]);
                    prop_assert!(!row.loss_mask[document.start] && row.loss_mask[document][1..].iter().all(|&in_loss| in_loss));
                }
            }
            prop_assert!(seen.iter().all(|&times| times == 1));
        }

        #[test]
        fn the_tree_finds_the_same_bins_as_a_linear_search(lengths in prop::collection::vec(1usize..40, 0..60), spare in 0usize..60) {
            let capacity = lengths.iter().max().copied().unwrap_or(1) + spare;
            let rows = rows(&lengths);
            let expected: Vec<PackedRow> =
                naive(&lengths, capacity).iter().map(|bin| concat(&bin.iter().map(|&row| &rows[row]).collect::<Vec<_>>())).collect();
            prop_assert_eq!(pack(&rows, capacity).unwrap(), expected);
        }
    }

    proptest! {
        #[test]
        fn a_stream_emits_every_row_exactly_once(lengths in prop::collection::vec(1usize..40, 0..80), spare in 0usize..60, window in 1usize..20) {
            let capacity = lengths.iter().max().copied().unwrap_or(1) + spare;
            let all = rows(&lengths);
            let packed: Vec<PackedRow> = pack_stream(all.iter().cloned().map(Ok), capacity, window).collect::<Result<_>>().unwrap();
            let mut seen = vec![0; lengths.len()];
            for row in &packed {
                prop_assert!(row.ids.len() <= capacity);
                for bounds in row.cu_seqlens.windows(2) {
                    let ids = &row.ids[bounds[0] as usize..bounds[1] as usize];
                    prop_assert_eq!(ids.len(), lengths[ids[0] as usize]);
                    seen[ids[0] as usize] += 1;
                }
            }
            prop_assert!(seen.iter().all(|&times| times == 1));
        }
    }

    #[test]
    fn a_stream_continues_after_rows_that_cannot_be_packed() {
        let mut all = rows(&[3, 9, 2]);
        all.push(TokenRow::default());
        let found: Vec<Result<PackedRow>> = pack_stream(all.into_iter().map(Ok), 8, 2).collect();
        assert!(matches!(found[0], Err(Error::RowTooLong { row: 1, tokens: 9, capacity: 8 })));
        assert!(found.iter().any(|row| matches!(row, Err(Error::RowShape { row: 3, .. }))));
        assert_eq!(found.iter().flatten().map(|row| row.ids.len()).sum::<usize>(), 5);
    }

    #[test]
    fn a_row_that_is_too_long_is_named() {
        let error = pack(&rows(&[3, 9, 10]), 8).unwrap_err();
        assert!(matches!(error, Error::RowTooLong { row: 1, tokens: 9, capacity: 8 }), "{error}");
    }

    #[test]
    fn a_row_with_a_short_loss_mask_is_named() {
        let mut all = rows(&[3, 2]);
        all[1].loss_mask.pop();
        let error = pack(&all, 8).unwrap_err();
        assert!(matches!(error, Error::RowShape { row: 1, ids: 2, loss_mask: 1 }), "{error}");
        assert_eq!(concat(&[&all[1]]).loss_mask, [false, false]);
        assert!(pack(&rows(&[0]), 8).is_err());
    }

    #[test]
    fn no_rows_pack_to_no_rows() {
        assert_eq!(pack(&[], 8).unwrap(), []);
        assert_eq!(concat(&[]).cu_seqlens, [0]);
    }
}
