//! Random programs of writing, rotating, compressing and restarting; the oracle is the list of lines.

use proptest::prelude::*;

use super::{Log, Place, same};

#[derive(Clone, Copy, Debug)]
enum Step {
    Lines(usize),
    Half,
    /// Goes on with the renamed file for some lines.
    Rename(usize),
    CopyTruncate,
    Compress(usize),
    /// Waits until everything is in.
    Settle,
    Restart,
    /// Ends, does these steps with nobody there, and starts again.
    Pause(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1usize..40).prop_map(Step::Lines),
        2 => Just(Step::Half),
        2 => (0usize..5).prop_map(Step::Rename),
        2 => Just(Step::CopyTruncate),
        3 => (1usize..4).prop_map(Step::Compress),
        1 => Just(Step::Settle),
        1 => Just(Step::Restart),
        2 => any::<u8>().prop_map(Step::Pause),
    ]
}

fn write(log: &mut Log, step: Step) {
    match step {
        Step::Lines(lines) => log.lines(lines),
        Step::Half => log.half(),
        Step::Rename(late) => {
            log.rename();
            log.lines(late);
            log.reopen();
        }
        Step::CopyTruncate => log.copytruncate(),
        Step::Compress(number) => log.compress(number),
        Step::Settle | Step::Restart | Step::Pause(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_to_a_log_each_line_is_there_once(steps in prop::collection::vec(step(), 1..25)) {
        let place = Place::new();
        let mut log = Log::new(place.path("x.log"));
        let mut tail = place.follow();
        for step in steps {
            match step {
                Step::Settle => place.has(&log.written),
                Step::Restart => {
                    tail.end();
                    tail = place.follow();
                }
                Step::Pause(what) => {
                    tail.end();
                    let away = [Step::Lines(3), Step::Rename(1), Step::Compress(1), Step::CopyTruncate, Step::Lines(30), Step::Compress(2)];
                    for (bit, step) in away.into_iter().enumerate().filter(|(bit, _)| what & (1 << bit) != 0) {
                        let _ = bit;
                        write(&mut log, step);
                    }
                    tail = place.follow();
                }
                step => write(&mut log, step),
            }
        }
        log.other_half();
        place.has(&log.written);
        tail.end();
        let tail = place.follow();
        log.lines(1);
        place.has(&log.written);
        tail.end();
        same(place.lines(), &log.written);
    }
}
