//! Statistics of rows: counts, lengths, balance, duplicates.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use crate::{RecordKind, Result, Row, Tokenizer};

/// Collects statistics of rows of any layout, one row at a time.
///
/// ```
/// use janus_data::Stats;
/// # use serde_json::json;
/// let mut stats = Stats::new(None);
/// for prompt in ["Why?", "How?", "Why?"] {
///     stats.add(json!({"prompt": prompt}).as_object().unwrap())?;
/// }
/// let report = stats.report();
/// assert_eq!((report.rows, report.duplicate_rows, report.fields["prompt"].characters.max), (3, 1, 4));
/// # Ok::<(), janus_data::Error>(())
/// ```
pub struct Stats<'a> {
    tokenizer: Option<&'a Tokenizer>,
    rows: u64,
    kinds: BTreeMap<&'static str, u64>,
    fields: BTreeMap<String, Counted>,
    subdimensions: BTreeMap<String, BTreeMap<String, u64>>,
    sources: BTreeMap<String, u64>,
    balance: Balance,
    seen_rows: HashSet<[u8; 16]>,
    prompts: HashMap<[u8; 16], u32>,
}

#[derive(Default)]
struct Counted {
    empty: u64,
    characters: Vec<u32>,
    tokens: Vec<u32>,
}

/// How often which of two responses is longer, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Balance {
    /// Pairs whose chosen response is longer.
    pub chosen_longer: u64,
    /// Pairs whose rejected response is longer.
    pub rejected_longer: u64,
    /// Pairs of equal length.
    pub equal: u64,
    /// Pairs of identical texts.
    pub identical: u64,
}

/// Lengths of a field's texts.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The shortest.
    pub min: u32,
    /// The median.
    pub p50: u32,
    /// The 95th percentile.
    pub p95: u32,
    /// The longest.
    pub max: u32,
    /// The sum.
    pub total: u64,
}

impl Spread {
    fn of(mut lengths: Vec<u32>) -> Self {
        lengths.sort_unstable();
        let Some(&max) = lengths.last() else { return Self::default() };
        let total = lengths.iter().map(|&length| u64::from(length)).sum();
        // Nearest rank.
        let rank = |percent: usize| lengths[(lengths.len() * percent).div_ceil(100).max(1) - 1];
        Self {
            mean: total as f64 / lengths.len() as f64,
            min: lengths[0],
            p50: rank(50),
            p95: rank(95),
            max,
            total,
        }
    }
}

/// Statistics of the texts of a field. The contents of a list of messages count as one text.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FieldReport {
    /// Rows that have the field.
    pub rows: u64,
    /// Of these, rows in which it is empty.
    pub empty: u64,
    /// Lengths in characters.
    pub characters: Spread,
    /// Lengths in tokens, if a tokenizer was given.
    pub tokens: Option<Spread>,
}

/// The result of [`Stats`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StatsReport {
    /// Rows.
    pub rows: u64,
    /// Rows that are equal to an earlier one in all fields.
    pub duplicate_rows: u64,
    /// Distinct prompts (`prompt`, `instruction` or `input`).
    pub prompts: u64,
    /// The largest number of rows with the same prompt.
    pub most_of_one_prompt: u32,
    /// Rows by kind of record.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Rows by `main_source`, or by `source`.
    pub sources: BTreeMap<String, u64>,
    /// Statistics of each field.
    pub fields: BTreeMap<String, FieldReport>,
    /// Rows by dimension and subdimension.
    pub subdimensions: BTreeMap<String, BTreeMap<String, u64>>,
    /// The lengths of `chosen` compared with those of `rejected`.
    pub balance: Balance,
}

impl<'a> Stats<'a> {
    /// Starts without rows. With a tokenizer, lengths in tokens are counted too.
    pub fn new(tokenizer: Option<&'a Tokenizer>) -> Self {
        Self {
            tokenizer,
            rows: 0,
            kinds: BTreeMap::new(),
            fields: BTreeMap::new(),
            subdimensions: BTreeMap::new(),
            sources: BTreeMap::new(),
            balance: Balance::default(),
            seen_rows: HashSet::new(),
            prompts: HashMap::new(),
        }
    }

