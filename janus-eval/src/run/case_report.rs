//! The report on runs of cases.

use std::collections::BTreeSet;

use super::rubric_report::{counts, distinct, sampling, spread};
use super::{CaseRun, CaseScore, PairTally, published};
use crate::protocol::{JudgedCall, JudgedCase, PairOutcome, ProtocolInfo, Scale, Side, Turn};
use crate::report::{
    BarChart, BarGroup, Cell, Example, ExampleJudgment, ExampleResponse, Figure, Histogram, PlotValue,
    Report, Section, ShareChart, ShareRow, Table,
};
use crate::{Error, Result};

/// Reports have no table by category if there are more categories than this: Arena-Hard has hundreds, of
/// two questions each.
const CATEGORIES: usize = 40;

/// The order of this crate's protocols in a report. Other protocols follow, in the order of the runs.
const ORDER: [&str; 5] = ["pairwise", "mt-bench", "mt-bench-pairs", "arena-hard", "alpaca-eval"];

/// The report on one run, or on several side by side, protocol by protocol. It shows the texts of at
/// most `shown` rows of each run, evenly spaced.
///
/// # Errors
/// [`Error::Empty`] without a run.
pub(crate) fn compare_cases(runs: &[CaseRun], shown: usize) -> Result<Report> {
    let first = runs.first().ok_or(Error::Empty { what: "a comparison of runs" })?;
    let named: Vec<Named<'_>> = distinct(runs.iter().map(name))
        .into_iter()
        .zip(runs)
        .map(|(name, run)| Named { name, run })
        .collect();
    let title = match named.as_slice() {
        [only] => format!(
            "{}: {} judged by {}",
            first.result.head.protocol.title, only.name, first.result.head.settings.judge
        ),
        several => {
            format!("Judged: {}", several.iter().map(|run| run.name.as_str()).collect::<Vec<_>>().join(", "))
        }
    };
    let mut report = Report::new(title);
    let mut protocols: Vec<&ProtocolInfo> = Vec::new();
    for run in runs {
        if !protocols.contains(&&run.result.head.protocol) {
            protocols.push(&run.result.head.protocol);
        }
    }
    protocols
        .sort_by_key(|protocol| ORDER.iter().position(|name| *name == protocol.name).unwrap_or(ORDER.len()));
    for protocol in protocols {
        let of: Vec<&Named<'_>> =
            named.iter().filter(|named| named.run.result.head.protocol == *protocol).collect();
        report.sections.extend(sections(protocol, &of, shown)?);
    }
    Ok(report)
}

/// A run with its unique name in the report.
struct Named<'r> {
    name: String,
    run: &'r CaseRun,
}

/// The names of the model and the opponent.
fn name(run: &CaseRun) -> String {
    match &run.result.head.opponent {
        Some(opponent) => format!("{} against {opponent}", run.result.head.model),
        None => run.result.head.model.clone(),
    }
}

