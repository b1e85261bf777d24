//! JSON put together of ready pieces.

use hearth_event::canonical::quote;

/// An object that is being written.
#[derive(Debug)]
pub(crate) struct Object {
    out: String,
}

impl Object {
    pub(crate) fn new() -> Self {
        Self {
            out: "{".to_owned(),
        }
    }

    /// Goes on with a JSON object that is ready.
    pub(crate) fn of(json: &str) -> Self {
        let open = json.trim_end().strip_suffix('}').unwrap_or("{");
        Self {
            out: open.to_owned(),
        }
    }

    /// Adds a field whose value is JSON already.
    pub(crate) fn raw(&mut self, name: &str, value: &str) {
        if self.out.len() > 1 {
            self.out.push(',');
        }
        self.out.push_str(&quote(name));
        self.out.push(':');
        self.out.push_str(value);
    }

    /// Adds a field whose value is text.
    pub(crate) fn text(&mut self, name: &str, value: &str) {
        self.raw(name, &quote(value));
    }

    pub(crate) fn finish(mut self) -> String {
        self.out.push('}');
        self.out
    }
}

/// An array of values that are JSON already.
pub(crate) fn array<'a>(values: impl Iterator<Item = &'a str>) -> String {
    let mut out = "[".to_owned();
    for value in values {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(value);
    }
    out.push(']');
    out
}

/// An object of values that are JSON already.
pub(crate) fn object<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut object = Object::new();
    for (name, value) in fields {
        object.raw(name, value);
    }
    object.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_objects() {
        let mut object = Object::of(r#"{"a":1}"#);
        object.text("b\"", "x");
        object.raw("c", &array(["1", "{}"].into_iter()));
        assert_eq!(object.finish(), r#"{"a":1,"b\"":"x","c":[1,{}]}"#);
        let mut empty = Object::of("{}");
        empty.raw("a", "1");
        assert_eq!(empty.finish(), r#"{"a":1}"#);
        assert_eq!(Object::new().finish(), "{}");
    }
}