    /// Counts a row.
    ///
    /// # Errors
    /// [`Error::Tokenizer`](crate::Error::Tokenizer).
    pub fn add(&mut self, row: &Row) -> Result<()> {
        self.rows += 1;
        *self.kinds.entry(RecordKind::of_row(row).map_or("other", RecordKind::as_str)).or_default() += 1;
        for (name, value) in row {
            let Some(text) = text(value) else { continue };
            let counted = self.fields.entry(name.clone()).or_default();
            counted.empty += u64::from(text.trim().is_empty());
            counted.characters.push(text.chars().count() as u32);
            if let Some(tokenizer) = self.tokenizer {
                counted.tokens.push(tokenizer.encode(&text)?.len() as u32);
            }
        }
        if let Some(source) = ["main_source", "source"]
            .iter()
            .find_map(|name| row.get(*name)?.as_str())
            .filter(|source| !source.is_empty())
        {
            *self.sources.entry(source.into()).or_default() += 1;
        }
        for preference in row.get("preference_set").and_then(Value::as_array).into_iter().flatten() {
            if let (Some(dimension), Some(subdimension)) =
                (preference["dimension"].as_str(), preference["subdimension"].as_str())
            {
                *self
                    .subdimensions
                    .entry(dimension.into())
                    .or_default()
                    .entry(subdimension.into())
                    .or_default() += 1;
            }
        }
        if let (Some(chosen), Some(rejected)) =
            (row.get("chosen").and_then(last_text), row.get("rejected").and_then(last_text))
        {
            let balance = &mut self.balance;
            match chosen.chars().count().cmp(&rejected.chars().count()) {
                std::cmp::Ordering::Greater => balance.chosen_longer += 1,
                std::cmp::Ordering::Less => balance.rejected_longer += 1,
                std::cmp::Ordering::Equal => balance.equal += 1,
            }
            balance.identical += u64::from(chosen == rejected);
        }
        self.seen_rows.insert(key(&serde_json::to_vec(row).unwrap_or_default()));
        if let Some(prompt) =
            ["prompt", "instruction", "user_prompt", "input"].iter().find_map(|name| row.get(*name)?.as_str())
        {
            *self.prompts.entry(key(prompt.as_bytes())).or_default() += 1;
        }
        Ok(())
    }

    /// The statistics of the rows so far.
    pub fn report(self) -> StatsReport {
        let with_tokens = self.tokenizer.is_some();
        let field = |(name, counted): (String, Counted)| {
            let rows = counted.characters.len() as u64;
            let tokens = with_tokens.then(|| Spread::of(counted.tokens));
            (
                name,
                FieldReport {
                    rows,
                    empty: counted.empty,
                    characters: Spread::of(counted.characters),
                    tokens,
                },
            )
        };
        StatsReport {
            rows: self.rows,
            duplicate_rows: self.rows - self.seen_rows.len() as u64,
            prompts: self.prompts.len() as u64,
            most_of_one_prompt: self.prompts.into_values().max().unwrap_or_default(),
            kinds: self.kinds,
            sources: self.sources,
            fields: self.fields.into_iter().map(field).collect(),
            subdimensions: self.subdimensions,
            balance: self.balance,
        }
    }
}

fn key(bytes: &[u8]) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    key
}

/// The text of a field; for messages, their contents.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(list) => {
            let contents: Vec<&str> = list
                .iter()
                .filter_map(|item| item.get("content").or_else(|| item.get("value"))?.as_str())
                .collect();
            (!contents.is_empty()).then(|| contents.join("\n"))
        }
        _ => None,
    }
}

fn last_text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        Value::Array(list) => list.last()?.get("content")?.as_str(),
        _ => None,
    }
}

/// A table: its title, its header, its rows.
struct Table(&'static str, Vec<&'static str>, Vec<Vec<String>>);

/// Number of subdimensions and sources in tables; the report has all of them.
const SHOWN: usize = 20;

impl StatsReport {
    fn tables(&self) -> Vec<Table> {
        let share = |count: u64, of: u64| format!("{:.1}%", 100.0 * count as f64 / of.max(1) as f64);
        let mut rows = vec![vec!["rows".into(), self.rows.to_string()]];
        rows.extend(
            self.kinds.iter().map(|(kind, count)| vec![format!("of kind {kind}"), count.to_string()]),
        );
        rows.push(vec!["repeat an earlier row".into(), self.duplicate_rows.to_string()]);
        rows.push(vec!["distinct prompts".into(), self.prompts.to_string()]);
        rows.push(vec!["most rows of one prompt".into(), self.most_of_one_prompt.to_string()]);
        let mut tables = vec![Table("Rows", vec!["", "count"], rows)];

        let mut fields = Vec::new();
        for (name, field) in &self.fields {
            for (unit, spread) in [("characters", Some(field.characters)), ("tokens", field.tokens)] {
                let Some(Spread { mean, min, p50, p95, max, total }) = spread else { continue };
                let numbers = [min, p50, p95, max].map(|number| number.to_string());
                let mut row = vec![
                    name.clone(),
                    unit.into(),
                    field.rows.to_string(),
                    field.empty.to_string(),
                    format!("{mean:.1}"),
                ];
                row.extend(numbers);
                row.push(total.to_string());
                fields.push(row);
            }
        }
        tables.push(Table(
            "Lengths",
            vec!["field", "in", "rows", "empty", "mean", "min", "p50", "p95", "max", "total"],
            fields,
        ));

        let Balance { chosen_longer, rejected_longer, equal, identical } = self.balance;
        let pairs = chosen_longer + rejected_longer + equal;
        if pairs > 0 {
            let of = [
                ("chosen is longer", chosen_longer),
                ("rejected is longer", rejected_longer),
                ("equally long", equal),
                ("the same text", identical),
            ];
            let rows = of
                .iter()
                .map(|(name, count)| vec![name.to_string(), count.to_string(), share(*count, pairs)])
                .collect();
            tables.push(Table("Pairs", vec!["", "count", "share"], rows));
        }
        let most = |counts: &BTreeMap<String, u64>| {
            let mut counts: Vec<(&String, &u64)> = counts.iter().collect();
            counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            counts.into_iter().take(SHOWN).map(|(name, count)| (name.clone(), *count)).collect::<Vec<_>>()
        };
        if !self.sources.is_empty() {
            let rows = most(&self.sources)
                .into_iter()
                .map(|(name, count)| vec![name, count.to_string(), share(count, self.rows)])
                .collect();
            tables.push(Table("Sources", vec!["source", "rows", "share"], rows));
        }
        if !self.subdimensions.is_empty() {
            let mut rows = Vec::new();
            for (dimension, counts) in &self.subdimensions {
                let total = counts.values().sum();
                let row = |(name, count): (String, u64)| {
                    vec![dimension.clone(), name, count.to_string(), share(count, total)]
                };
                rows.extend(most(counts).into_iter().map(row));
            }
            tables.push(Table("Subdimensions", vec!["dimension", "subdimension", "rows", "share"], rows));
        }
        tables
    }

