//! Versions of kernels and of ROCm.

use std::fmt;

/// Major, minor and patch level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::host::doctor) struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// Reads the numbers that `text` begins with; what is missing counts as 0. `6.17.0-14-generic`
    /// is 6.17.0.
    pub(in crate::host::doctor) fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let mut numbers = text[..end].split('.').map(str::parse);
        let major = numbers.next()?.ok()?;
        let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
        Some(Self(major, next(), next()))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        let version = |text| Version::parse(text).unwrap();
        assert_eq!(version("6.17.0-14-generic"), Version(6, 17, 0));
        assert_eq!(version("7.2"), Version(7, 2, 0));
        assert_eq!(version("6.18.9-arch1-1"), Version(6, 18, 9));
        assert!(version("6.9.12") < version("6.16.9") && version("6.18.10") > version("6.18.4"));
        assert_eq!(Version::parse("linux"), None);
        assert_eq!(Version::parse("99999999999.1"), None);
    }
}
