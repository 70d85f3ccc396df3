//! The pool of prompts that a bench is drawn from.

use std::collections::BTreeMap;

use rand::RngCore as _;
use serde::{Deserialize, Serialize};

use super::Group;

/// A prompt of the pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolPrompt {
    /// The set that it is assigned to: the first one that contains it.
    pub group: Group,
    /// The prompt, in that set's spelling.
    pub prompt: String,
    /// The other sets that contain it.
    pub also_in: Vec<Group>,
}

/// Counts of a set's prompts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolReport {
    /// Prompts of the set.
    pub given: usize,
    /// Duplicates within the set.
    pub repeated: usize,
    /// Duplicates of an earlier set's prompts.
    pub taken: usize,
    /// Prompts of the pool that are assigned to this set.
    pub kept: usize,
}

/// Merges sets of prompts, each of a group, into a pool that contains each prompt once. Two prompts are
/// the same if they are equal up to white space, case, and FLASK's notation of inputs. The sets overlap
/// (AlpacaEval contains all of Self-Instruct), and a prompt is assigned to the first set that contains
/// it: pass the smaller sets first if they should keep their prompts. `seed` shuffles the pool, so that
/// its first n prompts are a random sample of n.
///
/// ```
/// use janus_eval::bench::multifaceted::{Group, prompt_pool};
/// let sets = [
///     (Group::Koala, vec!["Why is the sky blue?".to_string()]),
///     (Group::AlpacaEval, vec!["why is  the sky blue?".into(), "What is tea?".into()]),
/// ];
/// let (pool, reports) = prompt_pool(&sets, 0);
/// assert_eq!(pool.len(), 2);
/// assert_eq!((reports[1].taken, reports[1].kept), (1, 1));
/// ```
pub fn prompt_pool(sets: &[(Group, Vec<String>)], seed: u64) -> (Vec<PoolPrompt>, Vec<PoolReport>) {
    let mut places: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut pool: Vec<PoolPrompt> = Vec::new();
    let mut reports = vec![PoolReport::default(); sets.len()];
    for (number, (group, prompts)) in sets.iter().enumerate() {
        for prompt in prompts {
            reports[number].given += 1;
            match places.get(&folded(prompt)) {
                Some(&(owner, _)) if owner == number => reports[number].repeated += 1,
                Some(&(_, place)) => {
                    reports[number].taken += 1;
                    if !pool[place].also_in.contains(group) {
                        pool[place].also_in.push(*group);
                    }
                }
                None => {
                    reports[number].kept += 1;
                    places.insert(folded(prompt), (number, pool.len()));
                    pool.push(PoolPrompt { group: *group, prompt: prompt.clone(), also_in: Vec::new() });
                }
            }
        }
    }
    let mut rng = janus_core::stream(seed, "prompt pool");
    let mut keyed: Vec<(u64, PoolPrompt)> = pool.into_iter().map(|prompt| (rng.next_u64(), prompt)).collect();
    keyed.sort_by_key(|(key, _)| *key);
    (keyed.into_iter().map(|(_, prompt)| prompt).collect(), reports)
}

/// A prompt without the differences in spelling between the sets: white space, case, and FLASK's
/// notation, which writes line breaks as a backslash and an n, and `Input:` before a task's input.
fn folded(prompt: &str) -> String {
    let prompt = prompt.replace("\\n", "\n");
    let lines = prompt.lines().map(|line| line.strip_prefix("Input:").unwrap_or(line));
    lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ").to_lowercase()
}
