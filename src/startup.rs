//! What a process finds out when it starts, kept in the cache: which graphics cards the drivers of this machine offer.
//! What a driver makes of shaders is `gpu`'s to keep, and what lies in a store of skycells is `ps1`'s.
//!
//! Asking the drivers means loading all of them. What they said last time holds as long as neither they nor what is
//! set for them in the environment have changed: all of that is in the key, so that a driver that is added counts.

use crate::cache::{Cache, ContentHash, Key, KeyBuilder, Kind, Operation, Origin};
use crate::gpu::{self, Adapter};
use rustix::fs::Access;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

const ADAPTERS: Operation = Operation { name: "adapters", version: 1 };

/// Beginnings of the names of variables that drivers and their loader obey.
const VARIABLES: [&str; 9] =
    ["VK_", "WGPU_", "MESA_", "LIBGL_", "DRI_PRIME", "NVIDIA_", "CUDA_", "LD_LIBRARY_PATH", "LD_PRELOAD"];
/// Where the Vulkan loader looks for drivers, below the data and configuration directories.
const MANIFESTS: &str = "vulkan/icd.d";
/// Where libraries lie that a manifest names without their folder; the list of the system's loader has the others.
const LIBRARIES: [&str; 5] =
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib"];
/// Files that change with the drivers: the system's list of libraries, the version of NVIDIA's module, and which start of
/// which machine this is, as many may share a home directory.
const FILES: [&str; 3] = ["/etc/ld.so.cache", "/proc/driver/nvidia/version", "/proc/sys/kernel/random/boot_id"];
/// Where the devices of the cards appear.
const DEVICES: [&str; 2] = ["/dev/dri", "/dev"];

/// All adapters, as [`gpu::list`] gives them.
pub fn adapters(cache: &Cache) -> Vec<Adapter> {
    let key = key_of_drivers();
    if let Some(adapters) = cache.get::<Vec<Adapter>>(Kind::StartUp, &key).value {
        return adapters;
    }
    let started = Instant::now();
    let adapters = gpu::list();
    // That there is no card may end with the next driver, in a place that nobody thought of.
    let is_negative = adapters.iter().all(Adapter::is_software);
    let origin = Origin { label: "graphics cards", took: started.elapsed(), is_negative, ..Origin::default() };
    cache.put(Kind::StartUp, &key, &adapters, &origin, None);
    adapters
}

/// Everything that decides what the drivers say.
fn key_of_drivers() -> Key {
    let mut key = KeyBuilder::new(ADAPTERS).text("program", env!("CARGO_PKG_VERSION"));
    let mut variables: Vec<(String, String)> = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .filter(|(name, _)| VARIABLES.iter().any(|start| name.starts_with(start)))
        .collect();
    variables.sort();
    for (name, value) in &variables {
        key = key.text("variable", name).text("value", value);
    }
    for manifest in manifests(&variables) {
        let text = fs::read_to_string(&manifest).unwrap_or_default();
        key = key.text("manifest", &manifest.to_string_lossy()).text("says", &text);
        key = key.text("library", &library_of(&manifest, &text).map_or_else(String::new, |path| state_of(&path)));
    }
    for file in FILES {
        let content = fs::read(file).map_or_else(|_| ContentHash::from([0; 32]), |bytes| ContentHash::of_bytes(&bytes));
        key = key.text("file", file).input("content", &content);
    }
    for directory in DEVICES {
        let is_card = |name: &String| directory != "/dev" || name.starts_with("nvidia");
        let mut names: Vec<String> = names_in(Path::new(directory)).into_iter().filter(is_card).collect();
        names.sort();
        let states: Vec<String> = names.iter().map(|name| openness_of(directory, name)).collect();
        key = key.text("devices", &states.join("/"));
    }
    key.finish()
}

/// The files that name drivers: those that the environment names, and all in the usual folders.
fn manifests(variables: &[(String, String)]) -> Vec<PathBuf> {
    let named = variables.iter().filter(|(name, _)| name.contains("DRIVER_FILES") || name == "VK_ICD_FILENAMES");
    let mut found: Vec<PathBuf> =
        named.flat_map(|(_, value)| std::env::split_paths(value).collect::<Vec<_>>()).collect();
    let list = |name: &str, usual: &str| std::env::var(name).unwrap_or_else(|_| usual.to_owned());
    let mut folders: Vec<PathBuf> = std::env::split_paths(&list("XDG_CONFIG_DIRS", "/etc/xdg")).collect();
    folders.extend(std::env::split_paths(&list("XDG_DATA_DIRS", "/usr/local/share:/usr/share")));
    folders.push("/etc".into());
    if let Ok(home) = std::env::var("HOME") {
        folders.extend([".config", ".local/share"].map(|folder| Path::new(&home).join(folder)));
    }
    for folder in folders {
        let folder = folder.join(MANIFESTS);
        let mut names = names_in(&folder);
        names.sort();
        found.extend(names.into_iter().map(|name| folder.join(name)));
    }
    found
}

/// The library that a manifest names, where it can be found.
fn library_of(manifest: &Path, text: &str) -> Option<PathBuf> {
    let json: Value = serde_json::from_str(text).ok()?;
    let named = Path::new(json["ICD"]["library_path"].as_str()?).to_path_buf();
    let beside = manifest.parent().map(|folder| folder.join(&named));
    let usual = LIBRARIES.iter().map(|folder| Path::new(folder).join(&named));
    beside.into_iter().chain(usual).find(|path| path.exists())
}

/// What changes when a file is replaced.
fn state_of(path: &Path) -> String {
    fs::metadata(path).map_or_else(
        |_| String::new(),
        |found| format!("{} {} {} {} {}", found.dev(), found.ino(), found.size(), found.ctime(), found.ctime_nsec()),
    )
}

/// A device, and whether this user may open it: drivers leave out what they cannot open, until the user joins the
/// group `render`.
fn openness_of(directory: &str, name: &str) -> String {
    let wanted = Access::READ_OK | Access::WRITE_OK;
    let may_open = rustix::fs::access(Path::new(directory).join(name), wanted).is_ok();
    format!("{name} {}", if may_open { "open" } else { "closed" })
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Lookup, Settings};

    #[test]
    fn adapters_are_those_of_the_drivers_and_are_found_again() {
        let cache = Cache::open(Settings { directory: None, most_bytes: 0, ttl: None, paranoid: false });
        let first = adapters(&cache);
        assert_eq!(first, gpu::list());
        assert_eq!(cache.find::<Vec<Adapter>>(Kind::StartUp, &key_of_drivers()).lookup, Lookup::Hit);
        assert_eq!(adapters(&cache), first);
    }

    #[test]
    fn a_device_that_the_user_may_open_is_another_key() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().to_str().unwrap();
        assert_eq!(openness_of(there, "renderD128"), "renderD128 closed");
        fs::write(folder.path().join("renderD128"), "").unwrap();
        assert_eq!(openness_of(there, "renderD128"), "renderD128 open");
    }

    #[test]
    fn a_manifest_names_its_library_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("libcard.so"), "").unwrap();
        let manifest = folder.path().join("card.json");
        let text = r#"{"ICD": {"library_path": "./libcard.so"}}"#;
        let library = library_of(&manifest, text).unwrap();
        let before = state_of(&library);
        assert!(!before.is_empty());
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(&library, "new").unwrap();
        assert_ne!(state_of(&library), before);
        assert_eq!(library_of(&manifest, "not a manifest"), None);
    }
}
