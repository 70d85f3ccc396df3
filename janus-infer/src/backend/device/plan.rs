//! The plan of a forward pass: where the rows' keys and values are written in device memory, and which
//! tokens attend together.

use candle_core::{DType, Device, Result, Tensor};

use crate::kernels::AttentionShape;
use crate::kv::{BLOCK, BlockStore, CacheWriter};

/// The most consecutive tokens of a sequence that attend together: in a longer span, up to half of the
/// scores would be masked.
const SPAN_TOKENS: usize = 512;
/// The most elements of an attention call: scores, and gathered keys and values.
const MAX_ELEMENTS: usize = 1 << 26;
/// Padding to this many elements costs less than one more launch of each operation.
const FREE_ELEMENTS: usize = 1 << 20;
/// The fewest rows of a run that is copied in one operation; rows of shorter runs are scattered one by one.
const MIN_RUN: usize = 16;

/// Elements of an attention of `tokens` over `blocks`: scores, keys and values.
fn elements(shape: AttentionShape, tokens: usize, blocks: usize) -> usize {
    blocks * BLOCK * (shape.heads * tokens + 2 * shape.kv_width())
}

/// The new tokens of a sequence.
#[derive(Debug, Clone, Copy)]
struct New {
    /// Index of the sequence.
    sequence: usize,
    /// Row of the first token among all rows of the call.
    row: usize,
    /// Position of the first token in its sequence.
    position: usize,
    tokens: usize,
}

/// Consecutive new tokens of a sequence, with the blocks that they attend to.
#[derive(Debug, Clone, Copy)]
struct Span {
    new: New,
    first_block: usize,
    blocks: usize,
}

/// Spans that attend together, each padded to `tokens` and `blocks`.
#[derive(Debug, Default)]
struct Group {
    spans: Vec<Span>,
    tokens: usize,
    blocks: usize,
}

/// Consecutive rows whose slots are consecutive too.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub row: usize,
    /// The slot of the first row: the number of its block times [`BLOCK`], plus its position in the block.
    pub slot: usize,
    pub len: usize,
}

/// Where the call's keys and values are written.
pub(super) struct Writes {
    pub runs: Vec<Run>,
    /// The rows outside of runs, `[rows]`, and their slots, `[kv_heads, rows, head_dim]`.
    pub single: Option<(Tensor, Tensor)>,
}

/// The indices of one attention call, for the spans of a group.
pub(super) struct Attend {
    pub spans: usize,
    /// Tokens of each span.
    pub tokens: usize,
    /// Positions that a span attends to, a multiple of [`BLOCK`].
    pub positions: usize,
    /// Rows of the spans' tokens, `[spans * tokens]`; `None` if they are the call's rows in order.
    pub rows: Option<Tensor>,
    /// Numbers of the blocks, `[spans * blocks]`.
    pub blocks: Tensor,
    /// The mask that is added to scores: 0, or `-inf` where a token does not attend to a position;
    /// `[1, spans, 1, tokens, positions]`.
    pub mask: Tensor,
}

pub(super) struct Plan {
    pub writes: Writes,
    pub attends: Vec<Attend>,
    /// For each of the call's rows, its index in the concatenated outputs of all groups; `None` if the
    /// order is the same.
    pub order: Option<Tensor>,
}

