//! Glob patterns in time linear in the text.

use std::collections::HashMap;

/// Most characters of a pattern besides `*`; a longer one matches nothing.
const PATTERN_CHARS_MAX: usize = 1024;

const BITS: usize = 64;

/// A pattern of `*` (anything) and `?` (one character); letter case is ignored.
///
/// All ways to match are followed at once, as bits of an automaton, so that no pattern takes longer than
/// (characters of the text) × (characters of the pattern) / 64 steps.
#[derive(Clone, Debug)]
pub struct Glob {
    /// Characters to match besides `*`: the automaton's states are 0 to `length`, the last one accepting.
    length: usize,
    is_empty: bool,
    /// The states at which a `*` stands.
    loops: Vec<u64>,
    /// The states that any character leads on from.
    any: Vec<u64>,
    /// The states that a character of the pattern leads on from, including those of `any`.
    on: HashMap<char, Vec<u64>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Star,
    Any,
    Char(char),
}

impl Glob {
    /// Compiles a pattern.
    pub fn new(pattern: &str) -> Self {
        Self::compile(folded(pattern).map(|character| match character {
            '*' => Token::Star,
            '?' => Token::Any,
            other => Token::Char(other),
        }))
    }

    /// A pattern in which `*` and `?` stand for themselves.
    pub fn literal(text: &str) -> Self {
        Self::compile(folded(text).map(Token::Char))
    }

    fn compile(tokens: impl Iterator<Item = Token>) -> Self {
        let tokens: Vec<Token> = tokens.collect();
        let length = tokens.iter().filter(|token| **token != Token::Star).count();
        let words = if length > PATTERN_CHARS_MAX {
            0
        } else {
            length / BITS + 1
        };
        let mut glob = Self {
            length,
            is_empty: tokens.is_empty(),
            loops: vec![0; words],
            any: vec![0; words],
            on: HashMap::new(),
        };
        if words == 0 {
            return glob;
        }
        let mut state = 0;
        for token in tokens {
            match token {
                Token::Star => {
                    set(&mut glob.loops, state);
                    continue;
                }
                Token::Any => set(&mut glob.any, state),
                Token::Char(character) => {
                    let mask = glob.on.entry(character).or_insert_with(|| vec![0; words]);
                    set(mask, state);
                }
            }
            state += 1;
        }
        for mask in glob.on.values_mut() {
            for (word, any) in mask.iter_mut().zip(&glob.any) {
                *word |= any;
            }
        }
        glob
    }

    /// Whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        if self.length > PATTERN_CHARS_MAX {
            return false;
        }
        let mut states = self.start();
        for character in folded(text) {
            self.step(&mut states, character);
            if states.iter().all(|word| *word == 0) {
                return false;
            }
        }
        is_set(&states, self.length)
    }

    /// Whether a part of the text matches that begins and ends at a word boundary: at an end of the text or next to a
    /// character other than A–Z, a–z, 0–9 and `_`.
    pub fn matches_word(&self, text: &str) -> bool {
        if self.length > PATTERN_CHARS_MAX || self.is_empty {
            return false;
        }
        let mut states = self.start();
        let mut before = None;
        for character in folded(text) {
            if before.is_none_or(|before| is_boundary(before, character)) {
                if is_set(&states, self.length) {
                    return true;
                }
                set(&mut states, 0);
            }
            self.step(&mut states, character);
            before = Some(character);
        }
        is_set(&states, self.length)
    }

    fn start(&self) -> Vec<u64> {
        let mut states = vec![0; self.loops.len()];
        set(&mut states, 0);
        states
    }

    fn step(&self, states: &mut [u64], character: char) {
        let on = self.on.get(&character).unwrap_or(&self.any);
        let mut carry = 0;
        for (index, word) in states.iter_mut().enumerate() {
            let moving = *word & on[index];
            let staying = *word & self.loops[index];
            *word = staying | (moving << 1) | carry;
            carry = moving >> (BITS - 1);
        }
    }
}

fn folded(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(char::to_lowercase)
}

fn is_boundary(before: char, after: char) -> bool {
    let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    !is_word(before) || !is_word(after)
}

fn set(words: &mut [u64], bit: usize) {
    words[bit / BITS] |= 1 << (bit % BITS);
}

fn is_set(words: &[u64], bit: usize) -> bool {
    words[bit / BITS] & (1 << (bit % BITS)) != 0
}

#[cfg(test)]
mod tests;
