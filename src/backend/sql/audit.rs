//! Holds the ledger against itself and against the tables. Pure: a backend pushes the ledger's rows in their order.
//!
//! Every row that the ledger knows has taken an id, in its table or in `ingest_rejects`, and no id is given twice. So the
//! ledger can never know more rows than ids were given; rows that were deleted since do not matter. Derived rows take ids
//! too, and are no positions of a source: they make the bound looser, never wrong.

use crate::maintenance::Finding;

/// Most findings about single sources that are told; a damaged ledger has one a row.
const MOST: usize = 20;

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    findings: Vec<Finding>,
    rows: i128,
    /// The source that was pushed last, and its highest position.
    last: Option<(String, i64)>,
    more: usize,
}

impl Audit {
    /// Takes the next row of the ledger, by source and first position.
    pub(crate) fn push(&mut self, source: String, first: i64, last: i64, rows: i64) {
        self.rows += i128::from(rows);
        if last < first {
            self.find(format!("{source:?} has a range that ends before it begins: {first} to {last}"));
        } else if rows < 0 || i128::from(rows) > i128::from(last) - i128::from(first) + 1 {
            self.find(format!("{source:?} has {rows} rows at the positions {first} to {last}"));
        }
        let before = self.last.take().filter(|(name, _)| *name == source).map(|(_, highest)| highest);
        if before.is_some_and(|highest| first <= highest) {
            self.find(format!("{source:?} has position {first} twice: its rows may be there twice"));
        }
        self.last = Some((source, before.unwrap_or(last).max(last)));
    }

    fn find(&mut self, detail: String) {
        if self.findings.len() < MOST {
            self.findings.push(Finding::new("ingest_ledger", detail));
        } else {
            self.more += 1;
        }
    }

    /// Compares with how many ids were given, in all tables for rows together.
    pub(crate) fn end(mut self, ids: i64) -> Vec<Finding> {
        if self.more > 0 {
            self.findings.push(Finding::new("ingest_ledger", format!("{} more like these", self.more)));
        }
        if self.rows > i128::from(ids) {
            let detail =
                format!("it knows {} committed rows, but only {ids} were ever stored: rows are lost", self.rows);
            self.findings.push(Finding::new("ingest_ledger", detail));
        }
        self.findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(rows: &[(&str, i64, i64, i64)], ids: i64) -> Vec<String> {
        let mut audit = Audit::default();
        rows.iter().for_each(|(source, first, last, rows)| audit.push((*source).to_owned(), *first, *last, *rows));
        audit.end(ids).into_iter().map(|finding| finding.detail).collect()
    }

    #[test]
    fn a_ledger_that_agrees_has_no_findings() {
        let sound = [("a", 0, 9, 10), ("a", 10, 19, 1), ("b", 0, i64::MAX, 5), ("b ", 0, 0, 1)];
        assert_eq!(findings(&sound, 17), [""; 0]);
        assert_eq!(findings(&sound, 9000), [""; 0], "rows may come from elsewhere, and ids may be left out");
        assert_eq!(findings(&[], 0), [""; 0]);
    }

    #[test]
    fn each_way_to_disagree_is_told() {
        for (rows, ids, told) in [
            (&[("a", 5, 4, 0)][..], 9, "ends before it begins"),
            (&[("a", 0, 4, 6)], 9, "has 6 rows at the positions 0 to 4"),
            (&[("a", 0, 4, -1)], 9, "has -1 rows"),
            (&[("a", 0, 9, 1), ("a", 3, 4, 1), ("a", 9, 9, 1)], 9, "position 9 twice"),
            (&[("a", 0, 9, 10)], 9, "only 9 were ever stored"),
        ] {
            let findings = findings(rows, ids);
            assert!(findings.iter().any(|finding| finding.contains(told)), "{told}: {findings:?}");
        }
        let broken: Vec<_> = (0..50).map(|first| ("a", first, -1, 0)).collect();
        assert!(findings(&broken, 0).len() <= MOST + 1);
    }
}
