//! Frames on a Unix socket: a header, one message, and file descriptors beside it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

const MAGIC: [u8; 4] = *b"byoc";
const HEADER: usize = 12;
/// No message is longer.
const MOST: u64 = 1 << 30;
/// So much is read at once, and so much is reserved ahead of what has come.
const CHUNK: usize = 64 << 10;
/// So much of a message comes first; most end within it.
const FIRST: usize = 2 << 10;
/// Descriptors that one message may have.
const MOST_FDS: usize = 2;
/// Where the last wait was shorter than this, the next one asks again and again before it sleeps: to be woken takes
/// longer than many a region.
const SHORT: Duration = Duration::from_micros(100);

/// One end of a conversation in which both sides take turns.
pub(super) struct Channel {
    socket: UnixStream,
    /// The last frame in either direction, kept for its memory.
    buffer: Vec<u8>,
    /// Whether to ask for a while before sleeping.
    eager: bool,
    /// The other side can run while this one asks.
    beside: bool,
}

/// A message with its descriptors.
pub(super) type Received<T> = (T, Vec<OwnedFd>);

/// Why a conversation cannot go on.
#[derive(Debug, Error)]
pub(super) enum Broken {
    #[error("the other side is gone")]
    Gone,
    #[error("there was no answer in time")]
    Late,
    #[error("what came is no message: {0}")]
    Malformed(String),
    #[error("{0}")]
    Io(io::Error),
}

impl Channel {
    pub fn new(socket: UnixStream) -> Self {
        let beside = std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
        Channel { socket, buffer: Vec::new(), eager: false, beside }
    }

    /// How long the other side may take to send or to read something.
    pub fn set_limit(&self, limit: Duration) -> io::Result<()> {
        self.socket.set_read_timeout(Some(limit))?;
        self.socket.set_write_timeout(Some(limit))
    }

    pub fn send(&mut self, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> Result<(), Broken> {
        let mut frame = std::mem::take(&mut self.buffer);
        frame.clear();
        frame.resize(HEADER, 0);
        let frame = postcard::to_extend(message, frame).map_err(|e| Broken::Malformed(e.to_string()))?;
        self.send_frame(frame, fds)
    }

    /// Sends a message that [`encode`] has made.
    pub fn send_encoded(&mut self, message: &[u8]) -> Result<(), Broken> {
        let mut frame = std::mem::take(&mut self.buffer);
        frame.clear();
        frame.resize(HEADER, 0);
        frame.extend_from_slice(message);
        self.send_frame(frame, &[])
    }

    fn send_frame(&mut self, mut frame: Vec<u8>, fds: &[BorrowedFd<'_>]) -> Result<(), Broken> {
        let len = (frame.len() - HEADER) as u64;
        if len > MOST {
            return Err(Broken::Malformed(format!("a message of {len} bytes is too long")));
        }
        frame[..4].copy_from_slice(&MAGIC);
        frame[4..HEADER].copy_from_slice(&len.to_le_bytes());
        let (mut sent, mut fds) = (0, fds);
        while sent < frame.len() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
                return Err(Broken::Malformed("too many descriptors".into()));
            }
            let part = [IoSlice::new(&frame[sent..])];
            match sendmsg(&self.socket, &part, &mut control, SendFlags::NOSIGNAL) {
                Ok(count) => (sent, fds) = (sent + count, &[]),
                Err(Errno::INTR) => {}
                Err(error) => return Err(broken(error)),
            }
        }
        self.buffer = frame;
        Ok(())
    }

    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<Received<T>, Broken> {
        let mut fds = Vec::new();
        self.buffer.clear();
        self.wait(&mut fds)?;
        while self.buffer.len() < HEADER {
            self.receive_some(FIRST, &mut fds, RecvFlags::empty())?;
        }
        let (magic, len) = self.buffer[..HEADER].split_at(4);
        if magic != MAGIC {
            return Err(Broken::Malformed("it does not begin as one".into()));
        }
        let len = u64::from_le_bytes(len.try_into().expect("eight bytes"));
        if len > MOST {
            return Err(Broken::Malformed(format!("it would have {len} bytes")));
        }
        let end = HEADER + len as usize;
        while self.buffer.len() < end {
            self.receive_some((end - self.buffer.len()).min(CHUNK), &mut fds, RecvFlags::empty())?;
        }
        if self.buffer.len() > end {
            return Err(Broken::Malformed("something follows it out of turn".into()));
        }
        let message = postcard::from_bytes(&self.buffer[HEADER..]);
        Ok((message.map_err(|e| Broken::Malformed(e.to_string()))?, fds))
    }

