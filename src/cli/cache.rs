//! `cache`: what is in the cache, checking it, and removing from it.

use super::args::Common;
use super::exit::Exit;
use super::report;
use super::settings::Explained;
use crate::cache::{Cache, ContentHash, Counts, Key, Kind, KindOverview, Overview, Record, Selection};
use crate::error::{Error, ErrorKind, Result};
use crate::image;
use crate::units::ByteSize;
use clap::Subcommand;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Part of the lookups that should be hits.
const TARGET_HIT_RATE: f64 = 0.6;

/// Digits of a key that the list shows, and that name it.
const SHORT_KEY_DIGITS: usize = 12;

/// Options of `cache`.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what is in it, what it takes up, and how often it helped
    Stats,
    /// List the entries, those used last first
    List {
        /// Only those of a kind
        #[arg(long, value_name = "KIND", value_parser = kind)]
        kind: Option<Kind>,
    },
    /// Read every entry and check that it is as it was written
    Verify {
        /// Remove what is damaged
        #[arg(long)]
        repair: bool,
    },
    /// Remove entries that are no longer valid
    Cleanup {
        /// Only these, which is what happens without options too
        #[arg(long)]
        expired: bool,
        /// Those made longer ago, such as 7d, 12h or 30m, too
        #[arg(long, value_name = "AGE", value_parser = age)]
        older_than: Option<Duration>,
    },
    /// Remove what must be computed again
    Invalidate {
        /// Files, directories, or keys as the list shows them: entries about them and made from them
        #[arg(value_name = "PATH|KEY", required_unless_present_any = ["kind", "derived_from"])]
        targets: Vec<String>,
        /// All entries of a kind
        #[arg(long, value_name = "KIND", value_parser = kind)]
        kind: Option<Kind>,
        /// Everything that was computed from the content of this file; cells of ps1 are known by all their inputs together
        #[arg(long, value_name = "FILE")]
        derived_from: Option<PathBuf>,
    },
    /// Remove all entries
    Clear {
        /// Only those of a kind
        #[arg(long, value_name = "KIND", value_parser = kind)]
        kind: Option<Kind>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Print where it is
    Path {
        /// Print all settings, and where each comes from
        #[arg(long)]
        explain: bool,
    },
}

/// Runs the command.
///
/// # Errors
/// If the cache cannot be read or written, or is off.
pub fn run(options: &Options, common: &Common) -> Result<Exit> {
    let settings = Explained::find(common)?;
    if let Command::Path { explain } = options.command {
        return print_path(&settings, explain, common.json);
    }
    let Some(directory) = settings.directory.value.clone().filter(|_| settings.enabled.value) else {
        return Err(Error::new(ErrorKind::Parameter, "there is no cache to look at")
            .help("leave out --no-cache, and see cache path --explain"));
    };
    let most_bytes = settings.most_bytes.value;
    let cache = Cache::try_open(settings.settings(common.paranoid))?;
    let json = common.json;
    match &options.command {
        Command::Path { .. } => {}
        Command::Stats => print_stats(&cache.overview()?, &directory, most_bytes, json),
        Command::List { kind } => print_list(&cache.list(&of_kind(*kind))?, json),
        Command::Verify { repair } => return verify(&cache, *repair, json),
        Command::Cleanup { expired: _, older_than } => {
            let older = older_than.map(Selection::OlderThan);
            remove(&cache, &[Some(Selection::Expired), older].into_iter().flatten().collect::<Vec<_>>(), json)?;
        }
        Command::Invalidate { targets, kind, derived_from } => {
            remove(&cache, &selections(&cache, targets, *kind, derived_from.as_deref())?, json)?;
        }
        Command::Clear { kind, yes } => {
            if !*yes && !confirmed(&cache, &directory, *kind)? {
                return Ok(Exit::NotDone);
            }
            remove(&cache, &[of_kind(*kind)], json)?;
        }
    }
    Ok(Exit::Done)
}

fn of_kind(kind: Option<Kind>) -> Selection {
    kind.map_or(Selection::All, Selection::Kind)
}

fn kind(name: &str) -> Result<Kind, String> {
    let names = || Kind::ALL.map(Kind::name).join(", ");
    Kind::from_name(name).ok_or_else(|| format!("expected one of {}", names()))
}

fn age(text: &str) -> Result<Duration, String> {
    let refused = || String::from("write it as 7d, 12h, 30m or 90s");
    let (number, unit) = text.split_at(text.len() - text.chars().last().map_or(0, char::len_utf8));
    let seconds = match unit {
        "d" => 86_400.0,
        "h" => 3600.0,
        "m" => 60.0,
        "s" => 1.0,
        _ => return Err(refused()),
    };
    let number: f64 = number.trim().parse().map_err(|_| refused())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| refused())
}

