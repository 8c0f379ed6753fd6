//! Decides what follows a failed write. Pure: no clock, no chance of its own, no I/O.
//!
//! A passing failure: how long to wait ([`wait`]). A refused row: where to cut the batch so that the bad rows end up
//! alone ([`pieces`]). The writer in `writer.rs` does as told.

use std::ops::Range;
use std::time::Duration;

use crate::config::RetryConfig;

/// Returns the wait before attempt `attempt` (the first retry is 1): doubling from `initial` up to `max`, less up to
/// half of it by `chance` (0 to 1), so that many writers that lost one server do not come back in step.
pub(crate) fn wait(config: &RetryConfig, attempt: u32, chance: f64) -> Duration {
    let doubled = config.initial.saturating_mul(1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.min(config.max).mul_f64(1.0 - chance.clamp(0.0, 1.0) / 2.0)
}

/// A part of a batch in which a row was refused, and what to do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Write these rows.
    Write(Range<usize>),
    /// This row is the bad one: set it aside.
    SetAside(usize),
}

/// Cuts a batch of `rows` rows in which one of `suspects` (ascending, not empty) was refused.
///
/// A single suspect is the bad row. Several are halved, and what lies around them is written on its own; so each bad
/// row is found in as many steps as its statement can be halved, and good rows are written in few transactions.
/// Suspects that the batch does not have tell nothing: any row may be the bad one.
pub(crate) fn pieces(rows: usize, suspects: &[usize]) -> Vec<Piece> {
    let make_sense = suspects.is_sorted_by(|a, b| a < b) && suspects.last().is_none_or(|last| *last < rows);
    let suspects = if make_sense { suspects } else { &[] };
    let (first, last) = match suspects {
        [] => (0, rows - 1),
        [first, .., last] => (*first, *last),
        [only] => (*only, *only),
    };
    let middle = match suspects.len() {
        0 => rows / 2,
        n => suspects[n / 2],
    };
    let ranges = if first == last {
        vec![Piece::Write(0..first), Piece::SetAside(first), Piece::Write(first + 1..rows)]
    } else {
        [0..first, first..middle, middle..last + 1, last + 1..rows].map(Piece::Write).into()
    };
    ranges.into_iter().filter(|piece| !matches!(piece, Piece::Write(range) if range.is_empty())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn waits_double_up_to_the_cap_and_chance_only_shortens_them() {
        let config = RetryConfig { initial: Duration::from_millis(50), max: Duration::from_secs(5) };
        let ms = |attempt, chance| wait(&config, attempt, chance).as_millis();
        assert_eq!([1, 2, 3, 8, 100].map(|attempt| ms(attempt, 0.0)), [50, 100, 200, 5000, 5000]);
        assert_eq!([1, 2, 8].map(|attempt| ms(attempt, 1.0)), [25, 50, 2500]);
    }

    /// Writes as a backend would that tells no more than `statement` rows exactly.
    fn store(
        rows: Range<usize>,
        bad: &[usize],
        statement: usize,
        out: &mut (Vec<usize>, Vec<usize>),
        steps: &mut usize,
    ) {
        *steps += 1;
        let offset = rows.start;
        let Some(hit) = rows.clone().find(|row| bad.contains(row)) else {
            return out.0.extend(rows);
        };
        let begin = offset + (hit - offset) / statement * statement;
        let suspects: Vec<_> = (begin..(begin + statement).min(rows.end)).map(|row| row - offset).collect();
        for piece in pieces(rows.len(), &suspects) {
            match piece {
                Piece::Write(range) => store(range.start + offset..range.end + offset, bad, statement, out, steps),
                Piece::SetAside(row) => out.1.push(row + offset),
            }
        }
    }

    proptest! {
        #[test]
        fn exactly_the_bad_rows_end_up_set_aside(
            rows in 1usize..300,
            bad in prop::collection::btree_set(0usize..300, 0..12),
            statement in 1usize..64,
        ) {
            let bad: Vec<_> = bad.into_iter().filter(|row| *row < rows).collect();
            let (mut out, mut steps) = ((Vec::new(), Vec::new()), 0);
            store(0..rows, &bad, statement, &mut out, &mut steps);
            prop_assert_eq!(&out.1, &bad);
            prop_assert_eq!(out.0.len() + bad.len(), rows);
            prop_assert!(out.0.is_sorted(), "rows keep their order");
            prop_assert!(steps <= 1 + bad.len() * 40, "{} writes", steps);
        }
    }

    #[test]
    fn a_backend_that_names_no_row_is_served_by_halves() {
        assert_eq!(pieces(5, &[]), [Piece::Write(0..2), Piece::Write(2..5)]);
        assert_eq!(pieces(1, &[]), [Piece::SetAside(0)]);
        assert_eq!(pieces(5, &[7]), pieces(5, &[]));
        assert_eq!(pieces(5, &[3, 1]), pieces(5, &[]));
    }
}
