//! JSON put together of ready pieces: what is stored is spliced, not parsed and printed again.

use serde_json::value::RawValue;

/// A JSON text that is being written. The caller sees to it that objects and arrays are closed.
#[derive(Debug, Default)]
pub(crate) struct JsonWriter {
    out: String,
    needs_comma: bool,
}

impl JsonWriter {
    pub(crate) fn new() -> Self {
        Self {
            out: String::with_capacity(1024),
            needs_comma: false,
        }
    }

    pub(crate) fn begin_object(&mut self) {
        self.open('{');
    }

    pub(crate) fn end_object(&mut self) {
        self.close('}');
    }

    pub(crate) fn begin_array(&mut self) {
        self.open('[');
    }

    pub(crate) fn end_array(&mut self) {
        self.close(']');
    }

    /// A field's name; its value follows.
    pub(crate) fn key(&mut self, name: &str) {
        self.comma();
        push_quoted(&mut self.out, name);
        self.out.push(':');
        self.needs_comma = false;
    }

    /// A value that is JSON already.
    pub(crate) fn raw(&mut self, json: &str) {
        self.comma();
        self.out.push_str(json);
        self.needs_comma = true;
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.comma();
        push_quoted(&mut self.out, text);
        self.needs_comma = true;
    }

    pub(crate) fn number(&mut self, number: u64) {
        self.raw(&number.to_string());
    }

    pub(crate) fn boolean(&mut self, value: bool) {
        self.raw(if value { "true" } else { "false" });
    }

    /// A field with an array of values that are JSON already.
    pub(crate) fn array_field(&mut self, name: &str, values: &[Box<RawValue>]) {
        self.key(name);
        self.begin_array();
        for value in values {
            self.raw(value.get());
        }
        self.end_array();
    }

    /// A field `{"events": [...]}`.
    pub(crate) fn events_field(&mut self, name: &str, events: &[Box<RawValue>]) {
        self.key(name);
        self.begin_object();
        self.array_field("events", events);
        self.end_object();
    }

    pub(crate) fn finish(self) -> String {
        self.out
    }

    /// The text as a value of its own.
    pub(crate) fn finish_raw(self) -> Box<RawValue> {
        RawValue::from_string(self.out).unwrap_or_else(|error| {
            tracing::error!(%error, "a piece of an answer is not JSON");
            RawValue::NULL.to_owned()
        })
    }

    fn open(&mut self, bracket: char) {
        self.comma();
        self.out.push(bracket);
        self.needs_comma = false;
    }

    fn close(&mut self, bracket: char) {
        self.out.push(bracket);
        self.needs_comma = true;
    }

    fn comma(&mut self) {
        if self.needs_comma {
            self.out.push(',');
        }
    }
}

fn push_quoted(out: &mut String, text: &str) {
    let is_plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::Value::from(text).to_string());
    }
}

/// `{"type": …, "content": …}`: account data and ephemeral events. `None`, with a line in the log, if the content is no
/// object: a client would stumble over it.
pub(crate) fn typed(kind: &str, content: &str) -> Option<Box<RawValue>> {
    let content = serde_json::from_str::<&RawValue>(content).ok();
    let Some(content) = content.filter(|content| content.get().starts_with('{')) else {
        tracing::error!(
            kind,
            "left out what is stored with a content that is no object"
        );
        return None;
    };
    let mut json = JsonWriter::new();
    json.begin_object();
    json.key("type");
    json.text(kind);
    json.key("content");
    json.raw(content.get());
    json.end_object();
    Some(json.finish_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_and_escapes_come_out_right() {
        let mut json = JsonWriter::new();
        json.begin_object();
        json.key("a\"b");
        json.begin_array();
        json.number(1);
        json.text("x\n");
        json.begin_object();
        json.end_object();
        json.end_array();
        json.key("c");
        json.boolean(true);
        json.events_field("d", &[typed("t", "{}").unwrap()]);
        json.end_object();
        assert_eq!(
            json.finish(),
            r#"{"a\"b":[1,"x\n",{}],"c":true,"d":{"events":[{"type":"t","content":{}}]}}"#
        );
    }
}
