//! Keeps a plugin in a worker: asks it, replaces it when it is lost, and gives it up when that happens again and again.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use byoc_plugin::{Category, Error};

use super::Launch;
use super::frame::Broken;
use super::message::{DeviceText, Info, Made, Reply, Request, device_id};
use super::process::{Line, Lost, Worker, lock, unexpected};
use super::weights::{Place, Store};
use crate::error::{LoadError, PluginError};
use crate::plugin::DeviceInfo;
use crate::region::OnnxSource;

/// The pause before the first replacement; each further one in a row waits four times as long.
const PAUSE: Duration = Duration::from_millis(50);
/// Losses at one call, with no success of it between, after which a plugin is given up.
const MOST_LOSSES: u32 = 3;
const REPLACED: &str = "its worker is being replaced";

/// Where an isolated library comes from, with the worker that has loaded it until a plugin is opened there.
pub(crate) struct Origin {
    launch: Launch,
    path: PathBuf,
    info: Info,
    first: Mutex<Option<Worker>>,
}

impl Origin {
    /// Has a worker load a library.
    pub fn load(path: &Path, launch: &Launch) -> Result<Origin, LoadError> {
        let failed = |why: String| LoadError::Worker { path: path.to_owned(), why };
        let worker = Worker::start(launch).map_err(|lost| failed(lost.to_string()))?;
        let loaded = load(&worker, path).map_err(|lost| failed(format!("{lost} while it was loaded")))?;
        match loaded {
            Ok(info) => {
                let (launch, path, first) = (launch.clone(), path.to_owned(), Mutex::new(Some(worker)));
                Ok(Origin { launch, path, info, first })
            }
            Err(message) => Err(LoadError::InWorker { message }),
        }
    }

    pub(crate) fn info(&self) -> &Info {
        &self.info
    }
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Origin({:?})", self.launch)
    }
}

/// What the library is, or why the worker cannot load it.
fn load(worker: &Worker, path: &Path) -> Result<Result<Info, String>, Lost> {
    let Some(text) = path.to_str() else { return Ok(Err(format!("{}: is no UTF-8", path.display()))) };
    match worker.control(&Request::Load { path: text.into() }, &[])? {
        Reply::Loaded(info) => Ok(Ok(info)),
        Reply::Refused(message) => Ok(Err(message)),
        _ => Err(worker.lose(unexpected())),
    }
}

pub(crate) struct Keeper {
    launch: Launch,
    path: PathBuf,
    vendor: String,
    options: Vec<(String, String)>,
    info: Info,
    state: Mutex<State>,
    /// The state has another phase.
    changed: Condvar,
    /// There are losses that a success could take back.
    has_losses: AtomicBool,
    store: Mutex<Store>,
    /// What a new worker has to compile, by executable.
    recipes: Mutex<BTreeMap<u64, Arc<Recipe>>>,
    executables: AtomicU64,
    restored: Mutex<Restored>,
}

/// What workers have cost so far that came after the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    pub workers: u32,
    /// Regions that they have loaded from artefacts.
    pub loaded: u32,
    /// Regions that they have compiled anew.
    pub compiled: u32,
}

struct State {
    phase: Phase,
    /// In a row, by what was asked.
    losses: HashMap<Subject, u32>,
}

enum Phase {
    Up(Arc<Worker>),
    /// Its replacement is on the way.
    Down,
    GivenUp(String),
}

/// A call, and the executable that it is of, or 0.
type Subject = (&'static str, u64);

/// How a compiled region is made again.
pub(super) struct Recipe {
    pub message: Vec<u8>,
    pub places: Vec<Place>,
    pub onnx: Option<OnnxSource>,
    pub made: Made,
    /// The message has an artefact in it.
    pub loads: bool,
    /// A message with the artefact, once there is one.
    pub artefact: OnceLock<Vec<u8>>,
}

impl Recipe {
    fn follow(&self, worker: &Worker, message: &[u8]) -> Result<Reply, Lost> {
        worker.converse(|line| {
            worker.show(line, &self.places)?;
            line.ask_encoded(message, self.onnx.as_ref())
        })
    }

    /// Whether the region is as it was before.
    fn is_made(&self, reply: Reply) -> Result<(), Lost> {
        match reply {
            Reply::Made(made) if made == self.made => Ok(()),
            Reply::Failed { error, .. } => Err(Lost::NotStarted(error.to_string())),
            _ => Err(Lost::NotStarted("it compiles a region otherwise than before".into())),
        }
    }
}

/// A question that has been encoded.
pub(super) struct Question<'a> {
    pub subject: Subject,
    pub message: &'a [u8],
    pub places: &'a [Place],
    pub onnx: Option<&'a OnnxSource>,
}

