//! Media of other servers, for whoever keeps copies of them.

use hearth_ports::{BoxError, BoxFuture, MediaPeers, OutOptions, OutResponse, Signed};
use http::Uri;
use ruma::ServerName;

use crate::client::{Ask, Client, Signing};

impl MediaPeers for Client {
    fn get<'a>(
        &'a self,
        server: &'a ServerName,
        path_and_query: &'a str,
        signed: Signed,
        options: OutOptions,
    ) -> BoxFuture<'a, Result<OutResponse, BoxError>> {
        let mut ask = Ask::get(path_and_query.to_owned());
        ask.bytes_max = options.body_bytes_max;
        ask.time_max = options.body_time_max.max(options.head_time_max);
        ask.redirects_max = options.redirects_max;
        let signing = match signed {
            Signed::Yes => Signing::Signed,
            Signed::No => Signing::Unsigned,
        };
        Box::pin(async move {
            let response = self.exchange(server, &ask, signing).await?;
            Ok(OutResponse {
                uri: Uri::default(),
                response,
            })
        })
    }
}
