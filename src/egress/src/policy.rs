//! Which addresses requests may go to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Addresses that are not on the public internet, in the sense of the IANA registries for special purposes: this
/// machine, private networks, link-local (where clouds keep credentials), documentation, multicast, reserved.
const SPECIAL: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

/// What may be spoken to: whatever is on the public internet and not denied, and what is allowed by name.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    deny: Vec<IpNet>,
    allow: Vec<IpNet>,
}

impl Policy {
    /// Denies these in addition to special addresses; `allow` makes exceptions from both.
    pub(crate) fn new(deny: &[IpNet], allow: &[IpNet]) -> Self {
        let special = SPECIAL
            .iter()
            .map(|block| block.parse::<IpNet>().expect("a block of the table above"));
        Self {
            deny: special.chain(deny.iter().copied()).collect(),
            allow: allow.to_vec(),
        }
    }

    /// Whether a request may go there. An IPv6 address that stands for an IPv4 address is good only if that one is.
    pub(crate) fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if contains(&self.allow, address) {
            return true;
        }
        if contains(&self.deny, address) {
            return false;
        }
        match address {
            IpAddr::V4(_) => true,
            IpAddr::V6(address) => embedded(address).is_none_or(|v4| self.allows(IpAddr::V4(v4))),
        }
    }
}

fn contains(blocks: &[IpNet], address: IpAddr) -> bool {
    blocks.iter().any(|block| block.contains(&address))
}

/// The IPv4 address that a translator or tunnel would make of an IPv6 address: NAT64 (RFC 6052) and 6to4 (RFC 3056).
/// Mapped ones have been made IPv4 before; compatible ones and Teredo are denied as a whole.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = address.octets();
    let at = |start: usize| {
        Ipv4Addr::new(
            octets[start],
            octets[start + 1],
            octets[start + 2],
            octets[start + 3],
        )
    };
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(at(12)),
        [0x2002, ..] => Some(at(2)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(deny: &[&str], allow: &[&str]) -> Policy {
        let parse = |blocks: &[&str]| -> Vec<IpNet> {
            let parse = |block: &&str| block.parse().expect(block);
            blocks.iter().map(parse).collect()
        };
        Policy::new(&parse(deny), &parse(allow))
    }

    fn allowed(policy: &Policy, address: &str) -> bool {
        policy.allows(address.parse().expect(address))
    }

    #[test]
    fn s16_special_addresses_are_refused_in_every_notation() {
        let policy = policy(&[], &[]);
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:a9fe:a9fe",
            "64:ff9b::127.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1",
            "2002:7f00:1::1",
            "2002:a9fe:a9fe::",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:db8::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
        ] {
            assert!(!allowed(&policy, address), "{address}");
        }
    }

    #[test]
    fn public_addresses_are_allowed() {
        let policy = policy(&[], &[]);
        for address in [
            "1.1.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.255.255",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2002:101:101::1",
        ] {
            assert!(allowed(&policy, address), "{address}");
        }
    }

    #[test]
    fn denied_blocks_add_and_allowed_blocks_except() {
        let policy = policy(&["8.8.8.0/24", "fd00::/8"], &["127.0.0.1/32", "fd12::/16"]);
        for (address, expected) in [
            ("8.8.8.8", false),
            ("::ffff:8.8.8.8", false),
            ("64:ff9b::8.8.8.8", false),
            ("127.0.0.1", true),
            ("::ffff:127.0.0.1", true),
            ("127.0.0.2", false),
            ("fd12::1", true),
            ("fd13::1", false),
        ] {
            assert_eq!(allowed(&policy, address), expected, "{address}");
        }
    }
}
