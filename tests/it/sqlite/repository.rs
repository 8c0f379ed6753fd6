//! A repository's answers, against those of a list in memory: any rows, any question, any segments.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay::backend::Backend as _;
use forebay::backend::sqlite::Sqlite;
use forebay::repository::{
    CaptureColumn, Column, Direction, EventColumn, Filter, Paging, Record, Repository, Sort, Stored, Table,
};
use forebay::{Batch, Capture, Config, ErrorKind, Event, Row, Timestamp};
use proptest::prelude::*;

use super::{Database, LONG, impatient, segments};
use crate::harness::eventually;

/// What the list knows of a row.
trait Known: Record {
    fn nanos(&self) -> i64;
    fn text(&self, column: Self::Column) -> Option<&str>;
}

impl Known for Event {
    fn nanos(&self) -> i64 {
        self.ts().as_nanos()
    }

    fn text(&self, column: EventColumn) -> Option<&str> {
        match column {
            EventColumn::Sensor => Some(self.sensor()),
            EventColumn::Service => Some(self.service()),
            EventColumn::EventType => Some(self.event_type()),
            EventColumn::SrcIp => self.src_ip(),
            EventColumn::DstIp => self.dst_ip(),
            EventColumn::Proto => self.proto(),
            EventColumn::Session => self.session(),
            other => panic!("{other:?} is new: add it here"),
        }
    }
}

impl Known for Capture {
    fn nanos(&self) -> i64 {
        self.ts().as_nanos()
    }

    fn text(&self, column: CaptureColumn) -> Option<&str> {
        match column {
            CaptureColumn::Sensor => Some(self.sensor()),
            CaptureColumn::Kind => Some(self.kind()),
            CaptureColumn::SrcIp => self.src_ip(),
            CaptureColumn::DstIp => self.dst_ip(),
            CaptureColumn::Proto => self.proto(),
            CaptureColumn::Session => self.session(),
            other => panic!("{other:?} is new: add it here"),
        }
    }
}

/// A question before it is asked: columns by number, texts by number.
#[derive(Clone, Debug)]
struct Asked {
    since: Option<i64>,
    until: Option<i64>,
    after: Option<i64>,
    before: Option<i64>,
    equal: Vec<(usize, usize)>,
    sort: Sort,
    direction: Direction,
    limit: usize,
    column: usize,
    bucket: Duration,
}

const TEXTS: [&str; 4] = ["a", "192.0.2.1", "2001:db8::1", "it's"];

impl Asked {
    fn equal<C: Column>(&self) -> impl Iterator<Item = (C, &'static str)> {
        self.equal.iter().map(|(column, text)| (C::ALL[column % C::ALL.len()], TEXTS[*text]))
    }

    fn filter<C: Column>(&self) -> Filter<C> {
        let mut filter = Filter::new();
        filter = self.since.map_or(filter.clone(), |ts| filter.since(Timestamp::from_nanos(ts)));
        filter = self.until.map_or(filter.clone(), |ts| filter.until(Timestamp::from_nanos(ts)));
        filter = self.after.map_or(filter.clone(), |id| filter.after(id));
        filter = self.before.map_or(filter.clone(), |id| filter.before(id));
        self.equal().fold(filter, |filter, (column, text)| filter.is(column, text))
    }

    fn leaves<R: Known>(&self, id: i64, row: &R) -> bool {
        self.since.is_none_or(|ts| row.nanos() >= ts)
            && self.until.is_none_or(|ts| row.nanos() < ts)
            && self.after.is_none_or(|after| id > after)
            && self.before.is_none_or(|before| id < before)
            && self.equal().all(|(column, text)| row.text(column) == Some(text))
    }
}

