//! Reads our own metrics back from their text form, for what only they know: latencies and the figures of backends.
//!
//! So the status page shows whatever a backend counts without this folder knowing any backend. Pure. The text is ours
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>), so what is not understood is left out.

use std::collections::BTreeMap;

use serde::Serialize;

/// One line: a name, its labels, its value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) value: f64,
}

/// Returns the samples whose name begins with `prefix`.
pub(super) fn samples<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = Sample> + 'a {
    text.lines().filter(move |line| line.starts_with(prefix)).filter_map(sample)
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let (name, labels) = match series.split_once('{') {
        None => (series, BTreeMap::new()),
        Some((name, labels)) => (name, read_labels(labels.strip_suffix('}')?)?),
    };
    Some(Sample { name: name.to_owned(), labels, value })
}

fn read_labels(mut text: &str) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    while !text.is_empty() {
        let (key, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        };
        labels.insert(key.to_owned(), value);
        let rest = &rest[end + 1..];
        text = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some(labels)
}

/// A histogram at one moment, or the growth between two: upper bounds, ascending, and how many samples are at or below.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Histogram(pub(super) Vec<(f64, f64)>);

/// Returns the histogram `name` of each value of the label `by`.
pub(super) fn histograms(text: &str, name: &str, by: &str) -> BTreeMap<String, Histogram> {
    let mut found = BTreeMap::<String, Histogram>::new();
    let buckets = format!("{name}_bucket{{");
    for mut sample in samples(text, &buckets) {
        let bound = sample.labels.get("le").and_then(|bound| bound.replace("+Inf", "inf").parse().ok());
        let Some(bound) = bound else { continue };
        let key = sample.labels.remove(by).unwrap_or_default();
        found.entry(key).or_default().0.push((bound, sample.value));
    }
    found
}

impl Histogram {
    /// Returns what has come in since `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        let earlier = |bound: f64| before.0.iter().find(|(other, _)| *other == bound).map_or(0.0, |(_, count)| *count);
        Self(self.0.iter().map(|(bound, count)| (*bound, (count - earlier(*bound)).max(0.0))).collect())
    }

    /// Returns the value below which `share` of the samples are, as Prometheus' `histogram_quantile` reckons it: evenly
    /// spread within a bucket, and the greatest finite bound for what is above all. `None` without samples.
    pub(super) fn quantile(&self, share: f64) -> Option<f64> {
        let total = self.0.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
        let wanted = total * share;
        let (mut low, mut below) = (0.0, 0.0);
        for (bound, count) in &self.0 {
            if *count >= wanted && bound.is_infinite() {
                return Some(low);
            }
            if *count >= wanted && *count > below {
                return Some(low + (bound - low) * (wanted - below) / (count - below));
            }
            (low, below) = (*bound, *count);
        }
        Some(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_with_their_labels_and_all_others_left_out() {
        let text = "# HELP a_x b\na_x{k=\"v\\\"}, w=\\n\",l=\"\"} 1.5\na_y 2\na_z{broken 3\na_w nan?\nb 1\n";
        let found: Vec<_> = samples(text, "a_").collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].labels["k"], "v\"}, w=\n");
        assert_eq!((found[1].name.as_str(), found[1].value), ("a_y", 2.0));
    }

    #[test]
    fn quantiles_of_what_came_in_lately_are_those_of_prometheus() {
        let text = |counts: [u32; 4]| {
            let bounds = ["0.1", "0.2", "1", "+Inf"];
            let line = |(bound, count): (&str, u32)| format!("h_bucket{{lane=\"a\",le=\"{bound}\"}} {count}\n");
            bounds.into_iter().zip(counts).map(line).collect::<String>()
        };
        let before = histograms(&text([10, 10, 10, 10]), "h", "lane");
        let now = histograms(&text([10, 20, 20, 21]), "h", "lane");
        let lately = now["a"].since(&before["a"]);
        assert_eq!(lately.0.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [0.0, 10.0, 10.0, 11.0]);
        let median = lately.quantile(0.5).unwrap();
        assert!((median - 0.155).abs() < 1e-9, "{median}");
        assert_eq!(lately.quantile(0.999), Some(1.0));
        assert_eq!(now["a"].since(&now["a"]).quantile(0.5), None);
        assert_eq!(Histogram::default().quantile(0.5), None);
    }
}
