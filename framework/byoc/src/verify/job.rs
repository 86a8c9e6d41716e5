//! What a child process is asked to do, and its answer.

use std::io::{self, BufRead, Write};
use std::path::PathBuf;

use byoc_host::HostVersion;
use serde::{Deserialize, Serialize};

use super::{case, life, models};
use crate::generate::Choices;
use crate::{PluginOptions, VendorSource, worker};

/// A region: of which pattern, and which choices made its model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Case {
    pub pattern: usize,
    pub choices: Choices,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case")]
pub(super) enum Job {
    Load,
    /// What the plugin's table has.
    Table,
    /// Compute a region with the plugin and on the host.
    Case(Case),
    /// The same of a model that lies in a folder with its inputs.
    Saved {
        folder: PathBuf,
    },
    /// A region under a host of another version.
    HostVersion {
        version: HostVersion,
        case: Option<Case>,
    },
    OtherEpoch,
    ShortHost,
    NullArguments,
    AbsurdArguments,
    UnknownExtension,
    Model {
        name: String,
    },
    Rounds {
        cases: Vec<Case>,
        count: usize,
    },
    Threads {
        case: Case,
    },
    Determinism {
        cases: Vec<Case>,
    },
    SaveArtefact {
        case: Case,
        folder: PathBuf,
    },
    LoadArtefact {
        case: Case,
        folder: PathBuf,
    },
}

/// How a job ended, where it ended by itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "verdict", content = "detail", rename_all = "snake_case")]
pub(super) enum Answer {
    Pass(String),
    Fail(String),
    Skip(String),
}

impl From<Result<Answer, String>> for Answer {
    fn from(result: Result<Answer, String>) -> Answer {
        result.unwrap_or_else(Answer::Fail)
    }
}

/// The plugin that a child works with.
#[derive(Clone, Debug)]
pub struct Subject {
    pub plugin: String,
    pub options: PluginOptions,
}

impl Subject {
    pub(super) fn sources(&self) -> Vec<VendorSource> {
        vec![VendorSource::Plugin(self.plugin.clone())]
    }
}

/// The child: does the jobs that come in until there are no more.
pub fn serve(subject: &Subject, input: impl BufRead, output: impl Write) -> io::Result<()> {
    worker::serve(input, output, |job: Job| Answer::from(work(subject, &job)))
}

fn work(subject: &Subject, job: &Job) -> Result<Answer, String> {
    match job {
        Job::Load => case::load(subject),
        Job::Table => case::table(subject),
        Job::Case(case) => case::run(subject, case),
        Job::Saved { folder } => case::run_saved(subject, folder),
        Job::HostVersion { version, case } => case::run_under(subject, *version, case.as_ref()),
        Job::OtherEpoch => case::refused(subject, byoc_host::border::other_epoch),
        Job::ShortHost => case::refused(subject, byoc_host::border::short_host),
        Job::NullArguments => case::survived(subject, byoc_host::border::null_arguments),
        Job::AbsurdArguments => case::survived(subject, byoc_host::border::absurd_arguments),
        Job::UnknownExtension => case::unknown_extension(subject),
        Job::Model { name } => models::run(subject, name),
        Job::Rounds { cases, count } => life::rounds(subject, cases, *count),
        Job::Threads { case } => life::threads(subject, case),
        Job::Determinism { cases } => life::determinism(subject, cases),
        Job::SaveArtefact { case, folder } => life::save_artefact(subject, case, folder),
        Job::LoadArtefact { case, folder } => life::load_artefact(subject, case, folder),
    }
}
