//! The alerts, for real: a database that stalls, a queue that fills, a format that changes, a process that ends.

use crate::dashboards::text;
use crate::place::wait_for;
use crate::prometheus::{Alerts, Prometheus};
use crate::station::Station;

/// The rules with shorter times, so that a failure of seconds is long.
fn shortened(name: &str) -> String {
    let pairs = [
        ("interval: 15s", "interval: 1s"),
        ("[1m]", "[10s]"),
        ("[5m]", "[20s]"),
        ("offset 10m", "offset 40s"),
        ("for: 1m", "for: 5s"),
        ("for: 30s", "for: 2s"),
        ("for: 5m", "for: 5s"),
        ("forebay_oldest_row_seconds) > 30", "forebay_oldest_row_seconds) > 8"),
    ];
    let text = text(name);
    assert!(pairs.iter().any(|(long, _)| text.contains(long)));
    pairs.iter().fold(text, |text, (long, short)| text.replace(long, short))
}

#[test]
fn alerts_fire_in_their_failure_and_in_no_other() {
    let mut station = Station::start("[batch]\nmax_rows = 100\n[buffer.events]\nmax_rows = 200\n");
    let rules = ["alerts.yml", "rules.yml"].map(|name| (name, shortened(name)));
    let prometheus = Prometheus::start(&[station.port], &rules);
    let load = station.load();
    // Healthy for longer than any alert needs.
    wait_for("twenty seconds of rules", || {
        let fill = "count_over_time(instance_lane_kind:forebay_buffer_rows:fill{kind=\"events\"}[1h]) >= 20";
        (!prometheus.ask(fill).is_empty()).then_some(())
    });
    assert_eq!(prometheus.alerts(Alerts::Ever), [""; 0], "nothing fires in a healthy run");

    let database = station.place.database();
    let lock = database.lock();
    let stalled = ["ForebayNotCommitting", "ForebayOldestRowTooOld", "ForebayQueueNearlyFull"];
    wait_for("the alerts of a stalled database", || {
        let firing = prometheus.alerts(Alerts::Now);
        assert!(firing.iter().all(|name| stalled.contains(&name.as_str())), "{firing:?}");
        (firing == stalled).then_some(())
    });
    drop(lock);
    wait_for("their end", || prometheus.alerts(Alerts::Now).is_empty().then_some(()));
    assert_eq!(prometheus.alerts(Alerts::Ever), stalled);

    station.malformed(500);
    wait_for("the alert of a changed format", || {
        let firing = prometheus.alerts(Alerts::Now);
        assert!(firing.iter().all(|name| name == "ForebayRejectsRising"), "{firing:?}");
        (!firing.is_empty()).then_some(())
    });

    drop(load);
    station.kill();
    wait_for("the alert of a process that is gone", || {
        let mut firing = prometheus.alerts(Alerts::Now);
        // The other one may last as long as its range.
        firing.retain(|name| name != "ForebayRejectsRising");
        assert!(firing.iter().all(|name| name == "ForebayDown"), "{firing:?}");
        (!firing.is_empty()).then_some(())
    });
}
