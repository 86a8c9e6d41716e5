//! Finding the tests of a suite, and how far each may be off.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Error, Tolerance};

/// One test of a suite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Test {
    pub kind: String,
    pub name: String,
    pub folder: PathBuf,
    pub rtol: f64,
    pub atol: f64,
    /// See [`Tolerance::quanta`].
    pub quanta: u64,
}

/// The tests of a folder, by kind and then by name.
#[derive(Clone, Debug, Default)]
pub struct Suite {
    pub tests: Vec<Test>,
}

/// What a suite's `index.json` says of each test.
#[derive(Default, Deserialize)]
struct Index {
    tests: Vec<IndexEntry>,
}

#[derive(Deserialize)]
struct IndexEntry {
    name: String,
    kind: Option<String>,
    #[serde(flatten)]
    limits: Limits,
}

/// Tolerances as `index.json` and a test's `data.json` give them.
#[derive(Clone, Copy, Default, Deserialize)]
struct Limits {
    rtol: Option<f64>,
    atol: Option<f64>,
    quanta: Option<u64>,
}

impl Limits {
    fn or(self, other: Limits) -> Limits {
        Limits {
            rtol: self.rtol.or(other.rtol),
            atol: self.atol.or(other.atol),
            quanta: self.quanta.or(other.quanta),
        }
    }
}

impl Suite {
    /// Finds the tests below a folder; `fallback` holds for those whose tolerance the suite does not give.
    pub fn find(root: &Path, fallback: &Tolerance) -> Result<Suite, Error> {
        let root = root.canonicalize().map_err(|e| Error::file(root, e))?;
        let index = limits_by_test(&root)?;
        let mut tests = Vec::new();
        for kind in folders(&root)? {
            let kind_name = name_of(&kind);
            for folder in folders(&kind)? {
                let name = name_of(&folder);
                let own: Limits = read_json(&folder.join("data.json"))?.unwrap_or_default();
                let indexed = index.get(&(kind_name.clone(), name.clone())).copied().unwrap_or_default();
                let limits = own.or(indexed);
                tests.push(Test {
                    kind: kind_name.clone(),
                    name,
                    folder,
                    rtol: limits.rtol.unwrap_or(fallback.rtol),
                    atol: limits.atol.unwrap_or(fallback.atol),
                    quanta: limits.quanta.unwrap_or(fallback.quanta),
                });
            }
        }
        if tests.is_empty() {
            return Err(Error::Other(format!("{}: holds no <kind>/<test>/ folders", root.display())));
        }
        Ok(Suite { tests })
    }

    /// Keeps the tests whose `kind/name` satisfies a condition.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.tests.retain(|test| keep(&test.label()));
    }
}

impl Test {
    /// `kind/name`, by which a filter picks and a report names it.
    pub fn label(&self) -> String {
        format!("{}/{}", self.kind, self.name)
    }
}

fn limits_by_test(root: &Path) -> Result<HashMap<(String, String), Limits>, Error> {
    let index: Index = read_json(&root.join("index.json"))?.unwrap_or_default();
    let entries = index.tests.into_iter().map(|e| ((e.kind.unwrap_or_default(), e.name), e.limits));
    Ok(entries.collect())
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|e| Error::Other(format!("{}: {e}", path.display()))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::file(path, e)),
    }
}

/// The folders in a folder, sorted by name.
fn folders(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = entries.map_err(|e| Error::file(path, e))?;
    let mut found: Vec<PathBuf> = entries.into_iter().map(|e| e.path()).filter(|p| p.is_dir()).collect();
    found.sort();
    Ok(found)
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerances_come_from_the_test_then_the_index_then_the_caller() {
        let root = tempfile::tempdir().unwrap();
        for test in ["node/a", "node/b", "node/c"] {
            fs::create_dir_all(root.path().join(test)).unwrap();
        }
        let index = r#"{"tests": [{"name": "a", "kind": "node", "rtol": 0.5}, {"name": "b", "kind": "node", "rtol": 0.5}]}"#;
        fs::write(root.path().join("index.json"), index).unwrap();
        fs::write(root.path().join("node/a/data.json"), r#"{"rtol": 0.25, "url": "x"}"#).unwrap();
        let suite = Suite::find(root.path(), &Tolerance { rtol: 2.0, ..Tolerance::default() }).unwrap();
        let rtols: Vec<f64> = suite.tests.iter().map(|t| t.rtol).collect();
        assert_eq!(rtols, [0.25, 0.5, 2.0]);
    }

    #[test]
    fn a_folder_without_tests_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        assert!(Suite::find(root.path(), &Tolerance::default()).is_err());
        assert!(Suite::find(&root.path().join("nowhere"), &Tolerance::default()).is_err());
    }
}
