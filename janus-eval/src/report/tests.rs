//! Tests of reports: three formats, escaping, self-contained pages, equal bytes for equal content.

use super::json::{FORMAT, VERSION};
use super::*;
use crate::stats::Interval;

/// Text that breaks every format if it is not escaped.
const NASTY: &str = "<script>alert('x')</script> | **b** \"q\" & `c` ]]> </style> [l](http://x.test)";

fn interval(estimate: f64) -> Interval {
    Interval { estimate, low: estimate - 0.1, high: estimate + 0.1, level: 0.95, n: 80 }
}

fn lines(title: &str, log_x: bool) -> Figure {
    let points = [1.0, 8.0, 64.0].map(|x| Point { x, y: interval(3.0 + x / 64.0).into() }).to_vec();
    let lines =
        vec![Line { name: NASTY.into(), points: points.clone() }, Line { name: "other".into(), points }];
    Figure::lines(
        title,
        title,
        LineChart { x_label: NASTY.into(), y_label: NASTY.into(), log_x, y_range: None, lines },
    )
}

fn grouped() -> Figure {
    let group = |label: &str| BarGroup { label: label.into(), bars: vec![Some(interval(2.0).into()), None] };
    let (series, groups) = (vec![NASTY.into(), "b".into()], vec![group(NASTY), group("y")]);
    Figure::bars("grouped", "", BarChart { value_label: NASTY.into(), range: None, series, groups })
}

fn histogram() -> Figure {
    Figure::histogram("histogram", "", Histogram::of(NASTY, 4, [(NASTY, &[1.0, 2.0, 2.5, 5.0][..])]).unwrap())
}

/// A report with one block of every kind, and text that needs escaping in every field.
fn report() -> Report {
    let mut report = Report::new(NASTY);
    report.claims.push(
        Claim::above("gain", NASTY, &interval(0.5), 0.0).with_values(serde_json::json!({ "a": [1, 2] })),
    );
    let table = Table::new(NASTY, ["model", "score", "interval", "n", NASTY])
        .row([
            "Janus".into(),
            Cell::number(4.126, 2),
            Cell::interval(interval(4.0), 2),
            80.into(),
            NASTY.into(),
        ])
        .row(["Base".into(), Cell::Empty, Cell::interval(interval(2.0), 2), 79.into(), "".into()]);
    let bars =
        BarChart::single("score", [("Janus", interval(4.0).into()), (NASTY, PlotValue::plain(2.0, 79))])
            .with_range(1.0, 5.0);
    let example = Example {
        id: NASTY.into(),
        source: NASTY.into(),
        system: NASTY.into(),
        prompt: NASTY.into(),
        criteria: vec![NASTY.into(), "second".into()],
        responses: vec![
            ExampleResponse {
                model: NASTY.into(),
                response: NASTY.into(),
                scores: vec![Some(4), None],
                feedback: vec![NASTY.into()],
            },
            ExampleResponse {
                model: "silent".into(),
                response: String::new(),
                scores: vec![],
                feedback: vec![],
            },
        ],
        judgments: vec![ExampleJudgment { title: NASTY.into(), verdict: NASTY.into(), text: NASTY.into() }],
    };
    report.sections = vec![
        Section::new(NASTY).paragraph(NASTY).table(table).claims(["gain"]),
        Section::new("Figures")
            .figure(Figure::bars(NASTY, NASTY, bars))
            .figure(grouped())
            .figure(lines("lines", true))
            .figure(histogram()),
        Section::new("Examples").examples(vec![example]),
    ];
    report
}

