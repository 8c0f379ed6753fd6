//! A repository's answers, against those of a list in memory: any rows, any question, any segments.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forebay::repository::{
    Buckets, Column, ColumnKind, Condition, Direction, Filter, Paging, Record, Sort, Source, Stored, Summary, Table,
    Test,
};
use forebay::{Capture, Config, Event, Timestamp};
use proptest::prelude::*;

use super::Place;
use super::known::{FIELDS, Known, PATHS, VALUES, column};
use crate::sqlite::{impatient, segments};

/// A question before it is asked: columns and texts by number, for both kinds of rows.
#[derive(Clone, Debug)]
struct Asked {
    since: Option<i64>,
    until: Option<i64>,
    after: Option<i64>,
    before: Option<i64>,
    conditions: Vec<(Probe, bool)>,
    sort: Sort,
    direction: Direction,
    limit: usize,
    offset: usize,
    column: usize,
    buckets: Buckets,
}

/// A test before its column is known.
#[derive(Clone, Debug)]
enum Probe {
    Is(usize, usize),
    Present(usize),
    Within(usize, &'static str),
    Between(usize, i64, i64),
    Peer(&'static str),
    Port(u16, u16),
    Times(i64, i64),
    Ids(i64, i64),
    Contains(usize),
    Field(usize, usize),
}

const TEXTS: [&str; 14] =
    ["a", "a ", "A", "", "it's", "\0", "a\0", "%", "_", "é", "É", "\\", "192.0.2.1", "a long one, ROOT and \u{1f600}"];
const ADDRESSES: [&str; 9] = [
    "192.0.2.1",
    "192.0.2.130",
    "192.0.21.1",
    "19.0.2.1",
    "10.1.2.3",
    "2001:db8::1",
    "2001:db8:0:1::1",
    "::ffff:10.1.2.3",
    "2001::1",
];
const BLOCKS: [&str; 13] = [
    "0.0.0.0/0",
    "192.0.2.0/24",
    "192.0.2.128/25",
    "192.0.0.0/11",
    "10.1.2.3/32",
    "16.0.0.0/5",
    "::/0",
    "2001:db8::/32",
    "2001:db8::/64",
    "2001:db8:0:1::/64",
    "2001::/31",
    "::ffff:10.0.0.0/104",
    "2001:db8::1/128",
];

impl Probe {
    fn test<C: Column>(&self) -> Test<C> {
        match *self {
            Self::Is(number, text) => {
                let column: C = column(number);
                let text = match column.kind() {
                    ColumnKind::Text => TEXTS[text % TEXTS.len()].to_owned(),
                    ColumnKind::Address => ADDRESSES[text % ADDRESSES.len()].to_owned(),
                    ColumnKind::Number => [0, 1, 22, 65_535, 99][text % 5].to_string(),
                };
                Test::of(column, text)
            }
            Self::Present(number) => Test::Present(column(number)),
            Self::Within(number, block) => {
                let addresses: Vec<C> = C::ALL.iter().copied().filter(|c| c.kind() == ColumnKind::Address).collect();
                Test::Within(addresses[number % addresses.len()], block.parse().unwrap())
            }
            Self::Between(number, first, last) => {
                let numbers: Vec<C> = C::ALL.iter().copied().filter(|c| c.kind() == ColumnKind::Number).collect();
                Test::Between(numbers[number % numbers.len()], first, last)
            }
            Self::Peer(block) => Test::Peer(block.parse().unwrap()),
            Self::Port(first, last) => Test::Port(first, last),
            Self::Times(first, last) => Test::Times(first, last),
            Self::Ids(first, last) => Test::Ids(first, last),
            Self::Contains(text) => Test::Contains([&TEXTS[..], &["root", "AND", "O"]].concat()[text].to_owned()),
            Self::Field(path, value) => Test::Field(PATHS[path].parse().unwrap(), VALUES[value].to_owned()),
        }
    }
}

impl Asked {
    fn conditions<C: Column>(&self) -> Vec<Condition<C>> {
        let condition = |(probe, is_negated): &(Probe, bool)| Condition { test: probe.test(), is_negated: *is_negated };
        self.conditions.iter().map(condition).collect()
    }

    /// By way of its text, so that this is tried too.
    fn filter<C: Column>(&self) -> Filter<C> {
        let mut filter = Filter::new();
        filter = self.since.map_or(filter.clone(), |ts| filter.since(Timestamp::from_nanos(ts)));
        filter = self.until.map_or(filter.clone(), |ts| filter.until(Timestamp::from_nanos(ts)));
        filter = self.after.map_or(filter.clone(), |id| filter.after(id));
        filter = self.before.map_or(filter.clone(), |id| filter.before(id));
        for Condition { test, is_negated } in self.conditions() {
            filter = if is_negated { filter.and_not(test) } else { filter.and(test) };
        }
        let read: Filter<C> = filter.to_string().parse().unwrap();
        assert_eq!(read, filter);
        read
    }

    fn leaves<R: Known>(&self, id: i64, row: &R) -> bool {
        self.since.is_none_or(|ts| row.nanos() >= ts)
            && self.until.is_none_or(|ts| row.nanos() < ts)
            && self.after.is_none_or(|after| id > after)
            && self.before.is_none_or(|before| id < before)
            && self.conditions().iter().all(|condition| row.meets(id, condition))
    }
}

/// Asks everything, and compares.
fn compare<R: Known>(table: &dyn Table<R>, rows: &[R], asked: &Asked) {
    let filter = asked.filter();
    let numbered = (1..).zip(rows).filter(|(id, row)| asked.leaves(*id, *row));
    let mut expected: Vec<Stored<R>> = numbered.map(|(id, row)| Stored { id, row: row.clone() }).collect();
    assert_eq!(table.count(&filter).unwrap(), expected.len() as u64, "{filter}");
    compare_counts(table, &filter, &expected, asked);
    compare_times(table, &filter, &expected, asked);

    match asked.sort {
        Sort::Time => expected.sort_by_key(|stored| (stored.row.nanos(), stored.id)),
        Sort::Id => {}
    }
    if asked.direction == Direction::NewestFirst {
        expected.reverse();
    }
    let mut paging = Paging::newest(asked.limit).ordered(asked.sort, asked.direction).skip(asked.offset);
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
        expected.drain(..asked.offset.min(expected.len()));
        assert!(found == expected, "{filter}: {found:?}\nis not\n{expected:?}");
    }
}

fn compare_counts<R: Known>(table: &dyn Table<R>, filter: &Filter<R::Column>, rows: &[Stored<R>], asked: &Asked) {
    let key: <R as Record>::Column = column(asked.column);
    let mut counts: BTreeMap<Option<String>, u64> = BTreeMap::new();
    for stored in rows {
        *counts.entry(stored.row.text(key)).or_default() += 1;
    }
    let mut top: Vec<_> = counts.into_iter().collect();
    top.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
    top.truncate(asked.limit);
    let found = table.count_by(key, filter, asked.limit).unwrap();
    let found: Vec<_> = found.into_iter().map(|tally| (tally.key, tally.rows)).collect();
    assert_eq!(found, top, "{filter} by {}", key.name());

    let mut sources: BTreeMap<String, Source> = BTreeMap::new();
    for stored in rows {
        let (Some(address), ts) = (stored.row.ips()[0], Timestamp::from_nanos(stored.row.nanos())) else { continue };
        let address = address.to_string();
        let new = Source { address: address.clone(), rows: 0, first: ts, last: ts };
        let source = sources.entry(address).or_insert(new);
        source.rows += 1;
        (source.first, source.last) = (source.first.min(ts), source.last.max(ts));
    }
    let mut sources: Vec<_> = sources.into_values().collect();
    sources.sort_by_key(|source| std::cmp::Reverse(source.rows));
    sources.truncate(asked.limit);
    assert_eq!(table.sources(filter, asked.limit).unwrap(), sources, "{filter}");
}

fn compare_times<R: Known>(table: &dyn Table<R>, filter: &Filter<R::Column>, rows: &[Stored<R>], asked: &Asked) {
    let times = || rows.iter().map(|stored| Timestamp::from_nanos(stored.row.nanos()));
    let mut buckets: BTreeMap<Timestamp, u64> = BTreeMap::new();
    times().for_each(|ts| *buckets.entry(asked.buckets.start(ts)).or_default() += 1);
    let buckets: Vec<_> = buckets.into_iter().collect();
    // Counted, and from what is kept of that.
    for _ in 0..2 {
        let found = table.histogram(filter, &asked.buckets).unwrap();
        let found: Vec<_> = found.iter().map(|bucket| (bucket.from, bucket.rows)).collect();
        assert_eq!(found, buckets, "{filter} by {}", asked.buckets);
    }

    let sensor = R::Column::ALL.iter().copied().find(|column| column.name() == "sensor").unwrap();
    let sensors: BTreeSet<_> = rows.iter().filter_map(|stored| stored.row.text(sensor)).collect();
    let sources: BTreeSet<_> = rows.iter().filter_map(|stored| stored.row.ips()[0]).collect();
    let summary = Summary {
        rows: rows.len() as u64,
        times: times().min().zip(times().max()),
        sensors: sensors.len() as u64,
        sources: sources.len() as u64,
    };
    assert_eq!(table.summary(filter).unwrap(), summary, "{filter}");
}

const HOUR: i64 = 3_600_000_000_000;

/// Few times, so that many are equal; the first and the last there are; and around hours at which clocks are set.
fn time() -> impl Strategy<Value = i64> {
    let clocks = 1_774_746_000_000_000_000;
    prop_oneof![
        20 => -3..12i64,
        1 => Just(i64::MIN),
        1 => Just(i64::MAX),
        6 => (-160..160i64, -1..2i64).prop_map(move |(quarters, off)| clocks + quarters * HOUR / 4 + off),
    ]
}

fn text() -> impl Strategy<Value = Option<&'static str>> {
    prop::option::of(prop::sample::select(&TEXTS[..]))
}

