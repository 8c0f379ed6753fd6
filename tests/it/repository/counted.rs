//! Answers from rows that were counted before: while segments are closed, merged and dropped, and while a server gets rows.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use forebay::repository::{Buckets, EventColumn, Filter, Repository};
use forebay::{Config, Event, Timestamp};

use super::Place;
use crate::harness::eventually;
use crate::mysql::server::SHARED;
use crate::sqlite::{impatient, segments};

const SECOND: i64 = 1_000_000_000;
/// A row every 30 s, from the beginning of a quarter of an hour on.
const STEP: i64 = 30 * SECOND;
const BEGIN: i64 = 1_760_000_400 * SECOND;
const AN_HOUR: u64 = 120;
const ROWS: i64 = 8000;

/// Columns of all kinds: text, address, number.
const COLUMNS: [EventColumn; 4] =
    [EventColumn::Service, EventColumn::EventType, EventColumn::SrcIp, EventColumn::SrcPort];

/// How often each value stands in a column, and NULL.
fn values(repository: &Repository, column: EventColumn, filter: &Filter<EventColumn>) -> Vec<(Option<String>, u64)> {
    let found = repository.events().count_by(column, filter, usize::MAX).unwrap();
    found.into_iter().map(|tally| (tally.key, tally.rows)).collect()
}

