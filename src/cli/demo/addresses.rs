//! The three addresses, taken before anything is started.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
};

use anyhow::Context as _;

use super::{Demo, ending::Failure};

/// Addresses with their real ports. Until [`Addresses::release`] all three are held, so that nobody else gets them.
#[derive(Debug)]
pub struct Addresses {
    /// Where the service receives.
    pub receiver: SocketAddr,
    /// Where it answers operators.
    pub operators: SocketAddr,
    simulator: SocketAddr,
    held: Vec<TcpListener>,
}

impl Addresses {
    /// Takes all three.
    ///
    /// # Errors
    /// [`Failure::AddressTaken`] with every address that cannot be had.
    pub fn take(demo: &Demo) -> Result<Addresses, Failure> {
        let wanted = [("--simulator", demo.simulator), ("--receiver", demo.receiver), ("--operators", demo.operators)];
        let (mut held, mut refused) = (Vec::new(), Vec::new());
        for (flag, address) in wanted {
            match TcpListener::bind(address) {
                Ok(listener) => held.push(listener),
                Err(error) => refused.push(refusal(flag, address, &error)),
            }
        }
        if !refused.is_empty() {
            return Err(Failure::AddressTaken(refused.join("\n")));
        }
        let real = |nth: usize| held[nth].local_addr().context("reading the address of a listener");
        let (simulator, receiver, operators) = (real(0)?, real(1)?, real(2)?);
        Ok(Addresses { receiver, operators, simulator, held })
    }

    /// Gives the simulator its listener and lets go of the others, which the service takes for itself.
    ///
    /// # Errors
    /// When the listener cannot be used by the runtime.
    pub fn release(mut self) -> Result<(Addresses, tokio::net::TcpListener), Failure> {
        self.held.truncate(1);
        let listener = self.held.pop().context("holding the simulator's listener")?;
        let listener = listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener));
        Ok((self, listener.context("using the simulator's listener")?))
    }

    /// The address that the simulator calls.
    pub fn public_url(&self) -> String {
        url(self.receiver)
    }

    /// Where operators look.
    pub fn operators_url(&self) -> String {
        url(self.operators)
    }

    /// The tenant's back office.
    pub fn simulator_url(&self) -> String {
        url(self.simulator)
    }
}

fn refusal(flag: &str, address: SocketAddr, error: &io::Error) -> String {
    let other = SocketAddr::new(address.ip(), 0);
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another program listens on {address}: end it, or choose another address with {flag} ({flag} {other} takes \
             any free port)"
        ),
        _ => format!("listening on {address}: {error}: choose another address with {flag}, such as {flag} 127.0.0.1:0"),
    }
}

/// How this machine reaches a listener.
fn url(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("http://{address}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_every_interface_is_reached_over_the_loopback() {
        assert_eq!(url("0.0.0.0:8080".parse().unwrap()), "http://127.0.0.1:8080");
        assert_eq!(url("[::]:8080".parse().unwrap()), "http://[::1]:8080");
        assert_eq!(url("192.0.2.1:80".parse().unwrap()), "http://192.0.2.1:80");
    }

    #[test]
    fn a_taken_port_says_which_flag_chooses_another() {
        let says = refusal("--receiver", "127.0.0.1:8080".parse().unwrap(), &io::ErrorKind::AddrInUse.into());
        assert!(says.contains("127.0.0.1:8080") && says.contains("--receiver 127.0.0.1:0"), "{says}");
    }
}
