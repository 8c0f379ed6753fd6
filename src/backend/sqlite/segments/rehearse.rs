//! What a step for retention would change, without a file: for `forebay db prune --dry-run`.

use super::catalogue::{Segment, State, indexes};
use super::{Segments, Step};

impl Segments {
    /// Returns about how many bytes of the file a segment takes, with its indexes: its share of what is used.
    pub(in crate::backend::sqlite) fn bytes_of(&self, segment: &Segment) -> i64 {
        // A segment from before there were segments has no bytes in the catalogue.
        let weight = |segment: &Segment| if segment.bytes > 0 { segment.bytes } else { segment.rows * 500 };
        let all: i64 = self.all().map(weight).sum();
        let used = (self.space.file - self.space.free).max(0) as f64;
        if all == 0 { 0 } else { (used * weight(segment) as f64 / all as f64) as i64 }
    }

    /// Changes the catalogue in memory as `step` would; returns whether it could.
    pub(in crate::backend::sqlite) fn rehearse(&mut self, step: &Step, now: i64) -> bool {
        match *step {
            Step::Close(kind) => {
                let Some(open) = self.open(kind) else { return false };
                let mut next = open.clone();
                (open.state, open.closed_at, open.indexes) = (State::Closed, now, indexes(kind).len());
                (next.number, next.first_id, next.opened_at) = (next.number + 1_000_000, next.last_id + 1, now);
                (next.rows, next.bytes) = (0, 0);
                self.catalogue[kind.index()].push(next);
            }
            Step::Index(kind, number) => self.change(kind.index(), number, |segment| {
                segment.indexes = indexes(segment.kind).len();
            }),
            Step::Cancel(kind, number) => {
                let of_kind = &mut self.catalogue[kind.index()];
                of_kind.retain(|segment| segment.number != number);
                of_kind.iter_mut().for_each(|segment| segment.target = None);
            }
            Step::Retire(kind, number, _) | Step::Drop(kind, number) | Step::Shrink(kind, number, _) => {
                let of_kind = &self.catalogue[kind.index()];
                let Some(segment) = of_kind.iter().find(|segment| segment.number == number) else { return false };
                self.space.free += self.bytes_of(segment);
                self.catalogue[kind.index()].retain(|segment| segment.number != number);
            }
            Step::Merge(..) | Step::Grow(..) | Step::Copy { .. } | Step::Swap(..) | Step::Vacuum => return false,
        }
        true
    }

    fn change(&mut self, kind: usize, number: i64, change: impl FnOnce(&mut Segment)) {
        if let Some(segment) = self.catalogue[kind].iter_mut().find(|segment| segment.number == number) {
            change(segment);
        }
    }
}
