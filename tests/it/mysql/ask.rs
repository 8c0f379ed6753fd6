//! `forebay query`, `tail`, `stats` and `sessions` on a real server.

use std::path::Path;

use serde_json::Value;

use super::program::Place;
use super::server::SHARED;
use crate::harness::eventually;

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_server_is_asked_as_a_file_is_and_answers_the_same() {
    let (_, url) = SHARED.new_database();
    let place = Place::new();
    let own = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name).display().to_string();
    for database in [url.as_str(), "sqlite:file.db"] {
        for name in ["cowrie.json", "loopback.pcapng"] {
            let (code, _, err) = place.run(&["ingest", "--quiet", "--db", database, &own(name)]);
            assert_eq!(code, 0, "{err}");
        }
    }
    for arguments in [
        &["query", "service:ssh -event_type:cowrie.session.connect", "-n", "1000", "--columns", "ts,src_ip,msg,fields"]
            [..],
        &[
            "query",
            "--captures",
            "kind:packet",
            "--oldest",
            "-n",
            "1000",
            "--format",
            "csv",
            "--columns",
            "ts,length,data",
        ],
        &["query", "--format", "tsv", "--columns", "ts,session,fields.username", "fields.username:root"],
        &["tail", "-n", "20", "--columns", "msg"],
        &["stats", "--json"],
        &["sessions", "--json"],
    ] {
        let [server, file] = [url.as_str(), "sqlite:file.db"].map(|database| {
            let (code, out, err) = place.run(&[arguments, &["--db", database]].concat());
            assert_eq!(code, 0, "{arguments:?}: {err}");
            out
        });
        assert!(server == file && server.len() > 100, "{arguments:?}:\n{server}\n{file}");
    }
    let (_, list, _) = place.run(&["sessions", "--json", "--db", &url]);
    let id = read(&list)[0]["session"].as_str().unwrap().to_owned();
    let (code, whole, _) = place.run(&["sessions", &id, "--json", "--db", &url]);
    assert!(code == 0 && read(&whole)["rows"].as_array().is_some_and(|rows| rows.len() > 1), "{whole}");
    assert_eq!(place.run(&["query", "service:nothing", "--db", &url]).0, 1);
}

#[test]
fn tail_shows_what_another_process_commits_to_a_server() {
    let (_, url) = SHARED.new_database();
    let (place, writer) = (Place::new(), Place::new());
    assert_eq!(writer.run(&["db", "init", "--db", &url]).0, 0);
    let mut tail = place.start(&["tail", "-f", "--columns", "msg", "--format", "ndjson", "--db", &url]);
    assert_eq!(writer.run(&["ingest", "--quiet", "--db", &url, "a.json"]).0, 0);
    eventually("the rows", || {
        assert!(!tail.is_over(), "{}", tail.read("err"));
        tail.read("out").lines().count() == 2
    });
    tail.interrupt();
    let (code, out, err) = tail.finish();
    assert_eq!((code, out.as_str()), (0, "{\"msg\":\"one\"}\n{\"msg\":\"two\"}\n"), "{err}");
}
