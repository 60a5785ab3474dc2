//! Where registered room systems and phones are (RFC 3261, section 10.3; RFC 5626).

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::flow::{ConnectionId, Flow};
use crate::headers::{Headers, name};
use crate::message::Request;
use crate::uri::{NameAddr, Uri};

/// How registrations are bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegistrarLimits {
    pub expires_min: Duration,
    pub expires_max: Duration,
    /// What a REGISTER gets that does not say.
    pub expires_default: Duration,
    /// Devices of one account.
    pub bindings_per_account_max: usize,
}

impl Default for RegistrarLimits {
    fn default() -> Self {
        RegistrarLimits {
            expires_min: Duration::from_secs(60),
            expires_max: Duration::from_secs(3_600),
            expires_default: Duration::from_secs(600),
            bindings_per_account_max: 8,
        }
    }
}

/// One device of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    pub contact: Uri,
    /// The way that the REGISTER came, which leads back through NAT.
    pub flow: Flow,
    pub expires_at: Instant,
    /// `+sip.instance` and `reg-id` (RFC 5626, section 4.2), by which a device is known again.
    device: Option<(String, u32)>,
    call_id: String,
    cseq: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    /// A header field that says more.
    pub(crate) detail: Option<(&'static str, String)>,
}

#[derive(Debug)]
pub(crate) struct Registrar {
    bindings: HashMap<String, Vec<Binding>>,
    expiries: BTreeSet<(Instant, String)>,
    limits: RegistrarLimits,
}

impl Registrar {
    pub(crate) fn new(limits: RegistrarLimits) -> Self {
        Registrar { bindings: HashMap::new(), expiries: BTreeSet::new(), limits }
    }

    pub(crate) fn bindings(&self, user: &str) -> &[Binding] {
        self.bindings.get(user).map_or(&[], Vec::as_slice)
    }

    /// Carries out an authenticated REGISTER: wholly or, if it is refused, not at all. Gives the header
    /// fields of the answer.
    pub(crate) fn register(
        &mut self,
        user: &str,
        request: &Request,
        flow: Flow,
        now: Instant,
    ) -> Result<Headers, Refused> {
        let refused = |status| Refused { status, detail: None };
        let mut bindings = self.bindings.get(user).cloned().unwrap_or_default();
        bindings.retain(|binding| binding.expires_at > now);
        let head = &request.head;
        let contacts: Vec<&str> = request.headers.list(name::CONTACT).collect();
        let expires = request.headers.number(name::EXPIRES);
        // A REGISTER of one program that was overtaken by a later one changes nothing.
        let overtaken =
            |binding: &Binding| binding.call_id == head.call_id && binding.cseq >= head.cseq.number;
        if contacts.contains(&"*") {
            if contacts.len() > 1 || expires != Some(0) {
                return Err(refused(400));
            }
            if bindings.iter().any(overtaken) {
                return Err(refused(500));
            }
            bindings.clear();
        } else {
            for contact in contacts {
                let contact = NameAddr::parse(contact).ok_or(refused(400))?;
                let asked =
                    contact.params.raw("expires").map(|value| value.parse::<u32>().unwrap_or(u32::MAX));
                let lifetime = self.lifetime(asked.or(expires))?;
                let device = device(&contact);
                let same = |binding: &Binding| match (&binding.device, &device) {
                    (Some(known), Some(device)) => known == device,
                    (Some(_), None) | (None, Some(_)) | (None, None) => binding.contact == contact.uri,
                };
                if bindings.iter().any(|binding| same(binding) && overtaken(binding)) {
                    return Err(refused(500));
                }
                bindings.retain(|binding| !same(binding));
                if lifetime.is_zero() {
                    continue;
                }
                bindings.push(Binding {
                    contact: contact.uri.clone(),
                    flow,
                    expires_at: now + lifetime,
                    device,
                    call_id: head.call_id.clone(),
                    cseq: head.cseq.number,
                });
            }
        }
        // Devices that come back with another address after each restart fill the account with what they
        // were before: what was registered longest ago makes room.
        let beyond = bindings.len().saturating_sub(self.limits.bindings_per_account_max);
        bindings.drain(..beyond);
        let headers = answer(&bindings, request, now);
        self.replace(user, bindings);
        Ok(headers)
    }

