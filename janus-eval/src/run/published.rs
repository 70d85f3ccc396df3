//! The paper's numbers, and whether a result is comparable with them.

use crate::judge::read::ScoreReader;
use crate::report::{Cell, Section, Table};

use super::{CaseResult, RubricResult};
use crate::protocol::ProtocolInfo;

/// Rows of the paper's Table 2 (arXiv 2405.17977v1): model, the five sources, average.
const TABLE_2: [(&str, [f64; 6]); 6] = [
    ("Mistral 7B Instruct v0.2", [4.20, 3.82, 4.18, 3.82, 3.98, 3.93]),
    ("LLaMA 3 Instruct 8B", [4.38, 3.88, 4.33, 4.08, 4.17, 4.10]),
    ("Janus 7B", [4.43, 4.06, 4.41, 4.11, 4.01, 4.17]),
    ("Janus+DPO 7B", [4.45, 4.13, 4.43, 4.21, 4.17, 4.24]),
    ("GPT-3.5 Turbo-0125", [4.05, 3.86, 4.15, 3.87, 3.85, 3.91]),
    ("GPT-4-0613", [4.25, 4.00, 4.18, 4.16, 4.13, 4.10]),
];

/// The paper's Table 2 as a table.
pub(super) fn table() -> Table {
    let columns = [
        "model (published)",
        "mf-AlpacaEval",
        "mf-FLASK",
        "mf-Koala",
        "mf-MT-Bench",
        "mf-Self-Instruct",
        "average",
    ];
    let mut table = Table::new(
        "Published: Multifaceted Bench, mean score, 1 to 5 (the paper's Table 2, first version)",
        columns,
    );
    for (model, scores) in TABLE_2 {
        table = table.row(
            [Cell::from(model)]
                .into_iter()
                .chain(scores.map(|score| Cell::number(score, 2)))
                .collect::<Vec<_>>(),
        );
    }
    table
}

/// Adds the paper's numbers to a section if all runs are comparable with them. Otherwise adds the
/// differences of each run.
pub(super) fn add<'n>(
    section: Section,
    table: Table,
    what: &str,
    differing: impl Iterator<Item = (&'n str, Vec<String>)>,
) -> Section {
    let differing: Vec<(&str, Vec<String>)> = differing.filter(|(_, found)| !found.is_empty()).collect();
    if differing.is_empty() {
        return section.table(table);
    }
    let paragraph = |section: Section, (name, found): (&str, Vec<String>)| {
        section.paragraph(format!("{name} is not comparable with {what}: {}.", found.join("; ")))
    };
    differing.into_iter().fold(section, paragraph)
}

/// Rows of the paper's Table 3 (arXiv 2405.17977v1): AlpacaEval 2.0 length-controlled and raw win rate
/// in percent, MT-Bench, Arena-Hard.
const TABLE_3: [(&str, [f64; 4]); 7] = [
    ("Mistral 7B Instruct v0.2", [17.1, 14.7, 7.2, 10.8]),
    ("Gemma 7B Instruct", [10.4, 6.9, 6.4, 7.5]),
    ("LLaMA 3 8B Instruct", [22.9, 22.6, 7.6, 17.9]),
    ("Janus 7B", [26.9, 27.8, 7.7, 20.9]),
    ("GPT-3.5-Turbo-0125", [22.7, 14.1, 8.4, 24.8]),
    ("GPT-4-0613", [30.2, 15.8, 9.2, 37.9]),
    ("LLaMA 3 70B Instruct", [34.4, 33.2, 8.9, 41.1]),
];

/// The paper's numbers for a benchmark; `None` if Table 3 does not have it.
pub(super) fn table_3(protocol: &ProtocolInfo) -> Option<Table> {
    let columns: &[(&str, usize)] = match protocol.name.as_str() {
        "alpaca-eval" => &[("win rate, %", 1), ("length-controlled, %", 0)],
        "mt-bench" => &[("average", 2)],
        "arena-hard" => &[("score, %", 3)],
        _ => return None,
    };
    let caption = format!("Published: {} (the paper's Table 3, first version)", protocol.title);
    let mut table = Table::new(
        caption,
        ["model (published)"].into_iter().chain(columns.iter().map(|(column, _)| *column)),
    );
    for (model, numbers) in TABLE_3 {
        let cells = columns.iter().map(|(_, place)| Cell::number(numbers[*place], 1));
        table = table.row([Cell::from(model)].into_iter().chain(cells).collect::<Vec<_>>());
    }
    Some(table)
}

