//! Each decision by itself; `life` plays long ones.

use std::time::Duration;

use super::super::catalogue::{Segment, State, indexes};
use super::*;
use crate::config::Bytes;

mod life;

const SECOND: i64 = 1_000_000_000;
const EVENT: RowKind = RowKind::Event;
const CAPTURE: RowKind = RowKind::Capture;

/// Segments of ten rows and of a hundred when merged; nothing closes by age.
fn limits() -> Limits {
    Limits {
        open_rows: 10,
        open_bytes: 1000,
        open_age: Duration::from_secs(1_000_000),
        merged_rows: 100,
        merged_bytes: 10_000,
        grown_rows: 400,
        grown_bytes: 40_000,
        piece_rows: 10,
        piece_bytes: 1000,
        most: 16,
        retention: RetentionConfig::default(),
    }
}

/// A kind's segments: closed and indexed ones of so many rows, a second each, and the open one.
fn segments(kind: RowKind, closed: &[i64], open: i64) -> Vec<Segment> {
    let mut last_id = 0;
    let all = closed.iter().chain([&open]).zip(1..);
    all.map(|(rows, number)| {
        let is_open = number > closed.len() as i64;
        let first_id = last_id + 1;
        last_id += rows;
        Segment {
            kind,
            number,
            state: if is_open { State::Open } else { State::Closed },
            indexes: if is_open { 0 } else { indexes(kind).len() },
            first_id,
            last_id,
            rows: *rows,
            bytes: rows * 10,
            first_ts: None,
            last_ts: None,
            opened_at: (number - 1) * SECOND,
            closed_at: if is_open { i64::MAX } else { number * SECOND },
            target: None,
        }
    })
    .collect()
}

fn events(closed: &[i64], open: i64) -> [Vec<Segment>; 2] {
    [segments(EVENT, closed, open), segments(CAPTURE, &[], 0)]
}

fn due(catalogue: &[Vec<Segment>; 2], limits: &Limits) -> Option<Step> {
    next(catalogue, Space::default(), limits, 100 * SECOND, Urgency::Due)
}

fn idle(catalogue: &[Vec<Segment>; 2], limits: &Limits) -> Option<Step> {
    next(catalogue, Space::default(), limits, 100 * SECOND, Urgency::Idle)
}

#[test]
fn an_open_segment_takes_rows_up_to_its_limits_and_a_batch_of_more_when_it_is_empty() {
    let open = |rows| segments(EVENT, &[], rows).remove(0);
    let is_full = |open: &Segment, rows, bytes| super::is_full(open, rows, bytes, &limits());
    assert!(!is_full(&open(9), 1, 0) && is_full(&open(9), 2, 0) && is_full(&open(10), 1, 0));
    assert!(!is_full(&open(9), 1, 910) && is_full(&open(9), 1, 911));
    assert!(!is_full(&open(0), 50, 50_000), "it has to go somewhere");
    assert_eq!(due(&events(&[], 10), &limits()), None);
    assert_eq!(due(&events(&[], 50), &limits()), Some(Step::Close(EVENT)));
}

#[test]
fn an_open_segment_closes_at_its_age_and_an_empty_one_never() {
    let old = Limits { open_age: Duration::from_secs(100), ..limits() };
    let young = Limits { open_age: Duration::from_secs(101), ..limits() };
    assert_eq!(due(&events(&[], 1), &old), Some(Step::Close(EVENT)));
    assert_eq!(due(&events(&[], 1), &young), None);
    assert_eq!(due(&events(&[], 0), &old), None);
}

/// Only the age was bound to what retention keeps. With `max_rows` 1000, 32,768 rows stayed; with `max_bytes` 300 MiB a
/// merged segment of 256 MiB went at once; and with `max_bytes` below a segment's size a flood of captures, still in its
/// open segment, took all events away.
#[test]
fn segments_are_a_small_part_of_what_retention_keeps() {
    let mut config = Config::default();
    let plain = Limits::of(&config);
    assert_eq!((plain.open_rows, plain.merged_rows, plain.open_age), (32_768, 262_144, Duration::from_secs(86_400)));
    config.retention.max_age = Some(Duration::from_secs(1600));
    config.retention.max_rows = Some(160_000);
    config.retention.max_bytes = Some(Bytes::mib(320));
    let tight = Limits::of(&config);
    assert_eq!(tight.open_age, Duration::from_secs(100));
    assert_eq!((tight.open_rows, tight.merged_rows), (10_000, 10_000));
    assert_eq!((tight.open_bytes, tight.merged_bytes), (20 << 20, 20 << 20));
    config.retention.max_rows = Some(1);
    assert_eq!(Limits::of(&config).open_rows, LEAST_ROWS, "not a segment for each row");
}