fn address() -> impl Strategy<Value = Option<&'static str>> {
    prop::option::of(prop::sample::select(&ADDRESSES[..]))
}

fn port() -> impl Strategy<Value = Option<u16>> {
    prop::option::of(prop::sample::select(vec![0, 1, 22, 65_535]))
}

fn json() -> impl Strategy<Value = Option<&'static str>> {
    prop::option::of(prop::sample::select(FIELDS).prop_map(|(json, _)| json))
}

fn event() -> impl Strategy<Value = Event> {
    let words = (0..TEXTS.len(), 0..3usize, 0..3usize, text(), text());
    (time(), words, (address(), port(), address(), port()), json(), text(), text()).prop_map(
        |(ts, (sensor, service, event_type, session, proto), (src, src_port, dst, dst_port), json, msg, raw)| {
            let mut builder = Event::builder(TEXTS[sensor], TEXTS[service], TEXTS[event_type]);
            builder = builder.ts(Timestamp::from_nanos(ts)).src(src.and_then(|ip| ip.parse().ok()), src_port);
            builder = builder.dst(dst.and_then(|ip| ip.parse().ok()), dst_port).trace("t", "s");
            builder = session.map_or(builder.clone(), |text| builder.session(text));
            builder = proto.map_or(builder.clone(), |text| builder.proto(text));
            builder = json.map_or(builder.clone(), |text| builder.fields(text));
            builder = msg.map_or(builder.clone(), |text| builder.msg(text));
            raw.map_or(builder.clone(), |text| builder.raw(text)).build().unwrap()
        },
    )
}

