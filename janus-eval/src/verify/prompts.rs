//! The prompts of the published judges.

use std::path::Path;

use super::Checks;
use crate::Result;
use crate::files::read_bytes;
use crate::judge::PromptTemplate;
use crate::run::prompt_fingerprints;

/// Checks the fingerprints by which a report recognises a published prompt against the published files.
pub(super) fn fingerprints(data: &Path, checks: &mut Checks) -> Result<()> {
    let read = |file: &str| {
        Ok::<_, crate::Error>(String::from_utf8_lossy(&read_bytes(&data.join(file))?).into_owned())
    };
    for (protocol, file) in [
        ("rubric", "rubric_judgments/janus_judge_prompt.json"),
        ("arena-hard", "arena_hard/judge_prompt.json"),
        ("alpaca-eval", "alpaca_eval/judge_prompt_weighted.txt"),
    ] {
        let template = PromptTemplate::parse(&read(file)?, "official")?;
        checks.exact(
            format!("{protocol}: fingerprint of the prompt"),
            vec![template.version().fingerprint],
            prompt_fingerprints(protocol),
        );
    }
    let lines = read("mt_bench/judge_prompts.jsonl")?;
    let names = ["single-v1", "single-v1-multi-turn", "single-math-v1", "single-math-v1-multi-turn"];
    let found: Vec<String> = names
        .iter()
        .map(|name| Ok(PromptTemplate::named(&lines, name)?.version().fingerprint))
        .collect::<Result<_>>()?;
    checks.exact("mt-bench: fingerprints of the prompts", found, prompt_fingerprints("mt-bench"));
    Ok(())
}