/// The settings of a benchmark's published numbers.
struct Official {
    rows: usize,
    judge: &'static str,
    /// Fingerprints of its prompts.
    prompts: &'static [&'static str],
    temperature: f64,
    max_tokens: usize,
}

fn official(protocol: &str) -> Option<Official> {
    Some(match protocol {
        "mt-bench" => Official {
            rows: 160,
            judge: "gpt-4",
            prompts: &["6abca2784777215b", "6157e1593d5f9fb6", "f1f4b48ab0048d5b", "306e03dba052b9c3"],
            temperature: 0.0,
            max_tokens: 2048,
        },
        "arena-hard" => Official {
            rows: 500,
            judge: "gpt-4-1106-preview",
            prompts: &["cf31a9185b937d0a"],
            temperature: 0.0,
            max_tokens: 4096,
        },
        "alpaca-eval" => Official {
            rows: 805,
            judge: "gpt-4-1106-preview",
            prompts: &["9679ebfb42ec9784"],
            temperature: 1.0,
            max_tokens: 1,
        },
        _ => return None,
    })
}

/// The differences that make a benchmark's result incomparable with the paper's numbers. The baseline's
/// answers are not checked, as the result does not have them.
pub(super) fn case_differences(result: &CaseResult) -> Vec<String> {
    let Some(official) = official(&result.head.protocol.name) else { return Vec::new() };
    let settings = &result.head.settings;
    let mut found = Vec::new();
    let rows = result.all.as_ref().map_or(0, |all| all.n);
    if rows != official.rows {
        found.push(format!("{rows} rows have a verdict and not {}", official.rows));
    }
    if settings.judge != official.judge {
        found.push(format!("the judge is {} and not {}", settings.judge, official.judge));
    }
    if let Some(prompt) =
        settings.prompts.iter().find(|prompt| !official.prompts.contains(&prompt.fingerprint.as_str()))
    {
        found.push(format!("the judge's prompt {} is not the published one", prompt.id));
    }
    let sampling = &settings.sampling;
    if (sampling.temperature, sampling.max_tokens) != (official.temperature, official.max_tokens) {
        found.push("the judge's sampling parameters differ".into());
    }
    found
}

/// Fingerprint of the released judge prompt.
const PROMPT: &str = "9b61f90fcad77c6e";

/// The differences that make a rubric result incomparable with the paper's numbers.
pub(super) fn differences(result: &RubricResult) -> Vec<String> {
    let settings = &result.head.settings;
    let mut found = Vec::new();
    let mut differs = |differs: bool, what: String| {
        if differs {
            found.push(what);
        }
    };
    differs(result.head.rows != 921, format!("the bench has {} rows and not 921", result.head.rows));
    differs(
        settings.judge != "gpt-4-0125-preview",
        format!("the judge is {} and not gpt-4-0125-preview", settings.judge),
    );
    for prompt in settings.prompts.iter().filter(|prompt| prompt.fingerprint != PROMPT) {
        differs(true, format!("the judge's prompt is {} and not the released one", prompt.id));
    }
    differs(
        result.reader != ScoreReader::Published,
        "the score is read by the strict rule and not by the released one".into(),
    );
    differs(settings.system_shown, "the judge sees the system message".into());
    differs(!settings.reference_shown, "the judge does not see the reference answer".into());
    differs(result.runs != 3, format!("there are {} runs and not 3", result.runs));
    let sampling = &settings.sampling;
    let same = (sampling.temperature, sampling.top_p, sampling.max_tokens) == (1.0, 0.9, 1024);
    differs(!same, "the judge's sampling parameters differ".into());
    found
}

/// Fingerprints of the prompts of a protocol's published numbers.
pub(crate) fn prompt_fingerprints(protocol: &str) -> &'static [&'static str] {
    if protocol == "rubric" { &[PROMPT] } else { official(protocol).map_or(&[], |official| official.prompts) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_published_averages_are_weighted_by_rows() {
        assert_eq!(super::table().rows.len(), super::TABLE_2.len());
        let (_, janus) = super::TABLE_2[2];
        let mean = janus[..5].iter().sum::<f64>() / 5.0;
        assert!((mean - janus[5]).abs() > 0.02, "{mean}");
    }
}
