//! FITS header cards, kept verbatim and in order, with typed access by keyword.
//!
//! `value.rs` knows how one card is spelled; `legal.rs` makes a header fit for writing. Reading cards out
//! of files is left to `fits` and `zarr`, and what a keyword means to those who ask for it.

mod legal;
mod value;

pub use value::Value;

use crate::error::{Error, ErrorKind, Result};

/// Characters in one card.
pub const CARD_LENGTH: usize = 80;
/// Bytes in one FITS block.
pub const BLOCK_LENGTH: usize = 2880;
/// Characters of text in one HISTORY or COMMENT card.
const COMMENTARY_LENGTH: usize = CARD_LENGTH - 8;

/// What to do about a card whose value cannot be used.
const MEND_CARD: &str = "mend the card in the input's header";

/// Ordered FITS cards of 80 printable ASCII characters each, without END.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    cards: Vec<String>,
}

impl Header {
    /// A header without cards.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes cards from text: 80 characters each without line ends, up to END or the end of the text.
    ///
    /// # Errors
    /// [`ErrorKind::Header`] where the text is not cards: characters that are not printable ASCII, no END and
    /// a length that is not a multiple of 80, or no card with a value at all.
    pub fn from_cards_text(text: &str) -> Result<Self> {
        let not_cards =
            |why: String| Error::new(ErrorKind::Header, format!("the header text is not FITS cards: {why}"));
        let mut cards = Vec::new();
        let mut ended = false;
        for (index, chunk) in text.as_bytes().chunks(CARD_LENGTH).enumerate() {
            if let Some(byte) = chunk.iter().find(|byte| !(b' '..=b'~').contains(byte)) {
                return Err(not_cards(format!("card {} has the byte {byte:#04x}", index + 1)));
            }
            let card = std::str::from_utf8(chunk).expect("printable ASCII is UTF-8");
            if card.trim_end() == "END" {
                ended = true;
                break;
            }
            if chunk.len() < CARD_LENGTH && !card.trim_end().is_empty() {
                return Err(not_cards(format!("its length {} is not a multiple of 80", text.len())));
            }
            cards.push(format!("{card:<80}"));
        }
        if !ended {
            while cards.last().is_some_and(|card| card.trim_end().is_empty()) {
                cards.pop();
            }
        }
        if !cards.iter().any(|card| value::has_value(card)) {
            return Err(not_cards("no card has a keyword and a value".into()));
        }
        Ok(Self { cards })
    }

    /// The cards of a file as CFITSIO gives them; bytes that are not printable ASCII become `?`.
    pub(crate) fn from_file_bytes(bytes: &[u8]) -> Self {
        let mut cards = Vec::with_capacity(bytes.len() / CARD_LENGTH);
        for chunk in bytes.chunks(CARD_LENGTH) {
            let card = format!("{:<80}", printable(chunk.iter().map(|&byte| char::from(byte))));
            if card.trim_end() == "END" {
                break;
            }
            cards.push(card);
        }
        Self { cards }
    }

    /// All cards and END as text, filled with spaces to a multiple of 2880 characters.
    pub fn to_cards_text(&self) -> String {
        let mut text = self.cards.concat();
        text.push_str("END");
        let length = text.len().next_multiple_of(BLOCK_LENGTH);
        text.extend(std::iter::repeat_n(' ', length - text.len()));
        text
    }

    /// Number of cards, END not counted.
    pub fn len(&self) -> usize {
        self.cards.len()
    }

    /// Whether there are no cards.
    pub fn is_empty(&self) -> bool {
        self.cards.is_empty()
    }

