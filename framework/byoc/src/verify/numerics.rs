//! Random regions of a pattern, by the plugin and by the host; what fails is shrunk, saved and told.

use std::path::{Path, PathBuf};

use super::job::{Case, Job};
use super::runner::{Ended, Runner};
use super::{Verdict, case, save, table};
use crate::Error;
use crate::generate::{Choices, Made, Searcher};
use crate::random::Rng;

/// Runs that shrinking may take: of what differs, crashes (each costs a process) and hangs (each costs the limit).
const SHRINKING: [(Verdict, usize); 3] = [(Verdict::Fail, 200), (Verdict::Crash, 30), (Verdict::Hang, 6)];

/// Regions that are made for each that is wanted, where the plugin refuses some.
const MOST_SKIPPED: usize = 5;

/// What came of a pattern.
pub(super) struct Numerics {
    pub ended: Ended,
    pub repeat: Option<String>,
    /// Choices of regions that are as they should be.
    pub good: Vec<Choices>,
}

pub(super) struct Setting<'a> {
    pub searcher: &'a Searcher<'a>,
    pub pattern: usize,
    /// As a command line names the plugin.
    pub call: &'a str,
    /// Where what fails is written.
    pub save: &'a Path,
    pub cases: usize,
}

/// Draws regions around one that the pattern matches, until one fails.
pub(super) fn check(
    setting: &Setting<'_>,
    first: &Choices,
    rng: &mut Rng,
    runner: &mut Runner,
) -> Result<Numerics, Error> {
    let (mut good, mut skipped, mut why_skipped) = (Vec::new(), 0, String::new());
    for index in 0..setting.cases * MOST_SKIPPED {
        if good.len() == setting.cases {
            break;
        }
        // Near what the plugin takes there is more that it takes.
        let near = good.last().unwrap_or(first);
        let made = match index {
            0 => setting.searcher.generator().repeat(first).ok(),
            _ => setting.searcher.varied(near, index % 2 == 1, rng),
        };
        let Some(made) = made else { continue };
        let ended = setting.run(&made.choices, runner)?;
        match ended.verdict {
            Verdict::Pass => good.push(made.choices),
            Verdict::Skip => {
                skipped += 1;
                why_skipped = ended.detail;
            }
            _ => {
                let (made, ended) = setting.shrink(made, ended, runner)?;
                let (detail, repeat) = setting.tell(&made, &ended)?;
                return Ok(Numerics { ended: Ended { detail, ..ended }, repeat: Some(repeat), good });
            }
        }
    }
    let count = good.len();
    let (verdict, detail) = match (count, skipped) {
        (0, _) => (Verdict::Skip, format!("no region was computed: {why_skipped}")),
        (_, 0) => (Verdict::Pass, format!("{count} regions")),
        _ => (Verdict::Pass, format!("{count} regions; {skipped} were refused or skipped: {why_skipped}")),
    };
    Ok(Numerics { ended: Ended { verdict, detail }, repeat: None, good })
}

impl Setting<'_> {
    fn run(&self, choices: &Choices, runner: &mut Runner) -> Result<Ended, Error> {
        runner.run(&Job::Case(Case { pattern: self.pattern, choices: choices.clone() }))
    }

    /// The simplest model found that fails in the same way.
    fn shrink(&self, made: Made, ended: Ended, runner: &mut Runner) -> Result<(Made, Ended), Error> {
        let (mut made, mut ended) = (made, ended);
        let budget = SHRINKING.iter().find(|(verdict, _)| *verdict == ended.verdict).map_or(0, |(_, n)| *n);
        let mut left = budget;
        'simpler: loop {
            for choices in made.choices.simpler() {
                let Ok(simpler) = self.searcher.generator().repeat(&choices) else { continue };
                if simpler.choices == made.choices || !self.searcher.matches(&simpler.model) {
                    continue;
                }
                if left == 0 {
                    return Ok((made, ended));
                }
                left -= 1;
                let again = self.run(&simpler.choices, runner)?;
                if again.verdict == ended.verdict {
                    (made, ended) = (simpler, again);
                    continue 'simpler;
                }
            }
            return Ok((made, ended));
        }
    }

    /// Saves the failure; what it is, and the command that repeats it.
    fn tell(&self, made: &Made, ended: &Ended) -> Result<(String, String), Error> {
        let folder = self.folder();
        let want = case::on_host(&made.model, &made.inputs)?;
        save::save(&folder, &made.model, &made.inputs, &want)?;
        let folder = folder.display();
        let repeat = format!("byoc run {folder}/model.onnx {} --data {folder}", self.call);
        Ok((format!("{}: {}", table::describe(made), ended.detail), repeat))
    }

    /// A folder by the pattern's name.
    fn folder(&self) -> PathBuf {
        let word = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        self.save.join(self.searcher.generator().pattern.name.chars().map(word).collect::<String>())
    }
}
