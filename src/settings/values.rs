//! Values with a rule of their own.

use std::{fmt, net::IpAddr, time::Duration};

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, de::Error};
use url::Url;

/// A value that no log line, error or `Debug` shows.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// The value itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// For telling whether a secret was changed; a signature is compared elsewhere, in constant time.
impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        self.expose() == other.expose()
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Secret {
        Secret(SecretString::from(value))
    }
}

impl AsRef<[u8]> for Secret {
    fn as_ref(&self) -> &[u8] {
        self.expose().as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        match String::deserialize(from)? {
            empty if empty.is_empty() => Err(D::Error::custom("missing: set it, or the same key with _file")),
            value => Ok(Secret(SecretString::from(value))),
        }
    }
}

pub(super) fn optional_secret<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Secret>, D::Error> {
    let value = String::deserialize(from)?;
    Ok((!value.is_empty()).then(|| Secret(SecretString::from(value))))
}

pub(super) fn required<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    match String::deserialize(from)? {
        empty if empty.is_empty() => Err(D::Error::custom("missing")),
        value => Ok(value),
    }
}

/// Longer than anything is meant to take, and short enough to be added to a time.
const DURATION_LIMIT: Duration = Duration::from_secs(36_525 * 86_400);

/// A time such as `15m`.
pub(super) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let duration: Duration = humantime_serde::deserialize(from)?;
    if duration > DURATION_LIMIT { Err(D::Error::custom("must be at most 100 years")) } else { Ok(duration) }
}

pub(super) fn optional_url<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Url>, D::Error> {
    let value = String::deserialize(from)?;
    if value.is_empty() { Ok(None) } else { http_url(&value).map(Some).map_err(D::Error::custom) }
}

/// Networks; an address alone is a network of one.
pub(super) fn networks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
    let parse = |text: &String| {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network
            .map_err(|_| D::Error::custom(format!("{text:?} is neither an address nor a network such as 10.0.3.0/24")))
    };
    Vec::<String>::deserialize(from)?.iter().map(parse).collect()
}

/// The back office of a tenant. Plain http is for machines without a network between: the simulator.
pub(super) fn base_url<'de, D: Deserializer<'de>>(from: D) -> Result<Url, D::Error> {
    let value = String::deserialize(from)?;
    if value.is_empty() {
        return Err(D::Error::custom("missing: the address of the back office, such as https://acme.talent-soft.com"));
    }
    let url = http_url(&value).map_err(D::Error::custom)?;
    let local = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || !name.contains('.'),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.scheme() != "https" && !local {
        return Err(D::Error::custom("must begin with https: candidates and credentials travel over it"));
    }
    Ok(url)
}

fn http_url(value: &str) -> Result<Url, String> {
    let url = Url::parse(value).map_err(|error| format!("not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("not a URL that begins with https:// or http://".into());
    }
    if url.username() != "" || url.password().is_some() {
        return Err("must not hold a user name or password".into());
    }
    Ok(url)
}
