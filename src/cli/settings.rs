//! Where the settings of the cache come from: options, then the environment, then a file, then what is built in.

use super::args::Common;
use crate::cache::{Cache, DEFAULT_MOST_BYTES, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::units::ByteSize;
use etcetera::BaseStrategy;
use serde::Deserialize;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const DIRECTORY: &str = "SKYCACHE_CACHE_DIR";
const MOST_MB: &str = "SKYCACHE_CACHE_MAX_SIZE_MB";
const TTL_HOURS: &str = "SKYCACHE_CACHE_TTL_HOURS";
/// Names another file than the one in the platform's configuration directory.
const CONFIG: &str = "SKYCACHE_CONFIG";

/// What an empty store takes up, and some entries.
const LEAST_BYTES: u64 = 1_000_000;

/// A value and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting<T> {
    pub value: T,
    pub origin: Origin,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Option(&'static str),
    Environment(&'static str),
    File(PathBuf),
    BuiltIn,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option(name) => f.write_str(name),
            Self::Environment(name) => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::BuiltIn => f.write_str("default"),
        }
    }
}

/// All settings of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    pub enabled: Setting<bool>,
    pub directory: Setting<Option<PathBuf>>,
    pub most_bytes: Setting<u64>,
    /// `None`: as each kind has it.
    pub ttl: Setting<Option<Duration>>,
}

/// The file: `[cache]` with these members.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    cache: InFile,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct InFile {
    enabled: Option<bool>,
    dir: Option<PathBuf>,
    max_size_mb: Option<f64>,
    ttl_hours: Option<f64>,
}

impl Explained {
    /// The settings of this process.
    ///
    /// # Errors
    /// [`ErrorKind::Parameter`] for a value that makes no sense, wherever it comes from.
    pub fn find(common: &Common) -> Result<Self> {
        let environment = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let base = etcetera::choose_base_strategy().ok();
        let named = environment(CONFIG).map(PathBuf::from);
        let in_base = base.as_ref().map(|base| base.config_dir().join("skycache-gpu").join("config.toml"));
        let file = match (named, in_base) {
            (Some(path), _) => Some((read(&path)?, path)),
            (None, Some(path)) if path.exists() => Some((read(&path)?, path)),
            _ => None,
        };
        let platform = base.map(|base| base.cache_dir().join("skycache-gpu"));
        Self::choose(common, environment, file, platform.filter(|_| cfg!(feature = "rocksdb")))
    }

    fn choose(
        common: &Common,
        environment: impl Fn(&str) -> Option<OsString>,
        file: Option<(InFile, PathBuf)>,
        platform: Option<PathBuf>,
    ) -> Result<Self> {
        let (in_file, path) = file.unwrap_or_default();
        let from_file = || Origin::File(path.clone());
        let number = |name: &'static str| {
            let parse = |text: OsString| {
                let text = text.to_string_lossy();
                positive(text.trim().parse().ok(), name, &text)
            };
            environment(name).map(parse).transpose()
        };
        let enabled = match (common.no_cache, in_file.enabled) {
            (true, _) => Setting { value: false, origin: Origin::Option("--no-cache") },
            (false, Some(value)) => Setting { value, origin: from_file() },
            (false, None) => Setting { value: true, origin: Origin::BuiltIn },
        };
        let directory = match (&common.cache_dir, environment(DIRECTORY), in_file.dir) {
            (Some(path), _, _) => Setting { value: Some(path.clone()), origin: Origin::Option("--cache-dir") },
            (None, Some(path), _) => Setting { value: Some(path.into()), origin: Origin::Environment(DIRECTORY) },
            (None, None, Some(path)) => Setting { value: Some(path), origin: from_file() },
            (None, None, None) => Setting { value: platform, origin: Origin::BuiltIn },
        };
        let in_file_number = |value: Option<f64>, name: &str| {
            value
                .map(|value| positive(Some(value), name, &value.to_string()).map_err(|error| error.file(&path)))
                .transpose()
        };
        let most_bytes =
            match (common.cache_max_size, number(MOST_MB)?, in_file_number(in_file.max_size_mb, "max_size_mb")?) {
                (Some(ByteSize(value)), _, _) => Setting { value, origin: Origin::Option("--cache-max-size") },
                (None, Some(mb), _) => Setting { value: bytes(mb), origin: Origin::Environment(MOST_MB) },
                (None, None, Some(mb)) => Setting { value: bytes(mb), origin: from_file() },
                (None, None, None) => Setting { value: DEFAULT_MOST_BYTES, origin: Origin::BuiltIn },
            };
        if most_bytes.value < LEAST_BYTES {
            let what = format!("the cache may take up {}, expected 1 MB or more", ByteSize(most_bytes.value));
            let help = format!("it comes from: {}; --no-cache keeps nothing", most_bytes.origin);
            return Err(Error::new(ErrorKind::Parameter, what).help(help));
        }
        let ttl = match (number(TTL_HOURS)?, in_file_number(in_file.ttl_hours, "ttl_hours")?) {
            (Some(hours), _) => Setting { value: Some(duration(hours)), origin: Origin::Environment(TTL_HOURS) },
            (None, Some(hours)) => Setting { value: Some(duration(hours)), origin: from_file() },
            (None, None) => Setting { value: None, origin: Origin::BuiltIn },
        };
        Ok(Self { enabled, directory, most_bytes, ttl })
    }

    /// What they come to.
    pub fn settings(&self, paranoid: bool) -> Settings {
        let directory = self.directory.value.clone();
        Settings { directory, most_bytes: self.most_bytes.value, ttl: self.ttl.value, paranoid }
    }
}

