//! The ledger stays small, whoever was killed.

use forebay::repository::{Filter, Repository};

use super::server::SHARED;
use super::{LONG, impatient, pipeline};
use crate::harness::{event, eventually};

#[test]
fn what_killed_processes_left_in_the_ledger_is_gone_after_a_day_and_nothing_else() {
    let (name, url) = SHARED.new_database();
    assert!(pipeline(&url, impatient()).unwrap().shutdown_blocking(LONG).is_complete());
    let mut admin = SHARED.admin();
    let ledger = format!("`{name}`.ingest_ledger");
    let hours_ago = |hours: u32| format!("(UNIX_TIMESTAMP() - {hours} * 3600) * 1000000000");
    let add = |source: &str, first: u32, hours: u32| format!("('{source}', {first}, {first}, 1, {})", hours_ago(hours));
    let mut rows: Vec<_> = (0..1200).map(|first| add("memory/killed/0", first, 25)).collect();
    rows.push(add("memory/killed/1", 0, 49));
    let keep = [
        ("file/old", 9999),
        ("memory/lately/0", 23),
        // It was at work lately: its pipeline deletes its rows by itself.
        ("memory/steady/0", 30),
    ];
    rows.extend(keep.map(|(source, hours)| add(source, 0, hours)));
    rows.push(add("memory/steady/0", 1, 1));
    admin.run(&format!("INSERT INTO {ledger} VALUES {}", rows.join(",")));
    let pipeline = pipeline(&url, impatient()).unwrap();
    assert_eq!(pipeline.events().send_blocking(event("a")).unwrap().wait(), Ok(()));
    let killed = format!("SELECT count(*) FROM {ledger} WHERE source LIKE 'memory/killed/%'");
    eventually("they are gone", || SHARED.admin().number(&killed) == 0);
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    let left =
        admin.texts(&format!("SELECT CONVERT(CONCAT(source, ' ', first) USING utf8mb4) FROM {ledger} ORDER BY 1"));
    assert_eq!(left, ["file/old 0", "memory/lately/0 0", "memory/steady/0 0", "memory/steady/0 1"]);
}

/// A process was killed while the server had its COMMIT. The next one read the ledger at once, without those rows, and sent
/// more rows from the same position on: the entry was there by then, and the rows behind it counted as committed too.
#[test]
fn the_ledger_is_read_only_once_what_a_killed_process_left_behind_is_decided() {
    let (name, url) = SHARED.new_database();
    let pipeline = pipeline(&url, impatient()).unwrap();
    assert_eq!(pipeline.flush().wait(), Ok(()));
    let mut killed = SHARED.admin();
    killed.run("BEGIN");
    killed.run(&format!("INSERT INTO `{name}`.ingest_ledger VALUES ('file/x', 100, 199, 100, 0)"));
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| pipeline.committed("file/x").unwrap());
        let waits = format!(
            "SELECT count(*) FROM information_schema.processlist WHERE db = '{name}' AND info LIKE '%LOCK IN SHARE MODE'"
        );
        eventually("the read waits", || SHARED.admin().number(&waits) == 1);
        assert!(!reading.is_finished());
        killed.run("COMMIT");
        let committed = reading.join().unwrap().remove("file/x").unwrap();
        assert_eq!(committed.first_missing(100), 200);
    });
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
}

/// A snapshot that is open for an hour sees what was there, and keeps nobody from deleting it.
#[test]
fn an_open_snapshot_stops_neither_rows_nor_the_ledger_from_being_tidied() {
    let (name, url) = SHARED.new_database();
    assert!(pipeline(&url, impatient()).unwrap().shutdown_blocking(LONG).is_complete());
    let ledger = format!("`{name}`.ingest_ledger");
    let killed = format!("SELECT count(*) FROM {ledger} WHERE source = 'memory/killed/0'");
    let rows: Vec<_> = (0..600).map(|first| format!("('memory/killed/0', {first}, {first}, 1, 0)")).collect();
    SHARED.admin().run(&format!("INSERT INTO {ledger} VALUES {}", rows.join(",")));
    let mut reader = SHARED.admin();
    reader.run("START TRANSACTION WITH CONSISTENT SNAPSHOT");
    assert_eq!(reader.number(&killed), 600);
    let repository = Repository::open(&url).unwrap();
    let mut stream = repository.tail_events(Filter::new(), Some(0)).unwrap().into_stream().unwrap();
    let pipeline = pipeline(&url, impatient()).unwrap();
    let mut sends = 0;
    let mut send = || {
        assert_eq!(pipeline.events().send_blocking(event(&sends.to_string())).unwrap().wait(), Ok(()));
        sends += 1;
    };
    (0..1500).for_each(|_| send());
    let mut now = SHARED.admin();
    // Tidying gives way to rows, and goes on after some more.
    eventually("what was settled is deleted", || {
        send();
        now.number(&format!("SELECT count(*) FROM {ledger}")) < 1024
    });
    eventually("what a killed process left too", || {
        send();
        now.number(&killed) == 0
    });
    let seen = [killed, format!("SELECT count(*) FROM `{name}`.events")].map(|sql| reader.number(&sql));
    assert_eq!(seen, [600, 0], "its snapshot");
    let open = "SELECT count(*) FROM information_schema.innodb_trx JOIN information_schema.processlist \
                ON id = trx_mysql_thread_id WHERE db = '";
    eventually("a stream that nobody reads on has no transaction", || now.number(&format!("{open}{name}'")) == 0);
    let mut told = 0;
    while told < sends {
        told += pollster::block_on(stream.next()).unwrap().unwrap().len();
    }
    assert_eq!(told, sends);
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
}