impl Plan {
    /// Plans the new tokens of these caches.
    pub(super) fn new(shape: AttentionShape, caches: &[CacheWriter<'_>], device: &Device) -> Result<Self> {
        let mut row = 0;
        let new = caches.iter().enumerate().map(|(sequence, cache)| {
            row += cache.tokens();
            New { sequence, row: row - cache.tokens(), position: cache.len(), tokens: cache.tokens() }
        });
        let new: Vec<New> = new.collect();
        let tables: Vec<Vec<u32>> = caches.iter().map(|cache| cache.numbers().collect()).collect();
        let groups = groups(shape, new.iter().flat_map(|new| spans(shape, *new)).collect());
        let rows_of = |group: &Group| {
            group
                .spans
                .iter()
                .flat_map(|span| padded(span.new.row..span.new.row + span.new.tokens, group.tokens))
                .collect()
        };
        let rows: Vec<Vec<u32>> = groups.iter().map(rows_of).collect();
        let in_order = |rows: &[u32]| rows.iter().copied().eq(0..row as u32);
        let attends = groups.iter().zip(&rows).map(|(group, rows)| {
            let rows = if in_order(rows) { None } else { Some(rows.as_slice()) };
            attend(shape, group, rows, &tables, device)
        });
        let attends = attends.collect::<Result<_>>()?;
        let rows = rows.concat();
        let order = if in_order(&rows) {
            None
        } else {
            let mut order = vec![0; row];
            // A span is padded by repeating its last row; all copies give the same result, and the last
            // one is taken.
            rows.iter().zip(0u32..).for_each(|(row, at)| order[*row as usize] = at);
            Some(Tensor::from_vec(order, row, device)?)
        };
        let block = |sequence: usize, position: usize| caches[sequence].number_for_writing(position);
        Ok(Self { writes: writes(shape, &new, block, device)?, attends, order })
    }
}

/// The numbers of a range, padded to `len` numbers by repeating the last.
fn padded(range: std::ops::Range<usize>, len: usize) -> impl Iterator<Item = u32> {
    let last = range.end - 1;
    (0..len).map(move |i| (range.start + i).min(last) as u32)
}

/// Splits the new tokens of a sequence into spans.
fn spans(shape: AttentionShape, new: New) -> impl Iterator<Item = Span> {
    let end = new.position + new.tokens;
    let seen = shape.sliding_window.map_or(end, |window| end.min(window + SPAN_TOKENS)).div_ceil(BLOCK);
    let each = ((MAX_ELEMENTS / (seen * BLOCK)).saturating_sub(2 * shape.kv_heads * shape.head_dim)
        / shape.heads)
        .clamp(1, SPAN_TOKENS);
    (0..new.tokens).step_by(each).map(move |start| {
        let position = new.position + start;
        let tokens = each.min(new.tokens - start);
        let first_block = shape.first_seen(position) / BLOCK;
        let blocks = (position + tokens).div_ceil(BLOCK) - first_block;
        Span { new: New { row: new.row + start, position, tokens, ..new }, first_block, blocks }
    })
}

/// Groups spans that are so similar in size that padding costs little.
fn groups(shape: AttentionShape, mut spans: Vec<Span>) -> Vec<Group> {
    spans.sort_by_key(|span| std::cmp::Reverse((span.new.tokens, span.blocks)));
    let mut groups: Vec<Group> = Vec::new();
    let mut needed = 0;
    for span in spans {
        let own = elements(shape, span.new.tokens, span.blocks);
        if let Some(group) = groups.last_mut() {
            let (tokens, blocks) = (group.tokens.max(span.new.tokens), group.blocks.max(span.blocks));
            let held = (group.spans.len() + 1) * elements(shape, tokens, blocks);
            if held <= MAX_ELEMENTS && (held <= FREE_ELEMENTS || held <= 2 * (needed + own)) {
                (group.tokens, group.blocks) = (tokens, blocks);
                group.spans.push(span);
                needed += own;
                continue;
            }
        }
        groups.push(Group { tokens: span.new.tokens, blocks: span.blocks, spans: vec![span] });
        needed = own;
    }
    // Rows that stay in the call's order need not be gathered.
    groups.iter_mut().for_each(|group| group.spans.sort_by_key(|span| span.new.row));
    groups.sort_by_key(|group| group.spans[0].new.row);
    groups
}

fn attend(
    shape: AttentionShape,
    group: &Group,
    rows: Option<&[u32]>,
    tables: &[Vec<u32>],
    device: &Device,
) -> Result<Attend> {
    let Group { spans, tokens, blocks } = group;
    let (count, positions) = (spans.len(), blocks * BLOCK);
    let mut numbers = Vec::with_capacity(count * blocks);
    let (mut first, mut last) = (Vec::with_capacity(count * tokens), Vec::with_capacity(count * tokens));
    for span in spans {
        numbers.extend(&tables[span.new.sequence][span.first_block..][..span.blocks]);
        numbers.resize(numbers.len() + blocks - span.blocks, BlockStore::ZEROS);
        // Positions are compared as `f32`, which every device supports; below 2²⁴ they are exact.
        let begin = span.first_block * BLOCK;
        for position in padded(span.new.position..span.new.position + span.new.tokens, *tokens) {
            first.push(shape.first_seen(position as usize).saturating_sub(begin) as f32);
            last.push((position as usize - begin) as f32);
        }
    }
    let at =
        Tensor::arange(0u32, positions as u32, device)?.to_dtype(DType::F32)?.reshape((1, 1, positions))?;
    let per_token = |values: Vec<f32>| Tensor::from_vec(values, (count, *tokens, 1), device);
    let whole = (count, *tokens, positions);
    let (seen, hidden) =
        (Tensor::zeros(whole, DType::F32, device)?, Tensor::full(f32::NEG_INFINITY, whole, device)?);
    let mask = at.broadcast_le(&per_token(last)?)?.where_cond(&seen, &hidden)?;
    let mask = match shape.sliding_window {
        Some(_) => at.broadcast_ge(&per_token(first)?)?.where_cond(&mask, &hidden)?,
        None => mask,
    };
    Ok(Attend {
        spans: count,
        tokens: *tokens,
        positions,
        rows: rows.map(|rows| Tensor::from_slice(rows, rows.len(), device)).transpose()?,
        blocks: Tensor::from_vec(numbers, count * blocks, device)?,
        mask: mask.reshape((1, count, 1, *tokens, positions))?,
    })
}

/// Plans the writes; `block` returns the number of the block that a sequence's new token at a position
/// is written to.
fn writes(
    shape: AttentionShape,
    new: &[New],
    block: impl Fn(usize, usize) -> u32,
    device: &Device,
) -> Result<Writes> {
    let mut runs: Vec<Run> = Vec::new();
    for new in new {
        let slots = (new.position..new.position + new.tokens)
            .map(|p| block(new.sequence, p) as usize * BLOCK + p % BLOCK);
        for (row, slot) in (new.row..).zip(slots) {
            match runs.last_mut() {
                Some(run) if run.slot + run.len == slot => run.len += 1,
                _ => runs.push(Run { row, slot, len: 1 }),
            }
        }
    }
    let short: Vec<Run> = runs.extract_if(.., |run| run.len < MIN_RUN).collect();
    let of_runs = |start: fn(&Run) -> usize| {
        short.iter().flat_map(move |run| (start(run)..start(run) + run.len).map(|at| at as u32)).collect()
    };
    let (rows, slots): (Vec<u32>, Vec<u32>) = (of_runs(|run| run.row), of_runs(|run| run.slot));
    let count = rows.len();
    let single = if count == 0 {
        None
    } else {
        let slots = Tensor::from_vec(slots, (1, count, 1), device)?.broadcast_as((
            shape.kv_heads,
            count,
            shape.head_dim,
        ))?;
        Some((Tensor::from_vec(rows, count, device)?, slots.contiguous()?))
    };
    Ok(Writes { runs, single })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every new token attends once and to all positions that it may, and padding at most doubles
        /// large attentions.
        #[test]
        fn every_token_attends_once(
            inputs in prop::collection::vec((0usize..3000, prop_oneof![Just(1usize), 1usize..2000]), 1..20),
            window in prop::option::of(1usize..700),
            heads in 1usize..5,
        ) {
            let shape = AttentionShape { heads: 4 * heads, kv_heads: heads, head_dim: 64, sliding_window: window };
            let mut row = 0;
            let mut all = Vec::new();
            for (sequence, (position, tokens)) in inputs.iter().enumerate() {
                all.extend(spans(shape, New { sequence, row, position: *position, tokens: *tokens }));
                row += tokens;
            }
            let needed: usize = all.iter().map(|span| elements(shape, span.new.tokens, span.blocks)).sum();
            let groups = groups(shape, all);
            let mut seen = vec![0; row];
            let mut held = 0;
            for group in &groups {
                let elements = group.spans.len() * elements(shape, group.tokens, group.blocks);
                prop_assert!(elements <= MAX_ELEMENTS || group.spans.len() == 1);
                held += elements.saturating_sub(FREE_ELEMENTS);
                for span in &group.spans {
                    prop_assert!(span.new.tokens <= group.tokens && span.blocks <= group.blocks);
                    let end = span.new.position + span.new.tokens;
                    prop_assert!((span.first_block + span.blocks) * BLOCK >= end && (span.first_block + span.blocks - 1) * BLOCK < end);
                    let from = window.map_or(0, |window| (span.new.position + 1).saturating_sub(window));
                    prop_assert!(span.first_block * BLOCK <= from);
                    let (position, _) = inputs[span.new.sequence];
                    prop_assert!(span.new.position >= position && span.new.tokens <= SPAN_TOKENS);
                    seen[span.new.row..][..span.new.tokens].iter_mut().for_each(|count| *count += 1);
                }
            }
            prop_assert!(seen.iter().all(|count| *count == 1));
            prop_assert!(held <= 2 * needed, "{} for {}", held, needed);
        }
    }

