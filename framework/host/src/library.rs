//! A plugin's library: what it says before it runs, loading it, and its entry.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use byoc_plugin::abi::{self, AbiStruct, section};
use byoc_plugin::table::PatternTable;
use byoc_plugin::{OptionKind, ThreadPolicy};

use crate::elf::{self, ElfError};
use crate::error::{LoadError, OptionError};
use crate::fp_mode::FpMode;
use crate::isolate::{Launch, Origin};
use crate::last_words::Watch;
use crate::version::HostVersion;

/// What a library says of itself, read without running any of its code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginFile {
    pub path: PathBuf,
    pub name: String,
    pub version: String,
    pub epoch: u32,
    pub minor: u32,
    /// TOML.
    pub pattern_table: String,
}

impl PluginFile {
    /// Reads the library's section. A library without one may have a pattern table of the same name beside it.
    pub fn read(path: &Path) -> Result<Self, LoadError> {
        let read_error = |source| LoadError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(read_error)?;
        if file.metadata().map_err(read_error)?.is_dir() {
            return Err(LoadError::NotALibrary { path: path.to_owned(), why: "it is a folder".to_owned() });
        }
        let contents =
            elf::inspect(&mut file, section::NAME, abi::ENTRY_SYMBOL).map_err(|error| match error {
                ElfError::Io(source) => read_error(source),
                ElfError::NotALibrary(why) => {
                    LoadError::NotALibrary { path: path.to_owned(), why: why.to_owned() }
                }
                ElfError::Architecture(found) => {
                    LoadError::WrongArchitecture { path: path.to_owned(), found }
                }
            })?;
        if !contents.has_symbol {
            return Err(LoadError::NoEntry { path: path.to_owned() });
        }
        match contents.section {
            Some(bytes) => {
                let broken = |error: section::SectionError| LoadError::Broken {
                    path: path.to_owned(),
                    why: error.to_string(),
                };
                let section::Section { epoch, minor, name, version, pattern_table } =
                    section::Section::decode(&bytes).map_err(broken)?;
                Ok(PluginFile { path: path.to_owned(), name, version, epoch, minor, pattern_table })
            }
            None => Self::from_table_beside(path),
        }
    }

    fn from_table_beside(path: &Path) -> Result<Self, LoadError> {
        let beside = path.with_extension("toml");
        let pattern_table = std::fs::read_to_string(&beside).map_err(|_| LoadError::Broken {
            path: path.to_owned(),
            why: format!("it has no {} section, and there is no {}", section::NAME, beside.display()),
        })?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (epoch, minor) = (abi::EPOCH, abi::MINOR);
        Ok(PluginFile { path: path.to_owned(), name, version: String::new(), epoch, minor, pattern_table })
    }

    /// Refuses a library of another epoch than this host's.
    pub fn check_epoch(&self) -> Result<(), LoadError> {
        match self.epoch {
            abi::EPOCH => Ok(()),
            theirs => Err(LoadError::Epoch { path: self.path.clone(), theirs, ours: abi::EPOCH }),
        }
    }

    /// Parses the pattern table.
    pub fn table(&self) -> Result<PatternTable, LoadError> {
        parse_table(&self.path, &self.pattern_table)
    }
}

fn parse_table(path: &Path, text: &str) -> Result<PatternTable, LoadError> {
    let file = path.file_name().unwrap_or(OsStr::new("plugin")).to_string_lossy();
    PatternTable::parse(&file, text).map_err(|source| LoadError::Table { path: path.to_owned(), source })
}

/// An option that a plugin has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionInfo {
    pub name: String,
    pub kind: OptionKind,
    pub default: String,
    pub help: String,
}

/// A loaded library. It is never unloaded, and loaded once however often it is asked for.
#[derive(Debug)]
pub struct Library {
    pub path: PathBuf,
    /// The plugin's own name; its vendor's is in the pattern table.
    pub name: String,
    pub version: String,
    pub table: PatternTable,
    pub options: Vec<OptionInfo>,
    pub threads: ThreadPolicy,
    /// The minor of the interface that both sides have.
    pub minor: u32,
    /// Several calls may be made at once.
    pub(crate) concurrent: bool,
    /// Without any function where the library is in a worker.
    pub(crate) raw: abi::PluginTable,
    /// The worker that has loaded it; none where this process has.
    pub(crate) origin: Option<Origin>,
}