    /// Waits for the beginning of a message.
    fn wait(&mut self, fds: &mut Vec<OwnedFd>) -> Result<(), Broken> {
        let start = Instant::now();
        while self.eager && start.elapsed() < SHORT {
            match self.receive_some(FIRST, fds, RecvFlags::DONTWAIT) {
                Err(Broken::Late) => std::thread::yield_now(),
                done => return done,
            }
        }
        let done = self.receive_some(FIRST, fds, RecvFlags::empty());
        self.eager = self.beside && start.elapsed() < SHORT;
        done
    }

    /// Appends what comes next, at most `most` bytes.
    fn receive_some(&mut self, most: usize, fds: &mut Vec<OwnedFd>, flags: RecvFlags) -> Result<(), Broken> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let start = self.buffer.len();
        self.buffer.resize(start + most, 0);
        let mut part = [IoSliceMut::new(&mut self.buffer[start..])];
        let received = recvmsg(&self.socket, &mut part, &mut control, flags | RecvFlags::CMSG_CLOEXEC);
        self.buffer.truncate(start + received.as_ref().map_or(0, |r| r.bytes));
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(more) = message {
                fds.extend(more);
            }
        }
        match received {
            Ok(received) if received.flags.contains(ReturnFlags::CTRUNC) || fds.len() > MOST_FDS => {
                Err(Broken::Malformed("it has too many descriptors".into()))
            }
            Ok(received) if received.bytes == 0 => Err(Broken::Gone),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(broken(error)),
        }
    }
}

/// A message for [`Channel::send_encoded`].
pub(super) fn encode(message: &impl Serialize) -> Result<Vec<u8>, Broken> {
    postcard::to_stdvec(message).map_err(|e| Broken::Malformed(e.to_string()))
}

fn broken(error: Errno) -> Broken {
    match error {
        Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN => Broken::Gone,
        Errno::AGAIN => Broken::Late,
        error => Broken::Io(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::*;

    fn pair() -> (Channel, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let channel = Channel::new(ours);
        channel.set_limit(Duration::from_millis(50)).unwrap();
        (channel, theirs)
    }

    #[test]
    fn messages_and_descriptors_arrive() {
        let (mut here, there) = pair();
        let mut there = Channel::new(there);
        let long = vec![7u8; 3 * CHUNK];
        let sender = std::thread::spawn(move || {
            let file = tempfile::tempfile().unwrap();
            there.send(&(1u32, "text", long), &[file.as_fd(), file.as_fd()]).unwrap();
        });
        let ((number, text, bytes), fds) = here.receive::<(u32, String, Vec<u8>)>().unwrap();
        sender.join().unwrap();
        assert_eq!((number, text.as_str(), bytes.len(), fds.len()), (1, "text", 3 * CHUNK, 2));
        assert!(matches!(here.receive::<u32>(), Err(Broken::Gone)));
    }

    /// Bytes that are sent, and part of what is said of them.
    #[test]
    fn malformed_frames_are_refused() {
        let frame = |len: u64, rest: &[u8]| [&MAGIC[..], &len.to_le_bytes(), rest].concat();
        let cases: [(Vec<u8>, &str); 6] = [
            (b"hello, world".to_vec(), "begin"),
            (frame(u64::MAX, &[]), "bytes"),
            (frame(MOST + 1, &[]), "bytes"),
            (frame(1, &[1, 2]), "out of turn"),
            // A string that claims to be longer than the message.
            (frame(3, &[0xff, 0xff, 0x7f]), "no message"),
            (frame(1 << 29, &[1, 2]), "in time"),
        ];
        for (bytes, expected) in cases {
            let (mut here, mut there) = pair();
            there.write_all(&bytes).unwrap();
            let error = here.receive::<String>().expect_err("it is no message").to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
