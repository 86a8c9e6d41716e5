//! The checks in their order.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use byoc_host::{HostVersion, PluginFile, search};
use byoc_partitioner::Trial;
use byoc_plugin::table::PatternTable;

use super::file::{self, Version};
use super::job::{Answer, Case, Job};
use super::numerics::{self, Setting};
use super::runner::{Ended, Runner};
use super::{Check, Results, Verdict, models, table};
use crate::checks::Checks;
use crate::generate::{Choices, Searcher};
use crate::random::Rng;
use crate::{Error, files};

/// Regions that are looked at over time.
const MOST_LIVES: usize = 6;
/// How much longer many rounds may take than one check.
const ROUNDS_LIMIT: u32 = 5;

pub struct Options {
    /// The words that start a child which answers as [`super::serve`] does.
    pub command: Vec<OsString>,
    /// The words that name the plugin, with its options, on a command line.
    pub call: String,
    pub limit: Duration,
    pub seed: u64,
    /// Regions of each pattern.
    pub cases: usize,
    pub rounds: usize,
    pub glibc: Option<Version>,
    /// Where failures are saved.
    pub save: PathBuf,
    /// Which checks run, by their labels.
    pub wanted: Box<dyn Fn(&str) -> bool>,
}

/// Makes every check of a plugin, given by path or name, and tells `seen` of each as it ends.
pub fn verify(plugin: &str, options: &Options, seen: &mut dyn FnMut(&Check)) -> Result<Results, Error> {
    let start = Instant::now();
    let path = search::find(plugin)?;
    let runner = Runner::new(options.command.clone(), options.limit);
    let mut plan = Plan { options, runner, checks: Vec::new(), seen, began: Instant::now() };
    plan.file(&path)?;
    if let Some(table) = plan.table(&path) {
        plan.all(&table)?;
    }
    Ok(Results::new(path.display().to_string(), options.seed, start.elapsed(), plan.checks))
}

/// Whether a plugin loads, in a child process; how it ended, and what was seen.
pub fn examine(command: Vec<OsString>, limit: Duration) -> Result<(Verdict, String), Error> {
    let Ended { verdict, detail } = Runner::new(command, limit).run(&Job::Load)?;
    Ok((verdict, detail))
}

/// What the plugin's table has, as seen by a child process.
pub fn interface(command: Vec<OsString>, limit: Duration) -> Result<(Verdict, String), Error> {
    let Ended { verdict, detail } = Runner::new(command, limit).run(&Job::Table)?;
    Ok((verdict, detail))
}

struct Plan<'a> {
    options: &'a Options,
    runner: Runner,
    checks: Vec<Check>,
    seen: &'a mut dyn FnMut(&Check),
    /// When the present check began.
    began: Instant,
}

