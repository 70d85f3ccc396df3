//! When a result may stand beside the paper's.

use crate::judge::ScoreReader;
use crate::report::{Cell, Table};

use super::RunResult;

/// Rows of the paper's Table 2 (arXiv 2405.17977v1): model, the five sources, average.
const TABLE_2: [(&str, [f64; 6]); 6] = [
    ("Mistral 7B Instruct v0.2", [4.20, 3.82, 4.18, 3.82, 3.98, 3.93]),
    ("LLaMA 3 Instruct 8B", [4.38, 3.88, 4.33, 4.08, 4.17, 4.10]),
    ("Janus 7B", [4.43, 4.06, 4.41, 4.11, 4.01, 4.17]),
    ("Janus+DPO 7B", [4.45, 4.13, 4.43, 4.21, 4.17, 4.24]),
    ("GPT-3.5 Turbo-0125", [4.05, 3.86, 4.15, 3.87, 3.85, 3.91]),
    ("GPT-4-0613", [4.25, 4.00, 4.18, 4.16, 4.13, 4.10]),
];

/// The paper's numbers as a table.
pub(super) fn table() -> Table {
    let columns = ["model (published)", "mf-AlpacaEval", "mf-FLASK", "mf-Koala", "mf-MT-Bench", "mf-Self-Instruct", "average"];
    let mut table = Table::new("Published: Multifaceted Bench, mean score, 1 to 5 (the paper's Table 2, first version)", columns);
    for (model, scores) in TABLE_2 {
        table = table.row([Cell::from(model)].into_iter().chain(scores.map(|score| Cell::number(score, 2))).collect::<Vec<_>>());
    }
    table
}

/// Fingerprint of the released judge prompt.
const PROMPT: &str = "9b61f90fcad77c6e";

/// What keeps a result from being compared with the paper's numbers.
pub(super) fn differences(result: &RunResult) -> Vec<String> {
    let settings = &result.settings;
    let mut found = Vec::new();
    let mut differs = |differs: bool, what: String| {
        if differs {
            found.push(what);
        }
    };
    differs(result.records != 921, format!("the bench has {} rows and not 921", result.records));
    differs(settings.judge != "gpt-4-0125-preview", format!("the judge is {} and not gpt-4-0125-preview", settings.judge));
    differs(settings.prompt.fingerprint != PROMPT, format!("the judge's prompt is {} and not the released one", settings.prompt.id));
    differs(settings.reader != ScoreReader::Published, "the score is read by the strict rule and not by the released one".into());
    differs(settings.system_shown, "the judge sees the system message".into());
    differs(!settings.reference_shown, "the judge does not see the reference answer".into());
    differs(settings.runs != 3, format!("there are {} runs and not 3", settings.runs));
    let sampling = &settings.sampling;
    let same = (sampling.temperature, sampling.top_p, sampling.max_tokens) == (1.0, 0.9, 1024);
    differs(!same, "the judge samples otherwise".into());
    found
}

#[cfg(test)]
mod tests {
    use crate::judge::PromptTemplate;

    #[cfg_attr(not(has_shared), ignore = "needs ../shared")]
    #[test]
    fn the_fingerprint_is_that_of_the_released_prompt() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/rubric_judgments/janus_judge_prompt.json");
        let template = PromptTemplate::parse(&std::fs::read_to_string(path).unwrap(), "official").unwrap();
        assert_eq!(template.version().fingerprint, super::PROMPT);
    }

    #[test]
    fn the_published_averages_are_weighted_by_rows_and_not_means_of_columns() {
        assert_eq!(super::table().rows.len(), super::TABLE_2.len());
        let (_, janus) = super::TABLE_2[2];
        let mean = janus[..5].iter().sum::<f64>() / 5.0;
        assert!((mean - janus[5]).abs() > 0.02, "{mean}");
    }
}
