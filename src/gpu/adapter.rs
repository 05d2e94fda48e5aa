//! What is known of an adapter, and the choice among several.

use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// An adapter, as the `devices` command shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adapter {
    /// Its number for `--adapter`.
    pub index: usize,
    pub name: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: String,
    pub driver: String,
    /// The largest piece of a buffer that a shader can be given, in bytes.
    pub max_binding_bytes: u64,
    pub max_buffer_bytes: u64,
    /// Of the adapter's own memory; `None` where the driver does not tell.
    pub memory_bytes: Option<u64>,
    /// Whether shaders can be timed on the device.
    pub has_timestamps: bool,
    /// Whether compiled pipelines can be kept between processes.
    pub has_pipeline_cache: bool,
}

impl Adapter {
    /// Whether it is the CPU in disguise: right, and slower than the CPU back end.
    pub fn is_software(&self) -> bool {
        self.kind == "software"
    }
}

/// Which adapter to take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The first that is a graphics card, those with memory of their own before others; never a software adapter.
    #[default]
    Auto,
    /// By [`Adapter::index`], a software adapter too; a number that none has is a part of a name, as in "RTX 4090".
    Index(usize),
    /// By a part of its name, in any case, a software adapter too.
    Name(String),
}

impl FromStr for Choice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match (text.parse(), text.trim()) {
            (Ok(index), _) => Ok(Self::Index(index)),
            (_, "") => Err(Error::new(ErrorKind::Parameter, "an adapter needs a name or a number").help(LIST)),
            (_, "auto") => Ok(Self::Auto),
            (_, name) => Ok(Self::Name(name.to_owned())),
        }
    }
}

const LIST: &str = "`skycache-gpu devices` lists the adapters";

/// The number of the adapter of this choice among `listed`.
#[cfg_attr(not(any(feature = "gpu", test)), expect(dead_code, reason = "only a device asks"))]
pub(super) fn pick(listed: &[Adapter], choice: &Choice) -> Result<usize> {
    let names: Vec<String> = listed.iter().map(|adapter| format!("{} ({})", adapter.name, adapter.kind)).collect();
    let refused = |kind: ErrorKind, what: String| {
        let there =
            if names.is_empty() { "there is none; install a Vulkan driver".to_owned() } else { names.join(", ") };
        Err(Error::new(kind, what).help(format!("adapters of this machine: {there}; or use --backend cpu")))
    };
    let missing = |what: String| refused(ErrorKind::Missing, what);
    let named = |part: &str| {
        let has_it = |adapter: &&Adapter| adapter.name.to_lowercase().contains(&part.to_lowercase());
        listed.iter().find(has_it).map(|adapter| adapter.index)
    };
    match choice {
        Choice::Auto => {
            let rank =
                |kind: &str| ["discrete", "integrated", "virtual", "other"].iter().position(|known| *known == kind);
            let cards = listed.iter().filter_map(|adapter| Some((rank(&adapter.kind)?, adapter.index)));
            match cards.min() {
                Some((_, index)) => Ok(index),
                None if listed.is_empty() => refused(ErrorKind::Missing, "there is no graphics card".to_owned()),
                None => refused(ErrorKind::Unsupported, "there is no graphics card, only software adapters".to_owned()),
            }
        }
        Choice::Index(index) if *index < listed.len() => Ok(*index),
        Choice::Index(index) => {
            named(&index.to_string()).map_or_else(|| missing(format!("there is no adapter {index}")), Ok)
        }
        Choice::Name(part) => {
            named(part).map_or_else(|| missing(format!("there is no adapter with `{part}` in its name")), Ok)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(index: usize, name: &str, kind: &str) -> Adapter {
        Adapter {
            index,
            name: name.to_owned(),
            kind: kind.to_owned(),
            driver: String::new(),
            max_binding_bytes: 1,
            max_buffer_bytes: 1,
            memory_bytes: None,
            has_timestamps: false,
            has_pipeline_cache: false,
        }
    }

    #[test]
    fn auto_takes_the_best_card_and_never_a_software_adapter() {
        let software = adapter(0, "llvmpipe", "software");
        let all = [software.clone(), adapter(1, "Iris", "integrated"), adapter(2, "H200", "discrete")];
        assert_eq!(pick(&all, &Choice::Auto).unwrap(), 2);
        assert_eq!(pick(&all[..2], &Choice::Auto).unwrap(), 1);
        let refused = pick(&[software], &Choice::Auto).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        assert!(refused.advice().unwrap().contains("llvmpipe (software)"), "{refused:?}");
        let refused = pick(&[], &Choice::Auto).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Missing);
        assert!(refused.advice().unwrap().contains("Vulkan driver"));
    }

    #[test]
    fn an_adapter_is_named_by_number_or_by_a_part_of_its_name() {
        let all = [adapter(0, "llvmpipe (LLVM 15)", "software"), adapter(1, "NVIDIA H200", "discrete")];
        let choice = |text: &str| pick(&all, &text.parse().unwrap());
        assert_eq!(choice("0").unwrap(), 0);
        assert_eq!(choice("h200").unwrap(), 1);
        assert_eq!(choice("LLVMPIPE").unwrap(), 0);
        assert_eq!(choice("auto").unwrap(), 1);
        assert_eq!(choice("200").unwrap(), 1, "no adapter has this number, and one has it in its name");
        assert!(choice("2001").is_err() && choice("radeon").is_err() && "".parse::<Choice>().is_err());
    }
}
