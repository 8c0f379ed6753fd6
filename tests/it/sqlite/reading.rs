//! What only SQLite's reader can get wrong: opening a file, and the open segment. The rest is in `it/repository`.

use forebay::repository::{Filter, Paging, Repository};
use forebay::{Config, ErrorKind, Event, Timestamp};

use super::{Database, LONG};
use crate::harness::eventually;

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
