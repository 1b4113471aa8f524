//! Which names the operators' listener answers to: a page in an operator's browser whose name was made to lead here is
//! told nothing.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::sync::watch;

use super::problem::Problem;
use crate::settings::Settings;

/// Passes requests on whose Host is `localhost`, an address, or named in `ops.hosts`.
pub(super) async fn check(
    State(settings): State<watch::Receiver<Arc<Settings>>>,
    request: Request,
    next: Next,
) -> Response {
    // HTTP/1.1 has one Host; of an absolute target it says the same.
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let is_known = host.is_none_or(|host| is_known(host, &settings.borrow().ops.hosts));
    if is_known {
        next.run(request).await
    } else {
        Problem::misdirected("name the host of this request in ops.hosts, or ask by address").into_response()
    }
}

fn is_known(host: &str, hosts: &[String]) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_matches(['[', ']']);
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok()
        || hosts.iter().any(|known| name.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_this_machine_and_what_is_listed_are_known() {
        let hosts = ["indexer.internal".to_owned()];
        for host in ["localhost", "LOCALHOST:9090", "127.0.0.1:9090", "10.0.3.7", "[::1]:9090", "indexer.internal:9090"]
        {
            assert!(is_known(host, &hosts), "{host}");
        }
        for host in
            ["evil.example.com", "evil.example.com:9090", "127.0.0.1.evil.example.com", "", "localhost.evil", "@"]
        {
            assert!(!is_known(host, &hosts), "{host}");
        }
    }
}
