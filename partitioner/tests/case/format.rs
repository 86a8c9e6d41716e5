//! A case as its file has it: a model, tables, and what must come out.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "how to run the model is for those who do")]
pub struct Case {
    pub name: String,
    pub about: String,
    pub model: Option<String>,
    pub model_file: Option<String>,
    pub tables: Vec<String>,
    #[serde(default)]
    pub args: Vec<String>,
    #[serde(default)]
    pub feed: BTreeMap<String, toml::Value>,
    #[serde(default)]
    pub skip: Vec<String>,
    #[serde(default)]
    pub big: bool,
    #[serde(default)]
    pub region: Vec<ExpectedRegion>,
    #[serde(default)]
    pub composite: Vec<ExpectedComposite>,
    #[serde(default)]
    pub reason: Vec<ExpectedReason>,
    #[serde(default)]
    pub expect: Expect,
}

impl Case {
    /// Whether it leaves open what comes out.
    pub fn states_nothing(&self) -> bool {
        let Case { region, composite, reason, expect, .. } = self;
        region.is_empty() && composite.is_empty() && reason.is_empty() && *expect == Expect::default()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedRegion {
    pub vendor: String,
    pub graph: Option<String>,
    pub nodes: Vec<String>,
    pub inputs: Option<Vec<String>>,
    pub outputs: Option<Vec<String>>,
    pub constants: Option<Vec<String>>,
    pub patterns: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedComposite {
    pub pattern: String,
    pub nodes: Vec<String>,
    pub vendor: Option<String>,
    #[serde(default)]
    pub bindings: BTreeMap<String, String>,
    #[serde(default)]
    pub unbound: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum OneOrMore {
    One(String),
    More(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedReason {
    pub node: String,
    pub kind: OneOrMore,
    pub vendor: Option<String>,
    pub graph: Option<String>,
    pub pattern: Option<String>,
    #[serde(default)]
    pub detail_contains: Vec<String>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    pub host: Option<Vec<String>>,
    pub host_includes: Vec<String>,
    pub region_count: Option<usize>,
    pub region_count_max: Option<usize>,
    pub region_names_match: Option<String>,
    pub more_regions: bool,
    pub max_model_bytes: Option<usize>,
    pub error_contains: Vec<String>,
    pub error_line: Option<usize>,
}
