//! What the process says where a library ends it while it is loaded; in programs that ask for it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use libc::c_int;

static WANTED: AtomicBool = AtomicBool::new(false);
/// The library that is being loaded, as the handler tells of it.
static LOADING: AtomicPtr<Vec<(c_int, String)>> = AtomicPtr::new(std::ptr::null_mut());

const SIGNALS: [(c_int, &str); 5] = [
    (libc::SIGABRT, "SIGABRT"),
    (libc::SIGSEGV, "SIGSEGV"),
    (libc::SIGBUS, "SIGBUS"),
    (libc::SIGILL, "SIGILL"),
    (libc::SIGFPE, "SIGFPE"),
];

/// From now on a library that ends this process while it is loaded is named on standard error, and the exit status is 1.
/// For programs alone on their process: handlers of signals are the process's own.
pub fn explain_crashes_while_loading() {
    WANTED.store(true, Ordering::Relaxed);
}

/// Lasts as long as a library is being loaded; one at a time.
pub(crate) struct Watch {
    before: Vec<(c_int, libc::sigaction)>,
    words: *mut Vec<(c_int, String)>,
}

impl Watch {
    /// `None` where nobody wants it.
    pub(crate) fn over(path: &Path) -> Option<Watch> {
        if !WANTED.load(Ordering::Relaxed) {
            return None;
        }
        let path = path.display();
        let say = |(signal, name): (c_int, &str)| {
            let text = format!(
                "error: {path}: ended this process while it was loaded ({name}); `byoc doctor` and `--isolate` load it \
                 in another\n"
            );
            (signal, text)
        };
        let words = Box::into_raw(Box::new(SIGNALS.map(say).to_vec()));
        LOADING.store(words, Ordering::SeqCst);
        // SAFETY: all zeros are an action without flags and an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = tell as *const () as usize;
        action.sa_flags = libc::SA_ONSTACK;
        let set = |(signal, _): (c_int, &str)| {
            // SAFETY: as above.
            let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
            // SAFETY: both actions are valid, and the handler calls only what a handler may.
            (unsafe { libc::sigaction(signal, &raw const action, &raw mut before) } == 0)
                .then_some((signal, before))
        };
        Some(Watch { before: SIGNALS.into_iter().filter_map(set).collect(), words })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for (signal, before) in &self.before {
            // SAFETY: the action is one that was in force.
            unsafe { libc::sigaction(*signal, &raw const *before, std::ptr::null_mut()) };
        }
        LOADING.store(std::ptr::null_mut(), Ordering::SeqCst);
        // SAFETY: made by `over`, and no handler reads it any more.
        drop(unsafe { Box::from_raw(self.words) });
    }
}

/// Writes the last words and ends the process: nothing else is safe in here.
extern "C" fn tell(signal: c_int) {
    // SAFETY: null, or words that stay while the handler is set.
    if let Some(words) = unsafe { LOADING.load(Ordering::SeqCst).as_ref() }
        && let Some((_, text)) = words.iter().find(|(of, _)| *of == signal)
    {
        // SAFETY: as many bytes as there are.
        unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
    }
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(1) }
}
