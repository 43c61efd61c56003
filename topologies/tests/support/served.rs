//! A run of the program that stays up with metrics. The test that has it says `mod cli` beside it.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use serde_json::Value;

use super::cli::millstream;

/// Longest wait for a run to be up, or to have ended: much more than either takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// A run that stays up.
pub(crate) struct Served {
    child: Child,
    address: String,
}

impl Served {
    /// The address stands on standard error once the run is done.
    pub(crate) fn start(words: &[&str]) -> Self {
        Self::start_into(Stdio::piped(), words)
    }

    pub(crate) fn start_into(stdout: Stdio, words: &[&str]) -> Self {
        let mut command = millstream(&[words, &["--json", "--serve", "127.0.0.1:0"]].concat());
        command.stdout(stdout).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let address = within(child.id(), || address_in(stderr));
        Self { child, address }
    }

    pub(crate) fn metrics(&self) -> String {
        let address = &self.address;
        let mut connection = std::net::TcpStream::connect(address).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        let request =
            format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Asks it to end; gives its report.
    pub(crate) fn end(self) -> Value {
        serde_json::from_slice(&self.terminate().stdout).unwrap()
    }

    pub(crate) fn terminate(self) -> Output {
        let (id, child) = (self.child.id(), self.child);
        signal("-TERM", id);
        let output = within(id, || child.wait_with_output().unwrap());
        assert_eq!(output.status.code(), Some(0));
        output
    }
}

fn address_in(stderr: ChildStderr) -> String {
    let mut stderr = BufReader::new(stderr);
    // A busy machine is warned of before.
    let mut said = String::new();
    loop {
        let line = said.len();
        assert_ne!(stderr.read_line(&mut said).unwrap(), 0, "{said}");
        if let Some(address) = said[line..].strip_prefix("metrics at http://") {
            return address.split('/').next().unwrap().to_owned();
        }
    }
}

/// What comes of it, for as long as the test has patience with the process.
fn within<T: Send + 'static>(process: u32, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = sync_channel(1);
    std::thread::spawn(move || {
        let _ = done.send(work());
    });
    wait.recv_timeout(PATIENCE).unwrap_or_else(|cause| {
        signal("-KILL", process);
        panic!("the run is not up, or has not ended: {cause}")
    })
}

fn signal(signal: &str, process: u32) {
    let id = process.to_string();
    let sent = Command::new("kill").args([signal, &id]).status();
    assert!(sent.unwrap().success());
}