/// Asks everything, and compares.
fn compare<R: Known + PartialEq>(table: &dyn Table<R>, rows: &[R], asked: &Asked) {
    let filter = asked.filter();
    let numbered = (1..).zip(rows).filter(|(id, row)| asked.leaves(*id, *row));
    let mut expected: Vec<Stored<R>> = numbered.map(|(id, row)| Stored { id, row: row.clone() }).collect();

    assert_eq!(table.count(&filter).unwrap(), expected.len() as u64);

    let column = R::Column::ALL[asked.column % R::Column::ALL.len()];
    let mut counts: BTreeMap<Option<String>, u64> = BTreeMap::new();
    for stored in &expected {
        *counts.entry(stored.row.text(column).map(str::to_owned)).or_default() += 1;
    }
    let mut top: Vec<_> = counts.into_iter().collect();
    top.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
    top.truncate(asked.limit);
    let found = table.count_by(column, &filter, asked.limit).unwrap();
    assert_eq!(found.into_iter().map(|tally| (tally.key, tally.rows)).collect::<Vec<_>>(), top);

    let width = i64::try_from(asked.bucket.as_nanos()).unwrap_or(i64::MAX).max(1);
    let mut buckets: BTreeMap<i64, u64> = BTreeMap::new();
    for stored in &expected {
        let number = stored.row.nanos().div_euclid(width);
        *buckets.entry(number.checked_mul(width).unwrap_or(i64::MIN)).or_default() += 1;
    }
    let found = table.histogram(&filter, asked.bucket).unwrap();
    let found: Vec<_> = found.iter().map(|bucket| (bucket.from.as_nanos(), bucket.rows)).collect();
    assert_eq!(found, buckets.into_iter().collect::<Vec<_>>());

    match asked.sort {
        Sort::Time => expected.sort_by_key(|stored| (stored.row.nanos(), stored.id)),
        Sort::Id => {}
    }
    if asked.direction == Direction::NewestFirst {
        expected.reverse();
    }
    let mut paging = Paging::newest(asked.limit).ordered(asked.sort, asked.direction);
    let mut found = Vec::new();
    loop {
        let page = table.page(&filter, &paging).unwrap();
        assert!(page.rows.len() <= asked.limit);
        assert_eq!(page.next.is_some(), asked.limit > 0 && page.rows.len() == asked.limit, "a full page goes on");
        found.extend(page.rows);
        let Some(next) = page.next else { break };
        paging = paging.after(next);
    }
    if asked.limit > 0 {
        assert!(found == expected, "{found:?}\nis not\n{expected:?}");
    }
}

/// Few times, so that many are equal; the first and the last there are.
fn time() -> impl Strategy<Value = i64> {
    prop_oneof![20 => -3..12i64, 1 => Just(i64::MIN), 1 => Just(i64::MAX)]
}

fn text() -> impl Strategy<Value = Option<&'static str>> {
    prop::option::of(prop::sample::select(&TEXTS[..]))
}

fn event() -> impl Strategy<Value = Event> {
    let address = prop::option::of(prop::sample::select(vec!["192.0.2.1", "2001:db8::1"]));
    (time(), 0..3usize, 0..3usize, address.clone(), address, text(), 0..3usize).prop_map(
        |(ts, sensor, service, src, dst, session, event_type)| {
            let builder = Event::builder(TEXTS[sensor], TEXTS[service], TEXTS[event_type]);
            let builder = builder.ts(Timestamp::from_nanos(ts)).src(src.and_then(|ip| ip.parse().ok()), Some(22));
            let builder = builder.dst(dst.and_then(|ip| ip.parse().ok()), None);
            let builder = session.map_or(builder.clone(), |session| builder.session(session).proto(session));
            builder.msg("m").raw("\0").fields("{}").trace("t", "s").build().unwrap()
        },
    )
}

fn capture() -> impl Strategy<Value = Capture> {
    (time(), 0..3usize, 0..4usize, text(), any::<u8>()).prop_map(|(ts, sensor, kind, session, byte)| {
        let builder = Capture::builder(TEXTS[sensor], TEXTS[kind]).ts(Timestamp::from_nanos(ts));
        let builder = builder.src("192.0.2.1".parse().ok(), Some(1)).link_type(1).length(99);
        let builder = session.map_or(builder.clone(), |session| builder.session(session));
        builder.data(vec![byte, 0]).build().unwrap()
    })
}

