//! The ledger stays small, whoever was killed.

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
