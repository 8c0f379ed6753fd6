//! Chromium without a window, driven by chromedriver over its HTTP interface (<https://www.w3.org/TR/webdriver2/>).
//!
//! Both end with the test: chromedriver is killed by the kernel when this process dies (`setpriv --pdeathsig`, from a
//! thread that lives as long as the process), and Chromium ends when the pipe to chromedriver does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{DEADLINE, ask, wait_for};

pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    _profile: TempDir,
}

type Start = (Command, Sender<std::io::Result<Child>>);

/// Starts a process from a thread that never ends: the signal at a parent's death comes when its *thread* ends.
fn start_from_a_lasting_thread(command: Command) -> std::io::Result<Child> {
    static STARTER: OnceLock<Sender<Start>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (starter, starts) = channel::<Start>();
        std::thread::spawn(move || {
            starts.into_iter().for_each(|(mut command, reply)| drop(reply.send(command.spawn())))
        });
        starter
    });
    let (reply, child) = channel();
    starter.send((command, reply)).expect("the thread lasts");
    child.recv().expect("an answer")
}

impl Browser {
    pub fn start() -> Self {
        let profile = tempfile::tempdir().expect("a directory");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "chromedriver", "--port=0"]);
        command.env("HOME", profile.path()).env("TMPDIR", profile.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = start_from_a_lasting_thread(command).expect("please install chromium-driver and util-linux");
        let lines = BufReader::new(driver.stdout.take().expect("a pipe")).lines();
        let (said, heard) = channel();
        // Reads to the end: what chromedriver writes later must not fill the pipe.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let port = line.split_once("started successfully on port ").map(|(_, port)| port.trim_end_matches('.'));
                if let Some(port) = port.and_then(|port| port.parse::<u16>().ok()) {
                    // Whoever waited may have given up.
                    let _ = said.send(port);
                }
            }
        });
        let Ok(port) = heard.recv_timeout(DEADLINE) else {
            let _ = driver.kill();
            panic!("please install chromium-driver: chromedriver did not start");
        };
        let mut browser =
            Self { driver, address: ([127, 0, 0, 1], port).into(), session: String::new(), _profile: profile };
        let profile = browser._profile.path().join("profile");
        let args = json!([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--remote-debugging-pipe",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--window-size=1280,1000",
            format!("--user-data-dir={}", profile.display()),
        ]);
        let options = json!({ "args": args, "perfLoggingPrefs": { "enableNetwork": true } });
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let session = browser.post("/session", &wanted);
        browser.session = format!("/session/{}", session["sessionId"].as_str().expect("please install chromium"));
        // The first tab has asked for pages of the browser's own.
        browser.open("about:blank");
        browser.requests();
        browser.console();
        browser
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let headers = ["Host: localhost", "Content-Type: application/json"];
        let answer = ask(self.address, "POST", path, &headers, &body.to_string());
        assert_eq!(answer.code, 200, "{path}: {answer:?}");
        answer.json()["value"].take()
    }

    fn command(&self, path: &str, body: &Value) -> Value {
        self.post(&format!("{}{path}", self.session), body)
    }

    pub fn open(&self, url: &str) {
        self.command("/url", &json!({ "url": url }));
    }

    /// Runs the body of a function in the page and returns its value.
    pub fn run(&self, script: &str) -> Value {
        self.command("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until a script returns something that is true.
    #[track_caller]
    pub fn wait(&self, what: &str, script: &str) -> Value {
        wait_for(what, || {
            let value = self.run(script);
            let is_true =
                !matches!(&value, Value::Null | Value::Bool(false)) && value != json!("") && value != json!(0);
            is_true.then_some(value)
        })
    }

    /// Says a command of the DevTools protocol.
    pub fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.command("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// Has the page believe that its user likes it `dark` or `light`.
    pub fn scheme(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// Gives the page a window of that size.
    pub fn size(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Returns what was written to the page's console since the last time.
    pub fn console(&self) -> Vec<Value> {
        self.log("browser")
    }

    /// Returns the URLs that the page has asked for since the last time.
    pub fn requests(&self) -> Vec<String> {
        let message = |entry: Value| serde_json::from_str::<Value>(entry["message"].as_str()?).ok();
        let sent = self.log("performance").into_iter().filter_map(message).map(|mut message| message["message"].take());
        let sent = sent.filter(|message| message["method"] == "Network.requestWillBeSent");
        sent.filter_map(|message| message["params"]["request"]["url"].as_str().map(str::to_owned)).collect()
    }

    fn log(&self, kind: &str) -> Vec<Value> {
        match self.command("/se/log", &json!({ "type": kind })) {
            Value::Array(entries) => entries,
            other => panic!("{other}"),
        }
    }

    /// Returns a picture of the page, PNG in base64.
    pub fn picture(&self) -> String {
        let headers = ["Host: localhost"];
        let answer = ask(self.address, "GET", &format!("{}/screenshot", self.session), &headers, "");
        answer.json()["value"].as_str().expect("a picture").to_owned()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // Quits Chromium, on a failed test as well. chromedriver answers when that is done, and keeps the connection.
            if let Ok(mut stream) = TcpStream::connect(self.address) {
                let text = format!("DELETE {} HTTP/1.1\r\nHost: localhost\r\n\r\n", self.session);
                let _ = stream.set_read_timeout(Some(DEADLINE));
                let _ = stream.write_all(text.as_bytes());
                let _ = stream.read(&mut [0; 64]);
            }
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