#[test]
fn due_steps_come_in_their_order_and_events_come_first() {
    let mut catalogue = [segments(EVENT, &[10, 10, 10], 50), segments(CAPTURE, &[10, 10], 50)];
    catalogue[0][1].indexes = 1;
    catalogue[0][2].indexes = 0;
    catalogue[1][0].indexes = 0;
    let limits = Limits { retention: RetentionConfig { max_rows: Some(1), ..Default::default() }, ..limits() };
    assert_eq!(due(&catalogue, &limits), Some(Step::Close(EVENT)));
    catalogue[0][3].rows = 1;
    assert_eq!(due(&catalogue, &limits), Some(Step::Close(CAPTURE)));
    catalogue[1][2].rows = 1;
    for _ in 0..2 {
        assert_eq!(due(&catalogue, &limits), Some(Step::Index(EVENT, 2)), "the oldest first, until it has all");
        catalogue[0][1].indexes += 1;
    }
    assert_eq!(due(&catalogue, &limits), Some(Step::Index(EVENT, 3)));
    catalogue[0][2].indexes = 3;
    assert_eq!(due(&catalogue, &limits), Some(Step::Index(CAPTURE, 1)));
    catalogue[1][0].indexes = 2;
    assert_eq!(due(&catalogue, &limits), Some(Step::Retire(EVENT, 1, "max_rows")));
    catalogue[0][0].state = State::Dropping;
    assert_eq!(due(&catalogue, &limits), Some(Step::Retire(EVENT, 2, "max_rows")));
    assert_eq!(due(&catalogue, &super::tests::limits()), Some(Step::Drop(EVENT, 1)));
}

#[test]
fn eight_small_neighbours_are_merged_and_never_beyond_the_merged_size() {
    assert_eq!(idle(&events(&[5; 7], 3), &limits()), None);
    assert_eq!(idle(&events(&[5; 8], 3), &limits()), Some(Step::Merge(EVENT, (1..=8).collect())));
    assert_eq!(due(&events(&[5; 8], 3), &limits()), None, "that can wait");
    assert_eq!(idle(&events(&[9; 30], 3), &limits()), Some(Step::Merge(EVENT, (1..=11).collect())));
    assert_eq!(idle(&events(&[30, 30, 30, 30], 3), &limits()), Some(Step::Merge(EVENT, vec![1, 2, 3])), "final");
    let apart = [5, 5, 5, 5, 51, 5, 5, 5, 5];
    assert_eq!(idle(&events(&apart, 3), &limits()), None, "a large one between them stays where it is");
    let heavy = Limits { merged_bytes: 400, ..limits() };
    assert_eq!(idle(&events(&[5; 9], 3), &heavy), Some(Step::Merge(EVENT, (1..=8).collect())), "by bytes too");
}

#[test]
fn a_merge_goes_on_where_it_is_copying_and_ends_with_its_indexes() {
    let mut catalogue = events(&[5; 8], 3);
    for segment in &mut catalogue[0][..8] {
        segment.target = Some(10);
    }
    let mut target = catalogue[0][0].clone();
    (target.number, target.state, target.indexes, target.target) = (10, State::Merging, 0, None);
    (target.rows, target.last_id) = (10, 10);
    catalogue[0].insert(1, target);
    assert_eq!(idle(&catalogue, &limits()), Some(Step::Copy { kind: EVENT, from: 3, into: 10, most: i64::MAX }));
    catalogue[0][1].last_id = 40;
    assert_eq!(idle(&catalogue, &limits()), Some(Step::Index(EVENT, 10)));
    catalogue[0][1].indexes = 3;
    assert_eq!(idle(&catalogue, &limits()), Some(Step::Swap(EVENT, 10)));
    assert_eq!(due(&catalogue, &limits()), None, "nobody misses it");
    let rows = RetentionConfig { max_rows: Some(20), ..Default::default() };
    let kept = Limits { retention: rows, ..limits() };
    assert_eq!(due(&catalogue, &kept), Some(Step::Cancel(EVENT, 10)), "what is being copied is not taken away");
    catalogue[0].iter_mut().for_each(|segment| segment.target = None);
    catalogue[0][1].state = State::Dropping;
    assert_eq!(due(&catalogue, &kept), Some(Step::Retire(EVENT, 1, "max_rows")));
}

