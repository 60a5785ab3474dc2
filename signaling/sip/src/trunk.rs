//! Trunks: PBXs and border controllers that are known by address or by certificate.

use std::net::IpAddr;

use crate::flow::Transport;
use crate::sdp::Policy;

/// Names a trunk: its place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrunkId(pub usize);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trunk {
    pub identity: Identity,
    /// The host that it is told instead of the general one, where it stands in another network.
    pub announced_host: Option<String>,
    pub number_plan: NumberPlan,
    /// Codecs and encryption, for who answers its offers.
    pub media: Policy,
}

/// By what a trunk is known. Over UDP and TCP addresses are all there is, and who can forge them can
/// pose as the trunk; certificates cannot be forged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    Addresses(Vec<Network>),
    /// One of the names in a certificate that the shell has verified. Lower case.
    Certificate(Vec<String>),
}

/// An address and how many of its leading bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// `192.0.2.0/24`, or one address.
    pub fn parse(text: &str) -> Option<Network> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Some(bits), |prefix| prefix.parse().ok())?;
        (prefix <= bits).then_some(Network { address, prefix })
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        let shared = |left: u128, right: u128, bits: u8| {
            (left ^ right).checked_shr(u32::from(bits - self.prefix)).unwrap_or(0) == 0
        };
        match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) if self.address.is_ipv4() => {
                shared(own.to_bits().into(), other.to_bits().into(), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => shared(own.to_bits(), other.to_bits(), 128),
            (IpAddr::V4(_), IpAddr::V4(_) | IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// From called numbers to what is called here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NumberPlan(pub Vec<NumberRule>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberRule {
    /// A number, or the beginning of numbers if a `*` follows it. A leading `+` or `00` is one and the same.
    pub pattern: String,
    /// What is called. `{rest}` is what the `*` stood for; the empty text is the conference address.
    pub target: String,
}

impl NumberPlan {
    /// None: nobody here has this number. Of several rules the one with the longest pattern decides.
    pub fn target(&self, number: &str) -> Option<String> {
        let number = international(number);
        let fitting = self.0.iter().filter_map(|rule| {
            let pattern = international(&rule.pattern);
            let rest = match pattern.strip_suffix('*') {
                Some(beginning) => number.strip_prefix(beginning)?,
                None => (number == pattern).then_some("")?,
            };
            Some((pattern.len(), rule.target.replace("{rest}", rest)))
        });
        fitting.max_by_key(|(length, _)| *length).map(|(_, target)| target)
    }
}

fn international(number: &str) -> String {
    number.strip_prefix("00").map_or_else(|| number.to_owned(), |rest| format!("+{rest}"))
}

/// Whose request it is, if a trunk's.
pub(crate) fn identify(
    trunks: &[Trunk],
    source: IpAddr,
    transport: Transport,
    names: &[String],
) -> Option<TrunkId> {
    let fits = |trunk: &Trunk| match &trunk.identity {
        Identity::Addresses(networks) => networks.iter().any(|network| network.contains(source)),
        Identity::Certificate(known) => {
            transport == Transport::Tls
                && known.iter().any(|known| names.iter().any(|name| name.eq_ignore_ascii_case(known)))
        }
    };
    trunks.iter().position(fits).map(TrunkId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_what_shares_their_prefix() {
        for (network, address, inside) in [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "::ffff:192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "2001:db9::1", true),
        ] {
            let network = Network::parse(network).unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), inside, "{network:?} {address}");
        }
        for text in ["", "192.0.2.0/33", "2001:db8::/129", "192.0.2.0/-1", "host"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }

    #[test]
    fn s1_a_trunk_is_known_by_its_address_or_its_certificate_only() {
        let trunk = |identity| Trunk {
            identity,
            announced_host: None,
            number_plan: NumberPlan::default(),
            media: Policy::default(),
        };
        let trunks = [
            trunk(Identity::Addresses(vec![Network::parse("192.0.2.0/24").unwrap()])),
            trunk(Identity::Certificate(vec!["sbc.example.org".to_owned()])),
        ];
        let identify = |source: &str, transport, name: &str| {
            identify(&trunks, source.parse().unwrap(), transport, &[name.to_owned()])
        };
        assert_eq!(identify("192.0.2.9", Transport::Udp, ""), Some(TrunkId(0)));
        assert_eq!(identify("203.0.113.1", Transport::Tls, "SBC.example.org"), Some(TrunkId(1)));
        assert_eq!(identify("203.0.113.1", Transport::Tcp, "sbc.example.org"), None);
        assert_eq!(identify("203.0.113.1", Transport::Tls, "sbc.example.org.evil"), None);
        assert_eq!(identify("203.0.113.1", Transport::Udp, ""), None);
    }

    #[test]
    fn the_longest_pattern_decides() {
        let rule =
            |pattern: &str, target: &str| NumberRule { pattern: pattern.into(), target: target.into() };
        let plan = NumberPlan(vec![
            rule("+39024*", "{rest}"),
            rule("+390240", ""),
            rule("77*", "room-{rest}"),
            rule("7712", "council"),
        ]);
        for (number, target) in [
            ("+390240", Some("")),
            ("00390240", Some("")),
            ("+390241234", Some("1234")),
            ("7713", Some("room-13")),
            ("7712", Some("council")),
            ("8", None),
            ("", None),
        ] {
            assert_eq!(plan.target(number).as_deref(), target, "{number}");
        }
    }
}