fn capture() -> impl Strategy<Value = Capture> {
    (time(), 0..3usize, 0..TEXTS.len(), text(), (address(), port()), json(), any::<u8>()).prop_map(
        |(ts, sensor, kind, session, (src, port), json, byte)| {
            let mut builder = Capture::builder(TEXTS[sensor], TEXTS[kind]).ts(Timestamp::from_nanos(ts));
            builder = builder.src(src.and_then(|ip| ip.parse().ok()), port).link_type(1).length(99);
            builder = session.map_or(builder.clone(), |session| builder.session(session));
            builder = json.map_or(builder.clone(), |text| builder.fields(text));
            builder.data(vec![byte, 0]).build().unwrap()
        },
    )
}

fn probe() -> impl Strategy<Value = Probe> {
    let block = || prop::sample::select(&BLOCKS[..]);
    let number = || prop::sample::select(vec![-1, 0, 1, 21, 22, 99, 65_535]);
    let port = || prop::sample::select(vec![0u16, 1, 22, 65_535]);
    prop_oneof![
        4 => (0..20usize, 0..70usize).prop_map(|(column, text)| Probe::Is(column, text)),
        1 => (0..20usize).prop_map(Probe::Present),
        2 => (0..2usize, block()).prop_map(|(column, block)| Probe::Within(column, block)),
        1 => (0..4usize, number(), number()).prop_map(|(column, first, last)| Probe::Between(column, first, last)),
        1 => block().prop_map(Probe::Peer),
        1 => (port(), port()).prop_map(|(first, last)| Probe::Port(first, last)),
        1 => (time(), time()).prop_map(|(first, last)| Probe::Times(first, last)),
        1 => (0..90i64, 0..90i64).prop_map(|(first, last)| Probe::Ids(first, last)),
        3 => (0..TEXTS.len() + 3).prop_map(Probe::Contains),
        4 => (0..PATHS.len(), 0..VALUES.len()).prop_map(|(path, value)| Probe::Field(path, value)),
    ]
}