impl Keeper {
    /// Opens a plugin, in the worker that has loaded its library or in a new one.
    pub fn open(
        origin: &Origin,
        vendor: &str,
        options: &[(String, String)],
    ) -> Result<(Arc<Keeper>, Vec<DeviceInfo>), PluginError> {
        let mut keeper = Keeper {
            launch: origin.launch.clone(),
            path: origin.path.clone(),
            vendor: vendor.to_owned(),
            options: options.to_vec(),
            info: origin.info.clone(),
            state: Mutex::new(State { phase: Phase::Down, losses: HashMap::new() }),
            changed: Condvar::new(),
            has_losses: AtomicBool::new(false),
            store: Mutex::default(),
            recipes: Mutex::default(),
            executables: AtomicU64::new(1),
            restored: Mutex::default(),
        };
        let first = lock(&origin.first).take();
        let opened = first.map_or_else(|| keeper.start(), Ok).and_then(|worker| {
            let devices = keeper.open_in(&worker)?;
            Ok((worker, devices))
        });
        let (phase, devices) = match opened {
            Ok((worker, devices)) => {
                (Phase::Up(Arc::new(worker)), devices.map_err(|error| keeper.error("open", error))?)
            }
            // Its devices are not known, and it is never asked for one.
            Err(lost) => (Phase::GivenUp(format!("it cannot be opened: {lost}")), vec![DeviceText::host()]),
        };
        keeper.state.get_mut().unwrap_or_else(PoisonError::into_inner).phase = phase;
        let device = |d: DeviceText| DeviceInfo::in_host_memory(device_id(d.device), d.name, d.memory_bytes);
        Ok((Arc::new(keeper), devices.into_iter().map(device).collect()))
    }

    /// A worker that has loaded the library.
    fn start(&self) -> Result<Worker, Lost> {
        let worker = Worker::start(&self.launch)?;
        match load(&worker, &self.path)? {
            Ok(info) if info == self.info => Ok(worker),
            Ok(_) => Err(Lost::NotStarted(format!("{} is another library now", self.path.display()))),
            Err(message) => Err(Lost::NotStarted(message)),
        }
    }

    fn open_in(&self, worker: &Worker) -> Result<Result<Vec<DeviceText>, Error>, Lost> {
        match worker.control(&Request::Open { options: Cow::Borrowed(&self.options) }, &[])? {
            Reply::Opened { devices } => Ok(Ok(devices)),
            Reply::Failed { error, .. } => Ok(Err(error)),
            _ => Err(worker.lose(unexpected())),
        }
    }

    /// Why it cannot be called at the moment; `None` where it can.
    pub fn absence(&self) -> Option<String> {
        match &lock(&self.state).phase {
            Phase::Up(_) => None,
            Phase::Down => Some(REPLACED.to_owned()),
            Phase::GivenUp(why) => Some(why.clone()),
        }
    }

    pub fn is_given_up(&self) -> bool {
        matches!(lock(&self.state).phase, Phase::GivenUp(_))
    }

    pub(super) fn new_executable(&self) -> u64 {
        self.executables.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn store(&self) -> std::sync::MutexGuard<'_, Store> {
        lock(&self.store)
    }

    pub(super) fn keep(&self, id: u64, recipe: Recipe) {
        lock(&self.recipes).insert(id, Arc::new(recipe));
    }

    /// Has a region made of its artefact from now on.
    pub(super) fn keep_artefact(&self, id: u64, message: Vec<u8>) {
        if let Some(recipe) = lock(&self.recipes).get(&id).filter(|recipe| !recipe.loads) {
            // The first is as good as any.
            let _ = recipe.artefact.set(message);
        }
    }

    pub fn restored(&self) -> Restored {
        *lock(&self.restored)
    }

    /// Asks; waits where the worker is being replaced.
    pub(super) fn ask(self: &Arc<Self>, question: &Question<'_>) -> Result<Reply, PluginError> {
        let worker = self.wait(question.subject.0)?;
        let gone = self.store().take_gone();
        let asked = worker.converse(|line| {
            worker.forget(line, gone)?;
            worker.show(line, question.places)?;
            line.ask_encoded(question.message, question.onnx)
        });
        self.settle(&worker, question.subject, asked)
    }

    /// Talks with the worker, where there is one at the moment. The reply is `settle`d.
    pub(super) fn talk(
        self: &Arc<Self>,
        subject: Subject,
        body: impl FnOnce(&mut Line) -> Result<Reply, Broken>,
    ) -> Result<Reply, PluginError> {
        let up = match &lock(&self.state).phase {
            Phase::Up(worker) => Ok(Arc::clone(worker)),
            Phase::Down => Err(REPLACED.to_owned()),
            Phase::GivenUp(why) => Err(why.clone()),
        };
        let worker = up.map_err(|why| self.absent(subject.0, why))?;
        self.settle(&worker, subject, worker.converse(body))
    }

    /// Lets go of an executable.
    pub(super) fn destroy(self: &Arc<Self>, id: u64) {
        lock(&self.recipes).remove(&id);
        // A worker that is gone has destroyed it already.
        let _ = self.talk(("destroy", id), |line| line.ask(&Request::Destroy { id }, &[]));
    }

