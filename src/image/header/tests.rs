use super::*;

fn cards(lines: &[&str]) -> Header {
    Header::from_cards_text(&lines.iter().map(|line| format!("{line:<80}")).collect::<String>()).unwrap()
}

#[test]
fn values_of_every_spelling_are_understood() {
    let header = cards(&[
        "SIMPLE  =                    T / comment",
        "GAIN    = 1.5D-3/no space",
        "COUNT   = +42",
        "WHOLE   = 2000.",
        "NAME    = 'it''s / here'  / comment",
        "EMPTY   =",
        "HIERARCH FPA.ZP = 25. / zero point",
        "HIERARCH ESO DET NAME='x'",
        "LONG    = 'first &'",
        "CONTINUE  'second &'",
        "CONTINUE  'third' / end",
        "AMP     = 'a &'",
        "CPLX    = (1.0, 2)",
    ]);
    assert_eq!(header.bool("simple").unwrap(), Some(true));
    assert_eq!(header.f64("GAIN").unwrap(), Some(0.0015));
    assert_eq!(header.i64("COUNT").unwrap(), Some(42));
    assert_eq!(header.f64("COUNT").unwrap(), Some(42.0));
    assert_eq!(header.i64("WHOLE").unwrap(), Some(2000));
    assert_eq!(header.text("NAME").unwrap().as_deref(), Some("it's / here"));
    assert_eq!(header.text("EMPTY").unwrap(), None);
    assert_eq!(header.f64("hierarch fpa.zp").unwrap(), Some(25.0));
    assert_eq!(header.text("ESO DET NAME").unwrap().as_deref(), Some("x"));
    assert_eq!(header.text("LONG").unwrap().as_deref(), Some("first second third"));
    assert_eq!(header.text("AMP").unwrap().as_deref(), Some("a &"));
    assert_eq!(header.value("CPLX").unwrap(), Some(Value::Complex("(1.0, 2)".into())));
    assert_eq!(header.f64("ABSENT").unwrap(), None);
}

#[test]
fn a_value_of_another_type_is_an_error_that_names_the_keyword() {
    let header =
        cards(&["A       = 'NaN     '", "B       = 1.5", "C       = nan", "D       = 'open", "E       = 1e999"]);
    for error in [header.f64("A"), header.f64("C"), header.f64("D"), header.f64("E")] {
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Header);
    }
    assert!(header.i64("B").unwrap_err().to_string().contains("B is 1.5"));
    assert_eq!(header.text("B").unwrap_err().kind(), ErrorKind::Header);
    assert_eq!(header.bool("A").unwrap_err().kind(), ErrorKind::Header);
}

#[test]
fn text_that_is_not_cards_is_refused() {
    let good = format!("{:<80}", "A       = 1");
    for bad in [
        String::new(),
        "hello".into(),
        "x".repeat(160),
        format!("{good}tail"),
        good.replace('1', "\n"),
        good.replace('1', "é").chars().take(80).collect(),
        format!("{:<80}END", "COMMENT only"),
    ] {
        assert_eq!(Header::from_cards_text(&bad).unwrap_err().kind(), ErrorKind::Header, "{bad:?}");
    }
    for fine in [good.clone(), format!("{good}END"), format!("{good}END   \u{20}"), format!("{good}   ")] {
        assert_eq!(Header::from_cards_text(&fine).unwrap().len(), 1, "{fine:?}");
    }
}

#[test]
fn cards_text_is_whole_blocks_and_reads_back() {
    let mut header = cards(&["A       = 1", "", "COMMENT two"]);
    header.push_history("three");
    let text = header.to_cards_text();
    assert_eq!(text.len(), 2880);
    assert_eq!(Header::from_cards_text(&text).unwrap(), header);
}

#[test]
fn reals_are_legal_and_read_back_exactly() {
    let mut header = Header::new();
    for number in [0.1, -1.0, 1e16, 1e300, 5e-324, f64::MAX, f64::MIN_POSITIVE, 6.944_444_612_599_88e-5, 1.0 / 3.0] {
        header.set("X", number, "").unwrap();
        assert_eq!(header.f64("X").unwrap(), Some(number));
        let raw = header.iter().next().unwrap().1;
        assert!(raw.contains('.') && raw.len() == 80 && !raw.contains('e'), "{raw}");
    }
    assert_eq!(header.set("X", f64::NAN, "").unwrap_err().kind(), ErrorKind::Header);
}