fn buckets() -> impl Strategy<Value = Buckets> {
    let length = prop_oneof![Just(0), Just(1u64), Just(3), Just(1000), Just(HOUR as u64), Just(u64::MAX)];
    let zone = prop::sample::select(vec!["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu"]);
    let piece = prop::sample::select(vec!["1h", "6h", "7s", "day", "week", "month", "quarter", "year"]);
    prop_oneof![
        length.prop_map(|length| Buckets::every(Duration::from_nanos(length))),
        (piece, zone).prop_map(|(piece, zone)| piece.parse::<Buckets>().unwrap().in_zone(zone).unwrap()),
    ]
}

fn asked() -> impl Strategy<Value = Asked> {
    let order = prop_oneof![Just(Sort::Time), Just(Sort::Id)];
    let direction = prop_oneof![Just(Direction::NewestFirst), Just(Direction::OldestFirst)];
    let ids = || prop::option::weighted(0.2, -1..150i64);
    let range = (prop::option::weighted(0.3, time()), prop::option::weighted(0.3, time()), ids(), ids());
    let conditions = prop::collection::vec((probe(), any::<bool>()), 0..3);
    let offset = prop_oneof![3 => Just(0), 1 => 0..40usize];
    (range, conditions, order, direction, 0..9usize, offset, 0..20usize, buckets()).prop_map(
        |((since, until, after, before), conditions, sort, direction, limit, offset, column, buckets)| Asked {
            since,
            until,
            after,
            before,
            conditions,
            sort,
            direction,
            limit,
            offset,
            column,
            buckets,
        },
    )
}

type Rows<R> = Vec<Vec<R>>;

fn rows() -> impl Strategy<Value = (Rows<Event>, Rows<Capture>)> {
    let events = prop::collection::vec(prop::collection::vec(event(), 1..8), 0..24);
    (events, prop::collection::vec(prop::collection::vec(capture(), 1..8), 0..12))
}

fn ask(place: &Place, (events, captures): &(Rows<Event>, Rows<Capture>), questions: &[Asked]) {
    let repository = place.repository();
    for question in questions {
        compare(repository.events(), &events.concat(), question);
        compare(repository.captures(), &captures.concat(), question);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_of_sqlite_is_that_of_a_list_in_memory(
        rows in rows(),
        segment in 1..12usize,
        is_settled in any::<bool>(),
        questions in prop::collection::vec(asked(), 1..16),
    ) {
        let place = Place::sqlite();
        let mut config = impatient();
        (config.sqlite.segment_rows, config.sqlite.merged_rows) = (segment, segment * 5);
        let backend = place.backend(&config);
        Place::write(&*backend, "e", &rows.0);
        Place::write(&*backend, "c", &rows.1);
        if let (true, Place::Sqlite(database)) = (is_settled, &place) {
            segments::settled(|sql| database.number(sql));
        }
        ask(&place, &rows, &questions);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_of_a_server_is_that_of_a_list_in_memory(
        rows in rows(),
        questions in prop::collection::vec(asked(), 1..24),
    ) {
        let place = Place::mysql();
        let backend = place.backend(&Config::default());
        Place::write(&*backend, "e", &rows.0);
        Place::write(&*backend, "c", &rows.1);
        ask(&place, &rows, &questions);
    }
}
