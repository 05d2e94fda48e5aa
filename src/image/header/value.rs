//! How one card is spelled: keyword, value and comment, read and written.
//!
//! Source: FITS standard 4.0, section 4; HIERARCH and CONTINUE as their registered conventions say.

use crate::error::{Error, ErrorKind, Result};
use std::fmt;

/// What a card says.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An integer.
    Int(i64),
    /// A real number, finite.
    Real(f64),
    /// Text without its trailing spaces.
    Text(String),
    /// T or F.
    Logical(bool),
    /// A complex number, kept as it is spelled.
    Complex(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => write!(f, "{number}"),
            Self::Real(number) => write!(f, "{}", real(*number)),
            Self::Text(text) => write!(f, "'{text}'"),
            Self::Logical(truth) => f.write_str(if *truth { "T" } else { "F" }),
            Self::Complex(text) => f.write_str(text),
        }
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Logical(truth)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// The keyword of a card; for a HIERARCH card the name behind that word.
pub(super) fn keyword(card: &str) -> &str {
    if let Some(rest) = card.strip_prefix("HIERARCH ")
        && let Some(equals) = rest.find('=')
    {
        return rest[..equals].trim();
    }
    card[..8].trim_end()
}

/// A keyword as asked for, without the word HIERARCH.
pub(super) fn plain_key(key: &str) -> &str {
    let key = key.trim();
    match key.get(..9) {
        Some(word) if word.eq_ignore_ascii_case("HIERARCH ") => key[9..].trim_start(),
        _ => key,
    }
}

/// Whether a card has a keyword and a value field.
pub(super) fn has_value(card: &str) -> bool {
    value_field(card).is_some() && !keyword(card).is_empty()
}

/// The text behind the value indicator, comment included.
pub(super) fn value_field(card: &str) -> Option<&str> {
    if card.starts_with("HIERARCH ") {
        return card.find('=').map(|equals| &card[equals + 1..]);
    }
    if matches!(&card[..8], "COMMENT " | "HISTORY " | "        " | "CONTINUE") {
        return None;
    }
    (&card[8..10] == "= ").then(|| &card[10..])
}

/// The value of a card; `None` for a card without one.
///
/// # Errors
/// Why the value field is not legal.
pub(super) fn parse(card: &str) -> Result<Option<Value>, String> {
    value_field(card).map_or(Ok(None), parse_field)
}

fn parse_field(field: &str) -> Result<Option<Value>, String> {
    let field = field.trim_start();
    if field.starts_with('\'') {
        let (text, rest) = quoted(field).ok_or("its closing quote is missing")?;
        let rest = rest.trim_start();
        if !rest.is_empty() && !rest.starts_with('/') {
            return Err(format!("'{}' stands between value and comment", rest.trim_end()));
        }
        return Ok(Some(Value::Text(text)));
    }
    let token = field.split('/').next().unwrap_or_default().trim();
    match token {
        "" => Ok(None),
        "T" => Ok(Some(Value::Logical(true))),
        "F" => Ok(Some(Value::Logical(false))),
        _ if token.starts_with('(') => complex(token).map(Some),
        _ => number(token).map(Some),
    }
}

/// Splits quoted text from what follows it; trailing spaces of the text are not significant.
fn quoted(field: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut rest = field.strip_prefix('\'')?;
    loop {
        let quote = rest.find('\'')?;
        text.push_str(&rest[..quote]);
        rest = &rest[quote + 1..];
        match rest.strip_prefix('\'') {
            Some(more) => {
                text.push('\'');
                rest = more;
            }
            None => return Some((text.trim_end().to_owned(), rest)),
        }
    }
}

fn number(token: &str) -> Result<Value, String> {
    let not_a_number = || format!("'{token}' is neither text in quotes, a number, T nor F");
    let legal = token.bytes().all(|b| b.is_ascii_digit() || b"+-.eEdD".contains(&b));
    if !legal || !token.bytes().any(|b| b.is_ascii_digit()) {
        return Err(not_a_number());
    }
    if let Ok(number) = token.parse::<i64>() {
        return Ok(Value::Int(number));
    }
    match token.replace(['d', 'D'], "E").parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(Value::Real(number)),
        Ok(_) => Err(format!("'{token}' is too large")),
        Err(_) => Err(not_a_number()),
    }
}

fn complex(token: &str) -> Result<Value, String> {
    let parts = token.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).and_then(|rest| rest.split_once(','));
    let (re, im) = parts.ok_or_else(|| format!("'{token}' is not a complex number"))?;
    number(re.trim())?;
    number(im.trim())?;
    Ok(Value::Complex(token.to_owned()))
}