#[test]
fn merged_neighbours_grow_in_quiet_moments_once_and_as_far_as_they_fit() {
    assert_eq!(idle(&events(&[100; 4], 3), &limits()), None, "one more may fit");
    assert_eq!(idle(&events(&[100; 5], 3), &limits()), Some(Step::Grow(EVENT, vec![1, 2, 3, 4])));
    assert_eq!(idle(&events(&[90, 90, 90, 90, 60, 90], 3), &limits()), Some(Step::Grow(EVENT, vec![1, 2, 3, 4])));
    let crowded = Limits { most: 3, ..limits() };
    assert_eq!(due(&events(&[100; 5], 3), &crowded), None, "a busy writer has no time for that");
    assert_eq!(idle(&events(&[210, 210, 210], 3), &limits()), None, "what has grown stays as it is");
    let small_first = [100, 100, 100, 100, 100, 5, 5, 5, 5, 5, 5, 5, 5];
    assert_eq!(idle(&events(&small_first, 3), &limits()), Some(Step::Merge(EVENT, (6..=13).collect())));
    let config =
        Config { retention: RetentionConfig { max_rows: Some(160_000), ..Default::default() }, ..Config::default() };
    assert_eq!(Limits::of(&config).grown_rows, 10_000, "whole segments go, so they stay small");
}

#[test]
fn a_growing_segment_takes_its_rows_in_pieces() {
    let mut catalogue = events(&[100; 5], 3);
    catalogue[0][..4].iter_mut().for_each(|segment| segment.target = Some(10));
    let mut target = catalogue[0][0].clone();
    (target.number, target.state, target.target) = (10, State::Merging, None);
    (target.rows, target.last_id) = (110, 110);
    catalogue[0].insert(1, target);
    let copy = |from, most| Some(Step::Copy { kind: EVENT, from, into: 10, most });
    assert_eq!(idle(&catalogue, &limits()), copy(2, 10), "on with the second");
    assert_eq!(idle(&catalogue, &Limits { piece_bytes: 35, ..limits() }), copy(2, 3), "by bytes too");
    catalogue[0][1].last_id = 400;
    assert_eq!(idle(&catalogue, &limits()), Some(Step::Swap(EVENT, 10)));
}

#[test]
fn a_large_table_is_taken_down_in_pieces() {
    let mut catalogue = events(&[320, 321], 3);
    catalogue[0][0].state = State::Dropping;
    assert_eq!(due(&catalogue, &limits()), Some(Step::Drop(EVENT, 1)));
    catalogue[0][0].bytes = 32_001;
    assert_eq!(due(&catalogue, &limits()), Some(Step::Shrink(EVENT, 1, 10)));
    catalogue[0].remove(0);
    catalogue[0][0].state = State::Dropping;
    assert_eq!(due(&catalogue, &limits()), Some(Step::Shrink(EVENT, 2, 10)));
}

#[test]
fn the_open_segment_is_indexed_when_nothing_is_written_and_large_enough_to_be_worth_it() {
    let limits = Limits { open_rows: i64::MAX, open_bytes: i64::MAX, ..limits() };
    assert_eq!(idle(&events(&[], LEAST_INDEXED - 1), &limits), None);
    let mut catalogue = events(&[], LEAST_INDEXED);
    assert_eq!(due(&catalogue, &limits), None);
    for built in 0..3 {
        catalogue[0][0].indexes = built;
        assert_eq!(idle(&catalogue, &limits), Some(Step::Index(EVENT, 1)));
    }
    catalogue[0][0].indexes = 3;
    assert_eq!(idle(&catalogue, &limits), None);
}

