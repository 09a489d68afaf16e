//! Reads variables with a URL. A bad URL is reported with its fault. It is not replaced by another one,
//! because a key could go to the wrong host.

use std::borrow::Cow;
use std::cell::Cell;

use super::reading::Reading;
use crate::config::environment::Environment;
use crate::net::url::{Fault, Url};

/// The value of `AWS_REGION` replaces this placeholder.
const REGION: &str = "{region}";

/// The longest part of a host name between dots, in bytes (RFC 1035, 2.3.4). A longer region is invalid.
const HOST_LABEL_MAX: usize = 63;

/// The value is bad, and the problem is already reported.
#[derive(Clone, Copy, Debug)]
pub struct Bad;

impl<'a> Reading<'a> {
    /// Reads a URL to which paths are appended. If it ends in one of those in `appended`, that end is cut off
    /// and reported. `Ok(None)` if the variable is unset. `then` describes the consequence of a bad URL.
    pub fn base(
        &mut self,
        name: &str,
        appended: &[&'static str],
        own: &[u16],
        then: &str,
    ) -> Result<Option<Url>, Bad> {
        let cut = Cell::new(None);
        let parse = |held: &str| {
            let held = held.trim_end_matches('/');
            cut.set(appended.iter().find(|it| held.ends_with(*it)));
            let kept = held.len() - cut.get().map_or(0, |it| it.len());
            elsewhere(Url::base(&held[..kept])?, own)
        };
        let url = self.url(name, &parse, then)?;
        if let Some(path) = cut.get() {
            self.complain(format!(
                "{name} ends in {path}, which the extension appends itself; it is used without that"
            ));
        }
        Ok(url)
    }

    /// Reads a URL. `Ok(None)` if the variable is unset. `then` describes the consequence of a bad URL.
    pub fn url(
        &mut self,
        name: &str,
        parse: &dyn Fn(&str) -> Result<Url, Fault>,
        then: &str,
    ) -> Result<Option<Url>, Bad> {
        let Some(held) = self.environment.get(name) else { return Ok(None) };
        self.url_of(name, held, parse, then)
    }

    /// As [`Self::url`], if the variable's value is already known.
    pub fn url_of(
        &mut self,
        name: &str,
        held: &'a str,
        parse: &dyn Fn(&str) -> Result<Url, Fault>,
        then: &str,
    ) -> Result<Option<Url>, Bad> {
        let Some(held) = self.unquoted(name, held) else { return Ok(None) };
        match with_region(self.environment, held).and_then(|held| parse(&held)) {
            Ok(url) => Ok(Some(url)),
            Err(fault) => {
                self.complain(format!("cannot use {name}: {fault}; {then}"));
                Err(Bad)
            }
        }
    }
}

/// Replaces `{region}` by the region's name.
///
/// # Errors
/// [`Fault::Region`] if the region is unset, or is no valid part of a host name.
pub fn with_region<'t>(environment: &Environment, text: &'t str) -> Result<Cow<'t, str>, Fault> {
    if !text.contains(REGION) {
        return Ok(text.into());
    }
    let is_label = |it: &&str| {
        it.len() <= HOST_LABEL_MAX
            && it.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !it.starts_with('-')
            && !it.ends_with('-')
    };
    let region = environment.get("AWS_REGION").filter(is_label).ok_or(Fault::Region)?;
    Ok(text.replace(REGION, region).into())
}

/// Refuses a URL that is one of this extension's own ports.
///
/// # Errors
/// [`Fault::Own`].
pub fn elsewhere(url: Url, own: &[u16]) -> Result<Url, Fault> {
    if own.iter().any(|port| url.is_local(*port)) { Err(Fault::Own) } else { Ok(url) }
}
