//! A child process that runs tests one after the other, and is ended where one takes too long.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Test;
use super::protocol::{Answer, MARK};
use crate::Error;

/// Bytes of a child's standard error that are kept for the reason of a crash.
const TAIL: usize = 4096;

pub(super) struct Worker {
    child: Child,
    tests: ChildStdin,
    answers: Receiver<Answer>,
    errors: Arc<Mutex<Vec<u8>>>,
}

/// What became of a test in a child.
pub(super) enum Reply {
    Answer(Answer),
    /// The child is gone, for this reason.
    Lost(String),
}

impl Worker {
    /// Starts a child from the words of its command line.
    pub fn start(command: &[OsString]) -> Result<Worker, Error> {
        let (program, words) =
            command.split_first().ok_or_else(|| Error::Other("the worker has no command".into()))?;
        let mut child = Command::new(program)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| Error::file(program, e))?;
        let (Some(tests), Some(output), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            unreachable!("all three are piped");
        };
        let errors = Arc::new(Mutex::new(Vec::new()));
        Ok(Worker { child, tests, answers: read_answers(output), errors: keep_tail(stderr, errors.clone()) })
    }

    /// Has a test run. A child that does not answer within `limit` is ended.
    pub fn run(&mut self, test: &Test, limit: Duration) -> Result<Reply, Error> {
        let mut line = serde_json::to_vec(test).map_err(|e| Error::Other(e.to_string()))?;
        line.push(b'\n');
        // A child that is gone already shows when its answer is waited for.
        let _ = self.tests.write_all(&line);
        match self.answers.recv_timeout(limit) {
            Ok(answer) => Ok(Reply::Answer(answer)),
            Err(RecvTimeoutError::Timeout) => {
                self.end()?;
                Ok(Reply::Lost(format!("it took longer than {} s and was ended", limit.as_secs_f64())))
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.end()?;
                Ok(Reply::Lost(format!("it crashed ({status}){}", self.last_words())))
            }
        }
    }

    fn end(&mut self) -> Result<ExitStatus, Error> {
        // Ending what has ended by itself is no failure.
        let _ = self.child.kill();
        self.child.wait().map_err(|e| Error::Other(format!("a worker cannot be waited for: {e}")))
    }

    /// The last lines of standard error.
    fn last_words(&self) -> String {
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&errors);
        let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
        match lines.as_slice() {
            [] => String::new(),
            lines => format!(": {}", lines[lines.len().saturating_sub(3)..].join(" | ")),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn read_answers(output: ChildStdout) -> Receiver<Answer> {
    let (send, answers) = channel();
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let answer = line.strip_prefix(MARK.as_bytes()).map(serde_json::from_slice::<Answer>);
            if let Some(Ok(answer)) = answer
                && send.send(answer).is_err()
            {
                return;
            }
            line.clear();
        }
    });
    answers
}

/// Drains standard error, so that the child never waits for a reader, and keeps its end.
fn keep_tail(mut stderr: ChildStderr, kept: Arc<Mutex<Vec<u8>>>) -> Arc<Mutex<Vec<u8>>> {
    let tail = kept.clone();
    std::thread::spawn(move || {
        let mut chunk = [0; TAIL];
        while let Ok(count @ 1..) = stderr.read(&mut chunk) {
            let mut kept = tail.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend_from_slice(&chunk[..count]);
            let surplus = kept.len().saturating_sub(TAIL);
            kept.drain(..surplus);
        }
    });
    kept
}