    /// The report as plain-text tables.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        for Table(title, head, rows) in self.tables() {
            let width = |at: usize| {
                rows.iter()
                    .map(|row| row[at].chars().count())
                    .chain([head[at].len()])
                    .max()
                    .unwrap_or_default()
            };
            let widths: Vec<usize> = (0..head.len()).map(width).collect();
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{title}");
            let mut line = |cells: Vec<&str>| {
                let cells = cells.iter().zip(&widths).enumerate().map(|(at, (cell, width))| match at {
                    0 => format!("{cell:width$}"),
                    _ => format!("{cell:>width$}"),
                });
                let _ = writeln!(out, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
            };
            line(head.clone());
            rows.iter().for_each(|row| line(row.iter().map(String::as_str).collect()));
            out.push('\n');
        }
        out.trim_end().into()
    }

    /// The report as a self-contained HTML page.
    pub fn to_html(&self, title: &str) -> String {
        let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let mut out = format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{0}</title>\n<style>body{{font:15px/1.5 system-ui,sans-serif;\
             margin:2em auto;max-width:64em;padding:0 1em}}table{{border-collapse:collapse;margin-bottom:2em}}\
             th,td{{padding:.2em .8em;text-align:right;border-bottom:1px solid #ddd}}th:first-child,td:first-child{{text-align:left}}</style>\n\
             <h1>{0}</h1>\n",
            escaped(title)
        );
        for Table(title, head, rows) in self.tables() {
            let cells = |cells: Vec<&str>, tag: &str| {
                cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell))).collect::<String>()
            };
            let _ = writeln!(out, "<h2>{title}</h2>\n<table><tr>{}</tr>", cells(head, "th"));
            for row in &rows {
                let _ = writeln!(out, "<tr>{}</tr>", cells(row.iter().map(String::as_str).collect(), "td"));
            }
            out.push_str("</table>\n");
        }
        out + "</html>\n"
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_count_is_in_the_report() {
        let preferences =
            json!([{"dimension": "style", "subdimension": "tone", "preference": "warm", "description": "d"}]);
        let conversation =
            |text: &str| json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": text}]);
        let rows = [
            json!({"main_source": "m<x", "prompt": "q", "system": "", "preference_set": preferences, "output": "four"}),
            json!({"main_source": "m<x", "prompt": "q", "system": "s", "chosen": conversation("longer"), "rejected": conversation("short")}),
            json!({"main_source": "n", "prompt": "r", "system": "s", "chosen": conversation("same"), "rejected": conversation("same")}),
            json!({"main_source": "n", "prompt": "r", "system": "s", "chosen": conversation("same"), "rejected": conversation("same")}),
        ];
        let tokenizer = Tokenizer::train(["a"].into_iter(), 300, &[]).unwrap();
        let mut stats = Stats::new(Some(&tokenizer));
        rows.iter().for_each(|row| stats.add(row.as_object().unwrap()).unwrap());
        let report = stats.report();
        assert_eq!(
            (report.rows, report.duplicate_rows, report.prompts, report.most_of_one_prompt),
            (4, 1, 2, 2)
        );
        assert_eq!(report.kinds, [("pairs", 3), ("sft", 1)].into());
        assert_eq!(report.balance, Balance { chosen_longer: 1, rejected_longer: 0, equal: 2, identical: 2 });
        assert_eq!(report.subdimensions["style"]["tone"], 1);
        assert_eq!((report.fields["system"].empty, report.fields["output"].tokens.unwrap().total), (1, 4));
        let text = report.to_text();
        for part in ["distinct prompts", "chosen is longer", "tone", "m<x"] {
            assert!(text.contains(part), "{text}");
        }
        let html = report.to_html("a & b");
        assert!(html.contains("a &amp; b") && html.contains("m&lt;x") && !html.contains("m<x"));
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let spread = Spread::of((1..=100).collect());
        assert_eq!((spread.min, spread.p50, spread.p95, spread.max, spread.mean), (1, 50, 95, 100, 50.5));
        assert_eq!(Spread::of(vec![7]).p95, 7);
        assert_eq!(Spread::of(vec![]), Spread::default());
    }
}
