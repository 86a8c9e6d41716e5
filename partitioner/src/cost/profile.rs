//! Measured rates as a file, schema `byoc.profile/1` in TOML: one entry for each target, device, plugin
//! version and number of threads.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::rates::{Estimate, Link, Rates};

pub const PROFILE_SCHEMA: &str = "byoc.profile/1";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    pub schema: String,
    #[serde(default, rename = "target")]
    pub targets: Vec<TargetProfile>,
}

/// What was measured of the host or of one vendor.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetProfile {
    /// `host`, or a vendor's name.
    pub name: String,
    /// What it was measured on, as the machine or the plugin names it.
    #[serde(default)]
    pub device: String,
    /// The plugin's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Threads that the host had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Where its values lie; targets that name the same memory exchange them without a copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// Once per call of a region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch_us: Option<f64>,
    /// What a region costs the host beside: it hands over, finds its caches cold, and fuses less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch: Option<Estimate>,
    /// From host memory into its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_in: Option<Link>,
    /// From its memory into the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_out: Option<Link>,
    /// By operator (host) or pattern (vendor); `compute` and `memory` stand for all others, those with a
    /// compute-heavy operator and those without.
    #[serde(default)]
    pub rates: IndexMap<String, Rates>,
}

#[derive(Debug, Error, PartialEq)]
pub enum ProfileError {
    #[error("the profile cannot be read: {0}")]
    Syntax(String),
    #[error("the profile's schema is `{0}`; this version reads `{PROFILE_SCHEMA}`: measure again")]
    Schema(String),
    #[error("`{figure}` of target `{target}` is {value}; it has to be {wanted}")]
    Figure { target: String, figure: String, value: f64, wanted: &'static str },
    #[error("target `{0}` has two entries for one device, version and number of threads; remove one")]
    Twice(String),
}

impl Default for Profile {
    fn default() -> Profile {
        Profile { schema: PROFILE_SCHEMA.to_owned(), targets: Vec::new() }
    }
}

impl Profile {
    pub fn from_toml(text: &str) -> Result<Profile, ProfileError> {
        let profile: Profile =
            toml::from_str(text).map_err(|e| ProfileError::Syntax(e.to_string().trim_end().to_owned()))?;
        if profile.schema != PROFILE_SCHEMA {
            return Err(ProfileError::Schema(profile.schema));
        }
        for (i, target) in profile.targets.iter().enumerate() {
            target.check()?;
            if profile.targets[..i].iter().any(|t| t.key() == target.key()) {
                return Err(ProfileError::Twice(target.name.clone()));
            }
        }
        Ok(profile)
    }

    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a profile has string keys and plain numbers only")
    }

    /// Adds an entry, in the place of the one with the same key.
    pub fn put(&mut self, target: TargetProfile) {
        match self.targets.iter_mut().find(|t| t.key() == target.key()) {
            Some(same) => *same = target,
            None => self.targets.push(target),
        }
    }

    /// The entry for a target: its version and threads are those given, or not said. An exact one is
    /// preferred, then the first.
    pub fn target(
        &self,
        name: &str,
        version: Option<&str>,
        threads: Option<usize>,
    ) -> Option<&TargetProfile> {
        let fits = |t: &&TargetProfile| {
            let version_fits = t.version.is_none() || t.version.as_deref() == version;
            t.name == name && version_fits && (t.threads.is_none() || t.threads == threads)
        };
        let exactness = |t: &&TargetProfile| u8::from(t.version.is_some()) + u8::from(t.threads.is_some());
        self.targets.iter().filter(fits).rev().max_by_key(exactness)
    }
}

impl TargetProfile {
    fn key(&self) -> (&str, &str, Option<&str>, Option<usize>) {
        (&self.name, &self.device, self.version.as_deref(), self.threads)
    }

    fn check(&self) -> Result<(), ProfileError> {
        let fault = |figure: &str, value, wanted| ProfileError::Figure {
            target: self.name.clone(),
            figure: figure.to_owned(),
            value,
            wanted,
        };
        let time = |figure: &str, value: f64| {
            let good = value.is_finite() && value >= 0.0;
            if good { Ok(()) } else { Err(fault(figure, value, "finite and at least 0")) }
        };
        let rate = |figure: &str, value: f64| {
            let good = value.is_finite() && value > 0.0;
            if good { Ok(()) } else { Err(fault(figure, value, "finite and more than 0")) }
        };
        time("launch_us", self.launch_us.unwrap_or(0.0))?;
        let switch = self.switch.unwrap_or_default();
        time("switch.us", switch.us)?;
        time("switch.error", switch.error)?;
        for (name, link) in [("copy_in", self.copy_in), ("copy_out", self.copy_out)] {
            let Some(link) = link else { continue };
            time(&format!("{name}.fixed_us"), link.fixed_us)?;
            rate(&format!("{name}.gbps"), link.gbps.unwrap_or(1.0))?;
        }
        for (name, rates) in &self.rates {
            time(&format!("{name}.fixed_us"), rates.fixed_us.unwrap_or(0.0))?;
            rate(&format!("{name}.gflops"), rates.gflops.unwrap_or(1.0))?;
            rate(&format!("{name}.gbps"), rates.gbps.unwrap_or(1.0))?;
            time(&format!("{name}.error"), rates.error.unwrap_or(0.0))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
schema = "byoc.profile/1"
[[target]]
name = "acme"
version = "1.0"
threads = 2
memory = "acme:0"
launch_us = 3.0
switch = { us = 2.0, error = 0.5 }
copy_in = { fixed_us = 2.0, gbps = 8.0 }
[target.rates]
conv_relu = { gflops = 100.0, error = 0.2 }
memory = { gbps = 5.0 }
[[target]]
name = "acme"
"#;

    #[test]
    fn what_is_written_is_read() {
        let profile = Profile::from_toml(TEXT).unwrap();
        assert_eq!(Profile::from_toml(&profile.to_toml()), Ok(profile));
    }

    #[test]
    fn the_exact_entry_is_preferred_and_a_foreign_one_unused() {
        let profile = Profile::from_toml(TEXT).unwrap();
        let found = |version, threads| profile.target("acme", version, threads).unwrap().launch_us;
        assert_eq!(found(Some("1.0"), Some(2)), Some(3.0));
        assert_eq!(found(Some("1.1"), Some(2)), None);
        assert_eq!(profile.target("other", None, None), None);
    }

    #[test]
    fn bad_figures_and_unknown_keys_are_named() {
        let error = |from, to| Profile::from_toml(&TEXT.replace(from, to)).unwrap_err().to_string();
        assert!(error("launch_us = 3.0", "launch_us = -1.0").contains("`launch_us` of target `acme` is -1"));
        assert!(error("gflops = 100.0", "gflops = 0.0").contains("`conv_relu.gflops`"));
        assert!(error("error = 0.2", "error = -0.2").contains("`conv_relu.error`"));
        assert!(error("launch_us", "lunch_us").contains("lunch_us"));
        assert!(error("profile/1", "profile/2").contains("byoc.profile/2"));
    }
}
