//! `serve` from end to end: the built program, tiny models with random weights, requests over loopback,
//! a signal.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::tiny::{write_model, write_reward_model};

/// A running server.
struct Serving {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
    /// Its stderr so far.
    printed: String,
    address: String,
}

impl Serving {
    fn start(folder: &Path, token: Option<&str>, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_janus"));
        command.args(["serve", "--json", "--model", "model", "--port", "0"]).args(more).current_dir(folder);
        command.env_remove("JANUS_TOKEN").envs(token.map(|token| ("JANUS_TOKEN", token)));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut printed = String::new();
        let address = loop {
            let before = printed.len();
            assert!(stderr.read_line(&mut printed).unwrap() > 0, "{printed}");
            if let Some((_, rest)) = printed[before..].split_once("http://") {
                break rest.split('/').next().unwrap().to_string();
            }
        };
        Self { child, stderr, printed, address }
    }

    fn chat(&self, header: &str, body: &Value) -> (u16, Value) {
        let (body, mut stream, mut response) =
            (body.to_string(), TcpStream::connect(&self.address).unwrap(), String::new());
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json";
        write!(stream, "{head}\r\n{header}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
        stream.read_to_string(&mut response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
    }

    /// Sends SIGTERM. Returns the output, and the whole stderr.
    fn end(mut self) -> (Output, String) {
        let kill = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        self.stderr.read_to_string(&mut self.printed).unwrap();
        (self.child.wait_with_output().unwrap(), self.printed)
    }
}

fn hello(fields: Value) -> Value {
    let mut body =
        json!({ "messages": [{ "role": "user", "content": "a kite" }], "max_tokens": 8, "seed": 1 });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

#[test]
fn a_model_is_served_until_a_signal_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    write_model(&folder.path().join("model"));
    let server = Serving::start(folder.path(), None, &[]);
    assert!(server.address.starts_with("127.0.0.1:"), "{}", server.address);
    let (status, answer) = server.chat("", &hello(json!({ "n": 2 })));
    assert_eq!(
        (status, &answer["model"], answer["choices"].as_array().unwrap().len()),
        (200, &json!("model"), 2)
    );
    let (status, refused) = server.chat("", &hello(json!({ "best_of": 2 })));
    assert!(
        status == 400 && refused["error"]["message"].as_str().unwrap().contains("start it with one"),
        "{refused}"
    );
    let address = server.address.clone();
    let (output, _) = server.end();
    assert_eq!(output.status.code(), Some(0));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        report,
        json!({ "command": "serve", "model": "model", "address": address, "answered": 1, "cut_off": false })
    );
}

#[test]
fn the_best_of_n_is_served_and_the_token_stays_secret() {
    let folder = tempfile::tempdir().unwrap();
    write_model(&folder.path().join("model"));
    write_reward_model(&folder.path().join("reward"));
    let server =
        Serving::start(folder.path(), Some("sesame-7"), &["--reward-model", "reward", "--name", "janus"]);
    assert_eq!(server.chat("", &hello(json!({}))).0, 401);
    let (status, answer) = server.chat("authorization: Bearer sesame-7\r\n", &hello(json!({ "best_of": 5 })));
    assert_eq!(
        (status, &answer["model"], &answer["reward_model"]),
        (200, &json!("janus"), &json!("reward")),
        "{answer}"
    );
    let rewards: Vec<f64> =
        answer["rewards"].as_array().unwrap().iter().map(|reward| reward.as_f64().unwrap()).collect();
    let highest = rewards.iter().copied().fold(f64::MIN, f64::max);
    let choice = &answer["choices"][0];
    assert_eq!((rewards.len(), choice["reward"].as_f64().unwrap()), (5, highest));
    assert_eq!(choice["candidate"], json!(rewards.iter().position(|reward| *reward == highest)));
    let (output, printed) = server.end();
    assert_eq!(output.status.code(), Some(0));
    assert!(!printed.contains("sesame") && !String::from_utf8_lossy(&output.stdout).contains("sesame"));
}

#[test]
fn a_served_model_gives_the_answers_of_the_local_one() {
    let folder = tempfile::tempdir().unwrap();
    write_model(&folder.path().join("model"));
    let write =
        |name: &str, row: Value| std::fs::write(folder.path().join(name), format!("{row}\n")).unwrap();
    write("toxicity.jsonl", json!({ "prompt": "a kite flies" }));
    write(
        "mt-bench.jsonl",
        json!({ "question_id": 81, "category": "math", "turns": ["a kite", "and then?"] }),
    );
    let serving = Serving::start(folder.path(), None, &["--paper-sampling"]);
    let url = format!("http://{}/v1", serving.address);
    for bench in ["toxicity", "mt-bench"] {
        let answers = |output: &str, model: &[&str]| {
            // Greedy, because a server chooses request ids itself and the random streams depend on them.
            // The benchmark's repetition penalty is 1; the server is started with another default.
            let args = ["generate", "--bench", bench, "--output", output, "--name", "m", "--max-tokens", "8"];
            let sampling = ["--temperature", "0"];
            let input = format!("{bench}.jsonl");
            let mut command = Command::new(env!("CARGO_BIN_EXE_janus"));
            let done = command
                .args(args)
                .args(sampling)
                .args(["--input", &input])
                .args(model)
                .current_dir(folder.path())
                .output()
                .unwrap();
            assert!(done.status.success(), "{bench}: {}", String::from_utf8_lossy(&done.stderr));
            std::fs::read_to_string(folder.path().join(output)).unwrap()
        };
        let local = answers(&format!("{bench}-local.jsonl"), &["--model", "model"]);
        let served = answers(&format!("{bench}-served.jsonl"), &["--model", &url, "--model-name", "model"]);
        assert_eq!(local, served);
        assert!(local.len() > 60, "{local}");
        let record =
            std::fs::read_to_string(folder.path().join(format!("{bench}-served.jsonl.run.json"))).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&record).unwrap()["extensions_known"], true);
    }
    assert!(serving.end().0.status.success());
}

