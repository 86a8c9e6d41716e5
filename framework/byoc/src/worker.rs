//! Child processes that do one job after the other, and are ended where a job takes too long.
//!
//! Parent and child say one JSON value a line to each other. A plugin may print to standard output, too: an
//! answer begins a line of its own with [`MARK`], everything else is passed over.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;

const MARK: &str = "@byoc-answer ";

/// Bytes of a child's standard error that are kept for the reason of a crash.
const TAIL: usize = 4096;
/// How long its end is waited for: somebody that the child has started may hold the pipe open.
const DRAIN: Duration = Duration::from_secs(1);

/// A child that gives an `A` for every job.
pub(crate) struct Worker<A> {
    child: Child,
    jobs: ChildStdin,
    answers: Receiver<A>,
    errors: Errors,
}

/// The end of what a child says on standard error.
struct Errors {
    kept: Arc<Mutex<Vec<u8>>>,
    /// Disconnected once nothing more can come.
    drained: Receiver<()>,
}

/// What became of a job in a child.
pub(crate) enum Reply<A> {
    Answer(A),
    /// The child is gone.
    Lost(Lost),
}

/// How a child was lost.
#[derive(Clone, Debug)]
pub(crate) enum Lost {
    /// It ended by itself; `words` are its last on standard error.
    Crash { status: ExitStatus, words: String },
    /// It took longer than this and was ended.
    Hang(Duration),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lost::Crash { status, words } if words.is_empty() => write!(f, "it crashed ({status})"),
            Lost::Crash { status, words } => write!(f, "it crashed ({status}): {words}"),
            Lost::Hang(limit) => write!(f, "it took longer than {} s and was ended", limit.as_secs_f64()),
        }
    }
}

impl<A: DeserializeOwned + Send + 'static> Worker<A> {
    /// Starts a child from the words of its command line, with some variables of its environment set.
    pub fn start(command: &[OsString], environment: &[(&str, &str)]) -> Result<Worker<A>, Error> {
        let (program, words) =
            command.split_first().ok_or_else(|| Error::Other("the worker has no command".into()))?;
        let mut child = Command::new(program)
            .args(words)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| Error::file(program, e))?;
        let (Some(jobs), Some(output), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            unreachable!("all three are piped");
        };
        Ok(Worker { child, jobs, answers: read_answers(output), errors: keep_tail(stderr) })
    }

    /// Has a job done. A child that does not answer within `limit` is ended.
    pub fn run(&mut self, job: &impl Serialize, limit: Duration) -> Result<Reply<A>, Error> {
        let mut line = serde_json::to_vec(job).map_err(|e| Error::Other(e.to_string()))?;
        line.push(b'\n');
        // A child that is gone already shows when its answer is waited for.
        let _ = self.jobs.write_all(&line);
        match self.answers.recv_timeout(limit) {
            Ok(answer) => Ok(Reply::Answer(answer)),
            Err(RecvTimeoutError::Timeout) => {
                self.end()?;
                Ok(Reply::Lost(Lost::Hang(limit)))
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.end()?;
                Ok(Reply::Lost(Lost::Crash { status, words: self.last_words() }))
            }
        }
    }
}

impl<A> Worker<A> {
    fn end(&mut self) -> Result<ExitStatus, Error> {
        // Ending what has ended by itself is no failure.
        let _ = self.child.kill();
        self.child.wait().map_err(|e| Error::Other(format!("a worker cannot be waited for: {e}")))
    }

    /// The last lines of standard error.
    fn last_words(&self) -> String {
        // The child is gone; its words may still be in the pipe.
        let _ = self.errors.drained.recv_timeout(DRAIN);
        let errors = self.errors.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&errors);
        let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(3)..].join(" | ")
    }
}

impl<A> Drop for Worker<A> {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn read_answers<A: DeserializeOwned + Send + 'static>(output: ChildStdout) -> Receiver<A> {
    let (send, answers) = channel();
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let answer = line.strip_prefix(MARK.as_bytes()).map(serde_json::from_slice::<A>);
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
fn keep_tail(mut stderr: ChildStderr) -> Errors {
    let kept: Arc<Mutex<Vec<u8>>> = Arc::default();
    let (open, drained) = channel();
    let tail = kept.clone();
    std::thread::spawn(move || {
        let _open = open;
        let mut chunk = [0; TAIL];
        while let Ok(count @ 1..) = stderr.read(&mut chunk) {
            let mut kept = tail.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend_from_slice(&chunk[..count]);
            let surplus = kept.len().saturating_sub(TAIL);
            kept.drain(..surplus);
        }
    });
    Errors { kept, drained }
}

/// The child: does the jobs that come in until there are no more.
pub(crate) fn serve<J: DeserializeOwned, A: Serialize>(
    input: impl BufRead,
    mut output: impl Write,
    mut work: impl FnMut(J) -> A,
) -> io::Result<()> {
    for line in input.lines() {
        let answer = work(serde_json::from_str(&line?)?);
        // The line break in front ends what a plugin may have left unfinished.
        writeln!(output, "\n{MARK}{}", serde_json::to_string(&answer)?)?;
        output.flush()?;
    }
    Ok(())
}
