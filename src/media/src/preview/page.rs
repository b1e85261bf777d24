//! What a page says of itself: OpenGraph, or what stands in for it. Read token by token, without making a tree.

use std::borrow::Cow;
use std::cell::RefCell;

use html5ever::TokenizerResult;
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{
    BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
};
use serde_json::{Map, Value};
use tokio::time::Instant;

/// Properties that are looked at.
const PROPERTIES_MAX: usize = 200;
/// Longest title and other short text, in characters.
const SHORT_MAX: usize = 300;
/// Longest description, in characters.
const LONG_MAX: usize = 1_000;
/// How much is read before the time is looked at, in bytes.
const STEP: usize = 4 << 10;

/// Properties that clients are told, and how long they may be.
const TOLD: &[(&str, usize)] = &[
    ("og:type", SHORT_MAX),
    ("og:url", LONG_MAX),
    ("og:site_name", SHORT_MAX),
    ("og:locale", SHORT_MAX),
];

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// `<meta>` by its property or name, in lower case; the first of each counts.
    properties: Vec<(String, String)>,
    title: Option<String>,
    heading: Option<String>,
    paragraph: Option<String>,
    image: Option<String>,
}

/// The text of a page: UTF-8, or Latin-1 where it is not.
pub(super) fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        // Cut within a character.
        Err(error) if error.error_len().is_none() => String::from_utf8_lossy(bytes),
        Err(_) => Cow::Owned(bytes.iter().copied().map(char::from).collect()),
    }
}

/// Reads a page, or as much of it as is possible in time.
pub(super) fn read(html: &str, until: Instant) -> Page {
    let tokenizer = Tokenizer::new(Reader::default(), TokenizerOpts::default());
    let input = BufferQueue::default();
    let mut rest = html;
    while !rest.is_empty() && Instant::now() < until {
        let (step, later) = rest.split_at(rest.floor_char_boundary(STEP.min(rest.len())));
        rest = later;
        input.push_back(StrTendril::from_slice(step));
        // Scripts are not run: go on behind them.
        while let TokenizerResult::Script(()) = tokenizer.feed(&input) {}
    }
    tokenizer.end();
    tokenizer.sink.0.into_inner().page
}

impl Page {
    fn property(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|wanted| {
            let found = self.properties.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.as_str())
        })
    }

    /// Where its image is, as the page writes it.
    pub(super) fn image(&self) -> Option<&str> {
        let names = [
            "og:image:secure_url",
            "og:image",
            "og:image:url",
            "twitter:image",
            "twitter:image:src",
        ];
        self.property(&names).or(self.image.as_deref())
    }

    /// What clients are told, but for the image.
    pub(super) fn said(&self) -> Map<String, Value> {
        let title = self.property(&["og:title", "twitter:title"]);
        let title = title.or(self.title.as_deref()).or(self.heading.as_deref());
        let description = self.property(&["og:description", "twitter:description", "description"]);
        let description = description.or(self.paragraph.as_deref());
        let told = TOLD
            .iter()
            .map(|(name, length_max)| (*name, self.property(&[*name]), *length_max));
        [
            ("og:title", title, SHORT_MAX),
            ("og:description", description, LONG_MAX),
        ]
        .into_iter()
        .chain(told)
        .filter_map(|(name, value, length_max)| {
            let value = tidy(value?, length_max);
            (!value.is_empty()).then(|| (name.to_owned(), Value::from(value)))
        })
        .collect()
    }
}

/// Without superfluous blanks, cut to a length.
fn tidy(text: &str, length_max: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(length_max).collect()
}

/// Takes the tokens.
#[derive(Default)]
struct Reader(RefCell<Reading>);

#[derive(Default)]
struct Reading {
    page: Page,
    /// The text that is being collected.
    collecting: Option<(Collected, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Collected {
    Title,
    Heading,
    Paragraph,
}

impl TokenSink for Reader {
    type Handle = ();

    fn process_token(&self, token: Token, _: u64) -> TokenSinkResult<()> {
        let mut reading = self.0.borrow_mut();
        match token {
            Token::TagToken(tag) if tag.kind == TagKind::StartTag => reading.start(&tag),
            Token::TagToken(tag) => {
                reading.end(&tag.name);
                TokenSinkResult::Continue
            }
            Token::CharacterTokens(text) => {
                reading.text(&text);
                TokenSinkResult::Continue
            }
            _ => TokenSinkResult::Continue,
        }
    }
}

impl Reading {
    fn start(&mut self, tag: &Tag) -> TokenSinkResult<()> {
        let page = &self.page;
        let collected = match &*tag.name {
            "title" if page.title.is_none() => Some(Collected::Title),
            "h1" if page.heading.is_none() => Some(Collected::Heading),
            "p" if page.paragraph.is_none() => Some(Collected::Paragraph),
            _ => None,
        };
        if let Some(collected) = collected {
            self.collecting = Some((collected, String::new()));
        }
        match &*tag.name {
            "meta" => self.meta(tag),
            "link" => self.link(tag),
            _ => {}
        }
        match &*tag.name {
            "title" | "textarea" => TokenSinkResult::RawData(RawKind::Rcdata),
            "style" | "noscript" | "iframe" | "noembed" | "noframes" | "xmp" => {
                TokenSinkResult::RawData(RawKind::Rawtext)
            }
            "script" => TokenSinkResult::RawData(RawKind::ScriptData),
            "plaintext" => TokenSinkResult::Plaintext,
            _ => TokenSinkResult::Continue,
        }
    }

    fn end(&mut self, name: &str) {
        let (ends, place) = match (&self.collecting, name) {
            (Some((Collected::Title, _)), "title") => (true, &mut self.page.title),
            (Some((Collected::Heading, _)), "h1") => (true, &mut self.page.heading),
            (Some((Collected::Paragraph, _)), "p") => (true, &mut self.page.paragraph),
            _ => (false, &mut self.page.title),
        };
        if let (true, Some((_, text))) = (ends, self.collecting.take_if(|_| ends)) {
            *place = Some(tidy(&text, LONG_MAX)).filter(|text| !text.is_empty());
        }
    }

    fn text(&mut self, more: &str) {
        if let Some((_, text)) = &mut self.collecting
            && text.len() < LONG_MAX * 4
        {
            text.push_str(more);
        }
    }

    fn meta(&mut self, tag: &Tag) {
        let name = attribute(tag, "property").or_else(|| attribute(tag, "name"));
        let content = attribute(tag, "content").filter(|content| !content.trim().is_empty());
        if let (Some(name), Some(content)) = (name, content)
            && self.page.properties.len() < PROPERTIES_MAX
        {
            let name = name.trim().to_ascii_lowercase();
            self.page.properties.push((name, content.to_owned()));
        }
    }

    fn link(&mut self, tag: &Tag) {
        if attribute(tag, "rel") == Some("image_src") && self.page.image.is_none() {
            self.page.image = attribute(tag, "href").map(str::to_owned);
        }
    }
}

fn attribute<'a>(tag: &'a Tag, name: &str) -> Option<&'a str> {
    let found = tag
        .attrs
        .iter()
        .find(|attribute| &*attribute.name.local == name);
    found.map(|attribute| &*attribute.value)
}

#[cfg(test)]
mod tests;
