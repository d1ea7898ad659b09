//! A judge of the text format of Prometheus, version 0.0.4: whatever breaks a rule ends the test.

use std::collections::{BTreeMap, BTreeSet};

/// Samples by what stands in front of their values, such as `name{label="value"}`.
pub type Samples = BTreeMap<String, f64>;

#[track_caller]
fn check_name(name: &str, and_colon: bool) {
    let is_good = |(at, c): (usize, char)| {
        c.is_ascii_alphabetic() || c == '_' || (c == ':' && and_colon) || (at > 0 && c.is_ascii_digit())
    };
    assert!(!name.is_empty() && name.chars().enumerate().all(is_good), "{name:?} is no name");
}

/// Splits a sample into its name, its labels and its value.
#[track_caller]
fn sample(line: &str) -> (&str, Vec<(String, String)>, f64) {
    let name_end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no value in {line:?}"));
    let (name, mut rest) = line.split_at(name_end);
    check_name(name, true);
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label in {line:?}"));
            check_name(label, false);
            let mut value = String::new();
            let mut letters = after.char_indices();
            let end = loop {
                match letters.next().unwrap_or_else(|| panic!("an open quote in {line:?}")) {
                    (at, '"') => break at,
                    (_, '\\') => match letters.next() {
                        Some((_, 'n')) => value.push('\n'),
                        Some((_, c @ ('\\' | '"'))) => value.push(c),
                        other => panic!("an unknown escape {other:?} in {line:?}"),
                    },
                    (_, c) => value.push(c),
                }
            };
            labels.push((label.to_owned(), value));
            rest = &after[end + 1..];
            match rest.split_at(1) {
                (",", more) => rest = more,
                ("}", more) => {
                    rest = more;
                    break;
                }
                other => panic!("{other:?} in {line:?}"),
            }
        }
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("no space before the value of {line:?}"));
    (name, labels, value.parse().unwrap_or_else(|error| panic!("{line:?}: {error}")))
}

/// Checks a page, and gives its samples.
#[track_caller]
pub fn check(page: &str) -> Samples {
    assert!(page.ends_with('\n') && !page.contains("\n\n"), "lines end with LF, and none is empty");
    let (mut samples, mut families) = (Samples::new(), BTreeSet::new());
    let (mut family, mut kind) = (String::new(), String::new());
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help");
            assert!(families.insert(name.to_owned()), "{name} stands twice");
            assert!(!help.is_empty() && kind.is_empty() == family.is_empty(), "{line:?}");
            (family, kind) = (name.to_owned(), String::new());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, of) = rest.split_once(' ').expect("a type");
            assert_eq!(name, family, "the type follows its help");
            assert!(["counter", "gauge", "histogram"].contains(&of), "{line:?}");
            assert_eq!(of == "counter", name.ends_with("_total"), "{line:?}");
            check_name(name, false);
            of.clone_into(&mut kind);
        } else {
            let (name, labels, value) = sample(line);
            let of = if kind == "histogram" {
                ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
            } else {
                name
            };
            assert_eq!(of, family, "{line:?} is of another family");
            let distinct: BTreeSet<&String> = labels.iter().map(|(label, _)| label).collect();
            assert_eq!(distinct.len(), labels.len(), "{line:?}");
            let key = line.rsplit_once(' ').expect("a value").0.to_owned();
            assert!(samples.insert(key, value).is_none(), "{line:?} stands twice");
        }
    }
    check_histograms(page, &samples);
    samples
}

/// Buckets grow with their bounds, and the last is the count.
#[track_caller]
fn check_histograms(page: &str, samples: &Samples) {
    let mut before: Option<(String, f64, f64)> = None;
    for line in page.lines().filter(|line| line.contains("_bucket{")) {
        let (name, labels, value) = sample(line);
        let (le, others): (Vec<_>, Vec<_>) = labels.into_iter().partition(|(label, _)| label == "le");
        let bound: f64 = le[0].1.parse().unwrap_or_else(|error| panic!("{line:?}: {error}"));
        let series = format!("{name}{others:?}");
        if let Some((_, low, count)) = before.as_ref().filter(|(same, ..)| *same == series) {
            assert!(*low < bound && *count <= value, "{line:?} after {low} with {count}");
        }
        before = Some((series, bound, value));
        if bound.is_infinite() {
            let key = line.replace("_bucket{", "_count{").replace(",le=\"+Inf\"", "");
            let key = key.rsplit_once(' ').expect("a value").0;
            assert_eq!(samples.get(key), Some(&value), "{key}");
        }
    }
}