#[test]
fn set_replaces_in_place_and_writes_long_text() {
    let mut header = cards(&["A       = 1", "B       = 'x&'", "CONTINUE  'y'", "C       = 3"]);
    let long = "it's long ".repeat(20).trim_end().to_owned();
    header.set("b", long.as_str(), "why").unwrap();
    assert_eq!(header.text("B").unwrap(), Some(long));
    assert_eq!(
        header.iter().filter(|(key, _)| *key != "CONTINUE").map(|(key, _)| key).collect::<Vec<_>>(),
        ["A", "B", "C"]
    );
    header.set("FPA.ZP", 25.0, "zero point").unwrap();
    assert_eq!(header.f64("FPA.ZP").unwrap(), Some(25.0));
    header.remove("B");
    assert_eq!(header.len(), 3);
    assert!(header.iter().all(|(_, raw)| raw.len() == 80));
    assert!(header.set("A=B", 1, "").is_err() && header.set("A", "é", "").is_err());
}

#[test]
fn history_wraps_and_keeps_all_words() {
    let mut header = Header::new();
    let text = (0..60).map(|n| format!("word{n}")).collect::<Vec<_>>().join(" ");
    header.push_history(&text);
    assert!(header.len() > 4);
    assert_eq!(header.history().join(" "), text);
    header.push_history(&"x".repeat(100));
    assert_eq!(header.history().concat().matches('x').count(), 100);
}

#[test]
fn structure_goes_and_look_alikes_stay() {
    let header = cards(&[
        "SIMPLE  =                    T",
        "NAXIS1  = 3",
        "ZTILE1  = 3",
        "TTYPE1  = 'COMPRESSED_DATA'",
        "COMMENT   FITS (Flexible Image Transport System) format is defined in 'Astronomy",
        "COMMENT mine",
        "ZPT_0001= 25.",
        "BSOFTEN = 7.1",
        "BSCALE  = 2.",
        "EXTNAME = 'SCI'",
    ]);
    let kept: Vec<String> = header.without_structure().iter().map(|(key, _)| key.to_owned()).collect();
    assert_eq!(kept, ["COMMENT", "ZPT_0001", "BSOFTEN", "EXTNAME"]);
}

#[test]
fn the_old_pc_spelling_is_renewed_only_without_a_matrix() {
    let old = cards(&["PC001001= -1.", "PC002001= 0."]);
    assert_eq!(old.with_modern_wcs().f64("PC1_1").unwrap(), Some(-1.0));
    assert_eq!(old.with_modern_wcs().f64("PC2_1").unwrap(), Some(0.0));
    let both = cards(&["PC001001= -1.", "CD1_1   = 2."]);
    assert!(!both.with_modern_wcs().contains("PC1_1"));
    assert!(!both.for_writing().contains("PC001001"));
}

#[test]
fn what_may_not_stand_becomes_a_comment() {
    let header = cards(&[
        "CTYPE1  = 'RA---TAN'",
        "CTYPE3  = 'FREQ'",
        "WCSAXES = 4",
        "CD1_1   = 1.",
        "PC1_1   = 1.",
        "DATE-OBS= 'yesterday'",
        "DATE_SOS= '99 05 02'",
        "DATE-END= '2001-02-03T04:05:06.7'",
        "bad key = 3",
        "JUNK    = nan",
        "OBJECT  = 'M17'",
        "OBJECT  = 'M17'",
        "OBJECT  = 'M18'",
        "CRVAL1  = 'text'",
    ])
    .for_writing();
    let keys: Vec<&str> = header.iter().map(|(key, _)| key).filter(|key| *key != "COMMENT").collect();
    assert_eq!(keys, ["WCSAXES", "CTYPE1", "CD1_1", "DATE-END", "OBJECT"]);
    assert_eq!(header.i64("WCSAXES").unwrap(), Some(2));
    let comments: String = header.iter().filter(|(key, _)| *key == "COMMENT").map(|(_, raw)| raw).collect();
    for said in ["FREQ", "yesterday", "99 05 02", "bad key", "nan", "M18", "PC1_1", "'text'"] {
        assert!(comments.contains(said), "{said}");
    }
    assert_eq!(header.for_writing(), header, "a legal header stays as it is");
}
