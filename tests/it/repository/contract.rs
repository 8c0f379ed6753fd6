//! The same calls, the same answers: what the oracle's small rows do not reach.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use forebay::repository::{
    Buckets, CaptureColumn, Column, ColumnKind, Direction, EventColumn, FieldPath, Filter, MAX_OFFSET, Paging, Sort,
    Test,
};
use forebay::{Capture, Config, ErrorKind, Event, Repository, Timestamp};

use super::Place;
use super::known::{FIELDS, PATHS, VALUES};
use crate::sqlite::LONG;

fn at(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

fn event(msg: &str) -> Event {
    Event::builder("s", "v", "t").msg(msg).build().unwrap()
}

#[test]
fn nothing_is_an_answer_too() {
    for place in Place::both() {
        assert!(place.pipeline().shutdown_blocking(LONG).is_complete());
        let repository = place.repository();
        let (events, all) = (repository.events(), Filter::new());
        assert!(events.page(&all, &Paging::newest(50)).unwrap().rows.is_empty());
        assert!(events.page(&all, &Paging::newest(50).skip(3)).unwrap().rows.is_empty());
        assert_eq!(events.count(&all).unwrap(), 0);
        assert!(events.count_by(EventColumn::SrcIp, &all, 10).unwrap().is_empty());
        assert!(events.sources(&all, 10).unwrap().is_empty());
        assert!(events.histogram(&all, &Buckets::days()).unwrap().is_empty());
        assert_eq!(events.summary(&all).unwrap().times, None);
        assert!(repository.sessions().list(&all, 10).unwrap().is_empty());
        assert!(repository.sessions().rows("s", "x", None, 10).unwrap().events.rows.is_empty());
        assert!(repository.tail_events(all, None).unwrap().poll().unwrap().is_empty());
    }
}

/// Whatever stands in a text, it is a value: it is found as it is, and nothing else is.
#[test]
fn nobody_gets_sql_in_by_any_text() {
    let corpus = [
        "' OR 1=1 --",
        "'; DROP TABLE events; --",
        "a'; DROP TABLE events_0; --",
        "\" OR \"\"=\"",
        "\\' OR 1=1 #",
        "\\",
        "\\\\'",
        "%",
        "_",
        "%' ESCAPE '\\",
        "?1",
        ":a",
        "@@version",
        "$.\"a\"",
        "/*!50000 DROP TABLE events */",
        "1) UNION SELECT password FROM users --",
        "${jndi:ldap://x}",
        "\0",
        "x\0' OR 1=1",
        "\u{bf}' OR 1=1",
        "\u{1f}",
        "NULL",
    ];
    for place in Place::both() {
        let pipeline = place.pipeline();
        let made = |text: &&str| {
            let fields = serde_json::json!({ "k": text }).to_string();
            let builder = Event::builder(text, text, text).proto(text).session(text).msg(text).raw(text);
            builder.trace(text, text).fields(&fields).build().unwrap()
        };
        let events: Vec<Event> = corpus.iter().map(made).collect();
        pipeline.events().send_many_blocking(events.clone()).unwrap().wait().unwrap();
        let repository = place.repository();
        let found = |filter: &Filter<EventColumn>| {
            let read: Filter<EventColumn> = filter.to_string().parse().unwrap();
            assert_eq!(&read, filter);
            repository.events().page(&read, &Paging::newest(99)).unwrap().rows
        };
        let path = FieldPath::new(["k"]).unwrap();
        for (text, event) in corpus.iter().zip(&events) {
            for column in EventColumn::ALL {
                let filter = Filter::new().is(*column, *text);
                if column.kind() == ColumnKind::Text {
                    let rows = found(&filter);
                    assert!(rows.len() == 1 && rows[0].row == *event, "{} {text:?}", column.name());
                } else {
                    assert!(filter.to_string().parse::<Filter<EventColumn>>().is_err());
                    assert_eq!(repository.events().count(&filter).unwrap(), 0);
                }
                repository.events().count_by(*column, &Filter::new().is_not(*column, *text), 9).unwrap();
            }
            let rows = found(&Filter::new().field(path.clone(), *text));
            assert!(rows.len() == 1 && rows[0].row == *event, "{text:?}");
            let holds = |other: &&&str| other.to_ascii_lowercase().contains(&text.to_ascii_lowercase());
            assert_eq!(found(&Filter::new().contains(*text)).len(), corpus.iter().filter(holds).count(), "{text:?}");
            let session = repository.sessions().rows(text, text, None, 9).unwrap();
            assert_eq!(session.events.rows.len(), 1);
            if let Ok(odd) = FieldPath::new([*text]) {
                assert_eq!(found(&Filter::new().field(odd, *text)).len(), 0);
            }
        }
        assert_eq!(repository.events().count(&Filter::new()).unwrap(), corpus.len() as u64);
        assert!(pipeline.shutdown_blocking(LONG).is_complete());
    }
}

#[test]
fn free_text_is_found_in_every_script_and_only_ascii_has_small_letters() {
    let planes = (0..=16u32).map(|plane| [0x20, 0xc9, 0x3a9, 0x6f22, 0xf600, 0xfffd].map(|low| plane << 16 | low));
    let scripts: Vec<String> = planes.map(|codes| codes.into_iter().filter_map(char::from_u32).collect()).collect();
    for place in Place::both() {
        let pipeline = place.pipeline();
        let mut texts = scripts.clone();
        texts.extend(["Grüße, ROOT\0TAIL", "x".repeat(300_000).as_str(), "İstanbul ſ K"].map(str::to_owned));
        let rows = texts.iter().map(|text| event(text)).collect();
        pipeline.events().send_many_blocking(rows).unwrap().wait().unwrap();
        assert!(pipeline.shutdown_blocking(LONG).is_complete());
        let repository = place.repository();
        let count = |text: &str| repository.events().count(&Filter::new().contains(text)).unwrap();
        for text in &scripts {
            let holds = |other: &&String| other.contains(text.as_str());
            assert_eq!(count(text), texts.iter().filter(holds).count() as u64, "{text:?}");
        }
        let counts = [
            ("root\0t", 1),
            ("GRÜSSE", 0),
            ("grüße", 1),
            ("grÜße", 0),
            ("istanbul", 0),
            ("İSTANBUL", 1),
            ("s k", 0),
            (&"X".repeat(200_000), 1),
            ("", texts.len() as u64),
        ];
        for (text, rows) in counts {
            assert_eq!(count(text), rows, "{:?}", text.get(..20));
        }
    }
}

/// Once an escaped key (`"\u0061"`) hid a row from filters on MariaDB, which compares keys as they are written; half a
/// surrogate pair or deep nesting would have done so as well.
#[test]
fn no_way_of_writing_json_hides_a_row_from_filters_on_fields() {
    for place in Place::both() {
        let pipeline = place.pipeline();
        let made = |(json, _): &(&str, _)| Event::builder("s", "v", "t").fields(json).build().unwrap();
        pipeline.events().send_many_blocking(FIELDS.iter().map(made).collect()).unwrap().wait().unwrap();
        assert!(pipeline.shutdown_blocking(LONG).is_complete());
        let repository = place.repository();
        for (path, value) in PATHS.iter().flat_map(|path| VALUES.iter().map(move |value| (*path, *value))) {
            let test = Test::Field(path.parse().unwrap(), value.to_owned());
            let having = |(_, there): &&(&str, &[(&str, &str)])| there.contains(&(path, value));
            let expected = FIELDS.iter().filter(having).count() as u64;
            let events = repository.events();
            assert_eq!(events.count(&Filter::new().and(test.clone())).unwrap(), expected, "{path} {value:?}");
            let others = events.count(&Filter::new().and_not(test)).unwrap();
            assert_eq!(others, FIELDS.len() as u64 - expected, "not {path} {value:?}");
        }
    }
}

#[test]
fn sessions_have_their_events_and_captures() {
    for place in Place::both() {
        let pipeline = place.pipeline();
        let event = |sensor: &str, session: Option<&str>, ts| {
            let builder = Event::builder(sensor, "ssh", "t").ts(at(ts));
            session.map_or(builder.clone(), |session| builder.session(session)).build().unwrap()
        };
        let events = vec![
            event("a", Some("x"), 5),
            event("a", Some("x "), 9),
            event("b", Some("x"), 7),
            event("a", None, 8),
            event("a", Some("x"), 1),
            event("a", Some("X"), 9),
        ];
        pipeline.events().send_many_blocking(events).unwrap().wait().unwrap();
        let capture = |sensor: &str, session: &str, ts| {
            Capture::builder(sensor, "payload").session(session).ts(at(ts)).data(vec![1]).build().unwrap()
        };
        let captures = vec![capture("a", "x", 100), capture("a", "x", 3), capture("a", "x ", 3), capture("c", "x", 3)];
        pipeline.captures().send_many_blocking(captures).unwrap().wait().unwrap();
        assert!(pipeline.shutdown_blocking(LONG).is_complete());
        let repository = place.repository();
        let list = |filter: &str, limit| {
            let sessions = repository.sessions().list(&filter.parse().unwrap(), limit).unwrap();
            let shown = |s: &forebay::repository::Session| {
                format!(
                    "{} {:?} {} {} {} {}",
                    s.sensor,
                    s.name,
                    s.events,
                    s.first.as_nanos(),
                    s.last.as_nanos(),
                    s.captures
                )
            };
            sessions.iter().map(shown).collect::<Vec<_>>()
        };
        let all = ["a \"X\" 1 9 9 0", "a \"x \" 1 9 9 1", "b \"x\" 1 7 7 0", "a \"x\" 2 1 5 2"];
        assert_eq!(list("", 10), all);
        assert_eq!(list("", 2), all[..2]);
        assert_eq!(list("session:x sensor:a time:1970-01-01T00:00:00.000000002Z..", 10), ["a \"x\" 1 5 5 2"]);
        let rows = repository.sessions().rows("a", "x", Some((at(1), at(5))), 10).unwrap();
        let times = |page: &forebay::repository::Page<Event>| {
            page.rows.iter().map(|r| r.row.ts().as_nanos()).collect::<Vec<_>>()
        };
        assert_eq!((times(&rows.events), rows.captures.rows.len()), (vec![1, 5], 2));
        assert_eq!(times(&repository.sessions().rows("a", "x", Some((at(2), at(5))), 10).unwrap().events), [5]);
        let first = repository.sessions().rows("a", "x", None, 1).unwrap();
        assert!(first.events.next.is_some() && first.captures.next.is_some());
    }
}

#[test]
fn what_is_too_much_is_refused_in_words() {
    for place in Place::both() {
        assert!(place.pipeline().shutdown_blocking(LONG).is_complete());
        let repository = place.repository();
        let error = repository.events().page(&Filter::new(), &Paging::newest(1).skip(MAX_OFFSET + 1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
    }
}

/// A tail tells each row once, in order, whoever commits.
#[test]
fn a_tail_tells_each_row_once_and_wakes_on_commit() {
    for place in Place::both() {
        let pipeline = place.pipeline();
        pipeline.events().send_blocking(event("before")).unwrap().wait().unwrap();
        let repository = place.repository();
        let filter: Filter<EventColumn> = "-\"not this\"".parse().unwrap();
        // Not woken it would ask again after an hour.
        let tail = repository.tail_events(filter.clone(), None).unwrap().every(Duration::from_secs(3600));
        let mut stream = tail.woken_by(pipeline.commits()).into_stream().unwrap();
        let mut told = Vec::new();
        for number in 0..30 {
            let rows = vec![event(&number.to_string()), event("not this"), event(&format!("{number} again"))];
            pipeline.events().send_many_blocking(rows).unwrap().wait().unwrap();
            if number % 3 == 0 {
                told.extend(pollster::block_on(stream.next()).unwrap().unwrap());
            }
        }
        while told.len() < 60 {
            told.extend(pollster::block_on(stream.next()).unwrap().unwrap());
        }
        let expected: Vec<String> =
            (0..30).flat_map(|number| [number.to_string(), format!("{number} again")]).collect();
        assert_eq!(told.iter().map(|stored| stored.row.msg().unwrap()).collect::<Vec<_>>(), expected);

        // From the beginning, without being woken.
        let mut tail = repository.tail_events(filter, Some(0)).unwrap().every(Duration::from_millis(10));
        let mut again = Vec::new();
        while again.len() < 61 {
            again.extend(tail.wait(LONG).unwrap());
        }
        assert_eq!((again[0].row.msg(), &again[1..]), (Some("before"), &told[..]));
        assert!(tail.wait(Duration::ZERO).unwrap().is_empty());
        assert_eq!(repository.tail_events(Filter::new(), Some(tail.position())).unwrap().poll().unwrap(), []);
        assert!(pipeline.shutdown_blocking(LONG).is_complete());
    }
}

/// Of two writers the one with the lower ids commits later. A tail by ids alone would have gone past its row.
#[test]
fn a_tail_waits_for_lower_ids_that_are_not_committed_yet() {
    use crate::mysql::server::SHARED;
    let place = Place::mysql();
    assert!(place.pipeline().shutdown_blocking(LONG).is_complete());
    let Place::Mysql { name, .. } = &place else { unreachable!() };
    let (mut slow, mut fast) = (SHARED.admin(), SHARED.admin());
    let insert = |text: &str| {
        format!(
            "INSERT INTO `{name}`.events (ts, sensor, service, event_type, msg) VALUES (1, 's', 'v', 't', '{text}')"
        )
    };
    let repository = place.repository();
    let mut tail = repository.tail_events(Filter::new(), Some(0)).unwrap().every(Duration::from_millis(10));
    slow.run("BEGIN");
    slow.run(&insert("low"));
    fast.run(&insert("high"));
    assert!(tail.wait(Duration::from_millis(100)).unwrap().is_empty());
    slow.run("COMMIT");
    let mut told = Vec::new();
    while told.len() < 2 {
        told.extend(tail.wait(LONG).unwrap());
    }
    assert_eq!(told.iter().map(|stored| stored.row.msg().unwrap()).collect::<Vec<_>>(), ["low", "high"]);
    // What was rolled back leaves a gap, which is passed over.
    slow.run("BEGIN");
    slow.run(&insert("never"));
    fast.run(&insert("last"));
    slow.run("ROLLBACK");
    assert_eq!(tail.wait(LONG).unwrap()[0].row.msg(), Some("last"));
}

/// Readers see whole batches, in one moment, and keep nobody from writing.
#[test]
fn readers_are_right_while_the_writer_is_at_full_speed() {
    const BATCH: u64 = 64;
    for place in Place::both() {
        let pipeline = place.pipeline();
        let done = AtomicBool::new(false);
        let repository = place.repository();
        let sent = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let (began, mut sent) = (Instant::now(), 0);
                while began.elapsed() < Duration::from_secs(3) {
                    let row =
                        |n: u64| Event::builder("s", "v", "t").ts(at((sent + n) as i64)).session("x").build().unwrap();
                    drop(pipeline.events().send_many_blocking((0..BATCH).map(row).collect()).unwrap());
                    sent += BATCH;
                }
                pipeline.flush().wait().unwrap();
                done.store(true, Ordering::Relaxed);
                sent
            });
            for _ in 0..4 {
                let (repository, done) = (repository.clone(), &done);
                scope.spawn(move || read(&repository, done, BATCH));
            }
            writer.join().unwrap()
        });
        assert_eq!(repository.events().count(&Filter::new()).unwrap(), sent);
        assert!(pipeline.shutdown_blocking(LONG).is_complete());
    }
}

