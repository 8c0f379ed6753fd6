//! A private Prometheus: on a free port of 127.0.0.1, in a directory of its own, gone at the end.
//!
//! It is killed when it is dropped, and by the kernel when the test's thread ends in any other way (`setpriv
//! --pdeathsig`).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use serde_json::Value as Json;

use crate::place::{Place, Running, wait_for};
use crate::server::free_port;

pub struct Prometheus {
    // Killed before its directory goes.
    _process: Running,
    _place: Place,
    port: u16,
}

impl Prometheus {
    /// Starts a server that scrapes these ports every second, with these rules (name of the file, text).
    pub fn start(ports: &[u16], rules: &[(&str, String)]) -> Self {
        let (place, port) = (Place::new(), free_port());
        let mut settings = String::from(
            "global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }\nrule_files: [\"*.rules.yml\"]\n",
        );
        let targets: Vec<_> = ports.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
        settings.push_str("scrape_configs:\n  - job_name: forebay\n    static_configs:\n");
        settings.push_str(&format!("      - targets: [{}]\n", targets.join(", ")));
        place.write("prometheus.yml", settings);
        for (name, text) in rules {
            place.write(&format!("{name}.rules.yml"), text);
        }
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "prometheus", "--config.file=prometheus.yml"]);
        command.args(["--storage.tsdb.path=data", "--log.level=warn"]);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let mut process = place.start_command(command);
        let ready = wait_for("Prometheus", || {
            let over = process.is_over();
            assert!(
                over.is_none(),
                "Prometheus ended ({over:?}): {}; is the package `prometheus` there?",
                process.err()
            );
            get(port, "/-/ready").filter(|answer| answer.starts_with("HTTP/1.0 200"))
        });
        drop(ready);
        Self { _process: process, _place: place, port }
    }

    /// Asks for the value of an expression now: each series with its labels.
    ///
    /// # Panics
    /// When Prometheus does not take the expression.
    pub fn ask(&self, expression: &str) -> Vec<(Json, f64)> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = wait_for("an answer", || get(self.port, &format!("/api/v1/query?query={encoded}")));
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
        let answer: Json = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        let result = &answer["data"]["result"];
        let samples: Vec<(Json, &Json)> = match answer["data"]["resultType"].as_str() {
            Some("vector") => {
                let series = result.as_array().expect("a vector");
                series.iter().map(|series| (series["metric"].clone(), &series["value"][1])).collect()
            }
            _ => vec![(Json::Null, &result[1])],
        };
        let number = |value: &Json| value.as_str().and_then(|text| text.parse().ok()).expect("a number");
        samples.into_iter().map(|(labels, value)| (labels, number(value))).collect()
    }

    /// Returns the names of the alerts that fire, or fired at any time since the server started.
    pub fn alerts(&self, since: Alerts) -> Vec<String> {
        let which = match since {
            Alerts::Now => "ALERTS{alertstate=\"firing\"}",
            Alerts::Ever => "count_over_time(ALERTS{alertstate=\"firing\"}[1h])",
        };
        let found = self.ask(&format!("group by (alertname) ({which})"));
        let mut names: Vec<_> =
            found.into_iter().map(|(labels, _)| labels["alertname"].as_str().expect("a name").to_owned()).collect();
        names.sort();
        names
    }
}

/// Which alerts are asked for.
pub enum Alerts {
    Now,
    Ever,
}

/// One answer over HTTP, with its headers; `None` when there is none.
pub fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(crate::place::DEADLINE)).ok()?;
    // HTTP 1.0: the answer comes in one piece, to the end of the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    (!answer.is_empty()).then_some(answer)
}
