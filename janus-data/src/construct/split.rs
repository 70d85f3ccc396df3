//! Turns drafts into the rows of the training files and the bench.

use std::collections::HashSet;

use janus_core::{BenchRecord, Message, PairRecord, RewardRecord, SftRecord, derive_seed, stream};
use rand::Rng;

use super::draft::Draft;
use super::{Constructed, Construction, Summary};
use crate::instructions::Instruction;

/// The ids of the instructions that become bench rows: those that the construction names, and the given share
/// of the others, those with the smallest random draws.
pub(super) fn bench(instructions: &[&Instruction], construction: &Construction) -> HashSet<String> {
    let Construction { seed, bench_share: share, bench_ids, .. } = construction;
    let (named, instructions): (Vec<&Instruction>, Vec<&Instruction>) =
        instructions.iter().copied().partition(|instruction| bench_ids.contains(&instruction.id));
    let count = (instructions.len() as f64 * share.clamp(0.0, 1.0)).round() as usize;
    let mut drawn: Vec<(u64, &str)> = instructions
        .iter()
        .map(|instruction| {
            (derive_seed(*seed, &format!("bench {}", instruction.id)), instruction.id.as_str())
        })
        .collect();
    drawn.sort_unstable();
    let drawn = drawn.into_iter().take(count).map(|(_, id)| id.to_string());
    named.into_iter().map(|instruction| instruction.id.clone()).chain(drawn).collect()
}

/// Distributes the drafts over the files.
pub(super) fn split(
    drafts: &[Draft<'_>],
    bench: &HashSet<String>,
    seed: u64,
    summary: Summary,
) -> Constructed {
    let mut collection = Constructed {
        sft: Vec::new(),
        sft_small: Vec::new(),
        dpo: Vec::new(),
        orpo: Vec::new(),
        rm: Vec::new(),
        bench: Vec::new(),
        summary,
    };
    for drafts in drafts.chunk_by(|one, next| one.instruction.id == next.instruction.id) {
        let Some(first) = drafts.first() else { continue };
        let instruction = first.instruction;
        if bench.contains(&instruction.id) {
            collection.bench.extend(
                drafts.iter().filter(|draft| draft.rubrics.len() == draft.set.iter().len()).map(bench_row),
            );
            continue;
        }
        collection.sft.extend(drafts.iter().map(sft_row));
        let mut rng = stream(seed, &format!("small {}", instruction.id));
        collection.sft_small.push(sft_row(&drafts[rng.random_range(0..drafts.len())]));
        let pair = |purpose: &str| draw_pair(drafts, seed, &format!("{purpose} {}", instruction.id));
        collection.dpo.extend(pair("dpo").map(|(chosen, rejected)| pair_row(chosen, rejected)));
        collection.orpo.extend(pair("orpo").map(|(chosen, rejected)| pair_row(chosen, rejected)));
        collection.rm.extend(pair("rm").map(|(chosen, rejected)| reward_row(chosen, rejected)));
    }
    collection.summary.rows = [
        ("sft", collection.sft.len()),
        ("sft_small", collection.sft_small.len()),
        ("dpo", collection.dpo.len()),
        ("orpo", collection.orpo.len()),
        ("rm", collection.rm.len()),
        ("bench", collection.bench.len()),
    ]
    .map(|(name, rows)| (name, rows as u64))
    .into();
    collection
}

/// Two drafts of an instruction with different responses; all such pairs are equally likely.
fn draw_pair<'d, 'a>(
    drafts: &'d [Draft<'a>],
    seed: u64,
    purpose: &str,
) -> Option<(&'d Draft<'a>, &'d Draft<'a>)> {
    let pairs: Vec<(&Draft<'_>, &Draft<'_>)> = drafts
        .iter()
        .flat_map(|chosen| drafts.iter().map(move |rejected| (chosen, rejected)))
        .filter(|(chosen, rejected)| chosen.response != rejected.response)
        .collect();
    if pairs.is_empty() { None } else { Some(pairs[stream(seed, purpose).random_range(0..pairs.len())]) }
}

fn sft_row(draft: &Draft<'_>) -> SftRecord {
    SftRecord {
        main_source: draft.instruction.main_source.clone(),
        original_source: draft.instruction.original_source.clone(),
        preference_set: Some(draft.set.clone()),
        system: draft.system.clone(),
        prompt: draft.instruction.prompt.clone(),
        output: draft.response.clone(),
    }
}

fn pair_row(chosen: &Draft<'_>, rejected: &Draft<'_>) -> PairRecord {
    let conversation = |answer: &Draft<'_>| {
        vec![Message::user(chosen.instruction.prompt.clone()), Message::assistant(answer.response.clone())]
    };
    PairRecord {
        main_source: chosen.instruction.main_source.clone(),
        original_source: chosen.instruction.original_source.clone(),
        system: chosen.system.clone(),
        prompt: chosen.instruction.prompt.clone(),
        chosen: conversation(chosen),
        rejected: conversation(rejected),
    }
}

fn reward_row(chosen: &Draft<'_>, rejected: &Draft<'_>) -> RewardRecord {
    RewardRecord {
        history: None,
        input: format!("{}\n{}", chosen.system, chosen.instruction.prompt),
        chosen: chosen.response.clone(),
        rejected: rejected.response.clone(),
    }
}

fn bench_row(draft: &Draft<'_>) -> BenchRecord {
    let source = [&draft.instruction.original_source, &draft.instruction.main_source]
        .into_iter()
        .find(|source| !source.is_empty());
    BenchRecord {
        id: Some(format!("{}-{}", draft.instruction.id, draft.number)),
        source: source.cloned().unwrap_or_default(),
        preference_set: Some(draft.set.clone()),
        system: draft.system.clone(),
        prompt: draft.instruction.prompt.clone(),
        reference_answer: draft.response.clone(),
        rubrics: draft.rubrics.clone(),
    }
}