/// What to invalidate: a file that is there, a key or the first digits of one, or the path of a file that is gone.
fn selections(
    cache: &Cache,
    targets: &[String],
    kind: Option<Kind>,
    derived_from: Option<&Path>,
) -> Result<Vec<Selection>> {
    let mut selections: Vec<Selection> = kind.map(Selection::Kind).into_iter().collect();
    if let Some(path) = derived_from {
        selections.extend(of_content(path)?);
    }
    for target in targets {
        let path = Path::new(target);
        let is_key = target.len() >= SHORT_KEY_DIGITS && target.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_key && !path.exists() {
            let entries = cache.list(&Selection::All)?;
            let begun = entries.iter().filter(|(_, key, _)| key.to_string().starts_with(&target.to_ascii_lowercase()));
            selections.extend(begun.map(|(_, key, _)| Selection::Key(*key)));
            continue;
        }
        let label = std::path::absolute(path).map_err(|cause| Error::io("find the file", path, cause))?;
        selections.push(Selection::Label(label.display().to_string()));
        // A file that is gone is still known by its name.
        if path.exists() {
            selections.extend(of_content(path)?);
        }
    }
    Ok(selections)
}

/// What was made from a file: from its bytes, or from the pixels of its planes, which other files may have too.
fn of_content(path: &Path) -> Result<Vec<Selection>> {
    let mut contents = vec![ContentHash::of_path(path)?];
    let planes = (0..).map_while(|plane| image::read_plane(path.to_str()?, plane).ok());
    contents.extend(planes.map(|(image, _)| ContentHash::of_pixels(image.pixels.view())));
    Ok(contents.into_iter().map(Selection::DerivedFrom).collect())
}

fn remove(cache: &Cache, selections: &[Selection], json: bool) -> Result<()> {
    let (mut entries, mut bytes) = (0, 0);
    for selection in selections {
        let (n, freed) = cache.remove(selection)?;
        entries += n;
        bytes += freed;
    }
    if json {
        report::object(&json!({ "removed_entries": entries, "freed_bytes": bytes }));
    } else {
        report::line(&format!("{entries} entries of {} removed", ByteSize(bytes)));
    }
    Ok(())
}

fn confirmed(cache: &Cache, directory: &Path, kind: Option<Kind>) -> Result<bool> {
    let n_entries = cache.list(&of_kind(kind))?.len();
    if !std::io::stdin().is_terminal() {
        return Err(Error::new(ErrorKind::Parameter, format!("{n_entries} entries would be removed"))
            .file(directory)
            .help("give --yes to remove them without being asked"));
    }
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "remove {n_entries} entries of {}? [y/N] ", directory.display());
    let _ = stderr.flush();
    let mut answer = String::new();
    let _ = std::io::stdin().read_line(&mut answer);
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn verify(cache: &Cache, repair: bool, json: bool) -> Result<Exit> {
    let found = cache.verify(repair)?;
    let damaged: Vec<_> = found.damaged.iter().map(|(kind, key)| (kind.name(), key.to_string())).collect();
    if json {
        let list: Vec<Value> = damaged.iter().map(|(kind, key)| json!({ "kind": kind, "key": key })).collect();
        report::object(&json!({ "intact": found.intact, "damaged": list, "repaired": found.repaired }));
    } else {
        damaged.iter().for_each(|(kind, key)| report::line(&format!("damaged: {kind} {key}")));
        let done = if found.repaired { ", removed" } else { "" };
        report::line(&format!(
            "{} entries are as they were written, {} are damaged{done}",
            found.intact,
            damaged.len()
        ));
    }
    Ok(if damaged.is_empty() || repair { Exit::Done } else { Exit::SomeRejected })
}

fn print_list(entries: &[(Kind, Key, Record)], json: bool) {
    let of = |(kind, key, record): &(Kind, Key, Record)| {
        json!({
            "kind": kind, "key": key.to_string(), "bytes": record.bytes, "created": record.created,
            "expires": record.expires, "last_used": record.used, "about": record.label,
        })
    };
    if json {
        report::object(&json!({ "entries": entries.iter().map(of).collect::<Vec<_>>() }));
        return;
    }
    let time = |seconds: u64| {
        let since = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
        since.map_or_else(|| "never".into(), |time| time.strftime("%Y-%m-%d %H:%M").to_string())
    };
    for (kind, key, record) in entries {
        let (used, expires, bytes) = (time(record.used), time(record.expires), ByteSize(record.bytes));
        let key = &key.to_string()[..SHORT_KEY_DIGITS];
        report::line(&format!(
            "{key}  {:<11}  {:>10}  used {used}  until {expires}  {}",
            kind.name(),
            bytes.to_string(),
            record.label
        ));
    }
}

