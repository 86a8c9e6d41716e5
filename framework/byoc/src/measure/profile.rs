//! The profile in the user's configuration, and what of it holds for the vendors and the machine at hand.

use std::path::{Path, PathBuf};

use byoc_partitioner::cost::{CostModel, Profile, TargetProfile};

use crate::vendors::Vendor;
use crate::{Error, files};

/// The name of the host among targets, and of its memory.
pub(crate) const HOST: &str = "host";

/// Where measured rates come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ProfileSource {
    /// The user's configuration, where there is a profile.
    #[default]
    Default,
    File(PathBuf),
    /// Nothing was measured.
    None,
}

/// `$XDG_CONFIG_HOME/byoc/profile.toml`, with the usual place where that is not set.
pub fn default_path() -> Option<PathBuf> {
    Some(user_folder("XDG_CONFIG_HOME", ".config")?.join("byoc/profile.toml"))
}

/// A folder of the user's as the XDG Base Directory Specification has it; a relative path counts as not set.
pub(crate) fn user_folder(variable: &str, default: &str) -> Option<PathBuf> {
    let set = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    set.or_else(|| Some(std::env::home_dir()?.join(default)))
}

/// Reads a profile.
pub fn read(path: &Path) -> Result<Profile, Error> {
    let bytes = std::fs::read(path).map_err(|e| Error::file(path, e))?;
    let fault = |why: String| Error::Other(format!("{}: {why}", path.display()));
    let text = String::from_utf8(bytes).map_err(|e| fault(format!("is not text: {e}")))?;
    Profile::from_toml(&text).map_err(|e| fault(e.to_string()))
}

/// Puts entries into the profile in a file, which may not be there yet; others that it has are kept.
pub fn write_merged(path: &Path, targets: &[TargetProfile]) -> Result<(), Error> {
    let mut profile = if path.exists() { read(path)? } else { Profile::default() };
    targets.iter().for_each(|target| profile.put(target.clone()));
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|e| Error::file(folder, e))?;
    }
    files::write_whole(path, profile.to_toml().as_bytes()).map_err(|e| Error::file(path, e))
}

impl ProfileSource {
    fn profile(&self) -> Result<Profile, Error> {
        match self {
            ProfileSource::None => Ok(Profile::default()),
            ProfileSource::File(path) => read(path),
            ProfileSource::Default => match default_path().filter(|path| path.exists()) {
                Some(path) => read(&path),
                None => Ok(Profile::default()),
            },
        }
    }
}

/// What is known of the vendors and the host: the entries that were measured on this machine and these devices,
/// and where vendors without an entry keep their values.
pub(crate) fn cost_model(
    source: &ProfileSource,
    vendors: &[Vendor],
    threads: usize,
) -> Result<CostModel, Error> {
    let mut profile = source.profile()?;
    let mut here: Vec<TargetProfile> = vendors.iter().map(identity).collect();
    here.push(host_identity());
    profile.targets.retain(|t| {
        let same = |h: &TargetProfile| h.name == t.name && (t.device.is_empty() || t.device == h.device);
        here.iter().any(same)
    });
    let mut model = CostModel::default();
    for target in here {
        let found = profile.target(&target.name, target.version.as_deref(), Some(threads));
        model.set(found.cloned().unwrap_or(target));
    }
    Ok(model)
}

/// An entry without figures: which device of which version of the vendor's plugin it is about.
pub(crate) fn identity(vendor: &Vendor) -> TargetProfile {
    let name = vendor.name().to_owned();
    let Some((plugin, device)) = vendor.on_device() else {
        return TargetProfile { name, ..TargetProfile::default() };
    };
    let memory = match device.has_memory() {
        true => format!("{name}: {}", device.name),
        false => HOST.to_owned(),
    };
    TargetProfile {
        name,
        device: device.name.clone(),
        version: Some(plugin.library().version.clone()),
        memory: Some(memory),
        ..TargetProfile::default()
    }
}

/// As [`identity`], of this machine.
pub(crate) fn host_identity() -> TargetProfile {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let device = model.map_or(std::env::consts::ARCH, |(_, name)| name.trim());
    TargetProfile {
        name: HOST.to_owned(),
        device: device.to_owned(),
        memory: Some(HOST.to_owned()),
        ..TargetProfile::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_others_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/profile.toml");
        let target = |name: &str, launch: f64| TargetProfile {
            name: name.into(),
            launch_us: Some(launch),
            ..TargetProfile::default()
        };
        write_merged(&path, &[target("a", 1.0), target("b", 2.0)]).unwrap();
        write_merged(&path, &[target("b", 3.0)]).unwrap();
        let launches: Vec<_> = read(&path).unwrap().targets.iter().map(|t| t.launch_us).collect();
        assert_eq!(launches, [Some(1.0), Some(3.0)]);
    }

    #[test]
    fn a_damaged_profile_is_named_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profile.toml");
        std::fs::write(&path, "schema = 3").unwrap();
        let error = write_merged(&path, &[]).unwrap_err().to_string();
        assert!(error.contains("profile.toml"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "schema = 3");
    }

    #[test]
    fn what_was_measured_on_another_machine_does_not_hold() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profile.toml");
        let elsewhere = TargetProfile { device: "elsewhere".into(), launch_us: Some(9.0), ..host_identity() };
        write_merged(&path, &[elsewhere]).unwrap();
        let source = ProfileSource::File(path.clone());
        let launch = |threads| cost_model(&source, &[], threads).unwrap().targets[HOST].launch_us;
        assert_eq!(launch(1), None);
        let here = TargetProfile { launch_us: Some(2.0), threads: Some(1), ..host_identity() };
        write_merged(&path, &[here]).unwrap();
        assert_eq!((launch(1), launch(2)), (Some(2.0), None));
    }
}