fn hours(repository: &Repository, filter: &Filter<EventColumn>) -> Vec<(Timestamp, u64)> {
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
    // Of each of the four services as many in every batch.
    let row = |n: i64| {
        let ip = (n % 3 > 0).then(|| IpAddr::from([10, 0, 0, (n % 50) as u8]));
        let (service, kind) = (format!("v{}", n % 4), format!("t{}", n / 1000));
        let row = Event::builder("s", &service, &kind).src(ip, Some((n % 7) as u16));
        row.ts(Timestamp::from_nanos(BEGIN + n * STEP)).build().unwrap()
    };
    let (repository, all, done) = (place.repository(), Filter::new(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut times = 0;
                    while !done.load(Ordering::Relaxed) {
                        check(&hours(&repository, &all));
                        let services = values(&repository, EventColumn::Service, &all);
                        assert!(services.iter().all(|(_, rows)| *rows == services[0].1), "{services:?}");
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
        for column in COLUMNS {
            let kept = values(&repository, column, &filter);
            assert_eq!(kept, values(&place.repository(), column, &filter), "{column:?} {filter}");
        }
        assert_eq!(
            repository.events().summary(&filter).unwrap(),
            place.repository().events().summary(&filter).unwrap()
        );
    }
    assert!(repository.events().count(&all).unwrap() < ROWS as u64, "retention has dropped some");
}

/// Asks until counts are kept, as they are for the second question after the longest transaction: it was set to nothing.
fn knowing(place: &Place) -> Repository {
    let mut config = Config::default();
    config.mysql.longest_transaction = Duration::ZERO;
    let repository = Repository::open_with(&place.url(), &config).unwrap();
    for _ in 0..3 {
        repository.events().histogram(&Filter::new(), &Buckets::days()).unwrap();
    }
    repository
}

/// Four writers send rows of any time of ten hours; all rows of a batch are there, or none.
#[test]
fn kept_counts_are_right_while_a_server_gets_rows_of_any_time() {
    const BATCHES: u64 = 500;
    const WRITERS: u64 = 4;
    const QUARTERS: u64 = 40;
    let place = Place::mysql();
    let backend = place.backend(&Config::default());
    // So that the least id is known.
    Place::write(&*backend, "first", &[vec![Event::builder("s", "v0", "t").build().unwrap()]]);
    let repository = knowing(&place);
    let range =
        || Filter::new().since(Timestamp::from_nanos(BEGIN)).until(Timestamp::from_nanos(BEGIN + 100 * 900 * SECOND));
    let (all, done) = (range(), AtomicBool::new(false));
    let row = |writer: u64, n: u64| {
        // Most are of few quarters, one in each batch is of any.
        let quarter = if n.is_multiple_of(40) { n * 7919 } else { n / 1200 + writer } % QUARTERS;
        let (service, ip) = (format!("v{}", n % 4), IpAddr::from([10, 0, writer as u8, (n % 8) as u8]));
        let row = Event::builder("s", &service, "t").src(Some(ip), Some((n % 5) as u16));
        row.ts(Timestamp::from_nanos(BEGIN + quarter as i64 * 900 * SECOND + n as i64)).build().unwrap()
    };
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let (mut times, mut before) = (0, 0);
                    while !done.load(Ordering::Relaxed) {
                        let sum: u64 = hours(&repository, &all).iter().map(|(_, rows)| rows).sum();
                        assert!(sum.is_multiple_of(40) && sum >= before, "{before} rows, then {sum}");
                        before = sum;
                        for (column, different) in [(EventColumn::Service, 4), (EventColumn::SrcPort, 5)] {
                            let found = values(&repository, column, &all);
                            assert!(found.is_empty() || found.len() == different, "{found:?}");
                            assert!(found.iter().all(|(_, rows)| *rows == found[0].1), "{found:?}");
                        }
                        times += 1;
                    }
                    times
                })
            })
            .collect();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (backend, row) = (&backend, &row);
                scope.spawn(move || {
                    for batch in 0..BATCHES {
                        let rows: Vec<_> = (batch * 40..(batch + 1) * 40).map(|n| row(writer, n)).collect();
                        Place::write(&**backend, &format!("e{writer}-{batch}"), &[rows]);
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
    for _ in 0..2 {
        let kept = hours(&repository, &all);
        assert_eq!(kept, hours(&place.repository(), &all));
        assert_eq!(kept.iter().map(|(_, rows)| rows).sum::<u64>(), WRITERS * BATCHES * 40);
        for column in COLUMNS {
            assert_eq!(values(&repository, column, &all), values(&place.repository(), column, &all), "{column:?}");
        }
    }
}

/// Changes rows behind the back of everybody until the answer stays what it was. On a server that takes until the id has
/// moved up.
fn until_counts_are_kept(place: &Place, table: &str, repository: &Repository, filter: &Filter<EventColumn>) {
    let mut names = ["c", "d"].into_iter().cycle();
    eventually("counts are kept", || {
        let before = values(repository, EventColumn::Service, filter);
        let name = names.next().unwrap();
        place.execute(&format!("UPDATE {table} SET service = '{name}' WHERE service <> 'b'"));
        values(repository, EventColumn::Service, filter) == before
    });
}

#[test]
fn rows_that_are_committed_late_are_counted_all_the_same() {
    let place = Place::mysql();
    drop(place.backend(&Config::default()));
    let Place::Mysql { name, .. } = &place else { unreachable!() };
    let (mut slow, mut fast) = (SHARED.admin(), SHARED.admin());
    let insert = |service: &str, n: i64| {
        let ts = BEGIN + n;
        format!("INSERT INTO `{name}`.events (ts, sensor, service, event_type) VALUES ({ts}, 's', '{service}', 't')")
    };
    let mut config = Config::default();
    config.mysql.longest_transaction = Duration::from_secs(2);
    let repository = Repository::open_with(&place.url(), &config).unwrap();
    let filter = Filter::new().since(Timestamp::from_nanos(BEGIN)).until(Timestamp::from_nanos(BEGIN + 1000));
    let rows =
        |repository: &Repository| values(repository, EventColumn::SrcIp, &filter).iter().map(|(_, n)| *n).sum::<u64>();
    // One is under way when the repository is first asked, so counts are not kept until it must have ended.
    slow.run("BEGIN");
    slow.run(&insert("a", 0));
    fast.run(&insert("a", 1));
    assert_eq!(rows(&repository), 1);
    slow.run("COMMIT");
    until_counts_are_kept(&place, "events", &repository, &filter);
    assert_eq!(rows(&repository), 2);
    // Another stays behind while later rows are committed: the id does not move past it.
    slow.run("BEGIN");
    slow.run(&insert("b", 2));
    for n in 3..10 {
        fast.run(&insert("b", n));
        // So long that the id would have moved, which it does once a second.
        let asked = Instant::now();
        eventually("a moment has passed", || asked.elapsed() > Duration::from_millis(400));
        assert_eq!(rows(&repository), n as u64);
    }
    slow.run("COMMIT");
    assert_eq!(rows(&repository), 10);
    until_counts_are_kept(&place, "events", &repository, &filter);
    assert_eq!((rows(&repository), rows(&place.repository())), (10, 10));
}

/// Rows that are changed behind the back of everybody tell that counts are kept: who counts anew sees the change. And one
/// who deletes the oldest rows of a server is noticed.
#[test]
fn what_was_counted_once_is_not_counted_again() {
    for place in Place::both() {
        let mut config = impatient();
        (config.sqlite.segment_rows, config.sqlite.merged_rows) = (50, 1000);
        let backend = place.backend(&config);
        let repository = knowing(&place);
        let row = |n: i64| {
            let row = Event::builder("s", if n % 4 == 0 { "a" } else { "b" }, "t");
            row.ts(Timestamp::from_nanos(BEGIN + n * STEP)).build().unwrap()
        };
        let rows: Vec<Vec<Event>> = [0..60, 60..61].into_iter().map(|rows| rows.map(row).collect()).collect();
        Place::write(&*backend, "e", &rows);
        if let Place::Sqlite(database) = &place {
            let closed = "SELECT count(*) FROM segments WHERE kind = 'events' AND state = 'closed' AND indexes = 3";
            eventually("the first rows' segment is closed", || database.number(closed) == 1);
        }
        let filter = Filter::new().since(Timestamp::from_nanos(BEGIN)).until(Timestamp::from_nanos(BEGIN + 30 * STEP));
        let ask =
            |repository: &Repository| (hours(repository, &filter), values(repository, EventColumn::Service, &filter));
        let service = |name: &str, rows| (Some(name.to_owned()), rows);
        let (hour, services) = ask(&repository);
        assert_eq!((hour.len(), hour[0].1, &services[..]), (1, 30, &[service("b", 22), service("a", 8)][..]));
        let table = match &place {
            Place::Sqlite(database) => {
                let closed = "SELECT kind || '_' || number FROM segments WHERE kind = 'events' AND state = 'closed'";
                database.text(closed)
            }
            Place::Mysql { .. } => "events".to_owned(),
        };
        until_counts_are_kept(&place, &table, &repository, &filter);
        let rename = |name: &str| place.execute(&format!("UPDATE {table} SET service = '{name}' WHERE service <> 'b'"));
        let kept = ask(&repository);
        rename("e");
        assert_eq!(ask(&repository), kept);
        assert_eq!(ask(&place.repository()), (hour, vec![service("b", 22), service("e", 8)]));
        if let Place::Mysql { .. } = &place {
            place.execute("DELETE FROM events ORDER BY id LIMIT 10");
            assert_eq!(ask(&repository).1, [service("b", 15), service("e", 5)]);
        }
    }
}
