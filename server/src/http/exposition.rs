//! The text format of Prometheus, version 0.0.4: families of samples, each with its help and type.

use std::fmt::{Display, Write as _};

use crate::observe::histogram::{BOUNDS_MICROS, Durations};

/// What a page in this format is sent as.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Names and values that tell samples of a family apart.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// A page that is being written.
#[derive(Debug, Default)]
pub struct Exposition(String);

impl Exposition {
    /// The page.
    pub fn finish(self) -> String {
        self.0
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn line(&mut self, line: impl Display) {
        writeln!(self.0, "{line}").expect("a text grows");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let escaped = |value: &str| value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        match labels.is_empty() {
            true => self.line(format_args!("{name} {value}")),
            false => self.line(format_args!("{name}{{{}}} {value}", labels.join(","))),
        }
    }

    /// A number that goes up and down, by itself.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.sample(name, &[], value);
    }

    /// A number that only grows, by itself. Its name ends with `_total`.
    pub fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "counter", help);
        self.sample(name, &[], value);
    }

    /// Numbers that go up and down, by labels.
    pub fn gauges<'a>(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels<'a>, i64)>) {
        self.family(name, "gauge", help, samples);
    }

    /// Numbers that only grow, by labels.
    pub fn counters<'a>(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels<'a>, u64)>) {
        self.family(name, "counter", help, samples);
    }

    fn family<'a>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, impl Display)>,
    ) {
        self.head(name, kind, help);
        for (labels, value) in samples {
            self.sample(name, labels, value);
        }
    }

    /// Durations by one label. The name ends with `_seconds`.
    pub fn histograms<'a>(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        samples: impl IntoIterator<Item = (&'a str, Durations)>,
    ) {
        self.head(name, "histogram", help);
        for (value, durations) in samples {
            let bucket = format!("{name}_bucket");
            for (bound, count) in BOUNDS_MICROS.iter().zip(durations.up_to) {
                let bound = (*bound as f64 / 1e6).to_string();
                self.sample(&bucket, &[(label, value), ("le", &bound)], count);
            }
            self.sample(&bucket, &[(label, value), ("le", "+Inf")], durations.count);
            self.sample(&format!("{name}_sum"), &[(label, value)], durations.seconds);
            self.sample(&format!("{name}_count"), &[(label, value)], durations.count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::histogram::Histogram;
    use std::time::Duration;

    #[test]
    fn labels_and_help_are_escaped() {
        let mut page = Exposition::default();
        page.gauges("g", "a\\b\nc", [(&[("path", "/a\"b\\c\nd")][..], -1)]);
        page.counter("c_total", "x", 2);
        let wanted = "# HELP g a\\\\b\\nc\n# TYPE g gauge\ng{path=\"/a\\\"b\\\\c\\nd\"} -1\n\
                      # HELP c_total x\n# TYPE c_total counter\nc_total 2\n";
        assert_eq!(page.finish(), wanted);
    }

    #[test]
    fn a_histogram_has_cumulative_buckets_a_sum_and_a_count() {
        let histogram = Histogram::default();
        histogram.add(Duration::from_micros(200));
        histogram.add(Duration::from_secs(60));
        let mut page = Exposition::default();
        page.histograms("h_seconds", "x", "rpc", [("a/b", histogram.read())]);
        let page = page.finish();
        for line in [
            r#"h_seconds_bucket{rpc="a/b",le="0.0001"} 0"#,
            r#"h_seconds_bucket{rpc="a/b",le="0.00025"} 1"#,
            r#"h_seconds_bucket{rpc="a/b",le="30"} 1"#,
            r#"h_seconds_bucket{rpc="a/b",le="+Inf"} 2"#,
            r#"h_seconds_sum{rpc="a/b"} 60.0002"#,
            r#"h_seconds_count{rpc="a/b"} 2"#,
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
    }
}
