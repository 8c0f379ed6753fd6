//! What can be a key, a name, a value: the same in every database, and checked before it is asked. Pure.

use crate::error::{Error, ErrorKind};
use crate::packed::json_fault;
use crate::repository::{DeploymentPlan, MAX_KEY, MAX_REASON, MAX_SERVICES, MAX_VALUE};

fn wrong<T>(why: String) -> Result<T, Error> {
    Err(Error::new(ErrorKind::Configuration, why))
}

pub(super) fn check_key(key: &str) -> Result<(), Error> {
    check_name("a key", key)
}

/// Checks a value of a key, or a configuration.
pub(super) fn check_value(value: &str) -> Result<(), Error> {
    if value.len() > MAX_VALUE {
        return wrong(format!("the value has {} bytes; it may have {MAX_VALUE}", value.len()));
    }
    json_fault(value).map_or(Ok(()), |fault| wrong(format!("the value {fault}")))
}

/// Checks a name of anything: 1 to 255 bytes, nothing that a terminal or a log would take for more than text.
pub(super) fn check_name(what: &str, name: &str) -> Result<(), Error> {
    if name.is_empty() || name.len() > MAX_KEY || name.chars().any(char::is_control) {
        return wrong(format!("{what} has 1 to {MAX_KEY} bytes and no control characters"));
    }
    Ok(())
}

pub(super) fn check_plan(plan: &DeploymentPlan) -> Result<(), Error> {
    check_name("a deployment's name", &plan.name)?;
    plan.host.as_deref().map_or(Ok(()), |host| check_name("a host's name", host))?;
    plan.hash.as_deref().map_or(Ok(()), |hash| check_name("a hash", hash))?;
    plan.services.iter().try_for_each(|service| check_name("a service's name", service))?;
    if plan.services.len() > MAX_SERVICES {
        return wrong(format!("a deployment has at most {MAX_SERVICES} services"));
    }
    check_value(&plan.config)
}

/// Cuts a text that people or sensors wrote to what is kept of it.
pub(super) fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_REASON);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_have_their_bounds() {
        for key in ["a", "ü b'\"%_\\", &"x".repeat(255)] {
            assert!(check_key(key).is_ok(), "{key}");
        }
        for key in ["", "a\0", "a\n", "\u{9b}", &"x".repeat(256), &"ü".repeat(128)] {
            assert!(check_key(key).is_err(), "{key:?}");
        }
        let largest = format!("\"{}\"", "x".repeat(MAX_VALUE - 2));
        for value in ["null", "1", "[]", r#"{"a":"\u0000"}"#, &largest] {
            assert!(check_value(value).is_ok());
        }
        let deep = "[".repeat(129) + &"]".repeat(129);
        for value in ["", "{", "{}x", "'a'", "\"\0\"", &deep, &format!("{largest} ")] {
            assert!(check_value(value).is_err());
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        assert_eq!(cut("ä").len(), 2);
        assert_eq!(cut(&("x".to_owned() + &"ä".repeat(MAX_REASON))).len(), MAX_REASON - 1);
    }
}
