//! `--json-lines`: one JSON object a line on stdout, as things happen.

use super::report;
use crate::error::Error;
use crate::ps1::{Event, Report};
use serde_json::{Value, json};
use std::time::Instant;

/// Prints a line for every skycell that is settled; `seconds` are those since now.
pub fn observer() -> Box<dyn Fn(Event<'_>) + Send + Sync> {
    let start = Instant::now();
    Box::new(move |event| {
        let mut line = object_of(event);
        line["seconds"] = json!(start.elapsed().as_secs_f64());
        report::object(&line);
    })
}

/// Prints the last line of a run that came to a report: the object of `--json`.
pub fn summary(found: &Report) {
    let mut line = serde_json::to_value(found).expect("reports have text keys only");
    line["event"] = json!("summary");
    report::object(&line);
}

/// Prints the last line of a run that did not.
pub fn failure(error: &Error) {
    report::object(&json!({"event": "failed", "error": report::describe(error)}));
}

fn object_of(event: Event<'_>) -> Value {
    match event {
        Event::Written { name, projection } => json!({"event": "written", "name": name, "projection": projection}),
        Event::Kept { name, projection } => json!({"event": "kept", "name": name, "projection": projection}),
        Event::Rejected(rejected) => {
            let mut line = serde_json::to_value(rejected).expect("rejections have text keys only");
            line["event"] = json!("rejected");
            line
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ps1::Rejected;

    #[test]
    fn every_event_is_an_object_that_names_its_cell() {
        let rejected = Rejected::new("a", &Error::new(crate::ErrorKind::Missing, "gone").file("f").help("look"));
        let line = object_of(Event::Rejected(&rejected));
        let expected = json!({"event": "rejected", "name": "a", "reason": "gone", "file": "f", "help": "look"});
        assert_eq!(line, expected);
        for (event, word) in [
            (Event::Written { name: "b", projection: 7 }, "written"),
            (Event::Kept { name: "b", projection: 7 }, "kept"),
        ] {
            assert_eq!(object_of(event), json!({"event": word, "name": "b", "projection": 7}));
        }
    }
}