    /// All cards in order: the keyword (for HIERARCH cards the name after HIERARCH) and the raw 80 characters.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.cards.iter().map(|card| (value::keyword(card), card.as_str()))
    }

    /// Whether a card has this keyword, in any case.
    pub fn contains(&self, key: &str) -> bool {
        self.position(key).is_some()
    }

    /// The value of the first card with this keyword; `None` where there is none or it has no value.
    ///
    /// # Errors
    /// [`ErrorKind::Header`] if the card's value field is not legal FITS.
    pub fn value(&self, key: &str) -> Result<Option<Value>> {
        let Some(index) = self.position(key) else { return Ok(None) };
        let value = value::parse(&self.cards[index]).map_err(|why| {
            let text = format!("the value of {} is not legal FITS: {why}", value::plain_key(key));
            Error::new(ErrorKind::Header, text).help(MEND_CARD)
        })?;
        Ok(match value {
            Some(Value::Text(first)) => Some(Value::Text(value::continued(first, &self.cards[index + 1..]))),
            other => other,
        })
    }

    /// A real or integer value.
    ///
    /// # Errors
    /// [`ErrorKind::Header`] if the keyword is there with a value of another type.
    pub fn f64(&self, key: &str) -> Result<Option<f64>> {
        match self.value(key)? {
            None => Ok(None),
            Some(Value::Real(number)) => Ok(Some(number)),
            // Integers beyond 2^53 lose digits here, as they do in every FITS reader.
            #[expect(clippy::cast_precision_loss, reason = "the caller asks for a real number")]
            Some(Value::Int(number)) => Ok(Some(number as f64)),
            Some(other) => Err(wrong_type(key, "a number", &other)),
        }
    }

    /// An integer value, or a real one without a fraction.
    ///
    /// # Errors
    /// [`ErrorKind::Header`] if the keyword is there with a value of another type.
    pub fn i64(&self, key: &str) -> Result<Option<i64>> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        match self.value(key)? {
            None => Ok(None),
            Some(Value::Int(number)) => Ok(Some(number)),
            #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
            Some(Value::Real(number)) if number.fract() == 0.0 && number.abs() <= EXACT => Ok(Some(number as i64)),
            Some(other) => Err(wrong_type(key, "an integer", &other)),
        }
    }

    /// A logical value, T or F.
    ///
    /// # Errors
    /// [`ErrorKind::Header`] if the keyword is there with a value of another type.
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        match self.value(key)? {
            None => Ok(None),
            Some(Value::Logical(truth)) => Ok(Some(truth)),
            Some(other) => Err(wrong_type(key, "T or F", &other)),
        }
    }

    /// A text value without its trailing spaces; a long one is joined from its CONTINUE cards.
    ///
    /// # Errors
    /// [`ErrorKind::Header`] if the keyword is there with a value of another type.
    pub fn text(&self, key: &str) -> Result<Option<String>> {
        match self.value(key)? {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(key, "text in quotes", &other)),
        }
    }

    /// Sets a keyword: in place of its first card (with the CONTINUE cards of that one), else at the end.
    ///
    /// Keywords that are not plain FITS ones become HIERARCH cards; an empty `comment` writes none.
    ///
    /// # Errors
    /// [`ErrorKind::Header`] for what no card can hold: a number that is not finite, text that is not
    /// printable ASCII, a keyword with `=` or longer than a card allows.
    pub fn set(&mut self, key: &str, value: impl Into<Value>, comment: &str) -> Result<()> {
        let new = value::format(key, &value.into(), &printable(comment.chars()))?;
        match self.position(key) {
            Some(index) => {
                let end = self.end_of_record(index);
                self.cards.splice(index..end, new);
            }
            None => self.cards.extend(new),
        }
        Ok(())
    }

    /// Removes all cards with this keyword and the CONTINUE cards that belong to them.
    pub fn remove(&mut self, key: &str) {
        while let Some(index) = self.position(key) {
            let end = self.end_of_record(index);
            self.cards.drain(index..end);
        }
    }

    /// Appends HISTORY cards; long text goes over several, characters FITS cannot hold become `?`.
    pub fn push_history(&mut self, text: &str) {
        self.push_commentary("HISTORY", text);
    }

    /// Appends COMMENT cards; long text goes over several, characters FITS cannot hold become `?`.
    pub fn push_comment(&mut self, text: &str) {
        self.push_commentary("COMMENT", text);
    }

    /// The text of the HISTORY cards in order.
    pub fn history(&self) -> Vec<&str> {
        self.iter().filter(|(key, _)| *key == "HISTORY").map(|(_, raw)| raw[8..].trim_end()).collect()
    }

    fn push_commentary(&mut self, keyword: &str, text: &str) {
        for line in text.lines() {
            let line = printable(line.chars());
            let mut rest = line.trim_end();
            loop {
                let (now, later) = split_line(rest);
                self.cards.push(format!("{:<80}", format!("{keyword:<8}{now}")));
                if later.is_empty() {
                    break;
                }
                rest = later;
            }
        }
    }

    fn position(&self, key: &str) -> Option<usize> {
        let key = value::plain_key(key);
        self.cards.iter().position(|card| value::keyword(card).eq_ignore_ascii_case(key))
    }

    /// The index behind the CONTINUE cards of the card at `index`.
    fn end_of_record(&self, index: usize) -> usize {
        index + 1 + value::continuations(&self.cards[index], &self.cards[index + 1..])
    }
}

fn wrong_type(key: &str, wanted: &str, found: &Value) -> Error {
    let text = format!("{} is {found}, expected {wanted}", value::plain_key(key));
    Error::new(ErrorKind::Header, text).help(MEND_CARD)
}

/// Text with `?` for every character a card cannot hold; a tab counts as a space.
fn printable(text: impl Iterator<Item = char>) -> String {
    text.map(|c| match c {
        ' '..='~' => c,
        '\t' | '\0' => ' ',
        _ => '?',
    })
    .collect()
}

/// Cuts what one commentary card holds off the front, at a space where there is one in the last third.
fn split_line(text: &str) -> (&str, &str) {
    if text.len() <= COMMENTARY_LENGTH {
        return (text, "");
    }
    let at = text[..=COMMENTARY_LENGTH].rfind(' ').filter(|&at| at > COMMENTARY_LENGTH * 2 / 3);
    match at {
        Some(at) => (&text[..at], text[at..].trim_start()),
        None => text.split_at(COMMENTARY_LENGTH),
    }
}

#[cfg(test)]
mod tests;