impl Plan<'_> {
    fn is_wanted(&self, group: &str, name: &str) -> bool {
        (self.options.wanted)(&format!("{group}/{name}"))
    }

    fn end(&mut self, group: &str, name: &str, ended: Ended, repeat: Option<String>) -> Verdict {
        let Ended { verdict, detail } = ended;
        let ms = self.began.elapsed().as_secs_f64() * 1e3;
        let check = Check { group: group.into(), name: name.into(), verdict, detail, repeat, ms };
        if self.is_wanted(group, name) {
            (self.seen)(&check);
            self.checks.push(check);
        }
        self.began = Instant::now();
        verdict
    }

    fn answer(&mut self, group: &str, name: &str, answer: Answer) -> Verdict {
        let (verdict, detail) = match answer {
            Answer::Pass(detail) => (Verdict::Pass, detail),
            Answer::Fail(detail) => (Verdict::Fail, detail),
            Answer::Skip(detail) => (Verdict::Skip, detail),
        };
        self.end(group, name, Ended { verdict, detail }, None)
    }

    fn skip(&mut self, group: &str, name: &str, why: &str) -> Verdict {
        self.answer(group, name, Answer::Skip(why.into()))
    }

    /// A check that one job is, in a child of its own.
    fn job(&mut self, group: &str, name: &str, job: &Job) -> Result<Verdict, Error> {
        if !self.is_wanted(group, name) {
            return Ok(Verdict::Skip);
        }
        let ended = self.runner.run_afresh(job)?;
        Ok(self.end(group, name, ended, None))
    }

    fn file(&mut self, path: &Path) -> Result<(), Error> {
        if self.answer("file", "library", file::library(path)).is_bad() {
            return Ok(());
        }
        let glibc = self.options.glibc;
        self.answer("file", "needs", file::needs(path, glibc));
        self.answer("file", "exports", file::exports(path));
        Ok(())
    }

    /// The table as it lies in the file, where it is a good one.
    fn table(&mut self, path: &Path) -> Option<PatternTable> {
        let file = PluginFile::read(path).ok()?;
        let table = file.table().map_err(|e| e.to_string());
        let checked = table.and_then(|t| t.check(&Checks).map(|()| t).map_err(|e| e.to_string()));
        match checked {
            Ok(table) => {
                let count = table.patterns.len();
                self.answer("table", "parse", Answer::Pass(format!("{count} patterns")));
                Some(table)
            }
            Err(why) => {
                self.answer("table", "parse", Answer::Fail(why));
                None
            }
        }
    }

    fn all(&mut self, table: &PatternTable) -> Result<(), Error> {
        let trial = Trial::new(table);
        let searchers: Vec<Searcher<'_>> =
            (0..table.patterns.len()).map(|place| Searcher::new(table, &trial, place)).collect();
        let models = self.patterns(table, &searchers);
        let loads = self.runner.run_afresh(&Job::Load)?;
        let verdict = self.end("interface", "load", loads, None);
        if verdict != Verdict::Pass {
            return Ok(());
        }
        let mut good = Vec::new();
        for (place, (searcher, first)) in searchers.iter().zip(&models).enumerate() {
            good.extend(
                self.numerics(place, searcher, first.as_ref())?
                    .map(|choices| Case { pattern: place, choices }),
            );
        }
        self.models()?;
        self.interface(good.first())?;
        self.life(&good)
    }

    /// A model of each pattern, where there is one.
    fn patterns(&mut self, table: &PatternTable, searchers: &[Searcher<'_>]) -> Vec<Option<Choices>> {
        let mut models = Vec::new();
        for (searcher, pattern) in searchers.iter().zip(&table.patterns) {
            // Each pattern has chance of its own, so that a filter changes nothing.
            let mut rng = self.chance(&pattern.name);
            let (model, answer) = table::pattern(table, searcher, &mut rng);
            self.answer("table", &pattern.name, answer);
            for clause in 0..pattern.where_.len() {
                let name = format!("{}, clause {}", pattern.name, clause + 1);
                if let Some(near) = model.as_ref().filter(|_| self.is_wanted("table", &name)) {
                    let answer = table::clause(searcher, clause, near, &mut rng);
                    self.answer("table", &name, answer);
                }
            }
            models.push(model);
        }
        models
    }

    fn chance(&self, name: &str) -> Rng {
        Rng::new(self.options.seed ^ crate::random::fnv(name))
    }

    /// Regions of one pattern; the choices of one that is as it should be.
    fn numerics(
        &mut self,
        pattern: usize,
        searcher: &Searcher<'_>,
        first: Option<&Choices>,
    ) -> Result<Option<Choices>, Error> {
        let name = &searcher.generator().pattern.name;
        let Some(first) = first else {
            self.skip("numerics", name, "it has no model");
            return Ok(None);
        };
        if !self.is_wanted("numerics", name) && !self.is_wanted("life", "rounds") {
            return Ok(None);
        }
        let (call, save) = (self.options.call.as_str(), self.options.save.as_path());
        let setting = Setting { searcher, pattern, call, save, cases: self.options.cases };
        let mut rng = self.chance(name);
        let done = numerics::check(&setting, first, &mut rng, &mut self.runner)?;
        self.end("numerics", name, done.ended, done.repeat);
        Ok(done.good.into_iter().next())
    }

    fn models(&mut self) -> Result<(), Error> {
        for name in models::names()? {
            self.job("models", &name, &Job::Model { name: name.clone() })?;
        }
        Ok(())
    }

    fn interface(&mut self, case: Option<&Case>) -> Result<(), Error> {
        let version = |version| Job::HostVersion { version, case: case.cloned() };
        let jobs = [
            ("older host", version(HostVersion::Older)),
            ("newer host", version(HostVersion::Newer)),
            ("other epoch", Job::OtherEpoch),
            ("short host", Job::ShortHost),
            ("null arguments", Job::NullArguments),
            ("absurd arguments", Job::AbsurdArguments),
            ("unknown extension", Job::UnknownExtension),
        ];
        jobs.iter().try_for_each(|(name, job)| self.job("interface", name, job).map(drop))
    }

    fn life(&mut self, good: &[Case]) -> Result<(), Error> {
        let Some(first) = good.first() else {
            for name in ["rounds", "threads", "determinism", "artefact"] {
                self.skip("life", name, "no region was computed");
            }
            return Ok(());
        };
        let cases = good[..good.len().min(MOST_LIVES)].to_vec();
        if self.is_wanted("life", "rounds") {
            let job = Job::Rounds { cases: cases.clone(), count: self.options.rounds };
            let ended = self.runner.run_long(&job, ROUNDS_LIMIT)?;
            self.end("life", "rounds", ended, None);
        }
        self.job("life", "threads", &Job::Threads { case: first.clone() })?;
        self.job("life", "determinism", &Job::Determinism { cases: cases.clone() })?;
        self.artefacts(&cases)
    }

    fn artefacts(&mut self, cases: &[Case]) -> Result<(), Error> {
        if !self.is_wanted("life", "artefact") {
            return Ok(());
        }
        let regions = cases.len();
        let detail = format!("{regions} regions saved in one process and run in another");
        let mut ended = Ended { verdict: Verdict::Pass, detail };
        for case in cases {
            let done = self.artefact(case)?;
            if done.verdict != Verdict::Pass {
                ended = done;
                break;
            }
        }
        self.end("life", "artefact", ended, None);
        Ok(())
    }

    /// A region that one process saves and another runs.
    fn artefact(&mut self, case: &Case) -> Result<Ended, Error> {
        let folder = files::scratch()?;
        let (case, path) = (case.clone(), folder.path().to_owned());
        let save = Job::SaveArtefact { case: case.clone(), folder: path.clone() };
        let saved = self.runner.run_afresh(&save)?;
        match saved.verdict {
            Verdict::Pass => self.runner.run_afresh(&Job::LoadArtefact { case, folder: path }),
            _ => Ok(saved),
        }
    }
}
