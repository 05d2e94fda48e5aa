//! Findings as text: a line a tile, and below it what is wrong with it.

use crate::cli::report;
use crate::validate::astrometry::Outcome;
use crate::validate::tile::AstrometryState;
use crate::validate::{Checked, Finding, Report, Severity};

/// Prints all tiles with their findings, those of all tiles together, and a summary; if `quiet` nothing of tiles that
/// have no findings.
pub fn print(report: &Report, quiet: bool) {
    for tile in report.tiles.iter().filter(|tile| !quiet || !tile.findings.is_empty()) {
        report::line(&format!("{}  {}", if tile.passes() { "pass" } else { "FAIL" }, tile.path));
        print_findings(&tile.findings);
    }
    if !report.findings.is_empty() {
        report::line("all tiles together");
        print_findings(&report.findings);
    }
    report::line(&summary(report));
}

fn print_findings(findings: &[Finding]) {
    for finding in findings {
        let severity = severity(finding.severity);
        report::line(&format!("      {severity:<7}  {:<19}  {}", finding.code.name(), finding.message));
        if let Some(help) = finding.help.as_ref().filter(|_| finding.severity > Severity::Info) {
            report::line(&format!("      {:<7}  {:<19}  help: {help}", "", ""));
        }
    }
}

/// As people read it.
pub fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

/// How many tiles pass, and what came of their astrometry.
pub fn summary(report: &Report) -> String {
    let n_passed = report.tiles.iter().filter(|tile| tile.passes()).count();
    let all = report.tiles.iter().flat_map(|tile| &tile.findings).chain(&report.findings);
    let (mut n_errors, mut n_warnings) = (0, 0);
    for finding in all {
        n_errors += usize::from(finding.severity == Severity::Error);
        n_warnings += usize::from(finding.severity == Severity::Warning);
    }
    let mut text = format!(
        "{} tiles: {n_passed} pass, {} fail; {n_errors} errors, {n_warnings} warnings",
        report.tiles.len(),
        report.tiles.len() - n_passed
    );
    if !report.findings.iter().all(|finding| finding.severity < Severity::Error) {
        text.push_str("; the set fails");
    }
    text
}

/// What came of a tile's astrometry, in a few words; `None` where no catalogue was asked.
pub fn astrometry(tile: &Checked, limits: &crate::validate::Limits) -> Option<String> {
    let AstrometryState::Measured(astrometry) = tile.measured.as_ref()?.astrometry.as_ref()? else {
        return Some("not placed on the sky".into());
    };
    let (outcome, _) = astrometry.outcome(limits);
    let Some(found) = astrometry.registration.filter(|_| outcome != Outcome::CannotTell) else {
        return Some("cannot tell".into());
    };
    let [east, north] = found.offset_arcsec;
    Some(format!(
        "{east:+.3} arcsec east, {north:+.3} north, error {:.3}, {} of {} sources",
        found.error_arcsec(),
        found.n_matched,
        astrometry.n_detected
    ))
}