/// The number of CONTINUE cards in `next` that belong to `card`.
pub(super) fn continuations(card: &str, next: &[String]) -> usize {
    let Ok(Some(Value::Text(text))) = parse(card) else { return 0 };
    let mut open = text.ends_with('&');
    let mut count = 0;
    while open && let Some(more) = next.get(count).and_then(|card| continuation(card)) {
        open = more.ends_with('&');
        count += 1;
    }
    count
}

/// Joins the first text of a long value with that of the CONTINUE cards behind it.
pub(super) fn continued(mut text: String, next: &[String]) -> String {
    for card in next {
        let Some(more) = text.ends_with('&').then(|| continuation(card)).flatten() else { break };
        text.pop();
        text.push_str(&more);
    }
    text
}

fn continuation(card: &str) -> Option<String> {
    let field = card.strip_prefix("CONTINUE")?;
    quoted(field.trim_start()).map(|(text, _)| text)
}

/// The cards that spell a keyword with its value.
///
/// # Errors
/// [`ErrorKind::Header`] for what no card can hold.
pub(super) fn format(key: &str, value: &Value, comment: &str) -> Result<Vec<String>> {
    let start = start(key)?;
    let refuse = |why: &str| Err(Error::new(ErrorKind::Header, format!("{} cannot be written: {why}", plain_key(key))));
    let token = match value {
        Value::Real(number) if !number.is_finite() => return refuse("a FITS card holds no NaN and no infinity"),
        Value::Text(text) if !text.bytes().all(|b| (b' '..=b'~').contains(&b)) => {
            return refuse("a FITS card holds printable ASCII only");
        }
        Value::Text(text) => return Ok(format_text(&start, text, comment)),
        other => format!("{other:>20}", other = other.to_string()),
    };
    if start.len() + token.len() > 80 {
        let short = format!("{start}{}", token.trim_start());
        return if short.len() <= 80 { Ok(vec![format!("{short:<80}")]) } else { refuse("the keyword is too long") };
    }
    Ok(vec![with_comment(&format!("{start}{token}"), comment)])
}

/// The front of a card up to the value: `KEYWORD = ` or `HIERARCH ANY.NAME = `.
fn start(key: &str) -> Result<String> {
    let key = plain_key(key).to_ascii_uppercase();
    if is_plain(&key) {
        return Ok(format!("{key:<8}= "));
    }
    let legal = !key.is_empty() && key.len() <= 50 && key.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=');
    if !legal {
        return Err(Error::new(ErrorKind::Header, format!("'{key}' is no FITS keyword")));
    }
    Ok(format!("HIERARCH {key} = "))
}

/// Whether this is a keyword of the standard: up to eight of A-Z, 0-9, hyphen and underscore.
pub(super) fn is_plain(key: &str) -> bool {
    let legal = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    !key.is_empty() && key.len() <= 8 && key.bytes().all(legal)
}

fn with_comment(card: &str, comment: &str) -> String {
    let mut card = card.to_owned();
    if !comment.is_empty() && card.len() + 4 <= 80 {
        card = format!("{card} / {comment}");
        card.truncate(80);
    }
    format!("{card:<80}")
}

/// One card, or a card and its CONTINUE cards where the text is longer.
fn format_text(start: &str, text: &str, comment: &str) -> Vec<String> {
    let escaped = |text: &str| text.replace('\'', "''");
    let whole = format!("{start}'{:<8}'", escaped(text));
    // Text that ends in & would be taken for a long one.
    if whole.len() <= 80 {
        return vec![with_comment(&format!("{whole:<30}"), comment)];
    }
    let mut cards = Vec::new();
    let mut front = start.to_owned();
    let mut rest = text;
    while !rest.is_empty() {
        let room = 80 - front.len() - 3;
        let mut taken = 0;
        let mut width = 0;
        for c in rest.bytes() {
            width += if c == b'\'' { 2 } else { 1 };
            if width > room {
                break;
            }
            taken += 1;
        }
        let (now, later) = rest.split_at(taken);
        let mark = if later.is_empty() { "" } else { "&" };
        cards.push(format!("{:<80}", format!("{front}'{}{mark}'", escaped(now))));
        "CONTINUE  ".clone_into(&mut front);
        rest = later;
    }
    if let Some(last) = cards.last_mut() {
        *last = with_comment(last.trim_end(), comment);
    }
    cards
}

/// A real number with the fewest digits that give the same f64 back, as FITS spells it.
fn real(number: f64) -> String {
    let text = format!("{number:?}").replace('e', "E");
    match text.split_once('E') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0E{exponent}"),
        _ => text,
    }
}
