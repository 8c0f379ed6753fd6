//! What has been counted of closed segments, shared by all connections of a reader.
//!
//! A segment is known by all that the catalogue says of it that stays: a number may come again when its table is gone, and
//! another file may come in the place of this one. Counts live as long as some connection has the segment in its
//! catalogue, so that those of segments that were merged or dropped go by themselves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::backend::sql::query::quarters::Quarters;
use crate::backend::sql::query::tallies::Shelf;
use crate::chunk::RowKind;

/// A closed segment, and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub(super) kind: RowKind,
    pub(super) number: i64,
    pub(super) rows: i64,
    pub(super) ids: (i64, i64),
    pub(super) times: (i64, i64),
    /// When it was opened and closed.
    pub(super) life: (i64, i64),
}

/// The counts of every closed segment in sight.
#[derive(Debug, Default)]
pub(super) struct Counted {
    segments: Mutex<HashMap<Identity, Weak<Quarters>>>,
    shelf: Arc<Shelf>,
}

impl Counted {
    /// Returns a segment's counts, none at first.
    pub(super) fn of(&self, segment: Identity) -> Arc<Quarters> {
        let mut counted = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(quarters) = counted.get(&segment).and_then(Weak::upgrade) {
            return quarters;
        }
        // Only when there is a new segment, so not often.
        counted.retain(|_, quarters| quarters.strong_count() > 0);
        let quarters = Arc::new(Quarters::new(&self.shelf));
        counted.insert(segment, Arc::downgrade(&quarters));
        quarters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_of_one_segment_and_go_with_it() {
        let (kind, life) = (RowKind::Event, (1, 2));
        let one = Identity { kind, number: 1, rows: 5, ids: (1, 5), times: (0, 9), life };
        let counted = Counted::default();
        let quarters = counted.of(one);
        assert!(Arc::ptr_eq(&quarters, &counted.of(one)));
        // The same number, of another table.
        let other = Identity { life: (1, 3), ..one };
        assert!(!Arc::ptr_eq(&quarters, &counted.of(other)));
        drop(quarters);
        drop(counted.of(Identity { number: 2, ..one }));
        assert_eq!(counted.segments.lock().unwrap().len(), 1);
    }
}
