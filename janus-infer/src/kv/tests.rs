//! Properties of the block store, on the host and on a device that a map simulates: a sequence reads
//! what it wrote, whatever sequences that share its blocks write; only blocks of live sequences are in
//! use; freed memory is reused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::ModelConfig;
use crate::kernels::simd::LANES;

/// Two layers with two heads of four elements.
fn config() -> ModelConfig {
    ModelConfig::from_json(
        r#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 6, "num_hidden_layers": 2,
            "num_attention_heads": 2, "max_position_embeddings": 4096}"#,
    )
    .unwrap()
}

/// An operation on sequences; indices are taken modulo their number.
#[derive(Debug, Clone)]
enum Step {
    Append {
        sequence: usize,
        tokens: usize,
    },
    Fork {
        sequence: usize,
    },
    Clear {
        sequence: usize,
    },
    Drop {
        sequence: usize,
    },
    /// A forward pass that fails.
    Fail {
        sequence: usize,
        tokens: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let sequence = 0..16usize;
    let step = prop_oneof![
        4 => (sequence.clone(), 1..70usize).prop_map(|(sequence, tokens)| Step::Append { sequence, tokens }),
        4 => sequence.clone().prop_map(|sequence| Step::Append { sequence, tokens: 1 }),
        3 => sequence.clone().prop_map(|sequence| Step::Fork { sequence }),
        1 => sequence.clone().prop_map(|sequence| Step::Clear { sequence }),
        1 => sequence.clone().prop_map(|sequence| Step::Drop { sequence }),
        1 => (sequence, 1..40usize).prop_map(|(sequence, tokens)| Step::Fail { sequence, tokens }),
    ];
    prop::collection::vec(step, 1..60)
}

/// Where the blocks are stored.
trait Memory {
    fn store(&self) -> &Arc<BlockStore>;
    /// Extends a cache by tokens. All keys and values are derived from them.
    fn append(&mut self, cache: &mut KvCache, tokens: &[f32]);
    fn read(&self, cache: &KvCache) -> Vec<f32>;
}

struct Host(Arc<BlockStore>);

impl Memory for Host {
    fn store(&self) -> &Arc<BlockStore> {
        &self.0
    }

    fn append(&mut self, cache: &mut KvCache, tokens: &[f32]) {
        let mut writer = cache.reserve(tokens.len()).on_host();
        let from = writer.len();
        for layer in 0..2 {
            for (position, token) in (from..).zip(tokens) {
                let key: Vec<f32> = (0..8).map(|i| token + (layer * 8 + i) as f32 / 16.0).collect();
                let value: Vec<f32> = key.iter().map(|key| -key).collect();
                writer.push(layer, position, &key, &value);
            }
        }
        writer.commit();
    }

    /// The tokens, recovered from every key and value, which must agree.
    fn read(&self, cache: &KvCache) -> Vec<f32> {
        let layout = self.0.layout();
        let token = |position: usize| {
            let lanes = cache.blocks()[position / BLOCK].lanes();
            let row = position % BLOCK;
            let mut tokens = BTreeSet::new();
            for (layer, head, element) in (0..16).map(|i| (i / 8, i / 4 % 2, i % 4)) {
                let offset = (layer * 8 + head * 4 + element) as f32 / 16.0;
                let key = lanes[layout.keys(layer, head) + row / LANES * 4 + element][row % LANES];
                let value = lanes[layout.values(layer, head) + row][element];
                tokens.extend([(key - offset).to_bits(), (-value - offset).to_bits()]);
            }
            assert_eq!(
                tokens.len(),
                1,
                "the keys and values of position {position} come from different tokens"
            );
            tokens.into_iter().map(f32::from_bits).next().unwrap()
        };
        (0..cache.len()).map(token).collect()
    }
}

/// A device's memory: the tokens of each block number.
struct Device {
    store: Arc<BlockStore>,
    memory: BTreeMap<u32, [f32; BLOCK]>,
}

impl Memory for Device {
    fn store(&self) -> &Arc<BlockStore> {
        &self.store
    }

    fn append(&mut self, cache: &mut KvCache, tokens: &[f32]) {
        let reserved = cache.reserve(tokens.len());
        for (from, to) in reserved.copies().collect::<Vec<_>>() {
            let block = if from == BlockStore::ZEROS { [0.0; BLOCK] } else { self.memory[&from] };
            self.memory.insert(to, block);
        }
        let writer = reserved.copied();
        for (position, token) in (writer.len()..).zip(tokens) {
            self.memory.get_mut(&writer.number_for_writing(position)).unwrap()[position % BLOCK] = *token;
        }
        writer.commit();
    }

