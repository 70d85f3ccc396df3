//! The pages are true and readable: the paths, tests, claims and commands that they name exist, and they
//! use no phrase of `words.txt`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use janus_data::mini::{Mini, Split};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().into()
}

/// The files of the repository whose names have this ending, with their paths in it.
fn files(ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![workspace()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                let skipped =
                    ["target", "models", "runs", "node_modules"].contains(&name) || name.starts_with('.');
                folders.extend((!skipped).then_some(path));
            } else if name.ends_with(ending) {
                let shown = path.strip_prefix(workspace()).unwrap().to_str().unwrap().replace('\\', "/");
                found.push((shown, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// Every page with its path.
fn pages() -> Vec<(String, String)> {
    let pages = files(".md");
    for expected in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/paper-index.md",
        "janus-train/README.md",
    ] {
        assert!(pages.iter().any(|(path, _)| path == expected), "{expected} is missing");
    }
    pages
}

/// The pages except the changelog, which names what no longer exists.
fn present_pages() -> Vec<(String, String)> {
    pages().into_iter().filter(|(path, _)| path != "CHANGELOG.md").collect()
}

/// The texts between backticks in a page, without fenced blocks.
fn code_spans(page: &str) -> Vec<&str> {
    let prose = page.split("```").step_by(2);
    prose
        .flat_map(|prose| {
            prose.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).collect::<Vec<_>>()
        })
        .collect()
}

/// The lines of a page's shell blocks, without comments, continued lines joined.
fn commands(page: &str) -> Vec<String> {
    let blocks = page.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("sh\n"));
    let joined = blocks.map(|block| block.replace("\\\n", " ")).collect::<String>();
    joined
        .lines()
        .map(|line| line.split(" #").next().unwrap().trim().to_string())
        .filter(|line| !line.is_empty())
        .collect()
}

#[test]
fn every_path_that_a_page_names_exists() {
    let places = [
        "janus-core/",
        "janus-data/",
        "janus-infer/",
        "janus-train/",
        "janus-eval/",
        "xtask/",
        "docs/",
        "goldens/",
        ".ci/",
    ];
    let (mut checked, mut missing) = (0, Vec::new());
    for (page, text) in present_pages() {
        let folder = workspace().join(&page).parent().unwrap().to_path_buf();
        for span in
            code_spans(&text).into_iter().filter(|span| places.iter().any(|place| span.starts_with(place)))
        {
            // A span with a space is a command, and NAME is a placeholder.
            if span.contains(' ') || span.contains("NAME") {
                continue;
            }
            checked += 1;
            if !workspace().join(span).exists() {
                missing.push(format!("{page}: `{span}`"));
            }
        }
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split('#').next().unwrap();
            if !target.is_empty() && !target.contains("://") {
                checked += 1;
                if !folder.join(target).exists() {
                    missing.push(format!("{page}: ({target})"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "not in the repository: {missing:#?}");
    assert!(checked > 100, "only {checked} paths were found");
}

#[test]
fn every_test_and_claim_that_a_page_names_exists() {
    let sources: String = files(".rs").into_iter().map(|(_, text)| text).collect();
    let functions: BTreeSet<&str> =
        sources.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next()).collect();
    let is_name =
        |span: &&str| span.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let mut checked = 0;
    // The names on the page of the server are fields.
    for (page, text) in present_pages().into_iter().filter(|(page, _)| *page != "docs/server.md") {
        for span in
            code_spans(&text).into_iter().filter(is_name).filter(|span| span.matches('_').count() >= 4)
        {
            checked += 1;
            assert!(functions.contains(span), "{page}: there is no test {span}");
        }
    }
    assert!(checked > 30, "only {checked} tests were found");

    let index = fs::read_to_string(workspace().join("docs/paper-index.md")).unwrap();
    let claims = fs::read_to_string(workspace().join("janus-eval/src/bench/mini/claims.rs")).unwrap();
    for row in index
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| ---") && !line.starts_with("| paper "))
    {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [_, code, tests, claim] = cells[..] else {
            panic!("a row of docs/paper-index.md does not have four cells: {row}")
        };
        assert!(
            code.contains('`') && tests.contains('`'),
            "a row of docs/paper-index.md lacks its file or its test: {row}"
        );
        for test in code_spans(tests) {
            assert!(functions.contains(test), "docs/paper-index.md: there is no test {test}");
        }
        for claim in code_spans(claim).into_iter().filter(is_name) {
            assert!(
                claims.contains(&format!("\"{claim}\"")),
                "docs/paper-index.md: there is no claim {claim}"
            );
        }
    }
}

#[test]
fn every_command_that_a_page_shows_is_parsed() {
    let mut checked = 0;
    for (page, text) in present_pages() {
        for line in commands(&text) {
            if let Some(arguments) = line.strip_prefix("cargo xtask ") {
                // With --help nothing runs, but an unknown flag or value before it is still an error.
                let arguments = words(arguments).into_iter().chain(["--help".into()]);
                let output = Command::new(env!("CARGO_BIN_EXE_janus")).args(arguments).output().unwrap();
                let error = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{page}: {line}: {error}");
                checked += 1;
            } else if let (Some(package), Some(example)) = (after(&line, "-p "), after(&line, "--example ")) {
                assert!(
                    workspace().join(format!("{package}/examples/{example}.rs")).is_file(),
                    "{page}: {line}"
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 10, "only {checked} commands were found");
}

/// The words of a command line; double quotes keep a word with spaces together.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The word after a flag.
fn after<'a>(line: &'a str, flag: &str) -> Option<&'a str> {
    line.split_once(flag).and_then(|(_, rest)| rest.split_whitespace().next())
}

/// The README's example is what `data build-mini` writes.
#[test]
fn the_example_of_the_readme_is_multifaceted_minis() {
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    let bench = Mini::new(0).eval(Split::Bench, 200);
    for record in &bench[1..3] {
        let answer = record.reference_answer.replace('\n', "<br>");
        let id = record.id.as_deref().unwrap();
        for text in [&record.prompt, &record.system, &answer, id] {
            assert!(readme.contains(text), "README.md lacks what build-mini writes: {text}");
        }
        for preference in record.preference_set.iter().flat_map(|set| set.iter()) {
            assert!(readme.contains(&preference.name), "README.md lacks {}", preference.name);
        }
    }
}

/// The phrases of `words.txt`, each with what to write instead.
fn phrases() -> Vec<(&'static str, &'static str)> {
    let lines = include_str!("words.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            line.split_once(" = ").unwrap_or_else(|| panic!("words.txt: expected PHRASE = SAY, got {line}"))
        })
        .collect()
}

/// Whether a text contains a phrase as whole words.
fn finds(text: &str, phrase: &str) -> bool {
    let is_letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let mut places = text.match_indices(phrase);
    places.any(|(at, _)| {
        !is_letter(text[..at].chars().next_back()) && !is_letter(text[at + phrase.len()..].chars().next())
    })
}

/// A page's prose on one line, in lower case, without code.
fn prose(page: &str) -> String {
    let outside: String = page.split("```").step_by(2).collect();
    let words: String = outside.split('`').step_by(2).collect::<Vec<_>>().join("`");
    words.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

#[test]
fn pages_use_no_phrase_of_words_txt() {
    let mut found = Vec::new();
    for (page, text) in pages() {
        let prose = prose(&text);
        for (phrase, say) in phrases() {
            if finds(&prose, phrase) {
                found.push(format!("{page}: \"{phrase}\": write {say}"));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
    assert!(
        finds(&prose("It was\ntold `x`."), "was told") && !finds("withtold", "told"),
        "phrases are not found as whole words"
    );
}

#[test]
fn lines_of_pages_have_at_most_140_columns() {
    for (page, text) in pages() {
        for (number, line) in (1..).zip(text.split("```").step_by(2).flat_map(str::lines)) {
            let long = line.chars().count() > 140;
            assert!(
                !long || line.starts_with('|') || line.contains("://"),
                "{page}: a line has more than 140 columns ({number}): {line}"
            );
        }
    }
}

/// The libraries' messages and docs do not name the program that runs them.
#[test]
fn no_library_names_the_program() {
    for (path, text) in
        files(".rs").into_iter().filter(|(path, _)| path.starts_with("janus-") && path.contains("/src/"))
    {
        for (number, line) in (1..).zip(text.lines()) {
            // The reason of an ignored test may say how to get the file that it needs.
            assert!(line.contains("ignore = ") || !line.contains("cargo xtask"), "{path}:{number}: {line}");
        }
    }
}

/// The project names nothing outside itself, except in an optional step of `.ci/run`.
#[test]
fn no_page_names_a_folder_outside() {
    let folder = ["..", "shared"].join("/");
    for (page, text) in pages() {
        let outside = text.lines().find(|line| line.contains(&folder));
        assert_eq!(outside, None, "{page}");
    }
}

/// A script of `goldens/` was once committed with both sides of a merge.
#[test]
fn no_file_has_the_markers_of_a_merge() {
    for ending in [".rs", ".py", ".md", ".toml", ".txt"] {
        for (path, text) in files(ending) {
            let marker = ["<", ">"].map(|sign| format!("{} ", sign.repeat(7)));
            assert!(
                !text.lines().any(|line| marker.iter().any(|marker| line.starts_with(marker))),
                "{path} has the markers of a merge"
            );
        }
    }
}