fn read(repository: &Repository, done: &AtomicBool, batch: u64) {
    let (events, all, mut before) = (repository.events(), Filter::new(), 0);
    while !done.load(Ordering::Relaxed) {
        let count = events.count(&all).unwrap();
        assert!(count >= before && count % batch == 0, "{count} after {before}");
        before = count;
        let summary = events.summary(&all).unwrap();
        let buckets = events.histogram(&all, &Buckets::every(Duration::from_nanos(1 << 20))).unwrap();
        assert!(buckets.iter().map(|bucket| bucket.rows).sum::<u64>() >= summary.rows && summary.rows >= count);
        let newest = Paging::newest(50).ordered(Sort::Id, Direction::NewestFirst);
        let page = events.page(&all, &newest).unwrap().rows;
        assert!(page.windows(2).all(|pair| pair[0].id > pair[1].id));
        let sessions = repository.sessions().list(&all, 1).unwrap();
        assert!(sessions.iter().all(|session| session.events % batch == 0));
    }
}

#[test]
fn a_server_is_only_read_and_says_what_is_missing() {
    use crate::mysql::server::SHARED;
    let place = Place::mysql();
    let kind = |url: &str| {
        let repository = Repository::open_with(url, &crate::mysql::impatient()).unwrap();
        repository.events().count(&Filter::new()).unwrap_err().kind()
    };
    assert_eq!(kind(&place.url()), ErrorKind::NotADatabase, "no tables");
    assert!(place.pipeline().shutdown_blocking(LONG).is_complete());
    place.execute("UPDATE forebay_schema SET version = 99 ORDER BY version DESC LIMIT 1");
    assert_eq!(kind(&place.url()), ErrorKind::NewerSchema);
    place.execute("DELETE FROM forebay_schema; INSERT INTO forebay_schema VALUES (0, 0)");
    assert_eq!(kind(&place.url()), ErrorKind::OlderSchema);
    assert_eq!(kind("mysql://nobody:x@127.0.0.1:1/d"), ErrorKind::Unavailable);
    let wrong = place.url().replace("writer:", "nobody:");
    assert_eq!(kind(&wrong), ErrorKind::AccessDenied);

    // A user who may only read is enough.
    let place = Place::mysql();
    assert!(place.pipeline().shutdown_blocking(LONG).is_complete());
    let Place::Mysql { name, url } = &place else { unreachable!() };
    let mut admin = SHARED.admin();
    admin.run("CREATE USER IF NOT EXISTS asker@'127.0.0.1' IDENTIFIED BY 'r'");
    admin.run(&format!("GRANT SELECT ON `{name}`.* TO asker@'127.0.0.1'"));
    let (_, place) = url.split_once('@').unwrap();
    let repository = Repository::open(&format!("mysql://asker:r@{place}")).unwrap();
    assert_eq!(repository.captures().count(&Filter::new().is(CaptureColumn::Kind, "packet")).unwrap(), 0);

    // Connections that were killed are replaced without anybody noticing.
    let threads = "SELECT id FROM information_schema.processlist WHERE user = 'asker'";
    for row in admin.rows(threads) {
        let mysql_async::Value::Int(id) = row[0] else { continue };
        admin.run(&format!("KILL {id}"));
    }
    assert_eq!(repository.events().count(&Filter::new().and(Test::Port(22, 22))).unwrap(), 0);
}

#[test]
fn the_environment_names_a_database() {
    let place = Place::sqlite();
    assert!(place.backend(&Config::default()).ping().is_ok());
    let Place::Sqlite(database) = &place else { unreachable!() };
    let path = database.path().display().to_string();
    let open = |variables: &[(&str, &str)]| {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
        Repository::from_env(find)
    };
    assert!(open(&[("FOREBAY_DB_TYPE", "sqlite"), ("FOREBAY_DB_NAME", &path)]).is_ok());
    assert!(open(&[("FOREBAY_DB_URL", &place.url()), ("FOREBAY_DB_TYPE", "oracle")]).is_ok());
    for wrong in [&[][..], &[("FOREBAY_DB_TYPE", "oracle")], &[("FOREBAY_DB_TYPE", "mysql"), ("FOREBAY_DB_PORT", "x")]]
    {
        assert_eq!(open(wrong).unwrap_err().kind(), ErrorKind::Configuration);
    }
}