fn sections(protocol: &ProtocolInfo, runs: &[&Named<'_>], shown: usize) -> Result<Vec<Section>> {
    let title = &protocol.title;
    let mut scores = Section::new(title.as_str());
    scores = scores
        .table(if is_rated(protocol) { ratings(protocol, runs) } else { rates(runs) })
        .paragraph(explained(protocol));
    for figure in [outcomes(runs), histogram(protocol, runs)?].into_iter().flatten() {
        scores = scores.figure(figure);
    }
    let differing =
        runs.iter().map(|Named { name, run }| (name.as_str(), published::case_differences(&run.result)));
    if let Some(table) = published::table_3(protocol) {
        scores = published::add(scores, table, "the paper's Table 3", differing);
    }
    let mut sections = vec![scores];
    if let Some(section) = by_category(protocol, runs) {
        sections.push(section);
    }
    let calls = counts(runs.iter().map(|Named { name, run }| (name.clone(), &run.result.head.counts)));
    sections.push(
        Section::new(format!("{title}: how it was judged"))
            .table(settings(runs))
            .table(prompts(runs))
            .table(calls),
    );
    let mut examples = Vec::new();
    for named in runs {
        let groups = groups(&named.run.rows);
        examples.extend(spread(groups.len(), shown).map(|group| example(named, groups[group])));
    }
    sections.push(Section::new(format!("{title}: answers")).examples(examples));
    Ok(sections)
}

fn is_rated(protocol: &ProtocolInfo) -> bool {
    matches!(protocol.scale, Scale::Rating { .. })
}

/// The factor from a value to the number in the report: 1 for ratings, 100 for shares, which are in
/// percent.
fn scale(protocol: &ProtocolInfo) -> f64 {
    if is_rated(protocol) { 1.0 } else { 100.0 }
}

/// The range of the scale, as text.
fn range(scale: Scale) -> String {
    match scale {
        Scale::Rating { low, high } => format!("{low} to {high}"),
        Scale::WinRate => "0 to 1".into(),
    }
}

/// A table cell with a score, and its interval if it has one.
fn cell(protocol: &ProtocolInfo, score: Option<&CaseScore>) -> Cell {
    let decimals = if is_rated(protocol) { 3 } else { 1 };
    let Some(score) = score else { return Cell::Empty };
    let interval = score.interval.map(|interval| Cell::interval(interval.scaled(scale(protocol)), decimals));
    interval.unwrap_or_else(|| Cell::number(scale(protocol) * score.mean, decimals))
}

fn explained(protocol: &ProtocolInfo) -> &'static str {
    match (protocol.name.as_str(), protocol.scale) {
        ("pairwise" | "mt-bench-pairs", _) => {
            "A row is a win if the model wins in both orders; a disagreement is a tie. The score counts a tie as half a win. Flipped: the \
             share of rows whose verdict changes with the order. First: the share of verdicts other than ties that are for the answer \
             shown first, 50 for a judge without position bias. Intervals: 95% bootstrap over questions. A row without a verdict in one \
             of the orders is not counted."
        }
        ("mt-bench", _) => {
            "The average is over all graded turns. Intervals: 95% bootstrap over questions, whose turns are resampled together. A turn \
             without a rating is not counted."
        }
        ("arena-hard", _) => {
            "Wins, ties and losses are battles: two games for each question, a strong verdict three times. The score is the win \
             probability against the baseline. Flipped: the share of questions whose two games disagree. Intervals: 95% bootstrap over \
             questions. The published interval, which resamples single battles, is computed by arena_hard::evaluate."
        }
        ("alpaca-eval", _) => {
            "The score is the mean preference for the model, the raw win rate. The length-controlled win rate is computed by \
             alpaca_eval::evaluate. A row is a win if the preference is above 0.5. Intervals: 95% bootstrap over instructions."
        }
        (_, Scale::Rating { .. }) => {
            "The average is over all ratings. Intervals: 95% bootstrap over questions. A row without a rating is not counted."
        }
        (_, Scale::WinRate) => {
            "The score is the mean over all verdicts, 1 for a win and 0.5 for a tie. Flipped: the share of rows whose verdict changes with \
             the order. First: the share of verdicts other than ties that are for the answer shown first. Intervals: 95% bootstrap over \
             questions. A row without a verdict is not counted."
        }
    }
}