#[test]
fn a_served_model_uses_no_penalty_if_the_request_has_none() {
    let folder = tempfile::tempdir().unwrap();
    write_model(&folder.path().join("model"));
    let row = json!({ "prompt": "a kite a kite a kite a kite" });
    std::fs::write(folder.path().join("in.jsonl"), format!("{row}\n")).unwrap();
    let serving = Serving::start(folder.path(), None, &["--repetition-penalty", "1.03"]);
    let url = format!("http://{}/v1", serving.address);
    let answer = |output: &str, more: &[&str]| {
        let args = [
            "generate",
            "--input",
            "in.jsonl",
            "--output",
            output,
            "--max-tokens",
            "32",
            "--temperature",
            "0",
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_janus"));
        let done = command.args(args).args(more).current_dir(folder.path()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let row: Value =
            serde_json::from_str(&std::fs::read_to_string(folder.path().join(output)).unwrap()).unwrap();
        row["response"].clone()
    };
    let local = ["1", "1.03"].map(|penalty| {
        answer(&format!("{penalty}.jsonl"), &["--model", "model", "--repetition-penalty", penalty])
    });
    assert_ne!(local[0], local[1], "the penalty changes the answer");
    let served = ["--model", &url, "--model-name", "model"];
    assert_eq!(answer("served.jsonl", &served), local[0]);
    assert_eq!(
        answer("default.jsonl", &[&served[..], &["--extensions", "no"]].concat()),
        local[1],
        "the server's default"
    );
    assert!(serving.end().0.status.success());
}

#[test]
fn temperature_0_is_greedy_decoding_unless_the_server_was_started_with_a_penalty() {
    let folder = tempfile::tempdir().unwrap();
    write_model(&folder.path().join("model"));
    let content = |arguments: &[&str], fields: Value| {
        let serving = Serving::start(folder.path(), None, arguments);
        let mut body = json!({ "messages": [{ "role": "user", "content": "a kite a kite a kite a kite" }], "temperature": 0, "max_tokens": 32 });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let (status, answer) = serving.chat("", &body);
        assert_eq!(status, 200, "{answer}");
        assert!(serving.end().0.status.success());
        answer["choices"][0]["message"]["content"].clone()
    };
    let greedy = content(&[], json!({ "repetition_penalty": 1 }));
    assert_eq!(content(&[], json!({})), greedy);
    assert_ne!(content(&["--paper-sampling"], json!({})), greedy);
}
