//! What stands in the way of opening, each with its own message; a server that comes late; many that open at once.

use std::path::Path;

use forebay::database_url::DatabaseParts;
use forebay::pipeline::LaneState;
use forebay::{Config, ErrorKind, Pipeline};

use super::server::{SHARED, Server};
use super::{LONG, impatient, pipeline};
use crate::child::{self, Running};
use crate::harness::{event, eventually, state};

/// The child: opens the database, writes a row and says so.
pub fn write(url: &str) {
    let pipeline = Pipeline::open(url).unwrap();
    pipeline.events().send_blocking(event("a")).unwrap().wait().unwrap();
    child::say("written");
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
}

#[test]
fn eight_processes_that_start_at_once_on_an_empty_database_all_write() {
    let (name, url) = SHARED.new_database();
    let children: Vec<_> = (0..8).map(|_| Running::start(child::command("write_to_server", Path::new(&url)))).collect();
    for mut child in children {
        assert_eq!(child.next().as_deref(), Some("written"));
        assert!(child.process.wait().unwrap().success());
    }
    let mut admin = SHARED.admin();
    assert_eq!(admin.number(&format!("SELECT count(*) FROM `{name}`.events")), 8);
    assert_eq!(admin.number(&format!("SELECT count(*) FROM `{name}`.forebay_schema")), 2);
}

#[test]
fn a_server_that_is_not_up_yet_is_waited_for_while_rows_are_taken() {
    let server = Server::start();
    let url = server.database("late");
    server.kill();
    let pipeline = pipeline(&url, impatient()).unwrap();
    let receipts: Vec<_> =
        (0..100).map(|row| pipeline.events().send_blocking(event(&row.to_string())).unwrap()).collect();
    let refused = |state| matches!(state, LaneState::Retrying { error, .. } if error.contains("refused"));
    eventually("the lane says what it waits for", || refused(state(&pipeline)));
    server.run();
    assert!(receipts.into_iter().all(|receipt| receipt.wait() == Ok(())));
    eventually("it runs", || state(&pipeline) == LaneState::Running);
    assert!(pipeline.shutdown_blocking(LONG).is_complete());
    assert_eq!(server.admin().number("SELECT count(*) FROM late.events"), 100);
}

#[test]
fn shutdown_is_bounded_while_the_server_is_away() {
    let pipeline = pipeline("mysql://u:p@127.0.0.1:1/d", impatient()).unwrap();
    let receipt = pipeline.events().send_blocking(event("a")).unwrap();
    eventually("it is tried again", || matches!(state(&pipeline), LaneState::Retrying { .. }));
    let summary = pipeline.shutdown_blocking(std::time::Duration::from_millis(50));
    assert!(summary.took < std::time::Duration::from_secs(2));
    assert_eq!(summary.lanes[0].events.failed, 1);
    assert!(receipt.wait().is_err());
}

#[test]
fn a_server_that_refuses_is_an_error_that_says_what_to_do() {
    let (name, url) = SHARED.new_database();
    let mut admin = SHARED.admin();
    admin.run("CREATE USER reader@'127.0.0.1' IDENTIFIED BY 'secret'");
    admin.run(&format!("GRANT SELECT ON `{name}`.* TO reader@'127.0.0.1'"));
    let port = SHARED.port;
    let other = |user: &str, database: &str| format!("mysql://{user}@127.0.0.1:{port}/{database}");
    let foreign = SHARED.new_database();
    admin.run(&format!("CREATE TABLE `{}`.events (theirs INT)", foreign.0));
    let newer = SHARED.new_database();
    assert!(pipeline(&newer.1, impatient()).unwrap().shutdown_blocking(LONG).is_complete());
    admin.run(&format!("INSERT INTO `{}`.forebay_schema VALUES (99, 0)", newer.0));
    let latin = SHARED.new_database();
    assert!(pipeline(&latin.1, impatient()).unwrap().shutdown_blocking(LONG).is_complete());
    admin.run(&format!("ALTER TABLE `{}`.events CONVERT TO CHARACTER SET latin1", latin.0));
    let engine = SHARED.new_database();
    assert!(pipeline(&engine.1, impatient()).unwrap().shutdown_blocking(LONG).is_complete());
    admin.run(&format!("ALTER TABLE `{}`.captures ENGINE=MyISAM", engine.0));
    for (url, kind, hint) in [
        (other("writer:secret", &name), ErrorKind::AccessDenied, "correct the user or the password"),
        (other("nobody:secret", &name), ErrorKind::AccessDenied, "correct the user or the password"),
        (
            other("root", &name),
            ErrorKind::Configuration,
            "has no password; give one, or set mysql.allow_empty_password",
        ),
        (other("reader:secret", &name), ErrorKind::AccessDenied, "grant the user SELECT, INSERT"),
        (other("reader:secret", "other"), ErrorKind::AccessDenied, "grant the user SELECT, INSERT"),
        (url.replace(&name, "d0d"), ErrorKind::AccessDenied, "grant the user"),
        (url.clone() + "?ssl-mode=required", ErrorKind::Configuration, "the server offers no TLS"),
        (url.clone() + "?ssl-ca=/nowhere.pem", ErrorKind::Configuration, "read /nowhere.pem"),
        (foreign.1, ErrorKind::NotADatabase, "another program's; use another database"),
        (newer.1, ErrorKind::NewerSchema, "has schema version 99, this forebay knows 2"),
        (latin.1, ErrorKind::Configuration, "utf8mb4"),
        (engine.1, ErrorKind::Configuration, "InnoDB"),
    ] {
        let error = pipeline(&url, impatient()).err().unwrap_or_else(|| panic!("{url} is taken"));
        assert!(error.kind() == kind && error.to_string().contains(hint), "{url}: {error:?}");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    }
    let mut config = impatient();
    config.mysql.allow_empty_password = true;
    let error = pipeline(&other("root", "missing"), config.clone()).err().unwrap();
    assert!(error.to_string().contains("create the database, or correct its name"), "{error}");
    assert!(pipeline(&other("root", &name), config).unwrap().shutdown_blocking(LONG).is_complete());
}