/// Loaded libraries by canonical path: the dynamic linker's own registry is as wide as the process, too.
static LOADED: Mutex<Option<HashMap<PathBuf, Arc<Library>>>> = Mutex::new(None);

impl Library {
    /// How many bytes the plugin's table has, and which functions are in it.
    pub fn functions(&self) -> (u32, Vec<(&'static str, bool)>) {
        let raw = &self.raw;
        macro_rules! present {
            ($($name:ident),*) => { vec![$((stringify!($name), raw.$name.is_some())),*] };
        }
        let functions = present!(
            open,
            close,
            devices,
            check_match,
            check_region,
            compile,
            load,
            check_artefact,
            get_extension
        );
        (raw.head.struct_size, functions)
    }

    /// Loads a plugin's library, after a look at its file.
    pub fn load(path: &Path) -> Result<Arc<Library>, LoadError> {
        Library::load_under(path, HostVersion::Own)
    }

    /// As [`Library::load`], where the host shows itself to be of another version; a library keeps the first host
    /// that it has seen, so this is for a process of its own.
    pub fn load_under(path: &Path, version: HostVersion) -> Result<Arc<Library>, LoadError> {
        let canonical =
            path.canonicalize().map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = loaded.get_or_insert_default();
        if let Some(library) = loaded.get(&canonical) {
            return Ok(Arc::clone(library));
        }
        let watch = Watch::over(path);
        let entry = open_plugin(&canonical)?;
        let library = Arc::new(enter(&canonical, entry, version)?);
        drop(watch);
        loaded.insert(canonical, Arc::clone(&library));
        Ok(library)
    }

    /// Has a worker load a plugin's library, after a look at its file: none of its code runs in this process. Each call
    /// makes a worker.
    pub fn isolate(path: &Path, launch: &Launch) -> Result<Arc<Library>, LoadError> {
        let canonical =
            path.canonicalize().map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
        let file = PluginFile::read(&canonical)?;
        file.check_epoch()?;
        let table = file.table()?;
        let origin = Origin::load(&canonical, launch)?;
        let info = origin.info();
        Ok(Arc::new(Library {
            path: canonical,
            name: info.name.clone(),
            version: info.version.clone(),
            table,
            options: info.options(),
            // Whatever it computes on, it is none of this process's.
            threads: match info.threads {
                ThreadPolicy::Host => ThreadPolicy::Own(launch.threads),
                own => own,
            },
            minor: info.minor,
            concurrent: info.concurrent,
            raw: AbiStruct::empty(),
            origin: Some(origin),
        }))
    }

    /// All options of the plugin: the given ones, checked, and the defaults of the others.
    pub fn complete_options(&self, given: &[(String, String)]) -> Result<Vec<(String, String)>, OptionError> {
        let plugin = || self.table.vendor.name.clone();
        if let Some((name, _)) =
            given.iter().find(|(name, _)| !self.options.iter().any(|option| option.name == *name))
        {
            let names: Vec<String> = self.options.iter().map(|option| format!("`{}`", option.name)).collect();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(OptionError::Unknown { plugin: plugin(), name: name.clone(), known });
        }
        let complete = |option: &OptionInfo| {
            let value = given
                .iter()
                .rfind(|(name, _)| *name == option.name)
                .map_or(&option.default, |(_, value)| value);
            match expectation(option.kind, value) {
                None => Ok((option.name.clone(), value.clone())),
                Some(expected) => Err(OptionError::Value {
                    plugin: plugin(),
                    name: option.name.clone(),
                    expected,
                    value: value.clone(),
                }),
            }
        };
        self.options.iter().map(complete).collect()
    }
}

/// What the value should have been, where it is not.
fn expectation(kind: OptionKind, value: &str) -> Option<&'static str> {
    let (ok, expected) = match kind {
        OptionKind::String => (true, ""),
        OptionKind::Int => (value.parse::<i64>().is_ok(), "a whole number"),
        OptionKind::Float => (value.parse::<f64>().is_ok(), "a number"),
        OptionKind::Bool => (matches!(value, "true" | "false"), "`true` or `false`"),
    };
    (!ok).then_some(expected)
}

