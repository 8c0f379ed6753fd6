//! Random programs of writes, steps, crashes, reopening and changes of what is kept.

use std::time::Duration;

use proptest::prelude::*;

use super::super::{Limits, Urgency};
use super::story::{CAPTURE, Cut, EVENT, SECOND, Story, tiny};
use crate::chunk::RowKind;
use crate::config::RetentionConfig;

#[derive(Clone, Debug)]
enum Op {
    Write(RowKind, Vec<i64>),
    Steps(Urgency, usize),
    Settle,
    /// The process dies in the middle of the next step, or between two.
    Crash(Cut),
    /// The process dies in the middle of a batch.
    CrashInBatch(RowKind, Vec<i64>),
    Reopen,
    Keep {
        rows: Option<u64>,
        seconds: Option<u64>,
    },
    Later(i64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let kind = || prop_oneof![3 => Just(EVENT), 2 => Just(CAPTURE)];
    let times = || prop::collection::vec(-50i64..50, 1..9);
    let urgency = prop_oneof![Just(Urgency::Due), Just(Urgency::Idle)];
    let cut = prop_oneof![2 => Just(Cut::BeforeCommit), 1 => Just(Cut::AfterCommit)];
    let keep = (prop::option::weighted(0.6, 5u64..60), prop::option::weighted(0.4, 5u64..100));
    let op = prop_oneof![
        12 => (kind(), times()).prop_map(|(kind, times)| Op::Write(kind, times)),
        8 => (urgency, 1usize..12).prop_map(|(urgency, most)| Op::Steps(urgency, most)),
        1 => Just(Op::Settle),
        3 => cut.prop_map(Op::Crash),
        1 => (kind(), times()).prop_map(|(kind, times)| Op::CrashInBatch(kind, times)),
        1 => Just(Op::Reopen),
        1 => keep.prop_map(|(rows, seconds)| Op::Keep { rows, seconds }),
        3 => (1i64..20).prop_map(Op::Later),
    ];
    prop::collection::vec(op, 30..70)
}

fn limits() -> impl Strategy<Value = Limits> {
    (4i64..10, 20i64..60, 1u64..30).prop_map(|(open_rows, merged_rows, age)| Limits {
        open_rows,
        merged_rows,
        grown_rows: 2 * merged_rows,
        open_age: Duration::from_secs(age),
        ..tiny()
    })
}

fn play(mut story: Story, ops: Vec<Op>) {
    for op in ops {
        match op {
            Op::Write(kind, times) => story.write(kind, &times),
            Op::Steps(urgency, most) => drop(story.work(urgency, most)),
            Op::Settle => story.settle(),
            Op::Crash(cut) => {
                if let Some(step) = story.next(Urgency::Idle) {
                    match cut {
                        Cut::BeforeCommit => story.apply_without_commit(&step),
                        Cut::AfterCommit => story.carry_out(&step),
                    }
                }
                story = story.as_killed_now();
            }
            Op::CrashInBatch(kind, times) => {
                story.write_without_commit(kind, &times);
                story = story.as_killed_now();
            }
            Op::Reopen => story = story.reopened(),
            Op::Keep { rows, seconds } => {
                let max_age = seconds.map(Duration::from_secs);
                story.limits.retention = RetentionConfig { max_age, max_rows: rows, max_bytes: None };
            }
            Op::Later(seconds) => story.now += seconds * SECOND,
        }
        story.check();
    }
    story.settle();
    story = story.reopened();
    story.settle();
    story.check_sound();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_views_show_what_was_committed_less_whole_oldest_segments(
        limits in limits(), ops in ops()
    ) {
        play(Story::new(limits), ops);
    }
}