    fn read(&self, cache: &KvCache) -> Vec<f32> {
        let numbers = cache.blocks().iter().map(|block| block.number());
        let mut tokens: Vec<f32> = numbers.flat_map(|number| self.memory[&number]).collect();
        assert!(tokens[cache.len()..].iter().all(|rest| rest.is_finite()));
        tokens.truncate(cache.len());
        tokens
    }
}

/// Runs the steps and checks the properties after each.
fn check(memory: &mut impl Memory, steps: &[Step]) {
    let mut sequences = vec![(KvCache::new(memory.store()), Vec::<f32>::new())];
    let (mut next, mut most) = (0f32, 0);
    for step in steps {
        let count = sequences.len();
        match *step {
            Step::Append { sequence, tokens } => {
                let new: Vec<f32> = (0..tokens).map(|i| next + i as f32).collect();
                next += tokens as f32;
                let (cache, expected) = &mut sequences[sequence % count];
                let blocks_before = memory.store().live();
                let needed = cache.needs_block();
                memory.append(cache, &new);
                expected.extend(new);
                assert!(
                    tokens > 1 || needed || memory.store().live() == blocks_before,
                    "needs_block did not announce the new block"
                );
            }
            Step::Fork { sequence } => sequences.push(sequences[sequence % count].clone()),
            Step::Clear { sequence } => {
                let (cache, expected) = &mut sequences[sequence % count];
                cache.clear();
                expected.clear();
            }
            Step::Drop { sequence } if count > 1 => drop(sequences.swap_remove(sequence % count)),
            Step::Drop { .. } => {}
            Step::Fail { sequence, tokens } => {
                let (cache, expected) = &mut sequences[sequence % count];
                drop(cache.reserve(tokens).copied());
                expected.clear();
            }
        }
        for (cache, expected) in &sequences {
            assert_eq!((cache.len(), cache.blocks().len()), (expected.len(), expected.len().div_ceil(BLOCK)));
            assert_eq!(&memory.read(cache), expected);
        }
        // The blocks in use are those of the sequences, each counted once.
        let blocks = sequences.iter().flat_map(|(cache, _)| cache.blocks());
        let distinct: BTreeSet<*const _> = blocks.map(|block| block.identity()).collect();
        assert_eq!(memory.store().live(), distinct.len());
        most = most.max(distinct.len());
    }
    drop(sequences);
    assert_eq!(memory.store().live(), 0);
    // A shared block stays allocated while it is copied: one block more than sequences need.
    let (needed, _) = memory.store().capacity();
    assert!(
        needed <= most + 2 + 40usize.div_ceil(BLOCK),
        "room for {needed} blocks where {most} were in use: freed ones are not reused"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_sequence_on_the_host_reads_what_it_wrote_whatever_its_siblings_write(steps in steps()) {
        check(&mut Host(Arc::new(BlockStore::on_host(&config()))), &steps);
    }

    #[test]
    fn a_sequence_on_a_device_reads_what_it_wrote_whatever_its_siblings_write(steps in steps()) {
        check(&mut Device { store: Arc::new(BlockStore::on_device(&config(), 4)), memory: BTreeMap::new() }, &steps);
    }
}

/// Two sequences that share a block and are extended in one pass must each write to a copy of it.
#[test]
fn sequences_that_are_extended_together_do_not_write_to_a_shared_block() {
    let store = Arc::new(BlockStore::on_device(&config(), 4));
    let mut first = KvCache::new(&store);
    first.reserve(5).copied().commit();
    let mut second = first.clone();
    let shared = first.blocks()[0].number();
    let reserved = [first.reserve(1), second.reserve(1)];
    let copies: Vec<_> = reserved.iter().flat_map(Reservation::copies).collect();
    let written: Vec<u32> =
        reserved.into_iter().map(|reserved| reserved.copied().number_for_writing(5)).collect();
    assert!(written[0] != written[1]);
    assert!(
        copies.iter().all(|(from, to)| *from == shared && written.contains(to)),
        "{copies:?} {written:?}"
    );
    assert!(!written.contains(&shared), "the block is written before it is copied: {copies:?} {written:?}");
}

#[test]
fn freed_host_memory_is_reused() {
    let store = Arc::new(BlockStore::on_host(&config()));
    let mut cache = KvCache::new(&store);
    cache.reserve(1).on_host().commit();
    let before = cache.blocks()[0].lanes().as_ptr();
    cache.clear();
    cache.reserve(1).on_host().commit();
    assert_eq!(cache.blocks()[0].lanes().as_ptr(), before);
}

#[test]
fn unused_prefixes_are_freed_least_recently_used_first() {
    let store = Arc::new(BlockStore::on_host(&config()));
    let mut prefixes = PrefixCache::default();
    let prompts = [vec![1u32; 3 * BLOCK], vec![2; 2 * BLOCK], [vec![1; BLOCK], vec![3; BLOCK]].concat()];
    for prompt in &prompts {
        let shared = prefixes.find(prompt);
        let mut cache = KvCache::from_blocks(&store, shared);
        let left = prompt.len() - cache.len();
        cache.reserve(left).on_host().commit();
        prefixes.insert(prompt, &cache);
    }
    // The last prompt shares the first block of the first one.
    assert_eq!((store.live(), prefixes.idle_blocks()), (6, 6));
    let held = prefixes.find(&prompts[1]);
    assert_eq!((held.len(), prefixes.idle_blocks()), (2, 4));
    prefixes.shrink(2);
    assert_eq!((store.live(), prefixes.find(&prompts[0]).len(), prefixes.find(&prompts[2]).len()), (4, 1, 2));
    assert_eq!(held.len(), prefixes.find(&prompts[1]).len());
    drop(held);
    prefixes.shrink(0);
    assert_eq!(store.live(), 0);
}