fn print_stats(found: &Overview, directory: &Path, most_bytes: u64, json: bool) {
    let results = || found.kinds.iter().filter(|kind| kind.kind.is_result());
    let entries: u64 = found.kinds.iter().map(|kind| kind.entries).sum();
    let bytes: u64 = found.kinds.iter().map(|kind| kind.bytes).sum();
    let rate = found.counts.hit_rate();
    if json {
        let kinds: serde_json::Map<String, Value> = found
            .kinds
            .iter()
            .map(|kind| (kind.kind.name().to_owned(), of_counts(kind.entries, kind.bytes, &kind.counts)))
            .collect();
        let mut object = of_counts(entries, bytes, &found.counts);
        object["directory"] = json!(directory);
        object["cap_bytes"] = json!(most_bytes);
        object["disk_bytes"] = json!(found.disk_bytes);
        object["rebuilds"] = json!(found.rebuilds);
        object["target_hit_rate"] = json!(TARGET_HIT_RATE);
        object["target_met"] = json!(rate.map(|rate| rate >= TARGET_HIT_RATE));
        object["kinds"] = Value::Object(kinds);
        report::object(&object);
        return;
    }
    report::line(&format!(
        "{}: {entries} entries of {}, {} on the disk, at most {}",
        directory.display(),
        ByteSize(bytes),
        ByteSize(found.disk_bytes),
        ByteSize(most_bytes)
    ));
    let heads = ["kind", "entries", "size", "hits", "misses", "stale", "damaged", "evicted", "hit rate", "saved"];
    let row = |kind: &KindOverview| cells(kind.kind.name(), kind.entries, kind.bytes, &kind.counts);
    let shown = found.kinds.iter().filter(|kind| kind.entries > 0 || kind.counts.lookups() > 0);
    let (n, size) = results().fold((0, 0), |(n, size), kind| (n + kind.entries, size + kind.bytes));
    let rows = std::iter::once(heads.map(String::from).to_vec()).chain(shown.map(row));
    report::table(&rows.chain([cells("all results", n, size, &found.counts)]).collect::<Vec<_>>());
    if let Some(rate) = rate {
        let met = if rate >= TARGET_HIT_RATE { "above" } else { "below" };
        report::line(&format!(
            "{:.0} % of the lookups were hits, {met} the {:.0} % aimed at",
            100.0 * rate,
            100.0 * TARGET_HIT_RATE
        ));
    }
    if found.rebuilds > 0 {
        report::line(&format!("begun anew {} times, as it could not be read", found.rebuilds));
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds for reading")]
fn seconds_saved(counts: &Counts) -> f64 {
    counts.saved_us as f64 / 1e6
}

fn of_counts(entries: u64, bytes: u64, counts: &Counts) -> Value {
    json!({
        "entries": entries, "bytes": bytes, "lookups": counts.lookups(), "hits": counts.hits, "misses": counts.misses,
        "stale": counts.stale, "damaged": counts.damaged, "stored": counts.stored, "evictions": counts.evictions,
        "expired": counts.expired, "refused": counts.refused, "hit_rate": counts.hit_rate(),
        "seconds_saved": seconds_saved(counts),
    })
}

fn cells(name: &str, entries: u64, bytes: u64, counts: &Counts) -> Vec<String> {
    let rate = counts.hit_rate().map_or_else(|| "-".into(), |rate| format!("{:.0} %", 100.0 * rate));
    let numbers = [counts.hits, counts.misses, counts.stale, counts.damaged, counts.evictions].map(|n| n.to_string());
    let [hits, misses, stale, damaged, evicted] = numbers;
    let saved = format!("{:.1} s", seconds_saved(counts));
    vec![
        name.into(),
        entries.to_string(),
        ByteSize(bytes).to_string(),
        hits,
        misses,
        stale,
        damaged,
        evicted,
        rate,
        saved,
    ]
}

fn print_path(settings: &Explained, explain: bool, json: bool) -> Result<Exit> {
    let directory = settings.directory.value.as_ref().map(|path| path.display().to_string());
    let hours = settings.ttl.value.map(|ttl| ttl.as_secs_f64() / 3600.0);
    let rows = [
        ("enabled", json!(settings.enabled.value), &settings.enabled.origin),
        ("directory", json!(directory), &settings.directory.origin),
        ("cap_bytes", json!(settings.most_bytes.value), &settings.most_bytes.origin),
        ("ttl_hours", json!(hours), &settings.ttl.origin),
    ];
    if json {
        let object = |(name, value, origin): &(&str, Value, &super::settings::Origin)| {
            (
                (*name).to_owned(),
                if explain { json!({ "value": value, "from": origin.to_string() }) } else { value.clone() },
            )
        };
        report::object(&Value::Object(rows.iter().map(object).collect()));
    } else if explain {
        for (name, value, origin) in rows {
            let text = value.as_str().map_or_else(|| value.to_string(), String::from);
            let text = if text == "null" { "of each kind".into() } else { text };
            report::line(&format!("{name:<10} {text}  (from {origin})"));
        }
    } else {
        report::line(&directory.unwrap_or_default());
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read_with_their_units() {
        assert_eq!(age("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(age("1.5h"), Ok(Duration::from_secs(5400)));
        for text in ["", "7", "d", "7w", "-1d", "1e400d", "7ä"] {
            assert!(age(text).is_err(), "{text}");
        }
    }
}
