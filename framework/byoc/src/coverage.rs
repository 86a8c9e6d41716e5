//! What vendors take of a set of models, and what they lack, the most arithmetic first.

use std::path::{Path, PathBuf};

use byoc_partitioner::Obstacle;
use indexmap::IndexMap;
use serde::Serialize;

use crate::simple_page::{self, escape};
use crate::{
    Error, ModelOptions, Placement, PluginOptions, Policy, Timings, VendorSource, measure, partition_file,
};

/// Folders inside each other that are looked into.
const DEEPEST: usize = 8;

#[derive(Clone, Debug, Serialize)]
pub struct Coverage {
    pub models: Vec<ModelCoverage>,
    /// Models that could not be read or partitioned, and why.
    pub failed: Vec<(String, String)>,
    /// Of all models.
    pub flops: u64,
    pub missing: Vec<Missing>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ModelCoverage {
    pub path: String,
    pub nodes: usize,
    pub offloaded: usize,
    pub regions: usize,
    pub flops: u64,
    /// Share of the arithmetic that vendors take, where it is known.
    pub offloaded_flops: Option<f64>,
}

/// One reason that keeps nodes on the host, over all models.
#[derive(Clone, Debug, Serialize)]
pub struct Missing {
    pub models: usize,
    #[serde(flatten)]
    pub obstacle: Obstacle,
}

/// Partitions every model below a folder, or the one that is given instead.
pub fn coverage(
    folder: &Path,
    sources: &[VendorSource],
    options: &PluginOptions,
    seen: &dyn Fn(&Path),
) -> Result<Coverage, Error> {
    let mut paths = Vec::new();
    if folder.is_file() {
        paths.push(folder.to_owned());
    } else {
        find(folder, DEEPEST, &mut paths)?;
    }
    if paths.is_empty() {
        return Err(Error::Other(format!("{}: holds no .onnx and no .onnxtxt", folder.display())));
    }
    let mut done = Coverage { models: Vec::new(), failed: Vec::new(), flops: 0, missing: Vec::new() };
    let mut missing: IndexMap<String, Missing> = IndexMap::new();
    for path in paths {
        seen(&path);
        let inside = path.strip_prefix(folder).ok().filter(|inside| !inside.as_os_str().is_empty());
        let name = inside.unwrap_or(&path).display().to_string();
        if let Err(error) = look_at(&path, &name, sources, options, &mut done, &mut missing) {
            done.failed.push((name, error.to_string()));
        }
    }
    done.missing = missing.into_values().collect();
    for it in &mut done.missing {
        it.obstacle.share = (done.flops > 0).then(|| it.obstacle.flops as f64 / done.flops as f64);
    }
    done.missing.sort_by_key(|m| std::cmp::Reverse((m.obstacle.flops, m.obstacle.unknown, m.obstacle.nodes)));
    Ok(done)
}

/// Models in a folder and those inside, by name.
fn find(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Error> {
    let entries = std::fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut paths: Vec<PathBuf> =
        entries.map_err(|e| Error::file(folder, e))?.into_iter().map(|e| e.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() && depth > 0 {
            find(&path, depth - 1, found)?;
        } else if path.extension().is_some_and(|e| e == "onnx" || e == "onnxtxt") {
            found.push(path);
        }
    }
    Ok(())
}

fn look_at(
    path: &Path,
    name: &str,
    sources: &[VendorSource],
    options: &PluginOptions,
    done: &mut Coverage,
    missing: &mut IndexMap<String, Missing>,
) -> Result<(), Error> {
    let placement = Placement {
        policy: Some(Policy::Greedy),
        profile: measure::ProfileSource::None,
        ..Placement::default()
    };
    let placed = partition_file(
        path,
        &ModelOptions::default(),
        sources,
        options,
        &placement,
        &mut Timings::default(),
    )?;
    let map = placed.partition.road_map(&placed.model, &placed.tables);
    let summary = &placed.report.summary;
    done.flops = done.flops.saturating_add(map.flops);
    done.models.push(ModelCoverage {
        path: name.to_owned(),
        nodes: summary.nodes,
        offloaded: summary.offloaded,
        regions: summary.regions,
        flops: map.flops,
        offloaded_flops: summary.offloaded_flops,
    });
    for obstacle in map.obstacles {
        let Obstacle { vendor, op, kind, pattern, clause, .. } = &obstacle;
        let key = format!("{vendor}\n{op}\n{kind:?}\n{pattern:?}\n{clause:?}");
        let example = format!("{name}: {}", obstacle.example);
        match missing.get_mut(&key) {
            None => {
                let obstacle = Obstacle { example, ..obstacle };
                missing.insert(key, Missing { models: 1, obstacle });
            }
            Some(known) => {
                known.models += 1;
                known.obstacle.nodes += obstacle.nodes;
                known.obstacle.unknown += obstacle.unknown;
                known.obstacle.flops = known.obstacle.flops.saturating_add(obstacle.flops);
            }
        }
    }
    Ok(())
}

impl Coverage {
    /// Nodes that vendors take, of all nodes.
    pub fn nodes(&self) -> (usize, usize) {
        let sum = |count: fn(&ModelCoverage) -> usize| self.models.iter().map(count).sum();
        (sum(|m| m.offloaded), sum(|m| m.nodes))
    }

    /// Share of all arithmetic that vendors take, as far as it is known.
    pub fn share(&self) -> Option<f64> {
        let taken = |m: &ModelCoverage| m.offloaded_flops.unwrap_or(0.0) * m.flops as f64;
        (self.flops > 0).then(|| self.models.iter().map(taken).sum::<f64>() / self.flops as f64)
    }

    pub fn json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("coverage is plain data");
        json.push('\n');
        json
    }

    /// One page that asks nothing of any network.
    pub fn html(&self) -> String {
        let percent =
            |share: Option<f64>| share.map_or("unknown".to_owned(), |s| format!("{:.2} %", 100.0 * s));
        let models = self.models.iter().map(|m| {
            let taken = format!("{} of {}", m.offloaded, m.nodes);
            vec![m.path.clone(), taken, m.regions.to_string(), percent(m.offloaded_flops)]
        });
        let missing = self.missing.iter().map(|m| {
            let o = &m.obstacle;
            let lost = if o.unknown == o.nodes { "unknown".to_owned() } else { percent(o.share) };
            vec![
                o.op.clone(),
                o.nodes.to_string(),
                m.models.to_string(),
                lost,
                o.detail.clone(),
                o.example.clone(),
            ]
        });
        let (taken, all) = self.nodes();
        let mut body = format!(
            "<h1>Coverage</h1><p>{taken} of {all} nodes, {} of the arithmetic</p>",
            percent(self.share())
        );
        body += "<h2>What is missing, the most arithmetic first</h2>";
        body += &simple_page::table(
            &["operator", "nodes", "models", "arithmetic", "nearest miss", "for example"],
            missing,
        );
        body += "<h2>Models</h2>";
        body += &simple_page::table(&["model", "nodes taken", "regions", "arithmetic taken"], models);
        if !self.failed.is_empty() {
            body += "<h2>Not read</h2>";
            let failed = self.failed.iter().map(|(path, why)| vec![path.clone(), why.clone()]);
            body += &simple_page::table(&["model", "why"], failed);
        }
        simple_page::page(&escape("coverage"), &body)
    }
}
