//! Histograms of rows that were counted before, while segments are closed, merged and dropped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use forebay::repository::{Buckets, Filter, Repository};
use forebay::{Event, Timestamp};

use super::Place;
use crate::sqlite::{impatient, segments};

const SECOND: i64 = 1_000_000_000;
/// A row every 30 s, from the beginning of a quarter of an hour on.
const STEP: i64 = 30 * SECOND;
const BEGIN: i64 = 1_760_000_400 * SECOND;
const AN_HOUR: u64 = 120;
const ROWS: i64 = 8000;

fn hours(repository: &Repository, filter: &Filter<forebay::repository::EventColumn>) -> Vec<(Timestamp, u64)> {
    // Their days begin at a quarter past an hour of UTC.
    let hours = Buckets::every(Duration::from_secs(3600)).in_zone("Asia/Kathmandu").unwrap();
    let found = repository.events().histogram(filter, &hours).unwrap();
    found.into_iter().map(|bucket| (bucket.from, bucket.rows)).collect()
}

/// Rows come in the order of their times and go in it: only the first hour and the last may have less than all.
fn check(hours: &[(Timestamp, u64)]) {
    let [(_, first), within @ .., (_, last)] = hours else { return };
    assert!(*first <= AN_HOUR && *last <= AN_HOUR, "{hours:?}");
    assert!(within.iter().all(|(_, rows)| *rows == AN_HOUR), "{hours:?}");
    assert!(hours.windows(2).all(|two| two[1].0.as_nanos() - two[0].0.as_nanos() == 3600 * SECOND), "{hours:?}");
}

#[test]
fn kept_counts_are_right_while_segments_are_closed_merged_and_dropped() {
    let place = Place::sqlite();
    let Place::Sqlite(database) = &place else { unreachable!() };
    let mut config = impatient();
    (config.sqlite.segment_rows, config.sqlite.merged_rows) = (50, 400);
    config.retention.max_rows = Some(3000);
    let backend = place.backend(&config);
    let row = |n: i64| Event::builder("s", "v", "t").ts(Timestamp::from_nanos(BEGIN + n * STEP)).build().unwrap();
    let (repository, all, done) = (place.repository(), Filter::new(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut times = 0;
                    while !done.load(Ordering::Relaxed) {
                        check(&hours(&repository, &all));
                        times += 1;
                    }
                    times
                })
            })
            .collect();
        let batches: Vec<Vec<Event>> =
            (0..ROWS).step_by(40).map(|first| (first..first + 40).map(row).collect()).collect();
        let began = Instant::now();
        Place::write(&*backend, "e", &batches);
        segments::settled(|sql| database.number(sql));
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() > 0, "no answer within {:?}", began.elapsed());
        }
    });
    // Nobody is left who could drop a segment between two questions.
    drop(backend);
    // From where a quarter is cut to where one is cut; kept counts and counts of now.
    let at = |nanos: i64| Timestamp::from_nanos(BEGIN + (ROWS - 1000) * STEP + nanos);
    for filter in [all.clone(), Filter::new().since(at(1)).until(at(5 * 3600 * SECOND + 7)), Filter::new().since(at(0))]
    {
        let kept = hours(&repository, &filter);
        assert_eq!(kept, hours(&place.repository(), &filter), "{filter}");
        assert_eq!(kept.iter().map(|(_, rows)| rows).sum::<u64>(), repository.events().count(&filter).unwrap());
        assert!(!kept.is_empty());
    }
    assert!(repository.events().count(&all).unwrap() < ROWS as u64, "retention has dropped some");
}
