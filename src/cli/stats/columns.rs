//! The columns of the tables: names, types and units, as CSV and as ECSV.
//!
//! They are the members of a tile's JSON but for what the cache came to, so that a table is the same with the cache and
//! without. ECSV is astropy's: <https://github.com/astropy/astropy-APEs/blob/main/APE6.rst>

use serde_json::{Map, Value};

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Text,
    Count,
    Number,
    /// A number in degrees.
    Degrees,
    /// A number in the unit of the pixels.
    Flux,
}

const COLUMNS: [(&str, Sort); 34] = [
    ("path", Sort::Text),
    ("ny", Sort::Count),
    ("nx", Sort::Count),
    ("content_hash", Sort::Text),
    ("num_planes", Sort::Count),
    ("plane", Sort::Count),
    ("unit", Sort::Text),
    ("num_pixels", Sort::Count),
    ("num_nan", Sort::Count),
    ("num_infinite", Sort::Count),
    ("min", Sort::Flux),
    ("max", Sort::Flux),
    ("mean", Sort::Flux),
    ("rms_noise", Sort::Flux),
    ("peak_flux", Sort::Flux),
    ("dynamic_range", Sort::Number),
    ("median", Sort::Flux),
    ("mad_sigma", Sort::Flux),
    ("sum", Sort::Flux),
    ("ra_center_deg", Sort::Degrees),
    ("dec_center_deg", Sort::Degrees),
    ("cdelt_ra_deg", Sort::Degrees),
    ("cdelt_dec_deg", Sort::Degrees),
    ("frame", Sort::Text),
    ("projection", Sort::Text),
    ("wcs_warning", Sort::Text),
    ("pb_path", Sort::Text),
    ("pb_num_pixels", Sort::Count),
    ("pb_response_min", Sort::Number),
    ("pb_response_max", Sort::Number),
    ("pb_response_mean", Sort::Number),
    ("pb_response_median", Sort::Number),
    ("pb_fraction_above_cut", Sort::Number),
    ("backend", Sort::Text),
];

/// Comma-separated values; what is null is empty.
pub fn csv(tiles: &[Map<String, Value>]) -> String {
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    let mut write = |record: Vec<String>| writer.write_record(record).expect("rows of one length go into memory");
    write(COLUMNS.iter().map(|(name, _)| (*name).to_owned()).collect());
    for tile in tiles {
        write(COLUMNS.iter().map(|(name, _)| cell(value(tile, name))).collect());
    }
    let bytes = writer.into_inner().expect("memory takes all that is written");
    String::from_utf8(bytes).expect("cells are text")
}

/// The same below a description of the columns. Pixels have a unit where it is that of all tiles.
pub fn ecsv(tiles: &[Map<String, Value>]) -> String {
    let first = tiles.first().map_or(&Value::Null, |tile| &tile["unit"]);
    let flux_unit = first.as_str().filter(|_| tiles.iter().all(|tile| tile["unit"] == *first));
    let mut text = String::from("# %ECSV 1.0\n# ---\n# delimiter: ','\n# datatype:\n");
    for (name, sort) in COLUMNS {
        let (datatype, unit) = match sort {
            Sort::Text => ("string", None),
            Sort::Count => ("int64", None),
            Sort::Number => ("float64", None),
            Sort::Degrees => ("float64", Some("deg")),
            Sort::Flux => ("float64", flux_unit),
        };
        // A string of JSON is one of YAML.
        let unit = unit.map_or(String::new(), |unit| format!("unit: {}, ", Value::from(unit)));
        text.push_str(&format!("# - {{name: {name}, {unit}datatype: {datatype}}}\n"));
    }
    text.push_str("# schema: astropy-2.0\n");
    text + &csv(tiles)
}

fn value<'t>(tile: &'t Map<String, Value>, name: &str) -> &'t Value {
    match name {
        "ny" => &tile["shape"][0],
        "nx" => &tile["shape"][1],
        name => &tile[name],
    }
}

/// A value as CSV has it; null is an empty cell.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
