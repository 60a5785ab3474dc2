//! Who makes a request that belongs to no call, and whether it is heard (S1).

use std::time::Instant;

use super::Agent;
use crate::digest::{Credentials, NonceState};
use crate::flow::Flow;
use crate::guard::network;
use crate::headers::name;
use crate::io::Caller;
use crate::message::{Request, Response};
use crate::uri::Uri;

impl Agent {
    /// Trunks are known already; whoever says to be one of ours has to prove it; anybody else is a
    /// guest, where there are guests.
    pub(super) fn admit(
        &mut self,
        request: &Request,
        source: Flow,
        now: Instant,
    ) -> Result<Caller, Box<Response>> {
        if let Some(trunk) = self.trunk(source) {
            return Ok(Caller::Trunk(trunk));
        }
        if let Some(user) = self.authenticate(request, source, now)? {
            return Ok(Caller::Account(user));
        }
        let claims = request.head.from.uri.host().is_some_and(|host| self.is_ours(&host));
        // Where nobody is a guest, others are asked too: some room systems carry another domain in From
        // than the one that they have a password for.
        if claims || !self.config.guests {
            return Err(Box::new(self.challenge(request, false, now)));
        }
        Ok(Caller::Guest)
    }

    /// The user that a request proves to come from; None: it carries no credentials of ours.
    ///
    /// Right and wrong passwords, known and unknown users cost the same and, but for the right one, get
    /// the same answer (S3). The `uri` of the credentials is not compared with the request's, which
    /// proxies may rewrite: each nonce count is good once, so nothing can be made of it elsewhere.
    pub(super) fn authenticate(
        &mut self,
        request: &Request,
        source: Flow,
        now: Instant,
    ) -> Result<Option<String>, Box<Response>> {
        let fields =
            request.headers.all(name::AUTHORIZATION).chain(request.headers.all(name::PROXY_AUTHORIZATION));
        let credentials =
            fields.filter_map(Credentials::parse).find(|credentials| credentials.realm == self.config.realm);
        let Some(credentials) = credentials else { return Ok(None) };
        let address = source.address.ip();
        if let Some(left) = self.guard.locked_for(address, now)
            && !self.is_at_home(&credentials.username, source)
        {
            let mut response = self.response(request, 503);
            response.headers.push(name::RETRY_AFTER, left.as_secs() + 1);
            return Err(Box::new(response));
        }
        let state = self.nonces.state(&credentials, now);
        if state == NonceState::Foreign {
            // Nothing was looked at, so nothing was tried. Restarts of ours make such nonces too.
            return Err(Box::new(self.challenge(request, true, now)));
        }
        let known = self.accounts.get(&credentials.username);
        let nobody = self.nonces.nobody(&credentials.username);
        let proven = credentials.prove(known.unwrap_or(&nobody), request.method.as_str()) && known.is_some();
        if !proven {
            self.counters.unauthenticated += 1;
            self.guard.failed(address, now);
            return Err(Box::new(self.challenge(request, false, now)));
        }
        if state == NonceState::Stale {
            return Err(Box::new(self.challenge(request, true, now)));
        }
        if !self.nonces.has_room(&credentials, now) {
            self.counters.full += 1;
            return Err(Box::new(self.response(request, 503)));
        }
        self.nonces.mark(&credentials);
        Ok(Some(credentials.username))
    }

    /// Whether a device of this account is registered from here: guesses of others at the same address
    /// must not shut it out.
    fn is_at_home(&self, user: &str, source: Flow) -> bool {
        let here = network(source.address.ip());
        self.registrar.bindings(user).iter().any(|binding| network(binding.flow.address.ip()) == here)
    }

    /// 401 with one challenge for each algorithm (RFC 8760, section 2.4).
    pub(super) fn challenge(&mut self, request: &Request, stale: bool, now: Instant) -> Response {
        let mut response = self.response(request, 401);
        let nonce = self.nonces.issue(&mut self.random, now);
        for algorithm in &self.config.algorithms {
            let realm = crate::scan::quote(&self.config.realm);
            let stale = if stale { ", stale=true" } else { "" };
            let value = format!(
                "Digest realm={realm}, nonce=\"{nonce}\", algorithm={}, qop=\"auth\"{stale}",
                algorithm.as_str()
            );
            response.headers.push(name::WWW_AUTHENTICATE, value);
        }
        response
    }

    /// Whether a host in a request URI means this server.
    pub(super) fn is_ours(&self, host: &str) -> bool {
        self.config.domains.iter().any(|domain| domain == host)
            || self.config.announced.iter().any(|announced| announced.host.eq_ignore_ascii_case(host))
            || self.config.trunks.iter().any(|trunk| trunk.announced_host.as_deref() == Some(host))
    }

    /// What is called here; None: nothing of ours. Nothing is ever passed on to another server (S2).
    pub(super) fn called(&self, uri: &Uri, caller: &Caller) -> Option<String> {
        match uri {
            Uri::Sip(_) if !uri.host().is_some_and(|host| self.is_ours(&host)) => None,
            Uri::Sip(_) | Uri::Tel { .. } => {
                let called = match uri.as_sip() {
                    Some(sip) if sip.user.is_none() => String::new(),
                    Some(_) | None => uri.user()?,
                };
                match caller {
                    Caller::Trunk(id) => self.config.trunks.get(id.0)?.number_plan.target(&called),
                    Caller::Account(_) | Caller::Guest => Some(called),
                }
            }
            Uri::Other(_) => None,
        }
    }
}
