//! Each kind of step, cut off right before and right after its commit; a full file; and more segments than one view
//! can have.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::{Step, Urgency};
use super::story::{CAPTURE, EVENT, Story, tiny};
use crate::config::RetentionConfig;

const TEN: [i64; 3] = [7, 3, 5];

/// Kills the process before and after the commit of this step; whatever is left must open, be as it was, go on and end
/// as it would have. Then does the step.
fn cut_off(story: &mut Story, step: &Step) {
    story.apply_without_commit(step);
    let before = story.as_killed_now();
    story.execute("ROLLBACK");
    story.carry_out(step);
    let after = story.as_killed_now();
    for mut survivor in [before, after] {
        survivor.check();
        survivor.write(EVENT, &TEN);
        survivor.write(CAPTURE, &TEN);
        survivor.settle();
        survivor.check_sound();
    }
}

#[test]
fn cut_off_before_or_after_its_commit_every_step_leaves_a_file_that_goes_on() {
    let mut story = Story::new(tiny());
    let mut seen = BTreeSet::new();
    let mut cut_all = |story: &mut Story, until: fn(&Step) -> bool| {
        while let Some(step) = story.next(Urgency::Idle) {
            seen.insert(step.name());
            cut_off(story, &step);
            if until(&step) {
                break;
            }
        }
    };
    let close = |story: &mut Story| {
        let limits = story.limits.clone();
        story.limits.open_age = Duration::ZERO;
        [EVENT, CAPTURE].iter().for_each(|kind| story.write(*kind, &TEN));
        limits
    };
    for _ in 0..6 {
        let limits = close(&mut story);
        story.work(Urgency::Idle, 30);
        story.limits = limits;
    }
    // Two more rounds, so that eight can be merged, each step cut off.
    for _ in 0..2 {
        let limits = close(&mut story);
        cut_all(&mut story, |step| matches!(step, Step::Copy { .. }));
        story.limits = limits;
    }
    // What is being merged is taken by retention; the other kind's merge goes on to its end.
    story.limits.retention = RetentionConfig { max_rows: Some(10), ..RetentionConfig::default() };
    cut_all(&mut story, |step| matches!(step, Step::Cancel(..)));
    story.limits.retention = RetentionConfig::default();
    cut_all(&mut story, |_| false);
    story.limits.retention = RetentionConfig { max_rows: Some(3), ..RetentionConfig::default() };
    cut_all(&mut story, |_| false);
    seen.insert("vacuum");
    cut_off(&mut story, &Step::Vacuum);
    story.check_sound();
    let all = ["cancel", "close", "copy", "drop", "index", "merge", "retire", "swap", "vacuum"];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), all);
}

#[test]
fn cut_off_while_a_segment_grows_or_is_taken_down_a_file_goes_on() {
    let mut story = Story::new(tiny());
    (story.limits.grown_rows, story.limits.piece_rows) = (40, 4);
    let mut seen = BTreeSet::new();
    let mut cut_all = |story: &mut Story| {
        while let Some(step) = story.next(Urgency::Idle) {
            seen.insert(step.name());
            cut_off(story, &step);
        }
    };
    // As small as it can be: two merged ones, and the next does not fit.
    while !matches!(story.next(Urgency::Idle), Some(Step::Grow(CAPTURE, _))) {
        match story.next(Urgency::Idle) {
            Some(step) => story.carry_out(&step),
            None => story.write(CAPTURE, &[7, 3, 5, -2]),
        }
    }
    let bytes =
        |story: &Story| story.segments.all().filter(|s| s.kind == CAPTURE && s.is_visible()).map(|s| s.bytes).sum();
    let before: i64 = bytes(&story);
    cut_all(&mut story);
    // All the pieces were full, and once nobody added the bytes of the last one: a segment that had grown weighed nothing.
    assert_eq!(bytes(&story), before);
    story.limits.retention = RetentionConfig { max_rows: Some(3), ..RetentionConfig::default() };
    story.limits.piece_rows = 1;
    cut_all(&mut story);
    story.check_sound();
    for name in ["grow", "copy", "swap", "retire", "shrink", "drop"] {
        assert!(seen.contains(name), "{seen:?}");
    }
}

#[test]
fn a_step_that_finds_the_disk_full_changes_nothing_and_is_done_when_there_is_room() {
    let mut story = Story::new(tiny());
    let long: Vec<i64> = (0..400).collect();
    let mut refused = BTreeSet::new();
    for _ in 0..20 {
        story.write(EVENT, &long[..4]);
        story.write(CAPTURE, &long[..4]);
        while let Some(step) = story.next(Urgency::Idle) {
            story.execute("PRAGMA max_page_count=1");
            if let Err(error) = story.try_next(Urgency::Idle) {
                assert!(error.to_string().contains("full"), "{error}");
                refused.insert(step.name());
                story.check();
                assert_eq!(story.next(Urgency::Idle).as_ref(), Some(&step));
            }
            story.execute("PRAGMA max_page_count=1000000");
            if story.next(Urgency::Idle).as_ref() == Some(&step) {
                story.carry_out(&step);
            }
        }
    }
    assert!(refused.contains("index") && refused.contains("merge"), "{refused:?}");
    story.check_sound();
}

#[test]
fn more_segments_than_one_view_can_have_are_read_written_closed_and_opened_all_the_same() {
    let mut limits = tiny();
    (limits.open_rows, limits.most) = (1, 100_000);
    let mut story = Story::new(limits);
    for row in 0..510 {
        story.write(CAPTURE, &[row]);
    }
    // With the empty one that a new file begins with.
    assert_eq!(story.visible(CAPTURE), 511);
    story.check();
    let part = story.place_of_view("captures_part_1");
    story = story.reopened();
    story.work(Urgency::Due, 10);
    story.write(CAPTURE, &[1]);
    story.carry_out(&Step::Close(CAPTURE));
    assert_eq!(story.place_of_view("captures_part_1"), part, "a close leaves the views of old segments alone");
    story.check_sound();
    assert!(story.visible(CAPTURE) > 500);
}

#[test]
fn under_load_without_a_quiet_moment_segments_stay_few() {
    let mut story = Story::new(tiny());
    story.limits.merged_rows = 400;
    let mut most = 0;
    for batch in 0..300 {
        story.write(EVENT, &[batch, 1, 2]);
        story.work(Urgency::Due, 8);
        most = most.max(story.visible(EVENT));
    }
    assert!(most > 16 && most <= 32, "{most} segments");
    story.check_sound();
    assert!(story.visible(CAPTURE) == 1);
}