impl Common {
    /// The cache that the options, the environment and the file ask for; one for the process.
    ///
    /// # Errors
    /// [`ErrorKind::Parameter`] for a value that makes no sense, wherever it comes from.
    pub fn cache(&self) -> Result<Arc<Cache>> {
        if let Some(cache) = self.opened.get() {
            return Ok(Arc::clone(cache));
        }
        let cache = if self.no_cache {
            Cache::off()
        } else {
            let found = Explained::find(self)?;
            if found.enabled.value { Cache::open(found.settings(self.paranoid)) } else { Cache::off() }
        };
        Ok(Arc::clone(self.opened.get_or_init(|| Arc::new(cache))))
    }
}

fn read(path: &Path) -> Result<InFile> {
    let text = std::fs::read_to_string(path).map_err(|cause| Error::io("read the configuration", path, cause))?;
    let parsed: Result<File, _> = toml::from_str(&text);
    parsed.map(|file| file.cache).map_err(|cause| {
        Error::new(ErrorKind::Parameter, format!("the configuration makes no sense: {}", cause.message()))
            .file(path)
            .help("[cache] may have enabled, dir, max_size_mb and ttl_hours")
    })
}

fn positive(value: Option<f64>, name: &str, text: &str) -> Result<f64> {
    value.filter(|value| value.is_finite() && *value > 0.0).ok_or_else(|| {
        Error::new(ErrorKind::Parameter, format!("{name} is {text:?}, expected a number above 0"))
            .help("correct it, or leave it out")
    })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float beyond u64 becomes its largest")]
fn bytes(mb: f64) -> u64 {
    (mb * 1e6) as u64
}

fn duration(hours: f64) -> Duration {
    Duration::try_from_secs_f64(hours * 3600.0).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Args;
    use clap::Parser;

    fn chosen(options: &[&str], environment: &[(&str, &str)], file: &str) -> Result<Explained> {
        let args = Args::try_parse_from(["skycache-gpu", "devices"].iter().chain(options)).unwrap();
        let find = |name: &str| environment.iter().find(|(other, _)| *other == name).map(|(_, value)| value.into());
        let in_file: File = toml::from_str(file).unwrap();
        Explained::choose(&args.common, find, Some((in_file.cache, "config.toml".into())), Some("platform".into()))
    }

    #[test]
    fn options_win_over_the_environment_and_that_over_the_file() {
        let file = "[cache]\ndir = 'file'\nmax_size_mb = 3\nttl_hours = 1.5";
        let environment = [(DIRECTORY, "environment"), (MOST_MB, "2")];
        let built_in = chosen(&[], &[], "").unwrap();
        assert_eq!((built_in.directory.value, built_in.directory.origin), (Some("platform".into()), Origin::BuiltIn));
        let of_file = chosen(&[], &[], file).unwrap();
        assert_eq!(of_file.directory.origin, Origin::File("config.toml".into()));
        assert_eq!((of_file.most_bytes.value, of_file.ttl.value), (3_000_000, Some(Duration::from_secs(5400))));
        let of_environment = chosen(&[], &environment, file).unwrap();
        assert_eq!(of_environment.directory.value, Some("environment".into()));
        assert_eq!((of_environment.most_bytes.value, of_environment.ttl.origin), (2_000_000, of_file.ttl.origin));
        let of_options = chosen(&["--cache-dir", "option", "--cache-max-size", "1MB"], &environment, file).unwrap();
        assert_eq!((of_options.directory.value, of_options.most_bytes.value), (Some("option".into()), 1_000_000));
        assert!(!chosen(&["--no-cache"], &[], "[cache]\nenabled = true").unwrap().enabled.value);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for value in ["0", "-1", "much", "inf"] {
            let error = chosen(&[], &[(MOST_MB, value)], "").unwrap_err();
            assert!(error.chain().contains(MOST_MB), "{error:?}");
        }
        assert!(chosen(&[], &[], "[cache]\nttl_hours = -1").is_err());
        assert!(toml::from_str::<File>("[cache]\nsize = 1").is_err());
    }
}
