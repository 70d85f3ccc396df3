//! A headless Chromium, driven over a pair of pipes by the DevTools protocol.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Timeout of each operation.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A browser with one page.
pub struct Chromium {
    child: Child,
    commands: File,
    replies: Receiver<Value>,
    calls: u64,
    session: Option<String>,
    events: Vec<Value>,
    _profile: tempfile::TempDir,
}

impl Chromium {
    /// Starts a browser and opens a file in it. Downloads go into `downloads`.
    pub fn open(page: &Path, downloads: &Path) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let pipes = ["commands", "replies"].map(|name| profile.path().join(name));
        assert!(Command::new("mkfifo").args(&pipes).status().unwrap().success());
        // The browser reads commands from descriptor 3 and answers on 4.
        let child = Command::new("sh")
            .args([
                "-c",
                r#"commands="$1"; replies="$2"; shift 2; exec chromium "$@" 3<"$commands" 4>"$replies""#,
                "sh",
            ])
            .args(&pipes)
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--remote-debugging-pipe",
            ])
            .arg(format!("--user-data-dir={}", profile.path().join("profile").display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let commands = File::options().write(true).open(&pipes[0]).unwrap();
        let answers = File::open(&pipes[1]).unwrap();
        let (sender, replies) = channel();
        thread::spawn(move || {
            for message in BufReader::new(answers).split(0) {
                let Ok(message) = message else { break };
                if sender.send(serde_json::from_slice(&message).unwrap()).is_err() {
                    break;
                }
            }
        });
        let mut browser =
            Self { child, commands, replies, calls: 0, session: None, events: Vec::new(), _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let session = browser.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }))["sessionId"].clone();
        browser
            .call("Browser.setDownloadBehavior", json!({ "behavior": "allow", "downloadPath": downloads }));
        browser.session = session.as_str().map(String::from);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.events.clear();
        browser.call("Page.navigate", json!({ "url": format!("file://{}", page.display()) }));
        browser.wait_for_load();
        browser
    }

    /// Reloads the page.
    pub fn reload(&mut self) {
        self.evaluate("window.stale = true");
        self.call("Page.reload", json!({}));
        self.wait_for_load();
    }

    fn wait_for_load(&mut self) {
        let begin = Instant::now();
        while !self.is_loaded() {
            assert!(begin.elapsed() < TIMEOUT, "the page does not load");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether the new page is loaded. During navigation there may be no page to evaluate in.
    fn is_loaded(&mut self) -> bool {
        let expression = "document.readyState === 'complete' && location.href !== 'about:blank' && window.stale === undefined";
        let result =
            self.send("Runtime.evaluate", json!({ "expression": expression, "returnByValue": true }));
        result.is_ok_and(|result| result["result"]["value"] == true)
    }

    /// Sends a command and returns its result.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.send(method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn send(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.calls += 1;
        let mut message = json!({ "id": self.calls, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.commands.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let reply =
                self.replies.recv_timeout(TIMEOUT).unwrap_or_else(|error| panic!("{method}: {error}"));
            if reply["id"] == self.calls {
                return reply
                    .get("error")
                    .map_or_else(|| Ok(reply["result"].clone()), |error| Err(error.clone()));
            }
            self.events.push(reply);
        }
    }

    /// The value of an expression in the page.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let result = self.call(
            "Runtime.evaluate",
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true }),
        );
        assert!(result.get("exceptionDetails").is_none(), "{expression}: {}", result["exceptionDetails"]);
        result["result"]["value"].clone()
    }

    /// Presses a character key, or Enter.
    pub fn press(&mut self, key: &str) {
        let text = if key == "Enter" { "\r" } else { key };
        self.call(
            "Input.dispatchKeyEvent",
            json!({ "type": "keyDown", "key": key, "text": text, "windowsVirtualKeyCode": if key == "Enter" { 13 } else { 0 } }),
        );
        self.call("Input.dispatchKeyEvent", json!({ "type": "keyUp", "key": key }));
    }

    /// Emulates a phone's screen.
    pub fn phone(&mut self) {
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": 360, "height": 700, "deviceScaleFactor": 2, "mobile": true }),
        );
    }

    /// Sets the preferred colour scheme, `dark` or `light`.
    pub fn scheme(&mut self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// The messages in the page's console: errors, exceptions, blocked content.
    pub fn complaints(&self) -> Vec<String> {
        let complaint = |event: &Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => Some(event["params"]["exceptionDetails"].to_string()),
            Some("Log.entryAdded") => Some(event["params"]["entry"]["text"].to_string()),
            Some("Runtime.consoleAPICalled") => Some(event["params"]["args"].to_string()),
            _ => None,
        };
        self.events.iter().filter_map(complaint).collect()
    }

    /// Addresses that the page requested.
    pub fn requests(&self) -> Vec<&str> {
        let sent = self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.filter_map(|event| event["params"]["request"]["url"].as_str()).collect()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // The browser exits when its pipe closes, but a test does not wait for that.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
