//! The routes of the client-server API, from `routes.tsv`.

use http::Method;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Anyone.
    None,
    /// Anyone, and who has a token may see more.
    Optional,
    /// Only with an access token.
    Token,
}

/// One route.
#[derive(Clone, Debug)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, parameters in braces.
    pub path: String,
    /// Who may call it.
    pub auth: Auth,
    /// Names of the query parameters.
    pub query: Vec<String>,
    /// Fields of the body and their JSON types.
    pub body: Vec<(String, String)>,
}

impl Route {
    /// The names of the path's parameters.
    #[must_use]
    pub fn parameters(&self) -> Vec<&str> {
        self.path
            .split('{')
            .skip(1)
            .filter_map(|part| part.split_once('}').map(|(name, _)| name))
            .collect()
    }
}

/// All routes of the file.
#[must_use]
pub fn routes() -> Vec<Route> {
    include_str!("../../routes.tsv")
        .lines()
        .skip(1)
        .filter_map(parse)
        .collect()
}

fn parse(line: &str) -> Option<Route> {
    let mut columns = line.split('\t');
    let method = columns.next()?.parse().ok()?;
    let path = columns.next()?.to_owned();
    let auth = match columns.next()? {
        "none" => Auth::None,
        "optional" => Auth::Optional,
        _ => Auth::Token,
    };
    let words = |list: &str| {
        list.split(',')
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let query = words(columns.next()?);
    let body = words(columns.next()?);
    let body = body.iter().filter_map(|field| field.split_once(':'));
    let body = body
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect();
    Some(Route {
        method,
        path,
        auth,
        query,
        body,
    })
}
