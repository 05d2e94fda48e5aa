//! What can be wrong with tiles: a code for each, how bad it is, and the number that shows it.

use serde::{Serialize, Serializer};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth a look; the tile passes.
    Warning,
    /// The tile, or the set of tiles, fails.
    Error,
}

/// What was found, by a name that scripts may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    Missing,
    Unreadable,
    AllNan,
    InfinitePixels,
    DynamicRange,
    Noise,
    WcsMissing,
    WcsInvalid,
    WcsUnsupported,
    BeamInvalid,
    BeamMissing,
    BeamMixed,
    PbMissing,
    PbUnreadable,
    PbShape,
    PbEmpty,
    PbFraction,
    PbEdge,
    PbMin,
    PbMax,
    PbcorMissing,
    PbcorMixed,
    GridShape,
    GridIncrements,
    ProjectionMixed,
    UnitMixed,
    NoiseHigh,
    NoiseLow,
    NoiseMixed,
    NoiseZero,
    Frequency,
    FrequencySpread,
    Apart,
    AstrometryOffset,
    AstrometryScatter,
    AstrometryUntold,
    CatalogCoverage,
    CalibrationUnknown,
    CalibrationMissing,
    CalibrationMixed,
    CalibrationWindows,
    Coverage,
    UnevenNoise,
    NegativeBowls,
    Outliers,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    pub code: Code,
    pub severity: Severity,
    /// What was measured, where it is a number.
    pub value: Option<f64>,
    /// What it was held against.
    pub limit: Option<f64>,
    /// A sentence that starts in lower case and has no full stop; units are in it.
    pub message: String,
    /// What the user can do.
    pub help: Option<String>,
}

impl Code {
    pub const ALL: [Self; 45] = [
        Self::Missing,
        Self::Unreadable,
        Self::AllNan,
        Self::InfinitePixels,
        Self::DynamicRange,
        Self::Noise,
        Self::WcsMissing,
        Self::WcsInvalid,
        Self::WcsUnsupported,
        Self::BeamInvalid,
        Self::BeamMissing,
        Self::BeamMixed,
        Self::PbMissing,
        Self::PbUnreadable,
        Self::PbShape,
        Self::PbEmpty,
        Self::PbFraction,
        Self::PbEdge,
        Self::PbMin,
        Self::PbMax,
        Self::PbcorMissing,
        Self::PbcorMixed,
        Self::GridShape,
        Self::GridIncrements,
        Self::ProjectionMixed,
        Self::UnitMixed,
        Self::NoiseHigh,
        Self::NoiseLow,
        Self::NoiseMixed,
        Self::NoiseZero,
        Self::Frequency,
        Self::FrequencySpread,
        Self::Apart,
        Self::AstrometryOffset,
        Self::AstrometryScatter,
        Self::AstrometryUntold,
        Self::CatalogCoverage,
        Self::CalibrationUnknown,
        Self::CalibrationMissing,
        Self::CalibrationMixed,
        Self::CalibrationWindows,
        Self::Coverage,
        Self::UnevenNoise,
        Self::NegativeBowls,
        Self::Outliers,
    ];

    /// As all outputs spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unreadable => "unreadable",
            Self::AllNan => "all-nan",
            Self::InfinitePixels => "infinite-pixels",
            Self::DynamicRange => "dynamic-range",
            Self::Noise => "noise",
            Self::WcsMissing => "wcs-missing",
            Self::WcsInvalid => "wcs-invalid",
            Self::WcsUnsupported => "wcs-unsupported",
            Self::BeamInvalid => "beam-invalid",
            Self::BeamMissing => "beam-missing",
            Self::BeamMixed => "beam-mixed",
            Self::PbMissing => "pb-missing",
            Self::PbUnreadable => "pb-unreadable",
            Self::PbShape => "pb-shape",
            Self::PbEmpty => "pb-empty",
            Self::PbFraction => "pb-fraction",
            Self::PbEdge => "pb-edge",
            Self::PbMin => "pb-min",
            Self::PbMax => "pb-max",
            Self::PbcorMissing => "pbcor-missing",
            Self::PbcorMixed => "pbcor-mixed",
            Self::GridShape => "grid-shape",
            Self::GridIncrements => "grid-increments",
            Self::ProjectionMixed => "projection-mixed",
            Self::UnitMixed => "unit-mixed",
            Self::NoiseHigh => "noise-high",
            Self::NoiseLow => "noise-low",
            Self::NoiseMixed => "noise-mixed",
            Self::NoiseZero => "noise-zero",
            Self::Frequency => "frequency",
            Self::FrequencySpread => "frequency-spread",
            Self::Apart => "apart",
            Self::AstrometryOffset => "astrometry-offset",
            Self::AstrometryScatter => "astrometry-scatter",
            Self::AstrometryUntold => "astrometry-untold",
            Self::CatalogCoverage => "catalog-coverage",
            Self::CalibrationUnknown => "calibration-unknown",
            Self::CalibrationMissing => "calibration-missing",
            Self::CalibrationMixed => "calibration-mixed",
            Self::CalibrationWindows => "calibration-windows",
            Self::Coverage => "coverage",
            Self::UnevenNoise => "uneven-noise",
            Self::NegativeBowls => "negative-bowls",
            Self::Outliers => "outliers",
        }
    }

    /// How bad it is.
    pub fn severity(self) -> Severity {
        match self {
            Self::CatalogCoverage => Severity::Info,
            Self::InfinitePixels
            | Self::BeamInvalid
            | Self::BeamMissing
            | Self::PbFraction
            | Self::PbMin
            | Self::ProjectionMixed
            | Self::NoiseZero
            | Self::AstrometryScatter
            | Self::AstrometryUntold
            | Self::CalibrationUnknown => Severity::Warning,
            _ => Severity::Error,
        }
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl Finding {
    /// A finding without numbers.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, severity: code.severity(), value: None, limit: None, message: message.into(), help: None }
    }

    /// What was measured, and what it was held against.
    #[must_use]
    pub fn numbers(mut self, value: f64, limit: f64) -> Self {
        (self.value, self.limit) = (Some(value), Some(limit));
        self
    }

    /// What was measured.
    #[must_use]
    pub fn value(mut self, value: f64) -> Self {
        self.value = Some(value);
        self
    }

    /// What the user can do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Whether nothing among these is an error.
pub fn pass(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.severity < Severity::Error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_code_has_a_name_of_its_own() {
        let names: HashSet<&str> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        assert!(names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')));
    }

    #[test]
    fn only_errors_fail() {
        let of = |codes: &[Code]| codes.iter().map(|code| Finding::new(*code, "")).collect::<Vec<_>>();
        assert!(pass(&of(&[Code::BeamMissing, Code::CatalogCoverage])) && pass(&[]));
        assert!(!pass(&of(&[Code::BeamMissing, Code::AllNan])));
    }
}