    fn lifetime(&self, asked_s: Option<u32>) -> Result<Duration, Refused> {
        let asked = asked_s.map_or(self.limits.expires_default, |asked| Duration::from_secs(asked.into()));
        if !asked.is_zero() && asked < self.limits.expires_min {
            let detail = (name::MIN_EXPIRES, self.limits.expires_min.as_secs().to_string());
            return Err(Refused { status: 423, detail: Some(detail) });
        }
        Ok(asked.min(self.limits.expires_max))
    }

    /// Forgets what has run out. Gives the accounts that this changed.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<String> {
        let mut changed = Vec::new();
        while let Some((at, user)) = self.expiries.first().cloned()
            && at <= now
        {
            let mut bindings = self.bindings.get(&user).cloned().unwrap_or_default();
            bindings.retain(|binding| binding.expires_at > now);
            self.replace(&user, bindings);
            changed.push(user);
        }
        changed
    }

    /// A broken connection leads to nobody any more (RFC 5626, section 5.3). Gives the accounts that
    /// this changed.
    pub(crate) fn disconnected(&mut self, connection: ConnectionId) -> Vec<String> {
        let through = |binding: &Binding| binding.flow.connection == Some(connection);
        let users: Vec<String> = self
            .bindings
            .iter()
            .filter(|(_, all)| all.iter().any(through))
            .map(|(user, _)| user.clone())
            .collect();
        for user in &users {
            let left = self.bindings(user).iter().filter(|binding| !through(binding)).cloned().collect();
            self.replace(user, left);
        }
        users
    }

    pub(crate) fn uses(&self, connection: ConnectionId) -> bool {
        self.bindings.values().flatten().any(|binding| binding.flow.connection == Some(connection))
    }

    pub(crate) fn remove(&mut self, user: &str) {
        self.replace(user, Vec::new());
    }

    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.expiries.first().map(|(at, _)| *at)
    }

    fn replace(&mut self, user: &str, bindings: Vec<Binding>) {
        let earliest = |bindings: &[Binding]| bindings.iter().map(|binding| binding.expires_at).min();
        if let Some(at) = self.bindings.get(user).and_then(|old| earliest(old)) {
            self.expiries.remove(&(at, user.to_owned()));
        }
        match earliest(&bindings) {
            Some(at) => {
                self.expiries.insert((at, user.to_owned()));
                self.bindings.insert(user.to_owned(), bindings);
            }
            None => {
                self.bindings.remove(user);
            }
        }
    }
}

/// Without `reg-id` a device has one way, number 0.
fn device(contact: &NameAddr) -> Option<(String, u32)> {
    let instance = contact.params.text("+sip.instance").filter(|instance| instance.len() <= 128)?;
    Some((instance, contact.params.raw("reg-id").and_then(|id| id.parse().ok()).unwrap_or(0)))
}

fn answer(bindings: &[Binding], request: &Request, now: Instant) -> Headers {
    let mut headers = Headers::default();
    for binding in bindings {
        let mut contact = NameAddr::new(binding.contact.clone());
        let left = binding.expires_at.saturating_duration_since(now).as_secs();
        contact.params.set("expires", Some(left.to_string()));
        if let Some((instance, id)) = &binding.device {
            contact.params.set("+sip.instance", Some(crate::scan::quote(instance)));
            if *id > 0 {
                contact.params.set("reg-id", Some(id.to_string()));
            }
        }
        headers.push(name::CONTACT, contact);
    }
    let outbound = |binding: &Binding| binding.device.as_ref().is_some_and(|(_, id)| *id > 0);
    if request.headers.lists(name::SUPPORTED, "outbound") && bindings.iter().any(outbound) {
        headers.push(name::REQUIRE, "outbound");
    }
    headers
}