#[test]
fn html_is_escaped_and_self_contained() {
    let page = report().to_html().unwrap();
    assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"));
    assert_eq!(
        (page.matches("<script").count(), page.matches("</script>").count()),
        (1, 1),
        "the page's own"
    );
    let nonce = page.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap();
    assert!(page.contains(&format!("<script nonce=\"{nonce}\">")));
    for forbidden in [" src=", "<link", "@import", "url(", "<img", "<iframe"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert_eq!(page.matches("</style>").count(), 1);
    let references = page.match_indices("href=\"").filter(|(at, _)| !page[at + 6..].starts_with('#')).count();
    assert_eq!(references, 0, "there are no links to other pages");
    for needed in [
        "prefers-color-scheme: dark",
        "name=\"viewport\"",
        "scope=\"col\"",
        "scope=\"row\"",
        "<caption>",
        "role=\"img\"",
        "<details",
    ] {
        assert!(page.contains(needed), "{needed}");
    }
}

/// A minimal parser of the tags: every opened element is closed, in order.
#[test]
fn html_and_svg_elements_nest() {
    let page = report().to_html().unwrap();
    let page = page.split("<script ").next().unwrap().to_owned() + "</body></html>";
    let document = lines(NASTY, false).to_svg().unwrap();
    for text in [page.as_str(), document.as_str()] {
        let mut open: Vec<&str> = Vec::new();
        // A raw `<` in the style would look like a tag; the style has none.
        for (at, _) in text.match_indices('<') {
            let end = at + text[at..].find('>').unwrap();
            let tag = &text[at + 1..end];
            let name = tag.trim_start_matches('/').split([' ', '\n']).next().unwrap();
            if tag.starts_with(['!', '?']) || tag.ends_with('/') || ["meta", "br"].contains(&name) {
                continue;
            }
            if tag.starts_with('/') { assert_eq!(open.pop(), Some(name)) } else { open.push(name) }
        }
        assert!(open.is_empty(), "{open:?}");
    }
}

#[test]
fn ids_in_the_page_are_unique() {
    let page = report().to_html().unwrap();
    let ids: Vec<&str> =
        page.match_indices(" id=\"").map(|(at, m)| page[at + m.len()..].split('"').next().unwrap()).collect();
    let mut unique = ids.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(ids.len(), unique.len(), "{ids:?}");
}

#[test]
fn markdown_has_the_numbers_and_escapes_special_characters() {
    let text = report().to_markdown().unwrap();
    assert!(text.contains(r"\<script\>") && !text.contains("<script>alert('x')</script> | **b**\n"));
    assert!(text.contains("| Janus | 4.13 | 4.00 [3.90, 4.10] | 80 |"), "{text}");
    assert!(text.contains("| --- | ---: | ---: | ---: | --- |"));
    assert!(text.contains("n = 79 to 80 by bar"));
    assert!(text.contains("- **holds**: ") && text.contains("0.500 [0.400, 0.600], n = 80"));
    // Every row of a table has the same number of unescaped bars as its header.
    let mut columns = None;
    for line in text.lines() {
        let bars = line.replace("\\|", "").matches('|').count();
        if line.starts_with("| ") {
            assert_eq!(*columns.get_or_insert(bars), bars, "{line}");
        } else {
            columns = None;
        }
    }
}

#[test]
fn json_is_versioned_and_round_trips() {
    let report = report();
    let text = report.to_json().unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((value["format"].as_str(), value["version"].as_u64()), (Some(FORMAT), Some(VERSION.into())));
    let claim = &value["claims"][0];
    assert_eq!(
        (claim["id"].as_str(), claim["n"].as_u64(), claim["holds"].as_bool()),
        (Some("gain"), Some(80), Some(true))
    );
    assert_eq!(Report::from_json(&text).unwrap(), report);
    let newer = text.replace("\"version\": 1", "\"version\": 2");
    assert!(
        matches!(Report::from_json(&newer), Err(Error::ReportFile { problem }) if problem.contains("version 2"))
    );
    assert!(Report::from_json("{}").is_err() && Report::from_json("no").is_err());
}

#[test]
fn equal_reports_have_equal_bytes() {
    assert_eq!(report().to_html().unwrap(), report().to_html().unwrap());
    assert_eq!(report().to_json().unwrap(), report().to_json().unwrap());
    assert_eq!(report().to_markdown().unwrap(), report().to_markdown().unwrap());
}

#[test]
fn an_inconsistent_report_is_an_error() {
    let with = |section: Section| {
        let mut report = report();
        report.sections.push(section);
        report.to_html().unwrap_err()
    };
    assert_eq!(
        with(Section::new("s").claims(["never made"])),
        Error::UnknownClaim { id: "never made".into() }
    );
    let short = Table::new("t", ["a", "b"]).row(["x".into()]);
    assert!(matches!(with(Section::new("s").table(short)), Error::TableShape { expected: 2, got: 1, .. }));
    let nan = Table::new("t", ["a"]).row([Cell::number(f64::NAN, 1)]);
    assert!(matches!(with(Section::new("s").table(nan)), Error::NotFinite { .. }));
    let empty = Figure::bars("f", "", BarChart::single("v", Vec::<(String, PlotValue)>::new()));
    assert!(matches!(with(Section::new("s").figure(empty)), Error::Figure { .. }));
    let mut doubled = report();
    doubled.claims.push(doubled.claims[0].clone());
    assert_eq!(
        doubled.to_json().unwrap_err(),
        Error::DoubledId { what: "claims", id: "gain".into(), first: 0, second: 1 }
    );
}

/// Compares the positions of the tick labels, with an estimated width of 7 pixels per character.
#[test]
fn labels_of_one_axis_do_not_overlap() {
    let points =
        (0..40).map(|i| Point { x: f64::from(1 + i * i), y: PlotValue::plain(f64::from(i), 9) }).collect();
    let chart = LineChart {
        x_label: "x".into(),
        y_label: "y".into(),
        log_x: true,
        y_range: None,
        lines: vec![Line { name: "l".into(), points }],
    };
    let picture = Figure::lines("f", "", chart).to_svg().unwrap();
    let mut labels: Vec<(f64, f64)> = Vec::new();
    for text in picture.split("<text ").skip(1).filter(|text| text.contains("\"muted middle\"")) {
        let number = |name: &str| -> f64 {
            text.split(&format!("{name}=\"")).nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
        };
        let shown = text.split('>').nth(1).unwrap().split('<').next().unwrap();
        if shown != "x" {
            labels.push((number("x"), 7.0 * shown.chars().count() as f64 / 2.0));
        }
    }
    assert!(labels.len() > 2, "{labels:?}");
    assert!(labels.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0 - pair[1].1), "{labels:?}");
}
