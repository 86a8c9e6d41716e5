//! Whole random graphs with a plugin's regions inside, until time is up or one fails.

use std::path::Path;
use std::time::{Duration, Instant};

use byoc_host::{PluginFile, search};
use byoc_partitioner::Trial;
use byoc_plugin::table::PatternTable;

use super::job::Job;
use super::runner::{Ended, Runner};
use super::{Verdict, case, save, table};
use crate::checks::Checks;
use crate::generate::{Choices, Found, Made, Searcher, compose};
use crate::random::Rng;
use crate::{Datum, Error, Model};

/// Parts of one graph.
const MOST_PARTS: i64 = 5;
/// Runs that shrinking may take.
const SHRINKING: usize = 150;

pub struct FuzzOptions {
    /// The words that start a child which answers as [`super::serve`] does.
    pub command: Vec<std::ffi::OsString>,
    /// The words that name the plugin, with its options, on a command line.
    pub call: String,
    pub limit: Duration,
    pub seconds: u64,
    pub seed: u64,
}

/// What fuzzing has come to.
#[derive(Clone, Debug, Default)]
pub struct Fuzzed {
    pub graphs: usize,
    /// Graphs of which the plugin took nothing.
    pub skipped: usize,
    pub failure: Option<Failure>,
}

#[derive(Clone, Debug)]
pub struct Failure {
    pub verdict: Verdict,
    pub detail: String,
    pub nodes: usize,
    /// The command that shows it again.
    pub repeat: String,
}

/// Makes graphs and has them computed; the first failure is shrunk, saved and ends it.
pub fn fuzz(plugin: &str, options: &FuzzOptions, folder: &Path) -> Result<Fuzzed, Error> {
    let table = PluginFile::read(&search::find(plugin)?)?.table()?;
    table.check(&Checks)?;
    let trial = Trial::new(&table);
    let mut rng = Rng::new(options.seed);
    let makers = makers(&table, &trial, &mut rng);
    if makers.is_empty() {
        return Err(Error::Other("no pattern of the plugin has a model to begin with".into()));
    }
    let mut runner = Runner::new(options.command.clone(), options.limit);
    let (start, mut done) = (Instant::now(), Fuzzed::default());
    while start.elapsed() < Duration::from_secs(options.seconds) {
        let Some(graph) = Graph::draw(&makers, &mut rng) else { continue };
        let ended = graph.run(&mut runner)?;
        done.graphs += 1;
        match ended.verdict {
            Verdict::Pass => {}
            Verdict::Skip => done.skipped += 1,
            _ => {
                done.failure = Some(graph.shrink(ended, &makers, &mut runner)?.tell(&options.call, folder)?);
                return Ok(done);
            }
        }
    }
    Ok(done)
}

/// A pattern with a model to begin with.
struct Maker<'t> {
    searcher: Searcher<'t>,
    first: Choices,
}

fn makers<'t>(table: &'t PatternTable, trial: &'t Trial, rng: &mut Rng) -> Vec<Maker<'t>> {
    let maker = |pattern: usize, rng: &mut Rng| {
        let searcher = Searcher::new(table, trial, pattern);
        let Ok(Found::Model(made)) = searcher.matching(rng) else { return None };
        Some(Maker { searcher, first: made.choices })
    };
    (0..table.patterns.len()).filter_map(|pattern| maker(pattern, rng)).collect()
}

/// Parts, by their makers, and how they are joined.
#[derive(Clone)]
struct Graph {
    parts: Vec<(usize, Made)>,
    seed: u64,
}

impl Graph {
    fn draw(makers: &[Maker<'_>], rng: &mut Rng) -> Option<Graph> {
        let mut parts = Vec::new();
        for _ in 0..rng.range(1, MOST_PARTS + 1) {
            let maker = rng.range(0, makers.len() as i64) as usize;
            let drawn = makers[maker].searcher.varied(&makers[maker].first, rng.range(0, 2) == 0, rng)?;
            parts.push((maker, drawn));
        }
        let graph = Graph { parts, seed: rng.next_u64() };
        graph.whole().is_some().then_some(graph)
    }

    fn whole(&self) -> Option<(Model, Vec<(String, Datum)>)> {
        let parts: Vec<Made> = self.parts.iter().map(|(_, made)| made.clone()).collect();
        compose(&parts, self.seed)
    }

    fn run(&self, runner: &mut Runner) -> Result<Ended, Error> {
        let Some((model, inputs)) = self.whole() else {
            return Ok(Ended { verdict: Verdict::Skip, detail: String::new() });
        };
        let folder = crate::files::scratch()?;
        save::save(folder.path(), &model, &inputs, &[])?;
        runner.run(&Job::Saved { folder: folder.path().to_owned() })
    }

    /// Fewer and simpler parts, as long as it fails in the same way.
    fn shrink(self, ended: Ended, makers: &[Maker<'_>], runner: &mut Runner) -> Result<Shrunk, Error> {
        let mut best = Shrunk { graph: self, ended };
        let mut left = SHRINKING;
        'simpler: loop {
            for graph in best.graph.simpler(makers) {
                if left == 0 {
                    return Ok(best);
                }
                left -= 1;
                let ended = graph.run(runner)?;
                if ended.verdict == best.ended.verdict {
                    best = Shrunk { graph, ended };
                    continue 'simpler;
                }
            }
            return Ok(best);
        }
    }

    fn simpler(&self, makers: &[Maker<'_>]) -> Vec<Graph> {
        let without = (0..self.parts.len()).filter(|_| self.parts.len() > 1).map(|gone| {
            let mut graph = self.clone();
            graph.parts.remove(gone);
            graph
        });
        let simplified = self.parts.iter().enumerate().flat_map(|(at, (maker, made))| {
            let searcher = &makers[*maker].searcher;
            let models =
                made.choices.simpler().into_iter().filter_map(|c| searcher.generator().repeat(&c).ok());
            let models = models.filter(|m| m.choices != made.choices && searcher.matches(&m.model));
            models.map(move |made| {
                let mut graph = self.clone();
                graph.parts[at].1 = made;
                graph
            })
        });
        without.chain(simplified).collect()
    }
}

struct Shrunk {
    graph: Graph,
    ended: Ended,
}

impl Shrunk {
    fn tell(&self, call: &str, folder: &Path) -> Result<Failure, Error> {
        let (model, inputs) = self.graph.whole().ok_or_else(|| Error::Other("the graph is gone".into()))?;
        let want = case::on_host(&model, &inputs)?;
        save::save(folder, &model, &inputs, &want)?;
        let folder = folder.display();
        let parts: Vec<String> = self.graph.parts.iter().map(|(_, made)| table::describe(made)).collect();
        Ok(Failure {
            verdict: self.ended.verdict,
            detail: format!("{}: {}", parts.join("; "), self.ended.detail),
            nodes: model.graph.node_count(),
            repeat: format!("byoc run {folder}/model.onnx {call} --data {folder}"),
        })
    }
}