#[test]
fn a_read_only_server_is_refused_at_first_waited_for_later_and_passed_over_for_another() {
    let (replica, primary) = (Server::start(), Server::start());
    let url = replica.database("d");
    primary.database("d");
    let running = pipeline(&url, impatient()).unwrap();
    replica.admin().run("SET GLOBAL read_only = 1");
    let error = pipeline(&url, impatient()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotWritable);
    assert!(error.to_string().contains("name the server that may be written"), "{error}");
    let receipt = running.events().send_blocking(event("a")).unwrap();
    let read_only = |state| matches!(state, LaneState::Retrying { error, .. } if error.contains("read-only"));
    eventually("the lane says so", || read_only(state(&running)));
    let both = url.replace("/d", &format!(",127.0.0.1:{}/d", primary.port));
    let over_both = pipeline(&both, impatient()).unwrap();
    assert_eq!(over_both.events().send_blocking(event("b")).unwrap().wait(), Ok(()));
    assert!(over_both.shutdown_blocking(LONG).is_complete());
    assert_eq!(primary.admin().texts("SELECT msg FROM d.events"), ["b"]);
    replica.admin().run("SET GLOBAL read_only = 0");
    assert_eq!(receipt.wait(), Ok(()));
    assert!(running.shutdown_blocking(LONG).is_complete());
}

#[test]
fn one_pipeline_may_write_to_a_file_and_a_server_from_any_runtime() {
    let (name, url) = SHARED.new_database();
    let file = crate::sqlite::Database::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let pipeline = Pipeline::builder().config(Config::default()).database(file.url()).database(url).open().unwrap();
        let receipt = pipeline.events().send(event("a")).await.unwrap();
        // The host's only thread is not there for anybody; the writers do not need it.
        eventually("both lanes write", || pipeline.status().lanes.iter().all(|lane| lane.events.committed == 1));
        assert_eq!(receipt.await, Ok(()));
        assert!(pipeline.replay::<forebay::Event>("file").is_ok(), "the ledger is read within a host's runtime too");
        assert!(pipeline.shutdown(LONG).await.is_complete());
    });
    assert_eq!(SHARED.admin().number(&format!("SELECT count(*) FROM `{name}`.events")), 1);
    assert_eq!(file.number("SELECT count(*) FROM events"), 1);
}

#[test]
fn rows_go_to_a_server_from_plain_threads_from_tokio_and_from_another_executor_at_once() {
    let (name, url) = SHARED.new_database();
    let pipeline = pipeline(&url, Config::default()).unwrap();
    let send = async |who: &str| {
        for row in 0..50 {
            pipeline.events().send(event(&format!("{who} {row}"))).await.unwrap().await.unwrap();
        }
    };
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let events = pipeline.events();
            scope.spawn(move || {
                for row in 0..50 {
                    events.send_blocking(event(&format!("thread {thread} {row}"))).unwrap().wait().unwrap();
                }
            });
        }
        scope.spawn(|| pollster::block_on(send("pollster")));
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
            runtime.block_on(async { tokio::join!(send("task"), send("other task")) });
        });
    });
    assert!(pollster::block_on(pipeline.shutdown(LONG)).is_complete());
    let mut admin = SHARED.admin();
    assert_eq!(admin.number(&format!("SELECT count(DISTINCT msg) FROM `{name}`.events")), 250);
    assert_eq!(admin.number(&format!("SELECT count(*) FROM `{name}`.events")), 250);
}

#[test]
fn any_password_opens_the_door_by_url_and_in_parts() {
    let (name, url) = SHARED.new_database();
    let mut admin = SHARED.admin();
    for (number, password) in ["@:/%#?&=[]", "%41+%zz", "pä\u{df}wörd \u{1f511}", "'; -- \\\"`"].into_iter().enumerate()
    {
        let user = format!("odd{}_{number}", std::process::id());
        let quoted = password.replace('\\', "\\\\").replace('\'', "\\'");
        admin.run(&format!("CREATE USER {user}@'127.0.0.1' IDENTIFIED BY '{quoted}'"));
        admin.run(&format!("GRANT ALL ON `{name}`.* TO {user}@'127.0.0.1'"));
        let encoded: String = password.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let parts = DatabaseParts {
            kind: "mysql".into(),
            host: None,
            port: Some(SHARED.port),
            name: Some(name.clone()),
            user: Some(user.clone()),
            password: Some(password.to_owned().into()),
        };
        let by_parts = parts.url().unwrap();
        for url in [url.replace("writer:p%40ss%3Aw%2Frd", &format!("{user}:{encoded}")), by_parts] {
            let pipeline = pipeline(&url, impatient()).unwrap_or_else(|error| panic!("{password}: {error}"));
            assert_eq!(pipeline.events().send_blocking(event(password)).unwrap().wait(), Ok(()));
            assert!(pipeline.shutdown_blocking(LONG).is_complete());
        }
        admin.run(&format!("DROP USER {user}@'127.0.0.1'"));
    }
    assert_eq!(admin.number(&format!("SELECT count(*) FROM `{name}`.events")), 8);
}
