//! How a log line looks: `warning: ...`, and `file:` and `help:` lines below, as failures have them.
//!
//! `tracing::warn!(file = %path, help = "...", "message")` gives all three; other fields follow the message.

use std::fmt::{self, Write as _};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The form of the lines.
pub struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut parts = Parts::default();
        event.record(&mut parts);
        let (word, colour) = level(*event.metadata().level());
        if writer.has_ansi_escapes() {
            write!(writer, "\x1b[1;{colour}m{word}:\x1b[0m {}", parts.message)?;
        } else {
            write!(writer, "{word}: {}", parts.message)?;
        }
        writeln!(writer, "{}", parts.others)?;
        for (name, text) in [("file", parts.file), ("help", parts.help)] {
            if let Some(text) = text {
                writeln!(writer, "  {name}: {text}")?;
            }
        }
        Ok(())
    }
}

/// A level's word, and its ANSI colour.
fn level(level: Level) -> (&'static str, u8) {
    match level {
        Level::ERROR => ("error", 31),
        Level::WARN => ("warning", 33),
        Level::INFO => ("info", 32),
        Level::DEBUG => ("debug", 34),
        Level::TRACE => ("trace", 35),
    }
}

/// What an event carries.
#[derive(Default)]
struct Parts {
    message: String,
    file: Option<String>,
    help: Option<String>,
    others: String,
}

impl Visit for Parts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "file" => self.file = Some(format!("{value:?}")),
            "help" => self.help = Some(format!("{value:?}")),
            name => {
                // Writing to a string cannot fail.
                let _ = write!(self.others, ", {name} {value:?}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(ansi: bool, log: impl FnOnce()) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::DEBUG)
            .with_ansi(ansi)
            .with_writer(move || writer.clone())
            .event_format(Lines)
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        String::from_utf8(memory.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_warning_says_so_with_file_and_help_below() {
        let path = std::path::Path::new("tiles/a.fits");
        let text = logged(false, || {
            let help = String::from("set BMAJ");
            tracing::warn!(file = %path.display(), help, n_tiles = 3, "the image has no {}", "beam");
        });
        assert_eq!(text, "warning: the image has no beam, n_tiles 3\n  file: tiles/a.fits\n  help: set BMAJ\n");
    }

    #[test]
    fn every_level_has_its_word() {
        let text = logged(false, || {
            tracing::error!("a");
            tracing::info!("b");
            tracing::debug!("c");
        });
        assert_eq!(text, "error: a\ninfo: b\ndebug: c\n");
    }

    #[test]
    fn a_terminal_gets_colours() {
        assert_eq!(logged(true, || tracing::warn!("a")), "\x1b[1;33mwarning:\x1b[0m a\n");
    }
}