/// Opens the library, after a look at its file.
pub(crate) fn open_plugin(path: &Path) -> Result<abi::Entry, LoadError> {
    // A bare name would be looked for where the system keeps its libraries.
    let path = path.canonicalize().map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    PluginFile::read(&path)?.check_epoch()?;
    open(&path)
}

fn open(path: &Path) -> Result<abi::Entry, LoadError> {
    use libloading::os::unix::{Library as Unix, RTLD_LOCAL, RTLD_NOW};

    let fp_mode = FpMode::save();
    // SAFETY: a plugin's constructors run here; that it is a plugin, its section and its symbol say.
    let opened = unsafe { Unix::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
    drop(fp_mode);
    let library = opened.map_err(|error| {
        // What the system says: which library or symbol is missing.
        let said = std::error::Error::source(&error).map(ToString::to_string);
        LoadError::Open { path: path.to_owned(), why: said.unwrap_or_else(|| error.to_string()) }
    })?;
    // Never unloaded: threads, thread-locals and destructors of the plugin may outlive any moment we could choose.
    let library = Box::leak(Box::new(library));
    // SAFETY: the symbol has this type in every epoch.
    let entry = unsafe { library.get::<abi::Entry>(abi::ENTRY_SYMBOL.as_bytes()) };
    entry.map(|entry| *entry).map_err(|_| LoadError::NoEntry { path: path.to_owned() })
}

/// Calls the entry and reads the plugin's table.
fn enter(path: &Path, entry: abi::Entry, version: HostVersion) -> Result<Library, LoadError> {
    let broken = |why: &str| LoadError::Broken { path: path.to_owned(), why: why.to_owned() };
    let (minor, host) = version.host();
    let mut args = abi::EntryArgs { epoch: abi::EPOCH, minor, host, ..AbiStruct::empty() };
    let fp_mode = FpMode::save();
    // SAFETY: the arguments are as the interface says.
    let error = unsafe { entry(&mut args) };
    drop(fp_mode);
    // SAFETY: an error of ours, which the plugin has given up.
    if let Some(error) = unsafe { crate::host_table::take_error(error) } {
        return Err(broken(&format!("its entry fails: {}", error.message)));
    }
    if args.plugin.is_null() {
        return Err(match args.plugin_epoch {
            abi::EPOCH => broken("its entry gives no table"),
            theirs => LoadError::Epoch { path: path.to_owned(), theirs, ours: abi::EPOCH },
        });
    }
    // SAFETY: the table lives as long as the library.
    let raw =
        unsafe { abi::PluginTable::read(args.plugin) }.ok_or_else(|| broken("its table is too short"))?;
    if raw.required_features != 0 {
        // This host has none of the features beyond the basic ones yet.
        return Err(LoadError::Features { path: path.to_owned(), bits: raw.required_features });
    }
    if raw.compile.is_none() {
        return Err(broken("its table has no `compile`, and this host uses plugins for nothing but regions"));
    }
    // SAFETY: texts and options live as long as the library.
    let text = |text: abi::Str| unsafe { text.to_text() }.into_owned();
    // SAFETY: as above.
    let declared = unsafe { abi::slice(raw.options, raw.options_len) };
    let options = declared.iter().map(|option| {
        // SAFETY: as above.
        let option =
            unsafe { abi::OptionDecl::read(*option) }.ok_or_else(|| broken("an option is too short"))?;
        let kind = match option.kind {
            abi::OPTION_INT => OptionKind::Int,
            abi::OPTION_FLOAT => OptionKind::Float,
            abi::OPTION_BOOL => OptionKind::Bool,
            _ => OptionKind::String,
        };
        Ok(OptionInfo {
            name: text(option.name),
            kind,
            default: text(option.default_value),
            help: text(option.help),
        })
    });
    Ok(Library {
        path: path.to_owned(),
        name: text(raw.name),
        version: text(raw.version),
        table: parse_table(path, &text(raw.pattern_table))?,
        options: options.collect::<Result<_, _>>()?,
        threads: match raw.thread_policy {
            abi::THREADS_OWN => ThreadPolicy::Own(raw.own_threads),
            _ => ThreadPolicy::Host,
        },
        minor: args.agreed_minor,
        concurrent: raw.head.flags & abi::CONCURRENT != 0,
        raw,
        origin: None,
    })
}
