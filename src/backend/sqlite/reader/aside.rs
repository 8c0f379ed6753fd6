//! Runs long work of a reader on a thread that the writer goes before.
//!
//! A reader waits for no lock of the writer's, but processors are shared: four readers that ask without a pause would take
//! most of two. What a sensor sends comes first; a question that looks at many rows is answered with the rest. A thread may
//! lower its own priority and not raise it again without rights, so it is one for each question: 30 to 60 µs (medians
//! of 2000 on the machine of the README), where the work takes milliseconds. Without another use for the processors a low
//! priority costs nothing.
//!
//! And there is one such thread for every two processors: two that read on one and the same beside the writer take its
//! caches and its memory's time. Who has waited for a turn for a second goes on without one, so that nobody waits for
//! somebody else's very long question.
//!
//! Turned down: threads that keep their connections and answer everything, where each page would pay for the
//! way there and back; idle scheduling (`SCHED_IDLE`), where a snapshot could be held for as long as anybody is busy, and the
//! write-ahead log would grow for as long.

use std::time::Duration;

use crate::backend::sql::turns::Turns;

/// Steps of niceness that long work gives way: 15 parts of 1024 where both want the same processor (sched(7)).
#[cfg(target_os = "linux")]
const GIVES_WAY: i32 = 19;
/// How long somebody waits for a turn.
const PATIENCE: Duration = Duration::from_secs(1);

/// Returns as many turns as may be at once.
pub(super) fn turns() -> Turns {
    Turns::new(std::thread::available_parallelism().map_or(1, usize::from) / 2)
}

/// Does `work` on a thread of low priority, and waits for it.
pub(super) fn aside<T: Send>(turns: &Turns, work: impl FnOnce() -> T + Send) -> T {
    let _turn = turns.take_within(PATIENCE);
    let mut work = Some(work);
    let answer = std::thread::scope(|scope| {
        let thread = || {
            give_way();
            run(&mut work)
        };
        // Without room for another thread it is done here.
        let thread = std::thread::Builder::new().name("forebay-query".into()).spawn_scoped(scope, thread).ok()?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    answer.or_else(|| run(&mut work)).expect("work that nobody has taken is there")
}

fn run<T>(work: &mut Option<impl FnOnce() -> T>) -> Option<T> {
    work.take().map(|work| work())
}

/// Elsewhere a priority is the process's, not the thread's.
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Ok(now) = rustix::process::getpriority_process(None) {
        // That it is refused is no harm: the answer is the same.
        let _ = rustix::process::setpriority_process(None, (now + GIVES_WAY).min(19));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn only_the_thread_of_the_question_gives_way() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        assert_eq!(aside(&turns(), nice), (before + GIVES_WAY).min(19));
        assert_eq!(nice(), before);
    }

    #[test]
    fn a_panic_of_the_work_is_that_of_the_caller() {
        let turns = Turns::new(1);
        let work = || aside(&turns, || panic!("in the middle"));
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"in the middle"));
        assert!(turns.take_within(Duration::ZERO).is_some(), "its turn is given back");
    }
}