/// A segment that had closed by age stood before many that closed by rows. It was too old to be merged with them, and
/// those behind it were not looked at: a hundred segments stayed a hundred until retention had taken the first.
#[test]
fn an_old_segment_does_not_keep_those_behind_it_from_being_merged() {
    let mut catalogue = events(&[5; 20], 3);
    for segment in &mut catalogue[0][1..] {
        segment.opened_at += 1000 * SECOND;
        segment.closed_at = segment.closed_at.saturating_add(1000 * SECOND);
    }
    let retention = RetentionConfig { max_age: Some(Duration::from_secs(16 * 30)), ..Default::default() };
    let limits = Limits { retention, ..limits() };
    let step = next(&catalogue, Space::default(), &limits, 100 * SECOND, Urgency::Idle);
    assert_eq!(step, Some(Step::Merge(EVENT, (2..=20).collect())));
}

#[test]
fn retention_takes_the_oldest_never_the_open_one_and_never_below_what_is_kept() {
    let kept = |most| Limits { retention: RetentionConfig { max_rows: Some(most), ..Default::default() }, ..limits() };
    let catalogue = events(&[10, 10, 10], 5);
    assert_eq!(due(&catalogue, &kept(26)), None);
    assert_eq!(due(&catalogue, &kept(25)), Some(Step::Retire(EVENT, 1, "max_rows")));
    assert_eq!(due(&events(&[], 9), &kept(1)), None);
    let aged = |seconds| {
        let max_age = Some(Duration::from_secs(seconds));
        Limits { retention: RetentionConfig { max_age, ..Default::default() }, ..limits() }
    };
    assert_eq!(due(&catalogue, &aged(99)), None, "its last row is not older than that");
    assert_eq!(due(&catalogue, &aged(98)), Some(Step::Retire(EVENT, 1, "max_age")));
    assert_eq!(due(&events(&[0, 10], 5), &limits()), Some(Step::Retire(EVENT, 1, "empty")));
}

#[test]
fn a_flood_of_one_kind_takes_its_own_rows_only() {
    let retention = RetentionConfig { max_bytes: Some(Bytes(1000)), ..Default::default() };
    let limits = Limits { retention, ..limits() };
    let mut catalogue = [segments(EVENT, &[10, 10], 1), segments(CAPTURE, &[10; 5], 1)];
    let next = |catalogue: &_, used: i64| {
        let space = Space { file: used + 5000, free: 5000, ..Space::default() };
        super::next(catalogue, space, &limits, 100 * SECOND, Urgency::Due)
    };
    assert_eq!(next(&catalogue, 1000), None);
    assert_eq!(next(&catalogue, 1001), Some(Step::Retire(CAPTURE, 1, "max_bytes")));
    catalogue[1][0].state = State::Dropping;
    assert_eq!(next(&catalogue, 1001), Some(Step::Drop(CAPTURE, 1)), "and no second one before its room is seen");
    catalogue[1].drain(..4);
    assert_eq!(next(&catalogue, 1001), Some(Step::Retire(EVENT, 1, "max_bytes")), "whichever has more");
}

/// A file that `sqlite3 .recover` had made anew cannot give free pages back. It was asked to, two hundred times a
/// second, for ever.
#[test]
fn free_pages_are_given_back_where_that_can_be_done_and_a_few_are_kept() {
    let vacuum = |file, free, is_incremental| {
        let space = Space { file, free, is_incremental };
        next(&events(&[], 1), space, &limits(), 0, Urgency::Idle)
    };
    assert_eq!(vacuum(1 << 30, (64 << 20) + 1, true), Some(Step::Vacuum));
    assert_eq!(vacuum(1 << 30, 64 << 20, true), None);
    assert_eq!(vacuum(32 << 20, 16 << 20, true), None);
    assert_eq!(vacuum(1 << 30, 1 << 29, false), None);
    let space = Space { file: 1 << 30, free: 1 << 29, is_incremental: true };
    assert_eq!(next(&events(&[], 1), space, &limits(), 0, Urgency::Due), None, "not under load");
}
