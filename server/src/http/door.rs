//! Who is let in: a request that names this machine. A page in a browser can make its own name stand for this machine's
//! address (DNS rebinding) and would then read what is here as if it were its own; what it asks still carries its name.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

/// Says what is allowed, and nothing about this machine.
const REFUSED: &str = "the Host of this request does not name this machine: ask for localhost, for an IP address that this \
                       server listens on, or for the machine's own host name\n";

/// By which names a connection may ask.
#[derive(Clone, Debug)]
pub struct Door {
    /// Where the server listens.
    pub bound: IpAddr,
    /// Where the connection came in: one of this machine's addresses, if the server listens on all.
    pub local: IpAddr,
    /// What the machine calls itself.
    pub host_name: Arc<str>,
}

/// What this machine calls itself.
pub fn host_name() -> Arc<str> {
    rustix::system::uname().nodename().to_string_lossy().into()
}

/// Lets a request through, or answers it with the reason why not.
pub async fn check(State(door): State<Door>, request: Request, next: Next) -> Response {
    if door.opens_for(request.headers(), request.uri()) {
        return next.run(request).await;
    }
    (StatusCode::MISDIRECTED_REQUEST, REFUSED).into_response()
}

impl Door {
    fn opens_for(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        let is_named = host.to_str().is_ok_and(|host| self.is_here(host));
        is_named && uri.authority().is_none_or(|authority| self.is_here(authority.as_str()))
    }

    /// Whether a host, with a port or without, is this machine.
    fn is_here(&self, host: &str) -> bool {
        match parse(host) {
            Some(Host::Address(address)) => {
                address.is_loopback() || [self.bound, self.local].iter().any(|own| own.to_canonical() == address)
            }
            Some(Host::Name(name)) => {
                let is = |own: &str| !own.is_empty() && name.eq_ignore_ascii_case(own);
                is("localhost") || is(&self.host_name)
            }
            None => false,
        }
    }
}

/// What a host is.
enum Host<'a> {
    Address(IpAddr),
    Name(&'a str),
}

fn parse(host: &str) -> Option<Host<'_>> {
    if let Some(rest) = host.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let address = address.parse::<Ipv6Addr>().ok()?;
        return is_port(port).then_some(Host::Address(IpAddr::V6(address).to_canonical()));
    }
    let name_end = host.find(':').unwrap_or(host.len());
    let (name, port) = host.split_at(name_end);
    if !is_port(port) {
        return None;
    }
    Some(name.parse().map_or(Host::Name(name.strip_suffix('.').unwrap_or(name)), Host::Address))
}

/// Nothing, or a colon and digits.
fn is_port(text: &str) -> bool {
    text.strip_prefix(':').map_or(text.is_empty(), |digits| digits.bytes().all(|digit| digit.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door() -> Door {
        let address = |text: &str| text.parse().unwrap();
        Door { bound: address("0.0.0.0"), local: address("::ffff:192.0.2.7"), host_name: "Keeper".into() }
    }

    #[test]
    fn names_of_this_machine_are_known_with_any_port() {
        for host in [
            "localhost",
            "LocalHost:9737",
            "localhost.:1",
            "127.0.0.1",
            "127.9.9.9:80",
            "[::1]",
            "[::1]:9737",
            "[::ffff:127.0.0.1]:1",
            "192.0.2.7:9737",
            "[::ffff:192.0.2.7]",
            "keeper",
            "KEEPER:9737",
        ] {
            assert!(door().is_here(host), "{host}");
        }
    }

    #[test]
    fn other_names_are_not_let_in_however_they_are_written() {
        for host in [
            "",
            ":9737",
            ".",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.example:9737",
            "localhost:evil.example",
            "localhost@evil.example",
            "evil@localhost",
            "192.0.2.8",
            "::1",
            "[::2]:9737",
            "[localhost]",
            "[::1]evil.example",
            "keeper.evil.example",
            "2130706433",
            " localhost",
        ] {
            assert!(!door().is_here(host), "{host}");
        }
        assert!(!Door { host_name: "".into(), ..door() }.is_here(""));
    }
}