    #[test]
    fn sequences_of_similar_lengths_attend_together_and_others_apart() {
        let shape = AttentionShape { heads: 32, kv_heads: 8, head_dim: 128, sliding_window: None };
        let new = |sequence: usize, position: usize, tokens: usize| New {
            sequence,
            row: sequence,
            position,
            tokens,
        };
        let sizes = |new: &[New]| -> Vec<usize> {
            groups(shape, new.iter().flat_map(|new| spans(shape, *new)).collect())
                .iter()
                .map(|group| group.spans.len())
                .collect()
        };
        let alike: Vec<New> = (0..8).map(|sequence| new(sequence, 600 + 40 * sequence, 1)).collect();
        assert_eq!(sizes(&alike), [8]);
        let mut others = alike.clone();
        others.push(new(8, 0, 512));
        others.push(new(9, 30_000, 1));
        assert_eq!(sizes(&others), [8, 1, 1]);
        let prompt =
            spans(shape, new(0, 0, 1200)).map(|span| (span.new.tokens, span.blocks)).collect::<Vec<_>>();
        assert_eq!(prompt, [(512, 16), (512, 32), (176, 38)]);
    }

    #[test]
    fn consecutive_rows_are_written_in_one_operation() {
        let shape = AttentionShape { heads: 2, kv_heads: 2, head_dim: 4, sliding_window: None };
        let new = [
            New { sequence: 0, row: 0, position: 30, tokens: 40 },
            New { sequence: 1, row: 40, position: 5, tokens: 1 },
            New { sequence: 2, row: 41, position: 0, tokens: 20 },
        ];
        let tables = [vec![4, 7, 8], vec![1], vec![2]];
        let block = |sequence: usize, position: usize| tables[sequence][position / BLOCK];
        let Writes { runs, single } = writes(shape, &new, block, &Device::Cpu).unwrap();
        assert_eq!(
            runs,
            [Run { row: 2, slot: 7 * BLOCK, len: 38 }, Run { row: 41, slot: 2 * BLOCK, len: 20 }]
        );
        let (rows, slots) = single.unwrap();
        assert_eq!(rows.to_vec1::<u32>().unwrap(), [0, 1, 40]);
        assert_eq!(slots.dims(), [2, 3, 4]);
        let first = slots.get(1).unwrap().narrow(1, 3, 1).unwrap().flatten_all().unwrap();
        assert_eq!(first.to_vec1::<u32>().unwrap(), [4 * 32 + 30, 4 * 32 + 31, 32 + 5]);
    }
}
