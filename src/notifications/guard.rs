//! Where a webhook may lie. Who sets the address of a webhook must not reach through the server
//! what only the server can reach: loopback, private networks, the metadata service of a cloud.
//!
//! Addresses are judged where the connection is made: the resolver below hands out only what was
//! found good, so a name that answers otherwise the second time gains nothing. An address written in
//! the URL never meets a resolver and is judged by [`Guard::permits_host`]. Redirects are not
//! followed, proxies of the environment not used, so there is no third way.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Host;

/// IPv4 that is not the public internet, or not one host of it.
const CLOSED_V4: &[(Ipv4Addr, u8)] = &[
    // This network, and "any".
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    // Carrier-grade NAT; 100.100.100.200 is a metadata service.
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Link-local; 169.254.169.254 is the metadata service of most clouds.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    // IETF protocol assignments; 192.0.0.192 is a metadata service.
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    // Documentation, three times.
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Relays of 6to4.
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    // Benchmarks.
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    // A public address by number, and yet the inside of a cloud.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    // Multicast, reserved, broadcast.
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// IPv6 inside 2000::/3 that is not the public internet. Outside of it nothing is.
const CLOSED_V6: &[(Ipv6Addr, u8)] = &[
    // IETF protocol assignments, Teredo among them, which carries an IPv4 address.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    // Documentation, twice.
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    // 6to4, which carries an IPv4 address.
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
];

const GLOBAL_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// How an IPv6-only network reaches IPv4: the last four bytes are the address.
const NAT64: (Ipv6Addr, u8) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// A name leads to no address that a webhook may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no address of the host is one that webhooks may reach")]
pub struct ForbiddenAddress;

/// What one kind of webhook may reach.
#[derive(Debug, Clone)]
pub struct Guard {
    allowed: Arc<[IpNet]>,
    admits_public: bool,
}

impl Guard {
    /// The public internet and the networks that are named.
    pub fn public_and(allowed: Arc<[IpNet]>) -> Self {
        Self {
            allowed,
            admits_public: true,
        }
    }

    /// The networks that are named and nothing else: for webhooks without TLS.
    pub fn only(allowed: Arc<[IpNet]>) -> Self {
        Self {
            allowed,
            admits_public: false,
        }
    }

    pub fn permits(&self, address: IpAddr) -> bool {
        // ::ffff:127.0.0.1 is 127.0.0.1.
        let address = address.to_canonical();
        self.allowed
            .iter()
            .any(|network| network.contains(&address))
            || (self.admits_public && is_public(address))
    }

    /// Whether the host of a URL may be tried; a name is judged when it is resolved.
    pub fn permits_host(&self, host: &Host<&str>) -> bool {
        match host {
            Host::Domain(_) => true,
            Host::Ipv4(address) => self.permits(IpAddr::V4(*address)),
            Host::Ipv6(address) => self.permits(IpAddr::V6(*address)),
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let permitted: Vec<SocketAddr> =
                found.filter(|found| guard.permits(found.ip())).collect();
            if permitted.is_empty() {
                return Err(ForbiddenAddress.into());
            }
            let addresses: Addrs = Box::new(permitted.into_iter());
            Ok(addresses)
        })
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !CLOSED_V4.iter().any(|network| holds_v4(*network, address)),
        IpAddr::V6(address) if holds_v6(NAT64, address) => {
            let [.., a, b, c, d] = address.octets();
            is_public(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
        }
        IpAddr::V6(address) => {
            holds_v6(GLOBAL_V6, address)
                && !CLOSED_V6.iter().any(|network| holds_v6(*network, address))
        }
    }
}

fn holds_v4((network, bits): (Ipv4Addr, u8), address: Ipv4Addr) -> bool {
    Ipv4Net::new(network, bits).is_ok_and(|network| network.contains(&address))
}

fn holds_v6((network, bits): (Ipv6Addr, u8), address: Ipv6Addr) -> bool {
    Ipv6Net::new(network, bits).is_ok_and(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    const CLOSED: &[&str] = &[
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.9",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::808:808",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ];

    const PUBLIC: &[&str] = &[
        "1.1.1.1",
        "8.8.8.8",
        "100.63.255.255",
        "100.128.0.1",
        "168.63.129.17",
        "172.15.255.255",
        "172.32.0.1",
        "192.0.1.1",
        "198.17.255.255",
        "198.20.0.1",
        "223.255.255.255",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2001:4860:4860::8888",
        "2606:4700::1111",
        "2a00:1450::1",
    ];

    fn guard(allowed: &[&str]) -> Guard {
        Guard::public_and(
            allowed
                .iter()
                .map(|network| network.parse().unwrap())
                .collect(),
        )
    }

    #[test]
    fn only_the_public_internet_is_reached() {
        for address in CLOSED {
            assert!(!guard(&[]).permits(address.parse().unwrap()), "{address}");
        }
        for address in PUBLIC {
            assert!(guard(&[]).permits(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_named_network_is_reached_and_no_other() {
        let guard = guard(&["10.1.0.0/16", "fd00:1::/64"]);
        for address in ["10.1.2.3", "::ffff:10.1.2.3", "fd00:1::7", "8.8.8.8"] {
            assert!(guard.permits(address.parse().unwrap()), "{address}");
        }
        for address in ["10.2.0.1", "127.0.0.1", "fd00:2::7", "169.254.169.254"] {
            assert!(!guard.permits(address.parse().unwrap()), "{address}");
        }
        let plain = Guard::only(guard.allowed);
        assert!(plain.permits("10.1.2.3".parse().unwrap()));
        for address in PUBLIC {
            assert!(!plain.permits(address.parse().unwrap()), "{address}");
        }
    }

    /// All the ways to write 127.0.0.1 and its like in a URL.
    #[test]
    fn an_address_in_the_url_is_judged_however_it_is_written() {
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "0x7f.1",
            "0",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[0:0:0:0:0:ffff:a9fe:a9fe]",
            "169.254.169.254",
            "127.0.0.1.",
            "１２７.0.0.1",
        ] {
            let url = Url::parse(&format!("https://{host}/hook")).unwrap();
            let judged = guard(&[]).permits_host(&url.host().unwrap());
            assert!(!judged, "{host} is {:?}", url.host());
        }
        let url = Url::parse("https://8.8.8.8/hook").unwrap();
        assert!(guard(&[]).permits_host(&url.host().unwrap()));
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_not_resolved() {
        let resolve = async |guard: &Guard| {
            let found = guard.resolve("localhost".parse().unwrap()).await;
            found.map(Iterator::collect::<Vec<SocketAddr>>)
        };
        let error = resolve(&guard(&[])).await.unwrap_err();
        assert!(
            error.downcast_ref::<ForbiddenAddress>().is_some(),
            "{error}"
        );
        // The same name leads somewhere where that is allowed.
        let found = resolve(&guard(&["127.0.0.0/8", "::1/128"])).await.unwrap();
        assert!(!found.is_empty());
        assert!(found.iter().all(|found| found.ip().is_loopback()));
    }
}
