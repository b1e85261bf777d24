//! Glob patterns in time linear in the text.

/// A pattern of `*` (anything) and `?` (one character).
#[derive(Clone, Debug)]
pub struct Glob {}

impl Glob {
    /// Compiles a pattern; letter case is ignored.
    pub fn new(pattern: &str) -> Self {
        let _ = pattern;
        unimplemented!()
    }

    /// Whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        let _ = text;
        unimplemented!()
    }

    /// Whether a part of the text matches that begins and ends at a word boundary.
    pub fn matches_word(&self, text: &str) -> bool {
        let _ = text;
        unimplemented!()
    }
}