fn ratings(protocol: &ProtocolInfo, runs: &[&Named<'_>]) -> Table {
    let turns: BTreeSet<usize> =
        runs.iter().flat_map(|named| named.run.result.turns.keys().copied()).collect();
    let columns = ["model".to_string(), "average".into()]
        .into_iter()
        .chain(turns.iter().map(|turn| format!("turn {turn}")));
    let rated = if turns.is_empty() { "rated rows" } else { "graded turns" };
    let mut table = Table::new(
        format!("Mean rating, {}", range(protocol.scale)),
        columns.chain([rated.into(), "without rating".into()]),
    );
    for Named { name, run } in runs {
        let turns = turns.iter().map(|turn| cell(protocol, run.result.turns.get(turn)));
        let cells = [name.as_str().into(), cell(protocol, run.result.all.as_ref())]
            .into_iter()
            .chain(turns)
            .chain(rows(run));
        table = table.row(cells.collect::<Vec<_>>());
    }
    table
}

fn rates(runs: &[&Named<'_>]) -> Table {
    let columns =
        ["model", "score, %", "wins", "ties", "losses", "rows", "without verdict", "flipped, %", "first, %"];
    let preferred = runs.iter().all(|named| named.run.result.head.protocol.name == "alpaca-eval");
    let caption = if preferred {
        "Mean preference for the model"
    } else {
        "Wins against the opponent, a tie counted as half"
    };
    let mut table = Table::new(caption, columns);
    for Named { name, run } in runs {
        let result = &run.result;
        let percent = |share: Option<f64>| share.map_or(Cell::Empty, |share| Cell::number(100.0 * share, 1));
        let PairTally { win, tie, loss } =
            result.all.as_ref().and_then(|all| all.outcomes).unwrap_or_default();
        let cells = [
            name.as_str().into(),
            cell(&result.head.protocol, result.all.as_ref()),
            win.into(),
            tie.into(),
            loss.into(),
        ];
        let position = [percent(result.flip_rate), percent(result.first_position_share)];
        table = table.row(cells.into_iter().chain(rows(run)).chain(position).collect::<Vec<_>>());
    }
    table
}

/// The numbers of rows with and without a verdict.
fn rows(run: &CaseRun) -> [Cell; 2] {
    let n = run.result.all.as_ref().map_or(0, |all| all.n);
    [n.into(), (run.result.head.rows - n).into()]
}

/// Wins, ties and losses as a bar for each run.
fn outcomes(runs: &[&Named<'_>]) -> Option<Figure> {
    let row = |Named { name, run }: &&Named<'_>| {
        let PairTally { win, tie, loss } = run.result.all.as_ref()?.outcomes?;
        Some(ShareRow { label: name.clone(), counts: vec![win, tie, loss] })
    };
    let rows: Vec<ShareRow> = runs.iter().filter_map(row).collect();
    let parts = ["wins", "ties", "losses"].map(String::from).to_vec();
    (!rows.is_empty()).then(|| Figure::shares("Outcomes", "", ShareChart { parts, rows }))
}

/// The distribution of ratings or preferences. There is no histogram of wins, ties and losses: the
/// figure of outcomes shows them.
fn histogram(protocol: &ProtocolInfo, runs: &[&Named<'_>]) -> Result<Option<Figure>> {
    let mut values = runs.iter().flat_map(|named| &named.run.rows).flat_map(|row| &row.values);
    let (label, edges): (_, Vec<f64>) = match protocol.scale {
        // One bin per whole rating.
        Scale::Rating { low, high } if high > low && high - low <= 20.0 => {
            let bars = (high - low).ceil() as u32 + 1;
            (
                format!("rating, {}", range(protocol.scale)),
                (0..=bars).map(|edge| low - 0.5 + f64::from(edge)).collect(),
            )
        }
        Scale::Rating { low, high } if high > low => (
            format!("rating, {}", range(protocol.scale)),
            (0..=10).map(|edge| low + (high - low) * f64::from(edge) / 10.0).collect(),
        ),
        Scale::WinRate
            if protocol.name == "alpaca-eval" || values.any(|value| ![0.0, 0.5, 1.0].contains(value)) =>
        {
            ("preference for the model, 0 to 1".into(), (0..=10).map(|edge| f64::from(edge) / 10.0).collect())
        }
        _ => return Ok(None),
    };
    let (low, high) = (edges[0], edges[edges.len() - 1]);
    let values = |Named { name, run }: &&Named<'_>| {
        (name.clone(), run.rows.iter().flat_map(|row| row.values.iter().copied()).collect::<Vec<f64>>())
    };
    let all: Vec<(String, Vec<f64>)> = runs.iter().map(values).collect();
    let outside =
        all.iter().flat_map(|(_, values)| values).filter(|value| !(low..=high).contains(*value)).count();
    let inside = |(name, values): (String, Vec<f64>)| {
        let inside: Vec<f64> = values.into_iter().filter(|value| (low..=high).contains(value)).collect();
        (!inside.is_empty()).then_some((name, inside))
    };
    let all: Vec<(String, Vec<f64>)> = all.into_iter().filter_map(inside).collect();
    if all.is_empty() {
        return Ok(None);
    }
    let histogram = Histogram::with_edges(
        label,
        edges,
        all.iter().map(|(name, values)| (name.as_str(), values.as_slice())),
    )?;
    let caption =
        if outside == 0 { String::new() } else { format!("Verdicts outside the range: {outside}.") };
    Ok(Some(Figure::histogram("Distribution of the verdicts", caption, histogram)))
}

/// The scores by category.
fn by_category(protocol: &ProtocolInfo, runs: &[&Named<'_>]) -> Option<Section> {
    let categories: BTreeSet<&str> =
        runs.iter().flat_map(|named| named.run.result.categories.keys().map(String::as_str)).collect();
    if categories.is_empty() || categories.len() > CATEGORIES {
        return None;
    }
    let names = || runs.iter().map(|named| named.name.clone());
    let what = if is_rated(protocol) {
        format!("Mean rating, {}", range(protocol.scale))
    } else {
        "Wins, a tie counted as half, %".into()
    };
    let mut table =
        Table::new(what.clone(), ["category".to_string()].into_iter().chain(names()).chain(["rows".into()]));
    let mut groups = Vec::new();
    for category in categories {
        let scores: Vec<Option<&CaseScore>> =
            runs.iter().map(|named| named.run.result.categories.get(category)).collect();
        let n = scores.iter().flatten().map(|score| score.n).max().unwrap_or(0);
        let cells = [category.into()]
            .into_iter()
            .chain(scores.iter().map(|score| cell(protocol, *score)))
            .chain([n.into()]);
        table = table.row(cells.collect::<Vec<_>>());
        let bar = |score: &Option<&CaseScore>| {
            score.map(|score| match score.interval {
                Some(interval) => interval.scaled(scale(protocol)).into(),
                None => PlotValue::plain(scale(protocol) * score.mean, score.n),
            })
        };
        groups.push(BarGroup { label: category.into(), bars: scores.iter().map(bar).collect() });
    }
    let series = if runs.len() == 1 { vec![String::new()] } else { names().collect() };
    // A judge may give ratings outside the range.
    let ends = groups
        .iter()
        .flat_map(|group| group.bars.iter().flatten())
        .map(|bar| bar.interval.unwrap_or([bar.value; 2]));
    let range = match protocol.scale {
        Scale::Rating { low, high } => {
            ends.fold([low, high], |range, ends| [range[0].min(ends[0]), range[1].max(ends[1])])
        }
        Scale::WinRate => [0.0, 100.0],
    };
    let chart = BarChart { value_label: what, range: Some(range), series, groups };
    let figure = Figure::bars("By category", "Intervals: 95% bootstrap over questions.", chart);
    Some(Section::new(format!("{} by category", protocol.title)).table(table).figure(figure))
}

fn settings(runs: &[&Named<'_>]) -> Table {
    let mut table = Table::new(
        "The judge and what it sees",
        ["model", "judge", "reference", "system message", "sampling", "no answer"],
    );
    let shown = |shown: bool| if shown { "shown" } else { "not shown" };
    for Named { name, run } in runs {
        let settings = &run.result.head.settings;
        table = table.row([
            name.as_str().into(),
            settings.judge.as_str().into(),
            shown(settings.reference_shown).into(),
            shown(settings.system_shown).into(),
            sampling(&settings.sampling).into(),
            run.result.head.missing.count.into(),
        ]);
    }
    table
}

fn prompts(runs: &[&Named<'_>]) -> Table {
    let mut table = Table::new("The judge's prompts", ["model", "prompt", "fingerprint"]);
    for Named { name, run } in runs {
        for prompt in &run.result.head.settings.prompts {
            table = table.row([
                name.as_str().into(),
                prompt.id.as_str().into(),
                prompt.fingerprint.as_str().into(),
            ]);
        }
    }
    table
}

/// The groups of rows that are shown together: the consecutive rows of one question if its turns are
/// judged separately, else single rows.
fn groups(rows: &[JudgedCase]) -> Vec<&[JudgedCase]> {
    rows.chunk_by(|one, next| {
        one.case.turn.is_some() && next.case.turn > one.case.turn && one.case.question == next.case.question
    })
    .collect()
}

/// The texts of rows that are shown together: prompts and answers, which are those of the last row, and
/// the judge's texts on each row.
fn example(Named { name, run }: &Named<'_>, rows: &[JudgedCase]) -> Example {
    let head = &run.result.head;
    let Some(last) = rows.last() else { return Example::default() };
    let texts = |of: &dyn Fn(&Turn) -> Option<String>| -> Option<String> {
        let texts: Vec<String> = last.case.turns.iter().map(of).collect::<Option<_>>()?;
        let marked = texts
            .into_iter()
            .enumerate()
            .map(|(turn, text)| if turn == 0 { text } else { format!("— turn {} —\n{text}", turn + 1) });
        Some(marked.collect::<Vec<_>>().join("\n\n"))
    };
    let responses = [
        (Some(head.model.as_str()), texts(&|turn| Some(turn.model.clone()))),
        (head.opponent.as_deref(), texts(&|turn| turn.opponent.clone())),
        (Some("reference answer"), texts(&|turn| turn.reference.clone())),
    ];
    let response = |(model, response): (Option<&str>, Option<String>)| {
        Some(ExampleResponse {
            model: model?.into(),
            response: response?,
            scores: Vec::new(),
            feedback: Vec::new(),
        })
    };
    let result = |row: &JudgedCase| match (is_rated(&head.protocol), row.outcome(), row.values.first()) {
        (_, None, _) | (true, _, None) => "no verdict".to_string(),
        (true, _, Some(grade)) => format!("rating {grade}"),
        (false, Some(outcome), _) => word(outcome).to_string(),
    };
    let source = [last.case.category.clone(), name.clone()]
        .into_iter()
        .filter(|part| !part.is_empty())
        .chain(rows.iter().map(result));
    let judgments = rows.iter().flat_map(|row| row.calls.iter().map(|call| judgment(run, row, call)));
    Example {
        id: if rows.len() == 1 { last.case.id.clone() } else { last.case.question.clone() },
        source: source.collect::<Vec<_>>().join(" · "),
        system: last.case.system.clone(),
        prompt: texts(&|turn| Some(turn.prompt.clone())).unwrap_or_default(),
        criteria: Vec::new(),
        responses: responses.into_iter().filter_map(response).collect(),
        judgments: judgments.collect(),
    }
}

fn word(outcome: PairOutcome) -> &'static str {
    match outcome {
        PairOutcome::Win => "win",
        PairOutcome::Tie => "tie",
        PairOutcome::Loss => "loss",
    }
}

/// One text of the judge.
fn judgment(run: &CaseRun, row: &JudgedCase, call: &JudgedCall) -> ExampleJudgment {
    let (judge, model) = (&run.result.head.settings.judge, &run.result.head.model);
    let opponent = run.result.head.opponent.as_deref().unwrap_or("the opponent");
    let turn = row.case.turn.map(|turn| format!(" on turn {turn}")).unwrap_or_default();
    let order = match call.first {
        Some(Side::Model) => format!(", {model} shown first"),
        Some(Side::Opponent) => format!(", {opponent} shown first"),
        None => String::new(),
    };
    let title = format!("{judge}{turn}{order}");
    let verdict = match (&call.verdict, call.outcome, &call.problem) {
        (None, _, problem) => {
            format!("no verdict: {}", problem.as_deref().unwrap_or("the judge gave no answer"))
        }
        (Some(verdict), None, _) => verdict.clone(),
        (Some(verdict), Some(PairOutcome::Win), _) => format!("{verdict}: {model} is better"),
        (Some(verdict), Some(PairOutcome::Loss), _) => format!("{verdict}: {opponent} is better"),
        (Some(verdict), Some(PairOutcome::Tie), _) => format!("{verdict}: neither is better"),
    };
    ExampleJudgment { title, verdict, text: call.text.clone().unwrap_or_else(|| likely(call)) }
}

/// The likeliest tokens of a call, one per line.
fn likely(call: &JudgedCall) -> String {
    let lines =
        call.likely.iter().map(|top| format!("{:?} with probability {:.4}", top.token, top.logprob.exp()));
    lines.collect::<Vec<_>>().join("\n")
}