fn asked() -> impl Strategy<Value = Asked> {
    let order = prop_oneof![Just(Sort::Time), Just(Sort::Id)];
    let direction = prop_oneof![Just(Direction::NewestFirst), Just(Direction::OldestFirst)];
    let ids = || prop::option::weighted(0.3, -1..150i64);
    let range = (prop::option::weighted(0.4, time()), prop::option::weighted(0.4, time()), ids(), ids());
    let equal = prop::collection::vec((0..7usize, 0..4usize), 0..3);
    let bucket = prop_oneof![Just(0), Just(1u64), Just(3), Just(1000), Just(u64::MAX)].prop_map(Duration::from_nanos);
    (range, equal, order, direction, 0..9usize, 0..7usize, bucket).prop_map(
        |((since, until, after, before), equal, sort, direction, limit, column, bucket)| Asked {
            since,
            until,
            after,
            before,
            equal,
            sort,
            direction,
            limit,
            column,
            bucket,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_is_that_of_a_list_in_memory(
        events in prop::collection::vec(prop::collection::vec(event(), 1..8), 0..24),
        captures in prop::collection::vec(prop::collection::vec(capture(), 1..8), 0..12),
        rows in 1..12usize,
        is_settled in any::<bool>(),
        questions in prop::collection::vec(asked(), 1..12),
    ) {
        let database = Database::new();
        let mut config = impatient();
        (config.sqlite.segment_rows, config.sqlite.merged_rows) = (rows, rows * 5);
        let backend = Sqlite::open(database.path(), &config).unwrap();
        let mut position = 0;
        let write = |batch: Batch| backend.write(&batch).unwrap();
        let mut next = |rows: usize| { position += rows as u64; position - rows as u64 };
        for rows in &events {
            write(Batch::detached("e", next(rows.len()), rows.iter().cloned().map(Row::Keep).collect()));
        }
        for rows in &captures {
            write(Batch::detached("e", next(rows.len()), rows.iter().cloned().map(Row::Keep).collect()));
        }
        if is_settled {
            segments::settled(|sql| database.number(sql));
        }
        let repository = Repository::open(&database.url()).unwrap();
        let (events, captures) = (events.concat(), captures.concat());
        for question in &questions {
            compare(repository.events(), &events, question);
            compare(repository.captures(), &captures, question);
        }
    }
}

#[test]
fn nothing_is_an_answer_too() {
    let database = Database::new();
    database.create();
    let repository = Repository::open(&database.url()).unwrap();
    let events = repository.events();
    assert!(events.page(&Filter::new(), &Paging::newest(50)).unwrap().rows.is_empty());
    assert_eq!(events.count(&Filter::new()).unwrap(), 0);
    assert!(events.count_by(EventColumn::SrcIp, &Filter::new(), 10).unwrap().is_empty());
    assert!(events.histogram(&Filter::new(), Duration::from_secs(1)).unwrap().is_empty());
}

#[test]
fn what_stands_in_the_way_of_reading_is_said_and_nothing_is_made() {
    let database = Database::new();
    let kind = |url: &str| Repository::open(url).unwrap_err().kind();
    assert_eq!(kind(&database.url()), ErrorKind::System);
    assert!(!database.path().exists());
    assert_eq!(kind("memory:"), ErrorKind::Unsupported);
    assert_eq!(kind("nothing"), ErrorKind::Configuration);
    database.execute("CREATE TABLE theirs (a)");
    assert_eq!(kind(&database.url()), ErrorKind::NotADatabase);
    let ours = Database::new();
    ours.create();
    ours.execute("PRAGMA user_version = 1");
    assert_eq!(kind(&ours.url()), ErrorKind::OlderSchema);
    ours.execute("PRAGMA user_version = 99");
    assert_eq!(kind(&ours.url()), ErrorKind::NewerSchema);
}

/// A text of a filter is a value, whatever it looks like.
#[test]
fn nobody_gets_sql_in_by_a_filter() {
    let database = Database::new();
    let pipeline = database.open();
    let texts = ["' OR 1=1 --", "a'; DROP TABLE events_0; --", "\" OR \"\"=\"", "%", "?1", "\0"];
    let events = texts.map(|text| Event::builder(text, "v", "t").build().unwrap());
    pipeline.events().send_many_blocking(events.into()).unwrap().wait().unwrap();
    let repository = Repository::open(&database.url()).unwrap();
    for text in texts {
        let filter = Filter::new().is(EventColumn::Sensor, text);
        assert_eq!(repository.events().count(&filter).unwrap(), 1, "{text:?}");
        assert_eq!(repository.events().page(&filter, &Paging::newest(9)).unwrap().rows[0].row.sensor(), text);
    }
    assert_eq!(repository.events().count(&Filter::new().is(EventColumn::Sensor, "' OR 1=1")).unwrap(), 0);
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
}

/// While little is written, the open segment is found by index like the others; rows go on into it, and it closes with
/// its indexes.
#[test]
fn the_open_segment_gets_its_indexes_in_a_quiet_moment_and_keeps_them_when_it_closes() {
    let database = Database::new();
    let mut config = Config::default();
    config.sqlite.segment_rows = 3000;
    let pipeline = database.open_with(config).unwrap();
    let send = |rows: i64| {
        let event = |ts| Event::builder("s", "v", "t").ts(Timestamp::from_nanos(ts)).build().unwrap();
        pipeline.events().send_many_blocking((0..rows).map(event).collect()).unwrap().wait().unwrap();
    };
    send(2000);
    let built = "SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND tbl_name = ";
    eventually("the open segment is indexed", || database.number(&format!("{built}'events_0'")) == 3);
    send(500);
    let repository = Repository::open(&database.url()).unwrap();
    let newest = repository.events().page(&Filter::new(), &Paging::newest(1)).unwrap();
    assert_eq!((newest.rows[0].id, repository.events().count(&Filter::new()).unwrap()), (2000, 2500));
    send(2000);
    let closed = "(SELECT 'events_' || number FROM segments WHERE kind = 'events' AND state = 'closed')";
    assert_eq!(database.number(&format!("{built}{closed}")), 3);
    let open = "(SELECT 'events_' || number FROM segments WHERE kind = 'events' AND state = 'open')";
    eventually("the next one is indexed", || database.number(&format!("{built}{open}")) == 3);
    super::catalogue::check(&database.connect());
    assert_eq!(repository.events().count(&Filter::new()).unwrap(), 4500, "with statements kept from before");
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
}