    fn settle(
        self: &Arc<Self>,
        worker: &Arc<Worker>,
        subject: Subject,
        asked: Result<Reply, Lost>,
    ) -> Result<Reply, PluginError> {
        let lost = match asked {
            Ok(Reply::Failed { error, .. }) if error.panicked => {
                worker.discard(Lost::Panicked(error.message))
            }
            Ok(Reply::Failed { error, refused }) => {
                self.succeeded(subject);
                return Err(PluginError { refused, ..self.error(subject.0, error) });
            }
            Ok(Reply::Refused(why)) => worker.lose(Broken::Malformed(why)),
            Ok(reply) => {
                self.succeeded(subject);
                return Ok(reply);
            }
            Err(lost) => lost,
        };
        self.lost(worker, subject, &lost);
        Err(self.lost_error(subject.0, &lost))
    }

    fn succeeded(&self, subject: Subject) {
        if self.has_losses.load(Ordering::Relaxed) {
            let mut state = lock(&self.state);
            state.losses.remove(&subject);
            self.has_losses.store(!state.losses.is_empty(), Ordering::Relaxed);
        }
    }

    /// Counts a lost worker once, and replaces it.
    fn lost(self: &Arc<Self>, worker: &Arc<Worker>, subject: Subject, lost: &Lost) {
        let mut state = lock(&self.state);
        if !matches!(&state.phase, Phase::Up(current) if Arc::ptr_eq(current, worker)) {
            return;
        }
        state.phase = Phase::Down;
        if let Some(pause) = self.count(&mut state, subject, lost) {
            let keeper = Arc::downgrade(self);
            let replace = move || replace(&keeper, pause);
            let spawned = std::thread::Builder::new().name("byoc-keeper".into()).spawn(replace);
            if let Err(error) = spawned {
                state.phase = Phase::GivenUp(format!("no thread can be started: {error}"));
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// How long to pause before the next worker; none where the plugin is given up.
    fn count(&self, state: &mut State, subject: Subject, lost: &Lost) -> Option<Duration> {
        let losses = state.losses.entry(subject).or_default();
        *losses += 1;
        let pause = PAUSE * 4u32.pow(*losses - 1);
        if *losses >= MOST_LOSSES {
            let why =
                format!("it is given up after {losses} losses in a row, the last in {}: {lost}", subject.0);
            state.phase = Phase::GivenUp(why);
            return None;
        }
        self.has_losses.store(true, Ordering::Relaxed);
        Some(pause)
    }

    /// A worker that is where the last one was.
    fn restore(&self) -> Result<Worker, Lost> {
        let worker = self.start()?;
        if let Err(error) = self.open_in(&worker)? {
            return Err(Lost::NotStarted(error.to_string()));
        }
        let recipes: Vec<Arc<Recipe>> = lock(&self.recipes).values().cloned().collect();
        let mut restored = Restored { workers: 1, ..Restored::default() };
        for recipe in recipes {
            let loaded = match recipe.artefact.get() {
                Some(message) => recipe.is_made(recipe.follow(&worker, message)?).is_ok(),
                None => false,
            };
            if !loaded {
                recipe.is_made(recipe.follow(&worker, &recipe.message)?)?;
            }
            let count = if loaded || recipe.loads { &mut restored.loaded } else { &mut restored.compiled };
            *count += 1;
        }
        let mut all = lock(&self.restored);
        all.workers += restored.workers;
        all.loaded += restored.loaded;
        all.compiled += restored.compiled;
        Ok(worker)
    }

    /// The worker, once there is one.
    fn wait(&self, call: &'static str) -> Result<Arc<Worker>, PluginError> {
        let mut state = lock(&self.state);
        loop {
            match &state.phase {
                Phase::Up(worker) => return Ok(Arc::clone(worker)),
                Phase::GivenUp(why) => return Err(self.absent(call, why.clone())),
                Phase::Down => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    pub(super) fn error(&self, call: &'static str, error: Error) -> PluginError {
        let plugin = self.vendor.clone();
        PluginError { plugin, call, error, refused: Vec::new(), lost: false }
    }

    fn lost_error(&self, call: &'static str, lost: &Lost) -> PluginError {
        self.absent(call, lost.to_string())
    }

    fn absent(&self, call: &'static str, why: String) -> PluginError {
        let error = Error::new(Category::Internal, why).retry();
        PluginError { lost: true, ..self.error(call, error) }
    }
}

/// Brings up a new worker, as long as somebody has the plugin.
fn replace(keeper: &Weak<Keeper>, mut pause: Duration) {
    loop {
        std::thread::sleep(pause);
        let Some(keeper) = keeper.upgrade() else { return };
        let restored = keeper.restore();
        let mut state = lock(&keeper.state);
        match restored {
            Ok(worker) => state.phase = Phase::Up(Arc::new(worker)),
            Err(lost) => {
                if let Some(next) = keeper.count(&mut state, ("restart", 0), &lost) {
                    pause = next;
                }
            }
        }
        let is_down = matches!(state.phase, Phase::Down);
        if !is_down {
            state.losses.remove(&("restart", 0));
        }
        drop(state);
        keeper.changed.notify_all();
        if !is_down {
            return;
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Phase::Up(worker) = &state.phase {
            worker.close();
        }
    }
}
